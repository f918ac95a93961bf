//! The ground from above: cells in the colours of their owners, roots as dots, crossings as
//! arrows. What this node owns and hosts is filled, the rest is hollow.

use egui::{
    Align2, Color32, Mesh, Painter, Pos2, Rect, Sense, Shape, Stroke, StrokeKind, Ui, Vec2, vec2,
};
use seamless_wire::CellId;

use crate::{
    model::{CellModel, GridModel, MeshModel, RootModel},
    panel::{
        mesh::{crossing_text, who},
        region,
    },
    table::{self, named},
    theme,
};

/// Cells that are painted; a mesh has not nearly as many.
const CELLS: usize = 1 << 16;
/// Dots that are painted.
const DOTS: usize = 2_000;
/// Dots with their names; more would cover the map.
const NAMED: usize = 24;
/// From this size of a cell on, in points: its outline, its label.
const OUTLINED: f32 = 8.0;
const LABELLED: f32 = 44.0;
/// Radius of a dot in points.
const DOT: f32 = 4.5;

/// Shows the map, not larger than `side` points each way.
pub(super) fn show(ui: &mut Ui, mesh: &MeshModel, side: f32) {
    ui.vertical(|ui| {
        region(ui, "Cell map");
        let Some(scale) = Scale::fit(&mesh.grid, side) else {
            return table::nothing(ui, "the grid of cells has no size");
        };
        let (place, response) = ui.allocate_exact_size(scale.size, Sense::hover());
        let scale = Scale { place, ..scale };
        let painter = ui.painter_at(place);
        painter.rect_filled(place, 4.0, ui.visuals().extreme_bg_color);
        ground(ui, &painter, mesh, &scale);
        let named = mesh.roots.len() <= NAMED;
        for root in mesh.roots.iter().take(DOTS) {
            dot(ui, &painter, mesh, &scale, (root, named));
        }
        if let Some(at) = response.hover_pos() {
            let cell = scale.cell_under(at);
            let owner = mesh.cells.iter().find(|known| Some(known.cell) == cell);
            response.on_hover_text(match (cell, owner) {
                (Some(cell), Some(owner)) => {
                    format!("{cell}: {} since {}", owner.owner, owner.term)
                }
                (Some(cell), None) => format!("{cell}: nobody's"),
                (None, _) => "outside of the world".to_owned(),
            });
        }
        footnote(ui, mesh);
    });
}

/// From metres on the ground to points on the screen.
struct Scale {
    grid: GridModel,
    place: Rect,
    size: Vec2,
    /// A cell in points.
    pitch: Vec2,
}

impl Scale {
    fn fit(grid: &GridModel, side: f32) -> Option<Self> {
        let metres = vec2(
            grid.cell[0] * grid.columns as f32,
            grid.cell[1] * grid.rows as f32,
        );
        let sound = metres.is_finite() && metres.min_elem() > 0.0;
        let placed = grid.origin.iter().all(|metre| metre.is_finite());
        if !sound || !placed || !side.is_finite() {
            return None;
        }
        // A world much longer than wide is squeezed rather than drawn as a line.
        let aspect = (metres.x / metres.y).clamp(0.25, 4.0);
        let size = if aspect >= 1.0 {
            vec2(side, side / aspect)
        } else {
            vec2(side * aspect, side)
        };
        let pitch = vec2(size.x / grid.columns as f32, size.y / grid.rows as f32);
        Some(Self {
            grid: *grid,
            place: Rect::from_min_size(Pos2::ZERO, size),
            size,
            pitch,
        })
    }

    /// Where a place in metres is; clamped to a little outside of the map.
    fn at(&self, metres: [f32; 2]) -> Option<Pos2> {
        let cells = vec2(
            (metres[0] - self.grid.origin[0]) / self.grid.cell[0],
            (metres[1] - self.grid.origin[1]) / self.grid.cell[1],
        );
        let at = self.place.min + cells * self.pitch;
        (!at.any_nan()).then(|| self.place.shrink(3.0).clamp(at))
    }

    fn cell(&self, cell: CellId) -> Rect {
        let columns = self.grid.columns.max(1);
        let (column, row) = (cell.0 % columns, cell.0 / columns);
        let corner = self.place.min + vec2(column as f32, row as f32) * self.pitch;
        Rect::from_min_size(corner, self.pitch)
    }

    fn cell_under(&self, at: Pos2) -> Option<CellId> {
        let cells = (at - self.place.min) / self.pitch;
        let (column, row) = (cells.x.floor(), cells.y.floor());
        let inside = column >= 0.0
            && row >= 0.0
            && column < self.grid.columns as f32
            && row < self.grid.rows as f32;
        let index = (row as u32)
            .checked_mul(self.grid.columns)?
            .checked_add(column as u32)?;
        inside.then_some(CellId(index))
    }
}

