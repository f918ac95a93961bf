//! Decoded components on their way to an entity, and those that it gets together: one move between
//! archetypes for all of them, and observers that see all of them.

use std::{
    any::{Any, TypeId},
    mem::ManuallyDrop,
    ptr::NonNull,
};

use bevy::{ecs::component::ComponentId, prelude::*, ptr::OwningPtr};
use smallvec::SmallVec;

use super::{
    Registry,
    component::{put, put_as_it_is},
    resource,
};
use crate::{
    authority::{Authority, Remote},
    references::{self, Relation},
    slots::NetSlot,
};

/// A decoded component on its way to an entity. Made off the main thread; putting it there cannot
/// fail. Its memory can be used for the next of its type.
pub(crate) trait StagedComponent: Any + Send + Sync {
    /// Puts it on `entity`, in place if there is one.
    fn put(self: Box<Self>, world: &mut World, entity: Entity);

    /// It is about to be put on `entity`: its references mean entities here from now on. Gives it back
    /// if it may be put there; it waits if it may later.
    fn arrive(
        self: Box<Self>,
        world: &mut World,
        entity: Entity,
    ) -> Option<Box<dyn StagedComponent>>;

    /// Puts it on `entity` if nothing of its type came there since it has arrived. Gives it back if it
    /// is to wait still.
    fn put_if_fits(
        self: Box<Self>,
        world: &mut World,
        entity: Entity,
    ) -> Option<Box<dyn StagedComponent>>;

    /// Where it lies. It is the caller's to drop, and to be moved before the memory is freed.
    fn take(&mut self) -> NonNull<u8>;
}

struct Typed<C> {
    component: ManuallyDrop<C>,
    references: bool,
    taken: bool,
}

/// Stages a component. `references`: whether it holds entity references.
pub(super) fn component<C: Component>(component: C, references: bool) -> Box<dyn StagedComponent> {
    Box::new(Typed {
        component: ManuallyDrop::new(component),
        references,
        taken: false,
    })
}

/// Stages a component where another of its type was. `references`: as for [`component`].
pub(super) fn again<C: Component>(
    staged: &mut Box<dyn StagedComponent>,
    next: C,
    references: bool,
) {
    let place: &mut dyn Any = &mut **staged;
    match place.downcast_mut::<Typed<C>>() {
        // What was left there is dropped.
        Some(place) => {
            *place = Typed {
                component: ManuallyDrop::new(next),
                references,
                taken: false,
            }
        }
        None => *staged = component(next, references),
    }
}

impl<C> Typed<C> {
    #[expect(unsafe_code, reason = "it is moved out of what may be left to others")]
    fn into_inner(mut self) -> C {
        self.taken = true;
        // SAFETY: it is not used or dropped after this.
        unsafe { ManuallyDrop::take(&mut self.component) }
    }
}

impl<C: Component> StagedComponent for Typed<C> {
    fn put(self: Box<Self>, world: &mut World, entity: Entity) {
        let references = self.references;
        put(world, entity, self.into_inner(), references);
    }

    fn arrive(
        mut self: Box<Self>,
        world: &mut World,
        entity: Entity,
    ) -> Option<Box<dyn StagedComponent>> {
        if !self.references {
            return Some(self);
        }
        references::to_local(world, entity, &mut *self.component);
        match Relation::of(world, entity, &mut *self.component) {
            Relation::Fits => Some(self),
            Relation::ToNothing => None,
            Relation::Circular => {
                references::wait(world, (entity, TypeId::of::<C>()), self);
                None
            }
        }
    }

    fn put_if_fits(
        mut self: Box<Self>,
        world: &mut World,
        entity: Entity,
    ) -> Option<Box<dyn StagedComponent>> {
        if world.get::<C>(entity).is_some() {
            return None;
        }
        match Relation::of_clients(world, entity, &mut *self.component) {
            Relation::Fits => {
                put_as_it_is(world, entity, self.into_inner());
                None
            }
            Relation::ToNothing => None,
            Relation::Circular => Some(self),
        }
    }

    fn take(&mut self) -> NonNull<u8> {
        self.taken = true;
        NonNull::from(&mut self.component).cast()
    }
}

impl<C> Drop for Typed<C> {
    #[expect(unsafe_code, reason = "what was taken is not ours to drop")]
    fn drop(&mut self) {
        if !self.taken {
            // SAFETY: nobody took it, and it is not used after this.
            unsafe { ManuallyDrop::drop(&mut self.component) }
        }
    }
}

