//! Names over the players, what the keys do, and what the hands are doing.

use bevy::prelude::*;
use bevy_seamless::{
    overlay::{
        plugin::bevy_egui::{
            EguiContexts, EguiPrimaryContextPass,
            egui::{Color32, Context},
        },
        theme,
    },
    prelude::Peers,
};

use crate::{
    captions::{self, Captions, entry, small},
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
    let mut captions = Captions::new(context, *camera);
    for (body, shown) in &bodies {
        let name = if peers.me() == Some(body.0) {
            format!("{} (you)", body.0)
        } else {
            body.0.to_string()
        };
        let over = shown.translation + Vec3::Y * OVERHEAD;
        captions.write(over, name, theme::player(body.0));
    }
    legend(context, &hands);
    Ok(())
}

fn legend(context: &Context, hands: &Hands) {
    let title = "Crates: who has one in hand has authority over it".into();
    captions::legend(context, title, |ui| {
        for (key, what) in KEYS {
            ui.horizontal(|ui| {
                let key = small(format!("{key:<4}")).monospace();
                ui.label(key.color(Color32::WHITE));
                ui.label(small(what));
            });
        }
        ui.horizontal(|ui| {
            entry(ui, theme::AVAILABLE, "nobody has it: the server moves it");
            entry(ui, Color32::WHITE, "it was denied to you");
            ui.label(small("else in the colour of its holder"));
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
        ui.label(small(format!(
            "{state}; granted {granted}, denied {denied}, thrown {thrown}, built {built}"
        )));
    });
}
