//! Components that relate their entity to another: which of them must not be put on it.
//!
//! What a client writes must not close a circle of a hierarchy, one where what is above takes along what
//! is below: others go round in it for ever. But of a family that changed places, one may be told
//! before the other, and then a circle is only between the two. What would close one waits off its entity
//! until it does not any more.

use std::{any::TypeId, collections::BTreeMap, ops::Bound};

use bevy::{
    ecs::{component::ComponentId, entity::EntityMapper, relationship::RelationshipAccessor},
    platform::collections::HashMap,
    prelude::*,
    ptr::Ptr,
};
use seamless_wire::{Epoch, PeerId, TenureEnd, Tick};

use super::{References, Referrer, slot, writer};
use crate::{clock::NetClock, registry::StagedComponent};

/// Longest chain of a hierarchy that a client may have told.
const MAX_CHAIN: usize = 256;

/// Most relations of one client that wait. Of a family that changed places, nearly all may have to.
const MAX_WAITING: usize = 1024;

/// Most that are looked at again in a frame, one after the other, whosever they are.
const MAX_TRIED: usize = 256;

/// Seconds for which a relation waits that a client gave back with its entity.
const GIVEN_BACK: u32 = 2;

/// What a component relates its entity to, as far as that decides whether it may be put on it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Relation {
    /// To another entity, or it is no relation.
    Fits,
    /// To what is not here and is not waited for: Bevy panics over it.
    ToNothing,
    /// A client says so, and it would close a circle, or make a very long chain.
    Circular,
}

impl Relation {
    /// For what a client writes, a step for each entity that it would hang on.
    pub(crate) fn of<C: Component>(world: &World, entity: Entity, component: &mut C) -> Self {
        let is_clients = writer(world, entity).is_some();
        Self::told(world, entity, component, is_clients)
    }

    /// As [`of`](Self::of), of what a client wrote, whoever writes the entity by now.
    pub(crate) fn of_clients<C: Component>(
        world: &World,
        entity: Entity,
        component: &mut C,
    ) -> Self {
        Self::told(world, entity, component, true)
    }

    fn told<C: Component>(
        world: &World,
        entity: Entity,
        component: &mut C,
        is_clients: bool,
    ) -> Self {
        if relates_to_nothing(world, component) {
            return Self::ToNothing;
        }
        match relationship::<C>(world).filter(|_| is_clients) {
            Some(relationship) => relationship.closes(world, entity, component),
            None => Self::Fits,
        }
    }
}

/// Whether a component relates its entity to nothing: what it relates to is not here and is not waited
/// for.
pub(crate) fn relates_to_nothing<C: Component>(world: &World, component: &mut C) -> bool {
    if let Some(relationship) = relationship::<C>(world) {
        return relationship.target(Ptr::from(&*component)) == Entity::PLACEHOLDER;
    }
    if C::relationship_accessor().is_none() {
        return false;
    }
    // Bevy does not know yet which it is, because nothing has been related so here.
    let mut any = AnyNothing(false);
    C::map_entities(component, &mut any);
    any.0
}

/// What Bevy knows of a type of relation.
struct Relationship {
    id: ComponentId,
    /// Where the entity lies in it.
    offset: usize,
    /// Whether what is above takes along what is below.
    is_hierarchy: bool,
    /// Whether an entity may relate to itself.
    may_be_own: bool,
}

fn relationship<C: Component>(world: &World) -> Option<Relationship> {
    let id = world.component_id::<C>()?;
    match *world.components().get_info(id)?.relationship_accessor()? {
        RelationshipAccessor::Relationship {
            entity_field_offset: offset,
            linked_spawn: is_hierarchy,
            allow_self_referential: may_be_own,
            ..
        } => Some(Relationship {
            id,
            offset,
            is_hierarchy,
            may_be_own,
        }),
        RelationshipAccessor::RelationshipTarget { .. } => None,
    }
}

impl Relationship {
    /// The entity in a component of the type.
    #[expect(unsafe_code, reason = "the relation of a type that is not known")]
    fn target(&self, relation: Ptr<'_>) -> Entity {
        // SAFETY: Bevy has it that an `Entity` lies there in a component of this type.
        unsafe { *relation.byte_add(self.offset).deref::<Entity>() }
    }

    /// What becomes of a component of a client. Of those that are no hierarchies, whom somebody follows or
    /// likes may well follow or like them.
    fn closes<C: Component>(&self, world: &World, entity: Entity, component: &C) -> Relation {
        let mut above = self.target(Ptr::from(component));
        if above == entity && !self.may_be_own {
            // Bevy would say so each time, and take it off again.
            return Relation::ToNothing;
        }
        if !self.is_hierarchy || self.may_be_own {
            return Relation::Fits;
        }
        for _ in 0..MAX_CHAIN {
            if above == entity {
                return Relation::Circular;
            }
            let next = world.get_entity(above);
            match next.ok().and_then(|next| next.get_by_id(self.id).ok()) {
                Some(relation) => above = self.target(relation),
                None => return Relation::Fits,
            }
        }
        Relation::Circular
    }
}

