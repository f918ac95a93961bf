//! Changed copies of everything that goes over a link, reliable frames included, with components of
//! every kind of coding: nothing panics, and nobody else notices.

mod common;

use bevy::{ecs::entity::MapEntities, prelude::*};
use common::{
    Label, Place, Target,
    hostile::{changed, mutant},
    name, ready, register, seen, settle,
};
use seamless_replication::{
    Audience, NetSlot, Peers, ReplicateAppExt, Replicated, ReplicationConfig, ReplicationStats,
    TransformPrecision,
    interest::{Subscriptions, ToolScopeId},
    messages::{Delivery, Direction, MessageAppExt, Target as To, ToPeers},
    snapshot::{SnapshotTransfer, take_snapshot},
    wire::GlobalEntity,
};
use seamless_testkit::{AppId, Cluster, Fate, Parcel, Rng, Way, Weather, Wire};
use serde::{Deserialize, Serialize};

/// Speaks of an entity, with a list.
#[derive(TypePath, Serialize, Deserialize, MapEntities, Clone, Debug)]
struct Order(#[entities] Entity, Vec<u16>, Option<String>);

/// The same, unreliable.
#[derive(TypePath, Serialize, Deserialize, MapEntities, Clone, Debug)]
struct Shout(#[entities] Entity, u64);

#[derive(Component, TypePath, Serialize, Deserialize, Clone, Debug)]
enum Kind {
    Crate,
    Door { open: bool, keys: Vec<u8> },
    Banner(String),
}

fn setup(app: &mut App) {
    register(app);
    app.replicate_with_entities::<ChildOf>();
    app.replicate_quantized::<Transform>(TransformPrecision::default());
    let _ = app.replicate::<Kind>().visible_to(Audience::everybody());
    app.net_message::<Order>(Direction::Both, Delivery::Reliable)
        .net_message::<Shout>(Direction::Both, Delivery::Unreliable);
    app.world_mut()
        .resource_mut::<SnapshotTransfer>()
        .max_from_client = 1 << 20;
    app.world_mut()
        .resource_mut::<ReplicationConfig>()
        .resume_grace = std::time::Duration::from_secs(20);
}

struct Scene {
    cluster: Cluster,
    server: AppId,
    honest: AppId,
    hostile: AppId,
    wire: Wire,
    names: Vec<GlobalEntity>,
}

fn scene(seed: u64) -> Scene {
    let mut cluster = Cluster::new(seed, setup);
    cluster.set_weather(Weather::clear());
    let server = cluster.server();
    let mut last = None;
    let names = (0..12u32)
        .map(|n| {
            let kind = match n % 3 {
                0 => Kind::Crate,
                1 => Kind::Door {
                    open: n % 2 == 0,
                    keys: vec![1; n as usize],
                },
                _ => Kind::Banner("war".repeat(n as usize)),
            };
            let place = Transform::from_xyz(n as f32, 0.5, -3.0);
            let world = cluster.world(server);
            let entity = world
                .spawn((Replicated, Place(n as f32, 0.0, 0.0), place, kind))
                .id();
            if let Some(parent) = last.replace(entity) {
                world
                    .entity_mut(entity)
                    .insert((ChildOf(parent), Target(parent)));
            }
            name(&mut cluster, server, entity)
        })
        .collect();
    let honest = cluster.client(server);
    let (hostile, wire) = cluster.client_over_wire(server);
    ready(&mut cluster, honest);
    ready(&mut cluster, hostile);
    settle(&mut cluster, server, &[honest, hostile]);
    Scene {
        cluster,
        server,
        honest,
        hostile,
        wire,
        names,
    }
}

impl Scene {
    fn world_of(&mut self, app: AppId) -> Vec<common::Seen> {
        let all = seen(&mut self.cluster, app);
        all.into_iter()
            .filter(|e| self.names.contains(&e.0))
            .collect()
    }

    /// One app of the two that share the wire does something of everything.
    fn act(&mut self, app: AppId, own: Entity, n: u32) {
        let is_client = app == self.hostile;
        let to = if is_client { To::Server } else { To::All };
        let about = self.names[n as usize % self.names.len()];
        let about = common::find(&mut self.cluster, app, about).unwrap_or(own);
        let world = self.cluster.world(app);
        let order = Order(about, vec![n as u16; 40], Some("go".into()));
        world.write_message(ToPeers { to, message: order });
        let message = Shout(own, n.into());
        world.write_message(ToPeers { to, message });
        if n.is_multiple_of(3)
            && let Ok(mut entity) = world.get_entity_mut(own)
        {
            entity.insert((
                Transform::from_xyz(n as f32, 1.0, 2.0),
                Place(n as f32, 1.0, 1.0),
                Target(about),
                Label("long".repeat(if n.is_multiple_of(6) { 900 } else { 2 })),
            ));
        }
        if is_client && n.is_multiple_of(7) {
            let mut wishes = world.resource_mut::<Subscriptions>();
            wishes.enter(ToolScopeId(n));
        }
        if n.is_multiple_of(10) {
            let transfer = world.resource::<SnapshotTransfer>().clone();
            if let Ok(snapshot) = take_snapshot(world, &[own]) {
                for peer in world.resource_mut::<Peers>().iter_mut() {
                    let _ = peer.send_snapshot(n, &snapshot, &transfer);
                }
            }
        }
    }
}

/// Changes copies of what goes one way, a bounded number of them, and lets the true ones follow.
fn play(seed: u64, way: Way) -> Scene {
    let mut scene = scene(seed);
    let mut rng = Rng::new(seed);
    let actor = match way {
        Way::ToServer => scene.hostile,
        Way::ToClient => scene.server,
    };
    let own = scene
        .cluster
        .world(actor)
        .spawn((Replicated, Place::default()))
        .id();
    scene.cluster.run(5);
    let mut last = vec![0x83, 1, 2, 3, 4, 5, 6, 7];
    let mut left = 200;
    scene.wire.decide(move |parcel| {
        if parcel.way == way {
            Fate::Hold
        } else {
            Fate::Pass
        }
    });
    for n in 0..40 {
        scene.act(actor, own, n);
        scene.cluster.step();
        for parcel in scene.wire.kept() {
            for _ in 0..2 {
                let bytes = match parcel.channel {
                    None => mutant(&mut rng, &parcel.bytes, &last),
                    Some(_) => changed(&mut rng, &parcel.bytes, &last),
                };
                if left > 0 && !bytes.is_empty() {
                    left -= 1;
                    scene.wire.put(Parcel {
                        bytes,
                        ..parcel.clone()
                    });
                }
            }
            last.clone_from(&parcel.bytes);
            scene.wire.put(parcel);
        }
    }
    scene.wire.pass();
    scene.cluster.run(40);
    scene
}

#[test]
fn changed_copies_of_all_that_a_client_says_change_nothing_but_its_own() {
    for seed in 0..12 {
        let mut scene = play(seed, Way::ToServer);
        let (server, honest) = (scene.server, scene.honest);
        let before: Vec<_> = (0..12).map(|n| n as f32).collect();
        let world = scene.world_of(server);
        let places: Vec<f32> = world
            .iter()
            .filter_map(|e| e.1.as_ref().map(|p| p.0))
            .collect();
        assert_eq!(places, before, "seed {seed}");
        assert_eq!(scene.world_of(honest), world, "seed {seed}");
        let stats = scene.cluster.world(server).resource::<ReplicationStats>();
        let unread = stats.links.values().map(|link| link.refused.malformed);
        let (unread, links) = (unread.sum::<u64>(), stats.links.len());
        assert!(unread > 10 || links == 1, "seed {seed}: {unread} unread");
        // The game goes on for the others.
        let more = scene
            .cluster
            .world(server)
            .spawn((Replicated, Place::default()))
            .id();
        let more = name(&mut scene.cluster, server, more);
        common::wait_for(&mut scene.cluster, honest, more);
    }
}

#[test]
fn changed_copies_of_all_that_a_server_says_do_not_panic() {
    for seed in 0..12 {
        let mut scene = play(seed, Way::ToClient);
        let (server, honest) = (scene.server, scene.honest);
        settle(&mut scene.cluster, server, &[honest]);
        let world = scene.cluster.world(scene.hostile);
        // It may be told anything by its server, and holds together.
        let all = world.query::<&NetSlot>().iter(world).count();
        assert!(all < 200, "seed {seed}: {all}");
    }
}

#[test]
fn changed_introductions_are_refused_or_dropped_and_others_come_in() {
    let mut cluster = Cluster::new(5, setup);
    cluster.set_weather(Weather::clear());
    let server = cluster.server();
    cluster
        .world(server)
        .spawn((Replicated, Place(4.0, 2.0, 0.0)));
    let mut rng = Rng::new(5);
    for way in [Way::ToServer, Way::ToClient] {
        for _ in 0..15 {
            let (_, wire) = cluster.client_over_wire(server);
            wire.decide(move |parcel| match parcel.channel {
                Some(_) if parcel.way == way => Fate::Hold,
                _ => Fate::Pass,
            });
            cluster.run(12);
            for parcel in wire.kept() {
                for _ in 0..8 {
                    let other: Vec<u8> = (0..200).map(|_| rng.next() as u8).collect();
                    let bytes = changed(&mut rng, &parcel.bytes, &other);
                    if !bytes.is_empty() {
                        wire.put(Parcel {
                            bytes,
                            ..parcel.clone()
                        });
                    }
                }
            }
            cluster.run(8);
        }
    }
    let other = cluster.client(server);
    ready(&mut cluster, other);
    settle(&mut cluster, server, &[other]);
}
