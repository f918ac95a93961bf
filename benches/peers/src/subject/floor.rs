//! An empty app: what Bevy itself costs in a tick.

use bevy::prelude::*;

use super::{Subject, bare_app, finished};
use crate::{body::Body, network::Traffic};

/// `MinimalPlugins` on the same clock, with no entities and no clients.
pub(crate) struct Floor(App);

impl Floor {
    pub(crate) fn new() -> Self {
        Self(finished(bare_app()))
    }
}

impl Subject for Floor {
    fn write(&mut self, _: &[u32], _: &[Body]) {}

    fn connect(&mut self, _: usize) {}

    fn server_tick(&mut self) {
        self.0.update();
    }

    fn client_tick(&mut self, _: usize) {}

    fn turn(&mut self) {}

    fn drop_clients(&mut self) {}

    fn set_loss(&mut self, _: f32, _: u64) {}

    fn sent(&self) -> Traffic {
        Traffic::default()
    }

    fn count(&mut self, _: usize) -> usize {
        0
    }

    fn server_bodies(&self) -> Vec<Body> {
        Vec::new()
    }

    fn client_bodies(&self, _: usize, _: &[u32]) -> Vec<Option<Body>> {
        Vec::new()
    }
}
