//! Resources are components of an entity of their own, so they are replicated like any other.
//!
//! Bevy keeps one entity for each resource. A second entity that gets the component loses it
//! again, so the entity that a peer tells of must become that one.

use bevy::{
    ecs::{component::ComponentId, resource::IsResource},
    prelude::*,
};

use crate::{
    authority::{Authority, Remote},
    slots::{NetSlot, Replicated, Slots},
};

/// On a server: publishes a resource that is there.
pub(super) fn publish<R: Resource>(
    mut commands: Commands,
    unpublished: Query<Entity, (With<R>, Without<NetSlot>)>,
    slots: Res<Slots>,
) {
    if slots.names.is_own() {
        for entity in &unpublished {
            commands.entity(entity).insert(Replicated);
        }
    }
}

/// If the component is a resource: `entity` is to carry it, and no other.
pub(super) fn make_room(world: &mut World, entity: Entity, component: ComponentId) {
    let Some(other) = world.resource_entities().get(component) else {
        return;
    };
    if other == entity {
        return;
    }
    // Takes the resource itself off, too.
    world.entity_mut(other).remove::<IsResource>();
    if world.get::<Remote>(other).is_none() {
        world.despawn(other);
    }
}

/// If the entity is that of a resource: takes it off the network and leaves it as it is. Bevy does
/// not want it despawned.
pub(crate) fn take_off_network(world: &mut World, entity: Entity) -> bool {
    let is_resource = world.get::<IsResource>(entity).is_some();
    if is_resource {
        world
            .entity_mut(entity)
            .remove::<(NetSlot, Remote, Authority)>();
    }
    is_resource
}
