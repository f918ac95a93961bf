//! Messages on their way in.

use std::collections::VecDeque;

use bevy::{platform::collections::HashMap, prelude::*};
use seamless_transport::{LinkId, LinkSide};
use seamless_wire::{PeerId, Tick, WireError, codec};

use super::{Delivery, Direction, FromPeer, NetMessage, Resolve};
use crate::{clock::NetClock, registry::Registry, slots::Slots};

/// Most messages of one link that wait for an entity. Past that its messages come flagged at once.
const MAX_WAITING: usize = 1024;

/// Most bytes of them.
const MAX_WAITING_BYTES: usize = 1 << 20;

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

/// Messages that wait for an entity they speak of, in the order in which they came.
#[derive(Resource, Default)]
pub(crate) struct WaitingMessages {
    queue: VecDeque<Incoming>,
    /// How many there are of each link, and their bytes. So one client cannot use up the room of
    /// another.
    by_link: HashMap<LinkId, (usize, usize)>,
}

impl WaitingMessages {
    fn has_room(&self, incoming: &Incoming) -> bool {
        let (count, bytes) = self
            .by_link
            .get(&incoming.link)
            .copied()
            .unwrap_or_default();
        count < MAX_WAITING && bytes + incoming.payload.len() <= MAX_WAITING_BYTES
    }

    fn push(&mut self, incoming: Incoming) {
        let (count, bytes) = self.by_link.entry(incoming.link).or_default();
        *count += 1;
        *bytes += incoming.payload.len();
        self.queue.push_back(incoming);
    }
}

/// Delivers a message, or keeps it until its entities are there.
///
/// # Errors
/// [`WireError`] if the kind does not exist, may not come this way, or does not decode.
pub(crate) fn receive(world: &mut World, incoming: Incoming) -> Result<(), WireError> {
    let full = !world.resource::<WaitingMessages>().has_room(&incoming);
    if let Some(waiting) = attempt(world, incoming, full)? {
        world.resource_mut::<WaitingMessages>().push(waiting);
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
    if world.resource::<WaitingMessages>().queue.is_empty() {
        return;
    }
    let waiting = std::mem::take(&mut *world.resource_mut::<WaitingMessages>());
    let clock = world.resource::<NetClock>();
    let (now, second) = (clock.tick(), u32::from(clock.rate()));
    let mut still = WaitingMessages::default();
    for incoming in waiting.queue {
        let last_chance = now.since(incoming.since) >= second;
        match attempt(world, incoming, last_chance) {
            Ok(None) => {}
            Ok(Some(incoming)) => still.push(incoming),
            Err(error) => tracing::debug!(%error, "a waiting message does not decode"),
        }
    }
    *world.resource_mut::<WaitingMessages>() = still;
}
