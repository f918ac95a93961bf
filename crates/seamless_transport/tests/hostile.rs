//! Hostile outsiders against a real server on a real socket: no key, but every datagram to copy.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::{collections::BTreeMap, time::Duration};

use chacha20poly1305::{AeadInPlace, ChaCha20Poly1305, KeyInit};
use common::{hostile::*, *};
use renetcode::{ClientAuthentication, ConnectToken, NetcodeClient};
use seamless_transport::*;

#[test]
fn a_valid_link_survives_everything_that_is_thrown_at_both_its_ends() {
    let (mut pair, mut relay) = relayed();
    let (near, far) = (socket([127, 0, 0, 1]), socket([127, 0, 0, 2]));
    let mut junk = Junk(1);
    let (mut to_server, mut to_client, mut messages) = (0, 0, [0u32; 2]);
    let ticks = 240u32;
    for tick in 0..ticks {
        let talks = tick < ticks - 60;
        if talks {
            for link in pair.both() {
                link.send_datagram(&[0x80; 100]).unwrap();
                link.send_reliable(Channel::Control, numbered(tick, 50))
                    .unwrap();
            }
        }
        pair.client.update();
        relay.pump();
        for _ in 0..40 {
            // Junk from strangers.
            let len = junk.below(1450);
            let datagram = junk.bytes(len);
            near.send_to(&datagram, relay.server).unwrap();
            // Replays and changed packets, from the client's address and from others.
            for side in 0..2 {
                let at = junk.below(relay.heard[side].len());
                let replayed = relay.heard[side][at].clone();
                let changed = junk.mutate(&replayed);
                for datagram in [&replayed, &changed, &datagram] {
                    relay.to_server(datagram);
                    relay.to_client(datagram);
                }
                far.send_to(&replayed, relay.server).unwrap();
                far.send_to(&changed, relay.server).unwrap();
            }
        }
        pair.server.update();
        relay.pump();
        to_server += pair.down().drain_datagrams().count();
        to_client += pair.up().drain_datagrams().count();
        for (side, link) in pair.both().into_iter().enumerate() {
            for message in read(link, Channel::Control) {
                assert_eq!(number(&message), messages[side]);
                messages[side] += 1;
            }
        }
    }
    let sent = ticks as usize - 60;
    assert!(to_server >= sent - 1 && to_server <= sent, "{to_server}");
    assert!(to_client >= sent - 1 && to_client <= sent, "{to_client}");
    assert_eq!(messages, [sent as u32; 2]);
    assert!(pair.up().is_connected() && pair.down().is_connected());
    assert!(told(&pair.server).closed.is_empty());
    assert_eq!(told(&pair.server).opened.len(), 1);
    for refused in [pair.up().stats().refused, pair.down().stats().refused] {
        for kind in [Refused::Unopened, Refused::BadLength, Refused::BadSequence] {
            assert!(refused[kind] > 100, "{kind:?}: {}", refused[kind]);
        }
    }
    let endpoint = pair.server.world().resource::<ServerEndpoint>();
    let refused = endpoint.stats().refused;
    for kind in [
        Refused::Stranger,
        Refused::UnknownType,
        Refused::TokenReused,
    ] {
        assert!(refused[kind] > 100, "{kind:?}: {}", refused[kind]);
    }
}

#[test]
fn a_client_hears_its_server_only() {
    let (mut pair, mut relay) = relayed();
    let stranger = socket([127, 0, 0, 1]);
    pair.down().send_datagram(&[0x80, 5]).unwrap();
    pair.server.update();
    // What the server said comes from elsewhere first.
    let said = receive(&relay.back).unwrap();
    stranger.send_to(&said, relay.client.unwrap()).unwrap();
    pair.client.update();
    let up = pair.up();
    assert_eq!(up.recv_datagram(), None);
    assert_eq!(up.stats().refused[Refused::Stranger], 1);
    relay.to_client(&said);
    relay.pump();
    pair.client.update();
    assert_eq!(pair.up().recv_datagram().unwrap()[..], [0x80, 5]);
}

#[test]
fn every_bit_of_a_session_may_flip() {
    let (mut pair, mut relay) = relayed();
    for link in pair.both() {
        link.send_datagram(&[0x80; 8]).unwrap();
        link.send_reliable(Channel::Control, bytes(1, 8)).unwrap();
    }
    for _ in 0..10 {
        pair.client.update();
        relay.pump();
        pair.server.update();
        relay.pump();
    }
    let before = relay.heard.clone();
    for datagram in before.iter().flatten() {
        // Of long ones the head and the tail: what lies between is only more of the same seal.
        let bits = datagram.len() * 8;
        let chosen = (0..bits).filter(|bit| *bit < 400 || *bit + 200 >= bits);
        for (count, bit) in chosen.enumerate() {
            let mut changed = datagram.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            relay.to_server(&changed);
            relay.to_client(&changed);
            if count % 50 == 49 {
                pair.client.update();
                pair.server.update();
                relay.pump();
            }
        }
    }
    for _ in 0..3 {
        pair.client.update();
        pair.server.update();
        relay.pump();
    }
    assert!(pair.up().is_connected() && pair.down().is_connected());
    assert!(pair.up().stats().refused.total() > 1000);
}

