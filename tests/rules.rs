//! Rules of replication: what is told once, on which entities, and together, over bad networks.

mod common;

use bevy::prelude::*;
use common::{find, get, me, name, pair, ready, wait_for};
use seamless_authority::{AuthorityCommandsExt, Delegated};
use seamless_replication::{
    NetSlot, Registry, ReplicateAppExt, Replicated,
    snapshot::{stage, take_snapshot},
};
use seamless_testkit::{AppId, Cluster, Weather};
use serde::{Deserialize, Serialize};

/// Long enough for anything to arrive in bad weather.
const A_WHILE: usize = 120;

/// Told once.
#[derive(Component, TypePath, Serialize, Deserialize, Clone, PartialEq, Debug)]
struct Seed(u32);

/// Told where it is shown and not hidden.
#[derive(Component, TypePath, Serialize, Deserialize, Clone, PartialEq, Debug)]
struct Glow(u32);

/// Told on entities that are ghosts, or that are shown.
#[derive(Component, TypePath, Serialize, Deserialize, Clone, PartialEq, Debug)]
struct Hum(u32);

/// Told always.
#[derive(Component, TypePath, Serialize, Deserialize, Clone, PartialEq, Debug)]
struct Count(u32);

/// Told together.
#[derive(Component, TypePath, Serialize, Deserialize, Clone, PartialEq, Debug)]
struct Head(u32);

/// Told together.
#[derive(Component, TypePath, Serialize, Deserialize, Clone, PartialEq, Debug)]
struct Tail(u32);

#[derive(Component, TypePath)]
struct Shown;

#[derive(Component, TypePath)]
struct Hidden;

/// Lies outside the tables.
#[derive(Component, TypePath)]
#[component(storage = "SparseSet")]
struct Ghost;

fn setup(app: &mut App) {
    let _ = app.replicate::<Seed>().once();
    let _ = app
        .replicate::<Glow>()
        .when::<With<Shown>>()
        .when::<Without<Hidden>>();
    let _ = app
        .replicate::<Hum>()
        .when::<Or<(With<Ghost>, With<Shown>)>>();
    app.replicate::<Count>();
    app.replicate_bundle::<(Head, Tail)>();
}

fn bad_weather() -> Weather {
    Weather::lossy(0.3)
}

/// A server, a client, and an entity on both.
fn apps_with(seed: u64, bundle: impl Bundle) -> (Cluster, [AppId; 2], [Entity; 2]) {
    let (mut cluster, [server, client]) = pair(seed, bad_weather(), setup);
    let entity = cluster.world(server).spawn((Replicated, bundle)).id();
    let name = name(&mut cluster, server, entity);
    let there = wait_for(&mut cluster, client, name);
    cluster.run(A_WHILE);
    (cluster, [server, client], [entity, there])
}

fn set<C: Component>(cluster: &mut Cluster, app: AppId, entity: Entity, bundle: C) {
    cluster.world(app).entity_mut(entity).insert(bundle);
    cluster.run(A_WHILE);
}

fn take<C: Component>(cluster: &mut Cluster, app: AppId, entity: Entity) {
    cluster.world(app).entity_mut(entity).remove::<C>();
    cluster.run(A_WHILE);
}

#[test]
fn a_component_that_is_told_once_keeps_its_first_value_on_peers() {
    let (mut cluster, [server, client], [entity, there]) = apps_with(1, (Seed(7), Count(1)));
    assert_eq!(get(&mut cluster, client, there), Some(Seed(7)));
    for value in 8..20 {
        set(&mut cluster, server, entity, Count(value));
        cluster.world(server).entity_mut(entity).insert(Seed(value));
        cluster.run(3);
    }
    cluster.run(A_WHILE);
    assert_eq!(get(&mut cluster, client, there), Some(Seed(7)));
    assert_eq!(get(&mut cluster, client, there), Some(Count(19)));
    // Who joins later is told the same.
    let late = cluster.client(server);
    ready(&mut cluster, late);
    let global = name(&mut cluster, server, entity);
    let there = wait_for(&mut cluster, late, global);
    cluster.run(A_WHILE);
    assert_eq!(get(&mut cluster, late, there), Some(Seed(7)));
}

