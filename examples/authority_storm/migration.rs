//! How long the move itself takes, on a server.

use std::time::{Duration, Instant};

use bevy::prelude::*;
use seamless_replication::{
    Names, NetSlot, Peers, Replicated, ReplicationConfig, Slots,
    migrate::adopt,
    transport::LinkId,
    wire::{GlobalEntity, Term, WriteMask},
};
use seamless_testkit::{Cluster, Weather};

use crate::storm::{Ballast, Mark, Seal, setup::setup};

/// Rounds, of which the fastest counts: the others were disturbed.
const ROUNDS: usize = 3;

/// Nanoseconds that the server takes for each of `count` entities of a client when it takes all of
/// them over in one tick.
pub fn ns_each(count: usize) -> u64 {
    let rounds = (0..ROUNDS).map(|_| Scene::new(count).migrate());
    let best = rounds.min().unwrap_or(Duration::MAX);
    (best.as_nanos() / count as u128) as u64
}

/// A server and a client with entities of its own, which the server knows.
pub struct Scene {
    cluster: Cluster,
    server: seamless_testkit::AppId,
    link: LinkId,
    names: Vec<GlobalEntity>,
}

impl Scene {
    pub fn new(count: usize) -> Self {
        let mut cluster = Cluster::new(1, setup);
        cluster.set_weather(Weather::clear());
        let server = cluster.server();
        let mut config = cluster.world(server).resource_mut::<ReplicationConfig>();
        config.client_entities = count as u32;
        config.client_baseline_bytes = 1 << 30;
        let client = cluster.client(server);
        cluster.run_until("the handshake", 300, |cluster| cluster.is_ready(client));
        let world = cluster.world(client);
        world.resource_mut::<ReplicationConfig>().bytes_per_tick = 1 << 24;
        // More than are lent at a time.
        let lent = Names::in_block(900).expect("a legal block");
        world.resource_mut::<Slots>().set_names(lent);
        let mut names = Vec::new();
        for n in 0..count as u64 {
            let bundle = (
                Replicated,
                Mark(n),
                Seal(1),
                Ballast("b".repeat(60)),
                Transform::default(),
            );
            names.push(cluster.world(client).spawn(bundle).id());
        }
        let names: Vec<GlobalEntity> = {
            let world = cluster.world(client);
            let slot = |entity: &Entity| world.get::<NetSlot>(*entity)?.global();
            names.iter().filter_map(slot).collect()
        };
        cluster.run_until("the server has them", 3000, |cluster| {
            let slots = cluster.world(server).resource::<Slots>();
            names.len() == count && slots.census().1 >= count
        });
        cluster.run(10);
        let link = cluster
            .world(server)
            .resource::<Peers>()
            .iter()
            .next()
            .expect("the client")
            .link();
        Self {
            cluster,
            server,
            link,
            names,
        }
    }

    /// The server takes over all of them. Returns how long that took.
    pub fn migrate(&mut self) -> Duration {
        let world = self.cluster.world(self.server);
        let started = Instant::now();
        for name in &self.names {
            let adopted = adopt(world, self.link, *name, Term(5), Some((WriteMask::ALL, 0)));
            debug_assert!(adopted.is_ok());
        }
        let took = started.elapsed();
        assert_eq!(world.resource::<Slots>().census().0, self.names.len());
        took
    }
}
