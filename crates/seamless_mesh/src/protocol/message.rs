//! What nodes ask each other, as the state machine sees it.

use std::sync::Arc;

use seamless_wire::{
    HandoverId,
    mesh::{
        Commit, CommitReply, DeadNode, DeadNodeReply, HandoverStatus, Prepare, PrepareReply,
        Release, SessionReply, SessionRequest,
    },
};

/// A request to another node.
#[derive(Debug, Clone, PartialEq)]
pub enum PeerMessage {
    /// May this group come?
    Prepare(Box<Prepare>),
    /// Here it is. Shared, because it is sent several times.
    Commit(Arc<Commit>),
    /// It does not come.
    Release(Release),
    /// What do you hold of this dead node?
    Dead(DeadNode),
    /// A player wants in.
    Session(SessionRequest),
    /// How far did this handover come?
    Status(HandoverId),
}

/// The answer to a [`PeerMessage`].
#[derive(Debug, Clone, PartialEq)]
pub enum PeerReply {
    /// To [`PeerMessage::Prepare`].
    Prepare(PrepareReply),
    /// To [`PeerMessage::Commit`].
    Commit(CommitReply),
    /// To [`PeerMessage::Release`].
    Released,
    /// To [`PeerMessage::Dead`].
    Dead(DeadNodeReply),
    /// To [`PeerMessage::Session`], and to a client.
    Session(SessionReply),
    /// To [`PeerMessage::Status`].
    Status(HandoverStatus),
}

/// Why there is no answer. Whether the peer acted on the request is not known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PeerError {
    /// Nobody listens there, or the connection broke.
    #[error("unreachable: {0}")]
    Unreachable(String),
    /// No answer in time.
    #[error("no answer in time")]
    Timeout,
    /// The peer refused the request as such, or answered something else.
    #[error("refused: {0}")]
    Refused(String),
}

/// Names a request of ours until its reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SendToken(pub u64);

/// Names a request of a peer or a client until our answer. Chosen by the driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ResponseToken(pub u64);

/// Names a directory operation until its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OpToken(pub u64);

/// Names bytes that are being decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StageToken(pub u64);
