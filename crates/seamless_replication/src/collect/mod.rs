//! Collect: what changed since the last tick, once for all clients.
//!
//! Cost per tick: one comparison per replicated component of every entity in a slot, over
//! contiguous change ticks; one row value per component that was written to; one row per entity
//! that really changed. An entity that nobody wrote costs its comparisons and nothing else.
//!
//! Entities with a replicated component in sparse storage have their ticks apart from each other:
//! they cost a lookup for each of their components in every tick, changed or not.
//!
//! A value that is written but comes out the same is no change. What we received and did not
//! touch comes out the same, so nothing echoes.

mod archetypes;
mod scan;
mod table;
mod window;

use std::sync::{Mutex, PoisonError};

use bevy::{
    ecs::{
        change_detection::{CheckChangeTicks, Tick as ChangeTick},
        component::Mutable,
        world::DeferredWorld,
    },
    prelude::*,
};

use crate::{
    interest::Positions,
    plugin::ReplicationConfig,
    references::References,
    registry::Registry,
    rows::{RowBuilder, Rows},
    slots::{self, NetSlot, Role, Slot, Slots},
    stats::ReplicationStats,
    threads,
};

pub(crate) use archetypes::ReplicatedArchetypes;

/// What the collect system keeps from tick to tick.
#[derive(Resource, Default)]
pub(crate) struct Collector {
    archetypes: ReplicatedArchetypes,
    last_run: ChangeTick,
    builder: RowBuilder,
    /// One for each thread.
    shares: Vec<table::Share>,
    /// Who we were when they found what they did.
    me: Option<seamless_wire::PeerId>,
    /// Slots that lost a component, or got or lost one that a condition names.
    removed: Vec<u32>,
    /// Slots of which no row could be made, because a value cannot be encoded.
    unmade: Vec<u32>,
}

/// Whether we keep rows of the entity: we host it, show it to others, or hold it.
pub(crate) fn keeps_rows(slot: &Slot, me: Option<seamless_wire::PeerId>) -> bool {
    slot.global().is_some()
        && (slot.role() == Role::Host
            || slot.public
            || me.is_some_and(|me| slot.tenure.holder == seamless_wire::Holder::Peer(me)))
}

/// Whether a peer lent us the entity.
pub(crate) fn holds(slot: &Slot, me: Option<seamless_wire::PeerId>) -> bool {
    slot.role() != Role::Host
        && me.is_some_and(|me| slot.tenure.holder == seamless_wire::Holder::Peer(me))
}

/// An entity gets or loses a component that a condition names.
pub(crate) fn touch<E: EntityEvent>(event: On<E>, world: DeferredWorld) {
    look_again(world, event.event_target());
}

/// A registered component is being removed. Change ticks do not show that.
pub(crate) fn on_remove<C: Component>(event: On<Remove, C>, world: DeferredWorld) {
    look_again(world, event.entity);
}

/// No query: whatever hides entities from those, this one is on the network.
fn look_again(mut world: DeferredWorld, entity: Entity) {
    let Some(index) = world.get::<NetSlot>(entity).map(|slot| slot.index) else {
        return;
    };
    if let Some(mut collector) = world.get_resource_mut::<Collector>() {
        collector.removed.push(index);
    }
}

/// Keeps our own change tick within the range that comparisons understand.
pub(crate) fn clamp_ticks(check: On<CheckChangeTicks>, mut collector: ResMut<Collector>) {
    collector.last_run.check_tick(*check);
}

/// Brings [`Rows`] up to date with the world.
pub(crate) fn collect(world: &mut World) {
    if world.resource::<Slots>().can_name() {
        slots::name_waiting(world);
    }
    let this_run = world.increment_change_tick();
    let mut desk = Desk {
        collector: take(world),
        rows: take(world),
        positions: take(world),
        world,
    };
    run(&mut desk, this_run);
}

/// What is worked with beside the world. It is put back at the end, whatever happens.
///
/// Bevy's own scopes take the resources themselves away, which moves an entity to another archetype and
/// back for each: 3 % of our time where all rests.
struct Desk<'w> {
    world: &'w mut World,
    collector: Collector,
    rows: Rows,
    positions: Positions,
}

impl Drop for Desk<'_> {
    fn drop(&mut self) {
        put_back(self.world, &mut self.collector);
        put_back(self.world, &mut self.rows);
        put_back(self.world, &mut self.positions);
    }
}

fn take<R: Resource<Mutability = Mutable> + Default>(world: &mut World) -> R {
    std::mem::take(&mut *world.resource_mut())
}

fn put_back<R: Resource<Mutability = Mutable>>(world: &mut World, taken: &mut R) {
    std::mem::swap(&mut *world.resource_mut(), taken);
}

