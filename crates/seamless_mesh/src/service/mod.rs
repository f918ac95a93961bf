//! A node with real sockets: one thread beside the game.
//!
//! [`MeshHandle::start`] binds two ports, takes the node's lock and starts the thread; from then
//! on the game sends commands and polls events and never waits. The thread runs the
//! [`NodeCore`](crate::protocol::NodeCore), an HTTP server and client for the other nodes, and a
//! small HTTP server for clients that want to enter. The directory has a thread of its own, where
//! its operations are made in order.
//!
//! * [`config`]: what a node needs to start.
//! * [`handle`]: the game's end.
//! * [`key`] and [`auth`]: who is a node of the mesh.
//! * `runtime`: the thread's loop. `directory`: the directory's thread. `shared`: what all of them
//!   look at.
//! * `server` and `client`: between nodes. [`body`]: what is in the requests.
//! * `door`: for players. [`mod@enter`]: how a client knocks there.
//! * [`metrics`]: what `/metrics` says. `clock`: where time comes from.
//! * `fail`: points at which a process test may end us.

pub mod auth;
pub mod body;
mod client;
mod clock;
pub mod config;
mod directory;
mod door;
pub mod enter;
mod fail;
pub mod handle;
pub mod key;
pub mod metrics;
mod runtime;
mod server;
mod shared;

pub use clock::{boot_clock, boot_id};
pub use config::{Authenticate, Limits, ServiceConfig, StartError};
pub use enter::{EnterError, Offer, enter};
pub use handle::MeshHandle;
pub use key::{KeyError, MeshKey};
