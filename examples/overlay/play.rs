//! What is played: players walk round the corner that four cells share and carry crates across,
//! and boxes drift.

use std::f32::consts::TAU;

use bevy::prelude::*;
use bevy_seamless::prelude::*;

use crate::{
    CELL, PLAYERS,
    game::{self, AppliedInputs, Body, Crate, LastInput, Position, Walk},
};

/// Boxes in a cell; every fifth is a crate.
const BOXES: u32 = 50;
/// Ticks after which a player gives its crate back, and of those before it asks for one.
const ROUND: u32 = 300;
const PAUSE: u32 = 40;
/// How far a player reaches for a crate, and how high it carries it, in metres.
const REACH: f32 = 12.0;
const OVERHEAD: f32 = 3.4;

/// A box that its host moves to and fro, so many metres in a tick.
#[derive(Component)]
struct Drift(Vec3);

/// The game, on nodes and on clients.
pub(crate) fn setup(app: &mut App) {
    game::register(app);
    if !app.world().contains_resource::<MeshView>() {
        app.add_systems(FixedUpdate, (roam, reach).chain());
        return;
    }
    app.init_resource::<AppliedInputs>()
        .add_systems(FixedUpdate, (game::walk, drift))
        .add_observer(game::carry)
        .add_observer(fill)
        .add_observer(enter);
}

/// Node: a player has come for the first time.
fn enter(login: On<PlayerLogin>, mut commands: Commands) {
    let body = Body {
        player: login.player.0,
    };
    let place = Position(Vec3::new(CELL - 8.0, 0.0, CELL - 8.0));
    let name = NetSlot::named(login.root);
    commands.spawn((Replicated, name, body, place, LastInput::default()));
}

/// Node: a new cell is filled with boxes, in a spiral.
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
    let turn = clock.tick().0.is_multiple_of(90);
    for (mut place, mut drift) in &mut boxes {
        if turn {
            drift.0 = -drift.0;
        }
        place.0 += drift.0;
    }
}

/// The client's own body, if it has one yet.
fn own_body(client: &MeshClient, slots: &Slots) -> Option<Entity> {
    slots.entity(client.root?)
}

/// Client: walks on a circle of its own, with or against the clock.
fn roam(
    (client, slots, clock): (Res<MeshClient>, Res<Slots>, Res<NetClock>),
    bodies: Query<&Position>,
    mut inputs: LocalInputs<Walk>,
) {
    let body = own_body(&client, &slots);
    let Some(at) = body.and_then(|body| bodies.get(body).ok()) else {
        return;
    };
    let number = (client.player.0 % PLAYERS as u64) as f32;
    let way = if number % 2.0 == 0.0 { 0.14 } else { -0.14 };
    let angle = clock.now().as_secs_f32() * way + number / PLAYERS as f32 * TAU;
    let ahead = Vec2::splat(CELL) + Vec2::from_angle(angle) * (20.0 + number * 1.8);
    inputs.push(&Walk::towards(at.0, ahead.extend(0.0).xzy()));
}

/// Client: asks for a crate that is near, carries it for some seconds, and gives it back.
fn reach(
    (client, slots, clock): (Res<MeshClient>, Res<Slots>, Res<NetClock>),
    mut crates: Query<(Entity, &mut Position, &AuthorityView), With<Crate>>,
    bodies: Query<&Position, Without<Crate>>,
    mut commands: Commands,
) {
    let body = own_body(&client, &slots);
    let Some(at) = body.and_then(|body| bodies.get(body).ok()) else {
        return;
    };
    let beat = (clock.tick().0 + 37 * client.player.0 as u32) % ROUND;
    let mut asks = beat == PAUSE;
    for (entity, mut place, view) in &mut crates {
        match view {
            AuthorityView::Granted if beat < PAUSE => {
                place.0.y = 0.0;
                commands.entity(entity).release_authority();
            }
            AuthorityView::Granted => place.0 = at.0 + Vec3::Y * OVERHEAD,
            AuthorityView::Available if asks && place.0.distance(at.0) < REACH => {
                asks = false;
                commands.entity(entity).request_authority();
            }
            _ => {}
        }
    }
}
