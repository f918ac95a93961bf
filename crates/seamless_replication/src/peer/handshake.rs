//! The handshake: who are you, and do we speak the same?

use std::time::Duration;

use bevy::prelude::*;
use bytes::Bytes;
use seamless_transport::{Channel, CloseReason, LinkId, LinkSide, Links};
use seamless_wire::{
    NodeRef, PeerId, WIRE_VERSION, codec,
    frame::{Frame, Hello, Refusal, Welcome},
};

use super::{Peer, PeerJoined, PeerRefused, PeerState, Peers};
use crate::{clock::NetClock, names, registry::Registry, slots::Slots};

/// How long a peer may take to introduce itself.
const PATIENCE: Duration = Duration::from_secs(5);

/// Most reliable frames that wait for room on a link.
const MAX_FRAMES: usize = 8192;

/// Whom a server lets in, and under which name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Admitted {
    /// The name under which the client holds entities and sends inputs.
    pub peer: PeerId,
    /// Whether it may only watch for now.
    pub spectator: bool,
}

/// What decides.
type AdmitFn = dyn Fn(LinkId, u64, Option<&[u8; 256]>) -> Result<Admitted, Refusal> + Send + Sync;

/// Decides whom a server lets in, from the sealed data of its connect token. Asked in the frame of
/// the connect, before anything is sent.
///
/// By default everybody, under the number in the token.
#[derive(Resource)]
pub struct Admission {
    decide: Box<AdmitFn>,
    /// Which node of a mesh this is; told to clients.
    pub node: Option<NodeRef>,
}

impl Default for Admission {
    fn default() -> Self {
        Self {
            decide: Box::new(|_, id, _| {
                Ok(Admitted {
                    peer: PeerId(id),
                    spectator: false,
                })
            }),
            node: None,
        }
    }
}

impl Admission {
    /// Decides with `decide(link, id in the token, sealed data)`.
    #[must_use]
    pub fn new(
        decide: impl Fn(LinkId, u64, Option<&[u8; 256]>) -> Result<Admitted, Refusal>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        Self {
            decide: Box::new(decide),
            node: None,
        }
    }
}

/// A link stands: introduce ourselves, or decide whether to listen.
pub(crate) fn on_open(world: &mut World, link: LinkId) {
    let now = world.resource::<NetClock>().now();
    let links = world.resource::<Links>();
    let Some(link) = links.get(link) else { return };
    let mut peer = Peer::new(link.id(), link.side(), now);
    match link.side() {
        LinkSide::ToServer => {
            let schema = world.resource::<Registry>().schema().clone();
            let hello = Hello {
                wire_version: WIRE_VERSION,
                schema,
            };
            peer.send_frame(Frame::Hello(Box::new(hello)));
        }
        LinkSide::ToClient => {
            let admission = world.resource::<Admission>();
            match (admission.decide)(link.id(), link.netcode_id(), link.user_data()) {
                Ok(admitted) => {
                    peer.id = Some(admitted.peer);
                    peer.spectator = admitted.spectator;
                }
                Err(reason) => refuse(world, &mut peer, reason),
            }
        }
    }
    world
        .resource_mut::<Peers>()
        .map
        .insert(peer.link, Box::new(peer));
}

fn refuse(world: &mut World, peer: &mut Peer, reason: Refusal) {
    tracing::info!(link = %peer.link, %reason, "peer refused");
    peer.send_frame(Frame::Refused(reason.clone()));
    peer.state = PeerState::Ended;
    world.write_message(PeerRefused {
        link: peer.link,
        reason,
    });
}

/// A reliable frame of the handshake. Gives back what is not.
pub(crate) fn on_frame(world: &mut World, peer: &mut Peer, frame: Frame) -> Option<Frame> {
    match (peer.side, peer.state, frame) {
        (LinkSide::ToClient, PeerState::Greeting, Frame::Hello(hello)) => {
            welcome(world, peer, &hello);
            None
        }
        (LinkSide::ToServer, PeerState::Greeting, Frame::Welcome(welcome)) => {
            enter(world, peer, &welcome);
            None
        }
        (LinkSide::ToServer, PeerState::Greeting, Frame::Refused(reason)) => {
            tracing::debug!(link = %peer.link, %reason, "refused by the server");
            peer.state = PeerState::Ended;
            world.write_message(PeerRefused {
                link: peer.link,
                reason,
            });
            None
        }
        (_, PeerState::Ready, frame) => Some(frame),
        (..) => {
            tracing::debug!(link = %peer.link, "frame out of turn dropped");
            None
        }
    }
}

