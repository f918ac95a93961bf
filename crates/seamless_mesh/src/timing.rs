//! Every interval and bound of the protocol, with its reason.

use std::time::Duration;

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Intervals and bounds. All nodes of a mesh should use the same.
///
/// None of them decides who owns what: that is the directory's alone. They decide how soon
/// something is tried, repeated or given up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timing {
    /// How often a node raises its beat.
    pub beat_every: Duration,
    /// A node runs no tick when its last successful beat was sent this long ago.
    pub fence_after: Duration,
    /// A peer whose beat stood still this long is buried. Longer than `fence_after` by a tick
    /// that is under way when the fence goes up, and by what two clocks drift apart meanwhile.
    pub bury_after: Duration,
    /// How often the directory is looked at if nothing changes.
    pub survey_every: Duration,
    /// The shortest time between two looks.
    pub survey_spacing: Duration,
    /// After this long without a look, silence is counted from the start again: we were away (a
    /// pause, an outage of the directory), not the others.
    pub survey_gap: Duration,
    /// How long after a failed join the next one comes.
    pub join_retry: Duration,
    /// How long after an unanswered PREPARE the second one comes; doubles from there.
    pub prepare_first: Duration,
    /// The longest time between two PREPAREs that were not answered.
    pub prepare_slowest: Duration,
    /// How long a target is asked that does not answer.
    pub prepare_for: Duration,
    /// How often a target is asked whether the client is attached.
    pub attach_poll: Duration,
    /// How often it is reminded of the reservation afterwards.
    pub reserved_poll: Duration,
    /// How long a reservation lasts after the last PREPARE.
    pub reservation: Duration,
    /// How long a ticket lasts.
    pub ticket: Duration,
    /// How often an unanswered COMMIT is sent again.
    pub commit_every: Duration,
    /// How long a group stays frozen before the source tries to abort.
    pub freeze_budget: Duration,
    /// How long after a failed directory operation it is repeated; doubles from there.
    pub retry_first: Duration,
    /// The longest time between two such repetitions.
    pub retry_slowest: Duration,
    /// How long a peer has to answer.
    pub request_within: Duration,
    /// How long a reclaimer waits for the other nodes to claim what they hold.
    pub ask_within: Duration,
    /// How long an asked node may take for it; shorter than `ask_within` by a round trip.
    pub answer_within: Duration,
    /// What each place in the order of preference costs a would-be reclaimer.
    pub reclaim_stagger: Duration,
    /// How long another node's attempt to reclaim holds ours back.
    pub reclaim_yield: Duration,
    /// No freeze while the directory's 99th percentile is above this: a freeze lasts at least
    /// one operation.
    pub gate_latency: Duration,
    /// How far back latencies count.
    pub gate_window: Duration,
    /// How far back failures count.
    pub gate_failure: Duration,
    /// How long a client that wants to enter waits for the game side.
    pub session_within: Duration,
    /// How often a leaving node counts what it still has.
    pub drain_poll: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            beat_every: ms(1000),
            fence_after: ms(3000),
            bury_after: ms(3250),
            survey_every: ms(500),
            survey_spacing: ms(20),
            survey_gap: ms(1250),
            join_retry: ms(250),
            prepare_first: ms(50),
            prepare_slowest: ms(1000),
            prepare_for: ms(3000),
            attach_poll: ms(50),
            reserved_poll: ms(2000),
            reservation: ms(12_000),
            ticket: ms(12_000),
            commit_every: ms(10),
            freeze_budget: ms(50),
            retry_first: ms(20),
            retry_slowest: ms(250),
            request_within: ms(500),
            ask_within: ms(200),
            answer_within: ms(150),
            reclaim_stagger: ms(50),
            reclaim_yield: ms(500),
            gate_latency: ms(25),
            gate_window: ms(2000),
            gate_failure: ms(1000),
            session_within: ms(5000),
            drain_poll: ms(100),
        }
    }
}

/// `first`, doubled for each try that failed, at most `slowest`.
#[must_use]
pub(crate) fn backoff(first: Duration, slowest: Duration, tries: u32) -> Duration {
    first
        .saturating_mul(1u32.checked_shl(tries).unwrap_or(u32::MAX))
        .min(slowest)
}
