//! A panel on a screen that tests read by its accessibility tree.

#![allow(dead_code, unreachable_pub, reason = "each test uses some of it")]

use bevy::prelude::*;
use egui_kittest::{
    Harness, Node,
    kittest::{NodeT, Queryable},
};
use seamless_overlay::{OverlayModel, OverlayState, collect, ui};
use seamless_replication::ReplicateAppExt;
use serde::{Deserialize, Serialize};

/// Changes all the time.
#[derive(Component, TypePath, Serialize, Deserialize, Clone, Copy, PartialEq, Debug, Default)]
pub struct Place(pub Vec3);

/// Has a length of its own.
#[derive(Component, TypePath, Serialize, Deserialize, Clone, PartialEq, Debug)]
pub struct Label(pub String);

/// Registers both.
pub fn register(app: &mut App) {
    app.replicate::<Place>();
    app.replicate::<Label>();
}

/// What `collect` makes of a world.
pub fn collected(world: &mut World) -> OverlayModel {
    collect::collect(world);
    world.resource::<OverlayModel>().clone()
}

/// Width of the panel in points.
pub const WIDTH: f32 = 820.0;

/// The panel with everything in sight.
pub fn draw(model: &OverlayModel) -> Harness<'static> {
    let (model, mut state) = (model.clone(), OverlayState::default());
    Harness::builder()
        .with_size([WIDTH, 2400.0])
        .build_ui(move |screen| ui(screen, &model, &mut state))
}

/// The part of the panel with this name.
pub fn region<'a>(harness: &'a Harness<'static>, name: &'a str) -> Node<'a> {
    harness.get_by_role_and_label(egui::accesskit::Role::Region, name)
}

/// Everything that a part of the panel says, in order.
pub fn says(node: &Node<'_>) -> Vec<String> {
    node.children_recursive()
        .filter_map(|node| {
            let node = node.accesskit_node();
            node.label().or_else(|| node.value())
        })
        .collect()
}

/// Asserts that a part of the panel says this, to the letter.
#[track_caller]
pub fn assert_says(node: &Node<'_>, want: &str) {
    let said = says(node);
    assert!(
        said.iter().any(|text| text == want),
        "not {want:?}, but {said:#?}"
    );
}

/// The cells of the row of a table with this name, as `title: text`.
#[track_caller]
pub fn row(node: &Node<'_>, name: &str) -> Vec<String> {
    let mut rows = node.query_all_by_role_and_label(egui::accesskit::Role::Row, name);
    let row = rows
        .next()
        .unwrap_or_else(|| panic!("no row {name:?} in {:#?}", says(node)));
    let cells = says(&row);
    assert!(rows.next().is_none(), "two rows {name:?}");
    cells
}
