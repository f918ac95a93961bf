//! Entities that a server tells of for the first time, as nearly all of them come: nothing waits for
//! them. Each gets all that it comes with in one move between archetypes, and observers see all of it.

use bevy::{ecs::component::ComponentId, prelude::*};
use seamless_transport::LinkSide;
use seamless_wire::{Allocator, GlobalEntity, Holder, Tenure, WireError, WireId};
use smallvec::SmallVec;

use super::show::name_undecodable;
use crate::{
    authority::Authority,
    peer::Peer,
    prespawn,
    references::References,
    registry::{Registry, RemoteMarks, StagedComponent, put_remote},
    rows::{Rows, SetId, Values},
    slots::{Slot, Slots},
};

/// How entities with the set of components arrive that came last: most come with that of the one
/// before them.
pub(crate) struct Arriving {
    set: SetId,
    registry: Registry,
    components: Vec<u16>,
    ids: SmallVec<[ComponentId; 16]>,
    /// None refers to entities, or is a resource.
    are_plain: bool,
    /// The client may have spawned such an entity ahead.
    may_be_claimed: bool,
    /// Memory for the components of one entity, in their order.
    staged: Vec<Option<Box<dyn StagedComponent>>>,
}

impl Arriving {
    fn new(world: &World, set: SetId) -> Self {
        let registry = world.resource::<Registry>().clone();
        let components: Vec<u16> = world.resource::<Rows>().sets.components(set).into();
        let is_plain = |&component: &u16| registry.component(component).is_plain();
        let number = prespawn::number(world, &registry);
        let id = |&component: &u16| registry.component(component).component_id;
        Self {
            set,
            ids: components.iter().map(id).collect(),
            are_plain: components.iter().all(is_plain),
            may_be_claimed: number.is_some_and(|number| components.contains(&number)),
            staged: components.iter().map(|_| None).collect(),
            components,
            registry,
        }
    }

    /// Decodes what an entity comes with. Gives what does not decode, by its place.
    fn stage(&mut self, values: Values<'_>) -> Vec<(usize, WireError)> {
        let mut failures = Vec::new();
        let places = self.components.iter().zip(&mut self.staged);
        for (at, (&component, staged)) in places.enumerate() {
            let erased = &self.registry.component(component).erased;
            let done = match staged {
                Some(staged) => erased.stage_again(values.at(at), staged),
                None => erased.stage(values.at(at)).map(|it| *staged = Some(it)),
            };
            if let Err(error) = done {
                failures.push((at, error));
            }
        }
        failures
    }

    /// Puts what decoded on its entity.
    fn put(
        &mut self,
        world: &mut World,
        entity: Entity,
        failures: &[(usize, WireError)],
        marks: RemoteMarks,
    ) {
        if failures.is_empty() {
            let staged = self.staged.iter_mut().flatten();
            return put_remote(world, entity, self.ids.clone(), staged, marks);
        }
        let decoded = |at: &usize| failures.iter().all(|(failed, _)| failed != at);
        let ids = self.ids.iter().enumerate();
        let ids = ids.filter(|(at, _)| decoded(at)).map(|(_, id)| *id);
        let ids = ids.collect();
        let staged = self.staged.iter_mut().enumerate();
        let staged = staged.filter(|(at, _)| decoded(at));
        let staged = staged.filter_map(|(_, staged)| staged.as_mut());
        put_remote(world, entity, ids, staged, marks);
    }
}

/// Spawns the entity of the newest row under a name, with all of it. False if it is none of these.
///
/// Per entity: a decode for each component, and one move.
pub(super) fn arrive(
    world: &mut World,
    peer: &mut Peer,
    (allocator, index): (Allocator, u32),
    (global, tenure): (GlobalEntity, Tenure),
) -> bool {
    if peer.side != LinkSide::ToServer {
        return false;
    }
    let Some(slot) = peer.receiver.table.get_mut(allocator, index) else {
        return false;
    };
    let Some(stored) = slot.ring.newest() else {
        return false;
    };
    let set = stored.row.set;
    let last = peer.receiver.arriving.take();
    let last = last.filter(|last| last.set == set);
    let mut arriving = last.unwrap_or_else(|| Box::new(Arriving::new(world, set)));
    let waited_for = arriving.may_be_claimed && prespawn::any_waits(world)
        || world.resource::<References>().is_reserved(global);
    if !arriving.are_plain || waited_for {
        peer.receiver.arriving = Some(arriving);
        return false;
    }
    let failures = arriving.stage(stored.row.values());

    let entity = world.spawn_empty().id();
    let mut here = Slot::remote(entity, global, peer.link);
    here.tenure = stored.row.fence.clone();
    here.newest = slot.newest.unwrap_or_default();
    here.remote_name = Some(WireId {
        allocator,
        index,
        generation: slot.generation,
    });
    let net_slot = world.resource_mut::<Slots>().occupy(here);
    let marks = RemoteMarks {
        ids: arriving.registry.remote_ids(),
        slot: net_slot,
        authority: Authority::shown(&tenure),
    };
    arriving.put(world, entity, &failures, marks);

    slot.held = peer.id.is_some_and(|me| tenure.holder == Holder::Peer(me));
    slot.distrusted = false;
    let slots = world.resource::<Slots>();
    if slots.is_taken_by(&net_slot, entity) {
        slot.entity = Some(entity);
        slot.shown = Some((stored.version, set));
        slot.checked = slots.stamp_of(net_slot.index).filter(|_| !slot.held);
    } else {
        // An observer of the game turned it away. The row is none the worse for it.
        slot.entity = None;
        slot.shown = None;
        peer.receiver.counters.fenced += 1;
    }
    for (at, error) in failures {
        let registered = arriving.registry.component(arriving.components[at]);
        name_undecodable(world, entity, registered, error);
        peer.receiver.counters.undecodable += 1;
    }
    peer.receiver.arriving = Some(arriving);
    true
}
