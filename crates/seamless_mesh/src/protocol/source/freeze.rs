//! From the freeze on: the directory's word ends it.

use std::sync::Arc;

use seamless_wire::{
    GlobalEntity, NodeRef, Term,
    mesh::{Commit, CommitReply, RejectReason},
};

use super::{ASK_AGAIN, Attempt, Frozen, State};
use crate::{
    directory::{self, DirectoryAnswer, DirectoryError, DirectoryOp, EntityRecord, Refusal},
    protocol::{
        AbortReason, MeshEvent, NodeCore, Outcome, PeerError, PeerMessage, PeerReply, Phase,
        base::{OpFor, Retry, SendFor},
    },
};

impl NodeCore {
    pub(in crate::protocol) fn commit(&mut self, frozen: Frozen) {
        let (handover, now) = (frozen.handover, self.base.now);
        let root = handover.root;
        let ready = self.base.active().is_some() && self.base.health.ok();
        let me = self.base.me;
        let fits = self.sources.attempts.get(&root).is_some_and(|attempt| {
            attempt.handover == Some(handover)
                && attempt.reserved.is_some()
                && !attempt.regrouping
                && !attempt.frozen()
                && self.base.view.node(attempt.target).is_some()
        });
        let (true, true, Some(me)) = (ready, fits, me) else {
            // No COMMIT of this attempt has left, so nobody can claim it.
            let frozen_before = self.sources.frozen(root);
            if !frozen_before {
                self.base.counters.not_sent += 1;
                if let Some(attempt) = self.sources.attempts.remove(&root) {
                    self.release(&attempt);
                    if let Some(trace) = attempt.trace {
                        self.base.finish(trace, Outcome::NotSent);
                    }
                }
                if me.is_some() {
                    let term = handover.term;
                    self.base.event(MeshEvent::Resumed { handover, term });
                }
            }
            return;
        };
        let timing = &self.base.config.timing;
        let until = now + timing.freeze_budget;
        let Some(attempt) = self.sources.attempts.get_mut(&root) else {
            return;
        };
        let commit = Commit {
            handover,
            from: me,
            to: attempt.target,
            cell: attempt.cell,
            manifest: attempt.manifest.clone(),
            tick: frozen.tick,
            last_input: frozen.last_input,
            queue: frozen.queue,
            digest: *blake3::hash(&frozen.state).as_bytes(),
            state: frozen.state,
        };
        attempt.state = State::Committing {
            commit: Arc::new(commit),
            until,
            due: now,
        };
        attempt.mark(Phase::Committed, now);
        self.send_commit(root);
    }

    pub(super) fn send_commit(&mut self, root: GlobalEntity) {
        let now = self.base.now;
        let every = self.base.config.timing.commit_every;
        let Some(attempt) = self.sources.attempts.get_mut(&root) else {
            return;
        };
        let State::Committing { commit, due, .. } = &mut attempt.state else {
            return;
        };
        *due = now + every;
        let message = PeerMessage::Commit(Arc::clone(commit));
        let (serial, target) = (attempt.serial, attempt.target);
        self.base
            .send(SendFor::Commit { root, serial }, target, message);
    }

    pub(in crate::protocol) fn on_commit_reply(
        &mut self,
        root: GlobalEntity,
        serial: u64,
        result: Result<PeerReply, PeerError>,
    ) {
        let Some(attempt) = self.sources.attempts.get(&root) else {
            return;
        };
        if attempt.serial != serial || !matches!(attempt.state, State::Committing { .. }) {
            return;
        }
        match result {
            // A hint; the truth is in the directory.
            Ok(PeerReply::Commit(CommitReply::Confirmed(_))) => self.look_at(root),
            Ok(PeerReply::Commit(CommitReply::Refused(_))) => {
                self.abort(root, AbortReason::Refused);
            }
            Ok(PeerReply::Commit(CommitReply::Void)) => self.abort(root, AbortReason::Void),
            _ => {}
        }
    }

    pub(super) fn look_at(&mut self, root: GlobalEntity) {
        if let Some(attempt) = self.sources.attempts.get(&root) {
            let serial = attempt.serial;
            self.base.ask(
                OpFor::Head { root, serial },
                DirectoryOp::Head { entity: root },
            );
        }
    }

    /// Something changed in the directory: perhaps one of the frozen groups was claimed.
    pub(in crate::protocol) fn look_at_frozen(&mut self) {
        let committing = |attempt: &Attempt| matches!(attempt.state, State::Committing { .. });
        let roots: Vec<GlobalEntity> = self
            .sources
            .attempts
            .iter()
            .filter(|(_, attempt)| committing(attempt))
            .map(|(root, _)| *root)
            .collect();
        for root in roots {
            self.look_at(root);
        }
    }

    pub(in crate::protocol) fn on_head(
        &mut self,
        root: GlobalEntity,
        serial: u64,
        row: Option<EntityRecord>,
    ) {
        let Some(attempt) = self.sources.attempts.get(&root) else {
            return;
        };
        // Our own row is not decided yet; under another term the answer to the abort is on its way.
        let ours = row.is_some_and(|row| Some(row.owner) == self.base.me);
        if attempt.serial == serial && attempt.frozen() && !ours {
            self.decided(root, row);
        }
    }

