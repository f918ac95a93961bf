//! Delegation, from either side: what is to change its host, and what was not answered.

use bevy::{ecs::entity::EntityHashSet, prelude::*};
use seamless_replication::{
    Hosted, NetClock, NetSlot, Peer, PeerState, Peers, Role, Slots,
    migrate::yield_to_host,
    transport::{LinkId, LinkSide},
    wire::{
        GlobalEntity,
        control::{Control, DenyReason},
    },
};

use crate::{
    Delegated,
    client::{Asked, deny},
    server::take_over_unasked,
};

/// Delegates an entity, and if it is to change its host, all that hangs on it. A step for each.
pub(crate) fn delegate_tree(world: &mut World, entity: Entity) {
    // What is taken over, and whose it is.
    let owner = |world: &World, entity: Entity| {
        let slot = world.get::<NetSlot>(entity)?;
        let slots = world.resource::<Slots>();
        let client = world.resource::<Peers>().as_client().is_some() || slot.global().is_none();
        match slots.role(slot)? {
            Role::Host => client.then_some(None),
            Role::Remote { .. } => slots.owner(slot).map(Some),
        }
    };
    let root = owner(world, entity);
    delegate(world, entity);
    if root.is_none() {
        return;
    }
    // Peers may tell of a circle.
    let mut seen = EntityHashSet::from_iter([entity]);
    let mut open = vec![entity];
    while let Some(parent) = open.pop() {
        let children = world.get::<Children>(parent);
        let children: Vec<Entity> = children.into_iter().flatten().copied().collect();
        for child in children {
            if !seen.insert(child) {
                continue;
            }
            open.push(child);
            if owner(world, child) == root {
                delegate(world, child);
            }
        }
    }
}

fn delegate(world: &mut World, entity: Entity) {
    let Some(slot) = world.get::<NetSlot>(entity).copied() else {
        return deny(world, entity, DenyReason::NotDelegated);
    };
    if world.get::<Hosted>(entity).is_none() {
        if world.resource::<Slots>().owner(&slot).is_some() {
            return take_over_unasked(world, entity);
        }
        return deny(world, entity, DenyReason::NotDelegated);
    }
    // On a client there is one server that plays; a host has none and decides for itself.
    let server = playing(world.resource::<Peers>());
    match (server, slot.global()) {
        (Some(server), Some(global)) => {
            let link = server.link();
            let asked = world.resource::<Asked>().delegated.get(&global);
            if asked != Some(&link) {
                send_delegation(world, link, global);
            }
        }
        // A client without a server delegates when it has one.
        (None, Some(global)) if world.resource::<Peers>().as_client().is_some() => {
            world.resource_mut::<Asked>().unclear.insert(global, None);
        }
        // A server has names at all times; on a client they come.
        (_, None) => {
            world.resource_mut::<Asked>().unnamed.insert(entity);
        }
        (None, Some(_)) => {
            // Its observer says so to the fence.
            world.entity_mut(entity).insert(Delegated);
        }
    }
}

/// The link to the server that plays.
pub(crate) fn playing(peers: &Peers) -> Option<&Peer> {
    peers.iter().find(|peer| {
        peer.side() == LinkSide::ToServer
            && !peer.is_spectator()
            && peer.state() == PeerState::Ready
    })
}

/// Asks the server to take an entity over; later, if there is no room now.
fn send_delegation(world: &mut World, link: LinkId, global: GlobalEntity) {
    let mut peers = world.resource_mut::<Peers>();
    let control = Control::Delegate { entity: global };
    let sent = peers
        .get_mut(link)
        .is_some_and(|peer| peer.send_control(&control).is_ok());
    let mut asked = world.resource_mut::<Asked>();
    if sent {
        asked.unclear.remove(&global);
        asked.delegated.insert(global, link);
    } else {
        asked.unclear.insert(global, None);
    }
}

/// What the server may have taken over without our knowing: it is asked again over a new link, and
/// if it says that it hosts the entity, we do not. Once a frame, a step for each of them.
pub(crate) fn clear_up(world: &mut World) {
    delegate_named(world);
    if world.resource::<Asked>().unclear.is_empty() {
        return;
    }
    let Some(link) = playing(world.resource::<Peers>()).map(Peer::link) else {
        return;
    };
    let now = world.resource::<NetClock>().tick();
    for (global, deadline) in std::mem::take(&mut world.resource_mut::<Asked>().unclear) {
        let slots = world.resource::<Slots>();
        let entity = slots.entity(global);
        let Some(entity) = entity.filter(|entity| world.get::<Hosted>(*entity).is_some()) else {
            continue;
        };
        if yield_to_host(world, global) {
            continue;
        }
        match deadline {
            None => send_delegation(world, link, global),
            Some(deadline) if now >= deadline => {
                world.despawn(entity);
            }
            waiting => {
                world
                    .resource_mut::<Asked>()
                    .unclear
                    .insert(global, waiting);
            }
        }
    }
}

/// Goes on with delegations of entities that have a name by now.
fn delegate_named(world: &mut World) {
    for entity in std::mem::take(&mut world.resource_mut::<Asked>().unnamed) {
        // It stays for as long as it has no name.
        if world.get::<Hosted>(entity).is_some() {
            delegate(world, entity);
        }
    }
}

/// The server hosts what we took for ours.
pub(crate) fn hosted_there(world: &mut World, global: GlobalEntity) {
    let clock = world.resource::<NetClock>();
    let deadline = clock.due().plus(clock.rate().into());
    let mut asked = world.resource_mut::<Asked>();
    asked.delegated.remove(&global);
    asked
        .unclear
        .entry(global)
        .or_insert(None)
        .get_or_insert(deadline);
}
