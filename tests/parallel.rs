//! What is encoded on several threads is what one thread would have made, and so is what is taken in.

mod common;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use bevy::prelude::*;
use common::{Place, Seen, ready, register, seen};
use seamless_replication::{Replicated, ReplicationConfig};
use seamless_testkit::{AppId, Cluster, Fate, Rng, Way, Weather};

const ENTITIES: usize = 700;
const CLIENTS: usize = 4;

/// Entities of which half move in each tick, one comes, and now and then one goes.
struct Moving {
    rng: Rng,
    entities: Vec<Entity>,
}

impl Moving {
    fn new(cluster: &mut Cluster, server: AppId) -> Self {
        let world = cluster.world(server);
        let place = |n| Place(n as f32, 0.0, 1.0);
        let entities = (0..ENTITIES).map(|n| world.spawn((Replicated, place(n))).id());
        Self {
            rng: Rng::new(3),
            entities: entities.collect(),
        }
    }

    fn go_on(&mut self, cluster: &mut Cluster, server: AppId, tick: usize) {
        let world = cluster.world(server);
        for &entity in &self.entities {
            if self.rng.chance(0.5)
                && let Some(mut place) = world.get_mut::<Place>(entity)
            {
                place.0 += 0.1;
                place.2 -= self.rng.below(100) as f32 * 0.01;
            }
        }
        let place = Place(tick as f32, 1.0, 1.0);
        self.entities.push(world.spawn((Replicated, place)).id());
        if tick.is_multiple_of(5) {
            world.despawn(self.entities.swap_remove(tick));
        }
    }
}

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
    let mut world = Moving::new(&mut cluster, server);
    for tick in 0..60 {
        world.go_on(&mut cluster, server, tick);
        cluster.step();
    }
    let taken = |said: Arc<Mutex<Vec<_>>>| std::mem::take(&mut *said.lock().expect("one thread"));
    heard.into_iter().map(taken).collect()
}

/// What a client shows after each tick, and all that it says, while datagrams get lost and come late.
fn taken_in(parallel_rows: usize) -> (Vec<Vec<Seen>>, Vec<Vec<u8>>) {
    let mut cluster = Cluster::new(12, register);
    // What was told in many ticks comes in one, in any order.
    let mut weather = Weather::lossy(0.2);
    weather.0.jitter = Duration::from_millis(200);
    weather.0.reorder_by = Duration::from_millis(400);
    cluster.set_weather(weather);
    let server = cluster.server();
    let (client, wire) = cluster.client_over_wire(server);
    let mut config = cluster.world(client).resource_mut::<ReplicationConfig>();
    config.parallel_rows = parallel_rows;
    let said = Arc::new(Mutex::new(Vec::new()));
    let saying = said.clone();
    wire.decide(move |parcel| {
        if parcel.way == Way::ToServer {
            saying
                .lock()
                .expect("one thread")
                .push(parcel.bytes.clone());
        }
        Fate::Pass
    });
    ready(&mut cluster, client);
    let mut world = Moving::new(&mut cluster, server);
    let mut shown = Vec::new();
    for tick in 0..120 {
        world.go_on(&mut cluster, server, tick);
        cluster.step();
        shown.push(seen(&mut cluster, client));
    }
    let said = std::mem::take(&mut *said.lock().expect("one thread"));
    (shown, said)
}

/// Three threads, also where there is one processor.
fn three_threads() {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(3);
    // The other test may have been first.
    let _ = pool.build_global();
    assert_eq!(rayon::current_num_threads(), 3);
}

#[test]
fn several_threads_take_in_what_one_takes_in() {
    three_threads();
    let (shown, said) = taken_in(usize::MAX);
    let most = shown.iter().map(Vec::len).max();
    assert!(most > Some(ENTITIES - 50), "{most:?} entities were shown");
    let (also_shown, also_said) = taken_in(1);
    for tick in 0..shown.len() {
        assert!(shown[tick] == also_shown[tick], "differs in tick {tick}");
    }
    assert!(also_said == said, "said something else");
}

#[test]
fn several_threads_say_byte_for_byte_what_one_says() {
    three_threads();
    let alone = said(usize::MAX);
    let bytes: usize = alone.iter().flatten().map(Vec::len).sum();
    assert!(bytes > 200_000, "{bytes} bytes");
    assert!(said(1) == alone, "bytes differ");
}
