//! What each component costs.

use egui::Ui;

use crate::{
    model::{ComponentModel, OverlayModel},
    table::{self, Cells, Column, Sort, Table},
    units,
};

/// Rows that are seen at once.
const HEIGHT: usize = 6;
/// The column with the shares.
pub(super) const SHARE: usize = 4;

static COLUMNS: [Column<ComponentModel>; 5] = [
    Column {
        title: "component",
        hint: "type, without its modules; rest on a row for all of it",
        width: 200.0,
        cells: Cells::Words(ComponentModel::short),
    },
    Column {
        title: "absolute",
        hint: "bytes of values coded against nothing; a value that many clients share counts once",
        width: 90.0,
        cells: Cells::Numbers(
            |component| component.absolute_bits as f64,
            |component| units::bytes((component.absolute_bits / 8) as f64),
        ),
    },
    Column {
        title: "delta",
        hint: "bytes of values coded against a baseline",
        width: 90.0,
        cells: Cells::Numbers(
            |component| component.delta_bits as f64,
            |component| units::bytes((component.delta_bits / 8) as f64),
        ),
    },
    Column {
        title: "both",
        hint: "bytes of all values since the start",
        width: 90.0,
        cells: Cells::Numbers(total, |component| {
            units::bytes((total(component) / 8.0).floor())
        }),
    },
    Column {
        title: "share",
        hint: "part of the bytes of all components",
        width: 120.0,
        cells: Cells::Shares(|component| component.share),
    },
];

fn total(component: &ComponentModel) -> f64 {
    component.absolute_bits as f64 + component.delta_bits as f64
}

pub(super) fn digest(model: &OverlayModel) -> String {
    match model.components.len() {
        0 => String::new(),
        all => format!("{all} registered, encoded since the start"),
    }
}

pub(super) fn show(ui: &mut Ui, model: &OverlayModel, sort: &mut Sort) {
    if model.components.is_empty() {
        return table::nothing(ui, "no component is registered, or no tick has run yet");
    }
    let table = Table {
        name: "components",
        columns: &COLUMNS,
        rows: &model.components,
        height: HEIGHT,
        swatch: None,
        details: Some(|ui, component| {
            ui.monospace(&component.path);
        }),
    };
    table.show(ui, sort);
}
