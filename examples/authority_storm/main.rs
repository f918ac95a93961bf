//! Everybody wants everything: clients request, release, write, spawn and delegate, the server gives,
//! takes and hides, links break, and datagrams are lost, doubled and out of order. Look at: the fields
//! that must be 0, and at `STORM_LOG=1`, which says on the standard error what was violated and when.
//! Run: `cargo run --release --example authority_storm -- --clients 4 --entities 200 --seconds 20 --loss 30 --seed 1 --json`
#![allow(clippy::print_stdout, reason = "an example speaks to its user")]
#![allow(
    dead_code,
    unreachable_pub,
    reason = "parts are shared with a test and a bench"
)]

#[path = "../common/cli.rs"]
#[allow(dead_code, unreachable_pub, clippy::print_stderr, reason = "shared")]
mod cli;
mod figures;
mod grants;
mod migration;
mod storm;

use bevy::prelude::*;
use clap::Parser;
use figures::Figures;
use seamless_replication::{Peers, migrate::redirects};
use storm::{Plan, Storm};

/// Ticks a second.
const RATE: usize = 30;

/// Ticks of one squall, after which everything comes to rest and is looked at.
const SQUALL: usize = 100;

/// Authority under storm. Apps run on virtual time in one process: what it prints does not depend on
/// the machine, but for `migration_ns_each_*`.
#[derive(Parser)]
#[command(version)]
struct Cli {
    /// Clients, 1 to 16.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=16))]
    clients: u8,
    /// Entities that the server begins with, 1 to 10000.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    entities: u16,
    /// Virtual seconds of operations, at 30 ticks each. Times of rest, in which nothing new happens,
    /// come on top.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    seconds: u32,
    /// Percent of datagrams that are lost; half as many come twice, and half as many out of order.
    #[arg(long, default_value = "0", value_parser = cli::percent)]
    loss: f64,
    /// What chance follows from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Prints one line of JSON.
    #[arg(long)]
    json: bool,
}

fn main() {
    let cli: Cli = cli::parse();
    cli::log_to_stderr("error");
    let mut storm = Storm::new(Plan {
        clients: cli.clients.into(),
        entities: cli.entities.into(),
        loss: cli.loss as f32 / 100.0,
        seed: cli.seed,
    });
    let mut left = cli.seconds as usize * RATE;
    while left > 0 {
        let squall = left.min(SQUALL);
        storm.rage(squall);
        storm.settle();
        left -= squall;
    }
    let control_bytes = grants::control_bytes(&mut storm);
    storm.settle();
    let redirects = redirects_after_ttl(&mut storm);
    let figures = Figures::of(&mut storm, control_bytes, redirects);
    if cli.json {
        println!("{}", figures.to_json());
    } else {
        println!("{figures:#?}");
    }
    if !figures.is_clean() {
        std::process::exit(1);
    }
}

/// Old names that are still understood after their time. Nothing happens meanwhile.
fn redirects_after_ttl(storm: &mut Storm) -> usize {
    let ticks = seamless_replication::migrate::REDIRECT_TTL.as_secs() as usize * RATE;
    storm.cluster.run(ticks + RATE);
    let peers = storm.world(storm::trace::SERVER).resource::<Peers>();
    redirects(peers).count()
}
