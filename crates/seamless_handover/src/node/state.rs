//! What a node knows.

use bevy::{
    platform::collections::{HashMap, HashSet},
    prelude::*,
};
use seamless_mesh::directory::{CellRecord, NodeRecord};
use seamless_replication::{
    transport::LinkId,
    wire::{
        CellId, GlobalEntity, HandoverId, InputSeq, NodeRef, PeerId, Term, Tick,
        mesh::{Manifest, RejectReason},
        ticket::Purpose,
    },
};
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

/// A root: it crosses borders, with its group, and survives this node.
///
/// Players have one from their login; give it to anything else that should (a vehicle), or let it
/// come with the first player that carries it.
#[derive(Component, Clone, Debug)]
#[component(clone_behavior = Ignore)]
pub struct HandoverRoot {
    /// Whose player it is.
    pub player: Option<PeerId>,
    /// How far its crossing has come.
    pub(crate) crossing: Crossing,
    /// The group that the neighbour was asked for.
    pub(crate) asked: Vec<GlobalEntity>,
    /// Whether the neighbour has answered for just that group.
    pub(crate) confirmed: bool,
    /// Since when it has been here.
    pub(crate) arrived: Tick,
    /// Where it was a tick ago, to know its speed.
    pub(crate) last_place: Option<Vec3>,
    /// Metres per second.
    pub(crate) velocity: Vec3,
    /// Since when it has been past the border.
    pub(crate) past_since: Option<Tick>,
    /// Whether a row of it is in the directory.
    pub(crate) stored: bool,
    /// Digest of what was written last.
    pub(crate) written: u64,
}

impl HandoverRoot {
    /// A root; `player` if it is one's.
    #[must_use]
    pub fn new(player: Option<PeerId>) -> Self {
        Self {
            player,
            crossing: Crossing::Inside,
            asked: Vec::new(),
            confirmed: false,
            arrived: Tick(0),
            last_place: None,
            velocity: Vec3::ZERO,
            past_since: None,
            stored: false,
            written: 0,
        }
    }

    /// How far its crossing has come, for displays.
    #[must_use]
    pub const fn crossing(&self) -> &Crossing {
        &self.crossing
    }
}

/// How far a root's crossing has come.
#[derive(Clone, Debug, PartialEq)]
pub enum Crossing {
    /// Not near a border.
    Inside,
    /// The neighbour was asked for room.
    Asked {
        /// Where to.
        cell: CellId,
        /// When it is asked again.
        again: Tick,
    },
    /// There is room; the client is told, or has no part in it.
    Reserved {
        /// The attempt.
        handover: HandoverId,
        /// Who takes it.
        node: NodeRef,
        /// Where to.
        cell: CellId,
        /// Whether the client's second link stands.
        attached: bool,
        /// Since when.
        since: Tick,
        /// When the neighbour is asked again whether the client is there.
        again: Tick,
    },
    /// Frozen at the end of this tick; the mesh decides.
    Frozen {
        /// The attempt.
        handover: HandoverId,
        /// The last tick that was simulated.
        tick: Tick,
    },
    /// Refused; not asked again before this tick.
    Cooling(Tick),
}

/// A group that may come here.
#[derive(Debug, Clone)]
pub(crate) struct Expected {
    pub(crate) manifest: Manifest,
    pub(crate) viewpoint: Vec3,
}

/// The node's own view of the mesh.
#[derive(Resource, Default, Debug)]
pub struct MeshView {
    /// Our name in this life, once joined.
    pub node: Option<NodeRef>,
    /// Who owns which cell.
    pub cells: HashMap<CellId, CellRecord>,
    /// Who is there.
    pub nodes: Vec<NodeRecord>,
    /// Whether the directory is quick enough to freeze anything.
    pub healthy: bool,
    /// Whether we must not run: our last sign of life was too long ago.
    pub fenced: bool,
    /// Roots of players here.
    pub players: HashMap<PeerId, Entity>,
    /// What became of groups that left, for messages that still come for them.
    pub tombstones: HashMap<GlobalEntity, Tombstone>,
    pub(crate) open: HashSet<CellId>,
    pub(crate) expected: HashMap<HandoverId, Expected>,
    pub(crate) purposes: Arc<Mutex<HashMap<LinkId, Purpose>>>,
    pub(crate) left: bool,
    /// Counted since the start.
    pub counters: HandoverCounters,
}

/// Where an entity went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tombstone {
    /// Who has it.
    pub to: NodeRef,
    /// Under which term.
    pub term: Term,
    /// When it is forgotten.
    pub expires: Tick,
}

