//! Pieces of a snapshot.

use serde::{Deserialize, Serialize};

use super::{Compressor, WorldSnapshot, digest};
use crate::WireError;

/// Most bytes of a piece before compression, so that one chunk never unpacks to more than this.
pub const MAX_PIECE: usize = 1 << 20;

/// Most pieces of a snapshot: they bound what an assembler spends beside the bytes.
pub const MAX_CHUNKS: usize = 1 << 16;

/// One piece of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotChunk {
    /// Which piece, from 0.
    pub index: u32,
    /// Of how many.
    pub count: u32,
    /// Bytes of the whole, before compression.
    pub total: u32,
    /// SipHash of the whole, before compression: [`digest`].
    pub digest: u64,
    /// [`Compressor::id`].
    pub compressor: u8,
    /// [`Compressor::dictionary`].
    pub dictionary: u64,
    /// The bytes of this piece.
    pub payload: Vec<u8>,
}

impl WorldSnapshot {
    /// Cuts the snapshot into chunks of at most `size` bytes before compression; at most
    /// [`MAX_PIECE`], and more than `size` if there would be more than [`MAX_CHUNKS`].
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
        let size = size
            .max(bytes.len().div_ceil(MAX_CHUNKS))
            .clamp(1, MAX_PIECE);
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
                    dictionary: compressor.dictionary(),
                    payload,
                }
            })
            .collect())
    }
}
