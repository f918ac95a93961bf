//! Values of whole words: each is taken for a float, and told by its distance to a prediction.

use wide::{CmpEq, f32x4, i32x4, u32x4};

use super::{Baseline, GROUP, group_bits};
use crate::{BitReader, BitWriter, WireError, bits::Ahead};

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
#[inline(always)]
fn lanes(bytes: &[u8], at: usize) -> i32x4 {
    let (words, _) = bytes[at * 4..].as_chunks::<4>();
    let word = |word: &[u8; 4]| i32::from_le_bytes(*word);
    i32x4::new(match words {
        [a, b, c, d, ..] => [word(a), word(b), word(c), word(d)],
        [a, b, c] => [word(a), word(b), word(c), 0],
        [a, b] => [word(a), word(b), 0, 0],
        [a] => [word(a), 0, 0, 0],
        [] => [0; LANES],
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
    #[inline(always)]
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

    /// How its words are written. `left`: bytes from here to the end.
    #[inline(always)]
    fn codes(&self, left: usize) -> [Code; LANES] {
        let [a, b, c, d] = self.residuals;
        let there = |word: usize, residual: u32| match left >= word * 4 {
            true => Code::of(residual),
            false => Code { bits: 0, len: 0 },
        };
        [Code::of(a), there(2, b), there(3, c), there(4, d)]
    }

    /// The bits that it takes as changed bytes.
    #[inline(always)]
    fn byte_bits(&self, left: usize) -> u32 {
        let first = group_bits(self.differ[0], left.min(GROUP));
        match left.checked_sub(GROUP) {
            Some(left) if left > 0 => first + group_bits(self.differ[1], left.min(GROUP)),
            _ => first,
        }
    }
}

/// How a residual is written: a zero in one bit. Anything else says how many bits it has; the
/// highest of them is known.
#[derive(Clone, Copy)]
struct Code {
    bits: u64,
    len: u32,
}

impl Code {
    /// Without a branch: what moves and what rests come mixed.
    #[inline(always)]
    const fn of(residual: u32) -> Self {
        let low = (residual | 1).ilog2();
        let rest = (residual as u64) & ((1 << low) - 1);
        let bits = 1 | (low as u64) << 1 | rest << 6;
        match residual {
            0 => Self { bits: 0, len: 1 },
            _ => Self { bits, len: 6 + low },
        }
    }

    #[inline(always)]
    fn total(codes: &[Self; LANES]) -> u32 {
        let [a, b, c, d] = codes;
        a.len + b.len + c.len + d.len
    }

    #[inline(always)]
    fn write(codes: &[Self; LANES], w: &mut BitWriter) {
        let [a, b, c, d] = *codes;
        for (one, other) in [(a, b), (c, d)] {
            let len = one.len + other.len;
            if len < 64 {
                w.put(one.bits | other.bits << one.len, len);
            } else {
                w.put(one.bits, one.len);
                w.put(other.bits, other.len);
            }
        }
    }
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
        let codes = told.codes(new.len());
        let shorter = Code::total(&codes) <= told.byte_bits(new.len());
        w.put_bool(shorter);
        if shorter {
            Code::write(&codes, w);
        }
        return shorter;
    }
    let blocks = || {
        let starts = (0..new.len() / 4).step_by(LANES);
        starts.map(|at| (Told::of(base.value, motion, new, at), new.len() - at * 4))
    };
    let (mut as_words, mut as_bytes) = (0, 0);
    for (told, left) in blocks() {
        as_words += Code::total(&told.codes(left));
        as_bytes += told.byte_bits(left);
    }
    let shorter = as_words <= as_bytes;
    w.put_bool(shorter);
    if shorter {
        for (told, left) in blocks() {
            Code::write(&told.codes(left), w);
        }
    }
    shorter
}

/// Length and value of the residual that these bits begin with.
#[inline(always)]
const fn residual_of(bits: u64) -> (u32, u64) {
    if bits & 1 == 0 {
        return (1, 0);
    }
    let low = (bits >> 1) as u32 & 31;
    (6 + low, 1 << low | (bits >> 6) & ((1 << low) - 1))
}

/// Puts the value that [`write`](fn@write) wrote against the same baseline in the place of `out`,
/// which has its length.
#[inline]
pub(super) fn read(
    r: &mut BitReader<'_>,
    base: &Baseline<'_>,
    out: &mut [u8],
) -> Result<(), WireError> {
    let motion = motion(base);
    let mut ahead = Ahead::new(r);
    let (places, _) = out.as_chunks_mut::<4>();
    if places.len() <= LANES {
        read_block(&mut ahead, base.value, motion, 0, places)?;
        return ahead.finish();
    }
    for (at, places) in places.chunks_mut(LANES).enumerate() {
        read_block(&mut ahead, base.value, motion, at * LANES, places)?;
    }
    ahead.finish()
}

/// Goes past a value of `len` bytes that [`write`](fn@write) wrote.
pub(super) fn skip(r: &mut BitReader<'_>, len: usize) -> Result<(), WireError> {
    let mut ahead = Ahead::new(r);
    for _ in 0..len / 4 {
        ahead.next(residual_of)?;
    }
    ahead.finish()
}

/// Reads the next [`LANES`] words from word `at`, or as many as there are places.
#[inline(always)]
fn read_block(
    ahead: &mut Ahead<'_, '_>,
    base: &[u8],
    motion: Option<(&[u8], f32x4)>,
    at: usize,
    places: &mut [[u8; 4]],
) -> Result<(), WireError> {
    // One by one: through a list that is written in a loop they would go to memory and back.
    let mut next = |at: usize| match at < places.len() {
        true => ahead.next(residual_of).map(|residual| residual as u32),
        false => Ok(0),
    };
    let residuals = [next(0)?, next(1)?, next(2)?, next(3)?];
    let zigzag: i32x4 = bytemuck::must_cast(residuals);
    let half: i32x4 = bytemuck::must_cast(bytemuck::must_cast::<_, u32x4>(zigzag) >> 1);
    let distance = half ^ -(zigzag & i32x4::ONE);
    let last = lanes(base, at);
    let expected = match motion {
        None => last,
        Some((before, steps)) => predict(last, lanes(before, at), steps),
    };
    let number = ascending(expected) + distance;
    let words = from_ascending(number).to_array().map(i32::to_le_bytes);
    // In pieces whose length the compiler knows.
    match places {
        [a, b, c, d] => [*a, *b, *c, *d] = words,
        [a, b, c] => [*a, *b, *c, _] = words,
        [a, b] => [*a, *b, ..] = words,
        places => places
            .iter_mut()
            .zip(words)
            .for_each(|(place, word)| *place = word),
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
