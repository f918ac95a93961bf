//! Handles of a simulated mesh.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use seamless_wire::{
    CellId, NodeId, NodeRef, PeerId,
    mesh::SessionReply,
    ticket::{Purpose, Ticket},
};

use super::{
    DirectoryFate, Envelope, Fate, Network,
    world::{Alive, World},
};
use crate::{
    directory::{DirectoryOp, MemoryDirectory},
    link::{MeshLink, MeshStatus, Mint, SendError},
    protocol::{MeshCommand, MeshEvent, SpawnPolicy, Staged, Stager},
    ticket::{TicketDesk, TicketRefusal},
    timing::Timing,
};

/// A [`Stager`] that restarted nodes share.
pub type SimStager = Arc<dyn Fn(&[u8]) -> Result<Staged, String> + Send + Sync>;

/// What a simulated node needs.
#[derive(Clone)]
pub struct SimConfig {
    /// Its number.
    pub id: NodeId,
    /// Digest of its schema.
    pub schema: u64,
    /// Most players.
    pub capacity: u32,
    /// Where players begin.
    pub spawn: SpawnPolicy,
    /// Decodes states.
    pub stager: SimStager,
    /// Makes tokens of tickets.
    pub mint: Mint,
    /// Where game clients reach it; port 0 for one that nobody uses.
    pub udp: std::net::SocketAddr,
    /// What its clock shows when virtual time begins.
    pub clock: Duration,
    /// How much faster its clock runs than virtual time, in millionths.
    pub drift_ppm: i32,
}

impl SimConfig {
    /// A node that decodes nothing (a state is staged as its bytes), seals nothing (a token is the
    /// ticket's bytes) and lets players begin in cell 1.
    #[must_use]
    pub fn new(id: u32) -> Self {
        Self {
            id: NodeId(id),
            schema: 1,
            capacity: 1000,
            spawn: Arc::new(|_| CellId(1)),
            stager: Arc::new(|bytes| Ok(Staged::new(bytes.to_vec()))),
            mint: Arc::new(|ticket| Ok(ticket.to_bytes().to_vec())),
            udp: ([127, 0, 0, 1], 0).into(),
            clock: Duration::from_secs(1000),
            drift_ppm: 0,
        }
    }

    /// With this stager.
    #[must_use]
    pub fn with_stager(mut self, stager: impl Stager + Sync + 'static) -> Self {
        self.stager = Arc::new(move |bytes| stager.stage(bytes));
        self
    }
}

impl fmt::Debug for SimConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimConfig")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// A mesh of simulated nodes. Clones are handles of the same.
#[derive(Clone)]
pub struct SimMesh(Arc<Mutex<World>>);

