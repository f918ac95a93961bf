//! What a link may take: less while its network is full, near entities first, and none for ever
//! last.

mod common;

use std::time::Duration;

use bevy::prelude::*;
use common::{Place, counted, me, pair, ready, register, settle};
use seamless_replication::{
    NetSlot, Peers, ReplicateAppExt, Replicated, ReplicationConfig,
    interest::{InterestAppExt, InterestGrid, View},
    transport::Condition,
};
use seamless_testkit::{AppId, Cluster, Rng, Weather};
use serde::{Deserialize, Serialize};

const DELAY: Duration = Duration::from_millis(20);

fn full(cluster: &mut Cluster, server: AppId) -> usize {
    let config = cluster.world(server).resource::<ReplicationConfig>();
    config.bytes_per_tick
}

/// Everything goes somewhere else, so that each change costs all its bytes.
fn scatter(cluster: &mut Cluster, server: AppId, rng: &mut Rng) {
    let world = cluster.world(server);
    let mut places = world.query::<&mut Place>();
    for mut place in places.iter_mut(world) {
        let mut any = || rng.below(1 << 24) as f32 / 997.0;
        *place = Place(any(), any(), any());
    }
}

fn crowd(cluster: &mut Cluster, server: AppId, count: usize) {
    for n in 0..count {
        let place = Place(n as f32, 0.0, 0.0);
        cluster.world(server).spawn((Replicated, place));
    }
}

#[test]
fn a_full_network_costs_budget_and_an_empty_one_gives_it_back() {
    let narrow = Condition {
        delay: DELAY,
        bytes_per_second: Some(60_000),
        queue_bytes: 90_000,
        ..Condition::default()
    };
    let (mut cluster, [server, client]) = pair(1, Weather(narrow), register);
    let mut rng = Rng::new(1);
    let full = full(&mut cluster, server);
    crowd(&mut cluster, server, 500);
    let mut waits = Vec::new();
    for frame in 0..1200 {
        scatter(&mut cluster, server, &mut rng);
        cluster.step();
        if frame >= 900 {
            waits.push(counted(&mut cluster, server).rtt);
        }
    }
    let stats = counted(&mut cluster, server);
    assert!(stats.budget < full / 3, "{} of {full}", stats.budget);
    waits.sort_unstable();
    // A queue that is always full makes everybody wait for a second and a half.
    let median = waits[waits.len() / 2];
    assert!(median < Duration::from_millis(900), "{median:?}");

    cluster.change_weather(Weather::near());
    cluster.run(1500);
    assert_eq!(counted(&mut cluster, server).budget, full);
    settle(&mut cluster, server, &[client]);
}

#[test]
fn a_limit_that_queues_nothing_is_found_kept_to_and_forgotten_and_nobody_starves_below_it() {
    const RATE: u32 = 100_000;
    let policed = Condition {
        delay: DELAY,
        loss: 0.02,
        bytes_per_second: Some(RATE),
        queue_bytes: 5_000,
        policed: true,
        ..Condition::default()
    };
    let (mut cluster, [server, client]) = pair(7, Weather(policed), register);
    let mut rng = Rng::new(7);
    let full = full(&mut cluster, server);
    crowd(&mut cluster, server, 600);
    let passed = |cluster: &mut Cluster| {
        let sent = counted(cluster, server).packets.1;
        (sent as f32, counted(cluster, client).packets.0 as f32)
    };
    let (mut before, mut oldest) = ((0.0, 0.0), 0);
    for frame in 0..1500 {
        scatter(&mut cluster, server, &mut rng);
        let world = cluster.world(server);
        let mut places = world.query::<&mut Place>();
        for mut place in places.iter_mut(world) {
            place.2 = frame as f32;
        }
        cluster.step();
        if frame == 900 {
            before = passed(&mut cluster);
        }
        if frame > 900 {
            let world = cluster.world(client);
            let mut places = world.query_filtered::<&Place, With<NetSlot>>();
            let ages = places.iter(world).map(|place| frame - place.2 as usize);
            oldest = oldest.max(ages.max().expect("they are there"));
        }
    }
    let after = passed(&mut cluster);
    let lost = 1.0 - (after.1 - before.1) / (after.0 - before.0);
    assert!(lost < 0.08, "{lost} of the datagrams are lost");
    let budget = counted(&mut cluster, server).budget;
    let rate = RATE as usize / 30;
    assert!(
        (rate * 7 / 10..rate * 13 / 10).contains(&budget),
        "{budget} of {rate}"
    );
    // What the limit takes is told all in some three ticks; the rest is patience with losses.
    assert!(oldest < 30, "{oldest} frames old");

    cluster.change_weather(Weather::near());
    cluster.run(2400);
    assert_eq!(counted(&mut cluster, server).budget, full);
    settle(&mut cluster, server, &[client]);
}

