//! What follows on a server's tick and is no part of it: its datagrams are sealed, and go to a socket.
//!
//! For all subjects with the same cipher and the same kind of socket, in the number and the mean length
//! that their datagrams had: netcode's, which bevy_seamless, bevy_replicon and lightyear use, and UDP on
//! loopback. Who gives the system several datagrams of a client at once does so here as well, with the
//! same library.

use std::{
    io,
    net::{SocketAddr, UdpSocket},
    time::{Duration, Instant},
};

use quinn_udp::{Transmit, UdpSockRef, UdpSocketState};
use renetcode::{
    ClientAuthentication, ConnectToken, NETCODE_MAX_PAYLOAD_BYTES, NetcodeClient, NetcodeServer,
    ServerAuthentication, ServerConfig, ServerResult,
};

use crate::tick::{median, micros};

/// Datagrams of which the time is taken together, and how often.
const BATCH: usize = 64;
const BATCHES: usize = 200;

/// Datagrams of full length that one call takes.
const MOST_TOGETHER: usize = 52;

/// Packets of a handshake of which some may be lost on the way to nobody.
const HANDSHAKE: usize = 100;

const KEY: [u8; 32] = [42; 32];
const CLIENT: u64 = 1;

/// Times of one tick's datagrams, in microseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Way {
    pub(crate) sealing_us: f64,
    pub(crate) sockets_us: f64,
}

impl Way {
    /// Of so many datagrams a tick, with so many bytes in all. `together`: so many go to one client, and
    /// leave together.
    pub(crate) fn of(datagrams: f64, bytes: f64, together: f64) -> Result<Self, String> {
        let len = (bytes / datagrams).round() as usize;
        if len > NETCODE_MAX_PAYLOAD_BYTES {
            return Err(format!("netcode seals no {len} bytes"));
        }
        let payload = vec![0x80; len.max(1)];
        let mut server = connected()?;
        let mut sealed = 0;
        let sealing = timed(|| {
            for _ in 0..BATCH {
                let packet = server.generate_payload_packet(CLIENT, &payload);
                sealed = packet.map_err(|error| error.to_string())?.1.len();
            }
            Ok(())
        })?;
        let together = (together.round() as usize).clamp(1, MOST_TOGETHER);
        let sockets = sockets(&vec![0x80; sealed * together], sealed);
        let sockets = sockets.map_err(|error| error.to_string())?;
        Ok(Self {
            sealing_us: sealing * datagrams,
            sockets_us: sockets * datagrams,
        })
    }
}

/// Median time of one datagram of a batch.
fn timed(mut batch: impl FnMut() -> Result<(), String>) -> Result<f64, String> {
    let mut times = Vec::with_capacity(BATCHES);
    for _ in 0..BATCHES {
        let started = Instant::now();
        batch()?;
        times.push(micros(started.elapsed()) / BATCH as f64);
    }
    Ok(median(times.into_iter()).unwrap_or_default())
}

/// A server with one client.
fn connected() -> Result<NetcodeServer, String> {
    let (now, public): (_, SocketAddr) = (Duration::ZERO, ([10, 0, 0, 9], 5000).into());
    let address: SocketAddr = ([10, 0, 0, 1], 4000).into();
    let mut server = NetcodeServer::new(ServerConfig {
        current_time: now,
        max_clients: 1,
        protocol_id: 1,
        public_addresses: vec![public],
        authentication: ServerAuthentication::Secure { private_key: KEY },
    });
    let token = ConnectToken::generate(now, 1, 300, CLIENT, 5, vec![public], None, &KEY);
    let connect_token = token.map_err(|error| error.to_string())?;
    let secure = ClientAuthentication::Secure { connect_token };
    let mut client = NetcodeClient::new(now, secure).map_err(|error| error.to_string())?;
    for _ in 0..HANDSHAKE {
        if client.is_connected() {
            return Ok(server);
        }
        if let Some((packet, _)) = client.update(Duration::from_millis(300))
            && let ServerResult::PacketToSend { payload, .. }
            | ServerResult::ClientConnected { payload, .. } =
                server.process_packet(address, packet)
        {
            client.process_packet(payload);
        }
    }
    Err("netcode does not connect to itself".into())
}

/// Median time in which a datagram of `len` bytes goes to a socket, with others of that length. Somebody
/// takes what arrives, beside the clock.
fn sockets(datagrams: &[u8], len: usize) -> io::Result<f64> {
    let (from, to) = (
        UdpSocket::bind(("127.0.0.1", 0))?,
        UdpSocket::bind(("127.0.0.1", 0))?,
    );
    let there = to.local_addr()?;
    to.set_nonblocking(true)?;
    let together = datagrams.len() / len;
    let state = UdpSocketState::new(UdpSockRef::from(&from))?;
    let all = Transmit {
        destination: there,
        ecn: None,
        contents: datagrams,
        segment_size: Some(len),
        src_ip: None,
    };
    let mut buffer = vec![0; datagrams.len()];
    let mut times = Vec::with_capacity(BATCHES);
    for _ in 0..BATCHES {
        let calls = (BATCH / together).max(1);
        let started = Instant::now();
        for _ in 0..calls {
            if together == 1 {
                from.send_to(datagrams, there)?;
            } else {
                state.try_send(UdpSockRef::from(&from), &all)?;
            }
        }
        times.push(micros(started.elapsed()) / (calls * together) as f64);
        while to.recv_from(&mut buffer).is_ok() {}
    }
    Ok(median(times.into_iter()).unwrap_or_default())
}
