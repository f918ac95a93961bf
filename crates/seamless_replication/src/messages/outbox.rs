//! Messages on their way out.

use bevy::prelude::*;
use seamless_transport::LinkSide;
use seamless_wire::{
    WireError, codec,
    frame::{Frame, MAX_MENTIONS},
};

use super::{
    Delivery, Direction, Incoming, MAX_RELIABLE, MAX_UNRELIABLE, MessageNotSent, NetMessage,
    Spoken, Target, ToPeers,
    mentions::{self, Naming},
    receive,
    section::MENTION,
};
use crate::{
    clock::NetClock,
    listen::{LOCAL_CLIENT, LOCAL_SERVER},
    peer::{Peer, PeerState, Peers},
    registry::Registry,
    send::Office,
    slots::Slots,
    stats::ReplicationStats,
};

/// Most unreliable messages that wait for a datagram; the oldest go first.
const MAX_QUEUED: usize = 256;

/// What was written in steps that are no ticks. It speaks of a world that is collected with the next.
pub(super) struct Held<M: NetMessage>(Vec<ToPeers<M>>);

impl<M: NetMessage> Default for Held<M> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

/// Encodes what the game wrote up to this tick and queues it on the links it goes to. In a step that is no
/// tick, keeps it: Bevy lets go of messages after each.
pub(super) fn send<M: NetMessage>(
    world: &mut World,
    mut held: Local<Held<M>>,
    id: u64,
    (direction, delivery): (Direction, Delivery),
) {
    let mut written = world.resource_mut::<Messages<ToPeers<M>>>();
    held.0.extend(written.drain());
    if held.0.is_empty() || !world.resource::<NetClock>().is_fresh() {
        return;
    }
    let outgoing = std::mem::take(&mut held.0);
    let Some(kind) = world.resource::<Registry>().message_index(id) else {
        return;
    };
    let tick = world.resource::<NetClock>().tick();
    for ToPeers { to, mut message } in outgoing {
        let mut naming = Naming::new(world);
        M::map_entities(&mut message, &mut naming);
        let spoken_of = naming.slots;
        let payload = match encode(&message, delivery) {
            Ok(payload) => payload,
            Err(error) => {
                let path = M::type_path();
                tracing::error!(path, %error, "a message is not sent");
                world.resource_mut::<ReplicationStats>().messages_not_sent += 1;
                world.write_message(MessageNotSent { path, to, error });
                continue;
            }
        };
        deliver_here(world, (kind, &payload), to, (direction, delivery));
        world.resource_scope(|world, mut peers: Mut<Peers>| {
            let known = &world.resource::<Office>().known;
            let here = (world.resource(), world.resource::<Slots>(), known);
            // Who may come back hears it then.
            let Peers { map, suspended, .. } = &mut *peers;
            // A client that plays elsewhere says it there.
            let plays = map
                .values()
                .any(|peer| goes_to(peer, Target::Server, direction));
            let suspended = suspended.iter_mut().map(|kept| (&mut kept.peer, false));
            let suspended = suspended.filter(|(peer, _)| {
                delivery == Delivery::Reliable && !(plays && peer.side == LinkSide::ToServer)
            });
            let all = map.values_mut().map(|peer| (peer, true)).chain(suspended);
            for (peer, linked) in all.filter(|(peer, _)| goes_to(peer, to, direction)) {
                let most = match delivery {
                    Delivery::Reliable => MAX_MENTIONS,
                    Delivery::Unreliable => (MAX_UNRELIABLE - payload.len()) / MENTION,
                };
                let mentions = mentions::of_peer(peer, &spoken_of, most, here);
                let payload = payload.clone();
                match delivery {
                    Delivery::Reliable => {
                        let message = Frame::Message {
                            kind,
                            tick,
                            mentions,
                            payload,
                        };
                        peer.say(&message, linked);
                    }
                    Delivery::Unreliable => {
                        if peer.unreliable.len() == MAX_QUEUED {
                            peer.unreliable.remove(0);
                        }
                        peer.unreliable.push(Spoken {
                            kind,
                            mentions,
                            payload,
                        });
                    }
                }
            }
        });
    }
}

/// Delivers what one half of a listen server says to the other.
fn deliver_here(
    world: &mut World,
    (kind, payload): (u16, &[u8]),
    to: Target,
    (direction, delivery): (Direction, Delivery),
) {
    let Some(player) = world.resource::<Peers>().local() else {
        return;
    };
    let to_player = match to {
        Target::Server => false,
        Target::All => true,
        Target::Peer(id) => id == player,
        Target::AllExcept(id) => id != player,
    };
    let (side, link) = match to {
        Target::Server if direction != Direction::ToClients => (LinkSide::ToClient, LOCAL_CLIENT),
        _ if to_player && direction != Direction::ToServer => (LinkSide::ToServer, LOCAL_SERVER),
        _ => return,
    };
    let spoken = Spoken {
        kind,
        mentions: Vec::new(),
        payload: payload.to_vec(),
    };
    let tick = world.resource::<NetClock>().tick();
    let mut incoming = Incoming::new(world, (link, side, player), tick, spoken);
    incoming.reliable = delivery == Delivery::Reliable;
    if let Err(error) = receive(world, incoming) {
        tracing::error!(%error, "a message to this app's own half does not decode");
    }
}

fn encode<M: NetMessage>(message: &M, delivery: Delivery) -> Result<Vec<u8>, WireError> {
    let max = match delivery {
        Delivery::Reliable => MAX_RELIABLE,
        Delivery::Unreliable => MAX_UNRELIABLE,
    };
    let payload = codec::to_vec(message)?;
    if payload.len() <= max {
        return Ok(payload);
    }
    Err(WireError::OutOfBounds {
        what: "message",
        value: payload.len() as u64,
        max: max as u64,
    })
}

fn goes_to(peer: &Peer, to: Target, direction: Direction) -> bool {
    if peer.state != PeerState::Ready || peer.spectator {
        return false;
    }
    match peer.side {
        LinkSide::ToServer => to == Target::Server && direction != Direction::ToClients,
        LinkSide::ToClient => {
            direction != Direction::ToServer
                && match to {
                    Target::Server => false,
                    Target::All => true,
                    Target::Peer(id) => peer.id == Some(id),
                    Target::AllExcept(id) => peer.id != Some(id),
                }
        }
    }
}
