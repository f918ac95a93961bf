//! Worlds in files: saved, loaded into another app, and refused with a reason.

mod common;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use bevy::prelude::*;
use common::{
    Health, Label, Place, Stunned, Target, differences, find, get, name, ready, register, seen,
    settle,
};
use seamless_authority::{AuthorityCommandsExt, Delegated};
use seamless_replication::{
    Registry, ReplicateAppExt, Replicated, Slots,
    snapshot::{
        FileOptions, LoadError, SavedWorld, Scope, load_snapshot, save_snapshot, take_snapshot,
        unheld,
    },
    wire::{
        Holder,
        snapshot::{FileError, Plain, SnapshotError, Zstd},
    },
};
use seamless_testkit::{AppId, Cluster, Rng, Weather};
use serde::{Deserialize, Serialize};

/// Players never see it; it must not be lost.
#[derive(Component, TypePath, Serialize, Deserialize, Clone, PartialEq, Debug)]
struct Countdown(u32);

fn setup(app: &mut App) {
    register(app);
    app.replicate_with_entities::<ChildOf>();
    app.keep::<Countdown>();
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

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).expect("the folder is there");
        entries
            .map(|entry| {
                entry
                    .expect("an entry")
                    .file_name()
                    .to_string_lossy()
                    .into()
            })
            .collect()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A server whose world has a hierarchy, references in circles, and something kept.
fn old_world() -> (Cluster, AppId) {
    let mut cluster = Cluster::new(1, setup);
    let server = cluster.server();
    let world = cluster.world(server);
    let all: Vec<Entity> = (0..60u32)
        .map(|n| {
            let place = Place(n as f32, 0.5, -1.0);
            let mut entity = world.spawn((Replicated, place, Countdown(1000 - n)));
            if n % 2 == 0 {
                entity.insert(Label("page".repeat(n as usize)));
            }
            if n % 3 == 0 {
                entity.insert((Health(n), Stunned(n as u8)));
            }
            entity.id()
        })
        .collect();
    for (n, entity) in all.iter().enumerate() {
        let mut entity = world.entity_mut(*entity);
        entity.insert(Target(all[(n + 7) % 60]));
        // A tree, three wide.
        if n > 0 {
            entity.insert(ChildOf(all[(n - 1) / 3]));
        }
    }
    // A name that was given, and is nobody's any more, but for a reference.
    let gone = world.spawn((Replicated, Place::default())).id();
    world.entity_mut(all[0]).insert(Target(gone));
    cluster.run(3);
    (cluster, server)
}

fn saved(path: &Path, options: &FileOptions) -> (Cluster, AppId) {
    let (mut cluster, server) = old_world();
    save_snapshot(cluster.world(server), Scope::Hosted, path, options).expect("it is written");
    (cluster, server)
}

fn plain() -> FileOptions {
    FileOptions {
        compressor: Arc::new(Plain),
        piece_bytes: 1000,
        ..FileOptions::default()
    }
}

fn registry(setup: impl Fn(&mut App) + 'static) -> Registry {
    let mut cluster = Cluster::new(1, setup);
    let server = cluster.server();
    cluster.world(server).resource::<Registry>().clone()
}

#[test]
fn a_world_with_a_hierarchy_comes_back_from_a_file_as_it_was() {
    let folder = Folder::new("hierarchy");
    let path = folder.file("world");
    let options = FileOptions::default();
    let (mut old, server) = saved(&path, &options);
    assert_eq!(folder.names(), ["world"], "nothing is left beside it");

    let mut new = Cluster::new(2, setup);
    new.set_weather(Weather::lossy(0.1));
    let fresh = new.server();
    // So that local ids are others than in the old world.
    for _ in 0..17 {
        new.world(fresh).spawn_empty();
    }
    let client = new.client(fresh);
    ready(&mut new, client);
    let world = new.world(fresh);
    let staged = load_snapshot(world.resource::<Registry>(), &path, &options).expect("it is whole");
    let loaded = staged.spawn(world, |_, tenure| tenure);
    assert_eq!(loaded.len(), 61);
    assert_eq!(
        differences(&seen(&mut new, fresh), &seen(&mut old, server)),
        None
    );
    for entity in loaded.clone() {
        let name = name(&mut new, fresh, entity);
        let original = find(&mut old, server, name).expect("same names");
        let countdown = get::<Countdown>(&mut old, server, original);
        assert_eq!(get(&mut new, fresh, entity), countdown);
        let parent = get::<ChildOf>(&mut old, server, original)
            .map(|parent| common::name(&mut old, server, parent.0));
        let here = get::<ChildOf>(&mut new, fresh, entity)
            .map(|parent| common::name(&mut new, fresh, parent.0));
        assert_eq!(here, parent);
    }
    let children = new.world(fresh).get::<Children>(loaded[0]);
    assert_eq!(children.map(|children| children.len()), Some(3));
    settle(&mut new, fresh, &[client]);

    let [before, after] = [(&mut old, server), (&mut new, fresh)].map(|(cluster, app)| {
        let saved = SavedWorld::take(cluster.world(app), Scope::Hosted).expect("it encodes");
        (saved.snapshot.rows, saved.components, saved.kept)
    });
    assert_eq!(before, after, "and it saves to the same");
}

