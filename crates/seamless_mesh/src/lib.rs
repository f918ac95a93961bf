//! Who owns what in a mesh of game servers, and how it changes hands.
//!
//! No Bevy here. A mesh is a number of processes that share one world: each owns some cells, each
//! simulates some roots (a player with all that hangs on it), and roots cross from one to the next
//! without anybody noticing. What makes that safe is one rule: **a handover is committed by one
//! compare-and-swap on the root's rows in the directory, made by the target**. The source freezes,
//! sends the state, and can take the group back only by winning a competing compare-and-swap.
//! Leases and timeouts decide how soon something is tried; terms, drawn from one counter and never
//! drawn again, decide what counts.
//!
//! # Layout
//!
//! * [`directory`]: who owns what. A trait, a backend in memory, one in an SQLite file, and the
//!   suite that every backend passes.
//! * [`liveness`]: who is alive, and whether I may still act.
//! * [`protocol`]: the state machine of one node. Deterministic: no clock, no network, no threads;
//!   time and messages are arguments.
//! * [`ticket`]: who may enter this node, once.
//! * [`link`](mod@link): a node as its game side sees it.
//! * [`service`]: a node with real sockets: HTTP between nodes, a door for players, metrics.
//! * [`sim`]: nodes on virtual time over a network that does its worst.
//! * [`timing`]: every interval, with its reason.
//!
//! # What a game does
//!
//! It starts a [`service::MeshHandle`] (or takes a [`sim::SimNode`] in a test), sends
//! [`protocol::MeshCommand`]s and polls [`protocol::MeshEvent`]s once a frame, and asks
//! [`link::MeshLink::may_simulate`] before every tick. The crossing of a group, from its side:
//!
//! ```text
//! source: Prepare  -> Reserved      tell the client where to open its second link
//!         Commit   -> HandedOver    the group is a remote now
//!                  or Resumed       go on after the tick at which it was frozen
//! target: Expect                    a spectator may come; ClientAttached when it has
//!         Activate                  simulate from the next tick and input on
//! ```
//!
//! # Features
//!
//! `sqlite` and `http` are on by default. `sim` and `conformance` are for tests of other crates;
//! `failpoints` lets `SEAMLESS_FAIL` end the process at a named point.

pub mod directory;
pub mod link;
pub mod liveness;
pub mod protocol;
#[cfg(feature = "http")]
pub mod service;
#[cfg(any(test, feature = "sim"))]
pub mod sim;
pub mod ticket;
pub mod timing;
