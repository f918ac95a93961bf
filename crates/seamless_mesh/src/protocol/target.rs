//! The target's side of a handover.
//!
//! ```text
//! Reserved -> Staging -> Claiming -> ours
//!     |          |           |
//!     +----------+-----------+-> void
//! ```
//!
//! The claim is the commit. Whether it won is the directory's word; if that was lost, the same
//! operation is asked again until there is one. What became of an attempt is remembered, so that
//! a late COMMIT gets the answer that the first one got.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use seamless_wire::{
    GlobalEntity, HandoverId, NodeRef, Term,
    mesh::{
        Commit, CommitRefusal, CommitReply, DeadNode, DeadNodeReply, HandoverStatus, Manifest,
        Prepare, PrepareReply, RejectReason, Release,
    },
    snapshot::WorldSnapshot,
    ticket::Purpose,
};

use super::{
    HandoverTrace, MeshEvent, NodeCore, Outcome, PeerReply, Phase, ResponseToken, Role, Staged,
    base::{OpFor, Retry, StageFor},
};
use crate::directory::{self, Claim, DirectoryAnswer, DirectoryError, DirectoryOp, OpId};

/// Ended attempts that are remembered, the oldest forgotten first. A COMMIT of one that is
/// forgotten has no reservation, and its claim could not win.
const REMEMBERED: usize = 1024;

/// Requests that wait for one claim; the source has a handful under way at most.
const WAITING: usize = 16;

/// When to ask again after "full", and the like.
const AGAIN_MS: u32 = 1000;
/// When to ask again after something that is decided within milliseconds.
const SOON_MS: u32 = 100;

#[derive(Debug)]
enum State {
    Reserved {
        until: Duration,
    },
    Staging {
        commit: Arc<Commit>,
        rows: Vec<(GlobalEntity, Vec<u8>)>,
    },
    Claiming {
        commit: Arc<Commit>,
        claim: Box<Claim>,
        staged: Staged,
        op: OpId,
        retry: Retry,
    },
}

#[derive(Debug)]
struct Incoming {
    handover: HandoverId,
    from: NodeRef,
    manifest: Manifest,
    attached: bool,
    state: State,
    /// Who waits for the claim's outcome.
    waiting: Vec<ResponseToken>,
    trace: HandoverTrace,
}

impl Incoming {
    const fn committed(&self) -> bool {
        !matches!(self.state, State::Reserved { .. })
    }
}

/// A node that asks what we hold of a dead one.
#[derive(Debug)]
struct DeadQuery {
    dead: NodeRef,
    token: ResponseToken,
    until: Duration,
}

#[derive(Debug, Default)]
pub(super) struct Targets {
    incoming: BTreeMap<GlobalEntity, Incoming>,
    ended: BTreeMap<HandoverId, (HandoverStatus, NodeRef)>,
    order: VecDeque<HandoverId>,
    queries: Vec<DeadQuery>,
}

impl Targets {
    pub(super) fn next(&self) -> Option<Duration> {
        let incoming = self
            .incoming
            .values()
            .filter_map(|incoming| match &incoming.state {
                State::Reserved { until } => Some(*until),
                State::Staging { .. } => None,
                State::Claiming { retry, .. } => retry.due,
            });
        incoming
            .chain(self.queries.iter().map(|query| query.until))
            .min()
    }

    /// Whether a COMMIT for this root is here and not decided.
    pub(super) fn claims(&self, root: GlobalEntity) -> bool {
        self.incoming.get(&root).is_some_and(Incoming::committed)
    }

    /// Whether any claim is not decided.
    pub(super) fn claiming(&self) -> bool {
        self.incoming.values().any(Incoming::committed)
    }

    /// Whether a COMMIT of this node is here and not decided.
    pub(super) fn holds_from(&self, node: NodeRef) -> bool {
        self.incoming
            .values()
            .any(|incoming| incoming.from == node && incoming.committed())
    }

    /// Attempts under way.
    pub(super) fn count(&self) -> usize {
        self.incoming.len()
    }

    fn remember(&mut self, handover: HandoverId, status: HandoverStatus, from: NodeRef) {
        if self.ended.insert(handover, (status, from)).is_none() {
            self.order.push_back(handover);
        }
        while self.order.len() > REMEMBERED {
            if let Some(oldest) = self.order.pop_front() {
                self.ended.remove(&oldest);
            }
        }
    }

