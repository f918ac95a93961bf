//! Rows to components.
//!
//! Nearly all rows change components of an entity that is there already. Those wait for some others
//! and are then written where they lie, all in one go.

use bevy::prelude::*;
use seamless_transport::LinkSide;
use seamless_wire::{PeerId, WireError, WriteMask};

use super::{ReceiveCounters, Receiver, slot::RemoteSlot};
use crate::{
    clock::NetClock,
    peer::Peer,
    registry::{Arrivals, Columns, Registered, Registry},
    rows::{Rows, SetId, Stored, same},
    slots::NetSlot,
    stats::{ReplicationStats, UndecodableComponent},
};

/// Rows that are shown together once so many wait: a few datagrams of them. Fewer, and each type's
/// setting out counts; more, and what was read is out of the cache when it is shown.
pub(super) const TOGETHER: usize = 128;

/// Which components of a row its writer speaks for. The others stay as they are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    All,
    /// What the host writes of what is lent on these terms.
    HostWrites(WriteMask),
    /// What the holder writes of it.
    HolderWrites(WriteMask),
}

impl Part {
    pub(super) fn speaks_for(self, registry: &Registry, component: u16) -> bool {
        match self {
            Self::All => true,
            Self::HostWrites(writes) => !registry.holder_writes(component, writes),
            Self::HolderWrites(writes) => registry.holder_writes(component, writes),
        }
    }
}

/// Makes the entity show the newest row: components that differ from what is shown are written,
/// those that are not in it are removed. Values that do not decode are counted: those components stay
/// as they were. Their bytes are kept like all others, and told again they would not decode either.
///
/// `by`: the client that wrote the row, if one did. The sets of components that its entities have on the
/// way, some of which may not decode, and those that come and go together, count against it like those
/// that it names: Bevy keeps what it has noted of each. If it may have no more, nothing is shown.
pub(super) fn show(
    world: &mut World,
    slot: &mut RemoteSlot,
    entity: Entity,
    (part, by): (Part, Option<PeerId>),
    counters: &mut ReceiveCounters,
) {
    let registry = world.resource::<Registry>().clone();
    let Some(stored) = slot.ring.newest() else {
        return;
    };
    let row = &stored.row;
    let distrusted = slot.distrusted;
    let shown = slot
        .shown
        .filter(|_| !distrusted)
        .and_then(|(version, _)| slot.ring.get(version))
        .map(|shown| &shown.row);
    let (new, old) = {
        let sets = &world.resource::<Rows>().sets;
        let old = slot
            .shown
            .map_or_else(Vec::new, |(_, set)| sets.components(set).to_vec());
        (sets.components(row.set).to_vec(), old)
    };
    let is_told = |component: &u16| part.speaks_for(&registry, *component);
    let is_in = |set: &[u16], component: &u16| set.binary_search(component).is_ok();
    let gone = old.iter().filter(|old| is_told(old) && !is_in(&new, old));
    let gone: Vec<u16> = gone.copied().collect();
    let has = |component: &u16| {
        let id = registry.component(*component).component_id;
        world.get_entity(entity).is_ok_and(|it| it.contains_id(id))
    };
    if let Some(by) = by
        && !(gone.is_empty() && new.iter().all(has))
    {
        let stays: Vec<u16> = new.iter().filter(|new| has(new)).copied().collect();
        let comes = new.iter().enumerate().filter(|(at, new)| {
            let erased = &registry.component(**new).erased;
            !has(new) && is_told(new) && erased.check(row.value(*at)).is_ok()
        });
        let comes: Vec<u16> = comes.map(|(_, new)| *new).collect();
        let mut then = [&stays[..], &comes].concat();
        then.sort_unstable();
        let sets = &mut world.resource_mut::<Rows>().sets;
        if ![&stays, &gone, &comes, &then]
            .iter()
            .all(|set| sets.intern_invented(set, by).is_some())
        {
            counters.refused += 1;
            return;
        }
    }
    slot.distrusted = false;
    if by.is_some() && slot.shown.is_none() {
        // Of what was told before, nothing is known. What is told still will wait again.
        let all = registry.components().iter().enumerate();
        all.filter(|(component, _)| part.speaks_for(&registry, *component as u16))
            .for_each(|(_, registered)| registered.erased.wait_no_more(world, entity));
    }
    let mut arrivals = Arrivals::default();
    registry.remove_all(world, entity, &gone);
    for (at, &component) in new.iter().enumerate() {
        let value = row.value(at);
        let same = shown.is_some_and(|shown| {
            old.binary_search(&component)
                .is_ok_and(|at| shown.value(at) == value)
        });
        let registered = registry.component(component);
        let is_new = !same
            && old.binary_search(&component).is_err()
            && world
                .get_entity(entity)
                .is_ok_and(|entity| !entity.contains_id(registered.component_id));
        // A holder is told of what was hidden from it so far, too.
        let is_news = is_new && matches!(part, Part::HostWrites(_));
        if same || !(part.speaks_for(&registry, component) || is_news) {
            continue;
        }
        let erased = &registered.erased;
        // Nothing changes to what it is.
        if shown.is_none() && !is_new && registry.is_exactly(world, entity, component, value) {
            erased.refer(world, entity, value);
            continue;
        }
        let shown = if is_new {
            let staged = erased.stage(value);
            staged.map(|staged| arrivals.add(world, entity, registered.component_id, staged))
        } else {
            erased.apply(world, entity, value)
        };
        if let Err(error) = shown {
            name_undecodable(world, entity, registered, error);
            counters.undecodable += 1;
        }
    }
    // What comes with them by itself is none of what the writer told, if that is its to tell.
    arrivals.insert_alone(world, &registry, entity, |component| {
        !part.speaks_for(&registry, component) || new.binary_search(&component).is_ok()
    });
    slot.shown = Some((stored.version, row.set));
}

