//! What a link costs on the wire, counted by the link and by the sockets.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use bevy::prelude::*;
use common::*;
use seamless_transport::*;
use seamless_wire::MAX_DATAGRAM;

/// Bytes and packets that each side sends in so many ticks: the client's and the server's.
fn sent_in(pair: &mut Pair, ticks: u32) -> [Tally; 2] {
    let before = pair.both().map(|link| link.stats().sent.total());
    pair.steps(ticks);
    let after = pair.both().map(|link| link.stats().sent.total());
    [0, 1].map(|side| Tally {
        packets: after[side].packets - before[side].packets,
        bytes: after[side].bytes - before[side].bytes,
    })
}

#[test]
fn an_idle_link_sends_four_keep_alives_a_second_and_nothing_else() {
    for mut pair in [
        Pair::in_memory(ConditionerConfig::default()),
        Pair::over_udp(ConditionerConfig::default()),
    ] {
        pair.steps(30);
        let reliable = pair.both().map(|link| link.stats().sent.reliable.packets);
        assert_eq!(reliable, [0, 0]);
        for sent in sent_in(&mut pair, 300) {
            // Every 250 ms means every eighth tick.
            assert!((36..=40).contains(&sent.packets), "{sent:?}");
            assert!(sent.bytes / sent.packets <= 26, "{sent:?}");
        }
    }
}

#[test]
fn acknowledgements_end_after_a_message_both_ways() {
    for mut pair in [
        Pair::in_memory(ConditionerConfig::default()),
        Pair::over_udp(ConditionerConfig::default()),
    ] {
        for link in pair.both() {
            link.send_reliable(Channel::Control, bytes(1, 10)).unwrap();
        }
        pair.steps(30);
        let before = pair.both().map(|link| link.stats().sent.reliable);
        // One message and one acknowledgement each way.
        assert_eq!(before.map(|tally| tally.packets), [2, 2]);
        pair.steps(300);
        let after = pair.both().map(|link| link.stats().sent.reliable);
        assert_eq!(before, after);
    }
}

#[test]
fn a_message_every_tick_is_acknowledged_ten_times_a_second() {
    let mut pair = Pair::in_memory(ConditionerConfig::default());
    let before = pair.up().stats().sent.reliable.packets;
    for tick in 0..300 {
        let message = numbered(tick, 40);
        pair.down()
            .send_reliable(Channel::Control, message)
            .unwrap();
        pair.step();
        read(pair.up(), Channel::Control);
    }
    let acks = pair.up().stats().sent.reliable.packets - before;
    assert!((95..=101).contains(&acks), "{acks}");
    // Nothing was sent twice for want of an acknowledgement. Two of theirs a second are
    // acknowledged.
    let sent = pair.down().stats().sent.reliable.packets;
    assert!((300..=320).contains(&sent), "{sent}");
}

#[test]
fn one_way_traffic_with_loss_does_not_grow_the_acknowledgements() {
    let lossy = ConditionerConfig::symmetric(std::time::Duration::ZERO, 0.2);
    let mut pair = Pair::in_memory(lossy);
    let (mut longest, mut bytes, mut count) = (0, 0, 0);
    for tick in 0..3000 {
        let message = numbered(tick, 40);
        pair.down()
            .send_reliable(Channel::Control, message)
            .unwrap();
        let before = pair.up().stats().sent.reliable;
        pair.step();
        let after = pair.up().stats().sent.reliable;
        if after.packets > before.packets {
            longest = longest.max(after.bytes - before.bytes);
            bytes += after.bytes - before.bytes;
            count += after.packets - before.packets;
        }
        read(pair.up(), Channel::Control);
    }
    assert!(longest <= 150, "{longest}");
    assert!(bytes / count <= 40, "{}", bytes / count);
}

#[test]
fn the_counted_bytes_are_those_on_the_wire() {
    let mut pair = Pair::over_udp(ConditionerConfig::default());
    for tick in 0..60 {
        pair.up().send_datagram(&[0x80; 300]).unwrap();
        let message = numbered(tick, 2500);
        pair.down().send_reliable(Channel::Bulk, message).unwrap();
        pair.step();
        read(pair.up(), Channel::Bulk);
        pair.down().drain_datagrams().for_each(drop);
    }
    pair.server.update();
    // What one side sent the other received: nothing is lost on loopback. The handshake before
    // there was a link is the endpoint's.
    let endpoint = pair.server.world().resource::<ServerEndpoint>();
    let strangers = *endpoint.stats();
    let [up, down] = pair.both().map(|link| *link.stats());
    assert_eq!(up.sent.state, down.received.state);
    assert_eq!(up.sent.reliable, down.received.reliable);
    let (sent, got) = (up.sent.total(), down.received.total());
    assert_eq!(sent.bytes, got.bytes + strangers.received.bytes);
    assert_eq!(sent.packets, got.packets + strangers.received.packets);
    // A datagram costs 18 bytes of netcode at first, then a byte more for each of its number.
    assert_eq!(up.sent.state.bytes, 60 * 300);
    let per_packet = up.sent.overhead.bytes - strangers.received.bytes;
    let packets = up.sent.state.packets + up.sent.reliable.packets;
    assert_eq!(per_packet, packets * 18);
    assert_eq!(
        up.sent.header_bytes(UDP_IPV4_HEADER_BYTES),
        28 * sent.packets
    );
}

