//! Who owns which cell and which root, under which term.
//!
//! A [`Directory`] is linearizable and each of its operations is one transaction: it happens whole
//! or not at all. It is the only thing that all nodes agree on, so it is where a handover is
//! decided, and nothing else is.
//!
//! * [`record`]: the rows.
//! * [`tables`] and [`transactions`]: the operations, written once over four plain tables.
//! * [`memory`]: the tables in memory. For tests and for one process.
//! * [`sqlite`]: the tables in a file. For many processes on one machine.
//! * [`faults`]: a directory that fails on demand.
//! * [`conformance`]: what every backend must pass.
//!
//! A backend of another kind (one conditional transaction a claim, say) implements [`Directory`]
//! itself and passes the same suite.

#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
pub mod faults;
pub mod memory;
pub mod operation;
pub mod record;
#[cfg(feature = "sqlite")]
pub mod sqlite;
pub mod tables;
pub mod transactions;

pub use memory::MemoryDirectory;
pub use operation::{DirectoryAnswer, DirectoryOp};
pub use record::{
    Addresses, CellRecord, Checkpoint, CheckpointOutcome, Claim, Create, EntityRecord, EntityRow,
    Evidence, Join, Joined, Load, NodeRecord, OpId, Origin, Reclaimed, Regroup, Regrouped, Survey,
    SurveyRest,
};
#[cfg(feature = "sqlite")]
pub use sqlite::SqliteDirectory;

use std::time::Duration;

use seamless_wire::{CellId, GlobalEntity, NodeRef, PeerId, Term};

/// Why an operation did not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DirectoryError {
    /// A condition did not hold. Certain; nothing was changed.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The directory could not be used. Certain; nothing was changed.
    #[error("directory unavailable: {0}")]
    Unavailable(String),
    /// The answer was lost. Whether anything was changed is not known.
    #[error("directory in doubt: {0}")]
    InDoubt(String),
}

/// Which condition did not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The caller has no record, or a later life of it has. It must step down from everything.
    #[error("{0} is not part of the mesh any more")]
    NodeGone(NodeRef),
    /// A node with this number has a record already.
    #[error("{} is part of the mesh already", .0.node)]
    NodeTaken(Box<NodeRecord>),
    /// The node to bury beat again, or is another life of it, or is gone.
    #[error("{0} is not the node that was silent")]
    NotSilent(NodeRef),
    /// The node whose things are to be reclaimed has a record.
    #[error("{0} has not been buried")]
    NotBuried(NodeRef),
    /// No two rows may have one player. The row is the other one.
    #[error("{} plays as {} already", player(.0), .0.root)]
    PlayerExists(Box<EntityRecord>),
    /// A row of this name is there already.
    #[error("{0} exists")]
    EntityExists(GlobalEntity),
    /// The root is not where the caller thinks. Its row as it is, if there is one.
    #[error("{root} is with {}", whose(.found))]
    Stale {
        /// Which root.
        root: GlobalEntity,
        /// Its row.
        found: Option<Box<EntityRecord>>,
    },
    /// The rows of the root are others than the ones named.
    #[error("{root} has manifest {version}, not the one named, or other rows")]
    Manifest {
        /// Which root.
        root: GlobalEntity,
        /// Its version.
        version: u32,
    },
    /// The caller does not own the cell.
    #[error("{0} belongs to another node")]
    NotCellOwner(CellId),
    /// One of the rows named is another node's.
    #[error("{} belongs to {}", .0.entity, .0.owner)]
    NotOwner(Box<EntityRecord>),
    /// There are no names left.
    #[error("all blocks of names are used up")]
    NoNames,
}

fn player(record: &EntityRecord) -> String {
    record
        .player
        .map_or_else(|| "nobody".to_owned(), |player| player.to_string())
}

fn whose(found: &Option<Box<EntityRecord>>) -> String {
    found.as_ref().map_or_else(
        || "nobody".to_owned(),
        |row| format!("{} under {}", row.owner, row.term),
    )
}

/// A directory's result.
pub type Result<T> = std::result::Result<T, DirectoryError>;

/// A linearizable directory. Every method is one transaction.
///
/// # Contract
///
/// * **Terms** come from one counter. `create`, `regroup` when it makes the root, `claim`, `abort`,
///   `reclaim` and every change of a cell's owner draw one; it is never drawn again and none is
///   lower than one drawn before.
/// * **Every changing method** is refused with [`Refusal::NodeGone`] if the caller's record, in
///   this life, is not present.
/// * **Repetition**: the same call with the same [`OpId`] changes things once. An error
///   [`InDoubt`](DirectoryError::InDoubt) is resolved by calling again.
/// * **Order**: calls of one node take effect in the order in which they were made, also those
///   whose answer was lost.
///
/// Methods block, for a bounded time. They are called from the mesh thread, never from a frame.
pub trait Directory: Send {
    /// Makes the process a node: fresh incarnation, fresh block of names.
    ///
    /// # Errors
    /// [`Refusal::NodeTaken`] while another life has the record; [`Refusal::NoNames`].
    fn join(&mut self, join: &Join) -> Result<Joined>;

    /// Raises the node's beat. `clock` is mesh time; its highest value survives a reboot.
    ///
    /// # Errors
    /// [`Refusal::NodeGone`]: the node must step down from everything at once.
    fn beat(&mut self, node: NodeRef, load: Load, clock: Duration) -> Result<()>;

    /// Takes the node's record out. What it still owns is there to be reclaimed.
    ///
    /// # Errors
    /// [`Refusal::NodeGone`] if it is out already.
    fn leave(&mut self, node: NodeRef) -> Result<()>;

