//! Entities that a client spawns ahead of its server, over bad networks.

mod common;

use std::time::Duration;

use bevy::prelude::*;
use common::{Place, Target, find, get, name, pair, ready, register, show, wait_for};
use seamless_replication::{
    NetSlot, PrespawnPlugin, PrespawnUnclaimed, Prespawned, Remote, Replicated,
};
use seamless_testkit::{AppId, Cluster, Weather};

/// Long enough for anything to arrive in bad weather.
const A_WHILE: usize = 120;

/// Only the client has it.
#[derive(Component, Clone, PartialEq, Debug)]
struct Trail(u32);

/// Numbers that were given up.
#[derive(Resource, Default)]
struct Unclaimed(Vec<(Entity, u64)>);

fn setup(app: &mut App) {
    register(app);
    app.add_plugins(PrespawnPlugin {
        patience: Duration::from_secs(2),
    })
    .init_resource::<Unclaimed>()
    .add_observer(
        |event: On<PrespawnUnclaimed>, mut unclaimed: ResMut<Unclaimed>| {
            unclaimed.0.push((event.entity, event.number));
        },
    );
}

fn bad_weather() -> Weather {
    Weather::lossy(0.3)
}

/// What a client spawns.
fn shoot(cluster: &mut Cluster, client: AppId, number: u64, trail: u32) -> Entity {
    let bundle = (Prespawned(number), Place::default(), Trail(trail));
    cluster.world(client).spawn(bundle).id()
}

/// What the server spawns.
fn launch(cluster: &mut Cluster, server: AppId, number: u64) -> Entity {
    let bundle = (Replicated, Prespawned(number), Place(5.0, 0.0, 0.0));
    cluster.world(server).spawn(bundle).id()
}

fn numbered(cluster: &mut Cluster, app: AppId) -> usize {
    let world = cluster.world(app);
    world.query::<&Prespawned>().iter(world).count()
}

fn unclaimed(cluster: &mut Cluster, app: AppId) -> Vec<(Entity, u64)> {
    cluster.world(app).resource::<Unclaimed>().0.clone()
}

#[test]
fn the_servers_entity_moves_into_the_one_that_the_client_spawned() {
    for seed in 0..4 {
        let (mut cluster, [server, client]) = pair(seed, bad_weather(), setup);
        let other = cluster.client(server);
        ready(&mut cluster, other);
        let shot = shoot(&mut cluster, client, 7, 1);
        cluster.run(5);
        let entity = launch(&mut cluster, server, 7);
        cluster.run(A_WHILE);
        let global = name(&mut cluster, server, entity);
        assert_eq!(find(&mut cluster, client, global), Some(shot));
        assert_eq!(get(&mut cluster, client, shot), Some(Place(5.0, 0.0, 0.0)));
        assert_eq!(get(&mut cluster, client, shot), Some(Trail(1)));
        assert!(cluster.world(client).get::<Remote>(shot).is_some());
        // Whoever did not foresee it gets it like any other.
        wait_for(&mut cluster, other, global);
        assert_eq!(numbered(&mut cluster, client), 1);
        assert_eq!(numbered(&mut cluster, other), 1);
        assert_eq!(numbered(&mut cluster, server), 1);
        // From then on it is the server's.
        cluster.world(server).despawn(entity);
        cluster.run(A_WHILE);
        assert!(cluster.world(client).get_entity(shot).is_err());
        for app in [server, client, other] {
            assert_eq!(unclaimed(&mut cluster, app), []);
        }
    }
}

#[test]
fn an_entity_that_the_server_does_not_spawn_goes_in_time_and_says_so() {
    let (mut cluster, [server, client]) = pair(1, bad_weather(), setup);
    let shot = shoot(&mut cluster, client, 7, 1);
    launch(&mut cluster, server, 8);
    cluster.run(40);
    assert!(cluster.world(client).get_entity(shot).is_ok());
    assert_eq!(unclaimed(&mut cluster, client), []);
    cluster.run(2 * A_WHILE);
    assert!(cluster.world(client).get_entity(shot).is_err());
    assert_eq!(unclaimed(&mut cluster, client), [(shot, 7)]);
    // The other one came as a new entity.
    assert_eq!(numbered(&mut cluster, client), 1);
}

