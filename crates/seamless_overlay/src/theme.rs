//! Colours and type sizes. Colours of nodes and players are public, so that a game can paint its
//! world in those of the panel.

use std::sync::Arc;

use egui::{
    Align2, Color32, FontFamily, FontId, Galley, Painter, Pos2, Rect, Stroke, Style, TextStyle,
    Vec2,
};
use seamless_wire::{NodeId, PeerId};

use crate::model::CrossingModel;

/// Colours that are told apart on dark and on light ground, also by most who see fewer colours.
const PALETTE: [Color32; 8] = [
    Color32::from_rgb(0x4e, 0xa5, 0xe8),
    Color32::from_rgb(0xf2, 0x9e, 0x4c),
    Color32::from_rgb(0x5f, 0xc0, 0x8b),
    Color32::from_rgb(0xd9, 0x7a, 0xc5),
    Color32::from_rgb(0xe5, 0xc8, 0x4f),
    Color32::from_rgb(0x9a, 0x8c, 0xf0),
    Color32::from_rgb(0xe8, 0x6a, 0x6a),
    Color32::from_rgb(0x52, 0xc7, 0xc2),
];

/// Received.
pub const RECEIVED: Color32 = PALETTE[0];
/// Sent.
pub const SENT: Color32 = PALETTE[1];
/// Nobody holds it.
pub const AVAILABLE: Color32 = Color32::from_rgb(0x7d, 0x87, 0x93);
/// The host keeps it.
pub const KEPT: Color32 = Color32::from_rgb(0xb9, 0xc2, 0xcc);
/// As it should be.
pub const GOOD: Color32 = PALETTE[2];
/// Worth a look.
pub const WARNING: Color32 = PALETTE[4];
/// Not as it should be.
pub const BAD: Color32 = PALETTE[6];

/// The colour of a node. Eight of them, then from the beginning.
#[must_use]
pub const fn node(id: NodeId) -> Color32 {
    PALETTE[id.0 as usize % PALETTE.len()]
}

/// The colour of a player. Eight of them, then from the beginning.
#[must_use]
pub const fn player(id: PeerId) -> Color32 {
    PALETTE[(id.0 % PALETTE.len() as u64) as usize]
}

/// The colour of a phase of a crossing.
pub(crate) const fn crossing(crossing: &CrossingModel) -> Color32 {
    match crossing {
        CrossingModel::Inside | CrossingModel::Asked { .. } => AVAILABLE,
        CrossingModel::Reserved { .. } => WARNING,
        CrossingModel::Frozen { .. } => Color32::WHITE,
        CrossingModel::Cooling => BAD,
    }
}

/// Type sizes and distances of the panel, set on its part of the screen only.
pub(crate) fn apply(style: &mut Style) {
    let sizes = [
        (TextStyle::Body, 12.5, FontFamily::Proportional),
        (TextStyle::Button, 12.5, FontFamily::Proportional),
        (TextStyle::Heading, 14.0, FontFamily::Proportional),
        (TextStyle::Small, 11.0, FontFamily::Proportional),
        (TextStyle::Monospace, 11.5, FontFamily::Monospace),
    ];
    for (text, size, family) in sizes {
        style.text_styles.insert(text, FontId::new(size, family));
    }
    style.spacing.item_spacing = egui::vec2(6.0, 4.0);
    style.spacing.interact_size.y = 18.0;
}

/// A line that separates what is painted from its ground.
pub(crate) const fn outline(dark: bool) -> Stroke {
    let colour = if dark {
        Color32::from_gray(0x16)
    } else {
        Color32::from_gray(0xf4)
    };
    Stroke {
        width: 1.5,
        color: colour,
    }
}

/// Text on a painted ground, readable over any colour.
pub(crate) fn label(painter: &Painter, at: Pos2, anchor: Align2, text: &str, colour: Color32) {
    let galley = lay_out(painter, text);
    let place = anchor.anchor_size(at, galley.size());
    let shade = Color32::from_black_alpha(0x90);
    painter.rect_filled(place.expand2(PADDING), 3.0, shade);
    painter.galley(place.min, galley, colour);
}

/// What [`label`] covers.
pub(crate) fn label_place(painter: &Painter, at: Pos2, anchor: Align2, text: &str) -> Rect {
    anchor
        .anchor_size(at, lay_out(painter, text).size())
        .expand2(PADDING)
}

/// Around the text of a label.
const PADDING: Vec2 = Vec2::new(3.0, 0.5);

fn lay_out(painter: &Painter, text: &str) -> Arc<Galley> {
    painter.layout_no_wrap(
        text.to_owned(),
        FontId::proportional(10.5),
        Color32::PLACEHOLDER,
    )
}
