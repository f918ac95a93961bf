//! Bytes against a baseline's bytes.
//!
//! For values whose meaning we do not know (any serde component). Another length than the
//! baseline's travels whole. Equal length means that most of it stayed, and there are two ways to
//! say what did not; the writer takes the shorter:
//!
//! * *bytes*: a mask says which changed and only those travel. Groups of eight bytes that stayed
//!   cost one bit;
//! * *words*, for values of whole 32-bit words: each is taken for an `f32`, predicted from the last
//!   two values that both ends have, and the distance to the prediction in the order of the floats
//!   travels. Nothing is lost, and a body in flight costs its acceleration only.

mod words;

use crate::{BitReader, BitWriter, WireError};

/// Bytes of one mask.
const GROUP: usize = 8;

/// What both ends have of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Baseline<'a> {
    /// The state that the new one is told against.
    pub value: &'a [u8],
    /// The state just before that one, and how many changes the new one is ahead of the baseline,
    /// if both ends have it: what moved goes on moving.
    pub before: Option<(&'a [u8], u32)>,
}

impl<'a> Baseline<'a> {
    /// A baseline without a past.
    #[must_use]
    pub const fn still(value: &'a [u8]) -> Self {
        Self {
            value,
            before: None,
        }
    }

    /// The state before it, if it has as many bytes, and the steps ahead.
    #[must_use]
    #[inline]
    pub fn motion(&self) -> Option<(&'a [u8], u32)> {
        self.before
            .filter(|(before, steps)| *steps > 0 && before.len() == self.value.len())
    }
}

/// Writes `new` so that a reader with the same `base` can restore it.
///
/// Costs one pass over `new`. Without a baseline, or with one of another length: a length and the
/// bytes.
pub fn write_bytes(w: &mut BitWriter, base: Option<Baseline<'_>>, new: &[u8]) {
    let Some(base) = base else {
        write_whole(w, new);
        return;
    };
    let resized = base.value.len() != new.len();
    w.put_bool(resized);
    if resized {
        write_whole(w, new);
        return;
    }
    if words::are_in(new.len()) && words::write(w, &base, new) {
        return;
    }
    for (old, new) in base.value.chunks(GROUP).zip(new.chunks(GROUP)) {
        let mask = byte_mask(old, new);
        w.put_bool(mask != 0);
        if mask != 0 {
            w.put(mask, new.len() as u32);
            for (_, &byte) in new.iter().enumerate().filter(|(i, _)| mask >> i & 1 != 0) {
                w.put(u64::from(byte), 8);
            }
        }
    }
}

/// Up to eight bytes as a number.
#[inline]
fn group(bytes: &[u8]) -> u64 {
    if let Ok(eight) = bytes.try_into() {
        return u64::from_le_bytes(eight);
    }
    let shifted = bytes.iter().enumerate();
    shifted.fold(0, |group, (at, &byte)| group | u64::from(byte) << (at * 8))
}

/// The high bit of each byte that is not zero.
#[inline]
const fn high_bits(bytes: u64) -> u64 {
    const LOW: u64 = 0x7f7f_7f7f_7f7f_7f7f;
    (((bytes & LOW) + LOW) | bytes) & !LOW
}

