//! What is encoded on several threads is what one thread would have made.

mod common;

use std::sync::{Arc, Mutex};

use bevy::prelude::*;
use common::{Place, ready, register};
use seamless_replication::{ReplicateAppExt, Replicated, ReplicationConfig, ReplicationStats};
use seamless_testkit::{Cluster, Fate, Rng, Way, Weather};
use serde::{Deserialize, Serialize};

/// What is played.
#[derive(Clone, Copy)]
struct Scene {
    entities: usize,
    ticks: usize,
    clients: u64,
    bytes_per_tick: usize,
}

/// Less room than what is due, so that it matters what is thought to be urgent.
const SHORT: Scene = Scene {
    entities: 700,
    ticks: 60,
    clients: 4,
    bytes_per_tick: 6_000,
};

/// So many that tables, rows, deltas and what arrived are shared out too, and neighbours are told as they
/// come.
const LARGE: Scene = Scene {
    entities: 6_000,
    ticks: 14,
    clients: 9,
    bytes_per_tick: 1 << 20,
};

/// Weighs down some of them, so that there are several sets of components.
#[derive(Component, TypePath, Serialize, Deserialize, Clone, PartialEq, Debug)]
struct Load(u32);

/// What a server said to its clients, client by client, byte for byte.
fn said(scene: Scene, parallel_rows: usize, threads: usize) -> Vec<Vec<Vec<u8>>> {
    let mut cluster = Cluster::new(11, |app| {
        register(app);
        app.replicate::<Load>();
    });
    cluster.set_weather(Weather::near());
    let server = cluster.server();
    let mut config = cluster.world(server).resource_mut::<ReplicationConfig>();
    config.parallel_rows = parallel_rows;
    config.bytes_per_tick = scene.bytes_per_tick;
    let mut heard = Vec::new();
    for seed in 0..scene.clients {
        let (client, wire) = cluster.client_over_wire(server);
        let said = Arc::new(Mutex::new(Vec::new()));
        heard.push(said.clone());
        let mut rng = Rng::new(seed);
        wire.decide(move |parcel| {
            if parcel.way == Way::ToClient {
                said.lock().expect("one thread").push(parcel.bytes.clone());
            }
            if parcel.channel.is_none() && rng.chance(0.1) {
                Fate::Lose
            } else {
                Fate::Pass
            }
        });
        ready(&mut cluster, client);
    }
    let mut rng = Rng::new(3);
    let mut entities = Vec::new();
    for n in 0..scene.entities {
        let mut entity = cluster
            .world(server)
            .spawn((Replicated, Place(n as f32, 0.0, 1.0)));
        if n % 5 == 0 {
            entity.insert(Load(n as u32));
        }
        entities.push(entity.id());
    }
    let mut most = 0;
    for tick in 0..scene.ticks {
        let world = cluster.world(server);
        for &entity in &entities {
            if rng.chance(0.5)
                && let Some(mut place) = world.get_mut::<Place>(entity)
            {
                place.0 += 0.1;
                place.2 -= rng.below(100) as f32 * 0.01;
            }
        }
        let place = Place(tick as f32, 1.0, 1.0);
        entities.push(world.spawn((Replicated, place)).id());
        if tick.is_multiple_of(5) {
            world.despawn(entities.swap_remove(tick));
        }
        cluster.step();
        let stats = cluster.world(server).resource::<ReplicationStats>();
        most = most.max(stats.send_threads);
    }
    assert_eq!(most, threads);
    let taken = |said: Arc<Mutex<Vec<_>>>| std::mem::take(&mut *said.lock().expect("one thread"));
    heard.into_iter().map(taken).collect()
}

#[test]
fn several_threads_say_byte_for_byte_what_one_says() {
    let scenes = [SHORT, LARGE];
    let alone = scenes.map(|scene| said(scene, usize::MAX, 1));
    // Also where there is one processor.
    let pool = rayon::ThreadPoolBuilder::new().num_threads(3);
    pool.build_global().expect("nobody used it before");
    for (scene, alone) in scenes.into_iter().zip(alone) {
        let bytes: usize = alone.iter().flatten().map(Vec::len).sum();
        assert!(bytes > 200_000, "{bytes} bytes");
        // Who helps whom differs from one run to the next.
        for time in 0..3 {
            let same = said(scene, 1, 3) == alone;
            assert!(
                same,
                "of {} entities, run {time}: bytes differ",
                scene.entities
            );
        }
    }
}
