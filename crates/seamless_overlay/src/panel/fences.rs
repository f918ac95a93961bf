//! Entities one by one: who may write each, since which epoch, and old names that still count.

use egui::{Color32, Ui};
use seamless_wire::Holder;

use crate::{
    model::{AuthorityModel, FenceModel, RedirectModel},
    table::{Cells, Column, Sort, Table},
    theme, units,
};

/// Rows that are seen at once.
const HEIGHT: usize = 6;

static FENCES: [Column<FenceModel>; 5] = [
    Column {
        title: "entity",
        hint: "its name, the same everywhere",
        width: 130.0,
        cells: Cells::Words(name),
    },
    Column {
        title: "holder",
        hint: "who may write it",
        width: 110.0,
        cells: Cells::Words(holder),
    },
    Column {
        title: "epoch",
        hint: "term and number: rises with every change of host or holder",
        width: 110.0,
        cells: Cells::Numbers(
            |fence| f64::from(fence.epoch.seq),
            |fence| fence.epoch.to_string(),
        ),
    },
    Column {
        title: "since",
        hint: "when the tenure began: writes of older epochs are dropped",
        width: 110.0,
        cells: Cells::Numbers(
            |fence| f64::from(fence.since.seq),
            |fence| fence.since.to_string(),
        ),
    },
    Column {
        title: "here",
        hint: "hosted by this app, or how this client sees it",
        width: 110.0,
        cells: Cells::Words(here),
    },
];

static REDIRECTS: [Column<RedirectModel>; 3] = [
    Column {
        title: "client",
        hint: "whose old name it is",
        width: 130.0,
        cells: Cells::Words(|redirect| {
            redirect
                .peer
                .map_or_else(|| "?".to_owned(), |peer| peer.to_string())
        }),
    },
    Column {
        title: "its name",
        hint: "index and generation on the client's side, from before the entity migrated",
        width: 150.0,
        cells: Cells::Numbers(
            |redirect| f64::from(redirect.old.0),
            |redirect| short(redirect.old),
        ),
    },
    Column {
        title: "our name",
        hint: "what stands for the same entity now",
        width: 150.0,
        cells: Cells::Numbers(
            |redirect| f64::from(redirect.new.0),
            |redirect| short(redirect.new),
        ),
    },
];

fn short((index, generation): (u32, u32)) -> String {
    format!("{index}v{generation}")
}

fn name(fence: &FenceModel) -> String {
    fence
        .entity
        .map_or_else(|| "-".to_owned(), |entity| entity.to_string())
}

fn holder(fence: &FenceModel) -> String {
    match fence.holder {
        Holder::Nobody => "nobody".to_owned(),
        Holder::Host => "the host".to_owned(),
        Holder::Peer(peer) => peer.to_string(),
    }
}

fn here(fence: &FenceModel) -> String {
    let there = if fence.hosted { "hosted" } else { "remote" };
    fence.view.unwrap_or(there).to_owned()
}

const fn colour(fence: &FenceModel) -> Color32 {
    match fence.holder {
        Holder::Nobody => theme::AVAILABLE,
        Holder::Host => theme::KEPT,
        Holder::Peer(peer) => theme::player(peer),
    }
}

pub(super) fn show(
    ui: &mut Ui,
    authority: &AuthorityModel,
    (fences, redirects): (&mut Sort, &mut Sort),
) {
    ui.add_space(4.0);
    let table = Table {
        name: "fences",
        columns: &FENCES,
        rows: &authority.fences,
        height: HEIGHT,
        swatch: Some(colour),
        details: None,
    };
    table.show(ui, fences);
    left_out(ui, authority.delegated(), authority.fences.len());
    if authority.redirects.is_empty() {
        return;
    }
    ui.add_space(4.0);
    let table = Table {
        name: "redirects",
        columns: &REDIRECTS,
        rows: &authority.redirects,
        height: HEIGHT,
        swatch: None,
        details: None,
    };
    table.show(ui, redirects);
    left_out(ui, authority.redirected, authority.redirects.len());
}

fn left_out(ui: &mut Ui, all: u64, shown: usize) {
    let more = all.saturating_sub(shown as u64);
    if more > 0 {
        ui.weak(format!("and {} more", units::count(more)));
    }
}
