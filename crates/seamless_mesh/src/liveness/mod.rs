//! Who is alive, and whether I may still act.
//!
//! Liveness without agreed clocks. A node raises its beat in the directory; a peer that saw no
//! change for some time of its own clock takes the record out. The node itself stops earlier, by
//! its own clock, counted from when its last successful beat was *sent*. Both may be wrong about
//! each other and nothing breaks: what a node may write is decided by terms.
//!
//! * [`fence`]: may I run a tick?
//! * [`watch`]: who is silent?
//! * [`lock`]: a proof of death that takes milliseconds, for processes on one machine.

pub mod fence;
pub mod lock;
pub mod watch;

pub use fence::Fence;
pub use watch::Watch;
