//! The parts of a run: what each is told, and what it does with it.

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use bevy_seamless::{
    handover::service::NodeSettings,
    prelude::*,
    transport::{Condition, ConditionerConfig},
};
use clap::Args;
use serde::{Deserialize, Serialize};

use super::{
    bot::BotSetup,
    bots::{self, Orders},
    children, cli, game,
    node::{self, NodeSetup},
    world::{GameWorld, WalkFile, anchor},
};

/// What all parts know.
#[derive(Args, Serialize, Deserialize, Clone)]
pub struct Scene {
    /// Cells, a node each: COLUMNSxROWS.
    #[arg(long, default_value = "2x2", value_parser = cli::cells)]
    pub cells: (u32, u32),
    /// Of everything that is random.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Round-trip time that is added to the players' links, in milliseconds, 0 to 1000.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=1000))]
    pub rtt: u64,
    /// Share of the players' packets that is lost each way, in percent, 0 to 50.
    #[arg(long, default_value_t = 0.0, value_parser = cli::percent)]
    pub loss: f64,
    /// The world.
    #[arg(long, default_value = "assets/worlds/plains.toml")]
    pub world: PathBuf,
    /// The folder of the players' walks.
    #[arg(long, default_value = "assets/walks")]
    pub walks: PathBuf,
    /// Records what each headless player is told, into a file for each in this folder:
    /// `bot-1.seamless` and so on. `playback` shows them.
    #[arg(long, value_name = "FOLDER")]
    pub record: Option<PathBuf>,
}

/// A part of the run.
#[derive(Serialize, Deserialize)]
pub enum Part {
    /// A server.
    Node {
        /// The run.
        scene: Scene,
        /// Its number, and that of its cell.
        number: u32,
        /// The SQLite file that all nodes share.
        directory: PathBuf,
        /// Where it writes what it does, for the oracle.
        log: PathBuf,
    },
    /// Headless players.
    Players {
        /// The run.
        scene: Scene,
        /// The first of them, from 1.
        first: u32,
        /// The last of them.
        last: u32,
        /// Where they may enter.
        doors: Vec<SocketAddr>,
    },
}

impl Part {
    /// The arguments with which this program becomes the part.
    pub fn args(&self) -> Vec<String> {
        vec![
            "--part".to_owned(),
            serde_json::to_string(self).unwrap_or_default(),
        ]
    }

    /// Becomes the part, until the parent ends it.
    ///
    /// # Errors
    /// One line that says why it cannot begin.
    pub fn run(self) -> Result<(), String> {
        match self {
            Self::Node {
                scene,
                number,
                directory,
                log,
            } => run_node(&scene, number, directory, log),
            Self::Players {
                scene,
                first,
                last,
                doors,
            } => run_players(&scene, first..=last, &doors),
        }
    }
}

fn run_node(scene: &Scene, number: u32, directory: PathBuf, log: PathBuf) -> Result<(), String> {
    let (world, walks, grid) = scene.load()?;
    let mut settings = NodeSettings::new(number, game::PROTOCOL);
    // All players knock from one address.
    settings.limits.knocks_per_second = 500;
    settings.limits.knocks_at_once = 500;
    settings.locks = directory.parent().map(|folder| folder.join("locks"));
    let cells = vec![CellId(number)];
    let (mut app, addresses) = node::app(NodeSetup {
        grid,
        world,
        walks,
        cells,
        log: Some(log),
        record: None,
        settings,
        directory,
    })
    .map_err(|error| error.what)?;
    children::tell_parent(&addresses.door);
    // The parent ends us; nothing is drained.
    children::listen_to_parent(|_| {});
    let never = AtomicBool::new(false);
    node::run(
        &mut app,
        number,
        &never,
        Duration::ZERO,
        children::tell_parent,
    );
    Ok(())
}

fn run_players(
    scene: &Scene,
    players: std::ops::RangeInclusive<u32>,
    doors: &[SocketAddr],
) -> Result<(), String> {
    let (_, walks, grid) = scene.load()?;
    if let Some(folder) = &scene.record {
        std::fs::create_dir_all(folder)
            .map_err(|error| format!("{}: {error}", folder.display()))?;
    }
    let orders = Orders::new();
    let follow = orders.clone();
    children::listen_to_parent(move |line| follow.follow(line));
    let way = Condition {
        delay: Duration::from_millis(scene.rtt) / 2,
        loss: scene.loss as f32 / 100.0,
        ..Condition::default()
    };
    let setup = |player: u32| {
        let n = player as usize - 1;
        let (anchor, quarters) = anchor(&grid, n);
        let seed = scene
            .seed
            .wrapping_mul(1000)
            .wrapping_add(u64::from(player));
        BotSetup {
            player: PeerId(u64::from(player)),
            walk: walks[n % walks.len()].clone(),
            anchor,
            quarters,
            doors: doors.to_vec(),
            weather: ConditionerConfig {
                seed,
                send: way,
                receive: way,
            },
            record: scene
                .record
                .as_ref()
                .map(|folder| folder.join(format!("bot-{player}.seamless"))),
        }
    };
    bots::run(players.map(setup).collect(), &orders, children::tell_parent);
    Ok(())
}

impl Scene {
    /// Reads the files it names.
    ///
    /// # Errors
    /// One line about the first that is wrong.
    pub fn load(&self) -> Result<(GameWorld, Vec<Arc<WalkFile>>, CellGrid), String> {
        let world = GameWorld::load(&self.world)?;
        let walks = WalkFile::load_all(&self.walks)?
            .into_iter()
            .map(Arc::new)
            .collect();
        let grid = world.grid(self.cells.0, self.cells.1);
        Ok((world, walks, grid))
    }
}
