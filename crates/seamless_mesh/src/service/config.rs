//! What a node needs to start.

use std::{
    fmt, io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::Arc,
};

use seamless_wire::{NodeId, PeerId};

use super::MeshKey;
use crate::{
    link::Mint,
    liveness::lock::LockError,
    protocol::{SpawnPolicy, Stager},
    timing::Timing,
};

/// Says whether a client is the player it says it is: the player, what it sent as its credential,
/// where it comes from. Called on the mesh thread, so it must not wait.
pub type Authenticate =
    Arc<dyn Fn(PeerId, Option<&str>, IpAddr) -> Result<(), String> + Send + Sync>;

/// Bounds on what others can make us do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Connections of other nodes at one time.
    pub node_connections: usize,
    /// Connections of clients at one time.
    pub door_connections: usize,
    /// Entries that one address may ask for in a second, on average.
    pub knocks_per_second: u32,
    /// And at once.
    pub knocks_at_once: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            node_connections: 256,
            door_connections: 256,
            knocks_per_second: 5,
            knocks_at_once: 20,
        }
    }
}

/// What a node needs to start.
pub struct ServiceConfig {
    /// Its number.
    pub id: NodeId,
    /// Where game clients reach it over UDP. Told to others, not bound here.
    pub udp: SocketAddr,
    /// Where it listens for other nodes. Port 0 takes any. An address that is not of this machine
    /// alone needs a key.
    pub http: SocketAddr,
    /// Where it listens for clients that want to enter.
    pub door: SocketAddr,
    /// What other nodes are told instead of `http`; port 0 stands for the one that was bound.
    pub public_http: Option<SocketAddr>,
    /// What clients are told instead of `door`; port 0 stands for the one that was bound.
    pub public_door: Option<SocketAddr>,
    /// The mesh's key. Without one the nodes share a secret that the first of them left in the
    /// directory.
    pub key: Option<MeshKey>,
    /// Where processes on one machine keep their locks; `None` if a death is only told by silence.
    pub locks: Option<PathBuf>,
    /// Digest of the game's schema.
    pub schema: u64,
    /// Most players.
    pub capacity: u32,
    /// In which cell a new player begins.
    pub spawn: SpawnPolicy,
    /// Makes connect tokens.
    pub mint: Mint,
    /// Decodes states.
    pub stager: Box<dyn Stager>,
    /// Checks players; without it everybody is who they say.
    pub authenticate: Option<Authenticate>,
    /// Intervals and bounds of the protocol.
    pub timing: Timing,
    /// Bounds on others.
    pub limits: Limits,
}

impl ServiceConfig {
    /// A node on this machine alone, on any ports, without a lock, for 1000 players who begin in
    /// cell 0.
    #[must_use]
    pub fn new(id: NodeId, udp: SocketAddr, mint: Mint, stager: Box<dyn Stager>) -> Self {
        let local = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Self {
            id,
            udp,
            http: local,
            door: local,
            public_http: None,
            public_door: None,
            key: None,
            locks: None,
            schema: 0,
            capacity: 1000,
            spawn: Arc::new(|_| seamless_wire::CellId(0)),
            mint,
            stager,
            authenticate: None,
            timing: Timing::default(),
            limits: Limits::default(),
        }
    }
}

impl fmt::Debug for ServiceConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServiceConfig")
            .field("id", &self.id)
            .field("udp", &self.udp)
            .field("http", &self.http)
            .field("door", &self.door)
            .finish_non_exhaustive()
    }
}

/// Why a node did not start. One line each.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The port for nodes or for clients is somebody else's.
    #[error("{what} port {address} is taken")]
    PortTaken {
        /// Which of the two.
        what: &'static str,
        /// The address.
        address: SocketAddr,
    },
    /// It cannot be bound for another reason.
    #[error("{what} address {address}: {error}")]
    Bind {
        /// Which of the two.
        what: &'static str,
        /// The address.
        address: SocketAddr,
        /// What the system says.
        error: io::Error,
    },
    /// Other machines could speak to us, and we could not tell who they are.
    #[error("node address {0} is not loopback: a mesh key is needed ({key} or {file})", key = super::key::KEY_VARIABLE, file = super::key::KEY_FILE_VARIABLE)]
    KeyNeeded(SocketAddr),
    /// The lock of this life could not be taken.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The system gives no random numbers.
    #[error("no random numbers: {0}")]
    Random(String),
    /// There is no thread to be had.
    #[error("mesh thread: {0}")]
    Thread(io::Error),
}
