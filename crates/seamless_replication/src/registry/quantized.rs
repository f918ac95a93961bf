//! Components as integers: less than all bits of a float, and so few on the wire.

use bevy::prelude::*;
use seamless_wire::{
    BitReader, BitWriter, WireError,
    delta::Baseline,
    ints::{self, MAX_INTS},
};
use smallvec::SmallVec;

use super::Replicator;

/// Most steps from zero that a fixed-point number goes: more would not survive the way through an
/// `f32` and back.
const MAX_STEPS: f64 = (1 << 24) as f64;

/// A component that can be told as a few integers.
///
/// Two values with the same integers are the same to the network: a change within the precision is
/// no change. On the wire an integer that goes on changing as before costs a bit
/// ([`seamless_wire::ints`]).
///
/// ```
/// # use bevy::prelude::*;
/// # use seamless_replication::{Ints, IntsReader, Quantize};
/// # use seamless_replication::wire::WireError;
/// /// Metres per second.
/// #[derive(Component, TypePath)]
/// struct Velocity(Vec3);
///
/// impl Quantize for Velocity {
///     /// One step, in metres per second.
///     type Precision = f32;
///
///     fn describe(step: &f32) -> String {
///         format!("velocity in steps of {step}")
///     }
///
///     fn quantize(&self, step: &f32, out: &mut Ints) {
///         out.put_vec3(self.0, *step);
///     }
///
///     fn restore(step: &f32, from: &mut IntsReader<'_>) -> Result<Self, WireError> {
///         Ok(Self(from.get_vec3(*step)?))
///     }
/// }
/// ```
pub trait Quantize: Sized {
    /// How fine it is.
    type Precision: Send + Sync + 'static;

    /// The precision in words: part of the schema, which peers compare.
    fn describe(precision: &Self::Precision) -> String;

    /// The integers of a value; at most 64 of them.
    fn quantize(&self, precision: &Self::Precision, out: &mut Ints);

    /// The value of some integers. Quantised again it gives the same integers.
    ///
    /// # Errors
    /// [`WireError`] if they have no meaning. They come from the network: no panic.
    fn restore(precision: &Self::Precision, from: &mut IntsReader<'_>) -> Result<Self, WireError>;
}

/// Takes the integers of a value.
#[derive(Debug, Default)]
pub struct Ints(SmallVec<[i32; 16]>);

impl Ints {
    /// An integer as it is.
    pub fn put(&mut self, int: i32) {
        self.0.push(int);
    }

    /// A number in steps of `step`, rounded to the nearest. What is more than 2^24 steps from zero
    /// ends there; what is no number is zero.
    pub fn put_fixed(&mut self, value: f32, step: f32) {
        let steps = (f64::from(value) / f64::from(step)).clamp(-MAX_STEPS, MAX_STEPS);
        // As `round`, which is a call on old processors.
        self.0.push((steps + 0.5f64.copysign(steps)) as i32);
    }

    /// Three of those.
    pub fn put_vec3(&mut self, value: Vec3, step: f32) {
        for part in value.to_array() {
            self.put_fixed(part, step);
        }
    }

