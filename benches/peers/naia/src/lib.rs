//! naia 0.25 with its Bevy adapter as a subject of the comparison. That adapter is made for Bevy
//! 0.18, so all of it is behind plain values here.
//!
//! # Layout
//!
//! * [`Server`], [`Client`]: one app each.
//! * [`Post`]: what the apps' sockets put their datagrams into and take them from.
//! * `protocol`: the components and the settings.

mod client;
mod post;
mod protocol;
mod server;
mod sockets;

pub use client::Client;
pub use post::Post;
pub use protocol::{TICK_MILLIS, Values};
pub use server::Server;

/// Moves the clock of all apps of this thread on by a tick.
pub fn advance_clock() {
    naia_bevy_shared::TestClock::advance(u64::from(TICK_MILLIS));
}
