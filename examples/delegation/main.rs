//! Crates that players grab, push, throw and contest: authority over each is lent to whoever has
//! it in hand. Look at: a crate takes the colour of its holder; a hand that comes too late flashes
//! white; a crate that a player builds is taken over by the server, and the panel (F3) shows its
//! fence and its old name. Run: `cargo run --release --example delegation --features window`, and
//! the same with `-- --connect ADDRESS` for a second window. Without the feature bots play alone.

#[cfg(feature = "window")]
#[path = "../common/backdrop.rs"]
mod backdrop;
mod bot;
#[cfg(feature = "window")]
#[path = "../common/captions.rs"]
mod captions;
#[path = "../common/cli.rs"]
#[allow(dead_code, unreachable_pub, clippy::print_stderr, reason = "shared")]
mod cli;
mod game;
#[cfg(feature = "window")]
mod glass;
#[cfg(feature = "window")]
mod labels;
mod party;
mod player;
mod report;
mod server;
#[cfg(feature = "window")]
mod window;

use std::{net::SocketAddr, path::PathBuf, process::ExitCode, thread, time::Duration};

use bevy_seamless::transport::ConditionerConfig;
use clap::Parser;
#[cfg(feature = "window")]
use glass::Glass;
use party::{Seen, Stage};

/// Authority over crates, lent and taken back.
#[derive(Parser)]
#[command(version)]
struct Cli {
    /// Players that nobody steers, 0 to 32.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(0..=32))]
    bots: u16,
    /// No server here: joins the one at this address.
    #[arg(long, value_name = "ADDRESS")]
    connect: Option<SocketAddr>,
    /// Where the server listens.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Round trip in milliseconds that the network takes at least, 0 to 1000.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(0..=1000))]
    rtt: u64,
    /// Datagrams that are lost each way, 0 to 50 percent.
    #[arg(long, default_value_t = 2.0, value_parser = cli::percent)]
    loss: f64,
    /// What the bots do follows from it.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// No window: bots play for so many seconds, then it is said what came of it.
    #[arg(long)]
    headless: bool,
    /// How long bots play when there is no window, 1 to 3600; before a picture is taken, when
    /// there is.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
    /// What came of it in one line of JSON.
    #[arg(long)]
    json: bool,
    /// In a window: a bot plays for the one who watches.
    #[arg(long)]
    watch: bool,
    /// In a window: writes a picture of it to this file, as PNG, after the seconds, and ends.
    #[arg(long, value_name = "FILE")]
    screenshot: Option<PathBuf>,
}

/// How long it may take until what was in flight has arrived everywhere and lies.
const TO_REST: Duration = Duration::from_secs(6);

fn main() -> ExitCode {
    let cli: Cli = cli::parse();
    cli::log_to_stderr("warn,wgpu=error,naga=error");
    let network =
        ConditionerConfig::symmetric(Duration::from_millis(cli.rtt), cli.loss as f32 / 100.0);
    let stage = Stage::default();
    let glass = Glass::default();
    let (server, address) = match cli.connect {
        Some(address) => (None, address),
        None => {
            let endpoint = server::bind(cli.listen)
                .unwrap_or_else(|error| cli::fail(&format_args!("{}: {error}", cli.listen)));
            let address = endpoint.local_address();
            let shared = glass.clone();
            let served = party::serve(endpoint, &stage, move |app| shared.add_server(app));
            (Some(served), address)
        }
    };
    let bots: Vec<_> = (0..u64::from(cli.bots))
        .map(|bot| party::play(address, network, cli.seed.wrapping_mul(1000) + bot, &stage))
        .collect();
    let glass = server.is_some().then_some(glass);
    if with_window(&cli, (address, network), glass, &stage) {
        stage.end();
        return ExitCode::SUCCESS;
    }
    thread::sleep(Duration::from_secs(cli.seconds));
    stage.rest();
    thread::sleep(TO_REST);
    stage.end();
    let bots: Vec<Seen> = bots.into_iter().filter_map(|bot| bot.join().ok()).collect();
    let server = server.and_then(|server| server.join().ok());
    report::report(server, &bots, cli.json)
}

/// Shows a window until it is closed; false if there is to be none.
#[cfg(feature = "window")]
fn with_window(
    cli: &Cli,
    link: (SocketAddr, ConditionerConfig),
    server: Option<Glass>,
    stage: &Stage,
) -> bool {
    if cli.headless {
        return false;
    }
    let picture = cli.screenshot.clone().map(|file| (file, cli.seconds));
    let bot = cli.watch.then_some(cli.seed);
    window::run(link, server, (bot, picture), stage);
    true
}

#[cfg(not(feature = "window"))]
fn with_window(cli: &Cli, _: (SocketAddr, ConditionerConfig), _: Option<Glass>, _: &Stage) -> bool {
    if cli.screenshot.is_some() || cli.watch {
        cli::fail(&"there is no window without --features window");
    }
    false
}

/// Without a window there is no panel that could show the server.
#[cfg(not(feature = "window"))]
#[derive(Clone, Default)]
struct Glass {}

#[cfg(not(feature = "window"))]
impl Glass {
    const fn add_server(&self, _: &mut bevy::app::App) {}
}