    fn status(&self, handover: HandoverId) -> HandoverStatus {
        let incoming = self.incoming.get(&handover.root);
        match incoming.filter(|incoming| incoming.handover == handover) {
            Some(incoming) => match incoming.state {
                State::Reserved { .. } | State::Staging { .. } => HandoverStatus::Reserved,
                State::Claiming { .. } => HandoverStatus::Staged,
            },
            None => self
                .ended
                .get(&handover)
                .map_or(HandoverStatus::Unknown, |(status, _)| *status),
        }
    }
}

/// The rows of a COMMIT as the directory stores them, one snapshot each.
fn rows_of(commit: &Commit) -> Option<Vec<(GlobalEntity, Vec<u8>)>> {
    let snapshot = WorldSnapshot::from_bytes(&commit.state).ok()?;
    let named: BTreeSet<GlobalEntity> = commit.manifest.members.iter().copied().collect();
    let found: BTreeSet<GlobalEntity> = snapshot.rows.iter().map(|row| row.entity).collect();
    let exact = named == found
        && named.len() == commit.manifest.members.len()
        && found.len() == snapshot.rows.len()
        && snapshot.tick == commit.tick;
    exact.then(|| split(snapshot)).flatten()
}

/// A snapshot as one snapshot a row. `None` if a row is too large to be written.
pub(super) fn split(snapshot: WorldSnapshot) -> Option<Vec<(GlobalEntity, Vec<u8>)>> {
    let (tick, schema) = (snapshot.tick, snapshot.schema);
    let one = |row: seamless_wire::snapshot::SnapshotRow| {
        let entity = row.entity;
        let rows = vec![row];
        let bytes = WorldSnapshot { tick, schema, rows }.to_bytes().ok()?;
        Some((entity, bytes))
    };
    snapshot.rows.into_iter().map(one).collect()
}

impl NodeCore {
    pub(super) fn on_prepare(&mut self, token: ResponseToken, prepare: Prepare) {
        match self.reserve(&prepare) {
            Ok(()) => self.respond_reserved(token, &prepare),
            Err((reason, retry_after_ms)) => {
                let reply = PrepareReply::Rejected {
                    reason,
                    retry_after_ms,
                };
                self.base.respond(token, PeerReply::Prepare(reply));
            }
        }
    }

    fn reserve(&mut self, prepare: &Prepare) -> Result<(), (RejectReason, u32)> {
        let (root, now) = (prepare.handover.root, self.base.now);
        if self.base.me != Some(prepare.to) {
            return Err((RejectReason::Incarnation, AGAIN_MS));
        }
        if self.base.fenced {
            return Err((RejectReason::Directory, AGAIN_MS));
        }
        if prepare.schema != self.base.config.schema {
            return Err((RejectReason::Schema, 10 * AGAIN_MS));
        }
        if self.base.leaving {
            return Err((RejectReason::Draining, AGAIN_MS));
        }
        let owner = self
            .base
            .view
            .cells
            .get(&prepare.cell)
            .map(|cell| cell.owner);
        if owner != self.base.me {
            return Err((RejectReason::NotOwner, SOON_MS));
        }
        // Our own attempt with this root is not over: it is not decided whose the root is.
        if self.sources.holds(root) || self.targets.ended.contains_key(&prepare.handover) {
            return Err((RejectReason::Superseded, SOON_MS));
        }
        let until = now + self.base.config.timing.reservation;
        if let Some(incoming) = self.targets.incoming.get_mut(&root) {
            let (old, new) = (incoming.handover, prepare.handover);
            if incoming.committed() || (new.term, new.attempt) < (old.term, old.attempt) {
                return Err((RejectReason::Superseded, SOON_MS));
            }
            if old == new {
                incoming.state = State::Reserved { until };
                if prepare.manifest.version > incoming.manifest.version {
                    incoming.manifest = prepare.manifest.clone();
                    self.expect(prepare);
                }
                return Ok(());
            }
            self.unexpect(root, Outcome::Cancelled);
        }
        if prepare.manifest.player.is_some() && self.is_full() {
            return Err((RejectReason::Full, AGAIN_MS));
        }
        let mut trace = HandoverTrace::new(prepare.handover, Role::Target, prepare.from);
        trace.mark(Phase::Prepared, now);
        trace.mark(Phase::Reserved, now);
        self.targets.incoming.insert(
            root,
            Incoming {
                handover: prepare.handover,
                from: prepare.from,
                manifest: prepare.manifest.clone(),
                attached: false,
                state: State::Reserved { until },
                waiting: Vec::new(),
                trace,
            },
        );
        self.expect(prepare);
        Ok(())
    }

