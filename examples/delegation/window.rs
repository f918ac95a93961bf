//! What a player sees, and its keys: crates in the colour of their holders, and the panel.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use bevy::{prelude::*, time::common_conditions::once_after_delay};
use bevy_seamless::{
    overlay::{plugin::bevy_egui::egui::Color32, theme},
    prelude::*,
    transport::ConditionerConfig,
    wire::Holder,
};

use crate::{
    backdrop::{self, BackdropPlugin, Paint, standing},
    game::{self, Body, Crate, HALF, Place, SIDE, TICK_RATE},
    glass::Glass,
    labels::LabelsPlugin,
    party::{self, Stage},
    player::{self, Hands, Wish},
};

/// How fast what is seen goes after what was told, per second.
const EASE: f32 = 18.0;

/// Runs the window until it is closed, or its picture is taken after so many seconds.
pub(crate) fn run(
    (server, network): (SocketAddr, ConditionerConfig),
    glass: Option<Glass>,
    (bot, picture): (Option<u64>, Option<(PathBuf, u64)>),
    stage: &Stage,
) {
    let title = format!("delegation: crates of {server}");
    let mut app = App::new();
    app.add_plugins((
        BackdropPlugin { title },
        SeamlessPlugins::client().with_tick_rate(TICK_RATE),
        backdrop::panel(),
        LabelsPlugin,
    ));
    game::register(&mut app);
    player::add(&mut app, server, network);
    app.insert_resource(stage.clone())
        .init_resource::<Shapes>()
        .add_systems(Startup, set_up)
        .add_systems(Update, (dress, ease, colour));
    if let Some(glass) = glass {
        glass.add_window(&mut app, bot.is_some());
    }
    match bot {
        Some(seed) => party::add_bot(&mut app, seed),
        None => drop(app.add_systems(PreUpdate, keys)),
    }
    if let Some((file, seconds)) = picture {
        let played = once_after_delay(Duration::from_secs(seconds));
        backdrop::take_picture(&mut app, file, played);
    }
    app.run();
}

fn keys(keys: Res<ButtonInput<KeyCode>>, mut wish: ResMut<Wish>) {
    let axis = |less: [KeyCode; 2], more: [KeyCode; 2]| {
        f32::from(keys.any_pressed(more)) - f32::from(keys.any_pressed(less))
    };
    wish.walk = Vec2::new(
        axis(
            [KeyCode::KeyA, KeyCode::ArrowLeft],
            [KeyCode::KeyD, KeyCode::ArrowRight],
        ),
        axis(
            [KeyCode::KeyW, KeyCode::ArrowUp],
            [KeyCode::KeyS, KeyCode::ArrowDown],
        ),
    );
    // They last until the next tick has seen them.
    wish.grab |= keys.just_pressed(KeyCode::KeyE);
    wish.throw |= keys.just_pressed(KeyCode::KeyF);
    wish.contest |= keys.just_pressed(KeyCode::KeyC);
    wish.build |= keys.just_pressed(KeyCode::KeyB);
}

#[derive(Resource, Default)]
struct Shapes {
    cube: Handle<Mesh>,
    body: Handle<Mesh>,
}

fn set_up(
    mut commands: Commands,
    mut meshes: ResMut<Assets<Mesh>>,
    (mut shapes, mut paint): (ResMut<Shapes>, Paint),
) {
    shapes.cube = meshes.add(standing(Cuboid::from_length(SIDE), SIDE));
    shapes.body = meshes.add(standing(Capsule3d::new(0.4, 0.9), 1.7));
    let floor = Plane3d::default()
        .mesh()
        .size(2.0 * HALF + 1.4, 2.0 * HALF + 1.4);
    commands.spawn((
        Mesh3d(meshes.add(floor)),
        paint.matte(Color32::from_rgb(0x2a, 0x30, 0x3a)),
    ));
    let above = Transform::from_xyz(0.0, 72.0, 46.0).looking_at(Vec3::ZERO, Vec3::Y);
    commands.spawn(backdrop::camera(above, 0.56));
}

/// What came into sight gets a shape.
fn dress(
    bodies: Query<(Entity, &Place, &Body), Added<Body>>,
    crates: Query<(Entity, &Place), Added<Crate>>,
    (shapes, mut paint): (Res<Shapes>, Paint),
    mut commands: Commands,
) {
    for (entity, place, body) in &bodies {
        let material = paint.matte(theme::player(body.0));
        let at = Transform::from_translation(place.0);
        commands
            .entity(entity)
            .insert((Mesh3d(shapes.body.clone()), material, at));
    }
    for (entity, place) in &crates {
        let at = Transform::from_translation(place.0);
        commands.entity(entity).insert((
            Mesh3d(shapes.cube.clone()),
            paint.matte(theme::AVAILABLE),
            at,
        ));
    }
}

/// Frames come more often than ticks.
fn ease(mut shown: Query<(&Place, &mut Transform)>, time: Res<Time>) {
    let part = 1.0 - (-EASE * time.delta_secs()).exp();
    for (place, mut shown) in &mut shown {
        if shown.translation != place.0 {
            shown.translation = shown.translation.lerp(place.0, part);
        }
    }
}

/// A crate has the colour of its holder; one that was just denied to us is white.
fn colour(
    mut crates: Query<(Entity, &Authority, &mut MeshMaterial3d<StandardMaterial>), With<Crate>>,
    mut paint: Paint,
    hands: Res<Hands>,
) {
    for (entity, authority, mut shown) in &mut crates {
        let colour = match authority.holder {
            _ if hands.denied.contains_key(&entity) => Color32::WHITE,
            Holder::Peer(peer) => theme::player(peer),
            Holder::Host => theme::KEPT,
            Holder::Nobody => theme::AVAILABLE,
        };
        let wanted = paint.matte(colour);
        if *shown != wanted {
            *shown = wanted;
        }
    }
}
