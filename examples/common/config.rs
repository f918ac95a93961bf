//! The file that tells a node what it hosts and where it listens.

use std::{net::SocketAddr, path::PathBuf, sync::Arc};

use bevy_seamless::{handover::service::NodeSettings, mesh::service::MeshKey, prelude::*};
use serde::Deserialize;

use super::{
    cli, game,
    node::NodeSetup,
    world::{GameWorld, WalkFile},
};

/// A node's file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The node's number; one node at a time has it.
    pub id: u32,
    /// The cells it takes if nobody has them.
    cells: Vec<u32>,
    /// Columns and rows of the world, as in `2x2`.
    grid: String,
    world: PathBuf,
    walks: PathBuf,
    /// The SQLite file that all nodes of this machine share.
    directory: PathBuf,
    /// For players, over UDP.
    udp: SocketAddr,
    /// What players are told instead, if they reach it elsewhere.
    #[serde(default)]
    public: Vec<SocketAddr>,
    /// For other nodes, over HTTP.
    http: SocketAddr,
    /// For players who want to enter, over HTTP.
    door: SocketAddr,
    /// Most players.
    capacity: u32,
    /// How long it may take to hand everything over at the end.
    pub drain_seconds: u64,
}

impl Config {
    /// What it makes, with all files that it names read.
    ///
    /// # Errors
    /// One line that names what is wrong and says what is allowed.
    pub fn setup(&self) -> Result<NodeSetup, String> {
        let world = GameWorld::load(&self.world)?;
        let (columns, rows) =
            cli::cells(&self.grid).map_err(|allowed| format!("grid {:?}: {allowed}", self.grid))?;
        let grid = world.grid(columns, rows);
        if let Some(cell) = self.cells.iter().find(|cell| **cell >= columns * rows) {
            return Err(format!(
                "cells: {cell}, allowed is 0 to {}",
                columns * rows - 1
            ));
        }
        if !(1..=1024).contains(&self.capacity) {
            return Err(format!("capacity: {}, allowed is 1 to 1024", self.capacity));
        }
        if !(1..=600).contains(&self.drain_seconds) {
            return Err(format!(
                "drain_seconds: {}, allowed is 1 to 600",
                self.drain_seconds
            ));
        }
        let mut settings = NodeSettings::new(self.id, game::PROTOCOL);
        settings.udp = self.udp;
        settings.public.clone_from(&self.public);
        settings.http = self.http;
        settings.door = self.door;
        settings.capacity = self.capacity;
        settings.key = MeshKey::from_env().map_err(|error| error.to_string())?;
        settings.locks = self.directory.parent().map(|folder| folder.join("locks"));
        Ok(NodeSetup {
            grid,
            world,
            walks: WalkFile::load_all(&self.walks)?
                .into_iter()
                .map(Arc::new)
                .collect(),
            cells: self.cells.iter().copied().map(CellId).collect(),
            log: None,
            record: None,
            settings,
            directory: self.directory.clone(),
        })
    }
}
