//! What links did is recorded, and an app that it is played to goes through the same states.

mod common;
mod session;

use std::{collections::BTreeSet, fs, path::Path, sync::Arc};

use bevy::prelude::*;
use common::{Place, ready, register};
use seamless_authority::Granted;
use seamless_replication::{
    Registry, ReplicateAppExt,
    inputs::InputAppExt,
    messages::{Delivery, Direction, MessageAppExt},
    recording::{
        Playback, PlaybackError, PlaybackState, RecordPlugin, RecordWhat, Recording, RecordingFile,
        RecordingState,
    },
    transport::{CloseReason, Links},
    wire::{
        recording::{Record, RecordedEvent, RecordingError},
        snapshot::{Plain, Zstd},
    },
};
use seamless_testkit::{Cluster, Rng};
use session::{
    Avatar, Folder, Shout, Told, Walk, cluster, compare, connect, finished, game, player_of, run,
    session, shown, state,
};

#[test]
fn a_client_that_is_played_back_goes_through_the_same_states_tick_by_tick() {
    let folder = Folder::new("client");
    for seed in 0..2 {
        let path = folder.file(&seed.to_string());
        let mut cluster = cluster(seed, 1, RecordPlugin::new(&path));
        let server = cluster.server();
        let client = cluster.client(server);
        let recorded = run(&mut cluster, client, 360);
        let last = recorded.last().expect("some frames");
        assert!(last.entities.len() > 50, "{}", last.entities.len());
        assert!(last.told.0.len() > 10, "{:?}", last.told);
        let mut held = cluster.world(client).query::<&Granted>();
        assert!(
            held.iter(cluster.world(client)).count() > 0,
            "it holds something"
        );
        drop(cluster);

        let mut app = player_of(&path, false);
        game(&mut app);
        let mut app = finished(app);
        connect(&mut app);
        compare(&mut app, &recorded);
        let playback = app.world().resource::<Playback>();
        assert_eq!((playback.frames(), playback.diverged()), (360, None));
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
    let recorded = run(&mut cluster, client, 200);
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
        // All that the server hosts; its own name for what the client spawned is none of it.
        let [now, then] =
            [&now, recorded].map(|shown| shown.entities.iter().cloned().collect::<BTreeSet<_>>());
        let missing = then.difference(&now).count();
        // The banner, and the five that the client holds and moves.
        assert!(missing <= 6, "{missing}");
    }
    assert_eq!(app.world().resource::<Links>().len(), 1);
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
    recorded.extend(run(&mut cluster, server, 100));
    // One goes without a word, and is missed after a while.
    cluster.kill(first);
    recorded.extend(run(&mut cluster, server, 190));
    let last = recorded.last().expect("some frames");
    assert!(
        last.told.0.iter().any(|line| line.contains("TimedOut")),
        "{:?}",
        last.told
    );
    let mut avatars = cluster.world(server).query::<(&Avatar, &Place)>();
    let walked = |(_, place): (&Avatar, &Place)| place.0 > 30.0;
    assert!(
        avatars
            .iter(cluster.world(server))
            .filter(|a| walked(*a))
            .count()
            == 2
    );
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
    let close = |world: &mut World| {
        world
            .resource_mut::<Links>()
            .close_all(CloseReason::Requested);
    };
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
    assert_eq!(
        (count("LinkOpened"), count("LinkClosed")),
        (2, 2),
        "{told:?}"
    );
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
        let Record::Frame(frame) = record else {
            continue;
        };
        for event in frame.events().flatten() {
            match event {
                RecordedEvent::Sent(..) => datagrams += 1,
                RecordedEvent::SentReliable(..) => frames += 1,
                RecordedEvent::Received(..) | RecordedEvent::ReceivedReliable(..) => received += 1,
                _ => {}
            }
        }
    }
    assert!(
        datagrams > 40 && frames == 1 && received == 0,
        "{datagrams} {frames} {received}"
    );

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
        max_bytes: 25_000,
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
    assert!((10_000..=25_000).contains(&length), "{length}");

    let mut app = player_of(&path, false);
    game(&mut app);
    let mut app = finished(app);
    connect(&mut app);
    let mut file = RecordingFile::open(&path, None).expect("it is one");
    let whole = std::iter::from_fn(|| file.next_record().expect("whole"));
    let frames = whole
        .filter(|record| matches!(record, Record::Frame(_)))
        .count();
    assert!(frames > 30, "{frames}");
    compare(&mut app, &recorded[..frames]);
    app.update();
    assert!(matches!(state(&app), PlaybackState::Ended { full: true }));
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
    // Somewhere, and just before the end: all is there then, but for the block that says so.
    let last = bytes.len() - 1;
    let cuts = (0..8).map(|_| rng.below(bytes.len() * 9 / 10));
    for len in cuts.chain([last]) {
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
        assert_eq!(played == recorded.len(), len == last, "{played} of {len}");
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
        assert!(
            matches!(error, PlaybackError::File { .. }),
            "byte {at}: {error}"
        );
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
    assert!(matches!(
        state(&app),
        PlaybackState::Failed(PlaybackError::Io { .. })
    ));

    let mut file = RecordingFile::open(&path, Some(primed)).expect("with it, it is");
    let mut frames = 0;
    while let Some(record) = file.next_record().expect("whole") {
        frames += usize::from(matches!(record, Record::Frame(_)));
    }
    assert_eq!(frames, recorded.len());
}
