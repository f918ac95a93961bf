//! What a recording of links is made of.
//!
//! ```text
//! prefix (12 bytes) | head (serde value) | SipHash of both (8 bytes) | blocks
//! block:  stored length, original length (4 bytes each) | SipHash of the stored bytes (8) | bytes
//! ```
//!
//! The originals of the blocks, end to end, are records, and a record may go on in the next block. So
//! a recording that was cut, by a crash or a full disk, is readable up to its last whole record.
//!
//! # Layout
//!
//! * [`RecordingHead`]: what one must have to play it.
//! * [`Record`], [`RecordedEvent`]: a frame of the app and what its links did in it.
//! * [`put_block`], [`RecordingReader`]: bytes to blocks, and back to records.

mod block;
mod event;
mod head;
mod reader;
mod record;

pub use block::{BLOCK_HEAD_BYTES, MAX_BLOCK, put_block};
pub use event::{RecordedEvent, RecordedLink, RecordedPeer};
pub use head::{MAX_RECORDING_HEAD, RECORDING_PREFIX_BYTES, RECORDING_VERSION, RecordingHead};
pub use reader::RecordingReader;
pub use record::{MAX_DELTA, MAX_RECORD, Record, RecordBuilder, RecordedFrame};

use crate::{WireError, snapshot::SnapshotError};

/// Why bytes are no recording, or no more from here on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordingError {
    /// It begins with something else.
    #[error("it begins with {0:02x?}, a recording with \"SMLR\"")]
    NotARecording([u8; 4]),
    /// It was written by a version that is not understood.
    #[error("it is of version {theirs}, this reader understands {ours}")]
    Version {
        /// The reader's.
        ours: u16,
        /// The recording's.
        theirs: u16,
    },
    /// It ends inside its head.
    #[error("it ends inside its head")]
    NoHead,
    /// The head is not what its digest says.
    #[error("its head is damaged")]
    HeadDamaged,
    /// The head is whole, and makes no sense.
    #[error("its head has no meaning: {0}")]
    Head(WireError),
    /// It ends inside a record: whoever wrote it did not get to the end. What came before is whole.
    #[error("it ends inside a record, after {records} whole ones")]
    Cut {
        /// How many records came before.
        records: u64,
    },
    /// A block is not what its digest says.
    #[error("block {block} is damaged")]
    BlockDamaged {
        /// Which block, from 0.
        block: u64,
    },
    /// A block is out of bounds or cannot be unpacked.
    #[error("block {block}: {error}")]
    Block {
        /// Which block, from 0.
        block: u64,
        /// What is wrong.
        error: SnapshotError,
    },
    /// A record makes no sense.
    #[error("record {record}: {error}")]
    Record {
        /// Which record, from 0.
        record: u64,
        /// What is wrong.
        error: WireError,
    },
}
