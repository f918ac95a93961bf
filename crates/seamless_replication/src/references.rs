//! Entity references inside components and messages.
//!
//! On the wire a reference is the entity's name, in the bits of an `Entity`. A name that is not
//! here yet reserves an empty entity at once, so that no record ever waits for another; the
//! record that spawns it later moves in there. What leaves our sight while something refers to it
//! is emptied instead of despawned, for the same reason. A reservation that nothing refers to any
//! more goes.

use std::any::TypeId;

use bevy::{
    ecs::entity::EntityMapper,
    platform::collections::{HashMap, HashSet},
    prelude::*,
};
use seamless_wire::GlobalEntity;
use smallvec::SmallVec;

use crate::slots::{NetSlot, Slots};

/// Most names that can wait for their entity; further ones become [`Entity::PLACEHOLDER`].
const MAX_RESERVATIONS: usize = 4096;

/// Local entities to names.
pub(crate) struct ToNames<'w> {
    pub(crate) world: &'w World,
}

impl EntityMapper for ToNames<'_> {
    fn get_mapped(&mut self, source: Entity) -> Entity {
        self.world
            .get::<NetSlot>(source)
            .and_then(NetSlot::global)
            .or_else(|| self.world.resource::<References>().name_of(source))
            .and_then(|global| Entity::try_from_bits(global.to_bits()))
            .unwrap_or(Entity::PLACEHOLDER)
    }

    fn set_mapped(&mut self, _source: Entity, _target: Entity) {}
}

/// One component of one entity.
type Referrer = (Entity, TypeId);

/// Who refers to whom, as far as peers told us, and who is referred to without being here.
#[derive(Resource, Default)]
pub(crate) struct References {
    reserved: HashMap<GlobalEntity, Entity>,
    by_name: HashMap<GlobalEntity, HashSet<Referrer>>,
    by_referrer: HashMap<Referrer, SmallVec<[GlobalEntity; 2]>>,
}

impl References {
    fn name_of(&self, entity: Entity) -> Option<GlobalEntity> {
        self.reserved
            .iter()
            .find(|(_, e)| **e == entity)
            .map(|(name, _)| *name)
    }

    /// The entity that was reserved for this name; the caller moves in.
    pub(crate) fn claim(&mut self, global: GlobalEntity) -> Option<Entity> {
        self.reserved.remove(&global)
    }

    /// Whether the entity with this name should be emptied rather than despawned when it leaves:
    /// something refers to it. It is reserved then.
    pub(crate) fn retain(&mut self, global: GlobalEntity, entity: Entity) -> bool {
        let wanted = self
            .by_name
            .get(&global)
            .is_some_and(|referrers| !referrers.is_empty())
            && self.reserved.len() < MAX_RESERVATIONS;
        if wanted {
            self.reserved.insert(global, entity);
        }
        wanted
    }

    fn set(&mut self, referrer: Referrer, names: SmallVec<[GlobalEntity; 2]>) {
        let old = if names.is_empty() {
            self.by_referrer.remove(&referrer)
        } else {
            self.by_referrer.insert(referrer, names.clone())
        };
        for name in old
            .into_iter()
            .flatten()
            .filter(|name| !names.contains(name))
        {
            if let Some(referrers) = self.by_name.get_mut(&name) {
                referrers.remove(&referrer);
            }
        }
        for name in names {
            self.by_name.entry(name).or_default().insert(referrer);
        }
    }
}

/// Names to themselves, as far as their entities are here. One that is only reserved is not: of two
/// who refer to it, one may have been told before it went and one after.
pub(crate) struct Known<'w> {
    pub(crate) world: &'w World,
}

impl EntityMapper for Known<'_> {
    fn get_mapped(&mut self, source: Entity) -> Entity {
        let slots = self.world.resource::<Slots>();
        let global = GlobalEntity::from_bits(source.to_bits());
        match global.is_some_and(|global| slots.entity(global).is_some()) {
            true => source,
            false => Entity::PLACEHOLDER,
        }
    }

    fn set_mapped(&mut self, _source: Entity, _target: Entity) {}
}

/// Local entities to names, as far as they are on the network here.
pub(crate) struct ToKnown<'w> {
    pub(crate) world: &'w World,
}

impl EntityMapper for ToKnown<'_> {
    fn get_mapped(&mut self, source: Entity) -> Entity {
        let slot = self.world.get::<NetSlot>(source);
        slot.and_then(NetSlot::global)
            .and_then(|global| Entity::try_from_bits(global.to_bits()))
            .unwrap_or(Entity::PLACEHOLDER)
    }

    fn set_mapped(&mut self, _source: Entity, _target: Entity) {}
}

/// Names to local entities, for one component of one entity.
pub(crate) struct ToLocal<'w> {
    world: &'w mut World,
    referrer: Referrer,
    names: SmallVec<[GlobalEntity; 2]>,
}

impl<'w> ToLocal<'w> {
    pub(crate) fn new(world: &'w mut World, referrer: Entity, component: TypeId) -> Self {
        Self {
            world,
            referrer: (referrer, component),
            names: SmallVec::new(),
        }
    }

    /// Writes down whom this component refers to.
    pub(crate) fn finish(self) {
        self.world
            .resource_mut::<References>()
            .set(self.referrer, self.names);
    }
}

impl EntityMapper for ToLocal<'_> {
    fn get_mapped(&mut self, source: Entity) -> Entity {
        let Some(global) = GlobalEntity::from_bits(source.to_bits()) else {
            return Entity::PLACEHOLDER;
        };
        if !self.names.contains(&global) {
            self.names.push(global);
        }
        if let Some(entity) = self.world.resource::<Slots>().entity(global) {
            return entity;
        }
        let references = self.world.resource::<References>();
        if let Some(&entity) = references.reserved.get(&global) {
            return entity;
        }
        if references.reserved.len() >= MAX_RESERVATIONS {
            return Entity::PLACEHOLDER;
        }
        let entity = self.world.spawn_empty().id();
        self.world
            .resource_mut::<References>()
            .reserved
            .insert(global, entity);
        entity
    }

    fn set_mapped(&mut self, _source: Entity, _target: Entity) {}
}

/// Makes a component's references mean entities here, and writes down whom it refers to.
pub(crate) fn to_local<C: Component>(world: &mut World, referrer: Entity, component: &mut C) {
    let mut mapper = ToLocal::new(world, referrer, TypeId::of::<C>());
    C::map_entities(component, &mut mapper);
    mapper.finish();
}

/// The component is gone from the entity: it refers to nobody any more.
pub(crate) fn forget(world: &mut World, entity: Entity, component: TypeId) {
    world
        .resource_mut::<References>()
        .set((entity, component), SmallVec::new());
}

/// Once a second: forgets referrers that are gone, and despawns reservations that nothing refers
/// to.
pub(crate) fn sweep(mut commands: Commands, mut references: ResMut<References>, all: Query<()>) {
    let references = &mut *references;
    let gone: Vec<Referrer> = references
        .by_referrer
        .keys()
        .filter(|(entity, _)| !all.contains(*entity))
        .copied()
        .collect();
    for referrer in gone {
        references.set(referrer, SmallVec::new());
    }
    references
        .by_name
        .retain(|_, referrers| !referrers.is_empty());
    references.reserved.retain(|name, entity| {
        let wanted = references.by_name.contains_key(name);
        if !wanted && let Ok(mut entity) = commands.get_entity(*entity) {
            entity.despawn();
        }
        wanted
    });
}
