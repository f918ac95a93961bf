//! The panel of a node in a real mesh.

mod common;

use bevy::prelude::*;
use common::{Label, Place, assert_says, collected, draw, region, row};
use seamless_handover::{
    client::MeshClient,
    geometry::{BorderRules, CellGrid},
    node::{HandoverRoot, MeshView, PlayerLogin},
};
use seamless_overlay::{OverlayModel, model::CrossingModel};
use seamless_replication::{
    Hosted, NetSlot, Replicated,
    inputs::{InputAppExt, LocalInputs, PlayerInputs},
    interest::InterestAppExt,
    wire::{CellId, PeerId},
};
use seamless_testkit::{AppId, MeshCluster, NodeSetup};
use serde::{Deserialize, Serialize};

/// One step along x.
#[derive(TypePath, Serialize, Deserialize, Clone, Copy, PartialEq, Debug)]
struct Step(f32);

fn game(app: &mut App) {
    common::register(app);
    app.interest_position::<Place>(|place| place.0)
        .player_input::<Step>()
        .add_systems(FixedUpdate, (walk, want))
        .add_observer(|login: On<PlayerLogin>, mut commands: Commands| {
            commands.spawn((
                Replicated,
                NetSlot::named(login.root),
                Place(Vec3::new(20.0, 0.0, 10.0)),
                Label(login.player.to_string()),
            ));
        });
}

fn walk(
    mut players: Query<(&HandoverRoot, &mut Place), With<Hosted>>,
    mut inputs: PlayerInputs<Step>,
) {
    for (root, mut place) in &mut players {
        let Some(player) = root.player else { continue };
        for (_, Step(metres)) in inputs.due(player) {
            place.0.x += metres;
        }
    }
}

fn want(client: Option<Res<MeshClient>>, mut inputs: LocalInputs<Step>) {
    if client.is_some_and(|client| client.root.is_some()) {
        inputs.push(&Step(0.25));
    }
}

/// Four nodes with a cell each, and a player who walks from the first to the second.
fn mesh() -> (MeshCluster, Vec<AppId>, AppId, PeerId) {
    let grid = CellGrid {
        origin: Vec2::ZERO,
        cell: Vec2::splat(50.0),
        columns: 2,
        rows: 2,
    };
    let mut cluster = MeshCluster::new(5, grid, BorderRules::default(), CellId(0), game);
    let nodes: Vec<AppId> = (0..4)
        .map(|id| {
            cluster.node(&NodeSetup {
                id,
                cells: vec![CellId(id)],
            })
        })
        .collect();
    let all = nodes.clone();
    cluster.run_until("the cells are owned", 120, |cluster| {
        all.iter()
            .all(|&node| cluster.world(node).resource::<MeshView>().cells.len() == 4)
    });
    let (client, player) = cluster.player();
    let door = nodes[0];
    cluster.run_until("the player is in", 300, |cluster| {
        cluster
            .world(door)
            .resource::<MeshView>()
            .players
            .contains_key(&player)
    });
    (cluster, nodes, client, player)
}

fn look(cluster: &mut MeshCluster, app: AppId) -> OverlayModel {
    collected(cluster.world(app))
}

fn crossing(model: &OverlayModel) -> Option<CrossingModel> {
    model.mesh.as_ref()?.roots.first().map(|root| root.crossing)
}

#[test]
fn a_node_shows_cells_nodes_and_a_player_on_its_way_to_another() {
    let (mut cluster, nodes, _, player) = mesh();
    let model = look(&mut cluster, nodes[0]);
    let owner = cluster.world(nodes[0]).resource::<MeshView>().cells[&CellId(3)];
    let harness = draw(&model);
    let map = region(&harness, "Cell map");
    assert_says(&map, &format!("c3: {} since {}", owner.owner, owner.term));
    assert_says(&map, &format!("{player} at n0"));
    for &app in &nodes {
        let node = cluster
            .world(app)
            .resource::<MeshView>()
            .node
            .expect("joined");
        row(&region(&harness, "Mesh"), &node.to_string());
    }

    cluster.run_until("it is reserved", 900, |cluster| {
        matches!(
            crossing(&look(cluster, nodes[0])),
            Some(CrossingModel::Reserved { .. })
        )
    });
    let model = look(&mut cluster, nodes[0]);
    let crossing = crossing(&model).expect("a player");
    assert_eq!(crossing.target(), Some(CellId(1)));
    assert_eq!(
        crossing.handover().map(|handover| handover.attempt),
        Some(1)
    );
    let harness = draw(&model);
    let text = format!("{player} at n0, {} \u{2192} c1", crossing.word());
    assert_says(&region(&harness, "Cell map"), &text);
}

#[test]
fn a_handover_is_counted_on_both_sides_and_named_with_its_outcome() {
    let (mut cluster, nodes, _, player) = mesh();
    cluster.run_until("it is on the other node", 900, |cluster| {
        let view = cluster.world(nodes[1]).resource::<MeshView>();
        view.players.contains_key(&player)
    });
    cluster.run(30);
    for (node, mine, theirs, way) in [
        (0, "handed over: 1", "activated: 0", "way: to n1"),
        (1, "handed over: 0", "activated: 1", "way: from n0"),
    ] {
        let model = look(&mut cluster, nodes[node]);
        let harness = draw(&model);
        let counters = region(&harness, "Counters");
        assert_says(&counters, mine);
        assert_says(&counters, theirs);
        let mesh = model.mesh.expect("a node");
        let recent = mesh.recent.first().expect("a handover has ended");
        assert!(recent.handed_over && recent.frozen.is_some(), "{recent:?}");
        let cells = row(&region(&harness, "Mesh"), &recent.handover.to_string());
        assert!(cells.contains(&way.to_owned()), "{cells:?}");
    }
}

#[test]
fn nodes_that_look_together_show_every_player_once_where_it_is_hosted() {
    let (mut cluster, nodes, _, player) = mesh();
    for _ in 0..200 {
        cluster.step();
        let mut all = look(&mut cluster, nodes[2]).mesh.expect("a node");
        for &node in &nodes {
            let other = look(&mut cluster, node).mesh.expect("a node");
            all.absorb(&other);
        }
        let roots: Vec<_> = all
            .roots
            .iter()
            .filter(|root| root.player == Some(player))
            .collect();
        assert!(roots.len() <= 1, "{roots:?}");
        for root in roots {
            let host = root.host.expect("hosted");
            let views = cluster
                .world(nodes[host.id.0 as usize])
                .resource::<MeshView>();
            assert!(views.players.contains_key(&player));
        }
    }
}

#[test]
fn a_client_of_a_mesh_names_the_nodes_at_the_other_ends() {
    let (mut cluster, _, client, player) = mesh();
    cluster.run(30);
    let model = look(&mut cluster, client);
    assert_eq!(model.name, format!("client {player}"));
    let harness = draw(&model);
    row(&region(&harness, "Links"), "node n0");
    assert_says(
        &region(&harness, "Mesh"),
        "this app is not a node of a mesh",
    );
}
