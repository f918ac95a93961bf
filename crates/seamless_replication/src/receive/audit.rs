//! What we should have, according to the peer, and what we have.
//!
//! The peer names entities with the version that we acknowledged and a hash of its row. A row that
//! is not the one it should be is asked for ([`Control::Resend`]) and forgotten, so that whatever
//! comes is told against nothing. A row that is right is compared with what the world shows. What
//! differs there for a second, unchanged, is put right from the row; nothing is asked for then.

use bevy::prelude::*;
use seamless_wire::{
    Allocator, Tick, WireId,
    audit::{Audited, RowHash},
    control::Control,
    record::Version,
};

use super::apply::reapply;
use crate::{
    clock::NetClock,
    peer::Peer,
    plugin::ReplicationConfig,
    registry::Registry,
    rows::{Row, Rows, hash_of},
    slots::{Role, Slots},
};

/// Most entities that wait to be compared; those of a few datagrams.
const MAX_PENDING: usize = 1024;

/// Most entities that are watched because they differ.
const MAX_SUSPECTS: usize = 256;

/// Rows that are asked for within [`WINDOW`] at most.
const MAX_ASKED: u32 = 64;

/// Ticks after which what we asked for is forgotten.
const WINDOW: u32 = 300;

/// What is compared on one link.
#[derive(Default)]
pub(crate) struct AuditIn {
    /// What the peer named since rows were shown last, and when.
    pending: Vec<(Tick, Audited)>,
    suspects: Vec<Suspect>,
    /// Components whose values differ although they were just written: their encoding is not
    /// stable. They are not compared any more.
    unstable: Vec<u16>,
    asked: u32,
    window: Tick,
    pub(crate) counters: AuditSeen,
}

/// Bytes of rows after which no more are compared in a frame: a peer could name its largest again and
/// again.
const MAX_COMPARED: usize = 256 << 10;

/// Counted since the link stands.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct AuditSeen {
    /// Entities compared.
    pub(crate) compared: u64,
    /// Rows that were not what they should be.
    pub(crate) differing: u64,
    /// Entities put right from their rows.
    pub(crate) healed: u64,
}

/// An entity that shows something else than it should.
struct Suspect {
    index: u32,
    version: Version,
    /// A hash of what it shows.
    live: u16,
    since: Tick,
}

impl AuditIn {
    /// Takes what a datagram named, as of `tick`.
    pub(super) fn take(&mut self, tick: Tick, entities: Vec<Audited>) {
        let room = MAX_PENDING.saturating_sub(self.pending.len());
        let entities = entities.into_iter().take(room);
        self.pending.extend(entities.map(|entity| (tick, entity)));
    }

    fn suspect(&mut self, found: Suspect) {
        let room = self.suspects.len() < MAX_SUSPECTS;
        match self.suspects.iter_mut().find(|s| s.index == found.index) {
            Some(known) if (known.version, known.live) == (found.version, found.live) => {}
            Some(known) => *known = found,
            None if room => self.suspects.push(found),
            None => {}
        }
    }
}

/// Compares what a link's peer named, after all rows are shown.
///
/// Cost: for each entity one hash of its row, and one encoding of each of its components.
pub(super) fn compare(world: &mut World, peer: &mut Peer) {
    let audit = &mut peer.receiver.audit;
    if audit.pending.is_empty() && audit.suspects.is_empty() {
        return;
    }
    let clock = world.resource::<NetClock>();
    let (now, second) = (clock.due(), u32::from(clock.rate()));
    let mut pending = std::mem::take(&mut audit.pending);
    let mut left = MAX_COMPARED;
    for (tick, entity) in pending.drain(..) {
        let slot = peer.receiver.table.get(Allocator::Peer, entity.index);
        let newest = slot.and_then(|slot| slot.ring.newest());
        let bytes = newest.map_or(0, |newest| newest.row.byte_len());
        compare_row(world, peer, (now, tick), entity);
        // Its turn comes again.
        left = left.saturating_sub(bytes);
        if left == 0 {
            break;
        }
    }
    peer.receiver.audit.pending = pending;
    let mut suspects = std::mem::take(&mut peer.receiver.audit.suspects);
    suspects.retain_mut(|suspect| {
        if now.since(suspect.since) < second {
            return true;
        }
        match difference(world, peer, (suspect.index, suspect.version)) {
            Some(live) if live == suspect.live => {
                heal(world, peer, suspect.index);
                false
            }
            Some(live) => {
                // The game is at work on it.
                suspect.live = live;
                suspect.since = now;
                true
            }
            None => false,
        }
    });
    peer.receiver.audit.suspects = suspects;
}

fn compare_row(world: &World, peer: &mut Peer, (now, tick): (Tick, Tick), entity: Audited) {
    let (index, version) = (entity.index, entity.version);
    let receiver = &mut peer.receiver;
    receiver.audit.counters.compared += 1;
    if receiver.table.redirect(Allocator::Peer, index).is_some() {
        // We host it since, and the peer had not heard of that.
        return;
    }
    if let Some(slot) = receiver.table.get(Allocator::Peer, index) {
        if slot.held || slot.newest.is_some_and(|newest| tick < newest) {
            // It says something of what was.
            return;
        }
        let is_older = |newest: Version| newest.is_newer_than(version);
        match slot.ring.get(version).filter(|_| slot.live) {
            None if slot.live && slot.ring.newest().is_some_and(|n| is_older(n.version)) => return,
            Some(kept) if hash_of(sets(world), &kept.row, kept.row.set) == entity.hash => {
                return compare_world(world, peer, now, entity);
            }
            _ => {}
        }
    }
    receiver.audit.counters.differing += 1;
    ask(peer, now, entity);
}

