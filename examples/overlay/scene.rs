//! What the window shows beside the panel: boxes and players on a ground of four cells, and a
//! picture of it all.

use std::{collections::HashMap, path::PathBuf};

use bevy::{ecs::query::Allow, prelude::*};
use bevy_seamless::{
    overlay::{plugin::bevy_egui::egui::Color32, theme},
    prelude::{Authority, Frozen, Hosted, PeerId},
    wire::{Holder, NodeId},
};

use crate::{
    backdrop::{self, BackdropPlugin, Paint, standing},
    game::{Body, Position},
};

/// Frames until pipelines are compiled and the panel has found its size.
const WARM: u32 = 90;

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
    colour: Color32,
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
                colour,
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
        let title = "bevy_seamless".into();
        let cell = self.cell;
        app.add_plugins(BackdropPlugin { title })
            .init_resource::<Things>()
            .init_resource::<Stock>()
            .add_systems(Startup, move |commands: Commands, kit: Kit| {
                set_up(commands, kit, cell);
            })
            .add_systems(PostUpdate, paint);
        if let Some(file) = self.picture.clone() {
            let warm = |mut frame: Local<u32>| {
                *frame += 1;
                *frame == WARM
            };
            backdrop::take_picture(app, file, warm);
        }
    }
}

/// Shapes, and the entities that show them.
#[derive(Resource, Default)]
struct Stock {
    shapes: HashMap<Shape, Handle<Mesh>>,
    pool: Vec<Entity>,
}

type Kit<'w> = (ResMut<'w, Assets<Mesh>>, ResMut<'w, Stock>, Paint<'w>);

fn set_up(mut commands: Commands, (mut meshes, mut stock, mut paint): Kit, cell: f32) {
    let shapes = [
        (Shape::Body, standing(Capsule3d::new(0.8, 1.6), 3.2)),
        (Shape::Crate, standing(Cuboid::from_length(1.9), 1.9)),
        (Shape::Box, standing(Cuboid::from_length(1.0), 1.0)),
    ];
    stock.shapes = shapes
        .into_iter()
        .map(|(shape, mesh)| (shape, meshes.add(mesh)))
        .collect();
    let ground = meshes.add(Plane3d::default().mesh().size(cell - 0.4, cell - 0.4));
    for id in 0..4u32 {
        let [red, green, blue, _] = theme::node(NodeId(id)).to_array().map(|part| part / 5 + 8);
        let at = Vec3::new((id % 2) as f32 + 0.5, 0.0, (id / 2) as f32 + 0.5) * cell;
        commands.spawn((
            Mesh3d(ground.clone()),
            paint.matte(Color32::from_rgb(red, green, blue)),
            Transform::from_translation(at),
        ));
    }
    let middle = Vec3::new(cell, 0.0, cell);
    let above = Transform::from_translation(middle + Vec3::new(0.0, 4.6, 2.7) * cell);
    commands.spawn(backdrop::camera(above.looking_at(middle, Vec3::Y), 0.555));
}

/// One entity of the pool for each thing; those that are left over are hidden.
fn paint(
    things: Res<Things>,
    (mut stock, mut paint): (ResMut<Stock>, Paint),
    mut commands: Commands,
) {
    while stock.pool.len() < things.all.len() {
        stock.pool.push(commands.spawn(Visibility::default()).id());
    }
    for (index, &entity) in stock.pool.iter().enumerate() {
        let Some(thing) = things.all.get(index) else {
            commands.entity(entity).insert(Visibility::Hidden);
            continue;
        };
        commands.entity(entity).insert((
            Visibility::Inherited,
            Mesh3d(stock.shapes[&thing.shape].clone()),
            paint.matte(thing.colour),
            Transform::from_translation(thing.at),
        ));
    }
}
