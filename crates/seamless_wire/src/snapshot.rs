//! Rows outside a connection: handover state, checkpoints, save files.
//!
//! A [`WorldSnapshot`] is a list of whole rows, named by [`GlobalEntity`] and type id, so that it
//! can be read by a build that registered its types in another order. [`WorldSnapshot::into_chunks`]
//! cuts its bytes into pieces of a size the carrier likes; a [`Compressor`] may squeeze them.

use serde::{Deserialize, Serialize};

use crate::{WireError, codec, epoch::Tenure, ids::GlobalEntity, tick::Tick};

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

/// Squeezes chunks. [`Plain`] does nothing; a general compressor gains little on rows that are
/// already coded, so the choice is the application's.
pub trait Compressor: Send + Sync {
    /// Name in the chunk's head; a reader with another one refuses the chunk.
    fn id(&self) -> u8;
    /// Appends the squeezed form of `input`.
    fn compress(&self, input: &[u8], out: &mut Vec<u8>);
    /// Appends the original of `input`, at most `max` bytes.
    ///
    /// # Errors
    /// [`WireError`] if `input` is not of this compressor's making or is larger than `max`.
    fn decompress(&self, input: &[u8], max: usize, out: &mut Vec<u8>) -> Result<(), WireError>;
}

/// No compression.
#[derive(Debug, Clone, Copy, Default)]
pub struct Plain;

impl Compressor for Plain {
    fn id(&self) -> u8 {
        0
    }

    fn compress(&self, input: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(input);
    }

    fn decompress(&self, input: &[u8], max: usize, out: &mut Vec<u8>) -> Result<(), WireError> {
        if input.len() > max {
            return Err(WireError::OutOfBounds {
                what: "chunk",
                value: input.len() as u64,
                max: max as u64,
            });
        }
        out.extend_from_slice(input);
        Ok(())
    }
}

