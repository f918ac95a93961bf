//! The links of a client, each with its own socket.

use std::{io, net::SocketAddr, time::Duration};

use bevy::prelude::*;
use renet::RenetClient;
use renetcode::{ClientAuthentication, generate_random_bytes};
use seamless_wire::ticket::TICKET_BYTES;

use crate::{
    CloseReason, ConditionerConfig, Link, LinkId, Links, PeerAddress, Token, TransportConfig,
    carrier::CarrierKind,
    channel::connection_config,
    clock::system_time,
    frame::Frame,
    link::Peer,
    memory::{MemoryClient, MemoryHub},
    notice::Notices,
    state::LinkSide,
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

/// All links that this app asked for: its client side.
///
/// There may be several at once, each on its own socket: a client that walks from one server to
/// the next opens the second link before the first one closes. One of them is primary: its renet
/// client is the resource [`bevy_renet::RenetClient`], for those who look there. The first is
/// primary until another is promoted.
#[derive(Resource, Default)]
pub struct ClientEndpoints {
    endpoints: Vec<ClientEndpoint>,
    primary: Option<LinkId>,
    /// Whose renet client is in the resource now.
    installed: Option<LinkId>,
}

struct ClientEndpoint {
    link: LinkId,
    line: Line,
    /// `None` while it is in the resource.
    renet: Option<Box<RenetClient>>,
}

enum Line {
    Udp(Box<UdpClient>),
    Memory(Box<MemoryClient>),
}

impl ClientEndpoints {
    /// Asks a server for a link. It stands when [`LinkOpened`](crate::LinkOpened) says so, or
    /// [`LinkClosed`](crate::LinkClosed) says why not.
    ///
    /// # Errors
    /// [`ConnectError`] when the server could not even be asked.
    pub fn connect(
        &mut self,
        links: &mut Links,
        limits: &TransportConfig,
        config: ClientConfig,
    ) -> Result<LinkId, ConnectError> {
        let (line, address, netcode_id) = open(config.server, config.bind)?;
        let peer = Peer {
            carrier: CarrierKind::Client,
            address,
            netcode_id,
            user_data: None,
        };
        let id = links
            .insert(|id| Link::new(id, peer, limits, Duration::ZERO))
            .ok_or(ConnectError::TooManyLinks)?;
        if let Some(link) = links.get_mut(id)
            && config.conditioner != ConditionerConfig::default()
        {
            link.set_conditioner(config.conditioner);
        }
        let renet = RenetClient::new(connection_config(LinkSide::ToServer, limits));
        self.endpoints.push(ClientEndpoint {
            link: id,
            line,
            renet: Some(Box::new(renet)),
        });
        let primary = self.primary.and_then(|primary| self.find(primary));
        if primary.is_none() {
            self.primary = Some(id);
        }
        Ok(id)
    }

    /// Makes a link the primary one, from the next
    /// [`TransportSystems::Receive`](crate::TransportSystems::Receive) on. `false` if it is not a
    /// client's link or over.
    pub fn promote(&mut self, link: LinkId) -> bool {
        let known = self.find(link).is_some();
        if known {
            self.primary = Some(link);
        }
        known
    }

    /// The primary link. It may be over.
    #[must_use]
    pub const fn primary(&self) -> Option<LinkId> {
        self.primary
    }

    /// The link whose renet client is in the resource [`bevy_renet::RenetClient`].
    #[must_use]
    pub const fn installed(&self) -> Option<LinkId> {
        self.installed
    }

    /// The address of a link's own socket; `None` for links in memory.
    #[must_use]
    pub fn local_address(&self, link: LinkId) -> Option<SocketAddr> {
        match &self.find(link)?.line {
            Line::Udp(client) => client.local_address(),
            Line::Memory(_) => None,
        }
    }

    fn find(&self, link: LinkId) -> Option<&ClientEndpoint> {
        self.endpoints.iter().find(|endpoint| endpoint.link == link)
    }

    /// Puts the primary's renet client into the resource, and takes another's out. The client of a
    /// link that is over stays, disconnected, until another is promoted.
    pub(crate) fn install_primary(
        &mut self,
        present: Option<&mut bevy_renet::RenetClient>,
    ) -> Option<bevy_renet::RenetClient> {
        if self.primary == self.installed {
            return None;
        }
        let primary = self.primary?;
        let endpoint = self
            .endpoints
            .iter_mut()
            .find(|endpoint| endpoint.link == primary)?;
        let mut next = bevy_renet::RenetClient(*endpoint.renet.take()?);
        let before = self.installed.replace(primary);
        let Some(present) = present else {
            return Some(next);
        };
        std::mem::swap(present, &mut next);
        if let Some(endpoint) = self.endpoints.iter_mut().find(|e| Some(e.link) == before) {
            endpoint.renet = Some(Box::new(next.0));
        }
        None
    }

    pub(crate) fn receive(
        &mut self,
        mut installed: Option<&mut bevy_renet::RenetClient>,
        frame: &mut Frame<'_, '_>,
    ) {
        let times = (frame.now, frame.delta);
        self.endpoints.retain_mut(|endpoint| {
            let Some(link) = frame.links.get_mut(endpoint.link) else {
                return false;
            };
            let Some(renet) = engine(&mut endpoint.renet, &mut installed) else {
                // Someone removed the resource.
                frame.notices.closed(link, CloseReason::Engine);
                return false;
            };
            let before = link.is_connected();
            match &mut endpoint.line {
                Line::Udp(client) => {
                    client.receive(link, renet, times, frame.config.packets_per_frame);
                }
                Line::Memory(client) => client.receive(link, renet, frame.now),
            }
            if link.is_connected() && !before {
                frame.notices.opened(link);
            }
            endpoint
                .line
                .outlives(link, renet, frame.notices, frame.now)
        });
    }

    /// Sends what one link has for this tick.
    pub(crate) fn flush(
        &mut self,
        link: &mut Link,
        installed: Option<&mut bevy_renet::RenetClient>,
        notices: &mut Notices<'_>,
        (now, delta): (Duration, Duration),
    ) {
        let mut installed = installed;
        let id = link.id();
        let Some(at) = self
            .endpoints
            .iter()
            .position(|endpoint| endpoint.link == id)
        else {
            return;
        };
        let endpoint = &mut self.endpoints[at];
        let Some(renet) = engine(&mut endpoint.renet, &mut installed) else {
            return;
        };
        renet.update(delta);
        match &mut endpoint.line {
            Line::Udp(client) => client.flush(link, renet, now),
            Line::Memory(client) => client.flush(link, renet, now),
        }
        if !endpoint.line.outlives(link, renet, notices, now) {
            self.endpoints.remove(at);
        }
    }
}

impl Line {
    /// Ends a doomed link; `false` if it did.
    fn outlives(
        &mut self,
        link: &mut Link,
        renet: &mut RenetClient,
        notices: &mut Notices<'_>,
        now: Duration,
    ) -> bool {
        let Some(reason) = link.doomed() else {
            return true;
        };
        if reason != CloseReason::Abandoned {
            match self {
                Self::Udp(client) => client.say_goodbye(link, now),
                Self::Memory(client) => client.say_goodbye(link, now),
            }
        }
        match reason {
            CloseReason::Requested | CloseReason::Refused | CloseReason::Shutdown => {
                renet.disconnect();
            }
            _ => renet.disconnect_due_to_transport(),
        }
        notices.closed(link, reason);
        false
    }
}

/// An endpoint's renet client, wherever it is.
fn engine<'a>(
    own: &'a mut Option<Box<RenetClient>>,
    installed: &'a mut Option<&mut bevy_renet::RenetClient>,
) -> Option<&'a mut RenetClient> {
    match own {
        Some(own) => Some(own),
        None => installed.as_mut().map(|installed| &mut installed.0),
    }
}

fn open(
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