/// Counted since the start.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct HandoverCounters {
    /// Groups that we handed over.
    pub handed_over: u64,
    /// Groups that we took.
    pub activated: u64,
    /// Groups that were frozen and stayed.
    pub resumed: u64,
    /// Refusals of neighbours, by reason.
    pub rejected: HashMap<RejectReason, u64>,
    /// Dead nodes whose things we took.
    pub reclaims: u64,
    /// Groups among them.
    pub reclaimed_groups: u64,
    /// Clients that were refused at the door.
    pub refused_tickets: u64,
}

impl MeshView {
    /// Whether we own a cell.
    #[must_use]
    pub fn owns(&self, cell: CellId) -> bool {
        self.node.is_some() && self.cells.get(&cell).map(|record| record.owner) == self.node
    }

    /// Whether somebody owns a cell.
    #[must_use]
    pub fn owner(&self, cell: CellId) -> Option<NodeRef> {
        self.cells.get(&cell).map(|record| record.owner)
    }

    /// Whether we left the mesh in good order.
    #[must_use]
    pub const fn has_left(&self) -> bool {
        self.left
    }

    /// The highest term of our cells: what entities without a row live under.
    #[must_use]
    pub fn volatile_term(&self) -> Term {
        let ours = self
            .cells
            .values()
            .filter(|record| Some(record.owner) == self.node);
        ours.map(|record| record.term).max().unwrap_or_default()
    }
}

/// A cell is ours from here on: put into it what belongs there.
///
/// Triggered once per cell, also for cells taken over from a dead node; what of it had a row comes
/// back by itself before this.
#[derive(Event, Clone, Debug)]
pub struct CellOpened {
    /// Which.
    pub cell: CellId,
    /// Under which term.
    pub term: Term,
    /// Names that are somewhere in the mesh already: do not spawn them again.
    pub known: Vec<GlobalEntity>,
}

/// A cell is ours no more. What of it had no row is gone already; what has one is handed over by
/// and by.
#[derive(Event, Clone, Copy, Debug, PartialEq, Eq)]
pub struct CellClosed {
    /// Which.
    pub cell: CellId,
}

/// Entities of a dead node that had a row and no stored state: they were picked up after its last
/// checkpoint. Spawn them as the world file has them, under these names, in this trigger or by its
/// commands; what is not spawned is gone.
#[derive(Event, Clone, Debug)]
pub struct StateMissing {
    /// Their names.
    pub names: Vec<GlobalEntity>,
    /// Where the group was.
    pub cell: CellId,
}

/// A new player: spawn it, with [`NetSlot::named`](seamless_replication::NetSlot::named) and
/// [`Replicated`](seamless_replication::Replicated), in this trigger or by its commands.
#[derive(Event, Clone, Copy, Debug)]
pub struct PlayerLogin {
    /// Who.
    pub player: PeerId,
    /// The name its root must have.
    pub root: GlobalEntity,
    /// In which cell.
    pub cell: CellId,
}

/// A group came from another node and is simulated here from now on.
#[derive(Message, Clone, Debug)]
pub struct GroupActivated {
    /// Its root.
    pub root: Entity,
    /// All of it, the root first.
    pub members: Vec<Entity>,
    /// Which attempt; none after a death.
    pub handover: Option<HandoverId>,
    /// The term.
    pub term: Term,
    /// The last tick that was simulated elsewhere.
    pub tick: Tick,
    /// The last input that is in its state.
    pub last_input: InputSeq,
    /// When the claim was won and everything was decoded, on the node's clock.
    pub claimed_at: Option<Duration>,
}

/// A group stops here at the end of a tick; the mesh decides where it goes on.
#[derive(Message, Clone, Copy, Debug)]
pub struct GroupFrozen {
    /// Which attempt.
    pub handover: HandoverId,
    /// The last tick that is simulated.
    pub tick: Tick,
    /// When, on the node's clock.
    pub at: Duration,
}

/// A group is another node's now and is gone from here.
#[derive(Message, Clone, Debug)]
pub struct GroupDeparted {
    /// Names of all of it, the root first.
    pub members: Vec<GlobalEntity>,
    /// Which attempt.
    pub handover: HandoverId,
    /// Its new term.
    pub term: Term,
    /// Whose it is.
    pub to: NodeRef,
}

/// A player whose client did not come back is about to go for good. Take from it what should stay
/// (put down what it carries) in this trigger.
#[derive(Event, Clone, Copy, Debug)]
pub struct PlayerRetired {
    /// Who.
    pub player: PeerId,
    /// Its root, still there.
    pub root: Entity,
}
