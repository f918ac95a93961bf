//! Components and small helpers that the tests share.

#![allow(dead_code, unreachable_pub, reason = "each test uses some of it")]

use bevy::prelude::*;
use seamless_replication::{NetSlot, ReplicateAppExt, Slots, wire::GlobalEntity};
use seamless_testkit::{AppId, Cluster};
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

/// Runs until an entity is there, and gives it.
pub fn wait_for(cluster: &mut Cluster, app: AppId, name: GlobalEntity) -> Entity {
    cluster.run_until("the entity arrives", 300, |cluster| {
        find(cluster, app, name).is_some()
    });
    find(cluster, app, name).expect("it was there a moment ago")
}
