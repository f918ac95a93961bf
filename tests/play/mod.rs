//! A little game on a mesh of nodes, which several tests play.

#![allow(dead_code, unreachable_pub, reason = "each test uses some of it")]

use bevy::prelude::*;
use seamless_handover::{
    client::MeshClient,
    geometry::{BorderRules, CellGrid},
    node::{HandoverRoot, MeshView, PlayerLogin},
};
use seamless_replication::{
    Hosted, NetSlot, Replicated, Slots,
    inputs::{InputAppExt, LocalInputs, PlayerInputs},
    interest::InterestAppExt,
    wire::{CellId, GlobalEntity, PeerId, Term},
};
use seamless_testkit::{AppId, MeshCluster, NodeSetup, Weather};
use serde::{Deserialize, Serialize};

use super::common::{self, Label, Place};

/// Metres a player walks per input.
pub const STEP: f32 = 0.2;

/// What a player wants in one tick.
#[derive(TypePath, Serialize, Deserialize, Clone, Copy, PartialEq, Debug)]
pub struct Walk(pub i8);

/// What this node applied: player, input, term.
#[derive(Resource, Default)]
pub struct Applied(pub Vec<(PeerId, u32, Term)>);

/// Where a client's player is to walk; nothing while it rests.
#[derive(Resource, Default)]
pub struct Wish(pub Option<i8>);

pub fn game(app: &mut App) {
    common::register(app);
    app.interest_position::<Place>(|place| Vec3::new(place.0, place.1, place.2))
        .player_input::<Walk>()
        .init_resource::<Applied>()
        .init_resource::<Wish>()
        .add_systems(FixedUpdate, (walk, want))
        .add_observer(|login: On<PlayerLogin>, mut commands: Commands| {
            commands.spawn((
                Replicated,
                NetSlot::named(login.root),
                Place(10.0, 0.0, 10.0),
                Label(format!("player {}", login.player)),
            ));
        });
}

fn walk(
    mut players: Query<(&HandoverRoot, &NetSlot, &mut Place), With<Hosted>>,
    slots: Res<Slots>,
    mut inputs: PlayerInputs<Walk>,
    mut applied: ResMut<Applied>,
) {
    for (root, slot, mut place) in &mut players {
        let Some(player) = root.player else { continue };
        for (seq, Walk(direction)) in inputs.due(player) {
            place.0 += f32::from(direction) * STEP;
            let term = slots
                .tenure(slot)
                .map(|tenure| tenure.epoch.term)
                .unwrap_or_default();
            applied.0.push((player, seq.0, term));
        }
    }
}

fn want(wish: Res<Wish>, client: Option<Res<MeshClient>>, mut inputs: LocalInputs<Walk>) {
    if let Some(direction) = wish.0
        && client.is_some_and(|client| client.root.is_some())
    {
        inputs.push(&Walk(direction));
    }
}

pub fn cells_in_a_row(columns: u32) -> CellGrid {
    CellGrid {
        origin: Vec2::ZERO,
        cell: Vec2::splat(50.0),
        columns,
        rows: 1,
    }
}

/// So many nodes with a cell each, in a row; players begin in the first.
pub fn cluster<const N: usize>(seed: u64, weather: Weather) -> (MeshCluster, [AppId; N]) {
    cluster_of(seed, weather, game)
}

/// The same, of another game.
pub fn cluster_of<const N: usize>(
    seed: u64,
    weather: Weather,
    game: fn(&mut App),
) -> (MeshCluster, [AppId; N]) {
    let grid = cells_in_a_row(N as u32);
    let mut cluster = MeshCluster::new(seed, grid, BorderRules::default(), CellId(0), game);
    cluster.set_weather(weather);
    let nodes = std::array::from_fn(|id| {
        cluster.node(&NodeSetup {
            id: id as u32,
            cells: vec![CellId(id as u32)],
        })
    });
    cluster.run_until("the cells are owned", 120, |cluster| {
        nodes.iter().enumerate().all(|(id, &node)| {
            cluster
                .world(node)
                .resource::<MeshView>()
                .owns(CellId(id as u32))
        })
    });
    (cluster, nodes)
}

pub fn enter(cluster: &mut MeshCluster) -> (AppId, PeerId) {
    let (client, player) = cluster.player();
    cluster.run_until("the player is in", 300, |cluster| {
        let root = cluster.world(client).resource::<MeshClient>().root;
        root.is_some_and(|root| {
            cluster
                .world(client)
                .resource::<Slots>()
                .entity(root)
                .is_some()
        })
    });
    (client, player)
}

/// The node that hosts a player.
pub fn host(cluster: &mut MeshCluster, nodes: &[AppId], player: PeerId) -> Option<AppId> {
    let mut hosts = nodes.iter().copied().filter(|node| {
        cluster
            .world(*node)
            .get_resource::<MeshView>()
            .is_some_and(|view| view.players.contains_key(&player))
    });
    let host = hosts.next();
    assert_eq!(hosts.next(), None, "two nodes host one player");
    host
}

/// Which inputs were applied, by whichever node, in the order of terms.
pub fn applied(cluster: &mut MeshCluster, nodes: &[AppId], player: PeerId) -> Vec<u32> {
    let mut all: Vec<(Term, u32)> = Vec::new();
    for &node in nodes {
        if let Some(log) = cluster.world(node).get_resource::<Applied>() {
            all.extend(log.0.iter().filter(|a| a.0 == player).map(|a| (a.2, a.1)));
        }
    }
    all.sort_unstable();
    all.into_iter().map(|(_, seq)| seq).collect()
}

pub fn place_at(cluster: &mut MeshCluster, app: AppId, root: GlobalEntity) -> Option<Place> {
    let world = cluster.world(app);
    let entity = world.resource::<Slots>().entity(root)?;
    world.get::<Place>(entity).cloned()
}
