//! Bytes in and out over time.

use egui::Ui;
use egui_plot::{Corner, Legend, Line, Plot, PlotPoint, PlotPoints};

use crate::{
    model::{Both, OverlayModel},
    table, theme, units,
};

/// Seconds that are shown; the history may be longer.
const SECONDS: usize = 120;
/// The shortest time that the plot spans, in seconds, so that it does not stretch at the start.
const LEAST: f64 = 30.0;
/// Height of the plot in points.
const HEIGHT: f32 = 92.0;
/// More bytes a second than any link: what is above is drawn here.
const MOST: f64 = 1e15;

pub(super) fn digest(model: &OverlayModel) -> String {
    let bytes = model.traffic.bytes;
    format!(
        "{} in, {} out since the links began",
        units::bytes(bytes.received as f64),
        units::bytes(bytes.sent as f64)
    )
}

pub(super) fn show(ui: &mut Ui, model: &OverlayModel) {
    let history = &model.traffic.history;
    if history.is_empty() {
        return table::nothing(ui, "no second has passed yet");
    }
    let seen = &history[history.len().saturating_sub(SECONDS)..];
    let line = |name, colour, read: fn(&Both<f64>) -> f64| {
        Line::new(name, points(seen, read))
            .color(colour)
            .width(1.6)
            .fill(0.0)
            .fill_alpha(0.12)
    };
    let span = (seen.len() as f64 - 1.0).max(LEAST);
    Plot::new("throughput")
        .height(HEIGHT)
        .allow_drag(false)
        .allow_zoom(false)
        .allow_scroll(false)
        .allow_boxed_zoom(false)
        .allow_double_click_reset(false)
        .show_background(false)
        .include_x(-span)
        .include_x(0.0)
        .include_y(0.0)
        .set_margin_fraction(egui::vec2(0.0, 0.08))
        .y_axis_min_width(58.0)
        .y_axis_formatter(|mark, _| units::rate(mark.value))
        .x_axis_formatter(|mark, _| format!("{:.0} s", mark.value))
        .legend(
            Legend::default()
                .position(Corner::LeftTop)
                .background_alpha(0.4),
        )
        .show(ui, |plot| {
            plot.line(line("in", theme::RECEIVED, |both| both.received));
            plot.line(line("out", theme::SENT, |both| both.sent));
        });
}

/// Seconds before now against bytes per second; what is no number is left out.
fn points(seen: &[Both<f64>], read: fn(&Both<f64>) -> f64) -> PlotPoints<'static> {
    let newest = seen.len() as f64 - 1.0;
    let point = |(second, both): (usize, &Both<f64>)| {
        let value = read(both);
        (!value.is_nan()).then(|| PlotPoint::new(second as f64 - newest, value.clamp(0.0, MOST)))
    };
    PlotPoints::Owned(seen.iter().enumerate().filter_map(point).collect())
}
