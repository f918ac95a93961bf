//! What stands before the blocks of a recording.

use serde::{Deserialize, Serialize};

use super::RecordingError;
use crate::{WireError, codec, schema::Schema, snapshot::digest};

const MAGIC: &[u8; 4] = b"SMLR";

/// Version of recordings. It rises with any change of their bytes.
pub const RECORDING_VERSION: u16 = 2;

/// Bytes before the head: magic, version, two bytes of zero, length of the head.
pub const RECORDING_PREFIX_BYTES: usize = 12;

/// Longest head, in bytes.
pub const MAX_RECORDING_HEAD: usize = codec::MAX_VALUE;

/// What one must have to play a recording.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordingHead {
    /// [`WIRE_VERSION`](crate::WIRE_VERSION) of what was recorded.
    pub wire_version: u16,
    /// Ticks per second.
    pub tick_rate: u16,
    /// Whether it has what the layers above took from links.
    pub received: bool,
    /// Whether it has what they gave to links.
    pub sent: bool,
    /// The block in which the app named entities by itself, if it did.
    pub names: Option<u32>,
    /// What the app had registered.
    pub schema: Schema,
    /// [`Compressor::id`](crate::snapshot::Compressor::id) of the blocks.
    pub compressor: u8,
    /// [`Compressor::dictionary`](crate::snapshot::Compressor::dictionary) of the blocks.
    pub dictionary: u64,
}

impl RecordingHead {
    /// Everything before the blocks.
    ///
    /// # Errors
    /// [`WireError::OutOfBounds`] if the schema is larger than [`MAX_RECORDING_HEAD`].
    pub fn to_bytes(&self) -> Result<Vec<u8>, WireError> {
        let head = codec::to_vec(self)?;
        let mut out = Vec::with_capacity(RECORDING_PREFIX_BYTES + head.len() + 8);
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&RECORDING_VERSION.to_le_bytes());
        out.extend_from_slice(&[0; 2]);
        out.extend_from_slice(&(head.len() as u32).to_le_bytes());
        out.extend_from_slice(&head);
        out.extend_from_slice(&digest(&out).to_le_bytes());
        Ok(out)
    }

    /// How many bytes stand before the blocks, from the first [`RECORDING_PREFIX_BYTES`] bytes. At
    /// most [`MAX_RECORDING_HEAD`] and twenty.
    ///
    /// # Errors
    /// [`RecordingError`] if it is no recording, or one of another version.
    pub fn length(prefix: &[u8]) -> Result<usize, RecordingError> {
        let Some((magic, rest)) = prefix.split_first_chunk::<4>() else {
            return Err(RecordingError::NoHead);
        };
        if magic != MAGIC {
            return Err(RecordingError::NotARecording(*magic));
        }
        let &[v0, v1, _, _, l0, l1, l2, l3, ..] = rest else {
            return Err(RecordingError::NoHead);
        };
        let theirs = u16::from_le_bytes([v0, v1]);
        if theirs != RECORDING_VERSION {
            let ours = RECORDING_VERSION;
            return Err(RecordingError::Version { ours, theirs });
        }
        let head = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
        if head > MAX_RECORDING_HEAD {
            return Err(RecordingError::Head(WireError::OutOfBounds {
                what: "head",
                value: head as u64,
                max: MAX_RECORDING_HEAD as u64,
            }));
        }
        Ok(RECORDING_PREFIX_BYTES + head + 8)
    }

    /// Reads what [`to_bytes`](Self::to_bytes) made, whatever follows.
    ///
    /// # Errors
    /// [`RecordingError`] for anything else.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, RecordingError> {
        let length = Self::length(bytes)?;
        let bytes = bytes.get(..length).ok_or(RecordingError::NoHead)?;
        let (covered, sum) = bytes.split_at(length - 8);
        if digest(covered).to_le_bytes() != sum {
            return Err(RecordingError::HeadDamaged);
        }
        codec::decode(&covered[RECORDING_PREFIX_BYTES..]).map_err(RecordingError::Head)
    }
}
