//! The line above all sections: what one looks at first.

use egui::{Color32, RichText, Ui, Vec2, WidgetInfo, WidgetType};

use crate::{model::OverlayModel, theme, units};

/// Width of a figure with its title.
const TILE: f32 = 82.0;

pub(super) fn show(ui: &mut Ui, model: &OverlayModel) {
    let traffic = &model.traffic;
    let clock = &model.clock;
    let packets = format!(
        "{} / {}",
        units::per_second(traffic.packets_per_second.received),
        units::per_second(traffic.packets_per_second.sent)
    );
    let late = clock.rate > 0 && clock.lateness.as_secs_f64() * f64::from(clock.rate) > 1.0;
    ui.horizontal_wrapped(|ui| {
        ui.spacing_mut().item_spacing = Vec2::new(2.0, 2.0);
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
    let response = ui
        .vertical(|ui| {
            ui.set_min_width(TILE);
            ui.spacing_mut().item_spacing.y = 0.0;
            ui.add(
                egui::Label::new(RichText::new(title).small().weak())
                    .selectable(false)
                    .extend(),
            );
            let mut text = RichText::new(value).monospace().size(13.0).strong();
            if let Some(colour) = colour {
                text = text.color(colour);
            }
            ui.add(egui::Label::new(text).selectable(false).extend());
        })
        .response;
    response
        .widget_info(|| WidgetInfo::labeled(WidgetType::Other, true, format!("{title}: {value}")));
}
