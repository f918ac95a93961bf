//! Entity references inside components and messages.
//!
//! On the wire a reference is the entity's name, in the bits of an `Entity`. A name that is not
//! here yet reserves an empty entity at once, so that no record ever waits for another; the
//! record that spawns it later moves in there. What leaves our sight while something refers to it
//! is emptied instead of despawned, for the same reason. A reservation that nothing refers to any
//! more goes.

mod mappers;
mod relations;
mod reserved;

use std::{
    any::TypeId,
    sync::{Mutex, PoisonError},
};

use bevy::{
    ecs::entity::Entities,
    platform::collections::{HashMap, HashSet},
    prelude::*,
};
use seamless_wire::{GlobalEntity, Holder, PeerId};
use smallvec::SmallVec;

use crate::{
    names::NameHasher,
    receive::leave::despawn_alone,
    slots::{NetSlot, Role, Slot, Slots},
};
pub(crate) use mappers::{Known, OnNetwork, ToKnown, ToNames, to_local};
pub(crate) use relations::{Relation, relate_waiting, relates_to_nothing, wait};
use reserved::Reserved;

/// Most names that the components which one client writes may refer to, all in all. What they refer
/// to beyond that becomes [`Entity::PLACEHOLDER`] if it is not here, and is not waited for.
const MAX_NAMED_BY_CLIENT: usize = 16_384;

/// One component of one entity.
type Referrer = (Entity, TypeId);

/// Names in ascending order, each once.
type Names = SmallVec<[GlobalEntity; 2]>;

/// Whom a component refers to, and which client wrote that, if one did.
#[derive(Default)]
struct Named {
    names: Names,
    writer: Option<PeerId>,
}

/// Who refers to whom, as far as peers told us, and who is referred to without being here.
#[derive(Resource, Default)]
pub(crate) struct References {
    reserved: Reserved,
    by_name: HashMap<GlobalEntity, HashSet<Referrer>, NameHasher>,
    by_referrer: HashMap<Referrer, Named>,
    /// How many names each client's components refer to.
    written: HashMap<PeerId, usize>,
    /// Entities without a name to which something refers that is told, or which lost theirs. Several
    /// threads collect.
    nameless: Mutex<HashSet<Entity>>,
    waiting: relations::WaitingRelations,
}

impl References {
    /// Something refers to an entity that has no name.
    fn note_nameless(&self, entity: Entity) {
        if entity != Entity::PLACEHOLDER {
            let nameless = self.nameless.lock();
            nameless
                .unwrap_or_else(PoisonError::into_inner)
                .insert(entity);
        }
    }

    /// The entity has lost its name; it may get another.
    pub(crate) fn loses_name(&mut self, entity: Entity) {
        self.nameless_mut().insert(entity);
    }

    fn nameless_mut(&mut self) -> &mut HashSet<Entity> {
        self.nameless
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether there are entities that have no name and should.
    pub(crate) fn has_nameless(&mut self) -> bool {
        !self.nameless_mut().is_empty()
    }

    /// Whether any of these entities, which have a name, had none when something referred to it last, or
    /// another one. A look at each.
    pub(crate) fn any_named(&mut self, entities: &[Entity]) -> bool {
        let nameless = self.nameless_mut();
        let named = entities.iter().filter(|entity| nameless.remove(*entity));
        named.count() > 0
    }

    /// Whether an entity is reserved for this name.
    pub(crate) fn is_reserved(&self, global: GlobalEntity) -> bool {
        self.reserved.entity(global).is_some()
    }

    /// The entity that was reserved for this name; the caller moves in.
    pub(crate) fn claim(&mut self, global: GlobalEntity) -> Option<Entity> {
        self.reserved.claim(global)
    }

    /// Whether the entity with this name should be emptied rather than despawned when it leaves:
    /// something refers to it. It is reserved then, at the expense of the client that hosted it, if one did.
    pub(crate) fn retain(
        &mut self,
        global: GlobalEntity,
        entity: Entity,
        owner: Option<PeerId>,
    ) -> bool {
        let wanted = self
            .by_name
            .get(&global)
            .is_some_and(|referrers| !referrers.is_empty());
        wanted && self.reserved.has_room(owner) && {
            self.reserved.insert(global, entity, owner);
            true
        }
    }

    /// To how many names a component of this writer may refer.
    fn room(&self, referrer: Referrer, writer: Option<PeerId>) -> usize {
        let Some(writer) = writer else {
            return usize::MAX;
        };
        let before = self.by_referrer.get(&referrer);
        let before = before.filter(|named| named.writer == Some(writer));
        let before = before.map_or(0, |named| named.names.len());
        let all = self.written.get(&writer).copied().unwrap_or(0);
        MAX_NAMED_BY_CLIENT.saturating_sub(all - before)
    }

    /// One step per name that comes or goes, and one per name to find them.
    fn set(&mut self, referrer: Referrer, names: Names, writer: Option<PeerId>) {
        self.wait_no_more(referrer);
        if let Some(writer) = writer.filter(|_| !names.is_empty()) {
            *self.written.entry(writer).or_default() += names.len();
        }
        for name in &names {
            self.by_name.entry(*name).or_default().insert(referrer);
        }
        let old = if names.is_empty() {
            self.by_referrer.remove(&referrer)
        } else {
            let named = Named {
                names: names.clone(),
                writer,
            };
            self.by_referrer.insert(referrer, named)
        };
        let Some(old) = old else {
            return;
        };
        if let Some(writer) = old.writer
            && let Some(written) = self.written.get_mut(&writer)
        {
            *written -= old.names.len();
            if *written == 0 {
                self.written.remove(&writer);
            }
        }
        for name in old.names {
            if names.binary_search(&name).is_err()
                && let Some(referrers) = self.by_name.get_mut(&name)
            {
                referrers.remove(&referrer);
            }
        }
    }
}

/// Which client writes the entity, if one does.
fn writer(world: &World, entity: Entity) -> Option<PeerId> {
    let slot = slot(world, entity)?;
    match (slot.owner, slot.role(), slot.tenure.holder) {
        (Some(owner), ..) => Some(owner),
        (None, Role::Host, Holder::Peer(holder)) => Some(holder),
        _ => None,
    }
}

fn slot(world: &World, entity: Entity) -> Option<&Slot> {
    let slots = world.resource::<Slots>();
    slots.get(world.get::<NetSlot>(entity)?.index)
}

/// The component is gone from the entity: it refers to nobody any more.
pub(crate) fn forget(world: &mut World, entity: Entity, component: TypeId) {
    world
        .resource_mut::<References>()
        .set((entity, component), Names::new(), None);
}

/// Once a second: forgets referrers that are gone, and despawns reservations that nothing refers
/// to. What no query finds, because it is disabled or frozen, is here nevertheless.
pub(crate) fn sweep(mut commands: Commands, mut references: ResMut<References>, all: &Entities) {
    let references = &mut *references;
    references
        .nameless_mut()
        .retain(|entity| all.contains_spawned(*entity));
    let gone: Vec<Referrer> = references
        .by_referrer
        .keys()
        .filter(|(entity, _)| !all.contains_spawned(*entity))
        .copied()
        .collect();
    for referrer in gone {
        references.set(referrer, Names::new(), None);
    }
    references
        .by_name
        .retain(|_, referrers| !referrers.is_empty());
    let by_name = &references.by_name;
    for entity in references
        .reserved
        .retain(|name| by_name.contains_key(&name))
    {
        commands.queue(move |world: &mut World| despawn_alone(world, entity));
    }
}