    /// A rotation: which of its four parts is the largest, and the other three in `bits` bits each,
    /// 2 to 20. It is off by less than `4 / 2^bits` radians from 6 bits on, which is 0.22 degrees
    /// at 10.
    pub fn put_rotation(&mut self, rotation: Quat, bits: u32) {
        let (mut parts, mut clear) = smallest_three(rotation, bits);
        // Near a tie, what is restored may have another part as its largest. Take what stays.
        for _ in 0..3 {
            if clear {
                break;
            }
            let again;
            (again, clear) = smallest_three(restore_rotation(parts, bits), bits);
            if again == parts {
                break;
            }
            parts = again;
        }
        self.0.extend_from_slice(&parts);
    }
}

fn rotation_scale(bits: u32) -> f32 {
    ((1 << (bits.clamp(2, 20) - 1)) - 1) as f32 * std::f32::consts::SQRT_2
}

/// Steps by which the largest part must be ahead for what is restored to have the same largest part,
/// and no other near it. The others are off by at most one each, so the largest, which follows from
/// them, by at most three, and 2.5 is near.
const CLEAR: f32 = 8.0;

/// Bits up to which a whole number of steps comes out of an `f32` as it went in.
const EXACT_BITS: u32 = 16;

/// The integers of a rotation, and whether what is restored from them is certain to give the same.
fn smallest_three(rotation: Quat, bits: u32) -> ([i32; 4], bool) {
    let rotation = rotation.normalize();
    let parts = rotation.to_array();
    if !rotation.is_finite() {
        return smallest_three(Quat::IDENTITY, bits);
    }
    let sizes = parts.map(f32::abs);
    let scale = rotation_scale(bits);
    // The largest of each half, then of both; what is not the largest is at most the second.
    let half = |at: usize| match sizes[at] >= sizes[at + 1] {
        true => (at, sizes[at], sizes[at + 1]),
        false => (at + 1, sizes[at + 1], sizes[at]),
    };
    let (one, other) = (half(0), half(2));
    let (ahead, behind) = match one.1 >= other.1 {
        true => (one, other),
        false => (other, one),
    };
    let (largest, second) = (ahead.1, behind.1.max(ahead.2));
    if bits <= EXACT_BITS && (largest - second) * scale > CLEAR {
        return (without(&parts, ahead.0, bits), true);
    }
    // Near a tie another part may stand for the largest as well: take what is nearest.
    let mut near = (0..4).filter(|at| (largest - sizes[*at]) * scale <= 2.5);
    let first = without(&parts, near.next().unwrap_or(3), bits);
    // In `f64`: how long a quaternion of `f32` is would weigh more than where it points.
    let cosine = |told| {
        let restored = restore_rotation(told, bits).as_dquat().normalize();
        restored.dot(rotation.as_dquat().normalize()).abs()
    };
    let nearer = |best, at| {
        let other = without(&parts, at, bits);
        if cosine(other) > cosine(best) {
            other
        } else {
            best
        }
    };
    (near.fold(first, nearer), false)
}

/// The rotation without the part that follows from the others.
fn without(parts: &[f32; 4], largest: usize, bits: u32) -> [i32; 4] {
    let others: [f32; 3] = match largest {
        0 => [parts[1], parts[2], parts[3]],
        1 => [parts[0], parts[2], parts[3]],
        2 => [parts[0], parts[1], parts[3]],
        _ => [parts[0], parts[1], parts[2]],
    };
    let scale = rotation_scale(bits);
    let sign = parts[largest].signum();
    let exact = others.map(|part| part * scale * sign);
    let [a, b, c] = nearest(exact, parts[largest].abs() * scale);
    [largest as i32, a, b, c]
}

/// Three integers near `exact`, so that the fourth part, which follows from them, is off by little
/// too. If each is rounded for itself, what they are off by can add up in the fourth: nearly twice
/// as far in the end. Then one of them is rounded the other way.
fn nearest(exact: [f32; 3], fourth: f32) -> [i32; 3] {
    // As `round`, which is a call on old processors.
    let mut rounded = exact.map(|part| (part + 0.5f32.copysign(part)) as i32 as f32);
    let off: [f32; 3] = std::array::from_fn(|at| rounded[at] - exact[at]);
    let slope = exact.map(|part| part / fourth);
    let along = off[0] * slope[0] + off[1] * slope[1] + off[2] * slope[2];
    // What a turn of one adds to the square of the distance; none turns if all add.
    let (mut best, mut turned) = (0.0, None);
    for at in 0..3 {
        let turn = if off[at] > 0.0 { -1.0 } else { 1.0 };
        let fourth_then = along + turn * slope[at];
        let added = 1.0 + 2.0 * turn * off[at] + fourth_then * fourth_then - along * along;
        if added < best {
            (best, turned) = (added, Some((at, turn)));
        }
    }
    if let Some((at, turn)) = turned {
        rounded[at] += turn;
    }
    rounded.map(|part| part as i32)
}

/// Without a branch on which part was left out: that is as good as random.
fn restore_rotation([largest, others @ ..]: [i32; 4], bits: u32) -> Quat {
    let step = 1.0 / rotation_scale(bits);
    let [a, b, c] = others.map(|int| (int as f32 * step).clamp(-1.0, 1.0));
    let left = 1.0 - (a * a + b * b + c * c);
    let fourth = left.max(0.0).sqrt();
    let largest = largest & 3;
    let select = |take: bool, one: f32, other: f32| {
        let (one, other) = (one.to_bits(), other.to_bits());
        f32::from_bits(other ^ ((one ^ other) & (take as u32).wrapping_neg()))
    };
    let parts = Quat::from_xyzw(
        select(largest == 0, fourth, a),
        select(largest == 1, fourth, select(largest < 1, a, b)),
        select(largest == 2, fourth, select(largest < 2, b, c)),
        select(largest == 3, fourth, c),
    );
    // Else they follow from one another, and the length is one.
    if left < 0.0 { parts.normalize() } else { parts }
}

/// Gives the integers of a value back, in the order in which they were put.
#[derive(Debug)]
pub struct IntsReader<'a>(&'a [u8]);

