//! Records: the frames of an app and what its links did in them.
//!
//! ```text
//! record: kind (1 byte) | length (4 bytes) | content
//! frame:  nanoseconds (8) | tick (4) | events
//! event:  kind (1) | index and generation of the link (2 each) | what belongs to the kind
//! ```

use super::{
    RecordingError,
    event::{RecordedEvent, array, byte, invalid},
};
use crate::{Tick, WireError};

/// Most bytes of a record's content. What all links can take and give in one frame is far below it.
pub const MAX_RECORD: usize = 64 << 20;

/// Longest frame, in nanoseconds: 30 days. A laptop may sleep; a clock that is told more may overflow.
pub const MAX_DELTA: u64 = 30 * 24 * 3600 * 1_000_000_000;

/// Bytes before the content of a record.
const RECORD_HEAD: usize = 5;

/// One frame of the app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedFrame {
    /// Real time since the frame before, in nanoseconds, at most [`MAX_DELTA`].
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
        event.write(&mut self.bytes)
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
                if delta > MAX_DELTA {
                    return Err(WireError::OutOfBounds {
                        what: "time of a frame",
                        value: delta,
                        max: MAX_DELTA,
                    });
                }
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
            let event = RecordedEvent::read(&mut left);
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

fn put_record_head(kind: u8, len: usize, out: &mut Vec<u8>) {
    out.push(kind);
    out.extend_from_slice(&(len as u32).to_le_bytes());
}
