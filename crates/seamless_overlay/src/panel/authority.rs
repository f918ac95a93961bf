//! Who holds what can be lent: a bar of all of it, and what it is made of.

use egui::{Color32, Rect, Sense, Ui, vec2};

use super::{OverlayState, fences};
use crate::{
    model::{AuthorityModel, OverlayModel},
    table, theme, units,
};

/// Height of the bar in points.
const BAR: f32 = 14.0;
/// Holders that are named; the others are summed up.
const HOLDERS: usize = 24;

pub(super) fn digest(model: &OverlayModel) -> String {
    let authority = &model.authority;
    match authority.delegated() {
        0 => String::new(),
        all => format!(
            "{} can be lent: {} hosted here, {} elsewhere",
            units::count(all),
            units::count(authority.hosted),
            units::count(authority.remote)
        ),
    }
}

pub(super) fn show(ui: &mut Ui, model: &OverlayModel, state: &mut OverlayState) {
    let authority = &model.authority;
    if authority.delegated() == 0 {
        return table::nothing(ui, "nothing here can be lent: no entity is delegated");
    }
    let parts = parts(authority);
    bar(ui, &parts);
    ui.horizontal_wrapped(|ui| {
        ui.spacing_mut().item_spacing.x = 14.0;
        for part in &parts {
            super::figure(ui, &part.name, &units::count(part.count), Some(part.colour))
                .on_hover_text(part.hint);
        }
        let own = [
            (
                "granted to us",
                authority.granted,
                "lent to this client: what it writes counts",
            ),
            (
                "requested",
                authority.requested,
                "asked for by this client, not answered yet",
            ),
            (
                "releasing",
                authority.releasing,
                "given back by this client, not confirmed yet",
            ),
        ];
        for (name, count, hint) in own {
            super::figure(ui, name, &units::count(count), None).on_hover_text(hint);
        }
        if authority.redirected > 0 {
            super::figure(ui, "redirects", &units::count(authority.redirected), None)
                .on_hover_text("old names of entities that migrated, still understood");
        }
    });
    let sorts = (&mut state.fences, &mut state.redirects);
    fences::show(ui, authority, sorts);
}

/// A part of the bar.
struct Part {
    name: String,
    count: u64,
    colour: Color32,
    hint: &'static str,
}

fn parts(authority: &AuthorityModel) -> Vec<Part> {
    let part = |name: &str, count, colour, hint| Part {
        name: name.to_owned(),
        count,
        colour,
        hint,
    };
    let mut parts = vec![
        part(
            "available",
            authority.available,
            theme::AVAILABLE,
            "nobody holds them",
        ),
        part(
            "kept by the host",
            authority.kept,
            theme::KEPT,
            "requests are denied",
        ),
    ];
    for (peer, count) in authority.lent.iter().take(HOLDERS) {
        parts.push(part(
            &format!("held by {peer}"),
            *count,
            theme::player(*peer),
            "lent to this client: what it writes counts",
        ));
    }
    if let Some(rest) = authority
        .lent
        .get(HOLDERS..)
        .filter(|rest| !rest.is_empty())
    {
        let count = rest
            .iter()
            .fold(0u64, |sum, (_, count)| sum.saturating_add(*count));
        let name = format!("held by {} more", rest.len());
        parts.push(part(
            &name,
            count,
            theme::AVAILABLE,
            "lent to clients who hold fewer",
        ));
    }
    parts
}

fn bar(ui: &mut Ui, parts: &[Part]) {
    let (place, _) = ui.allocate_exact_size(vec2(ui.available_width(), BAR), Sense::hover());
    let all: f64 = parts.iter().map(|part| part.count as f64).sum();
    let painter = ui.painter_at(place);
    painter.rect_filled(place, 3.0, ui.visuals().extreme_bg_color);
    if all <= 0.0 {
        return;
    }
    let mut left = place.left();
    for part in parts {
        let width = (part.count as f64 / all) as f32 * place.width();
        let piece = Rect::from_min_size(egui::pos2(left, place.top()), vec2(width, BAR));
        painter.rect_filled(piece.shrink2(vec2(0.5, 0.0)), 2.0, part.colour);
        left += width;
    }
}
