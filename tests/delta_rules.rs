//! The rules of a delta, each of them a bug in somebody's netcode.
//!
//! Datagrams are lost, held back and put on the wire late by hand, so that exactly the case that
//! the rule is about occurs.

mod common;

use std::time::Duration;

use bevy::prelude::*;
use common::{
    Health, Label, Place, counted, find, get, name, on_a_wire, pair, register, spawn_on, wait_for,
};
use seamless_replication::{
    NetSlot, Peers, Replicated, ReplicationConfig, Slots, stats::LinkStats, wire::GlobalEntity,
    wire::record::LeaveReason,
};
use seamless_testkit::{AppId, Cluster, Fate, Parcel, Way, Weather};

/// Longer than a round trip and the time after which a datagram counts as lost.
const A_WHILE: usize = 40;

fn place(cluster: &mut Cluster, app: AppId, entity: Entity) -> Place {
    get(cluster, app, entity).expect("it has a place")
}

fn set_place(cluster: &mut Cluster, server: AppId, entity: Entity, x: f32) {
    cluster
        .world(server)
        .get_mut::<Place>(entity)
        .expect("it has a place")
        .0 = x;
}

fn show(cluster: &mut Cluster, server: AppId, entity: Entity, shown: bool) {
    let world = cluster.world(server);
    let slot = *world.get::<NetSlot>(entity).expect("on the network");
    for peer in world.resource_mut::<Peers>().iter_mut() {
        peer.interest_mut().except(&slot, Some(shown));
    }
}

#[test]
fn a_change_and_its_undoing_between_acks_ends_where_it_began() {
    // Which of the two datagrams is lost: none, the change, the undoing, both.
    for lost in 0..4u8 {
        let (mut cluster, apps, wire) = on_a_wire(register);
        let [server, client] = apps;
        let [crate_, there] = spawn_on(&mut cluster, apps, Place(1.0, 0.0, 0.0));
        cluster.run(A_WHILE);
        let mut nth = 0;
        wire.decide(move |parcel| {
            if parcel.way == Way::ToServer {
                return Fate::Lose;
            }
            nth += u8::from(parcel.is_numbered());
            let lose = parcel.is_numbered() && nth <= 2 && lost >> (nth - 1) & 1 != 0;
            if lose { Fate::Lose } else { Fate::Pass }
        });
        for x in [2.0, 1.0] {
            set_place(&mut cluster, server, crate_, x);
            cluster.step();
        }
        wire.pass();
        cluster.run(A_WHILE);
        assert_eq!(
            place(&mut cluster, client, there).0,
            1.0,
            "lost: {lost:#04b}"
        );
    }
}

#[test]
fn a_component_that_is_removed_and_comes_back_between_acks_ends_as_it_is() {
    for lost in 0..4u8 {
        let (mut cluster, apps, wire) = on_a_wire(register);
        let [server, client] = apps;
        let [crate_, there] = spawn_on(&mut cluster, apps, (Place::default(), Label("a".into())));
        cluster.run(A_WHILE);
        let mut nth = 0;
        wire.decide(move |parcel| {
            nth += u8::from(parcel.is_numbered() && parcel.way == Way::ToClient);
            let ours = parcel.is_numbered() && parcel.way == Way::ToClient && nth <= 2;
            let lose = ours && lost >> (nth - 1) & 1 != 0;
            if lose { Fate::Lose } else { Fate::Pass }
        });
        cluster.world(server).entity_mut(crate_).remove::<Label>();
        cluster.step();
        cluster
            .world(server)
            .entity_mut(crate_)
            .insert(Label("a".into()));
        cluster.run(A_WHILE);
        let label = get::<Label>(&mut cluster, client, there);
        assert_eq!(label, Some(Label("a".into())), "lost: {lost:#04b}");
        cluster.world(server).entity_mut(crate_).remove::<Label>();
        cluster.run(A_WHILE);
        assert_eq!(get::<Label>(&mut cluster, client, there), None);
    }
}

#[test]
fn a_datagram_of_which_one_record_was_refused_is_not_acknowledged() {
    let (mut cluster, [server, client], _wire) = on_a_wire(register);
    let limit = |cluster: &mut Cluster, entities| {
        let mut config = cluster.world(server).resource_mut::<ReplicationConfig>();
        config.client_entities = entities;
    };
    limit(&mut cluster, 1);
    let own = [1.0, 2.0].map(|x| {
        cluster
            .world(client)
            .spawn((Replicated, Place(x, 0.0, 0.0)))
            .id()
    });
    cluster.run(A_WHILE);
    let names = own.map(|entity| name(&mut cluster, client, entity));
    let have = |cluster: &mut Cluster| {
        names.map(|name| usize::from(find(cluster, server, name).is_some()))
    };
    assert_eq!(have(&mut cluster).iter().sum::<usize>(), 1);
    assert!(counted(&mut cluster, server).refused.over_bounds > 0);
    // Nothing changes any more, so only a record that counts as lost is sent again.
    limit(&mut cluster, 2);
    cluster.run_until("both are there", 90, |cluster| have(cluster) == [1, 1]);
}

