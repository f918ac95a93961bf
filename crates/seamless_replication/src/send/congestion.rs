//! How much of its budget a link gets: less while its network is full.
//!
//! A full network shows in round trips that grow, because datagrams wait in somebody's queue, and
//! in losses when the queue is full. Losses alone are no sign of it: a radio link loses datagrams
//! at any load, and sending less would only make the state older. A network without a queue is
//! [`super::ceiling`]'s matter.

use std::time::Duration;

/// The least share of the budget, of 1.
const LEAST: f32 = 1.0 / 32.0;

/// How long a round trip counts as the shortest, at least; twice as long at most. Long, because a
/// queue that never drains would pass for a long way.
const MEMORY: Duration = Duration::from_secs(60);

/// A wait in queues that is nothing to speak of: the ticks of both ends, and jitter.
const PATIENCE: Duration = Duration::from_millis(40);

/// The share of losses beside a growing round trip that means a full queue.
const LOSSES: f32 = 0.02;

/// The share of losses that is too much in any case: next to nothing arrives.
const TOO_MANY: f32 = 0.6;

/// Datagrams that a share of losses is taken of, at least.
const SAMPLE: u64 = 16;

/// Looks with the least share after which no queue of ours is left: if round trips are still as long as
/// at the first of them, the way is.
const EMPTY: u32 = 8;

/// Losses with which it may still be our queue, always full, even at the least share.
const FULL: f32 = 0.1;

/// The state of one link, brought up to date once a tick.
#[derive(Debug)]
pub(crate) struct Congestion {
    share: f32,
    /// A queue was found; the share falls until it is nearly gone.
    draining: bool,
    /// Datagrams wait somewhere, many or few.
    queues: bool,
    /// The shortest round trips of this window and of the one before.
    shortest: [Option<Duration>; 2],
    window: Duration,
    /// When the share was looked at last, and what was sent and lost by then.
    looked: Duration,
    sent: u64,
    lost: u64,
    /// Looks with the least share, one after the other, and the shortest and the longest round trip
    /// of them.
    at_least: (u32, Duration, Duration),
}

impl Default for Congestion {
    fn default() -> Self {
        Self {
            share: 1.0,
            draining: false,
            queues: false,
            shortest: [None; 2],
            window: Duration::ZERO,
            looked: Duration::ZERO,
            sent: 0,
            lost: 0,
            at_least: (0, Duration::MAX, Duration::ZERO),
        }
    }
}

impl Congestion {
    /// The share of the full budget, of 1.
    pub(crate) const fn share(&self) -> f32 {
        self.share
    }

    /// Whether datagrams wait somewhere.
    pub(crate) const fn queues(&self) -> bool {
        self.queues
    }

    /// Whether there is nothing to give back.
    pub(crate) const fn is_at_rest(&self) -> bool {
        self.share >= 1.0 && !self.draining
    }

    /// Looks once in a round trip: a full network costs a third of the share, again and again until
    /// the queue is nearly gone; else the share grows by a twentieth of itself and a little. `rtt`:
    /// smoothed and measured, not assumed; `sent`, `lost`: datagrams since the link stands.
    pub(crate) fn look(&mut self, now: Duration, rtt: Duration, sent: u64, lost: u64) {
        if now.saturating_sub(self.looked) < rtt {
            return;
        }
        if now.saturating_sub(self.window) > MEMORY {
            self.window = now;
            self.shortest = [None, self.shortest[0]];
        }
        self.shortest[0] = Some(self.shortest[0].map_or(rtt, |shortest| shortest.min(rtt)));
        let shortest = self.shortest.iter().flatten().min();
        let shortest = shortest.copied().unwrap_or(rtt);

        let losses = match sent - self.sent {
            few if few < SAMPLE => 0.0,
            sent => (lost - self.lost) as f32 / sent as f32,
        };
        self.looked = now;
        if sent - self.sent >= SAMPLE {
            self.sent = sent;
            self.lost = lost;
        }
        let waiting = rtt.saturating_sub(shortest);
        let patience = PATIENCE + shortest / 4;
        let full =
            waiting > patience && losses > LOSSES || waiting > patience * 3 || losses > TOO_MANY;
        self.queues = waiting > patience / 2;
        self.draining = full || self.draining && self.queues;
        self.share = if self.draining {
            (self.share * 2.0 / 3.0).max(LEAST)
        } else {
            (self.share * 1.05 + 0.002).min(1.0)
        };
        self.recognise_the_way(now, rtt, losses);
    }