#[test]
fn new_entities_of_a_loaded_world_get_names_that_nobody_had() {
    let folder = Folder::new("names");
    let path = folder.file("world");
    let (mut old, server) = old_world();
    let world = old.world(server);
    let last = world.spawn((Replicated, Place::default())).id();
    let given = name(&mut old, server, last);
    old.world(server).despawn(last);
    let options = FileOptions::default();
    save_snapshot(old.world(server), Scope::Hosted, &path, &options).expect("it is written");

    let mut new = Cluster::new(2, setup);
    let fresh = new.server();
    let world = new.world(fresh);
    let staged = load_snapshot(world.resource::<Registry>(), &path, &options).expect("it is whole");
    staged.spawn(world, |_, tenure| tenure);
    let entity = world.spawn((Replicated, Place::default())).id();
    let fresh_name = name(&mut new, fresh, entity);
    assert_eq!(fresh_name.block(), given.block());
    assert!(fresh_name > given, "{fresh_name:?} {given:?}");
}

#[test]
fn some_entities_can_be_saved_alone_and_what_they_refer_to_waits_for_the_rest() {
    let folder = Folder::new("some");
    let (mut old, server) = old_world();
    let world = old.world(server);
    let all = SavedWorld::take(world, Scope::Hosted).expect("it encodes");
    let entities: Vec<Entity> = all.snapshot.rows[..60]
        .iter()
        .map(|row| world.resource::<Slots>().entity(row.entity).expect("here"))
        .collect();
    let options = FileOptions::default();
    let mut new = Cluster::new(2, setup);
    let fresh = new.server();
    for (number, part) in entities.chunks(20).enumerate() {
        let path = folder.file(&number.to_string());
        let scope = Scope::Entities(part);
        save_snapshot(old.world(server), scope, &path, &options).expect("it is written");
        let world = new.world(fresh);
        let staged = load_snapshot(world.resource::<Registry>(), &path, &options);
        let staged = staged.expect("it is whole");
        assert_eq!(staged.names().count(), 20);
        staged.spawn(world, |_, tenure| tenure);
    }
    let world = new.world(fresh);
    let all_new = SavedWorld::take(world, Scope::Hosted).expect("it encodes");
    assert_eq!(all_new.snapshot.rows, all.snapshot.rows[..60]);
}

#[test]
fn nobody_holds_what_was_loaded_without_its_holders() {
    let folder = Folder::new("holder");
    let path = folder.file("world");
    let options = FileOptions::default();
    let mut cluster = Cluster::new(3, setup);
    let server = cluster.server();
    let client = cluster.client(server);
    ready(&mut cluster, client);
    let bundle = (Replicated, Delegated, Place::default());
    let crate_ = cluster.world(server).spawn(bundle).id();
    cluster.run(5);
    let me = common::me(&mut cluster, client);
    common::command(&mut cluster, server, crate_, |e| {
        e.give_authority(me);
    });
    cluster.run(5);
    save_snapshot(cluster.world(server), Scope::Hosted, &path, &options).expect("it is written");

    let registry = registry(setup);
    for (keep, holder) in [(true, Holder::Peer(me)), (false, Holder::Nobody)] {
        let mut new = Cluster::new(4, setup);
        let fresh = new.server();
        let world = new.world(fresh);
        let staged = load_snapshot(&registry, &path, &options).expect("it is whole");
        let loaded = staged.spawn(world, |_, tenure| match keep {
            true => tenure,
            false => unheld(tenure),
        });
        new.run(3);
        let here = common::authority::holder(&mut new, fresh, loaded[0]);
        assert_eq!(here, Some(holder));
    }
}

#[test]
fn a_file_of_the_same_world_is_the_same_bytes() {
    let folder = Folder::new("same");
    let files = ["a", "b"].map(|name| {
        let path = folder.file(name);
        saved(&path, &FileOptions::default());
        fs::read(path).expect("it was written")
    });
    assert_eq!(files[0], files[1]);
}

