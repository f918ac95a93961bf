//! Messages on their way in.

use std::collections::VecDeque;

use bevy::{platform::collections::HashMap, prelude::*};
use seamless_transport::{LinkId, LinkSide};
use seamless_wire::{PeerId, Tick, WireError, codec};

use super::{Delivery, Direction, FromPeer, NetMessage, Resolve};
use crate::{clock::NetClock, registry::Registry, slots::Slots};

/// Most messages that wait for an entity, over all links. Past that they come flagged at once.
const MAX_WAITING: usize = 1024;

/// What decides whether a peer may send a kind, and decodes it.
struct Decoder {
    direction: Direction,
    delivery: Delivery,
    decode: fn(&mut World, Incoming, last_chance: bool) -> Result<Option<Incoming>, WireError>,
}

/// Decoders by the hash of the type's path.
#[derive(Resource, Default)]
pub(crate) struct Decoders(HashMap<u64, Decoder>);

impl Decoders {
    pub(super) fn add<M: NetMessage>(&mut self, id: u64, direction: Direction, delivery: Delivery) {
        self.0.insert(
            id,
            Decoder {
                direction,
                delivery,
                decode: decode::<M>,
            },
        );
    }
}

/// A message as it came.
pub(crate) struct Incoming {
    pub(crate) link: LinkId,
    pub(crate) side: LinkSide,
    pub(crate) peer: PeerId,
    pub(crate) kind: u16,
    pub(crate) payload: Vec<u8>,
    pub(crate) reliable: bool,
    since: Tick,
}

impl Incoming {
    pub(crate) fn new(world: &World, link: LinkId, side: LinkSide, peer: PeerId) -> Self {
        let since = world.resource::<NetClock>().tick();
        Self {
            link,
            side,
            peer,
            kind: 0,
            payload: Vec::new(),
            reliable: false,
            since,
        }
    }
}

/// Messages that wait for an entity they speak of.
#[derive(Resource, Default)]
pub(crate) struct WaitingMessages(VecDeque<Incoming>);

/// Delivers a message, or keeps it until its entities are there.
///
/// # Errors
/// [`WireError`] if the kind does not exist, may not come this way, or does not decode.
pub(crate) fn receive(world: &mut World, incoming: Incoming) -> Result<(), WireError> {
    let full = world.resource::<WaitingMessages>().0.len() >= MAX_WAITING;
    if let Some(waiting) = attempt(world, incoming, full)? {
        world.resource_mut::<WaitingMessages>().0.push_back(waiting);
    }
    Ok(())
}

fn attempt(
    world: &mut World,
    incoming: Incoming,
    last_chance: bool,
) -> Result<Option<Incoming>, WireError> {
    let unknown = WireError::Invalid {
        what: "kind of message",
        value: incoming.kind.into(),
    };
    let registry = world.resource::<Registry>();
    let Some(descriptor) = registry.schema().messages.get(incoming.kind as usize) else {
        return Err(unknown);
    };
    let Some(decoder) = world
        .get_resource::<Decoders>()
        .and_then(|d| d.0.get(&descriptor.id))
    else {
        return Err(unknown);
    };
    let may = match incoming.side {
        LinkSide::ToClient => decoder.direction != Direction::ToClients,
        LinkSide::ToServer => decoder.direction != Direction::ToServer,
    };
    if !may || incoming.reliable != (decoder.delivery == Delivery::Reliable) {
        return Err(unknown);
    }
    (decoder.decode)(world, incoming, last_chance)
}

fn decode<M: NetMessage>(
    world: &mut World,
    incoming: Incoming,
    last_chance: bool,
) -> Result<Option<Incoming>, WireError> {
    let mut message: M = codec::decode(&incoming.payload)?;
    let mut resolve = Resolve {
        slots: world.resource::<Slots>(),
        missing: false,
    };
    M::map_entities(&mut message, &mut resolve);
    let unresolved = resolve.missing;
    if unresolved && !last_chance {
        return Ok(Some(incoming));
    }
    let Incoming { peer, link, .. } = incoming;
    world.write_message(FromPeer {
        peer,
        link,
        message,
        unresolved,
    });
    Ok(None)
}

/// Tries again what waits; after a second it comes flagged. Order among waiting messages holds.
pub(crate) fn deliver_waiting(world: &mut World) {
    let waiting = std::mem::take(&mut world.resource_mut::<WaitingMessages>().0);
    if waiting.is_empty() {
        return;
    }
    let clock = world.resource::<NetClock>();
    let (now, second) = (clock.tick(), u32::from(clock.rate()));
    let mut still = VecDeque::new();
    for incoming in waiting {
        let last_chance = now.since(incoming.since) >= second;
        match attempt(world, incoming, last_chance) {
            Ok(None) => {}
            Ok(Some(incoming)) => still.push_back(incoming),
            Err(error) => tracing::debug!(%error, "a waiting message does not decode"),
        }
    }
    let mut queue = world.resource_mut::<WaitingMessages>();
    still.append(&mut queue.0);
    queue.0 = still;
}
