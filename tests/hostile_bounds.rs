//! What a client can make its server keep or use up has bounds.

mod common;

use bevy::{platform::collections::HashSet, prelude::*};
use common::{
    Health, Label, Place,
    hostile::{Forger, Scene, scene},
    me, name, ready, settle, wait_for,
};
use seamless_replication::{
    ControlReceived, NetSlot, Peer, Peers, Registry, ReplicateAppExt, Replicated,
    ReplicationConfig, Slots,
    interest::ScopePolicy,
    wire::control::{Control, Subscription},
    wire::packet::SectionKind,
    wire::record::{RecordCursor, RowsHead},
    wire::{Allocator, GlobalEntity},
};
use seamless_testkit::{Cluster, Fate, Parcel, Way, Weather};
use serde::{Deserialize, Serialize};

#[test]
fn a_client_cannot_make_the_server_keep_more_than_its_share() {
    let mut scene = scene(9);
    let mut config = scene
        .cluster
        .world(scene.server)
        .resource_mut::<ReplicationConfig>();
    config.client_entities = 10;
    config.client_baseline_bytes = 20_000;
    let greedy = scene.hostile;
    for n in 0..300u32 {
        let label = Label(format!("{n}").repeat(40));
        scene.cluster.world(greedy).spawn((Replicated, label));
    }
    for _ in 0..60 {
        let world = scene.cluster.world(greedy);
        let mut labels = world.query::<&mut Label>();
        labels
            .iter_mut(world)
            .for_each(|mut label| label.0.push('x'));
        scene.cluster.step();
    }
    let count = |scene: &mut Scene| {
        let world = scene.cluster.world(scene.server);
        let mut slots = world.query::<&NetSlot>();
        slots.iter(world).count()
    };
    // Its ten, and the twenty-one of the server.
    assert!(count(&mut scene) <= 31, "{}", count(&mut scene));
    assert!(scene.counted().refused.over_bounds > 0);
    scene.check(9);
}

/// Memory for what a client told that the server has at the end of each of so many frames, at most.
fn most_baselines(scene: &mut Scene, frames: usize, each: impl Fn(&mut World)) -> usize {
    let id = me(&mut scene.cluster, scene.hostile);
    let mut most = 0;
    for _ in 0..frames {
        each(scene.cluster.world(scene.hostile));
        scene.cluster.step();
        let peers = scene.cluster.world(scene.server).resource::<Peers>();
        most = most.max(peers.by_id(id).expect("it is linked").baseline_bytes());
    }
    most
}

#[test]
fn memory_for_what_a_client_told_is_counted_as_what_it_takes() {
    const BYTES: usize = 14_000;
    let mut scene = scene(12);
    let greedy = scene.hostile;
    let set = |scene: &mut Scene, bytes| {
        let world = scene.cluster.world(scene.server);
        world
            .resource_mut::<ReplicationConfig>()
            .client_baseline_bytes = bytes;
    };
    set(&mut scene, BYTES);
    // Few of them, and many versions of each, which are hardly more than their numbers.
    for n in 0..60u16 {
        let place = Place(f32::from(n), 0.0, 0.0);
        scene.cluster.world(greedy).spawn((Replicated, place));
    }
    let walk = |world: &mut World| {
        let mut places = world.query_filtered::<&mut Place, With<Replicated>>();
        places.iter_mut(world).for_each(|mut place| place.1 += 1.5);
    };
    let most = most_baselines(&mut scene, 120, walk);
    assert!((BYTES / 2..=BYTES).contains(&most), "{most}");
    let refused = scene.counted().refused.over_bounds;
    assert!(refused > 0, "{most}");

    // One after the other has long values for a while: their memory is given back for the next.
    for n in 0..60usize {
        let world = scene.cluster.world(greedy);
        let mut own = world.query_filtered::<Entity, (With<Replicated>, With<Place>)>();
        let own: Vec<Entity> = own.iter(world).collect();
        world.despawn(own[0]);
        let label = Label(format!("{n}").repeat(300));
        let entity = world.spawn((Replicated, Place::default(), label)).id();
        let grow = |world: &mut World| {
            let mut label = world.get_mut::<Label>(entity).expect("its own");
            label.0.push('x');
        };
        let most = most_baselines(&mut scene, 6, grow);
        assert!(most <= BYTES, "{most}");
        scene
            .cluster
            .world(greedy)
            .entity_mut(entity)
            .remove::<Label>();
    }
    // Nothing of it is for ever: with room for all, all is told.
    set(&mut scene, 1 << 20);
    let server = scene.server;
    settle(&mut scene.cluster, server, &[greedy]);
}

