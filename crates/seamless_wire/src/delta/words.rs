//! Values of whole words: each is taken for a float, and told by its distance to a prediction.

use wide::{CmpEq, f32x4, i32x4};

use super::{Baseline, GROUP, group_bits};
use crate::{BitReader, BitWriter, WireError};

/// Longest value that may travel as words, in words.
const MAX_WORDS: usize = 32;

/// Words that are looked at together.
const LANES: usize = 4;

/// Whether a value of this many bytes may travel as words.
#[inline]
pub(super) const fn are_in(len: usize) -> bool {
    len > 0 && len.is_multiple_of(4) && len <= MAX_WORDS * 4
}

/// The next [`LANES`] words of `bytes` from word `at`, and zeros past their end.
#[inline]
fn lanes(bytes: &[u8], at: usize) -> i32x4 {
    let rest = &bytes[at * 4..];
    let (words, _) = rest.as_chunks::<4>();
    let word = |lane: usize| i32::from_le_bytes(words[lane]);
    i32x4::new(match words.len() {
        0 => [0; LANES],
        1 => [word(0), 0, 0, 0],
        2 => [word(0), word(1), 0, 0],
        3 => [word(0), word(1), word(2), 0],
        _ => [word(0), word(1), word(2), word(3)],
    })
}

const EXPONENT: i32x4 = i32x4::new([0x7f80_0000; LANES]);
const SIGN: i32x4 = i32x4::new([i32::MIN; LANES]);

#[inline]
const fn floats(bits: i32x4) -> f32x4 {
    bytemuck::must_cast(bits)
}

#[inline]
const fn bits(floats: f32x4) -> i32x4 {
    bytemuck::must_cast(floats)
}

/// Zero for what is too small to be a normal float: some processors are told to take it for that.
#[inline]
fn flush(value: f32x4) -> f32x4 {
    let bits = bits(value);
    let small = (bits & EXPONENT).cmp_eq(i32x4::ZERO);
    floats(bits & !small)
}

/// The words that are to be expected, `steps` changes after `last`. Both ends compute them, so it
/// only adds, subtracts and multiplies, which IEEE 754 defines to the bit, one after the other,
/// keeps away from what is too small to be normal, and never lets the bits of a NaN through.
#[inline]
fn predict(last: i32x4, before: i32x4, steps: f32x4) -> i32x4 {
    let (from, to) = (flush(floats(before)), flush(floats(last)));
    let ahead = bits(flush(to + flush(flush(to - from) * steps)));
    let endless = (ahead & EXPONENT).cmp_eq(EXPONENT);
    let rests = last.cmp_eq(before) | endless;
    (rests & last) | (!rests & ahead)
}

#[inline]
fn motion<'a>(base: &Baseline<'a>) -> Option<(&'a [u8], f32x4)> {
    base.motion()
        .map(|(before, steps)| (before, f32x4::splat(steps as f32)))
}

/// The bits of floats as numbers that ascend with them.
#[inline]
fn ascending(bits: i32x4) -> i32x4 {
    bits ^ ((bits >> 31) | SIGN)
}

/// The inverse of [`ascending`].
#[inline]
fn from_ascending(number: i32x4) -> i32x4 {
    number ^ ((!number >> 31) | SIGN)
}

/// Four words against what is expected of them.
struct Told {
    /// Distances, those near zero as small numbers. A word past the end has none.
    residuals: [u32; LANES],
    /// Not zero in the bytes that changed.
    differ: [u64; LANES * 4 / GROUP],
}

impl Told {
    /// The next words from word `at`, without a branch on what they are.
    #[inline]
    fn of(base: &[u8], motion: Option<(&[u8], f32x4)>, new: &[u8], at: usize) -> Self {
        let new = lanes(new, at);
        let last = lanes(base, at);
        let expected = match motion {
            None => last,
            Some((before, steps)) => predict(last, lanes(before, at), steps),
        };
        let distance = ascending(new) - ascending(expected);
        let zigzag = (distance << 1) ^ (distance >> 31);
        Self {
            residuals: bytemuck::must_cast(zigzag),
            differ: bytemuck::must_cast(new ^ last),
        }
    }

    /// The bits that it takes as words and as changed bytes. `left`: bytes from here to the end.
    #[inline]
    fn bits(&self, left: usize) -> (u32, u32) {
        let words = self.residuals[..LANES.min(left / 4)].iter();
        let as_words = words.map(|&residual| residual_bits(residual)).sum();
        let mut as_bytes = 0;
        for (group, &differ) in self.differ.iter().enumerate() {
            if let Some(left) = left.checked_sub(group * GROUP).filter(|left| *left > 0) {
                as_bytes += group_bits(differ, left.min(GROUP));
            }
        }
        (as_words, as_bytes)
    }

    #[inline]
    fn write(&self, w: &mut BitWriter, left: usize) {
        for &residual in &self.residuals[..LANES.min(left / 4)] {
            write_residual(w, residual);
        }
    }
}

/// What a residual takes.
#[inline]
const fn residual_bits(residual: u32) -> u32 {
    match residual {
        0 => 1,
        residual => 1 + 5 + residual.ilog2(),
    }
}

/// A zero is one bit. Anything else says how many bits it has; the highest of them is known.
#[inline]
fn write_residual(w: &mut BitWriter, residual: u32) {
    if residual == 0 {
        return w.put(0, 1);
    }
    let low = residual.ilog2();
    let head = 1 | u64::from(low) << 1;
    let rest = u64::from(residual) & ((1 << low) - 1);
    w.put(head | rest << 6, 6 + low);
}

