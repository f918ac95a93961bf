//! What the windows of the examples say, below the panel: texts over places in the world, and a
//! legend.

use bevy::prelude::{Camera, GlobalTransform, Vec3};
use bevy_seamless::overlay::plugin::bevy_egui::egui::{
    Align2, Area, Color32, Context, FontId, Id, LayerId, Rect, RichText, Sense, Ui, Vec2, pos2,
    vec2,
};

/// The texts of one frame; none covers another.
pub(crate) struct Captions<'a> {
    context: &'a Context,
    camera: &'a Camera,
    from: &'a GlobalTransform,
    written: Vec<Rect>,
}

impl<'a> Captions<'a> {
    pub(crate) const fn new(
        context: &'a Context,
        (camera, from): (&'a Camera, &'a GlobalTransform),
    ) -> Self {
        Self {
            context,
            camera,
            from,
            written: Vec::new(),
        }
    }

    /// Writes a text over a place, or above what is written there already.
    pub(crate) fn write(&mut self, place: Vec3, text: String, colour: Color32) {
        let Ok(at) = self.camera.world_to_viewport(self.from, place) else {
            return;
        };
        let painter = self.context.layer_painter(LayerId::background());
        let galley = painter.layout_no_wrap(text, FontId::proportional(12.0), colour);
        let place = Align2::CENTER_BOTTOM.anchor_size(pos2(at.x, at.y), galley.size());
        let mut place = place.expand2(vec2(4.0, 1.0));
        while let Some(taken) = self.written.iter().find(|taken| taken.intersects(place)) {
            place = place.translate(vec2(0.0, taken.top() - place.bottom() - 1.0));
        }
        painter.rect_filled(place, 4.0, Color32::from_black_alpha(0xa0));
        painter.galley(place.min + vec2(4.0, 1.0), galley, colour);
        self.written.push(place);
    }
}

/// A title and what follows it, in the corner that the panel leaves free.
pub(crate) fn legend(context: &Context, title: String, rest: impl FnOnce(&mut Ui)) {
    let place = Area::new(Id::new("legend")).interactable(false);
    place.fixed_pos([20.0, 14.0]).show(context, |ui| {
        ui.set_width(720.0);
        ui.label(RichText::new(title).size(22.0).color(Color32::WHITE));
        rest(ui);
    });
}

/// A text of the legend.
pub(crate) fn small(text: impl Into<String>) -> RichText {
    RichText::new(text).size(12.5)
}

/// What a colour means.
pub(crate) fn entry(ui: &mut Ui, colour: Color32, text: &str) {
    let (place, _) = ui.allocate_exact_size(Vec2::splat(11.0), Sense::hover());
    ui.painter().rect_filled(place, 2.0, colour);
    ui.label(small(text));
    ui.add_space(8.0);
}
