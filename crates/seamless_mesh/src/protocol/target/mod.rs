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

mod claim;
mod reserve;

pub(super) use claim::split;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use seamless_wire::{
    GlobalEntity, HandoverId, NodeRef,
    mesh::{Commit, CommitReply, DeadNode, DeadNodeReply, HandoverStatus, Manifest},
};

use super::{HandoverTrace, NodeCore, Outcome, PeerReply, ResponseToken, Staged, base::Retry};
use crate::directory::{Claim, OpId};

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
pub(in crate::protocol) struct Targets {
    incoming: BTreeMap<GlobalEntity, Incoming>,
    ended: BTreeMap<HandoverId, (HandoverStatus, NodeRef)>,
    order: VecDeque<HandoverId>,
    queries: Vec<DeadQuery>,
}

impl Targets {
    pub(in crate::protocol) fn next(&self) -> Option<Duration> {
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
    pub(in crate::protocol) fn claims(&self, root: GlobalEntity) -> bool {
        self.incoming.get(&root).is_some_and(Incoming::committed)
    }

    /// Whether any claim is not decided.
    pub(in crate::protocol) fn claiming(&self) -> bool {
        self.incoming.values().any(Incoming::committed)
    }

    /// Whether a COMMIT of this node is here and not decided.
    pub(in crate::protocol) fn holds_from(&self, node: NodeRef) -> bool {
        self.incoming
            .values()
            .any(|incoming| incoming.from == node && incoming.committed())
    }

    /// Attempts under way.
    pub(in crate::protocol) fn count(&self) -> usize {
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

impl NodeCore {
    pub(in crate::protocol) fn tick_targets(&mut self) {
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
    pub(in crate::protocol) fn on_dead_query(
        &mut self,
        token: ResponseToken,
        from: NodeRef,
        dead: DeadNode,
    ) {
        self.yield_reclaim(dead.node, from);
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
    pub(in crate::protocol) fn target_reclaimed(&mut self, root: GlobalEntity) {
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

    pub(in crate::protocol) fn on_status(&mut self, token: ResponseToken, handover: HandoverId) {
        let status = self.targets.status(handover);
        self.base.respond(token, PeerReply::Status(status));
    }

    pub(in crate::protocol) fn abandon_targets(&mut self) {
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