/// Whether anything in a component is nothing.
struct AnyNothing(bool);

impl EntityMapper for AnyNothing {
    fn get_mapped(&mut self, source: Entity) -> Entity {
        self.0 |= source == Entity::PLACEHOLDER;
        source
    }

    fn set_mapped(&mut self, _source: Entity, _target: Entity) {}
}

/// A relation that would close a circle at present.
struct Waiting {
    writer: PeerId,
    /// Since when the writer wrote the entity.
    since: Epoch,
    /// Since when nobody does.
    free: Option<Tick>,
    relation: Box<dyn StagedComponent>,
}

/// All of them.
#[derive(Default)]
pub(super) struct WaitingRelations {
    all: BTreeMap<Referrer, Waiting>,
    of: HashMap<PeerId, usize>,
    /// Which was looked at last.
    last: Option<Referrer>,
}

impl WaitingRelations {
    /// One too many of its client is not kept.
    fn insert(&mut self, referrer: Referrer, waiting: Waiting) {
        self.remove(referrer);
        let count = self.of.entry(waiting.writer).or_default();
        if *count < MAX_WAITING {
            *count += 1;
            self.all.insert(referrer, waiting);
        }
    }

    fn remove(&mut self, referrer: Referrer) -> Option<Waiting> {
        let removed = self.all.remove(&referrer)?;
        if let Some(count) = self.of.get_mut(&removed.writer) {
            *count -= 1;
            if *count == 0 {
                self.of.remove(&removed.writer);
            }
        }
        Some(removed)
    }

    /// Those whose turn it is.
    fn next(&mut self) -> Vec<Referrer> {
        let after = self.last.map_or(Bound::Unbounded, Bound::Excluded);
        let rest = self.all.range((after, Bound::Unbounded));
        let begin = self
            .last
            .into_iter()
            .flat_map(|last| self.all.range(..=last));
        let next = rest.chain(begin).take(MAX_TRIED);
        let next: Vec<Referrer> = next.map(|(referrer, _)| *referrer).collect();
        self.last = next.last().copied();
        next
    }
}

impl References {
    /// Whether a component of this type waits for its entity.
    pub(crate) fn waits(&self, entity: Entity, component: TypeId) -> bool {
        self.waiting.all.contains_key(&(entity, component))
    }

    /// Something else is told of it, or nothing any more.
    pub(crate) fn wait_no_more(&mut self, referrer: Referrer) {
        if !self.waiting.all.is_empty() {
            self.waiting.remove(referrer);
        }
    }
}

/// Keeps a relation that would close a circle until it does not.
pub(crate) fn wait(world: &mut World, referrer: Referrer, relation: Box<dyn StagedComponent>) {
    let entity = referrer.0;
    if let Some((writer, slot)) = writer(world, entity).zip(slot(world, entity)) {
        let since = slot.tenure.since;
        let waiting = Waiting {
            writer,
            since,
            free: None,
            relation,
        };
        let references = &mut *world.resource_mut::<References>();
        references.waiting.insert(referrer, waiting);
    }
}

/// Puts relations on their entities that waited, and close no circle by now. Each is what its writer said
/// last: if that is no circle, none is left when all are there. What it gave back meanwhile, it gave back so,
/// if what else it wrote is here within [`GIVEN_BACK`] seconds. What was taken from it is as it is.
///
/// A look at [`MAX_TRIED`] of them, and a step for each entity that they would hang on.
pub(crate) fn relate_waiting(world: &mut World) {
    if world.resource::<References>().waiting.all.is_empty() {
        return;
    }
    let clock = world.resource::<NetClock>();
    let (now, given_back) = (clock.tick(), GIVEN_BACK * u32::from(clock.rate()));
    for referrer in world.resource_mut::<References>().waiting.next() {
        let references = &mut *world.resource_mut::<References>();
        let Some(mut waiting) = references.waiting.remove(referrer) else {
            continue;
        };
        let entity = referrer.0;
        let Some(tenure) = slot(world, entity).map(|slot| &slot.tenure) else {
            continue;
        };
        let counts = match writer(world, entity) {
            Some(writer) => (writer, tenure.since) == (waiting.writer, waiting.since),
            None => {
                let free = *waiting.free.get_or_insert(now);
                tenure.ended == TenureEnd::Released && now.since(free) < given_back
            }
        };
        if !counts {
            continue;
        }
        if let Some(relation) = waiting.relation.put_if_fits(world, entity) {
            waiting.relation = relation;
            let references = &mut *world.resource_mut::<References>();
            references.waiting.insert(referrer, waiting);
        }
    }
}
