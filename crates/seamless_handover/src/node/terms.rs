//! Entities of ours: under which term they live, and how they go.

use bevy::{ecs::resource::IsResource, prelude::*};
use seamless_replication::{
    Authority, Hosted, NetSlot, Replicated, Slots,
    inputs::Inboxes,
    wire::{GlobalEntity, Term, record::LeaveReason},
};

use super::state::HandoverRoot;
use crate::group::members;

/// Puts a root's group under a term, if that is higher.
pub(super) fn set_term(world: &mut World, root: GlobalEntity, term: Term) {
    let Some(entity) = world.resource::<Slots>().entity(root) else {
        return;
    };
    for member in members(world, entity) {
        raise_term(world, member, term);
    }
    let player = world
        .get::<HandoverRoot>(entity)
        .and_then(|root| root.player);
    if let Some(player) = player {
        world
            .resource_mut::<Inboxes>()
            .entry(player)
            .raise_term(term);
    }
}

/// Puts one hosted entity under a term, if that is higher.
pub(super) fn raise_term(world: &mut World, entity: Entity, term: Term) {
    let Some(slot) = world.get::<NetSlot>(entity).copied() else {
        return;
    };
    let Some(mut tenure) = world.resource::<Slots>().tenure(&slot) else {
        return;
    };
    if tenure.epoch.term >= term || world.get::<Hosted>(entity).is_none() {
        return;
    }
    let plain = tenure.since == tenure.epoch && tenure.epoch.seq == 0 && !tenure.delegated;
    tenure.rehost(term);
    if plain {
        tenure.since = tenure.epoch;
    }
    if world.get::<Authority>(entity).is_some() {
        world
            .entity_mut(entity)
            .insert(Authority::of(true, &tenure));
    } else {
        world.resource_mut::<Slots>().set_tenure(&slot, tenure);
    }
}

/// Takes an entity out of this world.
pub(super) fn drop_entity(world: &mut World, name: GlobalEntity, reason: LeaveReason) {
    let Some(entity) = world.resource::<Slots>().entity(name) else {
        return;
    };
    if world.get::<IsResource>(entity).is_some() {
        // It is the app's, whatever becomes of the node. It is published anew.
        world.resource_mut::<Slots>().leave_because(reason);
        world.entity_mut(entity).remove::<Replicated>();
        return;
    }
    // Children that stay must not be despawned with it.
    let children: Vec<Entity> = world
        .get::<Children>(entity)
        .map(|c| c.iter().collect())
        .unwrap_or_default();
    for child in children {
        // Observers of one may despawn another.
        if let Ok(mut child) = world.get_entity_mut(child)
            && child.contains::<NetSlot>()
        {
            child.remove::<ChildOf>();
        }
    }
    world.resource_mut::<Slots>().leave_because(reason);
    world.despawn(entity);
}
