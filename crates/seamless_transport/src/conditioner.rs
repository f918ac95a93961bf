//! Bad weather on purpose: delay, jitter, loss, duplication, reordering, a narrow pipe.
//!
//! Works on whole datagrams as they would be on the wire, on either side of any link, in memory or
//! over real sockets. All randomness comes from a seeded generator and all time is an argument, so
//! the same seed and the same datagrams give the same weather.

use std::{cmp::Reverse, collections::BinaryHeap, time::Duration};

use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore, SeedableRng};

/// Most datagrams that one direction holds back. Beyond, they are lost.
const MAX_HELD: usize = 16 * 1024;

/// The weather in one direction. The default changes nothing.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Condition {
    /// How long every datagram takes.
    pub delay: Duration,
    /// Up to so much longer, evenly spread. More than the gap between two datagrams reorders them.
    pub jitter: Duration,
    /// Share of datagrams that are lost, 0 to 1. 1 is a partition.
    pub loss: f32,
    /// Share of datagrams that arrive twice, 0 to 1. The copy has a jitter of its own.
    pub duplicate: f32,
    /// Share of datagrams that arrive later than those behind them, 0 to 1.
    pub reorder: f32,
    /// How much later.
    pub reorder_by: Duration,
    /// Bytes a second that get through; the rest waits in a queue.
    pub bytes_per_second: Option<u32>,
    /// Bytes that may wait in that queue. Beyond, datagrams are lost.
    pub queue_bytes: u32,
    /// Whether nothing waits in fact: what the queue would take gets through at once, and what it would
    /// not is lost, as some operators do with what is above a contract's rate ("policing").
    pub policed: bool,
}

impl Default for Condition {
    fn default() -> Self {
        Self {
            delay: Duration::ZERO,
            jitter: Duration::ZERO,
            loss: 0.0,
            duplicate: 0.0,
            reorder: 0.0,
            reorder_by: Duration::from_millis(30),
            bytes_per_second: None,
            queue_bytes: 64 * 1024,
            policed: false,
        }
    }
}

impl Condition {
    /// Whether it changes nothing.
    #[must_use]
    pub fn is_clear(&self) -> bool {
        self.delay.is_zero()
            && self.jitter.is_zero()
            && self.loss <= 0.0
            && self.duplicate <= 0.0
            && self.reorder <= 0.0
            && self.bytes_per_second.is_none()
    }
}

/// The weather of a link, as one side sees it. The default changes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct ConditionerConfig {
    /// Where all chance comes from.
    pub seed: u64,
    /// From this side to the peer.
    pub send: Condition,
    /// From the peer to this side.
    pub receive: Condition,
}

impl ConditionerConfig {
    /// Half of `rtt` and all of `loss` in each direction.
    #[must_use]
    pub fn symmetric(rtt: Duration, loss: f32) -> Self {
        let way = Condition {
            delay: rtt / 2,
            loss,
            ..Default::default()
        };
        Self {
            seed: 0,
            send: way,
            receive: way,
        }
    }

    /// Nothing gets through in either direction.
    #[must_use]
    pub fn partition() -> Self {
        Self::symmetric(Duration::ZERO, 1.0)
    }

    /// The same with another seed.
    #[must_use]
    pub const fn with_seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }
}

/// One direction of a link.
#[derive(Debug)]
pub struct Conditioner {
    condition: Condition,
    rng: ChaCha8Rng,
    held: BinaryHeap<Reverse<Held>>,
    /// Buffers of datagrams that left, to be used again.
    spare: Vec<Vec<u8>>,
    /// Number of the next datagram: equal times keep the order of arrival.
    serial: u64,
    /// When the narrow pipe is free again.
    free_at: Duration,
    lost: u64,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Held {
    due: Duration,
    serial: u64,
    datagram: Vec<u8>,
}

impl Conditioner {
    /// One direction with its own stream of chance.
    #[must_use]
    pub fn new(condition: Condition, seed: u64) -> Self {
        Self {
            condition,
            rng: ChaCha8Rng::seed_from_u64(seed),
            held: BinaryHeap::new(),
            spare: Vec::new(),
            serial: 0,
            free_at: Duration::ZERO,
            lost: 0,
        }
    }

    /// Changes the weather for what comes; what is on its way arrives as it would have.
    pub const fn change(&mut self, condition: Condition) {
        self.condition = condition;
    }

    /// Whether datagrams may pass it by.
    #[must_use]
    pub fn is_clear(&self) -> bool {
        self.held.is_empty() && self.condition.is_clear()
    }

