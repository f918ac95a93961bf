//! Four servers, ten players and 200 boxes in one process, and the panel over them. Look at: what a
//! player carries keeps its holder while the map hands both from node to node; Tab looks at another
//! app, F3 hides the panel. Run: `cargo run --release --example overlay --features window`

#[path = "common/game.rs"]
#[allow(dead_code, reason = "the panel needs a part of the game")]
mod game;
#[path = "overlay/scene.rs"]
mod scene;

use std::f32::consts::TAU;

use bevy::{ecs::query::Allow, prelude::*};
use bevy_seamless::{
    handover::node::CellOpened,
    overlay::{Overlay, OverlayModel, OverlayPlugin, collect, theme},
    prelude::*,
    wire::Holder,
};
use game::{AppliedInputs, Body, Crate, LastInput, Position, Walk};
use scene::{ScenePlugin, Thing, Things};
use seamless_testkit::{AppId, MeshCluster, NodeSetup, Weather};

const CELL: f32 = 60.0;
const PLAYERS: usize = 10;
const BOXES: u32 = 50;

/// A box that its host moves to and fro, so many metres in a tick.
#[derive(Component)]
struct Drift(Vec3);

/// The game, on nodes and on clients.
fn setup(app: &mut App) {
    game::register(app);
    if !app.world().contains_resource::<MeshView>() {
        app.add_systems(FixedUpdate, (roam, carry).chain());
        return;
    }
    app.init_resource::<AppliedInputs>()
        .add_systems(FixedUpdate, (game::walk, drift))
        .add_observer(game::carry)
        .add_observer(fill)
        .add_observer(|login: On<PlayerLogin>, mut commands: Commands| {
            let body = Body { player: login.player.0 };
            let place = Position(Vec3::new(CELL - 8.0, 0.0, CELL - 8.0));
            let name = NetSlot::named(login.root);
            commands.spawn((Replicated, name, body, place, LastInput::default()));
        });
}

/// Node: every fifth box of a new cell can be carried, the others drift.
fn fill(opened: On<CellOpened>, grid: Res<CellGrid>, mut commands: Commands) {
    for number in 0..BOXES {
        let way = Vec2::from_angle(number as f32 * 2.4);
        let at = grid.bounds(opened.cell).center() + way * (4.0 + 0.46 * number as f32);
        let at = Position(at.extend(0.0).xzy());
        match number % 5 {
            0 => commands.spawn((Replicated, Delegated, Crate, at)),
            _ => commands.spawn((Replicated, Drift(way.extend(0.0).xzy() * 0.05), at)),
        };
    }
}

fn drift(mut boxes: Query<(&mut Position, &mut Drift), With<Hosted>>, clock: Res<NetClock>) {
    for (mut place, mut drift) in &mut boxes {
        drift.0 *= if clock.tick().0.is_multiple_of(90) { -1.0 } else { 1.0 };
        place.0 += drift.0;
    }
}

/// Client: walks round the place where the four cells meet, each player on a circle of its own.
fn roam(
    (client, slots, clock): (Res<MeshClient>, Res<Slots>, Res<NetClock>),
    bodies: Query<&Position>,
    mut inputs: LocalInputs<Walk>,
) {
    let body = client.root.and_then(|root| slots.entity(root));
    let Some(at) = body.and_then(|body| bodies.get(body).ok()) else { return };
    let number = (client.player.0 % PLAYERS as u64) as f32;
    let round = clock.now().as_secs_f32() * if number % 2.0 == 0.0 { 0.14 } else { -0.14 };
    let ahead = Vec2::from_angle(round + number / PLAYERS as f32 * TAU) * (20.0 + number * 1.5);
    inputs.push(&Walk::towards(at.0, (Vec2::splat(CELL) + ahead).extend(0.0).xzy()));
}

