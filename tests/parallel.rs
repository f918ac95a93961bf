//! What is encoded on several threads is what one thread would have made.

mod common;

use std::sync::{Arc, Mutex};

use bevy::prelude::*;
use common::{Place, ready, register};
use seamless_replication::{Replicated, ReplicationConfig};
use seamless_testkit::{Cluster, Fate, Rng, Way, Weather};

const ENTITIES: usize = 700;
const CLIENTS: usize = 4;

/// What a server said to its clients, client by client, byte for byte.
fn said(parallel_rows: usize) -> Vec<Vec<Vec<u8>>> {
    let mut cluster = Cluster::new(11, register);
    cluster.set_weather(Weather::near());
    let server = cluster.server();
    let mut config = cluster.world(server).resource_mut::<ReplicationConfig>();
    config.parallel_rows = parallel_rows;
    // Less than what is due, so that it matters what is thought to be urgent.
    config.bytes_per_tick = 6000;
    let mut heard = Vec::new();
    for seed in 0..CLIENTS as u64 {
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
    for n in 0..ENTITIES {
        let place = Place(n as f32, 0.0, 1.0);
        entities.push(cluster.world(server).spawn((Replicated, place)).id());
    }
    for tick in 0..60usize {
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
    }
    let taken = |said: Arc<Mutex<Vec<_>>>| std::mem::take(&mut *said.lock().expect("one thread"));
    heard.into_iter().map(taken).collect()
}

#[test]
fn several_threads_say_byte_for_byte_what_one_says() {
    let alone = said(usize::MAX);
    // Also where there is one processor.
    let pool = rayon::ThreadPoolBuilder::new().num_threads(3);
    pool.build_global().expect("nobody used it before");
    let bytes: usize = alone.iter().flatten().map(Vec::len).sum();
    assert!(bytes > 200_000, "{bytes} bytes");
    assert!(said(1) == alone, "bytes differ");
}