/// Says which component of which entity did not decode.
pub(super) fn name_undecodable(
    world: &mut World,
    entity: Entity,
    registered: &Registered,
    error: WireError,
) {
    let path = &registered.descriptor.path;
    let global = world.get::<NetSlot>(entity).and_then(NetSlot::global);
    // Once a second: a peer can have it said of each value that it sends.
    let clock = world.resource::<NetClock>();
    let second = clock.tick().0 / u32::from(clock.rate());
    if world.resource_mut::<Rows>().warned.replace(second) != Some(second) {
        tracing::warn!(%entity, ?global, path, %error, "a component does not decode");
    }
    if let Some(entity) = global {
        world.resource_mut::<ReplicationStats>().undecodable = Some(UndecodableComponent {
            entity,
            path: path.clone(),
            error,
        });
    }
}

/// Takes off the entity what is replicated, the row's writer speaks for, and is not in the newest
/// row: it was added here, and the host did not take it. `was_ours`: it was not the host's so far, and
/// what hangs on something of ours hangs on it still.
pub(super) fn strip(
    world: &mut World,
    slot: &RemoteSlot,
    entity: Entity,
    (part, was_ours): (Part, bool),
) {
    let Some(stored) = slot.ring.newest() else {
        return;
    };
    let registry = world.resource::<Registry>().clone();
    let Ok(present) = world.get_entity(entity) else {
        return;
    };
    let sets = &world.resource::<Rows>().sets;
    let all = registry.components().iter().enumerate();
    let untold = all.filter(|(component, registered)| {
        present.contains_id(registered.component_id)
            && sets.position(stored.row.set, *component as u16).is_none()
            && part.speaks_for(&registry, *component as u16)
            && !(was_ours && registered.erased.is_local_relation(world, entity))
    });
    let untold: Vec<u16> = untold.map(|(component, _)| component as u16).collect();
    registry.remove_all(world, entity, &untold);
}

