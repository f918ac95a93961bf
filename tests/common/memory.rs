//! What this process has in memory.

/// Kilobytes that are resident; none where that cannot be read.
pub fn resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// Fails if there are more kilobytes than there were, by more than these.
pub fn assert_flat(before: Option<u64>, by: u64) {
    if let (Some(before), Some(now)) = (before, resident()) {
        assert!(now <= before + by, "{before} kB, and now {now} kB");
    }
}
