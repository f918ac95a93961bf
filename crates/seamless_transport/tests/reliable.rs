//! Reliable messages: once, in order, and never too many at a time.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use common::*;
use seamless_transport::*;

/// Sends messages of all lengths both ways and checks that they arrive once and in order.
fn exchange(mut pair: Pair, ticks: u32) {
    let lengths = [4, 90, 1190, 1199, 1200, 1201, 3000, 40_000];
    let mut arrived = [[0u32; 2]; 2];
    let count = 80;
    for tick in 0..ticks {
        for channel in Channel::ALL {
            let message = numbered(tick, lengths[tick as usize % lengths.len()]);
            if tick < count {
                pair.up().send_reliable(channel, message.clone()).unwrap();
                pair.down().send_reliable(channel, message).unwrap();
            }
        }
        pair.step();
        for channel in Channel::ALL {
            for message in read(pair.up(), channel) {
                let next = &mut arrived[0][channel as usize];
                assert_eq!(number(&message), *next);
                assert_eq!(message.len(), lengths[*next as usize % lengths.len()]);
                *next += 1;
            }
            for message in read(pair.down(), channel) {
                let next = &mut arrived[1][channel as usize];
                assert_eq!(number(&message), *next);
                *next += 1;
            }
        }
        if arrived == [[count; 2]; 2] {
            return;
        }
    }
    panic!("arrived: {arrived:?} of {count} after {ticks} ticks");
}

#[test]
fn reliable_messages_arrive_once_and_in_order_in_memory() {
    exchange(Pair::in_memory(ConditionerConfig::default()), 400);
}

#[test]
fn reliable_messages_arrive_once_and_in_order_over_udp() {
    exchange(Pair::over_udp(ConditionerConfig::default()), 400);
}

#[test]
fn reliable_messages_survive_thirty_percent_loss_in_memory() {
    for seed in 0..5 {
        exchange(Pair::in_memory(lossy(seed)), 2000);
    }
}

#[test]
fn reliable_messages_survive_thirty_percent_loss_over_udp() {
    exchange(Pair::over_udp(lossy(7)), 2000);
}