/// Takes off the entity what it was lent with, as far as its holder was told of it, and what is not
/// in the first row that the holder wrote. Of what the host added since, the holder need not know.
pub(super) fn take_off(
    world: &mut World,
    slot: &RemoteSlot,
    entity: Entity,
    (lent, hidden): (SetId, SetId),
    part: Part,
) {
    let Some(stored) = slot.ring.newest() else {
        return;
    };
    let registry = world.resource::<Registry>().clone();
    let sets = &world.resource::<Rows>().sets;
    let is_in = |set, component| sets.position(set, component).is_some();
    let lent = sets.components(lent).iter().copied();
    let gone = lent.filter(|&component| {
        !is_in(stored.row.set, component)
            && !is_in(hidden, component)
            && part.speaks_for(&registry, component)
    });
    let is_local = |component: &u16| {
        let erased = &registry.component(*component).erased;
        erased.is_local_relation(world, entity)
    };
    let gone: Vec<u16> = gone.filter(|component| !is_local(component)).collect();
    registry.remove_all(world, entity, &gone);
}

/// Shows the rows of a link that wait for it.
///
/// Per row: a look at where its entity is, a comparison of each value with what is shown; per
/// changed component: one decode, to where the component lies.
pub(super) fn show_waiting(world: &mut World, peer: &mut Peer) {
    let Receiver {
        table, counters, ..
    } = &mut peer.receiver;
    let waiting = table.take_waiting();
    if waiting.is_empty() {
        return table.recycle_waiting(waiting);
    }
    debug_assert_eq!(peer.side, LinkSide::ToServer, "a server shows at once");
    let registry = world.resource::<Registry>().clone();
    let mut missed = Missed::default();
    let mut columns = Columns::of(world, &registry);
    for &place in &waiting {
        show_in_place(&mut columns, table.at_mut(place), place, &mut missed);
    }
    let mut failed = |world: &mut World, entity, component, error| {
        name_undecodable(world, entity, registry.component(component), error);
        counters.undecodable += 1;
    };
    for (entity, component, error) in missed.failed {
        failed(world, entity, component, error);
    }
    for (entity, place, (at, component)) in missed.values {
        let stored = table.at(place).ring.newest();
        let value = stored.expect("it was compared above").row.value(at);
        let erased = &registry.component(component).erased;
        if let Err(error) = erased.apply(world, entity, value) {
            failed(world, entity, component, error);
        }
    }
    for place in missed.rows {
        let slot = table.at_mut(place);
        if let Some(entity) = slot.entity {
            show(world, slot, entity, (Part::All, None), counters);
        }
    }
    table.recycle_waiting(waiting);
}

/// What could not be shown by overwriting components where they lie.
#[derive(Default)]
struct Missed {
    /// Values that do not decode.
    failed: Vec<(Entity, u16, WireError)>,
    /// Components of rows, and where they stand.
    values: Vec<(Entity, u32, (usize, u16))>,
    /// Rows of other components than what is shown.
    rows: Vec<u32>,
}

/// Overwrites components that differ from what is shown.
#[inline]
fn show_in_place(
    columns: &mut Columns<'_>,
    slot: &mut RemoteSlot,
    place: u32,
    missed: &mut Missed,
) {
    let (Some(entity), Some(newest)) = (slot.entity, slot.ring.newest()) else {
        return;
    };
    let shown = slot.shown.and_then(|(version, _)| slot.ring.get(version));
    let is_known = |shown: &&Stored| shown.row.set == newest.row.set && !slot.distrusted;
    let Some(shown) = shown.filter(is_known) else {
        return missed.rows.push(place);
    };
    if shown.version == newest.version {
        return;
    }
    let sets = columns.sets();
    let mut lies = columns.at(entity);
    let (was, is) = (shown.row.values(), newest.row.values());
    let components = sets.components(newest.row.set).iter().enumerate();
    let mut change = |at: usize, component: u16, value: &[u8]| match lies
        .as_mut()
        .map(|lies| lies.put(component, value))
    {
        Some(Ok(true)) => {}
        Some(Err(error)) => missed.failed.push((entity, component, error)),
        Some(Ok(false)) | None => missed.values.push((entity, place, (at, component))),
    };
    if let Some(beside) = was.beside(is) {
        for ((at, &component), (was, is)) in components.zip(beside) {
            if !same(was, is) {
                change(at, component, is);
            }
        }
    } else {
        for (at, &component) in components.filter(|&(at, _)| was.at(at) != is.at(at)) {
            change(at, component, is.at(at));
        }
    }
    slot.shown = Some((newest.version, newest.row.set));
}
