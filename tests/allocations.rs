//! How often a server allocates once everything it needs has its size.

#![expect(unsafe_code, reason = "a global allocator that counts")]

mod common;

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
};

use bevy::prelude::*;
use common::{Place, ready, register, settle};
use seamless_replication::Replicated;
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
/// Twice the slots of a ring, and many round trips.
const WARM: usize = 300;
const TICKS: usize = 300;

/// Every entity moves, as fast as ever.
fn move_all(cluster: &mut Cluster, server: AppId) {
    let world = cluster.world(server);
    for mut place in world.query::<&mut Place>().iter_mut(world) {
        place.0 += 0.125;
        place.2 -= 0.25;
    }
}

/// Allocations per tick in a server's frames, while everything on it moves.
fn per_tick(clients: usize) -> f64 {
    let mut cluster = Cluster::new(1, register);
    cluster.set_weather(Weather::near());
    let server = cluster.server();
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
    for _ in 0..TICKS {
        move_all(&mut cluster, server);
        COUNTING.store(true, Ordering::Relaxed);
        cluster.app(server).update();
        COUNTING.store(false, Ordering::Relaxed);
        for &client in &clients {
            cluster.app(client).update();
        }
    }
    (COUNT.load(Ordering::Relaxed) - before) as f64 / TICKS as f64
}

#[test]
fn a_warm_server_allocates_less_than_once_for_each_client_and_tick() {
    let alone = per_tick(0);
    let all = per_tick(CLIENTS);
    let each = (all - alone) / CLIENTS as f64;
    eprintln!(
        "allocations per tick: {alone:.2} without clients, {all:.2} with {CLIENTS}, {each:.2} for each"
    );
    assert!(each < 1.0, "{each:.2} for each client and tick");
}