    /// Says whether the node takes anything more.
    ///
    /// # Errors
    /// [`Refusal::NodeGone`].
    fn set_draining(&mut self, node: NodeRef, draining: bool) -> Result<()>;

    /// Who is there. Cheap when the layout is `known`.
    ///
    /// # Errors
    /// Only [`DirectoryError::Unavailable`].
    fn survey(&mut self, known: Option<u64>) -> Result<Survey>;

    /// Takes a dead node's record out.
    ///
    /// # Errors
    /// [`Refusal::NotSilent`] if its life or its beat are not the ones named.
    fn bury(&mut self, node: NodeRef, evidence: Evidence) -> Result<()>;

    /// Takes those of `cells` that nobody has, or whose owner has no record. Gives all of them as
    /// they stand then.
    ///
    /// # Errors
    /// [`Refusal::NodeGone`].
    fn claim_cells(&mut self, node: NodeRef, op: OpId, cells: &[CellId])
    -> Result<Vec<CellRecord>>;

    /// Gives a cell away.
    ///
    /// # Errors
    /// [`Refusal::NotCellOwner`]; [`Refusal::NodeGone`] also if `to` has no record.
    fn move_cell(
        &mut self,
        node: NodeRef,
        op: OpId,
        cell: CellId,
        to: NodeRef,
    ) -> Result<CellRecord>;

    /// Makes rows that are not there, under a fresh term, without states.
    ///
    /// # Errors
    /// [`Refusal::PlayerExists`], [`Refusal::EntityExists`], [`Refusal::NodeGone`].
    fn create(&mut self, node: NodeRef, op: OpId, create: &Create) -> Result<Term>;

    /// Takes the rows of a root out, if they are the caller's. Gives their number; 0 if there are
    /// none.
    ///
    /// # Errors
    /// [`Refusal::Stale`] if they are another node's, [`Refusal::NodeGone`].
    fn retire(&mut self, node: NodeRef, root: GlobalEntity) -> Result<u32>;

    /// Makes the rows of a root the ones named: rows that were under it and are not named become
    /// roots of their own, rows that are missing are made: under a fresh term with the root, under
    /// the root's term without it. The manifest's version rises if anything changed.
    ///
    /// # Errors
    /// [`Refusal::NotOwner`] if any row concerned is another node's; [`Refusal::PlayerExists`];
    /// [`Refusal::NodeGone`].
    fn regroup(&mut self, node: NodeRef, op: OpId, regroup: &Regroup) -> Result<Regrouped>;

    /// The commit of a handover: all rows of the root become the caller's under a fresh term,
    /// with the states named.
    ///
    /// # Errors
    /// [`Refusal::Stale`], [`Refusal::Manifest`], [`Refusal::NotCellOwner`],
    /// [`Refusal::NodeGone`].
    fn claim(&mut self, node: NodeRef, op: OpId, claim: &Claim) -> Result<Term>;

    /// The end of a handover that was not committed: the rows of the root stay the caller's under
    /// a fresh term. A claim of the old one is void for ever.
    ///
    /// # Errors
    /// [`Refusal::Stale`] if the claim was faster, [`Refusal::NodeGone`].
    fn abort(&mut self, node: NodeRef, op: OpId, root: GlobalEntity, term: Term) -> Result<Term>;

    /// Takes over all cells and rows of a node whose record is gone, under one fresh term.
    ///
    /// # Errors
    /// [`Refusal::NotBuried`] while it has a record, [`Refusal::NodeGone`].
    fn reclaim(&mut self, node: NodeRef, op: OpId, dead: NodeRef) -> Result<Reclaimed>;

    /// Stores states. The set of rows under each root becomes the one named, as in
    /// [`regroup`](Self::regroup). All of it is one transaction; a root that is refused does not
    /// keep the others from being stored.
    ///
    /// # Errors
    /// [`Refusal::NodeGone`]. What is wrong with one root is in its outcome.
    fn checkpoint(
        &mut self,
        node: NodeRef,
        op: OpId,
        groups: &[Checkpoint],
    ) -> Result<Vec<CheckpointOutcome>>;

    /// The rows of a root with their states, the root first. Empty if there are none.
    ///
    /// # Errors
    /// Only [`DirectoryError::Unavailable`].
    fn read(&mut self, root: GlobalEntity) -> Result<Vec<EntityRow>>;

    /// One row, without its state.
    ///
    /// # Errors
    /// Only [`DirectoryError::Unavailable`].
    fn head(&mut self, entity: GlobalEntity) -> Result<Option<EntityRecord>>;

    /// The row of a player's root.
    ///
    /// # Errors
    /// Only [`DirectoryError::Unavailable`].
    fn find_player(&mut self, player: PeerId) -> Result<Option<EntityRecord>>;

    /// The names of all rows in a block of names, in order. For whoever puts into a cell what its
    /// world file says: what has a row is somewhere already.
    ///
    /// # Errors
    /// Only [`DirectoryError::Unavailable`].
    fn names(&mut self, block: u32) -> Result<Vec<GlobalEntity>>;

    /// How many roots the node owns.
    ///
    /// # Errors
    /// Only [`DirectoryError::Unavailable`].
    fn owned_roots(&mut self, node: NodeRef) -> Result<u32>;

    /// Whether anything may have changed since the last call. Much cheaper than reading.
    ///
    /// # Errors
    /// Only [`DirectoryError::Unavailable`].
    fn changed(&mut self) -> Result<bool>;
}
