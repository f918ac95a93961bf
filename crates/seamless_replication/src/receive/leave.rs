//! Entities that leave: told so, or because their link is gone.

use bevy::{
    ecs::{
        component::{ComponentId, ComponentInfo},
        entity::EntityHashSet,
        relationship::RelationshipAccessor,
    },
    prelude::*,
};
use seamless_transport::{LinkId, LinkSide};
use seamless_wire::{
    Allocator, Tick, WireId,
    record::{Leave, LeaveReason},
};

use super::apply::reapply;
use crate::{
    clock::NetClock,
    peer::{Peer, Peers},
    plugin::ReplicationConfig,
    references::References,
    registry,
    slots::{NetSlot, Role, Slots},
};

/// Takes one leave. False if its datagram must not be acknowledged.
///
/// A leave of an entity that we never heard of counts too: what is still on its way of it must not
/// bring it to life.
pub(crate) fn take_leave(world: &mut World, peer: &mut Peer, leave: &Leave, tick: Tick) -> bool {
    let WireId {
        allocator,
        index,
        generation,
    } = leave.id;
    if allocator != Allocator::Peer {
        peer.receiver.counters.fenced += 1;
        return false;
    }
    let limits = world.resource::<ReplicationConfig>().limits(peer.side);
    let receiver = &mut peer.receiver;
    if receiver
        .table
        .redirect(allocator, index)
        .is_some_and(|r| generation.wrapping_sub(r.generation) as i32 <= 0)
    {
        // The holder does not despawn what it gave to us, and what had the slot before is gone.
        receiver.counters.stale += 1;
        return true;
    }
    let Some(slot) = receiver.table.entry(allocator, index, limits.entities) else {
        receiver.counters.refused += 1;
        return false;
    };
    let known = slot.newest;
    let ahead = generation.wrapping_sub(slot.generation) as i32;
    if known.is_some_and(|newest| ahead < 0 || (ahead == 0 && tick <= newest)) {
        receiver.counters.stale += 1;
        return true;
    }
    let ended = receiver.table.end_life(allocator, index);
    if ahead != 0 {
        receiver.table.begin_life(allocator, index);
    }
    if let Some(slot) = receiver.table.get_mut(allocator, index) {
        slot.generation = generation;
        slot.newest = Some(tick);
    }
    if let Some(entity) = ended {
        let reason = match (peer.side, leave.reason) {
            // Nobody goes on with what is a client's.
            (LinkSide::ToClient, LeaveReason::Moved) => LeaveReason::Despawned,
            (_, reason) => reason,
        };
        end_remote(world, peer.link, entity, reason);
    }
    true
}

/// A link tells no more of an entity: another one takes over, or the entity goes.
pub(crate) fn end_remote(world: &mut World, link: LinkId, entity: Entity, reason: LeaveReason) {
    let Some(&net_slot) = world.get::<NetSlot>(entity) else {
        return;
    };
    let slots = world.resource::<Slots>();
    let Some(slot) = slots.get(net_slot.index) else {
        return;
    };
    if slot.role() != (Role::Remote { source: Some(link) }) {
        // Somebody else tells of it, or we host it by now.
        return;
    }
    let other = slot.global().and_then(|global| {
        let peers = world.resource::<Peers>();
        peers.other_source(global, slot.owner, link)
    });
    if let Some((other, name)) = other {
        orphan(world, net_slot.index);
        if let Some(mut peer) = world.resource_mut::<Peers>().take(other) {
            reapply(world, &mut peer, name);
            world.resource_mut::<Peers>().put_back(peer);
        }
        return;
    }
    if reason == LeaveReason::Moved {
        orphan(world, net_slot.index);
        return;
    }
    despawn(world, entity, reason);
}

/// The entity stays as it is for a while, until another link tells of it.
fn orphan(world: &mut World, index: u32) {
    let now = world.resource::<NetClock>().due();
    world.resource_mut::<Slots>().orphan(index, now);
}

/// Despawns a remote entity, or empties it if it may come back and something refers to it.
/// Children that are told of on their own stay; those that the game here has hung on it go with it.
/// A resource stays, as what it is.
pub(crate) fn despawn(world: &mut World, entity: Entity, reason: LeaveReason) {
    if registry::resource::take_off_network(world, entity) {
        return;
    }
    let slot = world.get::<NetSlot>(entity);
    let name = slot.and_then(NetSlot::global);
    let owner = slot.and_then(|slot| world.resource::<Slots>().owner(slot));
    let mut retain = |name| {
        let mut references = world.resource_mut::<References>();
        references.retain(name, entity, owner)
    };
    let comes_back = reason != LeaveReason::Despawned && name.is_some_and(&mut retain);
    if !comes_back {
        return despawn_alone(world, entity);
    }
    let children = world.get::<Children>(entity);
    let children: Vec<Entity> = children.into_iter().flat_map(Children::iter).collect();
    for child in children {
        // Others are its children still, as far as their rows say. Who saw one go may have despawned
        // the next already.
        if world.get::<NetSlot>(child).is_none() {
            despawn_alone(world, child);
        }
    }
    empty(world, entity);
}

