//! What the parts of a node's state machine share: its name, its view, its tokens and its outbox.

use std::{collections::BTreeMap, fmt, net::SocketAddr, sync::Arc, time::Duration};

use seamless_wire::{
    CellId, GlobalEntity, HandoverId, NodeId, NodeRef, PeerId,
    ticket::{Purpose, Ticket},
};

use super::{
    Action, HandoverTrace, Health, MeshCounters, MeshEvent, OpToken, Outcome, PeerMessage,
    PeerReply, ResponseToken, SendToken, StageToken, Traces,
};
use crate::{
    directory::{Addresses, CellRecord, DirectoryOp, Load, NodeRecord, OpId, Origin},
    liveness::Fence,
    ticket::TicketDesk,
    timing::{Timing, backoff},
};

/// In which cell a new player begins.
pub type SpawnPolicy = Arc<dyn Fn(PeerId) -> CellId + Send + Sync>;

/// Who a node is and what it may take.
#[derive(Clone)]
pub struct NodeConfig {
    /// Its number.
    pub id: NodeId,
    /// Drawn at random at the start of the process.
    pub life: u64,
    /// Where it is reached.
    pub addresses: Addresses,
    /// Digest of the game's schema; groups of another are not taken.
    pub schema: u64,
    /// Most players, those of reservations included.
    pub capacity: u32,
    /// Names this boot of the machine, not zero.
    pub boot: u128,
    /// A proposal for the mesh's secret.
    pub secret: [u8; 32],
    /// Where players begin.
    pub spawn: SpawnPolicy,
    /// Intervals and bounds.
    pub timing: Timing,
}

impl fmt::Debug for NodeConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeConfig")
            .field("id", &self.id)
            .field("addresses", &self.addresses)
            .field("capacity", &self.capacity)
            .finish_non_exhaustive()
    }
}

/// The mesh as this node last saw it in the directory.
#[derive(Debug, Default)]
pub(super) struct View {
    pub(super) layout: Option<u64>,
    pub(super) nodes: Vec<NodeRecord>,
    pub(super) cells: BTreeMap<CellId, CellRecord>,
    pub(super) dead: Vec<NodeRef>,
}

impl View {
    pub(super) fn node(&self, node: NodeRef) -> Option<&NodeRecord> {
        self.nodes.iter().find(|record| record.node == node)
    }

    /// The cell's owner, if it is alive.
    pub(super) fn owner(&self, cell: CellId) -> Option<&NodeRecord> {
        self.node(self.cells.get(&cell)?.owner)
    }

    /// The nodes in the order in which they should take things on: least load, then lowest id;
    /// those that are leaving last.
    pub(super) fn preference(&self) -> Vec<NodeRef> {
        let mut nodes: Vec<&NodeRecord> = self.nodes.iter().collect();
        nodes.sort_by_key(|record| (record.draining, record.load, record.node.id));
        nodes.into_iter().map(|record| record.node).collect()
    }
}

/// What an answer of the directory is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OpFor {
    Join,
    Beat { sent: Duration },
    Survey { asked: Duration },
    Bury(NodeRef),
    Drain,
    CountRoots,
    Leave,
    ClaimCells,
    MoveCell,
    Regroup { root: GlobalEntity, serial: u64 },
    Head { root: GlobalEntity, serial: u64 },
    Abort { root: GlobalEntity, serial: u64 },
    Claim(HandoverId),
    Reclaim(NodeRef),
    Checkpoint,
    Create(GlobalEntity),
    Retire(GlobalEntity),
    Names(u32),
    FindPlayer(u64),
    CreatePlayer(u64),
}

/// What a peer's reply is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SendFor {
    Prepare { root: GlobalEntity, serial: u64 },
    Commit { root: GlobalEntity, serial: u64 },
    Release,
    Dead(NodeRef),
    Session(u64),
}

/// What decoded state is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StageFor {
    Incoming(HandoverId),
    Reclaimed { dead: NodeRef, index: usize },
}

/// A repetition that waits longer each time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Retry {
    pub(super) tries: u32,
    /// When the next try is due; `None` while one is under way.
    pub(super) due: Option<Duration>,
}

impl Retry {
    pub(super) fn is_due(&self, now: Duration) -> bool {
        self.due.is_some_and(|due| due <= now)
    }
}

