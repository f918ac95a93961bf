//! Random worlds as lists of operations: made from a seed, run on a server with clients, and cut
//! down to the few operations that matter when something goes wrong.

#![allow(dead_code, unreachable_pub, reason = "each test uses some of it")]

pub mod happen;
pub mod oracle;
pub mod run;
pub mod shrink;

use bevy::prelude::*;
use seamless_testkit::Rng;
use serde::{Deserialize, Serialize};

/// A value of a component.
#[derive(Clone, PartialEq, Debug)]
pub enum Value {
    Place([f32; 3]),
    /// A letter, so many times. Long ones fit no datagram.
    Label(char, usize),
    Health(u32),
    Stunned(u8),
    /// Translation, then angles.
    Transform([f32; 3], [f32; 2]),
    /// For those who are in [`SECRETS`].
    Secret(u32),
}

/// Known to those who are in a scope, whatever they see.
#[derive(Component, TypePath, Serialize, Deserialize, Clone, PartialEq, Debug)]
pub struct Secret(pub u32);

/// The scope of [`Secret`]s, one of those that clients come into.
pub const SECRETS: u32 = 1;

/// A component that comes and goes. [`Value::Place`] stays: the interest hangs on it.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Kind {
    Label,
    Health,
    Stunned,
    Transform,
    Target,
    Secret,
}

/// Where a client looks from.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Look {
    Everything,
    Nothing,
    At(f32, f32),
    Around(usize),
}

/// Something that happens. Entities and clients are numbers; what is not there is left alone, so
/// that a list without some of its operations still makes sense.
#[derive(Clone, PartialEq, Debug)]
pub enum Op {
    Spawn(usize, Vec<Value>),
    Despawn(usize),
    Insert(usize, Value),
    Remove(usize, Kind),
    /// All of its components are written and come out the same.
    Touch(usize),
    /// What it moves by in every tick from now on.
    Move(usize, [f32; 3]),
    /// Never under a higher number: no circles.
    Parent(usize, Option<usize>),
    Target(usize, usize),
    Scopes(usize, Vec<u32>),
    Except(usize, usize, Option<bool>),
    Subscribe(usize, u32, bool),
    /// Hidden from the game's queries, or no longer.
    Disable(usize, bool),
    Look(usize, Look),
}

/// A world's life.
#[derive(Clone, Debug)]
pub struct Plan {
    pub seed: u64,
    pub loss: f32,
    /// Records from which on a server shares its work out, if not as many as usual.
    pub parallel_rows: Option<usize>,
    /// Bytes for each client in a tick, if not as many as usual.
    pub budget: Option<usize>,
    pub ticks: u32,
    /// In which tick each client joins.
    pub joins: Vec<u32>,
    /// In the order of their ticks.
    pub ops: Vec<(u32, Op)>,
}

impl Plan {
    /// The world of a seed.
    pub fn new(seed: u64, loss: f32) -> Self {
        let mut rng = Rng::new(seed);
        let ticks = 60 + rng.below(91) as u32;
        let mut joins = vec![0, rng.below(ticks as usize) as u32];
        if rng.chance(0.5) {
            joins.push(0);
        }
        let mut spawned = 0;
        let mut ops = Vec::new();
        let busy = 1 + rng.below(6);
        for tick in 0..ticks {
            for _ in 0..rng.below(busy + 1) {
                ops.push((tick, any_op(&mut rng, &mut spawned, joins.len())));
            }
        }
        Self {
            seed,
            loss,
            parallel_rows: None,
            budget: (seed % 5 == 2).then(|| 1_000 + rng.below(2_000)),
            ticks,
            joins,
            ops,
        }
    }
}

/// One of the last few entities, dead or alive.
fn some(rng: &mut Rng, spawned: usize) -> usize {
    spawned.saturating_sub(1 + rng.below(spawned.min(14)))
}

