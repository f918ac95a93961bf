//! A network that drops what is above its rate and queues nothing.
//!
//! Its losses look like a radio's, but for one thing. A tick's datagrams leave together, so what is
//! above the rate is their end, in tick after tick; chance takes as much of the first half as of the
//! second. So ticks are counted in which more of the one was lost than of the other. Only which of the
//! two counts, not how much: losses that come several at a time, as a radio's do, fall on either half
//! as often. Where the second half loses much more often, the link sends what arrived so far, and then
//! slowly more again.

use std::{collections::VecDeque, time::Duration};

use seamless_wire::{MAX_DATAGRAM, PacketSeq};

/// Ticks after which one of them has little to say, by a factor of e.
const WINDOW: f32 = 128.0;

/// How far from even is too far, in standard deviations: for a link that never met such a network,
/// and for one that did.
const SUSPICION: f32 = 5.0;
const EXPERIENCE: f32 = 3.0;

/// The share of losses that is not worth sending less.
const NEGLIGIBLE: f32 = 0.02;

/// What is sent of what arrived: room for what follows later in a tick than the tick before.
const CAUTION: f32 = 0.9;

/// What is tried anew of it each second, of 1, at first; each time as long as [`ENCOURAGED`] later as
/// much more.
const COURAGE: f32 = 0.03;
const ENCOURAGED: Duration = Duration::from_secs(10);

/// Most ticks of which not everything is known. A round trip has fewer.
const UNDER_WAY: usize = 256;

/// The datagrams of one tick.
#[derive(Debug)]
struct Burst {
    first: PacketSeq,
    count: u32,
    bytes: usize,
    /// How many are known to have arrived or not.
    judged: u32,
    lost: u32,
    /// Of those, in the first half and in the second.
    halves: [u32; 2],
}

/// What one link has found out.
#[derive(Debug, Default)]
pub(crate) struct Ceiling {
    /// Bytes that arrive of a tick's datagrams.
    bytes: Option<f32>,
    /// When more was tried last, and when that had proved too much.
    tried: Duration,
    failed: Duration,
    under_way: VecDeque<Burst>,
    known: Known,
}

/// What is known of the ticks of late; each counts for less with every other one.
#[derive(Debug, Default)]
struct Known {
    ticks: f32,
    datagrams: f32,
    lost: f32,
    arrived_bytes: f32,
    /// Ticks that lost more of the first half, of the second.
    uneven: [f32; 2],
}

impl Ceiling {
    /// What of so many bytes a tick is worth sending.
    pub(crate) fn of(&self, full: usize) -> usize {
        self.bytes
            .map_or(full, |bytes| full.min(bytes as usize).max(1))
    }

    /// The datagrams from `first` to before `next` were sent together, with so many bytes in all.
    pub(crate) fn sent(&mut self, (first, next): (PacketSeq, PacketSeq), bytes: usize) {
        let count = (next.0 - first.0) as u32;
        // One alone has no end.
        if count < 2 {
            return;
        }
        if self.under_way.len() == UNDER_WAY {
            self.under_way.pop_front();
        }
        self.under_way.push_back(Burst {
            first,
            count,
            bytes,
            judged: 0,
            lost: 0,
            halves: [0; 2],
        });
    }

    /// A datagram is known to have arrived, or to be lost. Once for each. `queues`: others wait in a queue
    /// at present, which loses the ends of ticks, too, and is seen otherwise. A look at the oldest tick
    /// mostly, and a search otherwise.
    pub(crate) fn judge(&mut self, seq: PacketSeq, lost: bool, queues: bool) {
        let at = match self.under_way.front() {
            Some(oldest) if seq.0 < oldest.first.0 + u64::from(oldest.count) => 0,
            _ => {
                let after = self.under_way.partition_point(|burst| burst.first <= seq);
                after.wrapping_sub(1)
            }
        };
        let Some(burst) = self.under_way.get_mut(at) else {
            return;
        };
        let Some(place) = seq.0.checked_sub(burst.first.0) else {
            return;
        };
        let (place, count) = (place as u32, burst.count);
        if place >= count {
            return;
        }
        burst.judged += 1;
        if lost {
            burst.lost += 1;
            // The middle one of an odd number is of neither.
            burst.halves[0] += u32::from(place < count / 2);
            burst.halves[1] += u32::from(place >= count - count / 2);
        }
        while let Some(burst) = self
            .under_way
            .pop_front_if(|burst| burst.judged >= burst.count)
        {
            if !queues {
                self.known.add(&burst);
                self.decide();
            }
        }
    }

    /// Tries a little more, once there is a ceiling.
    pub(crate) fn try_more(&mut self, now: Duration) {
        let passed = now.saturating_sub(self.tried).as_secs_f32();
        self.tried = now;
        if let Some(bytes) = &mut self.bytes {
            let since = now.saturating_sub(self.failed).as_secs_f32();
            let courage = COURAGE * (1.0 + since / ENCOURAGED.as_secs_f32());
            *bytes *= 1.0 + courage * passed.min(1.0);
        }
    }