#[test]
fn a_file_that_cannot_be_written_leaves_the_former_one() {
    let folder = Folder::new("former");
    let path = folder.file("world");
    let options = FileOptions::default();
    let (mut old, server) = saved(&path, &options);
    let before = fs::read(&path).expect("it was written");
    // Where the file should be, there is a folder with something in it.
    let blocked = folder.file("blocked");
    fs::create_dir_all(blocked.join("full")).expect("a folder");
    let world = old.world(server);
    let error = save_snapshot(world, Scope::Hosted, &blocked, &options).expect_err("no room");
    assert!(error.to_string().contains("blocked"), "{error}");
    let missing = folder.file("nowhere").join("world");
    assert!(save_snapshot(world, Scope::Hosted, missing, &options).is_err());
    assert!(save_snapshot(world, Scope::Hosted, folder.file(".."), &options).is_err());
    assert_eq!(fs::read(&path).expect("still there"), before);
    let mut names = folder.names();
    names.sort();
    assert_eq!(names, ["blocked", "world"], "nothing half written is left");
}

#[test]
fn a_file_cut_anywhere_or_with_a_tail_is_refused_by_name() {
    let folder = Folder::new("cut");
    let path = folder.file("world");
    saved(&path, &plain());
    let bytes = fs::read(&path).expect("it was written");
    let step = (bytes.len() / 200).max(1);
    for len in (0..bytes.len())
        .step_by(step)
        .chain([11, 12, bytes.len() - 1])
    {
        fs::write(&path, &bytes[..len]).expect("a file");
        match SavedWorld::read(&path, &plain()) {
            Err(LoadError::File {
                error: FileError::Truncated { wanted, have },
                ..
            }) => assert!(
                have == len as u64 && wanted > have,
                "{len}: {wanted} {have}"
            ),
            other => panic!("{len}: {other:?}"),
        }
    }
    fs::write(&path, [&bytes[..], &[0; 3]].concat()).expect("a file");
    let error = SavedWorld::read(&path, &plain()).expect_err("it is longer");
    assert!(
        error.to_string().ends_with("3 bytes after its end"),
        "{error}"
    );
    let nowhere = SavedWorld::read(folder.file("nowhere"), &plain());
    assert!(matches!(nowhere, Err(LoadError::Io { .. })), "{nowhere:?}");
}

#[test]
fn a_damaged_file_is_refused_by_name_wherever_the_damage_is() {
    let folder = Folder::new("damaged");
    let path = folder.file("world");
    for options in [plain(), FileOptions::default()] {
        saved(&path, &options);
        let bytes = fs::read(&path).expect("it was written");
        let mut rng = Rng::new(1);
        for _ in 0..300 {
            let mut damaged = bytes.clone();
            let at = rng.below(bytes.len());
            damaged[at] ^= 1 << rng.below(8);
            fs::write(&path, &damaged).expect("a file");
            let Err(LoadError::File { error, .. }) = SavedWorld::read(&path, &options) else {
                panic!("byte {at} was changed and nobody noticed");
            };
            let head = matches!(
                error,
                FileError::NotASave(_)
                    | FileError::Version { .. }
                    | FileError::Head(_)
                    | FileError::HeadDamaged
                    | FileError::Truncated { .. }
            );
            let piece = matches!(error, FileError::PieceDamaged { .. });
            assert!(head || piece, "byte {at}: {error}");
        }
    }
}

#[test]
fn a_component_that_is_missing_here_or_coded_otherwise_is_named() {
    let folder = Folder::new("schema");
    let path = folder.file("world");
    let options = FileOptions::default();
    saved(&path, &options);
    let refused = |setup: fn(&mut App)| match load_snapshot(&registry(setup), &path, &options) {
        Err(LoadError::Schema(differences)) => differences,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it was taken"),
    };
    let lacks = refused(|app| {
        app.replicate::<Place>().app().replicate::<Label>();
        app.replicate_with_entities::<Target>();
        app.keep::<Countdown>();
        let _ = app.replicate::<Health>().host_only();
        app.replicate::<Stunned>();
    });
    assert_eq!(lacks.len(), 1, "{lacks:?}");
    assert!(
        lacks[0].contains("ChildOf\" is not registered here"),
        "{lacks:?}"
    );
    let unkept = refused(|app| {
        register(app);
        app.replicate_with_entities::<ChildOf>();
        app.keep::<Other>();
    });
    assert_eq!(unkept.len(), 1, "{unkept:?}");
    assert!(
        unkept[0].contains("Countdown\" is not registered here"),
        "{unkept:?}"
    );

    let mut saved = SavedWorld::read(&path, &options).expect("it is whole");
    for component in &mut saved.components {
        if component.path == Place::type_path() {
            component.codec = "1/512 m".into();
        }
    }
    let coded = saved.stage(&registry(setup)).err().expect("another coding");
    assert!(coded.to_string().contains("Place\" is \"serde"), "{coded}");
}