fn any_op(rng: &mut Rng, spawned: &mut usize, clients: usize) -> Op {
    if *spawned == 0 || rng.chance(0.12) {
        *spawned += 1;
        let values = (0..rng.below(4)).map(|_| any_value(rng)).collect();
        return Op::Spawn(*spawned - 1, values);
    }
    let n = some(rng, *spawned);
    match rng.below(25) {
        24 => Op::Disable(n, rng.chance(0.6)),
        0 | 1 => Op::Despawn(n),
        2..=6 => Op::Insert(n, any_value(rng)),
        7 | 8 => Op::Remove(n, any_kind(rng)),
        9 => Op::Touch(n),
        10..=12 => Op::Move(n, any_motion(rng)),
        13 | 20 | 21 => {
            let parent = some(rng, *spawned);
            Op::Parent(
                n,
                (parent < n).then_some(parent).filter(|_| rng.chance(0.9)),
            )
        }
        14 | 15 => Op::Target(n, some(rng, *spawned)),
        16 => {
            let scopes = (0..rng.below(3)).map(|_| rng.below(3) as u32).collect();
            Op::Scopes(n, scopes)
        }
        17 | 22 | 23 => {
            let shown = [None, Some(false), Some(false), Some(true)][rng.below(4)];
            Op::Except(rng.below(clients), n, shown)
        }
        18 => Op::Subscribe(rng.below(clients), rng.below(3) as u32, rng.chance(0.6)),
        _ => Op::Look(rng.below(clients), any_look(rng, *spawned)),
    }
}

/// Somewhere in a world of a few regions.
fn somewhere(rng: &mut Rng) -> f32 {
    rng.below(16 * 64) as f32 / 16.0
}

fn any_look(rng: &mut Rng, spawned: usize) -> Look {
    match rng.below(6) {
        0 | 1 => Look::Everything,
        2 => Look::Nothing,
        3 | 4 => Look::At(somewhere(rng), somewhere(rng)),
        _ => Look::Around(some(rng, spawned)),
    }
}

fn any_kind(rng: &mut Rng) -> Kind {
    [
        Kind::Label,
        Kind::Health,
        Kind::Stunned,
        Kind::Transform,
        Kind::Target,
        Kind::Secret,
    ][rng.below(6)]
}

/// Steady, steady along one axis, or not at all any more.
fn any_motion(rng: &mut Rng) -> [f32; 3] {
    let mut part = || (rng.below(401) as f32 - 200.0) / 100.0;
    let all = [part(), part(), part()];
    match rng.below(4) {
        0 => [0.0; 3],
        1 => [all[0], 0.0, 0.0],
        2 => [0.25, -0.5, 0.125],
        _ => all,
    }
}

fn any_value(rng: &mut Rng) -> Value {
    match rng.below(9) {
        8 => Value::Secret(rng.next() as u32 >> rng.below(32)),
        0..=2 => Value::Place([somewhere(rng), odd_float(rng), somewhere(rng)]),
        3 => {
            let letter = char::from(b'a' + rng.below(4) as u8);
            let long = rng.chance(0.06);
            Value::Label(letter, if long { 1500 } else { 0 } + rng.below(40))
        }
        4 => Value::Health(rng.next() as u32 >> rng.below(32)),
        5 => Value::Stunned(rng.below(4) as u8),
        _ => {
            let angles = [somewhere(rng), somewhere(rng)];
            Value::Transform([somewhere(rng), -somewhere(rng), odd_float(rng)], angles)
        }
    }
}

/// Floats that break arithmetic, now and then.
fn odd_float(rng: &mut Rng) -> f32 {
    let odd = [
        f32::NAN,
        f32::INFINITY,
        f32::NEG_INFINITY,
        f32::MAX,
        f32::MIN_POSITIVE,
        1.0e-40,
        -0.0,
        0.0,
    ];
    if rng.chance(0.2) {
        odd[rng.below(odd.len())]
    } else {
        f32::from_bits(0x4000_0000 | (rng.next() as u32 & 0x00ff_ffff))
    }
}