    fn is_full(&self) -> bool {
        let players = |incoming: &&Incoming| incoming.manifest.player.is_some();
        let reserved = self.targets.incoming.values().filter(players).count() as u32;
        self.base.load.players.saturating_add(reserved) >= self.base.config.capacity
    }

    fn expect(&mut self, prepare: &Prepare) {
        self.base.event(MeshEvent::Expect {
            handover: prepare.handover,
            manifest: prepare.manifest.clone(),
            viewpoint: prepare.viewpoint,
            from: prepare.from,
        });
    }

    fn respond_reserved(&mut self, token: ResponseToken, prepare: &Prepare) {
        let incoming = self.targets.incoming.get(&prepare.handover.root);
        let attached = incoming.is_some_and(|incoming| incoming.attached);
        let reply = PeerReply::Prepare(PrepareReply::Reserved {
            address: self.base.config.addresses.udp,
            token: Vec::new(),
            attached,
        });
        let player = prepare
            .manifest
            .player
            .filter(|_| prepare.token && !attached);
        let Some(player) = player else {
            self.base.respond(token, reply);
            return;
        };
        let handover = prepare.handover;
        match self.base.ticket(player, Purpose::Spectate { handover }) {
            Some(ticket) => self.base.respond_with(token, reply, ticket),
            None => {
                let reply = PrepareReply::Rejected {
                    reason: RejectReason::Full,
                    retry_after_ms: AGAIN_MS,
                };
                self.base.respond(token, PeerReply::Prepare(reply));
            }
        }
    }

    pub(super) fn target_attached(&mut self, handover: HandoverId) {
        let now = self.base.now;
        if let Some(incoming) = self.targets.incoming.get_mut(&handover.root)
            && incoming.handover == handover
        {
            incoming.attached = true;
            incoming.trace.mark(Phase::Attached, now);
        }
    }

    pub(super) fn on_release(&mut self, release: Release) {
        let handover = release.handover;
        let incoming = self.targets.incoming.get(&handover.root);
        let incoming = incoming.filter(|incoming| incoming.handover == handover);
        let (here, committed) = (
            incoming.is_some(),
            incoming.is_some_and(Incoming::committed),
        );
        // A COMMIT that is here is decided by the directory.
        if committed || self.targets.ended.contains_key(&handover) {
            return;
        }
        // A PREPARE that comes late finds it ended.
        self.targets
            .remember(handover, HandoverStatus::Void, release.from);
        if here {
            self.unexpect(handover.root, Outcome::Cancelled);
        }
    }

    /// Ends a reservation.
    fn unexpect(&mut self, root: GlobalEntity, outcome: Outcome) {
        if let Some(incoming) = self.targets.incoming.remove(&root) {
            self.base.desk.void_handover(incoming.handover);
            self.base.event(MeshEvent::Unexpect {
                handover: incoming.handover,
            });
            self.base.finish(incoming.trace, outcome);
        }
    }

