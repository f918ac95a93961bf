//! Hostile peers with a valid link: netcode is spoken correctly, anything at all inside.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::{net::UdpSocket, time::Duration};

use bevy::prelude::*;
use common::{hostile::*, *};
use renetcode::{ClientAuthentication, ConnectToken, NetcodeClient};
use seamless_transport::*;

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
