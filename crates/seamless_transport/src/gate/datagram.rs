//! What a netcode datagram must look like before renetcode may see it.

use crate::Refused;

/// Longest datagram of the protocol, in bytes.
pub(crate) const MAX_DATAGRAM_BYTES: usize = 1400;
/// Longest payload inside one, in bytes.
const MAX_PAYLOAD_BYTES: usize = 1300;
pub(crate) const MAC_BYTES: usize = 16;
const PREFIX_BYTES: usize = 1;
/// Sequence and sealed challenge token.
const CHALLENGE_BYTES: usize = 8 + 300;
/// Client index and number of clients.
const KEEP_ALIVE_BYTES: usize = 4 + 4;
/// renetcode takes nothing shorter, though a goodbye with sequence 0 is one byte shorter.
const MIN_DATAGRAM_BYTES: usize = 2 + MAC_BYTES;

/// What every connection request begins with, after its prefix byte.
pub(crate) const PROTOCOL_VERSION: &[u8; 13] = b"NETCODE 1.02\0";

/// Length of a connection request: prefix, version, protocol id, expiry, nonce, sealed token.
pub const REQUEST_BYTES: usize = PREFIX_BYTES + 13 + 8 + 8 + 24 + 1024;

/// The types of netcode's datagrams, by their number on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum DatagramType {
    /// A client asks for a connection. Not encrypted, except the token inside.
    Request = 0,
    /// The server is full.
    Denied = 1,
    /// The server asks the client to prove its address.
    Challenge = 2,
    /// The client's proof.
    Response = 3,
    /// Nothing to say.
    KeepAlive = 4,
    /// Something to say.
    Payload = 5,
    /// Goodbye.
    Disconnect = 6,
}

/// The readable part of a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DatagramHead {
    /// Its type.
    pub kind: DatagramType,
    /// Its sequence, which is also its nonce. 0 for a request.
    pub sequence: u64,
}

/// Checks everything that can be checked without a key.
///
/// What passes can be given to renetcode on either side, at any time, without a panic. Costs a few
/// nanoseconds.
///
/// # Errors
/// The kind of [`Refused`] to count.
pub fn check_datagram(datagram: &[u8]) -> Result<DatagramHead, Refused> {
    if datagram.len() < MIN_DATAGRAM_BYTES {
        return Err(Refused::Short);
    }
    if datagram.len() > MAX_DATAGRAM_BYTES {
        return Err(Refused::Long);
    }
    let prefix = datagram[0];
    let kind = match prefix & 0x0f {
        0 => DatagramType::Request,
        1 => DatagramType::Denied,
        2 => DatagramType::Challenge,
        3 => DatagramType::Response,
        4 => DatagramType::KeepAlive,
        5 => DatagramType::Payload,
        6 => DatagramType::Disconnect,
        _ => return Err(Refused::UnknownType),
    };
    let sequence_bytes = usize::from(prefix >> 4);
    if kind == DatagramType::Request {
        return match (sequence_bytes, datagram.len()) {
            (0, REQUEST_BYTES) => Ok(DatagramHead { kind, sequence: 0 }),
            _ => Err(Refused::BadLength),
        };
    }
    if sequence_bytes > 8 {
        return Err(Refused::BadSequence);
    }
    let frame = PREFIX_BYTES + sequence_bytes + MAC_BYTES;
    let Some(body) = datagram.len().checked_sub(frame) else {
        return Err(Refused::BadLength);
    };
    let legal = match kind {
        DatagramType::Denied | DatagramType::Disconnect => body == 0,
        DatagramType::Challenge | DatagramType::Response => body == CHALLENGE_BYTES,
        DatagramType::KeepAlive => body == KEEP_ALIVE_BYTES,
        DatagramType::Payload => body <= MAX_PAYLOAD_BYTES,
        DatagramType::Request => false,
    };
    if !legal {
        return Err(Refused::BadLength);
    }
    let mut sequence = [0; 8];
    sequence[..sequence_bytes]
        .copy_from_slice(&datagram[PREFIX_BYTES..PREFIX_BYTES + sequence_bytes]);
    let sequence = u64::from_le_bytes(sequence);
    // renetcode adds the size of its replay window to it.
    if sequence >= 1 << 63 {
        return Err(Refused::BadSequence);
    }
    Ok(DatagramHead { kind, sequence })
}

