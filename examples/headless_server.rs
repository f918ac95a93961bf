//! One node as an operator runs it: a TOML file, logs, and a clean end. Look at: what is retried (a
//! taken port, a directory that is not there yet), what is not (a mistake in the file), and that
//! Ctrl-C or SIGTERM gives the cells and the players away before the process ends.
//! Run: `cargo run --release --example headless_server -- --config assets/servers/node0.toml`
#![allow(clippy::print_stdout, reason = "an example speaks to its user")]

mod common;

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use bevy::app::App;
use bevy_seamless::{
    handover::service::NodeAddresses,
    prelude::*,
    transport::{CloseReason, Links},
};
use clap::Parser;
use common::{
    cli,
    config::Config,
    node::{self, NodeSetup, NotStarted},
    world::load_toml,
};

/// A node of a seamless world, without a window.
#[derive(Parser)]
#[command(version)]
struct Cli {
    /// What it hosts and where it listens.
    #[arg(long, default_value = "assets/servers/node0.toml")]
    config: PathBuf,
    /// Records what clients and other nodes say to it, for a report of a bug.
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    /// Reads the files, says whether they are good, and ends.
    #[arg(long)]
    check: bool,
}

fn main() {
    let cli: Cli = cli::parse();
    cli::log_to_stderr("info");
    let checked = load_toml(&cli.config).and_then(|config: Config| {
        config.setup()?;
        Ok(config)
    });
    let config = match checked {
        Ok(config) => config,
        Err(error) => cli::fail(&error),
    };
    if cli.check {
        println!("{}: good", cli.config.display());
        return;
    }
    let leave = Arc::new(AtomicBool::new(false));
    let raised = leave.clone();
    if let Err(error) = ctrlc::set_handler(move || raised.store(true, Ordering::Relaxed)) {
        cli::fail(&error);
    }
    let Some((mut app, addresses)) = start(&config, cli.record.as_deref(), &leave) else {
        return;
    };
    tracing::info!(
        node = config.id, udp = %addresses.udp, http = %addresses.http, door = %addresses.door,
        "listening"
    );
    let patience = Duration::from_secs(config.drain_seconds);
    node::run(&mut app, config.id, &leave, patience, |report| {
        tracing::info!(
            players = report.players,
            entities = report.entities,
            in_kbps = report.kbps_in,
            out_kbps = report.kbps_out,
            handed_over = report.handed_over,
            tick_ms = report.tick_ms_p95,
        );
    });
    let everything_went = app.world().resource::<MeshView>().has_left();
    app.world_mut()
        .resource_mut::<Links>()
        .close_all(CloseReason::Requested);
    for _ in 0..10 {
        app.update();
        std::thread::sleep(Duration::from_millis(20));
    }
    if everything_went {
        tracing::info!("left the mesh");
    } else {
        tracing::warn!("left before everything was handed over; others take it from the directory");
    }
}

/// Starts the node; waits for what may pass, until it is told to leave.
fn start(
    config: &Config,
    record: Option<&Path>,
    leave: &AtomicBool,
) -> Option<(App, NodeAddresses)> {
    let mut wait = Duration::from_secs(1);
    loop {
        let setup = config.setup().map_err(|what| NotStarted {
            what,
            passing: false,
        });
        let setup = setup.map(|setup| NodeSetup {
            record: record.map(Path::to_owned),
            ..setup
        });
        match setup.and_then(node::app) {
            Ok(started) => return Some(started),
            Err(error) if error.passing => {
                tracing::warn!(again_in = ?wait, "{}", error.what);
                let until = Instant::now() + wait;
                while Instant::now() < until {
                    if leave.load(Ordering::Relaxed) {
                        return None;
                    }
                    std::thread::sleep(Duration::from_millis(50));
                }
                wait = (wait * 2).min(Duration::from_secs(30));
            }
            Err(error) => cli::fail(&error.what),
        }
    }
}
