//! Components and small helpers that the tests share.

#![allow(dead_code, unreachable_pub, reason = "each test uses some of it")]

pub mod authority;
pub mod hello;
pub mod hostile;
pub mod memory;
pub mod own;
pub mod resuming;

use bevy::prelude::*;
use seamless_replication::{
    NetSlot, Peers, ReplicateAppExt, Replicated, ReplicationStats, Slots,
    stats::LinkStats,
    transport::{Links, Tally},
    wire::{GlobalEntity, PeerId},
};
use seamless_testkit::{AppId, Cluster, Weather, Wire};
use serde::{Deserialize, Serialize};

/// Moves a lot.
#[derive(Component, TypePath, Serialize, Deserialize, Clone, PartialEq, Debug, Default)]
pub struct Place(pub f32, pub f32, pub f32);

/// Has a length of its own.
#[derive(Component, TypePath, Serialize, Deserialize, Clone, PartialEq, Debug)]
pub struct Label(pub String);

/// Only the host writes it.
#[derive(Component, TypePath, Serialize, Deserialize, Clone, PartialEq, Debug)]
pub struct Health(pub u32);

/// Lies outside the tables.
#[derive(Component, TypePath, Serialize, Deserialize, Clone, PartialEq, Debug)]
#[component(storage = "SparseSet")]
pub struct Stunned(pub u8);

