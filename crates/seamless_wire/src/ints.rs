//! Lists of integers against a baseline's: quantised values.
//!
//! Each is predicted from the last two lists that both ends have, as a body in flight goes on
//! flying, and the distance travels: a zero in one bit, others in as many as they have and about
//! half of that again. Against nothing, each says how many bits it has.

use crate::{
    BitReader, BitWriter, WireError,
    bits::{unzigzag, zigzag},
    delta::Baseline,
};

/// Most integers of one value.
pub const MAX_INTS: usize = 64;

#[inline]
fn int_at(bytes: &[u8], at: usize) -> i32 {
    i32::from_le_bytes(bytes.as_chunks::<4>().0[at])
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
            let motion = base.motion();
            for at in 0..count {
                let motion = motion.map(|(before, steps)| (int_at(before, at), steps));
                let expected = predict(int_at(base.value, at), motion);
                put_distance(w, int_at(new, at).wrapping_sub(expected));
            }
            return;
        }
    }
    w.put_golomb(count as u64, 2);
    for at in 0..count {
        put_whole(w, int_at(new, at));
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
    if let Some(base) = base
        && !r.get_bool()?
    {
        let len = base.value.len();
        if !len.is_multiple_of(4) || len > MAX_INTS * 4 {
            return Err(WireError::Invalid {
                what: "length of a baseline of integers",
                value: len as u64,
            });
        }
        let motion = base.motion();
        let start = out.len();
        out.resize(start + len, 0);
        let (places, _) = out[start..].as_chunks_mut::<4>();
        for (at, place) in places.iter_mut().enumerate() {
            let motion = motion.map(|(before, steps)| (int_at(before, at), steps));
            let expected = predict(int_at(base.value, at), motion);
            *place = expected.wrapping_add(get_distance(r)?).to_le_bytes();
        }
        return Ok(());
    }
    let count = r.get_bounded(2, MAX_INTS as u64, "integers of a value")?;
    for _ in 0..count {
        out.extend_from_slice(&get_whole(r)?.to_le_bytes());
    }
    Ok(())
}

/// `n` bits, of which the highest is known, after a prefix: `0` for none, else a one for each pair
/// of `n`, a zero, and which of the pair it is.
fn put_distance(w: &mut BitWriter, distance: i32) {
    let value = zigzag(i64::from(distance));
    if value == 0 {
        w.put(0, 1);
        return;
    }
    let low = 63 - value.leading_zeros();
    let pairs = low / 2 + 1;
    let prefix = ((1u64 << pairs) - 1) | (u64::from(low % 2) << (pairs + 1));
    let rest = value & ((1 << low) - 1);
    w.put(prefix | rest << (pairs + 2), pairs + 2 + low);
}

#[inline]
fn get_distance(r: &mut BitReader<'_>) -> Result<i32, WireError> {
    let bits = r.peek();
    let pairs = bits.trailing_ones();
    if pairs == 0 {
        r.skip(1)?;
        return Ok(0);
    }
    if pairs > 16 {
        return Err(WireError::Invalid {
            what: "width of an integer",
            value: pairs.into(),
        });
    }
    let low = (pairs - 1) * 2 + (bits >> (pairs + 1)) as u32 % 2;
    r.skip(pairs + 2 + low)?;
    let value = 1 << low | (bits >> (pairs + 2)) & ((1 << low) - 1);
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
            put_distance(&mut w, distance);
            assert_eq!(w.bit_len(), expected, "{distance}");
        }
    }
}
