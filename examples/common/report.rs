//! The summary: one object, printed as the last line.

use serde::{Deserialize, Serialize};

/// What the oracle found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Inputs that clients sent.
    pub inputs_sent: u64,
    /// Inputs that no surviving state contains.
    pub lost_inputs: u64,
    /// Inputs that a surviving state contains twice.
    pub duplicated_inputs: u64,
    /// Overlaps of two nodes that simulated one entity.
    pub owner_conflicts: u64,
    /// Entities that nobody has at the end.
    pub entities_lost: u64,
    /// Entities that more than one has at the end, counted once for each too many.
    pub entities_duplicated: u64,
}

/// What one node did, as it counts itself. Printed by it once a second and at its end.
#[derive(Serialize, Deserialize, Debug, Clone, Default)]
#[serde(default)]
pub struct NodeReport {
    /// Its number.
    pub node: u32,
    /// Players here.
    pub players: u32,
    /// Entities hosted here.
    pub entities: u32,
    /// Kilobytes per second received.
    pub kbps_in: f64,
    /// Kilobytes per second sent.
    pub kbps_out: f64,
    /// Kilobytes per second sent, per client link.
    pub kbps_per_client: f64,
    /// Groups handed over.
    pub handed_over: u64,
    /// Groups that were frozen and stayed.
    pub resumed: u64,
    /// Groups taken over from dead nodes.
    pub reclaimed: u64,
    /// Clients' entities taken over.
    pub migrations: u64,
    /// 95th percentile of the time that a tick took, in milliseconds, since the start.
    pub tick_ms_p95: f64,
    /// 99th percentile of how late a tick began, in milliseconds, since the start.
    pub late_ms_p99: f64,
}

/// The summary of a run.
#[derive(Serialize, Deserialize, Debug, Clone, Default)]
pub struct Summary {
    /// Groups that changed their node.
    pub handovers: u64,
    /// Groups that were frozen and stayed.
    pub aborted: u64,
    /// Groups taken over from a dead node.
    pub reclaims: u64,
    /// Times that an entity was lent.
    pub authority_grants: u64,
    /// Clients' entities that the server took over.
    pub migrations: u64,
    /// See [`Verdict`].
    pub inputs_sent: u64,
    /// See [`Verdict`].
    pub lost_inputs: u64,
    /// See [`Verdict`].
    pub duplicated_inputs: u64,
    /// See [`Verdict`].
    pub owner_conflicts: u64,
    /// See [`Verdict`].
    pub entities_lost: u64,
    /// See [`Verdict`].
    pub entities_duplicated: u64,
    /// Longest interval between packets that advance the acknowledgement of the own inputs, among
    /// the six around the first packet of a new host; in ticks, rounded up.
    pub gap_ticks_p50: f64,
    /// See above.
    pub gap_ticks_p99: f64,
    /// See above.
    pub gap_ticks_max: f64,
    /// The same at instants without a handover.
    pub gap_ticks_p99_control: f64,
    /// Largest correction in the second after a crossing, in metres.
    pub correction_m_p99: f64,
    /// From the end of the last tick on the source to the claim won and everything decoded on the
    /// target, in milliseconds.
    pub frozen_ms_p50: f64,
    /// See above.
    pub frozen_ms_p99: f64,
    /// Ticks that nobody simulated.
    pub frozen_ticks_p99: f64,
    /// Players of a killed node who play again.
    pub players_back: u64,
    /// Players of a killed node.
    pub players_killed: u64,
    /// From the kill to the first acknowledged input at another node, in milliseconds.
    pub recovery_ms_p50: f64,
    /// See above.
    pub recovery_ms_p99: f64,
    /// What a server sends to a client, in kilobytes per second.
    pub client_kbps_mean: f64,
    /// 95th percentile of a node's tick, the worst node, in milliseconds.
    pub server_tick_ms_p95: f64,
    /// 99th percentile of how late a tick began, the worst node, in milliseconds.
    pub tick_late_ms_p99: f64,
    /// Share of all cores that was busy, 0 to 1.
    pub cpu_busy: f64,
    /// Whether the machine could not keep up: figures of time say nothing then.
    pub saturated: bool,
    /// Bots, cells and seconds of the run.
    pub bots: u32,
    /// See above.
    pub nodes: u32,
    /// See above.
    pub seconds: u32,
}

impl Summary {
    /// Prints it: as one line of JSON, or a line for each figure.
    pub fn print(&self, json: bool) {
        let Ok(value) = serde_json::to_value(self) else {
            return;
        };
        if json {
            println!("{value}");
            return;
        }
        println!();
        for (name, figure) in value.as_object().into_iter().flatten() {
            println!("{name:>24}  {figure}");
        }
    }

    /// Whether nothing was lost, doubled or owned twice.
    #[must_use]
    pub const fn is_clean(&self) -> bool {
        self.lost_inputs == 0
            && self.duplicated_inputs == 0
            && self.owner_conflicts == 0
            && self.entities_lost == 0
            && self.entities_duplicated == 0
            && self.players_back == self.players_killed
    }
}

/// The value below which a share `p` (0 to 1) of `values` lies; 0 if there are none.
#[must_use]
pub fn percentile(values: &mut [f64], p: f64) -> f64 {
    if values.is_empty() {
        return 0.0;
    }
    values.sort_by(f64::total_cmp);
    let rank = (values.len() as f64 * p).ceil() as usize;
    values[rank.clamp(1, values.len()) - 1]
}
