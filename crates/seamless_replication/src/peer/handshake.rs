//! The handshake: who are you, and do we speak the same?

use std::time::Duration;

use bevy::prelude::*;
use seamless_transport::{Channel, CloseReason, LinkError, LinkId, LinkSide, Links};
use seamless_wire::{
    NodeRef, PeerId, WIRE_VERSION,
    frame::{Frame, Hello, Refusal, Welcome},
};

use super::{Peer, PeerJoined, PeerRefused, PeerState, Peers, frames::Frames, resume};
use crate::{
    clock::{CATCH_UP, NetClock},
    inputs::InputOutbox,
    names,
    plugin::ReplicationConfig,
    registry::Registry,
    slots::Slots,
};

/// How long a peer may take to introduce itself.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long who is dismissed may take until there is room on the link for all that it is still told.
const DISMISSAL: Duration = Duration::from_secs(2);

/// How long it may take then to acknowledge that. Half a megabyte, of which some is lost more than once.
const FAREWELL: Duration = Duration::from_secs(5);

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
    /// Whether names are only those of links, so that a key alone says who comes back.
    pub(super) names_nobody: bool,
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
            names_nobody: true,
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
            names_nobody: false,
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
    peer.address = Some(link.peer_address());
    match link.side() {
        LinkSide::ToServer => {
            let schema = world.resource::<Registry>().schema().clone();
            let resume = resume::key_for(world, link.peer_address());
            peer.presented = resume.map(|(old, _)| old);
            let hello = Hello {
                wire_version: WIRE_VERSION,
                schema,
                resume: resume.map(|(_, key)| key),
                tick: world.resource::<NetClock>().tick(),
            };
            peer.send_frame(Frame::Hello(Box::new(hello)));
        }
        LinkSide::ToClient => {
            let admission = world.resource::<Admission>();
            match (admission.decide)(link.id(), link.netcode_id(), link.user_data()) {
                Ok(admitted) if world.resource::<Peers>().is_local(admitted.peer) => {
                    let reason = "this is the name of the host's own player";
                    refuse(world, &mut peer, Refusal::Other(reason.into()));
                }
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
    let reason = reason.cut();
    tracing::info!(link = %peer.link, %reason, "peer refused");
    peer.send_frame(Frame::Refused(reason.clone()));
    peer.state = PeerState::Ended;
    world.write_message(PeerRefused {
        link: peer.link,
        reason,
    });
}

/// Server: whether these bytes are the hello of another wire version, which is refused then.
/// Asked before they are decoded: what follows the version may look otherwise there.
pub(crate) fn refuse_other_version(world: &mut World, peer: &mut Peer, bytes: &[u8]) -> bool {
    if peer.side != LinkSide::ToClient || peer.state != PeerState::Greeting {
        return false;
    }
    let ours = WIRE_VERSION;
    match Hello::version_in(bytes) {
        Some(theirs) if theirs != ours => {
            refuse(world, peer, Refusal::WireVersion { ours, theirs });
            true
        }
        _ => false,
    }
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
    if let Err(error) = hello.schema.check() {
        return refuse(world, peer, Refusal::Other(error.to_string()));
    }
    let differences = hello
        .schema
        .differences(world.resource::<Registry>().schema());
    if !differences.is_empty() {
        return refuse(world, peer, Refusal::Schema(differences));
    }
    let key = hello.resume.as_ref().map(|(key, _)| key);
    let resumed = resume::take_up(world, peer, key);
    let Some(id) = peer.id else { return };
    // A client that comes again replaces its former link, which may not have noticed its end yet. It
    // leaves before it joins.
    let mut left = Vec::new();
    for other in world.resource_mut::<Peers>().iter_mut() {
        if other.id == Some(id) && other.side == peer.side {
            left.extend(other.leaves());
            other.state = PeerState::Ended;
        }
    }
    world.write_message_batch(left);
    let lent = match resumed {
        // It has those that it was lent.
        true => None,
        false => world.resource_mut::<Slots>().names.lend(names::LENT),
    };
    if let Some((first, count)) = lent {
        peer.lend(first, count);
    }
    if !resumed {
        let view = world.resource::<ReplicationConfig>().first_view;
        peer.interest.begin(view);
    }
    peer.resume_key = resume::new_key(world, peer);
    world.resource_mut::<Peers>().serve();
    let clock = world.resource::<NetClock>();
    peer.send_frame(Frame::Welcome(Box::new(Welcome {
        peer: id,
        tick: clock.tick(),
        tick_rate: clock.rate(),
        names: lent.map(|(first, _)| first),
        name_count: lent.map_or(0, |(_, count)| count),
        node: world.resource::<Admission>().node,
        spectator: peer.spectator,
        resume: peer.resume_key,
        resumed: resumed.then(|| peer.said.heard()),
    })));
    if let Some((_, messages)) = hello.resume.filter(|_| resumed) {
        peer.say_again(messages);
    }
    peer.receiver.hear(hello.tick, clock.tick());
    ready(world, peer, id, resumed);
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
    let has_us = |it: &Peer| it.side == LinkSide::ToServer && it.state == PeerState::Ready;
    let has_others = peers.iter().any(has_us);
    // What was pressed before it joined is not lost.
    let has_begun = peers.was_client() || world.resource::<InputOutbox>().acked().is_some();
    if let Some(me) = peers.as_client()
        && me != welcome.peer
        && has_others
    {
        let reason = format!("the server calls us {}, others {me}", welcome.peer);
        return refuse(world, peer, Refusal::Other(reason));
    }
    // Without a mesh nobody else knows our player: it begins anew, and so do its inputs. If this server
    // had it before, it says how far they came.
    let begins = welcome.resumed.is_none() && welcome.node.is_none() && !welcome.spectator;
    if begins && has_begun && !has_others {
        *world.resource_mut::<InputOutbox>() = InputOutbox::default();
    }
    if !resume::go_on(world, peer, welcome.resumed.is_some()) {
        let reason = "the server goes on with a session that we do not have";
        return refuse(world, peer, Refusal::Other(reason.into()));
    }
    if let Some(messages) = welcome.resumed {
        peer.say_again(messages);
    }
    world.resource_mut::<Peers>().set_me(welcome.peer);
    peer.spectator = welcome.spectator;
    peer.node = welcome.node;
    peer.resume_key = welcome.resume;
    let now = world.resource::<NetClock>().tick();
    peer.receiver.hear(welcome.tick, now);
    if let Some(first) = welcome.names {
        take_names(world, first, welcome.name_count);
    }
    ready(world, peer, welcome.peer, welcome.resumed.is_some());
}

fn ready(world: &mut World, peer: &mut Peer, id: PeerId, resumed: bool) {
    peer.id = Some(id);
    peer.state = PeerState::Ready;
    peer.joined = true;
    world.write_message(PeerJoined {
        link: peer.link,
        peer: id,
        spectator: peer.spectator,
        resumed,
    });
}

/// Takes lent names and gives them to entities that wait for one.
pub(crate) fn take_names(world: &mut World, first: seamless_wire::GlobalEntity, count: u32) {
    let mut slots = world.resource_mut::<Slots>();
    slots.names.add(first, count);
    crate::slots::name_waiting(world);
}

/// Hands waiting frames to the links, ends peers that are to go or that never introduced
/// themselves.
pub(crate) fn greet(
    peers: &mut Peers,
    links: &mut Links,
    (now, config): (Duration, &ReplicationConfig),
) {
    for peer in peers.iter_mut() {
        let Some(link) = links.get_mut(peer.link) else {
            continue;
        };
        link.set_budget(Some(peer.budget(config)));
        for channel in Channel::ALL {
            let frames = &mut peer.frames[channel as usize];
            while let Some(bytes) = frames.front() {
                match link.send_reliable(channel, bytes.clone()) {
                    Ok(()) => {}
                    // That one will never go, and what is behind it need not wait.
                    Err(error @ (LinkError::TooLong { .. } | LinkError::Empty)) => {
                        peer.sender.counters.unsendable += 1;
                        tracing::error!(link = %peer.link, %error, "a frame cannot be sent");
                    }
                    // Full or closing: next tick, or never.
                    Err(_) => break,
                }
                frames.pop();
            }
        }
        if peer.frames.iter().any(Frames::is_too_much) {
            tracing::warn!(link = %peer.link, "the peer takes nothing; closed");
            peer.state = PeerState::Ended;
        }
        if peer.state == PeerState::Greeting {
            let (took, then) = peer.greeting;
            // Who loads a level meanwhile was not slow to answer.
            let took = took + now.saturating_sub(then).min(CATCH_UP);
            peer.greeting = (took, now);
            if took > PATIENCE {
                peer.state = PeerState::Ended;
            }
        }
        if peer.dismissed {
            let since = *peer.dismissed_at.get_or_insert(now);
            let waits = peer.frames.iter().any(|frames| !frames.is_empty());
            if !waits || now.saturating_sub(since) >= DISMISSAL {
                peer.state = PeerState::Ended;
            }
        }
        match peer.state {
            PeerState::Ended if peer.dismissed => link.close_within(CloseReason::Refused, FAREWELL),
            PeerState::Ended => link.close(CloseReason::Refused),
            _ => {}
        }
    }
}