/// The readable fields of a connection request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// Which game.
    pub protocol_id: u64,
    /// When the token expires, in seconds on the server's clock.
    pub expires: u64,
    /// The end of the sealed token, which tells tokens apart.
    pub mac: [u8; 16],
}

impl Request {
    /// Reads a datagram that [`check_datagram`] found to be a request.
    ///
    /// # Errors
    /// [`Refused::BadRequest`] for another version of netcode, [`Refused::BadLength`] for what is
    /// no request.
    pub fn read(datagram: &[u8]) -> Result<Self, Refused> {
        if datagram.len() != REQUEST_BYTES {
            return Err(Refused::BadLength);
        }
        let (_, rest) = datagram.split_at(PREFIX_BYTES);
        let (version, rest) = rest.split_at(PROTOCOL_VERSION.len());
        if version != PROTOCOL_VERSION {
            return Err(Refused::BadRequest);
        }
        let (protocol_id, rest) = rest.split_first_chunk().ok_or(Refused::BadLength)?;
        let (expires, rest) = rest.split_first_chunk().ok_or(Refused::BadLength)?;
        let (_, mac) = rest.split_last_chunk().ok_or(Refused::BadLength)?;
        Ok(Self {
            protocol_id: u64::from_le_bytes(*protocol_id),
            expires: u64::from_le_bytes(*expires),
            mac: *mac,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::{net::SocketAddr, time::Duration};

    use proptest::prelude::*;
    use renetcode::{
        ClientAuthentication, ConnectToken, NetcodeClient, NetcodeServer, ServerAuthentication,
        ServerConfig, ServerResult,
    };

    use super::*;

    const KEY: [u8; 32] = [7; 32];
    const CLIENT: ([u8; 4], u16) = ([10, 0, 0, 1], 4000);

    fn client_address() -> SocketAddr {
        CLIENT.into()
    }

    /// A server and a client with a connection between them, and what they said.
    fn session() -> (NetcodeServer, NetcodeClient, Vec<Vec<u8>>) {
        let public: SocketAddr = ([10, 0, 0, 9], 5000).into();
        let mut server = NetcodeServer::new(ServerConfig {
            current_time: Duration::ZERO,
            max_clients: 4,
            protocol_id: 1,
            public_addresses: vec![public],
            authentication: ServerAuthentication::Secure { private_key: KEY },
        });
        let zero = Duration::ZERO;
        let token = ConnectToken::generate(zero, 1, 30, 5, 5, vec![public], None, &KEY).unwrap();
        let secure = ClientAuthentication::Secure {
            connect_token: token,
        };
        let mut client = NetcodeClient::new(zero, secure).unwrap();
        let mut said = Vec::new();
        for _ in 0..4 {
            let Some((packet, _)) = client.update(Duration::from_millis(300)) else {
                continue;
            };
            said.push(packet.to_vec());
            let (ServerResult::PacketToSend {
                payload: answer, ..
            }
            | ServerResult::ClientConnected {
                payload: answer, ..
            }) = server.process_packet(client_address(), packet)
            else {
                continue;
            };
            said.push(answer.to_vec());
            client.process_packet(answer);
        }
        assert!(client.is_connected());
        said.push(
            client
                .generate_payload_packet(&[0x80; 40])
                .unwrap()
                .1
                .to_vec(),
        );
        let (_, packet) = server.generate_payload_packet(5, &[0x80; 40]).unwrap();
        said.push(packet.to_vec());
        (server, client, said)
    }

    /// Gives both libraries a datagram if the gate lets it through.
    fn feed(server: &mut NetcodeServer, client: &mut NetcodeClient, datagram: &[u8]) {
        if check_datagram(datagram).is_err() {
            return;
        }
        for from in [client_address(), ([10, 0, 0, 2], 4000).into()] {
            server.process_packet(from, &mut datagram.to_vec());
        }
        client.process_packet(&mut datagram.to_vec());
    }

    #[test]
    fn everything_both_sides_say_passes() {
        let (.., said) = session();
        assert!(said.len() >= 6);
        for datagram in &said {
            check_datagram(datagram).unwrap();
        }
        let request = Request::read(&said[0]).unwrap();
        assert_eq!((request.protocol_id, request.expires), (1, 30));
        assert_eq!(request.mac, said[0][REQUEST_BYTES - 16..]);
    }

    #[test]
    fn a_sequence_length_above_eight_is_refused() {
        for nibble in 9..16u8 {
            for kind in 1..7 {
                let mut datagram = vec![0; 1200];
                datagram[0] = nibble << 4 | kind;
                assert_eq!(check_datagram(&datagram), Err(Refused::BadSequence));
            }
        }
    }

    #[test]
    fn a_packet_with_no_room_for_its_mac_is_refused() {
        for nibble in 0..=8u8 {
            for kind in 1..7u8 {
                for len in 0..17 + usize::from(nibble) {
                    let mut datagram = vec![0; len];
                    if let Some(first) = datagram.first_mut() {
                        *first = nibble << 4 | kind;
                    }
                    assert!(check_datagram(&datagram).is_err(), "{kind} {nibble} {len}");
                }
            }
        }
    }

    #[test]
    fn a_sequence_that_would_overflow_the_replay_window_is_refused() {
        let mut datagram = vec![0xff; 40];
        datagram[0] = 8 << 4 | 5;
        assert_eq!(check_datagram(&datagram), Err(Refused::BadSequence));
        datagram[8] = 0x7f;
        assert!(check_datagram(&datagram).is_ok());
    }

    #[test]
    fn only_a_request_of_exactly_its_length_is_a_request() {
        for len in 18..=MAX_DATAGRAM_BYTES {
            let verdict = check_datagram(&vec![0; len]);
            assert_eq!(verdict.is_ok(), len == REQUEST_BYTES, "{len}");
        }
        assert_eq!(Request::read(&[0; REQUEST_BYTES]), Err(Refused::BadRequest));
        assert_eq!(Request::read(&[0; 40]), Err(Refused::BadLength));
    }

    #[test]
    fn every_first_byte_at_every_length_leaves_the_libraries_standing() {
        let (mut server, mut client, _) = session();
        for first in 0..=255u8 {
            for len in (0..80).chain([325, 333, REQUEST_BYTES, 1316, 1400, 1401]) {
                for fill in [0, 0xff] {
                    let mut datagram = vec![fill; len];
                    if let Some(byte) = datagram.first_mut() {
                        *byte = first;
                    }
                    feed(&mut server, &mut client, &datagram);
                }
            }
        }
        assert!(client.is_connected());
        assert_eq!(server.connected_clients(), 1);
    }

    #[test]
    fn every_bit_flip_and_cut_of_a_session_leaves_the_libraries_standing() {
        let (mut server, mut client, said) = session();
        for datagram in said {
            for bit in 0..datagram.len().min(64) * 8 {
                let mut changed = datagram.clone();
                changed[bit / 8] ^= 1 << (bit % 8);
                feed(&mut server, &mut client, &changed);
            }
            for len in 0..datagram.len() {
                feed(&mut server, &mut client, &datagram[..len]);
            }
            for more in 1..40 {
                feed(
                    &mut server,
                    &mut client,
                    &[&datagram[..], &vec![0; more]].concat(),
                );
            }
            feed(&mut server, &mut client, &datagram);
        }
        assert_eq!(server.connected_clients(), 1);
    }

    proptest! {
        #[test]
        fn junk_leaves_the_libraries_standing(
            datagrams in proptest::collection::vec(
                proptest::collection::vec(any::<u8>(), 0..1500), 0..20)
        ) {
            let (mut server, mut client, _) = session();
            for datagram in &datagrams {
                feed(&mut server, &mut client, datagram);
            }
            prop_assert!(client.is_connected());
        }
    }
}
