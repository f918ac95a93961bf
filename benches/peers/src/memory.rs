//! How much memory the server has taken.
//!
//! Server and clients share a process, so its peak says little about the server. The gauge looks at
//! the resident pages before and after everything the server does and adds up what they grew by.
//! What the server frees and takes again counts once; memory that a client has freed and the
//! server takes over is missed, and the other way round.

use std::fs;

/// Bytes of a page, as `/proc` counts them on the machines this runs on.
const PAGE: i64 = 4096;

/// Adds up what resident memory grew by while certain code ran.
#[derive(Default)]
pub(crate) struct Gauge {
    gained: i64,
    peak: i64,
}

impl Gauge {
    /// Runs `f` and counts what it takes and gives back.
    pub(crate) fn around<T>(&mut self, f: impl FnOnce() -> T) -> T {
        let before = resident();
        let value = f();
        self.gained += resident() - before;
        self.peak = self.peak.max(self.gained);
        value
    }

    /// The most that was taken at any time, in MB of 10^6 bytes.
    pub(crate) fn peak_mb(&self) -> f64 {
        self.peak as f64 / 1e6
    }
}

/// Resident bytes of this process now. 0 where there is no `/proc`.
fn resident() -> i64 {
    let pages = fs::read_to_string("/proc/self/statm")
        .ok()
        .and_then(|statm| statm.split_whitespace().nth(1)?.parse::<i64>().ok());
    pages.unwrap_or(0) * PAGE
}

/// The most that was ever resident in this process, in MB of 10^6 bytes.
pub(crate) fn process_peak_mb() -> f64 {
    let kibibytes = fs::read_to_string("/proc/self/status")
        .ok()
        .and_then(|status| {
            let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
            line.split_whitespace().nth(1)?.parse::<f64>().ok()
        });
    kibibytes.unwrap_or(0.0) * 1024.0 / 1e6
}
