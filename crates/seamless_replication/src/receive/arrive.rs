//! Entities that a server tells of for the first time, as nearly all of them come: nothing waits for
//! them. Each gets all that it comes with in one move between archetypes, and observers see all of it.

use bevy::prelude::*;
use seamless_transport::LinkSide;
use seamless_wire::{Allocator, GlobalEntity, Holder, Tenure, WireId};
use smallvec::SmallVec;

use super::show::name_undecodable;
use crate::{
    authority::Authority,
    peer::Peer,
    prespawn,
    references::References,
    registry::{Arrivals, Registry, RemoteMarks},
    rows::Rows,
    slots::{Slot, Slots},
};

/// Spawns the entity of the newest row under a name, with all of it. False if it is none of these.
///
/// Per entity: a decode for each component, and one move.
pub(super) fn arrive(
    world: &mut World,
    peer: &mut Peer,
    (allocator, index): (Allocator, u32),
    (global, tenure): (GlobalEntity, Tenure),
) -> bool {
    let references = world.resource::<References>();
    if peer.side != LinkSide::ToServer || references.is_reserved(global) {
        return false;
    }
    let Some(slot) = peer.receiver.table.get_mut(allocator, index) else {
        return false;
    };
    let Some(stored) = slot.ring.newest() else {
        return false;
    };
    let registry = world.resource::<Registry>().clone();
    let sets = &world.resource::<Rows>().sets;
    let components: SmallVec<[u16; 16]> = sets.components(stored.row.set).into();
    let is_plain = |&component: &u16| registry.component(component).is_plain();
    if !components.iter().all(is_plain) || prespawn::may_wait(world, &registry, &components) {
        return false;
    }
    let mut arrivals = Arrivals::default();
    let mut failures = Vec::new();
    let values = stored.row.values();
    for (at, &component) in components.iter().enumerate() {
        let registered = registry.component(component);
        match registered.erased.stage(values.at(at)) {
            Ok(staged) => arrivals.add_plain(registered.component_id, staged),
            Err(error) => failures.push((registered, error)),
        }
    }

    let entity = world.spawn_empty().id();
    let mut here = Slot::remote(entity, global, peer.link);
    here.tenure = tenure;
    here.newest = slot.newest.unwrap_or_default();
    here.remote_name = Some(WireId {
        allocator,
        index,
        generation: slot.generation,
    });
    let net_slot = world.resource_mut::<Slots>().occupy(here);
    let marks = RemoteMarks {
        ids: registry.remote_ids(),
        slot: net_slot,
        authority: Authority::shown(&tenure),
    };
    arrivals.insert_remote(world, entity, marks);

    slot.held = peer.id.is_some_and(|me| tenure.holder == Holder::Peer(me));
    slot.distrusted = false;
    let slots = world.resource::<Slots>();
    if slots.is_taken_by(&net_slot, entity) {
        slot.entity = Some(entity);
        slot.shown = Some((stored.version, stored.row.set));
        slot.checked = slots.stamp_of(net_slot.index).filter(|_| !slot.held);
    } else {
        // An observer of the game turned it away. The row is none the worse for it.
        slot.entity = None;
        slot.shown = None;
        peer.receiver.counters.fenced += 1;
    }
    for (registered, error) in failures {
        name_undecodable(world, entity, registered, error);
        peer.receiver.counters.undecodable += 1;
    }
    true
}
