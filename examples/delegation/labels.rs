//! Names over the players, what the keys do, and what the hands are doing.

use bevy::prelude::*;
use bevy_seamless::{
    overlay::{
        plugin::bevy_egui::{
            EguiContexts, EguiPrimaryContextPass,
            egui::{
                Align2, Area, Color32, Context, FontId, Id, LayerId, RichText, Sense, Ui, Vec2,
                pos2,
            },
        },
        theme,
    },
    prelude::Peers,
};

use crate::{
    game::Body,
    player::{Done, Hands},
};

/// Over the head of a player and of what it carries, in metres.
const OVERHEAD: f32 = 3.4;

const KEYS: [(&str, &str); 6] = [
    ("WASD", "walk; into a crate: push it"),
    ("E", "grab the nearest free crate, or put it down"),
    ("F", "throw it"),
    ("C", "reach for a crate that somebody else holds"),
    ("B", "build one, and give it to all"),
    (
        "Tab",
        "the panel shows the server, or you again; F3 hides it",
    ),
];

/// Writes the labels, below the panel.
pub(crate) struct LabelsPlugin;

impl Plugin for LabelsPlugin {
    fn build(&self, app: &mut App) {
        app.add_systems(EguiPrimaryContextPass, show);
    }
}

fn show(
    mut contexts: EguiContexts,
    camera: Single<(&Camera, &GlobalTransform)>,
    bodies: Query<(&Body, &Transform)>,
    (peers, hands): (Res<Peers>, Res<Hands>),
) -> Result {
    let context = contexts.ctx_mut()?;
    let (camera, from) = *camera;
    for (body, shown) in &bodies {
        let over = shown.translation + Vec3::Y * OVERHEAD;
        let Ok(at) = camera.world_to_viewport(from, over) else {
            continue;
        };
        let name = if peers.me() == Some(body.0) {
            format!("{} (you)", body.0)
        } else {
            body.0.to_string()
        };
        let painter = context.layer_painter(LayerId::background());
        let font = FontId::proportional(13.0);
        let galley = painter.layout_no_wrap(name, font, theme::player(body.0));
        let place = Align2::CENTER_BOTTOM.anchor_size(pos2(at.x, at.y), galley.size());
        let behind = place.expand(3.0);
        painter.rect_filled(behind, 4.0, Color32::from_black_alpha(0xa0));
        painter.galley(place.min, galley, Color32::WHITE);
    }
    legend(context, &hands);
    Ok(())
}

fn legend(context: &Context, hands: &Hands) {
    let place = Area::new(Id::new("legend")).interactable(false);
    place.fixed_pos([20.0, 14.0]).show(context, |ui| {
        ui.set_width(720.0);
        let title = "Crates: who has one in hand has authority over it";
        ui.label(RichText::new(title).size(20.0).color(Color32::WHITE));
        for (key, what) in KEYS {
            ui.horizontal(|ui| {
                let key = RichText::new(format!("{key:<4}")).monospace();
                ui.label(key.size(12.5).color(Color32::WHITE));
                ui.label(RichText::new(what).size(12.5));
            });
        }
        ui.horizontal(|ui| {
            entry(ui, theme::AVAILABLE, "nobody has it: the server moves it");
            entry(ui, Color32::WHITE, "it was denied to you");
            ui.label(RichText::new("else in the colour of its holder").size(12.5));
        });
        let Done {
            granted,
            denied,
            thrown,
            built,
            ..
        } = hands.done;
        let state = match (hands.carried, hands.asked) {
            (Some(_), _) => "a crate in your hands",
            (None, Some(_)) => "asking ...",
            (None, None) => "hands free",
        };
        let text =
            format!("{state}; granted {granted}, denied {denied}, thrown {thrown}, built {built}");
        ui.label(RichText::new(text).size(12.5));
    });
}

fn entry(ui: &mut Ui, colour: Color32, text: &str) {
    let (place, _) = ui.allocate_exact_size(Vec2::splat(11.0), Sense::hover());
    ui.painter().rect_filled(place, 2.0, colour);
    ui.label(RichText::new(text).size(12.5));
    ui.add_space(8.0);
}
