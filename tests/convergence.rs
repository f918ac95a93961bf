//! Whatever happens to a world, and whatever the network does to it, all peers end up with the
//! same.

mod common;

use std::sync::{Arc, Mutex};

use bevy::prelude::*;
use common::{Health, Label, Place, Stunned, Target, differences, register, seen};
use seamless_replication::{NetSlot, Peers, Replicated};
use seamless_testkit::{AppId, Cluster, Fate, Rng, Weather};

/// One random thing that happens to the server's world.
fn happen(cluster: &mut Cluster, server: AppId, entities: &mut Vec<Entity>, rng: &mut Rng, t: u32) {
    let world = cluster.world(server);
    let some = rng.pick(entities).copied();
    match (rng.below(10), some) {
        (0 | 1, _) => entities.push(world.spawn((Replicated, Place(t as f32, 0.0, 0.0))).id()),
        (2, Some(entity)) if rng.chance(0.5) => {
            entities.retain(|e| *e != entity);
            world.despawn(entity);
        }
        (3, Some(entity)) => {
            world.entity_mut(entity).insert(Label(format!("at {t}")));
        }
        (4, Some(entity)) => {
            world.entity_mut(entity).remove::<Label>();
        }
        (5, Some(entity)) => {
            world.entity_mut(entity).insert(Health(rng.next() as u32));
        }
        (6, Some(entity)) if rng.chance(0.5) => {
            world.entity_mut(entity).insert(Stunned(t as u8));
        }
        (6, Some(entity)) => {
            world.entity_mut(entity).remove::<Stunned>();
        }
        (7, Some(entity)) => {
            if let Some(&other) = rng.pick(entities) {
                world.entity_mut(entity).insert(Target(other));
            }
        }
        (_, Some(entity)) => {
            if let Some(mut place) = world.get_mut::<Place>(entity) {
                place.1 += 1.0;
            }
        }
        (_, None) => {}
    }
}

/// Shows or hides a random entity for a random client.
fn look_elsewhere(cluster: &mut Cluster, server: AppId, entities: &[Entity], rng: &mut Rng) {
    let world = cluster.world(server);
    let Some(slot) = rng
        .pick(entities)
        .and_then(|e| world.get::<NetSlot>(*e))
        .copied()
    else {
        return;
    };
    let shown = [None, Some(false), Some(true)][rng.below(3)];
    let mut peers = world.resource_mut::<Peers>();
    let count = peers.iter().count();
    if let Some(peer) = peers.iter_mut().nth(rng.below(count)) {
        peer.interest_mut().except(&slot, shown);
    }
}

fn random_world_converges(seed: u64, loss: f32) {
    let mut cluster = Cluster::new(seed, register);
    cluster.set_weather(Weather::lossy(loss));
    let server = cluster.server();
    let clients = [cluster.client(server), cluster.client(server)];
    let mut rng = Rng::new(seed);
    let mut entities = Vec::new();
    for t in 0..120 {
        for _ in 0..4 {
            happen(&mut cluster, server, &mut entities, &mut rng, t);
        }
        if rng.chance(0.1) {
            look_elsewhere(&mut cluster, server, &entities, &mut rng);
        }
        cluster.step();
    }
    for entity in &entities {
        let world = cluster.world(server);
        let Some(slot) = world.get::<NetSlot>(*entity).copied() else {
            continue;
        };
        for peer in world.resource_mut::<Peers>().iter_mut() {
            peer.interest_mut().except(&slot, None);
        }
    }
    // A target that was despawned names nobody; on the server it is a dead id. Same thing.
    let want = seen(&mut cluster, server);
    for client in clients {
        let mut last = None;
        for _ in 0..600 {
            last = differences(&seen(&mut cluster, client), &want);
            if last.is_none() {
                break;
            }
            cluster.step();
        }
        assert_eq!(last, None, "seed {seed}, loss {loss}");
    }
}

#[test]
fn random_worlds_converge_without_loss() {
    for seed in 0..20 {
        random_world_converges(seed, 0.0);
    }
}

#[test]
fn random_worlds_converge_at_five_percent_loss() {
    for seed in 100..120 {
        random_world_converges(seed, 0.05);
    }
}

#[test]
fn random_worlds_converge_at_thirty_percent_loss() {
    for seed in 200..230 {
        random_world_converges(seed, 0.3);
    }
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    let run = |seed| {
        let mut cluster = Cluster::new(seed, register);
        cluster.set_weather(Weather::lossy(0.2));
        let server = cluster.server();
        let (_, wire) = cluster.client_over_wire(server);
        let said = Arc::new(Mutex::new(Vec::new()));
        let heard = said.clone();
        let mut luck = Rng::new(seed);
        wire.decide(move |parcel| {
            let mut said = said.lock().expect("one thread");
            said.push((parcel.way, parcel.bytes.clone()));
            match parcel.channel.is_none() && luck.chance(0.2) {
                true => Fate::Lose,
                false => Fate::Pass,
            }
        });
        let mut rng = Rng::new(seed);
        let mut entities = Vec::new();
        for t in 0..150 {
            happen(&mut cluster, server, &mut entities, &mut rng, t);
            cluster.step();
        }
        std::mem::take(&mut *heard.lock().expect("one thread"))
    };
    let bytes = run(7);
    assert!(bytes.len() > 200, "{} parcels", bytes.len());
    assert!(bytes == run(7), "bytes differ");
    assert!(bytes != run(8));
}
