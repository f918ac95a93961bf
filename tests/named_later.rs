//! What is referred to may come to the network later, or come again: who refers to it means it then.

mod common;

use bevy::prelude::*;
use common::{
    Place, Target,
    authority::{grab, lending, move_to, wait_at},
    command, counted, find, get, name, pair, register, settle, wait_for,
};
use seamless_authority::{AuthorityCommandsExt, Delegated};
use seamless_replication::{NetSlot, ReplicateAppExt, Replicated};
use seamless_testkit::{AppId, Cluster, Weather};

fn setup(app: &mut App) {
    register(app);
    app.replicate_with_entities::<ChildOf>();
}

/// A server and a client, and on the server something that refers to what is not on the network.
fn scene((seed, loss): (u64, f32)) -> (Cluster, [AppId; 2], [Entity; 3]) {
    let (mut cluster, [server, client]) = pair(seed, Weather::lossy(loss), setup);
    let world = cluster.world(server);
    let gun = world.spawn(Place(1.0, 0.0, 0.0)).id();
    let soldier = world
        .spawn((Replicated, Place::default(), Target(gun)))
        .id();
    let its_name = name(&mut cluster, server, soldier);
    let seen = wait_for(&mut cluster, client, its_name);
    cluster.run(30);
    let target = get::<Target>(&mut cluster, client, seen);
    assert_eq!(target, Some(Target(Entity::PLACEHOLDER)));
    (cluster, [server, client], [gun, soldier, seen])
}

/// The client means by it what the server means.
fn wait_until_meant(
    cluster: &mut Cluster,
    [server, client]: [AppId; 2],
    [gun, _, seen]: [Entity; 3],
) {
    let gun_name = name(cluster, server, gun);
    let gun_seen = wait_for(cluster, client, gun_name);
    cluster.run_until("it is meant", 300, |cluster| {
        get(cluster, client, seen) == Some(Target(gun_seen))
    });
}

#[test]
fn what_comes_to_the_network_later_is_meant_then() {
    for scene_of in [(1, 0.0), (2, 0.3)] {
        let (mut cluster, apps, all) = scene(scene_of);
        cluster.world(apps[0]).entity_mut(all[0]).insert(Replicated);
        wait_until_meant(&mut cluster, apps, all);
        settle(&mut cluster, apps[0], &apps[1..]);
    }
}

#[test]
fn what_is_taken_off_the_network_and_put_back_is_meant_again() {
    for scene_of in [(3, 0.0), (4, 0.3)] {
        let (mut cluster, apps, all) = scene(scene_of);
        for pause in [0, 1, 40] {
            cluster.world(apps[0]).entity_mut(all[0]).insert(Replicated);
            wait_until_meant(&mut cluster, apps, all);
            let before = name(&mut cluster, apps[0], all[0]);
            cluster
                .world(apps[0])
                .entity_mut(all[0])
                .remove::<Replicated>();
            cluster.run(pause);
            cluster.world(apps[0]).entity_mut(all[0]).insert(Replicated);
            assert_ne!(name(&mut cluster, apps[0], all[0]), before);
            wait_until_meant(&mut cluster, apps, all);
        }
        settle(&mut cluster, apps[0], &apps[1..]);
    }
}

#[test]
fn who_hangs_on_what_is_not_on_the_network_hangs_on_nothing_at_peers() {
    for (seed, loss) in [(5, 0.0), (6, 0.3)] {
        let (mut cluster, [server, client]) = pair(seed, Weather::lossy(loss), setup);
        let root = cluster.world(server).spawn(Place::default()).id();
        let bundle = (Replicated, Place::default(), ChildOf(root));
        let child = cluster.world(server).spawn(bundle).id();
        let child_name = name(&mut cluster, server, child);
        let seen = wait_for(&mut cluster, client, child_name);
        // Long enough for it to be compared with what was told, again and again.
        cluster.run(300);
        assert_eq!(find(&mut cluster, client, child_name), Some(seen));
        assert!(cluster.world(client).get::<ChildOf>(seen).is_none());
        assert_eq!(counted(&mut cluster, client).audit.healed, 0);
        cluster.world(server).entity_mut(root).insert(Replicated);
        let root_name = name(&mut cluster, server, root);
        let root_seen = wait_for(&mut cluster, client, root_name);
        cluster.run_until("it hangs on it", 300, |cluster| {
            let above = cluster.world(client).get::<ChildOf>(seen);
            above.is_some_and(|above| above.parent() == root_seen)
        });
        assert!(cluster.world(client).get::<NetSlot>(seen).is_some());
        settle(&mut cluster, server, &[client]);
    }
}

#[test]
fn what_hangs_on_scenery_does_so_still_when_a_client_has_held_it() {
    for (seed, loss) in [(9, 0.0), (10, 0.3)] {
        let (mut cluster, [server, client]) = pair(seed, Weather::lossy(loss), |app| {
            lending(app);
            app.replicate_with_entities::<ChildOf>();
        });
        let root = cluster.world(server).spawn(Place::default()).id();
        let bundle = (Replicated, Delegated, Place::default(), ChildOf(root));
        let crate_ = cluster.world(server).spawn(bundle).id();
        let its_name = name(&mut cluster, server, crate_);
        let seen = wait_for(&mut cluster, client, its_name);
        for x in [3.0, 4.0] {
            grab(&mut cluster, client, seen);
            move_to(&mut cluster, client, seen, x);
            wait_at(&mut cluster, server, crate_, x);
            command(&mut cluster, client, seen, |e| {
                e.release_authority();
            });
            cluster.run(60);
            let above = cluster.world(server).get::<ChildOf>(crate_);
            assert_eq!(above.map(|above| above.parent()), Some(root));
            assert!(cluster.world(client).get::<ChildOf>(seen).is_none());
        }
        settle(&mut cluster, server, &[client]);
    }
}

#[test]
fn what_a_client_hangs_on_its_own_scenery_hangs_on_nothing_at_the_server() {
    for (seed, loss) in [(7, 0.0), (8, 0.3)] {
        let (mut cluster, [server, client]) = pair(seed, Weather::lossy(loss), setup);
        let root = cluster.world(client).spawn(Place::default()).id();
        let bundle = (Replicated, Place::default(), ChildOf(root));
        let child = cluster.world(client).spawn(bundle).id();
        let child_name = name(&mut cluster, client, child);
        let there = wait_for(&mut cluster, server, child_name);
        cluster.run(60);
        assert!(cluster.world(server).get::<ChildOf>(there).is_none());
        // It was on something, and is on nothing again.
        let other = cluster.world(client).spawn((Replicated, Place::default()));
        let other = other.id();
        for on in [other, root] {
            cluster.world(client).entity_mut(child).insert(ChildOf(on));
            cluster.run_until("it hangs there", 300, |cluster| {
                let above = cluster.world(server).get::<ChildOf>(there);
                above.is_some() == (on == other)
            });
        }
        assert!(find(&mut cluster, server, child_name).is_some());
    }
}