fn ground(ui: &Ui, painter: &Painter, mesh: &MeshModel, scale: &Scale) {
    let mut fills = Mesh::default();
    for cell in mesh.cells.iter().take(CELLS) {
        let ours = mesh.owns(cell);
        let fill = theme::node(cell.owner.id).gamma_multiply(if ours { 0.42 } else { 0.10 });
        fills.add_colored_rect(scale.cell(cell.cell), fill);
    }
    painter.add(Shape::mesh(fills));
    let least = scale.pitch.min_elem();
    if least < OUTLINED {
        return;
    }
    for cell in mesh.cells.iter().take(CELLS) {
        let colour = theme::node(cell.owner.id);
        let stroke = if mesh.owns(cell) {
            Stroke::new(1.5, colour)
        } else {
            Stroke::new(1.0, colour.gamma_multiply(0.6))
        };
        painter.rect_stroke(
            scale.cell(cell.cell).shrink(1.5),
            3.0,
            stroke,
            StrokeKind::Inside,
        );
    }
    if least < LABELLED {
        return;
    }
    for cell in mesh.cells.iter().take(CELLS) {
        cell_label(ui, painter, cell, scale.cell(cell.cell));
    }
}

fn cell_label(ui: &Ui, painter: &Painter, cell: &CellModel, place: Rect) {
    let text = format!("{}  {} {}", cell.cell, cell.owner.id, cell.term);
    let at = place.left_top() + vec2(8.0, 6.0);
    theme::label(
        painter,
        at,
        Align2::LEFT_TOP,
        &text,
        theme::node(cell.owner.id),
    );
    let name = format!("{}: {} since {}", cell.cell, cell.owner, cell.term);
    named(ui, place, ui.unique_id().with(("cell", cell.cell.0)), &name);
}

fn dot(
    ui: &Ui,
    painter: &Painter,
    mesh: &MeshModel,
    scale: &Scale,
    (root, is_named): (&RootModel, bool),
) {
    let Some(at) = scale.at(root.at) else { return };
    let colour = root
        .host
        .map_or(theme::AVAILABLE, |host| theme::node(host.id));
    let phase = theme::crossing(&root.crossing);
    if let Some(cell) = root.crossing.target() {
        let target = scale.cell(cell);
        // Well into the cell, but not all the way to its middle.
        let tip = target.shrink2(target.size() * 0.28).clamp(at);
        arrow(painter, at, tip, phase);
        let text = root.crossing.word();
        theme::label(painter, tip, away_from(at, tip), text, phase);
    }
    let ground = ui.visuals().extreme_bg_color;
    let (fill, stroke) = if root.host.is_some() && root.host == mesh.node {
        (colour, theme::outline(ui.visuals().dark_mode))
    } else {
        (ground, Stroke::new(1.8, colour))
    };
    painter.circle(at, DOT, fill, stroke);
    if is_named {
        let text = who(root);
        theme::label(
            painter,
            at + vec2(0.0, -DOT - 1.0),
            Align2::CENTER_BOTTOM,
            &text,
            Color32::WHITE,
        );
        let host = root
            .host
            .map_or_else(|| "nobody".to_owned(), |host| host.id.to_string());
        let mut name = format!("{text} at {host}");
        if !root.crossing.word().is_empty() {
            name = format!("{name}, {}", crossing_text(root));
        }
        let place = Rect::from_center_size(at, Vec2::splat(DOT * 2.0));
        named(
            ui,
            place,
            ui.unique_id().with(("root", root.name.to_bits())),
            &name,
        );
    }
}

/// The side of a label that keeps it off the arrow that ends at it.
fn away_from(from: Pos2, tip: Pos2) -> Align2 {
    let way = tip - from;
    match (way.x.abs() > way.y.abs(), way.x > 0.0, way.y > 0.0) {
        (true, true, _) => Align2::LEFT_CENTER,
        (true, false, _) => Align2::RIGHT_CENTER,
        (false, _, true) => Align2::CENTER_TOP,
        (false, _, false) => Align2::CENTER_BOTTOM,
    }
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
    painter.add(Shape::convex_polygon(
        vec![tip, neck + across, neck - across],
        colour,
        Stroke::NONE,
    ));
}

/// What the map does not show.
fn footnote(ui: &mut Ui, mesh: &MeshModel) {
    let lost = |metre: f32| metre.is_nan();
    let placeless = mesh
        .roots
        .iter()
        .filter(|root| root.at.iter().any(|m| lost(*m)))
        .count();
    let mut notes = Vec::new();
    if mesh.cells.is_empty() {
        notes.push("no cell is owned yet".to_owned());
    }
    if placeless > 0 {
        notes.push(format!("{placeless} roots without a place"));
    }
    if let Some(more) = mesh.roots.len().checked_sub(DOTS).filter(|more| *more > 0) {
        notes.push(format!("and {more} more roots"));
    }
    if let Some(more) = mesh.cells.len().checked_sub(CELLS).filter(|more| *more > 0) {
        notes.push(format!("and {more} more cells"));
    }
    for note in notes {
        table::nothing(ui, &note);
    }
}