pub(super) struct Base {
    pub(super) config: NodeConfig,
    pub(super) now: Duration,
    pub(super) me: Option<NodeRef>,
    pub(super) block: u32,
    pub(super) origin: Origin,
    pub(super) secret: [u8; 32],
    pub(super) load: Load,
    pub(super) leaving: bool,
    pub(super) fence: Fence,
    pub(super) fenced: bool,
    pub(super) view: View,
    pub(super) health: Health,
    pub(super) counters: MeshCounters,
    pub(super) traces: Traces,
    pub(super) desk: TicketDesk,
    pub(super) out: Vec<Action>,
    pub(super) ops: BTreeMap<OpToken, (Duration, OpFor)>,
    pub(super) sends: BTreeMap<SendToken, SendFor>,
    pub(super) stages: BTreeMap<StageToken, StageFor>,
    next: u64,
    minted: u64,
}

/// Where the mesh's own names begin inside a block; the game names from below.
pub const MESH_NAMES: u64 = 1 << 39;

impl Base {
    pub(super) fn new(config: NodeConfig) -> Self {
        Self {
            fence: Fence::new(config.timing.fence_after),
            health: Health::new(&config.timing),
            config,
            now: Duration::ZERO,
            me: None,
            block: 0,
            origin: Origin::default(),
            secret: [0; 32],
            load: Load::default(),
            leaving: false,
            fenced: true,
            view: View::default(),
            counters: MeshCounters::default(),
            traces: Traces::default(),
            desk: TicketDesk::default(),
            out: Vec::new(),
            ops: BTreeMap::new(),
            sends: BTreeMap::new(),
            stages: BTreeMap::new(),
            next: 0,
            minted: 0,
        }
    }

    /// A number that was not given before.
    pub(super) fn serial(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// A number for a changing operation.
    pub(super) fn op_id(&mut self) -> OpId {
        OpId(self.serial())
    }

    /// A name from the mesh's own part of the block.
    pub(super) fn mint(&mut self) -> Option<GlobalEntity> {
        loop {
            self.minted += 1;
            let counter = MESH_NAMES + self.minted;
            if counter >> GlobalEntity::COUNTER_BITS != 0 {
                return None;
            }
            if let Some(name) = GlobalEntity::new(self.block, counter) {
                return Some(name);
            }
        }
    }

    /// Whether this node is in the mesh and may start anything.
    pub(super) fn active(&self) -> Option<NodeRef> {
        self.me.filter(|_| !self.fenced)
    }

    /// The owner of this cell if it is another live node.
    pub(super) fn neighbour(&self, cell: CellId) -> Option<NodeRef> {
        let owner = self.view.owner(cell)?.node;
        (Some(owner) != self.me).then_some(owner)
    }

    pub(super) fn event(&mut self, event: MeshEvent) {
        self.out.push(Action::Event(event));
    }

    pub(super) fn ask(&mut self, purpose: OpFor, op: DirectoryOp) {
        let token = OpToken(self.serial());
        self.ops.insert(token, (self.now, purpose));
        self.out.push(Action::Directory { token, op });
    }

    /// Sends a request to a peer that is in the view; tells whether it is.
    pub(super) fn send(
        &mut self,
        purpose: SendFor,
        to: NodeRef,
        message: PeerMessage,
    ) -> Option<SendToken> {
        let http: SocketAddr = self.view.node(to)?.addresses.http;
        let token = SendToken(self.serial());
        self.sends.insert(token, purpose);
        let within = self.config.timing.request_within;
        self.out.push(Action::Send {
            to,
            http,
            message,
            token,
            within,
        });
        Some(token)
    }

    pub(super) fn stage(&mut self, purpose: StageFor, bytes: Vec<u8>) {
        let token = StageToken(self.serial());
        self.stages.insert(token, purpose);
        self.out.push(Action::Stage { token, bytes });
    }

    pub(super) fn respond(&mut self, token: ResponseToken, reply: PeerReply) {
        self.out.push(Action::Respond {
            token,
            reply,
            ticket: None,
        });
    }

    pub(super) fn respond_with(&mut self, token: ResponseToken, reply: PeerReply, ticket: Ticket) {
        self.out.push(Action::Respond {
            token,
            reply,
            ticket: Some(ticket),
        });
    }

    pub(super) fn ticket(&mut self, player: PeerId, purpose: Purpose) -> Option<Ticket> {
        let expires = self.now + self.config.timing.ticket;
        self.desk.issue(player, purpose, expires, self.now)
    }

    /// Plans the next repetition after a failure.
    pub(super) fn later(&mut self, retry: &mut Retry) {
        let timing = &self.config.timing;
        let wait = backoff(timing.retry_first, timing.retry_slowest, retry.tries);
        retry.tries += 1;
        retry.due = Some(self.now + wait);
        self.counters.in_doubt += 1;
    }

    pub(super) fn finish(&mut self, trace: HandoverTrace, outcome: Outcome) {
        self.traces.finish(trace, outcome, self.now);
    }
}
