//! A world is saved and loaded: into a fresh world it comes out equal.

mod common;

use bevy::prelude::*;
use common::{
    Health, Label, Place, Stunned, Target, differences, find, get, name, ready, register, seen,
    settle,
};
use seamless_authority::{AuthorityCommandsExt, Delegated};
use seamless_replication::{
    NetSlot, Registry, ReplicateAppExt, Replicated, Slots,
    snapshot::{StageError, stage, take_snapshot},
    wire::snapshot::{Compressor, Plain, SnapshotAssembler, SnapshotError, WorldSnapshot},
};
use seamless_testkit::{AppId, Cluster, Rng, Weather};
use serde::{Deserialize, Serialize};

/// Players never see it; it must not be lost.
#[derive(Component, TypePath, Serialize, Deserialize, Clone, PartialEq, Debug)]
struct Countdown(u32);

/// Nor must whom it means.
#[derive(Component, TypePath, Serialize, Deserialize, Clone, PartialEq, Debug)]
struct Grudge(#[entities] Entity);

fn setup(app: &mut App) {
    register(app);
    app.keep::<Countdown>().keep::<Grudge>();
}

fn everything(world: &mut World) -> Vec<Entity> {
    let mut query = world.query_filtered::<(Entity, &NetSlot), With<Replicated>>();
    let mut all: Vec<(Entity, NetSlot)> = query.iter(world).map(|(e, slot)| (e, *slot)).collect();
    all.sort_by_key(|(_, slot)| slot.global());
    all.into_iter().map(|(entity, _)| entity).collect()
}

/// A server with a world that refers to itself in circles.
fn saved() -> (Cluster, AppId, WorldSnapshot) {
    let mut cluster = Cluster::new(1, setup);
    let server = cluster.server();
    let world = cluster.world(server);
    let all: Vec<Entity> = (0..50u32)
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
        let kept = Grudge(all[(n + 11) % 50]);
        let refers = (Target(all[(n + 7) % 50]), kept);
        world.entity_mut(*entity).insert(refers);
    }
    cluster.run(3);
    let world = cluster.world(server);
    let all = everything(world);
    let snapshot = take_snapshot(world, &all).expect("it encodes");
    assert_eq!(snapshot.rows.len(), 50);
    (cluster, server, snapshot)
}

fn load(cluster: &mut Cluster, server: AppId, snapshot: &WorldSnapshot) -> Vec<Entity> {
    let world = cluster.world(server);
    let staged = stage(world.resource::<Registry>(), snapshot).expect("it decodes");
    staged.spawn(world, |_, tenure| tenure)
}

#[test]
fn what_was_saved_is_loaded_into_a_fresh_world_and_is_equal() {
    let (mut old, server, snapshot) = saved();
    let bytes = snapshot.to_bytes().expect("it encodes");
    let read = WorldSnapshot::from_bytes(&bytes).expect("it decodes");
    assert_eq!(read, snapshot);

    let mut new = Cluster::new(2, setup);
    new.set_weather(Weather::lossy(0.1));
    let fresh = new.server();
    // So that local ids are others than in the old world.
    for _ in 0..17 {
        new.world(fresh).spawn_empty();
    }
    let client = new.client(fresh);
    ready(&mut new, client);
    let loaded = load(&mut new, fresh, &read);
    assert_eq!(
        differences(&seen(&mut new, fresh), &seen(&mut old, server)),
        None
    );
    for entity in loaded {
        let its_name = name(&mut new, fresh, entity);
        let original = find(&mut old, server, its_name).expect("same names");
        let countdown = get::<Countdown>(&mut old, server, original);
        assert_eq!(
            get(&mut new, fresh, entity),
            countdown,
            "kept, though not replicated"
        );
        let hated = |cluster: &mut Cluster, app, entity| {
            let Grudge(hated) = get(cluster, app, entity).expect("kept");
            name(cluster, app, hated)
        };
        let original = hated(&mut old, server, original);
        assert_eq!(hated(&mut new, fresh, entity), original);
    }
    settle(&mut new, fresh, &[client]);
    let world = new.world(fresh);
    let all = everything(world);
    let again = take_snapshot(world, &all).expect("it encodes");
    assert_eq!(again.rows, snapshot.rows, "and saves to the same");
}

