//! Why a snapshot was not taken, written, read or decoded.

use std::{io, path::PathBuf};

use seamless_wire::{GlobalEntity, WireError, snapshot::FileError};

/// Why a snapshot cannot be decoded here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StageError {
    /// A component is not registered.
    #[error("{entity} has component {component:#018x}, which is not registered here")]
    Unknown {
        /// Of which entity.
        entity: GlobalEntity,
        /// The hash of the component's path.
        component: u64,
    },
    /// A component comes twice, or before one with a smaller id.
    #[error("{entity} has component {component:#018x} twice or in disorder")]
    Disordered {
        /// Of which entity.
        entity: GlobalEntity,
        /// The hash of the component's path.
        component: u64,
    },
    /// A value does not decode.
    #[error("\"{path}\" of {entity} does not decode: {error}")]
    Undecodable {
        /// Of which entity.
        entity: GlobalEntity,
        /// The component's path.
        path: String,
        /// Why not.
        error: WireError,
    },
}

/// Why a world was not saved. What stood in the file before is still there.
#[derive(Debug, thiserror::Error)]
pub enum SaveError {
    /// A component refuses to be encoded, or there is too much.
    #[error("the world cannot be encoded: {0}")]
    Encode(#[from] WireError),
    /// The file cannot be written.
    #[error("{} cannot be written: {source}", .path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// Why a file was not loaded. Nothing of it reached the world.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file cannot be read.
    #[error("{} cannot be read: {source}", .path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// It is no save file, of another version, cut or damaged.
    #[error("{}: {error}", .path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        error: FileError,
    },
    /// Components in it are not registered here, or are coded in another way.
    #[error("the file has other components: {}", .0.join("; "))]
    Schema(Vec<String>),
    /// A value in it does not decode: its type has changed under the same name.
    #[error(transparent)]
    Value(#[from] StageError),
}
