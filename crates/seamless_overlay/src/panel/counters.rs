//! What happened how often.

use egui::Ui;

use crate::{
    model::{MeshCountersModel, OverlayModel, RefusedModel},
    theme, units,
};

/// Reasons that are named.
const REASONS: usize = 16;

pub(super) fn digest(_model: &OverlayModel) -> String {
    "since the start".to_owned()
}

pub(super) fn show(ui: &mut Ui, model: &OverlayModel) {
    let refused = sum(model);
    row(ui, "received and not used", |ui| {
        for (kind, count) in refused.all() {
            counter(ui, kind, count, count > 0 && is_fault(kind));
        }
    });
    row(ui, "sending", |ui| {
        let sum = |read: fn(&crate::model::LinkModel) -> u64| {
            model
                .links
                .iter()
                .fold(0u64, |sum, link| sum.saturating_add(read(link)))
        };
        counter(ui, "records", sum(|link| link.records), false);
        counter(ui, "absolute", sum(|link| link.absolute), false);
        counter(ui, "resent", sum(|link| link.resent), false);
        counter(ui, "insured", sum(|link| link.insured), false);
        counter(ui, "deferred", sum(|link| link.deferred), false);
        let unencodable = model.entities.unencodable;
        counter(ui, "unencodable", unencodable, unencodable > 0);
    });
    if let Some(mesh) = &model.mesh {
        row(ui, "handovers", |ui| handovers(ui, &mesh.counters));
    }
}

fn handovers(ui: &mut Ui, counters: &MeshCountersModel) {
    counter(ui, "handed over", counters.handed_over, false);
    counter(ui, "activated", counters.activated, false);
    counter(ui, "resumed", counters.resumed, false);
    let all = counters
        .rejected
        .iter()
        .fold(0u64, |sum, (_, count)| sum.saturating_add(*count));
    counter(ui, "rejected", all, false);
    for (reason, count) in counters.rejected.iter().take(REASONS) {
        counter(ui, &format!("rejected: {reason}"), *count, false);
    }
    counter(ui, "reclaims", counters.reclaims, counters.reclaims > 0);
    counter(ui, "reclaimed groups", counters.reclaimed_groups, false);
    // Also after a handover that was called off: its ticket is void.
    counter(ui, "refused tickets", counters.refused_tickets, false);
}

/// Peers that run as they should do not cause these, whatever the network does.
fn is_fault(kind: &str) -> bool {
    matches!(kind, "malformed" | "undecodable" | "over bounds")
}

fn sum(model: &OverlayModel) -> RefusedModel {
    model
        .links
        .iter()
        .fold(RefusedModel::default(), |sum, link| {
            let add = |a: u64, b: u64| a.saturating_add(b);
            let one = &link.refused;
            RefusedModel {
                duplicates: add(sum.duplicates, one.duplicates),
                malformed: add(sum.malformed, one.malformed),
                late: add(sum.late, one.late),
                stale: add(sum.stale, one.stale),
                fenced: add(sum.fenced, one.fenced),
                undecodable: add(sum.undecodable, one.undecodable),
                over_bounds: add(sum.over_bounds, one.over_bounds),
            }
        })
}

fn row(ui: &mut Ui, title: &str, counters: impl FnOnce(&mut Ui)) {
    ui.horizontal_wrapped(|ui| {
        ui.spacing_mut().item_spacing.x = 12.0;
        ui.strong(format!("{title}:"));
        counters(ui);
    });
}

fn counter(ui: &mut Ui, name: &str, count: u64, bad: bool) {
    super::figure(ui, name, &units::count(count), bad.then_some(theme::BAD));
}