    /// Datagrams that were lost so far.
    #[must_use]
    pub const fn lost(&self) -> u64 {
        self.lost
    }

    /// Takes a datagram. Draws the same number of random values for each, so that a change of one
    /// share does not change the luck of the others.
    pub fn offer(&mut self, now: Duration, datagram: &[u8]) {
        let condition = self.condition;
        let [lost, twice, late] = [condition.loss, condition.duplicate, condition.reorder]
            .map(|share| self.roll() < f64::from(share));
        let jitters = [self.roll(), self.roll()].map(|part| condition.jitter.mul_f64(part));
        let wait = self.squeeze(now, datagram.len());
        let Some(wait) = wait.filter(|_| !lost) else {
            self.lost = self.lost.saturating_add(1);
            return;
        };
        let extra = if late {
            condition.reorder_by
        } else {
            Duration::ZERO
        };
        let base = now + wait + condition.delay;
        self.hold(base + jitters[0] + extra, datagram);
        if twice {
            self.hold(base + jitters[1], datagram);
        }
    }

    /// The next datagram that is due, in the order of due times, then of offers.
    pub fn take(&mut self, now: Duration) -> Option<Vec<u8>> {
        let due = self
            .held
            .peek()
            .is_some_and(|Reverse(held)| held.due <= now);
        if !due {
            return None;
        }
        self.held.pop().map(|Reverse(held)| held.datagram)
    }

    /// Gives a buffer back, to be used again.
    pub(crate) fn recycle(&mut self, buffer: Vec<u8>) {
        if self.spare.len() < 64 {
            self.spare.push(buffer);
        }
    }

    fn hold(&mut self, due: Duration, datagram: &[u8]) {
        if self.held.len() >= MAX_HELD {
            self.lost = self.lost.saturating_add(1);
            return;
        }
        let mut buffer = self.spare.pop().unwrap_or_default();
        buffer.clear();
        buffer.extend_from_slice(datagram);
        self.held.push(Reverse(Held {
            due,
            serial: self.serial,
            datagram: buffer,
        }));
        self.serial += 1;
    }

    /// How long the datagram waits for the narrow pipe; `None` if the queue before it is full.
    fn squeeze(&mut self, now: Duration, len: usize) -> Option<Duration> {
        let Some(rate) = self.condition.bytes_per_second else {
            return Some(Duration::ZERO);
        };
        let rate = f64::from(rate.max(1));
        let wait = self.free_at.saturating_sub(now);
        if wait.as_secs_f64() * rate > f64::from(self.condition.queue_bytes) {
            return None;
        }
        let wait = wait + Duration::from_secs_f64(len as f64 / rate);
        self.free_at = now + wait;
        Some(match self.condition.policed {
            true => Duration::ZERO,
            false => wait,
        })
    }

    /// Evenly from 0 to below 1.
    fn roll(&mut self) -> f64 {
        f64::from(self.rng.next_u32()) / (f64::from(u32::MAX) + 1.0)
    }
}

/// Both directions of a link.
#[derive(Debug)]
pub(crate) struct Weather {
    seed: u64,
    pub(crate) send: Conditioner,
    pub(crate) receive: Conditioner,
}

impl Weather {
    pub(crate) fn new(config: &ConditionerConfig) -> Self {
        // Two streams from one seed: the directions must not share their luck.
        let [send, receive] = seeds(config.seed);
        Self {
            seed: config.seed,
            send: Conditioner::new(config.send, send),
            receive: Conditioner::new(config.receive, receive),
        }
    }

