//! The results as bars, as an SVG that reads on light and on dark pages.

use std::fmt::Write;

use crate::report::Figures;

const WIDTH: f64 = 860.0;
/// Where bars begin: left of it are names.
const LEFT: f64 = 190.0;
/// Room for the number behind the longest bar.
const RIGHT: f64 = 90.0;
const BAR: f64 = 13.0;
const GAP: f64 = 12.0;
const HEAD: f64 = 44.0;

/// Neutral on white and on black.
const INK: &str = "#8a8f98";
const COLOURS: [&str; 6] = [
    "#2f9e8f", "#7cc36e", "#d98a3d", "#c0596b", "#7a78c9", "#9a9a9a",
];

/// One half of the picture.
struct Panel<'a> {
    title: &'a str,
    value: &'a dyn Fn(&Figures) -> Option<f64>,
}

/// Draws the server's tick above an empty app's, and the bytes of a change.
pub(crate) fn draw(all: &[Figures]) -> String {
    let floor = all
        .first()
        .and_then(|floor| floor.server_tick_us)
        .unwrap_or(0.0);
    let runs = all.get(1..).unwrap_or_default();
    let mut subjects: Vec<&str> = Vec::new();
    for figures in runs {
        if !subjects.contains(&figures.subject.as_str()) {
            subjects.push(&figures.subject);
        }
    }
    let panels = [
        Panel {
            title: "server tick less an empty app's, in µs (logarithmic)",
            value: &|figures| figures.server_tick_us.map(|tick| tick - floor),
        },
        Panel {
            title: "bytes from the server per change and client (logarithmic)",
            value: &|figures| figures.bytes_per_change,
        },
    ];
    let mut body = String::new();
    let mut y = legend(&mut body, &subjects);
    for panel in &panels {
        y = panel.draw(&mut body, runs, &subjects, y);
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {y:.0}\" \
         font-family=\"system-ui, sans-serif\" font-size=\"11\" fill=\"{INK}\">\n{body}</svg>\n"
    )
}

/// Names the colours; how far down it reaches.
fn legend(out: &mut String, subjects: &[&str]) -> f64 {
    let mut x = 12.0;
    for (at, subject) in subjects.iter().enumerate() {
        let colour = colour(at);
        let _ = writeln!(
            out,
            "<rect x=\"{x:.0}\" y=\"12\" width=\"11\" height=\"11\" rx=\"2\" fill=\"{colour}\"/>\
             <text x=\"{:.0}\" y=\"21.5\">{subject}</text>",
            x + 16.0
        );
        x += 34.0 + 6.4 * subject.len() as f64;
    }
    30.0
}

const fn colour(subject: usize) -> &'static str {
    COLOURS[subject % COLOURS.len()]
}

impl Panel<'_> {
    /// Draws it below `top`; where it ends.
    fn draw(&self, out: &mut String, runs: &[Figures], subjects: &[&str], top: f64) -> f64 {
        let values = || {
            runs.iter()
                .filter_map(self.value)
                .filter(|value| *value > 0.0)
        };
        if values().next().is_none() {
            return top;
        }
        // Whole powers of ten around all values.
        let low = values().fold(f64::MAX, f64::min).log10().floor();
        let high = values()
            .fold(f64::MIN, f64::max)
            .log10()
            .ceil()
            .max(low + 1.0);
        let scale = (WIDTH - LEFT - RIGHT) / (high - low);
        let place = |value: f64| LEFT + (value.log10() - low) * scale;
        let mut bars = String::new();
        let mut y = top + HEAD;
        let mut scenario = "";
        for figures in runs {
            let Some(value) = (self.value)(figures).filter(|value| *value > 0.0) else {
                continue;
            };
            if figures.scenario != scenario {
                if !scenario.is_empty() {
                    y += GAP;
                }
                scenario = &figures.scenario;
                let _ = writeln!(
                    bars,
                    "<text x=\"{:.0}\" y=\"{:.1}\" text-anchor=\"end\">{scenario}</text>",
                    LEFT - 10.0,
                    y + BAR - 3.0
                );
            }
            let subject = subjects.iter().position(|name| *name == figures.subject);
            let end = place(value);
            let _ = writeln!(
                bars,
                "<rect x=\"{LEFT}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{:.1}\" rx=\"2\" \
                 fill=\"{}\"/><text x=\"{:.1}\" y=\"{:.1}\">{}</text>",
                (end - LEFT).max(1.0),
                BAR - 2.0,
                colour(subject.unwrap_or(0)),
                end + 5.0,
                y + BAR - 3.0,
                short(value)
            );
            y += BAR;
        }
        let _ = writeln!(
            out,
            "<text x=\"12\" y=\"{:.0}\" font-size=\"13\" font-weight=\"600\">{}</text>",
            top + 20.0,
            self.title
        );
        for power in low as i32..=high as i32 {
            let (x, value) = (place(10f64.powi(power)), short(10f64.powi(power)));
            let _ = writeln!(
                out,
                "<line x1=\"{x:.1}\" y1=\"{:.0}\" x2=\"{x:.1}\" y2=\"{y:.0}\" stroke=\"{INK}\" \
                 stroke-opacity=\"0.3\"/><text x=\"{x:.1}\" y=\"{:.0}\" \
                 text-anchor=\"middle\" font-size=\"10\">{value}</text>",
                top + HEAD - 6.0,
                top + HEAD - 9.0
            );
        }
        out.push_str(&bars);
        y + GAP
    }
}

/// A number in three figures or so.
fn short(value: f64) -> String {
    let (value, unit) = match value {
        value if value >= 1e6 => (value / 1e6, "M"),
        value if value >= 1e4 => (value / 1e3, "k"),
        value => (value, ""),
    };
    let digits = match value {
        value if value >= 99.95 => 0,
        value if value >= 1.0 => 1,
        _ => 2,
    };
    let number = format!("{value:.digits$}");
    format!("{}{unit}", number.strip_suffix(".0").unwrap_or(&number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_figure_has_its_bar() {
        let run = |scenario: &str, subject: &str, tick: f64| Figures {
            server_tick_us: Some(tick),
            bytes_per_change: Some(tick / 100.0),
            ..Figures::new(scenario, subject)
        };
        let svg = draw(&[
            run("floor", "empty", 10.0),
            run("a", "x", 110.0),
            run("a", "y", 2_010.0),
            run("b", "x", 60.0),
            Figures::failed("b", "y", "it failed".into()),
        ]);
        // Two in the legend, three in each panel.
        assert_eq!(svg.matches("<rect").count(), 2 + 3 + 3);
        for number in [">100<", ">2000<", ">50<", ">1.1<"] {
            assert!(svg.contains(number), "{number}");
        }
    }

    #[test]
    fn nothing_is_drawn_of_nothing() {
        assert!(!draw(&[]).contains("<rect"));
    }
}