impl IntsReader<'_> {
    /// The next integer.
    ///
    /// # Errors
    /// [`WireError::Truncated`] if there is none.
    pub fn get(&mut self) -> Result<i32, WireError> {
        let Some((int, rest)) = self.0.split_first_chunk() else {
            return Err(WireError::Truncated {
                wanted: 32,
                left: self.0.len() as u32 * 8,
            });
        };
        self.0 = rest;
        Ok(i32::from_le_bytes(*int))
    }

    /// A number in steps of `step`.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn get_fixed(&mut self, step: f32) -> Result<f32, WireError> {
        Ok((f64::from(self.get()?) * f64::from(step)) as f32)
    }

    /// Three of those.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn get_vec3(&mut self, step: f32) -> Result<Vec3, WireError> {
        let mut next = || self.get_fixed(step);
        Ok(Vec3::new(next()?, next()?, next()?))
    }

    /// A rotation whose parts have `bits` bits; always of length one.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn get_rotation(&mut self, bits: u32) -> Result<Quat, WireError> {
        let parts = [self.get()?, self.get()?, self.get()?, self.get()?];
        Ok(restore_rotation(parts, bits))
    }
}

/// How fine a [`Transform`] is told.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TransformPrecision {
    /// One step of the translation, in metres. 1/512 by default: about two millimetres, and 32 km
    /// from the origin to the end.
    pub translation: f32,
    /// Bits of each of three parts of the rotation, 2 to 20. 10 by default.
    pub rotation_bits: u32,
    /// One step of the scale. 1/256 by default.
    pub scale: f32,
}

impl Default for TransformPrecision {
    fn default() -> Self {
        Self {
            translation: 1.0 / 512.0,
            rotation_bits: 10,
            scale: 1.0 / 256.0,
        }
    }
}

impl Quantize for Transform {
    type Precision = TransformPrecision;

    fn describe(precision: &TransformPrecision) -> String {
        let TransformPrecision {
            translation,
            rotation_bits,
            scale,
        } = precision;
        format!("transform {translation} m, {rotation_bits} bits, scale {scale}")
    }

    fn quantize(&self, precision: &TransformPrecision, out: &mut Ints) {
        out.put_vec3(self.translation, precision.translation);
        out.put_rotation(self.rotation, precision.rotation_bits);
        out.put_vec3(self.scale, precision.scale);
    }

    fn restore(
        precision: &TransformPrecision,
        from: &mut IntsReader<'_>,
    ) -> Result<Self, WireError> {
        Ok(Self {
            translation: from.get_vec3(precision.translation)?,
            rotation: from.get_rotation(precision.rotation_bits)?,
            scale: from.get_vec3(precision.scale)?,
        })
    }
}

/// Any [`Quantize`] component, with a precision.
pub(super) struct Quantized<C: Quantize>(pub(super) C::Precision);

impl<C: Component + Quantize> Replicator<C> for Quantized<C> {
    fn describe(&self) -> String {
        format!("quantized: {}", C::describe(&self.0))
    }

    fn write(&self, component: &C, out: &mut Vec<u8>) -> Result<(), WireError> {
        let mut ints = Ints::default();
        component.quantize(&self.0, &mut ints);
        if ints.0.len() > MAX_INTS {
            return Err(WireError::OutOfBounds {
                what: "integers of a value",
                value: ints.0.len() as u64,
                max: MAX_INTS as u64,
            });
        }
        for int in &ints.0 {
            out.extend_from_slice(&int.to_le_bytes());
        }
        Ok(())
    }