/// Client: asks for a crate that is near, carries it for some seconds, and gives it back.
fn carry(
    (client, slots, clock): (Res<MeshClient>, Res<Slots>, Res<NetClock>),
    mut crates: Query<(Entity, &mut Position, &AuthorityView), With<Crate>>,
    bodies: Query<&Position, Without<Crate>>,
    mut commands: Commands,
) {
    let body = client.root.and_then(|root| slots.entity(root));
    let Some(at) = body.and_then(|body| bodies.get(body).ok()) else { return };
    let beat = (clock.tick().0 + 37 * client.player.0 as u32) % 300;
    for (entity, mut place, view) in &mut crates {
        match view {
            AuthorityView::Granted if beat == 0 => {
                place.0.y = 0.0;
                commands.entity(entity).release_authority();
            }
            AuthorityView::Granted => place.0 = at.0 + Vec3::Y * 2.4,
            AuthorityView::Available if beat == 40 && place.0.distance(at.0) < 12.0 => {
                commands.entity(entity).request_authority();
            }
            _ => {}
        }
    }
}

/// The mesh, and at which of its apps the panel looks: four nodes, then the players.
struct Show(MeshCluster, Vec<AppId>, usize);

/// Window: as many ticks as time has passed, then what the nodes host, and what the panel shows.
fn play(
    mut show: NonSendMut<Show>,
    (time, keys): (Res<Time>, Res<ButtonInput<KeyCode>>),
    (mut owed, mut things, mut model): (Local<f32>, ResMut<Things>, ResMut<OverlayModel>),
) {
    let Show(cluster, apps, watched) = &mut *show;
    *watched = (*watched + usize::from(keys.just_pressed(KeyCode::Tab))) % apps.len();
    *owed = (*owed + time.delta_secs() * 30.0).min(4.0);
    let ticks = owed.floor();
    *owed -= ticks;
    cluster.run(ticks as usize);
    things.0.clear();
    let Some(mut seen) = collect::read(cluster.world(apps[*watched])) else { return };
    for &node in &apps[..4] {
        let world = cluster.world(node);
        let other = collect::read(world).and_then(|model| model.mesh);
        if let (Some(mesh), Some(other)) = (&mut seen.mesh, &other) {
            mesh.absorb(other);
        }
        let host = other.and_then(|mesh| mesh.node).map(|node| theme::node(node.id));
        let mut hosted = world.query_filtered::<
            (&Position, Option<&Body>, Option<&Authority>),
            (With<Hosted>, Allow<Frozen>),
        >();
        things.0.extend(hosted.iter(world).filter_map(|(place, body, authority)| {
            let (side, colour) = match (body, authority.map(|authority| authority.holder)) {
                (Some(body), _) => (Vec3::new(1.4, 2.4, 1.4), theme::player(PeerId(body.player))),
                (_, Some(Holder::Peer(peer))) => (Vec3::splat(1.8), theme::player(peer)),
                (_, Some(_)) => (Vec3::splat(1.8), theme::KEPT),
                (_, None) => (Vec3::splat(0.9), host?),
            };
            Some(Thing { at: place.0, size: side, colour: [colour.r(), colour.g(), colour.b()] })
        }));
    }
    *model = seen;
}

fn main() {
    let grid = CellGrid { origin: Vec2::ZERO, cell: Vec2::splat(CELL), columns: 2, rows: 2 };
    let mut cluster = MeshCluster::new(1, grid, BorderRules::default(), CellId(0), setup);
    cluster.set_weather(Weather::lossy(0.02));
    let node = |id| NodeSetup { id, cells: vec![CellId(id)] };
    let mut apps: Vec<AppId> = (0..4).map(|id| cluster.node(&node(id))).collect();
    cluster.run(60);
    apps.extend((0..PLAYERS).map(|_| cluster.player().0));
    let picture = std::env::args().skip_while(|word| word != "--screenshot").nth(1);
    // A picture of the first minutes would show little; they pass before the window opens.
    cluster.run(if picture.is_some() { 3600 } else { 0 });
    let size = [1440u32, 900];
    let window = Window { title: "bevy_seamless".into(), resolution: size.into(), ..default() };
    let window = WindowPlugin { primary_window: Some(window), ..default() };
    let overlay =
        Overlay { open: true, position: [648.0, 8.0], size: [776.0, 860.0], ..default() };
    App::new()
        .add_plugins(DefaultPlugins.set(window))
        .add_plugins((OverlayPlugin { overlay, ..default() }, ScenePlugin { cell: CELL, picture }))
        .insert_non_send(Show(cluster, apps, 0))
        .add_systems(Update, play)
        .run();
}
