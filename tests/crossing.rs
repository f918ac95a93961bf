//! Players cross from node to node.

mod common;
mod play;

use bevy::prelude::*;
use common::Place;
use play::{STEP, Wish, applied, cluster, enter, host, place_at};
use seamless_authority::{AuthorityCommandsExt, AuthorityView, Delegated};
use seamless_handover::{client::MeshClient, group::RidesOn, node::MeshView};
use seamless_replication::{Frozen, NetSlot, Replicated, Slots, inputs::InputOutbox, wire::PeerId};
use seamless_testkit::{AppId, MeshCluster, Weather};

/// A player's root as an app has it.
fn body_in(cluster: &mut MeshCluster, client: AppId, app: AppId) -> Option<Entity> {
    let root = cluster.world(client).resource::<MeshClient>().root?;
    cluster.world(app).resource::<Slots>().entity(root)
}

fn walk_over(seed: u64, weather: Weather) {
    let (mut cluster, nodes) = cluster::<2>(seed, weather);
    let (client, player) = enter(&mut cluster);
    assert_eq!(host(&mut cluster, &nodes, player), Some(nodes[0]));
    let root = cluster.world(client).resource::<MeshClient>().root;
    let root = root.expect("in");
    let body = body_in(&mut cluster, client, client).expect("seen");

    cluster.world(client).resource_mut::<Wish>().0 = Some(1);
    let mut absent = 0;
    cluster.run_until("the other node hosts the player", 900, |cluster| {
        absent += usize::from(cluster.world(client).get::<Place>(body).is_none());
        host(cluster, &nodes, player) == Some(nodes[1])
    });
    cluster.run(60);
    cluster.world(client).resource_mut::<Wish>().0 = None;
    cluster.run(90);

    assert_eq!(
        absent, 0,
        "the player's body was always there, as the same entity"
    );
    assert!(cluster.world(client).get::<Place>(body).is_some());
    let sent = cluster.world(client).resource::<InputOutbox>().newest().0;
    let want: Vec<u32> = (1..=sent).collect();
    assert_eq!(
        applied(&mut cluster, &nodes, player),
        want,
        "each input once and in order"
    );
    let end = Place(10.0 + sent as f32 * STEP, 0.0, 10.0);
    for app in [nodes[1], client] {
        let place = place_at(&mut cluster, app, root).expect("it is here");
        assert!((place.0 - end.0).abs() < 0.01, "{place:?} for {end:?}");
    }
    assert_eq!(
        cluster
            .world(client)
            .resource::<MeshClient>()
            .counters
            .crossings,
        1
    );
}

#[test]
fn a_player_walks_over_a_border_and_nothing_is_lost() {
    walk_over(1, Weather::near());
}

#[test]
fn a_player_walks_over_a_border_on_a_bad_network() {
    for seed in 10..16 {
        walk_over(seed, Weather::lossy(0.1));
    }
}

#[test]
fn a_player_who_walks_to_and_fro_is_never_in_two_places() {
    let (mut cluster, nodes) = cluster::<2>(3, Weather::lossy(0.02));
    let (client, player) = enter(&mut cluster);
    cluster.world(client).resource_mut::<Wish>().0 = Some(1);
    let mut crossings = 0;
    let mut last = host(&mut cluster, &nodes, player);
    for frame in 0..3000 {
        cluster.step();
        let now = host(&mut cluster, &nodes, player);
        if now.is_some() && now != last {
            crossings += 1;
            last = now;
            // Turn round a little after each crossing.
            let back = if now == Some(nodes[1]) { -1 } else { 1 };
            cluster.run(30);
            cluster.world(client).resource_mut::<Wish>().0 = Some(back);
        }
        if crossings == 6 {
            break;
        }
        assert!(frame < 2999, "six crossings, not {crossings}");
    }
    cluster.world(client).resource_mut::<Wish>().0 = None;
    cluster.run(90);
    let sent = cluster.world(client).resource::<InputOutbox>().newest().0;
    assert_eq!(
        applied(&mut cluster, &nodes, player),
        (1..=sent).collect::<Vec<_>>()
    );
}

