//! What goes wrong on the second day only: names and slots used again and again, pauses, roles that
//! change, steps that are no ticks.

mod common;

use std::time::Duration;

use bevy::{ecs::entity::MapEntities, prelude::*, time::TimeUpdateStrategy};
use common::{
    Place,
    authority::{at, lending, move_to, wait_at},
    command, counted, find, get, me, name, on_a_wire, pair, ready, register, settle, spawn_on,
    wait_for,
};
use seamless_authority::{AuthorityCommandsExt, Delegated};
use seamless_replication::{
    Hosted, Names, NetSlot, Peers, Replicated, ReplicationConfig, Slots,
    interest::{InterestAppExt, View},
    messages::{Delivery, Direction, FromPeer, MessageAppExt, Target, ToPeers},
    transport::{CloseReason, Links},
};
use seamless_testkit::{AppId, Cluster, Fate, Way, Weather};
use serde::{Deserialize, Serialize};

const TICK: Duration = Duration::from_nanos(1_000_000_000 / 30);

/// One frame that lasts as long as this, and then usual ones.
fn pause(cluster: &mut Cluster, app: AppId, length: Duration) {
    let strategy = |cluster: &mut Cluster, length| {
        let strategy = TimeUpdateStrategy::ManualDuration(length);
        cluster.world(app).insert_resource(strategy);
    };
    strategy(cluster, length);
    cluster.step();
    strategy(cluster, TICK);
}

#[test]
fn a_client_that_saw_a_large_world_come_and_go_can_spawn_as_much_as_before() {
    const CROWD: usize = 6000;
    const OWN: usize = 240;
    let (mut cluster, [server, client]) = pair(1, Weather::near(), lending);
    let bundle = || (Replicated, Place(1.0, 0.0, 0.0));
    let crowd: Vec<Entity> = (0..CROWD)
        .map(|_| cluster.world(server).spawn(bundle()).id())
        .collect();
    settle(&mut cluster, server, &[client]);
    for entity in crowd {
        cluster.world(server).despawn(entity);
    }
    settle(&mut cluster, server, &[client]);
    for round in 0..26 {
        let own: Vec<Entity> = (0..OWN)
            .map(|_| cluster.world(client).spawn(bundle()).id())
            .collect();
        let names: Vec<_> = own
            .iter()
            .filter_map(|&own| cluster.world(client).get::<NetSlot>(own)?.global())
            .collect();
        cluster.run(20);
        let there = names
            .iter()
            .filter(|&&name| find(&mut cluster, server, name).is_some())
            .count();
        assert!(there >= OWN / 2, "{there} in round {round}");
        for own in own {
            cluster.world(client).despawn(own);
        }
        cluster.run(20);
    }
    let stats = counted(&mut cluster, server);
    assert_eq!(stats.refused.over_bounds, 0);
}

#[test]
fn what_comes_late_of_an_earlier_life_is_not_taken_for_the_slots_next() {
    let (mut cluster, [server, client], wire) = on_a_wire(lending);
    let bundle = |x| (Replicated, Place(x, 0.0, 0.0));
    // It sends what is held again, and that arrives.
    wire.next(Way::ToServer, Fate::Hold);
    let first = cluster.world(client).spawn(bundle(1.0)).id();
    let its_name = name(&mut cluster, client, first);
    wait_for(&mut cluster, server, its_name);
    cluster.world(client).despawn(first);
    cluster.run_until("it is gone", 300, |cluster| {
        find(cluster, server, its_name).is_none()
    });
    let second = cluster.world(client).spawn(bundle(2.0)).id();
    let second_name = name(&mut cluster, client, second);
    let there = wait_for(&mut cluster, server, second_name);
    command(&mut cluster, client, second, |e| {
        e.delegate();
    });
    cluster.run_until("the server hosts it", 300, |cluster| {
        get::<Hosted>(cluster, server, there).is_some()
    });
    cluster.run(10);
    let late = wire.kept();
    assert!(!late.is_empty());
    late.into_iter().for_each(|parcel| wire.put(parcel));
    cluster.run(10);
    assert_eq!(find(&mut cluster, server, its_name), None, "it is dead");
    move_to(&mut cluster, client, second, 3.0);
    wait_at(&mut cluster, server, there, 3.0);
}

