//! Resources of a server on its clients, over bad networks.

mod common;

use bevy::prelude::*;
use common::{pair, ready};
use seamless_replication::{
    NetSlot, Registry, ReplicateAppExt, Replicated,
    snapshot::{stage, take_snapshot},
};
use seamless_testkit::{AppId, Cluster, Weather};
use serde::{Deserialize, Serialize};

/// Long enough for anything to arrive in bad weather.
const A_WHILE: usize = 120;

/// The resource that is replicated.
#[derive(Resource, TypePath, Serialize, Deserialize, Clone, PartialEq, Debug)]
struct Score(u32);

/// How often a client's systems saw the score change, and its last value.
#[derive(Resource, Default)]
struct Noticed(Vec<u32>);

fn setup(app: &mut App) {
    app.replicate_resource::<Score>();
    app.init_resource::<Noticed>().add_systems(Update, notice);
}

fn setup_with_value(app: &mut App) {
    setup(app);
    app.insert_resource(Score(1));
}

fn notice(score: Option<Res<Score>>, mut noticed: ResMut<Noticed>) {
    if let Some(score) = score
        && score.is_changed()
    {
        noticed.0.push(score.0);
    }
}

fn bad_weather() -> Weather {
    Weather::lossy(0.3)
}

fn score(cluster: &mut Cluster, app: AppId) -> Option<Score> {
    cluster.world(app).get_resource::<Score>().cloned()
}

fn set(cluster: &mut Cluster, app: AppId, value: u32) {
    cluster.world(app).insert_resource(Score(value));
    cluster.run(A_WHILE);
}

fn noticed(cluster: &mut Cluster, app: AppId) -> Vec<u32> {
    std::mem::take(&mut cluster.world(app).resource_mut::<Noticed>().0)
}

/// How many entities carry it.
fn carriers(cluster: &mut Cluster, app: AppId) -> usize {
    let world = cluster.world(app);
    world.query::<&Score>().iter(world).count()
}

#[test]
fn a_resource_of_the_server_is_a_resource_of_its_clients() {
    let (mut cluster, [server, client]) = pair(1, bad_weather(), setup);
    set(&mut cluster, server, 7);
    assert_eq!(score(&mut cluster, client), Some(Score(7)));
    let late = cluster.client(server);
    ready(&mut cluster, late);
    cluster.run(A_WHILE);
    assert_eq!(score(&mut cluster, late), Some(Score(7)));
}

#[test]
fn a_change_of_a_resource_is_a_change_on_clients() {
    let (mut cluster, [server, client]) = pair(2, bad_weather(), setup);
    set(&mut cluster, server, 7);
    assert_eq!(noticed(&mut cluster, client), [7]);
    cluster.world(server).resource_mut::<Score>().0 = 8;
    cluster.run(A_WHILE);
    assert_eq!(noticed(&mut cluster, client), [8]);
    cluster.run(A_WHILE);
    assert_eq!(noticed(&mut cluster, client), [0u32; 0]);
}

#[test]
fn a_resource_that_is_removed_and_comes_back_does_so_on_clients() {
    let (mut cluster, [server, client]) = pair(3, bad_weather(), setup);
    set(&mut cluster, server, 7);
    cluster.world(server).remove_resource::<Score>();
    cluster.run(A_WHILE);
    assert_eq!(score(&mut cluster, client), None);
    set(&mut cluster, server, 8);
    assert_eq!(score(&mut cluster, client), Some(Score(8)));
}

#[test]
fn a_value_that_a_client_had_is_replaced_and_is_never_told_to_the_server() {
    let (mut cluster, [server, client]) = pair(4, bad_weather(), setup_with_value);
    cluster.world(client).insert_resource(Score(99));
    cluster.run(A_WHILE);
    assert_eq!(score(&mut cluster, server), Some(Score(1)));
    set(&mut cluster, server, 7);
    assert_eq!(score(&mut cluster, client), Some(Score(7)));
    assert_eq!(score(&mut cluster, server), Some(Score(7)));
    assert_eq!(carriers(&mut cluster, client), 1);
}

#[test]
fn a_value_of_a_client_stays_until_the_server_has_one() {
    let (mut cluster, [server, client]) = pair(5, bad_weather(), setup_with_value);
    cluster.run(A_WHILE);
    cluster.world(server).remove_resource::<Score>();
    cluster.run(A_WHILE);
    assert_eq!(score(&mut cluster, client), None);
    // A client that joins now keeps its own.
    let late = cluster.client(server);
    ready(&mut cluster, late);
    cluster.run(A_WHILE);
    assert_eq!(score(&mut cluster, late), Some(Score(1)));
    set(&mut cluster, server, 7);
    assert_eq!(score(&mut cluster, late), Some(Score(7)));
    assert_eq!(carriers(&mut cluster, late), 1);
}

#[test]
fn a_resource_stays_when_its_server_is_gone_and_follows_it_again_later() {
    let (mut cluster, [server, client]) = pair(6, bad_weather(), setup);
    set(&mut cluster, server, 7);
    cluster.kill(server);
    cluster.run(600);
    assert_eq!(score(&mut cluster, client), Some(Score(7)));
    let other = cluster.server();
    cluster.world(other).insert_resource(Score(3));
    cluster.connect(client, other);
    cluster.run_until("the other's value arrives", 600, |cluster| {
        score(cluster, client) == Some(Score(3))
    });
    assert_eq!(carriers(&mut cluster, client), 1);
}

#[test]
fn a_client_that_publishes_a_resource_does_not_replace_that_of_the_server() {
    for of_server in [false, true] {
        let (mut cluster, [server, client]) = pair(9, bad_weather(), setup);
        cluster.world(client).insert_resource(Score(99));
        let world = cluster.world(client);
        let mut query = world.query_filtered::<Entity, With<Score>>();
        let entity = query.single(world).expect("there is one");
        world.entity_mut(entity).insert(Replicated);
        cluster.run(A_WHILE);
        assert_eq!(score(&mut cluster, server), None);
        if of_server {
            set(&mut cluster, server, 7);
            assert_eq!(score(&mut cluster, server), Some(Score(7)));
            assert_eq!(score(&mut cluster, client), Some(Score(7)));
        }
    }
}

#[test]
fn a_resource_that_is_loaded_takes_the_place_of_the_one_that_is_there() {
    let (mut old, [server, _]) = pair(7, bad_weather(), setup);
    set(&mut old, server, 7);
    let world = old.world(server);
    let mut query = world.query_filtered::<Entity, (With<Score>, With<NetSlot>)>();
    let entities: Vec<Entity> = query.iter(world).collect();
    let snapshot = take_snapshot(world, &entities).expect("it encodes");

    let (mut new, [server, client]) = pair(8, bad_weather(), setup_with_value);
    new.run(A_WHILE);
    let world = new.world(server);
    let staged = stage(world.resource::<Registry>(), &snapshot).expect("it decodes");
    staged.spawn(world, |_, tenure| tenure);
    new.run(A_WHILE);
    for app in [server, client] {
        assert_eq!(score(&mut new, app), Some(Score(7)));
        assert_eq!(carriers(&mut new, app), 1);
    }
    set(&mut new, server, 8);
    assert_eq!(score(&mut new, client), Some(Score(8)));
}
