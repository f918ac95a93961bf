//! What an app counts of its entities, whatever becomes of them.

mod common;

use std::time::Duration;

use bevy::prelude::*;
use common::{
    Label, Place, authority::lending, authority::weathers, command, find, name, pair, settle,
    wait_for,
};
use seamless_authority::AuthorityCommandsExt;
use seamless_replication::{
    Hosted, Peers, Remote, Replicated, ReplicationConfig, ReplicationStats,
};
use seamless_testkit::{AppId, Cluster, Rng, Weather};

/// What the statistics say, and what is there: hosted, remote.
fn counts(cluster: &mut Cluster, app: AppId) -> [(usize, usize); 2] {
    let world = cluster.world(app);
    let hosted = world
        .query_filtered::<(), With<Hosted>>()
        .iter(world)
        .count();
    let remote = world
        .query_filtered::<(), With<Remote>>()
        .iter(world)
        .count();
    let stats = world.resource::<ReplicationStats>();
    [stats.entities, (hosted, remote)]
}

#[test]
fn entities_are_counted_by_who_hosts_them_through_all_that_happens_to_them() {
    for (seed, weather) in weathers() {
        let (mut cluster, [server, client]) = pair(seed, weather, lending);
        let mut rng = Rng::new(seed);
        let mut own: Vec<(AppId, Entity)> = Vec::new();
        for _ in 0..200 {
            let app = if rng.chance(0.5) { server } else { client };
            match rng.below(4) {
                0 | 1 => {
                    let bundle = (Replicated, Place::default(), Label("x".into()));
                    own.push((app, cluster.world(app).spawn(bundle).id()));
                }
                2 if !own.is_empty() => {
                    let (app, entity) = own.swap_remove(rng.below(own.len()));
                    cluster.world(app).try_despawn(entity).ok();
                }
                _ => {
                    if let Some(&(app, entity)) = own.last()
                        && app == client
                        && cluster.world(app).get_entity(entity).is_ok()
                    {
                        command(&mut cluster, app, entity, |e| {
                            e.delegate();
                        });
                    }
                }
            }
            cluster.step();
            for app in [server, client] {
                let [counted, there] = counts(&mut cluster, app);
                assert_eq!(counted, there, "seed {seed}");
            }
        }
        cluster.run(120);
        let [(hosted, _), _] = counts(&mut cluster, server);
        assert!(hosted > 0, "seed {seed}");
    }
}

#[test]
fn what_a_lost_server_told_of_stays_for_the_grace_and_no_longer() {
    let (mut cluster, [server, client]) = pair(1, Weather::near(), lending);
    let mut config = cluster.world(client).resource_mut::<ReplicationConfig>();
    config.orphan_grace = Duration::from_secs(2);
    let names: Vec<_> = (0..5)
        .map(|n| {
            let bundle = (Replicated, Place(n as f32, 0.0, 0.0));
            let entity = cluster.world(server).spawn(bundle).id();
            name(&mut cluster, server, entity)
        })
        .collect();
    settle(&mut cluster, server, &[client]);
    cluster.kill(server);
    cluster.run_until("the link is gone", 1200, |cluster| {
        cluster.world(client).resource::<Peers>().iter().count() == 0
    });
    cluster.run(55);
    assert!(
        names
            .iter()
            .all(|n| find(&mut cluster, client, *n).is_some())
    );
    assert_eq!(counts(&mut cluster, client), [(0, 5); 2]);
    cluster.run(10);
    assert!(
        names
            .iter()
            .all(|n| find(&mut cluster, client, *n).is_none())
    );
    assert_eq!(counts(&mut cluster, client), [(0, 0); 2]);
}

#[test]
fn entities_that_were_spawned_before_there_were_names_are_named_in_the_order_of_their_spawning() {
    let mut cluster = Cluster::new(1, lending);
    let server = cluster.server();
    let client = cluster.client(server);
    let early: Vec<Entity> = (0..4)
        .map(|n| {
            let bundle = (Replicated, Place(n as f32, 0.0, 0.0));
            cluster.world(client).spawn(bundle).id()
        })
        .collect();
    // One that is gone again before.
    cluster.world(client).despawn(early[1]);
    common::ready(&mut cluster, client);
    let names: Vec<_> = [0, 2, 3]
        .map(|n| name(&mut cluster, client, early[n]))
        .into();
    assert!(names.is_sorted(), "{names:?}");
    for name in names {
        wait_for(&mut cluster, server, name);
    }
}
