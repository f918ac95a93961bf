//! Links inside one process, for tests and for a server and a client in one app's process.
//!
//! The same gate, the same renet and the same queues as over UDP, and the same datagrams but for
//! netcode's encryption, whose room they leave empty: byte counts are those of the real wire.
//! Nothing is random, nothing reads a clock: apps that are stepped in the same order exchange the
//! same bytes.

mod client;
mod datagram;
mod hub;
mod server;

pub(crate) use client::MemoryClient;
pub use hub::MemoryHub;
pub use server::{ListenError, MemoryConfig, MemoryServer};
