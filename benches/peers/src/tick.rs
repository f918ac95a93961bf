//! What one tick of all apps took.

use std::time::Duration;

/// Times of one tick of all apps.
pub(crate) struct Tick {
    pub(crate) server: Duration,
    /// Processor time of the server's tick: what it would have taken had nobody else been running.
    pub(crate) server_cpu: Duration,
    /// What changing the world took.
    pub(crate) write: Duration,
    pub(crate) clients: Vec<Duration>,
}

impl Tick {
    pub(crate) fn total(&self) -> Duration {
        self.server + self.clients.iter().sum::<Duration>()
    }
}

/// Processor time of this process, all threads together.
pub(crate) fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// In microseconds.
pub(crate) fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

/// The median, if there is any value.
pub(crate) fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}