#[test]
fn a_value_that_is_told_once_is_told_anew_when_another_is_loaded() {
    let (mut cluster, [server, client], [entity, there]) = apps_with(9, (Seed(7), Count(1)));
    let world = cluster.world(server);
    world.entity_mut(entity).insert(Seed(8));
    let saved = take_snapshot(world, &[entity]).expect("it encodes");
    set(&mut cluster, server, entity, Seed(9));
    assert_eq!(get(&mut cluster, client, there), Some(Seed(7)));
    let world = cluster.world(server);
    let staged = stage(world.resource::<Registry>(), &saved).expect("it decodes");
    staged.spawn(world, |_, tenure| tenure);
    // What follows is told no more.
    cluster.step();
    set(&mut cluster, server, entity, Seed(10));
    assert_eq!(get(&mut cluster, client, there), Some(Seed(8)));
    let late = cluster.client(server);
    ready(&mut cluster, late);
    let global = name(&mut cluster, server, entity);
    let there = wait_for(&mut cluster, late, global);
    cluster.run(A_WHILE);
    assert_eq!(get(&mut cluster, late, there), Some(Seed(8)));
}

#[test]
fn a_component_that_is_told_once_and_comes_later_is_told_then() {
    let (mut cluster, [server, client], [entity, there]) = apps_with(2, Count(1));
    assert_eq!(get::<Seed>(&mut cluster, client, there), None);
    set(&mut cluster, server, entity, Seed(3));
    assert_eq!(get(&mut cluster, client, there), Some(Seed(3)));
    set(&mut cluster, server, entity, Seed(4));
    assert_eq!(get(&mut cluster, client, there), Some(Seed(3)));
    take::<Seed>(&mut cluster, server, entity);
    assert_eq!(get::<Seed>(&mut cluster, client, there), None);
    set(&mut cluster, server, entity, Seed(5));
    assert_eq!(get(&mut cluster, client, there), Some(Seed(5)));
}

#[test]
fn a_change_of_what_is_told_once_costs_no_bytes() {
    let (mut cluster, [server, _], [entity, _]) = apps_with(3, Seed(7));
    let idle = records_in(&mut cluster, server, |_, _| {});
    assert_eq!(idle, 0);
    let told = records_in(&mut cluster, server, |cluster, value| {
        cluster.world(server).entity_mut(entity).insert(Seed(value));
    });
    assert_eq!(told, 0);
}

/// Records that a server sends while something happens in each of ten frames.
fn records_in(
    cluster: &mut Cluster,
    server: AppId,
    mut each: impl FnMut(&mut Cluster, u32),
) -> u64 {
    let before = common::counted(cluster, server).records.0;
    for value in 0..10 {
        each(cluster, value);
        cluster.run(1);
    }
    cluster.run(3);
    common::counted(cluster, server).records.0 - before
}

#[test]
fn a_component_under_a_condition_comes_and_goes_with_it() {
    let (mut cluster, [server, client], [entity, there]) = apps_with(4, (Glow(1), Count(1)));
    assert_eq!(get::<Glow>(&mut cluster, client, there), None);
    set(&mut cluster, server, entity, Shown);
    assert_eq!(get(&mut cluster, client, there), Some(Glow(1)));
    set(&mut cluster, server, entity, Glow(2));
    assert_eq!(get(&mut cluster, client, there), Some(Glow(2)));
    // All conditions must hold.
    set(&mut cluster, server, entity, Hidden);
    assert_eq!(get::<Glow>(&mut cluster, client, there), None);
    set(&mut cluster, server, entity, Glow(3));
    assert_eq!(get::<Glow>(&mut cluster, client, there), None);
    take::<Hidden>(&mut cluster, server, entity);
    assert_eq!(get(&mut cluster, client, there), Some(Glow(3)));
    take::<Shown>(&mut cluster, server, entity);
    assert_eq!(get::<Glow>(&mut cluster, client, there), None);
    assert_eq!(get(&mut cluster, client, there), Some(Count(1)));
}

#[test]
fn a_condition_on_a_sparse_component_tells_entities_of_one_table_apart() {
    let (mut cluster, [server, client], [entity, there]) = apps_with(5, (Hum(1), Count(1)));
    let ghost = cluster
        .world(server)
        .spawn((Replicated, Hum(9), Count(1), Ghost))
        .id();
    cluster.run(A_WHILE);
    let global = name(&mut cluster, server, ghost);
    let ghost_there = find(&mut cluster, client, global).expect("it arrived");
    assert_eq!(get::<Hum>(&mut cluster, client, there), None);
    assert_eq!(get(&mut cluster, client, ghost_there), Some(Hum(9)));
    set(&mut cluster, server, entity, Ghost);
    take::<Ghost>(&mut cluster, server, ghost);
    assert_eq!(get(&mut cluster, client, there), Some(Hum(1)));
    assert_eq!(get::<Hum>(&mut cluster, client, ghost_there), None);
    set(&mut cluster, server, entity, Hum(2));
    set(&mut cluster, server, ghost, Hum(8));
    assert_eq!(get(&mut cluster, client, there), Some(Hum(2)));
    assert_eq!(get::<Hum>(&mut cluster, client, ghost_there), None);
}

