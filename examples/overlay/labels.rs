//! Names over the players, and what the colours mean.

use bevy::prelude::*;
use bevy_seamless::{
    overlay::{
        plugin::bevy_egui::{EguiContexts, EguiPrimaryContextPass, egui::Context},
        theme,
    },
    wire::NodeId,
};

use crate::{
    NODES, PLAYERS,
    captions::{self, Captions, entry, small},
    scene::Things,
};

/// Over the head of a player and of what it carries, in metres.
const OVERHEAD: f32 = 6.4;

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
    things: Res<Things>,
) -> Result {
    let context = contexts.ctx_mut()?;
    let mut captions = Captions::new(context, *camera);
    for &(player, at) in &things.players {
        let over = at + Vec3::Y * OVERHEAD;
        captions.write(over, player.to_string(), theme::player(player));
    }
    legend(context);
    Ok(())
}

fn legend(context: &Context) {
    let title = format!("One world, {NODES} servers, {PLAYERS} players");
    captions::legend(context, title, |ui| {
        ui.horizontal(|ui| {
            ui.spacing_mut().item_spacing.x = 6.0;
            for id in 0..NODES as u32 {
                entry(ui, theme::node(NodeId(id)), &format!("node n{id}"));
            }
            entry(ui, theme::KEPT, "crate that nobody holds");
        });
        for text in [
            "A body has the colour of the node that simulates it; a crate that is carried has \
             the colour of its holder.",
            "All in one process, over a simulated network: 40 ms each way, 2 % of datagrams lost.",
        ] {
            ui.label(small(text));
        }
    });
}