    pub(super) fn on_commit(&mut self, token: ResponseToken, commit: Arc<Commit>) {
        let (root, now) = (commit.handover.root, self.base.now);
        let refuse = |refusal| PeerReply::Commit(CommitReply::Refused(refusal));
        if self.base.me != Some(commit.to) {
            self.base.respond(token, refuse(CommitRefusal::Incarnation));
            return;
        }
        match self.targets.ended.get(&commit.handover) {
            Some((HandoverStatus::Claimed(term), _)) => {
                let reply = CommitReply::Confirmed(*term);
                self.base.respond(token, PeerReply::Commit(reply));
                return;
            }
            Some(_) => {
                self.base
                    .respond(token, PeerReply::Commit(CommitReply::Void));
                return;
            }
            None => {}
        }
        let incoming = self.targets.incoming.get_mut(&root);
        let Some(incoming) = incoming.filter(|incoming| incoming.handover == commit.handover)
        else {
            self.base.respond(token, refuse(CommitRefusal::NotReserved));
            return;
        };
        if incoming.committed() {
            if incoming.waiting.len() < WAITING {
                incoming.waiting.push(token);
            } else {
                self.base
                    .respond(token, PeerReply::Commit(CommitReply::InDoubt));
            }
            return;
        }
        incoming.trace.mark(Phase::Committed, now);
        incoming.waiting.push(token);
        if *blake3::hash(&commit.state).as_bytes() != commit.digest {
            self.void(root, CommitReply::Refused(CommitRefusal::Digest));
            return;
        }
        let Some(rows) = rows_of(&commit) else {
            self.void(root, CommitReply::Refused(CommitRefusal::Undecodable));
            return;
        };
        let state = commit.state.clone();
        let handover = commit.handover;
        if let Some(incoming) = self.targets.incoming.get_mut(&root) {
            incoming.manifest = commit.manifest.clone();
            incoming.state = State::Staging { commit, rows };
        }
        self.base.stage(StageFor::Incoming(handover), state);
    }

    pub(super) fn on_incoming_staged(
        &mut self,
        handover: HandoverId,
        result: Result<Staged, String>,
    ) {
        let (root, now) = (handover.root, self.base.now);
        let op = self.base.op_id();
        let Some(incoming) = self.targets.incoming.get_mut(&root) else {
            return;
        };
        let State::Staging { commit, rows } = &mut incoming.state else {
            return;
        };
        let Ok(staged) = result else {
            self.void(root, CommitReply::Refused(CommitRefusal::Undecodable));
            return;
        };
        incoming.trace.mark(Phase::Staged, now);
        let claim = Claim {
            root,
            from: commit.from,
            term: handover.term,
            manifest: commit.manifest.version,
            cell: commit.cell,
            tick: commit.tick,
            last_input: commit.last_input,
            rows: std::mem::take(rows),
        };
        incoming.state = State::Claiming {
            commit: Arc::clone(commit),
            claim: Box::new(claim),
            staged,
            op,
            retry: Retry::default(),
        };
        self.send_claim(root);
    }

    fn send_claim(&mut self, root: GlobalEntity) {
        let (Some(node), Some(incoming)) = (self.base.me, self.targets.incoming.get_mut(&root))
        else {
            return;
        };
        let handover = incoming.handover;
        if let State::Claiming {
            claim, op, retry, ..
        } = &mut incoming.state
        {
            retry.due = None;
            let (op, claim) = (*op, claim.clone());
            self.base.ask(
                OpFor::Claim(handover),
                DirectoryOp::Claim { node, op, claim },
            );
        }
    }

    pub(super) fn on_claimed(
        &mut self,
        handover: HandoverId,
        result: directory::Result<DirectoryAnswer>,
    ) {
        let (root, now) = (handover.root, self.base.now);
        let Some(incoming) = self.targets.incoming.get_mut(&root) else {
            return;
        };
        if incoming.handover != handover {
            return;
        }
        let State::Claiming { retry, .. } = &mut incoming.state else {
            return;
        };
        match result {
            Ok(DirectoryAnswer::Term(term)) => self.activate(root, term),
            Err(DirectoryError::Refused(_)) => self.void(root, CommitReply::Void),
            _ => {
                self.base.later(retry);
                incoming.trace.mark(Phase::InDoubt, now);
                // The source reads the directory itself; it need not wait for us.
                let waiting = std::mem::take(&mut incoming.waiting);
                for token in waiting {
                    self.base
                        .respond(token, PeerReply::Commit(CommitReply::InDoubt));
                }
            }
        }
    }

    fn activate(&mut self, root: GlobalEntity, term: Term) {
        let now = self.base.now;
        let Some(mut incoming) = self.targets.incoming.remove(&root) else {
            return;
        };
        let State::Claiming { commit, staged, .. } = incoming.state else {
            return;
        };
        self.base.counters.claimed += 1;
        let status = HandoverStatus::Claimed(term);
        self.targets
            .remember(incoming.handover, status, incoming.from);
        let commit = Arc::try_unwrap(commit).unwrap_or_else(|commit| (*commit).clone());
        self.base.event(MeshEvent::Activate {
            handover: incoming.handover,
            term,
            manifest: commit.manifest,
            cell: commit.cell,
            tick: commit.tick,
            last_input: commit.last_input,
            staged,
            queue: commit.queue,
            claimed_at: now,
        });
        for token in incoming.waiting {
            let reply = CommitReply::Confirmed(term);
            self.base.respond(token, PeerReply::Commit(reply));
        }
        incoming.trace.mark(Phase::Claimed, now);
        self.base.finish(incoming.trace, Outcome::HandedOver(term));
        self.answer_dead_queries();
    }