#[test]
fn neither_a_long_way_nor_chance_losses_cost_budget() {
    let far = Condition {
        delay: Duration::from_millis(180),
        ..Condition::default()
    };
    for weather in [Weather(far), Weather::lossy(0.3)] {
        let (mut cluster, [server, _]) = pair(2, weather, register);
        let mut rng = Rng::new(2);
        let full = full(&mut cluster, server);
        crowd(&mut cluster, server, 50);
        for frame in 0..600 {
            scatter(&mut cluster, server, &mut rng);
            cluster.step();
            let budget = counted(&mut cluster, server).budget;
            assert_eq!(budget, full, "frame {frame}");
        }
    }
}

#[test]
fn a_way_that_becomes_longer_costs_budget_for_seconds_and_no_minutes() {
    let way = |delay| {
        Weather(Condition {
            delay: Duration::from_millis(delay),
            loss: 0.03,
            ..Condition::default()
        })
    };
    let (mut cluster, [server, client]) = pair(4, way(15), register);
    let mut rng = Rng::new(4);
    let full = full(&mut cluster, server);
    crowd(&mut cluster, server, 50);
    let run = |cluster: &mut Cluster, rng: &mut Rng, frames| {
        for _ in 0..frames {
            scatter(cluster, server, rng);
            cluster.step();
        }
    };
    run(&mut cluster, &mut rng, 600);
    assert_eq!(counted(&mut cluster, server).budget, full);
    // The route changed, from a fiber to a satellite.
    cluster.change_weather(way(90));
    run(&mut cluster, &mut rng, 900);
    assert_eq!(counted(&mut cluster, server).budget, full, "after 30 s");
    settle(&mut cluster, server, &[client]);
}

/// A server with entities in a line, and a client that looks from its beginning and has little
/// room.
fn in_a_line(count: usize) -> (Cluster, [AppId; 2]) {
    let mut cluster = Cluster::new(3, |app| {
        register(app);
        app.interest_position::<Place>(|place| Vec3::new(place.0, place.1, place.2));
        app.world_mut()
            .resource_mut::<ReplicationConfig>()
            .bytes_per_tick = 600;
    });
    cluster.set_weather(Weather::lossy(0.05));
    let server = cluster.server();
    let client = cluster.client(server);
    ready(&mut cluster, client);
    let id = me(&mut cluster, client);
    let mut peers = cluster.world(server).resource_mut::<Peers>();
    let peer = peers.by_id_mut(id).expect("it is linked");
    peer.interest_mut().set_view(View::At(Vec3::ZERO, 900.0));
    cluster.run(5);
    // The far ones have the lower slots, which would go first without a view.
    for n in (0..count).rev() {
        let place = Place(n as f32, 0.0, 0.0);
        cluster.world(server).spawn((Replicated, place));
    }
    (cluster, [server, client])
}

fn shown(cluster: &mut Cluster, client: AppId) -> Vec<f32> {
    let world = cluster.world(client);
    let mut places = world.query_filtered::<&Place, With<NetSlot>>();
    places.iter(world).map(|place| place.0).collect()
}

#[test]
fn the_near_ones_come_first() {
    const COUNT: usize = 800;
    let (mut cluster, [server, client]) = in_a_line(COUNT);
    cluster.run_until("a quarter is there", 600, |cluster| {
        shown(cluster, client).len() >= COUNT / 4
    });
    let there = shown(&mut cluster, client);
    assert!(there.len() < COUNT / 2, "{} at once", there.len());
    let mean = there.iter().sum::<f32>() / there.len() as f32;
    assert!(mean < COUNT as f32 / 4.0, "{mean} m away on average");
    settle(&mut cluster, server, &[client]);
}

#[test]
fn none_starves_where_not_everything_fits() {
    const COUNT: usize = 300;
    const WARM: usize = 400;
    let (mut cluster, [server, client]) = in_a_line(COUNT);
    settle(&mut cluster, server, &[client]);
    let records = |cluster: &mut Cluster| counted(cluster, server).records.0 as f32;
    // Where each stands is its number; how high, the time of its last change.
    let (mut oldest, mut before) = (0, 0.0);
    for frame in 0..900 {
        let world = cluster.world(server);
        let mut places = world.query::<&mut Place>();
        for mut place in places.iter_mut(world) {
            place.1 = (frame * 7919 % 65_536) as f32 + frame as f32 / 1024.0;
            place.2 = frame as f32;
        }
        cluster.step();
        if frame == WARM {
            before = records(&mut cluster);
        }
        if frame >= WARM {
            let world = cluster.world(client);
            let mut places = world.query_filtered::<&Place, With<NetSlot>>();
            let ages = places.iter(world).map(|place| frame - place.2 as usize);
            oldest = oldest.max(ages.max().expect("they are there"));
        }
    }
    let stats = counted(&mut cluster, server);
    assert!(
        stats.deferred > 10_000,
        "everything fits: {}",
        stats.deferred
    );
    // The bound of docs/architecture.md, for all that are due in every tick.
    let fit = (records(&mut cluster) - before) / (899 - WARM) as f32;
    let grid = *cluster.world(server).resource::<InterestGrid>();
    let weights = grid.relevance(0.0) / grid.relevance(COUNT as f32);
    let bound = COUNT as f32 / fit * weights + 1.0;
    // What is lost goes again when its turn comes; twice in a row is one in four hundred.
    let patience = (3.0 * bound) as usize + 6;
    assert!(oldest <= patience, "{oldest} frames old, {bound} expected");
    assert!(patience < 150, "{patience}: the bound says nothing");
}