#[test]
fn a_holder_tells_what_it_has_also_where_its_copy_does_not_match() {
    let (mut cluster, [server, client], [entity, there]) =
        apps_with(6, (Glow(1), Count(1), Shown, Delegated));
    let client_name = me(&mut cluster, client);
    common::command(&mut cluster, server, entity, |entity| {
        entity.give_authority(client_name);
    });
    cluster.run(A_WHILE);
    // `Shown` is not replicated, so no copy matches.
    set(&mut cluster, client, there, Glow(5));
    assert_eq!(get(&mut cluster, server, entity), Some(Glow(5)));
    set(&mut cluster, client, there, Count(6));
    assert_eq!(get(&mut cluster, server, entity), Some(Glow(5)));
    assert_eq!(get(&mut cluster, server, entity), Some(Count(6)));
}

#[test]
fn components_of_a_bundle_are_told_together_or_not_at_all() {
    let (mut cluster, [server, client], [entity, there]) = apps_with(7, (Head(1), Count(1)));
    assert_eq!(get::<Head>(&mut cluster, client, there), None);
    set(&mut cluster, server, entity, Tail(2));
    assert_eq!(get(&mut cluster, client, there), Some(Head(1)));
    assert_eq!(get(&mut cluster, client, there), Some(Tail(2)));
    take::<Head>(&mut cluster, server, entity);
    assert_eq!(get::<Head>(&mut cluster, client, there), None);
    assert_eq!(get::<Tail>(&mut cluster, client, there), None);
    assert!(cluster.world(client).get::<NetSlot>(there).is_some());
}

/// Comes with a shield.
#[derive(Component, TypePath, Serialize, Deserialize, Clone, PartialEq, Debug)]
#[require(Shield, Banner)]
struct Enemy(u32);

#[derive(Component, TypePath, Serialize, Deserialize, Clone, PartialEq, Debug)]
struct Shield(u32);

impl Default for Shield {
    fn default() -> Self {
        Self(100)
    }
}

/// Nobody is told of it.
#[derive(Component, Clone, PartialEq, Debug, Default)]
struct Banner;

#[test]
fn what_comes_by_itself_and_is_not_there_at_the_host_is_nowhere() {
    for (seed, loss) in [(21, 0.0), (22, 0.3)] {
        let (mut cluster, [server, early]) = pair(seed, Weather::lossy(loss), |app| {
            setup(app);
            app.replicate::<Enemy>();
            app.replicate::<Shield>();
        });
        let bundle = (Replicated, Delegated, Enemy(1));
        let with = cluster.world(server).spawn(bundle).id();
        let bundle = (Replicated, Delegated, Enemy(2));
        let without = cluster.world(server).spawn(bundle).id();
        let bundle = (Replicated, Delegated, Count(3));
        let later = cluster.world(server).spawn(bundle).id();
        let all = [with, without, later];
        let names = all.map(|entity| name(&mut cluster, server, entity));
        for name in names {
            wait_for(&mut cluster, early, name);
        }
        take::<Shield>(&mut cluster, server, without);
        let mut entity = cluster.world(server).entity_mut(later);
        entity.insert(Enemy(3)).remove::<Shield>();
        let late = cluster.client(server);
        ready(&mut cluster, late);
        cluster.run(A_WHILE);
        let check = |cluster: &mut Cluster| {
            for app in [server, early, late] {
                let here = names.map(|name| find(cluster, app, name).expect("in sight"));
                let shields = here.map(|entity| get::<Shield>(cluster, app, entity));
                assert_eq!(shields, [Some(Shield(100)), None, None], "{loss}");
                let banner = get::<Banner>(cluster, app, here[2]);
                assert_eq!(banner, Some(Banner), "that is its own business");
            }
        };
        check(&mut cluster);
        let there = find(&mut cluster, late, names[1]).expect("in sight");
        cluster
            .world(late)
            .commands()
            .entity(there)
            .request_authority();
        cluster.run(A_WHILE);
        // An insertion would bring another shield.
        let enemy = cluster.world(late).get_mut::<Enemy>(there);
        enemy.expect("it is one").0 = 9;
        cluster.run(A_WHILE);
        assert_eq!(get(&mut cluster, server, without), Some(Enemy(9)));
        check(&mut cluster);
    }
}