#[test]
fn a_full_channel_is_backpressure_and_not_the_end() {
    let mut pair = Pair::in_memory(ConditionerConfig::default());
    let mut sent = 0;
    let full = loop {
        match pair
            .up()
            .send_reliable(Channel::Control, numbered(sent, 60_000))
        {
            Ok(()) => sent += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(full, LinkError::Backpressure(Channel::Control));
    assert!(pair.up().backlog().reliable_out <= Channel::Control.max_backlog());
    let mut arrived = 0;
    for _ in 0..400 {
        pair.step();
        for message in read(pair.down(), Channel::Control) {
            assert_eq!(number(&message), arrived);
            arrived += 1;
        }
    }
    assert_eq!(arrived, sent);
    assert!(pair.up().is_connected());
}

#[test]
fn many_tiny_messages_are_backpressure_too() {
    let mut pair = Pair::in_memory(ConditionerConfig::default());
    let sent = (0..1_000_000)
        .take_while(|i| {
            pair.up()
                .send_reliable(Channel::Control, numbered(*i, 4))
                .is_ok()
        })
        .count();
    assert!(sent < 10_000, "{sent}");
    let mut arrived = 0;
    for _ in 0..2000 {
        pair.step();
        arrived += read(pair.down(), Channel::Control).len();
    }
    assert_eq!(arrived, sent);
}

#[test]
fn thousands_of_tiny_messages_pass_the_receivers_window_under_loss() {
    for seed in 0..3 {
        let mut pair = Pair::in_memory(lossy(seed));
        let (mut sent, mut arrived) = (0, 0);
        for _ in 0..3000 {
            for _ in 0..400 {
                if sent < 8000
                    && pair
                        .up()
                        .send_reliable(Channel::Control, numbered(sent, 4))
                        .is_ok()
                {
                    sent += 1;
                }
            }
            pair.step();
            for message in read(pair.down(), Channel::Control) {
                assert_eq!(number(&message), arrived);
                arrived += 1;
            }
            if arrived == 8000 {
                break;
            }
        }
        assert_eq!(arrived, 8000);
        assert_eq!(pair.down().stats().refused[Refused::TooFarAhead], 0);
    }
}

#[test]
fn what_others_send_through_renet_does_not_stall_the_link() {
    let mut pair = Pair::in_memory(ConditionerConfig::default());
    let id = pair.down().netcode_id();
    let mut renet = pair
        .server
        .world_mut()
        .resource_mut::<bevy_renet::RenetServer>();
    renet.send_message(id, Channel::Control as u8, vec![9; 3000]);
    let mut arrived = 0;
    for sent in 0..3000 {
        pair.down()
            .send_reliable(Channel::Control, numbered(sent, 4))
            .unwrap();
        if sent % 10 == 0 {
            pair.step();
            arrived += read(pair.up(), Channel::Control).len();
        }
    }
    pair.steps(20);
    arrived += read(pair.up(), Channel::Control).len();
    assert_eq!(arrived, 3001);
}

#[test]
fn what_others_send_through_renet_leaves_a_link_at_rest_and_holds_nothing_up() {
    let mut pair = Pair::in_memory(lossy(3));
    pair.steps(60);
    let id = pair.down().netcode_id();
    // What is left of the channel holds no message of ours of the greatest length.
    let speak = |pair: &mut Pair| {
        let world = pair.server.world_mut();
        let mut renet = world.resource_mut::<bevy_renet::RenetServer>();
        for _ in 0..70 {
            renet.send_message(id, Channel::Control as u8, vec![9; 1000]);
        }
    };
    speak(&mut pair);
    pair.steps(120);
    let of_others = read(pair.up(), Channel::Control);
    assert_eq!(of_others.len(), 70);
    speak(&mut pair);
    pair.down()
        .send_reliable(Channel::Control, numbered(7, 64 * 1024))
        .unwrap();
    pair.steps(240);
    let arrived = read(pair.up(), Channel::Control);
    assert_eq!(arrived.len(), 71);
    assert_eq!(number(arrived.last().unwrap()), 7);
}

#[test]
fn a_reader_that_stops_slows_the_sender_down_and_loses_nothing() {
    let mut pair = Pair::in_memory(ConditionerConfig::default());
    let mut sent = 0;
    for _ in 0..600 {
        while pair
            .up()
            .send_reliable(Channel::Control, numbered(sent, 5000))
            .is_ok()
        {
            sent += 1;
        }
        pair.step();
    }
    let waiting = pair.down().backlog().reliable_in;
    assert!(waiting < 512 * 1024, "{waiting}");
    assert!(pair.down().stats().refused[Refused::ReceiveFull] > 0);
    assert!(pair.up().is_connected() && pair.down().is_connected());
    let mut arrived = 0;
    for _ in 0..600 {
        for message in read(pair.down(), Channel::Control) {
            assert_eq!(number(&message), arrived);
            arrived += 1;
        }
        pair.step();
    }
    assert_eq!(arrived, sent);
}

#[test]
fn a_longest_bulk_message_arrives() {
    let mut pair = Pair::in_memory(ConditionerConfig::default());
    let message = bytes(7, Channel::Bulk.max_message());
    pair.up()
        .send_reliable(Channel::Bulk, message.clone())
        .unwrap();
    for _ in 0..400 {
        pair.step();
        if let Some(got) = pair.down().recv_reliable(Channel::Bulk) {
            assert_eq!(got, message);
            return;
        }
    }
    panic!("not in 400 ticks");
}

#[test]
fn bulk_does_not_hold_control_up() {
    let mut pair = Pair::in_memory(ConditionerConfig::default());
    let bulk = bytes(7, Channel::Bulk.max_message());
    pair.down().send_reliable(Channel::Bulk, bulk).unwrap();
    pair.steps(5);
    pair.down()
        .send_reliable(Channel::Control, bytes(1, 100))
        .unwrap();
    pair.step();
    assert_eq!(
        pair.up().recv_reliable(Channel::Control),
        Some(bytes(1, 100))
    );
}
