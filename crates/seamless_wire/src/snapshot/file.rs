//! What stands in a save file before the pieces of its snapshot.
//!
//! ```text
//! prefix (12 bytes) | head (serde value) | SipHash of both (8 bytes) | pieces, end to end
//! ```
//!
//! The head says how long each piece is and what it digests to, so that a reader knows at once
//! whether the file is whole, and what is damaged if something is. It also names every component
//! that the writer had registered: a reader that lacks one can say which.

use serde::{Deserialize, Serialize};

use super::{MAX_PIECE, MAX_SNAPSHOT, SnapshotChunk, SnapshotError, digest};
use crate::{GlobalEntity, Tick, WireError, codec, schema::ComponentDescriptor};

/// The first bytes of a save file.
const MAGIC: &[u8; 4] = b"SMLW";

/// Version of save files. It rises with any change of the head or of a snapshot's bytes.
pub const FILE_VERSION: u16 = 1;

/// Bytes before the head: magic, version, two bytes of zero, length of the head.
pub const FILE_PREFIX_BYTES: usize = 12;

/// Longest head, in bytes.
pub const MAX_FILE_HEAD: usize = codec::MAX_VALUE;

/// Longest piece as it stands in a file: squeezing what cannot be squeezed adds less than a part in
/// 200.
const MAX_STORED: usize = MAX_PIECE + MAX_PIECE / 128;

/// Why bytes are no save file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FileError {
    /// It begins with something else.
    #[error("it begins with {0:02x?}, a save file with \"SMLW\"")]
    NotASave([u8; 4]),
    /// It was written by a version that is not understood.
    #[error("it is of version {theirs}, this reader understands {ours}")]
    Version {
        /// The reader's.
        ours: u16,
        /// The file's.
        theirs: u16,
    },
    /// It ends too early.
    #[error("it has {have} bytes, {wanted} are wanted")]
    Truncated {
        /// Bytes that the file should have at least.
        wanted: u64,
        /// Bytes that it has.
        have: u64,
    },
    /// It goes on after its end.
    #[error("{0} bytes after its end")]
    Trailing(u64),
    /// The head is not what its digest says.
    #[error("its head is damaged")]
    HeadDamaged,
    /// The head is whole, and makes no sense.
    #[error("its head has no meaning: {0}")]
    Head(WireError),
    /// A piece is not what its digest says.
    #[error("piece {index} of {count} is damaged")]
    PieceDamaged {
        /// Which piece, from 0.
        index: usize,
        /// Of how many.
        count: usize,
    },
    /// The pieces make no snapshot.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
}

/// One piece of the snapshot, as it stands in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilePiece {
    /// Its length, in bytes.
    pub bytes: u32,
    /// [`digest`] of them.
    pub digest: u64,
}

/// What stands before the pieces.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FileHead {
    /// The tick at whose end the snapshot was taken.
    pub tick: Tick,
    /// Ticks per second.
    pub tick_rate: u16,
    /// The first name that the writer had not given to anything yet.
    pub free_name: Option<GlobalEntity>,
    /// Digest of the writer's schema.
    pub schema: u64,
    /// Components that the writer replicated.
    pub components: Vec<ComponentDescriptor>,
    /// Components that it only kept.
    pub kept: Vec<ComponentDescriptor>,
    /// How many entities there are.
    pub entities: u32,
    /// Bytes of the snapshot, before compression.
    pub total: u32,
    /// Digest of the snapshot, before compression.
    pub digest: u64,
    /// [`Compressor::id`](super::Compressor::id).
    pub compressor: u8,
    /// [`Compressor::dictionary`](super::Compressor::dictionary).
    pub dictionary: u64,
    /// The pieces, in order.
    pub pieces: Vec<FilePiece>,
}

