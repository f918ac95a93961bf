//! A recording in a file, as it is read.

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
    sync::Arc,
};

use seamless_wire::{
    recording::{RECORDING_PREFIX_BYTES, Record, RecordingError, RecordingHead, RecordingReader},
    snapshot::{Compressor, SnapshotError},
};

use crate::snapshot::known;

/// Bytes that are read at a time.
const READ_BYTES: usize = 64 << 10;

/// Why a recording cannot be played, or not from here on.
#[derive(Debug, thiserror::Error)]
pub enum PlaybackError {
    /// The file cannot be read.
    #[error("{} cannot be read: {source}", .path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// It is no recording, of another version, cut or damaged. What came before was played.
    #[error("{}: {error}", .path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        error: RecordingError,
    },
    /// It speaks of another wire version.
    #[error("it was recorded under wire version {theirs}, this is {ours}")]
    WireVersion {
        /// Ours.
        ours: u16,
        /// The recording's.
        theirs: u16,
    },
    /// The recorded app had registered something else.
    #[error("the recorded app had other types: {}", .0.join("; "))]
    Schema(Vec<String>),
    /// The recorded app ran another number of ticks.
    #[error("it was recorded at {theirs} ticks a second, this app runs {ours}")]
    TickRate {
        /// Ours.
        ours: u16,
        /// The recording's.
        theirs: u16,
    },
    /// Only what was sent was recorded.
    #[error("what the app received was not recorded")]
    NothingReceived,
    /// The disk was too slow when it was recorded: what follows cannot be understood.
    #[error("{frames} frames are missing after frame {after}")]
    Gap {
        /// Frames before it.
        after: u64,
        /// How many are missing.
        frames: u32,
    },
}

/// A recording that is read record by record: for playback, and for tools that look into one.
///
/// Holds what one block and one record take, usually less than a megabyte.
pub struct RecordingFile {
    path: PathBuf,
    file: File,
    head: RecordingHead,
    reader: RecordingReader,
    compressor: Arc<dyn Compressor>,
    at_end: bool,
}

impl RecordingFile {
    /// Opens a file and reads its head. `compressor` is one for recordings that need more than the
    /// usual ones: with a dictionary, or an application's own.
    ///
    /// # Errors
    /// [`PlaybackError::Io`], [`PlaybackError::File`].
    pub fn open(
        path: impl Into<PathBuf>,
        compressor: Option<Arc<dyn Compressor>>,
    ) -> Result<Self, PlaybackError> {
        let path = path.into();
        let io = |source| PlaybackError::Io {
            path: path.clone(),
            source,
        };
        let wrong = |error| PlaybackError::File {
            path: path.clone(),
            error,
        };
        let mut file = File::open(&path).map_err(io)?;
        let mut bytes = take(&mut file, RECORDING_PREFIX_BYTES).map_err(io)?;
        let length = RecordingHead::length(&bytes).map_err(wrong)?;
        let rest = take(&mut file, length.saturating_sub(bytes.len())).map_err(io)?;
        bytes.extend(rest);
        let head = RecordingHead::from_bytes(&bytes).map_err(wrong)?;
        let compressor = known(head.compressor, head.dictionary, compressor.as_ref());
        let compressor = compressor.map_err(|error| wrong(unreadable(error)))?;
        Ok(Self {
            path,
            file,
            head,
            reader: RecordingReader::default(),
            compressor,
            at_end: false,
        })
    }

    /// What stands before the records.
    #[must_use]
    pub const fn head(&self) -> &RecordingHead {
        &self.head
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The next record; `None` at the end. Reads 64 KiB at a time.
    ///
    /// # Errors
    /// [`PlaybackError::Io`], [`PlaybackError::File`]. It stays so.
    pub fn next_record(&mut self) -> Result<Option<Record>, PlaybackError> {
        loop {
            let record = self.reader.next(&*self.compressor);
            if let Some(record) = record.map_err(|error| self.wrong(error))? {
                return Ok(Some(record));
            }
            if self.at_end {
                self.reader.finish().map_err(|error| self.wrong(error))?;
                return Ok(None);
            }
            let bytes = take(&mut self.file, READ_BYTES).map_err(|source| PlaybackError::Io {
                path: self.path.clone(),
                source,
            })?;
            self.at_end = bytes.is_empty();
            self.reader.push(&bytes);
        }
    }

    fn wrong(&self, error: RecordingError) -> PlaybackError {
        PlaybackError::File {
            path: self.path.clone(),
            error,
        }
    }
}

const fn unreadable(error: SnapshotError) -> RecordingError {
    RecordingError::Block { block: 0, error }
}

/// Up to so many bytes: fewer where the file ends.
fn take(file: &mut File, count: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(count as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}
