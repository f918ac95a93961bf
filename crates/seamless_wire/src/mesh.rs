//! What nodes say to each other. Bodies of HTTP requests, one serde value each.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::{
    control::Control,
    epoch::Term,
    ids::{CellId, GlobalEntity, HandoverId, InputSeq, NodeRef, PeerId},
    tick::Tick,
};

/// What crosses together, and the state of the directory's rows it was made from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Rises whenever the group's rows change; a claim names it.
    pub version: u32,
    /// The root first, then the rest.
    pub members: Vec<GlobalEntity>,
    /// Whose player the root is, if it is one.
    pub player: Option<PeerId>,
}

/// Source to target: may this group come, and how does its client get in?
///
/// Idempotent by `handover`; repeated to learn whether the client is attached.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Prepare {
    /// This attempt.
    pub handover: HandoverId,
    /// Who asks.
    pub from: NodeRef,
    /// Who is asked; another life of the same node refuses.
    pub to: NodeRef,
    /// Where the group should go.
    pub cell: CellId,
    /// What crosses.
    pub manifest: Manifest,
    /// [`crate::schema::Schema::digest`] of the source.
    pub schema: u64,
    /// Where its client looks from, in metres.
    pub viewpoint: [f32; 3],
    /// Whether the source wants a token for the client: it has none, or the one it has is old.
    pub token: bool,
}

/// The answer to [`Prepare`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum PrepareReply {
    /// There is room.
    Reserved {
        /// The target's address for clients.
        address: SocketAddr,
        /// A connect token for the client, minted by the target. Empty if none was asked for, there
        /// is no client or it is attached.
        token: Vec<u8>,
        /// Whether the client's link stands.
        attached: bool,
    },
    /// There is not.
    Rejected {
        /// Why.
        reason: RejectReason,
        /// When to ask again, in milliseconds.
        retry_after_ms: u32,
    },
}

/// Why a target does not take a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, thiserror::Error)]
pub enum RejectReason {
    /// It does not own the cell.
    #[error("not the owner of the cell")]
    NotOwner,
    /// It has no room.
    #[error("full")]
    Full,
    /// It is going down.
    #[error("draining")]
    Draining,
    /// Its types are others.
    #[error("schema mismatch")]
    Schema,
    /// It is another life of the node, or another node.
    #[error("wrong incarnation")]
    Incarnation,
    /// It cannot reach the directory.
    #[error("directory unreachable")]
    Directory,
    /// Another attempt for the same root is newer, or one is not decided yet.
    #[error("superseded")]
    Superseded,
    /// It does not answer. Never sent: the source's own verdict.
    #[error("unreachable")]
    Unreachable,
}

/// Source to target: the group does not come. Best effort; a reservation expires anyway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// Which attempt.
    pub handover: HandoverId,
    /// Who sends.
    pub from: NodeRef,
}

/// Source to target: the frozen group. Resent until answered or aborted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Commit {
    /// Which attempt.
    pub handover: HandoverId,
    /// Who sends.
    pub from: NodeRef,
    /// Who is to claim.
    pub to: NodeRef,
    /// Where the group goes.
    pub cell: CellId,
    /// What crosses; the claim fails if the directory's rows are others.
    pub manifest: Manifest,
    /// The last tick that the source simulated.
    pub tick: Tick,
    /// The last input that is in the state.
    pub last_input: InputSeq,
    /// Control items that arrived after the freeze, with their senders.
    pub queue: Vec<(PeerId, Control)>,
    /// A [`crate::snapshot::WorldSnapshot`] of the group.
    pub state: Vec<u8>,
    /// BLAKE3 of `state`.
    pub digest: [u8; 32],
}

/// The answer to [`Commit`]. A hint: the truth is in the directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum CommitReply {
    /// Claimed under this term.
    Confirmed(Term),
    /// The claim lost: the source or a reclaimer was faster.
    Void,
    /// Refused before the claim.
    Refused(CommitRefusal),
    /// The claim is in doubt; read the directory.
    InDoubt,
}

/// Why a target does not even try to claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, thiserror::Error)]
pub enum CommitRefusal {
    /// No such reservation, or one that has expired.
    #[error("not reserved")]
    NotReserved,
    /// The state does not match its digest.
    #[error("digest mismatch")]
    Digest,
    /// The state does not decode.
    #[error("undecodable state")]
    Undecodable,
    /// Wrong node or life.
    #[error("wrong incarnation")]
    Incarnation,
}

/// How far an attempt came on the node that is asked (`GET /handover/{id}`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum HandoverStatus {
    /// Never heard of, or forgotten.
    Unknown,
    /// Reserved.
    Reserved,
    /// The state is here and decoded, the claim is not decided.
    Staged,
    /// Claimed under this term.
    Claimed(Term),
    /// Void for ever.
    Void,
}

/// Reclaimer to every live node: this one is dead. What do you have of it?
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadNode {
    /// The dead node.
    pub node: NodeRef,
}

/// The answer to [`DeadNode`], after claiming every [`Commit`] held from it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct DeadNodeReply {
    /// Roots that the answering node claimed.
    pub claimed: Vec<GlobalEntity>,
}

/// Node to node: this player knocked at my door; you own its row, or the cell where it begins.
///
/// Never forwarded a second time: a node that is not the owner either says [`SessionReply::Retry`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionRequest {
    /// Who wants to play.
    pub player: PeerId,
    /// Which node passes it on.
    pub from: NodeRef,
}

/// The answer to [`SessionRequest`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum SessionReply {
    /// Come in.
    Welcome {
        /// The node that minted the token.
        node: NodeRef,
        /// Its address for clients.
        address: SocketAddr,
        /// The player's root.
        root: GlobalEntity,
        /// A connect token for the client.
        token: Vec<u8>,
    },
    /// Not now.
    Retry {
        /// When to ask again, in milliseconds.
        after_ms: u32,
    },
}
