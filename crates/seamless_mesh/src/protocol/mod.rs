//! The handover protocol: deterministic, no clock, no network, no threads.
//!
//! A [`NodeCore`] is one node. Its driver tells it what happened ([`Input`]) and when, does what
//! it asks for ([`Action`]), and wakes it at [`NodeCore::next_timeout`]. Two drivers exist: the
//! node service, with real sockets, and the simulation, with virtual time.
//!
//! # The rule
//!
//! A handover is committed by one compare-and-swap on the root's rows in the directory, made by
//! the target. The source can only abort by winning a competing one. Whoever does not know what
//! holds asks the directory again, under the same operation number; nobody concludes anything
//! from a clock.
//!
//! # Layout
//!
//! * [`command`]: what the game side says and hears.
//! * [`message`]: what nodes ask each other.
//! * [`node`]: the state machine, made of its parts:
//!   `membership` (join, beat, look around, leave), `source` and `target` (the two sides of a
//!   handover), `reclaim` (what is left of the dead), `store` (checkpoints and rows) and
//!   `session` (players at the door).
//! * [`health`]: whether the directory is quick enough to freeze a group.
//! * [`trace`]: what became of each handover; counters.
//!
//! # Contract with the driver
//!
//! * Time never falls.
//! * Every [`Action::Send`] and [`Action::Directory`] is answered exactly once, with an error if
//!   need be, within a bounded time. Directory operations are carried out and answered in order.
//! * Every [`Action::Stage`] is answered by [`Input::Staged`], best before anything else.
//! * Every [`Input::Request`] gets at most one [`Action::Respond`]; the driver has a timeout.

mod base;
pub mod command;
pub mod health;
mod membership;
pub mod message;
pub mod node;
mod reclaim;
mod session;
mod source;
mod store;
mod target;
pub mod trace;

pub use base::{MESH_NAMES, NodeConfig, SpawnPolicy};
pub use command::{CheckpointGroup, MeshCommand, MeshEvent, ReclaimedGroup, Staged, Stager};
pub use health::Health;
pub use message::{
    OpToken, PeerError, PeerMessage, PeerReply, ResponseToken, SendToken, StageToken,
};
pub use node::NodeCore;
pub use trace::{AbortReason, HandoverTrace, MeshCounters, Outcome, Phase, Role, Traces};

use std::{net::SocketAddr, time::Duration};

use seamless_wire::{NodeRef, PeerId, ticket::Ticket};

use crate::directory::{self, DirectoryAnswer, DirectoryOp};

/// What happened.
#[derive(Debug)]
pub enum Input {
    /// Time passed.
    Tick,
    /// The game side wants something.
    Command(MeshCommand),
    /// Another node asks. Its identity is proven.
    Request {
        /// Names the answer.
        token: ResponseToken,
        /// Who asks.
        from: NodeRef,
        /// What.
        message: PeerMessage,
    },
    /// A client wants to enter. It is whom it says.
    Session {
        /// Names the answer, a [`PeerReply::Session`].
        token: ResponseToken,
        /// Who.
        player: PeerId,
    },
    /// An answer to [`Action::Send`].
    Reply {
        /// Which.
        token: SendToken,
        /// The answer.
        result: Result<PeerReply, PeerError>,
    },
    /// An answer to [`Action::Directory`].
    Directory {
        /// Which.
        token: OpToken,
        /// The answer.
        result: directory::Result<DirectoryAnswer>,
    },
    /// Something in the directory may have changed.
    DirectoryChanged,
    /// An answer to [`Action::Stage`].
    Staged {
        /// Which.
        token: StageToken,
        /// What the stager made of it.
        result: Result<Staged, String>,
    },
    /// This process is proven dead: we gained its lock.
    LockGained(NodeRef),
}

/// What is to be done.
#[derive(Debug)]
pub enum Action {
    /// Send a request to another node.
    Send {
        /// To whom; another life of it must refuse.
        to: NodeRef,
        /// Where it listens.
        http: SocketAddr,
        /// What.
        message: PeerMessage,
        /// Names the reply.
        token: SendToken,
        /// When to give up.
        within: Duration,
    },
    /// Answer a request.
    Respond {
        /// Which.
        token: ResponseToken,
        /// What.
        reply: PeerReply,
        /// Mint this first and put the token into the reply. If that fails, the answer is "full"
        /// or "again later".
        ticket: Option<Ticket>,
    },
    /// Ask the directory.
    Directory {
        /// Names the answer.
        token: OpToken,
        /// What.
        op: DirectoryOp,
    },
    /// Decode the state of a group.
    Stage {
        /// Names the answer.
        token: StageToken,
        /// A [`seamless_wire::snapshot::WorldSnapshot`].
        bytes: Vec<u8>,
    },
    /// Wait for the end of this process and tell.
    AwaitDeath {
        /// Which.
        node: NodeRef,
        /// Names its lock.
        life: u64,
    },
    /// Tell the game side.
    Event(MeshEvent),
}
