//! One world on several servers: a node per cell, headless players that walk over the borders and
//! carry crates across, all on real UDP on this machine. Look at: the table (handed over), the
//! summary (nothing lost, nothing double, gaps), and `--kill-node`.
//! Run: `cargo run --release --example seamless_world`

mod common;

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use clap::Parser;
use common::{
    cli,
    parts::{Part, Scene},
    supervise::{self, Run},
};

/// One seamless world on several server processes.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(flatten)]
    scene: Scene,
    /// Headless players, 0 to 512.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(0..=512))]
    bots: u32,
    /// Seconds of play, 4 to 86400.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(4..=86_400))]
    seconds: u32,
    /// Kills one node half way, as `kill -9` does.
    #[arg(long)]
    kill_node: bool,
    /// Prints nothing but the summary, as one JSON object.
    #[arg(long)]
    json: bool,
    /// Makes this process one of the parts.
    #[arg(long, hide = true)]
    part: Option<String>,
}

fn main() {
    let cli: Cli = cli::parse();
    cli::log_to_stderr("warn");
    let result = match cli.part.as_deref().map(serde_json::from_str::<Part>) {
        None => supervise(&cli),
        Some(Ok(part)) => part.run(),
        Some(Err(error)) => Err(format!("--part: {error}")),
    };
    if let Err(error) = result {
        cli::fail(&error);
    }
}

fn supervise(cli: &Cli) -> Result<(), String> {
    let stop = Arc::new(AtomicBool::new(false));
    let raised = stop.clone();
    ctrlc::set_handler(move || raised.store(true, Ordering::Relaxed))
        .map_err(|error| error.to_string())?;
    let run = Run {
        scene: cli.scene.clone(),
        bots: cli.bots,
        seconds: cli.seconds,
        kill_node: cli.kill_node,
        quiet: cli.json,
    };
    let summary = supervise::run(&run, &stop)?;
    summary.print(cli.json);
    if !summary.is_clean() {
        // Something was lost or double: the logs were kept.
        std::process::exit(1);
    }
    Ok(())
}
