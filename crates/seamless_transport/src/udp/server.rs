//! The UDP endpoint of a server.

use std::{collections::HashMap, io, net::SocketAddr, time::Duration};

use bevy::prelude::*;
use renetcode::{
    NETCODE_KEY_BYTES, NetcodeServer, ServerAuthentication, ServerConfig as NetcodeConfig,
};

use super::{
    arrivals::Arrivals,
    handshake::{Handshakes, SeenTokens},
    server_link::LinkPeer,
    socket::Socket,
};
use crate::{
    MintError, Refused, RefusedCounts, StrangerLimits, Tally, TokenClock, TokenMint,
    limiter::Strangers,
};

/// Clients of one endpoint at most; renetcode panics for more.
pub const MAX_CLIENTS: usize = 1024;

/// How clients prove that they may connect.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Authentication {
    /// By a token that [`ServerEndpoint::mint`] made. Each opens one link, once.
    Secure {
        /// 32 random bytes that no one else needs to know.
        private_key: [u8; NETCODE_KEY_BYTES],
    },
    /// By a token that anyone with the key made, for example a login service. A token is bound to
    /// the first address that uses it, but may open a link from there more than once while it
    /// has not expired, and only the user data can tell what it is for.
    SharedKey {
        /// 32 random bytes that the mints know.
        private_key: [u8; NETCODE_KEY_BYTES],
    },
    /// Not at all: anyone may connect under any id with any user data. For development.
    Unsecure,
}

/// Without the key.
impl std::fmt::Debug for Authentication {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Secure { .. } => "Secure",
            Self::SharedKey { .. } => "SharedKey",
            Self::Unsecure => "Unsecure",
        })
    }
}

/// How to open a server's endpoint.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// Where to listen. Port 0 is any free port.
    pub bind: SocketAddr,
    /// Where clients reach it: what tokens name, and what they must name. Empty means `bind`. A
    /// port of 0 means the port that was bound.
    pub public_addresses: Vec<SocketAddr>,
    /// Links at a time, 1 to [`MAX_CLIENTS`].
    pub max_clients: usize,
    /// Which game. Clients with another number are refused.
    pub protocol_id: u64,
    /// How clients prove that they may connect.
    pub authentication: Authentication,
    /// What addresses without a link may send.
    pub strangers: StrangerLimits,
}

impl ServerConfig {
    /// An endpoint for 64 clients at `bind`.
    #[must_use]
    pub fn new(bind: SocketAddr, protocol_id: u64, authentication: Authentication) -> Self {
        Self {
            bind,
            public_addresses: Vec::new(),
            max_clients: 64,
            protocol_id,
            authentication,
            strangers: StrangerLimits::default(),
        }
    }
}

/// Why an endpoint could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Someone else listens there.
    #[error("{address} is taken")]
    AddressInUse {
        /// Where.
        address: SocketAddr,
    },
    /// The system refused.
    #[error("cannot listen at {address}: {source}")]
    Io {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The number of clients is out of range.
    #[error("{0} clients, allowed are 1 to 1024")]
    MaxClients(usize),
    /// Bound to all interfaces, and nothing says which of them clients reach.
    #[error("{0} names no host; set public_addresses")]
    NoPublicAddress(SocketAddr),
    /// Tokens cannot name these addresses.
    #[error(transparent)]
    Mint(#[from] MintError),
}

/// What an endpoint received from and sent to addresses without a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EndpointStats {
    /// Datagrams from strangers, with what was refused.
    pub received: Tally,
    /// Answers to strangers.
    pub sent: Tally,
    /// What went no further. Of links too: keep-alives that the system did not take.
    pub refused: RefusedCounts,
}

/// A server's socket, netcode behind a gate, and the handshakes.
///
/// Insert it as a resource; [`TransportPlugin`](crate::TransportPlugin) drives it. Dropping it
/// closes the socket without a goodbye; its links then time out.
#[derive(Resource)]
pub struct ServerEndpoint {
    pub(super) socket: Socket,
    pub(super) local: SocketAddr,
    pub(super) netcode: Box<NetcodeServer>,
    pub(super) protocol_id: u64,
    /// `None` when anyone may connect.
    pub(super) mint: Option<TokenMint>,
    pub(super) clock: TokenClock,
    pub(super) peers: HashMap<SocketAddr, LinkPeer>,
    pub(super) handshakes: Handshakes,
    pub(super) tokens: SeenTokens,
    pub(super) strangers: Strangers,
    pub(super) stats: EndpointStats,
    pub(super) arrivals: Arrivals,
}

