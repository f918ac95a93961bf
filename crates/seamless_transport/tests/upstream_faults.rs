//! The faults of renetcode 2.0.0 and renet 2.0.1 that this crate stands in front of.
//!
//! Each test shows one in the bare library. When one fails, the library has been mended and the
//! guard named in the test may go.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    net::SocketAddr,
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

use renet::{ChannelConfig, ConnectionConfig, DisconnectReason, RenetClient, SendType};
use renetcode::{
    ClientAuthentication, ConnectToken, NetcodeClient, NetcodeServer, ServerAuthentication,
    ServerConfig, ServerResult,
};

const KEY: [u8; 32] = [7; 32];

fn public() -> SocketAddr {
    ([10, 0, 0, 9], 5000).into()
}

fn address() -> SocketAddr {
    ([10, 0, 0, 1], 4000).into()
}

fn panics(action: impl FnOnce()) -> bool {
    catch_unwind(AssertUnwindSafe(action)).is_err()
}

fn netcode_server() -> NetcodeServer {
    NetcodeServer::new(ServerConfig {
        current_time: Duration::ZERO,
        max_clients: 4,
        protocol_id: 1,
        public_addresses: vec![public()],
        authentication: ServerAuthentication::Secure { private_key: KEY },
    })
}

fn token() -> ConnectToken {
    let (zero, to) = (Duration::ZERO, vec![public()]);
    ConnectToken::generate(zero, 1, 300, 5, 5, to, None, &KEY).unwrap()
}

fn netcode_client(connect_token: ConnectToken) -> NetcodeClient {
    let secure = ClientAuthentication::Secure { connect_token };
    NetcodeClient::new(Duration::ZERO, secure).unwrap()
}

/// Runs a handshake; the server's answers.
fn shake(server: &mut NetcodeServer, client: &mut NetcodeClient) -> Vec<Vec<u8>> {
    let mut answers = Vec::new();
    while !client.is_connected() {
        let (packet, _) = client.update(Duration::from_millis(300)).unwrap();
        let (ServerResult::PacketToSend { payload, .. }
        | ServerResult::ClientConnected { payload, .. }) = server.process_packet(address(), packet)
        else {
            panic!("no answer");
        };
        answers.push(payload.to_vec());
        client.process_packet(payload);
    }
    answers
}

fn session() -> (NetcodeServer, NetcodeClient) {
    let (mut server, mut client) = (netcode_server(), netcode_client(token()));
    shake(&mut server, &mut client);
    (server, client)
}

/// Guard: `gate::check_datagram`.
#[test]
fn a_sequence_length_above_eight_panics_before_authentication() {
    let mut junk = [0xf5; 64];
    let (mut server, mut client) = session();
    assert!(panics(|| _ = server.process_packet(address(), &mut junk)));
    assert!(panics(|| _ = client.process_packet(&mut junk)));
}

/// Guard: `gate::check_datagram`.
#[test]
fn a_packet_without_room_for_its_mac_panics_before_authentication() {
    let mut junk = [0; 20];
    // A sequence that was not received yet.
    junk[..2].copy_from_slice(&[8 << 4 | 5, 200]);
    let (mut server, mut client) = session();
    assert!(panics(|| _ = server.process_packet(address(), &mut junk)));
    assert!(panics(|| _ = client.process_packet(&mut junk)));
}

/// Guard: `gate::check_datagram`. A wrap without overflow checks.
#[test]
#[cfg(debug_assertions)]
fn a_sequence_at_the_end_of_its_range_overflows_before_authentication() {
    let mut junk = [0xff; 64];
    junk[0] = 8 << 4 | 5;
    let (mut server, mut client) = session();
    assert!(panics(|| _ = server.process_packet(address(), &mut junk)));
    assert!(panics(|| _ = client.process_packet(&mut junk)));
}

/// Guard: the server takes no requests from addresses with a link.
#[test]
fn an_unencrypted_request_from_a_linked_address_is_a_sign_of_life() {
    let (mut server, _) = session();
    for _ in 0..20 {
        server.update(Duration::from_secs(1));
        server.process_packet(address(), &mut [0; 1078]);
        server.update_client(5);
    }
    assert!(server.is_client_connected(5));
}

/// Guard: nonces of challenges are stepped over, and the first is never 0.
#[test]
fn a_challenge_and_a_packet_of_the_link_share_key_and_nonce() {
    let (mut server, mut client) = (netcode_server(), netcode_client(token()));
    let answers = shake(&mut server, &mut client);
    // A sequence of 0 takes no bytes: prefix and nothing.
    let [challenge, keep_alive] = &answers[..] else {
        panic!("{} answers", answers.len());
    };
    assert_eq!((challenge[0], keep_alive[0]), (2, 4));
}

/// Guard: the mint's ledger.
#[test]
fn a_used_token_is_taken_again_from_the_same_address() {
    let token = token();
    let (mut server, mut client) = (netcode_server(), netcode_client(token.clone()));
    shake(&mut server, &mut client);
    server.disconnect(5);
    let mut again = netcode_client(token);
    shake(&mut server, &mut again);
    assert!(again.is_connected());
}

