//! What the window shows beside the panel: boxes on a ground of four cells, and pictures of it.

use std::collections::HashMap;

use bevy::{
    core_pipeline::tonemapping::Tonemapping,
    prelude::*,
    render::view::screenshot::{Screenshot, ScreenshotCaptured, save_to_disk},
};
use bevy_seamless::{overlay::theme, wire::NodeId};

/// Frames until pipelines are compiled and the panel has found its size.
const WARM: u32 = 90;

/// A box to be shown in this frame.
pub struct Thing {
    /// Where its middle stands on the ground.
    pub at: Vec3,
    /// Its sides.
    pub size: Vec3,
    /// Red, green and blue.
    pub colour: [u8; 3],
}

/// All boxes of this frame.
#[derive(Resource, Default)]
pub struct Things(pub Vec<Thing>);

/// Shows [`Things`].
pub struct ScenePlugin {
    /// Side of one of the four cells, in metres.
    pub cell: f32,
    /// Where to write a picture, once; the app ends then.
    pub picture: Option<String>,
}

/// A cube and the materials it is painted with, by colour.
#[derive(Resource, Default)]
struct Paint {
    cube: Handle<Mesh>,
    colours: HashMap<[u8; 3], Handle<StandardMaterial>>,
    pool: Vec<Entity>,
}

impl Plugin for ScenePlugin {
    fn build(&self, app: &mut App) {
        let (cell, picture) = (self.cell, self.picture.clone());
        app.init_resource::<Things>()
            .init_resource::<Paint>()
            .insert_resource(ClearColor(Color::srgb_u8(0x12, 0x15, 0x1a)))
            .insert_resource(GlobalAmbientLight { brightness: 420.0, ..default() })
            .add_systems(Startup, move |commands: Commands, assets: Stock| {
                set_up(commands, assets, cell);
            })
            .add_systems(PostUpdate, paint);
        if let Some(path) = picture {
            app.add_systems(Update, move |mut frame: Local<u32>, mut commands: Commands| {
                *frame += 1;
                if *frame == WARM {
                    let mut shot = commands.spawn(Screenshot::primary_window());
                    shot.observe(save_to_disk(path.clone())).observe(
                        |_: On<ScreenshotCaptured>, mut exit: MessageWriter<AppExit>| {
                            exit.write(AppExit::Success);
                        },
                    );
                }
            });
        }
    }
}

type Stock<'w> = (ResMut<'w, Assets<Mesh>>, ResMut<'w, Assets<StandardMaterial>>, ResMut<'w, Paint>);

fn matte([red, green, blue]: [u8; 3]) -> StandardMaterial {
    let base_color = Color::srgb_u8(red, green, blue);
    StandardMaterial { base_color, perceptual_roughness: 0.95, reflectance: 0.1, ..default() }
}

fn set_up(mut commands: Commands, (mut meshes, mut materials, mut paint): Stock, cell: f32) {
    paint.cube = meshes.add(Cuboid::default());
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
        DirectionalLight { illuminance: 7_000.0, shadow_maps_enabled: true, ..default() },
        Transform::from_xyz(-0.6, 1.6, 0.9).looking_at(Vec3::ZERO, Vec3::Y),
    ));
    // The panel covers the right half, so the camera looks past the middle.
    let middle = Vec3::new(cell * 1.86, 0.0, cell * 1.0);
    commands.spawn((
        Camera3d::default(),
        Tonemapping::None,
        Transform::from_translation(middle + Vec3::new(0.0, cell * 1.9, cell * 1.7))
            .looking_at(middle, Vec3::Y),
    ));
}

/// One cube of the pool for each thing; those that are left over are hidden.
fn paint(things: Res<Things>, (_, mut materials, mut paint): Stock, mut commands: Commands) {
    let paint = &mut *paint;
    while paint.pool.len() < things.0.len() {
        paint.pool.push(commands.spawn((Mesh3d(paint.cube.clone()), Visibility::default())).id());
    }
    for (index, &cube) in paint.pool.iter().enumerate() {
        let Some(thing) = things.0.get(index) else {
            commands.entity(cube).insert(Visibility::Hidden);
            continue;
        };
        let material = paint.colours.entry(thing.colour);
        let material = material.or_insert_with_key(|colour| materials.add(matte(*colour)));
        let middle = thing.at + Vec3::Y * thing.size.y / 2.0;
        commands.entity(cube).insert((
            Visibility::Inherited,
            MeshMaterial3d(material.clone()),
            Transform::from_translation(middle).with_scale(thing.size),
        ));
    }
}
