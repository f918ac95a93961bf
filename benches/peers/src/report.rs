//! What was measured, as JSON and as a table.

use std::fmt::Write;

use serde::{Deserialize, Serialize};

/// The figures of one subject in one scenario. What was not measured there is `None`.
#[derive(Serialize, Deserialize, Clone, Debug, Default)]
pub(crate) struct Figures {
    pub(crate) scenario: String,
    pub(crate) subject: String,
    /// Median, from datagrams that arrived to datagrams on the links.
    pub(crate) server_tick_us: Option<f64>,
    /// Median of the time in our own systems, or the server's tick less that of an empty app.
    pub(crate) own_us: Option<f64>,
    /// Median over clients and ticks.
    pub(crate) client_tick_us: Option<f64>,
    /// Bytes from the server to clients for each change of an entity that a client sees.
    pub(crate) bytes_per_change: Option<f64>,
    pub(crate) bytes_per_client_tick: Option<f64>,
    /// Resident memory at the end without the clients, less that of the bare process.
    pub(crate) server_rss_mb: Option<f64>,
    /// Peak of the process, clients included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) process_rss_mb: Option<f64>,
    /// Median of the processor time of the server's tick.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) server_cpu_us: Option<f64>,
    /// Median of changing the world, which is not part of the server's tick.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) write_us: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) server_tick_p99_us: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) datagrams_per_client_tick: Option<f64>,
    /// Sealing a tick's datagrams to all clients, which is not part of the server's tick.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) sealing_us: Option<f64>,
    /// Giving them to a socket, which is not either.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) sockets_us: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) entities_per_client: Option<f64>,
    /// Time of all apps' ticks from connecting until every client has everything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) join_ms: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) join_ticks: Option<usize>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) join_bytes_per_client: Option<f64>,
    /// The same until nothing of it is sent again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) join_bytes_until_quiet_per_client: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) staleness_ticks_p99: Option<f64>,
    /// Why it was not run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) skipped: Option<String>,
    /// Why there are no figures, or why they are worth nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<String>,
}

impl Figures {
    /// No figures yet.
    pub(crate) fn new(scenario: &str, subject: &str) -> Self {
        Self {
            scenario: scenario.into(),
            subject: subject.into(),
            ..Self::default()
        }
    }

    /// A run that failed.
    pub(crate) fn failed(scenario: &str, subject: &str, error: String) -> Self {
        Self {
            error: Some(error),
            ..Self::new(scenario, subject)
        }
    }

    /// All floats rounded to what they mean.
    pub(crate) fn rounded(mut self) -> Self {
        for value in [
            &mut self.server_tick_us,
            &mut self.own_us,
            &mut self.client_tick_us,
            &mut self.bytes_per_change,
            &mut self.bytes_per_client_tick,
            &mut self.server_rss_mb,
            &mut self.process_rss_mb,
            &mut self.server_cpu_us,
            &mut self.write_us,
            &mut self.server_tick_p99_us,
            &mut self.datagrams_per_client_tick,
            &mut self.sealing_us,
            &mut self.sockets_us,
            &mut self.entities_per_client,
            &mut self.join_ms,
            &mut self.join_bytes_per_client,
            &mut self.join_bytes_until_quiet_per_client,
        ] {
            *value = value.map(|value| (value * 100.0).round() / 100.0);
        }
        self
    }
}

const HEADS: [&str; 13] = [
    "scenario",
    "subject",
    "server us",
    "own us",
    "client us",
    "sealing us",
    "sockets us",
    "B/change",
    "B/client tick",
    "server MB",
    "join ms",
    "join B/client",
    "stale p99",
];

/// A table for people.
pub(crate) fn table(all: &[Figures]) -> String {
    let cell = |value: Option<f64>, digits: usize| match value {
        Some(value) => format!("{value:.digits$}"),
        None => "-".into(),
    };
    let rows: Vec<[String; HEADS.len()]> = all
        .iter()
        .map(|figures| {
            [
                figures.scenario.clone(),
                figures.subject.clone(),
                cell(figures.server_tick_us, 1),
                cell(figures.own_us, 1),
                cell(figures.client_tick_us, 1),
                cell(figures.sealing_us, 1),
                cell(figures.sockets_us, 1),
                cell(figures.bytes_per_change, 2),
                cell(figures.bytes_per_client_tick, 1),
                cell(figures.server_rss_mb, 1),
                cell(figures.join_ms, 1),
                cell(figures.join_bytes_per_client, 0),
                cell(figures.staleness_ticks_p99, 0),
            ]
        })
        .collect();
    let widths: Vec<usize> = (0..HEADS.len())
        .map(|column| {
            let cells = rows.iter().map(|row| row[column].len());
            cells.chain([HEADS[column].len()]).max().unwrap_or(0)
        })
        .collect();
    let mut out = String::new();
    let mut line = |cells: &[&str]| {
        for (column, cell) in cells.iter().enumerate() {
            let width = widths[column];
            // Names to the left, numbers to the right.
            let _ = match column {
                0 | 1 => write!(out, "{cell:<width$}  "),
                _ => write!(out, "{cell:>width$}  "),
            };
        }
        out.truncate(out.trim_end().len());
        out.push('\n');
    };
    line(&HEADS);
    for row in &rows {
        let cells: Vec<&str> = row.iter().map(String::as_str).collect();
        line(&cells);
    }
    for figures in all {
        if let Some(reason) = &figures.skipped {
            let _ = writeln!(
                out,
                "left out: {} {}: {reason}",
                figures.scenario, figures.subject
            );
        }
        if let Some(error) = &figures.error {
            let _ = writeln!(
                out,
                "FAILED {} {}: {error}",
                figures.scenario, figures.subject
            );
        }
    }
    out
}
