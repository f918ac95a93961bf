//! Who holds how many: kept with every change of a fence, so that nobody has to count.

use bevy::{
    ecs::entity::{EntityHashMap, EntityHashSet},
    platform::collections::HashMap,
    prelude::*,
};
use seamless_replication::{
    Authority, NetSlot,
    wire::{Holder, PeerId},
};

/// What each client holds of what this app hosts.
#[derive(Resource, Default)]
pub(crate) struct Held {
    of: HashMap<PeerId, EntityHashSet>,
    holder: EntityHashMap<PeerId>,
}

impl Held {
    /// How many a client holds.
    pub(crate) fn count(&self, peer: PeerId) -> usize {
        self.of.get(&peer).map_or(0, |held| held.len())
    }

    /// What a client holds, by entity.
    pub(crate) fn by(&self, peer: PeerId) -> Vec<Entity> {
        let held = self.of.get(&peer).into_iter().flatten();
        let mut held: Vec<Entity> = held.copied().collect();
        held.sort_unstable();
        held
    }

    fn set(&mut self, entity: Entity, holder: Option<PeerId>) {
        let before = match holder {
            Some(peer) => self.holder.insert(entity, peer),
            None => self.holder.remove(&entity),
        };
        if before == holder {
            return;
        }
        if let Some(before) = before
            && let Some(held) = self.of.get_mut(&before)
        {
            held.remove(&entity);
            if held.is_empty() {
                self.of.remove(&before);
            }
        }
        if let Some(peer) = holder {
            self.of.entry(peer).or_default().insert(entity);
        }
    }
}

/// What was taken over from clients at their own wish, as long as it is on the network here.
#[derive(Resource, Default)]
pub(crate) struct Adopted {
    from: EntityHashMap<PeerId>,
    of: HashMap<PeerId, usize>,
}

impl Adopted {
    /// How many there are of a client.
    pub(crate) fn count(&self, peer: PeerId) -> usize {
        self.of.get(&peer).copied().unwrap_or_default()
    }

    /// One was taken over.
    pub(crate) fn note(&mut self, entity: Entity, peer: PeerId) {
        self.forget(entity);
        self.from.insert(entity, peer);
        *self.of.entry(peer).or_default() += 1;
    }

    fn forget(&mut self, entity: Entity) {
        if let Some(peer) = self.from.remove(&entity)
            && let Some(count) = self.of.get_mut(&peer)
        {
            *count -= 1;
            if *count == 0 {
                self.of.remove(&peer);
            }
        }
    }
}

/// It is gone, or not on the network any more.
pub(crate) fn leave(event: On<Remove, NetSlot>, mut adopted: ResMut<Adopted>) {
    if !adopted.from.is_empty() {
        adopted.forget(event.entity);
    }
}

/// A fence changed.
pub(crate) fn follow(held: &mut Held, entity: Entity, authority: &Authority) {
    let holder = match authority.holder {
        Holder::Peer(peer) if authority.hosted => Some(peer),
        _ => None,
    };
    held.set(entity, holder);
}

/// An entity with a fence is gone, or has none any more.
pub(crate) fn forget(event: On<Remove, Authority>, mut held: ResMut<Held>) {
    held.set(event.entity, None);
}
