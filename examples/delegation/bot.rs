//! A player that nobody steers: it walks to crates, carries, throws and pushes them, reaches for
//! those that others carry, and now and then builds one.

use bevy::prelude::*;
use bevy_seamless::prelude::*;
use seamless_testkit::Rng;

use crate::{
    game::{Body, Crate, HALF, Place, REACH, TICK_RATE},
    player::{Hands, Wish},
};

/// Ticks after which a bot thinks of something else, whatever came of it.
const PATIENCE: u32 = TICK_RATE as u32 * 4;

/// Steers this app's player.
#[derive(Resource)]
pub(crate) struct Bot {
    rng: Rng,
    goal: Goal,
    since: u32,
}

#[derive(Clone, Copy)]
enum Goal {
    /// To this crate, to carry it; also if somebody has it.
    Fetch(Entity, bool),
    /// Through this crate.
    Push(Entity),
    /// There, and then throw or put down.
    Bring(Vec3, bool),
    /// Hands up until the end.
    Rest,
}

impl Bot {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            rng: Rng::new(seed),
            goal: Goal::Rest,
            since: PATIENCE,
        }
    }

    fn somewhere(&mut self) -> Vec3 {
        let mut along = || (self.rng.below(1001) as f32 / 500.0 - 1.0) * (HALF - 2.0);
        Vec3::new(along(), 0.0, along())
    }
}

/// Whether the bots play, or rest so that everything can come to its end.
#[derive(Resource, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Playing(pub(crate) bool);

pub(crate) fn steer(
    (mut bot, mut wish, hands): (ResMut<Bot>, ResMut<Wish>, Res<Hands>),
    (playing, peers): (Res<Playing>, Res<Peers>),
    bodies: Query<(&Body, &Place), Without<Crate>>,
    crates: Query<(Entity, &Place, Option<&AuthorityView>), With<Crate>>,
) {
    let me = peers.me();
    let body = bodies.iter().find(|(body, _)| Some(body.0) == me);
    let Some((_, &Place(at))) = body else { return };
    if !playing.0 {
        wish.walk = Vec2::ZERO;
        wish.grab = hands.carried.is_some();
        bot.since = PATIENCE;
        return;
    }
    bot.since += 1;
    if bot.since > PATIENCE || matches!(bot.goal, Goal::Rest) {
        bot.since = 0;
        bot.goal = think(&mut bot, hands.carried.is_some(), &crates);
        wish.build = hands.carried.is_none() && bot.rng.chance(0.12);
    }
    let to = match bot.goal {
        Goal::Fetch(..) if hands.carried.is_some() => {
            let there = bot.somewhere();
            bot.goal = Goal::Bring(there, bot.rng.chance(0.7));
            bot.since = 0;
            there
        }
        Goal::Fetch(entity, contest) => {
            let Ok((_, place, _)) = crates.get(entity) else {
                bot.goal = Goal::Rest;
                return;
            };
            let near = place.0.distance(at) < REACH * 0.8;
            if near && hands.asked.is_none() && bot.since.is_multiple_of(15) {
                (wish.grab, wish.contest) = (true, contest);
            }
            place.0
        }
        Goal::Push(entity) => match crates.get(entity) {
            Ok((_, place, _)) => place.0,
            Err(_) => Vec3::ZERO,
        },
        Goal::Bring(there, throw) => {
            if there.distance(at) < 1.0 {
                (wish.throw, wish.grab) = (throw, !throw);
                bot.goal = Goal::Rest;
            }
            there
        }
        Goal::Rest => at,
    };
    let way = (to - at).xz();
    wish.walk = way.clamp_length_max(1.0);
}

fn think(
    bot: &mut Bot,
    carries: bool,
    crates: &Query<(Entity, &Place, Option<&AuthorityView>), With<Crate>>,
) -> Goal {
    if carries {
        return Goal::Bring(bot.somewhere(), bot.rng.chance(0.7));
    }
    let all: Vec<(Entity, bool)> = crates
        .iter()
        .map(|(entity, _, view)| (entity, view == Some(&AuthorityView::Denied)))
        .collect();
    let contest = bot.rng.chance(0.5);
    let wanted: Vec<Entity> = all
        .iter()
        .filter(|(_, held)| *held == contest)
        .map(|(entity, _)| *entity)
        .collect();
    let any = all.first().map(|(entity, _)| *entity);
    let Some(entity) = bot.rng.pick(&wanted).copied().or(any) else {
        return Goal::Rest;
    };
    if bot.rng.chance(0.35) {
        Goal::Push(entity)
    } else {
        Goal::Fetch(entity, contest)
    }
}
