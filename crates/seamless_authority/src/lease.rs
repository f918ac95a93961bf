//! Leases: what is lent for a while comes back by itself.

use std::collections::BTreeSet;

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
    /// When to look at which again: never later than it ends. One entry for each, the lease's own.
    due: BTreeSet<(Tick, Entity)>,
}

#[derive(Clone, Copy)]
struct Lease {
    holder: PeerId,
    /// Which tenure.
    since: Epoch,
    /// In ticks.
    length: u32,
    ends: Tick,
    /// The tick under which it stands in the queue.
    queued: Tick,
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

    /// A lease is to be looked at when it ends, in the place of one that the entity had.
    fn insert(&mut self, entity: Entity, mut lease: Lease) {
        lease.queued = lease.ends;
        self.remove(entity);
        self.of.insert(entity, lease);
        self.due.insert((lease.queued, entity));
    }

    fn remove(&mut self, entity: Entity) {
        if let Some(lease) = self.of.remove(&entity) {
            self.due.remove(&(lease.queued, entity));
        }
    }
}

/// A fence changed: a lease begins, or is none any more.
pub(crate) fn follow(leases: &mut Leases, entity: Entity, authority: &Authority, now: Tick) {
    let holder = match authority.holder {
        Holder::Peer(peer) if authority.hosted && authority.lease > 0 => peer,
        _ => {
            leases.remove(entity);
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
        queued: ends,
        written: None,
    };
    leases.insert(entity, lease);
}

/// The entity is gone.
pub(crate) fn forget(event: On<Remove, Authority>, mut leases: ResMut<Leases>) {
    leases.remove(event.entity);
}

/// Ends what is over. Once a tick, a look at what is due.
pub(crate) fn end_leases(world: &mut World) {
    let now = world.resource::<NetClock>().tick();
    loop {
        let mut leases = world.resource_mut::<Leases>();
        let Some(&(due, entity)) = leases.due.first() else {
            return;
        };
        if due > now {
            return;
        }
        leases.due.pop_first();
        let Some(&lease) = leases.of.get(&entity) else {
            continue;
        };
        if lease.ends > now {
            leases.insert(entity, lease);
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
        leases.insert(entity, lease);
        return;
    }
    server::apply(world, entity, HolderEvent::Lapse(lease.holder));
}

#[cfg(test)]
mod tests {
    use seamless_replication::wire::{Tenure, TenureEnd, Term};

    use super::*;

    /// Lends an entity for so many ticks.
    fn lend(leases: &mut Leases, entity: Entity, tenure: &mut Tenure, to: Holder, length: u32) {
        tenure.transfer(to, TenureEnd::Given);
        tenure.lease = length;
        follow(leases, entity, &Authority::of(true, tenure), Tick(1));
    }

    #[test]
    fn what_is_lent_again_and_again_is_looked_at_as_often_as_what_is_lent_once() {
        let mut world = World::new();
        let entities = [world.spawn_empty().id(), world.spawn_empty().id()];
        let mut leases = Leases::default();
        let mut tenure = Tenure {
            delegated: true,
            ..Tenure::plain(Term(1))
        };
        for n in 0..1000u32 {
            let peer = Holder::Peer(PeerId(u64::from(n % 3)));
            // Given to and fro, on longer and shorter terms; given back and asked for again.
            lend(&mut leases, entities[0], &mut tenure, peer, 30 + n % 7);
            lend(&mut leases, entities[1], &mut tenure, peer, 30);
            lend(&mut leases, entities[1], &mut tenure, Holder::Nobody, 0);
        }
        assert_eq!((leases.of.len(), leases.due.len()), (1, 1));
        lend(&mut leases, entities[0], &mut tenure, Holder::Host, 0);
        assert_eq!((leases.of.len(), leases.due.len()), (0, 0));
    }
}
