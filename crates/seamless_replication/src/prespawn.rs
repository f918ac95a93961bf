//! Entities that a client spawns ahead of its server.
//!
//! A client that fires does not wait for its projectile: it spawns one at once, marked with a
//! number. The server spawns the real one with the same number; when that arrives, it moves into
//! the client's entity instead of into a new one. One that the server never spawns goes again.

use std::{collections::VecDeque, time::Duration};

use bevy::prelude::*;
use seamless_transport::LinkSide;
use seamless_wire::{Tick, WireId, codec};
use serde::{Deserialize, Serialize};

use crate::{
    EvenHidden,
    clock::NetClock,
    peer::{Peer, PeerState, Peers},
    plugin::ReplicationSystems,
    registry::{Registry, ReplicateAppExt},
    rows::Rows,
    slots::{NetSlot, Slots},
};

/// Ticks after which those that wait are looked through while no server tells.
const FORGET_EVERY: u32 = 64;

/// Marks an entity that a client and its server spawn each on its own: the client without
/// [`Replicated`](crate::Replicated), the server with it. Needs the [`PrespawnPlugin`] on both.
///
/// The number says which two are the same. It is the game's: for example a hash of the player, the
/// tick and the kind of thing. All clients are told the server's entity with its number, so players
/// must be in it, or one client's entity is taken for another's. Of several that wait with one
/// number, the oldest is taken.
///
/// At a listen server the local player's entity is the server's own: spawn it there once, with `Replicated`
/// ([`Peers::local`](crate::Peers::local) says that there is such a player).
///
/// What the client's entity has and the server's has not, stays, unless authority over it can be lent:
/// then it is a write without authority, which `seamless_authority` undoes. If something that came earlier
/// refers to the server's entity, that one has a place already, and the client's is despawned.
#[derive(Component, TypePath, Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[component(clone_behavior = Ignore)]
pub struct Prespawned(pub u64);

/// A client's entity was not claimed by the server in time. Triggered on it right before it is
/// despawned.
#[derive(EntityEvent, Clone, Copy, Debug)]
pub struct PrespawnUnclaimed {
    /// The entity, while observers run.
    pub entity: Entity,
    /// Its number.
    pub number: u64,
}

/// Lets clients spawn entities ahead of their server: see [`Prespawned`]. Add it on both sides,
/// beside the [`ReplicationPlugin`](crate::ReplicationPlugin).
///
/// Cost: eight bytes in the first record of such an entity, and for each that arrives a look at
/// those that wait.
pub struct PrespawnPlugin {
    /// How long a client's entity waits for the server's, in whole ticks, from when a server tells us
    /// anything. One second by default; it should be longer than the round trip and a few losses, and for
    /// a level that both load, than it takes to join.
    pub patience: Duration,
}

impl Default for PrespawnPlugin {
    fn default() -> Self {
        Self {
            patience: Duration::from_secs(1),
        }
    }
}

impl Plugin for PrespawnPlugin {
    fn build(&self, app: &mut App) {
        let _ = app.replicate::<Prespawned>().once();
        app.insert_resource(Prespawns {
            patience: self.patience,
            waiting: VecDeque::new(),
            joined: None,
        })
        .add_observer(wait)
        .add_systems(FixedPostUpdate, give_up.in_set(ReplicationSystems::Report));
    }
}

/// A client's entity that the server has not told of.
struct Waiting {
    entity: Entity,
    number: u64,
    since: Tick,
}

/// A client's entities that wait, the oldest first.
#[derive(Resource)]
pub(crate) struct Prespawns {
    patience: Duration,
    waiting: VecDeque<Waiting>,
    /// Since when there is a server that may tell of them.
    joined: Option<Tick>,
}

