//! What nodes do about each other, about cells, and about players who stay away.

mod common;
mod play;

use bevy::prelude::*;
use common::{Place, name};
use play::{Wish, applied, cluster, cluster_of, enter, game, host};
use seamless_handover::{
    client::MeshClient,
    group::RidesOn,
    node::{CellOpened, HandoverRoot, MeshNodeConfig, MeshView, PlayerRetired, StateMissing},
};
use seamless_mesh::directory::Directory;
use seamless_replication::{
    NetClock, NetSlot, ReplicateAppExt, Replicated, Slots,
    inputs::InputOutbox,
    wire::{CellId, GlobalEntity, NodeId, PeerId},
};
use seamless_testkit::{AppId, MeshCluster, Weather};
use serde::{Deserialize, Serialize};

/// Thirty seconds, and a little: how long a player waits for its client.
const LINGER: usize = 31 * 30;

/// The crate that the world has in its first cell.
fn crate_name() -> GlobalEntity {
    GlobalEntity::new(GlobalEntity::WORLD_BLOCK, 7).expect("a name")
}

fn game_with_a_crate(app: &mut App) {
    game(app);
    app.add_observer(|opened: On<CellOpened>, mut commands: Commands| {
        if opened.cell == CellId(0) && !opened.known.contains(&crate_name()) {
            let slot = NetSlot::named(crate_name());
            commands.spawn((Replicated, slot, Place(12.0, 0.0, 10.0)));
        }
    })
    .add_observer(|missing: On<StateMissing>, mut commands: Commands| {
        for name in &missing.names {
            let slot = NetSlot::named(*name);
            commands.spawn((Replicated, slot, Place(12.0, 0.0, 10.0)));
        }
    })
    .add_observer(
        |_: On<PlayerRetired>, carried: Query<Entity, With<RidesOn>>, mut commands: Commands| {
            for thing in &carried {
                commands.entity(thing).remove::<RidesOn>();
            }
        },
    );
}

fn root_of(cluster: &mut MeshCluster, client: AppId) -> GlobalEntity {
    let root = cluster.world(client).resource::<MeshClient>().root;
    root.expect("it is in")
}

/// How many nodes host the entity.
fn hosts_of(cluster: &mut MeshCluster, nodes: &[AppId], entity: GlobalEntity) -> usize {
    let mut found = 0;
    for &node in nodes {
        let world = cluster.world(node);
        let mut all = world.query::<&NetSlot>();
        found += all
            .iter(world)
            .filter(|slot| slot.global() == Some(entity))
            .count();
    }
    found
}

fn pick_up(cluster: &mut MeshCluster, node: AppId, player: GlobalEntity, thing: GlobalEntity) {
    let world = cluster.world(node);
    let slots = world.resource::<Slots>();
    let (player, thing) = (slots.entity(player), slots.entity(thing));
    let (player, thing) = (player.expect("hosted"), thing.expect("hosted"));
    world.entity_mut(thing).insert(RidesOn(player));
}

#[test]
fn a_node_tells_the_others_how_many_players_it_has() {
    let (mut cluster, nodes) = cluster::<2>(1, Weather::near());
    enter(&mut cluster);
    enter(&mut cluster);
    cluster.run(60);
    let node = cluster.world(nodes[0]).resource::<MeshView>().node;
    let survey = cluster.mesh().directory().survey(None);
    let nodes = survey.expect("the directory answers").nodes;
    let told = nodes.iter().find(|record| Some(record.node) == node);
    assert_eq!(told.map(|record| record.load.players), Some(2));
}

