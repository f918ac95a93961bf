//! Entities that a server tells of for the first time, as nearly all of them come: nothing waits for
//! them, and others of the same components come with them. Each gets all that it comes with in one move
//! between archetypes, and observers see all of it.

use bevy::{ecs::component::ComponentId, prelude::*};
use seamless_transport::{LinkId, LinkSide};
use seamless_wire::{Allocator, GlobalEntity, Holder, WireError, WireId};

use super::{ParsedHead, ParsedRows, show::name_undecodable, slot::RemoteSlot};
use crate::{
    authority::Authority,
    peer::Peer,
    plugin::Limits,
    prespawn,
    references::References,
    registry::{Registry, RemoteMarks, StagedComponent, put_remote},
    rows::{Fence, Rows, SetId, Values},
    slots::{NetSlot, Role, Slot, Slots, vacate},
};

/// How entities with the set of components arrive that came last: most come with that of the one
/// before them.
pub(crate) struct Arriving {
    set: SetId,
    registry: Registry,
    components: Vec<u16>,
    /// Of what says that an entity is remote, and of the components.
    ids: Vec<ComponentId>,
    /// Replicated components that come with these by themselves, and are taken off again: who tells of
    /// the entity does not have them.
    unasked: Vec<u16>,
    /// None refers to entities, or is a resource.
    are_plain: bool,
    /// The client may have spawned such an entity ahead.
    may_be_claimed: bool,
    /// Memory for the components of one entity, in their order.
    staged: Vec<Option<Box<dyn StagedComponent>>>,
    /// Memory for those that come together.
    new: Vec<New>,
}

/// One that has its place and its slot, and is still to get its components.
#[derive(Clone, Copy)]
struct New {
    place: u32,
    entity: Entity,
    slot: NetSlot,
}

impl Arriving {
    fn new(world: &World, set: SetId) -> Self {
        let registry = world.resource::<Registry>().clone();
        let components: Vec<u16> = world.resource::<Rows>().sets.components(set).into();
        let is_plain = |&component: &u16| registry.component(component).is_plain();
        let number = prespawn::number(world, &registry);
        let id = |&component: &u16| registry.component(component).component_id;
        let remote = registry.remote_ids().into_iter();
        let ids: Vec<ComponentId> = remote.chain(components.iter().map(id)).collect();
        Self {
            set,
            unasked: registry.required_with(world, &ids),
            ids,
            are_plain: components.iter().all(is_plain),
            may_be_claimed: number.is_some_and(|number| components.contains(&number)),
            staged: components.iter().map(|_| None).collect(),
            new: Vec::new(),
            components,
            registry,
        }
    }

    /// As the one was that came last, if it had this set.
    fn like(last: Option<Box<Self>>, world: &World, set: SetId) -> Box<Self> {
        last.filter(|last| last.set == set)
            .unwrap_or_else(|| Box::new(Self::new(world, set)))
    }

