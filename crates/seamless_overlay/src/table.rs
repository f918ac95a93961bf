//! A table that lays out only the rows in sight, whatever their number, in columns that do not
//! move when numbers grow.
//!
//! Every row is a node of the accessibility tree with the row's name, every cell one with
//! `title: text`.

use std::ops::Range;

use egui::{
    Color32, Id, Label, Rect, Response, ScrollArea, Sense, TextStyle, TextWrapMode, Ui, UiBuilder,
    Vec2, WidgetInfo, WidgetType,
    accesskit::{self, Role},
    text::{LayoutJob, TextFormat, TextWrapping},
    vec2,
};

use crate::{theme, units};

/// Height of a row in points.
const ROW: f32 = 17.0;
/// Free space at each side of a cell.
const MARGIN: f32 = 4.0;

/// What stands in the cells of a column.
pub(crate) enum Cells<R> {
    /// Words: to the left, sorted from A to Z.
    Words(fn(&R) -> String),
    /// Numbers with the way they are written: to the right, the largest first.
    Numbers(fn(&R) -> f64, fn(&R) -> String),
    /// Shares between 0 and 1, as a bar and in percent, the largest first.
    Shares(fn(&R) -> f64),
}

/// One column.
pub(crate) struct Column<R: 'static> {
    /// Above the column.
    pub(crate) title: &'static str,
    /// Said when the pointer rests on the title.
    pub(crate) hint: &'static str,
    /// In points. The first column takes what is left over.
    pub(crate) width: f32,
    /// What stands in it.
    pub(crate) cells: Cells<R>,
}

/// By which column the rows are sorted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sort {
    /// `None`: as they come.
    pub(crate) column: Option<usize>,
    /// Against the column's natural order.
    pub(crate) reversed: bool,
}

impl Sort {
    /// A title was clicked: its column, its column the other way round, as they come.
    fn click(&mut self, column: usize) {
        *self = match (self.column == Some(column), self.reversed) {
            (false, _) => Self {
                column: Some(column),
                reversed: false,
            },
            (true, false) => Self {
                column: Some(column),
                reversed: true,
            },
            (true, true) => Self::default(),
        };
    }
}

/// A table to be shown.
pub(crate) struct Table<'a, R: 'static> {
    /// Tells tables of one panel apart.
    pub(crate) name: &'static str,
    /// The columns.
    pub(crate) columns: &'static [Column<R>],
    /// The rows.
    pub(crate) rows: &'a [R],
    /// Rows that are seen at once; the others are scrolled to.
    pub(crate) height: usize,
    /// A square at the beginning of a row.
    pub(crate) swatch: Option<fn(&R) -> Color32>,
    /// More of a row, when the pointer rests on it.
    pub(crate) details: Option<fn(&mut Ui, &R)>,
}