#[test]
fn who_was_a_client_and_hosts_now_is_a_server_in_full() {
    let mut cluster = Cluster::new(5, |app| {
        lending(app);
        app.interest_position::<Place>(|place| Vec3::new(place.0, place.1, place.2));
    });
    let host = cluster.server();
    let other = cluster.server();
    cluster.connect(host, other);
    ready(&mut cluster, host);
    for link in cluster.world(host).resource_mut::<Links>().iter_mut() {
        link.close(CloseReason::ByPeer);
    }
    cluster.run(60);
    let client = cluster.client(host);
    ready(&mut cluster, client);
    let id = me(&mut cluster, client);
    assert_eq!(cluster.world(host).resource::<Peers>().me(), None);
    let mut peers = cluster.world(host).resource_mut::<Peers>();
    let peer = peers.by_id_mut(id).expect("it is linked");
    peer.interest_mut().set_view(View::At(Vec3::ZERO, 50.0));
    let near = Place(1.0, 0.0, 0.0);
    let near = cluster.world(host).spawn((Replicated, near)).id();
    let far = Place(5000.0, 0.0, 0.0);
    let far = cluster.world(host).spawn((Replicated, far)).id();
    let [near_name, far_name] = [near, far].map(|entity| name(&mut cluster, host, entity));
    wait_for(&mut cluster, client, near_name);
    cluster.run(30);
    assert_eq!(find(&mut cluster, client, far_name), None, "it is far away");
    command(&mut cluster, host, near, |e| {
        e.delegate();
    });
    cluster.step();
    assert!(get::<Delegated>(&mut cluster, host, near).is_some());
}

#[test]
fn what_waits_for_its_source_waits_after_a_pause_too() {
    let (mut cluster, [server, client]) = pair(2, Weather::near(), |app| {
        register(app);
        let mut config = app.world_mut().resource_mut::<ReplicationConfig>();
        config.orphan_grace = Duration::from_secs(3);
        config.resume_grace = Duration::ZERO;
    });
    let place = Place(4.0, 0.0, 0.0);
    let entity = cluster.world(server).spawn((Replicated, place)).id();
    let its_name = name(&mut cluster, server, entity);
    wait_for(&mut cluster, client, its_name);
    cluster.change_weather(Weather::lossy(1.0));
    // The link ends in it.
    pause(&mut cluster, client, Duration::from_secs(7));
    cluster.run_until("the link is gone", 300, |cluster| {
        cluster.world(client).resource::<Peers>().iter().count() == 0
    });
    cluster.run(30);
    assert!(
        find(&mut cluster, client, its_name).is_some(),
        "a second later"
    );
    cluster.run_until("it is given up", 120, |cluster| {
        find(cluster, client, its_name).is_none()
    });
}

#[test]
fn a_pause_of_the_server_is_no_full_network() {
    let (mut cluster, [server, client]) = pair(3, Weather::near(), register);
    let place = Place::default();
    let entity = cluster.world(server).spawn((Replicated, place)).id();
    let run = |cluster: &mut Cluster, frames| {
        for frame in 0..frames {
            move_to(cluster, server, entity, frame as f32);
            cluster.step();
        }
    };
    run(&mut cluster, 60);
    let full = counted(&mut cluster, server).budget;
    // It stands while the client goes on, and its datagrams lie there.
    for _ in 0..90 {
        cluster.app(client).update();
    }
    pause(&mut cluster, server, TICK * 91);
    for _ in 0..60 {
        run(&mut cluster, 1);
        assert_eq!(counted(&mut cluster, server).budget, full);
    }
    settle(&mut cluster, server, &[client]);
}

