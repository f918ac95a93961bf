//! Rows to the world: who may write, what is newest, what changed.

use bevy::prelude::*;
use seamless_transport::LinkSide;
use seamless_wire::{
    Allocator, GlobalEntity, Holder, Tenure, Tick, WireId, control::Control, record::LeaveReason,
};

use super::{
    ParsedRow,
    arrive::arrive,
    leave::end_remote,
    show::{Part, show, strip, take_off},
};
use crate::{
    authority::{Authority, Remote},
    clock::NetClock,
    peer::{Peer, Peers},
    plugin::{Limits, ReplicationConfig},
    prespawn,
    references::References,
    registry::Registry,
    rows::{Fence, Rows},
    slots::{NetSlot, Role, Slot, Slots},
};

/// What became of a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Outcome {
    /// Kept as a baseline, and applied if it was the newest.
    Kept,
    /// Not kept: the datagram must not be acknowledged.
    NotKept,
}

/// Takes one record. False if its datagram must not be acknowledged.
pub(super) fn take_row(
    world: &mut World,
    peer: &mut Peer,
    mut parsed: ParsedRow<'_>,
    limits: Limits,
) -> bool {
    peer.receiver.counters.records += 1;
    let mut as_host = false;
    if let Some(&redirect) = peer.receiver.table.redirect(parsed.allocator, parsed.index) {
        let generation = parsed.generation.unwrap_or(redirect.generation);
        let ahead = generation.wrapping_sub(redirect.generation) as i32;
        if ahead < 0 {
            // Of what had the slot before the one that migrated.
            peer.receiver.counters.stale += 1;
            return true;
        }
        if ahead > 0 {
            // The client uses the slot for another entity by now.
            peer.receiver.table.drop_redirect(parsed.index);
        } else {
            parsed.allocator = Allocator::Local;
            parsed.index = redirect.slot;
            parsed.generation = Some(redirect.slot_generation);
            // Written while the client was still the host. It has heard of it since, or does not want to.
            let now = world.resource::<NetClock>().due();
            as_host = !redirect.confirmed && now <= redirect.host_until;
        }
    }
    let outcome = match (parsed.allocator, peer.side) {
        (Allocator::Local, LinkSide::ToClient) => holder_row(world, peer, parsed, as_host, limits),
        (Allocator::Peer, _) => peers_row(world, peer, parsed, limits),
        // A server never uses the names that its client gave.
        (Allocator::Local, LinkSide::ToServer) => {
            peer.receiver.counters.fenced += 1;
            Outcome::NotKept
        }
    };
    outcome == Outcome::Kept
}

/// A record under one of the peer's own names: an entity that it hosts, or hosted when it wrote.
fn peers_row(world: &mut World, peer: &mut Peer, parsed: ParsedRow<'_>, limits: Limits) -> Outcome {
    if peer.side == LinkSide::ToClient {
        let sets = &world.resource::<Rows>().sets;
        let components = sets.components(parsed.row.set);
        if world.resource::<Registry>().any_resource(components) {
            // It would take the place of our own.
            peer.receiver.counters.fenced += 1;
            return Outcome::NotKept;
        }
    }
    if !has_room(peer, &parsed, limits) {
        return Outcome::NotKept;
    }
    let (allocator, index, tick) = (parsed.allocator, parsed.index, parsed.tick);
    let receiver = &mut peer.receiver;
    let Some(slot) = receiver.table.get(allocator, index) else {
        return Outcome::NotKept;
    };
    if let Some(generation) = parsed.generation.filter(|_| slot.newest.is_some()) {
        let ahead = generation.wrapping_sub(slot.generation) as i32;
        if ahead < 0 {
            // Of an earlier life; its sender has moved on and does not need it kept.
            receiver.counters.stale += 1;
            return Outcome::Kept;
        }
        if ahead > 0 {
            // The newer life implies the end of the older one.
            let ended = receiver.table.end_life(allocator, index);
            receiver.table.begin_life(allocator, index);
            if let Some(entity) = ended {
                end_remote(world, peer.link, entity, LeaveReason::Despawned);
            }
        }
    }
    let receiver = &mut peer.receiver;
    if parsed.generation.is_some() {
        receiver.table.set_global(allocator, index, parsed.global);
    }
    let Some(slot) = receiver.table.get_mut(allocator, index) else {
        return Outcome::NotKept;
    };
    if let Some(generation) = parsed.generation {
        slot.generation = generation;
    }
    let newest = slot.newest.is_none_or(|newest| tick > newest);
    if newest {
        slot.newest = Some(tick);
        slot.live = true;
    } else {
        receiver.counters.stale += 1;
    }
    if !receiver.table.make_way(&parsed, newest) || !receiver.table.keep(&parsed) {
        return Outcome::NotKept;
    }
    if newest {
        apply_newest(world, peer, allocator, index)
    } else {
        Outcome::Kept
    }
}

