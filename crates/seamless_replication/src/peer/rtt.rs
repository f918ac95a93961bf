//! Round-trip time, as TCP estimates it.

use std::time::Duration;

/// Smoothed round-trip time and its mean deviation. Includes the tick that an answer waits for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rtt {
    smoothed: Option<Duration>,
    deviation: Duration,
}

/// Before the first sample.
const INITIAL: Duration = Duration::from_millis(100);

/// Bounds of the time after which an unreported datagram counts as lost.
const MIN_TIMEOUT: Duration = Duration::from_millis(50);
const MAX_TIMEOUT: Duration = Duration::from_secs(2);

impl Default for Rtt {
    fn default() -> Self {
        Self {
            smoothed: None,
            deviation: INITIAL / 4,
        }
    }
}

impl Rtt {
    pub(crate) fn sample(&mut self, rtt: Duration) {
        match self.smoothed {
            None => {
                self.smoothed = Some(rtt);
                self.deviation = rtt / 2;
            }
            Some(smoothed) => {
                self.deviation = (self.deviation * 3 + smoothed.abs_diff(rtt)) / 4;
                self.smoothed = Some((smoothed * 7 + rtt) / 8);
            }
        }
    }

    /// The smoothed round trip, once there was one.
    pub(crate) const fn measured(&self) -> Option<Duration> {
        self.smoothed
    }

    pub(crate) fn smoothed(&self) -> Duration {
        self.smoothed.unwrap_or(INITIAL)
    }

    /// When an unreported datagram counts as lost: the round trip and four deviations, and two
    /// ticks in which the answer may wait.
    pub(crate) fn timeout(&self, tick: Duration) -> Duration {
        (self.smoothed() + self.deviation * 4 + tick * 2).clamp(MIN_TIMEOUT, MAX_TIMEOUT)
    }
}
