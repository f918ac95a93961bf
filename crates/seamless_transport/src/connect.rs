//! How to ask a server for a link.

use std::{io, net::SocketAddr, time::Duration};

use renetcode::{ClientAuthentication, generate_random_bytes};
use seamless_wire::ticket::TICKET_BYTES;

use crate::{
    ConditionerConfig, PeerAddress, Token,
    clock::system_time,
    memory::{MemoryClient, MemoryHub},
    udp::{OpenError, UdpClient},
};

/// How to ask a server for a link.
#[derive(Debug, Clone)]
pub struct ClientConfig {
    /// Where, and by what right.
    pub server: ServerAddress,
    /// The socket's own address; by default any free port.
    pub bind: Option<SocketAddr>,
    /// Weather from the first datagram on.
    pub conditioner: ConditionerConfig,
}

/// Where a server is, and what it wants to see.
#[derive(Debug, Clone)]
pub enum ServerAddress {
    /// The servers that a token names, tried one after the other.
    Secure {
        /// The right to one link.
        token: Token,
    },
    /// A server that takes anyone. For development.
    Unsecure {
        /// Where it listens.
        address: SocketAddr,
        /// Which game.
        protocol_id: u64,
        /// What the server will see as the token's user data.
        user_data: Box<[u8; TICKET_BYTES]>,
    },
    /// A server in this process.
    Memory {
        /// The hub that both share.
        hub: MemoryHub,
        /// The server's number at the hub.
        server: u64,
        /// What the server will see as the token's user data.
        user_data: Box<[u8; TICKET_BYTES]>,
        /// Silence after which the link ends, on this side.
        timeout: Duration,
    },
}

impl ClientConfig {
    /// With a token.
    #[must_use]
    pub fn secure(token: Token) -> Self {
        ServerAddress::Secure { token }.into()
    }

    /// Without one, at a server that takes anyone.
    #[must_use]
    pub fn unsecure(address: SocketAddr, protocol_id: u64) -> Self {
        let user_data = Box::new([0; TICKET_BYTES]);
        ServerAddress::Unsecure {
            address,
            protocol_id,
            user_data,
        }
        .into()
    }

    /// In this process, with a timeout of 5 s.
    #[must_use]
    pub fn memory(hub: &MemoryHub, server: u64) -> Self {
        ServerAddress::Memory {
            hub: hub.clone(),
            server,
            user_data: Box::new([0; TICKET_BYTES]),
            timeout: Duration::from_secs(5),
        }
        .into()
    }

    /// What the server will see as user data. A token's is sealed and stays.
    #[must_use]
    pub fn with_user_data(mut self, bytes: [u8; TICKET_BYTES]) -> Self {
        match &mut self.server {
            ServerAddress::Unsecure { user_data, .. } | ServerAddress::Memory { user_data, .. } => {
                **user_data = bytes;
            }
            ServerAddress::Secure { .. } => {}
        }
        self
    }

    /// Weather from the first datagram on.
    #[must_use]
    pub const fn with_conditioner(mut self, conditioner: ConditionerConfig) -> Self {
        self.conditioner = conditioner;
        self
    }
}

impl From<ServerAddress> for ClientConfig {
    fn from(server: ServerAddress) -> Self {
        Self {
            server,
            bind: None,
            conditioner: ConditionerConfig::default(),
        }
    }
}

/// Why a server could not even be asked.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// No socket could be had.
    #[error("no socket for {server}: {source}")]
    Io {
        /// Whom it was for.
        server: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// netcode refused to begin.
    #[error("netcode: {0}")]
    Netcode(String),
    /// All slots of the table of links are in use.
    #[error("no room for another link")]
    TooManyLinks,
}

/// What carries a client's link.
pub(crate) enum Line {
    Udp(Box<UdpClient>),
    Memory(Box<MemoryClient>),
}

/// Makes the line, and tells where it leads and the client's id.
pub(crate) fn open(
    server: ServerAddress,
    bind: Option<SocketAddr>,
) -> Result<(Line, PeerAddress, u64), ConnectError> {
    let (address, authentication) = match server {
        ServerAddress::Secure { token } => {
            let address = token.first_server();
            let connect_token = token.into_inner();
            (address, ClientAuthentication::Secure { connect_token })
        }
        ServerAddress::Unsecure {
            address,
            protocol_id,
            user_data,
        } => {
            let authentication = ClientAuthentication::Unsecure {
                protocol_id,
                client_id: u64::from_le_bytes(generate_random_bytes()),
                server_addr: address,
                user_data: Some(*user_data),
            };
            (address, authentication)
        }
        ServerAddress::Memory {
            hub,
            server,
            user_data,
            timeout,
        } => {
            let client = MemoryClient::open(hub, server, user_data, timeout);
            let id = client.address();
            return Ok((
                Line::Memory(Box::new(client)),
                PeerAddress::Memory(server),
                id,
            ));
        }
    };
    let client = UdpClient::open(address, bind, system_time(), authentication);
    let client = client.map_err(|error| match error {
        OpenError::Io(source) => ConnectError::Io {
            server: address,
            source,
        },
        OpenError::Netcode(error) => ConnectError::Netcode(error.to_string()),
    })?;
    let id = client.client_id();
    Ok((Line::Udp(Box::new(client)), PeerAddress::Udp(address), id))
}
