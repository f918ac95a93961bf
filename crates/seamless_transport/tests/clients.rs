//! Several links of one client, as in a handover: make before break.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::time::Duration;

use bevy::prelude::*;
use common::*;
use seamless_transport::*;

/// A client with links to two servers.
fn two_links() -> (Pair, App, LinkId) {
    let mut pair = Pair::over_udp(ConditionerConfig::default());
    let mut target = secure_server();
    let ticket = token(&target, &[2; 256]);
    let second = connect(&mut pair.client, ClientConfig::secure(ticket));
    for _ in 0..20 {
        pair.step();
        target.update();
    }
    assert!(link(&pair.client, second).is_connected());
    (pair, target, second)
}

#[test]
fn a_second_link_stands_beside_the_first_on_a_socket_of_its_own() {
    let (mut pair, mut target, second) = two_links();
    let clients = pair.client.world().resource::<ClientEndpoints>();
    let [a, b] = [pair.up, second].map(|id| clients.local_address(id).unwrap());
    assert_ne!(a, b);
    let there = told(&target).opened[0];
    pair.down()
        .send_reliable(Channel::Control, bytes(1, 10))
        .unwrap();
    link_mut(&mut target, there)
        .send_reliable(Channel::Control, bytes(2, 10))
        .unwrap();
    for _ in 0..3 {
        pair.step();
        target.update();
    }
    pair.step();
    assert_eq!(read(pair.up(), Channel::Control), [bytes(1, 10)]);
    let second = link_mut(&mut pair.client, second);
    assert_eq!(read(second, Channel::Control), [bytes(2, 10)]);
}

#[test]
fn the_first_link_may_close_and_the_second_goes_on() {
    let (mut pair, mut target, second) = two_links();
    pair.up().close(CloseReason::Requested);
    for _ in 0..10 {
        pair.step();
        target.update();
    }
    assert!(link(&pair.client, second).is_connected());
    let there = told(&target).opened[0];
    link_mut(&mut target, there).send_datagram(&[0x80]).unwrap();
    target.update();
    pair.client.update();
    assert!(link_mut(&mut pair.client, second).recv_datagram().is_some());
}

#[test]
fn the_first_link_is_primary_until_another_is_promoted() {
    let (mut pair, mut target, second) = two_links();
    let world = pair.client.world_mut();
    let mut clients = world.resource_mut::<ClientEndpoints>();
    assert_eq!(clients.primary(), Some(pair.up));
    assert!(clients.promote(second));
    pair.client.update();
    let clients = pair.client.world().resource::<ClientEndpoints>();
    assert_eq!(clients.installed(), Some(second));

    // The resource is the second's renet now: reliable traffic of that link shows in it.
    let there = told(&target).opened[0];
    for _ in 0..30 {
        let message = bytes(2, 1000);
        let link = link_mut(&mut target, there);
        link.send_reliable(Channel::Control, message).unwrap();
        pair.step();
        target.update();
    }
    let renet = pair.client.world().resource::<bevy_renet::RenetClient>();
    assert!(renet.bytes_received_per_sec() > 1000.0);
    // And the first goes on without it.
    pair.down()
        .send_reliable(Channel::Control, bytes(1, 10))
        .unwrap();
    pair.step();
    assert_eq!(read(pair.up(), Channel::Control), [bytes(1, 10)]);
}

#[test]
fn promotion_back_and_forth_loses_nothing() {
    let (mut pair, mut target, second) = two_links();
    let there = told(&target).opened[0];
    let mut arrived = [0, 0];
    for tick in 0..200 {
        if tick < 100 {
            let message = numbered(tick, 3000);
            pair.down()
                .send_reliable(Channel::Bulk, message.clone())
                .unwrap();
            let link = link_mut(&mut target, there);
            link.send_reliable(Channel::Bulk, message).unwrap();
        }
        let primary = [pair.up, second][tick as usize % 2];
        let mut clients = pair.client.world_mut().resource_mut::<ClientEndpoints>();
        assert!(clients.promote(primary));
        pair.step();
        target.update();
        for (at, id) in [pair.up, second].into_iter().enumerate() {
            for message in read(link_mut(&mut pair.client, id), Channel::Bulk) {
                assert_eq!(number(&message), arrived[at]);
                arrived[at] += 1;
            }
        }
    }
    assert_eq!(arrived, [100, 100]);
}