/// Server: the client has introduced itself.
fn welcome(world: &mut World, peer: &mut Peer, hello: &Hello) {
    let Some(id) = peer.id else { return };
    if hello.wire_version != WIRE_VERSION {
        let (ours, theirs) = (WIRE_VERSION, hello.wire_version);
        return refuse(world, peer, Refusal::WireVersion { ours, theirs });
    }
    if !hello.schema.is_sane() {
        return refuse(
            world,
            peer,
            Refusal::Other("the schema is out of bounds".into()),
        );
    }
    let differences = hello
        .schema
        .differences(world.resource::<Registry>().schema());
    if !differences.is_empty() {
        return refuse(world, peer, Refusal::Schema(differences));
    }
    // A client that comes again replaces its former link, which may not have noticed its end yet.
    for other in world.resource_mut::<Peers>().iter_mut() {
        if other.id == Some(id) && other.side == peer.side {
            other.state = PeerState::Ended;
        }
    }
    let lent = world.resource_mut::<Slots>().names.lend(names::LENT);
    let clock = world.resource::<NetClock>();
    peer.send_frame(Frame::Welcome(Box::new(Welcome {
        peer: id,
        tick: clock.tick(),
        tick_rate: clock.rate(),
        names: lent.map(|(first, _)| first),
        name_count: lent.map_or(0, |(_, count)| count),
        node: world.resource::<Admission>().node,
        spectator: peer.spectator,
    })));
    peer.receiver.tick = clock.tick();
    ready(world, peer, id);
}

/// Client: the server lets us in.
fn enter(world: &mut World, peer: &mut Peer, welcome: &Welcome) {
    let rate = world.resource::<NetClock>().rate();
    if welcome.tick_rate != rate {
        let reason = format!(
            "the server runs {} ticks a second, we {rate}",
            welcome.tick_rate
        );
        return refuse(world, peer, Refusal::Other(reason));
    }
    let peers = world.resource::<Peers>();
    if let Some(me) = peers.me()
        && me != welcome.peer
        && peers.iter().any(|other| other.state == PeerState::Ready)
    {
        let reason = format!("the server calls us {}, others {me}", welcome.peer);
        return refuse(world, peer, Refusal::Other(reason));
    }
    world.resource_mut::<Peers>().set_me(welcome.peer);
    peer.spectator = welcome.spectator;
    peer.node = welcome.node;
    peer.receiver.tick = welcome.tick;
    if let Some(first) = welcome.names {
        take_names(world, first, welcome.name_count);
    }
    ready(world, peer, welcome.peer);
}

fn ready(world: &mut World, peer: &mut Peer, id: PeerId) {
    peer.id = Some(id);
    peer.state = PeerState::Ready;
    world.write_message(PeerJoined {
        link: peer.link,
        peer: id,
        spectator: peer.spectator,
    });
}

/// Takes lent names and gives them to entities that wait for one.
pub(crate) fn take_names(world: &mut World, first: seamless_wire::GlobalEntity, count: u32) {
    let mut slots = world.resource_mut::<Slots>();
    slots.names.add(first, count);
    for (entity, global) in slots.name_waiting() {
        crate::slots::set_name(world, entity, global);
    }
}

/// Hands waiting frames to the links, ends peers that are to go or that never introduced
/// themselves.
pub(crate) fn greet(peers: &mut Peers, links: &mut Links, now: Duration) {
    for peer in peers.iter_mut() {
        let Some(link) = links.get_mut(peer.link) else {
            continue;
        };
        while let Some(frame) = peer.frames.front() {
            let channel = match frame {
                Frame::Row(_) => Channel::Bulk,
                _ => Channel::Control,
            };
            match codec::to_vec(frame) {
                Ok(bytes) => {
                    if link.send_reliable(channel, Bytes::from(bytes)).is_err() {
                        // Full or closing: next tick, or never.
                        break;
                    }
                }
                Err(error) => tracing::error!(%error, "a frame cannot be encoded"),
            }
            peer.frames.pop_front();
        }
        if peer.frames.len() > MAX_FRAMES {
            tracing::warn!(link = %peer.link, "the peer takes nothing; closed");
            peer.state = PeerState::Ended;
        }
        if peer.state == PeerState::Greeting && now.saturating_sub(peer.since) > PATIENCE {
            peer.state = PeerState::Ended;
        }
        if peer.state == PeerState::Ended {
            link.close(CloseReason::Refused);
        }
    }
}
