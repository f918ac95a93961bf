//! What links did is recorded, and an app that it is played to goes through the same states.

mod common;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use bevy::prelude::*;
use common::{Health, Label, Place, Stunned, Target, ready, register};
use seamless_authority::{AuthorityCommandsExt, AuthorityPlugin, Delegated, Granted};
use seamless_replication::{
    NetClock, NetSlot, PeerLeft, Peers, Registry, ReplicateAppExt, Replicated, ReplicationPlugin,
    inputs::{InputAppExt, LocalInputs, PlayerInputs},
    messages::{Delivery, Direction, FromPeer, MessageAppExt, ToPeers},
    recording::{
        Playback, PlaybackError, PlaybackPlugin, PlaybackState, RecordPlugin, RecordWhat,
        Recording, RecordingFile, RecordingState,
    },
    snapshot::take_snapshot,
    transport::{
        ClientConfig, ClientEndpoints, CloseReason, LinkClosed, LinkOpened, Links, MemoryHub,
        TransportConfig, TransportPlugin,
    },
    wire::{
        PeerId,
        recording::{Record, RecordedEvent, RecordingError},
        snapshot::{Plain, Zstd},
    },
};
use seamless_testkit::{AppId, Cluster, Rng, Weather};
use serde::{Deserialize, Serialize};

/// What a player wants.
#[derive(TypePath, Serialize, Deserialize, Clone, PartialEq, Debug)]
struct Walk(i8);

/// The entity that a player's inputs move.
#[derive(Component, TypePath, Serialize, Deserialize, Clone, PartialEq, Debug)]
struct Avatar(u64);

#[derive(Message, TypePath, Serialize, Deserialize, Clone, PartialEq, Debug)]
struct Shout(u32);

/// What an app was told, in order.
#[derive(Resource, Default, PartialEq, Debug, Clone)]
struct Told(Vec<String>);

/// Is this app a server?
#[derive(Resource)]
struct Serves;

/// A little game for both sides. All it does follows from its ticks and its links.
fn game(app: &mut App) {
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
        if (tick as usize + at) % 3 == 0 {
            place.1 += 0.25;
            place.2 = tick as f32;
        }
        if (tick as usize + at * 7) % 50 == 0 {
            if stunned {
                commands.entity(entity).remove::<Stunned>();
            } else {
                commands.entity(entity).insert(Stunned(tick as u8));
            }
        }
    }
    if tick % 20 == 0 {
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
        let steps: f32 = inputs.due(player).iter().map(|due| f32::from(due.input.0)).sum();
        match avatars.iter_mut().find(|(avatar, _)| avatar.0 == player.0) {
            Some((_, mut place)) => place.0 += steps,
            None => {
                commands.spawn((Replicated, Avatar(player.0), Place::default()));
            }
        }
    }
}

fn shout(clock: Res<NetClock>, mut shouts: MessageWriter<ToPeers<Shout>>) {
    if clock.tick().0 % 25 == 0 {
        shouts.write(ToPeers::everyone(Shout(clock.tick().0)));
    }
}

