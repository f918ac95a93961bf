//! The line above all sections: what one looks at first.

use egui::{Color32, Sense, TextStyle, Ui, Vec2, WidgetInfo, WidgetType, vec2};

use crate::{model::OverlayModel, panel::line, theme, units};

/// Width of a figure with its title.
const TILE: f32 = 58.0;

pub(super) fn show(ui: &mut Ui, model: &OverlayModel) {
    let traffic = &model.traffic;
    let clock = &model.clock;
    let packets = format!(
        "{}/{}",
        units::per_second(traffic.packets_per_second.received.round()),
        units::per_second(traffic.packets_per_second.sent.round())
    );
    let late = clock.rate > 0 && clock.lateness.as_secs_f64() * f64::from(clock.rate) > 1.0;
    ui.horizontal_wrapped(|ui| {
        ui.spacing_mut().item_spacing = Vec2::new(12.0, 2.0);
        let name = if model.name.is_empty() {
            "\u{2013}"
        } else {
            &model.name
        };
        tile(ui, "this app", name, None);
        tile(
            ui,
            "in",
            &units::rate(traffic.bytes_per_second.received),
            Some(theme::RECEIVED),
        );
        tile(
            ui,
            "out",
            &units::rate(traffic.bytes_per_second.sent),
            Some(theme::SENT),
        );
        tile(ui, "packets/s", &packets, None);
        tile(ui, "hosted", &units::count(model.entities.hosted), None);
        tile(ui, "remote", &units::count(model.entities.remote), None);
        tile(
            ui,
            &format!("tick @ {} Hz", clock.rate),
            &clock.tick.to_string(),
            None,
        );
        tile(
            ui,
            "late by",
            &units::milliseconds(clock.lateness),
            late.then_some(theme::WARNING),
        );
        tile(ui, "send", &units::milliseconds(clock.send), None);
        tile(ui, "receive", &units::milliseconds(clock.receive), None);
        super::region(ui, "Summary");
    });
}

fn tile(ui: &mut Ui, title: &str, value: &str, colour: Option<Color32>) {
    let weak = ui.visuals().weak_text_color();
    let strong = colour.unwrap_or_else(|| ui.visuals().strong_text_color());
    let above = line(ui, title, (TextStyle::Small, weak));
    let below = line(ui, value, (TextStyle::Monospace, strong));
    let size = vec2(
        TILE.max(above.size().x).max(below.size().x),
        above.size().y + below.size().y,
    );
    let (place, response) = ui.allocate_exact_size(size, Sense::hover());
    let second = place.min + vec2(0.0, above.size().y);
    ui.painter().galley(place.min, above, weak);
    ui.painter().galley(second, below, strong);
    response
        .widget_info(|| WidgetInfo::labeled(WidgetType::Other, true, format!("{title}: {value}")));
}
