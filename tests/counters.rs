//! Counters that are shorter on the wire than in memory wrap, and nobody notices.

mod common;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bevy::prelude::*;
use common::{
    Label, Place,
    authority::{at, move_to},
    me, name, on_a_wire, pair, register, settle, spawn_on, wait_for,
};
use seamless_replication::{
    NetClock, Peers, Replicated, ReplicationConfig,
    interest::{ScopePolicy, ToolScopeId},
    wire::control::{Control, Subscription},
};
use seamless_testkit::{AppId, Cluster, Fate, Rng, Way, Weather};

/// As [`register`], on a clock that starts `before` ticks before its 16 bits on the wire wrap.
fn shortly_before_the_wrap(before: u64) -> impl Fn(&mut App) {
    move |app| {
        register(app);
        let frames = AtomicU64::new(0);
        let mut clock = app.world_mut().resource_mut::<NetClock>();
        let tick = clock.tick_length().as_nanos() as u64;
        clock.follow(move || {
            let frame = frames.fetch_add(1, Ordering::Relaxed);
            Duration::from_nanos((65_536 - before + frame) * tick)
        });
    }
}

#[test]
fn the_tick_wraps_on_the_wire_and_nobody_notices() {
    for seed in 0..4 {
        let mut cluster = Cluster::new(seed, shortly_before_the_wrap(60));
        cluster.set_weather(Weather::lossy(0.2));
        let server = cluster.server();
        let client = cluster.client(server);
        common::ready(&mut cluster, client);
        let own = cluster
            .world(client)
            .spawn((Replicated, Place::default()))
            .id();
        let own_name = name(&mut cluster, client, own);
        let crate_ = cluster
            .world(server)
            .spawn((Replicated, Place::default()))
            .id();
        let crate_name = name(&mut cluster, server, crate_);
        let copies = [
            wait_for(&mut cluster, client, crate_name),
            wait_for(&mut cluster, server, own_name),
        ];
        for x in 0..150u8 {
            move_to(&mut cluster, server, crate_, f32::from(x));
            move_to(&mut cluster, client, own, f32::from(x));
            cluster.step();
            let seen = at(&mut cluster, client, copies[0]).expect("it has a place");
            assert!(f32::from(x) - seen < 20.0, "{seen} at {x}, seed {seed}");
        }
        cluster.run(60);
        let tick = cluster.world(server).resource::<NetClock>().tick().0;
        assert!(tick > 65_536, "{tick}");
        assert_eq!(at(&mut cluster, client, copies[0]), Some(149.0));
        assert_eq!(at(&mut cluster, server, copies[1]), Some(149.0));
    }
}

/// A server and a client whose clocks are so many ticks ahead, in bad weather.
fn apart([server_ahead, client_ahead]: [u64; 2]) -> (Cluster, [AppId; 2]) {
    let apps = AtomicU64::new(0);
    let mut cluster = Cluster::new(server_ahead + client_ahead, move |app| {
        register(app);
        let ahead = match apps.fetch_add(1, Ordering::Relaxed) {
            0 => server_ahead,
            _ => client_ahead,
        };
        let frames = AtomicU64::new(0);
        let mut clock = app.world_mut().resource_mut::<NetClock>();
        let tick = clock.tick_length().as_nanos() as u64;
        clock.follow(move || {
            let frame = frames.fetch_add(1, Ordering::Relaxed);
            Duration::from_nanos((ahead + frame) * tick)
        });
    });
    cluster.set_weather(Weather::lossy(0.1));
    let server = cluster.server();
    let client = cluster.client(server);
    common::ready(&mut cluster, client);
    (cluster, [server, client])
}

#[test]
fn clocks_that_are_far_apart_do_no_harm() {
    // A server that has run for an hour or more, and a client that has just started; also with
    // the server at the middle of the range, where the nearest tick is either way.
    for ahead in [20_000u64, 32_700, 32_768, 40_000, 65_500, 100_000] {
        let (mut cluster, [server, client]) = apart([ahead, 0]);
        let own = cluster
            .world(client)
            .spawn((Replicated, Place::default()))
            .id();
        let own_name = name(&mut cluster, client, own);
        let there = wait_for(&mut cluster, server, own_name);
        for x in 0..120u8 {
            move_to(&mut cluster, client, own, f32::from(x));
            cluster.step();
        }
        cluster.run(60);
        assert_eq!(at(&mut cluster, server, there), Some(119.0), "{ahead}");
    }
}

