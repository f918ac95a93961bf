//! What travels over the reliable channels, one serde value a message.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::{
    codec,
    ids::{GlobalEntity, HandoverId, NodeRef, PeerId},
    record::Version,
    schema::{MAX_DIFFERENCES, Schema},
    snapshot::SnapshotChunk,
    tick::Tick,
};

/// Longest frame of the control channel, in bytes: everything but big rows.
pub const MAX_CONTROL_FRAME: usize = 64 << 10;

/// What a frame takes at most besides its one long field, in bytes.
pub const FRAME_HEAD: usize = 16;

/// Longest payload of a reliable message, in bytes.
pub const MAX_MESSAGE: usize = MAX_CONTROL_FRAME - MESSAGE_HEAD;

/// What a message takes at most besides its payload, in bytes.
const MESSAGE_HEAD: usize = 256;

/// Most entities of which a message says in which state its sender had them.
pub const MAX_MENTIONS: usize = 16;

/// Longest section of a [`BigRow`], in bytes.
pub const MAX_BIG_ROW: usize = codec::MAX_VALUE - FRAME_HEAD;

/// Longest text of a refusal, in bytes.
const MAX_REASON: usize = 1800;

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
        /// The sender's tick in which it was sent.
        tick: Tick,
        /// Of what it speaks, as far as the receiver may not have that yet; at most
        /// [`MAX_MENTIONS`].
        mentions: Vec<Mention>,
        /// Its encoding, entity references as [`GlobalEntity`] bits.
        payload: Vec<u8>,
    },
    /// A row that no datagram holds, on the bulk channel.
    Row(BigRow),
    /// Source node to client: open a second link there.
    Handover(Box<HandoverOffer>),
    /// A piece of a snapshot, on the bulk channel, in order.
    Chunk {
        /// The application's own number for the snapshot.
        tag: u32,
        /// The piece.
        chunk: Box<SnapshotChunk>,
    },
}

/// An entity of which a message speaks, and the state in which its sender had it then. The message
/// is about that state or what comes after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mention {
    /// Which one.
    pub entity: GlobalEntity,
    /// Its version, which the sender has told the receiver or is about to.
    pub version: Version,
}

/// The client's introduction.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Hello {
    /// [`crate::WIRE_VERSION`] of the client.
    pub wire_version: u16,
    /// What the client registered.
    pub schema: Schema,
    /// The key of the session that it would go on with, and how many of its reliable messages came.
    pub resume: Option<(ResumeKey, u32)>,
    /// Its tick. It counts from another beginning than the server, and its datagrams tell the low
    /// bits only.
    pub tick: Tick,
}

/// What a client shows to go on with a session whose link dropped.
pub type ResumeKey = [u8; 16];

impl Hello {
    /// The wire version in the bytes of a frame, if that is a hello, whatever else is in it.
    ///
    /// The number of the frame and the version stand first in every version of the format, and
    /// [`Refusal::WireVersion`] looks the same in all of them: so peers of any two versions can
    /// say why they do not talk.
    #[must_use]
    pub fn version_in(frame: &[u8]) -> Option<u16> {
        /// Number of [`Frame::Hello`].
        const HELLO: u32 = 0;
        let ((kind, version), _) = codec::decode_front::<(u32, u16)>(frame).ok()?;
        (kind == HELLO).then_some(version)
    }
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
    /// What to show after a drop, if this server keeps anything.
    pub resume: Option<ResumeKey>,
    /// Whether the session of the key that was shown goes on: numbers of datagrams and of control
    /// items, baselines, reliable messages. Then, how many of those came from the client.
    pub resumed: Option<u32>,
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

impl Refusal {
    /// The same, cut to what fits one frame.
    #[must_use]
    pub fn cut(mut self) -> Self {
        match &mut self {
            Self::WireVersion { .. } => {}
            Self::Schema(lines) => {
                lines.truncate(MAX_DIFFERENCES + 1);
                lines.iter_mut().for_each(cut_text);
            }
            Self::Ticket(text) | Self::Other(text) => cut_text(text),
        }
        self
    }
}

fn cut_text(text: &mut String) {
    text.truncate(text.floor_char_boundary(MAX_REASON));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_hello_shows_its_version_whatever_follows() {
        let hello = Frame::Hello(Box::new(Hello {
            wire_version: 700,
            schema: Schema::default(),
            resume: None,
            tick: Tick(1),
        }));
        let mut bytes = codec::to_vec(&hello).expect("it encodes");
        assert_eq!(Hello::version_in(&bytes), Some(700));
        bytes.truncate(4);
        bytes.extend([0xff; 300]);
        assert!(codec::decode::<Frame>(&bytes).is_err());
        assert_eq!(Hello::version_in(&bytes), Some(700));
        for none in [&[][..], &[0], &[0, 0xfb, 1], &[1, 2, 0], &[0xff; 9]] {
            assert_eq!(Hello::version_in(none), None, "{none:?}");
        }
    }

    #[test]
    fn a_refusal_of_any_length_is_cut_to_a_frame() {
        let long = "grüß".repeat(20_000);
        for refusal in [
            Refusal::Schema(vec![long.clone(); 900]),
            Refusal::Ticket(long.clone()),
            Refusal::Other(long.clone()),
        ] {
            let bytes = codec::to_vec(&Frame::Refused(refusal.cut())).expect("it encodes");
            assert!(bytes.len() <= MAX_CONTROL_FRAME, "{}", bytes.len());
        }
        let short = Refusal::Other("full".into());
        assert_eq!(short.clone().cut(), short);
    }

    #[test]
    fn the_longest_message_and_big_row_are_frames() {
        let longest = Mention {
            entity: GlobalEntity::from_bits(u64::MAX).expect("legal"),
            version: Version(u32::MAX),
        };
        let message = Frame::Message {
            kind: u16::MAX,
            tick: Tick(u32::MAX),
            mentions: vec![longest; MAX_MENTIONS],
            payload: vec![7; MAX_MESSAGE],
        };
        let bytes = codec::to_vec(&message).expect("it encodes");
        assert!(bytes.len() <= MAX_CONTROL_FRAME, "{}", bytes.len());
        let row = Frame::Row(BigRow {
            tick: Tick(u32::MAX),
            section: vec![7; MAX_BIG_ROW],
        });
        assert!(codec::to_vec(&row).is_ok());
    }
}