/// Markers, each with a number of its own.
#[derive(Component, TypePath, Serialize, Deserialize, Clone, PartialEq, Debug)]
struct Mark<const N: usize>;

/// A function for each of them.
macro_rules! for_marks {
    ($function:ident) => {
        [
            $function::<0>,
            $function::<1>,
            $function::<2>,
            $function::<3>,
            $function::<4>,
            $function::<5>,
            $function::<6>,
            $function::<7>,
            $function::<8>,
            $function::<9>,
            $function::<10>,
            $function::<11>,
            $function::<12>,
        ]
    };
}

#[test]
fn components_may_come_together_in_thousands_of_ways() {
    const WAYS: usize = 4200;
    fn register<const N: usize>(app: &mut App) {
        app.replicate::<Mark<N>>();
    }
    fn mark<const N: usize>(entity: &mut EntityWorldMut, subset: usize) {
        if subset >> N & 1 != 0 {
            entity.insert(Mark::<N>);
        }
    }
    fn marked<const N: usize>(entity: EntityRef, subset: usize) -> bool {
        entity.contains::<Mark<N>>() == (subset >> N & 1 != 0)
    }
    let (mut cluster, [server, client]) = pair(23, Weather::lossy(0.05), |app| {
        for register in for_marks!(register) {
            register(app);
        }
    });
    // They come and go: only one of each ten stays.
    let mut here = Vec::new();
    for subset in 1..WAYS {
        let mut entity = cluster.world(server).spawn(Replicated);
        for mark in for_marks!(mark) {
            mark(&mut entity, subset);
        }
        here.push((entity.id(), subset));
        if subset % 300 == 0 {
            cluster.step();
            let gone = here.extract_if(.., |(_, subset)| *subset % 10 != 0);
            for (entity, _) in gone.collect::<Vec<_>>() {
                cluster.world(server).despawn(entity);
            }
        }
    }
    here.drain(..here.len() - 20);
    for (entity, subset) in here {
        let its_name = name(&mut cluster, server, entity);
        let seen = wait_for(&mut cluster, client, its_name);
        let seen = cluster.world(client).entity(seen);
        let all = for_marks!(marked);
        assert!(all.iter().all(|marked| marked(seen, subset)), "{subset}");
    }
}

#[test]
fn what_an_entity_comes_with_is_there_together() {
    /// How much of it was there when one of it came.
    #[derive(Resource, Default)]
    struct Found(Vec<[bool; 2]>);
    type Both = (Has<Head>, Has<Tail>);

    fn look(entity: Entity, both: Query<Both>, mut found: ResMut<Found>) {
        let (head, tail) = both.get(entity).expect("it is there");
        found.0.push([head, tail]);
    }

    let (mut cluster, [server, client]) = pair(1, Weather::lossy(0.1), |app| {
        setup(app);
        app.init_resource::<Found>()
            .add_observer(
                |event: On<Add, Head>, both: Query<Both>, found: ResMut<Found>| {
                    look(event.entity, both, found);
                },
            )
            .add_observer(
                |event: On<Add, Tail>, both: Query<Both>, found: ResMut<Found>| {
                    look(event.entity, both, found);
                },
            );
    });
    let crate_ = cluster.world(server).spawn((Replicated, Head(1), Tail(2)));
    let crate_ = crate_.id();
    let name = name(&mut cluster, server, crate_);
    wait_for(&mut cluster, client, name);
    let found = &cluster.world(client).resource::<Found>().0;
    assert_eq!(*found, [[true, true]; 2]);
}

#[test]
#[should_panic(expected = "Count\" is registered twice")]
fn what_is_registered_twice_is_said_at_once() {
    let mut app = App::new();
    app.replicate::<Count>();
    app.keep::<Count>();
}

#[test]
#[should_panic(expected = "Count\" is registered after the app started")]
fn what_is_registered_too_late_is_said_at_once() {
    let mut cluster = Cluster::new(1, |app| {
        app.replicate::<Seed>();
    });
    let server = cluster.server();
    cluster.run(2);
    cluster.app(server).replicate::<Count>();
}
