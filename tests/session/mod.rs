//! A little game for both ends of a link, recorded and played back.

#![allow(unreachable_pub, reason = "a module that tests share")]

use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering},
};

use bevy::{ecs::entity::MapEntities, prelude::*};
use seamless_authority::{
    AuthorityCommandsExt, AuthorityPlugin, AuthorityView, Delegated, Granted,
};
use seamless_replication::{
    NetClock, NetSlot, PeerLeft, Peers, ReplicateAppExt, Replicated, ReplicationPlugin,
    inputs::{InputAppExt, LocalInputs, PlayerInputs},
    messages::{self, Delivery, Direction, FromPeer, MessageAppExt, ToPeers},
    recording::{Playback, PlaybackPlugin, PlaybackState, RecordPlugin},
    snapshot::take_snapshot,
    transport::{
        ClientConfig, ClientEndpoints, LinkClosed, LinkOpened, Links, MemoryHub, TransportConfig,
        TransportPlugin,
    },
    wire::PeerId,
};
use seamless_testkit::{AppId, Cluster, Weather};
use serde::{Deserialize, Serialize};

use crate::common::{Health, Label, Place, Stunned, Target, register};

/// What a player wants.
#[derive(TypePath, Serialize, Deserialize, Clone, PartialEq, Debug)]
pub struct Walk(pub i8);

/// The entity that a player's inputs move.
#[derive(Component, TypePath, Serialize, Deserialize, Clone, PartialEq, Debug)]
pub struct Avatar(pub u64);

#[derive(TypePath, Serialize, Deserialize, MapEntities, Clone, PartialEq, Debug)]
pub struct Shout(pub u32);

/// What an app was told, in order.
#[derive(Resource, Default, PartialEq, Debug, Clone)]
pub struct Told(pub Vec<String>);

/// Is this app a server?
#[derive(Resource)]
pub struct Serves;

/// A little game for both sides. All it does follows from its ticks and its links.
pub fn game(app: &mut App) {
    register(app);
    app.replicate::<Avatar>();
    app.player_input::<Walk>();
    app.net_message::<Shout>(Direction::ToClients, Delivery::Reliable);
    app.init_resource::<Told>()
        .add_systems(Startup, furnish.run_if(resource_exists::<Serves>))
        .add_systems(
            FixedUpdate,
            (
                (live, walk, shout).run_if(resource_exists::<Serves>),
                play.run_if(not(resource_exists::<Serves>)),
            ),
        )
        .add_systems(Update, listen);
}

fn furnish(mut commands: Commands) {
    let all: Vec<Entity> = (0..40u32)
        .map(|n| {
            let place = Place(n as f32, 0.0, 0.0);
            commands.spawn((Replicated, place, Health(n))).id()
        })
        .collect();
    for (n, entity) in all.iter().enumerate() {
        let mut entity = commands.entity(*entity);
        entity.insert(Target(all[(n + 1) % 40]));
        if n % 8 == 0 {
            entity.insert(Delegated);
        }
    }
}

/// Something changes all the time, and what there is changes too.
fn live(
    clock: Res<NetClock>,
    mut places: Query<(Entity, &mut Place, Has<Stunned>), (With<Health>, Without<Delegated>)>,
    mut commands: Commands,
) {
    let tick = clock.tick().0;
    for (at, (entity, mut place, stunned)) in places.iter_mut().enumerate() {
        if (tick as usize + at).is_multiple_of(3) {
            place.1 += 0.25;
            place.2 = tick as f32;
        }
        if (tick as usize + at * 7).is_multiple_of(50) {
            if stunned {
                commands.entity(entity).remove::<Stunned>();
            } else {
                commands.entity(entity).insert(Stunned(tick as u8));
            }
        }
    }
    if tick.is_multiple_of(20) {
        // Some of them too large for a datagram.
        let label = Label("lorem ".repeat(tick as usize * 3));
        commands.spawn((Replicated, label, Health(tick)));
    }
    if tick % 60 == 30
        && let Some((entity, ..)) = places.iter().last()
    {
        commands.entity(entity).despawn();
    }
}

/// Players walk as they say.
fn walk(
    mut inputs: PlayerInputs<Walk>,
    peers: Res<Peers>,
    mut avatars: Query<(&Avatar, &mut Place)>,
    mut commands: Commands,
) {
    let players: Vec<PeerId> = peers.iter().filter_map(|peer| peer.id()).collect();
    for player in players {
        let steps: f32 = inputs.due(player).map(|(_, walk)| f32::from(walk.0)).sum();
        match avatars.iter_mut().find(|(avatar, _)| avatar.0 == player.0) {
            Some((_, mut place)) => place.0 += steps,
            None => {
                commands.spawn((Replicated, Avatar(player.0), Place::default()));
            }
        }
    }
}

fn shout(clock: Res<NetClock>, mut shouts: MessageWriter<ToPeers<Shout>>) {
    if clock.tick().0.is_multiple_of(25) {
        shouts.write(ToPeers {
            to: messages::Target::All,
            message: Shout(clock.tick().0),
        });
    }
}

