//! Apps in threads of this process: the server and the bots, and what they saw in the end.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use bevy::{app::ScheduleRunnerPlugin, prelude::*};
use bevy_seamless::{prelude::*, transport::ConditionerConfig, wire::Holder};

use crate::{
    bot::{self, Bot, Playing},
    game::{self, Crate, Place, TICK_RATE},
    player::{self, Done, Hands},
    server,
};

/// Play, let it come to rest, end: the same for all apps of this process.
#[derive(Resource, Clone, Default)]
pub(crate) struct Stage(Arc<AtomicU8>);

impl Stage {
    const REST: u8 = 1;
    const END: u8 = 2;

    pub(crate) fn rest(&self) {
        self.0.store(Self::REST, Ordering::Relaxed);
    }

    pub(crate) fn end(&self) {
        self.0.store(Self::END, Ordering::Relaxed);
    }

    fn now(&self) -> u8 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What an app saw in the end.
#[derive(Default)]
pub(crate) struct Seen {
    /// Every crate: where it is, bit for bit, and who holds it.
    pub(crate) crates: BTreeMap<GlobalEntity, ([u32; 3], Holder)>,
    pub(crate) done: Done,
}

fn threaded(plugins: SeamlessPlugins, stage: &Stage) -> App {
    let mut app = App::new();
    let runner = ScheduleRunnerPlugin::run_loop(Duration::from_millis(4));
    app.add_plugins((
        MinimalPlugins.set(runner),
        plugins.with_tick_rate(TICK_RATE),
    ));
    game::register(&mut app);
    app.insert_resource(stage.clone()).add_systems(
        Last,
        |stage: Res<Stage>, mut exit: MessageWriter<AppExit>| {
            if stage.now() == Stage::END {
                exit.write(AppExit::Success);
            }
        },
    );
    app
}

fn run(mut app: App) -> Seen {
    // `App::run` would take the world with it.
    app.finish();
    app.cleanup();
    while app.should_exit().is_none() {
        app.update();
        thread::sleep(Duration::from_millis(4));
    }
    let done = app.world().get_resource::<Hands>().map(|hands| hands.done);
    let mut crates = app
        .world_mut()
        .query_filtered::<(&NetSlot, &Place, &Authority), With<Crate>>();
    let crates = crates
        .iter(app.world())
        .filter_map(|(slot, place, authority)| {
            let at = place.0.to_array().map(f32::to_bits);
            Some((slot.global()?, (at, authority.holder)))
        })
        .collect();
    Seen {
        crates,
        done: done.unwrap_or_default(),
    }
}

/// The server, in a thread. `add` is added to it.
pub(crate) fn serve(
    endpoint: ServerEndpoint,
    stage: &Stage,
    add: impl FnOnce(&mut App) + Send + 'static,
) -> JoinHandle<Seen> {
    let stage = stage.clone();
    thread::spawn(move || {
        let mut app = threaded(SeamlessPlugins::server(), &stage);
        server::add(&mut app, endpoint);
        add(&mut app);
        run(app)
    })
}

/// Makes an app's player a bot.
pub(crate) fn add_bot(app: &mut App, seed: u64) {
    app.insert_resource(Bot::new(seed))
        .insert_resource(Playing(true))
        .add_systems(FixedPreUpdate, (heed, bot::steer).chain());
}

fn heed(stage: Res<Stage>, mut playing: ResMut<Playing>) {
    playing.0 = stage.now() == 0;
}

/// A bot, in a thread.
pub(crate) fn play(
    server: SocketAddr,
    network: ConditionerConfig,
    seed: u64,
    stage: &Stage,
) -> JoinHandle<Seen> {
    let stage = stage.clone();
    thread::spawn(move || {
        let mut app = threaded(SeamlessPlugins::client(), &stage);
        player::add(&mut app, server, network.with_seed(seed));
        add_bot(&mut app, seed);
        run(app)
    })
}
