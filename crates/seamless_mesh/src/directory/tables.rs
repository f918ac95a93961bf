//! The five tables that the transactions work on.
//!
//! A [`Tables`] is one open transaction: what is written through it appears at once or, if the
//! transaction is given up, never.

use std::time::Duration;

use seamless_wire::{CellId, GlobalEntity, NodeId, NodeRef, PeerId, Term};

use super::{CellRecord, EntityRecord, NodeRecord, Origin, Result};

/// The directory's counters and what all nodes share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Meta {
    /// The last term drawn.
    pub term: Term,
    /// The next block of names.
    pub next_block: u32,
    /// See [`super::Survey::layout`].
    pub layout: u64,
    /// Where mesh time begins.
    pub origin: Origin,
    /// The machine's boot that `origin` belongs to; zero before the first join.
    pub boot: u128,
    /// The highest mesh time that a beat told.
    pub clock: Duration,
    /// See [`super::Joined::secret`].
    pub secret: [u8; 32],
}

/// Plain reads and writes inside one transaction.
pub trait Tables {
    /// The counters.
    ///
    /// # Errors
    /// Every method: [`super::DirectoryError::Unavailable`] if the storage fails; the caller then
    /// gives the transaction up.
    fn meta(&mut self) -> Result<Meta>;
    /// Replaces the counters.
    fn put_meta(&mut self, meta: &Meta) -> Result<()>;

    /// All nodes, by id.
    fn nodes(&mut self) -> Result<Vec<NodeRecord>>;
    /// One node.
    fn node(&mut self, id: NodeId) -> Result<Option<NodeRecord>>;
    /// Adds or replaces a node.
    fn put_node(&mut self, record: &NodeRecord) -> Result<()>;
    /// Takes a node out.
    fn remove_node(&mut self, id: NodeId) -> Result<()>;

    /// Nodes without a record that own something, by id and life.
    fn dead(&mut self) -> Result<Vec<NodeRef>>;
    /// Adds one. Nothing happens if it is there.
    fn put_dead(&mut self, node: NodeRef) -> Result<()>;
    /// Takes one out.
    fn remove_dead(&mut self, node: NodeRef) -> Result<()>;

    /// All cells, by id.
    fn cells(&mut self) -> Result<Vec<CellRecord>>;
    /// One cell.
    fn cell(&mut self, cell: CellId) -> Result<Option<CellRecord>>;
    /// Adds or replaces a cell.
    fn put_cell(&mut self, record: &CellRecord) -> Result<()>;

    /// One row.
    fn entity(&mut self, entity: GlobalEntity) -> Result<Option<EntityRecord>>;
    /// The rows under a root, by name.
    fn entities_of_root(&mut self, root: GlobalEntity) -> Result<Vec<EntityRecord>>;
    /// A node's rows, by root and name.
    fn entities_of_owner(&mut self, owner: NodeRef) -> Result<Vec<EntityRecord>>;
    /// Whether a node has any row.
    fn owns_entities(&mut self, owner: NodeRef) -> Result<bool>;
    /// The names of the rows in a block of names, in order.
    fn names(&mut self, block: u32) -> Result<Vec<GlobalEntity>>;
    /// A player's row.
    fn player(&mut self, player: PeerId) -> Result<Option<EntityRecord>>;
    /// Adds a row, without a state, or replaces one and keeps its state.
    fn put_entity(&mut self, record: &EntityRecord) -> Result<()>;
    /// Takes a row out, with its state.
    fn remove_entity(&mut self, entity: GlobalEntity) -> Result<()>;
    /// A row's state; empty if there is none.
    fn state(&mut self, entity: GlobalEntity) -> Result<Vec<u8>>;
    /// Replaces a row's state.
    fn put_state(&mut self, entity: GlobalEntity, state: &[u8]) -> Result<()>;
}
