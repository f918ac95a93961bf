//! Components that relate their entity to another: which of them must not be put on it.
//!
//! What a client writes must not close a circle of a hierarchy, one where what is above takes along what
//! is below: others go round in it for ever. But of a family that changed places, one may be told
//! before the other, and then a circle is only between the two. What would close one waits off its entity
//! until it does not any more.

use std::any::TypeId;

use bevy::{
    ecs::{component::ComponentId, entity::EntityMapper, relationship::RelationshipAccessor},
    prelude::*,
    ptr::Ptr,
};
use seamless_wire::PeerId;

use super::{References, Referrer, writer};
use crate::registry::StagedComponent;

/// Longest chain of a hierarchy that a client may have told.
const MAX_CHAIN: usize = 256;

/// Most relations of one client that wait. Each is looked at again in every frame in which anything
/// came.
const MAX_WAITING: usize = 64;

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
        if relates_to_nothing(world, component) {
            Self::ToNothing
        } else if writer(world, entity).is_some() && closes_circle(world, entity, component) {
            Self::Circular
        } else {
            Self::Fits
        }
    }
}

/// Whether a component relates its entity to nothing: what it relates to is not here and is not waited
/// for.
#[expect(unsafe_code, reason = "the relation of a type that is not known")]
pub(crate) fn relates_to_nothing<C: Component>(world: &World, component: &mut C) -> bool {
    if let Some((_, accessor)) = relationship::<C>(world)
        && let RelationshipAccessor::Relationship {
            entity_field_offset,
            ..
        } = accessor
    {
        // SAFETY: Bevy has it that an `Entity` lies there in a component of this type.
        let target = unsafe {
            Ptr::from(&*component)
                .byte_add(entity_field_offset)
                .deref::<Entity>()
        };
        return *target == Entity::PLACEHOLDER;
    }
    if C::relationship_accessor().is_none() {
        return false;
    }
    // Bevy does not know yet which it is, because nothing has been related so here.
    let mut any = AnyNothing(false);
    C::map_entities(component, &mut any);
    any.0
}

/// The id of a relation that Bevy knows, and where its entity lies in it.
fn relationship<C: Component>(world: &World) -> Option<(ComponentId, RelationshipAccessor)> {
    let id = world.component_id::<C>()?;
    let accessor = *world.components().get_info(id)?.relationship_accessor()?;
    Some((id, accessor))
}

/// Whether a component, put on an entity, would close a circle of a hierarchy.
#[expect(unsafe_code, reason = "the relation of a type that is not known")]
fn closes_circle<C: Component>(world: &World, entity: Entity, component: &C) -> bool {
    let Some((id, accessor)) = relationship::<C>(world) else {
        return false;
    };
    let RelationshipAccessor::Relationship {
        entity_field_offset: offset,
        // Whom somebody follows or likes may well follow or like them.
        linked_spawn: true,
        allow_self_referential: false,
        ..
    } = accessor
    else {
        return false;
    };
    // SAFETY: Bevy has it that an `Entity` lies there in a component of this type.
    let target = |relation: Ptr<'_>| unsafe { *relation.byte_add(offset).deref::<Entity>() };
    let mut above = target(Ptr::from(component));
    for _ in 0..MAX_CHAIN {
        if above == entity {
            return true;
        }
        let next = world.get_entity(above);
        match next.ok().and_then(|next| next.get_by_id(id).ok()) {
            Some(relation) => above = target(relation),
            None => return false,
        }
    }
    true
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
pub(super) struct Waiting {
    referrer: Referrer,
    writer: PeerId,
    relation: Box<dyn StagedComponent>,
}

impl References {
    /// Whether a component of this type waits for its entity.
    pub(crate) fn waits(&self, entity: Entity, component: TypeId) -> bool {
        let referrer = (entity, component);
        self.waiting
            .iter()
            .any(|waiting| waiting.referrer == referrer)
    }

    /// Something else is told of it, or nothing any more.
    pub(super) fn wait_no_more(&mut self, referrer: Referrer) {
        if !self.waiting.is_empty() {
            self.waiting.retain(|waiting| waiting.referrer != referrer);
        }
    }
}

/// Keeps a relation that would close a circle until it does not. One too many of its client goes.
pub(crate) fn wait(
    world: &mut World,
    (entity, component): Referrer,
    relation: Box<dyn StagedComponent>,
) {
    let Some(writer) = writer(world, entity) else {
        return;
    };
    let waiting = &mut world.resource_mut::<References>().waiting;
    let its = waiting.iter().filter(|other| other.writer == writer);
    if its.count() < MAX_WAITING {
        waiting.push_back(Waiting {
            referrer: (entity, component),
            writer,
            relation,
        });
    }
}

/// Puts relations on their entities that waited, and close no circle by now. Each is one that its writer
/// said last: if the writer means no circle, none is left when all are there.
pub(crate) fn relate_waiting(world: &mut World) {
    for _ in 0..world.resource::<References>().waiting.len() {
        let Some(next) = world.resource_mut::<References>().waiting.pop_front() else {
            break;
        };
        let Waiting {
            referrer,
            writer: by,
            relation,
        } = next;
        if world.get_entity(referrer.0).is_err() || writer(world, referrer.0) != Some(by) {
            continue;
        }
        if let Some(relation) = relation.put_if_fits(world, referrer.0) {
            let waiting = &mut world.resource_mut::<References>().waiting;
            waiting.push_back(Waiting {
                referrer,
                writer: by,
                relation,
            });
        }
    }
}
