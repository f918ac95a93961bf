//! The game, as server and players both know it: what is replicated, and how crates move.

use bevy::prelude::*;
use bevy_seamless::prelude::*;
use serde::{Deserialize, Serialize};

/// Ticks in a second.
pub(crate) const TICK_RATE: u16 = 30;
/// Seconds in a tick.
pub(crate) const TICK: f32 = 1.0 / TICK_RATE as f32;
/// Names the game apart from others on the wire.
pub(crate) const PROTOCOL: u64 = 0x6372_6174_6573;
/// From the middle of the floor to its walls, in metres.
pub(crate) const HALF: f32 = 14.0;
/// Side of a crate, in metres.
pub(crate) const SIDE: f32 = 1.0;
/// How far a player reaches, in metres.
pub(crate) const REACH: f32 = 3.0;

const SPEED: f32 = 5.0;
const GRAVITY: f32 = 14.0;
/// What is left of a speed after a bounce, and after a second of sliding.
const BOUNCE: f32 = 0.4;
const SLIDE: f32 = 0.08;

/// Where something stands, in metres. Changes with every tick in which it moves.
#[derive(Component, TypePath, Serialize, Deserialize, Clone, Copy, PartialEq, Debug, Default)]
#[type_path = "delegation"]
pub(crate) struct Place(pub(crate) Vec3);

/// Where a crate goes, in metres a second.
#[derive(Component, TypePath, Serialize, Deserialize, Clone, Copy, PartialEq, Debug, Default)]
#[type_path = "delegation"]
pub(crate) struct Speed(pub(crate) Vec3);

/// Can be grabbed, pushed and thrown.
#[derive(Component, TypePath, Serialize, Deserialize, Clone, Copy, PartialEq, Debug)]
#[type_path = "delegation"]
pub(crate) struct Crate;

/// A player's body; the server moves it.
#[derive(Component, TypePath, Serialize, Deserialize, Clone, Copy, PartialEq, Debug)]
#[type_path = "delegation"]
pub(crate) struct Body(pub(crate) PeerId);

/// Where a player wants to go: a direction on the ground, at most of length one.
#[derive(TypePath, Serialize, Deserialize, Clone, Copy, PartialEq, Debug, Default)]
#[type_path = "delegation"]
pub(crate) struct Walk(pub(crate) Vec2);

/// What both sides must register alike.
pub(crate) fn register(app: &mut App) {
    app.replicate::<Place>();
    app.replicate::<Speed>();
    app.replicate::<Crate>();
    app.replicate::<Body>();
    app.player_input::<Walk>();
}

/// One tick of a player's way.
pub(crate) fn walk(from: Vec3, Walk(way): Walk) -> Vec3 {
    // From the network: it may be anything.
    let way = if way.is_finite() {
        way.clamp_length_max(1.0)
    } else {
        Vec2::ZERO
    };
    let to = from + Vec3::new(way.x, 0.0, way.y) * SPEED * TICK;
    to.clamp(Vec3::new(-HALF, 0.0, -HALF), Vec3::new(HALF, 0.0, HALF))
}

/// One tick of a crate that nobody carries. Who has authority over it calls this, and nobody else:
/// the server for those that lie about, a player for those that it pushes.
pub(crate) fn fly(place: &mut Mut<Place>, speed: &mut Mut<Speed>) {
    let (mut at, mut v) = (place.0, speed.0);
    v.y -= GRAVITY * TICK;
    at += v * TICK;
    for axis in [0, 2] {
        if at[axis].abs() > HALF {
            at[axis] = at[axis].clamp(-HALF, HALF);
            v[axis] *= -BOUNCE;
        }
    }
    if at.y <= 0.0 {
        at.y = 0.0;
        // What hardly bounces any more lies.
        v.y = if v.y < -2.0 { -v.y * BOUNCE } else { 0.0 };
        let slide = SLIDE.powf(TICK);
        (v.x, v.z) = (v.x * slide, v.z * slide);
    }
    if at.y == 0.0 && v.length() < 0.1 {
        v = Vec3::ZERO;
    }
    place.set_if_neq(Place(at));
    speed.set_if_neq(Speed(v));
}
