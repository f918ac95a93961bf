//! Messages on their way in.

use std::collections::VecDeque;

use bevy::{platform::collections::HashMap, prelude::*};
use seamless_transport::{LinkId, LinkSide};
use seamless_wire::{PeerId, Tick, WireError, codec, frame::MAX_MENTIONS};

use super::{Delivery, Direction, FromPeer, NetMessage, Resolve, Spoken, mentions};
use crate::{
    clock::NetClock,
    listen::{LOCAL_CLIENT, LOCAL_SERVER},
    registry::Registry,
    slots::Slots,
};

/// Most messages of one link that wait for an entity. Past that its messages come flagged at once.
const MAX_WAITING: usize = 1024;

/// Most bytes of them.
const MAX_WAITING_BYTES: usize = 1 << 20;

/// What decides whether a peer may send a kind, and decodes it.
struct Decoder {
    direction: Direction,
    delivery: Delivery,
    decode: fn(&mut World, Incoming, Chance) -> Result<Option<Incoming>, WireError>,
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
    link: LinkId,
    side: LinkSide,
    peer: PeerId,
    /// The sender's tick in which it was sent.
    tick: Tick,
    spoken: Spoken,
    pub(crate) reliable: bool,
    since: Tick,
}

impl Incoming {
    /// `from`: link, which end of it we are, and the peer that is named as the sender.
    pub(crate) fn new(
        world: &World,
        (link, side, peer): (LinkId, LinkSide, PeerId),
        tick: Tick,
        spoken: Spoken,
    ) -> Self {
        let since = world.resource::<NetClock>().due();
        Self {
            link,
            side,
            peer,
            tick,
            spoken,
            reliable: false,
            since,
        }
    }

    /// Messages of which none overtakes another.
    const fn lane(&self) -> Option<(LinkId, u16)> {
        if self.reliable {
            Some((self.link, self.spoken.kind))
        } else {
            None
        }
    }
}

/// Messages that wait for what they speak of, in the order in which they came.
#[derive(Resource, Default)]
pub(crate) struct WaitingMessages {
    queue: VecDeque<Incoming>,
    /// How many there are of each link, and their bytes. So one client cannot use up the room of
    /// another.
    by_link: HashMap<LinkId, (usize, usize)>,
    /// How many there are that others must not overtake.
    by_lane: HashMap<(LinkId, u16), usize>,
}

impl WaitingMessages {
    fn has_room(&self, incoming: &Incoming) -> bool {
        let (count, bytes) = self
            .by_link
            .get(&incoming.link)
            .copied()
            .unwrap_or_default();
        count < MAX_WAITING && bytes + incoming.spoken.payload.len() <= MAX_WAITING_BYTES
    }

    /// Whether it would overtake another one.
    fn is_behind(&self, incoming: &Incoming) -> bool {
        let lane = incoming.lane();
        lane.is_some_and(|lane| self.by_lane.contains_key(&lane))
    }

    /// A session goes on over another link.
    pub(crate) fn follow(&mut self, old: LinkId, new: LinkId) {
        if !self.by_link.contains_key(&old) {
            return;
        }
        let all = std::mem::take(self);
        for mut incoming in all.queue {
            if incoming.link == old {
                incoming.link = new;
            }
            self.push(incoming);
        }
    }

    fn push(&mut self, incoming: Incoming) {
        let (count, bytes) = self.by_link.entry(incoming.link).or_default();
        *count += 1;
        *bytes += incoming.spoken.payload.len();
        if let Some(lane) = incoming.lane() {
            *self.by_lane.entry(lane).or_default() += 1;
        }
        self.queue.push_back(incoming);
    }
}

/// What may become of a message now.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Chance {
    /// It is looked at and waits.
    Later,
    /// It is delivered if what it speaks of is here.
    Now,
    /// It is delivered. `ripe`: whether the states are here of which it speaks.
    Last { ripe: bool },
}

/// Whether it is this app's own other half that speaks.
const fn is_local(link: LinkId) -> bool {
    matches!(link, LOCAL_CLIENT | LOCAL_SERVER)
}

