//! The ground from above: cells in the colours of their owners, roots as dots, crossings as
//! arrows. What this node owns and hosts is filled, the rest is hollow.

mod roots;
mod scale;

use egui::{Align2, Mesh, Painter, Rect, Sense, Shape, Stroke, StrokeKind, Ui, vec2};

use crate::{
    model::{CellModel, MeshModel},
    panel::region,
    table::{self, named},
    theme,
};
use scale::Scale;

/// Cells that are painted; a mesh has not nearly as many.
const CELLS: usize = 1 << 16;
/// From this size of a cell on, in points: its outline, its label.
const OUTLINED: f32 = 8.0;
const LABELLED: f32 = 44.0;

/// Shows the map, not larger than `side` points each way.
pub(super) fn show(ui: &mut Ui, mesh: &MeshModel, side: f32) {
    ui.vertical(|ui| {
        match Scale::fit(&mesh.grid, side) {
            Some(scale) => world(ui, mesh, &scale),
            None => table::nothing(ui, "the grid of cells has no size"),
        }
        region(ui, "Cell map");
    });
}

fn world(ui: &mut Ui, mesh: &MeshModel, scale: &Scale) {
    let (place, response) = ui.allocate_exact_size(scale.size, Sense::hover());
    let scale = scale.on(place);
    let painter = ui.painter_at(place);
    painter.rect_filled(place, 4.0, ui.visuals().extreme_bg_color);
    ground(ui, &painter, mesh, &scale);
    roots::show(ui, &painter, mesh, &scale);
    if let Some(at) = response.hover_pos() {
        let cell = scale.cell_under(at);
        let owner = mesh.cells.iter().find(|known| Some(known.cell) == cell);
        response.on_hover_text(match (cell, owner) {
            (Some(cell), Some(owner)) => format!("{cell}: {} since {}", owner.owner, owner.term),
            (Some(cell), None) => format!("{cell}: nobody's"),
            (None, _) => "outside of the world".to_owned(),
        });
    }
    footnote(ui, mesh);
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
    if let Some(more) = mesh
        .roots
        .len()
        .checked_sub(roots::DOTS)
        .filter(|more| *more > 0)
    {
        notes.push(format!("and {more} more roots"));
    }
    if let Some(more) = mesh.cells.len().checked_sub(CELLS).filter(|more| *more > 0) {
        notes.push(format!("and {more} more cells"));
    }
    for note in notes {
        table::nothing(ui, &note);
    }
}
