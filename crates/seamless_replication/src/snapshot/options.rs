//! How files are written and read.

use std::sync::Arc;

use seamless_wire::snapshot::{Compressor, FileHead, MAX_SNAPSHOT, Plain, SnapshotError};

/// How files are written and read.
#[derive(Clone)]
pub struct FileOptions {
    /// What squeezes the file. By default Zstandard at level 3, or nothing without the feature
    /// `zstd`. A reader also reads what was written with either of these.
    pub compressor: Arc<dyn Compressor>,
    /// Bytes that are squeezed at a time, 4 KiB to 1 MiB.
    /// 256 KiB by default: what is larger compresses hardly better.
    pub piece_bytes: usize,
    /// Most bytes that a reader takes, before compression. 64 MiB by default, and never more.
    pub max_bytes: usize,
}

impl Default for FileOptions {
    fn default() -> Self {
        Self {
            compressor: default_compressor(),
            piece_bytes: 256 << 10,
            max_bytes: MAX_SNAPSHOT,
        }
    }
}

#[cfg(feature = "zstd")]
pub(crate) fn default_compressor() -> Arc<dyn Compressor> {
    Arc::new(seamless_wire::snapshot::Zstd::default())
}

#[cfg(not(feature = "zstd"))]
pub(crate) fn default_compressor() -> Arc<dyn Compressor> {
    Arc::new(Plain)
}

impl FileOptions {
    /// The reader's own compressor, unless one of those that need nothing from it will do. One with
    /// another number or dictionary than the head says, if there is none: it refuses by name.
    pub(super) fn compressor_for(&self, head: &FileHead) -> Arc<dyn Compressor> {
        known(head.compressor, head.dictionary, Some(&self.compressor))
            .unwrap_or_else(|_| self.compressor.clone())
    }
}

/// The compressor with this number and dictionary: `own`, or one of those that need nothing.
///
/// # Errors
/// [`SnapshotError`] that says what is missing.
pub(crate) fn known(
    id: u8,
    dictionary: u64,
    own: Option<&Arc<dyn Compressor>>,
) -> Result<Arc<dyn Compressor>, SnapshotError> {
    let common: [Arc<dyn Compressor>; 2] = [Arc::new(Plain), default_compressor()];
    let all = || own.into_iter().chain(&common);
    if let Some(found) = all().find(|c| (c.id(), c.dictionary()) == (id, dictionary)) {
        return Ok(found.clone());
    }
    let (ours, theirs) = (all().next().map_or(0, |c| c.id()), id);
    match all().find(|c| c.id() == id) {
        Some(found) => Err(SnapshotError::Dictionary {
            ours: found.dictionary(),
            theirs: dictionary,
        }),
        None => Err(SnapshotError::Compressor { ours, theirs }),
    }
}
