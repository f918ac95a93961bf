//! The three components with bounded loss, as a game would declare it.

use bevy::prelude::*;
use seamless_replication::{Ints, IntsReader, Quantize, ReplicateAppExt, wire::WireError};

use super::super::Precision;
use crate::body::{Position, Rotation, Velocity};

/// How far values may be off.
pub(super) const PRECISION: Precision = Precision {
    position: POSITION_STEP,
    rotation: 0.006,
    velocity: VELOCITY_STEP,
};

/// One step of a position, in metres.
const POSITION_STEP: f32 = 1.0 / 512.0;

/// Bits of each of three parts of a rotation.
const ROTATION_BITS: u32 = 10;

/// One step of a velocity, in metres a second.
const VELOCITY_STEP: f32 = 1.0 / 64.0;

impl Quantize for Position {
    type Precision = f32;

    fn describe(step: &f32) -> String {
        format!("position in steps of {step} m")
    }

    fn quantize(&self, step: &f32, out: &mut Ints) {
        out.put_vec3(self.0, *step);
    }

    fn restore(step: &f32, from: &mut IntsReader<'_>) -> Result<Self, WireError> {
        Ok(Self(from.get_vec3(*step)?))
    }
}

impl Quantize for Rotation {
    type Precision = u32;

    fn describe(bits: &u32) -> String {
        format!("rotation in {bits} bits for each of three")
    }

    fn quantize(&self, bits: &u32, out: &mut Ints) {
        out.put_rotation(self.0, *bits);
    }

    fn restore(bits: &u32, from: &mut IntsReader<'_>) -> Result<Self, WireError> {
        Ok(Self(from.get_rotation(*bits)?))
    }
}

impl Quantize for Velocity {
    type Precision = f32;

    fn describe(step: &f32) -> String {
        format!("velocity in steps of {step} m/s")
    }

    fn quantize(&self, step: &f32, out: &mut Ints) {
        out.put_vec3(self.0, *step);
    }

    fn restore(step: &f32, from: &mut IntsReader<'_>) -> Result<Self, WireError> {
        Ok(Self(from.get_vec3(*step)?))
    }
}

/// Registers the components with bounded loss.
pub(super) fn register_quantized(app: &mut App) {
    app.replicate_quantized::<Position>(POSITION_STEP);
    app.replicate_quantized::<Rotation>(ROTATION_BITS);
    app.replicate_quantized::<Velocity>(VELOCITY_STEP);
}
