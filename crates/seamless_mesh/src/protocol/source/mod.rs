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

mod ask;
mod freeze;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use seamless_wire::{
    CellId, GlobalEntity, HandoverId, InputSeq, NodeRef, PeerId, Tick,
    control::Control,
    mesh::{Commit, Manifest, RejectReason},
};

use super::{
    AbortReason, HandoverTrace, MeshEvent, Phase,
    base::{Base, Retry},
};
use crate::{directory::OpId, timing::Timing};

/// After this long without its client, the target is asked less often.
const PATIENCE: Duration = Duration::from_secs(2);

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
    /// When it was reserved first, perhaps under an earlier manifest.
    reserved: Option<Duration>,
    attached: bool,
    /// When the client's token came.
    token: Option<Duration>,
    state: State,
    trace: Option<HandoverTrace>,
}

impl Attempt {
    /// How long until the target is asked again.
    fn poll(&self, now: Duration, timing: &Timing) -> Duration {
        if self.attached || self.player.is_none() {
            return timing.reserved_poll;
        }
        // A client is there within a round trip or two, or has trouble.
        let patient = self
            .reserved
            .is_some_and(|at| now.saturating_sub(at) > PATIENCE);
        if patient {
            timing.attach_poll * 10
        } else {
            timing.attach_poll
        }
    }

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
pub(in crate::protocol) struct Wish {
    pub(in crate::protocol) root: GlobalEntity,
    pub(in crate::protocol) members: Vec<GlobalEntity>,
    pub(in crate::protocol) player: Option<PeerId>,
    pub(in crate::protocol) cell: CellId,
    pub(in crate::protocol) viewpoint: [f32; 3],
}

/// A group that the game has frozen.
#[derive(Debug)]
pub(in crate::protocol) struct Frozen {
    pub(in crate::protocol) handover: HandoverId,
    pub(in crate::protocol) tick: Tick,
    pub(in crate::protocol) last_input: InputSeq,
    pub(in crate::protocol) state: Vec<u8>,
    pub(in crate::protocol) queue: Vec<(PeerId, Control)>,
}

#[derive(Debug, Default)]
pub(in crate::protocol) struct Sources {
    attempts: BTreeMap<GlobalEntity, Attempt>,
    count: u32,
    /// To whom something went over lately: if that node dies, we were closest.
    given: BTreeMap<NodeRef, Duration>,
}

/// How long after a handover its source is the first to reclaim it.
const CLOSEST_FOR: Duration = Duration::from_secs(10);

impl Sources {
    pub(in crate::protocol) fn next(&self) -> Option<Duration> {
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
    pub(in crate::protocol) fn holds(&self, root: GlobalEntity) -> bool {
        self.attempts.contains_key(&root)
    }

    /// Whether this root is frozen here and not decided.
    pub(in crate::protocol) fn frozen(&self, root: GlobalEntity) -> bool {
        self.attempts.get(&root).is_some_and(Attempt::frozen)
    }

    /// Whether something went over to this node lately.
    pub(in crate::protocol) fn gave(&self, node: NodeRef, now: Duration) -> bool {
        let given = self.given.get(&node);
        given.is_some_and(|at| now.saturating_sub(*at) < CLOSEST_FOR)
    }

    /// Attempts under way, frozen ones among them.
    pub(in crate::protocol) fn count(&self) -> (usize, usize) {
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
