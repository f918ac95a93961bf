//! Sockets with bad intentions.

use std::net::{SocketAddr, UdpSocket};

use bevy::prelude::*;
use seamless_transport::*;

use super::*;

pub const SECURE: Authentication = Authentication::Secure { private_key: KEY };

pub fn socket(ip: [u8; 4]) -> UdpSocket {
    let socket = UdpSocket::bind(SocketAddr::from((ip, 0))).unwrap();
    socket.set_nonblocking(true).unwrap();
    socket
}

pub fn receive(socket: &UdpSocket) -> Option<Vec<u8>> {
    let mut buffer = [0; 2048];
    let (len, _) = socket.recv_from(&mut buffer).ok()?;
    Some(buffer[..len].to_vec())
}

/// Stands between a client and a server, hears everything, and can speak as either.
pub struct Relay {
    /// The client believes this to be the server.
    pub front: UdpSocket,
    /// The server believes this to be the client.
    pub back: UdpSocket,
    pub server: SocketAddr,
    pub client: Option<SocketAddr>,
    /// What the client and the server said.
    pub heard: [Vec<Vec<u8>>; 2],
}

impl Relay {
    /// A server behind a relay, and the relay.
    pub fn before_a_server() -> (App, Self) {
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

    pub fn pump(&mut self) {
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

    pub fn to_server(&self, datagram: &[u8]) {
        self.back.send_to(datagram, self.server).unwrap();
    }

    pub fn to_client(&self, datagram: &[u8]) {
        if let Some(client) = self.client {
            self.front.send_to(datagram, client).unwrap();
        }
    }
}

/// A client behind a relay, with a link.
pub fn relayed() -> (Pair, Relay) {
    let (server, relay) = Relay::before_a_server();
    let config = ClientConfig::secure(token(&server, &[0; 256]));
    relay_to(server, relay, config)
}

pub fn relay_to(mut server: App, mut relay: Relay, config: ClientConfig) -> (Pair, Relay) {
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
pub struct Junk(pub u64);

impl Junk {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        self.0 >> 33
    }

    pub fn below(&mut self, bound: usize) -> usize {
        self.next() as usize % bound.max(1)
    }

    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next() as u8).collect()
    }

    /// The datagram with a bit flipped, cut, or longer.
    pub fn mutate(&mut self, datagram: &[u8]) -> Vec<u8> {
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