/// Most entities of which one peer is told that it may not write them.
const MAX_REFUSED: usize = 1024;

/// Tells a writer once that it may not.
fn refuse(peer: &mut Peer, entity: GlobalEntity, hosted: bool) {
    let refused = &mut peer.receiver.refused;
    if peer.side == LinkSide::ToServer || refused.len() >= MAX_REFUSED || !refused.insert(entity) {
        return;
    }
    if let Err(error) = peer.send_control(&Control::WriteRefused { entity, hosted }) {
        tracing::debug!(%entity, %error, "a writer is not told that it may not");
    }
}

/// Whether the record may be kept without passing a bound; makes room for its name.
fn has_room(peer: &mut Peer, parsed: &ParsedRow<'_>, limits: Limits) -> bool {
    let table = &mut peer.receiver.table;
    let room = table.make_room(parsed.row, limits.baseline_bytes)
        && table
            .entry(parsed.allocator, parsed.index, limits.entities)
            .is_some();
    if !room {
        peer.receiver.counters.refused += 1;
    }
    room
}

/// Brings the world to the newest row kept under a name, if that is the entity's newest.
fn apply_newest(world: &mut World, peer: &mut Peer, allocator: Allocator, index: u32) -> Outcome {
    let Some(slot) = peer.receiver.table.get(allocator, index) else {
        return Outcome::NotKept;
    };
    let (Some(global), Some(tick)) = (slot.global(), slot.newest) else {
        return Outcome::NotKept;
    };
    let Some(stored) = slot.ring.newest() else {
        return Outcome::Kept;
    };
    let tenure = *stored.row.fence;
    let name = WireId {
        allocator,
        index,
        generation: slot.generation,
    };

    let slots = world.resource::<Slots>();
    let local = slots.index_of(global);
    let fresh = local.is_none();
    if fresh && arrive(world, peer, (allocator, index), global) {
        return Outcome::Kept;
    }
    let slots = world.resource::<Slots>();
    // Whether another link has told of it so far.
    let source = Some(peer.link);
    let takes_over = local
        .and_then(|local| slots.get(local))
        .is_some_and(|slot| slot.role() != (Role::Remote { source }));
    // Whether we hold it already, in the tenure that the row tells of.
    let held_on = local
        .and_then(|local| slots.get(local))
        .is_some_and(|slot| {
            (slot.tenure.holder, slot.tenure.since) == (tenure.holder, tenure.since)
        });
    // The fence is shown last: who hears that it is ours may write at once, over what it has now.
    let (entity, to_mark) = match local {
        None => match spawn(world, peer, global, tenure, name) {
            Arrival::Here(entity, to_mark) => (entity, to_mark),
            Arrival::NoRoom => return Outcome::NotKept,
            Arrival::TurnedAway => {
                peer.receiver.counters.fenced += 1;
                refuse(peer, global, false);
                if let Some(slot) = peer.receiver.table.get_mut(allocator, index) {
                    slot.entity = None;
                    slot.shown = None;
                }
                // The row itself is none the worse for it: nothing need be told again.
                return Outcome::Kept;
            }
        },
        Some(local) => match may_apply(world, peer, local, tenure, tick, name) {
            Verdict::Apply(entity, to_mark) => (entity, to_mark),
            Verdict::Later => return Outcome::Kept,
            Verdict::Fenced => {
                peer.receiver.counters.fenced += 1;
                let slot = world.resource::<Slots>().get(local);
                let hosted = slot.is_some_and(|slot| slot.role() == Role::Host);
                refuse(peer, global, hosted);
                return Outcome::NotKept;
            }
        },
    };
    let holder_me = peer.side == LinkSide::ToServer
        && peer.id.is_some_and(|me| tenure.holder == Holder::Peer(me));
    let Some(slot) = peer.receiver.table.get_mut(allocator, index) else {
        return Outcome::NotKept;
    };
    // What we hold is ours to write, once we have it as it was lent to us.
    let part = if holder_me && !fresh && held_on {
        Part::HostWrites(tenure.writes)
    } else {
        Part::All
    };
    if std::mem::replace(&mut slot.held, holder_me) && part == Part::All {
        // What we wrote while we held it is not what this row was compared with.
        slot.shown = None;
        strip(world, slot, entity, (part, false));
    }
    if slot.entity != Some(entity) || takes_over {
        slot.entity = Some(entity);
        slot.shown = None;
        if !fresh {
            // The world shows what was told otherwise, of which this row knows nothing.
            strip(world, slot, entity, (part, true));
        }
    }
    let by = peer.id.filter(|_| peer.side == LinkSide::ToClient);
    show(world, slot, entity, (part, by), &mut peer.receiver.counters);
    if let Some((tenure, was_marked)) = to_mark {
        mark_authority(world, entity, &tenure, was_marked);
    }
    if part == Part::All && !holder_me {
        let slots = world.resource::<Slots>();
        let local = slots.index_of(global);
        slot.checked = local.and_then(|local| slots.stamp_of(local));
    }
    Outcome::Kept
}

