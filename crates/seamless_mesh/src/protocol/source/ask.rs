//! Before the freeze: rows in order, room at the target, the client on its way.

use std::time::Duration;

use seamless_wire::{
    GlobalEntity, HandoverId,
    mesh::{Manifest, Prepare, PrepareReply, RejectReason, Release},
};

use super::{ASK_AGAIN, Attempt, CLOSEST_FOR, State, Wish, rejected};
use crate::{
    directory::{self, DirectoryAnswer, DirectoryError, DirectoryOp, Refusal, Regroup},
    protocol::{
        AbortReason, HandoverTrace, MeshEvent, NodeCore, Outcome, PeerError, PeerMessage,
        PeerReply, Phase, Role,
        base::{OpFor, SendFor},
    },
    timing::backoff,
};

impl NodeCore {
    pub(in crate::protocol) fn prepare(&mut self, wish: Wish) {
        let root = wish.root;
        if self.sources.frozen(root) {
            return;
        }
        let now = self.base.now;
        let target = self.base.neighbour(wish.cell);
        if let Some(attempt) = self.sources.attempts.get_mut(&root) {
            if target == Some(attempt.target) && attempt.cell == wish.cell {
                attempt.viewpoint = wish.viewpoint;
                if attempt.members != wish.members {
                    attempt.members = wish.members;
                    self.regroup(root);
                }
                return;
            }
            self.cancel(root);
        }
        let problem = if self.base.active().is_none() || !self.base.health.ok() {
            Some(RejectReason::Directory)
        } else if self.targets.claims(root) {
            Some(RejectReason::Superseded)
        } else if target.is_none() {
            Some(RejectReason::NotOwner)
        } else {
            None
        };
        let (None, Some(target)) = (problem, target) else {
            let reason = problem.unwrap_or(RejectReason::NotOwner);
            rejected(&mut self.base, root, reason, ASK_AGAIN);
            return;
        };
        let serial = self.base.serial();
        self.sources.attempts.insert(
            root,
            Attempt {
                serial,
                manifest: Manifest {
                    version: 0,
                    members: Vec::new(),
                    player: wish.player,
                },
                members: wish.members,
                player: wish.player,
                cell: wish.cell,
                viewpoint: wish.viewpoint,
                target,
                handover: None,
                regrouping: false,
                reserved: None,
                attached: false,
                token: None,
                state: State::Grouping,
                trace: None,
            },
        );
        self.sources
            .given
            .retain(|_, at| now.saturating_sub(*at) < CLOSEST_FOR);
        self.regroup(root);
    }

    /// Makes the directory's rows those of the group.
    pub(super) fn regroup(&mut self, root: GlobalEntity) {
        let Some(node) = self.base.me else {
            return;
        };
        let op = self.base.op_id();
        let Some(attempt) = self.sources.attempts.get_mut(&root) else {
            return;
        };
        attempt.regrouping = true;
        // Only the answer to the last one counts.
        attempt.serial = op.0;
        let regroup = Regroup {
            root,
            members: attempt.members.clone(),
            player: attempt.player,
            cell: attempt.cell,
        };
        let purpose = OpFor::Regroup { root, serial: op.0 };
        let regroup = Box::new(regroup);
        self.base
            .ask(purpose, DirectoryOp::Regroup { node, op, regroup });
    }