/// One piece of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotChunk {
    /// Which piece, from 0.
    pub index: u32,
    /// Of how many.
    pub count: u32,
    /// Bytes of the whole, before compression.
    pub total: u32,
    /// SipHash of the whole, before compression.
    pub digest: u64,
    /// [`Compressor::id`].
    pub compressor: u8,
    /// The bytes of this piece.
    pub payload: Vec<u8>,
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

    /// Cuts the snapshot into chunks of at most `size` bytes (before compression).
    ///
    /// # Errors
    /// As [`to_bytes`](Self::to_bytes).
    pub fn into_chunks(
        &self,
        size: usize,
        compressor: &dyn Compressor,
    ) -> Result<Vec<SnapshotChunk>, WireError> {
        let bytes = self.to_bytes()?;
        let digest = digest(&bytes);
        let size = size.max(1);
        let count = bytes.len().div_ceil(size) as u32;
        Ok(bytes
            .chunks(size)
            .enumerate()
            .map(|(index, piece)| {
                let mut payload = Vec::new();
                compressor.compress(piece, &mut payload);
                SnapshotChunk {
                    index: index as u32,
                    count,
                    total: bytes.len() as u32,
                    digest,
                    compressor: compressor.id(),
                    payload,
                }
            })
            .collect())
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

fn digest(bytes: &[u8]) -> u64 {
    let mut hasher = siphasher::sip::SipHasher24::new_with_keys(0x736e_6170, 1);
    std::hash::Hasher::write(&mut hasher, bytes);
    std::hash::Hasher::finish(&hasher)
}

/// Puts chunks together again, in whatever order they come.
#[derive(Debug, Default)]
pub struct SnapshotAssembler {
    pieces: Vec<Option<Vec<u8>>>,
    missing: usize,
    held: usize,
    head: Option<(u32, u64)>,
}

impl SnapshotAssembler {
    /// Takes a chunk; gives the snapshot when it was the last one missing.
    ///
    /// Holds at most [`MAX_SNAPSHOT`] bytes and as many pieces as that has bytes in 64.
    ///
    /// # Errors
    /// [`WireError`] if the chunk contradicts the others, is too large, or the whole does not
    /// match its digest. The assembler is empty then.
    pub fn push(
        &mut self,
        chunk: &SnapshotChunk,
        compressor: &dyn Compressor,
    ) -> Result<Option<WorldSnapshot>, WireError> {
        let result = self.try_push(chunk, compressor);
        if result.is_err() {
            *self = Self::default();
        }
        result
    }

    fn try_push(
        &mut self,
        chunk: &SnapshotChunk,
        compressor: &dyn Compressor,
    ) -> Result<Option<WorldSnapshot>, WireError> {
        let bounds = |what, value: usize, max: usize| {
            if value > max {
                Err(WireError::OutOfBounds {
                    what,
                    value: value as u64,
                    max: max as u64,
                })
            } else {
                Ok(())
            }
        };
        bounds("snapshot", chunk.total as usize, MAX_SNAPSHOT)?;
        bounds(
            "chunks",
            chunk.count as usize,
            (MAX_SNAPSHOT / 64).min(chunk.total as usize),
        )?;
        bounds(
            "chunk index",
            chunk.index as usize + 1,
            chunk.count as usize,
        )?;
        if chunk.compressor != compressor.id() {
            let value = chunk.compressor.into();
            return Err(WireError::Invalid {
                what: "compressor",
                value,
            });
        }
        match self.head {
            None => {
                self.head = Some((chunk.total, chunk.digest));
                self.pieces = vec![None; chunk.count as usize];
                self.missing = chunk.count as usize;
            }
            Some(head)
                if head == (chunk.total, chunk.digest)
                    && self.pieces.len() == chunk.count as usize => {}
            Some((_, digest)) => {
                return Err(WireError::Invalid {
                    what: "chunk of another snapshot",
                    value: digest,
                });
            }
        }
        let slot = &mut self.pieces[chunk.index as usize];
        if slot.is_none() {
            let mut piece = Vec::new();
            let left = chunk.total as usize - self.held;
            compressor.decompress(&chunk.payload, left, &mut piece)?;
            self.held += piece.len();
            self.missing -= 1;
            *slot = Some(piece);
        }
        if self.missing > 0 {
            return Ok(None);
        }
        let whole: Vec<u8> = self.pieces.drain(..).flatten().flatten().collect();
        if digest(&whole) != chunk.digest || whole.len() != chunk.total as usize {
            return Err(WireError::Invalid {
                what: "digest of a snapshot",
                value: chunk.digest,
            });
        }
        *self = Self::default();
        WorldSnapshot::from_bytes(&whole).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(rows: u32) -> WorldSnapshot {
        WorldSnapshot {
            tick: Tick(99),
            schema: 5,
            rows: (1..=rows)
                .map(|i| SnapshotRow {
                    entity: GlobalEntity::new(2, i.into()).expect("legal"),
                    tenure: Tenure::default(),
                    // Heterogeneous on purpose: from none to three components.
                    components: (0..i % 4)
                        .map(|c| (c.into(), vec![i as u8; c as usize * 7]))
                        .collect(),
                })
                .collect(),
        }
    }

    #[test]
    fn a_snapshot_survives_every_chunk_size_and_order() {
        for rows in [0, 1, 2, 17] {
            let snapshot = snapshot(rows);
            for size in [1, 2, 3, 7, 64, 1 << 20] {
                let mut chunks = snapshot.into_chunks(size, &Plain).expect("small");
                assert!(chunks.iter().all(|c| c.payload.len() <= size));
                chunks.reverse();
                let mut assembler = SnapshotAssembler::default();
                let mut done = None;
                for chunk in chunks.iter().chain(&chunks[..chunks.len() - 1]) {
                    if done.is_none() {
                        done = assembler.push(chunk, &Plain).expect("ours");
                    }
                }
                assert_eq!(
                    done.as_ref(),
                    Some(&snapshot),
                    "{rows} rows in chunks of {size}"
                );
            }
        }
    }

    #[test]
    fn a_changed_byte_is_noticed() {
        let mut chunks = snapshot(9).into_chunks(16, &Plain).expect("small");
        chunks[2].payload[3] ^= 1;
        let mut assembler = SnapshotAssembler::default();
        let results: Vec<_> = chunks.iter().map(|c| assembler.push(c, &Plain)).collect();
        assert!(results.last().expect("some").is_err());
    }

    #[test]
    fn chunks_that_lie_about_their_number_are_refused() {
        let mut chunk = snapshot(2)
            .into_chunks(1 << 20, &Plain)
            .expect("small")
            .remove(0);
        chunk.count = u32::MAX;
        assert!(SnapshotAssembler::default().push(&chunk, &Plain).is_err());
    }

    #[test]
    fn junk_is_an_error() {
        for len in 0..64u8 {
            let bytes: Vec<u8> = (0..len).map(|i| i.wrapping_mul(37)).collect();
            assert!(WorldSnapshot::from_bytes(&bytes).is_err());
        }
    }
}
