//! Rows outside of handovers: checkpoints, rows that the game makes, rows that go.

use std::{collections::BTreeMap, time::Duration};

use seamless_wire::{GlobalEntity, snapshot::WorldSnapshot};

use super::{
    CheckpointGroup, MeshEvent, NodeCore,
    base::{OpFor, Retry},
    target::split,
};
use crate::directory::{
    self, Checkpoint, CheckpointOutcome, Create, DirectoryAnswer, DirectoryError, DirectoryOp, OpId,
};

#[derive(Debug)]
struct Making {
    create: Box<Create>,
    op: OpId,
    retry: Retry,
}

/// What is to be stored. Bounded by the number of roots: of each, only the latest state waits.
#[derive(Debug, Default)]
pub(super) struct Stores {
    waiting: BTreeMap<GlobalEntity, Checkpoint>,
    /// On its way, to be judged by the answer or to be sent again.
    sent: Vec<Checkpoint>,
    busy: bool,
    retry: Retry,
    retiring: BTreeMap<GlobalEntity, Retry>,
    making: BTreeMap<GlobalEntity, Making>,
    naming: BTreeMap<u32, Retry>,
}

impl Stores {
    pub(super) fn next(&self) -> Option<Duration> {
        let checkpoint = self.retry.due.filter(|_| !self.busy);
        let retiring = self.retiring.values().filter_map(|retry| retry.due);
        let making = self.making.values().filter_map(|making| making.retry.due);
        let naming = self.naming.values().filter_map(|retry| retry.due);
        let rows = retiring.chain(making).chain(naming);
        checkpoint.into_iter().chain(rows).min()
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// This root is not ours any more.
    pub(super) fn drop_root(&mut self, root: GlobalEntity) {
        self.waiting.remove(&root);
    }

    /// Roots whose latest state is not stored yet.
    pub(super) fn backlog(&self) -> usize {
        self.waiting.len() + self.sent.len()
    }
}

impl NodeCore {
    pub(super) fn checkpoint(&mut self, groups: Vec<CheckpointGroup>) {
        if self.base.me.is_none() {
            return;
        }
        let schema = self.base.config.schema;
        for group in groups {
            if self.stores.retiring.contains_key(&group.root) {
                continue;
            }
            let snapshot = WorldSnapshot {
                tick: group.tick,
                schema,
                rows: group.members,
            };
            let Some(rows) = split(snapshot) else {
                self.base.counters.checkpoints_refused += 1;
                continue;
            };
            let checkpoint = Checkpoint {
                root: group.root,
                term: group.term,
                tick: group.tick,
                last_input: group.last_input,
                cell: group.cell,
                rows,
            };
            self.stores.waiting.insert(group.root, checkpoint);
        }
        if self.stores.retry.due.is_none() {
            self.stores.retry.due = Some(self.base.now);
        }
    }

    fn send_checkpoint(&mut self) {
        let Some(node) = self.base.me else {
            return;
        };
        self.stores.retry.due = None;
        if self.stores.waiting.is_empty() {
            return;
        }
        let groups: Vec<Checkpoint> = std::mem::take(&mut self.stores.waiting)
            .into_values()
            .collect();
        self.stores.sent.clone_from(&groups);
        self.stores.busy = true;
        let op = self.base.op_id();
        self.base.ask(
            OpFor::Checkpoint,
            DirectoryOp::Checkpoint { node, op, groups },
        );
    }

    pub(super) fn on_checkpointed(&mut self, result: directory::Result<DirectoryAnswer>) {
        self.stores.busy = false;
        let sent = std::mem::take(&mut self.stores.sent);
        let Ok(DirectoryAnswer::Checkpointed(outcomes)) = result else {
            for group in sent {
                if !self.stores.retiring.contains_key(&group.root) {
                    self.stores.waiting.entry(group.root).or_insert(group);
                }
            }
            let mut retry = self.stores.retry;
            self.base.later(&mut retry);
            self.stores.retry = retry;
            return;
        };
        self.stores.retry.tries = 0;
        self.stores.retry.due = (!self.stores.waiting.is_empty()).then_some(self.base.now);
        let mut lost = Vec::new();
        for (group, outcome) in sent.into_iter().zip(outcomes) {
            match outcome {
                CheckpointOutcome::Stored { manifest } => {
                    self.base.counters.checkpointed += 1;
                    let members = group.rows.into_iter().map(|(entity, _)| entity);
                    let members = members.filter(|entity| *entity != group.root).collect();
                    self.source_rows_changed(group.root, manifest, members);
                }
                CheckpointOutcome::Older => self.base.counters.checkpoints_refused += 1,
                CheckpointOutcome::Foreign { entity, row } => {
                    self.base.counters.checkpoints_refused += 1;
                    let retired = self.stores.retiring.contains_key(&group.root);
                    // While a handover is being decided, its own answer says whose the root is.
                    if retired || self.sources.frozen(group.root) {
                        continue;
                    }
                    match row {
                        Some((owner, term)) if Some(owner) == self.base.me => {
                            let (root, term) = (entity, Some(term));
                            self.base.event(MeshEvent::Created { root, term });
                        }
                        Some(_) => lost.push(entity),
                        None if entity == group.root => {
                            self.base.event(MeshEvent::NoRow { root: entity });
                        }
                        // Nobody has it: it is as volatile as it was.
                        None => {}
                    }
                }
            }
        }
        self.lost(lost);
    }