#[test]
fn a_client_cannot_use_up_the_servers_names() {
    let mut scene = scene(11);
    let left = |scene: &mut Scene| {
        let slots = scene.cluster.world(scene.server).resource::<Slots>();
        slots.names_left()
    };
    let before = left(&mut scene);
    for _ in 0..60 {
        let mut peers = scene.cluster.world(scene.hostile).resource_mut::<Peers>();
        let peer = peers.iter_mut().next().expect("a link");
        for _ in 0..200 {
            peer.send_control(&Control::MoreNames).expect("room");
        }
        scene.cluster.step();
    }
    scene.cluster.run(20);
    let gone = before - left(&mut scene);
    assert!(
        (1..=1024).contains(&gone),
        "{gone} in less than three seconds"
    );
}

#[test]
fn a_client_that_spawns_a_lot_is_never_long_without_names() {
    let mut scene = scene(12);
    let client = scene.hostile;
    for _ in 0..300 {
        let world = scene.cluster.world(client);
        let new: Vec<Entity> = (0..4)
            .map(|_| world.spawn((Replicated, Place::default())).id())
            .collect();
        scene.cluster.step();
        let named = new.iter().filter(|entity| {
            let slot = scene.cluster.world(client).get::<NetSlot>(**entity);
            slot.is_some_and(|slot| slot.global().is_some())
        });
        assert_eq!(named.count(), 4);
        for entity in new {
            scene.cluster.world(client).despawn(entity);
        }
    }
}

#[test]
fn a_client_cannot_make_the_server_keep_scopes_without_end() {
    let mut scene = scene(13);
    let everything = ScopePolicy::new(|_, _, _| true);
    scene
        .cluster
        .world(scene.server)
        .insert_resource(everything);
    let id = me(&mut scene.cluster, scene.hostile);
    for n in 0..100u32 {
        let mut peers = scene.cluster.world(scene.hostile).resource_mut::<Peers>();
        let peer = peers.iter_mut().next().expect("a link");
        let enter = (n * 40..n * 40 + 40).collect();
        let leave = Vec::new();
        let item = Control::Subscribe(Subscription { enter, leave });
        peer.send_control(&item).expect("room");
        scene.cluster.step();
    }
    scene.cluster.run(20);
    let mut peers = scene.cluster.world(scene.server).resource_mut::<Peers>();
    let interest = peers.by_id_mut(id).expect("linked").interest_mut();
    assert_eq!(interest.scopes().len(), 1024);
    assert_eq!(scene.counted().refused.scopes, 4000 - 1024);
}

#[test]
fn a_client_cannot_have_delegations_wait_without_end() {
    let mut scene = scene(15);
    let refused = |scene: &mut Scene| -> Vec<GlobalEntity> {
        let messages = scene.cluster.world(scene.hostile);
        let messages = messages.resource::<Messages<ControlReceived>>();
        let refused = |m: &ControlReceived| match m.control {
            Control::DelegateRefused { entity, .. } => Some(entity),
            _ => None,
        };
        messages
            .iter_current_update_messages()
            .filter_map(refused)
            .collect()
    };
    for n in 1..=300u64 {
        let entity = GlobalEntity::new(40, n).expect("legal");
        let mut peers = scene.cluster.world(scene.hostile).resource_mut::<Peers>();
        let peer = peers.iter_mut().next().expect("a link");
        let item = Control::Delegate { entity };
        peer.send_control(&item).expect("room");
    }
    let mut at_once = HashSet::new();
    for _ in 0..30 {
        scene.cluster.step();
        at_once.extend(refused(&mut scene));
    }
    assert_eq!(at_once.len(), 300 - 256);
    let mut after_a_while = HashSet::new();
    for _ in 0..60 {
        scene.cluster.step();
        after_a_while.extend(refused(&mut scene));
    }
    after_a_while.extend(at_once);
    assert_eq!(after_a_while.len(), 300, "each is answered");
}

/// One of many small components, so that there are many sets of them.
#[derive(Component, TypePath, Serialize, Deserialize, Clone, PartialEq, Debug)]
struct Mark<const N: usize>(u8);

