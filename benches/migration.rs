//! The move of a client's entities to the server, which takes them over in one tick: time for each.
//! Only the move is timed, not the rows that came before it.

#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    reason = "the storm is an example's"
)]

use std::{hint::black_box, time::Duration};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

#[path = "../examples/authority_storm/migration.rs"]
mod migration;
#[path = "../examples/authority_storm/storm/mod.rs"]
mod storm;

fn migrate(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("migration");
    for count in [100usize, 1_000, 10_000] {
        group.throughput(Throughput::Elements(count as u64));
        group.sample_size(10);
        group.bench_function(BenchmarkId::from_parameter(count), |bencher| {
            bencher.iter_custom(|rounds| {
                let moves = (0..rounds).map(|_| black_box(migration::Scene::new(count).migrate()));
                moves.sum::<Duration>()
            });
        });
    }
    group.finish();
}

criterion_group!(benches, migrate);
criterion_main!(benches);
