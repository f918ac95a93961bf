//! What the windows of the examples have in common: their size, the light, a camera that looks past
//! the panel, matte colours, and a picture of it all.

use std::{collections::HashMap, path::PathBuf};

use bevy::{
    camera::SubCameraView,
    core_pipeline::tonemapping::Tonemapping,
    ecs::system::SystemParam,
    prelude::*,
    render::view::screenshot::{Screenshot, ScreenshotCaptured, save_to_disk},
};
use bevy_seamless::overlay::{Overlay, OverlayPlugin, plugin::bevy_egui::egui::Color32};

/// Size of the window, and how much of it to the right the panel covers.
const WINDOW: UVec2 = UVec2::new(1600, 1000);
const PANEL: u32 = 832;

/// A window, dark, with a light in it.
pub(crate) struct BackdropPlugin {
    pub(crate) title: String,
}

impl Plugin for BackdropPlugin {
    fn build(&self, app: &mut App) {
        let window = Window {
            title: self.title.clone(),
            resolution: WINDOW.into(),
            ..default()
        };
        app.add_plugins(DefaultPlugins.set(WindowPlugin {
            primary_window: Some(window),
            ..default()
        }))
        .init_resource::<Colours>()
        .insert_resource(ClearColor(Color::srgb_u8(0x0e, 0x11, 0x16)))
        .insert_resource(GlobalAmbientLight {
            brightness: 420.0,
            ..default()
        })
        .add_systems(Startup, light);
    }
}

fn light(mut commands: Commands) {
    commands.spawn((
        DirectionalLight {
            illuminance: 7_000.0,
            shadow_maps_enabled: true,
            ..default()
        },
        Transform::from_xyz(-0.6, 1.6, 0.9).looking_at(Vec3::ZERO, Vec3::Y),
    ));
}

/// The panel, and where it is at first.
pub(crate) fn panel() -> OverlayPlugin {
    OverlayPlugin {
        overlay: Overlay {
            open: true,
            position: [(WINDOW.x - PANEL) as f32, 10.0],
            size: [PANEL as f32 - 24.0, WINDOW.y as f32 - 56.0],
            ..default()
        },
        ..default()
    }
}

/// A camera that shows what it looks at in the middle of what the panel leaves free; its angle
/// upwards is in radians.
pub(crate) fn camera(at: Transform, fov: f32) -> impl Bundle {
    let beside_the_panel = SubCameraView {
        full_size: WINDOW,
        offset: Vec2::new(PANEL as f32 / 2.0, 0.0),
        size: WINDOW,
    };
    (
        Camera3d::default(),
        Camera {
            sub_camera_view: Some(beside_the_panel),
            ..default()
        },
        Projection::from(PerspectiveProjection { fov, ..default() }),
        Tonemapping::None,
        at,
    )
}

/// A mesh of this height that stands on its origin.
pub(crate) fn standing(mesh: impl Into<Mesh>, height: f32) -> Mesh {
    mesh.into().translated_by(Vec3::Y * height / 2.0)
}

#[derive(Resource, Default)]
struct Colours(HashMap<Color32, Handle<StandardMaterial>>);

/// Matte materials, one for each colour that was asked for.
#[derive(SystemParam)]
pub(crate) struct Paint<'w> {
    colours: ResMut<'w, Colours>,
    materials: ResMut<'w, Assets<StandardMaterial>>,
}

impl Paint<'_> {
    pub(crate) fn matte(&mut self, colour: Color32) -> MeshMaterial3d<StandardMaterial> {
        let material = self.colours.0.entry(colour).or_insert_with(|| {
            let [red, green, blue, _] = colour.to_array();
            self.materials.add(StandardMaterial {
                base_color: Color::srgb_u8(red, green, blue),
                perceptual_roughness: 0.95,
                reflectance: 0.1,
                ..default()
            })
        });
        MeshMaterial3d(material.clone())
    }
}

/// Whenever the condition holds, a picture of the window is written to the file, and the app ends.
pub(crate) fn take_picture<M>(app: &mut App, file: PathBuf, when: impl SystemCondition<M>) {
    let take = move |mut commands: Commands| {
        commands
            .spawn(Screenshot::primary_window())
            .observe(save_to_disk(file.clone()))
            .observe(
                |_: On<ScreenshotCaptured>, mut exit: MessageWriter<AppExit>| {
                    exit.write(AppExit::Success);
                },
            );
    };
    app.add_systems(Startup, clear_of_the_pointer)
        .add_systems(Update, take.run_if(when));
}

/// A pointer in the middle of the screen would open a tooltip in the picture.
fn clear_of_the_pointer(mut window: Single<&mut Window>) {
    window.set_cursor_position(Some(Vec2::new(4.0, WINDOW.y as f32 - 4.0)));
}
