//! The panel as a window in a rendered app. See [`OverlayPlugin`].

use std::time::Duration;

use bevy::{
    input::{ButtonInput, keyboard::KeyCode},
    prelude::*,
    time::common_conditions::on_real_timer,
};
/// The version with which the panel is drawn, for apps that draw something beside it.
pub use bevy_egui;
use bevy_egui::{EguiContexts, EguiPlugin, EguiPrimaryContextPass};

use crate::{
    OverlayModel, OverlayState,
    collect::{INTERVAL, collect},
};

/// Shows the panel in the primary window, over the game.
///
/// `Update`: the key opens and closes it. `Last`, a few times a second while it is open:
/// [`collect`] fills the [`OverlayModel`]. `EguiPrimaryContextPass`, each frame while it is open:
/// the panel is drawn. A closed panel costs nothing.
///
/// Adds bevy_egui's plugin if that is not there. The app needs a camera, as any that uses egui.
pub struct OverlayPlugin {
    /// How the window begins; change the [`Overlay`] resource later.
    pub overlay: Overlay,
    /// Time between two collections.
    pub every: Duration,
}

impl Default for OverlayPlugin {
    fn default() -> Self {
        Self {
            overlay: Overlay::default(),
            every: INTERVAL,
        }
    }
}

/// The panel's window.
#[derive(Resource, Clone, Debug)]
pub struct Overlay {
    /// Whether it is shown.
    pub open: bool,
    /// Opens and closes it; `None` for apps that do so by themselves.
    pub key: Option<KeyCode>,
    /// Its title.
    pub title: String,
    /// Its corner at first, in points from the corner of the screen. Users may move it.
    pub position: [f32; 2],
    /// Its size at first, in points. Users may change it.
    pub size: [f32; 2],
}

impl Default for Overlay {
    fn default() -> Self {
        Self {
            open: false,
            key: Some(KeyCode::F3),
            title: "seamless".to_owned(),
            position: [12.0, 12.0],
            size: [780.0, 640.0],
        }
    }
}

impl Plugin for OverlayPlugin {
    fn build(&self, app: &mut App) {
        if !app.is_plugin_added::<EguiPlugin>() {
            app.add_plugins(EguiPlugin::default());
        }
        app.insert_resource(self.overlay.clone())
            .init_resource::<OverlayModel>()
            .add_systems(Update, toggle)
            .add_systems(EguiPrimaryContextPass, show.run_if(is_open))
            .add_systems(
                Last,
                collect.run_if(is_open.and_then(on_real_timer(self.every))),
            );
    }
}

fn is_open(overlay: Res<Overlay>) -> bool {
    overlay.open
}

fn toggle(mut overlay: ResMut<Overlay>, keys: Option<Res<ButtonInput<KeyCode>>>) {
    let pressed = |key| keys.is_some_and(|keys| keys.just_pressed(key));
    if overlay.key.is_some_and(pressed) {
        overlay.open = !overlay.open;
    }
}

fn show(
    mut contexts: EguiContexts,
    mut overlay: ResMut<Overlay>,
    model: Res<OverlayModel>,
    mut state: Local<OverlayState>,
) -> Result {
    let context = contexts.ctx_mut()?;
    let mut open = overlay.open;
    egui::Window::new(overlay.title.as_str())
        .id(egui::Id::new("seamless_overlay"))
        .open(&mut open)
        .default_pos(overlay.position)
        .default_size(overlay.size)
        .vscroll(true)
        .show(context, |ui| crate::ui(ui, &model, &mut state));
    // Written only when it was closed, so that change detection tells.
    if overlay.open != open {
        overlay.open = open;
    }
    Ok(())
}
