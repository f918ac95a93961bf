//! Bytes and packets in and out over time.

use egui::{Rangef, Ui, vec2};
use egui_plot::{GridInput, GridMark, Line, Plot, PlotPoint, PlotPoints, uniform_grid_spacer};

use crate::{
    model::{Both, OverlayModel, TrafficModel},
    table, theme, units,
};

/// Seconds that are shown; the history may be longer.
const SECONDS: f64 = 120.0;
/// The shortest time that a plot spans, in seconds, so that it does not stretch at the start.
const LEAST: f64 = 30.0;
/// Height of a plot in points.
const HEIGHT: f32 = 96.0;
/// The least width of a plot that stands beside another, in points.
const BESIDE: f32 = 280.0;
/// Points between lines of the grid: below the first there are none, from the second on they are
/// strong and have numbers.
const GRID: Rangef = Rangef {
    min: 12.0,
    max: 36.0,
};
/// Seconds between lines of the grid.
const MARKS: f64 = 15.0;
/// More a second than any link carries: what is above is drawn here.
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
    let traffic = &model.traffic;
    let (bytes, packets) = (bytes(traffic), packets(traffic));
    if bytes.points.is_empty() {
        return table::nothing(ui, "no second has passed yet");
    }
    let width = ui.available_width();
    let half = (width - ui.spacing().item_spacing.x) / 2.0;
    if half < BESIDE {
        bytes.show(ui, width);
        packets.show(ui, width);
    } else {
        ui.horizontal_top(|ui| {
            ui.vertical(|ui| bytes.show(ui, half));
            ui.vertical(|ui| packets.show(ui, half));
        });
    }
}

/// What one plot shows.
struct Series {
    name: &'static str,
    write: fn(f64) -> String,
    /// The latest time in seconds, which is now.
    now: f64,
    points: Vec<(f64, Both<f64>)>,
}

fn bytes(traffic: &TrafficModel) -> Series {
    let points = traffic.history.iter().enumerate();
    Series::new(
        "bytes",
        units::rate,
        points.map(|(second, both)| (second as f64, *both)),
    )
}

fn packets(traffic: &TrafficModel) -> Series {
    let points = traffic.packet_history.iter();
    Series::new(
        "packets",
        |packets| format!("{} /s", units::per_second(packets)),
        points.map(|at| (f64::from(at.second), at.packets)),
    )
}

impl Series {
    fn new(
        name: &'static str,
        write: fn(f64) -> String,
        points: impl DoubleEndedIterator<Item = (f64, Both<f64>)> + Clone,
    ) -> Self {
        let now = points.clone().next_back().map_or(0.0, |(second, _)| second);
        let points = points
            .filter(|(second, _)| (0.0..SECONDS).contains(&(now - second)))
            .collect();
        Self {
            name,
            write,
            now,
            points,
        }
    }

    fn show(&self, ui: &mut Ui, width: f32) {
        let first = self.points.first().map_or(0.0, |(second, _)| *second);
        let span = (self.now - first).clamp(LEAST, SECONDS);
        self.legend(ui);
        let line = |way, colour, read: fn(&Both<f64>) -> f64| {
            Line::new(way, self.line(read))
                .color(colour)
                .width(1.6)
                .fill(0.0)
                .fill_alpha(0.12)
        };
        let write = self.write;
        Plot::new(self.name)
            .width(width)
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
            .set_margin_fraction(vec2(0.0, 0.08))
            .y_axis_min_width(58.0)
            .grid_spacing(GRID)
            .x_grid_spacer(uniform_grid_spacer(|_| [MARKS, 2.0 * MARKS, 4.0 * MARKS]))
            .y_grid_spacer(marks)
            .y_axis_formatter(move |mark, _| write(mark.value))
            .x_axis_formatter(|mark, _| format!("{:.0} s", mark.value))
            .show(ui, |plot| {
                plot.line(line("in", theme::RECEIVED, |both| both.received));
                plot.line(line("out", theme::SENT, |both| both.sent));
            });
    }

    /// What the colours mean, with the newest values.
    fn legend(&self, ui: &mut Ui) {
        let newest = self.points.last().map(|(_, both)| *both);
        let newest = newest.unwrap_or_default();
        ui.horizontal(|ui| {
            ui.spacing_mut().item_spacing.x = 14.0;
            for (way, value, colour) in [
                ("in", newest.received, theme::RECEIVED),
                ("out", newest.sent, theme::SENT),
            ] {
                let name = format!("{} {way}", self.name);
                super::figure(ui, &name, &(self.write)(value), Some(colour));
            }
        });
    }

    /// Seconds before now against a rate; what is no number is left out.
    fn line(&self, read: fn(&Both<f64>) -> f64) -> PlotPoints<'static> {
        let point = |(second, both): &(f64, Both<f64>)| {
            let value = read(both);
            (!value.is_nan()).then(|| PlotPoint::new(second - self.now, value.clamp(0.0, MOST)))
        };
        PlotPoints::Owned(self.points.iter().filter_map(point).collect())
    }
}

/// Two or three round values above nought, whatever the bounds are.
fn marks(axis: GridInput) -> Vec<GridMark> {
    let (_, top) = axis.bounds;
    if !(1e-3..=2.0 * MOST).contains(&top) {
        return Vec::new();
    }
    let least = top / 3.5;
    let power = 10f64.powf(least.log10().floor());
    let round = [1.0, 2.0, 5.0].map(|digit| digit * power);
    let step_size = round
        .into_iter()
        .find(|step| *step >= least)
        .unwrap_or(10.0 * power);
    (0..4)
        .map(|mark| GridMark {
            value: f64::from(mark) * step_size,
            step_size,
        })
        .filter(|mark| mark.value <= top)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_has_few_and_round_marks() {
        let marks = |top| {
            let axis = GridInput {
                bounds: (0.0, top),
                base_step_size: 1.0,
            };
            marks(axis)
                .iter()
                .map(|mark| mark.value)
                .collect::<Vec<_>>()
        };
        assert_eq!(marks(55_000.0), [0.0, 20_000.0, 40_000.0]);
        assert_eq!(marks(110.0), [0.0, 50.0, 100.0]);
        assert_eq!(marks(3.0), [0.0, 1.0, 2.0, 3.0]);
        assert_eq!(marks(9.0), [0.0, 5.0]);
        for nothing in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(marks(nothing).is_empty(), "{nothing}");
        }
    }
}
