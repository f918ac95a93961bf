//! Bytes of a recording to records.

use super::{
    BLOCK_HEAD_BYTES, MAX_BLOCK, Record, RecordingError,
    block::{BlockHead, MAX_STORED},
};
use crate::{
    WireError,
    snapshot::{Compressor, SnapshotError, digest},
};

/// Takes the bytes behind a recording's head as they are read, and gives records.
///
/// Holds at most what one block and one record take, and what it was given at once.
#[derive(Debug, Default)]
pub struct RecordingReader {
    /// Bytes of blocks that are not whole yet.
    stored: Vec<u8>,
    /// Unpacked bytes of records; those before `at` were given.
    unpacked: Vec<u8>,
    at: usize,
    blocks: u64,
    records: u64,
    failed: Option<RecordingError>,
}

impl RecordingReader {
    /// Takes the next bytes of the file.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.failed.is_none() {
            self.stored.extend_from_slice(bytes);
        }
    }

    /// How many records it has given.
    #[must_use]
    pub const fn records(&self) -> u64 {
        self.records
    }

    /// The next record; `None` if more bytes are wanted first.
    ///
    /// # Errors
    /// [`RecordingError`] if what follows is none. It stays so.
    pub fn next(&mut self, compressor: &dyn Compressor) -> Result<Option<Record>, RecordingError> {
        if let Some(failed) = &self.failed {
            return Err(failed.clone());
        }
        let result = self.try_next(compressor);
        if let Err(error) = &result {
            *self = Self {
                failed: Some(error.clone()),
                records: self.records,
                ..Self::default()
            };
        }
        result
    }

    /// There are no more bytes. An error if a record has begun and not ended.
    ///
    /// # Errors
    /// [`RecordingError::Cut`].
    pub const fn finish(&self) -> Result<(), RecordingError> {
        if self.stored.is_empty() && self.at == self.unpacked.len() {
            return Ok(());
        }
        Err(RecordingError::Cut {
            records: self.records,
        })
    }

    fn try_next(&mut self, compressor: &dyn Compressor) -> Result<Option<Record>, RecordingError> {
        loop {
            let read = Record::read(&self.unpacked[self.at..]);
            if let Some((record, len)) =
                read.map_err(|error| RecordingError::record(self.records, error))?
            {
                self.at += len;
                self.records += 1;
                return Ok(Some(record));
            }
            self.unpacked.drain(..self.at);
            self.at = 0;
            if !self.unpack(compressor)? {
                return Ok(None);
            }
        }
    }

    /// Unpacks the next block, if it is all there.
    fn unpack(&mut self, compressor: &dyn Compressor) -> Result<bool, RecordingError> {
        let Some(head) = BlockHead::read(&self.stored) else {
            return Ok(false);
        };
        let block = self.blocks;
        let failed = |error| RecordingError::Block { block, error };
        for (what, value, max) in [
            ("stored block", head.stored, MAX_STORED),
            ("block", head.original, MAX_BLOCK),
        ] {
            if value > max {
                let (value, max) = (value as u64, max as u64);
                return Err(failed(WireError::OutOfBounds { what, value, max }.into()));
            }
        }
        let end = BLOCK_HEAD_BYTES + head.stored;
        let Some(stored) = self.stored.get(BLOCK_HEAD_BYTES..end) else {
            return Ok(false);
        };
        if digest(stored) != head.digest {
            return Err(RecordingError::BlockDamaged { block });
        }
        let before = self.unpacked.len();
        compressor
            .decompress(stored, head.original, &mut self.unpacked)
            .map_err(failed)?;
        let came = self.unpacked.len() - before;
        if came != head.original {
            let reason = format!("{came} bytes of {}", head.original);
            let compressor = compressor.id();
            return Err(failed(SnapshotError::Squeezed { compressor, reason }));
        }
        self.stored.drain(..end);
        self.blocks += 1;
        Ok(true)
    }
}