#[test]
fn a_late_spawn_after_the_despawn_does_not_resurrect() {
    let (mut cluster, [server, client], wire) = on_a_wire(register);
    wire.next(Way::ToClient, Fate::Hold);
    let crate_ = cluster
        .world(server)
        .spawn((Replicated, Place::default()))
        .id();
    cluster.step();
    let name = name(&mut cluster, server, crate_);
    cluster.world(server).despawn(crate_);
    cluster.run(A_WHILE);
    let held = wire.kept();
    assert_eq!(held.len(), 1, "the spawn was held back");
    held.into_iter().for_each(|parcel| wire.put(parcel));
    cluster.run(A_WHILE);
    assert_eq!(find(&mut cluster, client, name), None);
    let mut places = cluster.world(client).query::<&Place>();
    assert_eq!(places.iter(cluster.world(client)).count(), 0);
}

#[test]
fn late_acks_from_before_a_gap_in_sight_move_nothing() {
    let (mut cluster, apps, wire) = on_a_wire(register);
    let [server, client] = apps;
    let crate_ = cluster
        .world(server)
        .spawn((Replicated, Place(1.0, 0.0, 0.0)))
        .id();
    wire.all(Way::ToServer, Fate::Hold);
    cluster.run(3);
    show(&mut cluster, server, crate_, false);
    cluster.run(3);
    // Back in sight, and that datagram is lost. The acks of everything before come now.
    show(&mut cluster, server, crate_, true);
    wire.next(Way::ToClient, Fate::Lose);
    for parcel in wire.kept() {
        wire.put(parcel);
    }
    cluster.run(3);
    set_place(&mut cluster, server, crate_, 2.0);
    cluster.run(A_WHILE);
    let name = name(&mut cluster, server, crate_);
    let there = find(&mut cluster, client, name).expect("it is in sight");
    assert_eq!(place(&mut cluster, client, there).0, 2.0);
}

#[test]
fn the_last_change_before_silence_arrives_though_it_was_lost() {
    let (mut cluster, apps, wire) = on_a_wire(register);
    let [server, client] = apps;
    let [crate_, there] = spawn_on(&mut cluster, apps, Place::default());
    cluster.run(A_WHILE);
    wire.next(Way::ToClient, Fate::Lose);
    set_place(&mut cluster, server, crate_, 9.0);
    cluster.run(A_WHILE);
    assert_eq!(place(&mut cluster, client, there).0, 9.0);
}

#[test]
fn records_of_a_former_entity_are_not_applied_to_the_next_in_its_slot() {
    let (mut cluster, apps, wire) = on_a_wire(register);
    let [server, client] = apps;
    let [first, _] = spawn_on(&mut cluster, apps, Place(1.0, 0.0, 0.0));
    cluster.run(A_WHILE);
    let former = name(&mut cluster, server, first);
    // A change (a delta) and, after a gap in sight, a whole row: both come too late.
    wire.all(Way::ToClient, Fate::Hold);
    set_place(&mut cluster, server, first, 5.0);
    cluster.step();
    show(&mut cluster, server, first, false);
    cluster.step();
    show(&mut cluster, server, first, true);
    cluster.step();
    wire.pass();
    let late: Vec<Parcel> = wire.kept();
    assert!(late.len() >= 3);
    cluster.world(server).despawn(first);
    cluster.step();
    let [_, there] = spawn_on(&mut cluster, apps, Place(2.0, 0.0, 0.0));
    late.into_iter().for_each(|parcel| wire.put(parcel));
    cluster.run(A_WHILE);
    assert_eq!(place(&mut cluster, client, there).0, 2.0);
    assert_eq!(find(&mut cluster, client, former), None);
}

#[test]
fn what_another_server_hosts_now_is_not_gone_when_its_slot_is_used_again() {
    for seed in 0..6 {
        let (mut cluster, apps) = pair(seed, Weather::lossy(0.3), register);
        let [server, client] = apps;
        let [moved, there] = spawn_on(&mut cluster, apps, Place::default());
        let mut config = cluster.world(client).resource_mut::<ReplicationConfig>();
        config.orphan_grace = Duration::from_secs(3);
        cluster.run(30);
        let world = cluster.world(server);
        let mut slots = world.resource_mut::<Slots>();
        slots.leave_because(LeaveReason::Moved);
        world.despawn(moved);
        // One of them gets the slot at once.
        let mut names = Vec::new();
        for n in 0..3 {
            let place = Place(n as f32, 1.0, 0.0);
            let next = cluster.world(server).spawn((Replicated, place)).id();
            names.push(name(&mut cluster, server, next));
        }
        for frame in 0..45 {
            cluster.step();
            let world = cluster.world(client);
            assert!(
                world.get_entity(there).is_ok(),
                "frame {frame}, seed {seed}"
            );
        }
        for name in names {
            wait_for(&mut cluster, client, name);
        }
        // Nobody else told of it.
        cluster.run(120);
        assert!(cluster.world(client).get_entity(there).is_err());
    }
}

