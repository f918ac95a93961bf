//! Lists of integers against a baseline's: quantised values.
//!
//! Each is predicted from the last two lists that both ends have, as a body in flight goes on
//! flying, and the distance travels: a zero in one bit, others in as many as they have and about
//! half of that again. Against nothing, each says how many bits it has.

use crate::{
    BitReader, BitWriter, WireError,
    bits::{Ahead, Run, unzigzag, zigzag},
    delta::Baseline,
};

/// Most integers of one value.
pub const MAX_INTS: usize = 64;

/// Most pairs of bits of a distance: all of an `i32`.
const MAX_PAIRS: u32 = 16;

#[inline]
fn ints_of(bytes: &[u8]) -> impl Iterator<Item = i32> {
    let words = bytes.as_chunks::<4>().0.iter();
    words.map(|word| i32::from_le_bytes(*word))
}

/// The integer that is to be expected. Wraps, as everything about distances here does.
const fn predict(last: i32, motion: Option<(i32, u32)>) -> i32 {
    match motion {
        None => last,
        Some((before, steps)) => {
            last.wrapping_add(last.wrapping_sub(before).wrapping_mul(steps as i32))
        }
    }
}

/// Writes `new`, integers of four bytes with the lowest first, so that a reader with the same
/// `base` can restore it. At most [`MAX_INTS`]; more are cut off.
pub fn write_ints(w: &mut BitWriter, base: Option<Baseline<'_>>, new: &[u8]) {
    debug_assert!(new.len().is_multiple_of(4) && new.len() <= MAX_INTS * 4);
    let count = (new.len() / 4).min(MAX_INTS);
    if let Some(base) = base {
        w.put_bool(base.value.len() != new.len());
        if base.value.len() == new.len() {
            let mut run = Run::new(w);
            let pairs = ints_of(new).zip(ints_of(base.value)).take(count);
            match base.motion() {
                None => {
                    for (new, last) in pairs {
                        run.put(distance_code(new.wrapping_sub(last)));
                    }
                }
                Some((before, steps)) => {
                    for ((new, last), before) in pairs.zip(ints_of(before)) {
                        let expected = predict(last, Some((before, steps)));
                        run.put(distance_code(new.wrapping_sub(expected)));
                    }
                }
            }
            run.finish();
            return;
        }
    }
    w.put_golomb(count as u64, 2);
    for int in ints_of(new).take(count) {
        put_whole(w, int);
    }
}

/// Appends to `out` what [`write_ints`] wrote against the same `base`.
///
/// # Errors
/// [`WireError`] if the bits end early or there are more than [`MAX_INTS`], or `base` is no list of
/// integers. What was appended by then is left for the caller to drop.
pub fn read_ints(
    r: &mut BitReader<'_>,
    base: Option<Baseline<'_>>,
    out: &mut Vec<u8>,
) -> Result<(), WireError> {
    if let Some(base) = base {
        let start = out.len();
        if base.value.len() <= MAX_INTS * 4 {
            out.extend_from_slice(base.value);
        }
        if read_ints_over(r, base, &mut out[start..])? {
            return Ok(());
        }
        out.truncate(start);
    }
    let count = r.get_bounded(2, MAX_INTS as u64, "integers of a value")?;
    for _ in 0..count {
        out.extend_from_slice(&get_whole(r)?.to_le_bytes());
    }
    Ok(())
}

/// As [`read_ints`], in the place of `out`, which has the length of `base.value`. False if there are
/// more or fewer integers now: they are still to be read, and `out` is as it was.
///
/// # Errors
/// As [`read_ints`]; `out` is of no use then.
#[inline]
pub fn read_ints_over(
    r: &mut BitReader<'_>,
    base: Baseline<'_>,
    out: &mut [u8],
) -> Result<bool, WireError> {
    if r.get_bool()? {
        return Ok(false);
    }
    let len = base.value.len();
    if !len.is_multiple_of(4) || len > MAX_INTS * 4 || len != out.len() {
        return Err(WireError::Invalid {
            what: "length of a baseline of integers",
            value: len as u64,
        });
    }
    let mut ahead = Ahead::new(r);
    let places = out.as_chunks_mut::<4>().0.iter_mut();
    let places = places.zip(ints_of(base.value));
    match base.motion() {
        None => {
            for (place, last) in places {
                let int = last.wrapping_add(get_distance(&mut ahead)?);
                *place = int.to_le_bytes();
            }
        }
        Some((before, steps)) => {
            for ((place, last), before) in places.zip(ints_of(before)) {
                let expected = predict(last, Some((before, steps)));
                let int = expected.wrapping_add(get_distance(&mut ahead)?);
                *place = int.to_le_bytes();
            }
        }
    }
    ahead.finish()?;
    Ok(true)
}

/// `n` bits, of which the highest is known, after a prefix: `0` for none, else a one for each pair
/// of `n`, a zero, and which of the pair it is.
#[inline(always)]
fn distance_code(distance: i32) -> (u64, u32) {
    let value = zigzag(i64::from(distance));
    if value == 0 {
        return (0, 1);
    }
    let low = value.ilog2();
    let pairs = low / 2 + 1;
    let prefix = ((1u64 << pairs) - 1) | (u64::from(low % 2) << (pairs + 1));
    let rest = value & ((1 << low) - 1);
    (prefix | rest << (pairs + 2), pairs + 2 + low)
}

