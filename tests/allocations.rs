//! How often a server and its clients allocate once everything they need has its size.

#![expect(unsafe_code, reason = "a global allocator that counts")]

mod common;

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
};

use bevy::prelude::*;
use common::{Place, me, ready, register};
use seamless_replication::{
    Peers, Replicated, ReplicationConfig,
    interest::{InterestAppExt, View},
    transport::Links,
};
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
const TICKS: usize = 60;

/// Every entity moves, as fast as ever.
fn move_all(cluster: &mut Cluster, server: AppId) {
    let world = cluster.world(server);
    for mut place in world.query::<&mut Place>().iter_mut(world) {
        place.0 += 0.125;
        place.2 -= 0.25;
    }
}

/// Packets that an app has sent. The network in memory copies each into a buffer of its own; a socket
/// would not.
fn sent(cluster: &mut Cluster, app: AppId) -> u64 {
    let links = cluster.world(app).resource::<Links>();
    links
        .iter()
        .map(|link| link.stats().sent.total().packets)
        .sum()
}

/// What goes on while it is counted.
#[derive(Clone, Copy)]
struct Scene {
    clients: usize,
    parallel_rows: usize,
    loss: f32,
    /// Each client sees what is around it, and what moves goes in and out of its sight.
    looks: bool,
    /// Ticks before it is counted.
    warm: usize,
}

const CALM: Scene = Scene {
    clients: CLIENTS,
    parallel_rows: usize::MAX,
    loss: 0.0,
    looks: false,
    // More than the 33 rows that a ring holds, and many round trips.
    warm: 120,
};

/// Allocations per tick while everything moves, without those of the network in memory.
struct Seen {
    server: f64,
    /// Of one client.
    client: f64,
    /// Of the network in memory, at the server.
    network: f64,
}

impl Scene {
    fn begin(self) -> (Cluster, AppId, Vec<AppId>) {
        let mut cluster = Cluster::new(1, move |app| {
            register(app);
            if self.looks {
                app.interest_position::<Place>(|place| Vec3::new(place.0, place.1, place.2));
            }
        });
        cluster.set_weather(match self.loss {
            0.0 => Weather::near(),
            loss => Weather::lossy(loss),
        });
        let server = cluster.server();
        let mut config = cluster.world(server).resource_mut::<ReplicationConfig>();
        config.parallel_rows = self.parallel_rows;
        let clients: Vec<AppId> = (0..self.clients).map(|_| cluster.client(server)).collect();
        for &client in &clients {
            ready(&mut cluster, client);
            if self.looks {
                let id = me(&mut cluster, client);
                let mut peers = cluster.world(server).resource_mut::<Peers>();
                let peer = peers.by_id_mut(id).expect("it is linked");
                // The middle of the line that they move along.
                let middle = Vec3::new(ENTITIES as f32 / 2.0, 0.0, 0.0);
                peer.interest_mut().set_view(View::At(middle, 60.0));
            }
        }
        for n in 0..ENTITIES {
            let place = Place(n as f32, 0.0, 1.0);
            cluster.world(server).spawn((Replicated, place));
        }
        cluster.run(60);
        (cluster, server, clients)
    }

    fn play(self) -> Seen {
        let (mut cluster, server, clients) = self.begin();
        for _ in 0..self.warm {
            move_all(&mut cluster, server);
            cluster.step();
        }
        let all_sent = |cluster: &mut Cluster| -> u64 {
            clients.iter().map(|client| sent(cluster, *client)).sum()
        };
        let before = [sent(&mut cluster, server), all_sent(&mut cluster)];
        let (mut of_server, mut of_clients) = (0, 0);
        for _ in 0..TICKS {
            move_all(&mut cluster, server);
            of_server += counted(|| cluster.app(server).update());
            for &client in &clients {
                of_clients += counted(|| cluster.app(client).update());
            }
        }
        let packets = [sent(&mut cluster, server), all_sent(&mut cluster)];
        let [down, up] = [packets[0] - before[0], packets[1] - before[1]];
        let each = |count: u64, among: usize| count as f64 / (TICKS * among.max(1)) as f64;
        Seen {
            server: each(of_server - down, 1),
            client: each(of_clients - up, self.clients),
            network: each(down, 1),
        }
    }
}

/// Allocations in the meantime.
fn counted(work: impl FnOnce()) -> u64 {
    let before = COUNT.load(Ordering::Relaxed);
    COUNTING.store(true, Ordering::Relaxed);
    work();
    COUNTING.store(false, Ordering::Relaxed);
    COUNT.load(Ordering::Relaxed) - before
}

/// Allocations of the server for each client and tick, at most. 0.01 were seen.
const LIMIT: f64 = 0.1;

/// Allocations in a tick that is shared out among threads, at most, however many clients there are.
const SHARED_LIMIT: f64 = 16.0;

/// Allocations of a client that is told of changes in a tick, at most, beside those of an app that is
/// told nothing.
const CLIENT_LIMIT: f64 = 6.0;

/// One test: what is counted is counted for the whole process.
#[test]
fn a_warm_app_allocates_next_to_nothing() {
    let alone = Scene { clients: 0, ..CALM }.play().server;
    let for_each = |what: &str, scene: Scene| {
        let Seen {
            server,
            client,
            network,
        } = scene.play();
        let each = (server - alone) / scene.clients as f64;
        eprintln!(
            "{what}, allocations per tick: server {alone:.2} without clients, {server:.2} with \
             {} and {network:.2} of the network in memory: {each:.2} for each client; a \
             client {client:.2}",
            scene.clients,
        );
        (each, client, server)
    };
    let (each, client, server) = for_each("calm", CALM);
    assert!(each < LIMIT, "{each:.2} for each client and tick");
    assert!(client < alone + CLIENT_LIMIT, "{client:.2} of a client");
    let lossy = Scene {
        clients: 2,
        loss: 0.3,
        // A link remembers 2,048 datagrams in case they come late.
        warm: 2_100,
        ..CALM
    };
    let (each, client, _) = for_each("30 % lost", lossy);
    assert!(each < 1.0, "{each:.2} for each client and tick");
    assert!(client < alone + CLIENT_LIMIT, "{client:.2} of a client");
    let looks = Scene {
        looks: true,
        ..CALM
    };
    let (each, client, _) = for_each("looking around", looks);
    assert!(each < 1.0, "{each:.2} for each client and tick");
    assert!(client < alone + CLIENT_LIMIT, "{client:.2} of a client");
    let shared = Scene {
        parallel_rows: 1,
        ..CALM
    };
    let (_, _, shared) = for_each("on several threads", shared);
    assert!(
        shared - server < SHARED_LIMIT,
        "{shared:.2}, not {server:.2}"
    );
}
