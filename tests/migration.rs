//! A client's own entity moves to the server: the same entity on both sides, nothing lost, nothing
//! twice.

mod common;

use bevy::prelude::*;
use common::{
    Health, Label, Place,
    authority::{Event, at, grab, heard, holder, lending, move_to, view, wait_at, weathers},
    command, find, get, me, name, on_a_wire, pair, ready, state_sent, wait_for,
};
use seamless_authority::{AuthorityCommandsExt, AuthorityPolicy, AuthorityView};
use seamless_replication::{
    Hosted, Peers, Remote, Replicated, Slots,
    migrate::{host_map, redirects, remote_map},
    transport::Channel,
    wire::{Holder, control::DenyReason},
};
use seamless_testkit::{AppId, Cluster, Fate, Way, Weather, Wire};

/// A client spawns an entity; gives it on the server and on the client.
fn spawn_own(cluster: &mut Cluster, [server, client]: [AppId; 2]) -> [Entity; 2] {
    let bundle = (Replicated, Place(1.0, 0.0, 0.0), Label("mine".into()));
    let own = cluster.world(client).spawn(bundle).id();
    let name = name(cluster, client, own);
    [wait_for(cluster, server, name), own]
}

fn delegate(cluster: &mut Cluster, client: AppId, own: Entity) {
    command(cluster, client, own, |e| {
        e.delegate();
    });
}

/// In which maps an entity stands in an app: host, remote.
fn maps(cluster: &mut Cluster, app: AppId, entity: Entity) -> (usize, usize) {
    let slots = cluster.world(app).resource::<Slots>();
    (
        host_map(slots).filter(|(_, e)| *e == entity).count(),
        remote_map(slots).filter(|(.., e)| *e == entity).count(),
    )
}

#[test]
fn the_entity_changes_its_map_on_both_sides_and_stays_itself() {
    for (seed, weather) in weathers() {
        let (mut cluster, apps) = pair(seed, weather, lending);
        let [server, client] = apps;
        let [there, own] = spawn_own(&mut cluster, apps);
        assert_eq!(maps(&mut cluster, server, there), (0, 1));
        assert_eq!(maps(&mut cluster, client, own), (1, 0));
        delegate(&mut cluster, client, own);
        for _ in 0..90 {
            cluster.step();
            for (app, entity) in [(server, there), (client, own)] {
                let (host, remote) = maps(&mut cluster, app, entity);
                assert_eq!(host + remote, 1, "in exactly one map, seed {seed}");
                let entity = cluster.world(app).entity(entity);
                assert_eq!(entity.contains::<Hosted>(), host == 1);
                assert_eq!(entity.contains::<Remote>(), remote == 1);
                assert_eq!(entity.get::<Place>(), Some(&Place(1.0, 0.0, 0.0)));
                assert_eq!(entity.get::<Label>(), Some(&Label("mine".into())));
            }
        }
        assert_eq!(maps(&mut cluster, server, there), (1, 0));
        assert_eq!(maps(&mut cluster, client, own), (0, 1));
        let me = me(&mut cluster, client);
        assert_eq!(holder(&mut cluster, server, there), Some(Holder::Peer(me)));
        assert_eq!(heard(&mut cluster, client), [Event::Granted(own)]);
    }
}

#[test]
fn what_the_client_writes_meanwhile_arrives_in_order_and_to_the_last() {
    for (seed, weather) in weathers() {
        let (mut cluster, apps) = pair(seed, weather, lending);
        let [server, client] = apps;
        let [there, own] = spawn_own(&mut cluster, apps);
        delegate(&mut cluster, client, own);
        let mut last = 0.0;
        for x in 2..80u8 {
            move_to(&mut cluster, client, own, f32::from(x));
            cluster.step();
            let now = at(&mut cluster, server, there).expect("it has a place");
            assert!(now >= last, "{now} after {last}, seed {seed}");
            last = now;
            assert_eq!(at(&mut cluster, client, own), Some(f32::from(x)));
        }
        assert!(last > 40.0, "writes go on arriving: {last}, seed {seed}");
        wait_at(&mut cluster, server, there, 79.0);
    }
}