#[test]
fn a_new_link_is_primary_when_the_old_primary_is_over() {
    let hub = MemoryHub::new();
    let server = memory_server(&hub, 1);
    let mut pair = Pair::connect(server, app(), ClientConfig::memory(&hub, 1));
    pair.up().close(CloseReason::Requested);
    pair.steps(4);
    let renet = pair.client.world().resource::<bevy_renet::RenetClient>();
    assert!(renet.is_disconnected());
    let next = connect(&mut pair.client, ClientConfig::memory(&hub, 1));
    pair.steps(4);
    let clients = pair.client.world().resource::<ClientEndpoints>();
    assert_eq!(clients.installed(), Some(next));
    let renet = pair.client.world().resource::<bevy_renet::RenetClient>();
    assert!(renet.is_connected());
}

#[test]
fn what_is_no_clients_link_cannot_be_promoted() {
    let mut pair = Pair::in_memory(ConditionerConfig::default());
    let mut clients = pair.server.world_mut().resource_mut::<ClientEndpoints>();
    assert!(!clients.promote(pair.down));
}

#[test]
fn several_servers_share_one_hub() {
    let hub = MemoryHub::new();
    let mut servers: Vec<App> = (0..3).map(|n| memory_server(&hub, n)).collect();
    let mut client = app();
    let ups: Vec<_> = (0..3)
        .map(|n| {
            connect(
                &mut client,
                ClientConfig::memory(&hub, n).with_user_data([n as u8; 256]),
            )
        })
        .collect();
    for _ in 0..3 {
        servers.iter_mut().for_each(App::update);
        client.update();
    }
    for (n, server) in servers.iter().enumerate() {
        let down = link(server, told(server).opened[0]);
        assert_eq!(down.user_data(), Some(&[n as u8; 256]));
        assert!(link(&client, ups[n]).is_connected());
    }
}

#[test]
fn a_server_that_dies_leaves_its_clients_to_their_timeout() {
    let hub = MemoryHub::new();
    let config = ClientConfig::memory(&hub, 1);
    let mut pair = Pair::connect(memory_server(&hub, 1), app(), config);
    pair.server.world_mut().remove_resource::<MemoryServer>();
    pair.server.update();
    assert_eq!(
        told(&pair.server).closed,
        [(pair.down, CloseReason::Abandoned)]
    );
    pair.client.update();
    assert!(pair.up().is_connected());

    // Another life at the same place knows nothing of the old link.
    let mut reborn = memory_server(&hub, 1);
    for _ in 0..170 {
        reborn.update();
        pair.client.update();
    }
    assert!(told(&reborn).opened.is_empty());
    assert_eq!(
        told(&pair.client).closed,
        [(pair.up, CloseReason::TimedOut)]
    );
}

#[test]
fn a_client_that_dies_leaves_its_server_to_its_timeout() {
    let mut pair = Pair::over_udp(ConditionerConfig::default());
    pair.client = app();
    for _ in 0..200 {
        pair.server.update();
    }
    assert_eq!(
        told(&pair.server).closed,
        [(pair.down, CloseReason::TimedOut)]
    );
}

#[test]
fn a_lossy_handshake_still_succeeds() {
    for seed in 0..4 {
        let rough = ConditionerConfig::symmetric(Duration::from_millis(80), 0.3).with_seed(seed);
        Pair::in_memory(rough);
        Pair::over_udp(rough);
    }
}

#[test]
fn links_in_memory_and_over_udp_live_in_one_server() {
    let hub = MemoryHub::new();
    let mut server = secure_server();
    let listens = MemoryServer::listen(&hub, 1, MemoryConfig::default()).unwrap();
    server.insert_resource(listens);
    let ticket = token(&server, &[0; 256]);
    let mut pair = Pair::connect(server, app(), ClientConfig::secure(ticket));
    let near = connect(&mut pair.client, ClientConfig::memory(&hub, 1));
    pair.steps(4);
    assert!(link(&pair.client, near).is_connected());
    let mut links = pair.server.world_mut().resource_mut::<Links>();
    for (n, down) in links.iter_mut().enumerate() {
        down.send_reliable(Channel::Control, bytes(n as u8, 9))
            .unwrap();
    }
    pair.step();
    let got = [pair.up, near].map(|id| read(link_mut(&mut pair.client, id), Channel::Control));
    assert_eq!(got, [[bytes(0, 9)], [bytes(1, 9)]]);
}
