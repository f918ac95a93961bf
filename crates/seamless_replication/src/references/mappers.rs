//! From local entities to names, and back.

use std::any::TypeId;

use bevy::{ecs::entity::EntityMapper, platform::collections::HashSet, prelude::*};
use seamless_wire::{GlobalEntity, PeerId};

use super::{Names, References, Referrer, writer};
use crate::{
    names::NameHasher,
    slots::{NetSlot, Slots},
};

/// Local entities to names.
pub(crate) struct ToNames<'w> {
    pub(crate) world: &'w World,
}

impl EntityMapper for ToNames<'_> {
    fn get_mapped(&mut self, source: Entity) -> Entity {
        let references = self.world.resource::<References>();
        let slot = self.world.get::<NetSlot>(source);
        let name = slot
            .and_then(NetSlot::global)
            .or_else(|| references.reserved.name(source))
            .and_then(|global| Entity::try_from_bits(global.to_bits()));
        name.unwrap_or_else(|| {
            references.note_nameless(source);
            Entity::PLACEHOLDER
        })
    }

    fn set_mapped(&mut self, _source: Entity, _target: Entity) {}
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

/// Local entities to themselves, as far as they are on the network, or are kept for what may come back.
pub(crate) struct OnNetwork<'w> {
    pub(crate) world: &'w World,
}

impl EntityMapper for OnNetwork<'_> {
    fn get_mapped(&mut self, source: Entity) -> Entity {
        let reserved = &self.world.resource::<References>().reserved;
        let is_there =
            self.world.get::<NetSlot>(source).is_some() || reserved.name(source).is_some();
        if is_there {
            source
        } else {
            Entity::PLACEHOLDER
        }
    }

    fn set_mapped(&mut self, _source: Entity, _target: Entity) {}
}

/// Up to so many names are looked through one by one.
const FEW: usize = 16;

/// Names to local entities, for one component of one entity.
struct ToLocal<'w> {
    world: &'w mut World,
    referrer: Referrer,
    writer: Option<PeerId>,
    /// Each once.
    names: Names,
    /// The same, if they are more than a few.
    many: HashSet<GlobalEntity, NameHasher>,
    /// How many of them may be written down.
    room: usize,
}

impl ToLocal<'_> {
    /// Notes a name. False if there are too many.
    fn note(&mut self, global: GlobalEntity) -> bool {
        let known = match self.names.len() {
            ..=FEW => self.names.contains(&global),
            _ => self.many.contains(&global),
        };
        if known {
            return true;
        }
        if self.names.len() >= self.room {
            return false;
        }
        self.names.push(global);
        match self.names.len() {
            ..=FEW => {}
            len if len == FEW + 1 => self.many.extend(&self.names),
            _ => _ = self.many.insert(global),
        }
        true
    }

    /// Writes down whom this component refers to.
    fn finish(mut self) {
        self.names.sort_unstable();
        let mut references = self.world.resource_mut::<References>();
        references.set(self.referrer, self.names, self.writer);
    }
}

impl EntityMapper for ToLocal<'_> {
    fn get_mapped(&mut self, source: Entity) -> Entity {
        let Some(global) = GlobalEntity::from_bits(source.to_bits()) else {
            return Entity::PLACEHOLDER;
        };
        let noted = self.note(global);
        if let Some(entity) = self.world.resource::<Slots>().entity(global) {
            return entity;
        }
        let references = self.world.resource::<References>();
        if let Some(entity) = references.reserved.entity(global) {
            return entity;
        }
        if !noted || !references.reserved.has_room(self.writer) {
            return Entity::PLACEHOLDER;
        }
        let entity = self.world.spawn_empty().id();
        let mut references = self.world.resource_mut::<References>();
        references.reserved.insert(global, entity, self.writer);
        entity
    }

    fn set_mapped(&mut self, _source: Entity, _target: Entity) {}
}

/// Makes a component's references mean entities here, and writes down whom it refers to. Costs a
/// few looks into tables per reference, and sorting them.
pub(crate) fn to_local<C: Component>(world: &mut World, referrer: Entity, component: &mut C) {
    let writer = writer(world, referrer);
    let referrer = (referrer, TypeId::of::<C>());
    let room = world.resource::<References>().room(referrer, writer);
    let mut mapper = ToLocal {
        world,
        referrer,
        writer,
        names: Names::new(),
        many: HashSet::default(),
        room,
    };
    C::map_entities(component, &mut mapper);
    mapper.finish();
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use seamless_wire::PeerId;

    use super::*;
    use crate::{
        listen::LOCAL_CLIENT,
        references::{MAX_NAMED_BY_CLIENT, reserved::MAX_RESERVED_BY_CLIENT},
        slots::Slot,
    };

    #[derive(Component, Clone)]
    struct Many(#[entities] Vec<Entity>);

    /// A world with an entity that a client hosts, if there is one.
    fn scene(client: Option<PeerId>) -> (World, Entity) {
        let mut world = World::new();
        world.init_resource::<Slots>();
        world.init_resource::<References>();
        let referrer = world.spawn_empty().id();
        let name = GlobalEntity::from_bits(9 << 40 | 1).expect("a name");
        let mut slot = Slot::remote(referrer, name, LOCAL_CLIENT);
        slot.owner = client;
        let slot = world.resource_mut::<Slots>().occupy(slot);
        world.entity_mut(referrer).insert(slot);
        (world, referrer)
    }

    /// So many names that are nowhere.
    fn names(count: u64) -> Vec<Entity> {
        (1..=count)
            .map(|n| Entity::from_bits(7 << 40 | n))
            .collect()
    }

    fn refer(world: &mut World, referrer: Entity, names: Vec<Entity>) -> Many {
        let mut many = Many(names);
        to_local(world, referrer, &mut many);
        many
    }

    #[test]
    fn a_list_of_names_costs_what_it_is_long() {
        let took = |count: u64| -> Duration {
            let (mut world, referrer) = scene(None);
            let started = Instant::now();
            for shift in 0..3 {
                let told = names(count + shift)[shift as usize..].to_vec();
                let here = refer(&mut world, referrer, told);
                for entity in here.0 {
                    ToNames { world: &world }.get_mapped(entity);
                }
            }
            started.elapsed()
        };
        took(1000);
        let (few, many) = (took(1000), took(16_000));
        assert!(many < few * 100, "{few:?} for 1,000, {many:?} for 16,000");
    }

    #[test]
    fn a_client_takes_no_more_places_than_it_may() {
        let client = PeerId(5);
        let (mut world, referrer) = scene(Some(client));
        let told = names(2 * MAX_NAMED_BY_CLIENT as u64);
        let here = refer(&mut world, referrer, told.clone());
        let kept = |here: &Many| {
            let places = here.0.iter().filter(|&&e| e != Entity::PLACEHOLDER);
            places.count()
        };
        assert_eq!(kept(&here), MAX_RESERVED_BY_CLIENT);
        let references = world.resource::<References>();
        assert_eq!(references.by_name.len(), MAX_NAMED_BY_CLIENT);
        assert_eq!(references.written[&client], MAX_NAMED_BY_CLIENT);
        // Told again, it is the same; told without, it is gone.
        let again = refer(&mut world, referrer, told);
        assert_eq!(again.0, here.0);
        refer(&mut world, referrer, vec![]);
        assert!(world.resource::<References>().written.is_empty());
        assert!(world.resource::<References>().by_referrer.is_empty());
    }
}
