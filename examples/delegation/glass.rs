//! The panel of the window can show the server of the same process, too.

use std::sync::{Arc, Mutex, PoisonError};

use bevy::prelude::*;
use bevy_seamless::overlay::{
    Overlay, OverlayModel,
    collect::{CollectPlugin, collect},
};

/// What the server last said of itself.
#[derive(Clone, Default)]
pub(crate) struct Glass(Arc<Mutex<OverlayModel>>);

/// In the window's app: whether the panel shows the server.
#[derive(Resource)]
struct Through {
    glass: Glass,
    on: bool,
}

impl Glass {
    /// The server's side.
    pub(crate) fn add_server(&self, app: &mut App) {
        let glass = self.clone();
        app.add_plugins(CollectPlugin::default()).add_systems(
            Last,
            (move |model: Res<OverlayModel>| {
                *glass.0.lock().unwrap_or_else(PoisonError::into_inner) = model.clone();
            })
            .run_if(resource_changed::<OverlayModel>)
            .after(collect),
        );
    }

    /// The window's side: Tab looks at the server, or at the player again.
    pub(crate) fn add_window(self, app: &mut App, on: bool) {
        app.insert_resource(Through { glass: self, on })
            .add_systems(Last, look.after(collect));
    }
}

fn look(
    keys: Res<ButtonInput<KeyCode>>,
    mut through: ResMut<Through>,
    mut model: ResMut<OverlayModel>,
    mut overlay: ResMut<Overlay>,
) {
    if keys.just_pressed(KeyCode::Tab) {
        through.on = !through.on;
    }
    if through.on {
        let there = through
            .glass
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *model = there.clone();
    }
    overlay.title = format!("seamless: {}", model.name);
}
