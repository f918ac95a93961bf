//! The links of a client, each with its own socket.

use std::{net::SocketAddr, time::Duration};

use bevy::prelude::*;
use renet::RenetClient;

use crate::{
    ClientConfig, CloseReason, ConditionerConfig, ConnectError, Link, LinkId, Links, PeerAddress,
    TransportConfig,
    carrier::CarrierKind,
    channel::connection_config,
    connect::{self, Line},
    frame::Frame,
    link::Peer,
    notice::Notices,
    state::LinkSide,
};

/// All links that this app asked for: its client side.
///
/// There may be several at once, each on its own socket: a client that walks from one server to
/// the next opens the second link before the first one closes. One of them is primary: its renet
/// client is the resource [`bevy_renet::RenetClient`], for those who look there. The first is
/// primary until another is promoted.
#[derive(Resource, Default)]
pub struct ClientEndpoints {
    endpoints: Vec<ClientEndpoint>,
    primary: Option<LinkId>,
    /// Whose renet client is in the resource now.
    installed: Option<LinkId>,
    /// A recording plays: no link gets a socket.
    playback: bool,
    /// Links that wait for their part in it or play it.
    played: Vec<LinkId>,
}

struct ClientEndpoint {
    link: LinkId,
    line: Line,
    /// `None` while it is in the resource.
    renet: Option<Box<RenetClient>>,
}

impl ClientEndpoints {
    /// Asks a server for a link. It stands when [`LinkOpened`](crate::LinkOpened) says so, or
    /// [`LinkClosed`](crate::LinkClosed) says why not.
    ///
    /// # Errors
    /// [`ConnectError`] when the server could not even be asked.
    pub fn connect(
        &mut self,
        links: &mut Links,
        limits: &TransportConfig,
        config: ClientConfig,
    ) -> Result<LinkId, ConnectError> {
        if self.playback {
            return self.wait_for_recording(links, limits);
        }
        let (line, address, netcode_id) = connect::open(config.server, config.bind)?;
        let peer = Peer {
            carrier: CarrierKind::Client,
            address,
            netcode_id,
            user_data: None,
        };
        let id = links
            .insert(|id| Link::new(id, peer, limits, Duration::ZERO))
            .ok_or(ConnectError::TooManyLinks)?;
        if let Some(link) = links.get_mut(id)
            && config.conditioner != ConditionerConfig::default()
        {
            link.set_conditioner(config.conditioner);
        }
        let renet = RenetClient::new(connection_config(LinkSide::ToServer, limits));
        self.endpoints.push(ClientEndpoint {
            link: id,
            line,
            renet: Some(Box::new(renet)),
        });
        let primary = self.primary.and_then(|primary| self.find(primary));
        if primary.is_none() {
            self.primary = Some(id);
        }
        Ok(id)
    }

    /// From now on links are asked of a recording, or of servers again. So it is, by itself, from the
    /// first [`TransportSystems::Receive`](crate::TransportSystems::Receive) on while there is a
    /// [`LinksPlayback`](crate::LinksPlayback); say it where links are asked for before that.
    pub const fn play_back(&mut self, playback: bool) {
        self.playback = playback;
    }

    fn wait_for_recording(
        &mut self,
        links: &mut Links,
        limits: &TransportConfig,
    ) -> Result<LinkId, ConnectError> {
        let peer = Peer {
            carrier: CarrierKind::Playback(LinkSide::ToServer),
            address: PeerAddress::Memory(0),
            netcode_id: 0,
            user_data: None,
        };
        let id = links
            .insert(|id| Link::new(id, peer, limits, Duration::ZERO))
            .ok_or(ConnectError::TooManyLinks)?;
        self.played.retain(|link| links.get(*link).is_some());
        self.played.push(id);
        if self.primary.is_none_or(|primary| !self.is_ours(primary)) {
            self.primary = Some(id);
        }
        Ok(id)
    }

    fn is_ours(&self, link: LinkId) -> bool {
        self.find(link).is_some() || self.played.contains(&link)
    }

    /// Makes a link the primary one, from the next
    /// [`TransportSystems::Receive`](crate::TransportSystems::Receive) on. `false` if it is not a
    /// client's link or over.
    pub fn promote(&mut self, link: LinkId) -> bool {
        let known = self.is_ours(link);
        if known {
            self.primary = Some(link);
        }
        known
    }

    /// The primary link. It may be over.
    #[must_use]
    pub const fn primary(&self) -> Option<LinkId> {
        self.primary
    }