#[test]
fn a_flood_of_requests_leaves_room_for_a_new_client() {
    let mut server = secure_server();
    let address = server.world().resource::<ServerEndpoint>().local_address();
    let now = server.world().resource::<ServerEndpoint>().clock().now();
    let flood = socket([127, 0, 0, 2]);
    let mut junk = Junk(3);
    let ticket = token(&server, &[0; 256]);
    let mut client = app();
    let up = connect(&mut client, ClientConfig::secure(ticket));
    for _ in 0..60 {
        for _ in 0..150 {
            let mut request = vec![0];
            request.extend(b"NETCODE 1.02\0");
            request.extend(PROTOCOL.to_le_bytes());
            request.extend((now.as_secs() + 20).to_le_bytes());
            request.extend(junk.bytes(1048));
            flood.send_to(&request, address).unwrap();
        }
        server.update();
        client.update();
    }
    assert!(link(&client, up).is_connected());
    let stats = server.world().resource::<ServerEndpoint>().stats();
    assert!(stats.refused[Refused::RateLimited] > 5000);
    // Two seconds of 256 a second, and the burst.
    assert!(stats.refused[Refused::Unopened] <= 1100);
}

#[test]
fn an_unencrypted_request_does_not_keep_a_dead_link() {
    let (mut pair, mut relay) = relayed();
    let request = relay.heard[0][0].clone();
    assert_eq!(request.len(), 1078);
    // The client falls silent; someone speaks from its address without any key.
    for _ in 0..120 {
        relay.to_server(&request);
        pair.server.update();
    }
    relay.pump();
    assert_eq!(
        told(&pair.server).closed,
        [(pair.down, CloseReason::TimedOut)]
    );
    assert_eq!(told(&pair.server).opened.len(), 1);
}

#[test]
fn no_nonce_of_a_servers_packets_is_used_for_two() {
    let (server, first) = Relay::before_a_server();
    let mut relays = vec![first];
    let mut pairs: Vec<Pair> = Vec::new();
    let mut server = Some(server);
    // Several handshakes one after the other, so that challenges have low numbers, as the first
    // packets of every link have.
    for _ in 0..4 {
        let endpoint = server.take().unwrap();
        let config = ClientConfig::secure(token(&endpoint, &[0; 256]));
        let (mut pair, mut relay) = relay_to(endpoint, relays.pop().unwrap(), config);
        for tick in 0..40u8 {
            if tick < 20 {
                pair.down().send_datagram(&[0x80, tick]).unwrap();
            }
            pair.server.update();
            relay.pump();
            pair.client.update();
            relay.pump();
        }
        pair.down().close(CloseReason::Requested);
        for _ in 0..4 {
            pair.server.update();
            relay.pump();
        }
        let mut by_nonce: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
        for datagram in &relay.heard[1] {
            let head = gate::check_datagram(datagram).unwrap();
            let before = by_nonce.insert(head.sequence, datagram.clone());
            // A goodbye is sent three times, always the same.
            assert!(before.is_none_or(|before| before == *datagram));
        }
        assert!(by_nonce.len() > 22);
        server = Some(std::mem::take(&mut pair.server));
        relays.push(Relay {
            front: relay.front.try_clone().unwrap(),
            back: socket([127, 0, 0, 1]),
            server: relay.server,
            client: None,
            heard: Default::default(),
        });
        pairs.push(pair);
    }
}

fn seal(open: bool, key: &[u8; 32], datagram: &mut [u8]) {
    let bytes = usize::from(datagram[0] >> 4);
    let mut aad = b"NETCODE 1.02\0".to_vec();
    aad.extend(PROTOCOL.to_le_bytes());
    aad.push(datagram[0]);
    let mut nonce = [0; 12];
    nonce[4..4 + bytes].copy_from_slice(&datagram[1..=bytes]);
    let (body, tag) = datagram[1 + bytes..].split_last_chunk_mut::<16>().unwrap();
    let cipher = ChaCha20Poly1305::new(key.into());
    if open {
        let tag = (*tag).into();
        cipher
            .decrypt_in_place_detached(&nonce.into(), &aad, body, &tag)
            .unwrap();
    } else {
        let sealed = cipher.encrypt_in_place_detached(&nonce.into(), &aad, body);
        tag.copy_from_slice(&sealed.unwrap());
    }
}

#[test]
fn the_user_data_of_one_token_cannot_be_shown_under_another() {
    let mut server = secure_server();
    let address = server.world().resource::<ServerEndpoint>().local_address();
    let mut clients = [[1; 256], [2; 256]].map(|user_data| {
        let bytes = token(&server, &user_data).to_bytes();
        let token = ConnectToken::read(&mut &bytes[..]).unwrap();
        let key = token.server_to_client_key;
        let secure = ClientAuthentication::Secure {
            connect_token: token,
        };
        let netcode = NetcodeClient::new(Duration::from_secs(1), secure).unwrap();
        (netcode, socket([127, 0, 0, 1]), key)
    });
    // Both ask and are challenged.
    let mut challenges = Vec::new();
    for (netcode, socket, _) in &mut clients {
        let (request, _) = netcode.update(Duration::ZERO).unwrap();
        socket.send_to(request, address).unwrap();
        server.update();
        challenges.push(receive(socket).unwrap());
    }
    // The second answers with the first one's challenge, resealed for itself.
    let mut foreign = challenges[0].clone();
    seal(true, &clients[0].2, &mut foreign);
    seal(false, &clients[1].2, &mut foreign);
    let (netcode, socket, _) = &mut clients[1];
    netcode.process_packet(&mut foreign);
    let (response, _) = netcode.update(Duration::ZERO).unwrap();
    socket.send_to(response, address).unwrap();
    server.update();
    assert!(told(&server).opened.is_empty());
    let stats = server.world().resource::<ServerEndpoint>().stats();
    assert_eq!(stats.refused[Refused::TokenReused], 1);
}