    pub(in crate::protocol) fn on_regrouped(
        &mut self,
        root: GlobalEntity,
        serial: u64,
        result: directory::Result<DirectoryAnswer>,
    ) {
        let now = self.base.now;
        let Some(attempt) = self.sources.attempts.get_mut(&root) else {
            return;
        };
        if attempt.serial != serial || attempt.frozen() {
            return;
        }
        attempt.regrouping = false;
        match result {
            Ok(DirectoryAnswer::Regrouped(rows)) => {
                if rows.made {
                    let term = Some(rows.term);
                    self.base.event(MeshEvent::Created { root, term });
                }
                let mut members = vec![root];
                members.extend(
                    attempt
                        .members
                        .iter()
                        .copied()
                        .filter(|member| *member != root),
                );
                let manifest = Manifest {
                    version: rows.manifest,
                    members,
                    player: rows.player,
                };
                if attempt
                    .handover
                    .is_none_or(|handover| handover.term != rows.term)
                {
                    self.sources.count += 1;
                    let handover = HandoverId {
                        root,
                        term: rows.term,
                        attempt: self.sources.count,
                    };
                    let mut trace = HandoverTrace::new(handover, Role::Source, attempt.target);
                    trace.mark(Phase::Prepared, now);
                    attempt.trace = Some(trace);
                    attempt.handover = Some(handover);
                } else if attempt.manifest == manifest && attempt.reserved.is_some() {
                    return;
                }
                attempt.manifest = manifest;
                attempt.state = State::Asking {
                    since: now,
                    tries: 0,
                    due: now,
                };
            }
            Err(DirectoryError::Refused(Refusal::NotOwner(row))) => {
                let lost = row.entity;
                self.end(root, RejectReason::NotOwner, ASK_AGAIN);
                self.lost(vec![lost]);
            }
            _ => self.end(root, RejectReason::Directory, ASK_AGAIN),
        }
    }

    /// The directory has other rows for this root than the attempt knows.
    pub(in crate::protocol) fn source_rows_changed(
        &mut self,
        root: GlobalEntity,
        version: u32,
        members: Vec<GlobalEntity>,
    ) {
        let Some(attempt) = self.sources.attempts.get_mut(&root) else {
            return;
        };
        let known = attempt.manifest.version == version || attempt.regrouping;
        if !known && !attempt.frozen() {
            attempt.members = members;
            self.regroup(root);
        }
    }

    pub(in crate::protocol) fn tick_sources(&mut self) {
        let now = self.base.now;
        if self.sources.next().is_none_or(|next| next > now) {
            return;
        }
        let roots: Vec<GlobalEntity> = self.sources.attempts.keys().copied().collect();
        for root in roots {
            let Some(attempt) = self.sources.attempts.get(&root) else {
                continue;
            };
            match &attempt.state {
                State::Asking { since, .. }
                    if now >= *since + self.base.config.timing.prepare_for =>
                {
                    self.end(root, RejectReason::Unreachable, ASK_AGAIN);
                }
                State::Reserved { heard, .. }
                    if now >= *heard + self.base.config.timing.reservation / 2 =>
                {
                    self.end(root, RejectReason::Unreachable, ASK_AGAIN);
                }
                State::Asking { due, .. } | State::Reserved { due, .. } if *due <= now => {
                    self.send_prepare(root);
                }
                State::Committing { until, .. } if *until <= now => {
                    self.abort(root, AbortReason::Timeout);
                }
                State::Committing { due, .. } if *due <= now => self.send_commit(root),
                State::Aborting { retry, .. } if retry.is_due(now) => self.send_abort(root),
                _ => {}
            }
        }
    }

    pub(super) fn send_prepare(&mut self, root: GlobalEntity) {
        let (Some(me), now) = (self.base.me, self.base.now) else {
            return;
        };
        let Some(attempt) = self.sources.attempts.get_mut(&root) else {
            return;
        };
        let Some(handover) = attempt.handover else {
            return;
        };
        let timing = &self.base.config.timing;
        let wait = attempt.poll(now, timing);
        match &mut attempt.state {
            State::Asking { tries, due, .. } => {
                *due = now + backoff(timing.prepare_first, timing.prepare_slowest, *tries);
                *tries += 1;
            }
            State::Reserved { due, .. } => *due = now + wait,
            _ => return,
        }
        // A token that is about to expire is replaced while the client has not used it.
        let fresh = attempt
            .token
            .is_some_and(|at| now < at + timing.ticket.mul_f32(0.6));
        let prepare = Prepare {
            handover,
            from: me,
            to: attempt.target,
            cell: attempt.cell,
            manifest: attempt.manifest.clone(),
            schema: self.base.config.schema,
            viewpoint: attempt.viewpoint,
            token: attempt.player.is_some() && !attempt.attached && !fresh,
        };
        let (serial, target) = (attempt.serial, attempt.target);
        let purpose = SendFor::Prepare { root, serial };
        let sent = self
            .base
            .send(purpose, target, PeerMessage::Prepare(Box::new(prepare)));
        if sent.is_none() {
            self.end(root, RejectReason::Unreachable, ASK_AGAIN);
        }
    }