#[test]
fn who_hears_that_one_is_given_up_may_despawn_any_that_waits() {
    let (mut cluster, [_, client]) = pair(8, Weather::near(), setup);
    let shots = [5, 6, 7].map(|number| shoot(&mut cluster, client, number, 1));
    let [first, second, third] = shots;
    let app = cluster.app(client);
    app.add_observer(
        move |event: On<PrespawnUnclaimed>, mut commands: Commands| {
            commands.entity(event.entity).try_despawn();
            if event.entity == first {
                commands.entity(second).try_despawn();
            }
        },
    );
    cluster.run(A_WHILE);
    assert_eq!(unclaimed(&mut cluster, client), [(first, 5), (third, 7)]);
    assert_eq!(numbered(&mut cluster, client), 0);
}

#[test]
fn a_server_does_not_give_up_what_it_publishes_later() {
    let (mut cluster, [server, _]) = pair(1, Weather::near(), setup);
    let entity = cluster.world(server).spawn(Prespawned(7)).id();
    cluster.run(3 * A_WHILE);
    assert!(cluster.world(server).get_entity(entity).is_ok());
}

#[test]
fn of_several_with_one_number_the_oldest_is_taken_first() {
    let (mut cluster, [server, client]) = pair(1, Weather::near(), setup);
    let first = shoot(&mut cluster, client, 7, 1);
    cluster.run(2);
    let second = shoot(&mut cluster, client, 7, 2);
    let launched = launch(&mut cluster, server, 7);
    cluster.run(20);
    let global = name(&mut cluster, server, launched);
    assert_eq!(find(&mut cluster, client, global), Some(first));
    let launched = launch(&mut cluster, server, 7);
    cluster.run(20);
    let global = name(&mut cluster, server, launched);
    assert_eq!(find(&mut cluster, client, global), Some(second));
}

#[test]
fn an_entity_that_the_client_despawned_again_is_not_waited_for() {
    let (mut cluster, [server, client]) = pair(1, bad_weather(), setup);
    let shot = shoot(&mut cluster, client, 7, 1);
    cluster.world(client).despawn(shot);
    let entity = launch(&mut cluster, server, 7);
    let global = name(&mut cluster, server, entity);
    let there = wait_for(&mut cluster, client, global);
    assert_ne!(there, shot);
    cluster.run(3 * A_WHILE);
    assert_eq!(unclaimed(&mut cluster, client), []);
    assert!(cluster.world(client).get::<NetSlot>(there).is_some());
}

#[test]
fn what_is_referred_to_before_it_arrives_is_there_once() {
    let (mut cluster, [server, client]) = pair(1, bad_weather(), setup);
    let entity = launch(&mut cluster, server, 7);
    show(&mut cluster, server, entity, false);
    let seeker = cluster
        .world(server)
        .spawn((Replicated, Target(entity)))
        .id();
    let seeker = name(&mut cluster, server, seeker);
    let seeker = wait_for(&mut cluster, client, seeker);
    // The client has an empty entity in its place by now.
    let Target(reserved) = get(&mut cluster, client, seeker).expect("it arrived");
    let shot = shoot(&mut cluster, client, 7, 1);
    show(&mut cluster, server, entity, true);
    let global = name(&mut cluster, server, entity);
    assert_eq!(wait_for(&mut cluster, client, global), reserved);
    assert!(cluster.world(client).get_entity(shot).is_err());
    assert_eq!(numbered(&mut cluster, client), 1);
    cluster.run(3 * A_WHILE);
    assert_eq!(unclaimed(&mut cluster, client), []);
}

/// How many components of the test there were of each entity when it became a remote one.
#[derive(Resource, Default)]
struct Arrived(Vec<(bool, bool)>);

#[test]
fn what_arrives_while_others_wait_comes_with_all_it_has() {
    let (mut cluster, [server, client]) = pair(1, Weather::clear(), setup);
    let world = cluster.world(client);
    world.init_resource::<Arrived>();
    world.add_observer(
        |event: On<Add, Remote>,
         entities: Query<(Has<Place>, Has<Prespawned>)>,
         mut arrived: ResMut<Arrived>| {
            arrived
                .0
                .push(entities.get(event.entity).unwrap_or_default());
        },
    );
    shoot(&mut cluster, client, 7, 1);
    let place = Place(1.0, 0.0, 0.0);
    cluster.world(server).spawn((Replicated, place));
    cluster.run(10);
    assert_eq!(unclaimed(&mut cluster, client), [], "it waits still");
    assert_eq!(
        cluster.world(client).resource::<Arrived>().0,
        [(true, false)]
    );
}
