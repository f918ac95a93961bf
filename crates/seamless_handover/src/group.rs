//! What crosses together.

use bevy::prelude::*;
use seamless_replication::{NetSlot, wire::GlobalEntity};
use serde::{Deserialize, Serialize};

/// The entity rides on another, or is carried by it: where that crosses, this crosses, in the same
/// commit. Replicated; the other side of it is [`Riders`].
///
/// Children (`ChildOf`) that are replicated cross with their parent as well; this is for what has
/// a transform of its own.
#[derive(Component, Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Reflect)]
#[reflect(Component)]
#[relationship(relationship_target = Riders)]
pub struct RidesOn(#[entities] pub Entity);

/// What rides on this entity.
#[derive(Component, Clone, Debug, Default, Reflect)]
#[reflect(Component)]
#[relationship_target(relationship = RidesOn)]
pub struct Riders(Vec<Entity>);

/// Most entities of one group. What hangs on beyond that is left behind, with an error in the log.
pub const MAX_GROUP: usize = 256;

/// The group of a root: itself first, then everything named that hangs on it, in a fixed order.
#[must_use]
pub fn members(world: &World, root: Entity) -> Vec<Entity> {
    let mut found = vec![root];
    let mut at = 0;
    while let Some(&entity) = found.get(at) {
        at += 1;
        let children = world
            .get::<Children>(entity)
            .into_iter()
            .flat_map(|c| c.iter());
        let riders = world
            .get::<Riders>(entity)
            .into_iter()
            .flat_map(|r| r.iter());
        for next in children.chain(riders) {
            let named = world
                .get::<NetSlot>(next)
                .is_some_and(|slot| slot.global().is_some());
            if named && !found.contains(&next) {
                if found.len() == MAX_GROUP {
                    tracing::error!(%root, "more than {MAX_GROUP} entities hang on one root");
                    return found;
                }
                found.push(next);
            }
        }
    }
    found
}

/// Names of entities; those without one are left out.
#[must_use]
pub fn names(world: &World, entities: &[Entity]) -> Vec<GlobalEntity> {
    entities
        .iter()
        .filter_map(|&entity| world.get::<NetSlot>(entity)?.global())
        .collect()
}
