//! What became of each handover, and how often what happens.

use std::{collections::VecDeque, time::Duration};

use seamless_wire::{HandoverId, NodeRef, Term, mesh::RejectReason};

/// Traces that are kept; the oldest goes first.
pub const TRACES: usize = 256;

/// Which side of a handover we were.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// The group was ours.
    Source,
    /// The group was to become ours.
    Target,
}

/// A point in a handover.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// PREPARE was sent or came.
    Prepared,
    /// RESERVED came or was sent.
    Reserved,
    /// The client was attached.
    Attached,
    /// The group was frozen, or its COMMIT came.
    Committed,
    /// The state was decoded.
    Staged,
    /// The claim won.
    Claimed,
    /// The source tried to abort.
    Aborting,
    /// The directory did not answer; what holds was not known.
    InDoubt,
}

/// Why the source wanted a frozen group back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AbortReason {
    /// The target took longer than the freeze budget.
    Timeout,
    /// The target refused the COMMIT.
    Refused,
    /// The target's claim had lost.
    Void,
    /// The target is dead.
    TargetDied,
    /// The game cancelled.
    Cancelled,
}

/// How a handover ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The target has it, under this term.
    HandedOver(Term),
    /// The source kept it; the COMMIT is void.
    Aborted(AbortReason),
    /// The target did not want it.
    Rejected(RejectReason),
    /// Called off before anything was frozen.
    Cancelled,
    /// The reservation ran out.
    Expired,
    /// A COMMIT was not even sent: no reservation, or no healthy directory.
    NotSent,
    /// The root's rows were gone.
    Gone,
    /// We were expelled meanwhile.
    Expelled,
}

/// One handover, as one node saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HandoverTrace {
    /// Which.
    pub handover: HandoverId,
    /// As what.
    pub role: Role,
    /// With whom.
    pub peer: NodeRef,
    /// What happened when, on the node's clock.
    pub phases: Vec<(Phase, Duration)>,
    /// How and when it ended.
    pub outcome: Option<(Outcome, Duration)>,
}

impl HandoverTrace {
    pub(crate) fn new(handover: HandoverId, role: Role, peer: NodeRef) -> Self {
        Self {
            handover,
            role,
            peer,
            phases: Vec::new(),
            outcome: None,
        }
    }

    pub(crate) fn mark(&mut self, phase: Phase, now: Duration) {
        if self.phases.iter().all(|(known, _)| *known != phase) {
            self.phases.push((phase, now));
        }
    }

    /// When it came to this point first.
    #[must_use]
    pub fn at(&self, phase: Phase) -> Option<Duration> {
        let mut marks = self.phases.iter();
        marks.find(|(known, _)| *known == phase).map(|(_, at)| *at)
    }
}

/// The last finished handovers.
#[derive(Debug, Clone, Default)]
pub struct Traces {
    last: VecDeque<HandoverTrace>,
    finished: usize,
}

impl Traces {
    pub(crate) fn finish(&mut self, mut trace: HandoverTrace, outcome: Outcome, now: Duration) {
        trace.outcome = Some((outcome, now));
        if self.last.len() == TRACES {
            self.last.pop_front();
        }
        self.last.push_back(trace);
        self.finished += 1;
    }

    /// The traces, the oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &HandoverTrace> {
        self.last.iter()
    }

    /// How many were finished since the process started.
    #[must_use]
    pub const fn finished(&self) -> usize {
        self.finished
    }
}

/// What happened how often since the process started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MeshCounters {
    /// Handovers that got a reservation, as source.
    pub prepared: u64,
    /// Handovers that were rejected or came to nothing before a freeze, as source.
    pub rejected: u64,
    /// Frozen groups that went over, as source.
    pub committed: u64,
    /// Groups claimed, as target.
    pub claimed: u64,
    /// COMMITs that were refused or whose claim lost, as target.
    pub void: u64,
    /// Reservations that ran out, as target.
    pub expired: u64,
    /// Aborts because the target took too long.
    pub aborted_timeout: u64,
    /// Aborts because the target refused.
    pub aborted_refused: u64,
    /// Aborts because the claim had lost.
    pub aborted_void: u64,
    /// Aborts because the target died.
    pub aborted_target_died: u64,
    /// Aborts by the game.
    pub aborted_cancelled: u64,
    /// Frozen groups whose COMMIT was never sent.
    pub not_sent: u64,
    /// Directory operations that had to be repeated to learn what held.
    pub in_doubt: u64,
    /// Directory operations that failed.
    pub directory_failures: u64,
    /// Records of dead nodes that we took out.
    pub buried: u64,
    /// Dead nodes that we cleared up.
    pub reclaims: u64,
    /// Roots taken over from them.
    pub reclaimed_roots: u64,
    /// Reclaimed states that did not decode.
    pub undecodable: u64,
    /// Rows that we thought ours and were not.
    pub lost_rows: u64,
    /// Checkpointed groups that were stored.
    pub checkpointed: u64,
    /// Checkpointed groups that were refused: too old, or under a former term.
    pub checkpoints_refused: u64,
    /// Times the fence went up.
    pub fenced: u64,
    /// Times we were taken for dead.
    pub expelled: u64,
    /// Players let in.
    pub sessions: u64,
    /// Players told to come again.
    pub session_retries: u64,
}

impl MeshCounters {
    pub(crate) fn aborted(&mut self, reason: AbortReason) {
        *match reason {
            AbortReason::Timeout => &mut self.aborted_timeout,
            AbortReason::Refused => &mut self.aborted_refused,
            AbortReason::Void => &mut self.aborted_void,
            AbortReason::TargetDied => &mut self.aborted_target_died,
            AbortReason::Cancelled => &mut self.aborted_cancelled,
        } += 1;
    }

    /// Every counter with its name, for metrics.
    #[must_use]
    pub const fn all(&self) -> [(&'static str, u64); 25] {
        [
            ("prepared", self.prepared),
            ("rejected", self.rejected),
            ("committed", self.committed),
            ("claimed", self.claimed),
            ("void", self.void),
            ("expired", self.expired),
            ("aborted_timeout", self.aborted_timeout),
            ("aborted_refused", self.aborted_refused),
            ("aborted_void", self.aborted_void),
            ("aborted_target_died", self.aborted_target_died),
            ("aborted_cancelled", self.aborted_cancelled),
            ("not_sent", self.not_sent),
            ("in_doubt", self.in_doubt),
            ("directory_failures", self.directory_failures),
            ("buried", self.buried),
            ("reclaims", self.reclaims),
            ("reclaimed_roots", self.reclaimed_roots),
            ("undecodable", self.undecodable),
            ("lost_rows", self.lost_rows),
            ("checkpointed", self.checkpointed),
            ("checkpoints_refused", self.checkpoints_refused),
            ("fenced", self.fenced),
            ("expelled", self.expelled),
            ("sessions", self.sessions),
            ("session_retries", self.session_retries),
        ]
    }
}