    /// The game thinks that these are ours, and they are not.
    pub(super) fn lost(&mut self, entities: Vec<GlobalEntity>) {
        if entities.is_empty() {
            return;
        }
        self.base.counters.lost_rows += entities.len() as u64;
        for entity in &entities {
            self.base.desk.void_root(*entity);
            self.stores.drop_root(*entity);
        }
        self.base.event(MeshEvent::LostRows(entities));
    }

    pub(super) fn retire(&mut self, roots: Vec<GlobalEntity>) {
        if self.base.me.is_none() {
            return;
        }
        for root in roots {
            self.cancel(root);
            self.stores.drop_root(root);
            self.base.desk.void_root(root);
            self.stores.retiring.insert(root, Retry::default());
            self.send_retire(root);
        }
    }

    fn send_retire(&mut self, root: GlobalEntity) {
        if let (Some(node), Some(retry)) = (self.base.me, self.stores.retiring.get_mut(&root)) {
            retry.due = None;
            self.base
                .ask(OpFor::Retire(root), DirectoryOp::Retire { node, root });
        }
    }

    pub(super) fn on_retired(
        &mut self,
        root: GlobalEntity,
        result: directory::Result<DirectoryAnswer>,
    ) {
        let Some(retry) = self.stores.retiring.get_mut(&root) else {
            return;
        };
        match result {
            Ok(_) | Err(DirectoryError::Refused(_)) => {
                self.stores.retiring.remove(&root);
                self.sessions.retired(root);
            }
            Err(_) => self.base.later(retry),
        }
    }

    pub(super) fn create(&mut self, create: Create) {
        let root = create.root;
        if self.base.me.is_none() {
            self.base.event(MeshEvent::Created { root, term: None });
            return;
        }
        let op = self.base.op_id();
        let retry = Retry::default();
        let create = Box::new(create);
        self.stores
            .making
            .insert(root, Making { create, op, retry });
        self.send_create(root);
    }

    fn send_create(&mut self, root: GlobalEntity) {
        if let (Some(node), Some(making)) = (self.base.me, self.stores.making.get_mut(&root)) {
            making.retry.due = None;
            let (op, create) = (making.op, making.create.clone());
            self.base.ask(
                OpFor::Create(root),
                DirectoryOp::Create { node, op, create },
            );
        }
    }

    pub(super) fn on_created(
        &mut self,
        root: GlobalEntity,
        result: directory::Result<DirectoryAnswer>,
    ) {
        let Some(making) = self.stores.making.get_mut(&root) else {
            return;
        };
        let term = match result {
            Ok(DirectoryAnswer::Term(term)) => Some(term),
            Ok(_) | Err(DirectoryError::Refused(_)) => None,
            Err(_) => {
                self.base.later(&mut making.retry);
                return;
            }
        };
        self.stores.making.remove(&root);
        self.base.event(MeshEvent::Created { root, term });
    }

    pub(super) fn read_names(&mut self, block: u32) {
        if self.base.me.is_some() {
            self.stores.naming.entry(block).or_default().due = None;
            self.base
                .ask(OpFor::Names(block), DirectoryOp::Names { block });
        }
    }

    pub(super) fn on_names(&mut self, block: u32, result: directory::Result<DirectoryAnswer>) {
        let Some(retry) = self.stores.naming.get_mut(&block) else {
            return;
        };
        if let Ok(DirectoryAnswer::Names(names)) = result {
            self.stores.naming.remove(&block);
            self.base.event(MeshEvent::Names { block, names });
        } else {
            self.base.later(retry);
        }
    }

    pub(super) fn tick_stores(&mut self) {
        let now = self.base.now;
        if self.stores.next().is_none_or(|next| next > now) {
            return;
        }
        if self.stores.retry.is_due(now) && !self.stores.busy {
            self.send_checkpoint();
        }
        let due = |retry: &Retry| retry.is_due(now);
        let retiring = self.stores.retiring.iter().filter(|(_, retry)| due(retry));
        let retiring: Vec<GlobalEntity> = retiring.map(|(root, _)| *root).collect();
        for root in retiring {
            self.send_retire(root);
        }
        let making = self
            .stores
            .making
            .iter()
            .filter(|(_, making)| due(&making.retry));
        let making: Vec<GlobalEntity> = making.map(|(root, _)| *root).collect();
        for root in making {
            self.send_create(root);
        }
        let naming = self.stores.naming.iter().filter(|(_, retry)| due(retry));
        let naming: Vec<u32> = naming.map(|(block, _)| *block).collect();
        for block in naming {
            self.read_names(block);
        }
    }
}
