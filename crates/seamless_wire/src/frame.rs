//! What travels over the reliable channels, one serde value a message.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::{
    ids::{GlobalEntity, HandoverId, NodeRef, PeerId},
    schema::Schema,
    tick::Tick,
};

/// One reliable message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Frame {
    /// Client to server, first of all.
    Hello(Box<Hello>),
    /// Server to client: come in.
    Welcome(Box<Welcome>),
    /// Server to client: no, because.
    Refused(Refusal),
    /// A typed message.
    Message {
        /// Index into the agreed schema.
        kind: u16,
        /// Its encoding, entity references as [`GlobalEntity`] bits.
        payload: Vec<u8>,
    },
    /// A row that no datagram holds, on the bulk channel.
    Row(BigRow),
    /// Source node to client: open a second link there.
    Handover(Box<HandoverOffer>),
}

/// The client's introduction.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Hello {
    /// [`crate::WIRE_VERSION`] of the client.
    pub wire_version: u16,
    /// What the client registered.
    pub schema: Schema,
}

/// The server's answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Welcome {
    /// The name under which this client holds entities.
    pub peer: PeerId,
    /// The server's tick.
    pub tick: Tick,
    /// Ticks per second. The client's must be the same.
    pub tick_rate: u16,
    /// First of the names lent for the client's own spawns.
    pub names: Option<GlobalEntity>,
    /// How many.
    pub name_count: u32,
    /// Which node it is, in a mesh.
    pub node: Option<NodeRef>,
    /// Whether this link only watches, for a handover that has not happened yet.
    pub spectator: bool,
}

/// Why a server does not talk to a client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    /// Another wire format.
    #[error("wire version {theirs} here, {ours} there")]
    WireVersion {
        /// The server's.
        ours: u16,
        /// The client's.
        theirs: u16,
    },
    /// Another schema.
    #[error("schema mismatch: {}", .0.join("; "))]
    Schema(Vec<String>),
    /// The ticket does not allow it.
    #[error("ticket refused: {0}")]
    Ticket(String),
    /// The server's own reason.
    #[error("{0}")]
    Other(String),
}

/// A whole row, coded against nothing, with the same rules as a record in a datagram.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BigRow {
    /// The sender's tick when it was made.
    pub tick: Tick,
    /// The bits of a rows section with this one absolute record.
    pub section: Vec<u8>,
}

/// Where to go and with what right.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HandoverOffer {
    /// For which handover.
    pub handover: HandoverId,
    /// The node.
    pub node: NodeRef,
    /// Its address for clients.
    pub address: SocketAddr,
    /// A netcode connect token that the node itself minted; none if the client is attached.
    pub token: Vec<u8>,
}
