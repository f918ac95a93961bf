//! A node on real sockets: UDP for players, HTTP for the other nodes and for players at the door.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use bevy::prelude::*;
use seamless_mesh::{
    directory::Directory,
    link::Mint,
    protocol::SpawnPolicy,
    service::{Authenticate, Limits, MeshHandle, MeshKey, ServiceConfig, StartError},
    timing::Timing,
};
use seamless_replication::{
    Registry,
    wire::{CellId, NodeId, ticket::Ticket},
};
use seamless_transport::{
    Authentication, BindError, ServerConfig, ServerEndpoint, TokenMint, TokenRequest,
};

use crate::{node::stager, port::Mesh};

/// What a node on real sockets needs to start.
pub struct NodeSettings {
    /// Its number. One number, one node at a time.
    pub id: NodeId,
    /// Names one game apart from others on the wire.
    pub protocol: u64,
    /// Where players reach it over UDP. Port 0 is any free port.
    pub udp: SocketAddr,
    /// What players are told instead of `udp`, for example behind an address translator.
    pub public: Vec<SocketAddr>,
    /// Where it listens for other nodes. An address that is not loopback needs a key.
    pub http: SocketAddr,
    /// Where it listens for players who want to enter.
    pub door: SocketAddr,
    /// The mesh's key, the same for all nodes.
    pub key: Option<MeshKey>,
    /// Where nodes on one machine keep locks that tell of a death in milliseconds; `None` if only
    /// silence tells.
    pub locks: Option<PathBuf>,
    /// Most links of players, 1 to 1024. Spectators count.
    pub links: usize,
    /// Most players hosted.
    pub capacity: u32,
    /// In which cell a new player begins.
    pub spawn: SpawnPolicy,
    /// Checks who players say they are; without it everybody is who they say.
    pub authenticate: Option<Authenticate>,
    /// Bounds on what others can make it do.
    pub limits: Limits,
    /// Intervals and bounds of the protocol.
    pub timing: Timing,
    /// Seconds of silence after which a player's link ends, 1 to 300.
    pub link_timeout: u32,
}

impl NodeSettings {
    /// A node on this machine alone, on any free ports, for players who begin in cell 0.
    #[must_use]
    pub fn new(id: u32, protocol: u64) -> Self {
        let local = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Self {
            id: NodeId(id),
            protocol,
            udp: local,
            public: Vec::new(),
            http: local,
            door: local,
            key: None,
            locks: None,
            links: 512,
            capacity: 512,
            spawn: Arc::new(|_| CellId(0)),
            authenticate: None,
            limits: Limits::default(),
            timing: Timing::default(),
            link_timeout: 5,
        }
    }
}

/// Where a node listens: the ports that were really bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeAddresses {
    /// For players, over UDP.
    pub udp: SocketAddr,
    /// For other nodes, over HTTP.
    pub http: SocketAddr,
    /// For players who want to enter, over HTTP.
    pub door: SocketAddr,
}

/// Why a node did not start. One line each.
#[derive(Debug, thiserror::Error)]
pub enum NodeStartError {
    /// The UDP socket.
    #[error("udp: {0}")]
    Udp(#[from] BindError),
    /// The sockets of the mesh, its lock, its thread.
    #[error(transparent)]
    Mesh(#[from] StartError),
    /// There is nothing to make a secret of.
    #[error("no random numbers: {0}")]
    Random(String),
}

impl NodeStartError {
    /// Whether the same settings may do later: a port may become free.
    #[must_use]
    pub const fn is_passing(&self) -> bool {
        matches!(
            self,
            Self::Udp(BindError::AddressInUse { .. })
                | Self::Mesh(StartError::PortTaken { .. } | StartError::Lock(_))
        )
    }
}

/// Opens the sockets, starts the mesh's thread and puts both into the app, as [`ServerEndpoint`]
/// and [`Mesh`]. The node joins by and by; nothing waits for it.
///
/// Call it when all components are registered and [`App::finish`] has run.
///
/// # Errors
/// [`NodeStartError`]; the app is as it was.
pub fn start(
    app: &mut App,
    settings: NodeSettings,
    directory: impl Directory + 'static,
) -> Result<NodeAddresses, NodeStartError> {
    let mut private_key = [0; 32];
    getrandom::fill(&mut private_key).map_err(|error| NodeStartError::Random(error.to_string()))?;
    let endpoint = ServerEndpoint::bind(&ServerConfig {
        public_addresses: settings.public,
        max_clients: settings.links,
        // Known to this process alone: a token of one life is worth nothing in the next.
        ..ServerConfig::new(
            settings.udp,
            settings.protocol,
            Authentication::Secure { private_key },
        )
    })?;
    let udp = endpoint
        .public_addresses()
        .first()
        .copied()
        .unwrap_or_else(|| endpoint.local_address());
    let mint = match endpoint.mint() {
        Some(mint) => mint_of(mint, settings.timing.ticket, settings.link_timeout),
        None => Arc::new(|_: &Ticket| Err("this endpoint has no key".to_owned())) as Mint,
    };
    let mut config = ServiceConfig::new(settings.id, udp, mint, Box::new(stager(app)));
    config.http = settings.http;
    config.door = settings.door;
    config.key = settings.key;
    config.locks = settings.locks;
    config.schema = app.world().resource::<Registry>().digest();
    config.capacity = settings.capacity;
    config.spawn = settings.spawn;
    config.authenticate = settings.authenticate;
    config.limits = settings.limits;
    config.timing = settings.timing;
    let handle = MeshHandle::start(config, directory)?;
    let bound = handle.addresses();
    app.insert_resource(endpoint)
        .insert_resource(Mesh::new(handle));
    Ok(NodeAddresses {
        udp,
        http: bound.http,
        door: bound.session,
    })
}

/// Seals tickets with the endpoint's key.
fn mint_of(mint: TokenMint, life: Duration, timeout_seconds: u32) -> Mint {
    let expire_seconds = u32::try_from(life.as_secs())
        .unwrap_or(u32::MAX)
        .clamp(1, 3600);
    Arc::new(move |ticket| {
        let user_data = &ticket.to_bytes();
        mint.mint(TokenRequest {
            expire_seconds,
            timeout_seconds,
            user_data,
        })
        .map(|token| token.to_bytes())
        .map_err(|error| error.to_string())
    })
}
