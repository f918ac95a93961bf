//! What `/metrics` says, in the text format of Prometheus.

use std::{
    fmt::Write,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use super::shared::Shared;

/// Upper bounds of the buckets for frozen times, in microseconds.
const BUCKETS: [u64; 9] = [
    500, 1000, 2000, 5000, 10_000, 20_000, 50_000, 200_000, 1_000_000,
];

/// A number that only rises.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    pub(super) fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// The number.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What the two HTTP servers did.
#[derive(Debug, Default)]
pub struct HttpCounters {
    /// Requests of nodes that were answered.
    pub answered: Counter,
    /// Requests that did not make sense.
    pub malformed: Counter,
    /// Bodies that were too large, or broke off.
    pub oversized: Counter,
    /// Bodies that took too long.
    pub slow: Counter,
    /// Requests that came when too many waited.
    pub busy: Counter,
    /// Signed requests that nobody answered: in another node's name.
    pub unanswered: Counter,
    /// Knocks beyond the limit.
    pub limited: Counter,
    /// Knocks of players who are not who they say.
    pub unauthenticated: Counter,
    /// Requests without a MAC.
    pub unsigned: Counter,
    /// Requests with a wrong MAC.
    pub wrong: Counter,
    /// Requests that were too old.
    pub expired: Counter,
    /// Requests that were here before.
    pub replayed: Counter,
}

impl HttpCounters {
    fn all(&self) -> [(&'static str, u64); 12] {
        [
            ("answered", self.answered.get()),
            ("malformed", self.malformed.get()),
            ("oversized", self.oversized.get()),
            ("slow", self.slow.get()),
            ("busy", self.busy.get()),
            ("unanswered", self.unanswered.get()),
            ("limited", self.limited.get()),
            ("unauthenticated", self.unauthenticated.get()),
            ("unsigned", self.unsigned.get()),
            ("wrong", self.wrong.get()),
            ("expired", self.expired.get()),
            ("replayed", self.replayed.get()),
        ]
    }
}

/// How long groups were frozen, as source.
#[derive(Debug, Default)]
pub struct FrozenTimes {
    buckets: [Counter; BUCKETS.len()],
    count: Counter,
    micros: AtomicU64,
}

impl FrozenTimes {
    pub(super) fn add(&self, time: Duration) {
        let micros = time.as_micros() as u64;
        for (bucket, limit) in self.buckets.iter().zip(BUCKETS) {
            if micros <= limit {
                bucket.add();
            }
        }
        self.count.add();
        self.micros.fetch_add(micros, Ordering::Relaxed);
    }
}

/// The page.
pub(super) fn render(shared: &Shared) -> String {
    let mut page = String::with_capacity(4096);
    let status = shared.status();
    let mut put = |name: &str, kind: &str, lines: &[(String, f64)]| {
        let _ = writeln!(page, "# TYPE seamless_{name} {kind}");
        for (labels, value) in lines {
            let _ = writeln!(page, "seamless_{name}{labels} {value}");
        }
    };
    let labelled = |label: &str, all: &[(&'static str, u64)]| -> Vec<(String, f64)> {
        all.iter()
            .map(|(name, value)| (format!("{{{label}=\"{name}\"}}"), *value as f64))
            .collect()
    };
    let one = |value: f64| vec![(String::new(), value)];
    put(
        "mesh_total",
        "counter",
        &labelled("what", &status.counters.all()),
    );
    put(
        "http_total",
        "counter",
        &labelled("what", &shared.http.all()),
    );
    let (redeemed, refused) = shared.desk.counts();
    put(
        "tickets_total",
        "counter",
        &labelled("what", &[("redeemed", redeemed), ("refused", refused)]),
    );
    let busy = status.busy;
    put(
        "busy",
        "gauge",
        &labelled(
            "what",
            &[
                ("sources", busy.sources as u64),
                ("frozen", busy.frozen as u64),
                ("targets", busy.targets as u64),
                ("checkpoints", busy.checkpoints as u64),
            ],
        ),
    );
    put("nodes", "gauge", &one(status.nodes.len() as f64));
    put(
        "fenced",
        "gauge",
        &one(f64::from(u8::from(!shared.may_simulate()))),
    );
    put(
        "directory_healthy",
        "gauge",
        &one(f64::from(u8::from(status.healthy))),
    );
    put(
        "directory_p99_seconds",
        "gauge",
        &one(status.directory_p99.as_secs_f64()),
    );
    let frozen = &shared.frozen;
    let mut lines: Vec<(String, f64)> = frozen
        .buckets
        .iter()
        .zip(BUCKETS)
        .map(|(bucket, limit)| {
            (
                format!("_bucket{{le=\"{}\"}}", limit as f64 / 1e6),
                bucket.get() as f64,
            )
        })
        .collect();
    let count = frozen.count.get() as f64;
    lines.push(("_bucket{le=\"+Inf\"}".to_owned(), count));
    lines.push((
        "_sum".to_owned(),
        frozen.micros.load(Ordering::Relaxed) as f64 / 1e6,
    ));
    lines.push(("_count".to_owned(), count));
    put("frozen_seconds", "histogram", &lines);
    page
}
