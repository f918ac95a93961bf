//! The live table in the terminal.

use std::io::{IsTerminal, Write};

use super::report::{NodeReport, percentile};

/// Draws the table over itself; plain lines every few seconds where the output is no terminal.
pub struct Table {
    live: bool,
    quiet: bool,
    drawn: usize,
    calls: u32,
}

impl Table {
    /// `quiet`: draws nothing.
    pub fn new(quiet: bool) -> Self {
        Self {
            live: std::io::stdout().is_terminal(),
            quiet,
            drawn: 0,
            calls: 0,
        }
    }

    /// Draws the present state. Called about once a second.
    ///
    /// `gaps`: of all handovers so far, in ticks.
    pub fn draw(
        &mut self,
        (second, of): (u32, u32),
        nodes: &[(bool, NodeReport)],
        gaps: &mut [f64],
    ) {
        self.calls += 1;
        if self.quiet || (!self.live && self.calls % 5 != 1) {
            return;
        }
        let mut lines = vec![format!(
            "{second:>4} / {of} s   node  players  entities     in kB/s    out kB/s  handed over  kept  tick ms  late ms"
        )];
        for (alive, node) in nodes {
            if *alive {
                lines.push(format!(
                    "             {:>7} {:>8} {:>9} {:>11.1} {:>11.1} {:>12} {:>5} {:>8.2} {:>8.2}",
                    node.node,
                    node.players,
                    node.entities,
                    node.kbps_in,
                    node.kbps_out,
                    node.handed_over,
                    node.resumed,
                    node.tick_ms_p95,
                    node.late_ms_p99,
                ));
            } else {
                lines.push(format!("             {:>7} killed", node.node));
            }
        }
        let sum =
            |pick: fn(&NodeReport) -> u64| nodes.iter().map(|(_, node)| pick(node)).sum::<u64>();
        lines.push(format!(
            "             all: {} handovers, gap p50 {} p99 {} ticks, {} kept (aborted), {} rescued, {} migrated",
            sum(|node| node.handed_over),
            percentile(gaps, 0.5),
            percentile(gaps, 0.99),
            sum(|node| node.resumed),
            sum(|node| node.reclaimed),
            sum(|node| node.migrations),
        ));
        let mut out = std::io::stdout().lock();
        if self.live && self.drawn > 0 {
            let _ = write!(out, "\x1b[{}A", self.drawn);
        }
        for line in &lines {
            // Erase what a longer line left.
            let erase = if self.live { "\x1b[K" } else { "" };
            let _ = writeln!(out, "{line}{erase}");
        }
        let _ = out.flush();
        self.drawn = lines.len();
    }
}
