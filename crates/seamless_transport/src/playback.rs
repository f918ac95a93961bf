//! Links that a recording plays.
//!
//! Nothing carries them: what they give to the layers above was recorded, and what those send goes
//! nowhere. [`LinksPlayback`] takes the place of an endpoint.

use std::collections::BTreeMap;

use bevy::prelude::*;
use bytes::Bytes;
use seamless_wire::ticket::TICKET_BYTES;

use crate::{
    Channel, CloseReason, Link, LinkId, LinkSide, LinkState, Links, PeerAddress,
    carrier::CarrierKind, frame::Frame, link::Peer, notice::Notices,
};

/// Something that happened on a recorded link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PlayedEvent {
    /// The link stood.
    Opened(PlayedPeer),
    /// A state datagram was taken from it.
    Datagram(Bytes),
    /// A reliable message was taken from it.
    Reliable(Channel, Bytes),
    /// It was over.
    Closed(CloseReason),
}

/// Who was at the other end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlayedPeer {
    /// Which end the recording app was.
    pub side: LinkSide,
    /// Where the peer was.
    pub address: PeerAddress,
    /// [`Link::netcode_id`].
    pub netcode_id: u64,
    /// [`Link::user_data`].
    pub user_data: Option<Box<[u8; TICKET_BYTES]>>,
}

/// Plays what links did, in place of an endpoint.
///
/// While it is a resource, [`ClientEndpoints::connect`](crate::ClientEndpoints::connect) opens no
/// socket: the link that it gives waits for its part in the recording, in the order of the calls.
/// Links that the recording has and nobody asked for are made when they open.
///
/// Before each frame put there what happened in it, with [`arrives`](Self::arrives) what came before
/// the game ran and with [`ends`](Self::ends) what ended with a tick's flush.
#[derive(Resource, Debug, Default)]
pub struct LinksPlayback {
    arriving: Vec<(LinkId, PlayedEvent)>,
    /// By the number of the flush in the frame, from 0.
    ending: Vec<(u32, LinkId, CloseReason)>,
    flushes: u32,
    /// The recording's names of links to ours.
    names: BTreeMap<LinkId, LinkId>,
}

impl LinksPlayback {
    /// Plays an event of a recorded link in the next
    /// [`TransportSystems::Receive`](crate::TransportSystems::Receive).
    pub fn arrives(&mut self, link: LinkId, event: PlayedEvent) {
        self.arriving.push((link, event));
    }

    /// Ends a recorded link in the next frame, with its flush of this number, from 0.
    pub fn ends(&mut self, link: LinkId, flush: u32, reason: CloseReason) {
        self.ending.push((flush, link, reason));
    }

    /// The link here that plays a recorded one.
    #[must_use]
    pub fn link(&self, recorded: LinkId) -> Option<LinkId> {
        self.names.get(&recorded).copied()
    }

    pub(crate) fn receive(&mut self, frame: &mut Frame<'_, '_>) {
        self.flushes = 0;
        for (recorded, event) in std::mem::take(&mut self.arriving) {
            match event {
                PlayedEvent::Opened(peer) => self.open(recorded, peer, frame),
                PlayedEvent::Closed(reason) => {
                    let id = self
                        .link(recorded)
                        .or_else(|| waiting(frame.links, recorded));
                    if let Some(link) = id.and_then(|id| frame.links.get_mut(id)) {
                        close(link, reason, frame.notices);
                    }
                }
                PlayedEvent::Datagram(bytes) => {
                    if let Some(link) = self.playing(recorded, frame.links) {
                        link.play_datagram(&bytes, frame.now);
                    }
                }
                PlayedEvent::Reliable(channel, bytes) => {
                    if let Some(link) = self.playing(recorded, frame.links) {
                        link.play_reliable(channel, bytes, frame.now);
                    }
                }
            }
        }
        for link in frame.links.iter_mut() {
            close_doomed(link, frame.notices);
        }
        self.names
            .retain(|_, link| frame.links.get(*link).is_some());
    }

    fn playing<'a>(&self, recorded: LinkId, links: &'a mut Links) -> Option<&'a mut Link> {
        links.get_mut(self.link(recorded)?)
    }

    fn open(&mut self, recorded: LinkId, peer: PlayedPeer, frame: &mut Frame<'_, '_>) {
        let waiting = match peer.side {
            LinkSide::ToServer => waiting(frame.links, recorded),
            LinkSide::ToClient => None,
        };
        let id = match waiting {
            Some(id) => Some(id),
            None => {
                let peer = Peer {
                    carrier: CarrierKind::Playback(peer.side),
                    address: peer.address,
                    netcode_id: peer.netcode_id,
                    user_data: peer.user_data,
                };
                let (config, now) = (frame.config, frame.now);
                frame.links.insert(|id| Link::new(id, peer, config, now))
            }
        };
        let Some(link) = id.and_then(|id| frame.links.get_mut(id)) else {
            return;
        };
        link.establish();
        self.names.insert(recorded, link.id());
        frame.notices.opened(link);
    }

    /// One tick's flush of one link: what it sends goes nowhere.
    pub(crate) fn flush(&self, link: &mut Link, notices: &mut Notices<'_>) {
        link.discard_outgoing();
        close_doomed(link, notices);
        let ends = self.ending.iter().find(|(flush, recorded, _)| {
            // One that never stood has no other name.
            let here = self.link(*recorded).unwrap_or(*recorded);
            *flush == self.flushes && here == link.id()
        });
        if let Some((_, _, reason)) = ends {
            close(link, *reason, notices);
        }
    }

    /// All links were flushed.
    pub(crate) fn flushed(&mut self) {
        let now = self.flushes;
        self.ending.retain(|(flush, ..)| *flush > now);
        self.flushes += 1;
    }
}

/// The link that this app asked for and that plays this recorded one: where apps do the same, the one
/// with the same name, else the first.
fn waiting(links: &Links, recorded: LinkId) -> Option<LinkId> {
    let waits = |link: &&Link| {
        link.carrier == CarrierKind::Playback(LinkSide::ToServer)
            && link.state() == LinkState::Connecting
    };
    let same = links.get(recorded).filter(waits);
    let link = same.or_else(|| links.iter().find(waits))?;
    Some(link.id())
}

/// What this app ended by itself.
fn close_doomed(link: &mut Link, notices: &mut Notices<'_>) {
    if let (CarrierKind::Playback(_), Some(reason)) = (link.carrier, link.doomed()) {
        close(link, reason, notices);
    }
}

fn close(link: &mut Link, reason: CloseReason, notices: &mut Notices<'_>) {
    if !matches!(link.state(), LinkState::Closed(_)) {
        notices.closed(link, reason);
    }
}