/// Writes a value of whole words against a baseline of the same length, if that takes no more bits
/// than its changed bytes do; says which of the two follows in any case.
///
/// Looks at four words at once.
#[inline]
pub(super) fn write(w: &mut BitWriter, base: &Baseline<'_>, new: &[u8]) -> bool {
    let motion = motion(base);
    if new.len() <= LANES * 4 {
        // Most components.
        let told = Told::of(base.value, motion, new, 0);
        let (as_words, as_bytes) = told.bits(new.len());
        w.put_bool(as_words <= as_bytes);
        if as_words > as_bytes {
            return false;
        }
        told.write(w, new.len());
        return true;
    }
    let blocks = || (0..new.len() / 4).step_by(LANES);
    let (mut as_words, mut as_bytes) = (0, 0);
    for at in blocks() {
        let (words, bytes) = Told::of(base.value, motion, new, at).bits(new.len() - at * 4);
        as_words += words;
        as_bytes += bytes;
    }
    w.put_bool(as_words <= as_bytes);
    if as_words > as_bytes {
        return false;
    }
    for at in blocks() {
        Told::of(base.value, motion, new, at).write(w, new.len() - at * 4);
    }
    true
}

#[inline]
fn read_residual(r: &mut BitReader<'_>) -> Result<u32, WireError> {
    let bits = r.peek();
    if bits & 1 == 0 {
        r.skip(1)?;
        return Ok(0);
    }
    let low = (bits >> 1) as u32 & 31;
    r.skip(6 + low)?;
    Ok(1 << low | (bits >> 6) as u32 & ((1 << low) - 1))
}

/// Appends to `out` the value that [`write`](fn@write) wrote against the same baseline.
#[inline]
pub(super) fn read(
    r: &mut BitReader<'_>,
    base: &Baseline<'_>,
    out: &mut Vec<u8>,
) -> Result<(), WireError> {
    let motion = motion(base);
    let count = base.value.len() / 4;
    for at in (0..count).step_by(LANES) {
        let mut residuals = [0u32; LANES];
        let here = LANES.min(count - at);
        for residual in &mut residuals[..here] {
            *residual = read_residual(r)?;
        }
        let zigzag: i32x4 = bytemuck::must_cast(residuals);
        let distance =
            bytemuck::must_cast::<_, i32x4>(bytemuck::must_cast::<_, wide::u32x4>(zigzag) >> 1)
                ^ -(zigzag & i32x4::ONE);
        let last = lanes(base.value, at);
        let expected = match motion {
            None => last,
            Some((before, steps)) => predict(last, lanes(before, at), steps),
        };
        let number = ascending(expected) + distance;
        let words = from_ascending(number).to_array().map(i32::to_le_bytes);
        out.extend_from_slice(words[..here].as_flattened());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn first(words: i32x4) -> u32 {
        words.to_array()[0] as u32
    }

    fn all(word: u32) -> i32x4 {
        i32x4::splat(word as i32)
    }

    fn expect(last: u32, before: u32, steps: f32) -> u32 {
        first(predict(all(last), all(before), f32x4::splat(steps)))
    }

    proptest! {
        #[test]
        fn floats_ascend(a in any::<f32>(), b in any::<f32>()) {
            prop_assume!(a < b);
            let number = |float: f32| ascending(all(float.to_bits()));
            prop_assert!(first(number(a)) < first(number(b)));
            prop_assert_eq!(first(from_ascending(number(a))), a.to_bits());
        }

        #[test]
        fn four_at_once_are_as_four_alone(
            last in any::<[i32; 4]>(),
            before in any::<[i32; 4]>(),
            steps in 0u8..40,
        ) {
            let steps = f32::from(steps);
            let together = predict(i32x4::new(last), i32x4::new(before), f32x4::splat(steps));
            // The words of the format, one after the other.
            let alone = |last: u32, before: u32| {
                let flush = |value: f32| if value.abs() < f32::MIN_POSITIVE { 0.0 } else { value };
                let (from, to) = (f32::from_bits(before), f32::from_bits(last));
                let (from, to) = (flush(from), flush(to));
                let ahead = flush(to + flush(flush(to - from) * steps));
                let moves = last != before && ahead.is_finite();
                if moves { ahead.to_bits() } else { last }
            };
            for lane in 0..4 {
                let alone = alone(last[lane] as u32, before[lane] as u32);
                prop_assert_eq!(together.to_array()[lane] as u32, alone);
            }
        }
    }

    #[test]
    fn what_is_no_number_is_not_predicted() {
        let (nan, one, max) = (f32::NAN.to_bits(), 1f32.to_bits(), f32::MAX.to_bits());
        assert_eq!(expect(one, nan, 1.0), one);
        assert_eq!(expect(nan, one, 1.0), nan);
        assert_eq!(expect(max, (-f32::MAX).to_bits(), 5.0), max);
    }

    #[test]
    fn what_is_too_small_to_be_normal_is_expected_to_be_nothing() {
        let least = f32::MIN_POSITIVE;
        assert_eq!(
            expect((least * 1.5).to_bits(), least.to_bits(), 1.0),
            (least * 1.5).to_bits()
        );
        assert_eq!(expect(7, 5, 1.0), 0);
        assert_eq!(
            expect((-least).to_bits(), (-least * 1.5).to_bits(), 1.0),
            (-least).to_bits()
        );
    }
}