impl<R> Table<'_, R> {
    /// Shows it. Cost: one pass over the rows if they are sorted, and layout of those in sight.
    pub(crate) fn show(&self, ui: &mut Ui, sort: &mut Sort) {
        let least: f32 = self.columns.iter().map(|column| column.width).sum();
        let width = ui.available_width().max(least);
        let spare = width - least;
        ScrollArea::horizontal()
            .id_salt((self.name, "across"))
            .show(ui, |ui| {
                ui.spacing_mut().item_spacing = Vec2::ZERO;
                ui.set_width(width);
                self.header(ui, spare, sort);
                let order = self.order(*sort);
                let height = ROW * self.height.min(self.rows.len()) as f32;
                ScrollArea::vertical()
                    .id_salt((self.name, "down"))
                    .max_height(height)
                    .min_scrolled_height(height)
                    .show_rows(ui, ROW, self.rows.len(), |ui, seen| {
                        self.body(ui, spare, order, seen);
                    });
            });
    }

    /// The order of rows; `None` if it is as they come.
    fn order(&self, sort: Sort) -> Option<Vec<usize>> {
        let column = self.columns.get(sort.column?)?;
        let mut order: Vec<usize> = (0..self.rows.len()).collect();
        match column.cells {
            Cells::Words(text) => order.sort_by_cached_key(|&row| text(&self.rows[row])),
            Cells::Numbers(value, _) | Cells::Shares(value) => {
                // What is no number goes last.
                let key = |row: usize| {
                    let value = value(&self.rows[row]);
                    if value.is_nan() {
                        f64::NEG_INFINITY
                    } else {
                        value
                    }
                };
                order.sort_by(|&a, &b| key(b).total_cmp(&key(a)));
            }
        }
        if sort.reversed {
            order.reverse();
        }
        Some(order)
    }

    fn cell_rects(&self, row: Rect, spare: f32) -> impl Iterator<Item = (&Column<R>, Rect)> {
        let mut left = row.left();
        self.columns.iter().enumerate().map(move |(index, column)| {
            let width = column.width + if index == 0 { spare } else { 0.0 };
            let cell = Rect::from_min_size(egui::pos2(left, row.top()), vec2(width, row.height()));
            left += width;
            (column, cell)
        })
    }

    fn header(&self, ui: &mut Ui, spare: f32, sort: &mut Sort) {
        let (row, _) = ui.allocate_exact_size(vec2(ui.available_width(), ROW), Sense::hover());
        let mut clicked = None;
        for (index, (column, cell)) in self.cell_rects(row, spare).enumerate() {
            let id = ui.unique_id().with((self.name, column.title));
            let response = ui
                .interact(cell, id, Sense::click())
                .on_hover_text(column.hint);
            response.widget_info(|| {
                WidgetInfo::labeled(
                    WidgetType::Button,
                    true,
                    format!("sort {} by {}", self.name, column.title),
                )
            });
            let colour = if response.hovered() {
                ui.visuals().strong_text_color()
            } else {
                ui.visuals().weak_text_color()
            };
            let mut text = column.title.to_owned();
            if sort.column == Some(index) {
                text.push_str(if sort.reversed {
                    " \u{23f6}"
                } else {
                    " \u{23f7}"
                });
            }
            write(
                ui,
                cell,
                &text,
                column.is_right(),
                (TextStyle::Small, colour),
            );
            if response.clicked() {
                clicked = Some(index);
            }
        }
        let line = ui.visuals().widgets.noninteractive.bg_stroke;
        ui.painter().hline(row.x_range(), row.bottom(), line);
        if let Some(column) = clicked {
            sort.click(column);
        }
    }

    fn body(&self, ui: &mut Ui, spare: f32, order: Option<Vec<usize>>, seen: Range<usize>) {
        for place in seen {
            let index = order
                .as_ref()
                .map_or(Some(place), |order| order.get(place).copied());
            let Some(row) = index.and_then(|index| self.rows.get(index)) else {
                continue;
            };
            let (rect, response) =
                ui.allocate_exact_size(vec2(ui.available_width(), ROW), Sense::hover());
            if place % 2 == 1 {
                ui.painter()
                    .rect_filled(rect, 2.0, ui.visuals().faint_bg_color);
            }
            if let Some(details) = self.details {
                response.on_hover_ui(|ui| details(ui, row));
            }
            let line = UiBuilder::new().max_rect(rect).id_salt((self.name, place));
            self.cells(&ui.new_child(line), rect, spare, row);
        }
    }

    fn cells(&self, ui: &Ui, rect: Rect, spare: f32, row: &R) {
        for (index, (column, mut cell)) in self.cell_rects(rect, spare).enumerate() {
            let text = column.cells.text(row);
            if index == 0 {
                let name = text.clone();
                describe(ui, rect, Role::Row, &name);
                if let Some(swatch) = self.swatch {
                    let square = Rect::from_center_size(
                        egui::pos2(cell.left() + 8.0, cell.center().y),
                        Vec2::splat(8.0),
                    );
                    ui.painter().rect_filled(square, 2.0, swatch(row));
                    cell.min.x += 13.0;
                }
            }
            let id = ui.unique_id().with(column.title);
            named(ui, cell, id, &format!("{}: {text}", column.title));
            let style = match column.cells {
                Cells::Words(_) => TextStyle::Body,
                Cells::Numbers(..) => TextStyle::Monospace,
                Cells::Shares(share) => {
                    bar(ui, cell, share(row));
                    TextStyle::Monospace
                }
            };
            let colour = if column.is_right() && is_nothing(&text) {
                ui.visuals().weak_text_color().gamma_multiply(0.7)
            } else {
                ui.visuals().text_color()
            };
            write(ui, cell, &text, column.is_right(), (style, colour));
        }
    }
}