/// Guard: `Token::new`, for tokens that come over the wire.
#[test]
fn a_token_without_a_server_panics_in_the_client() {
    let mut token = token();
    token.server_addresses = [None; 32];
    assert!(panics(|| _ = netcode_client(token)));
}

/// Guard: `Token::new`.
#[test]
#[cfg(debug_assertions)]
fn a_token_that_expires_before_it_was_made_panics_in_the_client() {
    let mut token = token();
    token.create_timestamp = token.expire_timestamp + 1;
    let mut client = netcode_client(token);
    assert!(panics(|| _ = client.update(Duration::ZERO)));
}

/// Guard: `ServerEndpoint::bind`.
#[test]
fn too_many_clients_panic() {
    assert!(panics(|| _ = NetcodeServer::new(ServerConfig {
        current_time: Duration::ZERO,
        max_clients: 1025,
        protocol_id: 1,
        public_addresses: vec![public()],
        authentication: ServerAuthentication::Unsecure,
    })));
}

fn connection() -> RenetClient {
    let channels = vec![ChannelConfig {
        channel_id: 0,
        max_memory_usage_bytes: 1 << 20,
        send_type: SendType::ReliableOrdered {
            resend_time: Duration::from_millis(300),
        },
    }];
    let mut renet = RenetClient::new(ConnectionConfig {
        available_bytes_per_tick: 60_000,
        server_channels_config: channels.clone(),
        client_channels_config: channels,
    });
    renet.set_connected();
    renet
}

fn slice(sequence: u8, index: u8, count: u8) -> Vec<u8> {
    let mut packet = vec![2, sequence, 0, 0, index, count, 0x44, 0xb0];
    packet.resize(packet.len() + 1200, 1);
    packet
}

/// Guard: `gate::parse_reliable`.
#[test]
fn a_slice_index_out_of_range_panics() {
    assert!(panics(|| connection().process_packet(&slice(0, 5, 2))));
}

/// Guard: `gate::ReceiveWindow`. A wrong account without overflow checks.
#[test]
#[cfg(debug_assertions)]
fn a_changed_number_of_slices_panics() {
    let mut renet = connection();
    renet.process_packet(&slice(0, 0, 2));
    assert!(panics(|| renet.process_packet(&slice(1, 1, 9))));
}

/// Guard: `gate::parse_reliable`.
#[test]
fn one_malformed_packet_ends_the_connection() {
    for packet in [&[][..], &[9], &[0, 0, 77, 0, 0], &[4, 0, 1, 2, 0]] {
        let mut renet = connection();
        renet.process_packet(packet);
        assert!(renet.is_disconnected(), "{packet:?}");
    }
}

/// Guard: `gate::AckRangeGuard`.
#[test]
fn late_packets_with_gaps_grow_the_acknowledgements_until_the_connection_ends() {
    let mut renet = connection();
    for i in 0..700u16 {
        let sequence = (16_000 - 2 * i) | 0x4000;
        let [high, low] = sequence.to_be_bytes();
        renet.process_packet(&[0, high, low, 0, 0, 0]);
    }
    renet.get_packets_to_send();
    assert!(matches!(
        renet.disconnect_reason(),
        Some(DisconnectReason::PacketSerialization(_))
    ));
}

/// Guard: `gate::parse_reliable` and `gate::ReceiveWindow`.
#[test]
fn empty_messages_are_kept_without_bound_or_account() {
    let mut renet = connection();
    for id in 1..100_000u32 {
        let [a, b, c, d] = (id | 0x8000_0000).to_be_bytes();
        renet.process_packet(&[0, a, b, c, d, 0, 0, 1, a, b, c, d, 0]);
    }
    assert!(!renet.is_disconnected());
    // All of them were kept: they come out when the first arrives.
    renet.process_packet(&[0, 0, 0, 0, 1, 0, 1, 7]);
    let kept = std::iter::from_fn(|| renet.receive_message(0)).count();
    assert_eq!(kept, 100_000);
}

/// Guard: the link's own queue in front of renet.
#[test]
fn a_full_channel_ends_the_connection() {
    let mut renet = connection();
    renet.send_message(0, vec![0; 1 << 20]);
    renet.send_message(0, vec![0; 1]);
    assert!(renet.is_disconnected());
}

/// Guard: the link drops such packets.
#[test]
fn a_message_of_nearly_a_slice_brings_an_empty_packet() {
    let mut renet = connection();
    renet.send_message(0, vec![0; 1199]);
    let lengths: Vec<_> = renet.get_packets_to_send().iter().map(Vec::len).collect();
    assert_eq!(lengths, [5, 1207]);
}

/// Guard: the link's pacing of acknowledgements.
#[test]
fn idle_connections_acknowledge_acknowledgements_for_ever() {
    let (mut a, mut b) = (connection(), connection());
    a.send_message(0, vec![0; 10]);
    let mut packets = 0;
    for _ in 0..300 {
        for packet in a.get_packets_to_send() {
            b.process_packet(&packet);
        }
        for packet in b.get_packets_to_send() {
            a.process_packet(&packet);
            packets += 1;
        }
        a.update(Duration::from_millis(33));
        b.update(Duration::from_millis(33));
    }
    assert!(packets > 290, "{packets}");
}
