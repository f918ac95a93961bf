//! Links that dropped and come back.
//!
//! While a link stands, its server gives the client a key. When the link drops, without a goodbye
//! from either end, both keep what is known of the stream from server to client for a while: the
//! client its entities and the rows it retained, the server which of those the client acknowledged.
//! A client that comes back in time and shows the key goes on from there, over a new link: the
//! numbers of datagrams go on, what was under way counts as lost, and what changed meanwhile is
//! told against what the client has. Control items and reliable messages go on both ways, each is
//! delivered once.
//!
//! The other direction begins anew: a client's own entities are few. Snapshots that were under way are
//! gone. A key that is wrong, late or used up is no offence: the client joins as
//! anybody does.

use std::time::Duration;

use bevy::prelude::*;
use seamless_transport::{CloseReason, LinkId, LinkSide, LinkState, Links, PeerAddress, secret};
use seamless_wire::{PeerId, frame::ResumeKey};

use super::{Admission, Peer, PeerState, Peers};
use crate::{
    clock::NetClock,
    messages::WaitingMessages,
    migrate::link_ended,
    plugin::ReplicationConfig,
    receive::{Receiver, leave::link_lost},
    send::Sender,
    slots::{Role, Slots},
    snapshot::transfer,
};

/// What is kept of a link that dropped.
pub(crate) struct Suspended {
    pub(crate) peer: Box<Peer>,
    key: ResumeKey,
    until: Duration,
}

impl Peer {
    /// Whether a client that shows this key goes on with this session.
    fn is_for(&self, key: &ResumeKey) -> bool {
        let keys = [self.resume_key, self.shown_key];
        keys.iter().flatten().any(|its| same(its, key))
    }
}

impl Suspended {
    /// The game wants none of it any more.
    fn is_over(&self) -> bool {
        self.peer.dismissed || self.peer.state == PeerState::Ended
    }
}

/// What became of the session that a link carried.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SessionState {
    /// It goes on over this link: the same one, or the one with which the client came back.
    Stands(LinkId),
    /// The link dropped, and the session may go on over another.
    Suspended,
    /// Nobody goes on with it: what was not delivered will not be.
    Over,
}

/// Whether a link ended so that it may come back: nobody wanted it to.
const fn is_dropped(reason: CloseReason) -> bool {
    matches!(
        reason,
        CloseReason::TimedOut | CloseReason::Abandoned | CloseReason::Engine
    )
}

/// Compares in a time that says nothing of where they differ.
fn same(a: &ResumeKey, b: &ResumeKey) -> bool {
    a.iter().zip(b).fold(0, |any, (a, b)| any | (a ^ b)) == 0
}

/// A link is gone. Keeps what may be resumed, and ends the rest.
pub(crate) fn suspend_or_end(world: &mut World, mut peer: Box<Peer>) {
    let config = world.resource::<ReplicationConfig>();
    let (grace, most) = (config.resume_grace, config.resumable);
    transfer::cut(world, &mut peer);
    let link = world.resource::<Links>().get(peer.link);
    let dropped = match link.map(|link| link.state()) {
        Some(LinkState::Closed(reason)) => is_dropped(reason),
        _ => false,
    };
    let key = peer
        .resume_key
        .filter(|_| dropped && peer.state == PeerState::Ready && !peer.dismissed)
        .filter(|_| !peer.spectator);
    let (Some(key), false) = (key, grace.is_zero()) else {
        link_ended(world, peer.link);
        return link_lost(world, &mut peer);
    };
    let until = world.resource::<NetClock>().now() + grace;
    match peer.side {
        LinkSide::ToClient => {
            link_lost(world, &mut peer);
            let control = std::mem::take(&mut peer.receiver.control);
            peer.receiver = Receiver {
                control,
                ..Receiver::default()
            };
        }
        LinkSide::ToServer => {
            let control = std::mem::take(&mut peer.sender.control);
            peer.sender = Sender::default();
            peer.sender.control = control;
        }
    }
    peer.frames = Default::default();
    peer.unreliable = Vec::new();
    let mut peers = world.resource_mut::<Peers>();
    peers.suspended.push(Suspended { peer, key, until });
    let is_clients = |kept: &Suspended| kept.peer.side == LinkSide::ToClient;
    let clients = peers.suspended.iter().filter(|kept| is_clients(kept));
    let mut many = clients.count().saturating_sub(most);
    let is_one_of_many = |kept: &mut Suspended| {
        let goes = many > 0 && is_clients(kept);
        many -= usize::from(goes);
        goes
    };
    let oldest = peers.suspended.extract_if(.., is_one_of_many);
    for oldest in oldest.collect::<Vec<Suspended>>() {
        give_up(world, oldest);
    }
}

/// Nobody comes back for it.
fn give_up(world: &mut World, mut suspended: Suspended) {
    match suspended.peer.side {
        LinkSide::ToServer => link_lost(world, &mut suspended.peer),
        LinkSide::ToClient => link_ended(world, suspended.peer.link),
    }
}

/// Gives up what was kept for long enough. Once a frame, a look at each.
pub(crate) fn expire(world: &mut World) {
    if world.resource::<Peers>().suspended.is_empty() {
        return;
    }
    let now = world.resource::<NetClock>().now();
    let peers = &mut *world.resource_mut::<Peers>();
    // The server may be taking one up just now.
    let shown: Vec<LinkId> = peers
        .map
        .values()
        .filter_map(|peer| peer.presented)
        .collect();
    let is_late = |suspended: &mut Suspended| {
        suspended.is_over() || suspended.until <= now && !shown.contains(&suspended.peer.link)
    };
    let late: Vec<Suspended> = peers.suspended.extract_if(.., is_late).collect();
    for suspended in late {
        give_up(world, suspended);
    }
}

