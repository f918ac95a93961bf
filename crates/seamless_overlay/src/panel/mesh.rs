//! Nodes, the map, and handovers that are under way or have just ended.

use egui::{RichText, Ui, vec2};

use crate::{
    model::{MeshModel, NodeModel, OverlayModel, RecentHandover, RootModel},
    panel::{OverlayState, figure, map},
    table::{self, Cells, Column, Table},
    theme, units,
};

/// Side of the map in points, and least width of what stands beside it.
const MAP: f32 = 250.0;
const BESIDE: f32 = 370.0;
/// Handovers under way that are named.
const UNDER_WAY: usize = 5;

static NODES: [Column<NodeModel>; 5] = [
    Column {
        title: "node",
        hint: "number and incarnation",
        width: 80.0,
        cells: Cells::Words(|node| node.node.to_string()),
    },
    Column {
        title: "state",
        hint: "whether it is going down",
        width: 66.0,
        cells: Cells::Words(|node| if node.draining { "draining" } else { "running" }.to_owned()),
    },
    Column {
        title: "cells",
        hint: "cells that it owns",
        width: 50.0,
        cells: Cells::Numbers(
            |node| f64::from(node.cells),
            |node| units::count(node.cells.into()),
        ),
    },
    Column {
        title: "players",
        hint: "players that it simulates, by its own last word",
        width: 60.0,
        cells: Cells::Numbers(
            |node| f64::from(node.players),
            |node| units::count(node.players.into()),
        ),
    },
    Column {
        title: "tick takes",
        hint: "what one of its ticks takes, by its own last word",
        width: 66.0,
        cells: Cells::Numbers(
            |node| node.tick.as_secs_f64(),
            |node| {
                if node.tick.is_zero() {
                    units::NOTHING.to_owned()
                } else {
                    units::milliseconds(node.tick)
                }
            },
        ),
    },
];

static RECENT: [Column<RecentHandover>; 4] = [
    Column {
        title: "handover",
        hint: "root, term and attempt, as in the logs of all nodes",
        width: 120.0,
        cells: Cells::Words(|recent| recent.handover.to_string()),
    },
    Column {
        title: "way",
        hint: "to or from which node",
        width: 62.0,
        cells: Cells::Words(|recent| {
            let way = if recent.source { "to" } else { "from" };
            format!("{way} {}", recent.with.id)
        }),
    },
    Column {
        title: "outcome",
        hint: "how it ended",
        width: 124.0,
        cells: Cells::Words(|recent| recent.outcome.clone()),
    },
    Column {
        title: "decided in",
        hint: "from the freeze, or from the COMMIT's arrival, to the end",
        width: 62.0,
        cells: Cells::Numbers(
            |recent| recent.frozen.map_or(f64::NAN, |time| time.as_secs_f64()),
            |recent| {
                recent
                    .frozen
                    .map_or_else(|| units::NOTHING.to_owned(), units::milliseconds)
            },
        ),
    },
];

pub(super) fn digest(model: &OverlayModel) -> String {
    let Some(mesh) = &model.mesh else {
        return String::new();
    };
    format!(
        "{} nodes, {} cells, {} roots",
        mesh.nodes.len(),
        units::count(mesh.cells.len() as u64),
        units::count(mesh.roots.len() as u64)
    )
}

pub(super) fn show(ui: &mut Ui, model: &OverlayModel, state: &mut OverlayState) {
    let Some(mesh) = &model.mesh else {
        return table::nothing(ui, "this app is not a node of a mesh");
    };
    let wide = ui.available_width();
    let side = MAP.min(wide);
    if wide < MAP + BESIDE {
        map::show(ui, mesh, side);
        return beside(ui, mesh, state);
    }
    ui.horizontal_top(|ui| {
        map::show(ui, mesh, side);
        ui.vertical(|ui| beside(ui, mesh, state));
    });
}

fn beside(ui: &mut Ui, mesh: &MeshModel, state: &mut OverlayState) {
    ui.spacing_mut().item_spacing = vec2(10.0, 3.0);
    ui.horizontal_wrapped(|ui| {
        let name = mesh
            .node
            .map_or_else(|| "not joined yet".to_owned(), |node| node.to_string());
        figure(
            ui,
            "node",
            &name,
            mesh.node.map(|node| theme::node(node.id)),
        );
        let (word, colour) = match (mesh.fenced, mesh.healthy) {
            (true, _) => ("fenced", theme::BAD),
            (false, false) => ("directory slow", theme::WARNING),
            (false, true) => ("healthy", theme::GOOD),
        };
        figure(ui, "state", word, Some(colour));
        figure(
            ui,
            "directory p99",
            &units::milliseconds(mesh.directory_p99),
            None,
        );
    });
    if mesh.nodes.is_empty() {
        table::nothing(ui, "no node is known yet");
    } else {
        let table = Table {
            name: "nodes",
            columns: &NODES,
            rows: &mesh.nodes,
            height: 4,
            swatch: Some(|node| theme::node(node.node.id)),
            details: None,
        };
        table.show(ui, &mut state.nodes);
    }
    under_way(ui, mesh);
    if mesh.recent.is_empty() {
        table::nothing(ui, "no handover has ended yet");
    } else {
        let table = Table {
            name: "handovers",
            columns: &RECENT,
            rows: &mesh.recent,
            height: 4,
            swatch: Some(|recent| {
                if recent.handed_over {
                    theme::GOOD
                } else {
                    theme::WARNING
                }
            }),
            details: None,
        };
        table.show(ui, &mut state.recent);
    }
}

fn under_way(ui: &mut Ui, mesh: &MeshModel) {
    let crossing: Vec<&RootModel> = mesh
        .roots
        .iter()
        .filter(|root| !root.crossing.word().is_empty())
        .collect();
    if crossing.is_empty() {
        return table::nothing(ui, "nobody is near a border");
    }
    ui.horizontal_wrapped(|ui| {
        for root in crossing.iter().take(UNDER_WAY) {
            figure(
                ui,
                &who(root),
                &crossing_text(root),
                Some(theme::crossing(&root.crossing)),
            );
        }
        if let Some(more) = crossing
            .len()
            .checked_sub(UNDER_WAY)
            .filter(|more| *more > 0)
        {
            ui.label(RichText::new(format!("and {more} more")).weak());
        }
    });
}

/// Whose a root is, or what.
pub(super) fn who(root: &RootModel) -> String {
    root.player
        .map_or_else(|| root.name.to_string(), |player| player.to_string())
}

/// How far a root's crossing has come, and where to.
pub(super) fn crossing_text(root: &RootModel) -> String {
    match root.crossing.target() {
        Some(cell) => format!("{} \u{2192} {cell}", root.crossing.word()),
        None => root.crossing.word().to_owned(),
    }
}
