//! Hostile peers against a real server on a real socket, before and after authentication.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::{
    collections::BTreeMap,
    net::{SocketAddr, UdpSocket},
    time::Duration,
};

use bevy::prelude::*;
use chacha20poly1305::{AeadInPlace, ChaCha20Poly1305, KeyInit};
use common::*;
use renetcode::{ClientAuthentication, ConnectToken, NetcodeClient};
use seamless_transport::*;

const SECURE: Authentication = Authentication::Secure { private_key: KEY };

fn socket(ip: [u8; 4]) -> UdpSocket {
    let socket = UdpSocket::bind(SocketAddr::from((ip, 0))).unwrap();
    socket.set_nonblocking(true).unwrap();
    socket
}

fn receive(socket: &UdpSocket) -> Option<Vec<u8>> {
    let mut buffer = [0; 2048];
    let (len, _) = socket.recv_from(&mut buffer).ok()?;
    Some(buffer[..len].to_vec())
}

/// Stands between a client and a server, hears everything, and can speak as either.
struct Relay {
    /// The client believes this to be the server.
    front: UdpSocket,
    /// The server believes this to be the client.
    back: UdpSocket,
    server: SocketAddr,
    client: Option<SocketAddr>,
    /// What the client and the server said.
    heard: [Vec<Vec<u8>>; 2],
}

impl Relay {
    /// A server behind a relay, and the relay.
    fn before_a_server() -> (App, Self) {
        let front = socket([127, 0, 0, 1]);
        let server = udp_server(&ServerConfig {
            public_addresses: vec![front.local_addr().unwrap()],
            ..server_config(SECURE)
        });
        let address = server.world().resource::<ServerEndpoint>().local_address();
        let relay = Self {
            front,
            back: socket([127, 0, 0, 1]),
            server: address,
            client: None,
            heard: Default::default(),
        };
        (server, relay)
    }

    fn pump(&mut self) {
        let mut buffer = [0; 2048];
        while let Ok((len, from)) = self.front.recv_from(&mut buffer) {
            self.client = Some(from);
            self.heard[0].push(buffer[..len].to_vec());
            self.to_server(&buffer[..len]);
        }
        while let Some(datagram) = receive(&self.back) {
            self.to_client(&datagram);
            self.heard[1].push(datagram);
        }
    }

    fn to_server(&self, datagram: &[u8]) {
        self.back.send_to(datagram, self.server).unwrap();
    }

    fn to_client(&self, datagram: &[u8]) {
        if let Some(client) = self.client {
            self.front.send_to(datagram, client).unwrap();
        }
    }
}

/// A client behind a relay, with a link.
fn relayed() -> (Pair, Relay) {
    let (server, relay) = Relay::before_a_server();
    let config = ClientConfig::secure(token(&server, &[0; 256]));
    relay_to(server, relay, config)
}

fn relay_to(mut server: App, mut relay: Relay, config: ClientConfig) -> (Pair, Relay) {
    let mut client = app();
    let up = connect(&mut client, config);
    for _ in 0..100 {
        client.update();
        relay.pump();
        server.update();
        relay.pump();
        if link(&client, up).is_connected() {
            let down = *told(&server).opened.last().unwrap();
            let pair = Pair {
                server,
                client,
                up,
                down,
            };
            return (pair, relay);
        }
    }
    panic!("no link through the relay");
}

/// Deterministic junk.
struct Junk(u64);

impl Junk {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        self.0 >> 33
    }

    fn below(&mut self, bound: usize) -> usize {
        self.next() as usize % bound.max(1)
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next() as u8).collect()
    }

    /// The datagram with a bit flipped, cut, or longer.
    fn mutate(&mut self, datagram: &[u8]) -> Vec<u8> {
        let mut changed = datagram.to_vec();
        match self.below(4) {
            0 => changed.truncate(self.below(changed.len())),
            1 => {
                let len = self.below(60);
                changed.extend(self.bytes(len));
            }
            2 => {
                let at = self.below(12.min(changed.len()));
                changed[at] = self.next() as u8;
            }
            _ => {
                let bit = self.below(changed.len() * 8);
                changed[bit / 8] ^= 1 << (bit % 8);
            }
        }
        changed
    }
}

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

/// A client that speaks netcode correctly and anything it likes inside.
struct Insider {
    netcode: NetcodeClient,
    socket: UdpSocket,
}