#[test]
fn what_a_player_carries_crosses_with_it_and_stays_lent() {
    let (mut cluster, nodes) = cluster::<2>(5, Weather::lossy(0.05));
    let (client, player) = enter(&mut cluster);
    let body = body_in(&mut cluster, client, nodes[0]).expect("hosted");
    let crate_ = cluster
        .world(nodes[0])
        .spawn((Replicated, Delegated, Place(11.0, 0.0, 10.0)))
        .id();
    cluster.run(10);
    let name = common::name(&mut cluster, nodes[0], crate_);
    let mine = common::wait_for(&mut cluster, client, name);
    // The cluster steps without the mesh inside wait_for; a few frames put that right.
    cluster.run(5);
    cluster
        .world(client)
        .commands()
        .entity(mine)
        .request_authority();
    cluster.world(client).flush();
    cluster.run_until("granted", 120, |cluster| {
        cluster.world(client).get::<AuthorityView>(mine) == Some(&AuthorityView::Granted)
    });
    cluster
        .world(nodes[0])
        .entity_mut(crate_)
        .insert(RidesOn(body));
    cluster.world(client).resource_mut::<Wish>().0 = Some(1);
    let mut lost = 0;
    cluster.run_until("the other node hosts the player", 900, |cluster| {
        // The holder goes on writing all the way.
        if let Some(mut place) = cluster.world(client).get_mut::<Place>(mine) {
            place.1 += 1.0;
        }
        let view = cluster.world(client).get::<AuthorityView>(mine).copied();
        lost += usize::from(view != Some(AuthorityView::Granted));
        host(cluster, &nodes, player) == Some(nodes[1])
    });
    cluster.run(30);
    assert_eq!(lost, 0, "authority was never taken away");
    let there = common::find(&mut cluster, nodes[1], name).expect("the crate came too");
    assert!(
        common::find(&mut cluster, nodes[0], name).is_none(),
        "and left"
    );
    let carrier = cluster
        .world(nodes[1])
        .get::<RidesOn>(there)
        .expect("still carried")
        .0;
    let body = body_in(&mut cluster, client, nodes[1]).expect("hosted");
    assert_eq!(carrier, body, "the reference points to the player here");
    cluster
        .world(client)
        .get_mut::<Place>(mine)
        .expect("held")
        .1 = 4321.0;
    cluster.run(30);
    let place = cluster.world(nodes[1]).get::<Place>(there).cloned();
    assert_eq!(
        place.map(|p| p.1),
        Some(4321.0),
        "the holder writes on, at the new host"
    );
}

#[test]
fn what_is_despawned_as_it_comes_with_a_player_is_gone_and_the_player_is_there() {
    let (mut cluster, nodes) = cluster::<2>(7, Weather::lossy(0.05));
    let (client, player) = enter(&mut cluster);
    let body = body_in(&mut cluster, client, nodes[0]).expect("hosted");
    let bundle = (Replicated, Delegated, Place(11.0, 0.0, 10.0), RidesOn(body));
    let crate_ = cluster.world(nodes[0]).spawn(bundle).id();
    let name = common::name(&mut cluster, nodes[0], crate_);
    cluster.world(nodes[1]).add_observer(
        move |event: On<Add, Replicated>, slots: Query<&NetSlot>, mut commands: Commands| {
            let slot = slots.get(event.entity);
            if slot.is_ok_and(|slot| slot.global() == Some(name)) {
                commands.entity(event.entity).despawn();
            }
        },
    );
    cluster.world(client).resource_mut::<Wish>().0 = Some(1);
    cluster.run_until("the other node hosts the player", 900, |cluster| {
        host(cluster, &nodes, player) == Some(nodes[1])
    });
    // The client waits for a while for somebody to tell of it.
    cluster.run(200);
    for app in [nodes[0], nodes[1], client] {
        assert!(common::find(&mut cluster, app, name).is_none(), "{app:?}");
        assert!(body_in(&mut cluster, client, app).is_some() || app == nodes[0]);
    }
}