/// Goes past what [`write_ints`] wrote against a baseline of `len` bytes. False if the value has
/// another length, and is still to be read.
///
/// # Errors
/// [`WireError`] if the bits end early. What they mean is not looked at.
pub fn skip_ints(r: &mut BitReader<'_>, len: usize) -> Result<bool, WireError> {
    if r.get_bool()? {
        return Ok(false);
    }
    let mut ahead = Ahead::new(r);
    for _ in 0..len.min(MAX_INTS * 4) / 4 {
        ahead.next(distance_of)?;
    }
    ahead.finish()?;
    Ok(true)
}

/// Length and value of the distance that these bits begin with, the sign in the lowest bit. More than
/// 32 bits after a prefix that is longer than any: that counts as [`MAX_PAIRS`] and one more.
#[inline(always)]
fn distance_of(bits: u64) -> (u32, u64) {
    let pairs = (!bits | 1 << (MAX_PAIRS + 1)).trailing_zeros();
    // Without a branch: what rests and what moves come mixed.
    let any = u32::from(pairs != 0).wrapping_neg();
    let rest = bits >> (pairs + 1);
    let low = (pairs * 2 + (rest as u32 & 1)).wrapping_sub(2) & any;
    let value = 1 << low | (rest >> 1) & ((1 << low) - 1);
    (
        1 + ((pairs + 1 + low) & any),
        value & u64::from(any & 1).wrapping_neg(),
    )
}

/// Takes the next distance.
#[inline(always)]
fn get_distance(ahead: &mut Ahead<'_, '_>) -> Result<i32, WireError> {
    let value = ahead.next(distance_of)?;
    if value > u32::MAX.into() {
        return Err(WireError::Invalid {
            what: "width of an integer",
            value: (MAX_PAIRS + 1).into(),
        });
    }
    Ok(unzigzag(value) as i32)
}

/// The number of bits in six, and the bits, of which the highest is known. A zero is a one of one
/// bit less.
fn put_whole(w: &mut BitWriter, int: i32) {
    let value = zigzag(i64::from(int)) + 1;
    let low = 63 - value.leading_zeros();
    w.put(u64::from(low), 6);
    w.put(value & ((1 << low) - 1), low);
}

fn get_whole(r: &mut BitReader<'_>) -> Result<i32, WireError> {
    let low = r.get(6)? as u32;
    if low > 32 {
        return Err(WireError::Invalid {
            what: "width of an integer",
            value: low.into(),
        });
    }
    let value = (1 << low | r.get(low)?) - 1;
    Ok(unzigzag(value) as i32)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bytes(ints: &[i32]) -> Vec<u8> {
        ints.iter().flat_map(|int| int.to_le_bytes()).collect()
    }

    fn round_trip(base: Option<Baseline<'_>>, new: &[u8]) -> (Vec<u8>, usize) {
        let mut w = BitWriter::new();
        write_ints(&mut w, base, new);
        let bits = w.bit_len();
        let written = w.finish().to_vec();
        let mut r = BitReader::new(&written);
        let mut out = vec![];
        read_ints(&mut r, base, &mut out).unwrap();
        if base.is_some_and(|base| base.value.len() == new.len()) {
            let mut past = BitReader::new(&written);
            assert_eq!(skip_ints(&mut past, new.len()), Ok(true));
            assert_eq!(past.position(), r.position());
        }
        assert_eq!(r.expect_end(), Ok(()));
        (out, bits)
    }

    fn int() -> impl Strategy<Value = i32> {
        prop_oneof![any::<i32>(), -9..9, Just(i32::MIN), Just(i32::MAX)]
    }

    proptest! {
        #[test]
        fn any_integers_survive_any_past(
            base in proptest::option::of(proptest::collection::vec(int(), 0..9)),
            before in proptest::option::of((proptest::collection::vec(int(), 0..9), 0u32..40)),
            new in proptest::collection::vec(int(), 0..9),
            same in any::<bool>(),
        ) {
            let before = before.map(|(before, steps)| (bytes(&before), steps));
            let new = match &base {
                Some(base) if same => base.iter().zip(new.iter().chain(std::iter::repeat(&1)))
                    .map(|(base, new)| base.wrapping_add(*new)).collect(),
                _ => new,
            };
            let base = base.as_deref().map(bytes);
            let base = base.as_deref().map(|value| Baseline {
                value,
                before: before.as_ref().map(|(before, steps)| (&before[..], *steps)),
            });
            let new = bytes(&new);
            prop_assert_eq!(round_trip(base, &new).0, new);
        }

        #[test]
        fn junk_never_panics_nor_grows(junk in proptest::collection::vec(any::<u8>(), 0..64), base in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..300))) {
            let mut out = vec![];
            let base = base.as_deref().map(|value| Baseline { value, before: Some((value, 3)) });
            let _ = read_ints(&mut BitReader::new(&junk), base, &mut out);
            prop_assert!(out.len() <= MAX_INTS * 4);
        }
    }

    #[test]
    fn what_goes_on_as_before_costs_a_bit_each() {
        let (before, base, new) = (bytes(&[10, -7]), bytes(&[15, -9]), bytes(&[25, -13]));
        let base = Baseline {
            value: &base,
            before: Some((&before, 2)),
        };
        assert_eq!(round_trip(Some(base), &new).1, 1 + 2);
        let base = Baseline::still(base.value);
        assert_eq!(round_trip(Some(base), &new).1, 1 + 9 + 6);
    }

    #[test]
    fn distances_take_these_bits() {
        for (distance, expected) in [(0, 1), (-1, 3), (1, 4), (2, 6), (4, 7), (-8, 7), (8, 9)] {
            let mut w = BitWriter::new();
            let (bits, len) = distance_code(distance);
            w.put(bits, len);
            assert_eq!(w.bit_len(), expected, "{distance}");
        }
    }
}