    /// Wants the frozen group back. The directory decides.
    pub(super) fn abort(&mut self, root: GlobalEntity, reason: AbortReason) {
        let now = self.base.now;
        let op = self.base.op_id();
        let Some(attempt) = self.sources.attempts.get_mut(&root) else {
            return;
        };
        attempt.state = State::Aborting {
            op,
            reason,
            retry: Retry::default(),
        };
        attempt.mark(Phase::Aborting, now);
        self.send_abort(root);
    }

    pub(super) fn send_abort(&mut self, root: GlobalEntity) {
        let (Some(node), Some(attempt)) = (self.base.me, self.sources.attempts.get_mut(&root))
        else {
            return;
        };
        let (State::Aborting { op, retry, .. }, Some(handover)) =
            (&mut attempt.state, attempt.handover)
        else {
            return;
        };
        retry.due = None;
        let (op, term, serial) = (*op, handover.term, attempt.serial);
        self.base.ask(
            OpFor::Abort { root, serial },
            DirectoryOp::Abort {
                node,
                op,
                root,
                term,
            },
        );
    }

    pub(in crate::protocol) fn on_aborted(
        &mut self,
        root: GlobalEntity,
        serial: u64,
        result: directory::Result<DirectoryAnswer>,
    ) {
        let now = self.base.now;
        let Some(attempt) = self.sources.attempts.get_mut(&root) else {
            return;
        };
        let State::Aborting { reason, retry, .. } = &mut attempt.state else {
            return;
        };
        if attempt.serial != serial {
            return;
        }
        match result {
            Ok(DirectoryAnswer::Term(term)) => {
                let reason = *reason;
                self.base.counters.aborted(reason);
                if let Some(attempt) = self.sources.attempts.remove(&root) {
                    self.release(&attempt);
                    if let Some(handover) = attempt.handover {
                        self.base.event(MeshEvent::Resumed { handover, term });
                    }
                    if let Some(trace) = attempt.trace {
                        self.base.finish(trace, Outcome::Aborted(reason));
                    }
                }
            }
            Err(DirectoryError::Refused(Refusal::Stale { found, .. })) => {
                self.decided(root, found.map(|row| *row));
            }
            _ => {
                self.base.later(retry);
                attempt.mark(Phase::InDoubt, now);
            }
        }
    }

    /// The row is not what it was under the attempt: somebody else has it, or nobody.
    fn decided(&mut self, root: GlobalEntity, row: Option<EntityRecord>) {
        let now = self.base.now;
        let Some(attempt) = self.sources.attempts.remove(&root) else {
            return;
        };
        self.base.desk.void_root(root);
        self.stores.drop_root(root);
        match (row, attempt.handover) {
            (Some(row), Some(handover)) if Some(row.owner) != self.base.me => {
                self.base.counters.committed += 1;
                self.sources.given.insert(row.owner, now);
                self.base.event(MeshEvent::HandedOver {
                    handover,
                    term: row.term,
                    to: row.owner,
                });
                if let Some(trace) = attempt.trace {
                    self.base.finish(trace, Outcome::HandedOver(row.term));
                }
            }
            _ => {
                if let Some(trace) = attempt.trace {
                    self.base.finish(trace, Outcome::Gone);
                }
                self.lost(vec![root]);
            }
        }
    }

    /// These roots came back to us by a reclaim: what we had frozen of them is history.
    pub(in crate::protocol) fn source_reclaimed(
        &mut self,
        root: GlobalEntity,
        dead: NodeRef,
        term: Term,
    ) {
        let Some(attempt) = self.sources.attempts.remove(&root) else {
            return;
        };
        if let Some(handover) = attempt.handover.filter(|_| attempt.frozen()) {
            self.base.counters.committed += 1;
            self.base.event(MeshEvent::HandedOver {
                handover,
                term,
                to: dead,
            });
            if let Some(trace) = attempt.trace {
                self.base.finish(trace, Outcome::HandedOver(term));
            }
        }
    }

    /// This node has no record any more, or no process.
    pub(in crate::protocol) fn source_lost_target(&mut self, node: NodeRef) {
        let roots: Vec<(GlobalEntity, bool)> = self
            .sources
            .attempts
            .iter()
            .filter(|(_, attempt)| attempt.target == node)
            .map(|(root, attempt)| (*root, attempt.frozen()))
            .collect();
        for (root, frozen) in roots {
            let committing = self
                .sources
                .attempts
                .get(&root)
                .is_some_and(|attempt| matches!(attempt.state, State::Committing { .. }));
            if committing {
                self.abort(root, AbortReason::TargetDied);
            } else if !frozen {
                self.end(root, RejectReason::Unreachable, ASK_AGAIN);
            }
        }
    }

    pub(in crate::protocol) fn abandon_sources(&mut self) {
        for attempt in std::mem::take(&mut self.sources.attempts).into_values() {
            if let Some(trace) = attempt.trace {
                self.base.finish(trace, Outcome::Expelled);
            }
        }
        self.sources.given.clear();
    }
}