/// The node that a player crosses to dies while the player and what it carries are frozen. Gives the
/// cluster when they go on; `thawed` runs on each entity that does.
fn go_on_where_it_was(
    thawed: impl Fn(Entity, [Entity; 2], &mut Commands) + Send + Sync + 'static,
) -> (MeshCluster, AppId, AppId, PeerId, [Entity; 2]) {
    let (mut cluster, nodes) = cluster::<2>(9, Weather::lossy(0.05));
    let (client, player) = enter(&mut cluster);
    let [source, target] = nodes;
    let body = body_in(&mut cluster, client, source).expect("hosted");
    let bundle = (Replicated, Delegated, Place(11.0, 0.0, 10.0), RidesOn(body));
    let carried = cluster.world(source).spawn(bundle).id();
    let group = [body, carried];
    cluster.world(client).resource_mut::<Wish>().0 = Some(1);
    cluster.run_until("they are frozen", 900, |cluster| {
        let world = cluster.world(source);
        group
            .iter()
            .all(|member| world.get::<Frozen>(*member).is_some())
    });
    cluster
        .world(source)
        .add_observer(move |event: On<Remove, Frozen>, mut commands: Commands| {
            thawed(event.entity, group, &mut commands);
        });
    cluster.kill_node(target);
    cluster.run_until("they go on", 900, |cluster| {
        cluster
            .world(source)
            .resource::<MeshView>()
            .counters
            .resumed
            > 0
    });
    cluster.world(client).resource_mut::<Wish>().0 = None;
    cluster.run(30);
    (cluster, source, client, player, group)
}

#[test]
fn what_is_frozen_when_its_target_dies_goes_on_where_it_was() {
    let (mut cluster, source, client, player, group) = go_on_where_it_was(|_, _, _| {});
    assert_eq!(host(&mut cluster, &[source], player), Some(source));
    for member in group {
        assert!(cluster.world(source).get::<Frozen>(member).is_none());
    }
    let sent = cluster.world(client).resource::<InputOutbox>().newest().0;
    let want: Vec<u32> = (1..=sent).collect();
    assert_eq!(applied(&mut cluster, &[source], player), want);
}

#[test]
fn who_sees_one_of_a_group_go_on_may_despawn_another() {
    let despawn_the_other = |thawed, [body, carried]: [Entity; 2], commands: &mut Commands| {
        if thawed == body {
            commands.entity(carried).try_despawn();
        }
    };
    let (mut cluster, source, _, player, [body, carried]) = go_on_where_it_was(despawn_the_other);
    assert_eq!(host(&mut cluster, &[source], player), Some(source));
    assert!(cluster.world(source).get_entity(carried).is_err());
    assert!(cluster.world(source).get::<Frozen>(body).is_none());
}

#[test]
fn a_node_that_dies_is_taken_over_and_its_player_plays_on() {
    let (mut cluster, nodes) = cluster::<2>(6, Weather::near());
    let (client, player) = enter(&mut cluster);
    cluster.world(client).resource_mut::<Wish>().0 = Some(0);
    cluster.run(60);
    cluster.kill_node(nodes[0]);
    let frames = cluster.run_until("the other node hosts the player", 120, |cluster| {
        host(cluster, &nodes[1..], player) == Some(nodes[1])
    });
    let frames = frames
        + cluster.run_until("and the client plays there", 120, |cluster| {
            let world = cluster.world(client);
            let node = world.resource::<MeshClient>().node;
            node.is_some_and(|node| node.id.0 == 1)
        });
    assert!(frames <= 60, "{frames} frames");
    cluster.run(30);
    let before = applied(&mut cluster, &nodes[1..], player).len();
    cluster.run(30);
    let after = applied(&mut cluster, &nodes[1..], player);
    assert!(after.len() >= before + 25, "inputs are applied again");
    assert!(
        after.windows(2).all(|w| w[1] == w[0] + 1),
        "each once and in order"
    );
}
