//! The source's side of a handover.
//!
//! ```text
//! Grouping -> Asking -> Reserved -> Committing -> (confirmed: read the row) -> handed over
//!                |          |            |
//!                +----------+- rejected  +-> Aborting -> resumed, or handed over after all
//! ```
//!
//! Up to `Reserved` nothing is at stake and the attempt may end at any time. From `Committing` on
//! the group is frozen, and only the directory's word ends it: the row is the target's, or our
//! abort won. At most one attempt per root.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use seamless_wire::{
    CellId, GlobalEntity, HandoverId, InputSeq, NodeRef, PeerId, Term, Tick,
    control::Control,
    mesh::{Commit, CommitReply, Manifest, Prepare, PrepareReply, RejectReason, Release},
};

use super::{
    AbortReason, HandoverTrace, MeshEvent, NodeCore, Outcome, PeerError, PeerMessage, PeerReply,
    Phase, Role,
    base::{Base, OpFor, Retry, SendFor},
};
use crate::{
    directory::{
        self, DirectoryAnswer, DirectoryError, DirectoryOp, EntityRecord, OpId, Refusal, Regroup,
    },
    timing::backoff,
};

/// When a rejected group may ask again, if the target did not say.
const ASK_AGAIN: Duration = Duration::from_secs(1);

#[derive(Debug)]
enum State {
    /// The directory arranges the rows.
    Grouping,
    /// PREPARE is on its way, again and again.
    Asking {
        since: Duration,
        tries: u32,
        due: Duration,
    },
    /// There is room. The target is asked again to keep the room and to learn about the client.
    Reserved { heard: Duration, due: Duration },
    /// Frozen; COMMIT is on its way.
    Committing {
        commit: Arc<Commit>,
        until: Duration,
        due: Duration,
    },
    /// Frozen; the directory decides.
    Aborting {
        op: OpId,
        reason: AbortReason,
        retry: Retry,
    },
}

#[derive(Debug)]
struct Attempt {
    serial: u64,
    members: Vec<GlobalEntity>,
    player: Option<PeerId>,
    cell: CellId,
    viewpoint: [f32; 3],
    target: NodeRef,
    /// Known once the rows are arranged for the first time.
    handover: Option<HandoverId>,
    manifest: Manifest,
    /// The rows are being arranged again.
    regrouping: bool,
    /// Reserved at least once, perhaps under an earlier manifest.
    reserved: bool,
    attached: bool,
    /// When the client's token came.
    token: Option<Duration>,
    state: State,
    trace: Option<HandoverTrace>,
}

impl Attempt {
    const fn frozen(&self) -> bool {
        matches!(
            self.state,
            State::Committing { .. } | State::Aborting { .. }
        )
    }

    fn mark(&mut self, phase: Phase, now: Duration) {
        if let Some(trace) = &mut self.trace {
            trace.mark(phase, now);
        }
    }
}

/// What the game wants to hand over, and to which cell.
#[derive(Debug)]
pub(super) struct Wish {
    pub(super) root: GlobalEntity,
    pub(super) members: Vec<GlobalEntity>,
    pub(super) player: Option<PeerId>,
    pub(super) cell: CellId,
    pub(super) viewpoint: [f32; 3],
}

/// A group that the game has frozen.
#[derive(Debug)]
pub(super) struct Frozen {
    pub(super) handover: HandoverId,
    pub(super) tick: Tick,
    pub(super) last_input: InputSeq,
    pub(super) state: Vec<u8>,
    pub(super) queue: Vec<(PeerId, Control)>,
}

#[derive(Debug, Default)]
pub(super) struct Sources {
    attempts: BTreeMap<GlobalEntity, Attempt>,
    count: u32,
    /// To whom something went over lately: if that node dies, we were closest.
    given: BTreeMap<NodeRef, Duration>,
}

/// How long after a handover its source is the first to reclaim it.
const CLOSEST_FOR: Duration = Duration::from_secs(10);

impl Sources {
    pub(super) fn next(&self) -> Option<Duration> {
        self.attempts
            .values()
            .filter_map(|attempt| match &attempt.state {
                State::Grouping => None,
                State::Asking { due, .. } | State::Reserved { due, .. } => Some(*due),
                State::Committing { until, due, .. } => Some(*until.min(due)),
                State::Aborting { retry, .. } => retry.due,
            })
            .min()
    }

    /// Whether there is an attempt for this root, of any kind.
    pub(super) fn holds(&self, root: GlobalEntity) -> bool {
        self.attempts.contains_key(&root)
    }

    /// Whether this root is frozen here and not decided.
    pub(super) fn frozen(&self, root: GlobalEntity) -> bool {
        self.attempts.get(&root).is_some_and(Attempt::frozen)
    }

    /// Whether something went over to this node lately.
    pub(super) fn gave(&self, node: NodeRef, now: Duration) -> bool {
        let given = self.given.get(&node);
        given.is_some_and(|at| now.saturating_sub(*at) < CLOSEST_FOR)
    }

