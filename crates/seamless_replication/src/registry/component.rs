//! A registered component behind a pointer.

use std::{
    any::TypeId,
    sync::atomic::{AtomicBool, Ordering},
};

use bevy::{
    ecs::{
        archetype::Archetype,
        change_detection::Tick,
        component::{ComponentId, ComponentMutability, StorageType},
        entity::EntityMapper,
        storage::Table,
    },
    prelude::*,
    ptr::Ptr,
};
use seamless_wire::{
    BitReader, BitWriter, WireError, delta::Baseline, schema::ComponentDescriptor,
};

use super::{
    audience::Audience,
    columns::Column,
    condition::Condition,
    replicator::{MAX_COMPONENT_BYTES, Replicator},
    resource,
    staged::{self, StagedComponent},
};
use crate::references::{self, References, Relation};

/// A component's codec with its type erased. One virtual call per value.
pub(crate) trait ErasedComponent: Send + Sync {
    /// Appends the row value of the component behind `ptr`.
    ///
    /// # Safety
    /// `ptr` points to a component of the registered type.
    #[expect(
        unsafe_code,
        reason = "the collect loop reads table columns without their type"
    )]
    unsafe fn write(&self, ptr: Ptr<'_>, world: &World, out: &mut Vec<u8>)
    -> Result<(), WireError>;

    /// Bits of a row value, see [`Replicator::encode`].
    fn encode(&self, base: Option<Baseline<'_>>, value: &[u8], w: &mut BitWriter);

    /// Row value of bits, see [`Replicator::decode`].
    fn decode(
        &self,
        base: Option<Baseline<'_>>,
        r: &mut BitReader<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), WireError>;

    /// Row value of bits over the baseline's, see [`Replicator::decode_over`].
    fn decode_over(
        &self,
        base: Baseline<'_>,
        r: &mut BitReader<'_>,
        value: &mut [u8],
    ) -> Result<bool, WireError>;

    /// Goes past the bits of a value, see [`Replicator::skip`].
    fn skip(&self, len: usize, r: &mut BitReader<'_>) -> Result<bool, WireError>;

    /// Whether a row value decodes.
    fn check(&self, value: &[u8]) -> Result<(), WireError>;

    /// What the component refers to is not waited for any more: it is about to be taken off.
    fn forget(&self, world: &mut World, entity: Entity);

    /// What waits to be put on the entity is not told any more.
    fn wait_no_more(&self, world: &mut World, entity: Entity);

    /// The component is as this row value says, and whoever writes the entity now has said so: what it
    /// refers to is noted as theirs.
    fn refer(&self, world: &mut World, entity: Entity, value: &[u8]);

    /// Puts the component of a row value on `entity`, in place if there is one.
    fn apply(&self, world: &mut World, entity: Entity, value: &[u8]) -> Result<(), WireError>;

    /// The column of the type in a table, if components of it may be overwritten there and that is
    /// all there is to do. `id`: of the type.
    fn column<'w>(&self, table: &'w Table, id: ComponentId) -> Option<Column<'w>>;

    /// Overwrites the component in a row of a table with that of a row value.
    ///
    /// # Safety
    /// The column was found by [`column`](Self::column) of the same type, `row` is in it, and nobody
    /// else looks at it.
    #[expect(unsafe_code, reason = "the column has no type")]
    unsafe fn put(
        &self,
        column: &Column<'_>,
        row: usize,
        value: &[u8],
        now: Tick,
    ) -> Result<(), WireError>;

    /// Whether a component of `entity` is another one than the row value says. `live` becomes its own row
    /// value. References to entities that are not here count for nothing, and neither does a
    /// value that does not decode.
    ///
    /// # Safety
    /// `ptr` points to a component of the registered type.
    #[expect(unsafe_code, reason = "the audit reads components by their id")]
    unsafe fn differs(
        &self,
        ptr: Option<Ptr<'_>>,
        here: (&World, Entity),
        value: &[u8],
        live: &mut Vec<u8>,
    ) -> bool;

    /// Whether the component relates `entity` to something that is not on the network. Nobody who tells
    /// of the entity can mean that by leaving the component out.
    fn is_local_relation(&self, world: &World, entity: Entity) -> bool;

    /// Takes the component off `entity`.
    fn remove(&self, world: &mut World, entity: Entity);

    /// Decodes a row value into something that can be put on an entity without failing.
    fn stage(&self, value: &[u8]) -> Result<Box<dyn StagedComponent>, WireError>;

    /// As [`stage`](Self::stage), in memory where another component of this type was staged.
    fn stage_again(
        &self,
        value: &[u8],
        staged: &mut Box<dyn StagedComponent>,
    ) -> Result<(), WireError>;
}

/// What the registry keeps of one component.
pub(crate) struct Registered {
    pub(crate) descriptor: ComponentDescriptor,
    pub(crate) component_id: ComponentId,
    pub(crate) storage: StorageType,
    /// Weight in the priority of entities that changed it.
    pub(crate) priority: f32,
    /// Whether it is a resource, which clients do not tell of.
    pub(crate) is_resource: bool,
    /// Whether it may refer to entities.
    pub(crate) refers: bool,
    /// Whether only the first value of an entity is told.
    pub(crate) once: bool,
    /// Whether the world here may show another value than the one that was told.
    pub(crate) unaudited: bool,
    /// Whom it is told to, if not to all who see the entity.
    pub(crate) audience: Option<Audience>,
    /// Its bit in a [`WriteMask`](seamless_wire::WriteMask), if it can be withheld from a holder.
    pub(crate) write_bit: Option<u8>,
    /// What entities must match for it to be replicated on them.
    pub(crate) conditions: Vec<Condition>,
    pub(crate) erased: Box<dyn ErasedComponent>,
}

impl Registered {
    /// Whether it may be put on a new entity like any component of Bevy: it refers to no entities,
    /// and is no resource.
    pub(crate) const fn is_plain(&self) -> bool {
        !self.is_resource && !self.refers
    }

    /// Whether entities of an archetype match all conditions.
    pub(crate) fn is_replicated_in(&self, archetype: &Archetype) -> bool {
        let has = |id| archetype.contains(id);
        self.conditions
            .iter()
            .all(|condition| condition.holds(&has))
    }

    /// Whether entities of one table may differ in matching.
    pub(crate) fn has_sparse_condition(&self) -> bool {
        self.conditions.iter().any(Condition::is_sparse)
    }
}

/// What is done with entity references in a component.
pub(crate) enum Entities<C> {
    /// They are translated, in a copy that this makes.
    Translated(fn(&C) -> C),
    /// There should be none. They would mean other entities here.
    Lost,
    /// They are the replicator's business.
    Replicators,
}

pub(crate) struct Typed<C, R> {
    replicator: R,
    /// Set if the type holds entity references: makes a copy to translate.
    copy: Option<fn(&C) -> C>,
    /// Whether there should be no references.
    without: bool,
    /// Whether it was said that there are.
    warned: AtomicBool,
}

impl<C: Component, R: Replicator<C>> Typed<C, R> {
    pub(crate) const fn new(replicator: R, entities: &Entities<C>) -> Self {
        Self {
            replicator,
            copy: match entities {
                Entities::Translated(copy) => Some(*copy),
                Entities::Lost | Entities::Replicators => None,
            },
            without: matches!(entities, Entities::Lost),
            warned: AtomicBool::new(false),
        }
    }

    /// The component of a row value. References that nobody translates become nothing.
    #[inline]
    fn read(&self, value: &[u8]) -> Result<C, WireError> {
        let mut component = self.replicator.read(value)?;
        if self.without {
            let mut found = false;
            let nothing = |_| {
                found = true;
                Entity::PLACEHOLDER
            };
            C::map_entities(&mut component, &mut Each(nothing));
            if found && !self.warned.swap(true, Ordering::Relaxed) {
                let path = std::any::type_name::<C>();
                tracing::error!(
                    "\"{path}\" refers to entities, which are others here: \
                     register it with `replicate_with_entities`"
                );
            }
        }
        Ok(component)
    }

    /// Whether values have held references that nobody translates.
    fn has_untranslated(&self) -> bool {
        self.without && self.warned.load(Ordering::Relaxed)
    }

    /// References that nobody translates mean something only where they were made: they become what
    /// they are in `here`.
    ///
    /// Cost: `here` is written and read again. For what was registered wrongly.
    fn keep_untranslated(&self, component: &mut C, here: &C) {
        let mut value = Vec::new();
        let here = self.replicator.write(here, &mut value);
        let Ok(mut here) = here.and_then(|()| self.replicator.read(&value)) else {
            return;
        };
        let mut found = Vec::new();
        let note = |entity| {
            found.push(entity);
            entity
        };
        C::map_entities(&mut here, &mut Each(note));
        let mut found = found.into_iter();
        let next = |_| found.next().unwrap_or(Entity::PLACEHOLDER);
        C::map_entities(component, &mut Each(next));
    }
}

impl<C: Component, R: Replicator<C>> ErasedComponent for Typed<C, R> {
    #[expect(
        unsafe_code,
        reason = "the collect loop reads table columns without their type"
    )]
    unsafe fn write(
        &self,
        ptr: Ptr<'_>,
        world: &World,
        out: &mut Vec<u8>,
    ) -> Result<(), WireError> {
        // SAFETY: the caller promises that `ptr` points to a `C`.
        let component = unsafe { ptr.deref::<C>() };
        let start = out.len();
        match self.copy {
            None => self.replicator.write(component, out)?,
            Some(copy) => {
                let mut named = copy(component);
                C::map_entities(&mut named, &mut references::ToNames { world });
                self.replicator.write(&named, out)?;
            }
        }
        let len = out.len() - start;
        if len > MAX_COMPONENT_BYTES {
            out.truncate(start);
            return Err(WireError::OutOfBounds {
                what: "component",
                value: len as u64,
                max: MAX_COMPONENT_BYTES as u64,
            });
        }
        Ok(())
    }

    fn encode(&self, base: Option<Baseline<'_>>, value: &[u8], w: &mut BitWriter) {
        self.replicator.encode(base, value, w);
    }

    fn decode(
        &self,
        base: Option<Baseline<'_>>,
        r: &mut BitReader<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), WireError> {
        self.replicator.decode(base, r, out)
    }

    fn decode_over(
        &self,
        base: Baseline<'_>,
        r: &mut BitReader<'_>,
        value: &mut [u8],
    ) -> Result<bool, WireError> {
        self.replicator.decode_over(base, r, value)
    }

    fn skip(&self, len: usize, r: &mut BitReader<'_>) -> Result<bool, WireError> {
        self.replicator.skip(len, r)
    }

    fn check(&self, value: &[u8]) -> Result<(), WireError> {
        self.replicator.read(value).map(drop)
    }

    fn forget(&self, world: &mut World, entity: Entity) {
        if self.copy.is_some() {
            references::forget(world, entity, TypeId::of::<C>());
        }
    }

    fn wait_no_more(&self, world: &mut World, entity: Entity) {
        if self.copy.is_some() {
            let mut references = world.resource_mut::<References>();
            references.wait_no_more((entity, TypeId::of::<C>()));
        }
    }

    fn refer(&self, world: &mut World, entity: Entity, value: &[u8]) {
        if self.copy.is_some()
            && let Ok(mut component) = self.replicator.read(value)
        {
            references::to_local(world, entity, &mut component);
        }
    }

    fn apply(&self, world: &mut World, entity: Entity, value: &[u8]) -> Result<(), WireError> {
        let mut component = self.read(value)?;
        if self.has_untranslated()
            && let Some(here) = world.get::<C>(entity)
        {
            self.keep_untranslated(&mut component, here);
        }
        put(world, entity, component, self.copy.is_some());
        Ok(())
    }

    fn column<'w>(&self, table: &'w Table, id: ComponentId) -> Option<Column<'w>> {
        if !C::Mutability::MUTABLE || self.copy.is_some() || self.has_untranslated() {
            return None;
        }
        #[expect(unsafe_code, reason = "the id must be that of the type")]
        // SAFETY: the registry maps each id to the codec of its type, and this is `id`'s.
        unsafe {
            Column::of::<C>(table, id)
        }
    }

    #[expect(unsafe_code, reason = "the column has no type")]
    unsafe fn put(
        &self,
        column: &Column<'_>,
        row: usize,
        value: &[u8],
        now: Tick,
    ) -> Result<(), WireError> {
        let component = self.read(value)?;
        // SAFETY: the caller promises it.
        unsafe {
            column.put::<C>(row, component, now);
        }
        Ok(())
    }

    #[expect(unsafe_code, reason = "the audit reads components by their id")]
    unsafe fn differs(
        &self,
        ptr: Option<Ptr<'_>>,
        (world, entity): (&World, Entity),
        value: &[u8],
        live: &mut Vec<u8>,
    ) -> bool {
        live.clear();
        if let Some(ptr) = ptr {
            // SAFETY: the caller promises that `ptr` points to a `C`.
            let written = unsafe { self.write(ptr, world, live) };
            if written.is_ok() && live == value {
                return false;
            }
        }
        let Ok(mut told) = self.read(value) else {
            return false;
        };
        let Some(ptr) = ptr else {
            if self.copy.is_none() {
                return true;
            }
            let references = world.resource::<References>();
            if references.waits(entity, TypeId::of::<C>()) {
                return false;
            }
            C::map_entities(&mut told, &mut references::Known { world });
            return !references::relates_to_nothing(world, &mut told);
        };
        let mut again = Vec::with_capacity(value.len());
        let Some(copy) = self.copy else {
            // SAFETY: the caller promises that `ptr` points to a `C`.
            let here = unsafe { ptr.deref::<C>() };
            if self.has_untranslated() {
                self.keep_untranslated(&mut told, here);
            }
            return self.replicator.write(&told, &mut again).is_ok() && again != *live;
        };
        C::map_entities(&mut told, &mut references::Known { world });
        // SAFETY: the caller promises that `ptr` points to a `C`.
        let mut here = copy(unsafe { ptr.deref::<C>() });
        C::map_entities(&mut here, &mut references::ToKnown { world });
        let mut known = Vec::with_capacity(value.len());
        self.replicator.write(&told, &mut again).is_ok()
            && self.replicator.write(&here, &mut known).is_ok()
            && again != known
    }

    fn is_local_relation(&self, world: &World, entity: Entity) -> bool {
        let Some((copy, component)) = self.copy.zip(world.get::<C>(entity)) else {
            return false;
        };
        let mut named = copy(component);
        C::map_entities(&mut named, &mut references::OnNetwork { world });
        references::relates_to_nothing(world, &mut named)
    }

    fn remove(&self, world: &mut World, entity: Entity) {
        self.forget(world, entity);
        if let Ok(mut entity) = world.get_entity_mut(entity) {
            entity.remove::<C>();
        }
    }

    fn stage(&self, value: &[u8]) -> Result<Box<dyn StagedComponent>, WireError> {
        let component = self.read(value)?;
        Ok(staged::component(component, self.copy.is_some()))
    }

    fn stage_again(
        &self,
        value: &[u8],
        staged: &mut Box<dyn StagedComponent>,
    ) -> Result<(), WireError> {
        let component = self.read(value)?;
        staged::again(staged, component, self.copy.is_some());
        Ok(())
    }
}

