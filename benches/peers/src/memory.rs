//! How much memory the server holds.
//!
//! Server and clients share a process. So at the end of the measured ticks the process forks: the
//! copy drops the clients and what lies on the network, has the heap give back what is free, and
//! looks at what is left.

use std::fs;
#[cfg(all(target_os = "linux", target_env = "gnu"))]
use std::io::{self, Read, Write};

/// Bytes of a page, as `/proc` counts them on the machines this runs on.
const PAGE: u64 = 4096;

/// Resident bytes of this process now. 0 where there is no `/proc`.
pub(crate) fn resident() -> u64 {
    let pages = fs::read_to_string("/proc/self/statm")
        .ok()
        .and_then(|statm| statm.split_whitespace().nth(1)?.parse::<u64>().ok());
    pages.unwrap_or(0) * PAGE
}

/// Resident bytes of a copy of this process after it has dropped things. `None` where that cannot
/// be found out.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub(crate) fn resident_without(drop_things: impl FnOnce()) -> Option<u64> {
    let (mut from_copy, mut to_original) = io::pipe().ok()?;
    let copy = fork()?;
    if copy == 0 {
        drop_things();
        trim_heap();
        let _ = to_original.write_all(&resident().to_le_bytes());
        leave();
    }
    drop(to_original);
    let mut bytes = [0; 8];
    let read = from_copy.read_exact(&mut bytes);
    await_end(copy);
    read.ok().map(|()| u64::from_le_bytes(bytes))
}

/// As above.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(crate) fn resident_without(_: impl FnOnce()) -> Option<u64> {
    None
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[expect(unsafe_code, reason = "std cannot copy a process")]
fn fork() -> Option<i32> {
    // SAFETY: this process has one thread (Bevy runs without its task pools' threads), so no lock
    // can be held by a thread that the copy does not have.
    let copy = unsafe { libc::fork() };
    (copy >= 0).then_some(copy)
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[expect(unsafe_code, reason = "std cannot have the heap give back memory")]
fn trim_heap() {
    // SAFETY: it may be called at any time.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Ends the copy at once: what the original has at exit is not its business.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[expect(
    unsafe_code,
    reason = "std's exit would flush the original's buffers twice"
)]
fn leave() -> ! {
    // SAFETY: it may be called at any time.
    unsafe { libc::_exit(0) }
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[expect(unsafe_code, reason = "std waits only for what it started itself")]
fn await_end(copy: i32) {
    // SAFETY: no status is asked for, so nothing is written anywhere.
    unsafe {
        libc::waitpid(copy, std::ptr::null_mut(), 0);
    }
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