/// Lengths of a tick's datagrams: full ones, nearly full ones, short ones between them, more than one
/// system call takes.
fn lengths(tick: usize) -> Vec<usize> {
    (0..150)
        .map(|n| match (n + tick) % 29 {
            3 => 40 + n,
            7 => MAX_DATAGRAM - MAX_DATAGRAM / 32 - 1,
            n => MAX_DATAGRAM - n,
        })
        .collect()
}

#[test]
fn a_tick_of_many_datagrams_arrives_whole_and_in_order_with_nothing_but_zeros_added() {
    let lossy = ConditionerConfig::symmetric(std::time::Duration::ZERO, 0.05);
    for (loss, conditioner) in [(false, ConditionerConfig::default()), (true, lossy)] {
        let mut pair = Pair::over_udp(conditioner);
        pair.steps(5);
        let (mut arrived, mut sent, mut longer) = (0, 0, 0);
        for tick in 0..40 {
            let mark = |n: usize| [0x80, tick as u8, n as u8, 1];
            let datagrams: Vec<Vec<u8>> = lengths(tick)
                .into_iter()
                .enumerate()
                .map(|(n, len)| mark(n).into_iter().cycle().take(len).collect())
                .collect();
            for datagram in &datagrams {
                pair.down().send_datagram(datagram).unwrap();
            }
            sent += datagrams.len();
            pair.step();
            let mut last = None;
            for got in pair.up().drain_datagrams() {
                let n = usize::from(got[2]);
                assert!(last.is_none_or(|last| last < n), "in order");
                last = Some(n);
                let (whole, zeros) = got.split_at(datagrams[n].len());
                assert_eq!(whole, datagrams[n]);
                assert!(zeros.iter().all(|zero| *zero == 0));
                assert!(zeros.is_empty() || got.len() == MAX_DATAGRAM);
                assert!(zeros.len() <= MAX_DATAGRAM / 32);
                longer += usize::from(!zeros.is_empty());
                arrived += 1;
            }
        }
        assert_eq!(arrived < sent, loss, "{arrived} of {sent}");
        assert!(arrived > sent * 9 / 10, "{arrived} of {sent}");
        if cfg!(target_os = "linux") {
            assert!(longer > sent / 2, "{longer} of {sent} were filled");
        }
        for link in pair.both() {
            assert_eq!(link.stats().refused.total(), 0);
        }
    }
}

#[test]
fn nothing_is_sent_in_frames_without_a_tick() {
    let mut pair = Pair::in_memory(ConditionerConfig::default());
    for app in [&mut pair.server, &mut pair.client] {
        let frame = bevy::time::TimeUpdateStrategy::ManualDuration(TICK / 8);
        app.insert_resource(frame);
    }
    pair.steps(30);
    let before = pair.down().stats().sent;
    pair.down().send_datagram(&[0x80]).unwrap();
    let mut ticks = 0;
    while pair.down().backlog().datagrams_out > 0 {
        assert_eq!(pair.down().stats().sent.state, before.state);
        pair.step();
        ticks += 1;
    }
    assert!(ticks > 1 || pair.down().stats().sent.state.packets == before.state.packets + 1);
    let mut state = pair.down().stats().sent.state.packets;
    for _ in 0..80 {
        pair.down().send_datagram(&[0x80]).unwrap();
        pair.step();
        let now = pair.down().stats().sent.state.packets;
        let queued = pair.down().backlog().datagrams_out;
        assert!(now == state || queued == 0);
        state = now;
    }
}

#[test]
fn a_manual_flush_stands_where_the_app_puts_it() {
    let hub = MemoryHub::new();
    let mut server = App::new();
    server
        .add_plugins(MinimalPlugins)
        .insert_resource(bevy::time::TimeUpdateStrategy::FixedTimesteps(1))
        .add_plugins(TransportPlugin {
            flush: FlushPlacement::Manual,
        })
        .init_resource::<Told>()
        .insert_resource(MemoryServer::listen(&hub, 1, MemoryConfig::default()).unwrap());
    let mut client = app();
    let up = connect(&mut client, ClientConfig::memory(&hub, 1));
    for _ in 0..3 {
        client.update();
        server.update();
    }
    let mut links = server.world_mut().resource_mut::<Links>();
    links
        .iter_mut()
        .next()
        .unwrap()
        .send_datagram(&[0x80])
        .unwrap();
    server.update();
    client.update();
    assert!(link_mut(&mut client, up).recv_datagram().is_none());
    server.add_systems(FixedPostUpdate, flush_links.in_set(TransportSystems::Send));
    server.update();
    client.update();
    assert!(link_mut(&mut client, up).recv_datagram().is_some());
}
