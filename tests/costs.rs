//! What a tick costs follows what changed, not what there is. Work is counted, not timed.

mod common;

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use bevy::prelude::*;
use common::counted;
use seamless_replication::{
    ReplicateAppExt, Replicated, ReplicationConfig, Replicator,
    wire::{WireError, codec},
};
use seamless_testkit::{AppId, Cluster, Weather};

#[derive(Component, TypePath, Clone, Copy, PartialEq, Debug)]
struct Tower(u32);

#[derive(Component, TypePath, Clone, Copy, PartialEq, Debug)]
struct Flag(u32);

/// How often values were taken from the world, and how often they were written as bits.
#[derive(Clone, Default)]
struct Work {
    written: Arc<AtomicU64>,
    encoded: Arc<AtomicU64>,
}

/// Codes a number, and counts.
struct Counted<C> {
    work: Work,
    get: fn(&C) -> u32,
    make: fn(u32) -> C,
}

impl<C: 'static> Replicator<C> for Counted<C> {
    fn describe(&self) -> String {
        "a number, counted".into()
    }

    fn write(&self, component: &C, out: &mut Vec<u8>) -> Result<(), WireError> {
        self.work.written.fetch_add(1, Ordering::Relaxed);
        codec::encode(&(self.get)(component), out)
    }

    fn read(&self, value: &[u8]) -> Result<C, WireError> {
        codec::decode(value).map(self.make)
    }

    fn encode(
        &self,
        base: Option<seamless_replication::wire::delta::Baseline<'_>>,
        value: &[u8],
        w: &mut seamless_replication::wire::BitWriter,
    ) {
        self.work.encoded.fetch_add(1, Ordering::Relaxed);
        seamless_replication::wire::delta::write_bytes(w, base, value);
    }
}

/// A server with this many settled entities of two components, clients, and what it counts.
/// Clients take nothing from their worlds: nothing there is theirs.
fn world(entities: usize, clients: usize) -> (Cluster, AppId, Vec<Entity>, Work) {
    let work = Work::default();
    let counting = work.clone();
    let mut cluster = Cluster::new(1, move |app| {
        // The audit reads the client's world, some entities a second.
        app.world_mut()
            .resource_mut::<ReplicationConfig>()
            .audit_world = false;
        app.replicate_as(Counted {
            work: counting.clone(),
            get: |tower: &Tower| tower.0,
            make: Tower,
        });
        app.replicate_as(Counted {
            work: counting.clone(),
            get: |flag: &Flag| flag.0,
            make: Flag,
        });
    });
    cluster.set_weather(Weather::clear());
    let server = cluster.server();
    let all: Vec<Entity> = (0..entities as u32)
        .map(|n| {
            let bundle = (Replicated, Tower(n), Flag(n));
            cluster.world(server).spawn(bundle).id()
        })
        .collect();
    let clients: Vec<AppId> = (0..clients).map(|_| cluster.client(server)).collect();
    for client in clients {
        common::ready(&mut cluster, client);
        cluster.run_until("all are there", 600, |cluster| {
            let world = cluster.world(client);
            world.query::<&Tower>().iter(world).count() == entities
        });
    }
    cluster.run(60);
    (cluster, server, all, work)
}

/// Values taken and values encoded in `ticks` ticks, in each of which so many entities change one
/// of their components.
fn work(
    (cluster, server, all, work): &mut (Cluster, AppId, Vec<Entity>, Work),
    changed: usize,
    ticks: usize,
) -> (u64, u64) {
    let read = |work: &Work| {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        (read(&work.written), read(&work.encoded))
    };
    let before = read(work);
    for _ in 0..ticks {
        for entity in &all[..changed] {
            let world = cluster.world(*server);
            world.get_mut::<Tower>(*entity).expect("it has one").0 += 1;
        }
        cluster.step();
    }
    // All that is under way arrives.
    cluster.run(30);
    let after = read(work);
    (after.0 - before.0, after.1 - before.1)
}

#[test]
fn collecting_costs_what_changed_whatever_there_is() {
    for entities in [64, 1024] {
        let mut world = world(entities, 1);
        for changed in [0, 1, 16, 64] {
            let (written, _) = work(&mut world, changed, 20);
            // One component of each, once a tick; the other one is copied from the row before.
            assert_eq!(written, changed as u64 * 20, "{changed} of {entities}");
        }
    }
}

#[test]
fn what_clients_share_is_encoded_once() {
    let one = work(&mut world(256, 1), 64, 20).1;
    let four = work(&mut world(256, 4), 64, 20).1;
    assert!(one >= 64 * 20, "{one} values were encoded");
    assert!(four <= one * 2, "{one} for one client, {four} for four");
}

#[test]
fn records_follow_what_changed_whatever_there_is() {
    for entities in [64, 1024] {
        let mut world = world(entities, 1);
        for changed in [0, 1, 16, 64] {
            let (cluster, server, ..) = &mut world;
            let server = *server;
            let before = counted(cluster, server).records.0;
            work(&mut world, changed, 20);
            let records = counted(&mut world.0, server).records.0 - before;
            assert_eq!(records, changed as u64 * 20, "{changed} of {entities}");
        }
    }
}

#[test]
fn an_equal_write_costs_one_value_and_no_record() {
    let (mut cluster, server, all, work) = world(1024, 1);
    let before = counted(&mut cluster, server).records.0;
    let written = work.written.load(Ordering::Relaxed);
    for entity in &all[..10] {
        let world = cluster.world(server);
        let mut tower = world.get_mut::<Tower>(*entity).expect("it has one");
        tower.set_changed();
    }
    cluster.run(20);
    assert_eq!(work.written.load(Ordering::Relaxed), written + 10);
    assert_eq!(counted(&mut cluster, server).records.0, before);
}
