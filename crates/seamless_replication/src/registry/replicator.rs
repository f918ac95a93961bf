//! How a component becomes bits.

use std::marker::PhantomData;

use bevy::prelude::*;
use seamless_wire::{
    BitReader, BitWriter, WireError, codec,
    delta::{self, Baseline},
};
use serde::{Serialize, de::DeserializeOwned};

/// Largest row value of one component, in bytes.
pub const MAX_COMPONENT_BYTES: usize = 256 << 10;

/// Turns a component into a *row value* (bytes that are kept, compared and used as a baseline) and
/// a row value into bits against a baseline.
///
/// The default coding of bits is right for any bytes: what changed against the baseline travels.
/// Implement this to do better for a type, for example with quantised integers; the row value is
/// then the integers, so that a value that quantises to the same is no change.
///
/// `write` then `read` may lose precision, but must be stable: writing what was read gives the
/// same row value.
pub trait Replicator<C>: Send + Sync + 'static {
    /// The coding and every parameter that changes its bits, in words. Part of the schema, which
    /// peers compare.
    fn describe(&self) -> String;

    /// Appends the row value of `component`, at most [`MAX_COMPONENT_BYTES`].
    ///
    /// # Errors
    /// [`WireError`] if it cannot be expressed. It is counted, as one that is too long is, and the last value
    /// that could be stands; if there is none, nothing of the entity's changes is told until it can be.
    fn write(&self, component: &C, out: &mut Vec<u8>) -> Result<(), WireError>;

    /// The component of a row value.
    ///
    /// # Errors
    /// [`WireError`] if the value has no meaning. Values come from the network: no panic.
    fn read(&self, value: &[u8]) -> Result<C, WireError>;

    /// Writes `value` as bits against `base`.
    fn encode(&self, base: Option<Baseline<'_>>, value: &[u8], w: &mut BitWriter) {
        delta::write_bytes(w, base, value);
    }

    /// Appends to `out` the row value that was encoded against the same `base`.
    ///
    /// # Errors
    /// [`WireError`] for bits that [`encode`](Self::encode) cannot have made.
    fn decode(
        &self,
        base: Option<Baseline<'_>>,
        r: &mut BitReader<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), WireError> {
        delta::read_bytes(r, base, MAX_COMPONENT_BYTES, out)
    }

    /// As [`decode`](Self::decode), over a copy of `base.value`: nearly all values stay as long as
    /// they were, and need no place made for them. False if it cannot be done for this value;
    /// then `decode` reads it from where `r` stood. Implement it if you can for a coding of your
    /// own, for speed; without, `decode` does it all.
    ///
    /// # Errors
    /// As [`decode`](Self::decode).
    fn decode_over(
        &self,
        base: Baseline<'_>,
        r: &mut BitReader<'_>,
        value: &mut [u8],
    ) -> Result<bool, WireError> {
        let _ = (base, r, value);
        Ok(false)
    }

    /// Goes past the bits of a value that is as long as its baseline, which has `len` bytes. False
    /// if it cannot be done, or the value is longer or shorter. Only to look ahead for what is
    /// needed next: a wrong answer does no harm but to speed.
    ///
    /// # Errors
    /// [`WireError`] for bits that [`encode`](Self::encode) cannot have made.
    fn skip(&self, len: usize, r: &mut BitReader<'_>) -> Result<bool, WireError> {
        let _ = (len, r);
        Ok(false)
    }
}

/// How [`Lossless`] describes itself.
pub(super) const SERDE: &str = "serde";

/// Any serde component, lossless.
pub struct Lossless<C>(PhantomData<fn() -> C>);

impl<C> Default for Lossless<C> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<C: Component + Serialize + DeserializeOwned> Replicator<C> for Lossless<C> {
    fn describe(&self) -> String {
        SERDE.into()
    }

    fn write(&self, component: &C, out: &mut Vec<u8>) -> Result<(), WireError> {
        codec::encode(component, out)
    }

    // Where a component is overwritten, what was read goes there and nowhere else on its way.
    #[inline(always)]
    fn read(&self, value: &[u8]) -> Result<C, WireError> {
        codec::decode(value)
    }

    fn decode_over(
        &self,
        base: Baseline<'_>,
        r: &mut BitReader<'_>,
        value: &mut [u8],
    ) -> Result<bool, WireError> {
        delta::read_bytes_over(r, base, value)
    }

    fn skip(&self, len: usize, r: &mut BitReader<'_>) -> Result<bool, WireError> {
        delta::skip_bytes(r, len)
    }
}
