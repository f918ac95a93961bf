//! A directory that fails on demand, around any other. For tests.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use seamless_wire::{CellId, GlobalEntity, NodeRef, PeerId, Term};

use super::{
    CellRecord, Checkpoint, CheckpointOutcome, Claim, Create, Directory, DirectoryError,
    EntityRecord, EntityRow, Evidence, Join, Joined, Load, OpId, Reclaimed, Regroup, Regrouped,
    Result, Survey,
};

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Faults {
    /// Nothing is done, and the caller is told so.
    pub unavailable: bool,
    /// So many calls are not made although the caller cannot know it.
    pub lose_calls: u32,
    /// So many calls are made and their answers lost.
    pub lose_answers: u32,
    /// Every call takes so much longer, in real time.
    pub slow: Duration,
}

/// The switch of a [`FaultyDirectory`].
#[derive(Debug, Clone, Default)]
pub struct FaultSwitch(Arc<Mutex<Faults>>);

impl FaultSwitch {
    /// From now on, this goes wrong.
    pub fn set(&self, faults: Faults) {
        *self.lock() = faults;
    }

    fn lock(&self) -> MutexGuard<'_, Faults> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A directory with a [`FaultSwitch`].
#[derive(Debug, Clone)]
pub struct FaultyDirectory<D> {
    inner: D,
    switch: FaultSwitch,
}

impl<D: Directory> FaultyDirectory<D> {
    /// `inner`, with the faults that the switch names.
    pub fn new(inner: D, switch: FaultSwitch) -> Self {
        Self { inner, switch }
    }

    fn call<R>(&mut self, call: impl FnOnce(&mut D) -> Result<R>) -> Result<R> {
        let faults = {
            let mut faults = self.switch.lock();
            let now = *faults;
            if faults.lose_calls > 0 {
                faults.lose_calls -= 1;
            } else {
                faults.lose_answers = faults.lose_answers.saturating_sub(1);
            }
            now
        };
        if !faults.slow.is_zero() {
            thread::sleep(faults.slow);
        }
        if faults.unavailable {
            return Err(DirectoryError::Unavailable("switched off".to_owned()));
        }
        let lost = || DirectoryError::InDoubt("answer lost".to_owned());
        if faults.lose_calls > 0 {
            return Err(lost());
        }
        let result = call(&mut self.inner);
        if faults.lose_answers > 0 {
            Err(lost())
        } else {
            result
        }
    }
}

impl<D: Directory> Directory for FaultyDirectory<D> {
    fn join(&mut self, join: &Join) -> Result<Joined> {
        self.call(|d| d.join(join))
    }

    fn beat(&mut self, node: NodeRef, load: Load, clock: Duration) -> Result<()> {
        self.call(|d| d.beat(node, load, clock))
    }

    fn leave(&mut self, node: NodeRef) -> Result<()> {
        self.call(|d| d.leave(node))
    }

    fn set_draining(&mut self, node: NodeRef, draining: bool) -> Result<()> {
        self.call(|d| d.set_draining(node, draining))
    }

    fn survey(&mut self, known: Option<u64>) -> Result<Survey> {
        self.call(|d| d.survey(known))
    }

    fn bury(&mut self, node: NodeRef, evidence: Evidence) -> Result<()> {
        self.call(|d| d.bury(node, evidence))
    }

    fn claim_cells(
        &mut self,
        node: NodeRef,
        op: OpId,
        cells: &[CellId],
    ) -> Result<Vec<CellRecord>> {
        self.call(|d| d.claim_cells(node, op, cells))
    }

    fn move_cell(
        &mut self,
        node: NodeRef,
        op: OpId,
        cell: CellId,
        to: NodeRef,
    ) -> Result<CellRecord> {
        self.call(|d| d.move_cell(node, op, cell, to))
    }

    fn create(&mut self, node: NodeRef, op: OpId, create: &Create) -> Result<Term> {
        self.call(|d| d.create(node, op, create))
    }

    fn retire(&mut self, node: NodeRef, root: GlobalEntity) -> Result<u32> {
        self.call(|d| d.retire(node, root))
    }

    fn regroup(&mut self, node: NodeRef, op: OpId, regroup: &Regroup) -> Result<Regrouped> {
        self.call(|d| d.regroup(node, op, regroup))
    }

    fn claim(&mut self, node: NodeRef, op: OpId, claim: &Claim) -> Result<Term> {
        self.call(|d| d.claim(node, op, claim))
    }

    fn abort(&mut self, node: NodeRef, op: OpId, root: GlobalEntity, term: Term) -> Result<Term> {
        self.call(|d| d.abort(node, op, root, term))
    }

    fn reclaim(&mut self, node: NodeRef, op: OpId, dead: NodeRef) -> Result<Reclaimed> {
        self.call(|d| d.reclaim(node, op, dead))
    }

    fn checkpoint(
        &mut self,
        node: NodeRef,
        op: OpId,
        groups: &[Checkpoint],
    ) -> Result<Vec<CheckpointOutcome>> {
        self.call(|d| d.checkpoint(node, op, groups))
    }

    fn read(&mut self, root: GlobalEntity) -> Result<Vec<EntityRow>> {
        self.call(|d| d.read(root))
    }

    fn head(&mut self, entity: GlobalEntity) -> Result<Option<EntityRecord>> {
        self.call(|d| d.head(entity))
    }

    fn find_player(&mut self, player: PeerId) -> Result<Option<EntityRecord>> {
        self.call(|d| d.find_player(player))
    }

    fn names(&mut self, block: u32) -> Result<Vec<GlobalEntity>> {
        self.call(|d| d.names(block))
    }

    fn owned_roots(&mut self, node: NodeRef) -> Result<u32> {
        self.call(|d| d.owned_roots(node))
    }

    fn changed(&mut self) -> Result<bool> {
        self.call(D::changed)
    }
}