/// Delivers a message, or keeps it until what it speaks of is there.
///
/// # Errors
/// [`WireError`] if the kind does not exist, may not come this way, or does not decode.
pub(crate) fn receive(world: &mut World, incoming: Incoming) -> Result<(), WireError> {
    if incoming.spoken.mentions.len() > MAX_MENTIONS {
        return Err(WireError::OutOfBounds {
            what: "mentions of a message",
            value: incoming.spoken.mentions.len() as u64,
            max: MAX_MENTIONS as u64,
        });
    }
    let waiting = world.resource::<WaitingMessages>();
    let chance = if is_local(incoming.link) {
        // What is not here will not come.
        Chance::Last { ripe: true }
    } else if !waiting.has_room(&incoming) {
        deliver(world, Some(incoming.link));
        Chance::Last {
            ripe: incoming.spoken.mentions.is_empty(),
        }
    } else if incoming.spoken.mentions.is_empty() && !waiting.is_behind(&incoming) {
        Chance::Now
    } else {
        // At the end of the frame the states are here that came with it.
        Chance::Later
    };
    if let Some(waiting) = attempt(world, incoming, chance)? {
        world.resource_mut::<WaitingMessages>().push(waiting);
    }
    Ok(())
}

fn attempt(
    world: &mut World,
    incoming: Incoming,
    chance: Chance,
) -> Result<Option<Incoming>, WireError> {
    let kind = incoming.spoken.kind;
    let unknown = WireError::Invalid {
        what: "kind of message",
        value: kind.into(),
    };
    let registry = world.resource::<Registry>();
    let Some(descriptor) = registry.schema().messages.get(kind as usize) else {
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
    (decoder.decode)(world, incoming, chance)
}

fn decode<M: NetMessage>(
    world: &mut World,
    incoming: Incoming,
    chance: Chance,
) -> Result<Option<Incoming>, WireError> {
    let mut message: M = codec::decode(&incoming.spoken.payload)?;
    let mut resolve = Resolve {
        slots: world.resource::<Slots>(),
        local: is_local(incoming.link),
        missing: false,
    };
    M::map_entities(&mut message, &mut resolve);
    let unresolved = match chance {
        Chance::Later => return Ok(Some(incoming)),
        Chance::Now if resolve.missing => return Ok(Some(incoming)),
        Chance::Now => false,
        Chance::Last { ripe } => resolve.missing || !ripe,
    };
    let Incoming {
        peer, link, tick, ..
    } = incoming;
    world.write_message(FromPeer {
        peer,
        link,
        tick,
        message,
        unresolved,
    });
    Ok(None)
}

/// Tries again what waits; after a second it comes flagged. Of what is reliable, none overtakes
/// another of its kind.
pub(crate) fn deliver_waiting(world: &mut World) {
    if !world.resource::<WaitingMessages>().queue.is_empty() {
        deliver(world, None);
    }
}

/// As [`deliver_waiting`]. What waits of the link `at_once` comes at once, flagged where what it
/// speaks of is not here.
fn deliver(world: &mut World, at_once: Option<LinkId>) {
    let waiting = std::mem::take(&mut *world.resource_mut::<WaitingMessages>());
    let clock = world.resource::<NetClock>();
    let (now, second) = (clock.tick(), u32::from(clock.rate()));
    let mut still = WaitingMessages::default();
    for incoming in waiting.queue {
        let is_hurried = at_once == Some(incoming.link);
        // A link that hurries is being read: what its rows bring is not to be seen yet.
        let mentioned = &incoming.spoken.mentions;
        let ripe = match is_hurried {
            true => mentioned.is_empty(),
            false => mentions::are_here(world, incoming.link, mentioned),
        };
        let last = now.since(incoming.since) >= second || is_hurried;
        let chance = match last {
            true => Chance::Last { ripe },
            false if !ripe || still.is_behind(&incoming) => {
                still.push(incoming);
                continue;
            }
            false => Chance::Now,
        };
        match attempt(world, incoming, chance) {
            Ok(None) => {}
            Ok(Some(incoming)) => still.push(incoming),
            Err(error) => tracing::debug!(%error, "a waiting message does not decode"),
        }
    }
    *world.resource_mut::<WaitingMessages>() = still;
}
