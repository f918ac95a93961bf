//! Nothing is left of what came, migrated and went, however often.
//!
//! `SEAMLESS_CYCLES` says how many entities; 10,000 if it is not set.

mod common;

use bevy::prelude::*;
use common::{
    Place,
    authority::{heard, lending},
    command, find,
    memory::{assert_flat, resident},
    name, pair,
};
use seamless_authority::{AuthorityCommandsExt, AuthorityStats, Pending};
use seamless_replication::{
    Authority, Hosted, Names, Peers, Replicated, ReplicationConfig, Slots,
    migrate::{host_map, redirects, remote_map},
    wire::{GlobalEntity, Holder},
};
use seamless_testkit::{AppId, Cluster, Weather};

/// Entities that begin their life in one frame.
const AT_ONCE: usize = 100;

/// Frames from the delegation of an entity to its end: less than a round trip, about one, more.
const LIVES: [usize; 3] = [1, 3, 12];

/// How many entities there are, also such as no query sees.
fn world_size(cluster: &mut Cluster, app: AppId) -> u32 {
    let archetypes = cluster.world(app).archetypes();
    archetypes.iter().map(|archetype| archetype.len()).sum()
}

/// The `n`th has come to its end: the client despawns it, or the server does.
fn end(
    cluster: &mut Cluster,
    [server, client]: [AppId; 2],
    n: usize,
    (own, name): (Entity, GlobalEntity),
) {
    let by_client = n.is_multiple_of(2);
    let world = cluster.world(client);
    if by_client && world.get::<Hosted>(own).is_some() {
        world.despawn(own);
    } else if let Some(there) = find(cluster, server, name) {
        let world = cluster.world(server);
        if world.get::<Hosted>(there).is_some() {
            world.despawn(there);
        } else if find(cluster, client, name).is_some() {
            // Still with the client, which ends it.
            cluster.world(client).despawn(own);
        }
    } else if cluster.world(client).get_entity(own).is_ok() {
        cluster.world(client).despawn(own);
    }
}

/// What a client despawned while it migrated is the server's and held by nobody: it goes, too.
fn clear_away(cluster: &mut Cluster, server: AppId) {
    let world = cluster.world(server);
    let mut query = world.query_filtered::<(Entity, &Authority), With<Hosted>>();
    let free = query
        .iter(world)
        .filter(|(_, a)| a.holder == Holder::Nobody);
    let free: Vec<Entity> = free.map(|(entity, _)| entity).collect();
    for entity in free {
        world.despawn(entity);
    }
}

#[test]
fn nothing_is_left_of_entities_that_came_migrated_and_went() {
    let cycles = std::env::var("SEAMLESS_CYCLES").map_or(10_000, |text| {
        let cycles = text.parse();
        cycles.expect("SEAMLESS_CYCLES is a number of entities")
    });
    let (mut cluster, apps) = pair(1, Weather::near(), lending);
    let [server, client] = apps;
    cluster
        .world(server)
        .resource_mut::<ReplicationConfig>()
        .client_entities = 4096;
    // Names are lent a few at a time.
    let names = Names::in_block(900).expect("a legal block");
    cluster
        .world(client)
        .resource_mut::<Slots>()
        .set_names(names);
    cluster.run(30);
    let before = apps.map(|app| world_size(&mut cluster, app));
    let mut alive = std::collections::BTreeMap::<usize, Vec<_>>::new();
    let mut warm = None;
    let frames = cycles / AT_ONCE;
    for frame in 0..frames + LIVES[2] + 1 {
        for n in 0..if frame < frames { AT_ONCE } else { 0 } {
            let bundle = (Replicated, Place(n as f32, 0.0, 0.0));
            let own = cluster.world(client).spawn(bundle).id();
            let name = name(&mut cluster, client, own);
            command(&mut cluster, client, own, |e| {
                e.delegate();
            });
            let ends = frame + LIVES[n % LIVES.len()];
            alive.entry(ends).or_default().push((n, own, name));
        }
        for (n, own, name) in alive.remove(&frame).unwrap_or_default() {
            end(&mut cluster, apps, n, (own, name));
        }
        cluster.step();
        heard(&mut cluster, client);
        clear_away(&mut cluster, server);
        if frame == frames / 2 {
            warm = resident();
        }
    }
    assert!(alive.is_empty());
    cluster.run(90);
    clear_away(&mut cluster, server);
    cluster.run(30);
    let migrated = cluster.world(server).resource::<AuthorityStats>().migrated;
    assert!(migrated > cycles as u64 / 3, "{migrated}");
    assert_flat(warm, 4096);
    for app in apps {
        let slots = cluster.world(app).resource::<Slots>();
        assert_eq!(host_map(slots).count(), 0);
        assert_eq!(remote_map(slots).count(), 0);
        assert_eq!(slots.census(), (0, 0));
        let pending = cluster.world(app).resource::<Pending>();
        assert_eq!(pending.waiting(), 0);
    }
    let count =
        |cluster: &mut Cluster| redirects(cluster.world(server).resource::<Peers>()).count();
    // One for each slot that the client used, at most.
    let most = AT_ONCE * (LIVES[2] + 20);
    assert!(count(&mut cluster) <= most);
    cluster.run(61 * 30);
    assert_eq!(count(&mut cluster), 0);
    let after = apps.map(|app| world_size(&mut cluster, app));
    assert_eq!(after, before, "no entity is left, networked or not");
}