#[test]
fn a_snapshot_of_the_same_world_is_the_same_bytes() {
    let [first, second] = [(); 2].map(|()| saved().2.to_bytes().expect("it encodes"));
    assert_eq!(first, second);
}

#[test]
fn loading_over_what_is_there_keeps_the_entity_and_its_fence_is_the_callers() {
    let (mut cluster, server, snapshot) = saved();
    let world = cluster.world(server);
    let all = everything(world);
    for &entity in &all {
        world.entity_mut(entity).insert(Place(-1.0, -1.0, -1.0));
    }
    cluster.run(2);
    let world = cluster.world(server);
    let staged = stage(world.resource::<Registry>(), &snapshot).expect("it decodes");
    let mut terms = 100;
    let loaded = staged.spawn(world, |_, mut tenure| {
        terms += 1;
        tenure.rehost(seamless_replication::wire::Term(terms));
        tenure
    });
    assert_eq!(loaded, all, "the same entities");
    cluster.run(2);
    let slot = *cluster
        .world(server)
        .get::<NetSlot>(loaded[0])
        .expect("named");
    let tenure = cluster.world(server).resource::<Slots>().tenure(&slot);
    assert_eq!(tenure.expect("there").epoch.term.0, 101);
    assert_eq!(
        get(&mut cluster, server, loaded[3]),
        Some(Place(3.0, 0.5, -1.0))
    );
}

#[test]
fn loading_over_what_is_there_takes_off_what_was_not_saved() {
    let (mut cluster, server, snapshot) = saved();
    let client = cluster.client(server);
    ready(&mut cluster, client);
    let before = seen(&mut cluster, server);
    let all = everything(cluster.world(server));
    for (n, &entity) in all.iter().enumerate() {
        let mut entity = cluster.world(server).entity_mut(entity);
        entity.insert((Stunned(200), Label("later".into())));
        if n % 2 == 0 {
            entity.remove::<(Place, Countdown)>();
        }
        if n % 5 == 0 {
            entity.insert(Health(9000)).remove::<Target>();
        }
    }
    settle(&mut cluster, server, &[client]);
    assert_ne!(seen(&mut cluster, server), before);
    let loaded = load(&mut cluster, server, &snapshot);
    assert_eq!(loaded, all);
    assert_eq!(seen(&mut cluster, server), before);
    let again = take_snapshot(cluster.world(server), &all).expect("it encodes");
    assert_eq!(again.rows, snapshot.rows);
    settle(&mut cluster, server, &[client]);
}

/// Comes with a shield.
#[derive(Component, TypePath, Serialize, Deserialize, Clone, PartialEq, Debug)]
#[require(Shield)]
struct Fighter;

#[derive(Component, TypePath, Serialize, Deserialize, Clone, PartialEq, Debug, Default)]
struct Shield(u32);

#[test]
fn what_comes_by_itself_and_was_not_saved_is_not_loaded_unless_nobody_knew_of_it_then() {
    fn fight(app: &mut App) {
        setup(app);
        app.replicate::<Fighter>();
    }
    fn fight_with_shields(app: &mut App) {
        fight(app);
        app.replicate::<Shield>();
    }
    let save = |app: fn(&mut App)| {
        let mut cluster = Cluster::new(1, app);
        let server = cluster.server();
        let world = cluster.world(server);
        let entity = world.spawn((Replicated, Fighter)).id();
        world.entity_mut(entity).remove::<Shield>();
        cluster.run(3);
        take_snapshot(cluster.world(server), &[entity]).expect("it encodes")
    };
    for (saved, has_shield) in [(save(fight_with_shields), false), (save(fight), true)] {
        let mut cluster = Cluster::new(2, fight_with_shields);
        let server = cluster.server();
        cluster.run(3);
        let loaded = load(&mut cluster, server, &saved);
        let shield = get::<Shield>(&mut cluster, server, loaded[0]);
        assert_eq!(shield.is_some(), has_shield);
    }
}