    pub(crate) fn change(&mut self, config: &ConditionerConfig) {
        self.send.change(config.send);
        self.receive.change(config.receive);
        if self.seed != config.seed {
            self.seed = config.seed;
            let [send, receive] = seeds(config.seed);
            self.send.rng = ChaCha8Rng::seed_from_u64(send);
            self.receive.rng = ChaCha8Rng::seed_from_u64(receive);
        }
    }
}

const fn seeds(seed: u64) -> [u64; 2] {
    [seed, seed ^ 0x9e37_79b9_7f4a_7c15]
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn run(condition: Condition, seed: u64, count: u8) -> Vec<(u64, u8)> {
        let mut conditioner = Conditioner::new(condition, seed);
        let mut arrived = Vec::new();
        for ms in 0..2000u32 {
            if ms < u32::from(count) {
                conditioner.offer(MS * ms, &[ms as u8; 100]);
            }
            while let Some(datagram) = conditioner.take(MS * ms) {
                arrived.push((u64::from(ms), datagram[0]));
            }
        }
        arrived
    }

    #[test]
    fn the_default_is_clear_and_passes_everything_at_once() {
        let arrived = run(Condition::default(), 1, 50);
        assert!(Condition::default().is_clear());
        assert_eq!(
            arrived,
            (0..50).map(|i| (u64::from(i), i)).collect::<Vec<_>>()
        );
    }

    #[test]
    fn a_delay_keeps_the_order() {
        let condition = Condition {
            delay: 40 * MS,
            ..Default::default()
        };
        let arrived = run(condition, 1, 50);
        assert_eq!(
            arrived,
            (0..50).map(|i| (u64::from(i) + 40, i)).collect::<Vec<_>>()
        );
    }

    #[test]
    fn equal_times_keep_the_order_of_offers() {
        let mut conditioner = Conditioner::new(Condition::default(), 3);
        for i in (0..100).rev() {
            conditioner.offer(Duration::ZERO, &[i]);
        }
        let out: Vec<u8> = std::iter::from_fn(|| conditioner.take(Duration::ZERO))
            .map(|datagram| datagram[0])
            .collect();
        assert_eq!(out, (0..100).rev().collect::<Vec<_>>());
    }

    #[test]
    fn a_seed_reproduces_and_another_differs() {
        let condition = Condition {
            delay: 20 * MS,
            jitter: 30 * MS,
            loss: 0.3,
            duplicate: 0.2,
            reorder: 0.1,
            ..Default::default()
        };
        assert_eq!(run(condition, 7, 200), run(condition, 7, 200));
        assert_ne!(run(condition, 7, 200), run(condition, 8, 200));
    }

    #[test]
    fn one_share_does_not_change_the_luck_of_the_others() {
        let lossy = Condition {
            loss: 0.3,
            ..Default::default()
        };
        let jittery = Condition {
            jitter: 30 * MS,
            ..lossy
        };
        let survivors = |condition| {
            let mut ids: Vec<u8> = run(condition, 7, 200).iter().map(|(_, id)| *id).collect();
            ids.sort_unstable();
            ids
        };
        assert_eq!(survivors(lossy), survivors(jittery));
    }

    #[test]
    fn shares_are_about_what_they_say() {
        let mut conditioner = Conditioner::new(
            Condition {
                loss: 0.3,
                ..Default::default()
            },
            11,
        );
        for _ in 0..10_000 {
            conditioner.offer(Duration::ZERO, &[0]);
            while conditioner.take(Duration::ZERO).is_some() {}
        }
        assert!((2800..3200).contains(&conditioner.lost()));
    }

    #[test]
    fn a_partition_stops_everything_and_heals() {
        let mut conditioner = Conditioner::new(Condition::default(), 0);
        conditioner.change(ConditionerConfig::partition().send);
        conditioner.offer(Duration::ZERO, &[1]);
        conditioner.change(Condition::default());
        conditioner.offer(Duration::ZERO, &[2]);
        assert_eq!(conditioner.take(MS), Some(vec![2]));
        assert_eq!(conditioner.take(MS), None);
    }

    #[test]
    fn a_narrow_pipe_delays_and_then_loses() {
        let condition = Condition {
            bytes_per_second: Some(10_000),
            queue_bytes: 1000,
            ..Default::default()
        };
        // 100 bytes every millisecond are ten times too many.
        let arrived = run(condition, 1, 200);
        assert_eq!(arrived[0].0, 10);
        assert!((25..=35).contains(&arrived.len()), "{}", arrived.len());
        assert!(arrived.windows(2).all(|pair| pair[1].0 >= pair[0].0 + 10));
    }

    #[test]
    fn what_is_policed_arrives_at_once_or_not_at_all() {
        let condition = Condition {
            bytes_per_second: Some(10_000),
            queue_bytes: 1000,
            policed: true,
            ..Default::default()
        };
        let arrived = run(condition, 1, 200);
        assert!((25..=35).contains(&arrived.len()), "{}", arrived.len());
        assert!(arrived.iter().all(|(at, id)| *at == u64::from(*id)));
    }

    #[test]
    fn what_is_held_back_is_bounded() {
        let mut conditioner = Conditioner::new(
            Condition {
                delay: Duration::from_secs(1000),
                ..Default::default()
            },
            0,
        );
        for _ in 0..2 * MAX_HELD {
            conditioner.offer(Duration::ZERO, &[0]);
        }
        assert_eq!(conditioner.held.len(), MAX_HELD);
        assert_eq!(conditioner.lost(), MAX_HELD as u64);
    }
}
