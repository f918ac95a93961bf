//! Records: the frames of an app and what its links did in them.
//!
//! ```text
//! record: kind (1 byte) | length (4 bytes) | content
//! frame:  nanoseconds (8) | tick (4) | events
//! event:  kind (1) | index and generation of the link (2 each) | what belongs to the kind
//! ```

use serde::{Deserialize, Serialize};

use super::RecordingError;
use crate::{Tick, WireError, codec};

/// Most bytes of a record's content. What all links can take and give in one frame is far below it.
pub const MAX_RECORD: usize = 64 << 20;

/// Bytes before the content of a record.
const RECORD_HEAD: usize = 5;

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

/// One frame of the app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedFrame {
    /// Real time since the frame before, in nanoseconds.
    pub delta: u64,
    /// The tick after it.
    pub tick: Tick,
    events: Vec<u8>,
}

/// What a recording is a list of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// A frame of the app.
    Frame(RecordedFrame),
    /// Frames that are missing: the disk was too slow.
    Gap {
        /// How many.
        frames: u32,
    },
    /// The recording was ended in good order.
    End {
        /// Whether because it had reached its greatest length.
        full: bool,
    },
}

/// Writes a frame. Reuses its buffer.
#[derive(Debug, Default)]
pub struct RecordBuilder {
    bytes: Vec<u8>,
}

impl RecordBuilder {
    /// Adds an event to the frame.
    ///
    /// # Errors
    /// [`WireError`] if a datagram is longer than 64 KiB or the user data of a peer cannot be
    /// encoded. Nothing was added.
    pub fn event(&mut self, event: &RecordedEvent<'_>) -> Result<(), WireError> {
        let out = &mut self.bytes;
        let mut begin = |kind: u8, link: &RecordedLink| {
            out.push(kind);
            out.extend_from_slice(&link.index.to_le_bytes());
            out.extend_from_slice(&link.generation.to_le_bytes());
        };
        match event {
            RecordedEvent::Opened(link, peer) => {
                let peer = codec::to_vec(peer)?;
                begin(0, link);
                put_long(out, &peer);
            }
            RecordedEvent::Closed(link, reason) => {
                begin(1, link);
                out.push(*reason);
            }
            RecordedEvent::Received(link, bytes) => {
                let len = short(bytes)?;
                begin(2, link);
                put_short(out, len, bytes);
            }
            RecordedEvent::ReceivedReliable(link, channel, bytes) => {
                begin(3, link);
                out.push(*channel);
                put_long(out, bytes);
            }
            RecordedEvent::Sent(link, bytes) => {
                let len = short(bytes)?;
                begin(4, link);
                put_short(out, len, bytes);
            }
            RecordedEvent::SentReliable(link, channel, bytes) => {
                begin(5, link);
                out.push(*channel);
                put_long(out, bytes);
            }
            RecordedEvent::Flushed => out.push(6),
        }
        Ok(())
    }

    /// Bytes of events so far.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether nothing has happened.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Appends the frame as a record, and begins the next one.
    pub fn finish(&mut self, delta: u64, tick: Tick, out: &mut Vec<u8>) {
        put_record_head(0, 12 + self.bytes.len(), out);
        out.extend_from_slice(&delta.to_le_bytes());
        out.extend_from_slice(&tick.0.to_le_bytes());
        out.append(&mut self.bytes);
    }
}

impl Record {
    /// Appends it. Frames come from a [`RecordBuilder`], or from another recording.
    pub fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Frame(frame) => {
                put_record_head(0, 12 + frame.events.len(), out);
                out.extend_from_slice(&frame.delta.to_le_bytes());
                out.extend_from_slice(&frame.tick.0.to_le_bytes());
                out.extend_from_slice(&frame.events);
            }
            Self::Gap { frames } => {
                put_record_head(1, 4, out);
                out.extend_from_slice(&frames.to_le_bytes());
            }
            Self::End { full } => {
                put_record_head(2, 1, out);
                out.push((*full).into());
            }
        }
    }

    /// The record at the front of `bytes` and how many bytes it takes; `None` if it is not all there.
    pub(super) fn read(bytes: &[u8]) -> Result<Option<(Self, usize)>, WireError> {
        let &[kind, l0, l1, l2, l3, ref rest @ ..] = bytes else {
            return Ok(None);
        };
        let len = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
        if len > MAX_RECORD {
            return Err(WireError::OutOfBounds {
                what: "record",
                value: len as u64,
                max: MAX_RECORD as u64,
            });
        }
        let Some(mut content) = rest.get(..len) else {
            return Ok(None);
        };
        let record = match kind {
            0 => {
                let delta = u64::from_le_bytes(*array(&mut content)?);
                let tick = Tick(u32::from_le_bytes(*array(&mut content)?));
                let frame = RecordedFrame {
                    delta,
                    tick,
                    events: content.to_vec(),
                };
                // So that nobody who plays it meets an error inside a frame.
                frame.events().try_for_each(|event| event.map(drop))?;
                content = &[];
                Self::Frame(frame)
            }
            1 => {
                let frames = u32::from_le_bytes(*array(&mut content)?);
                Self::Gap { frames }
            }
            2 => {
                let full = byte(&mut content)? != 0;
                Self::End { full }
            }
            kind => return Err(invalid("kind of record", kind)),
        };
        if !content.is_empty() {
            return Err(WireError::Trailing(content.len()));
        }
        Ok(Some((record, RECORD_HEAD + len)))
    }
}

impl RecordedFrame {
    /// What happened in it, in order. Of a frame that came out of a reader, no item is an error.
    pub fn events(&self) -> impl Iterator<Item = Result<RecordedEvent<'_>, WireError>> {
        let mut left = &self.events[..];
        std::iter::from_fn(move || {
            if left.is_empty() {
                return None;
            }
            let event = read_event(&mut left);
            if event.is_err() {
                left = &[];
            }
            Some(event)
        })
    }
}

impl RecordingError {
    pub(super) const fn record(record: u64, error: WireError) -> Self {
        Self::Record { record, error }
    }
}

fn read_event<'a>(left: &mut &'a [u8]) -> Result<RecordedEvent<'a>, WireError> {
    let kind = byte(left)?;
    if kind == 6 {
        return Ok(RecordedEvent::Flushed);
    }
    let link = RecordedLink {
        index: u16::from_le_bytes(*array(left)?),
        generation: u16::from_le_bytes(*array(left)?),
    };
    Ok(match kind {
        0 => RecordedEvent::Opened(link, codec::decode(long(left)?)?),
        1 => RecordedEvent::Closed(link, byte(left)?),
        2 => RecordedEvent::Received(link, read_short(left)?),
        3 => RecordedEvent::ReceivedReliable(link, byte(left)?, long(left)?),
        4 => RecordedEvent::Sent(link, read_short(left)?),
        5 => RecordedEvent::SentReliable(link, byte(left)?, long(left)?),
        kind => return Err(invalid("kind of event", kind)),
    })
}

fn put_record_head(kind: u8, len: usize, out: &mut Vec<u8>) {
    out.push(kind);
    out.extend_from_slice(&(len as u32).to_le_bytes());
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

fn byte(left: &mut &[u8]) -> Result<u8, WireError> {
    Ok(array::<1>(left)?[0])
}

fn array<'a, const N: usize>(left: &mut &'a [u8]) -> Result<&'a [u8; N], WireError> {
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

const fn invalid(what: &'static str, value: u8) -> WireError {
    WireError::Invalid {
        what,
        value: value as u64,
    }
}