impl Insider {
    fn enter(server: &mut App) -> (Self, LinkId) {
        let token = token(server, &[0; 256]);
        let bytes = token.to_bytes();
        let connect_token = ConnectToken::read(&mut &bytes[..]).unwrap();
        let now = Duration::from_secs(token.expires() - 10);
        let secure = ClientAuthentication::Secure { connect_token };
        let mut insider = Self {
            netcode: NetcodeClient::new(now, secure).unwrap(),
            socket: socket([127, 0, 0, 1]),
        };
        while !insider.netcode.is_connected() {
            if let Some((datagram, to)) = insider.netcode.update(Duration::from_millis(251)) {
                insider.socket.send_to(datagram, to).unwrap();
            }
            server.update();
            while let Some(mut datagram) = receive(&insider.socket) {
                insider.netcode.process_packet(&mut datagram);
            }
        }
        let link = *told(server).opened.last().unwrap();
        (insider, link)
    }

    fn say(&mut self, payload: &[u8]) {
        let (server, datagram) = self.netcode.generate_payload_packet(payload).unwrap();
        self.socket.send_to(datagram, server).unwrap();
    }
}

/// A slice of message 0 on channel 0, packet `sequence`.
fn slice(sequence: u8, index: u8, count: u8, len: usize) -> Vec<u8> {
    let [high, low] = (len as u16 | 0x4000).to_be_bytes();
    let mut packet = vec![2, sequence, 0, 0, index, count, high, low];
    packet.resize(packet.len() + len, 1);
    packet
}

#[test]
fn no_packet_of_an_insider_does_more_than_raise_a_counter() {
    let first = slice(0, 0, 3, 1200);
    let cases: Vec<(&str, Vec<Vec<u8>>, Refused)> = vec![
        ("no payload", vec![vec![]], Refused::EmptyPayload),
        (
            "unknown payload",
            vec![vec![0x50; 9]],
            Refused::UnknownPayload,
        ),
        ("long state", vec![vec![0x80; 1191]], Refused::StateTooLong),
        ("cut", vec![vec![0, 0x40]], Refused::Truncated),
        ("tail", vec![vec![4, 0, 0, 0, 0, 9]], Refused::Trailing),
        (
            "unreliable",
            vec![vec![1, 0, 0, 0, 1, 1, 7]],
            Refused::UnreliablePacket,
        ),
        (
            "unreliable slice",
            vec![vec![3, 0, 0, 0, 9, 2, 1, 1]],
            Refused::UnreliablePacket,
        ),
        (
            "channel",
            vec![vec![0, 0, 9, 0, 1, 0, 1, 7]],
            Refused::UnknownChannel,
        ),
        (
            "no messages",
            vec![vec![0, 0, 0, 0, 0]],
            Refused::EmptyMessage,
        ),
        (
            "empty message",
            vec![vec![0, 0, 0, 0, 1, 3, 0]],
            Refused::EmptyMessage,
        ),
        (
            "falling",
            vec![vec![0, 0, 0, 0, 2, 3, 1, 7, 2, 1, 7]],
            Refused::BadMessage,
        ),
        ("index", vec![slice(0, 5, 2, 1200)], Refused::BadSlice),
        ("count", vec![slice(0, 0, 63, 1200)], Refused::BadSlice),
        ("short slice", vec![slice(0, 0, 2, 900)], Refused::BadSlice),
        (
            "changed",
            vec![first, slice(1, 1, 2, 300)],
            Refused::ChangedMessage,
        ),
        ("ack range", vec![vec![4, 0, 3, 4, 0]], Refused::BadAck),
        (
            "ack claims",
            vec![vec![4, 0, 3, 0, 0x7f, 0xff]],
            Refused::BadAck,
        ),
        (
            "ack of unsent",
            vec![vec![4, 0, 50, 0, 0]],
            Refused::AckOfUnsent,
        ),
        (
            "jump",
            vec![vec![
                0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 1, 0, 1, 7,
            ]],
            Refused::SequenceJump,
        ),
        (
            "far ahead",
            vec![vec![0, 0, 0, 0, 1, 0x80, 0xff, 0xff, 0xff, 1, 7]],
            Refused::TooFarAhead,
        ),
    ];
    let mut server = secure_server();
    for (name, packets, kind) in cases {
        let (mut insider, id) = Insider::enter(&mut server);
        packets.iter().for_each(|packet| insider.say(packet));
        insider.say(&[0x80, 1]);
        server.update();
        let down = link_mut(&mut server, id);
        assert_eq!(down.stats().refused[kind], 1, "{name}");
        assert_eq!(down.stats().refused.total(), 1, "{name}");
        assert!(down.recv_datagram().is_some(), "{name}");
        assert!(down.is_connected(), "{name}");
        down.abandon();
        server.update();
    }
}