/// Matters more than a [`Place`].
#[derive(Component, TypePath, Serialize, Deserialize, Clone, PartialEq, Debug)]
struct Score(u32);

/// Matters less than a [`Place`].
#[derive(Component, TypePath, Serialize, Deserialize, Clone, PartialEq, Debug)]
struct Decal(f32, f32, f32);

/// Ages of what a client has, in frames.
#[derive(Default)]
struct Ages(Vec<f32>);

impl Ages {
    fn mean(&self) -> f32 {
        self.0.iter().sum::<f32>() / self.0.len() as f32
    }

    /// None is so old that it was forgotten.
    fn none_starved(&self) {
        let (mean, oldest) = (self.mean(), self.0.iter().copied().fold(0.0, f32::max));
        assert!(oldest < mean * 8.0, "{oldest}, {mean} on average");
    }
}

/// A server with much to tell, and a client with little room. In each frame all is changed, and once
/// it goes as it will go on, what the client has is looked at. Both get the frame.
fn crowded(
    seed: u64,
    setup: fn(&mut App),
    mut spawn: impl FnMut(&mut World),
    mut change: impl FnMut(&mut World, &mut dyn FnMut() -> f32, f32),
    mut look: impl FnMut(&mut World, f32),
) {
    let mut cluster = Cluster::new(seed, move |app| {
        register(app);
        setup(app);
        app.world_mut()
            .resource_mut::<ReplicationConfig>()
            .bytes_per_tick = 400;
    });
    cluster.set_weather(Weather::lossy(0.05));
    let server = cluster.server();
    let client = cluster.client(server);
    ready(&mut cluster, client);
    spawn(cluster.world(server));
    settle(&mut cluster, server, &[client]);
    let mut rng = Rng::new(seed);
    let mut any = || rng.below(1 << 24) as f32 / 997.0;
    for frame in 0..600u16 {
        change(cluster.world(server), &mut any, frame.into());
        cluster.step();
        if frame >= 300 {
            look(cluster.world(client), frame.into());
        }
    }
}

#[test]
fn what_matters_less_is_told_less_often_and_is_told() {
    const WEIGHT: f32 = 0.25;
    let (mut places, mut decals) = (Ages::default(), Ages::default());
    crowded(
        11,
        |app| {
            let _ = app.replicate::<Decal>().priority(WEIGHT);
        },
        |world| {
            for _ in 0..150 {
                world.spawn((Replicated, Place::default()));
                world.spawn((Replicated, Decal(0.0, 0.0, 0.0)));
            }
        },
        |world, any, frame| {
            for mut place in world.query::<&mut Place>().iter_mut(world) {
                *place = Place(any(), any(), frame);
            }
            for mut decal in world.query::<&mut Decal>().iter_mut(world) {
                *decal = Decal(any(), any(), frame);
            }
        },
        |world, frame| {
            let mut there = world.query_filtered::<&Place, With<NetSlot>>();
            let there = there.iter(world).map(|place| frame - place.2);
            places.0.extend(there);
            let mut there = world.query_filtered::<&Decal, With<NetSlot>>();
            let there = there.iter(world).map(|decal| frame - decal.2);
            decals.0.extend(there);
        },
    );
    let ratio = decals.mean() / places.mean();
    assert!(ratio > 2.0 && ratio < 2.0 / WEIGHT, "{ratio}");
    decals.none_starved();
}

#[test]
fn what_matters_more_is_told_more_often_and_the_rest_is_told_too() {
    const WEIGHT: f32 = 4.0;
    let (mut heavy, mut light) = (Ages::default(), Ages::default());
    crowded(
        6,
        |app| {
            let _ = app.replicate::<Score>().priority(WEIGHT);
        },
        |world| {
            for _ in 0..150 {
                world.spawn((Replicated, Place::default(), Score(0)));
                world.spawn((Replicated, Place::default()));
            }
        },
        |world, any, frame| {
            for mut place in world.query::<&mut Place>().iter_mut(world) {
                *place = Place(any(), any(), frame);
            }
        },
        |world, frame| {
            let mut there = world.query_filtered::<(&Place, Has<Score>), With<NetSlot>>();
            for (place, has_score) in there.iter(world) {
                let ages = if has_score { &mut heavy } else { &mut light };
                ages.0.push(frame - place.2);
            }
        },
    );
    let ratio = light.mean() / heavy.mean();
    assert!(ratio > 2.0 && ratio < 2.0 * WEIGHT, "{ratio}");
    light.none_starved();
}
