//! Random worlds from seeds: entities, components, hierarchies, references, interest, at any loss.
//!
//! In every tick a client shows only whole states that the server had, and never goes back; once
//! nothing happens any more it shows, bit for bit, what it may see, and nothing else.
//!
//! `SEAMLESS_SEEDS`: how many at each loss. `SEAMLESS_SEED`: this one alone.
//! `SEAMLESS_SHRINK=1`: the first that fails is cut down to the operations that matter.

mod common;
mod worlds;

use std::env;

use worlds::{Plan, run::run, shrink::shrink};

/// Frames until everything must have arrived.
const PATIENCE: u32 = 600;

fn number(name: &str) -> Option<u64> {
    env::var(name).ok()?.parse().ok()
}

fn all_seeds_converge(loss: f32) {
    all_converge(loss, None);
}

/// `parallel_rows`: of the server's [`ReplicationConfig`](seamless_replication::ReplicationConfig).
fn all_converge(loss: f32, parallel_rows: Option<usize>) {
    let seeds = match number("SEAMLESS_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SEAMLESS_SEEDS").unwrap_or(10),
    };
    let count = seeds.end - seeds.start;
    let mut failed = Vec::new();
    for seed in seeds {
        let plan = Plan {
            parallel_rows,
            ..Plan::new(seed, loss)
        };
        if let Err(error) = run(&plan, PATIENCE) {
            eprintln!("seed {seed} at loss {loss}: {error}");
            failed.push(plan);
        }
    }
    // The line that scripts/seeds.sh reads.
    let how = parallel_rows.map_or("", |_| " in threads");
    eprintln!(
        "seeds at loss {loss}{how}: {count}, failed: {}",
        failed.len()
    );
    if let Some(plan) = failed
        .first()
        .filter(|_| number("SEAMLESS_SHRINK").is_some())
    {
        let plan = shrink(plan);
        eprintln!("{:#?}\n{:?}", plan.ops, run(&plan, PATIENCE));
        eprintln!("{} ticks, joins {:?}", plan.ticks, plan.joins);
    }
    let failed: Vec<u64> = failed.iter().map(|plan| plan.seed).collect();
    assert!(
        failed.is_empty(),
        "loss {loss}: these seeds fail: {failed:?}"
    );
}

#[test]
fn random_worlds_are_the_same_everywhere_without_loss() {
    all_seeds_converge(0.0);
}

#[test]
fn random_worlds_are_the_same_everywhere_at_five_percent_loss() {
    all_seeds_converge(0.05);
}

#[test]
fn random_worlds_are_the_same_everywhere_at_thirty_percent_loss() {
    all_seeds_converge(0.3);
}

#[test]
fn random_worlds_are_the_same_everywhere_when_all_is_shared_out_to_threads() {
    // Also where there is one processor.
    let pool = rayon::ThreadPoolBuilder::new().num_threads(3);
    pool.build_global().expect("nobody used it before");
    all_converge(0.3, Some(1));
}