    /// The COMMIT is void for ever: it did not fit, or the directory's rows had moved on.
    fn void(&mut self, root: GlobalEntity, reply: CommitReply) {
        let Some(incoming) = self.targets.incoming.get_mut(&root) else {
            return;
        };
        let (handover, from) = (incoming.handover, incoming.from);
        for token in std::mem::take(&mut incoming.waiting) {
            self.base.respond(token, PeerReply::Commit(reply.clone()));
        }
        self.base.counters.void += 1;
        self.targets.remember(handover, HandoverStatus::Void, from);
        let outcome = match reply {
            CommitReply::Refused(_) => Outcome::NotSent,
            _ => Outcome::Gone,
        };
        self.unexpect(root, outcome);
        self.answer_dead_queries();
    }

    pub(super) fn tick_targets(&mut self) {
        let now = self.base.now;
        if self.targets.next().is_none_or(|next| next > now) {
            return;
        }
        let roots: Vec<GlobalEntity> = self.targets.incoming.keys().copied().collect();
        for root in roots {
            match self
                .targets
                .incoming
                .get(&root)
                .map(|incoming| &incoming.state)
            {
                Some(State::Reserved { until }) if *until <= now => {
                    self.base.counters.expired += 1;
                    self.unexpect(root, Outcome::Expired);
                }
                Some(State::Claiming { retry, .. }) if retry.is_due(now) => self.send_claim(root),
                _ => {}
            }
        }
        self.answer_dead_queries();
    }

    /// Somebody is about to reclaim what this node had, and asks what we hold of it.
    pub(super) fn on_dead_query(&mut self, token: ResponseToken, dead: DeadNode) {
        self.yield_reclaim(dead.node);
        let until = self.base.now + self.base.config.timing.answer_within;
        self.targets.queries.push(DeadQuery {
            dead: dead.node,
            token,
            until,
        });
        self.answer_dead_queries();
    }

    fn answer_dead_queries(&mut self) {
        let now = self.base.now;
        let mut waiting = Vec::new();
        for query in std::mem::take(&mut self.targets.queries) {
            if now < query.until && self.targets.holds_from(query.dead) {
                waiting.push(query);
                continue;
            }
            let claimed = self
                .targets
                .ended
                .iter()
                .filter(|(_, (status, from))| {
                    *from == query.dead && matches!(status, HandoverStatus::Claimed(_))
                })
                .map(|(handover, _)| handover.root)
                .collect();
            let reply = PeerReply::Dead(DeadNodeReply { claimed });
            self.base.respond(query.token, reply);
        }
        self.targets.queries = waiting;
    }

    /// This root is ours by a reclaim; whoever wanted to bring it is dead.
    pub(super) fn target_reclaimed(&mut self, root: GlobalEntity) {
        let Some(incoming) = self.targets.incoming.get_mut(&root) else {
            return;
        };
        if incoming.committed() {
            // Its claim is under way and will be void; the answer comes from the directory.
            return;
        }
        if let Some(incoming) = self.targets.incoming.remove(&root) {
            self.targets
                .remember(incoming.handover, HandoverStatus::Void, incoming.from);
            self.base.finish(incoming.trace, Outcome::Gone);
        }
    }

    pub(super) fn on_status(&mut self, token: ResponseToken, handover: HandoverId) {
        let status = self.targets.status(handover);
        self.base.respond(token, PeerReply::Status(status));
    }

    pub(super) fn abandon_targets(&mut self) {
        for incoming in std::mem::take(&mut self.targets.incoming).into_values() {
            for token in incoming.waiting {
                self.base
                    .respond(token, PeerReply::Commit(CommitReply::InDoubt));
            }
            self.base.finish(incoming.trace, Outcome::Expelled);
        }
        self.targets = Targets::default();
    }
}
