//! Leases: what is lent for a while comes back by itself.

use std::{cmp::Reverse, collections::BinaryHeap};

use bevy::{ecs::entity::EntityHashMap, prelude::*};
use seamless_replication::{
    Authority, Frozen, NetClock, NetSlot, Peers,
    migrate::held_version,
    wire::{Epoch, Holder, PeerId, Tick},
};

use crate::{holder::HolderEvent, policy::AuthorityPolicy, server};

/// What is lent for a while.
#[derive(Resource, Default)]
pub(crate) struct Leases {
    of: EntityHashMap<Lease>,
    /// When to look at which again: never later than it ends.
    due: BinaryHeap<Reverse<(Tick, Entity)>>,
}

#[derive(Clone, Copy)]
struct Lease {
    holder: PeerId,
    /// Which tenure.
    since: Epoch,
    /// In ticks.
    length: u32,
    ends: Tick,
    /// The holder's newest row when it was looked at last.
    written: Option<u32>,
}

impl Leases {
    /// The holder asked for it again.
    pub(crate) fn renew(&mut self, entity: Entity, peer: PeerId, now: Tick) {
        if let Some(lease) = self.of.get_mut(&entity)
            && lease.holder == peer
        {
            lease.ends = now.plus(lease.length);
        }
    }
}

/// A fence changed: a lease begins, or is none any more.
pub(crate) fn follow(leases: &mut Leases, entity: Entity, authority: &Authority, now: Tick) {
    let holder = match authority.holder {
        Holder::Peer(peer) if authority.hosted && authority.lease > 0 => peer,
        _ => {
            leases.of.remove(&entity);
            return;
        }
    };
    let (since, length) = (authority.since, authority.lease);
    let same = |lease: &Lease| lease.since == since && lease.length == length;
    if leases.of.get(&entity).is_some_and(same) {
        return;
    }
    let ends = now.plus(length);
    let lease = Lease {
        holder,
        since,
        length,
        ends,
        written: None,
    };
    leases.of.insert(entity, lease);
    leases.due.push(Reverse((ends, entity)));
}

/// The entity is gone.
pub(crate) fn forget(event: On<Remove, Authority>, mut leases: ResMut<Leases>) {
    leases.of.remove(&event.entity);
}

/// Ends what is over. Once a tick, a look at what is due.
pub(crate) fn end_leases(world: &mut World) {
    let now = world.resource::<NetClock>().tick();
    loop {
        let mut leases = world.resource_mut::<Leases>();
        let Some(&Reverse((due, entity))) = leases.due.peek() else {
            return;
        };
        if due > now {
            return;
        }
        leases.due.pop();
        let Some(&lease) = leases.of.get(&entity) else {
            continue;
        };
        if lease.ends > now {
            leases.due.push(Reverse((lease.ends, entity)));
        } else {
            look(world, entity, lease, now);
        }
    }
}

/// A lease is over, unless its holder has written.
fn look(world: &mut World, entity: Entity, lease: Lease, now: Tick) {
    let Ok(present) = world.get_entity(entity) else {
        return;
    };
    let written = present.get::<NetSlot>().and_then(|slot| {
        let link = world.resource::<Peers>().by_id(lease.holder)?.link();
        held_version(world, link, slot)
    });
    let by_writes = world.resource::<AuthorityPolicy>().renewed_by_writes;
    let busy = by_writes && written.is_some() && written != lease.written;
    // What is frozen belongs to nobody at present; whoever hosts it next goes on.
    if busy || present.contains::<Frozen>() {
        let ends = now.plus(if busy { lease.length } else { 1 });
        let mut leases = world.resource_mut::<Leases>();
        let lease = Lease {
            ends,
            written,
            ..lease
        };
        leases.of.insert(entity, lease);
        leases.due.push(Reverse((ends, entity)));
        return;
    }
    server::apply(world, entity, HolderEvent::Lapse(lease.holder));
}
