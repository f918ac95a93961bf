//! Names over the players, and what the colours mean.

use bevy::prelude::*;
use bevy_seamless::{
    overlay::{
        plugin::bevy_egui::{
            EguiContexts, EguiPrimaryContextPass,
            egui::{
                Align2, Area, Color32, Context, FontId, Id, LayerId, Pos2, Rect, RichText, Sense,
                Ui, Vec2, pos2, vec2,
            },
        },
        theme,
    },
    wire::NodeId,
};

use crate::{NODES, PLAYERS, scene::Things};

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
    let (camera, from) = *camera;
    let mut written = Vec::new();
    for &(player, at) in &things.players {
        if let Ok(at) = camera.world_to_viewport(from, at + Vec3::Y * OVERHEAD) {
            let label = (player.to_string(), theme::player(player));
            write(context, pos2(at.x, at.y), label, &mut written);
        }
    }
    legend(context);
    Ok(())
}

/// Writes a text over a place, or above what is written there already.
fn write(context: &Context, at: Pos2, (text, colour): (String, Color32), written: &mut Vec<Rect>) {
    let painter = context.layer_painter(LayerId::background());
    let galley = painter.layout_no_wrap(text, FontId::proportional(12.0), colour);
    let place = Align2::CENTER_BOTTOM.anchor_size(at, galley.size());
    let mut place = place.expand2(vec2(4.0, 1.0));
    while let Some(taken) = written.iter().find(|taken| taken.intersects(place)) {
        place = place.translate(vec2(0.0, taken.top() - place.bottom() - 1.0));
    }
    painter.rect_filled(place, 4.0, Color32::from_black_alpha(0xa0));
    painter.galley(place.min + vec2(4.0, 1.0), galley, colour);
    written.push(place);
}

fn legend(context: &Context) {
    let place = Area::new(Id::new("legend")).interactable(false);
    place.fixed_pos([20.0, 14.0]).show(context, |ui| {
        ui.set_width(720.0);
        let title = format!("One world, {NODES} servers, {PLAYERS} players");
        ui.label(RichText::new(title).size(22.0).color(Color32::WHITE));
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
            ui.label(RichText::new(text).size(12.5));
        }
    });
}

fn entry(ui: &mut Ui, colour: Color32, text: &str) {
    let (place, _) = ui.allocate_exact_size(Vec2::splat(11.0), Sense::hover());
    ui.painter().rect_filled(place, 2.0, colour);
    ui.label(RichText::new(text).size(12.5));
    ui.add_space(8.0);
}