impl SimMesh {
    /// No nodes yet. The seed decides everything that is random.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self::with_timing(seed, Timing::default())
    }

    /// With these intervals.
    #[must_use]
    pub fn with_timing(seed: u64, timing: Timing) -> Self {
        Self(Arc::new(Mutex::new(World::new(seed, timing))))
    }

    /// Starts a node. It joins when time advances.
    pub fn add(&self, config: SimConfig) -> SimNode {
        let id = config.id;
        self.world().add(config);
        self.node(id)
    }

    /// The handle of a node that was added.
    #[must_use]
    pub fn node(&self, id: NodeId) -> SimNode {
        SimNode {
            id,
            world: Arc::clone(&self.0),
        }
    }

    /// Virtual time.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.world().now()
    }

    /// Lets everything happen that is due until then.
    pub fn advance(&self, to: Duration) {
        self.world().advance(to);
    }

    /// Lets so much time pass.
    pub fn run(&self, time: Duration) {
        let mut world = self.world();
        let to = world.now() + time;
        world.advance(to);
    }

    /// Lets one thing happen and tells whether there was one within the bound.
    pub fn step(&self, until: Duration) -> bool {
        self.world().step(until)
    }

    /// The directory, for a look past the protocol.
    #[must_use]
    pub fn directory(&self) -> MemoryDirectory {
        self.world().directory()
    }

    /// From now on the network is like this.
    pub fn network(&self, network: Network) {
        self.world().network = network;
    }

    /// Asks this about every message before it leaves.
    pub fn on_message(&self, filter: impl FnMut(Envelope<'_>) -> Fate + Send + 'static) {
        self.world().message_filter = Some(Box::new(filter));
    }

    /// Asks this about every directory operation before it leaves.
    pub fn on_directory(
        &self,
        filter: impl FnMut(NodeId, &DirectoryOp) -> DirectoryFate + Send + 'static,
    ) {
        self.world().directory_filter = Some(Box::new(filter));
    }

    /// No more questions.
    pub fn no_filters(&self) {
        let mut world = self.world();
        world.message_filter = None;
        world.directory_filter = None;
    }

    /// Cuts the link between two nodes, or mends it.
    pub fn cut(&self, a: NodeId, b: NodeId, cut: bool) {
        self.world().cut(a, b, cut);
    }

    /// Cuts a node off from the directory, or mends the way.
    pub fn cut_directory(&self, node: NodeId, cut: bool) {
        self.world().cut_directory(node, cut);
    }

    /// Whether a death is proven at once, by a lock, or only by silence. On at first.
    pub fn locks(&self, on: bool) {
        self.world().locks = on;
    }

    /// Kills a process.
    pub fn crash(&self, node: NodeId) {
        self.world().crash(node);
    }

    /// Starts a process anew under the number of a dead one.
    pub fn restart(&self, node: NodeId) {
        self.world().restart(node);
    }

    /// Stops a process without its noticing.
    pub fn pause(&self, node: NodeId) {
        self.world().pause(node);
    }

    /// Lets it go on.
    pub fn resume(&self, node: NodeId) {
        self.world().resume(node);
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for SimMesh {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimMesh")
            .field("now", &self.now())
            .finish_non_exhaustive()
    }
}

/// One node of a [`SimMesh`], as its game side sees it. Clones are handles of the same.
#[derive(Clone)]
pub struct SimNode {
    id: NodeId,
    world: Arc<Mutex<World>>,
}

impl SimNode {
    /// Its number.
    #[must_use]
    pub const fn id(&self) -> NodeId {
        self.id
    }

    /// Its name in this life, while it is in the mesh.
    #[must_use]
    pub fn me(&self) -> Option<NodeRef> {
        self.world()
            .alive(self.id)
            .and_then(|alive| alive.core.me())
    }

    /// Whether its process runs.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.world().is_running(self.id)
    }

    /// A client knocks at its door. The answer comes by [`answers`](Self::answers).
    pub fn knock(&self, player: PeerId) {
        self.world().knock(self.id, player);
    }

    /// What clients were answered since the last call.
    #[must_use]
    pub fn answers(&self) -> Vec<(PeerId, SessionReply)> {
        self.world().take_answers(self.id)
    }

    /// Takes tickets back.
    #[must_use]
    pub fn desk(&self) -> TicketDesk {
        let world = self.world();
        world
            .alive(self.id)
            .map(|alive| alive.core.desk())
            .unwrap_or_default()
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl MeshLink for SimNode {
    fn send(&self, command: MeshCommand) -> Result<(), SendError> {
        let stopped = |command| SendError::Stopped(Box::new(command));
        self.world().command(self.id, command).map_err(stopped)
    }

    fn poll(&self) -> Vec<MeshEvent> {
        self.world().take_events(self.id)
    }

    fn may_simulate(&self) -> bool {
        let world = self.world();
        world
            .alive(self.id)
            .is_some_and(|alive| world.local(self.id) < alive.core.fence_deadline())
    }

    fn now(&self) -> Duration {
        self.world().local(self.id)
    }

    fn mesh_now(&self) -> Duration {
        let world = self.world();
        let now = world.local(self.id);
        world
            .alive(self.id)
            .filter(|alive| alive.core.me().is_some())
            .map_or(Duration::ZERO, |alive| alive.core.origin().mesh_time(now))
    }

    fn redeem(&self, ticket: &Ticket) -> Result<Purpose, TicketRefusal> {
        let (desk, now) = {
            let world = self.world();
            let desk = world.alive(self.id).map(|alive| alive.core.desk());
            (desk, world.local(self.id))
        };
        desk.ok_or(TicketRefusal::Node)?.redeem(ticket, now)
    }

    fn status(&self) -> MeshStatus {
        let world = self.world();
        world.alive(self.id).map(Alive::status).unwrap_or_default()
    }
}

impl fmt::Debug for SimNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimNode")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}