#[derive(Component, TypePath, Serialize, Deserialize, Clone)]
struct Other;

#[test]
fn a_build_that_registers_more_loads_what_an_older_one_saved() {
    let folder = Folder::new("more");
    let path = folder.file("world");
    let options = FileOptions::default();
    let (mut old, server) = saved(&path, &options);
    let mut new = Cluster::new(2, |app: &mut App| {
        setup(app);
        app.replicate::<Other>();
    });
    let fresh = new.server();
    let world = new.world(fresh);
    let staged = load_snapshot(world.resource::<Registry>(), &path, &options).expect("it will do");
    staged.spawn(world, |_, tenure| tenure);
    assert_eq!(
        differences(&seen(&mut new, fresh), &seen(&mut old, server)),
        None
    );
}

#[test]
fn a_value_whose_type_has_changed_is_named_with_its_entity() {
    let folder = Folder::new("value");
    let path = folder.file("world");
    let options = FileOptions::default();
    let (mut old, server) = old_world();
    let mut saved = SavedWorld::take(old.world(server), Scope::Hosted).expect("it encodes");
    let id = saved.snapshot.rows[3].components[0].0;
    saved.snapshot.rows[3].components[0].1 = vec![0xff; 3];
    saved.write(&path, &options).expect("it is written");
    let error = load_snapshot(&registry(setup), &path, &options)
        .err()
        .expect("no such value");
    let path_of = |id| {
        saved
            .components
            .iter()
            .chain(&saved.kept)
            .find(|c| c.id == id)
    };
    let path = &path_of(id).expect("described").path;
    let entity = saved.snapshot.rows[3].entity;
    let text = error.to_string();
    assert!(
        text.contains(path) && text.contains(&entity.to_string()),
        "{text}"
    );
}

#[test]
fn a_file_squeezed_with_a_dictionary_needs_it() {
    let folder = Folder::new("dictionary");
    let path = folder.file("world");
    let primed = Zstd::new(9)
        .with_dictionary(&b"page".repeat(40))
        .expect("one");
    let options = FileOptions {
        compressor: Arc::new(primed),
        ..FileOptions::default()
    };
    let (mut old, server) = saved(&path, &options);
    let got = SavedWorld::read(&path, &FileOptions::default());
    let Err(LoadError::File { error, .. }) = got else {
        panic!("it was read without its dictionary");
    };
    let named = matches!(
        error,
        FileError::Snapshot(SnapshotError::Dictionary { ours: 0, .. })
    );
    assert!(named, "{error}");
    let read = SavedWorld::read(&path, &options).expect("with it, it is");
    let world = old.world(server);
    let taken = SavedWorld::take(world, Scope::Hosted).expect("it encodes");
    assert_eq!(read, taken);
    // What needs nothing is read by everybody.
    saved(&path, &plain());
    assert_eq!(SavedWorld::read(&path, &options).expect("plain"), taken);
}

#[test]
fn a_reader_takes_no_more_than_it_allows() {
    let folder = Folder::new("bounds");
    let path = folder.file("world");
    let options = FileOptions::default();
    let (mut old, server) = saved(&path, &options);
    let world = old.world(server);
    let all = SavedWorld::take(world, Scope::Hosted).expect("it encodes");
    let bytes = all.snapshot.to_bytes().expect("it encodes").len();
    let limited = |max_bytes| FileOptions {
        max_bytes,
        ..FileOptions::default()
    };
    assert!(SavedWorld::read(&path, &limited(bytes)).is_ok());
    let got = SavedWorld::read(&path, &limited(bytes - 1));
    assert!(matches!(got, Err(LoadError::File { .. })), "{got:?}");
}

#[test]
fn an_empty_world_is_a_file_too() {
    let folder = Folder::new("empty");
    let path = folder.file("world");
    let mut cluster = Cluster::new(1, setup);
    let server = cluster.server();
    let world = cluster.world(server);
    let options = FileOptions::default();
    let length = save_snapshot(world, Scope::Hosted, &path, &options).expect("it is written");
    assert_eq!(length, fs::metadata(&path).expect("it is there").len());
    let staged = load_snapshot(world.resource::<Registry>(), &path, &options).expect("it is whole");
    assert_eq!(staged.spawn(world, |_, tenure| tenure), []);
    assert_eq!(take_snapshot(world, &[]).expect("it encodes").rows, []);
}
