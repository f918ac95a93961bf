//! Events both ways, over bad networks.

mod common;

use bevy::{ecs::entity::MapEntities, prelude::*};
use common::{Place, me, pair, ready, register, spawn_on};
use seamless_replication::{
    messages::{
        Delivery, Direction, FromPeer, MessageAppExt, NetEventCommandsExt, Target, ToPeers,
    },
    wire::PeerId,
};
use seamless_testkit::{AppId, Cluster, Weather};
use serde::{Deserialize, Serialize};

/// Long enough for anything to arrive in bad weather.
const A_WHILE: usize = 120;

/// Goes both ways.
#[derive(TypePath, Serialize, Deserialize, MapEntities, Clone, PartialEq, Debug)]
struct Ring(u32);

/// Speaks of an entity; only servers send it.
#[derive(TypePath, Serialize, Deserialize, MapEntities, Clone, PartialEq, Debug)]
struct Hit(#[entities] Entity);

#[derive(Resource, Default)]
struct Heard {
    rings: Vec<(PeerId, u32)>,
    read: usize,
    hits: Vec<Entity>,
}

fn setup(app: &mut App) {
    register(app);
    app.net_event::<Ring>(Direction::Both, Delivery::Reliable)
        .net_event::<Hit>(Direction::ToClients, Delivery::Unreliable)
        .init_resource::<Heard>()
        .add_observer(|event: On<FromPeer<Ring>>, mut heard: ResMut<Heard>| {
            heard.rings.push((event.peer, event.message.0));
        })
        .add_observer(|event: On<FromPeer<Hit>>, mut heard: ResMut<Heard>| {
            heard.hits.push(event.message.0);
        })
        .add_systems(
            Update,
            |mut read: MessageReader<FromPeer<Ring>>, mut heard: ResMut<Heard>| {
                heard.read += read.read().count();
            },
        );
}

fn bad_weather() -> Weather {
    Weather::lossy(0.3)
}

fn send(cluster: &mut Cluster, app: AppId, send: impl FnOnce(&mut Commands)) {
    let world = cluster.world(app);
    send(&mut world.commands());
    world.flush();
}

fn rings(cluster: &mut Cluster, app: AppId) -> Vec<(PeerId, u32)> {
    cluster.world(app).resource::<Heard>().rings.clone()
}

#[test]
fn events_of_a_client_are_triggered_on_its_server_in_order_and_once_with_their_sender() {
    let (mut cluster, [server, client]) = pair(1, bad_weather(), setup);
    let other = cluster.client(server);
    ready(&mut cluster, other);
    let (first, second) = (me(&mut cluster, client), me(&mut cluster, other));
    for value in 0..20 {
        send(&mut cluster, client, |c| c.client_trigger(Ring(value)));
        send(&mut cluster, other, |c| c.client_trigger(Ring(100 + value)));
        cluster.run(2);
    }
    cluster.run(A_WHILE);
    let heard = rings(&mut cluster, server);
    let of = |peer| heard.iter().filter(move |(p, _)| *p == peer).map(|r| r.1);
    assert!(of(first).eq(0..20), "{heard:?}");
    assert!(of(second).eq(100..120), "{heard:?}");
    // Readers of messages see them, too.
    assert_eq!(cluster.world(server).resource::<Heard>().read, 40);
}

#[test]
fn events_of_a_server_are_triggered_on_the_clients_they_are_for() {
    let (mut cluster, [server, client]) = pair(2, bad_weather(), setup);
    let other = cluster.client(server);
    ready(&mut cluster, other);
    let first = me(&mut cluster, client);
    let orders = [
        (Target::All, 1),
        (Target::Peer(first), 2),
        (Target::AllExcept(first), 3),
    ];
    for (to, value) in orders {
        let message = Ring(value);
        send(&mut cluster, server, |c| {
            c.server_trigger(ToPeers { to, message });
        });
    }
    cluster.run(A_WHILE);
    let values = |cluster: &mut Cluster, app| -> Vec<u32> {
        rings(cluster, app).into_iter().map(|ring| ring.1).collect()
    };
    assert_eq!(values(&mut cluster, client), [1, 2]);
    assert_eq!(values(&mut cluster, other), [1, 3]);
    assert!(rings(&mut cluster, server).is_empty());
}

#[test]
fn an_event_names_the_receivers_own_entity() {
    let (mut cluster, apps) = pair(3, Weather::near(), setup);
    let [server, client] = apps;
    let [entity, there] = spawn_on(&mut cluster, apps, Place::default());
    let message = Hit(entity);
    send(&mut cluster, server, |c| {
        c.server_trigger(ToPeers {
            to: Target::All,
            message,
        });
    });
    cluster.run(A_WHILE);
    assert_eq!(cluster.world(client).resource::<Heard>().hits, [there]);
}

#[test]
fn an_event_does_not_go_the_way_that_it_may_not_go() {
    let (mut cluster, apps) = pair(4, Weather::near(), setup);
    let [server, client] = apps;
    let [_, there] = spawn_on(&mut cluster, apps, Place::default());
    send(&mut cluster, client, |c| c.client_trigger(Hit(there)));
    cluster.run(A_WHILE);
    assert!(cluster.world(server).resource::<Heard>().hits.is_empty());
}
