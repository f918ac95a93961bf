//! Whether the directory is quick enough to freeze a group for it.

use std::{collections::VecDeque, time::Duration};

use crate::timing::Timing;

/// Most latencies that are kept.
const SAMPLES: usize = 256;

/// What the directory's operations took lately.
#[derive(Debug, Clone)]
pub struct Health {
    window: Duration,
    forgive: Duration,
    limit: Duration,
    samples: VecDeque<(Duration, Duration)>,
    failed: Option<Duration>,
    ok: bool,
}

impl Health {
    pub(crate) fn new(timing: &Timing) -> Self {
        Self {
            window: timing.gate_window,
            forgive: timing.gate_failure,
            limit: timing.gate_latency,
            samples: VecDeque::new(),
            failed: None,
            ok: true,
        }
    }

    /// An operation was answered after `took`, or failed.
    pub(crate) fn record(&mut self, now: Duration, took: Duration, failed: bool) {
        if failed {
            self.failed = Some(now);
            self.ok = false;
        }
        if self.samples.len() == SAMPLES {
            self.samples.pop_front();
        }
        self.samples.push_back((now, took));
    }

    /// Weighs again. `oldest` is how long the oldest unanswered operation has taken so far.
    pub(crate) fn weigh(&mut self, now: Duration, oldest: Duration) {
        while let Some((at, _)) = self.samples.front()
            && now.saturating_sub(*at) > self.window
        {
            self.samples.pop_front();
        }
        let failing = self
            .failed
            .is_some_and(|at| now.saturating_sub(at) < self.forgive);
        self.ok = !failing && oldest <= self.limit && self.p99() <= self.limit;
    }

    /// Whether a freeze would be short, as far as one can tell.
    #[must_use]
    pub const fn ok(&self) -> bool {
        self.ok
    }

    /// The 99th percentile of the window; zero if it is empty. One sort of at most 256 numbers.
    #[must_use]
    pub fn p99(&self) -> Duration {
        let mut sorted: Vec<Duration> = self.samples.iter().map(|(_, took)| *took).collect();
        sorted.sort_unstable();
        let at = (sorted.len() * 99).div_ceil(100).saturating_sub(1);
        sorted.get(at).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_failure_closes_the_gate_for_a_while() {
        let mut health = Health::new(&Timing::default());
        health.record(ms(10), ms(1), true);
        assert!(!health.ok());
        health.weigh(ms(500), ms(0));
        assert!(!health.ok());
        health.weigh(ms(1010), ms(0));
        assert!(health.ok());
    }

    #[test]
    fn one_slow_operation_in_two_hundred_does_not_close_it_and_three_do() {
        let mut health = Health::new(&Timing::default());
        for at in 0..200 {
            let took = if at == 50 { ms(900) } else { ms(1) };
            health.record(ms(at), took, false);
        }
        health.weigh(ms(200), ms(0));
        assert!(health.ok());
        health.record(ms(200), ms(900), false);
        health.record(ms(200), ms(900), false);
        health.weigh(ms(200), ms(0));
        assert!(!health.ok());
        health.weigh(ms(3000), ms(0));
        assert!(health.ok(), "they are forgotten");
    }

    #[test]
    fn an_operation_that_hangs_closes_it() {
        let mut health = Health::new(&Timing::default());
        health.weigh(ms(100), ms(26));
        assert!(!health.ok());
    }
}