#[test]
fn who_held_an_entity_holds_it_in_the_loaded_world() {
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
    let before = common::authority::holder(&mut cluster, server, crate_);
    let snapshot = take_snapshot(cluster.world(server), &[crate_]).expect("it encodes");
    let mut new = Cluster::new(4, setup);
    let fresh = new.server();
    let loaded = load(&mut new, fresh, &snapshot);
    new.run(3);
    assert_eq!(
        common::authority::holder(&mut new, fresh, loaded[0]),
        before
    );
}

/// Turns runs of a byte into a count and the byte.
struct Runs;

impl Compressor for Runs {
    fn id(&self) -> u8 {
        200
    }

    fn compress(&self, input: &[u8], out: &mut Vec<u8>) {
        for run in input.chunk_by(|a, b| a == b) {
            for piece in run.chunks(255) {
                out.extend([piece.len() as u8, piece[0]]);
            }
        }
    }

    fn decompress(&self, input: &[u8], max: usize, out: &mut Vec<u8>) -> Result<(), SnapshotError> {
        for pair in input.chunks(2) {
            let &[count, byte] = pair else {
                return Err(SnapshotError::Squeezed {
                    compressor: 200,
                    reason: "half a run".into(),
                });
            };
            if out.len() + usize::from(count) > max {
                return Err(SnapshotError::Bomb { max });
            }
            out.extend(std::iter::repeat_n(byte, count.into()));
        }
        Ok(())
    }
}

#[test]
fn chunks_come_together_in_any_order_whatever_squeezed_them() {
    let (_, _, snapshot) = saved();
    let mut rng = Rng::new(1);
    for size in [100, 1000, 1 << 20] {
        for compressor in [&Plain as &dyn Compressor, &Runs] {
            let mut chunks = snapshot.into_chunks(size, compressor).expect("it encodes");
            for at in (1..chunks.len()).rev() {
                chunks.swap(at, rng.below(at + 1));
            }
            let mut whole = None;
            let mut assembler = SnapshotAssembler::default();
            for chunk in chunks {
                assert_eq!(whole, None, "not before the last");
                whole = assembler.push(&chunk, compressor).expect("ours");
            }
            assert_eq!(whole.as_ref(), Some(&snapshot), "{size}");
        }
    }
}

#[test]
fn a_snapshot_with_a_component_that_nobody_knows_is_refused_as_a_whole() {
    let (_, _, snapshot) = saved();
    let mut cluster = Cluster::new(2, register);
    let server = cluster.server();
    let world = cluster.world(server);
    assert!(stage(world.resource::<Registry>(), &snapshot).is_err());
    assert_eq!(seen(&mut cluster, server), []);
}

#[test]
fn a_snapshot_with_a_component_twice_is_refused_as_a_whole() {
    let (_, _, mut snapshot) = saved();
    let components = &mut snapshot.rows[7].components;
    components.insert(1, components[0].clone());
    let mut cluster = Cluster::new(2, setup);
    let server = cluster.server();
    let registry = cluster.world(server).resource::<Registry>().clone();
    let refused = stage(&registry, &snapshot).map(|staged| {
        let names = staged.spawn(cluster.world(server), |_, tenure| tenure);
        names.len()
    });
    assert!(
        matches!(refused, Err(StageError::Disordered { .. })),
        "{refused:?}"
    );
    assert_eq!(seen(&mut cluster, server), []);
}

#[test]
fn a_damaged_snapshot_is_an_error_or_another_snapshot_but_no_panic() {
    let (mut cluster, server, snapshot) = saved();
    let bytes = snapshot.to_bytes().expect("it encodes");
    let registry = cluster.world(server).resource::<Registry>().clone();
    let mut rng = Rng::new(1);
    let mut errors = 0;
    for _ in 0..500 {
        let mut damaged = bytes.clone();
        if rng.chance(0.3) {
            damaged.truncate(rng.below(bytes.len()));
        } else {
            let at = rng.below(bytes.len());
            damaged[at] ^= 1 << rng.below(8);
        }
        let read = WorldSnapshot::from_bytes(&damaged);
        let staged = read.is_ok_and(|snapshot| stage(&registry, &snapshot).is_ok());
        errors += usize::from(!staged);
    }
    assert!(errors > 150, "{errors}");
}
