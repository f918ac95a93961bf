//! A file to a saved world.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

use seamless_wire::{
    WireError,
    snapshot::{FILE_PREFIX_BYTES, FileError, FileHead, SnapshotAssembler},
};

use super::{FileOptions, SavedWorld};

/// Without the path, which the caller knows.
pub(super) enum ReadError {
    Io(io::Error),
    File(FileError),
}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<FileError> for ReadError {
    fn from(error: FileError) -> Self {
        Self::File(error)
    }
}

/// Reads a file piece by piece.
pub(super) fn read(path: &Path, options: &FileOptions) -> Result<SavedWorld, ReadError> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    let mut before = take_bytes(&mut file, FILE_PREFIX_BYTES)?;
    let wanted = FileHead::length(&before)?;
    before.extend(take_bytes(&mut file, wanted - before.len())?);
    let head = FileHead::from_bytes(&before)?;
    head.check_length(before.len(), length)?;
    let compressor = options.compressor_for(&head);
    let mut assembler = SnapshotAssembler::with_limit(options.max_bytes);
    let mut whole = None;
    for (index, piece) in head.pieces.iter().enumerate() {
        let payload = take_bytes(&mut file, piece.bytes as usize)?;
        let chunk = head.chunk(index, payload)?;
        whole = assembler
            .push(&chunk, &*compressor)
            .map_err(FileError::Snapshot)?;
    }
    let Some(snapshot) = whole else {
        let missing = WireError::OutOfBounds {
            what: "bytes of a snapshot without pieces",
            value: head.total.into(),
            max: 0,
        };
        return Err(FileError::Head(missing).into());
    };
    Ok(SavedWorld {
        snapshot,
        tick_rate: head.tick_rate,
        free_name: head.free_name,
        components: head.components,
        kept: head.kept,
    })
}

/// Up to so many bytes: fewer where the file ends.
fn take_bytes(file: &mut File, count: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(count as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}
