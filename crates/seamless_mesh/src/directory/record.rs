//! What the directory keeps: its rows, as values.

use std::{net::SocketAddr, time::Duration};

use seamless_wire::{CellId, GlobalEntity, InputSeq, NodeId, NodeRef, PeerId, Term, Tick};

/// How busy a node is. Ordered: fewer players first, then the shorter tick.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Load {
    /// Players that it simulates.
    pub players: u32,
    /// How long one tick takes, in microseconds.
    pub tick_us: u32,
}

/// Where a node is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Addresses {
    /// By game clients, over UDP.
    pub udp: SocketAddr,
    /// By other nodes, over HTTP.
    pub http: SocketAddr,
    /// By clients that want to enter (`POST /session`).
    pub session: SocketAddr,
}

/// A process that is part of the mesh.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeRecord {
    /// Who.
    pub node: NodeRef,
    /// Drawn at random by the process when it started; names its lock file, and lets it recognise
    /// its own record when the reply to its join was lost.
    pub life: u64,
    /// Where.
    pub addresses: Addresses,
    /// Rises with every beat.
    pub beat: u64,
    /// How busy.
    pub load: Load,
    /// Whether it is going down and takes nothing more.
    pub draining: bool,
    /// Its block of [`GlobalEntity`] names.
    pub block: u32,
}

/// Who owns a region.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CellRecord {
    /// Which.
    pub cell: CellId,
    /// Whose.
    pub owner: NodeRef,
    /// Since which term.
    pub term: Term,
    /// The operation that drew `term`.
    pub op: OpId,
}

/// Number of a node's changing operation, from 1, never used twice in one life.
///
/// The row keeps the number of the operation that gave it its owner and term, so an operation
/// whose reply was lost is asked again under its number: it then either was applied, or is
/// applied, or never will be. There is no guessing and no timer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct OpId(pub u64);

/// Who owns an entity: its row without its state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct EntityRecord {
    /// Which.
    pub entity: GlobalEntity,
    /// What it crosses with; itself if nothing.
    pub root: GlobalEntity,
    /// Whose player it is, if it is one. No two rows have the same.
    pub player: Option<PeerId>,
    /// Who simulates it.
    pub owner: NodeRef,
    /// Under which term.
    pub term: Term,
    /// The operation of `owner` that drew `term`.
    pub op: OpId,
    /// Where it is. The row, not the cell, decides who simulates it.
    pub cell: CellId,
    /// On a root: rises whenever the set of rows under it changes.
    pub manifest: u32,
    /// The term under which the stored state was written; zero if none is.
    pub written: Term,
    /// The tick at whose end the stored state was.
    pub tick: Tick,
    /// The last input that is in the stored state.
    pub last_input: InputSeq,
}

/// A row with its state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntityRow {
    /// The row.
    pub record: EntityRecord,
    /// A [`seamless_wire::snapshot::WorldSnapshot`] of this one entity; empty if none was stored.
    pub state: Vec<u8>,
}

/// What a process says when it joins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Join {
    /// Its configured number.
    pub id: NodeId,
    /// See [`NodeRecord::life`].
    pub life: u64,
    /// Where it is reached.
    pub addresses: Addresses,
    /// Names this boot of the machine. On another one the term counter jumps: a write that was
    /// acknowledged just before a power failure may be gone, its terms must not come again.
    pub boot: u128,
    /// The machine's clock since its boot.
    pub clock: Duration,
    /// Kept as the mesh's secret if there is none yet.
    pub secret: [u8; 32],
}

/// What a process gets when it joins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joined {
    /// Its name in this life.
    pub node: NodeRef,
    /// A block of [`GlobalEntity`] names that nobody had before and nobody will have again.
    pub block: u32,
    /// Where mesh time begins.
    pub origin: Origin,
    /// What all nodes know and nobody else does, as far as the directory is kept from others.
    pub secret: [u8; 32],
}

/// Where mesh time begins on the machine's clock, in nanoseconds; negative after a reboot, since
/// mesh time goes on and the clock began again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Origin(pub i64);

