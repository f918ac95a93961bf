//! Rows outside a connection: handover state, checkpoints, save files.
//!
//! A [`WorldSnapshot`] is a list of whole rows, named by [`GlobalEntity`] and type id, so that it
//! can be read by a build that registered its types in another order. [`WorldSnapshot::into_chunks`]
//! cuts its bytes into pieces of a size the carrier likes; a [`Compressor`] may squeeze them, and a
//! [`SnapshotAssembler`] puts them together again.
//!
//! # Layout
//!
//! * [`SnapshotChunk`]: a piece, and the bounds on pieces.
//! * [`SnapshotAssembler`]: pieces to a snapshot, in whatever order they come.
//! * [`Compressor`], [`Plain`], `Zstd` (feature `zstd`): what squeezes a piece.
//! * [`FileHead`]: what stands in a save file before the pieces.
//! * [`SnapshotError`], [`FileError`]: what can be wrong.

mod assembler;
mod chunk;
mod compressor;
mod error;
mod file;
#[cfg(feature = "zstd")]
mod zstd;

use serde::{Deserialize, Serialize};

use crate::{WireError, codec, epoch::Tenure, ids::GlobalEntity, tick::Tick};

pub use assembler::SnapshotAssembler;
pub use chunk::{MAX_CHUNKS, MAX_PIECE, SnapshotChunk};
pub use compressor::{Compressor, Plain};
pub use error::SnapshotError;
pub use file::{FILE_PREFIX_BYTES, FILE_VERSION, FileError, FileHead, FilePiece, MAX_FILE_HEAD};
#[cfg(feature = "zstd")]
pub use zstd::{BadDictionary, Zstd};

/// Largest snapshot we take from a peer, in bytes after decompression.
pub const MAX_SNAPSHOT: usize = 64 << 20;

/// Rows at one tick.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
pub struct WorldSnapshot {
    /// All rows are as of the end of this tick.
    pub tick: Tick,
    /// [`crate::schema::Schema::digest`] of the writer.
    pub schema: u64,
    /// The entities.
    pub rows: Vec<SnapshotRow>,
}

/// One entity, whole.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SnapshotRow {
    /// Its name.
    pub entity: GlobalEntity,
    /// Its fence.
    pub tenure: Tenure,
    /// Its components: type id and value bytes, ascending by id.
    pub components: Vec<(u64, Vec<u8>)>,
}

impl WorldSnapshot {
    /// The snapshot as one run of bytes.
    ///
    /// # Errors
    /// [`WireError::OutOfBounds`] above [`MAX_SNAPSHOT`].
    pub fn to_bytes(&self) -> Result<Vec<u8>, WireError> {
        // Row by row, so that each stays under the codec's limit and the whole may be larger.
        let mut out = Vec::new();
        put_framed(&mut out, &(self.tick, self.schema, self.rows.len() as u32))?;
        for row in &self.rows {
            put_framed(&mut out, row)?;
            if out.len() > MAX_SNAPSHOT {
                return Err(WireError::OutOfBounds {
                    what: "snapshot",
                    value: out.len() as u64,
                    max: MAX_SNAPSHOT as u64,
                });
            }
        }
        Ok(out)
    }

    /// Reads what [`to_bytes`](Self::to_bytes) made.
    ///
    /// # Errors
    /// [`WireError`] for anything else.
    pub fn from_bytes(mut bytes: &[u8]) -> Result<Self, WireError> {
        let head = split(&mut bytes)?;
        let (tick, schema, count): (Tick, u64, u32) = codec::decode(head)?;
        // A row takes at least five bytes, so a count that lies is caught before it allocates.
        if count as usize > bytes.len() / 5 {
            return Err(WireError::OutOfBounds {
                what: "rows of a snapshot",
                value: count.into(),
                max: (bytes.len() / 5) as u64,
            });
        }
        let mut rows = Vec::with_capacity(count as usize);
        for _ in 0..count {
            rows.push(codec::decode(split(&mut bytes)?)?);
        }
        if bytes.is_empty() {
            Ok(Self { tick, schema, rows })
        } else {
            Err(WireError::Trailing(bytes.len()))
        }
    }
}

fn put_framed<T: Serialize>(out: &mut Vec<u8>, value: &T) -> Result<(), WireError> {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    codec::encode(value, out)?;
    let len = (out.len() - start - 4) as u32;
    out[start..start + 4].copy_from_slice(&len.to_le_bytes());
    Ok(())
}

fn split<'a>(bytes: &mut &'a [u8]) -> Result<&'a [u8], WireError> {
    let truncated = |wanted: usize, left: usize| WireError::Truncated {
        wanted: (wanted.min(1 << 28) * 8) as u32,
        left: (left.min(1 << 28) * 8) as u32,
    };
    let (len, rest) = bytes
        .split_first_chunk::<4>()
        .ok_or_else(|| truncated(4, bytes.len()))?;
    let len = u32::from_le_bytes(*len) as usize;
    let (head, rest) = rest
        .split_at_checked(len)
        .ok_or_else(|| truncated(len, rest.len()))?;
    *bytes = rest;
    Ok(head)
}

/// SipHash of bytes under the snapshots' key.
#[must_use]
pub fn digest(bytes: &[u8]) -> u64 {
    let mut hasher = digester();
    std::hash::Hasher::write(&mut hasher, bytes);
    std::hash::Hasher::finish(&hasher)
}

fn digester() -> siphasher::sip::SipHasher24 {
    siphasher::sip::SipHasher24::new_with_keys(0x736e_6170, 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn junk_is_an_error() {
        for len in 0..64u8 {
            let bytes: Vec<u8> = (0..len).map(|i| i.wrapping_mul(37)).collect();
            assert!(WorldSnapshot::from_bytes(&bytes).is_err());
        }
    }
}