/// If something that others refer to has got a name in one of these slots, all rows that refer to
/// anything are made anew. A look at each row then.
fn refer_anew(world: &mut World, registry: &Registry, rows: &Rows, forced: &mut Vec<u32>) {
    if forced.is_empty() || !world.resource_mut::<References>().has_nameless() {
        return;
    }
    let slots = world.resource::<Slots>();
    let here = forced.iter().filter_map(|slot| slots.get(*slot));
    let named = here.filter(|slot| slot.global().is_some());
    let named: Vec<Entity> = named.map(|slot| slot.entity).collect();
    if !world.resource_mut::<References>().any_named(&named) {
        return;
    }
    let slots = world.resource::<Slots>();
    let refers = |component: &u16| registry.component(*component).refers;
    let referrers = slots.iter().map(|(index, _)| index).filter(|&index| {
        let newest = rows.newest(index);
        newest.is_some_and(|(_, row)| rows.sets.components(row.set).iter().any(refers))
    });
    forced.extend(referrers);
}

/// Of slots whose row could not be made because a value could not be encoded: those that changed since
/// are made anew, all of it. A look at each component of each.
fn try_again(
    world: &World,
    unmade: &mut Vec<u32>,
    (last_run, this_run): (ChangeTick, ChangeTick),
    forced: &mut Vec<u32>,
) {
    let slots = world.resource::<Slots>();
    unmade.retain(|&index| {
        let entity = slots.get(index).map(|slot| slot.entity);
        let Some(entity) = entity.and_then(|entity| world.get_entity(entity).ok()) else {
            return false;
        };
        let mut components = entity.archetype().components().iter();
        let is_newer = components.any(|&id| {
            let ticks = entity.get_change_ticks_by_id(id);
            ticks.is_some_and(|ticks| ticks.is_changed(last_run, this_run))
        });
        if is_newer {
            forced.push(index);
        }
        !is_newer
    });
}

fn run(desk: &mut Desk<'_>, this_run: ChangeTick) {
    let Desk {
        world,
        collector,
        rows,
        positions,
    } = desk;
    let busy = rows.changed.len();
    rows.begin(world.resource::<crate::clock::NetClock>().tick());
    let me = world.resource::<crate::peer::Peers>().as_client();
    rows.all_pinned = me.is_some();
    let mut forced = std::mem::take(&mut world.resource_mut::<Slots>().touched);
    forced.append(&mut collector.removed);
    let window = (collector.last_run, this_run);
    try_again(world, &mut collector.unmade, window, &mut forced);
    let registry = world.resource::<Registry>().clone();
    refer_anew(world, &registry, rows, &mut forced);
    forced.sort_unstable();
    forced.dedup();

    collector
        .archetypes
        .update(world, &registry, &mut rows.sets, positions.accessor());
    let pass = scan::Pass {
        world,
        registry: &registry,
        slots: world.resource::<Slots>(),
        last_run: collector.last_run,
        this_run,
        me,
        unmade: Mutex::default(),
    };
    if collector.me != me {
        collector.me = me;
        collector.shares.iter_mut().for_each(table::Share::forget);
    }
    // As much as in the last tick, probably.
    let least = world.resource::<ReplicationConfig>().parallel_rows;
    let threads = threads::worth(busy, least);
    if collector.shares.len() < threads {
        collector.shares.resize_with(threads, table::Share::default);
    }
    let mut failed = 0;
    // First those that are made anew, fence and all: the rows of the others then have theirs.
    for &slot in &forced {
        failed += pass.forced(slot, rows, &mut collector.builder);
    }
    // Without any row, nothing is ours to tell of: what becomes ours is made anew first.
    if !rows.is_empty() {
        for table in collector.archetypes.tables() {
            let shared = collector.archetypes.is_shared(table.table);
            failed += pass.table(table, rows, &mut collector.shares[..threads], shared);
        }
        for &archetype in collector.archetypes.mixed() {
            failed += pass.mixed(archetype, rows, &mut collector.builder);
        }
    }
    rows.told_anew.clear();
    // Where things are matters to those who choose what others see.
    if me.is_none()
        && let Some(accessor) = positions.take_accessor()
    {
        for table in collector.archetypes.tables() {
            pass.positions(table, &accessor, positions);
        }
        for archetype in collector.archetypes.placed() {
            pass.mixed_positions(archetype, &accessor, positions);
        }
        for &slot in &forced {
            pass.position_of(slot, &accessor, positions);
        }
        positions.set_accessor(accessor);
    }
    let unmade = pass.unmade.into_inner();
    let unmade = unmade.unwrap_or_else(PoisonError::into_inner);
    collector.unmade.extend(unmade);
    collector.unmade.sort_unstable();
    collector.unmade.dedup();
    collector.last_run = this_run;
    rows.changed.sort_unstable();
    rows.changed.dedup();
    if failed > 0 {
        world.resource_mut::<ReplicationStats>().unencodable += failed;
    }
}
