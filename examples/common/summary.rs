//! From what parts did and measured to one summary.

use std::{collections::BTreeSet, path::PathBuf, time::Duration};

use super::{
    measure::BotReport,
    oracle::Evidence,
    report::{NodeReport, Summary, percentile},
};

/// Above this share of busy cores, waiting times are the machine's, not ours.
const SATURATED: f64 = 0.9;

/// And so they are if one in a hundred ticks begins later than this, in milliseconds.
const SATURATED_LATE_MS: f64 = 16.0;

/// All that is known at the end of a run.
pub struct Facts {
    /// The nodes' last reports.
    pub nodes: Vec<NodeReport>,
    /// Kilobytes per second to a client, one sample per node and second.
    pub kbps: Vec<f64>,
    /// The nodes' logs.
    pub logs: Vec<PathBuf>,
    /// The bots' reports.
    pub bots: Vec<BotReport>,
    /// Entities that there must be at the end.
    pub expected: BTreeSet<u64>,
    /// Which node was killed, and when on the machine's clock.
    pub killed: Option<(usize, Duration)>,
    /// Share of the cores that was busy.
    pub cpu_busy: f64,
    /// Seconds of play.
    pub seconds: u32,
}

/// Sums up.
///
/// # Errors
/// One line about a log that cannot be read.
pub fn sum_up(facts: &Facts) -> Result<Summary, String> {
    let mut evidence = Evidence::default();
    for log in &facts.logs {
        evidence.read(log)?;
    }
    let killed = facts.killed.map(|(node, _)| node);
    evidence.cut(killed);
    let verdict = evidence.judge(&facts.bots, killed, &facts.expected);
    let (mut frozen_ms, mut frozen_ticks) = evidence.frozen();
    // Every handover counts, also one after which the client had to come in by the door; what
    // follows a kill is counted as recovery.
    let gaps = facts.bots.iter().flat_map(|bot| &bot.gaps);
    let mut gaps: Vec<f64> = gaps
        .filter(|(term, _)| evidence.is_claim(*term))
        .map(|(_, ticks)| ticks.ceil())
        .collect();
    let control = facts.bots.iter().flat_map(|bot| &bot.control_gaps);
    let mut control: Vec<f64> = control.map(|ticks| ticks.ceil()).collect();
    let mut corrections: Vec<f64> = facts
        .bots
        .iter()
        .flat_map(|bot| bot.corrections.iter().map(|m| f64::from(*m)))
        .collect();
    let (players_killed, mut recovery) = rescued(&evidence, facts);
    let worst = |pick: fn(&NodeReport) -> f64| facts.nodes.iter().map(pick).fold(0.0, f64::max);
    let late = worst(|node| node.late_ms_p99);
    Ok(Summary {
        handovers: evidence.handovers(),
        aborted: facts.nodes.iter().map(|node| node.resumed).sum(),
        reclaims: facts.nodes.iter().map(|node| node.reclaimed).sum(),
        authority_grants: facts.bots.iter().map(|bot| u64::from(bot.grants)).sum(),
        migrations: facts.nodes.iter().map(|node| node.migrations).sum(),
        inputs_sent: verdict.inputs_sent,
        lost_inputs: verdict.lost_inputs,
        duplicated_inputs: verdict.duplicated_inputs,
        owner_conflicts: verdict.owner_conflicts,
        entities_lost: verdict.entities_lost,
        entities_duplicated: verdict.entities_duplicated,
        gap_ticks_p50: percentile(&mut gaps, 0.5),
        gap_ticks_p99: percentile(&mut gaps, 0.99),
        gap_ticks_max: percentile(&mut gaps, 1.0),
        gap_ticks_p99_control: percentile(&mut control, 0.99),
        correction_m_p99: percentile(&mut corrections, 0.99),
        frozen_ms_p50: percentile(&mut frozen_ms, 0.5),
        frozen_ms_p99: percentile(&mut frozen_ms, 0.99),
        frozen_ticks_p99: percentile(&mut frozen_ticks, 0.99),
        players_back: recovery.len() as u64,
        players_killed,
        recovery_ms_p50: percentile(&mut recovery, 0.5),
        recovery_ms_p99: percentile(&mut recovery, 0.99),
        client_kbps_mean: facts.kbps.iter().sum::<f64>() / facts.kbps.len().max(1) as f64,
        server_tick_ms_p95: worst(|node| node.tick_ms_p95),
        tick_late_ms_p99: late,
        cpu_busy: facts.cpu_busy,
        saturated: facts.cpu_busy > SATURATED || late > SATURATED_LATE_MS,
        bots: facts.bots.len() as u32,
        nodes: facts.nodes.len() as u32,
        seconds: facts.seconds,
    })
}

/// How many players the killed node had, and for each of them that plays again, how many
/// milliseconds passed from the kill to its first acknowledged input elsewhere.
fn rescued(evidence: &Evidence, facts: &Facts) -> (u64, Vec<f64>) {
    let Some((node, at)) = facts.killed else {
        return (0, Vec::new());
    };
    let at = at.as_nanos() as u64;
    let had = evidence.players_on(node);
    let back = facts
        .bots
        .iter()
        .filter(|bot| had.contains(&bot.player))
        .filter_map(|bot| {
            let first = bot
                .first_acks
                .iter()
                .map(|(_, nanos)| *nanos)
                .filter(|nanos| *nanos > at);
            Some((first.min()? - at) as f64 / 1e6)
        });
    (had.len() as u64, back.collect())
}
