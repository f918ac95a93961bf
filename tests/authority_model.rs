//! Random histories of authority against a model of who may write what.
//!
//! The storm of `examples/authority_storm` in small: four clients, all operations, at 0, 5 and 30 %
//! loss with duplicates and disorder. `SEAMLESS_STORMS` says how many seeds at each loss; 3 if it is
//! not set.

#![allow(dead_code, unreachable_pub, reason = "the storm is an example's")]

#[path = "../examples/authority_storm/storm/mod.rs"]
mod storm;

use storm::{Plan, Storm};

/// Ticks of one squall, after which everything comes to rest and is looked at.
const SQUALL: usize = 60;

fn weather_through(loss: f32) {
    let seeds = std::env::var("SEAMLESS_STORMS").map_or(3, |text| {
        let seeds = text.parse();
        seeds.expect("SEAMLESS_STORMS is a number of seeds")
    });
    for seed in 1000..1000 + seeds {
        let mut storm = Storm::new(Plan {
            clients: 4,
            entities: 40,
            loss,
            seed,
        });
        for _ in 0..3 {
            storm.rage(SQUALL);
            storm.settle();
        }
        let oracle = &storm.oracle;
        assert!(
            oracle.violations.is_empty(),
            "seed {seed}: {:?}",
            oracle.violations
        );
        assert_eq!(
            (oracle.lost_writes, oracle.stale_writes),
            (0, 0),
            "seed {seed}"
        );
        assert_eq!(oracle.unanswered, 0, "seed {seed}");
        let costs = storm.costs();
        assert_eq!((costs.echo_bits, costs.resent_bits), (0, 0), "seed {seed}");
        assert!(storm.stats().granted > 0, "something happened");
    }
}

#[test]
fn all_worlds_agree_after_every_squall_on_a_good_network() {
    weather_through(0.0);
}

#[test]
fn all_worlds_agree_after_every_squall_with_some_loss() {
    weather_through(0.05);
}

#[test]
fn all_worlds_agree_after_every_squall_with_heavy_loss() {
    weather_through(0.3);
}
