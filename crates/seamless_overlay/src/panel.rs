//! The panel: sections from what everyone looks at first to what is looked up.

mod authority;
mod components;
mod counters;
mod fences;
mod links;
mod map;
mod mesh;
mod summary;
mod throughput;

use std::sync::Arc;

use egui::{
    Align, CollapsingHeader, Color32, Galley, Label, Layout, Rect, Response, RichText, Sense,
    TextStyle, Ui, UiBuilder, Vec2, WidgetInfo, WidgetType, accesskit::Role, pos2, vec2,
};

use crate::{
    model::OverlayModel,
    table::{self, Sort},
    theme, units,
};

/// Characters of a figure's name, and of its value.
const CHARACTERS: usize = 32;
/// Side of the square before a figure, and what is free between its parts, in points.
const SWATCH: f32 = 9.0;
const GAP: f32 = 4.0;

/// What the panel remembers between frames, apart from what egui does by itself.
#[derive(Clone, Debug)]
pub struct OverlayState {
    pub(crate) links: Sort,
    pub(crate) components: Sort,
    pub(crate) nodes: Sort,
    pub(crate) recent: Sort,
    pub(crate) fences: Sort,
    pub(crate) redirects: Sort,
}

impl Default for OverlayState {
    fn default() -> Self {
        Self {
            links: Sort::default(),
            components: Sort {
                column: Some(components::SHARE),
                reversed: false,
            },
            nodes: Sort::default(),
            recent: Sort::default(),
            fences: Sort::default(),
            redirects: Sort::default(),
        }
    }
}

/// Draws the panel into what space there is; put it into a scroll area or a window that scrolls.
///
/// It is at its best from 760 points of width on. Cost: what is in sight, one pass over rows that
/// are sorted, and one over the cells of the mesh. Never panics, whatever the numbers are.
pub fn ui(ui: &mut Ui, model: &OverlayModel, state: &mut OverlayState) {
    ui.scope(|ui| {
        theme::apply(ui.style_mut());
        summary::show(ui, model);
        section(ui, "Throughput", &throughput::digest(model), |ui| {
            throughput::show(ui, model);
        });
        section(ui, "Links", &links::digest(model), |ui| {
            links::show(ui, model, &mut state.links);
        });
        section(ui, "Components", &components::digest(model), |ui| {
            components::show(ui, model, &mut state.components);
        });
        section(ui, "Authority", &authority::digest(model), |ui| {
            authority::show(ui, model, state);
        });
        section(ui, "Mesh", &mesh::digest(model), |ui| {
            mesh::show(ui, model, state);
        });
        section(ui, "Counters", &counters::digest(model), |ui| {
            counters::show(ui, model);
        });
    });
}

/// One section that can be closed, with the gist of it beside its title.
fn section(ui: &mut Ui, title: &'static str, digest: &str, body: impl FnOnce(&mut Ui)) {
    let across = ui.available_rect_before_wrap().x_range();
    let heading = RichText::new(title).strong().size(13.0);
    let header = CollapsingHeader::new(heading)
        .id_salt(title)
        .default_open(true)
        .show_unindented(ui, |ui| {
            body(ui);
            ui.add_space(4.0);
            region(ui, title);
        })
        .header_response;
    let right = header
        .rect
        .with_min_x(header.rect.right() + 8.0)
        .with_max_x(across.max);
    if right.width() > 0.0 && !digest.is_empty() {
        // A child of its own place, which does not move what comes after.
        let layout = Layout::right_to_left(Align::Center);
        let mut beside = ui.new_child(UiBuilder::new().max_rect(right).layout(layout));
        beside.add(Label::new(RichText::new(digest).weak().small()).truncate());
    }
}

/// Makes what the panel has drawn into `ui` a part that a screen reader, or a test, can find by
/// its name.
fn region(ui: &Ui, name: &str) {
    table::describe(ui, ui.min_rect(), Role::Region, name);
}

/// A number with its name: `name value`, the name weaker. One node of the accessibility tree,
/// `name: value`.
///
/// It is allocated as a whole, so that rows wrap before it rather than within it.
fn figure(ui: &mut Ui, name: &str, value: &str, colour: Option<Color32>) -> Response {
    let weak = ui.visuals().weak_text_color();
    let left = line(ui, name, (TextStyle::Body, weak));
    let right = line(ui, value, (TextStyle::Monospace, ui.visuals().text_color()));
    let before = colour.map_or(0.0, |_| SWATCH + GAP);
    let size = vec2(
        before + left.size().x + GAP + right.size().x,
        left.size().y.max(right.size().y),
    );
    let (place, response) = ui.allocate_exact_size(size, Sense::hover());
    let at = |x: f32, height: f32| pos2(place.left() + x, place.center().y - height / 2.0);
    if let Some(colour) = colour {
        let square = Rect::from_min_size(at(0.0, SWATCH), Vec2::splat(SWATCH));
        ui.painter().rect_filled(square, 2.0, colour);
    }
    let (name_at, value_at) = (
        at(before, left.size().y),
        at(before + left.size().x + GAP, right.size().y),
    );
    ui.painter().galley(name_at, left, weak);
    ui.painter().galley(value_at, right, weak);
    response
        .widget_info(|| WidgetInfo::labeled(WidgetType::Other, true, format!("{name}: {value}")));
    response
}

/// One line of text, cut if it is too long.
fn line(ui: &Ui, text: &str, (style, colour): (TextStyle, Color32)) -> Arc<Galley> {
    let text = units::cut(text, CHARACTERS).into_owned();
    let font = style.resolve(ui.style());
    ui.painter().layout_no_wrap(text, font, colour)
}