#[test]
fn a_player_whose_client_never_comes_back_leaves_the_world() {
    let (mut cluster, nodes) = cluster::<2>(2, Weather::near());
    let (client, player) = enter(&mut cluster);
    cluster.kill(client);
    cluster.run(30);
    assert_eq!(host(&mut cluster, &nodes, player), Some(nodes[0]));
    // Its node dies too, so the one that waits for it never saw its client.
    cluster.kill_node(nodes[0]);
    cluster.run_until("the player is rescued", 120, |cluster| {
        host(cluster, &nodes[1..], player) == Some(nodes[1])
    });
    cluster.run(LINGER);
    assert_eq!(host(&mut cluster, &nodes[1..], player), None);
    let row = cluster.mesh().directory().find_player(player);
    assert_eq!(row, Ok(None));
}

#[test]
fn the_players_of_a_node_that_is_cut_off_play_on_elsewhere() {
    let (mut cluster, nodes) = cluster::<2>(3, Weather::near());
    let (client, player) = enter(&mut cluster);
    cluster.world(client).resource_mut::<Wish>().0 = Some(0);
    cluster.run(30);
    // Its sockets go on answering; it only may not run.
    cluster.mesh().cut_directory(NodeId(0), true);
    cluster.run_until("the client plays at the other node", 300, |cluster| {
        let node = cluster.world(client).resource::<MeshClient>().node;
        node.is_some_and(|node| node.id == NodeId(1))
    });
    cluster.run(90);
    let log = applied(&mut cluster, &nodes[1..], player);
    assert!(log.len() > 50, "inputs are applied again");
    cluster.mesh().cut_directory(NodeId(0), false);
    cluster.run(90);
    assert_eq!(host(&mut cluster, &nodes, player), Some(nodes[1]));
    cluster.world(client).resource_mut::<Wish>().0 = None;
    cluster.run(30);
    let sent = cluster.world(client).resource::<InputOutbox>().newest().0;
    let log = applied(&mut cluster, &nodes[1..], player);
    assert_eq!(log.last(), Some(&sent));
    assert!(log.windows(2).all(|pair| pair[1] == pair[0] + 1));
}

/// A player carries the crate to the second of three cells.
fn carried_over(seed: u64) -> (MeshCluster, [AppId; 3], AppId, PeerId) {
    let (mut cluster, nodes) = cluster_of::<3>(seed, Weather::near(), game_with_a_crate);
    let (client, player) = enter(&mut cluster);
    let root = root_of(&mut cluster, client);
    pick_up(&mut cluster, nodes[0], root, crate_name());
    cluster.world(client).resource_mut::<Wish>().0 = Some(1);
    cluster.run_until("the other node hosts the player", 900, |cluster| {
        host(cluster, &nodes, player) == Some(nodes[1])
    });
    cluster.world(client).resource_mut::<Wish>().0 = None;
    cluster.run(30);
    (cluster, nodes, client, player)
}

#[test]
fn what_has_a_row_is_not_made_again_when_its_cell_opens_elsewhere() {
    let (mut cluster, nodes, ..) = carried_over(4);
    assert_eq!(hosts_of(&mut cluster, &nodes[1..2], crate_name()), 1);
    cluster.kill_node(nodes[0]);
    cluster.run_until("somebody else has the cell", 120, |cluster| {
        let owns = |node| {
            let view = cluster.world(node).resource::<MeshView>();
            view.owns(CellId(0))
        };
        nodes[1..].iter().copied().any(owns)
    });
    cluster.run(60);
    assert_eq!(hosts_of(&mut cluster, &nodes[1..], crate_name()), 1);
}

#[test]
fn what_a_player_put_down_as_it_left_outlives_its_node() {
    let (mut cluster, nodes, client, player) = carried_over(5);
    cluster.kill(client);
    cluster.run(LINGER + 200);
    assert_eq!(host(&mut cluster, &nodes, player), None, "it has left");
    let row = cluster.mesh().directory().head(crate_name());
    let row = row.expect("the directory answers").expect("it has a row");
    assert_eq!(row.root, crate_name(), "of its own");
    cluster.run(30);
    cluster.kill_node(nodes[1]);
    cluster.run(120);
    let left = [nodes[0], nodes[2]];
    assert_eq!(hosts_of(&mut cluster, &left, crate_name()), 1);
}