#[test]
fn an_entity_that_comes_and_goes_within_a_tick_is_never_told() {
    let (mut cluster, [server, client], _wire) = on_a_wire(register);
    cluster.run(A_WHILE);
    let before = counted(&mut cluster, server);
    let world = cluster.world(server);
    let crate_ = world.spawn((Replicated, Place::default())).id();
    let name = world.get::<NetSlot>(crate_).and_then(NetSlot::global);
    world.despawn(crate_);
    let next = world.spawn((Replicated, Place(3.0, 0.0, 0.0))).id();
    cluster.run(A_WHILE);
    let after = counted(&mut cluster, server);
    assert_eq!(after.records.0, before.records.0 + 1, "only the next one");
    assert_eq!(find(&mut cluster, client, name.expect("named")), None);
    let name = common::name(&mut cluster, server, next);
    assert!(find(&mut cluster, client, name).is_some());
}

#[test]
fn an_equal_value_that_is_written_is_no_change() {
    let (mut cluster, apps, _wire) = on_a_wire(register);
    let [crate_, _] = spawn_on(&mut cluster, apps, (Place::default(), Health(5)));
    cluster.run(A_WHILE);
    let before = counted(&mut cluster, apps[0]);
    for _ in 0..30 {
        let mut entity = cluster.world(apps[0]).entity_mut(crate_);
        entity
            .get_mut::<Place>()
            .expect("it has a place")
            .set_changed();
        entity.insert(Health(5));
        cluster.step();
    }
    let after = counted(&mut cluster, apps[0]);
    assert_eq!(after.records, before.records);
}

#[test]
fn what_settled_costs_keep_alives_and_nothing_else() {
    let (mut cluster, apps, _wire) = on_a_wire(|app| {
        register(app);
        // Without it, to see the rest.
        app.world_mut()
            .resource_mut::<ReplicationConfig>()
            .audit_per_second = 0;
    });
    let server = apps[0];
    for x in 0..200 {
        cluster
            .world(server)
            .spawn((Replicated, Place(x as f32, 0.0, 0.0)));
    }
    common::settle(&mut cluster, server, &apps[1..]);
    cluster.run(A_WHILE);
    let before: Vec<_> = apps.map(|app| common::state_sent(&mut cluster, app)).into();
    cluster.run(300);
    for (app, before) in apps.into_iter().zip(before) {
        let after = common::state_sent(&mut cluster, app);
        let (packets, bytes) = (after.packets - before.packets, after.bytes - before.bytes);
        assert!(
            packets <= 31,
            "one in ten ticks, not {packets} in 300 ticks"
        );
        assert!(bytes <= packets * 4, "{bytes} bytes in {packets} datagrams");
    }
}

/// Everything that was not applied, whatever the reason.
fn unused(stats: &LinkStats) -> u64 {
    stats.refused.stale + stats.refused.late + stats.refused.duplicates
}

#[test]
fn an_old_datagram_that_comes_after_a_newer_one_changes_nothing() {
    let (mut cluster, apps, wire) = on_a_wire(register);
    let [server, client] = apps;
    let [crate_, there] = spawn_on(&mut cluster, apps, Place::default());
    cluster.run(A_WHILE);
    wire.next(Way::ToClient, Fate::Hold);
    for x in [1.0, 2.0, 3.0] {
        set_place(&mut cluster, server, crate_, x);
        cluster.step();
    }
    let before = unused(&counted(&mut cluster, client));
    for parcel in wire.kept() {
        wire.put(parcel.clone());
        wire.put(parcel);
    }
    cluster.run(2);
    assert_eq!(place(&mut cluster, client, there).0, 3.0);
    assert_eq!(unused(&counted(&mut cluster, client)), before + 2);
}

#[test]
fn names_are_not_used_twice() {
    let (mut cluster, apps, _wire) = on_a_wire(register);
    let [server, client] = apps;
    let mut names: Vec<GlobalEntity> = Vec::new();
    for round in 0..20 {
        // Slots are used again, names are not; a client's come from its server.
        for app in [server, client] {
            let entity = cluster.world(app).spawn((Replicated, Health(round))).id();
            cluster.run(3);
            names.push(name(&mut cluster, app, entity));
            cluster.world(app).despawn(entity);
        }
    }
    let all = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), all);
}