#[test]
fn what_waits_for_a_name_gets_one_of_a_block_that_comes_later() {
    let (mut cluster, [server, client]) = pair(4, Weather::near(), register);
    let mut slots = cluster.world(server).resource_mut::<Slots>();
    slots.set_names(Names::default());
    let place = Place(3.0, 0.0, 0.0);
    let entity = cluster.world(server).spawn((Replicated, place)).id();
    let global = |cluster: &mut Cluster| {
        let slot = cluster.world(server).get::<NetSlot>(entity);
        slot.and_then(NetSlot::global)
    };
    cluster.run(5);
    assert_eq!(global(&mut cluster), None);
    let names = Names::in_block(77).expect("legal");
    let mut slots = cluster.world(server).resource_mut::<Slots>();
    slots.set_names(names);
    cluster.run(2);
    let its_name = global(&mut cluster).expect("it has one now");
    assert_eq!(its_name.block(), 77);
    let there = wait_for(&mut cluster, client, its_name);
    assert_eq!(at(&mut cluster, client, there), Some(3.0));
}

#[derive(TypePath, Serialize, Deserialize, MapEntities, Clone, PartialEq, Debug)]
struct Numbered(u32);

#[derive(Resource, Default)]
struct Got(Vec<u32>);

fn listen(mut came: MessageReader<FromPeer<Numbered>>, mut got: ResMut<Got>) {
    got.0.extend(came.read().map(|came| came.message.0));
}

#[test]
fn messages_of_steps_that_are_no_ticks_are_sent() {
    let (mut cluster, [server, client]) = pair(6, Weather::near(), |app| {
        register(app);
        app.net_message::<Numbered>(Direction::ToClients, Delivery::Reliable)
            .init_resource::<Got>()
            .add_systems(Update, listen);
    });
    // Eight times as many steps as ticks.
    let mut time = cluster.world(server).resource_mut::<Time<Virtual>>();
    time.set_relative_speed(8.0);
    let short = TimeUpdateStrategy::ManualDuration(TICK / 4);
    cluster.world(server).insert_resource(short);
    for number in 0..60 {
        let message = ToPeers {
            to: Target::All,
            message: Numbered(number),
        };
        cluster.world(server).write_message(message);
        cluster.step();
    }
    cluster.run(60);
    let got = std::mem::take(&mut cluster.world(client).resource_mut::<Got>().0);
    assert!(got.into_iter().eq(0..60));
}

#[derive(TypePath, Serialize, Deserialize, MapEntities, Clone, PartialEq, Debug)]
struct Fell(#[entities] Entity);

#[derive(Resource, Default)]
struct Fallen(Vec<Entity>);

#[test]
fn messages_of_steps_that_are_no_ticks_may_be_about_what_is_gone_with_them() {
    let (mut cluster, [server, client]) = pair(7, Weather::clear(), |app| {
        register(app);
        app.net_message::<Fell>(Direction::ToClients, Delivery::Reliable)
            .init_resource::<Fallen>()
            .add_systems(
                Update,
                |mut came: MessageReader<FromPeer<Fell>>, mut fallen: ResMut<Fallen>| {
                    fallen.0.extend(came.read().map(|came| came.message.0));
                },
            );
    });
    let apps = [server, client];
    let both: Vec<[Entity; 2]> = (0..20)
        .map(|n| spawn_on(&mut cluster, apps, Place(n as f32, 0.0, 0.0)))
        .collect();
    let mut time = cluster.world(server).resource_mut::<Time<Virtual>>();
    time.set_relative_speed(8.0);
    let short = TimeUpdateStrategy::ManualDuration(TICK / 4);
    cluster.world(server).insert_resource(short);
    for [here, _] in &both {
        let message = ToPeers {
            to: Target::All,
            message: Fell(*here),
        };
        cluster.world(server).write_message(message);
        cluster.world(server).despawn(*here);
        cluster.run(5);
    }
    cluster.run(60);
    let fallen = std::mem::take(&mut cluster.world(client).resource_mut::<Fallen>().0);
    let seen: Vec<Entity> = both.iter().map(|[_, there]| *there).collect();
    assert_eq!(fallen, seen);
}