    fn decide(&mut self) {
        let Known {
            ticks,
            datagrams,
            lost,
            arrived_bytes,
            uneven: [first, second],
        } = self.known;
        let deviations = match self.bytes {
            None => SUSPICION,
            Some(_) => EXPERIENCE,
        };
        let is_uneven = second - first > deviations * (first + second).sqrt();
        if is_uneven && lost > datagrams * NEGLIGIBLE {
            let arrives = arrived_bytes / ticks * CAUTION;
            self.bytes = Some(arrives.max(MAX_DATAGRAM as f32));
            self.failed = self.tried;
            // What is under way was sent before.
            self.known = Known::default();
            self.under_way.clear();
        }
    }
}

impl Known {
    fn add(&mut self, burst: &Burst) {
        let fade = |sum: &mut f32, more: f32| *sum += more - *sum / WINDOW;
        let arrived = 1.0 - burst.lost as f32 / burst.count as f32;
        fade(&mut self.ticks, 1.0);
        fade(&mut self.datagrams, burst.count as f32);
        fade(&mut self.lost, burst.lost as f32);
        fade(&mut self.arrived_bytes, burst.bytes as f32 * arrived);
        let [first, second] = burst.halves;
        fade(&mut self.uneven[0], f32::from(u8::from(first > second)));
        fade(&mut self.uneven[1], f32::from(u8::from(second > first)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A link that sends `count` datagrams of 1,000 bytes in each of 30 ticks a second, of which those are
    /// lost that `loses` says by their tick and place.
    struct Link {
        ceiling: Ceiling,
        next: u64,
        ticks: u64,
    }

    impl Link {
        fn new() -> Self {
            Self {
                ceiling: Ceiling::default(),
                next: 0,
                ticks: 0,
            }
        }

        /// Sends for so many ticks. How much was sent and lost, in datagrams.
        fn send(
            &mut self,
            ticks: u64,
            full: usize,
            mut loses: impl FnMut(u64, u64) -> bool,
        ) -> (u64, u64) {
            let (mut sent, mut lost) = (0, 0);
            for _ in 0..ticks {
                self.ticks += 1;
                let now = Duration::from_millis(self.ticks * 33);
                self.ceiling.try_more(now);
                let count = self.ceiling.of(full).div_ceil(1000) as u64;
                let (first, next) = (self.next, self.next + count);
                self.next = next;
                let burst = (PacketSeq(first), PacketSeq(next));
                self.ceiling.sent(burst, count as usize * 1000);
                for place in 0..count {
                    let is_lost = loses(self.ticks, place);
                    self.ceiling.judge(PacketSeq(first + place), is_lost, false);
                    sent += 1;
                    lost += u64::from(is_lost);
                }
            }
            (sent, lost)
        }
    }

    /// A number below 1,000 from a tick and a place.
    fn chance(tick: u64, place: u64) -> u64 {
        let mut x = (tick * 1009 + place + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        x = (x ^ x >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (x ^ x >> 32) % 1000
    }

    #[test]
    fn what_is_above_a_rate_is_not_sent_for_long() {
        for rate in [2, 5, 10, 13] {
            let mut link = Link::new();
            link.send(90, 14_000, |_, place| place >= rate);
            let (sent, lost) = link.send(3000, 14_000, |_, place| place >= rate);
            assert!(lost * 20 < sent, "{lost} of {sent} above {rate}");
            assert!(sent > 3000 * rate * 8 / 10, "{sent} up to {rate}");
        }
    }

    #[test]
    fn chance_takes_nothing_whether_or_not_it_comes_several_at_a_time() {
        for share in [20, 100, 300, 550] {
            let mut link = Link::new();
            link.send(20_000, 14_000, |tick, place| chance(tick, place) < share);
            assert_eq!(link.ceiling.of(14_000), 14_000, "{share} in 1,000");
            // Whole stretches of some five.
            let mut link = Link::new();
            link.send(20_000, 14_000, |tick, place| {
                chance(tick, (place + tick % 5) / 5) < share
            });
            assert_eq!(link.ceiling.of(14_000), 14_000, "{share}, stretches");
        }
    }

    #[test]
    fn a_rate_is_found_beside_chance_and_forgotten_when_it_is_gone() {
        let mut link = Link::new();
        let limited = |tick, place| place >= 6 || chance(tick, place) < 50;
        link.send(900, 14_000, limited);
        let (sent, lost) = link.send(900, 14_000, limited);
        assert!(lost * 9 < sent, "{lost} of {sent}");
        link.send(1800, 14_000, |tick, place| chance(tick, place) < 50);
        assert_eq!(link.ceiling.of(14_000), 14_000);
    }

    #[test]
    fn one_datagram_a_tick_says_nothing() {
        let mut link = Link::new();
        link.send(900, 900, |tick, _| tick % 3 == 0);
        assert_eq!(link.ceiling.of(900), 900);
        // Nor does a report about what nobody sent.
        link.ceiling.judge(PacketSeq(u64::MAX), true, false);
        assert!(link.ceiling.under_way.is_empty());
    }

    #[test]
    fn ticks_that_are_never_judged_are_forgotten() {
        let mut ceiling = Ceiling::default();
        for n in 0..10_000 {
            ceiling.sent((PacketSeq(n * 9), PacketSeq(n * 9 + 9)), 9000);
        }
        assert_eq!(ceiling.under_way.len(), UNDER_WAY);
    }
}
