//! Token buckets: how much of something is taken per second.

use std::{collections::HashMap, net::IpAddr, time::Duration};

use crate::config::{FaultLimit, Rate, StrangerLimits};

const NANOS: u64 = 1_000_000_000;

/// A bucket that fills with time. Integer arithmetic, so equal inputs give equal answers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TokenBucket {
    /// Billionths of a token a nanosecond, which is tokens a second.
    per_second: u64,
    /// Billionths of a token.
    capacity: u64,
    level: u64,
    filled_at: Duration,
}

impl TokenBucket {
    /// Full at the start.
    pub(crate) const fn new(per_second: u64, burst: u64) -> Self {
        let capacity = burst.saturating_mul(NANOS);
        Self {
            per_second,
            capacity,
            level: capacity,
            filled_at: Duration::ZERO,
        }
    }

    fn fill(&mut self, now: Duration) {
        let elapsed = now.saturating_sub(self.filled_at).as_nanos();
        let elapsed = u64::try_from(elapsed).unwrap_or(u64::MAX);
        let gained = elapsed.saturating_mul(self.per_second);
        self.level = self.level.saturating_add(gained).min(self.capacity);
        self.filled_at = now;
    }

    fn holds(&mut self, now: Duration, tokens: u64) -> bool {
        self.fill(now);
        self.level >= tokens.saturating_mul(NANOS)
    }

    fn spend(&mut self, tokens: u64) {
        self.level = self.level.saturating_sub(tokens.saturating_mul(NANOS));
    }

    /// Takes tokens, if there are enough.
    pub(crate) fn take(&mut self, now: Duration, tokens: u64) -> bool {
        let enough = self.holds(now, tokens);
        if enough {
            self.spend(tokens);
        }
        enough
    }

    fn is_full(&mut self, now: Duration) -> bool {
        self.fill(now);
        self.level == self.capacity
    }
}

/// What one link may receive.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LinkLimiter {
    packets: TokenBucket,
    bytes: TokenBucket,
}

impl LinkLimiter {
    pub(crate) const fn new(rate: Rate) -> Self {
        let (packets, bytes) = (rate.packets_per_second as u64, rate.bytes_per_second as u64);
        Self {
            packets: TokenBucket::new(packets, packets),
            bytes: TokenBucket::new(bytes, bytes),
        }
    }

    pub(crate) fn admit(&mut self, now: Duration, bytes: usize) -> bool {
        if !self.packets.holds(now, 1) || !self.bytes.holds(now, bytes as u64) {
            return false;
        }
        self.packets.spend(1);
        self.bytes.spend(bytes as u64);
        true
    }
}

/// How many faults of a peer are borne: `count` in `window`, refilled evenly.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FaultMeter {
    /// One token a fault, scaled by the window's milliseconds so that slow rates stay integers.
    bucket: TokenBucket,
    cost: u64,
}

impl FaultMeter {
    pub(crate) fn new(limit: FaultLimit) -> Self {
        let cost = u64::try_from(limit.window.as_millis())
            .unwrap_or(u64::MAX)
            .clamp(1, 1 << 32);
        let count = u64::from(limit.count);
        Self {
            bucket: TokenBucket::new(count.saturating_mul(1000), count.saturating_mul(cost)),
            cost,
        }
    }

    /// Notes a fault. `false` when it was one too many.
    pub(crate) fn bear(&mut self, now: Duration) -> bool {
        self.bucket.take(now, self.cost)
    }
}

/// What addresses without a link may send.
#[derive(Debug)]
pub(crate) struct Strangers {
    limits: StrangerLimits,
    total: TokenBucket,
    each: HashMap<IpAddr, TokenBucket>,
    /// When the table was last swept; a sweep walks all of it, so not for every packet.
    swept_at: Option<Duration>,
}

/// Time between two sweeps of a full table.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

impl Strangers {
    pub(crate) fn new(limits: StrangerLimits) -> Self {
        let total = u64::from(limits.packets_in_total);
        Self {
            limits,
            total: TokenBucket::new(total, total),
            each: HashMap::new(),
            swept_at: None,
        }
    }

