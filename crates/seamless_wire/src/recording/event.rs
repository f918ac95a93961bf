//! Events: what a link did.

use serde::{Deserialize, Serialize};

use crate::{WireError, codec};

/// A link's name in the app that recorded it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordedLink {
    /// Slot in the app's table of links.
    pub index: u16,
    /// How often the slot was used before.
    pub generation: u16,
}

/// Who was at the other end of a link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedPeer {
    /// Whether the recording app was the client on it.
    pub to_server: bool,
    /// Where the peer was, if it was somewhere on a network.
    pub address: Option<std::net::SocketAddr>,
    /// Where it was in the same process; 0 otherwise.
    pub memory: u64,
    /// The client's number in the connect token.
    pub netcode_id: u64,
    /// The sealed data of the connect token, if the recording app was the server.
    pub user_data: Option<Vec<u8>>,
}

/// Something that happened on a link, in the order in which the app saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecordedEvent<'a> {
    /// It stood.
    Opened(RecordedLink, RecordedPeer),
    /// It was over, for a reason that is a number of the transport's.
    Closed(RecordedLink, u8),
    /// A state datagram was taken from it.
    Received(RecordedLink, &'a [u8]),
    /// A message was taken from one of its reliable channels.
    ReceivedReliable(RecordedLink, u8, &'a [u8]),
    /// A state datagram was given to it.
    Sent(RecordedLink, &'a [u8]),
    /// A message was given to one of its reliable channels.
    SentReliable(RecordedLink, u8, &'a [u8]),
    /// All links were flushed: a tick ended.
    Flushed,
}

impl<'a> RecordedEvent<'a> {
    /// Appends it, or nothing and an error.
    pub(super) fn write(&self, out: &mut Vec<u8>) -> Result<(), WireError> {
        let mut begin = |kind: u8, link: &RecordedLink| {
            out.push(kind);
            out.extend_from_slice(&link.index.to_le_bytes());
            out.extend_from_slice(&link.generation.to_le_bytes());
        };
        match self {
            Self::Opened(link, peer) => {
                let peer = codec::to_vec(peer)?;
                begin(0, link);
                put_long(out, &peer);
            }
            Self::Closed(link, reason) => {
                begin(1, link);
                out.push(*reason);
            }
            Self::Received(link, bytes) => {
                let len = short(bytes)?;
                begin(2, link);
                put_short(out, len, bytes);
            }
            Self::ReceivedReliable(link, channel, bytes) => {
                begin(3, link);
                out.push(*channel);
                put_long(out, bytes);
            }
            Self::Sent(link, bytes) => {
                let len = short(bytes)?;
                begin(4, link);
                put_short(out, len, bytes);
            }
            Self::SentReliable(link, channel, bytes) => {
                begin(5, link);
                out.push(*channel);
                put_long(out, bytes);
            }
            Self::Flushed => out.push(6),
        }
        Ok(())
    }

    /// Takes it from the front.
    pub(super) fn read(left: &mut &'a [u8]) -> Result<Self, WireError> {
        let kind = byte(left)?;
        if kind == 6 {
            return Ok(Self::Flushed);
        }
        let link = RecordedLink {
            index: u16::from_le_bytes(*array(left)?),
            generation: u16::from_le_bytes(*array(left)?),
        };
        Ok(match kind {
            0 => Self::Opened(link, codec::decode(long(left)?)?),
            1 => Self::Closed(link, byte(left)?),
            2 => Self::Received(link, read_short(left)?),
            3 => Self::ReceivedReliable(link, byte(left)?, long(left)?),
            4 => Self::Sent(link, read_short(left)?),
            5 => Self::SentReliable(link, byte(left)?, long(left)?),
            kind => return Err(invalid("kind of event", kind)),
        })
    }
}

fn short(bytes: &[u8]) -> Result<u16, WireError> {
    u16::try_from(bytes.len()).map_err(|_| WireError::OutOfBounds {
        what: "datagram",
        value: bytes.len() as u64,
        max: u16::MAX.into(),
    })
}

fn put_short(out: &mut Vec<u8>, len: u16, bytes: &[u8]) {
    out.extend_from_slice(&len.to_le_bytes());
    out.extend_from_slice(bytes);
}

fn put_long(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    out.extend_from_slice(bytes);
}

pub(super) fn byte(left: &mut &[u8]) -> Result<u8, WireError> {
    Ok(array::<1>(left)?[0])
}

pub(super) fn array<'a, const N: usize>(left: &mut &'a [u8]) -> Result<&'a [u8; N], WireError> {
    let (front, rest) = left
        .split_first_chunk()
        .ok_or_else(|| truncated(N, left.len()))?;
    *left = rest;
    Ok(front)
}

fn read_short<'a>(left: &mut &'a [u8]) -> Result<&'a [u8], WireError> {
    let len = u16::from_le_bytes(*array(left)?);
    take(left, len.into())
}

fn long<'a>(left: &mut &'a [u8]) -> Result<&'a [u8], WireError> {
    let len = u32::from_le_bytes(*array(left)?);
    take(left, len as usize)
}

fn take<'a>(left: &mut &'a [u8], len: usize) -> Result<&'a [u8], WireError> {
    let (front, rest) = left
        .split_at_checked(len)
        .ok_or_else(|| truncated(len, left.len()))?;
    *left = rest;
    Ok(front)
}

const fn truncated(wanted: usize, left: usize) -> WireError {
    const CAP: usize = 1 << 28;
    WireError::Truncated {
        wanted: (if wanted < CAP { wanted } else { CAP } * 8) as u32,
        left: (if left < CAP { left } else { CAP } * 8) as u32,
    }
}

pub(super) const fn invalid(what: &'static str, value: u8) -> WireError {
    WireError::Invalid {
        what,
        value: value as u64,
    }
}