/// Despawns an entity, and of what Bevy would despawn with it what is not on the network: the others are
/// despawned by whoever hosts them.
#[expect(unsafe_code, reason = "relations of types that are not known")]
pub(crate) fn despawn_alone(world: &mut World, entity: Entity) {
    let (mut related, mut goes) = (Vec::new(), vec![entity]);
    let mut seen = EntityHashSet::from_iter([entity]);
    while let Some(one) = goes.pop() {
        let Ok(present) = world.get_entity(one) else {
            continue;
        };
        for &id in present.archetype().components() {
            let info = world.components().get_info(id);
            let accessor = info.and_then(ComponentInfo::relationship_accessor);
            if let Some(&RelationshipAccessor::RelationshipTarget {
                iter,
                linked_spawn: true,
                relationship,
                ..
            }) = accessor
                && let Ok(sources) = present.get_by_id(id)
            {
                // SAFETY: the accessor is that of the component.
                for source in unsafe { iter(sources) } {
                    if world.get::<NetSlot>(source).is_some() {
                        related.push((source, relationship));
                    } else if seen.insert(source) {
                        goes.push(source);
                    }
                }
            }
        }
    }
    for (source, relationship) in related {
        if let Ok(mut source) = world.get_entity_mut(source) {
            source.remove_by_id(relationship);
        }
    }
    // Who saw them go may have despawned it already.
    if let Ok(present) = world.get_entity_mut(entity) {
        present.despawn();
    }
}

/// Takes everything off an entity but what stands for others that refer to it: of those, what they
/// refer to has not changed.
fn empty(world: &mut World, entity: Entity) {
    let Ok(present) = world.get_entity(entity) else {
        return;
    };
    let stays = |id: &ComponentId| {
        let info = world.components().get_info(*id);
        let accessor = info.and_then(ComponentInfo::relationship_accessor);
        matches!(
            accessor,
            Some(RelationshipAccessor::RelationshipTarget { .. })
        )
    };
    let components = present.archetype().components().iter();
    let gone: Vec<ComponentId> = components.filter(|id| !stays(id)).copied().collect();
    world.entity_mut(entity).remove_by_ids(&gone);
}

/// A link is gone: what it told of goes, is taken over, or waits for a while. What others see of a
/// client's own waits, until it is decided who goes on with it
/// ([`migrate::inherit`](crate::migrate::inherit)).
pub(crate) fn link_lost(world: &mut World, peer: &mut Peer) {
    let reason = if peer.side == LinkSide::ToServer
        && !world.resource::<ReplicationConfig>().orphan_grace.is_zero()
    {
        LeaveReason::Moved
    } else {
        LeaveReason::Despawned
    };
    let mut entities: Vec<(u32, Entity, LeaveReason)> = world
        .resource::<Slots>()
        .iter()
        .filter(|(_, slot)| {
            slot.role()
                == Role::Remote {
                    source: Some(peer.link),
                }
        })
        .map(|(index, slot)| match slot.public {
            true => (index, slot.entity, LeaveReason::Moved),
            false => (index, slot.entity, reason),
        })
        .collect();
    entities.sort_unstable_by_key(|(index, ..)| *index);
    for (_, entity, reason) in entities {
        end_remote(world, peer.link, entity, reason);
    }
}

/// Gives up entities whose source has been gone for too long. Once a tick, a look at each of them.
pub(crate) fn give_up_orphans(world: &mut World) {
    let grace = world.resource::<ReplicationConfig>().orphan_grace;
    let clock = world.resource::<NetClock>();
    let (now, limit) = (
        clock.tick(),
        (grace.as_nanos() / clock.tick_length().as_nanos()) as u32,
    );
    let given_up: Vec<Entity> = world
        .resource::<Slots>()
        .orphans()
        .filter(|(_, since)| now.since(*since) > limit)
        .map(|(entity, _)| entity)
        .collect();
    for entity in given_up {
        despawn(world, entity, LeaveReason::OutOfSight);
    }
}
