//! Many bots in one process, one after the other on one thread.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::{Duration, Instant},
};

use bevy::prelude::*;
use bevy_seamless::{prelude::*, replication::inputs::InputOutbox};
use serde::{Deserialize, Serialize};

use super::{
    bot::{self, Bot, BotSetup},
    measure::{BotReport, Measures},
};

/// How often each bot looks at the network.
const POLL: Duration = Duration::from_micros(1_000_000 / 90);

/// What the parent has asked for: to go on, to rest, to end.
pub struct Orders(AtomicU8);

const REST: u8 = 1;
const END: u8 = 2;

impl Orders {
    /// Go on.
    pub fn new() -> Arc<Self> {
        Arc::new(Self(AtomicU8::new(0)))
    }

    /// Follows a line of the parent: `rest` or `end`.
    pub fn follow(&self, line: &str) {
        match line {
            "rest" => self.0.fetch_max(REST, Ordering::Relaxed),
            "end" => self.0.fetch_max(END, Ordering::Relaxed),
            _ => 0,
        };
    }

    fn given(&self) -> u8 {
        self.0.load(Ordering::Relaxed)
    }
}

struct Running {
    app: App,
    next: Instant,
}

/// What a process of bots says to its parent.
#[derive(Serialize, Deserialize)]
pub enum Said {
    /// About once a second: gaps at new hosts since the last time, in ticks.
    Gaps(Vec<f64>),
    /// At the end, in the order of the setups.
    Reports(Vec<BotReport>),
}

/// Runs bots until the end is ordered. All of it is `said`.
pub fn run(setups: Vec<BotSetup>, orders: &Orders, said: fn(&Said)) {
    let start = Instant::now();
    let share = POLL / setups.len().max(1) as u32;
    let mut bots: Vec<Running> = setups
        .into_iter()
        .enumerate()
        .map(|(at, setup)| {
            let mut app = bot::app(setup);
            app.update();
            Running {
                app,
                next: start + share * at as u32,
            }
        })
        .collect();
    let mut resting = false;
    let mut told = start;
    while orders.given() < END && !bots.is_empty() {
        if orders.given() >= REST && !resting {
            resting = true;
            for bot in &mut bots {
                bot.app.world_mut().resource_mut::<Bot>().walking = false;
            }
        }
        for bot in &mut bots {
            let wait = bot.next.saturating_duration_since(Instant::now());
            if !wait.is_zero() {
                std::thread::sleep(wait);
            }
            bot.app.update();
            bot.next += POLL;
            // What could not be kept up with is not made up for.
            bot.next = bot.next.max(Instant::now() - POLL);
        }
        if told.elapsed() >= Duration::from_secs(1) {
            told = Instant::now();
            said(&Said::Gaps(bots.iter_mut().flat_map(fresh_gaps).collect()));
        }
    }
    said(&Said::Reports(bots.iter_mut().map(report).collect()));
}

fn fresh_gaps(bot: &mut Running) -> Vec<f64> {
    let mut measures = bot.app.world_mut().resource_mut::<Measures>();
    measures.fresh_gaps().collect()
}

fn report(bot: &mut Running) -> BotReport {
    let measured = bot.app.world_mut().resource_mut::<Measures>().report();
    let world = bot.app.world();
    let client = world.resource::<MeshClient>();
    BotReport {
        player: client.player.0,
        inputs: world.resource::<InputOutbox>().newest().0,
        logins: client.counters.logins,
        crossings: client.counters.crossings,
        ..measured
    }
}
