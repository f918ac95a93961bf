//! What squeezes the pieces of a snapshot.

use super::SnapshotError;

/// Squeezes pieces. [`Plain`] does nothing; `Zstd` stands behind the feature `zstd`.
pub trait Compressor: Send + Sync {
    /// Name in the chunk's head; a reader with another one refuses the chunk. 0 is [`Plain`], 1 is
    /// Zstandard, numbers from 128 on are the application's.
    fn id(&self) -> u8;

    /// Digest of what both ends must have beside the algorithm; 0 for nothing. It stands in the
    /// chunk's head, and a reader with another one refuses the chunk.
    fn dictionary(&self) -> u64 {
        0
    }

    /// Appends the squeezed form of `input`.
    fn compress(&self, input: &[u8], out: &mut Vec<u8>);

    /// Appends the original of `input`, at most `max` bytes. It must give up as soon as there would
    /// be more, and must allocate in proportion to what came out so far, whatever `input` claims.
    ///
    /// # Errors
    /// [`SnapshotError::Squeezed`] if `input` is not of this compressor's making,
    /// [`SnapshotError::Bomb`] if it is larger than `max`.
    fn decompress(&self, input: &[u8], max: usize, out: &mut Vec<u8>) -> Result<(), SnapshotError>;
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

    fn decompress(&self, input: &[u8], max: usize, out: &mut Vec<u8>) -> Result<(), SnapshotError> {
        if input.len() > max {
            return Err(SnapshotError::Bomb { max });
        }
        out.extend_from_slice(input);
        Ok(())
    }
}
