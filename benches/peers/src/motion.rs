//! How the entities move: half of them walk, half of them tumble, all from one seed.
//!
//! Each entity has a trajectory of its own and advances one step of it in every tick in which it
//! is chosen, so that what a change looks like does not depend on how many change.

use std::f32::consts::TAU;

use bevy::{
    math::{Quat, Vec3},
    platform::collections::HashSet,
};

use crate::{body::Body, rng::Rng};

/// Ticks a second.
pub(crate) const TICK_RATE: u16 = 30;

/// Side of the world, in metres.
pub(crate) const WORLD: f32 = 1000.0;

const STEP: f32 = 1.0 / TICK_RATE as f32;

/// Metres a second that a walker goes.
const WALK: f32 = 5.0;

const GRAVITY: f32 = 9.8;

/// Fastest spin of a tumbler, in radians a second.
const SPIN: f32 = 3.0;

/// What an entity does next, beside its [`Body`].
#[derive(Clone, Debug)]
enum Gait {
    /// Steers: yaw only, on the ground.
    Walker { heading: f32, turn: f32 },
    /// Falls, bounces and spins.
    Tumbler {
        speed: Vec3,
        axis: Vec3,
        spin: f32,
        /// Turned so far; not summed up in the quaternion, which would drift off its length.
        angle: f32,
        start: Quat,
    },
}

/// All entities of a run.
pub(crate) struct Motion {
    bodies: Vec<Body>,
    gaits: Vec<Gait>,
    rng: Rng,
    /// Numbers of all entities; its beginning is what was chosen last.
    order: Vec<u32>,
}

impl Motion {
    /// So many entities, spread evenly.
    pub(crate) fn new(entities: usize, seed: u64) -> Self {
        let mut rng = Rng::new(seed, 1);
        let mut motion = Self {
            bodies: Vec::with_capacity(entities),
            gaits: Vec::with_capacity(entities),
            rng: Rng::new(seed, 2),
            order: (0..entities as u32).collect(),
        };
        // Velocities differ, so that an entity can be told by the one value that stays.
        let mut velocities: HashSet<[u32; 3]> = HashSet::default();
        for index in 0..entities {
            let (body, gait) = loop {
                let (body, gait) = match index % 2 {
                    0 => walker(&mut rng),
                    _ => tumbler(&mut rng),
                };
                if velocities.insert(body.velocity.to_array().map(f32::to_bits)) {
                    break (body, gait);
                }
            };
            motion.bodies.push(body);
            motion.gaits.push(gait);
        }
        motion
    }

    /// All values as they are now.
    pub(crate) fn bodies(&self) -> &[Body] {
        &self.bodies
    }

    /// Advances a fresh choice of `count` entities by a step; which ones.
    pub(crate) fn advance(&mut self, count: usize) -> &[u32] {
        let count = count.min(self.order.len());
        if count < self.order.len() {
            for at in 0..count {
                let other = at + self.rng.below(self.order.len() - at);
                self.order.swap(at, other);
            }
        }
        for &index in &self.order[..count] {
            let index = index as usize;
            self.gaits[index].step(&mut self.bodies[index], &mut self.rng);
        }
        &self.order[..count]
    }
}

fn place(rng: &mut Rng) -> Vec3 {
    Vec3::new(rng.range(0.0, WORLD), 0.0, rng.range(0.0, WORLD))
}

fn toward(heading: f32) -> Vec3 {
    Vec3::new(heading.sin(), 0.0, heading.cos())
}

fn walker(rng: &mut Rng) -> (Body, Gait) {
    let heading = rng.range(0.0, TAU);
    let body = Body {
        position: place(rng),
        rotation: Quat::from_rotation_y(heading),
        velocity: toward(heading) * WALK,
    };
    let turn = rng.range(-0.5, 0.5);
    (body, Gait::Walker { heading, turn })
}