/// Makes of each entity what a function says.
struct Each<F>(F);

impl<F: FnMut(Entity) -> Entity> EntityMapper for Each<F> {
    fn get_mapped(&mut self, source: Entity) -> Entity {
        self.0(source)
    }

    fn set_mapped(&mut self, _source: Entity, _target: Entity) {}
}

/// Puts `component` on `entity`: overwritten in place where the type allows it (no archetype
/// lookup, no hooks), inserted otherwise.
pub(super) fn put<C: Component>(
    world: &mut World,
    entity: Entity,
    mut component: C,
    references: bool,
) {
    if references {
        references::to_local(world, entity, &mut component);
        let relation = Relation::of(world, entity, &mut component);
        if relation != Relation::Fits {
            if let Ok(mut entity) = world.get_entity_mut(entity) {
                entity.remove::<C>();
            }
            if relation == Relation::Circular {
                let referrer = (entity, TypeId::of::<C>());
                references::wait(world, referrer, staged::component(component, true));
            }
            return;
        }
    }
    put_as_it_is(world, entity, component);
}

/// As [`put`], of a component whose references mean entities here.
pub(super) fn put_as_it_is<C: Component>(world: &mut World, entity: Entity, component: C) {
    let Ok(mut entity) = world.get_entity_mut(entity) else {
        return;
    };
    if C::Mutability::MUTABLE {
        #[expect(
            unsafe_code,
            reason = "the type says that it is mutable, the bound cannot"
        )]
        // SAFETY: `C::Mutability::MUTABLE` was checked.
        if let Some(mut present) = unsafe { entity.get_mut_assume_mutable::<C>() } {
            *present = component;
            return;
        }
    }
    let entity = entity.id();
    if let Some(id) = world.component_id::<C>() {
        resource::make_room(world, entity, id);
    }
    if let Ok(mut entity) = world.get_entity_mut(entity) {
        entity.insert(component);
    }
}
