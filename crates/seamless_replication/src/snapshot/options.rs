//! How files are written and read.

use std::sync::Arc;

use seamless_wire::snapshot::{Compressor, FileHead, MAX_SNAPSHOT, Plain};

/// How files are written and read.
#[derive(Clone)]
pub struct FileOptions {
    /// What squeezes the file. By default Zstandard at level 3, or nothing without the feature
    /// `zstd`. A reader also reads what was written with either of these.
    pub compressor: Arc<dyn Compressor>,
    /// Bytes that are squeezed at a time, at most [`MAX_PIECE`](seamless_wire::snapshot::MAX_PIECE).
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
fn default_compressor() -> Arc<dyn Compressor> {
    Arc::new(seamless_wire::snapshot::Zstd::default())
}

#[cfg(not(feature = "zstd"))]
fn default_compressor() -> Arc<dyn Compressor> {
    Arc::new(Plain)
}

impl FileOptions {
    /// The reader's own compressor, unless one of those that need nothing from it will do.
    pub(super) fn compressor_for(&self, head: &FileHead) -> Arc<dyn Compressor> {
        let wanted = (head.compressor, head.dictionary);
        let common: [Arc<dyn Compressor>; 2] = [Arc::new(Plain), default_compressor()];
        std::iter::once(self.compressor.clone())
            .chain(common)
            .find(|known| wanted == (known.id(), known.dictionary()))
            .unwrap_or_else(|| self.compressor.clone())
    }
}
