//! Ten thousand at once: more than there is room for items on a link, and no migration is lost.

mod common;

use bevy::prelude::*;
use common::{Place, authority::lending, command, find, me, pair};
use seamless_authority::{AuthorityCommandsExt, AuthorityPolicy, AuthorityStats, Granted, Pending};
use seamless_replication::{
    Hosted, Names, NetSlot, Remote, Replicated, ReplicationConfig, Slots,
    migrate::{host_map, remote_map},
    wire::Holder,
};
use seamless_testkit::{AppId, Cluster, Weather};

/// More than the items that may wait on a link.
const MANY: usize = 10_000;

/// A server that bears a client with so many entities of its own.
fn roomy(weather: Weather) -> (Cluster, [AppId; 2]) {
    let (mut cluster, [server, client]) = pair(1, weather, lending);
    for app in [server, client] {
        let mut config = cluster.world(app).resource_mut::<ReplicationConfig>();
        config.client_entities = MANY as u32;
        config.client_baseline_bytes = 1 << 30;
        config.bytes_per_tick = 1 << 20;
    }
    let mut policy = cluster.world(server).resource_mut::<AuthorityPolicy>();
    policy.entities_per_client = 2 * MANY as u32;
    policy.requests_per_second = 2 * MANY as u32;
    policy.adopted_per_client = 2 * MANY as u32;
    // Names are lent a few at a time.
    let names = Names::in_block(900).expect("a legal block");
    cluster
        .world(client)
        .resource_mut::<Slots>()
        .set_names(names);
    (cluster, [server, client])
}

fn spawn_many(cluster: &mut Cluster, client: AppId) -> Vec<Entity> {
    (0..MANY)
        .map(|n| {
            let bundle = (Replicated, Place(n as f32, 0.0, 0.0));
            cluster.world(client).spawn(bundle).id()
        })
        .collect()
}

fn count<F: bevy::ecs::query::QueryFilter>(cluster: &mut Cluster, app: AppId) -> usize {
    let world = cluster.world(app);
    let mut query = world.query_filtered::<(), F>();
    query.iter(world).count()
}

/// All migrate, and each is lent to its client.
fn until_all_migrated(cluster: &mut Cluster, [server, client]: [AppId; 2], own: &[Entity]) {
    cluster.run_until("all are lent to us", 900, |cluster| {
        count::<With<Granted>>(cluster, client) == MANY
    });
    cluster.run(10);
    let holder = Holder::Peer(me(cluster, client));
    let world = cluster.world(server);
    let slots = world.resource::<Slots>();
    assert_eq!(host_map(slots).count(), MANY);
    assert_eq!(remote_map(slots).count(), 0);
    for (_, entity) in host_map(slots) {
        let slot = world.get::<NetSlot>(entity).expect("on the network");
        let tenure = slots.tenure(slot).expect("it has one");
        assert_eq!(tenure.holder, holder);
    }
    assert_eq!(world.resource::<Pending>().waiting(), 0);
    let stats = world.resource::<AuthorityStats>();
    assert_eq!(stats.migrated, MANY as u64);
    assert!(stats.refused.is_empty(), "{:?}", stats.refused);
    let slots = cluster.world(client).resource::<Slots>();
    assert_eq!(host_map(slots).count(), 0);
    assert_eq!(remote_map(slots).count(), MANY);
    // And all of them are written as before.
    for &entity in own {
        let mut place = cluster.world(client).get_mut::<Place>(entity);
        place.as_mut().expect("it has a place").1 = 5.0;
    }
    cluster.run_until("all is written", 300, |cluster| {
        let world = cluster.world(server);
        let mut places = world.query::<&Place>();
        places.iter(world).all(|place| place.1 == 5.0)
    });
}

#[test]
fn ten_thousand_that_a_client_delegates_in_one_tick_all_migrate() {
    let (mut cluster, apps) = roomy(Weather::near());
    let own = spawn_many(&mut cluster, apps[1]);
    cluster.run_until("the server has them", 300, |cluster| {
        count::<With<Remote>>(cluster, apps[0]) == MANY
    });
    for &entity in &own {
        command(&mut cluster, apps[1], entity, |e| {
            e.delegate();
        });
    }
    until_all_migrated(&mut cluster, apps, &own);
}

#[test]
fn ten_thousand_that_a_client_spawns_and_delegates_in_one_tick_all_migrate() {
    let (mut cluster, apps) = roomy(Weather::lossy(0.05));
    let own = spawn_many(&mut cluster, apps[1]);
    for &entity in &own {
        command(&mut cluster, apps[1], entity, |e| {
            e.delegate();
        });
    }
    until_all_migrated(&mut cluster, apps, &own);
}

#[test]
fn ten_thousand_that_the_server_takes_over_in_one_tick_all_migrate() {
    let (mut cluster, apps) = roomy(Weather::lossy(0.05));
    let own = spawn_many(&mut cluster, apps[1]);
    cluster.run_until("the server has them", 300, |cluster| {
        count::<With<Remote>>(cluster, apps[0]) == MANY
    });
    let names: Vec<_> = own
        .iter()
        .map(|&entity| common::name(&mut cluster, apps[1], entity))
        .collect();
    for name in names {
        let there = find(&mut cluster, apps[0], name).expect("it is there");
        command(&mut cluster, apps[0], there, |e| {
            e.delegate();
        });
    }
    until_all_migrated(&mut cluster, apps, &own);
}

#[test]
fn ten_thousand_that_are_released_and_asked_for_in_one_tick_change_hands() {
    let (mut cluster, apps) = roomy(Weather::near());
    let [server, client] = apps;
    let own = spawn_many(&mut cluster, client);
    for &entity in &own {
        command(&mut cluster, client, entity, |e| {
            e.delegate();
        });
    }
    until_all_migrated(&mut cluster, apps, &own);
    for (n, &entity) in own.iter().enumerate() {
        let mut place = cluster.world(client).get_mut::<Place>(entity);
        place.as_mut().expect("it has a place").2 = n as f32;
        command(&mut cluster, client, entity, |e| {
            e.release_authority();
        });
    }
    cluster.run_until("all are free", 600, |cluster| {
        let world = cluster.world(server);
        let slots = world.resource::<Slots>();
        host_map(slots).all(|(_, entity)| {
            let slot = world.get::<NetSlot>(entity).expect("on the network");
            slots
                .tenure(slot)
                .is_some_and(|t| t.holder == Holder::Nobody)
        })
    });
    let world = cluster.world(server);
    let mut places = world.query_filtered::<&Place, With<Hosted>>();
    assert!(
        places.iter(world).all(|place| place.2 == place.0),
        "no last write is lost"
    );
    assert_eq!(world.resource::<Pending>().waiting(), 0);
    // What there is no room to ask for is denied at once, and asked for again.
    for _ in 0..10 {
        for &entity in &own {
            command(&mut cluster, client, entity, |e| {
                e.request_authority();
            });
        }
        cluster.run(20);
    }
    assert_eq!(count::<With<Granted>>(&mut cluster, client), MANY);
    let denied = &cluster.world(server).resource::<AuthorityStats>().denied;
    assert!(denied.is_empty(), "{denied:?}");
}
