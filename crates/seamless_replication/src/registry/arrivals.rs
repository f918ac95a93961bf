//! Components that an entity gets together: one move between archetypes for all of them, and
//! observers that see all of them.

use std::{any::TypeId, mem::ManuallyDrop, ptr::NonNull};

use bevy::{ecs::component::ComponentId, prelude::*, ptr::OwningPtr};
use seamless_wire::WireError;
use smallvec::SmallVec;

use super::{Registered, resource};
use crate::references;

/// A decoded component in memory of its own, until it is moved to an entity.
pub(crate) trait Arrival {
    /// Where it lies. It is the caller's to drop, and to be moved before the memory is freed.
    fn take(&mut self) -> NonNull<u8>;
}

struct Decoded<C> {
    component: ManuallyDrop<C>,
    taken: bool,
}

impl<C> Arrival for Decoded<C> {
    fn take(&mut self) -> NonNull<u8> {
        self.taken = true;
        NonNull::from(&mut self.component).cast()
    }
}

impl<C> Drop for Decoded<C> {
    #[expect(unsafe_code, reason = "what arrived is not ours to drop")]
    fn drop(&mut self) {
        if !self.taken {
            // SAFETY: nobody took it, and it is not used after this.
            unsafe { ManuallyDrop::drop(&mut self.component) }
        }
    }
}

/// A component on its way to `entity`; if it refers to other entities, those it means here.
pub(super) fn arrival<C: Component>(
    world: &mut World,
    entity: Entity,
    mut component: C,
    references: bool,
) -> Box<dyn Arrival> {
    if references {
        let mut mapper = references::ToLocal::new(world, entity, TypeId::of::<C>());
        C::map_entities(&mut component, &mut mapper);
        mapper.finish();
    }
    Box::new(Decoded {
        component: ManuallyDrop::new(component),
        taken: false,
    })
}

/// Components on their way to one entity.
#[derive(Default)]
pub(crate) struct Arrivals {
    ids: SmallVec<[ComponentId; 8]>,
    components: SmallVec<[Box<dyn Arrival>; 8]>,
}

impl Arrivals {
    /// Adds the component of a row value, at most one of a type.
    ///
    /// # Errors
    /// [`WireError`] if it does not decode. The others arrive without it.
    pub(crate) fn add(
        &mut self,
        world: &mut World,
        entity: Entity,
        registered: &Registered,
        value: &[u8],
    ) -> Result<(), WireError> {
        let arrival = registered.erased.arrival(world, entity, value)?;
        self.ids.push(registered.component_id);
        self.components.push(arrival);
        Ok(())
    }

    /// Puts them all on the entity.
    #[expect(
        unsafe_code,
        reason = "a bundle of components that are known by their ids"
    )]
    pub(crate) fn insert(mut self, world: &mut World, entity: Entity) {
        if self.ids.is_empty() {
            return;
        }
        for &id in &self.ids {
            resource::make_room(world, entity, id);
        }
        let Ok(mut entity) = world.get_entity_mut(entity) else {
            return;
        };
        // SAFETY: each component is taken once, and what lies there then is not dropped.
        let components = self
            .components
            .iter_mut()
            .map(|component| unsafe { OwningPtr::new(component.take()) });
        // SAFETY: the registry maps each id, which is this world's, to the codec of its type, and
        // that made the component.
        unsafe { entity.insert_by_ids(&self.ids, components) };
    }
}
