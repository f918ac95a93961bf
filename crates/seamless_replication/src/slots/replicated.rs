//! The marker that publishes an entity.

use bevy::{
    ecs::{lifecycle::HookContext, world::DeferredWorld},
    prelude::*,
};

use super::{NetSlot, Role, Slots};
use crate::authority::Hosted;

/// Publishes the entity to everyone who may see it.
///
/// Give it to an entity that this app hosts. Taking it off takes the entity away from the peers.
#[derive(Component, Clone, Copy, Debug, Default, Reflect)]
#[reflect(Component)]
#[require(NetSlot, Hosted)]
#[component(on_add = publish, on_remove = unpublish)]
pub struct Replicated;

/// What others tell us of is not ours to publish: it came along with a component that requires it.
fn publish(mut world: DeferredWorld, context: HookContext) {
    let slot = world.get::<NetSlot>(context.entity);
    let role = slot.and_then(|slot| world.get_resource::<Slots>()?.role(slot));
    if matches!(role, Some(Role::Remote { .. })) {
        let mut commands = world.commands();
        let mut entity = commands.entity(context.entity);
        entity.try_remove::<(Replicated, Hosted)>();
    }
}

fn unpublish(mut world: DeferredWorld, context: HookContext) {
    // An entity that became remote loses the marker and keeps its slot.
    let hosted = world
        .get::<NetSlot>(context.entity)
        .and_then(|slot| world.get_resource::<Slots>()?.role(slot))
        .is_some_and(|role| role == Role::Host);
    if hosted {
        world
            .commands()
            .entity(context.entity)
            .try_remove::<(NetSlot, Hosted)>();
    }
}