fn marks(app: &mut App) {
    common::register(app);
    app.replicate::<Mark<0>>();
    app.replicate::<Mark<1>>();
    app.replicate::<Mark<2>>();
    app.replicate::<Mark<3>>();
    app.replicate::<Mark<4>>();
    app.replicate::<Mark<5>>();
    app.replicate::<Mark<6>>();
    app.replicate::<Mark<7>>();
}

#[test]
fn a_client_cannot_use_up_the_room_for_sets_of_components() {
    let mut cluster = Cluster::new(14, marks);
    cluster.set_weather(Weather::clear());
    let server = cluster.server();
    let honest = cluster.client(server);
    ready(&mut cluster, honest);
    // The one set that is left over is that of an entity to come.
    let schema = cluster
        .world(server)
        .resource::<Registry>()
        .schema()
        .clone();
    let ours = ["Health", "Place", "Label", "Mark<0>", "Mark<7>"];
    let is_ours = |path: &str| ours.iter().any(|name| path.ends_with(name));
    let left_over: u32 = (0..13)
        .filter(|bit| is_ours(&schema.components[*bit].path))
        .map(|bit| 1 << bit)
        .sum();
    assert_eq!(left_over.count_ones(), 5);
    // Thirteen components make 8,192 sets; a datagram without a record names sixteen of them.
    for first in (0..8192u32).step_by(1600) {
        let (hostile, wire) = cluster.client_over_wire(server);
        ready(&mut cluster, hostile);
        cluster.run(2);
        wire.all(Way::ToServer, Fate::Lose);
        let mut forger = Forger {
            seq: 5_000,
            tick: 5_000,
        };
        for part in (first..first + 1600).step_by(16) {
            let bytes = forger.datagram(|w| {
                for set in (part..part + 16).filter(|set| *set != left_over) {
                    let components: Vec<u16> = (0..13).filter(|bit| set >> bit & 1 != 0).collect();
                    SectionKind::Rows.write(w);
                    RowsHead::write(w, Allocator::Local, &components);
                    RecordCursor::write_end(w);
                }
            });
            wire.put(Parcel::datagram(Way::ToServer, bytes));
        }
        cluster.run(3);
    }
    let marks = (Mark::<0>(1), Mark::<7>(1));
    let bundle = (
        Replicated,
        Health(3),
        Place::default(),
        Label("new".into()),
        marks,
    );
    let new = cluster.world(server).spawn(bundle).id();
    let name = name(&mut cluster, server, new);
    let there = wait_for(&mut cluster, honest, name);
    let mark = common::get::<Mark<7>>(&mut cluster, honest, there);
    assert_eq!(mark, Some(Mark(1)));
}

#[test]
fn large_rows_wait_where_they_are_and_not_in_the_queue_of_a_slow_client() {
    let mut cluster = Cluster::new(8, |app| {
        common::register(app);
        app.world_mut()
            .resource_mut::<ReplicationConfig>()
            .bytes_per_tick = 16 << 20;
    });
    cluster.set_weather(Weather::lossy(0.05));
    let server = cluster.server();
    let client = cluster.client(server);
    ready(&mut cluster, client);
    // A quarter of a gigabyte.
    const COUNT: usize = 1000;
    let label = |n: usize| Label(format!("{n:03}").repeat(80_000));
    for n in 0..COUNT {
        cluster.world(server).spawn((Replicated, label(n)));
    }
    let mut most = 0;
    for _ in 0..90 {
        cluster.step();
        let peers = cluster.world(server).resource::<Peers>();
        let waiting = peers.iter().map(Peer::waiting_bytes).sum();
        most = most.max(waiting);
    }
    assert!(most > 1 << 20, "nothing had to wait: {most}");
    assert!(most < 6 << 20, "{most} bytes wait");
    // What waits is told in the state that it has when there is room.
    let world = cluster.world(server);
    let mut labels = world.query::<(Entity, &mut Label)>();
    let mut kept = vec![];
    for (entity, mut label) in labels.iter_mut(world) {
        label.0.truncate(40);
        kept.push(entity);
    }
    for entity in kept.split_off(20) {
        cluster.world(server).despawn(entity);
    }
    cluster.run(120);
    settle(&mut cluster, server, &[client]);
}