impl FileHead {
    /// Everything before the pieces.
    ///
    /// # Errors
    /// [`WireError::OutOfBounds`] if there are more components and pieces than [`MAX_FILE_HEAD`]
    /// holds.
    pub fn to_bytes(&self) -> Result<Vec<u8>, WireError> {
        let head = codec::to_vec(self)?;
        let mut out = Vec::with_capacity(FILE_PREFIX_BYTES + head.len() + 8);
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&FILE_VERSION.to_le_bytes());
        out.extend_from_slice(&[0; 2]);
        out.extend_from_slice(&(head.len() as u32).to_le_bytes());
        out.extend_from_slice(&head);
        out.extend_from_slice(&digest(&out).to_le_bytes());
        Ok(out)
    }

    /// How many bytes stand before the pieces, from the first [`FILE_PREFIX_BYTES`] bytes of a
    /// file. At most [`MAX_FILE_HEAD`] and twenty.
    ///
    /// # Errors
    /// [`FileError`] if it is no save file, or one of another version.
    pub fn length(prefix: &[u8]) -> Result<usize, FileError> {
        let Some((magic, rest)) = prefix.split_first_chunk::<4>() else {
            return Err(truncated(FILE_PREFIX_BYTES, prefix.len()));
        };
        if magic != MAGIC {
            return Err(FileError::NotASave(*magic));
        }
        let &[v0, v1, _, _, l0, l1, l2, l3, ..] = rest else {
            return Err(truncated(FILE_PREFIX_BYTES, prefix.len()));
        };
        let theirs = u16::from_le_bytes([v0, v1]);
        if theirs != FILE_VERSION {
            return Err(FileError::Version {
                ours: FILE_VERSION,
                theirs,
            });
        }
        let head = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
        if head > MAX_FILE_HEAD {
            return Err(FileError::Head(WireError::OutOfBounds {
                what: "head",
                value: head as u64,
                max: MAX_FILE_HEAD as u64,
            }));
        }
        Ok(FILE_PREFIX_BYTES + head + 8)
    }

    /// Reads what [`to_bytes`](Self::to_bytes) made.
    ///
    /// # Errors
    /// [`FileError`] for anything else.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, FileError> {
        let wanted = Self::length(bytes)?;
        if bytes.len() < wanted {
            return Err(truncated(wanted, bytes.len()));
        }
        let (covered, sum) = bytes[..wanted].split_at(wanted - 8);
        if digest(covered).to_le_bytes() != sum {
            return Err(FileError::HeadDamaged);
        }
        let head: Self = codec::decode(&covered[FILE_PREFIX_BYTES..]).map_err(FileError::Head)?;
        let longest = head.pieces.iter().map(|piece| piece.bytes as usize).max();
        for (what, value, max) in [
            ("snapshot", head.total as usize, MAX_SNAPSHOT),
            ("piece", longest.unwrap_or(0), MAX_STORED),
        ] {
            if value > max {
                let (value, max) = (value as u64, max as u64);
                return Err(FileError::Head(WireError::OutOfBounds { what, value, max }));
            }
        }
        Ok(head)
    }

    /// Checks the length of the file, of which `before` bytes stand before the pieces.
    ///
    /// # Errors
    /// [`FileError::Truncated`], [`FileError::Trailing`].
    pub fn check_length(&self, before: usize, file: u64) -> Result<(), FileError> {
        let pieces: u64 = self.pieces.iter().map(|piece| u64::from(piece.bytes)).sum();
        let wanted = before as u64 + pieces;
        if file < wanted {
            return Err(FileError::Truncated { wanted, have: file });
        }
        match file - wanted {
            0 => Ok(()),
            more => Err(FileError::Trailing(more)),
        }
    }

    /// A piece as a chunk of its snapshot.
    ///
    /// # Errors
    /// [`FileError::PieceDamaged`] if its bytes are not those that were written.
    pub fn chunk(&self, index: usize, payload: Vec<u8>) -> Result<SnapshotChunk, FileError> {
        let count = self.pieces.len();
        let said = self.pieces.get(index).map(|piece| piece.digest);
        if said != Some(digest(&payload)) {
            return Err(FileError::PieceDamaged { index, count });
        }
        Ok(SnapshotChunk {
            index: index as u32,
            count: count as u32,
            total: self.total,
            digest: self.digest,
            compressor: self.compressor,
            dictionary: self.dictionary,
            payload,
        })
    }
}

const fn truncated(wanted: usize, have: usize) -> FileError {
    FileError::Truncated {
        wanted: wanted as u64,
        have: have as u64,
    }
}
