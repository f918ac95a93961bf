//! An entity becomes hosted or remote.

use bevy::prelude::*;
use seamless_wire::Tenure;

use crate::{
    authority::{Authority, Hosted, Remote},
    slots::{NetSlot, Replicated, Role, Slots},
};

/// Moves an entity from remote to host (`hosted`) or back, on the same Bevy entity, in one step.
/// False if it is not on the network, or not any more: observers of the game run meanwhile.
pub(crate) fn change_role(world: &mut World, entity: Entity, role: Role, tenure: Tenure) -> bool {
    let Some(&net_slot) = world.get::<NetSlot>(entity) else {
        return false;
    };
    let generation;
    {
        let mut slots = world.resource_mut::<Slots>();
        slots.set_role(net_slot.index, role);
        if role == Role::Host {
            slots.disown(net_slot.index);
        }
        let Some(slot) = slots.get_mut(net_slot.index) else {
            return false;
        };
        generation = slot.generation;
        slot.tenure = tenure;
        if role == Role::Host {
            slot.remote_name = None;
            slot.public = false;
        }
        slots.touched.push(net_slot.index);
        slots.rerouted.push(net_slot.index);
        slots.relent.push(net_slot.index);
    }
    let life = (net_slot.index, generation);
    let hosted = role == Role::Host;
    let authority = Authority::of(hosted, &tenure);
    // Two moves between archetypes, which is the most that it costs.
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