/// Applies what a link told of an entity before we were ready for it, for example before a
/// migration. The newest row is then compared against nothing.
pub(crate) fn reapply(world: &mut World, peer: &mut Peer, name: WireId) {
    if let Some(slot) = peer.receiver.table.get_mut(name.allocator, name.index) {
        slot.shown = None;
        apply_newest(world, peer, name.allocator, name.index);
    }
}

/// As [`reapply`], and what the link did not tell of goes, as far as it is the link's to tell of it.
pub(crate) fn restore(world: &mut World, peer: &mut Peer, name: WireId) {
    reapply(world, peer, name);
    let held = peer.id.filter(|_| peer.side == LinkSide::ToServer);
    let Some(slot) = peer.receiver.table.get_mut(name.allocator, name.index) else {
        return;
    };
    if let (Some(entity), Some(stored)) = (slot.entity, slot.ring.newest()) {
        let tenure = *stored.row.fence;
        let part = match held {
            Some(me) if tenure.holder == Holder::Peer(me) => Part::HostWrites(tenure.writes),
            _ => Part::All,
        };
        strip(world, slot, entity, (part, false));
    }
}

enum Verdict {
    /// With the fence that is to be shown, and whether one was so far, if it is another.
    Apply(Entity, Option<(Tenure, bool)>),
    /// Keep it; it may count later.
    Later,
    Fenced,
}

/// Whether a record of `peer` about an entity that is here already may change it.
fn may_apply(
    world: &mut World,
    peer: &Peer,
    local: u32,
    tenure: Tenure,
    tick: Tick,
    name: WireId,
) -> Verdict {
    let link = peer.link;
    let mut slots = world.resource_mut::<Slots>();
    let Some(slot) = slots.get_mut(local) else {
        return Verdict::Later;
    };
    let entity = slot.entity;
    match (slot.role(), peer.side) {
        // The server took it over and we have not heard so yet.
        (Role::Host, LinkSide::ToServer) => Verdict::Later,
        // A client that takes another's name.
        (Role::Host, LinkSide::ToClient) => Verdict::Fenced,
        (Role::Remote { source }, LinkSide::ToClient) => {
            if source != Some(link) {
                // It came again before the end of its former link was noticed.
                let is_its = slot.owner.is_some() && slot.owner == peer.id;
                if !is_its {
                    return Verdict::Fenced;
                }
                slot.remote_name = Some(name);
                slots.set_role(local, Role::Remote { source: Some(link) });
                slots.rerouted.push(local);
            }
            let Some(slot) = slots.get_mut(local) else {
                return Verdict::Later;
            };
            slot.newest = tick;
            Verdict::Apply(entity, None)
        }
        (Role::Remote { source }, LinkSide::ToServer) => {
            if !slot.tenure.admits_host(tenure.epoch) {
                return Verdict::Later;
            }
            if source != Some(link) {
                let takes_over = source.is_none() || tenure.epoch.term > slot.tenure.epoch.term;
                if !takes_over {
                    return Verdict::Later;
                }
                slots.set_role(local, Role::Remote { source: Some(link) });
            }
            let Some(slot) = slots.get_mut(local) else {
                return Verdict::Later;
            };
            slot.remote_name = Some(name);
            slot.newest = tick;
            let fence_moved = *slot.tenure != tenure;
            let was_marked = slot.tenure.delegated || slot.tenure.holder != Holder::Nobody;
            if fence_moved {
                slot.tenure = Fence::new(&tenure, None);
                slots.touched.push(local);
                slots.rerouted.push(local);
            } else if source != Some(link) {
                slots.rerouted.push(local);
            }
            Verdict::Apply(entity, fence_moved.then_some((tenure, was_marked)))
        }
    }
}