#[test]
fn what_a_client_hosts_arrives_whoever_of_the_two_has_run_for_longer() {
    for ahead in [
        [40_000, 0],
        [200_000, 0],
        [300, 36_000],
        [0, 60_000],
        [0, 200_000],
    ] {
        let (mut cluster, [server, client]) = apart(ahead);
        // One moves in datagrams, one is told of by the bulk channel first.
        let label = Label("long".repeat(800));
        let small = (Replicated, Place::default());
        let large = (Replicated, Place::default(), label);
        let own = [
            cluster.world(client).spawn(small).id(),
            cluster.world(client).spawn(large).id(),
        ];
        let there = own.map(|own| {
            let own = name(&mut cluster, client, own);
            wait_for(&mut cluster, server, own)
        });
        for x in 0..120u8 {
            for own in own {
                move_to(&mut cluster, client, own, f32::from(x));
            }
            cluster.step();
            for there in there {
                let seen = at(&mut cluster, server, there).expect("it has a place");
                assert!(f32::from(x) - seen < 30.0, "{seen} at {x}, {ahead:?}");
            }
        }
        cluster.run(60);
        for there in there {
            assert_eq!(at(&mut cluster, server, there), Some(119.0), "{ahead:?}");
        }
        let late = common::counted(&mut cluster, server).refused.late;
        assert!(late < 30, "{late} late, {ahead:?}");
    }
}

#[test]
fn baselines_of_any_age_are_told_apart() {
    // A version travels as its distance: many of them, with losses.
    let (mut cluster, apps) = pair(2, Weather::lossy(0.2), register);
    let [server, client] = apps;
    let [crate_, there] = spawn_on(&mut cluster, apps, Place::default());
    for n in 0..800u32 {
        move_to(&mut cluster, server, crate_, n as f32);
        cluster.step();
        let seen = at(&mut cluster, client, there).expect("it has a place");
        assert!(n as f32 - seen < 40.0, "{seen} at {n}");
    }
    settle(&mut cluster, server, &[client]);
}

#[test]
fn a_change_after_many_unseen_ones_is_not_taken_for_an_old_version() {
    // While nothing gets through, more versions pass than are kept, and more than eight bits tell apart.
    for versions in [31, 32, 33, 255, 256, 257] {
        let (mut cluster, apps, wire) = on_a_wire(register);
        let [server, client] = apps;
        let [crate_, there] = spawn_on(&mut cluster, apps, Place::default());
        cluster.run(30);
        wire.all(Way::ToClient, Fate::Lose);
        for n in 1..=versions {
            move_to(&mut cluster, server, crate_, n as f32);
            cluster.step();
        }
        wire.pass();
        cluster.run(60);
        let want = Some(versions as f32);
        assert_eq!(at(&mut cluster, client, there), want, "{versions}");
    }
}

#[test]
fn packet_and_item_numbers_wrap_on_the_wire_and_nobody_notices() {
    let (mut cluster, apps) = pair(3, Weather::lossy(0.05), register);
    let [server, client] = apps;
    let [crate_, there] = spawn_on(&mut cluster, apps, Place::default());
    let everything = ScopePolicy::new(|_, _, _| true);
    cluster.world(server).insert_resource(everything);
    cluster
        .world(server)
        .resource_mut::<ReplicationConfig>()
        .bytes_per_tick = 1 << 20;
    // More than half a datagram of noise an entity, so that each change of one fills one.
    let mut rng = Rng::new(3);
    let mut noise = move || -> String {
        (0..640)
            .map(|_| char::from(b'a' + rng.below(26) as u8))
            .collect()
    };
    let crates: Vec<Entity> = (0..200)
        .map(|_| {
            cluster
                .world(server)
                .spawn((Replicated, Label(noise())))
                .id()
        })
        .collect();
    let kept = [noise(), noise()];
    let packets = |cluster: &mut Cluster| common::state_sent(cluster, server).packets;
    let mut items = 0u32;
    for n in 0.. {
        for (i, &entity) in crates.iter().enumerate() {
            let mut label = cluster
                .world(server)
                .get_mut::<Label>(entity)
                .expect("it has");
            label.0.clone_from(&kept[(n + i) % 2]);
        }
        move_to(&mut cluster, server, crate_, n as f32);
        let mut peers = cluster.world(client).resource_mut::<Peers>();
        let peer = peers.iter_mut().next().expect("a link");
        for _ in 0..250 {
            let scope = Subscription {
                enter: vec![items],
                leave: vec![items.wrapping_sub(1)],
            };
            if items < 66_000 && peer.send_control(&Control::Subscribe(scope)).is_ok() {
                items += 1;
            }
        }
        cluster.step();
        if packets(&mut cluster) > 65_700 && items == 66_000 {
            break;
        }
        assert!(n < 2000, "{} packets, {items} items", packets(&mut cluster));
    }
    settle(&mut cluster, server, &[client]);
    assert!(at(&mut cluster, client, there).is_some());
    let id = me(&mut cluster, client);
    let is_in = |cluster: &mut Cluster, scope: u32| {
        let mut peers = cluster.world(server).resource_mut::<Peers>();
        let peer = peers.by_id_mut(id).expect("it is linked");
        peer.interest_mut().is_subscribed(ToolScopeId(scope))
    };
    cluster.run_until("the last item is there", 300, |cluster| {
        is_in(cluster, 65_999)
    });
    assert!(!is_in(&mut cluster, 65_998), "in order");
}
