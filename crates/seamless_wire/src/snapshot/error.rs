//! What can be wrong with the chunks of a snapshot.

use crate::WireError;

/// Why chunks make no snapshot. Nothing of a refused chunk is kept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// The rows could not be read, or a field of a chunk is out of bounds.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// The chunk was squeezed by another compressor than the reader has.
    #[error("squeezed by compressor {theirs}, this reader has compressor {ours}")]
    Compressor {
        /// The reader's.
        ours: u8,
        /// The chunk's.
        theirs: u8,
    },
    /// The chunk was squeezed with another dictionary than the reader has. 0 stands for none.
    #[error("squeezed with dictionary {theirs:#018x}, this reader has {ours:#018x} (0: none)")]
    Dictionary {
        /// The reader's.
        ours: u64,
        /// The chunk's.
        theirs: u64,
    },
    /// The payload is not of the compressor's making, or ends too early or too late.
    #[error("compressor {compressor} cannot unpack it: {reason}")]
    Squeezed {
        /// Which compressor.
        compressor: u8,
        /// What it says.
        reason: String,
    },
    /// The payload unpacks to more than there is room for. It was given up at that point.
    #[error("a chunk unpacks to more than {max} bytes")]
    Bomb {
        /// Bytes that there was room for.
        max: usize,
    },
    /// The payload unpacks to nothing.
    #[error("chunk {index} unpacks to nothing")]
    Empty {
        /// Which chunk.
        index: u32,
    },
    /// The chunk is of another snapshot than those before it.
    #[error("a chunk of snapshot {theirs:#018x} among those of {ours:#018x}")]
    Mixed {
        /// Digest of the snapshot that is gathered.
        ours: u64,
        /// Digest that the chunk says.
        theirs: u64,
    },
    /// All chunks are there, and the whole is not what they said.
    #[error("{bytes} bytes with digest {found:#018x}, the chunks say {total} and {said:#018x}")]
    Digest {
        /// What the chunks say.
        said: u64,
        /// What it is.
        found: u64,
        /// Bytes that the chunks say.
        total: u32,
        /// Bytes that there are.
        bytes: usize,
    },
}
