//! What the window shows beside the panel: boxes and players on a ground of four cells, and a
//! picture of it all.

use std::{collections::HashMap, path::PathBuf};

use bevy::{
    camera::SubCameraView,
    core_pipeline::tonemapping::Tonemapping,
    ecs::query::Allow,
    prelude::*,
    render::view::screenshot::{Screenshot, ScreenshotCaptured, save_to_disk},
};
use bevy_seamless::{
    overlay::{Overlay, theme},
    prelude::{Authority, Frozen, Hosted, PeerId},
    wire::{Holder, NodeId},
};

use crate::game::{Body, Position};

/// Size of the window, and how much of it to the right the panel covers.
const WINDOW: UVec2 = UVec2::new(1600, 1000);
const PANEL: u32 = 832;

/// Frames until pipelines are compiled and the panel has found its size.
const WARM: u32 = 90;

/// Where the panel is at first.
pub(crate) fn panel() -> Overlay {
    Overlay {
        open: true,
        position: [(WINDOW.x - PANEL) as f32, 10.0],
        size: [PANEL as f32 - 24.0, WINDOW.y as f32 - 56.0],
        ..default()
    }
}

type Rgb = [u8; 3];

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Shape {
    Body,
    Crate,
    Box,
}

/// Something to be shown in this frame.
struct Thing {
    shape: Shape,
    /// Where it stands.
    at: Vec3,
    colour: Rgb,
}

/// Everything that is shown in this frame.
#[derive(Resource, Default)]
pub(crate) struct Things {
    all: Vec<Thing>,
    /// Players and where they stand.
    pub(crate) players: Vec<(PeerId, Vec3)>,
}

impl Things {
    /// What a node hosts, in its colour; crates in the colour of who holds them.
    pub(crate) fn add_hosted(&mut self, world: &mut World, node: NodeId) {
        let mut hosted = world.query_filtered::<
            (&Position, Option<&Body>, Option<&Authority>),
            (With<Hosted>, Allow<Frozen>),
        >();
        for (place, body, authority) in hosted.iter(world) {
            let (shape, colour) = match (body, authority.map(|authority| authority.holder)) {
                (Some(body), _) => {
                    self.players.push((PeerId(body.player), place.0));
                    (Shape::Body, theme::node(node))
                }
                (None, Some(Holder::Peer(peer))) => (Shape::Crate, theme::player(peer)),
                (None, Some(_)) => (Shape::Crate, theme::KEPT),
                (None, None) => (Shape::Box, theme::node(node)),
            };
            self.all.push(Thing {
                shape,
                at: place.0,
                colour: [colour.r(), colour.g(), colour.b()],
            });
        }
    }
}

/// Shows [`Things`].
pub(crate) struct ScenePlugin {
    /// Side of one of the four cells, in metres.
    cell: f32,
    picture: Option<PathBuf>,
}

impl ScenePlugin {
    /// Four cells of this side; if there is a file, a picture is written to it and the app ends.
    pub(crate) const fn new(cell: f32, picture: Option<PathBuf>) -> Self {
        Self { cell, picture }
    }
}

impl Plugin for ScenePlugin {
    fn build(&self, app: &mut App) {
        let window = Window {
            title: "bevy_seamless".into(),
            resolution: WINDOW.into(),
            ..default()
        };
        let (cell, picture) = (self.cell, self.picture.clone());
        app.add_plugins(DefaultPlugins.set(WindowPlugin {
            primary_window: Some(window),
            ..default()
        }))
        .init_resource::<Things>()
        .init_resource::<Paint>()
        .insert_resource(ClearColor(Color::srgb_u8(0x0e, 0x11, 0x16)))
        .insert_resource(GlobalAmbientLight {
            brightness: 420.0,
            ..default()
        })
        .add_systems(Startup, move |commands: Commands, stock: Stock| {
            set_up(commands, stock, cell);
        })
        .add_systems(PostUpdate, paint);
        if let Some(file) = picture {
            app.add_systems(Startup, clear_of_the_pointer).add_systems(
                Update,
                move |frame: Local<u32>, commands: Commands| {
                    take_picture(frame, commands, file.clone());
                },
            );
        }
    }
}

/// A pointer in the middle of the screen would open a tooltip in the picture.
fn clear_of_the_pointer(mut window: Single<&mut Window>) {
    window.set_cursor_position(Some(Vec2::new(4.0, WINDOW.y as f32 - 4.0)));
}