#[test]
fn an_insider_who_goes_on_is_cut_off_and_no_one_else() {
    let server = secure_server();
    let ticket = token(&server, &[0; 256]);
    let mut pair = Pair::connect(server, app(), ClientConfig::secure(ticket));
    let (mut insider, bad) = Insider::enter(&mut pair.server);
    let borne = FaultLimit::default().count;
    for _ in 0..borne {
        insider.say(&slice(0, 5, 2, 1200));
    }
    pair.server.update();
    assert!(link(&pair.server, bad).is_connected());
    insider.say(&slice(0, 5, 2, 1200));
    pair.steps(2);
    assert_eq!(told(&pair.server).closed, [(bad, CloseReason::Misbehaved)]);
    assert!(pair.up().is_connected() && pair.down().is_connected());
}

#[test]
fn an_insider_may_say_anything_random() {
    let mut server = app_with(TransportConfig {
        faults: FaultLimit {
            count: u32::MAX,
            window: Duration::from_secs(1),
        },
        ..Default::default()
    });
    server.insert_resource(ServerEndpoint::bind(&server_config(SECURE)).unwrap());
    let (mut insider, id) = Insider::enter(&mut server);
    let mut junk = Junk(9);
    for round in 0..6000u32 {
        let len = junk.below(1290);
        let mut payload = junk.bytes(len.min(60));
        payload.resize(len, 3);
        if let [kind, sequence, channel, ..] = &mut payload[..] {
            *kind = [0, 2, 4][junk.below(3)];
            *sequence = junk.below(64) as u8;
            *channel = junk.below(2) as u8;
        }
        insider.say(&payload);
        if round % 100 == 99 {
            server.update();
            let down = link_mut(&mut server, id);
            read(down, Channel::Control);
            read(down, Channel::Bulk);
        }
    }
    let down = link(&server, id);
    assert!(down.is_connected());
    assert!(down.stats().refused.total() > 3000);
}

#[test]
fn a_link_that_sends_too_much_loses_the_excess_only() {
    let mut server = app_with(TransportConfig {
        link_rate: Rate {
            packets_per_second: 100,
            bytes_per_second: 1 << 20,
        },
        ..Default::default()
    });
    server.insert_resource(ServerEndpoint::bind(&server_config(SECURE)).unwrap());
    let (mut insider, id) = Insider::enter(&mut server);
    for _ in 0..300 {
        insider.say(&[0x80, 1]);
    }
    server.update();
    let down = link_mut(&mut server, id);
    assert!((98..=100).contains(&down.drain_datagrams().count()));
    assert!(down.stats().refused[Refused::RateLimited] >= 200);
    assert!(down.is_connected());
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

#[test]
fn a_hostile_server_cannot_harm_a_client() {
    use renetcode::{NetcodeServer, ServerAuthentication, ServerResult};

    let wire = socket([127, 0, 0, 1]);
    let address = wire.local_addr().unwrap();
    let mut hostile = NetcodeServer::new(renetcode::ServerConfig {
        current_time: Duration::ZERO,
        max_clients: 1,
        protocol_id: PROTOCOL,
        public_addresses: vec![address],
        authentication: ServerAuthentication::Unsecure,
    });
    let mut client = app();
    let up = connect(&mut client, ClientConfig::unsecure(address, PROTOCOL));
    let mut id = None;
    while !link(&client, up).is_connected() {
        client.update();
        let mut buffer = [0; 2048];
        while let Ok((len, from)) = wire.recv_from(&mut buffer) {
            match hostile.process_packet(from, &mut buffer[..len]) {
                ServerResult::PacketToSend { payload, addr } => {
                    wire.send_to(payload, addr).unwrap();
                }
                ServerResult::ClientConnected {
                    client_id,
                    addr,
                    payload,
                    ..
                } => {
                    id = Some(client_id);
                    wire.send_to(payload, addr).unwrap();
                }
                _ => {}
            }
        }
    }
    let id = id.unwrap();
    let mut junk = Junk(4);
    for round in 0..40 {
        let len = junk.below(200);
        let random = junk.bytes(len);
        for payload in [
            &slice(0, 5, 2, 1200),
            &vec![],
            &vec![4, 0, 9, 0, 0],
            &random,
        ] {
            let (datagram, addr) = {
                let (addr, datagram) = hostile.generate_payload_packet(id, payload).unwrap();
                (datagram.to_vec(), addr)
            };
            wire.send_to(&datagram, addr).unwrap();
            wire.send_to(&junk.mutate(&datagram), addr).unwrap();
        }
        if round % 10 == 9 {
            client.update();
        }
    }
    assert_eq!(told(&client).closed, [(up, CloseReason::Misbehaved)]);
}
