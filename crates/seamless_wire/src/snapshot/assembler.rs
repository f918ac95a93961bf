//! Pieces to a snapshot.

use std::collections::BTreeMap;

use super::{
    Compressor, MAX_CHUNKS, MAX_PIECE, MAX_SNAPSHOT, SnapshotChunk, SnapshotError, WorldSnapshot,
    digest,
};
use crate::WireError;

/// Puts chunks together again, in whatever order they come.
///
/// It keeps what chunks unpack to, and nothing for those that have not come. So it holds at most
/// its limit of bytes, [`MAX_SNAPSHOT`] by default, and about a hundred bytes for each piece,
/// 7 MiB for the [`MAX_CHUNKS`] that there can be. Unpacking one chunk takes [`MAX_PIECE`] bytes
/// more, and the rows that come out of the whole take its size once more.
///
/// A chunk that is refused changes nothing. Whoever takes chunks from somebody else starts over
/// with [`clear`](Self::clear) when another snapshot begins.
#[derive(Debug)]
pub struct SnapshotAssembler {
    limit: usize,
    head: Option<Head>,
    pieces: BTreeMap<u32, Vec<u8>>,
    held: usize,
}

/// What all chunks of a snapshot agree in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Head {
    count: u32,
    total: u32,
    digest: u64,
}

impl Default for SnapshotAssembler {
    fn default() -> Self {
        Self::with_limit(MAX_SNAPSHOT)
    }
}

impl SnapshotAssembler {
    /// Takes snapshots of at most `limit` bytes, and never more than [`MAX_SNAPSHOT`].
    #[must_use]
    pub fn with_limit(limit: usize) -> Self {
        Self {
            limit: limit.min(MAX_SNAPSHOT),
            head: None,
            pieces: BTreeMap::new(),
            held: 0,
        }
    }

    /// Bytes of pieces that it holds.
    #[must_use]
    pub const fn held(&self) -> usize {
        self.held
    }

    /// How many pieces are still to come. `None` before the first.
    #[must_use]
    pub fn missing(&self) -> Option<usize> {
        self.head
            .map(|head| head.count as usize - self.pieces.len())
    }

    /// Drops what was gathered.
    pub fn clear(&mut self) {
        *self = Self::with_limit(self.limit);
    }

    /// Takes a chunk; gives the snapshot when it was the last one missing. It is empty again then.
    /// A chunk that came before is passed over.
    ///
    /// # Errors
    /// [`SnapshotError`] if the chunk contradicts the others, is out of bounds or does not unpack;
    /// it changed nothing then. [`SnapshotError::Digest`] and [`SnapshotError::Wire`] of the last
    /// one: the whole is not what it should be, and was dropped.
    pub fn push(
        &mut self,
        chunk: &SnapshotChunk,
        compressor: &dyn Compressor,
    ) -> Result<Option<WorldSnapshot>, SnapshotError> {
        let head = self.check(chunk, compressor)?;
        if !self.pieces.contains_key(&chunk.index) {
            let piece = self.unpack(chunk, compressor)?;
            self.held += piece.len();
            self.pieces.insert(chunk.index, piece);
            self.head = Some(head);
        }
        if self.pieces.len() < head.count as usize {
            return Ok(None);
        }
        self.finish(head).map(Some)
    }

    fn check(
        &self,
        chunk: &SnapshotChunk,
        compressor: &dyn Compressor,
    ) -> Result<Head, SnapshotError> {
        if chunk.compressor != compressor.id() {
            return Err(SnapshotError::Compressor {
                ours: compressor.id(),
                theirs: chunk.compressor,
            });
        }
        if chunk.dictionary != compressor.dictionary() {
            return Err(SnapshotError::Dictionary {
                ours: compressor.dictionary(),
                theirs: chunk.dictionary,
            });
        }
        let (total, count) = (chunk.total as usize, chunk.count as usize);
        bounds("snapshot", total, self.limit)?;
        bounds("chunks", count, MAX_CHUNKS.min(total))?;
        // The last index is one below the count.
        bounds("chunk index", chunk.index as usize + 1, count)?;
        let head = Head {
            count: chunk.count,
            total: chunk.total,
            digest: chunk.digest,
        };
        match self.head {
            Some(ours) if ours != head => Err(SnapshotError::Mixed {
                ours: ours.digest,
                theirs: head.digest,
            }),
            _ => Ok(head),
        }
    }

    fn unpack(
        &self,
        chunk: &SnapshotChunk,
        compressor: &dyn Compressor,
    ) -> Result<Vec<u8>, SnapshotError> {
        let others = chunk.count as usize - self.pieces.len() - 1;
        // Each that is still to come has a byte at least.
        let room = (chunk.total as usize)
            .checked_sub(self.held + others)
            .ok_or(SnapshotError::Bomb { max: 0 })?
            .min(MAX_PIECE);
        let mut piece = Vec::new();
        compressor.decompress(&chunk.payload, room, &mut piece)?;
        if piece.is_empty() {
            return Err(SnapshotError::Empty { index: chunk.index });
        }
        if piece.len() > room {
            // A compressor that does not keep to its word.
            return Err(SnapshotError::Bomb { max: room });
        }
        piece.shrink_to_fit();
        Ok(piece)
    }

    fn finish(&mut self, head: Head) -> Result<WorldSnapshot, SnapshotError> {
        let mut whole = Vec::with_capacity(self.held);
        for (_, piece) in std::mem::take(&mut self.pieces) {
            whole.extend_from_slice(&piece);
        }
        self.clear();
        let found = digest(&whole);
        if found != head.digest || whole.len() != head.total as usize {
            return Err(SnapshotError::Digest {
                said: head.digest,
                found,
                total: head.total,
                bytes: whole.len(),
            });
        }
        Ok(WorldSnapshot::from_bytes(&whole)?)
    }
}

const fn bounds(what: &'static str, value: usize, max: usize) -> Result<(), WireError> {
    if value > max {
        return Err(WireError::OutOfBounds {
            what,
            value: value as u64,
            max: max as u64,
        });
    }
    Ok(())
}
