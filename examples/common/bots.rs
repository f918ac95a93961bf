//! Many bots in one process, one after the other on one thread.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::{Duration, Instant},
};

use bevy::prelude::*;
use bevy_seamless::{mesh::service::boot_clock, prelude::*, replication::inputs::InputOutbox};

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
    /// What the machine's clock showed when the app's time began.
    zero: Duration,
}

/// Runs bots until the end is ordered; what they measured, in the order of the setups.
pub fn run(setups: Vec<BotSetup>, orders: &Orders, seed: u64) -> Vec<BotReport> {
    let start = Instant::now();
    let share = POLL / setups.len().max(1) as u32;
    let mut bots: Vec<Running> = setups
        .into_iter()
        .enumerate()
        .map(|(at, setup)| {
            let mut app = bot::app(setup);
            let zero = boot_clock();
            app.update();
            Running {
                app,
                next: start + share * at as u32,
                zero,
            }
        })
        .collect();
    let mut resting = false;
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
    }
    bots.iter()
        .map(|bot| report(&bot.app, bot.zero, seed))
        .collect()
}

fn report(app: &App, zero: Duration, seed: u64) -> BotReport {
    let world = app.world();
    let tick = world.resource::<NetClock>().tick_length();
    let client = world.resource::<MeshClient>();
    BotReport {
        player: client.player.0,
        inputs: world.resource::<InputOutbox>().newest().0,
        logins: client.counters.logins as u32,
        crossings: client.counters.crossings as u32,
        ..world.resource::<Measures>().report(tick, zero, seed)
    }
}