impl Origin {
    /// Mesh time when the machine's clock shows `clock`. Zero before the origin.
    #[must_use]
    pub fn mesh_time(self, clock: Duration) -> Duration {
        let clock = i64::try_from(clock.as_nanos()).unwrap_or(i64::MAX);
        Duration::from_nanos(u64::try_from(clock.saturating_sub(self.0)).unwrap_or(0))
    }
}

/// Who is there. One consistent look.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Survey {
    /// Rises whenever a node comes, goes or drains, a cell moves or a dead node is cleared up.
    pub layout: u64,
    /// The nodes, by id.
    pub nodes: Vec<NodeRecord>,
    /// What only changes with the layout; `None` if that is as the asker knows it.
    pub rest: Option<SurveyRest>,
}

/// See [`Survey`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SurveyRest {
    /// The cells, by id.
    pub cells: Vec<CellRecord>,
    /// Nodes without a record whose cells and rows nobody has reclaimed yet.
    pub dead: Vec<NodeRef>,
}

/// Why a node's record may be taken out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Evidence {
    /// The beat stood at this number for as long as nodes wait. It must still.
    Silent {
        /// The number.
        beat: u64,
    },
    /// Its process is gone: it lost the lock that it held while it lived.
    Dead,
}

/// New rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Create {
    /// The root.
    pub root: GlobalEntity,
    /// Everything that hangs on it, without the root.
    pub members: Vec<GlobalEntity>,
    /// Whose player it is.
    pub player: Option<PeerId>,
    /// Where.
    pub cell: CellId,
}

/// The rows of a root as they should stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Regroup {
    /// The root.
    pub root: GlobalEntity,
    /// Everything that hangs on it, without the root.
    pub members: Vec<GlobalEntity>,
    /// Whose player it is. Kept as it is if the row exists.
    pub player: Option<PeerId>,
    /// Where, if the row does not exist.
    pub cell: CellId,
}

/// The rows of a root as they stand now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Regrouped {
    /// The root's term.
    pub term: Term,
    /// The manifest's version.
    pub manifest: u32,
    /// The root's player.
    pub player: Option<PeerId>,
    /// Whether the root's row was made by this.
    pub made: bool,
}

/// The commit of a handover: a compare-and-swap, made by the target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// Which root.
    pub root: GlobalEntity,
    /// Who must own it.
    pub from: NodeRef,
    /// Under which term.
    pub term: Term,
    /// Which version its manifest must have.
    pub manifest: u32,
    /// Where it goes; the claimer must own that.
    pub cell: CellId,
    /// At the end of which tick the state was.
    pub tick: Tick,
    /// The last input in it.
    pub last_input: InputSeq,
    /// The states. There must be exactly these rows.
    pub rows: Vec<(GlobalEntity, Vec<u8>)>,
}

/// What a node took over from a dead one.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reclaimed {
    /// The fresh term of all of it.
    pub term: Term,
    /// The cells.
    pub cells: Vec<CellRecord>,
    /// The rows, those of one root together, the root first.
    pub rows: Vec<EntityRow>,
}

/// States to store for one root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// Which root. Its row must exist and be the caller's.
    pub root: GlobalEntity,
    /// Under which term the caller simulates it: the row's, or a later one that the entity had as
    /// part of another group. Under an earlier one nothing is stored.
    pub term: Term,
    /// At the end of which tick all states were.
    pub tick: Tick,
    /// The last input in them.
    pub last_input: InputSeq,
    /// Where it is now.
    pub cell: CellId,
    /// The states of the root and of everything that hangs on it, in any order.
    pub rows: Vec<(GlobalEntity, Vec<u8>)>,
}

/// What became of one [`Checkpoint`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckpointOutcome {
    /// Stored. The manifest's version, which is another one if the set of rows is another.
    Stored {
        /// The version.
        manifest: u32,
    },
    /// Not stored: a later state is there already.
    Older,
    /// Not stored: this row is not the caller's, or not under that term; or there is none.
    Foreign {
        /// Which.
        entity: GlobalEntity,
        /// Whose it is, and under which term.
        row: Option<(NodeRef, Term)>,
    },
}
