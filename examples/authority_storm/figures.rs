//! The verdict.

use crate::{migration, storm::Storm};

/// What is printed.
#[derive(Debug)]
pub struct Figures {
    operations: u64,
    grants: u64,
    denials: u64,
    violations: u64,
    unanswered_requests: u64,
    lost_writes: u64,
    stale_writes_applied: u64,
    echo_bytes_to_holder: u64,
    /// As the links measure it, so with the ticks that an answer waits for.
    rtt_ticks_p50: u64,
    grant_latency_ticks_p50: u64,
    grant_latency_ticks_p99: u64,
    control_bytes_per_grant_per_observer: f64,
    migrations: u64,
    migration_ns_each_at_100: u64,
    migration_ns_each_at_10000: u64,
    component_bytes_resent: u64,
    redirects_left_after_ttl: u64,
}

/// The value below which a share of them lies. 0 if there is none.
fn percentile(sorted: &[u64], share: f64) -> u64 {
    let last = sorted.len().saturating_sub(1);
    let at = (last as f64 * share).round() as usize;
    sorted.get(at).copied().unwrap_or_default()
}

impl Figures {
    pub fn of(storm: &mut Storm, control_bytes: f64, redirects: usize) -> Self {
        let stats = storm.stats();
        let costs = storm.costs();
        storm.round_trips.sort_unstable();
        let oracle = &mut storm.oracle;
        oracle.latencies.sort_unstable();
        Self {
            operations: storm.operations,
            grants: stats.granted,
            denials: stats.denied.values().sum(),
            violations: oracle.violations.len() as u64,
            unanswered_requests: oracle.unanswered,
            lost_writes: oracle.lost_writes,
            stale_writes_applied: oracle.stale_writes,
            echo_bytes_to_holder: costs.echo_bits.div_ceil(8),
            rtt_ticks_p50: percentile(&storm.round_trips, 0.5),
            grant_latency_ticks_p50: percentile(&oracle.latencies, 0.5),
            grant_latency_ticks_p99: percentile(&oracle.latencies, 0.99),
            control_bytes_per_grant_per_observer: (control_bytes * 100.0).round() / 100.0,
            migrations: stats.migrated,
            migration_ns_each_at_100: migration::ns_each(100),
            migration_ns_each_at_10000: migration::ns_each(10_000),
            component_bytes_resent: costs.resent_bits.div_ceil(8),
            redirects_left_after_ttl: redirects as u64,
        }
    }

    /// Whether everything is 0 that must be.
    pub const fn is_clean(&self) -> bool {
        self.violations == 0
            && self.unanswered_requests == 0
            && self.lost_writes == 0
            && self.stale_writes_applied == 0
            && self.echo_bytes_to_holder == 0
            && self.component_bytes_resent == 0
            && self.redirects_left_after_ttl == 0
    }

    pub fn to_json(&self) -> String {
        serde_json::json!({
            "operations": self.operations,
            "grants": self.grants,
            "denials": self.denials,
            "violations": self.violations,
            "unanswered_requests": self.unanswered_requests,
            "lost_writes": self.lost_writes,
            "stale_writes_applied": self.stale_writes_applied,
            "echo_bytes_to_holder": self.echo_bytes_to_holder,
            "rtt_ticks_p50": self.rtt_ticks_p50,
            "grant_latency_ticks_p50": self.grant_latency_ticks_p50,
            "grant_latency_ticks_p99": self.grant_latency_ticks_p99,
            "control_bytes_per_grant_per_observer": self.control_bytes_per_grant_per_observer,
            "migrations": self.migrations,
            "migration_ns_each_at_100": self.migration_ns_each_at_100,
            "migration_ns_each_at_10000": self.migration_ns_each_at_10000,
            "component_bytes_resent": self.component_bytes_resent,
            "redirects_left_after_ttl": self.redirects_left_after_ttl,
        })
        .to_string()
    }
}