fn take_picture(mut frame: Local<u32>, mut commands: Commands, file: PathBuf) {
    *frame += 1;
    if *frame == WARM {
        commands
            .spawn(Screenshot::primary_window())
            .observe(save_to_disk(file))
            .observe(
                |_: On<ScreenshotCaptured>, mut exit: MessageWriter<AppExit>| {
                    exit.write(AppExit::Success);
                },
            );
    }
}

/// Shapes and colours, and the entities that show them.
#[derive(Resource, Default)]
struct Paint {
    shapes: HashMap<Shape, Handle<Mesh>>,
    colours: HashMap<Rgb, Handle<StandardMaterial>>,
    pool: Vec<Entity>,
}

type Stock<'w> = (
    ResMut<'w, Assets<Mesh>>,
    ResMut<'w, Assets<StandardMaterial>>,
    ResMut<'w, Paint>,
);

fn matte([red, green, blue]: Rgb) -> StandardMaterial {
    StandardMaterial {
        base_color: Color::srgb_u8(red, green, blue),
        perceptual_roughness: 0.95,
        reflectance: 0.1,
        ..default()
    }
}

fn set_up(mut commands: Commands, (mut meshes, mut materials, mut paint): Stock, cell: f32) {
    // All of them stand on their origin.
    let standing = |mesh: Mesh, height: f32| mesh.translated_by(Vec3::Y * height / 2.0);
    let shapes = [
        (Shape::Body, standing(Capsule3d::new(0.8, 1.6).into(), 3.2)),
        (Shape::Crate, standing(Cuboid::from_length(1.9).into(), 1.9)),
        (Shape::Box, standing(Cuboid::from_length(1.0).into(), 1.0)),
    ];
    paint.shapes = shapes
        .into_iter()
        .map(|(shape, mesh)| (shape, meshes.add(mesh)))
        .collect();
    let ground = meshes.add(Plane3d::default().mesh().size(cell - 0.4, cell - 0.4));
    for id in 0..4u32 {
        let dim = theme::node(NodeId(id)).to_array().map(|part| part / 5 + 8);
        let at = Vec3::new((id % 2) as f32 + 0.5, 0.0, (id / 2) as f32 + 0.5) * cell;
        commands.spawn((
            Mesh3d(ground.clone()),
            MeshMaterial3d(materials.add(matte([dim[0], dim[1], dim[2]]))),
            Transform::from_translation(at),
        ));
    }
    commands.spawn((
        DirectionalLight {
            illuminance: 7_000.0,
            shadow_maps_enabled: true,
            ..default()
        },
        Transform::from_xyz(-0.6, 1.6, 0.9).looking_at(Vec3::ZERO, Vec3::Y),
    ));
    // The middle of the world is in the middle of what the panel leaves free.
    let beside_the_panel = SubCameraView {
        full_size: WINDOW,
        offset: Vec2::new(PANEL as f32 / 2.0, 0.0),
        size: WINDOW,
    };
    let middle = Vec3::new(cell, 0.0, cell);
    commands.spawn((
        Camera3d::default(),
        Camera {
            sub_camera_view: Some(beside_the_panel),
            ..default()
        },
        Projection::from(PerspectiveProjection {
            fov: 0.555,
            ..default()
        }),
        Tonemapping::None,
        Transform::from_translation(middle + Vec3::new(0.0, 4.6, 2.7) * cell)
            .looking_at(middle, Vec3::Y),
    ));
}

/// One entity of the pool for each thing; those that are left over are hidden.
fn paint(things: Res<Things>, (_, mut materials, mut paint): Stock, mut commands: Commands) {
    let paint = &mut *paint;
    while paint.pool.len() < things.all.len() {
        paint.pool.push(commands.spawn(Visibility::default()).id());
    }
    for (index, &entity) in paint.pool.iter().enumerate() {
        let Some(thing) = things.all.get(index) else {
            commands.entity(entity).insert(Visibility::Hidden);
            continue;
        };
        let material = paint
            .colours
            .entry(thing.colour)
            .or_insert_with_key(|colour| materials.add(matte(*colour)));
        commands.entity(entity).insert((
            Visibility::Inherited,
            Mesh3d(paint.shapes[&thing.shape].clone()),
            MeshMaterial3d(material.clone()),
            Transform::from_translation(thing.at),
        ));
    }
}