    /// A way that has become longer looks like a queue at first. It is none if it is as long when next
    /// to nothing is sent.
    fn recognise_the_way(&mut self, now: Duration, rtt: Duration, losses: f32) {
        if self.share > LEAST || losses > FULL {
            self.at_least = (0, Duration::MAX, Duration::ZERO);
            return;
        }
        let (looks, shortest, longest) = &mut self.at_least;
        *looks += 1;
        *shortest = rtt.min(*shortest);
        *longest = rtt.max(*longest);
        if *looks < EMPTY {
            return;
        }
        if *longest - *shortest <= PATIENCE {
            self.shortest = [Some(*shortest), None];
            self.window = now;
            self.draining = false;
        }
        self.at_least = (0, Duration::MAX, Duration::ZERO);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks a hundred times at a network like that; gives the share.
    fn after(congestion: &mut Congestion, from: u64, rtt: u64, losses: u64) -> f32 {
        for n in 1..=100 {
            let now = Duration::from_millis((from + n) * 500);
            let (sent, lost) = ((from + n) * 20, (from + n) * 20 * losses / 100);
            congestion.look(now, Duration::from_millis(rtt), sent, lost);
        }
        congestion.share()
    }

    #[test]
    fn chance_losses_cost_nothing() {
        assert_eq!(after(&mut Congestion::default(), 0, 80, 30), 1.0);
    }

    #[test]
    fn a_queue_that_fills_costs_share_and_an_empty_one_gives_it_back() {
        let mut congestion = Congestion::default();
        assert_eq!(after(&mut congestion, 0, 80, 0), 1.0);
        let mut now = 50;
        for n in 0..6 {
            now += 1;
            let (at, sent) = (Duration::from_secs(now), 2000 + 100 * (n + 1));
            congestion.look(at, Duration::from_millis(200), sent, 10 * (n + 1));
        }
        assert!(congestion.share() < 0.1, "{}", congestion.share());
        for n in 0..60 {
            now += 1;
            congestion.look(
                Duration::from_secs(now),
                Duration::from_millis(85),
                2600 + n / 8,
                60,
            );
        }
        assert_eq!(congestion.share(), 1.0);
    }

    #[test]
    fn a_long_way_is_no_queue() {
        let mut congestion = Congestion::default();
        after(&mut congestion, 0, 50, 0);
        // The route changed: after the memory of the short way is gone, it is what it is.
        after(&mut congestion, 100, 400, 0);
        after(&mut congestion, 200, 400, 0);
        assert_eq!(after(&mut congestion, 300, 400, 0), 1.0);
    }

    #[test]
    fn a_way_that_becomes_longer_costs_seconds_and_no_minutes() {
        for (before, then, losses) in [(30, 80, 3), (50, 220, 0), (20, 500, 5)] {
            let mut congestion = Congestion::default();
            assert_eq!(after(&mut congestion, 0, before, losses), 1.0);
            let start = Duration::from_secs(50);
            let mut now = start;
            let mut lowest = 1.0f32;
            // As long as thirty round trips, and six seconds more for looks that are a tick apart.
            let end = start + Duration::from_millis(then * 90);
            while now < end {
                now += Duration::from_millis(then.max(33));
                let sent = 2000 + (now - start).as_millis() as u64 / 3;
                let lost = sent * losses / 100;
                congestion.look(now, Duration::from_millis(then), sent, lost);
                lowest = lowest.min(congestion.share());
            }
            let share = congestion.share();
            assert_eq!(share, 1.0, "{before} to {then} ms; lowest {lowest}");
        }
    }

    #[test]
    fn a_queue_that_grows_at_the_least_share_is_no_way() {
        let mut congestion = Congestion::default();
        after(&mut congestion, 0, 50, 0);
        // A link that takes less than the least share: it takes ever longer.
        for n in 0..60 {
            let now = Duration::from_secs(50 + n);
            congestion.look(now, Duration::from_millis(150 + 60 * n), 2000 + 100 * n, 0);
        }
        assert!(congestion.share() < 0.1, "{}", congestion.share());
    }

    #[test]
    fn something_is_always_sent() {
        let mut congestion = Congestion::default();
        assert_eq!(after(&mut congestion, 0, 80, 90), LEAST);
    }
}
