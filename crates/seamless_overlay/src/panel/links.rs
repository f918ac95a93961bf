//! One row for each link.

use egui::{Grid, Ui};

use crate::{
    model::{LinkModel, LinkUse, OverlayModel},
    table::{self, Cells, Column, Sort, Table},
    theme, units,
};

/// Rows that are seen at once.
const HEIGHT: usize = 10;

static COLUMNS: [Column<LinkModel>; 14] = [
    Column {
        title: "other end",
        hint: "the client or the server at the other end of the link",
        width: 66.0,
        cells: Cells::Words(LinkModel::other_end),
    },
    Column {
        title: "use",
        hint: "what the link is for: a player plays over it, or it only watches until a handover",
        width: 62.0,
        cells: Cells::Words(|link| link.used.word().to_owned()),
    },
    Column {
        title: "in",
        hint: "bytes received per second, without UDP and IP headers",
        width: 70.0,
        cells: Cells::Numbers(
            |link| link.bytes_per_second.received,
            |link| units::rate(link.bytes_per_second.received),
        ),
    },
    Column {
        title: "out",
        hint: "bytes sent per second, without UDP and IP headers",
        width: 70.0,
        cells: Cells::Numbers(
            |link| link.bytes_per_second.sent,
            |link| units::rate(link.bytes_per_second.sent),
        ),
    },
    Column {
        title: "packets/s",
        hint: "packets received / sent per second",
        width: 66.0,
        cells: Cells::Numbers(
            |link| link.packets_per_second.received + link.packets_per_second.sent,
            packets,
        ),
    },
    Column {
        title: "RTT",
        hint: "round-trip time, including the tick an answer waits for",
        width: 52.0,
        cells: Cells::Numbers(
            |link| link.rtt.as_secs_f64(),
            |link| units::milliseconds(link.rtt),
        ),
    },
    Column {
        title: "loss",
        hint: "share of our datagrams that were lost",
        width: 48.0,
        cells: Cells::Numbers(|link| link.loss, |link| units::percent(link.loss)),
    },
    Column {
        title: "sees",
        hint: "entities that the other end sees of us",
        width: 42.0,
        cells: Cells::Numbers(
            |link| link.visible as f64,
            |link| units::count(link.visible),
        ),
    },
    Column {
        title: "unsettled",
        hint: "entities that changed, or were lost, and are not acknowledged yet",
        width: 56.0,
        cells: Cells::Numbers(
            |link| link.unsettled as f64,
            |link| units::count(link.unsettled),
        ),
    },
    Column {
        title: "records",
        hint: "records sent since the link began",
        width: 52.0,
        cells: Cells::Numbers(
            |link| link.records as f64,
            |link| units::count(link.records),
        ),
    },
    Column {
        title: "absolute",
        hint: "records that were coded against nothing: joins, and entities that came into sight",
        width: 52.0,
        cells: Cells::Numbers(
            |link| link.absolute as f64,
            |link| units::count(link.absolute),
        ),
    },
    Column {
        title: "resent",
        hint: "records that were sent again after a loss, at their newest values",
        width: 46.0,
        cells: Cells::Numbers(|link| link.resent as f64, |link| units::count(link.resent)),
    },
    Column {
        title: "deferred",
        hint: "entity-ticks that did not fit the budget",
        width: 52.0,
        cells: Cells::Numbers(
            |link| link.deferred as f64,
            |link| units::count(link.deferred),
        ),
    },
    Column {
        title: "refused",
        hint: "records and datagrams that came and were not used; rest on a row to see why",
        width: 50.0,
        cells: Cells::Numbers(
            |link| link.refused.total() as f64,
            |link| units::count(link.refused.total()),
        ),
    },
];

fn packets(link: &LinkModel) -> String {
    let both = link.packets_per_second;
    format!(
        "{}/{}",
        units::per_second(both.received.round()),
        units::per_second(both.sent.round())
    )
}

pub(super) fn digest(model: &OverlayModel) -> String {
    let watching = model
        .links
        .iter()
        .filter(|link| link.used == LinkUse::Watching)
        .count();
    match (model.links.len(), watching) {
        (0, _) => String::new(),
        (all, 0) => format!("{all}"),
        (all, watching) => format!("{all}, {watching} of them watching"),
    }
}

pub(super) fn show(ui: &mut Ui, model: &OverlayModel, sort: &mut Sort) {
    if model.links.is_empty() {
        return table::nothing(ui, "no link yet");
    }
    let table = Table {
        name: "links",
        columns: &COLUMNS,
        rows: &model.links,
        height: HEIGHT,
        swatch: Some(|link| match (link.to_server, link.node, link.peer) {
            (true, Some(node), _) => theme::node(node.id),
            (false, _, Some(peer)) => theme::player(peer),
            _ => theme::AVAILABLE,
        }),
        details: Some(details),
    };
    table.show(ui, sort);
}

fn details(ui: &mut Ui, link: &LinkModel) {
    ui.strong(format!("{} ({})", link.other_end(), link.name));
    ui.weak("came and was not used");
    Grid::new("refused").num_columns(2).show(ui, |ui| {
        for (kind, count) in link.refused.all() {
            ui.label(kind);
            ui.monospace(units::count(count));
            ui.end_row();
        }
    });
}