#[test]
fn a_record_under_the_old_name_that_comes_late_is_applied_to_the_same_entity() {
    let (mut cluster, apps, wire) = on_a_wire(lending);
    let [server, client] = apps;
    let [there, own] = spawn_own(&mut cluster, apps);
    cluster.run(20);
    delegate(&mut cluster, client, own);
    // The server has migrated, the client does not know and writes as the host it was.
    wire.all(Way::ToClient, Fate::Lose);
    cluster.run(3);
    assert_eq!(maps(&mut cluster, server, there), (1, 0));
    assert_eq!(maps(&mut cluster, client, own), (1, 0));
    move_to(&mut cluster, client, own, 9.0);
    cluster
        .world(client)
        .entity_mut(own)
        .insert(Health(3))
        .remove::<Label>();
    cluster.run(3);
    assert_eq!(at(&mut cluster, server, there), Some(9.0));
    assert_eq!(get(&mut cluster, server, there), Some(Health(3)), "as host");
    assert_eq!(get::<Label>(&mut cluster, server, there), None);
    wire.pass();
    cluster.run(60);
    assert_eq!(maps(&mut cluster, client, own), (0, 1));
}

#[test]
fn no_component_is_sent_again() {
    let (mut cluster, apps) = pair(1, Weather::near(), lending);
    let [server, client] = apps;
    let long = Label("long".repeat(200));
    let own = cluster.world(client).spawn((Replicated, long)).id();
    cluster.run(60);
    let before = apps.map(|app| state_sent(&mut cluster, app).bytes);
    delegate(&mut cluster, client, own);
    cluster.run(60);
    assert_eq!(maps(&mut cluster, client, own), (0, 1));
    for (app, before) in [server, client].into_iter().zip(before) {
        let bytes = state_sent(&mut cluster, app).bytes - before;
        assert!(bytes < 400, "{bytes} bytes for a row of 800");
    }
}

#[test]
fn spawning_and_handing_over_in_one_tick_works() {
    for (seed, weather) in weathers() {
        let (mut cluster, [server, client]) = pair(seed, weather, lending);
        let own = cluster
            .world(client)
            .spawn((Replicated, Place(5.0, 0.0, 0.0)))
            .id();
        delegate(&mut cluster, client, own);
        cluster.run_until("it is lent to us", 300, |cluster| {
            view(cluster, client, own) == Some(AuthorityView::Granted)
        });
        let name = name(&mut cluster, client, own);
        let there = find(&mut cluster, server, name).expect("the server has it");
        assert_eq!(at(&mut cluster, server, there), Some(5.0));
    }
}

#[test]
fn what_the_policy_refuses_stays_with_the_client() {
    let (mut cluster, apps) = pair(1, Weather::lossy(0.3), lending);
    let [server, client] = apps;
    let policy = AuthorityPolicy::default().delegation(|_, _, _| false);
    cluster.world(server).insert_resource(policy);
    let [there, own] = spawn_own(&mut cluster, apps);
    delegate(&mut cluster, client, own);
    cluster.run(60);
    assert_eq!(
        heard(&mut cluster, client),
        [Event::Denied(own, DenyReason::Policy)]
    );
    assert_eq!(maps(&mut cluster, client, own), (1, 0));
    move_to(&mut cluster, client, own, 4.0);
    wait_at(&mut cluster, server, there, 4.0);
}

/// A client delegates what it spawns in the same tick, and the row waits on the wire.
fn delegate_ahead_of_the_row() -> (Cluster, [AppId; 2], Wire, Entity) {
    let (mut cluster, [server, client], wire) = on_a_wire(lending);
    // Large rows go another way than the item.
    wire.decide(|parcel| match parcel.channel {
        Some(Channel::Bulk) => Fate::Hold,
        _ => Fate::Pass,
    });
    let bundle = (Replicated, Place(1.0, 0.0, 0.0), Label("m".repeat(6000)));
    let own = cluster.world(client).spawn(bundle).id();
    delegate(&mut cluster, client, own);
    (cluster, [server, client], wire, own)
}