/// A new key for a client, if this server keeps what it may come back for.
pub(super) fn new_key(world: &World, peer: &Peer) -> Option<ResumeKey> {
    let grace = world.resource::<ReplicationConfig>().resume_grace;
    (!grace.is_zero() && !peer.spectator).then(secret)
}

/// Client: the key to show at this server, if a link to it dropped lately.
/// Also, how many messages came over it.
pub(super) fn key_for(world: &World, address: PeerAddress) -> Option<(LinkId, (ResumeKey, u32))> {
    let peers = world.resource::<Peers>();
    // Over one link at a time.
    let is_shown = |link| peers.iter().any(|peer| peer.presented == Some(link));
    let mut to_it = peers.suspended.iter().filter(|Suspended { peer, .. }| {
        let is_its = peer.side == LinkSide::ToServer && peer.address == Some(address);
        is_its && !is_shown(peer.link)
    });
    let last = to_it.next_back()?;
    Some((last.peer.link, (last.key, last.peer.said.heard())))
}

/// Server: takes up the session of a key, if it is the client's. False if the client must join
/// anew; whatever else waited for it is given up then, too.
pub(super) fn take_up(world: &mut World, peer: &mut Peer, key: Option<&ResumeKey>) -> bool {
    let anybody = world.resource::<Admission>().names_nobody;
    let is_its = |id: Option<PeerId>| anybody || id == peer.id;
    let mut peers = world.resource_mut::<Peers>();
    let old = key.filter(|_| !peer.spectator).and_then(|key| {
        let fits = |suspended: &Suspended| {
            suspended.peer.side == LinkSide::ToClient
                && !suspended.is_over()
                && suspended.peer.is_for(key)
                && is_its(suspended.peer.id)
        };
        if let Some(at) = peers.suspended.iter().position(fits) {
            return Some(peers.suspended.remove(at).peer);
        }
        // The former link may not have noticed its end yet.
        let live = peers.map.values_mut().find(|other| {
            other.side == LinkSide::ToClient
                && other.state == PeerState::Ready
                && other.is_for(key)
                && is_its(other.id)
        })?;
        let mut old = Box::new(Peer::new(live.link, live.side, live.since));
        old.id = live.id;
        old.sender = std::mem::take(&mut live.sender);
        old.interest = std::mem::take(&mut live.interest);
        old.bytes_per_tick = live.bytes_per_tick;
        old.dismissed = live.dismissed;
        old.said = std::mem::take(&mut live.said);
        old.lent = std::mem::take(&mut live.lent);
        old.receiver.control = std::mem::take(&mut live.receiver.control);
        live.resume_key = None;
        live.shown_key = None;
        live.state = PeerState::Ended;
        Some(old)
    });
    let Some(old) = old else {
        let is_its =
            |other: &Suspended| other.peer.side == LinkSide::ToClient && other.peer.id == peer.id;
        let given_up: Vec<Suspended> = peers
            .suspended
            .extract_if(.., |other| is_its(other))
            .collect();
        for suspended in given_up {
            give_up(world, suspended);
        }
        return false;
    };
    peer.id = old.id;
    peer.shown_key = key.copied();
    peer.resumed_from = Some(old.link);
    peer.lent = old.lent;
    peer.said = old.said;
    peer.sender = old.sender;
    peer.sender.resume();
    peer.interest = old.interest;
    // Unless the game has said so for the new link already.
    peer.bytes_per_tick = peer.bytes_per_tick.or(old.bytes_per_tick);
    peer.dismissed |= old.dismissed;
    peer.interest.ask_everything_again();
    peer.receiver.control = old.receiver.control;
    world
        .resource_mut::<WaitingMessages>()
        .follow(old.link, peer.link);
    world
        .resource_mut::<Slots>()
        .migrations_follow(old.link, peer.link);
    true
}

/// Client: the server took the session up, or did not. False if it goes on with what we do not have.
#[must_use]
pub(super) fn go_on(world: &mut World, peer: &mut Peer, resumed: bool) -> bool {
    let presented = peer.presented.take();
    let peers = &mut *world.resource_mut::<Peers>();
    let at = presented.and_then(|old| peers.suspended.iter().position(|s| s.peer.link == old));
    let Some(at) = at else {
        return !resumed;
    };
    let suspended = peers.suspended.remove(at);
    if !resumed {
        give_up(world, suspended);
        return true;
    }
    let old = suspended.peer;
    peer.resumed_from = Some(old.link);
    peer.bytes_per_tick = peer.bytes_per_tick.or(old.bytes_per_tick);
    peer.receiver = old.receiver;
    peer.said = old.said;
    peer.sender.control = old.sender.control;
    peer.sender.control.all_due();
    peer.told_scopes = old.told_scopes;
    peer.told_scopes.look_again();
    let waiting = &mut *world.resource_mut::<WaitingMessages>();
    waiting.follow(old.link, peer.link);
    let mut slots = world.resource_mut::<Slots>();
    let told: Vec<u32> = slots
        .iter()
        .filter(|(_, slot)| {
            slot.role()
                == Role::Remote {
                    source: Some(old.link),
                }
        })
        .map(|(index, _)| index)
        .collect();
    for index in told {
        let source = Some(peer.link);
        slots.set_role(index, Role::Remote { source });
        slots.rerouted.push(index);
    }
    true
}
