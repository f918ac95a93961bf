//! An entity becomes hosted or remote.

use bevy::prelude::*;
use seamless_wire::Tenure;

use crate::{
    authority::{Authority, Hosted, Remote},
    rows::Fence,
    slots::{NetSlot, Replicated, Role, Slots},
};

/// Moves an entity from remote to host (`hosted`) or back, on the same Bevy entity, in one step.
/// False if it is not on the network, or not any more: observers of the game run meanwhile.
pub(crate) fn change_role(world: &mut World, entity: Entity, role: Role, tenure: Tenure) -> bool {
    let Some(&NetSlot { index, .. }) = world.get::<NetSlot>(entity) else {
        return false;
    };
    let fence = Fence::new(&tenure, None);
    let life = assign_role(&mut world.resource_mut::<Slots>(), index, role, fence);
    life.is_some_and(|life| show_role(world, entity, life, role, &tenure))
}

/// What [`change_role`] changes in the slot. Gives the slot and its present use, for [`show_role`],
/// which must come next.
pub(crate) fn assign_role(
    slots: &mut Slots,
    index: u32,
    role: Role,
    fence: Fence,
) -> Option<(u32, u32)> {
    slots.set_role(index, role);
    if role == Role::Host {
        slots.disown(index);
    }
    let slot = slots.get_mut(index)?;
    let generation = slot.generation;
    slot.tenure = fence;
    if role == Role::Host {
        slot.remote_name = None;
        slot.public = false;
    }
    slots.touched.push(index);
    slots.rerouted.push(index);
    slots.relent.push(index);
    Some((index, generation))
}

/// What [`change_role`] changes in the entity: two moves between archetypes, which is the most that
/// it costs. Whether it is still in its slot then.
pub(crate) fn show_role(
    world: &mut World,
    entity: Entity,
    life: (u32, u32),
    role: Role,
    tenure: &Tenure,
) -> bool {
    let hosted = role == Role::Host;
    let authority = Authority::of(hosted, tenure);
    if let Ok(mut entity) = world.get_entity_mut(entity) {
        match hosted {
            true => entity.remove::<Remote>(),
            false => entity.remove::<(Hosted, Replicated)>(),
        };
    }
    if is_in(world, entity, life)
        && let Ok(mut entity) = world.get_entity_mut(entity)
    {
        match hosted {
            true => entity.insert((Replicated, Hosted, authority)),
            false => entity.insert((Remote, authority)),
        };
    }
    is_in(world, entity, life)
}

/// Whether an entity has this slot, in this use of it.
pub(crate) fn is_in(world: &World, entity: Entity, (index, generation): (u32, u32)) -> bool {
    let slot = world.resource::<Slots>().get(index);
    slot.is_some_and(|slot| (slot.entity, slot.generation) == (entity, generation))
}
