//! The player who sits at the server: the same rules, without a link.
//!
//! It has one world with the server, so what it asks is answered at once, and its view is on the
//! entities that the server hosts. It sees all of them, from everywhere. Who of the two writes cannot
//! be told apart: its writes are not undone without authority, and do not renew a lease.

use bevy::prelude::*;
use seamless_replication::{
    Authority, Frozen, NetSlot, Peers, Role, Slots,
    wire::{
        PeerId,
        control::{AuthorityAnswer, DenyReason},
    },
};

use crate::{
    AuthorityStats,
    holder::HolderEvent,
    server,
    view::{self, AuthorityDenied, AuthorityView},
};

/// The local player, if this app is its server and hosts the entity.
pub(crate) fn player(world: &World, entity: Entity) -> Option<PeerId> {
    let slot = world.get::<NetSlot>(entity)?;
    let role = world.resource::<Slots>().role(slot)?;
    world
        .resource::<Peers>()
        .local()
        .filter(|_| role == Role::Host)
}

/// It asks for an entity, or for its lease to begin anew.
pub(crate) fn request(world: &mut World, entity: Entity, peer: PeerId) {
    let denied = if world.get::<Frozen>(entity).is_some() {
        world
            .resource_mut::<AuthorityStats>()
            .deny(DenyReason::HostedElsewhere);
        Some(DenyReason::HostedElsewhere)
    } else {
        let verdict = server::verdict(world, (None, peer), entity);
        server::renew(world, entity, peer);
        let outcome = server::apply(world, entity, HolderEvent::Request { peer, verdict });
        match outcome.and_then(|outcome| outcome.answer) {
            Some(AuthorityAnswer::Granted(_)) => None,
            Some(AuthorityAnswer::Denied(reason)) => Some(reason),
            None => Some(DenyReason::HostedElsewhere),
        }
    };
    if let Some(reason) = denied
        && world.get_entity(entity).is_ok()
    {
        world.trigger(AuthorityDenied { entity, reason });
    }
}

/// It gives an entity back.
pub(crate) fn release(world: &mut World, entity: Entity, peer: PeerId) {
    if world.get::<AuthorityView>(entity) != Some(&AuthorityView::Granted) {
        return;
    }
    let Some(authority) = world.get::<Authority>(entity).copied() else {
        return;
    };
    // It asked for this end itself.
    let after = AuthorityView::Releasing(authority.since);
    view::give_back(world, entity, after);
    let stamp = authority.epoch;
    server::apply(world, entity, HolderEvent::Release { peer, stamp });
}
