//! How busy this node is, for the others to choose by and for its own bounds.

use std::time::{Duration, Instant};

use bevy::prelude::*;
use seamless_mesh::{directory::Load, protocol::MeshCommand};
use seamless_replication::NetClock;

use super::state::MeshView;
use crate::port::Mesh;

/// What was measured and what was said.
#[derive(Resource, Default)]
pub(super) struct LoadMeter {
    began: Option<Instant>,
    /// Moving average over about thirty ticks.
    tick: Duration,
    said: Load,
}

/// `FixedFirst`.
pub(super) fn tick_begins(mut meter: ResMut<LoadMeter>) {
    meter.began = Some(Instant::now());
}

/// The end of a tick: players are told at once, for the capacity hangs on them; the length of a
/// tick once a second.
pub(super) fn report(
    mut meter: ResMut<LoadMeter>,
    view: Res<MeshView>,
    clock: Res<NetClock>,
    mesh: Option<Res<Mesh>>,
) {
    if let Some(began) = meter.began.take() {
        meter.tick = (meter.tick * 29 + began.elapsed()) / 30;
    }
    let load = Load {
        players: view.players.len() as u32,
        tick_us: meter.tick.as_micros() as u32,
    };
    let due = clock.tick().0.is_multiple_of(u32::from(clock.rate()));
    if let Some(mesh) = mesh
        && (load.players != meter.said.players || (due && load != meter.said))
    {
        meter.said = load;
        mesh.send(MeshCommand::Load(load));
    }
}