    pub(crate) fn admit(&mut self, now: Duration, from: IpAddr) -> bool {
        let rate = u64::from(self.limits.packets_per_address);
        let key = network(from);
        let due = self.swept_at.is_none_or(|at| at + SWEEP_EVERY <= now);
        if due && self.each.len() >= self.limits.addresses {
            // A full bucket says nothing that a new one does not say.
            self.each.retain(|_, bucket| !bucket.is_full(now));
            self.swept_at = Some(now);
        }
        if self.each.len() < self.limits.addresses || self.each.contains_key(&key) {
            let bucket = self
                .each
                .entry(key)
                .or_insert_with(|| TokenBucket::new(rate, rate.saturating_mul(2)));
            if !bucket.take(now, 1) {
                return false;
            }
        }
        self.total.take(now, 1)
    }
}

/// Whoever has an IPv6 address has the /64 around it.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => v6
            .to_ipv4_mapped()
            .map_or_else(|| IpAddr::V6((v6.to_bits() >> 64 << 64).into()), IpAddr::V4),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_gives_its_burst_and_then_its_rate() {
        let mut bucket = TokenBucket::new(10, 5);
        let start = Duration::from_secs(100);
        assert_eq!((0..9).filter(|_| bucket.take(start, 1)).count(), 5);
        let later = start + Duration::from_millis(250);
        assert_eq!((0..9).filter(|_| bucket.take(later, 1)).count(), 2);
        // Time that runs backward gives nothing.
        assert!(!bucket.take(start, 1));
    }

    #[test]
    fn huge_rates_and_times_do_not_overflow() {
        let mut bucket = TokenBucket::new(u64::MAX, u64::MAX);
        assert!(bucket.take(Duration::MAX, 1));
        let mut limiter = LinkLimiter::new(Rate {
            packets_per_second: u32::MAX,
            bytes_per_second: u32::MAX,
        });
        assert!(limiter.admit(Duration::MAX, usize::MAX >> 34));
    }

    #[test]
    fn faults_are_borne_up_to_the_count_and_again_after_the_window() {
        let mut meter = FaultMeter::new(FaultLimit {
            count: 3,
            window: Duration::from_secs(10),
        });
        let t = Duration::from_secs(1);
        assert_eq!((0..5).filter(|_| meter.bear(t)).count(), 3);
        assert!(!meter.bear(t + Duration::from_secs(3)));
        assert!(meter.bear(t + Duration::from_secs(7)));
    }

    #[test]
    fn one_loud_stranger_does_not_silence_the_others() {
        let mut strangers = Strangers::new(StrangerLimits {
            packets_per_address: 4,
            packets_in_total: 100,
            addresses: 2,
        });
        let (t, loud, other) = (Duration::ZERO, [10, 0, 0, 1], [10, 0, 0, 2]);
        assert_eq!(
            (0..50).filter(|_| strangers.admit(t, loud.into())).count(),
            8
        );
        assert!(strangers.admit(t, other.into()));
    }

    #[test]
    fn the_table_of_strangers_stays_small_and_the_total_still_counts() {
        let mut strangers = Strangers::new(StrangerLimits {
            packets_per_address: 4,
            packets_in_total: 100,
            addresses: 16,
        });
        let admitted = (0..1000u32)
            .filter(|i| strangers.admit(Duration::ZERO, IpAddr::V4((*i).into())))
            .count();
        assert_eq!(admitted, 100);
        assert_eq!(strangers.each.len(), 16);
    }

    #[test]
    fn an_ipv6_network_shares_one_bucket() {
        let a: IpAddr = "2001:db8:1:2::1".parse().unwrap();
        let b: IpAddr = "2001:db8:1:2:ffff::9".parse().unwrap();
        let mapped: IpAddr = "::ffff:10.0.0.1".parse().unwrap();
        assert_eq!(network(a), network(b));
        assert_eq!(network(mapped), IpAddr::from([10, 0, 0, 1]));
    }
}
