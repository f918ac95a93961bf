//! What random worlds found, each cut down to the few steps that it takes.

mod common;
mod worlds;

use bevy::prelude::*;
use common::{
    Label, Place, Stunned, counted, find, get, name, pair, ready, register, spawn_on, state_sent,
    wait_for,
};
use seamless_replication::{NetSlot, Peers, Replicated, interest::View, transport::Channel};
use seamless_testkit::{AppId, Cluster, Fate, Way, Weather};
use worlds::{oracle::SIGHT, run::setup};

fn look_at(cluster: &mut Cluster, server: AppId, x: f32) {
    let mut peers = cluster.world(server).resource_mut::<Peers>();
    for peer in peers.iter_mut() {
        let view = View::At(Vec3::new(x, 0.0, 8.0), SIGHT);
        peer.interest_mut().set_view(view);
    }
}

#[test]
fn what_has_a_sparse_component_goes_out_of_sight_as_anything_else() {
    let mut cluster = Cluster::new(1, setup);
    cluster.set_weather(Weather::clear());
    let server = cluster.server();
    let client = cluster.client(server);
    ready(&mut cluster, client);
    look_at(&mut cluster, server, 8.0);
    let bundle = (Replicated, Stunned(1), Place(8.0, 0.0, 8.0));
    let walker = cluster.world(server).spawn(bundle).id();
    let walker_name = name(&mut cluster, server, walker);
    wait_for(&mut cluster, client, walker_name);
    common::authority::move_to(&mut cluster, server, walker, 500.0);
    cluster.run(30);
    assert_eq!(find(&mut cluster, client, walker_name), None);
}

#[test]
fn what_has_a_sparse_component_comes_into_sight_as_anything_else() {
    let mut cluster = Cluster::new(1, setup);
    cluster.set_weather(Weather::clear());
    let server = cluster.server();
    let client = cluster.client(server);
    ready(&mut cluster, client);
    look_at(&mut cluster, server, 8.0);
    let bundle = (Replicated, Stunned(1), Place(500.0, 0.0, 8.0));
    let walker = cluster.world(server).spawn(bundle).id();
    cluster.run(30);
    common::authority::move_to(&mut cluster, server, walker, 8.0);
    let walker_name = name(&mut cluster, server, walker);
    wait_for(&mut cluster, client, walker_name);
}

#[test]
fn a_large_row_that_overtakes_the_welcome_is_shown_after_it() {
    let mut cluster = Cluster::new(1, register);
    cluster.set_weather(Weather::clear());
    let server = cluster.server();
    let page = Label("a".repeat(1536));
    let page = cluster.world(server).spawn((Replicated, page)).id();
    let (client, wire) = cluster.client_over_wire(server);
    wire.decide(|parcel| {
        let welcome = parcel.way == Way::ToClient && parcel.channel == Some(Channel::Control);
        if welcome { Fate::Hold } else { Fate::Pass }
    });
    cluster.run(20);
    wire.pass();
    for parcel in wire.kept() {
        wire.put(parcel);
    }
    let page_name = name(&mut cluster, server, page);
    // Half a minute later it is sent again; nobody should wait for that.
    wait_for(&mut cluster, client, page_name);
}

#[test]
fn an_equal_write_beside_a_sparse_component_is_no_change() {
    let (mut cluster, apps) = pair(1, Weather::clear(), register);
    // Both stand in the same table, and only one is stunned.
    spawn_on(&mut cluster, apps, Place::default());
    let [stunned, _] = spawn_on(&mut cluster, apps, (Place::default(), Stunned(1)));
    cluster.run(40);
    let before = counted(&mut cluster, apps[0]).records;
    for _ in 0..10 {
        let mut entity = cluster.world(apps[0]).entity_mut(stunned);
        entity.get_mut::<Place>().expect("it has one").set_changed();
        cluster.step();
    }
    cluster.run(10);
    assert_eq!(counted(&mut cluster, apps[0]).records, before);
}

#[test]
fn a_sparse_component_costs_a_byte_at_most_while_another_one_changes() {
    let sent = |bundle: (Place, Option<Stunned>)| {
        let (mut cluster, apps) = pair(1, Weather::near(), register);
        // Both stand in the same table, and only one may be stunned.
        spawn_on(&mut cluster, apps, Place::default());
        let [walker, there] = spawn_on(&mut cluster, apps, bundle.0);
        if let Some(stunned) = bundle.1 {
            cluster.world(apps[0]).entity_mut(walker).insert(stunned);
        }
        cluster.run(40);
        let before = state_sent(&mut cluster, apps[0]).bytes;
        for x in 1..600u16 {
            common::authority::move_to(&mut cluster, apps[0], walker, f32::from(x));
            cluster.step();
        }
        cluster.run(40);
        let place = get::<Place>(&mut cluster, apps[1], there);
        assert_eq!(place.map(|place| place.0), Some(599.0));
        state_sent(&mut cluster, apps[0]).bytes - before
    };
    let plain = sent((Place::default(), None));
    let stunned = sent((Place::default(), Some(Stunned(1))));
    assert!(
        // That it is there takes a byte of each record.
        stunned <= plain + 650,
        "{stunned} bytes stunned, {plain} bytes otherwise"
    );
}

#[test]
fn an_exception_for_the_next_entity_in_a_slot_stands_though_the_last_went_in_the_same_tick() {
    let (mut cluster, [server, client]) = pair(1, Weather::clear(), setup);
    look_at(&mut cluster, server, 8.0);
    let far = || (Replicated, Place(500.0, 0.0, 8.0));
    let first = cluster.world(server).spawn(far()).id();
    cluster.run(10);
    let world = cluster.world(server);
    world.despawn(first);
    let second = world.spawn(far()).id();
    let slot = *world.get::<NetSlot>(second).expect("on the network");
    for peer in world.resource_mut::<Peers>().iter_mut() {
        peer.interest_mut().except(&slot, Some(true));
    }
    let second_name = name(&mut cluster, server, second);
    wait_for(&mut cluster, client, second_name);
}
