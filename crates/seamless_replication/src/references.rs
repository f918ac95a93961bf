//! Entity references inside components and messages.
//!
//! On the wire a reference is the entity's name, in the bits of an `Entity`. A name that is not
//! here yet reserves an empty entity at once, so that no record ever waits for another; the
//! record that spawns it later moves in there. A reservation that nothing refers to any more goes.

use std::any::TypeId;

use bevy::{
    ecs::entity::EntityMapper,
    platform::collections::{HashMap, HashSet},
    prelude::*,
};
use seamless_wire::GlobalEntity;

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

/// Names that are referred to and not here.
#[derive(Resource, Default)]
pub(crate) struct References {
    reserved: HashMap<GlobalEntity, Reservation>,
}

struct Reservation {
    entity: Entity,
    referrers: HashSet<(Entity, TypeId)>,
}

impl References {
    fn name_of(&self, entity: Entity) -> Option<GlobalEntity> {
        self.reserved
            .iter()
            .find(|(_, r)| r.entity == entity)
            .map(|(name, _)| *name)
    }

    /// The entity that was reserved for this name; the caller moves in.
    pub(crate) fn claim(&mut self, global: GlobalEntity) -> Option<Entity> {
        self.reserved
            .remove(&global)
            .map(|reservation| reservation.entity)
    }

    pub(crate) fn len(&self) -> usize {
        self.reserved.len()
    }
}

/// Names to local entities, for one component of one entity.
pub(crate) struct ToLocal<'w> {
    world: &'w mut World,
    referrer: (Entity, TypeId),
    waiting: Vec<GlobalEntity>,
}

impl<'w> ToLocal<'w> {
    pub(crate) const fn new(world: &'w mut World, referrer: Entity, component: TypeId) -> Self {
        Self {
            world,
            referrer: (referrer, component),
            waiting: Vec::new(),
        }
    }

    /// Writes down which names this component waits for.
    pub(crate) fn finish(self) {
        let mut references = self.world.resource_mut::<References>();
        if references.reserved.is_empty() {
            return;
        }
        for (name, reservation) in &mut references.reserved {
            if self.waiting.contains(name) {
                reservation.referrers.insert(self.referrer);
            } else {
                reservation.referrers.remove(&self.referrer);
            }
        }
    }
}

impl EntityMapper for ToLocal<'_> {
    fn get_mapped(&mut self, source: Entity) -> Entity {
        let Some(global) = GlobalEntity::from_bits(source.to_bits()) else {
            return Entity::PLACEHOLDER;
        };
        if let Some(entity) = self.world.resource::<Slots>().entity(global) {
            return entity;
        }
        let references = self.world.resource::<References>();
        let reserved = references.reserved.get(&global).map(|r| r.entity);
        if reserved.is_none() && references.len() >= MAX_RESERVATIONS {
            return Entity::PLACEHOLDER;
        }
        self.waiting.push(global);
        reserved.unwrap_or_else(|| {
            let entity = self.world.spawn_empty().id();
            self.world.resource_mut::<References>().reserved.insert(
                global,
                Reservation {
                    entity,
                    referrers: HashSet::default(),
                },
            );
            entity
        })
    }

    fn set_mapped(&mut self, _source: Entity, _target: Entity) {}
}

/// The component is gone from the entity: it waits for nothing any more.
pub(crate) fn forget(world: &mut World, entity: Entity, component: TypeId) {
    for reservation in world.resource_mut::<References>().reserved.values_mut() {
        reservation.referrers.remove(&(entity, component));
    }
}

/// Once a second: despawns reservations that no living entity refers to.
pub(crate) fn sweep(mut commands: Commands, mut references: ResMut<References>, all: Query<()>) {
    references.reserved.retain(|_, reservation| {
        reservation
            .referrers
            .retain(|(entity, _)| all.contains(*entity));
        let wanted = !reservation.referrers.is_empty();
        if !wanted && let Ok(mut entity) = commands.get_entity(reservation.entity) {
            entity.despawn();
        }
        wanted
    });
}
