//! What a player sees, and its keys: crates in the colour of their holders, and the panel.

use std::{net::SocketAddr, path::PathBuf};

use bevy::{
    camera::SubCameraView,
    core_pipeline::tonemapping::Tonemapping,
    platform::collections::HashMap,
    prelude::*,
    render::view::screenshot::{Screenshot, ScreenshotCaptured, save_to_disk},
};
use bevy_seamless::{
    overlay::{Overlay, OverlayPlugin, plugin::bevy_egui::egui::Color32, theme},
    prelude::*,
    transport::ConditionerConfig,
    wire::Holder,
};

use crate::{
    game::{self, Body, Crate, HALF, Place, SIDE, TICK_RATE},
    glass::Glass,
    labels::LabelsPlugin,
    party::{self, Stage},
    player::{self, Hands, Wish},
};

/// Size of the window, and how much of it to the right the panel covers.
const WINDOW: UVec2 = UVec2::new(1600, 1000);
const PANEL: u32 = 832;
/// How fast what is seen goes after what was told, per second.
const EASE: f32 = 18.0;

/// Runs the window until it is closed, or its picture is taken after so many seconds.
pub(crate) fn run(
    (server, network): (SocketAddr, ConditionerConfig),
    glass: Option<Glass>,
    (bot, picture): (Option<u64>, Option<(PathBuf, u64)>),
    stage: &Stage,
) {
    let window = Window {
        title: format!("delegation: crates of {server}"),
        resolution: WINDOW.into(),
        ..default()
    };
    let windows = WindowPlugin {
        primary_window: Some(window),
        ..default()
    };
    let overlay = Overlay {
        open: true,
        position: [(WINDOW.x - PANEL) as f32, 10.0],
        size: [PANEL as f32 - 24.0, WINDOW.y as f32 - 56.0],
        ..default()
    };
    let mut app = App::new();
    app.add_plugins((
        DefaultPlugins.set(windows),
        SeamlessPlugins::client().with_tick_rate(TICK_RATE),
        OverlayPlugin {
            overlay,
            ..default()
        },
        LabelsPlugin,
    ));
    game::register(&mut app);
    player::add(&mut app, server, network);
    app.insert_resource(stage.clone())
        .insert_resource(ClearColor(Color::srgb_u8(0x0e, 0x11, 0x16)))
        .insert_resource(GlobalAmbientLight {
            brightness: 420.0,
            ..default()
        })
        .init_resource::<Paint>()
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
        app.add_systems(
            Update,
            move |commands: Commands, time: Res<Time>, done: Local<bool>| {
                take_picture(commands, (&time, seconds), done, file.clone());
            },
        );
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

/// Shapes and colours.
#[derive(Resource, Default)]
struct Paint {
    cube: Handle<Mesh>,
    body: Handle<Mesh>,
    colours: HashMap<[u8; 3], Handle<StandardMaterial>>,
}

impl Paint {
    fn colour(
        &mut self,
        materials: &mut Assets<StandardMaterial>,
        colour: Color32,
    ) -> MeshMaterial3d<StandardMaterial> {
        let [red, green, blue, _] = colour.to_array();
        let material = self.colours.entry([red, green, blue]);
        let matte = || StandardMaterial {
            base_color: Color::srgb_u8(red, green, blue),
            perceptual_roughness: 0.95,
            reflectance: 0.1,
            ..default()
        };
        MeshMaterial3d(material.or_insert_with(|| materials.add(matte())).clone())
    }
}

fn set_up(
    mut commands: Commands,
    mut meshes: ResMut<Assets<Mesh>>,
    mut materials: ResMut<Assets<StandardMaterial>>,
    mut paint: ResMut<Paint>,
) {
    // Both stand on their origin.
    let standing = |mesh: Mesh, height: f32| mesh.translated_by(Vec3::Y * height / 2.0);
    paint.cube = meshes.add(standing(Cuboid::from_length(SIDE).into(), SIDE));
    paint.body = meshes.add(standing(Capsule3d::new(0.4, 0.9).into(), 1.7));
    let floor = Plane3d::default()
        .mesh()
        .size(2.0 * HALF + 1.4, 2.0 * HALF + 1.4);
    commands.spawn((
        Mesh3d(meshes.add(floor)),
        paint.colour(&mut materials, Color32::from_rgb(0x2a, 0x30, 0x3a)),
    ));
    commands.spawn((
        DirectionalLight {
            illuminance: 7_000.0,
            shadow_maps_enabled: true,
            ..default()
        },
        Transform::from_xyz(-0.6, 1.6, 0.9).looking_at(Vec3::ZERO, Vec3::Y),
    ));
    // The middle of the floor is in the middle of what the panel leaves free.
    let beside_the_panel = SubCameraView {
        full_size: WINDOW,
        offset: Vec2::new(PANEL as f32 / 2.0, 0.0),
        size: WINDOW,
    };
    commands.spawn((
        Camera3d::default(),
        Camera {
            sub_camera_view: Some(beside_the_panel),
            ..default()
        },
        Projection::from(PerspectiveProjection {
            fov: 0.56,
            ..default()
        }),
        Tonemapping::None,
        Transform::from_xyz(0.0, 72.0, 46.0).looking_at(Vec3::ZERO, Vec3::Y),
    ));
}

/// What came into sight gets a shape.
fn dress(
    bodies: Query<(Entity, &Place, &Body), Added<Body>>,
    crates: Query<(Entity, &Place), Added<Crate>>,
    (mut paint, mut materials): (ResMut<Paint>, ResMut<Assets<StandardMaterial>>),
    mut commands: Commands,
) {
    for (entity, place, body) in &bodies {
        let material = paint.colour(&mut materials, theme::player(body.0));
        let at = Transform::from_translation(place.0);
        commands
            .entity(entity)
            .insert((Mesh3d(paint.body.clone()), material, at));
    }
    for (entity, place) in &crates {
        let at = Transform::from_translation(place.0);
        commands.entity(entity).insert((
            Mesh3d(paint.cube.clone()),
            paint.colour(&mut materials, theme::AVAILABLE),
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
    (mut paint, mut materials): (ResMut<Paint>, ResMut<Assets<StandardMaterial>>),
    hands: Res<Hands>,
) {
    for (entity, authority, mut shown) in &mut crates {
        let colour = match authority.holder {
            _ if hands.denied.contains_key(&entity) => Color32::WHITE,
            Holder::Peer(peer) => theme::player(peer),
            Holder::Host => theme::KEPT,
            Holder::Nobody => theme::AVAILABLE,
        };
        let wanted = paint.colour(&mut materials, colour);
        if *shown != wanted {
            *shown = wanted;
        }
    }
}

fn take_picture(
    mut commands: Commands,
    (time, seconds): (&Time, u64),
    mut done: Local<bool>,
    file: PathBuf,
) {
    if *done || time.elapsed().as_secs() < seconds {
        return;
    }
    *done = true;
    commands
        .spawn(Screenshot::primary_window())
        .observe(save_to_disk(file))
        .observe(
            |_: On<ScreenshotCaptured>, mut exit: MessageWriter<AppExit>| {
                exit.write(AppExit::Success);
            },
        );
}