#[test]
fn a_delegation_that_comes_before_its_entity_waits_for_it() {
    let (mut cluster, [server, client], wire, own) = delegate_ahead_of_the_row();
    cluster.run(40);
    let name = name(&mut cluster, client, own);
    assert_eq!(find(&mut cluster, server, name), None);
    assert_eq!(heard(&mut cluster, client), []);
    let late = wire.kept();
    assert_eq!(late.len(), 1);
    wire.pass();
    late.into_iter().for_each(|parcel| wire.put(parcel));
    let there = wait_for(&mut cluster, server, name);
    cluster.run(20);
    assert_eq!(maps(&mut cluster, server, there), (1, 0));
    assert_eq!(maps(&mut cluster, client, own), (0, 1));
    let me = me(&mut cluster, client);
    assert_eq!(holder(&mut cluster, server, there), Some(Holder::Peer(me)));
    move_to(&mut cluster, client, own, 4.0);
    wait_at(&mut cluster, server, there, 4.0);
}

#[test]
fn a_delegation_of_what_does_not_come_is_refused_after_two_seconds() {
    let (mut cluster, [_, client], _wire, own) = delegate_ahead_of_the_row();
    cluster.run(55);
    assert_eq!(heard(&mut cluster, client), []);
    cluster.run(15);
    let denied = Event::Denied(own, DenyReason::Unknown);
    assert_eq!(heard(&mut cluster, client), [denied]);
    assert_eq!(maps(&mut cluster, client, own), (1, 0), "it is its own");
}

#[test]
fn what_migrated_can_be_given_back_and_lent_to_another() {
    for (seed, weather) in weathers() {
        let (mut cluster, apps) = pair(seed, weather, lending);
        let [server, client] = apps;
        let other = cluster.client(server);
        ready(&mut cluster, other);
        let [there, own] = spawn_own(&mut cluster, apps);
        delegate(&mut cluster, client, own);
        cluster.run_until("it is lent to us", 300, |cluster| {
            view(cluster, client, own) == Some(AuthorityView::Granted)
        });
        move_to(&mut cluster, client, own, 6.0);
        command(&mut cluster, client, own, |e| {
            e.release_authority();
        });
        let name = name(&mut cluster, server, there);
        let seen = wait_for(&mut cluster, other, name);
        cluster.run_until("it is free", 300, |cluster| {
            view(cluster, other, seen) == Some(AuthorityView::Available)
        });
        assert_eq!(at(&mut cluster, server, there), Some(6.0), "seed {seed}");
        grab(&mut cluster, other, seen);
        move_to(&mut cluster, other, seen, 7.0);
        wait_at(&mut cluster, client, own, 7.0);
    }
}

#[test]
fn a_client_that_despawns_what_is_just_migrating_gets_it_back_as_its_holder() {
    for (seed, weather) in weathers() {
        let (mut cluster, apps) = pair(seed, weather, lending);
        let [server, client] = apps;
        let [_, own] = spawn_own(&mut cluster, apps);
        let name = name(&mut cluster, client, own);
        delegate(&mut cluster, client, own);
        cluster.run((seed % 6) as usize);
        cluster.world(client).despawn(own);
        cluster.run(120);
        let there = find(&mut cluster, server, name);
        let here = find(&mut cluster, client, name);
        let Some(there) = there else {
            assert_eq!(here, None, "seed {seed}");
            continue;
        };
        // Migrated before the despawn was told: whoever hosts it now decides.
        match here {
            Some(here) => assert_eq!(
                at(&mut cluster, client, here),
                at(&mut cluster, server, there),
                "seed {seed}"
            ),
            None => assert_eq!(maps(&mut cluster, server, there), (1, 0), "seed {seed}"),
        }
    }
}

#[test]
fn old_names_are_understood_for_a_minute_and_then_forgotten() {
    let (mut cluster, apps) = pair(1, Weather::near(), lending);
    let [server, client] = apps;
    let [_, own] = spawn_own(&mut cluster, apps);
    delegate(&mut cluster, client, own);
    cluster.run(30);
    let count =
        |cluster: &mut Cluster| redirects(cluster.world(server).resource::<Peers>()).count();
    assert_eq!(count(&mut cluster), 1);
    cluster.run(58 * 30);
    assert_eq!(count(&mut cluster), 1);
    cluster.run(4 * 30);
    assert_eq!(count(&mut cluster), 0);
}