/// An entity with a number that is not on the network waits, unless we are the server.
fn wait(
    event: On<Insert, Prespawned>,
    entities: Query<&Prespawned, (Without<NetSlot>, EvenHidden)>,
    slots: Res<Slots>,
    clock: Res<NetClock>,
    mut prespawns: ResMut<Prespawns>,
) {
    if slots.names.is_own() {
        return;
    }
    let Ok(&Prespawned(number)) = entities.get(event.entity) else {
        return;
    };
    let entity = event.entity;
    prespawns.waiting.retain(|waiting| waiting.entity != entity);
    prespawns.waiting.push_back(Waiting {
        entity,
        number,
        since: clock.tick(),
    });
}

/// Whether any entity waits for a server's.
pub(crate) fn any_waits(world: &World) -> bool {
    let prespawns = world.get_resource::<Prespawns>();
    prespawns.is_some_and(|prespawns| !prespawns.waiting.is_empty())
}

/// Which component says for whom a server's entity is meant, as the registry counts them.
pub(crate) fn number(world: &World, registry: &Registry) -> Option<u16> {
    registry.index_of(world.component_id::<Prespawned>()?)
}

/// The entity that waits for what a server tells of under `name` for the first time.
pub(crate) fn claim(world: &mut World, peer: &Peer, name: WireId) -> Option<Entity> {
    if peer.side != LinkSide::ToServer || world.get_resource::<Prespawns>()?.waiting.is_empty() {
        return None;
    }
    let component = world.component_id::<Prespawned>()?;
    let index = world.resource::<Registry>().index_of(component)?;
    let slot = peer.receiver.table.get(name.allocator, name.index)?;
    let row = &slot.ring.newest()?.row;
    let at = world.resource::<Rows>().sets.position(row.set, index)?;
    let Prespawned(number) = codec::decode(row.value(at)).ok()?;
    loop {
        let mut prespawns = world.resource_mut::<Prespawns>();
        let mut waiting = prespawns.waiting.iter();
        let at = waiting.position(|waiting| waiting.number == number)?;
        let Waiting { entity, .. } = prespawns.waiting.remove(at)?;
        if still_waits(world, entity) == Some(number) {
            return Some(entity);
        }
    }
}

/// The number of an entity that is there and not on the network.
fn still_waits(world: &World, entity: Entity) -> Option<u64> {
    let entity = world.get_entity(entity).ok()?;
    let number = entity.get::<Prespawned>()?.0;
    (!entity.contains::<NetSlot>()).then_some(number)
}

/// While no server tells, nobody waits for too long. Those that are gone are forgotten: a look at each, once
/// in a while.
fn forget_gone(world: &mut World) {
    let mut waiting = std::mem::take(&mut world.resource_mut::<Prespawns>().waiting);
    waiting.retain(|waiting| still_waits(world, waiting.entity) == Some(waiting.number));
    world.resource_mut::<Prespawns>().waiting = waiting;
}

/// Once a tick, a look at the one that waits longest: those that waited for too long go.
fn give_up(world: &mut World) {
    let clock = world.resource::<NetClock>();
    let (now, length) = (clock.tick(), clock.tick_length());
    let tells = |peer: &Peer| peer.side == LinkSide::ToServer && peer.state == PeerState::Ready;
    let is_told = world.resource::<Peers>().iter().any(tells);
    let mut prespawns = world.resource_mut::<Prespawns>();
    let limit = (prespawns.patience.as_nanos() / length.as_nanos()) as u32;
    if !is_told {
        prespawns.joined = None;
        if now.0.is_multiple_of(FORGET_EVERY) {
            forget_gone(world);
        }
        return;
    }
    let joined = *prespawns.joined.get_or_insert(now);
    loop {
        let mut prespawns = world.resource_mut::<Prespawns>();
        let too_long = |waiting: &Waiting| now.since(waiting.since.max(joined)) > limit;
        if !prespawns.waiting.front().is_some_and(too_long) {
            return;
        }
        let Some(Waiting { entity, number, .. }) = prespawns.waiting.pop_front() else {
            return;
        };
        if still_waits(world, entity) == Some(number) {
            tracing::debug!(%entity, number, "the server did not spawn it in time");
            world.trigger(PrespawnUnclaimed { entity, number });
            if let Ok(entity) = world.get_entity_mut(entity) {
                entity.despawn();
            }
        }
    }
}