fn tumbler(rng: &mut Rng) -> (Body, Gait) {
    let mut position = place(rng);
    position.y = rng.range(0.5, 8.0);
    let speed = toward(rng.range(0.0, TAU)) * rng.range(0.5, 4.0) + Vec3::Y * rng.range(-3.0, 3.0);
    let axis = Vec3::new(
        rng.range(-1.0, 1.0),
        rng.range(-1.0, 1.0),
        rng.range(-1.0, 1.0),
    )
    .try_normalize()
    .unwrap_or(Vec3::X);
    let start = Quat::from_axis_angle(Vec3::Y, rng.range(0.0, TAU));
    let body = Body {
        position,
        rotation: start,
        velocity: speed,
    };
    let gait = Gait::Tumbler {
        speed,
        axis,
        spin: rng.range(0.3, SPIN),
        angle: 0.0,
        start,
    };
    (body, gait)
}

impl Gait {
    fn step(&mut self, body: &mut Body, rng: &mut Rng) {
        match self {
            Self::Walker { heading, turn } => {
                // The rate of turning wanders and is pulled back, so that the heading is smooth.
                *turn = *turn * 0.97 + rng.range(-0.15, 0.15);
                *heading = (*heading + *turn * STEP).rem_euclid(TAU);
                let mut way = toward(*heading);
                for (at, way) in [(body.position.x, &mut way.x), (body.position.z, &mut way.z)] {
                    if (at < 0.0 && *way < 0.0) || (at > WORLD && *way > 0.0) {
                        *way = -*way;
                    }
                }
                *heading = way.x.atan2(way.z);
                body.position += way * WALK * STEP;
                body.rotation = Quat::from_rotation_y(*heading);
            }
            Self::Tumbler {
                speed,
                axis,
                spin,
                angle,
                start,
            } => {
                speed.y -= GRAVITY * STEP;
                body.position += *speed * STEP;
                if body.position.y < 0.0 {
                    body.position.y = -body.position.y;
                    speed.y = speed.y.abs();
                }
                for (at, speed) in [
                    (body.position.x, &mut speed.x),
                    (body.position.z, &mut speed.z),
                ] {
                    if (at < 0.0 && *speed < 0.0) || (at > WORLD && *speed > 0.0) {
                        *speed = -*speed;
                    }
                }
                *angle = (*angle + *spin * STEP) % TAU;
                body.rotation = Quat::from_axis_angle(*axis, *angle) * *start;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_changes_position_and_rotation_of_the_chosen_and_of_nobody_else() {
        let mut motion = Motion::new(1000, 7);
        for _ in 0..200 {
            let before = motion.bodies().to_vec();
            let chosen: Vec<u32> = motion.advance(100).to_vec();
            for (index, (old, new)) in before.iter().zip(motion.bodies()).enumerate() {
                let moves = chosen.contains(&(index as u32));
                assert_eq!(old.position != new.position, moves, "{index}");
                assert_eq!(old.rotation != new.rotation, moves, "{index}");
                assert_eq!(old.velocity, new.velocity);
            }
        }
    }

    #[test]
    fn nobody_leaves_the_world_and_rotations_stay_rotations() {
        let mut motion = Motion::new(500, 3);
        for _ in 0..3000 {
            motion.advance(500);
        }
        for body in motion.bodies() {
            let at = body.position;
            assert!((-1.0..=WORLD + 1.0).contains(&at.x) && (-1.0..=WORLD + 1.0).contains(&at.z));
            assert!((0.0..50.0).contains(&at.y), "{at}");
            assert!(body.rotation.is_normalized());
        }
    }

    #[test]
    fn the_same_seed_is_the_same_world() {
        let [mut a, mut b] = [Motion::new(64, 9), Motion::new(64, 9)];
        for _ in 0..50 {
            assert_eq!(a.advance(8), b.advance(8));
        }
        assert_eq!(a.bodies(), b.bodies());
    }
}
