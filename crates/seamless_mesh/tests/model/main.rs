//! The protocol as a small model, every state of which is visited.
//!
//! Messages may be lost, doubled, reordered and late for ever; timers fire whenever they are
//! armed; answers of the directory are lost; nodes crash, pause and are cut off. The seeds' two-phase
//! commit is the negative test: each of its readings breaks.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test may panic and print"
)]

mod compare_and_swap;
mod space;
mod two_phase_commit;
