//! Where time comes from.

use std::{fs, time::Duration};

/// The machine's clock since its boot, time asleep included: the same for all its processes, and
/// never set.
#[must_use]
pub fn boot_clock() -> Duration {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let id = rustix::time::ClockId::Boottime;
    // Elsewhere the monotonic clock is the best there is.
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    let id = rustix::time::ClockId::Monotonic;
    let time = rustix::time::clock_gettime(id);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanos = u32::try_from(time.tv_nsec).unwrap_or(0);
    Duration::new(seconds, nanos)
}

/// Names this boot of the machine; 1 where the system does not.
#[must_use]
pub fn boot_id() -> u128 {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let digits: String = text.chars().filter(char::is_ascii_hexdigit).collect();
    u128::from_str_radix(&digits, 16).unwrap_or(1).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_runs_and_the_boot_has_one_name() {
        let before = boot_clock();
        std::thread::sleep(Duration::from_millis(2));
        assert!(boot_clock() >= before + Duration::from_millis(2));
        assert_eq!(boot_id(), boot_id());
    }
}