    /// Whether nothing can wait for such an entity, but those that have its name.
    fn come_plainly(&self, world: &World) -> bool {
        self.are_plain && !(self.may_be_claimed && prespawn::any_waits(world))
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

    /// Puts what an entity comes with on it. Gives how many components do not decode.
    fn put(
        &mut self,
        world: &mut World,
        (entity, slot): (Entity, NetSlot),
        fence: &Fence,
        values: Values<'_>,
    ) -> u64 {
        let marks = RemoteMarks {
            slot,
            authority: Authority::shown(fence),
        };
        let failures = self.stage(values);
        let is_here = if failures.is_empty() {
            let staged = self.staged.iter_mut().flatten();
            put_remote(world, entity, &self.ids, staged, marks)
        } else {
            let decoded = |at: usize| failures.iter().all(|(failed, _)| *failed != at);
            let (remote, ids) = self.ids.split_at(self.ids.len() - self.components.len());
            let ids = ids.iter().enumerate().filter(|(at, _)| decoded(*at));
            let ids = remote.iter().chain(ids.map(|(_, id)| id)).copied();
            let ids: Vec<ComponentId> = ids.collect();
            let staged = self.staged.iter_mut().enumerate();
            let staged = staged.filter(|(at, _)| decoded(*at));
            let staged = staged.filter_map(|(_, staged)| staged.as_mut());
            put_remote(world, entity, &ids, staged, marks)
        };
        if !is_here {
            vacate(world, slot, entity);
            return 0;
        }
        let (ids, unasked) = (&self.ids, &self.unasked);
        self.registry.take_off(world, entity, unasked, ids);
        let undecodable = failures.len() as u64;
        for (at, error) in failures {
            let registered = self.registry.component(self.components[at]);
            name_undecodable(world, entity, registered, error);
        }
        undecodable
    }
}

/// Takes the records from a number on, one after the other, as long as they are of entities that a
/// server tells of for the first time, and of the same components. Gives how many.
///
/// Per entity: a row, two slots and their names, a decode for each component, and one move. What they
/// have in common is looked up once for all.
pub(super) fn take_new(
    world: &mut World,
    peer: &mut Peer,
    (rows, from): (&ParsedRows, usize),
    limits: Limits,
) -> usize {
    let first = rows.head(from);
    let Some(first) = first.filter(|first| may_be_new(first, peer)) else {
        return 0;
    };
    let last = peer.receiver.arriving.take();
    let mut arriving = Arriving::like(last, world, first.set);
    if arriving.come_plainly(world) {
        admit(world, peer, &mut arriving, (rows, from), limits);
        fill(world, peer, &mut arriving, (rows, from));
    }
    let taken = arriving.new.len();
    arriving.new.clear();
    peer.receiver.arriving = Some(arriving);
    taken
}

/// As far as the record and the names of the link say.
#[inline]
fn may_be_new(head: &ParsedHead, peer: &Peer) -> bool {
    let table = &peer.receiver.table;
    peer.side == LinkSide::ToServer
        && head.allocator == Allocator::Peer
        && head.baseline.is_none()
        && table.place(head.allocator, head.index).is_none()
        && table.redirect(head.allocator, head.index).is_none()
}

/// Gives them places and slots, up to one that somebody told of already, or that there is no room for.
fn admit(
    world: &mut World,
    peer: &mut Peer,
    arriving: &mut Arriving,
    (rows, from): (&ParsedRows, usize),
    limits: Limits,
) {
    // An observer of the one may spawn what the next moves into.
    let most = if arriving.may_be_claimed {
        1
    } else {
        usize::MAX
    };
    // Taken out of the world: as a scope it would change archetypes for each.
    let mut slots = std::mem::take(&mut *world.resource_mut::<Slots>());
    // Who joins has a datagram full of them, and as many in each of those that came with it.
    let now = rows.heads_from(from).len().min(most);
    let soon = (now * (1 + peer.receiver.datagrams_left)).min(limits.entities);
    peer.receiver.table.expect(now, soon);
    slots.expect(now, soon);
    let references = world.resource::<References>();
    for (head, row) in rows.iter_from(from).take(most) {
        if head.set != arriving.set || !may_be_new(head, peer) {
            break;
        }
        let is_known = |global| slots.index_of(global).is_some() || references.is_reserved(global);
        let Some(global) = head.global.filter(|global| !is_known(*global)) else {
            break;
        };
        let Some(place) = peer.receiver.table.admit((head, row), limits) else {
            break;
        };
        let entity = world.entity_allocator().alloc();
        let told = peer.receiver.table.at(place);
        let slot = slots.occupy(slot_of(told, entity, (global, peer.link)));
        arriving.new.push(New {
            place,
            entity,
            slot,
        });
    }
    *world.resource_mut::<Slots>() = slots;
}

/// The slot of an entity that a link has told of, as it did last.
fn slot_of(told: &RemoteSlot, entity: Entity, (global, link): (GlobalEntity, LinkId)) -> Slot {
    let mut slot = Slot::remote(entity, global, link);
    if let Some(newest) = told.ring.newest() {
        slot.tenure = newest.row.fence.clone();
    }
    slot.newest = told.newest.unwrap_or_default();
    let (allocator, index) = told.name;
    slot.remote_name = Some(WireId {
        allocator,
        index,
        generation: told.generation,
    });
    slot
}

/// Gives them their components. Observers run meanwhile, and find all of them spawned.
fn fill(
    world: &mut World,
    peer: &mut Peer,
    arriving: &mut Arriving,
    (rows, from): (&ParsedRows, usize),
) {
    for new in &arriving.new {
        // Nobody else has the name.
        let _ = world.spawn_empty_at(new.entity);
    }
    let new = std::mem::take(&mut arriving.new);
    for (at, new) in (from..).zip(&new) {
        if let Some((head, row)) = rows.get(at) {
            let here = (new.entity, new.slot);
            let undecodable = arriving.put(world, here, &head.fence, row.values());
            peer.receiver.counters.undecodable += undecodable;
        }
    }
    peer.receiver.counters.records += new.len() as u64;
    let slots = world.resource::<Slots>();
    for new in &new {
        settle(slots, peer, *new);
    }
    arriving.new = new;
}

/// One has its components now, or an observer of the game turned it away.
fn settle(slots: &Slots, peer: &mut Peer, new: New) {
    let slot = peer.receiver.table.at_mut(new.place);
    let Some(stored) = slot.ring.newest() else {
        return;
    };
    let fence = &stored.row.fence;
    slot.held = peer.id.is_some_and(|me| fence.holder == Holder::Peer(me));
    slot.distrusted = false;
    let is_here = slots.is_taken_by(&new.slot, new.entity);
    slot.entity = is_here.then_some(new.entity);
    slot.shown = is_here.then_some((stored.version, stored.row.set));
    let source = Some(peer.link);
    // An observer may have changed that meanwhile.
    let as_told = slots
        .get(new.slot.index)
        .is_some_and(|it| it.role() == Role::Remote { source } && it.tenure == *fence);
    slot.checked = slots
        .stamp_of(new.slot.index)
        .filter(|_| is_here && as_told && !slot.held);
    // The row is none the worse for it.
    peer.receiver.counters.fenced += u64::from(!is_here);
}

/// Spawns the entity of the newest row under a name, with all of it. False if it is none of these.
///
/// For those that come under a name that was used before, or that had to wait.
pub(super) fn arrive(
    world: &mut World,
    peer: &mut Peer,
    (allocator, index): (Allocator, u32),
    global: GlobalEntity,
) -> bool {
    if peer.side != LinkSide::ToServer {
        return false;
    }
    let receiver = &mut peer.receiver;
    let Some(place) = receiver.table.place(allocator, index) else {
        return false;
    };
    let known = receiver.table.at(place);
    let Some(stored) = known.ring.newest() else {
        return false;
    };
    let mut arriving = Arriving::like(receiver.arriving.take(), world, stored.row.set);
    let reserved = world.resource::<References>().is_reserved(global);
    let comes = !reserved && arriving.come_plainly(world);
    if comes {
        let entity = world.spawn_empty().id();
        let slot = slot_of(known, entity, (global, peer.link));
        let slot = world.resource_mut::<Slots>().occupy(slot);
        let values = stored.row.values();
        let undecodable = arriving.put(world, (entity, slot), &stored.row.fence, values);
        receiver.counters.undecodable += undecodable;
        let new = New {
            place,
            entity,
            slot,
        };
        settle(world.resource::<Slots>(), peer, new);
    }
    peer.receiver.arriving = Some(arriving);
    comes
}