/// The client walks about, plants a banner, borrows what it can.
fn play(
    clock: Res<NetClock>,
    mut inputs: LocalInputs<Walk>,
    lent: Query<(Entity, &AuthorityView)>,
    mut held: Query<&mut Place, With<Granted>>,
    mut commands: Commands,
) {
    let tick = clock.tick().0;
    inputs.push(&Walk((tick % 5) as i8 - 1));
    if tick == 60 {
        commands.spawn((Replicated, Place(-1.0, 0.0, 0.0), Label("a banner".into())));
    }
    for (entity, view) in &lent {
        match (tick % 80, view) {
            (10, AuthorityView::Available) => commands.entity(entity).request_authority(),
            (50, AuthorityView::Granted) => commands.entity(entity).release_authority(),
            _ => continue,
        };
    }
    for mut place in &mut held {
        place.2 -= 1.0;
    }
}

fn listen(
    clock: Res<NetClock>,
    mut told: ResMut<Told>,
    mut shouts: MessageReader<FromPeer<Shout>>,
    mut opened: MessageReader<LinkOpened>,
    mut closed: MessageReader<LinkClosed>,
    mut left: MessageReader<PeerLeft>,
) {
    let tick = clock.tick();
    let opened = opened.read().map(|opened| format!("{tick:?} {opened:?}"));
    let closed = closed.read().map(|closed| format!("{tick:?} {closed:?}"));
    let left = left.read().map(|left| format!("{tick:?} {left:?}"));
    let shouts = shouts
        .read()
        .map(|shout| format!("{tick:?} {:?}", shout.message));
    told.0
        .extend(opened.chain(closed).chain(left).chain(shouts));
}

/// Everything that an app shows, bit for bit: names, fences and components.
#[derive(PartialEq, Debug, Clone)]
pub struct Shown {
    /// At the end of this tick.
    pub tick: u32,
    /// Snapshots of one each, by name.
    pub entities: Vec<Vec<u8>>,
    /// What it was told.
    pub told: Told,
}

pub fn shown(world: &mut World) -> Shown {
    let mut query = world.query::<(Entity, &NetSlot)>();
    let mut all: Vec<_> = query
        .iter(world)
        .map(|(e, slot)| (slot.global(), e))
        .collect();
    all.sort_unstable();
    let entities = all.into_iter().map(|(_, entity)| {
        let row = take_snapshot(world, &[entity]).expect("it encodes");
        row.to_bytes().expect("it encodes")
    });
    Shown {
        entities: entities.collect(),
        tick: world.resource::<NetClock>().tick().0,
        told: world.resource::<Told>().clone(),
    }
}

/// A folder of its own for each test, gone with it.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new(test: &str) -> Self {
        let path = std::env::temp_dir().join(format!("seamless-{}-{test}", std::process::id()));
        fs::create_dir_all(&path).expect("a folder for temporary files");
        Self(path)
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A server and clients that play, one app of them recorded. The server is the first app.
pub fn cluster(seed: u64, recorded: usize, plugin: RecordPlugin) -> Cluster {
    let next = AtomicUsize::new(0);
    let mut cluster = Cluster::new(seed, move |app: &mut App| {
        let number = next.fetch_add(1, Ordering::Relaxed);
        if number == 0 {
            app.insert_resource(Serves);
        }
        game(app);
        if number == recorded {
            app.add_plugins(plugin.clone());
        }
    });
    cluster.set_weather(Weather::lossy(0.15));
    cluster
}

/// An app like those of the cluster, without its network.
pub fn player_of(path: &Path, server: bool) -> App {
    let mut app = App::new();
    app.add_plugins((
        MinimalPlugins,
        TransportPlugin::default(),
        ReplicationPlugin {
            tick_rate: 30,
            // Played back, it is that of the recording.
            block: server.then_some(17),
        },
        AuthorityPlugin,
    ));
    if server {
        app.insert_resource(Serves);
    }
    app.add_plugins(PlaybackPlugin::new(path));
    app
}

pub fn finished(mut app: App) -> App {
    app.finish();
    app.cleanup();
    app
}

/// Asks for a link as a client does; to nowhere, which nobody finds out.
pub fn connect(app: &mut App) {
    let world = app.world_mut();
    world.resource_scope(|world, mut endpoints: Mut<ClientEndpoints>| {
        let limits = world.resource::<TransportConfig>().clone();
        let config = ClientConfig::memory(&MemoryHub::new(), 99);
        let mut links = world.resource_mut::<Links>();
        endpoints
            .connect(&mut links, &limits, config)
            .expect("a link");
    });
}

/// Runs, and keeps what an app shows after each frame.
pub fn run(cluster: &mut Cluster, app: AppId, frames: usize) -> Vec<Shown> {
    let mut all = Vec::new();
    for _ in 0..frames {
        cluster.step();
        all.push(shown(cluster.world(app)));
    }
    all
}

/// Plays, and compares after each frame.
pub fn compare(app: &mut App, recorded: &[Shown]) {
    for (frame, recorded) in recorded.iter().enumerate() {
        app.update();
        let now = shown(app.world_mut());
        assert_eq!(now.tick, recorded.tick, "frame {frame}");
        assert_eq!(now.told, recorded.told, "frame {frame}");
        assert_eq!(now.entities.len(), recorded.entities.len(), "frame {frame}");
        for (now, recorded) in now.entities.iter().zip(&recorded.entities) {
            assert_eq!(now, recorded, "frame {frame}");
        }
    }
}

pub fn state(app: &App) -> &PlaybackState {
    app.world().resource::<Playback>().state()
}

/// A short session.
pub fn session(path: &Path) -> Vec<Shown> {
    let mut cluster = cluster(5, 1, RecordPlugin::new(path));
    let server = cluster.server();
    let client = cluster.client(server);
    run(&mut cluster, client, 120)
}