impl<R> Column<R> {
    const fn is_right(&self) -> bool {
        !matches!(self.cells, Cells::Words(_))
    }
}

impl<R> Cells<R> {
    fn text(&self, row: &R) -> String {
        match self {
            Self::Words(text) | Self::Numbers(_, text) => text(row),
            Self::Shares(share) => units::percent(share(row)),
        }
    }
}

/// Whether a cell says that there is nothing: it is painted weaker.
fn is_nothing(text: &str) -> bool {
    text == "0" || text == units::NOTHING || text.starts_with("0 ")
}

/// A bar from the left, behind the text of a cell.
fn bar(ui: &Ui, cell: Rect, share: f64) {
    let share = if share.is_finite() {
        share.clamp(0.0, 1.0) as f32
    } else {
        0.0
    };
    let ground = cell
        .shrink2(vec2(MARGIN + 2.0, 4.0))
        .with_max_x(cell.right() - 46.0);
    let part = ground.with_max_x(egui::lerp(ground.x_range(), share));
    ui.painter()
        .rect_filled(ground, 2.0, ui.visuals().extreme_bg_color);
    ui.painter()
        .rect_filled(part, 2.0, theme::SENT.gamma_multiply(0.75));
}

/// Writes one line into a cell and cuts what is too long.
fn write(ui: &Ui, cell: Rect, text: &str, right: bool, (style, colour): (TextStyle, Color32)) {
    let inner = cell.shrink2(vec2(MARGIN, 0.0));
    let format = TextFormat::simple(style.resolve(ui.style()), colour);
    let mut job = LayoutJob::single_section(text.to_owned(), format);
    job.wrap = TextWrapping::truncate_at_width(inner.width());
    let galley = ui.painter().layout_job(job);
    let x = if right {
        inner.right() - galley.size().x
    } else {
        inner.left()
    };
    let y = inner.center().y - galley.size().y / 2.0;
    ui.painter().galley(egui::pos2(x, y), galley, colour);
}

/// Gives what is painted in a place a name in the accessibility tree.
pub(crate) fn named(ui: &Ui, place: Rect, id: Id, name: &str) -> Response {
    let response = ui.interact(place, id, Sense::hover());
    response.widget_info(|| WidgetInfo::labeled(WidgetType::Label, true, name));
    response
}

/// Gives a part of the panel a role and a name in the accessibility tree.
pub(crate) fn describe(ui: &Ui, place: Rect, role: Role, name: &str) {
    ui.ctx().accesskit_node_builder(ui.unique_id(), |node| {
        node.set_role(role);
        node.set_label(name);
        node.set_bounds(accesskit::Rect {
            x0: place.left().into(),
            y0: place.top().into(),
            x1: place.right().into(),
            y1: place.bottom().into(),
        });
    });
}

/// A line of weak text that is said instead of an empty table.
pub(crate) fn nothing(ui: &mut Ui, text: &str) {
    let label = egui::RichText::new(text).weak().italics();
    ui.add(Label::new(label).wrap_mode(TextWrapMode::Extend));
}
