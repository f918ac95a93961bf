//! What a player was told, once more: plays a recording without a network, and says what it shows. Look
//! at: the links that come and go as the player crosses borders, and that the same file says the same
//! every time. With a debugger in the middle of it, a bug that somebody else met waits for you.
//! Run: `cargo run --release --example seamless_world -- --seconds 20 --record recorded`, then
//! `cargo run --release --example playback -- recorded/bot-1.seamless`
#![allow(clippy::print_stdout, reason = "an example speaks to its user")]

mod common;

use std::path::PathBuf;

use bevy::prelude::*;
use bevy_seamless::{
    handover::client::MeshWatchPlugin,
    prelude::*,
    replication::recording::{Pace, Playback, PlaybackPlugin, PlaybackState},
    transport::Links,
};
use clap::Parser;
use common::{
    cli,
    game::{Banner, Body, Crate, TICK_RATE, headless},
};

/// Plays what a player of the seamless world was told.
#[derive(Parser)]
#[command(version)]
struct Cli {
    /// The recording.
    file: PathBuf,
    /// As fast as it was recorded, not as fast as it goes.
    #[arg(long)]
    real_time: bool,
}

/// Counted over the whole recording.
#[derive(Default)]
struct Seen {
    links: usize,
    bodies: usize,
    crates: usize,
    banners: usize,
}

impl Seen {
    /// The most of each.
    fn note(&mut self, now: &Self) {
        self.links = self.links.max(now.links);
        self.bodies = self.bodies.max(now.bodies);
        self.crates = self.crates.max(now.crates);
        self.banners = self.banners.max(now.banners);
    }
}

fn main() {
    let cli: Cli = cli::parse();
    cli::log_to_stderr("off");
    let mut app = app(&cli);
    println!("  second    tick   links  bodies  crates banners");
    let (mut most, mut said) = (Seen::default(), 0);
    loop {
        app.update();
        let world = app.world_mut();
        if !world.resource::<Playback>().is_playing() {
            break;
        }
        let now = look(world);
        most.note(&now);
        let tick = world.resource::<NetClock>().tick();
        let second = tick.0 / u32::from(TICK_RATE);
        if second > said {
            said = second;
            let Seen {
                links,
                bodies,
                crates,
                banners,
            } = now;
            println!(
                "{second:>8} {:>7} {links:>7} {bodies:>7} {crates:>7} {banners:>7}",
                tick.0
            );
        }
    }
    let playback = app.world().resource::<Playback>();
    match playback.state() {
        PlaybackState::Failed(error) => cli::fail(error),
        PlaybackState::Playing | PlaybackState::Ended { .. } => {}
    }
    println!(
        "{} frames; at most {} links, {} bodies, {} crates, {} banners at once",
        playback.frames(),
        most.links,
        most.bodies,
        most.crates,
        most.banners
    );
    if most.bodies == 0 {
        cli::fail(&"nobody is in it");
    }
}

/// An app with the same components, and nothing that acts on them.
fn app(cli: &Cli) -> App {
    let mut app = headless(SeamlessPlugins::client(), MeshWatchPlugin);
    app.add_plugins(
        PlaybackPlugin::new(&cli.file).with_pace(match cli.real_time {
            true => Pace::RealTime,
            false => Pace::Frames,
        }),
    );
    app.finish();
    app.cleanup();
    app
}

/// What is shown at present.
fn look(world: &mut World) -> Seen {
    Seen {
        links: world.resource::<Links>().len(),
        bodies: count::<Body>(world),
        crates: count::<Crate>(world),
        banners: count::<Banner>(world),
    }
}

fn count<C: Component>(world: &mut World) -> usize {
    let mut all = world.query_filtered::<(), (With<C>, With<NetSlot>)>();
    all.iter(world).count()
}
