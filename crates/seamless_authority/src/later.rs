//! What the game wants while a peer's rows are applied: its observers run then, and the peer itself is
//! not to be spoken to. It is done right after.

use bevy::prelude::*;
use seamless_replication::Peers;

type Deed = Box<dyn FnOnce(&mut World, Entity) + Send + Sync>;

/// In the order in which it was wanted.
#[derive(Resource, Default)]
pub(crate) struct Later(Vec<(Entity, Deed)>);

/// Does something with an entity, now or as soon as peers can be spoken to.
pub(crate) fn now_or_later(
    entity: EntityWorldMut<'_>,
    deed: impl FnOnce(&mut World, Entity) + Send + Sync + 'static,
) {
    let id = entity.id();
    let world = entity.into_world_mut();
    if world.resource::<Peers>().is_receiving() {
        world.resource_mut::<Later>().0.push((id, Box::new(deed)));
    } else {
        deed(world, id);
    }
}

/// Does what had to wait, with entities that are still there. Once a frame, a step for each.
pub(crate) fn catch_up(world: &mut World) {
    for (entity, deed) in std::mem::take(&mut world.resource_mut::<Later>().0) {
        if world.get_entity(entity).is_ok() {
            deed(world, entity);
        }
    }
}