    /// Attempts under way, frozen ones among them.
    pub(super) fn count(&self) -> (usize, usize) {
        let frozen = self.attempts.values().filter(|attempt| attempt.frozen());
        (self.attempts.len(), frozen.count())
    }
}

fn rejected(base: &mut Base, root: GlobalEntity, reason: RejectReason, retry_after: Duration) {
    base.counters.rejected += 1;
    base.event(MeshEvent::Rejected {
        root,
        reason,
        retry_after,
    });
}

impl NodeCore {
    pub(super) fn prepare(&mut self, wish: Wish) {
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
                reserved: false,
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
    fn regroup(&mut self, root: GlobalEntity) {
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

    pub(super) fn on_regrouped(
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
                } else if attempt.manifest == manifest && attempt.reserved {
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
    pub(super) fn source_rows_changed(
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

    pub(super) fn tick_sources(&mut self) {
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

    fn send_prepare(&mut self, root: GlobalEntity) {
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
        match &mut attempt.state {
            State::Asking { tries, due, .. } => {
                *due = now + backoff(timing.prepare_first, timing.prepare_slowest, *tries);
                *tries += 1;
            }
            State::Reserved { due, .. } => {
                let wait = if attempt.attached || attempt.player.is_none() {
                    timing.reserved_poll
                } else {
                    timing.attach_poll
                };
                *due = now + wait;
            }
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

    pub(super) fn on_prepare_reply(
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
                let timing = &self.base.config.timing;
                let wait = if attempt.attached || attempt.player.is_none() {
                    timing.reserved_poll
                } else {
                    timing.attach_poll
                };
                let due = match attempt.state {
                    State::Reserved { due, .. } if due > now => due,
                    _ => now + wait,
                };
                attempt.state = State::Reserved { heard: now, due };
                attempt.mark(Phase::Reserved, now);
                if attempt.attached {
                    attempt.mark(Phase::Attached, now);
                }
                if !attempt.reserved {
                    attempt.reserved = true;
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
    fn end(&mut self, root: GlobalEntity, reason: RejectReason, retry_after: Duration) {
        let Some(attempt) = self.sources.attempts.remove(&root) else {
            return;
        };
        self.release(&attempt);
        if let Some(trace) = attempt.trace {
            self.base.finish(trace, Outcome::Rejected(reason));
        }
        rejected(&mut self.base, root, reason, retry_after);
    }

    fn release(&mut self, attempt: &Attempt) {
        if let (Some(handover), Some(from)) = (attempt.handover, self.base.me) {
            let message = PeerMessage::Release(Release { handover, from });
            self.base.send(SendFor::Release, attempt.target, message);
        }
    }

    pub(super) fn cancel(&mut self, root: GlobalEntity) {
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

    pub(super) fn source_attached(&mut self, handover: HandoverId) {
        if let Some(attempt) = self.sources.attempts.get_mut(&handover.root)
            && attempt.handover == Some(handover)
        {
            attempt.attached = true;
            attempt.mark(Phase::Attached, self.base.now);
        }
    }

    pub(super) fn commit(&mut self, frozen: Frozen) {
        let (handover, now) = (frozen.handover, self.base.now);
        let root = handover.root;
        let ready = self.base.active().is_some() && self.base.health.ok();
        let me = self.base.me;
        let fits = self.sources.attempts.get(&root).is_some_and(|attempt| {
            attempt.handover == Some(handover)
                && attempt.reserved
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

    fn send_commit(&mut self, root: GlobalEntity) {
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

    pub(super) fn on_commit_reply(
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

    fn look_at(&mut self, root: GlobalEntity) {
        if let Some(attempt) = self.sources.attempts.get(&root) {
            let serial = attempt.serial;
            self.base.ask(
                OpFor::Head { root, serial },
                DirectoryOp::Head { entity: root },
            );
        }
    }

    /// Something changed in the directory: perhaps one of the frozen groups was claimed.
    pub(super) fn look_at_frozen(&mut self) {
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

    pub(super) fn on_head(&mut self, root: GlobalEntity, serial: u64, row: Option<EntityRecord>) {
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
    fn abort(&mut self, root: GlobalEntity, reason: AbortReason) {
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

    fn send_abort(&mut self, root: GlobalEntity) {
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

    pub(super) fn on_aborted(
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
    pub(super) fn source_reclaimed(&mut self, root: GlobalEntity, dead: NodeRef, term: Term) {
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
    pub(super) fn source_lost_target(&mut self, node: NodeRef) {
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

    pub(super) fn abandon_sources(&mut self) {
        for attempt in std::mem::take(&mut self.sources.attempts).into_values() {
            if let Some(trace) = attempt.trace {
                self.base.finish(trace, Outcome::Expelled);
            }
        }
        self.sources.given.clear();
    }
}