    pub(in crate::protocol) fn on_prepare_reply(
        &mut self,
        root: GlobalEntity,
        serial: u64,
        result: Result<PeerReply, PeerError>,
    ) {
        let now = self.base.now;
        let Some(attempt) = self.sources.attempts.get_mut(&root) else {
            return;
        };
        if attempt.serial != serial || attempt.frozen() {
            return;
        }
        let Some(handover) = attempt.handover else {
            return;
        };
        match result {
            Ok(PeerReply::Prepare(PrepareReply::Reserved {
                address,
                token,
                attached,
            })) => {
                let first = !matches!(attempt.state, State::Reserved { .. });
                let newly_attached = attached && !attempt.attached;
                attempt.attached |= attached;
                if !token.is_empty() {
                    attempt.token = Some(now);
                }
                let wait = attempt.poll(now, &self.base.config.timing);
                let due = match attempt.state {
                    State::Reserved { due, .. } if due > now => due,
                    _ => now + wait,
                };
                attempt.state = State::Reserved { heard: now, due };
                attempt.mark(Phase::Reserved, now);
                if attempt.attached {
                    attempt.mark(Phase::Attached, now);
                }
                if attempt.reserved.is_none() {
                    attempt.reserved = Some(now);
                    self.base.counters.prepared += 1;
                }
                if first || newly_attached || !token.is_empty() {
                    let event = MeshEvent::Reserved {
                        handover,
                        node: attempt.target,
                        address,
                        token,
                        attached: attempt.attached,
                    };
                    self.base.event(event);
                }
            }
            Ok(PeerReply::Prepare(PrepareReply::Rejected {
                reason,
                retry_after_ms,
            })) => {
                self.end(root, reason, Duration::from_millis(retry_after_ms.into()));
            }
            // Asked again when it is due.
            _ => {}
        }
    }

    /// Ends an attempt before the freeze.
    pub(super) fn end(&mut self, root: GlobalEntity, reason: RejectReason, retry_after: Duration) {
        let Some(attempt) = self.sources.attempts.remove(&root) else {
            return;
        };
        self.release(&attempt);
        if let Some(trace) = attempt.trace {
            self.base.finish(trace, Outcome::Rejected(reason));
        }
        rejected(&mut self.base, root, reason, retry_after);
    }

    pub(super) fn release(&mut self, attempt: &Attempt) {
        if let (Some(handover), Some(from)) = (attempt.handover, self.base.me) {
            let message = PeerMessage::Release(Release { handover, from });
            self.base.send(SendFor::Release, attempt.target, message);
        }
    }

    pub(in crate::protocol) fn cancel(&mut self, root: GlobalEntity) {
        let Some(attempt) = self.sources.attempts.get(&root) else {
            return;
        };
        match attempt.state {
            State::Committing { .. } => self.abort(root, AbortReason::Cancelled),
            State::Aborting { .. } => {}
            _ => {
                if let Some(attempt) = self.sources.attempts.remove(&root) {
                    self.release(&attempt);
                    if let Some(trace) = attempt.trace {
                        self.base.finish(trace, Outcome::Cancelled);
                    }
                }
            }
        }
    }

    pub(in crate::protocol) fn source_attached(&mut self, handover: HandoverId) {
        if let Some(attempt) = self.sources.attempts.get_mut(&handover.root)
            && attempt.handover == Some(handover)
        {
            attempt.attached = true;
            attempt.mark(Phase::Attached, self.base.now);
        }
    }

    /// What it was given did not get it there: the next question asks for another token.
    pub(in crate::protocol) fn source_detached(&mut self, handover: HandoverId) {
        if let Some(attempt) = self.sources.attempts.get_mut(&handover.root)
            && attempt.handover == Some(handover)
            && !attempt.frozen()
        {
            attempt.attached = false;
            attempt.token = None;
        }
    }
}
