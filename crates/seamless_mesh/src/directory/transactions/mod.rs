//! The operations of a directory, written once over plain [`Tables`].
//!
//! Each function here is the body of one transaction. It looks at everything first and writes
//! only when nothing can be refused any more, so that a refusal leaves no trace even in tables
//! that cannot roll back.
//!
//! * [`nodes`]: who is in the mesh. [`cells`]: who owns which region.
//! * [`handover`]: rows come, change hands and go.
//! * [`groups`]: which rows are under one root, and what is stored of them.

pub mod cells;
pub mod groups;
pub mod handover;
pub mod nodes;

use std::time::Duration;

use seamless_wire::{CellId, GlobalEntity, InputSeq, NodeRef, PeerId, Term, Tick};

use super::{
    CellRecord, Checkpoint, CheckpointOutcome, Claim, Create, Directory, EntityRecord, EntityRow,
    Evidence, Join, Joined, Load, NodeRecord, OpId, Reclaimed, Refusal, Regroup, Regrouped, Result,
    Survey, tables::Tables,
};
use cells::{claim_cells, move_cell};
use groups::{checkpoint, regroup};
use handover::{abort, claim, create, owned_roots, read, reclaim, retire};
use nodes::{beat, bury, join, leave, set_draining, survey};

/// How far the term counter jumps when the machine was started anew. More terms than are drawn
/// between two syncs of the file, by orders of magnitude.
pub const TERM_JUMP: u64 = 1 << 20;

fn present(t: &mut impl Tables, node: NodeRef) -> Result<NodeRecord> {
    match t.node(node.id)? {
        Some(record) if record.node == node => Ok(record),
        _ => Err(Refusal::NodeGone(node).into()),
    }
}

fn draw(t: &mut impl Tables) -> Result<Term> {
    let mut meta = t.meta()?;
    meta.term.0 += 1;
    t.put_meta(&meta)?;
    Ok(meta.term)
}

fn relayout(t: &mut impl Tables) -> Result<()> {
    let mut meta = t.meta()?;
    meta.layout += 1;
    t.put_meta(&meta)
}

fn fresh_row(
    node: NodeRef,
    op: OpId,
    term: Term,
    cell: CellId,
) -> impl Fn(GlobalEntity) -> EntityRecord {
    move |entity| EntityRecord {
        entity,
        root: entity,
        player: None,
        owner: node,
        term,
        op,
        cell,
        manifest: 1,
        written: Term::default(),
        tick: Tick::default(),
        last_input: InputSeq::default(),
    }
}

fn stale(root: GlobalEntity, found: Option<EntityRecord>) -> Refusal {
    Refusal::Stale {
        root,
        found: found.map(Box::new),
    }
}

/// A backend that can run a function inside one transaction. It is a [`Directory`] then.
pub trait Transactional: Send {
    /// The tables, as seen from inside.
    type Tables<'a>: Tables;

    /// Runs `body` in a transaction that may write. An error of `body` undoes what it wrote.
    ///
    /// # Errors
    /// Those of `body`, and those of beginning and ending the transaction.
    fn write<R>(&mut self, body: impl FnOnce(&mut Self::Tables<'_>) -> Result<R>) -> Result<R>;

    /// Runs `body` in a transaction that only reads.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    fn look<R>(&mut self, body: impl FnOnce(&mut Self::Tables<'_>) -> Result<R>) -> Result<R>;

    /// See [`Directory::changed`].
    ///
    /// # Errors
    /// As [`Directory::changed`].
    fn has_changed(&mut self) -> Result<bool>;
}

impl<D: Transactional> Directory for D {
    fn join(&mut self, request: &Join) -> Result<Joined> {
        self.write(|t| join(t, request))
    }

    fn beat(&mut self, node: NodeRef, load: Load, clock: Duration) -> Result<()> {
        self.write(|t| beat(t, node, load, clock))
    }

    fn leave(&mut self, node: NodeRef) -> Result<()> {
        self.write(|t| leave(t, node))
    }

    fn set_draining(&mut self, node: NodeRef, draining: bool) -> Result<()> {
        self.write(|t| set_draining(t, node, draining))
    }

    fn survey(&mut self, known: Option<u64>) -> Result<Survey> {
        self.look(|t| survey(t, known))
    }

    fn bury(&mut self, node: NodeRef, evidence: Evidence) -> Result<()> {
        self.write(|t| bury(t, node, evidence))
    }

    fn claim_cells(
        &mut self,
        node: NodeRef,
        op: OpId,
        cells: &[CellId],
    ) -> Result<Vec<CellRecord>> {
        self.write(|t| claim_cells(t, node, op, cells))
    }

    fn move_cell(
        &mut self,
        node: NodeRef,
        op: OpId,
        cell: CellId,
        to: NodeRef,
    ) -> Result<CellRecord> {
        self.write(|t| move_cell(t, node, op, cell, to))
    }

    fn create(&mut self, node: NodeRef, op: OpId, request: &Create) -> Result<Term> {
        self.write(|t| create(t, node, op, request))
    }

    fn retire(&mut self, node: NodeRef, root: GlobalEntity) -> Result<u32> {
        self.write(|t| retire(t, node, root))
    }

    fn regroup(&mut self, node: NodeRef, op: OpId, request: &Regroup) -> Result<Regrouped> {
        self.write(|t| regroup(t, node, op, request))
    }

    fn claim(&mut self, node: NodeRef, op: OpId, request: &Claim) -> Result<Term> {
        self.write(|t| claim(t, node, op, request))
    }

    fn abort(&mut self, node: NodeRef, op: OpId, root: GlobalEntity, term: Term) -> Result<Term> {
        self.write(|t| abort(t, node, op, root, term))
    }

    fn reclaim(&mut self, node: NodeRef, op: OpId, dead: NodeRef) -> Result<Reclaimed> {
        self.write(|t| reclaim(t, node, op, dead))
    }

    fn checkpoint(
        &mut self,
        node: NodeRef,
        op: OpId,
        groups: &[Checkpoint],
    ) -> Result<Vec<CheckpointOutcome>> {
        self.write(|t| checkpoint(t, node, op, groups))
    }

    fn read(&mut self, root: GlobalEntity) -> Result<Vec<EntityRow>> {
        self.look(|t| read(t, root))
    }

    fn head(&mut self, entity: GlobalEntity) -> Result<Option<EntityRecord>> {
        self.look(|t| t.entity(entity))
    }

    fn find_player(&mut self, player: PeerId) -> Result<Option<EntityRecord>> {
        self.look(|t| t.player(player))
    }

    fn names(&mut self, block: u32) -> Result<Vec<GlobalEntity>> {
        self.look(|t| t.names(block))
    }

    fn owned_roots(&mut self, node: NodeRef) -> Result<u32> {
        self.look(|t| owned_roots(t, node))
    }

    fn changed(&mut self) -> Result<bool> {
        self.has_changed()
    }
}