impl ServerEndpoint {
    /// Opens the socket.
    ///
    /// # Errors
    /// [`BindError`], which names the address.
    pub fn bind(config: &ServerConfig) -> Result<Self, BindError> {
        if !(1..=MAX_CLIENTS).contains(&config.max_clients) {
            return Err(BindError::MaxClients(config.max_clients));
        }
        let address = config.bind;
        let failed = |source: io::Error| match source.kind() {
            io::ErrorKind::AddrInUse => BindError::AddressInUse { address },
            _ => BindError::Io { address, source },
        };
        let socket = Socket::bind(address).map_err(failed)?;
        let local = socket.local_address().map_err(failed)?;
        let public = public_addresses(config, local)?;
        let clock = TokenClock::start();
        let mint = |key| {
            let (id, addresses) = (config.protocol_id, public.clone());
            TokenMint::with_shared_key(key, id, addresses, clock.clone())
        };
        let (authentication, mint) = match config.authentication {
            Authentication::Secure { private_key } => (
                ServerAuthentication::Secure { private_key },
                Some(mint(private_key)?.with_ledger()),
            ),
            Authentication::SharedKey { private_key } => (
                ServerAuthentication::Secure { private_key },
                Some(mint(private_key)?),
            ),
            Authentication::Unsecure => (ServerAuthentication::Unsecure, None),
        };
        let netcode = NetcodeServer::new(NetcodeConfig {
            current_time: clock.now(),
            max_clients: config.max_clients,
            protocol_id: config.protocol_id,
            public_addresses: public,
            authentication,
        });
        Ok(Self {
            arrivals: socket.arrivals(),
            socket,
            local,
            netcode: Box::new(netcode),
            protocol_id: config.protocol_id,
            mint,
            clock,
            peers: HashMap::new(),
            handshakes: Handshakes::default(),
            tokens: SeenTokens::default(),
            strangers: Strangers::new(config.strangers),
            stats: EndpointStats::default(),
        })
    }

    /// Where it listens, with the port that was bound.
    #[must_use]
    pub const fn local_address(&self) -> SocketAddr {
        self.local
    }

    /// What tokens name.
    #[must_use]
    pub fn public_addresses(&self) -> Vec<SocketAddr> {
        self.netcode.addresses()
    }

    /// Makes tokens for this endpoint; `None` if it takes anyone. A cheap clone, for any thread.
    #[must_use]
    pub fn mint(&self) -> Option<TokenMint> {
        self.mint.clone()
    }

    /// The clock that tokens expire by.
    #[must_use]
    pub fn clock(&self) -> TokenClock {
        self.clock.clone()
    }

    /// Counters of strangers.
    #[must_use]
    pub const fn stats(&self) -> &EndpointStats {
        &self.stats
    }

    /// Takes no more than so many links from now on, at most what the endpoint was made for.
    /// Present links stay. 0 lets no one in, for draining.
    pub fn set_max_clients(&mut self, max_clients: usize) {
        self.netcode.set_max_clients(max_clients);
    }

    /// Advances all clocks. Whole seconds of a stalled process count: tokens expire by them.
    pub(super) fn advance(&mut self, delta: Duration, now: Duration) {
        self.netcode.update(delta);
        self.clock.publish(self.netcode.current_time());
        self.handshakes.sweep(now);
    }

    pub(super) fn refuse_stranger(&mut self, kind: Refused) {
        self.stats.refused.count(kind);
    }
}

fn public_addresses(
    config: &ServerConfig,
    local: SocketAddr,
) -> Result<Vec<SocketAddr>, BindError> {
    let mut public = config.public_addresses.clone();
    if public.is_empty() {
        // No token names a server that takes anyone.
        let secure = config.authentication != Authentication::Unsecure;
        if secure && local.ip().is_unspecified() {
            return Err(BindError::NoPublicAddress(local));
        }
        public.push(local);
    }
    for address in public.iter_mut().filter(|address| address.port() == 0) {
        address.set_port(local.port());
    }
    Ok(public)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> ServerConfig {
        let bind = ([127, 0, 0, 1], 0).into();
        ServerConfig::new(bind, 1, Authentication::Unsecure)
    }

    #[test]
    fn a_taken_port_is_an_error_that_names_the_address() {
        let first = ServerEndpoint::bind(&config()).unwrap();
        let second = ServerConfig {
            bind: first.local_address(),
            ..config()
        };
        let Err(BindError::AddressInUse { address }) = ServerEndpoint::bind(&second) else {
            panic!("two endpoints at {}", first.local_address());
        };
        assert_eq!(address, first.local_address());
    }

    #[test]
    fn too_many_clients_are_an_error_and_not_a_panic() {
        for max_clients in [0, 1025, usize::MAX] {
            let error = ServerEndpoint::bind(&ServerConfig {
                max_clients,
                ..config()
            });
            assert!(matches!(error, Err(BindError::MaxClients(n)) if n == max_clients));
        }
    }

    #[test]
    fn a_secure_server_on_all_interfaces_must_say_where_it_is() {
        let authentication = Authentication::Secure {
            private_key: [1; 32],
        };
        let everywhere = ServerConfig {
            bind: ([0, 0, 0, 0], 0).into(),
            authentication,
            ..config()
        };
        assert!(matches!(
            ServerEndpoint::bind(&everywhere),
            Err(BindError::NoPublicAddress(_))
        ));
        let named = ServerConfig {
            public_addresses: vec![([127, 0, 0, 1], 0).into()],
            ..everywhere
        };
        let endpoint = ServerEndpoint::bind(&named).unwrap();
        let port = endpoint.local_address().port();
        assert_eq!(endpoint.public_addresses(), [([127, 0, 0, 1], port).into()]);
    }

    #[test]
    fn a_key_is_not_printed() {
        let authentication = Authentication::Secure {
            private_key: [0xab; 32],
        };
        assert_eq!(format!("{authentication:?}"), "Secure");
    }
}