/// Shows the fence of a remote entity, where there is something to show.
fn mark_authority(world: &mut World, entity: Entity, tenure: &Tenure, was_marked: bool) {
    let shown = Authority::shown(tenure);
    let shown = shown.or_else(|| was_marked.then(|| Authority::of(false, tenure)));
    if let Ok(mut entity) = world.get_entity_mut(entity)
        && let Some(authority) = shown
    {
        entity.insert(authority);
    }
}

/// What became of a new entity of a peer.
enum Arrival {
    /// With the fence that is still to be shown.
    Here(Entity, Option<(Tenure, bool)>),
    /// The peer may not have (more of) them.
    NoRoom,
    /// An observer of the game despawned it at once, or took it off the network.
    TurnedAway,
}

/// A new entity of a peer.
fn spawn(
    world: &mut World,
    peer: &mut Peer,
    global: GlobalEntity,
    tenure: Tenure,
    name: WireId,
) -> Arrival {
    let link = peer.link;
    let from_client = peer.side == LinkSide::ToClient;
    if from_client {
        let limit = world.resource::<ReplicationConfig>().client_entities as usize;
        let slots = world.resource::<Slots>();
        let have = peer.id.map_or(0, |owner| slots.owned_by(owner));
        if have >= limit || peer.spectator {
            peer.receiver.counters.refused += 1;
            return Arrival::NoRoom;
        }
        let is_lent = |peers: &Peers| {
            let gone = peers.suspended.iter().map(|gone| &*gone.peer);
            let mut others = peers.iter().chain(gone).filter(|it| it.id != peer.id);
            others.any(|other| other.was_lent(global))
        };
        if world.resource::<Slots>().names.holds(global) || is_lent(world.resource()) {
            // It would take the name away from an entity of ours, or of another client, that is still to
            // come.
            peer.receiver.counters.fenced += 1;
            return Arrival::NoRoom;
        }
    }
    // What a client says of the fence of its own entity is a stamp, not a fact.
    let tenure = if from_client {
        Tenure {
            holder: peer.id.map_or(Holder::Nobody, Holder::Peer),
            ..Tenure::default()
        }
    } else {
        tenure
    };
    let newest = peer
        .receiver
        .table
        .get(name.allocator, name.index)
        .and_then(|slot| slot.newest);
    let reserved = world
        .resource_mut::<References>()
        .claim(global)
        .filter(|entity| {
            // The game may have published it meanwhile.
            let entity = world.get_entity(*entity);
            entity.is_ok_and(|entity| !entity.contains::<NetSlot>())
        });
    let prespawned = prespawn::claim(world, peer, name);
    if let (Some(_), Some(double)) = (reserved, prespawned) {
        // Components refer to the reserved one already.
        world.despawn(double);
    }
    let entity = reserved
        .or(prespawned)
        .filter(|entity| world.get_entity(*entity).is_ok())
        .unwrap_or_else(|| world.spawn_empty().id());
    let mut slot = Slot::remote(entity, global, link);
    slot.tenure = Fence::new(&tenure, None);
    slot.newest = newest.unwrap_or_default();
    slot.owner = if from_client { peer.id } else { None };
    slot.remote_name = Some(name);
    let net_slot = world.resource_mut::<Slots>().occupy(slot);
    world.entity_mut(entity).insert((net_slot, Remote));
    let is_here = |world: &World| world.resource::<Slots>().entity(global) == Some(entity);
    // A client's is nobody's to get, and whatever it comes with, it comes to one archetype.
    if from_client && is_here(world) {
        mark_authority(world, entity, &tenure, false);
    }
    match is_here(world) {
        true => Arrival::Here(entity, (!from_client).then_some((tenure, false))),
        false => Arrival::TurnedAway,
    }
}

