//! How often a server allocates once everything it needs has its size.

#![expect(unsafe_code, reason = "a global allocator that counts")]

mod common;

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
};

use bevy::prelude::*;
use common::{Place, ready, register, settle};
use seamless_replication::{Replicated, ReplicationConfig, transport::Links};
use seamless_testkit::{AppId, Cluster, Weather};

/// Counts while it is told to.
struct Counting;

static COUNTING: AtomicBool = AtomicBool::new(false);
static COUNT: AtomicU64 = AtomicU64::new(0);

fn count() {
    if COUNTING.load(Ordering::Relaxed) {
        COUNT.fetch_add(1, Ordering::Relaxed);
    }
}

// SAFETY: everything is passed on to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(ptr, layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller's promise is passed on.
        unsafe { System.realloc(ptr, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const CLIENTS: usize = 8;
const ENTITIES: usize = 200;
/// More than the 33 rows that a ring holds, and many round trips.
const WARM: usize = 120;
const TICKS: usize = 60;

/// Every entity moves, as fast as ever.
fn move_all(cluster: &mut Cluster, server: AppId) {
    let world = cluster.world(server);
    for mut place in world.query::<&mut Place>().iter_mut(world) {
        place.0 += 0.125;
        place.2 -= 0.25;
    }
}

/// Packets that the server has sent. The network in memory copies each into a buffer of its own;
/// a socket would not.
fn sent(cluster: &mut Cluster, server: AppId) -> u64 {
    let links = cluster.world(server).resource::<Links>();
    links
        .iter()
        .map(|link| link.stats().sent.total().packets)
        .sum()
}

/// Allocations per tick in a server's frames while everything on it moves, without those of the
/// network in memory, and with them.
fn per_tick(clients: usize, parallel_rows: usize) -> [f64; 2] {
    let mut cluster = Cluster::new(1, register);
    cluster.set_weather(Weather::near());
    let server = cluster.server();
    let mut config = cluster.world(server).resource_mut::<ReplicationConfig>();
    config.parallel_rows = parallel_rows;
    let clients: Vec<AppId> = (0..clients).map(|_| cluster.client(server)).collect();
    for &client in &clients {
        ready(&mut cluster, client);
    }
    for n in 0..ENTITIES {
        let place = Place(n as f32, 0.0, 1.0);
        cluster.world(server).spawn((Replicated, place));
    }
    settle(&mut cluster, server, &clients);
    for _ in 0..WARM {
        move_all(&mut cluster, server);
        cluster.step();
    }
    let before = COUNT.load(Ordering::Relaxed);
    let sent_before = sent(&mut cluster, server);
    for _ in 0..TICKS {
        move_all(&mut cluster, server);
        COUNTING.store(true, Ordering::Relaxed);
        cluster.app(server).update();
        COUNTING.store(false, Ordering::Relaxed);
        for &client in &clients {
            cluster.app(client).update();
        }
    }
    let all = COUNT.load(Ordering::Relaxed) - before;
    let network = sent(&mut cluster, server) - sent_before;
    [all - network, all].map(|count| count as f64 / TICKS as f64)
}

/// Allocations of the server for each client and tick, at most. 0.01 were seen.
const LIMIT: f64 = 0.1;

/// Allocations in a tick that is shared out among threads, at most, however many clients there are.
const SHARED_LIMIT: f64 = 16.0;

#[test]
fn a_warm_server_allocates_next_to_nothing() {
    let [alone, _] = per_tick(0, usize::MAX);
    let [own, all] = per_tick(CLIENTS, usize::MAX);
    let each = (own - alone) / CLIENTS as f64;
    eprintln!(
        "allocations per tick: {alone:.2} without clients; with {CLIENTS} {own:.2}, and {:.2} of the \
         network in memory: {each:.2} for each client",
        all - own
    );
    assert!(each < LIMIT, "{each:.2} for each client and tick");
    let [shared, _] = per_tick(CLIENTS, 1);
    eprintln!("on several threads {shared:.2}");
    assert!(shared - own < SHARED_LIMIT, "{shared:.2}, not {own:.2}");
}
