//! Blocks: what is written at once.

use crate::snapshot::{Compressor, MAX_PIECE, digest};

/// Most bytes of a block, before compression.
pub const MAX_BLOCK: usize = MAX_PIECE;

/// Bytes before those of a block: two lengths and a digest.
pub const BLOCK_HEAD_BYTES: usize = 16;

/// Longest block as it stands in the file.
pub(super) const MAX_STORED: usize = MAX_BLOCK + MAX_BLOCK / 128;

/// Appends `bytes` as blocks, as many as it takes.
pub fn put_block(bytes: &[u8], compressor: &dyn Compressor, out: &mut Vec<u8>) {
    for piece in bytes.chunks(MAX_BLOCK) {
        let start = out.len();
        out.extend_from_slice(&[0; BLOCK_HEAD_BYTES]);
        compressor.compress(piece, out);
        let (head, stored) = out[start..].split_at_mut(BLOCK_HEAD_BYTES);
        head[..4].copy_from_slice(&(stored.len() as u32).to_le_bytes());
        head[4..8].copy_from_slice(&(piece.len() as u32).to_le_bytes());
        head[8..].copy_from_slice(&digest(stored).to_le_bytes());
    }
}

/// The head of a block.
#[derive(Debug, Clone, Copy)]
pub(super) struct BlockHead {
    pub(super) stored: usize,
    pub(super) original: usize,
    pub(super) digest: u64,
}

impl BlockHead {
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let (stored, rest) = bytes.split_first_chunk::<4>()?;
        let (original, rest) = rest.split_first_chunk::<4>()?;
        let (digest, _) = rest.split_first_chunk::<8>()?;
        Some(Self {
            stored: u32::from_le_bytes(*stored) as usize,
            original: u32::from_le_bytes(*original) as usize,
            digest: u64::from_le_bytes(*digest),
        })
    }
}