fn sets(world: &World) -> &crate::rows::ComponentSets {
    &world.resource::<Rows>().sets
}

/// Asks for an entity that is not kept as it should be, and forgets what is kept.
fn ask(peer: &mut Peer, now: Tick, entity: Audited) {
    let audit = &mut peer.receiver.audit;
    if now.since(audit.window) > WINDOW {
        audit.window = now;
        audit.asked = 0;
    }
    if audit.asked >= MAX_ASKED {
        return;
    }
    audit.asked += 1;
    let (index, version) = (entity.index, entity.version.0);
    tracing::warn!(link = %peer.link, index, version, "a row is not what its sender says");
    let item = Control::Resend { index, version };
    match peer.send_control(&item) {
        Ok(()) => peer.receiver.table.distrust(Allocator::Peer, index),
        Err(error) => tracing::warn!(%error, "a row cannot be asked for"),
    }
}

fn compare_world(world: &World, peer: &mut Peer, now: Tick, entity: Audited) {
    if !world.resource::<ReplicationConfig>().audit_world {
        return;
    }
    let (index, version) = (entity.index, entity.version);
    let found = difference(world, peer, (index, version));
    let audit = &mut peer.receiver.audit;
    match found {
        Some(live) => audit.suspect(Suspect {
            index,
            version,
            live,
            since: now,
        }),
        None => audit.suspects.retain(|suspect| suspect.index != index),
    }
}

/// A hash of what an entity shows, if that is not its newest row, and if that is `version`.
fn difference(world: &World, peer: &Peer, (index, version): (u32, Version)) -> Option<u16> {
    let slot = peer.receiver.table.get(Allocator::Peer, index)?;
    let row = slot.ring.newest().filter(|kept| kept.version == version)?;
    if slot.held || !slot.live {
        return None;
    }
    let slots = world.resource::<Slots>();
    let Some(local) = slots.index_of(slot.global()?) else {
        // It is not here at all.
        return Some(0);
    };
    let told = slots.get(local)?;
    let source = Some(peer.link);
    if told.role() != (Role::Remote { source }) {
        return None;
    }
    let mut hash = RowHash::default();
    let mut any = false;
    let unstable = &peer.receiver.audit.unstable;
    each_difference(world, told.entity, &row.row, unstable, |component, live| {
        any = true;
        hash.component(component, live);
    });
    any.then(|| hash.finish())
}

/// Gives each component that is not as the row says, with the row value of what is shown.
#[expect(
    unsafe_code,
    reason = "components are read by id, as the registry knows them"
)]
fn each_difference(
    world: &World,
    entity: Entity,
    row: &Row,
    unstable: &[u16],
    mut found: impl FnMut(u16, &[u8]),
) {
    let Ok(present) = world.get_entity(entity) else {
        return;
    };
    let registry = world.resource::<Registry>();
    let mut live = Vec::new();
    for (at, &component) in sets(world).components(row.set).iter().enumerate() {
        let registered = registry.component(component);
        if registered.unaudited || unstable.contains(&component) {
            continue;
        }
        let ptr = present.get_by_id(registered.component_id).ok();
        let (here, value) = ((world, entity), row.value(at));
        // SAFETY: `ptr` was read under the id that the codec was registered for.
        if unsafe { registered.erased.differs(ptr, here, value, &mut live) } {
            found(component, &live);
        }
    }
}

/// Puts an entity right from its newest row.
fn heal(world: &mut World, peer: &mut Peer, index: u32) {
    let Some(slot) = peer.receiver.table.get(Allocator::Peer, index) else {
        return;
    };
    let (Some(global), Some(kept)) = (slot.global(), slot.ring.newest()) else {
        return;
    };
    let (row, generation) = (kept.row.clone(), slot.generation);
    peer.receiver.audit.counters.healed += 1;
    let Some(entity) = world.resource::<Slots>().entity(global) else {
        tracing::warn!(link = %peer.link, %global, "an entity was gone and comes back");
        let name = WireId {
            allocator: Allocator::Peer,
            index,
            generation,
        };
        return reapply(world, peer, name);
    };
    let mut wrong = Vec::new();
    let unstable = std::mem::take(&mut peer.receiver.audit.unstable);
    each_difference(world, entity, &row, &unstable, |component, _| {
        wrong.push(component);
    });
    let registry = world.resource::<Registry>().clone();
    for &component in &wrong {
        let Some(at) = sets(world).position(row.set, component) else {
            continue;
        };
        let registered = registry.component(component);
        let path = &registered.descriptor.path;
        tracing::warn!(link = %peer.link, %global, path, "a component was not as told; put right");
        if let Err(error) = registered.erased.apply(world, entity, row.value(at)) {
            tracing::warn!(%global, path, %error, "a component does not decode");
        }
    }
    let audit = &mut peer.receiver.audit;
    audit.unstable = unstable;
    let mut still = Vec::new();
    each_difference(world, entity, &row, &audit.unstable, |component, _| {
        still.push(component);
    });
    for component in still {
        let registered = registry.component(component);
        let shows = world.get_entity(entity).is_ok_and(|entity| {
            let id = registered.component_id;
            entity.contains_id(id)
        });
        if registered.refers && !shows {
            // It must not be put there for now.
            continue;
        }
        let path = &registry.component(component).descriptor.path;
        tracing::warn!(path, "its encoding is another one every time; not audited");
        audit.unstable.push(component);
    }
}
