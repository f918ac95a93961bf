//! Dots, arrows and their names.

use egui::{Align2, Color32, Painter, Pos2, Rect, Shape, Stroke, Ui, Vec2, vec2};

use super::scale::Scale;
use crate::{
    model::{MeshModel, RootModel},
    panel::mesh::{crossing_text, who},
    table::named,
    theme,
};

/// Dots that are painted.
pub(super) const DOTS: usize = 2_000;
/// Roots with names in the accessibility tree, and players with names on the map.
const NAMED: usize = 64;
/// Radius of a player's dot in points, and of another root's.
const PLAYER: f32 = 4.5;
const OTHER: f32 = 2.8;

/// Paints all of them: dots over arrows, names over both.
pub(super) fn show(ui: &Ui, painter: &Painter, mesh: &MeshModel, scale: &Scale) {
    let mut written = Written::default();
    let placed = || {
        let roots = mesh.roots.iter().take(DOTS);
        roots.filter_map(|root| Some((root, scale.at(root.at)?)))
    };
    for (root, at) in placed() {
        crossing(painter, scale, (root, at), &mut written);
    }
    for (root, at) in placed() {
        dot(ui, painter, mesh, (root, at));
    }
    if mesh.roots.len() > NAMED {
        return;
    }
    for (root, at) in placed() {
        if root.player.is_some() {
            written.beside(painter, at, &who(root));
        }
        let place = Rect::from_center_size(at, Vec2::splat(PLAYER * 2.0));
        named(
            ui,
            place,
            ui.unique_id().with(("root", root.name.to_bits())),
            &name(root),
        );
    }
}

fn name(root: &RootModel) -> String {
    let host = root
        .host
        .map_or_else(|| "nobody".to_owned(), |host| host.id.to_string());
    let name = format!("{} at {host}", who(root));
    if root.crossing.word().is_empty() {
        return name;
    }
    format!("{name}, {}", crossing_text(root))
}

/// Filled where it is hosted by the node that the map is of, hollow elsewhere.
fn dot(ui: &Ui, painter: &Painter, mesh: &MeshModel, (root, at): (&RootModel, Pos2)) {
    let colour = root
        .host
        .map_or(theme::AVAILABLE, |host| theme::node(host.id));
    let radius = if root.player.is_some() { PLAYER } else { OTHER };
    if root.host.is_some() && root.host == mesh.node {
        painter.circle(at, radius, colour, theme::outline(ui.visuals().dark_mode));
    } else {
        let ground = ui.visuals().extreme_bg_color;
        painter.circle(at, radius, ground, Stroke::new(1.6, colour));
    }
}

/// An arrow into the cell that a root is on its way to, with the phase at its tip.
fn crossing(
    painter: &Painter,
    scale: &Scale,
    (root, at): (&RootModel, Pos2),
    written: &mut Written,
) {
    let Some(cell) = root.crossing.target() else {
        return;
    };
    let target = scale.cell(cell);
    let colour = theme::crossing(&root.crossing);
    // Well into the cell, but not all the way to its middle.
    let tip = target.shrink2(target.size() * 0.28).clamp(at);
    arrow(painter, at, tip, colour);
    let way = tip - at;
    let anchor = match (way.x.abs() > way.y.abs(), way.x > 0.0, way.y > 0.0) {
        (true, true, _) => Align2::LEFT_CENTER,
        (true, false, _) => Align2::RIGHT_CENTER,
        (false, _, true) => Align2::CENTER_TOP,
        (false, _, false) => Align2::CENTER_BOTTOM,
    };
    written.at(
        painter,
        tip + way.normalized() * 3.0,
        anchor,
        (root.crossing.word(), colour),
    );
}

fn arrow(painter: &Painter, from: Pos2, tip: Pos2, colour: Color32) {
    let way = tip - from;
    if way.length() < 1.0 {
        return;
    }
    let ahead = way.normalized();
    let across = ahead.rot90() * 3.5;
    let neck = tip - ahead * 7.0;
    painter.line_segment([from, neck], Stroke::new(1.6, colour));
    let head = vec![tip, neck + across, neck - across];
    painter.add(Shape::convex_polygon(head, colour, Stroke::NONE));
}

/// Where something is written already, so that names do not cover each other.
#[derive(Default)]
struct Written(Vec<Rect>);

impl Written {
    /// Writes at a place, if that is free.
    fn at(
        &mut self,
        painter: &Painter,
        at: Pos2,
        anchor: Align2,
        (text, colour): (&str, Color32),
    ) -> bool {
        let place = theme::label_place(painter, at, anchor, text);
        let free = self.0.iter().all(|taken| !taken.intersects(place));
        if free {
            theme::label(painter, at, anchor, text, colour);
            self.0.push(place);
        }
        free
    }

    /// Writes at the first side of a dot that is free.
    fn beside(&mut self, painter: &Painter, dot: Pos2, text: &str) {
        let off = PLAYER + 4.0;
        let sides = [
            (vec2(0.0, -off), Align2::CENTER_BOTTOM),
            (vec2(off, 0.0), Align2::LEFT_CENTER),
            (vec2(-off, 0.0), Align2::RIGHT_CENTER),
            (vec2(0.0, off), Align2::CENTER_TOP),
        ];
        for (offset, anchor) in sides {
            if self.at(painter, dot + offset, anchor, (text, Color32::WHITE)) {
                return;
            }
        }
    }
}