/// Refers to another entity.
#[derive(Component, TypePath, Serialize, Deserialize, Clone, PartialEq, Debug)]
pub struct Target(#[entities] pub Entity);

/// Registers all of them.
pub fn register(app: &mut App) {
    app.replicate::<Place>();
    app.replicate::<Label>();
    app.replicate::<Stunned>();
    app.replicate_with_entities::<Target>();
    let _ = app.replicate::<Health>().host_only();
}

/// One entity as every peer should see it, references as names.
pub type Seen = (
    GlobalEntity,
    Option<Place>,
    Option<Label>,
    Option<Health>,
    Option<Stunned>,
    Option<Option<GlobalEntity>>,
);

/// All entities that are on the network in an app, by name.
pub fn seen(cluster: &mut Cluster, app: AppId) -> Vec<Seen> {
    let world = cluster.world(app);
    let mut query = world.query::<(
        &NetSlot,
        Option<&Place>,
        Option<&Label>,
        Option<&Health>,
        Option<&Stunned>,
        Option<&Target>,
    )>();
    let mut all: Vec<Seen> = query
        .iter(world)
        .filter_map(|(slot, place, label, health, stunned, target)| {
            let target = target.map(|target| world.get::<NetSlot>(target.0)?.global());
            Some((
                slot.global()?,
                place.cloned(),
                label.cloned(),
                health.cloned(),
                stunned.cloned(),
                target,
            ))
        })
        .collect();
    all.sort_by_key(|entity| entity.0);
    all
}

/// What differs between two views, short enough to read.
pub fn differences(got: &[Seen], want: &[Seen]) -> Option<String> {
    let extra: Vec<_> = got.iter().filter(|e| !want.contains(e)).take(3).collect();
    let missing: Vec<_> = want.iter().filter(|e| !got.contains(e)).take(3).collect();
    (!extra.is_empty() || !missing.is_empty())
        .then(|| format!("not on the server: {extra:?}; only on the server: {missing:?}"))
}

/// The name of an entity.
pub fn name(cluster: &mut Cluster, app: AppId, entity: Entity) -> GlobalEntity {
    cluster
        .world(app)
        .get::<NetSlot>(entity)
        .and_then(NetSlot::global)
        .expect("a named entity")
}

/// The entity with a name.
pub fn find(cluster: &mut Cluster, app: AppId, name: GlobalEntity) -> Option<Entity> {
    cluster.world(app).resource::<Slots>().entity(name)
}

/// Shows a server's entity to its clients, or hides it.
pub fn show(cluster: &mut Cluster, server: AppId, entity: Entity, shown: bool) {
    let world = cluster.world(server);
    let slot = *world.get::<NetSlot>(entity).expect("on the network");
    for peer in world.resource_mut::<Peers>().iter_mut() {
        peer.interest_mut().except(&slot, Some(shown));
    }
}

/// Runs until an entity is there, and gives it.
pub fn wait_for(cluster: &mut Cluster, app: AppId, name: GlobalEntity) -> Entity {
    cluster.run_until("the entity arrives", 300, |cluster| {
        find(cluster, app, name).is_some()
    });
    find(cluster, app, name).expect("it was there a moment ago")
}

/// A server and a client whose handshake is done, in this weather.
pub fn pair(
    seed: u64,
    weather: Weather,
    setup: impl Fn(&mut App) + 'static,
) -> (Cluster, [AppId; 2]) {
    let mut cluster = Cluster::new(seed, setup);
    cluster.set_weather(weather);
    let server = cluster.server();
    let client = cluster.client(server);
    ready(&mut cluster, client);
    (cluster, [server, client])
}

/// The same over a wire, without weather.
pub fn on_a_wire(setup: impl Fn(&mut App) + 'static) -> (Cluster, [AppId; 2], Wire) {
    let mut cluster = Cluster::new(1, setup);
    cluster.set_weather(Weather::clear());
    let server = cluster.server();
    let (client, wire) = cluster.client_over_wire(server);
    ready(&mut cluster, client);
    cluster.run(5);
    (cluster, [server, client], wire)
}

/// Waits for an app's handshakes.
pub fn ready(cluster: &mut Cluster, app: AppId) {
    cluster.run_until("the handshake is done", 300, |cluster| {
        cluster.is_ready(app)
    });
}

/// A client's name.
pub fn me(cluster: &mut Cluster, client: AppId) -> PeerId {
    let me = cluster.world(client).resource::<Peers>().me();
    me.expect("the handshake is done")
}

/// Runs commands on one entity, at once.
pub fn command(
    cluster: &mut Cluster,
    app: AppId,
    entity: Entity,
    f: impl FnOnce(&mut EntityCommands),
) {
    let world = cluster.world(app);
    f(&mut world.commands().entity(entity));
    world.flush();
}

/// A server's entity, and the same on a client.
pub fn spawn_on(
    cluster: &mut Cluster,
    [server, client]: [AppId; 2],
    bundle: impl Bundle,
) -> [Entity; 2] {
    let entity = cluster.world(server).spawn((Replicated, bundle)).id();
    let name = name(cluster, server, entity);
    let there = wait_for(cluster, client, name);
    settle(cluster, server, &[client]);
    [entity, there]
}

/// Waits until clients see what the server has.
pub fn settle(cluster: &mut Cluster, server: AppId, clients: &[AppId]) {
    for &client in clients {
        let mut last = None;
        for _ in 0..600 {
            let want = seen(cluster, server);
            last = differences(&seen(cluster, client), &want);
            if last.is_none() {
                break;
            }
            cluster.step();
        }
        assert_eq!(last, None, "seed {}", cluster.seed());
    }
}

/// A component of an entity.
pub fn get<C: Component + Clone>(cluster: &mut Cluster, app: AppId, entity: Entity) -> Option<C> {
    cluster.world(app).get::<C>(entity).cloned()
}

/// What an app counted on its only link.
pub fn counted(cluster: &mut Cluster, app: AppId) -> LinkStats {
    let stats = cluster.world(app).resource::<ReplicationStats>();
    stats
        .links
        .values()
        .next()
        .cloned()
        .expect("a link that stands")
}

/// State datagrams and their bytes that an app sent over its only link.
pub fn state_sent(cluster: &mut Cluster, app: AppId) -> Tally {
    let links = cluster.world(app).resource::<Links>();
    links.iter().next().expect("a link").stats().sent.state
}
