//! May I run a tick?

use std::time::Duration;

/// A node's own bound on acting without the directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fence {
    after: Duration,
    sent: Option<Duration>,
}

impl Fence {
    /// Up until the first beat.
    #[must_use]
    pub const fn new(after: Duration) -> Self {
        Self { after, sent: None }
    }

    /// A beat that was sent at `sent` got through.
    pub fn beat(&mut self, sent: Duration) {
        self.sent = self.sent.max(Some(sent));
    }

    /// The node is out of the mesh.
    pub fn raise(&mut self) {
        self.sent = None;
    }

    /// Until when ticks may run. Zero if not at all.
    #[must_use]
    pub fn deadline(&self) -> Duration {
        self.sent.map_or(Duration::ZERO, |sent| sent + self.after)
    }

    /// Whether no tick may run.
    #[must_use]
    pub fn is_up(&self, now: Duration) -> bool {
        now >= self.deadline()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(s: u64) -> Duration {
        Duration::from_secs(s)
    }

    #[test]
    fn the_time_counts_from_the_sending_of_the_last_beat_that_got_through() {
        let mut fence = Fence::new(s(3));
        assert!(fence.is_up(s(0)));
        fence.beat(s(10));
        assert!(!fence.is_up(s(12)));
        assert!(fence.is_up(s(13)));
        fence.beat(s(12));
        assert!(!fence.is_up(s(14)));
        fence.beat(s(11));
        assert_eq!(
            fence.deadline(),
            s(15),
            "a late answer to an early beat changes nothing"
        );
        fence.raise();
        assert!(fence.is_up(s(12)));
    }
}