    fn read(&self, value: &[u8]) -> Result<C, WireError> {
        let mut reader = IntsReader(value);
        let component = C::restore(&self.0, &mut reader)?;
        match reader.0.len() {
            0 => Ok(component),
            left => Err(WireError::Trailing(left)),
        }
    }

    fn encode(&self, base: Option<Baseline<'_>>, value: &[u8], w: &mut BitWriter) {
        ints::write_ints(w, base, value);
    }

    fn decode(
        &self,
        base: Option<Baseline<'_>>,
        r: &mut BitReader<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), WireError> {
        ints::read_ints(r, base, out)
    }

    fn decode_over(
        &self,
        base: Baseline<'_>,
        r: &mut BitReader<'_>,
        value: &mut [u8],
    ) -> Result<bool, WireError> {
        ints::read_ints_over(r, base, value)
    }

    fn skip(&self, len: usize, r: &mut BitReader<'_>) -> Result<bool, WireError> {
        ints::skip_ints(r, len)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(transform: &Transform, precision: TransformPrecision) -> Vec<u8> {
        let mut out = vec![];
        let replicator = Quantized::<Transform>(precision);
        replicator.write(transform, &mut out).unwrap();
        out
    }

    /// From the chord: from the cosine of a small angle little is left in an `f32`.
    fn angle_between(a: Quat, b: Quat) -> f32 {
        let [a, b] = [a, b].map(|rotation| rotation.as_dquat().normalize());
        let chord = (a - b).length().min((a + b).length());
        (4.0 * (chord / 2.0).asin()) as f32
    }

    proptest! {
        #[test]
        fn a_transform_is_off_by_no_more_than_it_may_and_stays_so(
            at in any::<[i16; 3]>(),
            axis in any::<[i8; 3]>(),
            angle in -7.0f32..7.0,
            rotation_bits in 6u32..=16,
        ) {
            let axis = Vec3::from_array(axis.map(f32::from)).normalize_or(Vec3::Y);
            let before = Transform {
                translation: Vec3::from_array(at.map(|v| f32::from(v) / 37.0)),
                rotation: Quat::from_axis_angle(axis, angle),
                scale: Vec3::ONE,
            };
            let precision = TransformPrecision { rotation_bits, ..TransformPrecision::default() };
            let replicator = Quantized::<Transform>(precision);
            let ints = written(&before, precision);
            let after = replicator.read(&ints).unwrap();
            prop_assert!((after.translation - before.translation).abs().max_element() <= 0.501 / 512.0);
            let off = angle_between(after.rotation, before.rotation);
            prop_assert!(off <= 2.0 / (1u32 << (rotation_bits - 1)) as f32 + 1e-5, "{off}");
            prop_assert_eq!(after.scale, before.scale);
            prop_assert_eq!(written(&after, precision), ints);
        }

        #[test]
        fn any_integers_are_a_transform_or_an_error(ints in proptest::collection::vec(any::<i32>(), 0..12)) {
            let bytes: Vec<u8> = ints.iter().flat_map(|int| int.to_le_bytes()).collect();
            let precision = TransformPrecision::default();
            let read = Quantized::<Transform>(precision).read(&bytes);
            prop_assert_eq!(read.is_ok(), ints.len() == 10);
            if let Ok(transform) = read {
                prop_assert!(transform.rotation.is_finite());
            }
        }
    }

    #[test]
    fn what_is_no_number_is_something_else() {
        let broken = Transform {
            translation: Vec3::new(f32::NAN, f32::INFINITY, 0.0),
            rotation: Quat::from_xyzw(f32::NAN, 0.0, 0.0, 0.0),
            scale: Vec3::ONE,
        };
        let precision = TransformPrecision::default();
        let ints = written(&broken, precision);
        let read = Quantized::<Transform>(precision).read(&ints).unwrap();
        assert_eq!(read.translation, Vec3::new(0.0, 32768.0, 0.0));
        assert_eq!(read.rotation, Quat::IDENTITY);
    }
}
