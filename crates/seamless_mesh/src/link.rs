//! A node as its game side sees it, whoever drives it.

use std::{sync::Arc, time::Duration};

use seamless_wire::{
    NodeRef,
    ticket::{Purpose, Ticket},
};

use crate::{
    directory::NodeRecord,
    protocol::{HandoverTrace, MeshCommand, MeshCounters, MeshEvent, node::Busy},
    ticket::TicketRefusal,
};

/// Turns a ticket into a connect token for a client: seals it with the key of this node's
/// transport. Called on the mesh thread.
pub type Mint = Arc<dyn Fn(&Ticket) -> Result<Vec<u8>, String> + Send + Sync>;

/// The command could not be taken now; here it is back.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// Too many are waiting; try again in the next frame.
    #[error("the mesh thread is behind")]
    Full(Box<MeshCommand>),
    /// The node has stopped.
    #[error("the mesh thread has stopped")]
    Stopped(Box<MeshCommand>),
}

/// What an overlay or a log wants to know. A copy.
#[derive(Debug, Clone, Default)]
pub struct MeshStatus {
    /// Our name in this life.
    pub node: Option<NodeRef>,
    /// What happened how often.
    pub counters: MeshCounters,
    /// What is under way.
    pub busy: Busy,
    /// The last finished handovers, the oldest first.
    pub traces: Vec<HandoverTrace>,
    /// The nodes as last seen.
    pub nodes: Vec<NodeRecord>,
    /// Whether the directory is quick enough to freeze a group.
    pub healthy: bool,
    /// The 99th percentile of what a directory operation took lately.
    pub directory_p99: Duration,
}

/// A node as its game side sees it. The node service and the simulation implement it, so the
/// game side does not know which it has.
pub trait MeshLink: Send + Sync {
    /// Hands a command over. Never waits.
    ///
    /// # Errors
    /// [`SendError`], with the command.
    fn send(&self, command: MeshCommand) -> Result<(), SendError>;

    /// The events since the last call, in order. Never waits.
    fn poll(&self) -> Vec<MeshEvent>;

    /// Whether a tick may run now. To be asked before every tick: a process that was paused finds
    /// out here, before any event has reached it.
    fn may_simulate(&self) -> bool;

    /// The node's clock, in which events tell times.
    fn now(&self) -> Duration;

    /// Mesh time: the same on every node of the mesh, as far as their machines' clocks agree.
    /// Zero before the first join.
    fn mesh_now(&self) -> Duration;

    /// Redeems a ticket that a client showed, in the frame of its connect.
    ///
    /// # Errors
    /// [`TicketRefusal`]; the client is to be disconnected then.
    fn redeem(&self, ticket: &Ticket) -> Result<Purpose, TicketRefusal>;

    /// How it goes. Copies; for overlays and logs, not for every tick.
    fn status(&self) -> MeshStatus;
}