/// Bit `i`: byte `i` differs.
fn byte_mask(old: &[u8], new: &[u8]) -> u64 {
    // Brings the high bits of all bytes together in the highest byte.
    (high_bits(group(old) ^ group(new)) >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56
}

/// What a group of `len` bytes takes as changed bytes; `differ` is not zero where they changed.
#[inline]
const fn group_bits(differ: u64, len: usize) -> u32 {
    // All counts are summed up in the highest byte.
    let changed = ((high_bits(differ) >> 7).wrapping_mul(0x0101_0101_0101_0101) >> 56) as u32;
    match changed {
        0 => 1,
        changed => 1 + len as u32 + changed * 8,
    }
}

fn write_whole(w: &mut BitWriter, bytes: &[u8]) {
    w.put_golomb(bytes.len() as u64, 4);
    w.put_bytes(bytes);
}

/// Appends to `out` what [`write_bytes`] wrote against the same `base`.
///
/// # Errors
/// [`WireError`] if the bits end early or a length is above `max`. What was appended by then is
/// left for the caller to drop.
pub fn read_bytes(
    r: &mut BitReader<'_>,
    base: Option<Baseline<'_>>,
    max: usize,
    out: &mut Vec<u8>,
) -> Result<(), WireError> {
    if let Some(base) = base {
        let start = out.len();
        out.extend_from_slice(base.value);
        if read_bytes_over(r, base, &mut out[start..])? {
            return Ok(());
        }
        out.truncate(start);
    }
    let len = r.get_bounded(4, max as u64, "length of a value")? as usize;
    r.get_bytes(len, out)
}

/// As [`read_bytes`], over a copy of `base.value`. False if the value has another length: it is
/// still to be read, and `out` is as it was.
///
/// # Errors
/// As [`read_bytes`]; `out` is of no use then.
#[inline]
pub fn read_bytes_over(
    r: &mut BitReader<'_>,
    base: Baseline<'_>,
    out: &mut [u8],
) -> Result<bool, WireError> {
    debug_assert_eq!(base.value, out, "no copy");
    if r.get_bool()? {
        return Ok(false);
    }
    if words::are_in(out.len()) && r.get_bool()? {
        words::read(r, &base, out)?;
        return Ok(true);
    }
    for group in out.chunks_mut(GROUP) {
        if r.get_bool()? {
            let mask = r.get(group.len() as u32)?;
            if mask == 0 {
                return Err(WireError::Invalid {
                    what: "empty byte mask",
                    value: 0,
                });
            }
            for (_, byte) in group
                .iter_mut()
                .enumerate()
                .filter(|(i, _)| mask >> i & 1 != 0)
            {
                *byte = r.get(8)? as u8;
            }
        }
    }
    Ok(true)
}

/// Goes past what [`write_bytes`] wrote against a baseline of `len` bytes. False if the value has
/// another length, and is still to be read.
///
/// # Errors
/// [`WireError`] if the bits end early. What they mean is not looked at.
pub fn skip_bytes(r: &mut BitReader<'_>, len: usize) -> Result<bool, WireError> {
    if r.get_bool()? {
        return Ok(false);
    }
    if words::are_in(len) && r.get_bool()? {
        words::skip(r, len)?;
        return Ok(true);
    }
    for at in (0..len).step_by(GROUP) {
        if r.get_bool()? {
            let mask = r.get((len - at).min(GROUP) as u32)?;
            r.skip(mask.count_ones() * 8)?;
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn round_trip(base: Option<Baseline<'_>>, new: &[u8]) -> (Vec<u8>, usize) {
        let mut w = BitWriter::new();
        write_bytes(&mut w, base, new);
        let bits = w.bit_len();
        let bytes = w.finish().to_vec();
        let mut r = BitReader::new(&bytes);
        let mut out = vec![];
        read_bytes(&mut r, base, 1000, &mut out).unwrap();
        if base.is_some_and(|base| base.value.len() == new.len()) {
            let mut past = BitReader::new(&bytes);
            assert_eq!(skip_bytes(&mut past, new.len()), Ok(true));
            assert_eq!(past.position(), r.position());
        }
        assert_eq!(r.expect_end(), Ok(()));
        (out, bits)
    }

    fn floats(values: &[f32]) -> Vec<u8> {
        values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect()
    }

    proptest! {
        #[test]
        fn any_bytes_survive_any_baseline(
            base in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..40)),
            before in proptest::option::of((proptest::collection::vec(any::<u8>(), 0..40), 0u32..9)),
            new in proptest::collection::vec(any::<u8>(), 0..40),
            same in any::<bool>(),
        ) {
            let new = match (&base, same) {
                (Some(base), true) => base.iter().enumerate().map(|(i, b)| if i % 3 == 0 { b ^ 1 } else { *b }).collect(),
                _ => new,
            };
            let base = base.as_deref().map(|value| Baseline {
                value,
                before: before.as_ref().map(|(before, steps)| (&before[..], *steps)),
            });
            prop_assert_eq!(round_trip(base, &new).0, new);
        }

        #[test]
        fn any_words_survive_any_past(
            words in proptest::collection::vec(any::<[u32; 3]>(), 0..40),
            steps in 0u32..40,
        ) {
            let column = |i: usize| -> Vec<u8> {
                words.iter().flat_map(|word| word[i].to_le_bytes()).collect()
            };
            let (value, before, new) = (column(0), column(1), column(2));
            let base = Baseline { value: &value, before: Some((&before, steps)) };
            prop_assert_eq!(round_trip(Some(base), &new).0, new);
        }

        #[test]
        fn junk_never_panics_nor_grows(
            bytes in proptest::collection::vec(any::<u8>(), 0..64),
            base in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..20)),
        ) {
            let mut out = vec![];
            let base = base.as_deref().map(|value| Baseline { value, before: Some((value, 3)) });
            let _ = read_bytes(&mut BitReader::new(&bytes), base, 32, &mut out);
            prop_assert!(out.len() <= 32);
        }
    }

    #[test]
    fn an_unchanged_value_costs_little() {
        let base = [1; 41];
        let (_, bits) = round_trip(Some(Baseline::still(&base)), &base);
        assert_eq!(bits, 1 + 6, "one bit in eight bytes");
        let (_, bits) = round_trip(Some(Baseline::still(&base[..40])), &base[..40]);
        assert_eq!(bits, 1 + 1 + 5, "and one for the way");
    }

    #[test]
    fn what_goes_on_as_before_costs_a_few_bits() {
        let (before, base) = (floats(&[10.0, -3.0, 0.0]), floats(&[10.25, -3.5, 0.0]));
        let new = floats(&[10.75, -4.5, 0.0]);
        let still = round_trip(Some(Baseline::still(&base)), &new).1;
        let moving = Baseline {
            value: &base,
            before: Some((&before, 2)),
        };
        assert_eq!(round_trip(Some(moving), &new).1, 2 + 3);
        assert!(still > 20, "{still}");
    }
}