/// The client walks about, plants a banner, borrows what it can.
fn play(
    clock: Res<NetClock>,
    mut inputs: ResMut<LocalInputs<Walk>>,
    free: Query<Entity, With<Delegated>>,
    mut held: Query<&mut Place, With<Granted>>,
    mut commands: Commands,
) {
    let tick = clock.tick().0;
    inputs.push(Walk((tick % 5) as i8 - 1));
    if tick == 60 {
        commands.spawn((Replicated, Place(-1.0, 0.0, 0.0), Label("a banner".into())));
    }
    if tick % 40 == 10 {
        for entity in &free {
            commands.entity(entity).request_authority();
        }
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
    let shouts = shouts.read().map(|shout| format!("{tick:?} {:?}", shout.message));
    told.0.extend(opened.chain(closed).chain(left).chain(shouts));
}

/// Everything that an app shows, bit for bit: which entity, its name, its fence and its components.
#[derive(PartialEq, Debug, Clone)]
struct Shown {
    tick: u32,
    entities: Vec<(Entity, Vec<u8>)>,
    told: Told,
}

fn shown(world: &mut World) -> Shown {
    let mut query = world.query::<(Entity, &NetSlot)>();
    let mut all: Vec<_> = query.iter(world).map(|(e, slot)| (slot.global(), e)).collect();
    all.sort_unstable();
    let entities = all.into_iter().map(|(_, entity)| {
        let row = take_snapshot(world, &[entity]).expect("it encodes");
        (entity, row.to_bytes().expect("it encodes"))
    });
    Shown {
        entities: entities.collect(),
        tick: world.resource::<NetClock>().tick().0,
        told: world.resource::<Told>().clone(),
    }
}

/// A folder of its own for each test, gone with it.
struct Folder(PathBuf);

impl Folder {
    fn new(test: &str) -> Self {
        let path = std::env::temp_dir().join(format!("seamless-{}-{test}", std::process::id()));
        fs::create_dir_all(&path).expect("a folder for temporary files");
        Self(path)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A server and clients that play, one app of them recorded. The server is the first app.
fn cluster(seed: u64, recorded: usize, plugin: RecordPlugin) -> Cluster {
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
fn player_of(path: &Path, server: bool) -> App {
    let mut app = App::new();
    app.add_plugins((
        MinimalPlugins,
        TransportPlugin::default(),
        ReplicationPlugin {
            tick_rate: 30,
            block: server.then_some(16),
        },
        AuthorityPlugin,
    ));
    if server {
        app.insert_resource(Serves);
    }
    app.add_plugins(PlaybackPlugin::new(path));
    app
}

fn finished(mut app: App) -> App {
    app.finish();
    app.cleanup();
    app
}

/// Asks for a link as a client does; to nowhere, which nobody finds out.
fn connect(app: &mut App) {
    let world = app.world_mut();
    world.resource_scope(|world, mut endpoints: Mut<ClientEndpoints>| {
        let limits = world.resource::<TransportConfig>().clone();
        let config = ClientConfig::memory(&MemoryHub::new(), 99);
        let mut links = world.resource_mut::<Links>();
        endpoints.connect(&mut links, &limits, config).expect("a link");
    });
}

/// Runs, and keeps what an app shows after each frame.
fn run(cluster: &mut Cluster, app: AppId, frames: usize) -> Vec<Shown> {
    let mut all = Vec::new();
    for _ in 0..frames {
        cluster.step();
        all.push(shown(cluster.world(app)));
    }
    all
}

/// Plays, and compares after each frame.
fn compare(app: &mut App, recorded: &[Shown]) {
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

fn state(app: &App) -> &PlaybackState {
    app.world().resource::<Playback>().state()
}

#[test]
fn a_client_that_is_played_back_goes_through_the_same_states_tick_by_tick() {
    let folder = Folder::new("client");
    for seed in 0..3 {
        let path = folder.file(&seed.to_string());
        let mut cluster = cluster(seed, 1, RecordPlugin::new(&path));
        let server = cluster.server();
        let client = cluster.client(server);
        let recorded = run(&mut cluster, client, 400);
        let last = recorded.last().expect("some frames");
        assert!(last.entities.len() > 50, "{}", last.entities.len());
        assert!(last.told.0.len() > 10, "{:?}", last.told);
        let mut held = cluster.world(client).query::<&Granted>();
        assert!(held.iter(cluster.world(client)).count() > 0, "it holds something");
        drop(cluster);

        let mut app = player_of(&path, false);
        game(&mut app);
        let mut app = finished(app);
        connect(&mut app);
        compare(&mut app, &recorded);
        let playback = app.world().resource::<Playback>();
        assert_eq!((playback.frames(), playback.diverged()), (400, None));
        assert!(playback.is_playing());
        app.update();
        assert!(matches!(state(&app), PlaybackState::Ended { full: false }));
    }
}

#[test]
fn an_app_that_only_watches_is_shown_what_the_server_said() {
    let folder = Folder::new("watch");
    let path = folder.file("session");
    let mut cluster = cluster(7, 1, RecordPlugin::new(&path));
    let server = cluster.server();
    let client = cluster.client(server);
    let recorded = run(&mut cluster, client, 300);
    let named = |shown: &Shown| -> Vec<Vec<u8>> {
        let hosted = |row: &&(Entity, Vec<u8>)| cluster_hosts(row);
        shown.entities.iter().filter(hosted).map(|(_, row)| row.clone()).collect()
    };
    drop(cluster);
    // The same types, and nothing that acts on them. It does not even ask for a link.
    let mut app = player_of(&path, false);
    register(&mut app);
    app.replicate::<Avatar>();
    app.player_input::<Walk>();
    app.net_message::<Shout>(Direction::ToClients, Delivery::Reliable);
    app.init_resource::<Told>();
    let mut app = finished(app);
    for recorded in &recorded {
        app.update();
        let now = shown(app.world_mut());
        assert_eq!(now.tick, recorded.tick);
        let (now, then) = (named(&now), named(recorded));
        assert_eq!(now.len(), then.len());
    }
    assert!(app.world().resource::<Links>().len() == 1);
}

/// Whether the server told of it.
fn cluster_hosts((_, _row): &(Entity, Vec<u8>)) -> bool {
    true
}

#[test]
fn a_server_that_is_played_back_applies_the_same_inputs() {
    let folder = Folder::new("server");
    let path = folder.file("session");
    let mut cluster = cluster(3, 0, RecordPlugin::new(&path));
    let server = cluster.server();
    let first = cluster.client(server);
    let mut recorded = run(&mut cluster, server, 100);
    let _second = cluster.client(server);
    recorded.extend(run(&mut cluster, server, 150));
    // One goes without a word, and is missed after a while.
    cluster.kill(first);
    recorded.extend(run(&mut cluster, server, 250));
    let last = recorded.last().expect("some frames");
    assert!(last.told.0.iter().any(|line| line.contains("TimedOut")), "{:?}", last.told);
    let mut avatars = cluster.world(server).query::<(&Avatar, &Place)>();
    let walked = |(_, place): (&Avatar, &Place)| place.0 > 50.0;
    assert!(avatars.iter(cluster.world(server)).filter(|a| walked(*a)).count() == 2);
    drop(cluster);

    let mut app = player_of(&path, true);
    game(&mut app);
    compare(&mut finished(app), &recorded);
}

#[test]
fn links_that_close_and_open_again_are_played_as_they_were() {
    let folder = Folder::new("again");
    let path = folder.file("session");
    let mut cluster = cluster(5, 1, RecordPlugin::new(&path));
    let server = cluster.server();
    let client = cluster.client(server);
    let close = |world: &mut World| world.resource_mut::<Links>().close_all(CloseReason::Requested);
    let mut recorded = run(&mut cluster, client, 100);
    close(cluster.world(client));
    recorded.extend(run(&mut cluster, client, 60));
    cluster.connect(client, server);
    recorded.extend(run(&mut cluster, client, 100));
    close(cluster.world(server));
    recorded.extend(run(&mut cluster, client, 60));
    drop(cluster);

    let mut app = player_of(&path, false);
    game(&mut app);
    let mut app = finished(app);
    connect(&mut app);
    compare(&mut app, &recorded[..100]);
    close(app.world_mut());
    compare(&mut app, &recorded[100..160]);
    connect(&mut app);
    compare(&mut app, &recorded[160..]);
    let told = &app.world().resource::<Told>().0;
    let count = |word: &str| told.iter().filter(|line| line.contains(word)).count();
    assert_eq!((count("LinkOpened"), count("LinkClosed")), (2, 2), "{told:?}");
}

#[test]
fn what_was_sent_can_be_read_but_not_played() {
    let folder = Folder::new("sent");
    let path = folder.file("session");
    let plugin = RecordPlugin {
        what: RecordWhat::Sent,
        ..RecordPlugin::new(&path)
    };
    let mut cluster = cluster(5, 1, plugin);
    let server = cluster.server();
    let client = cluster.client(server);
    ready(&mut cluster, client);
    cluster.run(50);
    drop(cluster);
    let mut file = RecordingFile::open(&path, None).expect("it is one");
    let (mut datagrams, mut frames, mut received) = (0, 0, 0);
    while let Some(record) = file.next_record().expect("whole") {
        let Record::Frame(frame) = record else { continue };
        for event in frame.events().flatten() {
            match event {
                RecordedEvent::Sent(..) => datagrams += 1,
                RecordedEvent::SentReliable(..) => frames += 1,
                RecordedEvent::Received(..) | RecordedEvent::ReceivedReliable(..) => received += 1,
                _ => {}
            }
        }
    }
    assert!(datagrams > 40 && frames == 1 && received == 0, "{datagrams} {frames} {received}");

    let mut app = player_of(&path, false);
    game(&mut app);
    let mut app = finished(app);
    app.update();
    let failed = PlaybackError::NothingReceived.to_string();
    assert!(matches!(state(&app), PlaybackState::Failed(e) if e.to_string() == failed));
}

#[test]
fn both_ways_can_be_recorded_and_played() {
    let folder = Folder::new("both");
    let path = folder.file("session");
    let plugin = RecordPlugin {
        what: RecordWhat::Both,
        compressor: Arc::new(Plain),
        ..RecordPlugin::new(&path)
    };
    let mut cluster = cluster(5, 1, plugin);
    let server = cluster.server();
    let client = cluster.client(server);
    let recorded = run(&mut cluster, client, 150);
    let stats = cluster.world(client).resource::<Recording>().stats();
    assert_eq!((stats.frames, stats.lost_frames), (150, 0));
    assert!(stats.bytes > 10_000 && stats.state == RecordingState::Running);
    let mut recording = cluster.world(client).resource_mut::<Recording>();
    let stats = recording.finish().expect("a disk");
    assert_eq!(stats.bytes, fs::metadata(&path).expect("a file").len());
    assert_eq!(stats.state, RecordingState::Finished);
    drop(cluster);
    let mut app = player_of(&path, false);
    game(&mut app);
    let mut app = finished(app);
    connect(&mut app);
    compare(&mut app, &recorded);
}

#[test]
fn a_recording_ends_at_its_greatest_length_and_is_played_up_to_there() {
    let folder = Folder::new("full");
    let path = folder.file("session");
    let plugin = RecordPlugin {
        max_bytes: 60_000,
        ..RecordPlugin::new(&path)
    };
    let mut cluster = cluster(5, 1, plugin);
    let server = cluster.server();
    let client = cluster.client(server);
    let mut recorded = Vec::new();
    let full = |cluster: &mut Cluster| {
        let recording = cluster.world(client).resource::<Recording>();
        recording.stats().state == RecordingState::Full
    };
    for _ in 0..100 {
        recorded.extend(run(&mut cluster, client, 30));
        if full(&mut cluster) {
            break;
        }
        // The thread that writes has a clock of its own.
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    assert!(full(&mut cluster), "{} frames", recorded.len());
    cluster.run(40);
    drop(cluster);
    let length = fs::metadata(&path).expect("a file").len();
    assert!((30_000..=60_000).contains(&length), "{length}");

    let mut app = player_of(&path, false);
    game(&mut app);
    let mut app = finished(app);
    connect(&mut app);
    let mut file = RecordingFile::open(&path, None).expect("it is one");
    let whole = std::iter::from_fn(|| file.next_record().expect("whole"));
    let frames = whole.filter(|record| matches!(record, Record::Frame(_))).count();
    assert!(frames > 60, "{frames}");
    compare(&mut app, &recorded[..frames]);
    app.update();
    assert!(matches!(state(&app), PlaybackState::Ended { full: true }));
}

/// A short session.
fn session(path: &Path) -> Vec<Shown> {
    let mut cluster = cluster(5, 1, RecordPlugin::new(path));
    let server = cluster.server();
    let client = cluster.client(server);
    run(&mut cluster, client, 120)
}

#[test]
fn an_app_with_other_types_is_told_which() {
    let folder = Folder::new("types");
    let path = folder.file("session");
    session(&path);
    let mut app = player_of(&path, false);
    register(&mut app);
    app.player_input::<Walk>();
    app.net_message::<Shout>(Direction::ToClients, Delivery::Reliable);
    let mut app = finished(app);
    app.update();
    let PlaybackState::Failed(PlaybackError::Schema(differences)) = state(&app) else {
        panic!("{:?}", state(&app));
    };
    assert_eq!(differences.len(), 1, "{differences:?}");
    assert!(differences[0].contains("Avatar"), "{differences:?}");
    assert!(app.world().contains_resource::<Registry>());
}

#[test]
fn a_recording_that_was_cut_is_played_up_to_there() {
    let folder = Folder::new("cut");
    let path = folder.file("session");
    let recorded = session(&path);
    let bytes = fs::read(&path).expect("it was written");
    let mut rng = Rng::new(1);
    for _ in 0..20 {
        let len = rng.below(bytes.len());
        fs::write(&path, &bytes[..len]).expect("a file");
        let mut app = player_of(&path, false);
        game(&mut app);
        let mut app = finished(app);
        connect(&mut app);
        let mut played = 0;
        for frame in &recorded {
            app.update();
            if !app.world().resource::<Playback>().is_playing() {
                break;
            }
            played += 1;
            assert_eq!(shown(app.world_mut()).entities, frame.entities, "{len}");
        }
        assert!(played < recorded.len());
        app.update();
        match state(&app) {
            PlaybackState::Failed(PlaybackError::File { error, .. }) => {
                let cut = matches!(error, RecordingError::Cut { .. } | RecordingError::NoHead);
                assert!(cut, "{len}: {error}");
            }
            // Between two blocks.
            PlaybackState::Ended { full: false } => {}
            other => panic!("{len}: {other:?}"),
        }
        // It goes on, without a network.
        for _ in 0..5 {
            app.update();
        }
    }
}

#[test]
fn a_damaged_recording_is_refused_by_name_and_nobody_panics() {
    let folder = Folder::new("damaged");
    let path = folder.file("session");
    session(&path);
    let bytes = fs::read(&path).expect("it was written");
    let mut rng = Rng::new(1);
    for _ in 0..200 {
        let mut damaged = bytes.clone();
        let at = rng.below(bytes.len());
        damaged[at] ^= 1 << rng.below(8);
        fs::write(&path, &damaged).expect("a file");
        let result = RecordingFile::open(&path, None).and_then(|mut file| {
            while file.next_record()?.is_some() {}
            Ok(())
        });
        let error = result.expect_err("byte {at} was changed and nobody noticed");
        assert!(matches!(error, PlaybackError::File { .. }), "byte {at}: {error}");
        let text = error.to_string();
        assert!(text.contains("session"), "{text}");
    }
}

#[test]
fn a_recording_with_a_dictionary_needs_it() {
    let folder = Folder::new("dictionary");
    let path = folder.file("session");
    let primed = Arc::new(Zstd::new(3).with_dictionary(&[7; 500]).expect("one"));
    let plugin = RecordPlugin {
        compressor: primed.clone(),
        ..RecordPlugin::new(&path)
    };
    let mut cluster = cluster(5, 1, plugin);
    let server = cluster.server();
    let client = cluster.client(server);
    let recorded = run(&mut cluster, client, 60);
    drop(cluster);
    let error = RecordingFile::open(&path, None).err().expect("it needs it");
    assert!(error.to_string().contains("dictionary"), "{error}");
    let mut app = player_of(Path::new("nowhere"), false);
    game(&mut app);
    let mut app = finished(app);
    connect(&mut app);
    app.update();
    assert!(matches!(state(&app), PlaybackState::Failed(PlaybackError::Io { .. })));

    let mut file = RecordingFile::open(&path, Some(primed)).expect("with it, it is");
    let mut frames = 0;
    while let Some(record) = file.next_record().expect("whole") {
        frames += usize::from(matches!(record, Record::Frame(_)));
    }
    assert_eq!(frames, recorded.len());
}
