//! Zstandard.

use std::{fmt, sync::Arc};

use zstd::{
    bulk,
    dict::{DecoderDictionary, EncoderDictionary},
    stream::raw::{Decoder, InBuffer, Operation, OutBuffer},
    zstd_safe::{CDict, DDict, DParameter, compress_bound},
};

use super::{Compressor, MAX_PIECE, SnapshotError, digest};

/// Bytes that are unpacked at a time.
const STEP: usize = 64 << 10;

/// A piece's own window is never larger than the piece. What asks for more is not of our making.
const MAX_WINDOW_LOG: u32 = MAX_PIECE.ilog2();

/// Squeezes pieces with Zstandard.
///
/// Unpacking takes 1.5 MiB beside what comes out, whatever the bytes claim. Cheap to clone.
#[derive(Clone)]
pub struct Zstd {
    level: i32,
    dictionary: Option<Arc<Dictionary>>,
}

struct Dictionary {
    digest: u64,
    encoder: EncoderDictionary<'static>,
    decoder: DecoderDictionary<'static>,
}

/// The bytes are no dictionary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{bytes} bytes that are no Zstandard dictionary")]
pub struct BadDictionary {
    /// How many bytes.
    pub bytes: usize,
}

impl fmt::Debug for Zstd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Zstd")
            .field("level", &self.level)
            .field("dictionary", &self.dictionary())
            .finish()
    }
}

impl Default for Zstd {
    /// Level 3, Zstandard's own default, without a dictionary.
    fn default() -> Self {
        Self::new(3)
    }
}

impl Zstd {
    /// The number of this compressor in a chunk.
    pub const ID: u8 = 1;

    /// At a level from 1 (fast) to 19 (small). Others are taken to the nearest of these.
    #[must_use]
    pub fn new(level: i32) -> Self {
        Self {
            level: level.clamp(1, 19),
            dictionary: None,
        }
    }

    /// With a dictionary that both ends have: one that was trained, or any bytes that look like
    /// what will be squeezed. A reader without it refuses what comes out
    /// ([`SnapshotError::Dictionary`]).
    ///
    /// # Errors
    /// [`BadDictionary`] if there are no bytes, or they begin like a trained dictionary and are none.
    pub fn with_dictionary(mut self, bytes: &[u8]) -> Result<Self, BadDictionary> {
        let bad = BadDictionary { bytes: bytes.len() };
        if bytes.is_empty()
            || CDict::try_create(bytes, self.level).is_none()
            || DDict::try_create(bytes).is_none()
        {
            return Err(bad);
        }
        self.dictionary = Some(Arc::new(Dictionary {
            // 0 means none.
            digest: digest(bytes).max(1),
            encoder: EncoderDictionary::copy(bytes, self.level),
            decoder: DecoderDictionary::copy(bytes),
        }));
        Ok(self)
    }

    fn squeeze(&self, input: &[u8], out: &mut Vec<u8>) -> std::io::Result<()> {
        let mut compressor = match &self.dictionary {
            Some(dictionary) => bulk::Compressor::with_prepared_dictionary(&dictionary.encoder)?,
            None => bulk::Compressor::new(self.level)?,
        };
        let mut squeezed = Vec::with_capacity(compress_bound(input.len()));
        compressor.compress_to_buffer(input, &mut squeezed)?;
        out.extend_from_slice(&squeezed);
        Ok(())
    }

    fn decoder(&self) -> std::io::Result<Decoder<'_>> {
        let mut decoder = match &self.dictionary {
            Some(dictionary) => Decoder::with_prepared_dictionary(&dictionary.decoder)?,
            None => Decoder::new()?,
        };
        decoder.set_parameter(DParameter::WindowLogMax(MAX_WINDOW_LOG))?;
        Ok(decoder)
    }
}

impl Compressor for Zstd {
    fn id(&self) -> u8 {
        Self::ID
    }

    fn dictionary(&self) -> u64 {
        self.dictionary.as_ref().map_or(0, |d| d.digest)
    }

    fn compress(&self, input: &[u8], out: &mut Vec<u8>) {
        self.squeeze(input, out)
            .expect("Zstandard has room for the worst case");
    }

    fn decompress(&self, input: &[u8], max: usize, out: &mut Vec<u8>) -> Result<(), SnapshotError> {
        let failed = |error: std::io::Error| unreadable(&error.to_string());
        let mut decoder = self.decoder().map_err(failed)?;
        let mut source = InBuffer::around(input);
        let start = out.len();
        let mut step = vec![0; STEP.min(max + 1)];
        loop {
            let mut target = OutBuffer::around(&mut step[..]);
            let hint = decoder.run(&mut source, &mut target).map_err(failed)?;
            let came = target.as_slice();
            if out.len() - start + came.len() > max {
                return Err(SnapshotError::Bomb { max });
            }
            let full = came.len() == target.capacity();
            out.extend_from_slice(came);
            let left = input.len() - source.pos();
            match (hint, left) {
                (0, 0) => return Ok(()),
                (0, left) => return Err(unreadable(&format!("{left} bytes after the end"))),
                // All of it is read, and it holds nothing back.
                (_, 0) if !full => return Err(unreadable("it ends too early")),
                _ => {}
            }
        }
    }
}

fn unreadable(reason: &str) -> SnapshotError {
    SnapshotError::Squeezed {
        compressor: Zstd::ID,
        reason: reason.into(),
    }
}