/// Components that one entity gets together.
#[derive(Default)]
pub(crate) struct Arrivals {
    ids: SmallVec<[ComponentId; 8]>,
    components: SmallVec<[Box<dyn StagedComponent>; 8]>,
}

impl Arrivals {
    /// Adds one that the entity does not have, at most one of a type. `id`: as the registry has it.
    pub(crate) fn add(
        &mut self,
        world: &mut World,
        entity: Entity,
        id: ComponentId,
        component: Box<dyn StagedComponent>,
    ) {
        if let Some(component) = component.arrive(world, entity) {
            self.ids.push(id);
            self.components.push(component);
        }
    }

    /// As [`insert`](Self::insert), without replicated components that come with them by themselves
    /// (`#[require]`), unless those are `told`, or were there already.
    pub(crate) fn insert_alone(
        self,
        world: &mut World,
        registry: &Registry,
        entity: Entity,
        told: impl Fn(u16) -> bool,
    ) {
        if self.ids.is_empty() {
            return;
        }
        let mut unasked = registry.required_with(world, &self.ids);
        unasked.retain(|&component| {
            let id = registry.component(component).component_id;
            let is_new = |entity: EntityRef<'_>| !entity.contains_id(id);
            !told(component) && world.get_entity(entity).is_ok_and(is_new)
        });
        self.insert(world, entity);
        if !unasked.is_empty() {
            let all = registry.components().iter().enumerate();
            let all = all.filter(|(component, _)| told(*component as u16));
            let all: Vec<ComponentId> =
                all.map(|(_, registered)| registered.component_id).collect();
            registry.take_off(world, entity, &unasked, &all);
        }
    }

    /// Puts them all on the entity.
    pub(crate) fn insert(mut self, world: &mut World, entity: Entity) {
        if self.ids.is_empty() {
            return;
        }
        for &id in &self.ids {
            resource::make_room(world, entity, id);
        }
        put_together(world, entity, &self.ids, &[], self.components.iter_mut());
    }
}

/// Puts components on a new entity, together with what says that it is a remote one. `ids`: those of
/// [`Registry::remote_ids`](super::Registry::remote_ids), then theirs, as the registry has them; none is
/// a resource. False if the entity is gone, or is on the network as something else.
pub(crate) fn put_remote<'a>(
    world: &mut World,
    entity: Entity,
    ids: &[ComponentId],
    components: impl Iterator<Item = &'a mut Box<dyn StagedComponent>>,
    marks: RemoteMarks,
) -> bool {
    let mut authority = marks.authority.map(ManuallyDrop::new);
    let mut slot = ManuallyDrop::new(marks.slot);
    let mut remote = ManuallyDrop::new(Remote);
    let own: [NonNull<u8>; 3] = [
        authority
            .as_mut()
            .map_or(NonNull::dangling(), |it| NonNull::from(it).cast()),
        NonNull::from(&mut slot).cast(),
        NonNull::from(&mut remote).cast(),
    ];
    let first = usize::from(authority.is_none());
    let is_taken = |it: EntityRef<'_>| it.contains_id(ids[1]);
    if world.get_entity(entity).is_ok_and(is_taken) {
        return false;
    }
    put_together(world, entity, &ids[first..], &own[first..], components)
}

/// `own`: where components of the first ids lie, which nobody drops after this. False if the entity is
/// gone.
#[expect(
    unsafe_code,
    reason = "a bundle of components that are known by their ids"
)]
fn put_together<'a>(
    world: &mut World,
    entity: Entity,
    ids: &[ComponentId],
    own: &[NonNull<u8>],
    components: impl Iterator<Item = &'a mut Box<dyn StagedComponent>>,
) -> bool {
    let Ok(mut entity) = world.get_entity_mut(entity) else {
        return false;
    };
    // SAFETY: each component is taken once, and what lies there then is not dropped; `own` lie with
    // the caller until this returns.
    let components = own
        .iter()
        .copied()
        .chain(components.map(|component| component.take()))
        .map(|component| unsafe { OwningPtr::new(component) });
    // SAFETY: the registry maps each id, which is this world's, to the codec of its type, and that
    // made the component; `own` are those of `Registry::remote_ids`, in this order.
    unsafe { entity.insert_by_ids(ids, components) };
    true
}

/// What says that an entity is a remote one.
pub(crate) struct RemoteMarks {
    pub(crate) slot: NetSlot,
    pub(crate) authority: Option<Authority>,
}