/// A record of a holder about an entity that we host. `as_host`: it still hosted it when it wrote.
fn holder_row(
    world: &mut World,
    peer: &mut Peer,
    parsed: ParsedRow<'_>,
    as_host: bool,
    limits: Limits,
) -> Outcome {
    let (index, tick) = (parsed.index, parsed.tick);
    let slots = world.resource::<Slots>();
    // What is told against an earlier row is of the entity that that was of.
    let told = peer.receiver.table.get(Allocator::Local, index);
    let generation = parsed
        .generation
        .or_else(|| told.map(|told| told.generation));
    let Some((global, entity)) = slots
        .get(index)
        .filter(|slot| generation == Some(slot.generation))
        .filter(|slot| {
            slot.role() == Role::Host
                && (peer.sender.sees(index)
                    || slot
                        .migrating()
                        .is_some_and(|migrating| migrating.link == peer.link))
        })
        .and_then(|slot| slot.global().map(|global| (global, slot.entity)))
    else {
        peer.receiver.counters.fenced += 1;
        return Outcome::NotKept;
    };
    let (generation, tenure) = slots
        .get(index)
        .map_or_else(Default::default, |slot| (slot.generation, *slot.tenure));
    let since = tenure.since;
    if !may_write(world, peer.id, Some(global), parsed.row.fence) {
        peer.receiver.counters.fenced += 1;
        refuse(peer, global, false);
        return Outcome::NotKept;
    }
    let part = match as_host {
        true => Part::All,
        false => Part::HolderWrites(tenure.writes),
    };
    let registry = world.resource::<Registry>().clone();
    let sets = &world.resource::<Rows>().sets;
    let mut components = sets.components(parsed.row.set).iter();
    if components.any(|&component| !part.speaks_for(&registry, component)) {
        peer.receiver.counters.fenced += 1;
        peer.receiver.counters.masked += 1;
        refuse(peer, global, false);
        return Outcome::NotKept;
    }
    if !has_room(peer, &parsed, limits) {
        return Outcome::NotKept;
    }
    let receiver = &mut peer.receiver;
    let table = &mut receiver.table;
    if let Some(slot) = table.get(Allocator::Local, index)
        && slot.newest.is_some()
    {
        if slot.generation != generation {
            table.begin_life(Allocator::Local, index);
        } else if slot.is_of_before(since) {
            table.begin_tenure(Allocator::Local, index);
        }
    }
    if !table.keep(&parsed) {
        return Outcome::NotKept;
    }
    table.set_global(Allocator::Local, index, Some(global));
    let Some(slot) = table.get_mut(Allocator::Local, index) else {
        return Outcome::NotKept;
    };
    slot.generation = generation;
    slot.live = true;
    if slot.newest.is_some_and(|newest| tick <= newest) {
        receiver.counters.stale += 1;
        return Outcome::Kept;
    }
    // A holder that came again over another link counts its ticks anew.
    let first = slot.newest.replace(tick).is_none();
    {
        let mut slots = world.resource_mut::<Slots>();
        match slots.get_mut(index) {
            Some(entry) if first || tick > entry.newest || entry.newest == Tick(0) => {
                entry.newest = tick;
            }
            _ => return Outcome::Kept,
        }
    }
    if slot.entity != Some(entity) {
        slot.entity = Some(entity);
        slot.shown = None;
    }
    if slot.shown.is_none() && !as_host {
        let rows = world.resource::<Rows>();
        let lent = rows.lent.get(index, since).unwrap_or_default();
        take_off(world, slot, entity, (lent, peer.sender.hidden(index)), part);
    }
    let by = peer.id;
    show(world, slot, entity, (part, by), &mut receiver.counters);
    Outcome::Kept
}

/// The fence of a holder's write.
fn may_write(
    world: &World,
    peer: Option<seamless_wire::PeerId>,
    global: Option<GlobalEntity>,
    fence: &Fence,
) -> bool {
    let slots = world.resource::<Slots>();
    let slot = global
        .and_then(|global| slots.index_of(global))
        .and_then(|index| slots.get(index));
    match (slot, peer) {
        (Some(slot), Some(peer)) => slot.tenure.admits_holder(peer, fence.epoch),
        _ => false,
    }
}
