//! Four servers, eight players and 200 boxes, and the panel over them. Look at: a player takes the
//! colour of the server that simulates it, what it carries stays its own over the border; Tab looks
//! at another app, F3 hides the panel. Run: `cargo run --release --example overlay --features window`

#[path = "common/backdrop.rs"]
mod backdrop;
#[path = "common/captions.rs"]
mod captions;
#[path = "common/cli.rs"]
#[allow(dead_code, unreachable_pub, clippy::print_stderr, reason = "shared")]
mod cli;
#[path = "common/game.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared")]
mod game;
#[path = "overlay/labels.rs"]
mod labels;
#[path = "overlay/play.rs"]
mod play;
#[path = "overlay/scene.rs"]
mod scene;

use std::path::PathBuf;

use bevy::prelude::*;
use bevy_seamless::{
    overlay::{Overlay, OverlayModel, collect},
    prelude::*,
    wire::NodeId,
};
use clap::Parser;
use labels::LabelsPlugin;
use scene::{ScenePlugin, Things};
use seamless_testkit::{AppId, MeshCluster, NodeSetup, Weather};

/// Side of a cell in metres.
const CELL: f32 = 60.0;
const NODES: usize = 4;
const PLAYERS: usize = 8;

/// The panel over a small world.
#[derive(Parser)]
#[command(version)]
struct Cli {
    /// Writes a picture of the window to this file, as PNG, and ends.
    #[arg(long)]
    screenshot: Option<PathBuf>,
    /// Seconds of play that pass before the window opens.
    #[arg(long, default_value_t = 0)]
    seconds: usize,
}

/// A mesh in this process, on virtual time, over a simulated network: its apps, the nodes first,
/// and what was last seen of each.
struct Show {
    cluster: MeshCluster,
    apps: Vec<AppId>,
    seen: Vec<OverlayModel>,
    watched: usize,
}

impl Show {
    fn begin() -> Self {
        let grid = CellGrid {
            origin: Vec2::ZERO,
            cell: Vec2::splat(CELL),
            columns: 2,
            rows: 2,
        };
        let rules = BorderRules::default();
        let mut cluster = MeshCluster::new(1, grid, rules, CellId(0), play::setup);
        cluster.set_weather(Weather::lossy(0.02));
        let node = |id| NodeSetup {
            id,
            cells: vec![CellId(id)],
        };
        let mut apps: Vec<AppId> = (0..NODES as u32)
            .map(|id| cluster.node(&node(id)))
            .collect();
        cluster.run(60);
        apps.extend((0..PLAYERS).map(|_| cluster.player().0));
        Self {
            cluster,
            seen: vec![OverlayModel::default(); apps.len()],
            apps,
            watched: 0,
        }
    }

    fn run(&mut self, ticks: usize) {
        self.cluster.run(ticks);
        for (&app, seen) in self.apps.iter().zip(&mut self.seen) {
            if let Some(mut model) = collect::read(self.cluster.world(app)) {
                model.follow(seen);
                *seen = model;
            }
        }
    }

    /// What the watched app knows; a node's map shows what the other nodes host too.
    fn model(&self) -> OverlayModel {
        let mut model = self.seen[self.watched].clone();
        if let Some(mesh) = &mut model.mesh {
            let others = self.seen.iter().filter_map(|seen| seen.mesh.as_ref());
            others.for_each(|other| mesh.absorb(other));
        }
        model
    }
}

/// As many ticks as time has passed, then what the nodes host, and what the panel shows.
fn advance(
    mut show: NonSendMut<Show>,
    (time, keys): (Res<Time>, Res<ButtonInput<KeyCode>>),
    (mut owed, mut things): (Local<f32>, ResMut<Things>),
    (mut model, mut overlay): (ResMut<OverlayModel>, ResMut<Overlay>),
) {
    show.watched += usize::from(keys.just_pressed(KeyCode::Tab));
    show.watched %= show.apps.len();
    *owed = (*owed + time.delta_secs() * f32::from(game::TICK_RATE)).min(4.0);
    let ticks = owed.floor();
    *owed -= ticks;
    show.run(ticks as usize);
    *model = show.model();
    overlay.title = format!("seamless: {}", model.name);
    let Show { cluster, apps, .. } = &mut *show;
    *things = Things::default();
    for (&node, id) in apps.iter().zip(0..NODES as u32) {
        things.add_hosted(cluster.world(node), NodeId(id));
    }
}

fn main() {
    let cli: Cli = cli::parse();
    let mut show = Show::begin();
    for _ in 0..cli.seconds {
        show.run(game::TICK_RATE.into());
    }
    App::new()
        .add_plugins((
            ScenePlugin::new(CELL, cli.screenshot),
            backdrop::panel(),
            LabelsPlugin,
        ))
        .insert_non_send(show)
        .add_systems(Update, advance)
        .run();
}