    /// The link whose renet client is in the resource [`bevy_renet::RenetClient`].
    #[must_use]
    pub const fn installed(&self) -> Option<LinkId> {
        self.installed
    }

    /// The address of a link's own socket; `None` for links in memory.
    #[must_use]
    pub fn local_address(&self, link: LinkId) -> Option<SocketAddr> {
        match &self.find(link)?.line {
            Line::Udp(client) => client.local_address(),
            Line::Memory(_) => None,
        }
    }

    fn find(&self, link: LinkId) -> Option<&ClientEndpoint> {
        self.endpoints.iter().find(|endpoint| endpoint.link == link)
    }

    /// Puts the primary's renet client into the resource, and takes another's out. The client of a
    /// link that is over stays, disconnected, until another is promoted.
    pub(crate) fn install_primary(
        &mut self,
        present: Option<&mut bevy_renet::RenetClient>,
    ) -> Option<bevy_renet::RenetClient> {
        if self.primary == self.installed {
            return None;
        }
        let primary = self.primary?;
        let endpoint = self
            .endpoints
            .iter_mut()
            .find(|endpoint| endpoint.link == primary)?;
        let mut next = bevy_renet::RenetClient(*endpoint.renet.take()?);
        let before = self.installed.replace(primary);
        let Some(present) = present else {
            return Some(next);
        };
        std::mem::swap(present, &mut next);
        if let Some(endpoint) = self.endpoints.iter_mut().find(|e| Some(e.link) == before) {
            endpoint.renet = Some(Box::new(next.0));
        }
        None
    }

    pub(crate) fn receive(
        &mut self,
        mut installed: Option<&mut bevy_renet::RenetClient>,
        frame: &mut Frame<'_, '_>,
    ) {
        let times = (frame.now, frame.delta);
        self.endpoints.retain_mut(|endpoint| {
            let Some(link) = frame.links.get_mut(endpoint.link) else {
                return false;
            };
            let Some(renet) = engine(&mut endpoint.renet, &mut installed) else {
                // Someone removed the resource.
                frame.notices.closed(link, CloseReason::Engine);
                return false;
            };
            let before = link.is_connected();
            match &mut endpoint.line {
                Line::Udp(client) => {
                    client.receive(link, renet, times, frame.config.packets_per_frame);
                }
                Line::Memory(client) => client.receive(link, renet, frame.now),
            }
            if link.is_connected() && !before {
                frame.notices.opened(link);
            }
            endpoint
                .line
                .outlives(link, renet, frame.notices, frame.now)
        });
    }

    /// Sends what one link has for this tick.
    pub(crate) fn flush(
        &mut self,
        link: &mut Link,
        installed: Option<&mut bevy_renet::RenetClient>,
        notices: &mut Notices<'_>,
        (now, delta): (Duration, Duration),
    ) {
        let mut installed = installed;
        let id = link.id();
        let Some(at) = self
            .endpoints
            .iter()
            .position(|endpoint| endpoint.link == id)
        else {
            return;
        };
        let endpoint = &mut self.endpoints[at];
        let Some(renet) = engine(&mut endpoint.renet, &mut installed) else {
            return;
        };
        renet.update(delta);
        match &mut endpoint.line {
            Line::Udp(client) => client.flush(link, renet, now),
            Line::Memory(client) => client.flush(link, renet, now),
        }
        if !endpoint.line.outlives(link, renet, notices, now) {
            self.endpoints.remove(at);
        }
    }
}

impl Line {
    /// Ends a doomed link; `false` if it did.
    fn outlives(
        &mut self,
        link: &mut Link,
        renet: &mut RenetClient,
        notices: &mut Notices<'_>,
        now: Duration,
    ) -> bool {
        let Some(reason) = link.doomed() else {
            return true;
        };
        if reason != CloseReason::Abandoned {
            match self {
                Self::Udp(client) => client.say_goodbye(link, now),
                Self::Memory(client) => client.say_goodbye(link, now),
            }
        }
        match reason {
            CloseReason::Requested | CloseReason::Refused | CloseReason::Shutdown => {
                renet.disconnect();
            }
            _ => renet.disconnect_due_to_transport(),
        }
        notices.closed(link, reason);
        false
    }
}

/// An endpoint's renet client, wherever it is.
fn engine<'a>(
    own: &'a mut Option<Box<RenetClient>>,
    installed: &'a mut Option<&mut bevy_renet::RenetClient>,
) -> Option<&'a mut RenetClient> {
    match own {
        Some(own) => Some(own),
        None => installed.as_mut().map(|installed| &mut installed.0),
    }
}