#[test]
fn a_crate_that_is_put_down_is_a_root_of_its_own() {
    let (mut cluster, nodes, ..) = carried_over(6);
    let world = cluster.world(nodes[1]);
    let thing = world.resource::<Slots>().entity(crate_name());
    let thing = thing.expect("it came along");
    world.entity_mut(thing).remove::<RidesOn>();
    cluster.run(30);
    assert!(cluster.world(nodes[1]).get::<HandoverRoot>(thing).is_some());
    assert_eq!(name(&mut cluster, nodes[1], thing), crate_name());
}

#[test]
fn what_was_picked_up_after_the_last_checkpoint_is_made_anew() {
    let (mut cluster, nodes) = cluster_of::<2>(7, Weather::near(), game_with_a_crate);
    let (client, player) = enter(&mut cluster);
    let root = root_of(&mut cluster, client);
    // Nobody answers the other node's offer, so it is asked again and again.
    cluster.kill(client);
    let world = cluster.world(nodes[0]);
    world
        .resource_mut::<MeshNodeConfig>()
        .checkpoints_per_second = 1;
    let body = world.resource::<Slots>().entity(root).expect("hosted");
    world.get_mut::<Place>(body).expect("it is somewhere").0 = 45.0;
    cluster.run(40);
    cluster.run_until("a checkpoint has just been", 40, |cluster| {
        let clock = cluster.world(nodes[0]).resource::<NetClock>();
        clock.tick().0 % u32::from(clock.rate()) == 3
    });
    pick_up(&mut cluster, nodes[0], root, crate_name());
    cluster.run_until("the question made a row", 20, |cluster| {
        cluster.mesh().directory().head(crate_name()) != Ok(None)
    });
    let rows = cluster.mesh().directory().read(root);
    let rows = rows.expect("the directory answers");
    assert!(rows.iter().any(|row| row.state.is_empty()), "no state yet");
    cluster.kill_node(nodes[0]);
    cluster.run_until("the player is rescued", 120, |cluster| {
        host(cluster, &nodes[1..], player) == Some(nodes[1])
    });
    cluster.run(60);
    assert_eq!(hosts_of(&mut cluster, &nodes[1..], crate_name()), 1);
}

/// What every node has for itself.
#[derive(Resource, TypePath, Serialize, Deserialize, Clone, PartialEq, Debug)]
struct Season(u32);

#[test]
fn a_node_that_was_taken_for_dead_keeps_its_resources_and_tells_of_them_again() {
    let setup = |app: &mut App| {
        game(app);
        app.replicate_resource::<Season>();
    };
    let (mut cluster, nodes): (_, [AppId; 2]) = cluster_of(3, Weather::near(), setup);
    for node in nodes {
        cluster.world(node).insert_resource(Season(4));
    }
    let (client, _) = enter(&mut cluster);
    cluster.run(60);
    let season = |cluster: &mut MeshCluster, app| cluster.world(app).get_resource().cloned();
    assert_eq!(season(&mut cluster, client), Some(Season(4)));
    cluster.mesh().cut_directory(NodeId(0), true);
    cluster.run(300);
    cluster.mesh().cut_directory(NodeId(0), false);
    cluster.run(300);
    let incarnation = cluster.world(nodes[0]).resource::<MeshView>().node;
    assert!(
        incarnation.is_some_and(|node| node.incarnation.0 > 1),
        "{incarnation:?}"
    );
    for app in [nodes[0], nodes[1], client] {
        assert_eq!(season(&mut cluster, app), Some(Season(4)));
    }
    let world = cluster.world(nodes[0]);
    let mut published = world.query_filtered::<&NetSlot, With<Season>>();
    assert_eq!(
        published.iter(world).count(),
        1,
        "it is on the network again"
    );
}
