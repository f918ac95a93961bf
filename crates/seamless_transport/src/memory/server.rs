//! The endpoint of a server, in memory.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use bevy::prelude::*;
use renet::RenetServer;

use super::{
    datagram::{Framer, KEEP_ALIVE, Numbering, body, user_data},
    hub::{FIRST_CLIENT, MemoryHub, MemorySocket},
};
use crate::{
    CloseReason, Link, LinkId, PeerAddress, Refused,
    carrier::CarrierKind,
    engine::{self, ServerEngine},
    frame::Frame,
    gate::{DatagramType, check_datagram},
    link::Peer,
    notice::Notices,
};

const SEND_EVERY: Duration = Duration::from_millis(250);
const GOODBYES: usize = 3;

/// Addresses of former clients that are remembered. Clients never use an address twice, so a
/// request from one of these was held up on its way and no one waits for the answer.
const FORMER_CLIENTS: usize = 1024;

/// How to listen at a hub.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryConfig {
    /// Links at a time.
    pub max_clients: usize,
    /// Silence after which a link ends, on this side.
    pub timeout: Duration,
}

impl Default for MemoryConfig {
    fn default() -> Self {
        Self {
            max_clients: 1024,
            timeout: Duration::from_secs(5),
        }
    }
}

/// Why a server cannot listen at a hub.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ListenError {
    /// Someone else does.
    #[error("server {0} of the hub is taken")]
    Taken(u64),
    /// Numbers from 2^32 on are the clients'.
    #[error("{0} is not a server's number")]
    NotAServer(u64),
}

/// A server's place at a [`MemoryHub`].
///
/// Insert it as a resource; [`TransportPlugin`](crate::TransportPlugin) drives it. Dropping it is
/// a sudden death: no goodbye, and its clients time out.
#[derive(Resource, Debug)]
pub struct MemoryServer {
    socket: MemorySocket,
    config: MemoryConfig,
    /// By the client's address.
    peers: BTreeMap<u64, MemoryPeer>,
    former: VecDeque<u64>,
    buffer: Vec<u8>,
}

#[derive(Debug)]
struct MemoryPeer {
    link: LinkId,
    numbering: Numbering,
}

impl MemoryServer {
    /// Listens at a number below 2^32.
    ///
    /// # Errors
    /// [`ListenError`] if someone does, or the number is a client's.
    pub fn listen(hub: &MemoryHub, number: u64, config: MemoryConfig) -> Result<Self, ListenError> {
        if number >= FIRST_CLIENT {
            return Err(ListenError::NotAServer(number));
        }
        let socket = hub.bind(number).ok_or(ListenError::Taken(number))?;
        Ok(Self {
            socket,
            config,
            peers: BTreeMap::new(),
            former: VecDeque::new(),
            buffer: Vec::new(),
        })
    }

    /// The number it listens at.
    #[must_use]
    pub const fn number(&self) -> u64 {
        self.socket.address()
    }

    /// Takes no more than so many links from now on. Present links stay.
    pub const fn set_max_clients(&mut self, max_clients: usize) {
        self.config.max_clients = max_clients;
    }

    pub(crate) fn receive(&mut self, renet: &mut RenetServer, frame: &mut Frame<'_, '_>) {
        let now = frame.now;
        for _ in 0..frame.config.packets_per_frame {
            let Some((from, datagram)) = self.socket.receive() else {
                break;
            };
            self.on_datagram(from, &datagram, renet, frame);
        }
        let links = frame.links.iter_mut();
        for link in links.filter(|link| link.carrier == CarrierKind::MemoryServer) {
            while let Some(datagram) = link.incoming().and_then(|weather| weather.take(now)) {
                self.open_datagram(&datagram, link, renet, now);
            }
            self.serve(link, renet, now);
            self.end_if_doomed(link, renet, frame.notices, now);
        }
    }

    pub(crate) fn flush(
        &mut self,
        link: &mut Link,
        renet: &mut RenetServer,
        notices: &mut Notices<'_>,
        now: Duration,
    ) {
        let mut engine = ServerEngine {
            server: renet,
            client: link.netcode_id(),
        };
        if let Some(mut framer) = self.framer(link) {
            link.flush(&mut engine, &mut framer, now);
        }
        self.release(link, now);
        self.end_if_doomed(link, renet, notices, now);
    }

    fn framer(&mut self, link: &Link) -> Option<Framer<'_>> {
        let to = address(link);
        let peer = self.peers.get_mut(&to)?;
        (peer.link == link.id()).then_some(Framer {
            socket: &self.socket,
            numbering: &mut peer.numbering,
            buffer: &mut self.buffer,
            to,
        })
    }

    fn on_datagram(
        &mut self,
        from: u64,
        datagram: &[u8],
        renet: &mut RenetServer,
        frame: &mut Frame<'_, '_>,
    ) {
        let now = frame.now;
        let Some(peer) = self.peers.get(&from) else {
            self.on_stranger(from, datagram, renet, frame);
            return;
        };
        let Some(link) = frame.links.get_mut(peer.link) else {
            return;
        };
        let verdict = match check_datagram(datagram) {
            Ok(_) if !link.limiter.admit(now, datagram.len()) => Err(Refused::RateLimited),
            Ok(_) => Ok(()),
            Err(kind) => Err(kind),
        };
        match (verdict, link.incoming()) {
            (Ok(()), Some(weather)) => weather.offer(now, datagram),
            (Ok(()), None) => self.open_datagram(datagram, link, renet, now),
            (Err(kind), _) => link.refuse(kind, now),
        }
    }

    fn on_stranger(
        &mut self,
        from: u64,
        datagram: &[u8],
        renet: &mut RenetServer,
        frame: &mut Frame<'_, '_>,
    ) {
        let kind = check_datagram(datagram).map(|head| head.kind);
        let (Ok(DatagramType::Request), Some(user_data)) = (kind, user_data(datagram)) else {
            return;
        };
        if self.former.contains(&from) {
            return;
        }
        let peer = Peer {
            carrier: CarrierKind::MemoryServer,
            address: PeerAddress::Memory(from),
            netcode_id: from,
            user_data: Some(user_data),
        };
        let room = self.peers.len() < self.config.max_clients && !renet.is_connected(from);
        let make = |id| Link::new(id, peer, frame.config, frame.now);
        let link = room.then(|| frame.links.insert(make)).flatten();
        let mut numbering = Numbering::default();
        let Some(link) = link.and_then(|id| frame.links.get_mut(id)) else {
            numbering.write(&mut self.buffer, DatagramType::Denied, &[]);
            self.socket.send(&self.buffer, from);
            return;
        };
        renet.add_connection(from);
        let peer = MemoryPeer {
            link: link.id(),
            numbering,
        };
        self.peers.insert(from, peer);
        self.put(DatagramType::KeepAlive, KEEP_ALIVE, link, frame.now);
        frame.notices.opened(link);
    }

    fn open_datagram(
        &mut self,
        datagram: &[u8],
        link: &mut Link,
        renet: &mut RenetServer,
        now: Duration,
    ) {
        let Ok(head) = check_datagram(datagram) else {
            return;
        };
        if head.kind == DatagramType::Request {
            // Our answer was lost.
            self.put(DatagramType::KeepAlive, KEEP_ALIVE, link, now);
            return;
        }
        let Some(peer) = self.peers.get_mut(&address(link)) else {
            return;
        };
        if !peer.numbering.is_new(head.sequence) {
            link.refuse(Refused::Unopened, now);
            return;
        }
        match head.kind {
            DatagramType::Payload => {
                let mut engine = ServerEngine {
                    server: renet,
                    client: link.netcode_id(),
                };
                link.accept(body(head, datagram), datagram.len(), &mut engine, now);
                return;
            }
            DatagramType::KeepAlive => {}
            DatagramType::Disconnect => link.doom(CloseReason::ByPeer),
            _ => {
                link.refuse(Refused::Unexpected, now);
                return;
            }
        }
        link.times.heard = now;
        link.stats.received.overhead(datagram.len());
    }

    /// Keep-alives, timeouts and delayed datagrams of a link.
    fn serve(&mut self, link: &mut Link, renet: &mut RenetServer, now: Duration) {
        if !link.is_connected() {
            return;
        }
        if self.framer(link).is_none() {
            // Made by another endpoint that stood here before.
            link.doom(CloseReason::Abandoned);
            return;
        }
        link.settle(&mut ServerEngine {
            server: renet,
            client: link.netcode_id(),
        });
        self.release(link, now);
        if now.saturating_sub(link.times.heard) > self.config.timeout {
            link.doom(CloseReason::TimedOut);
        } else if now.saturating_sub(link.times.sent.max(link.times.served)) >= SEND_EVERY {
            self.put(DatagramType::KeepAlive, KEEP_ALIVE, link, now);
        }
    }

    fn put(&mut self, kind: DatagramType, body: &[u8], link: &mut Link, now: Duration) {
        let Some(mut framer) = self.framer(link) else {
            return;
        };
        let wire = framer.put(kind, body, &mut link.path(now));
        link.stats.sent.overhead(wire);
        link.times.served = now;
    }

    fn release(&self, link: &mut Link, now: Duration) {
        let to = address(link);
        link.path(now)
            .release(|datagram| self.socket.send(datagram, to));
    }

    fn end_if_doomed(
        &mut self,
        link: &mut Link,
        renet: &mut RenetServer,
        notices: &mut Notices<'_>,
        now: Duration,
    ) {
        let Some(reason) = link.doomed() else { return };
        if !matches!(reason, CloseReason::ByPeer | CloseReason::Abandoned) {
            self.put(DatagramType::Disconnect, &[], link, now);
            for _ in 1..GOODBYES {
                let to = address(link);
                link.path(now)
                    .put(&self.buffer, |d| self.socket.send(d, to));
                link.stats.sent.overhead(self.buffer.len());
            }
            self.release(link, Duration::MAX);
        }
        let from = address(link);
        if self
            .peers
            .get(&from)
            .is_some_and(|peer| peer.link == link.id())
        {
            self.peers.remove(&from);
            self.former.push_back(from);
            if self.former.len() > FORMER_CLIENTS {
                self.former.pop_front();
            }
        }
        engine::end(renet, link.netcode_id(), reason);
        notices.closed(link, reason);
    }
}

const fn address(link: &Link) -> u64 {
    match link.peer_address() {
        PeerAddress::Memory(address) => address,
        PeerAddress::Udp(_) => u64::MAX,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Links, TransportPlugin,
        memory::datagram::{Numbering, request},
    };

    #[test]
    fn a_request_that_was_held_up_opens_no_link_after_the_goodbye() {
        let hub = MemoryHub::new();
        let server = MemoryServer::listen(&hub, 1, MemoryConfig::default()).unwrap();
        let mut app = App::new();
        app.add_plugins((MinimalPlugins, TransportPlugin::default()))
            .insert_resource(server);
        app.update();

        let client = hub.bind_client();
        let request = request(&[0; 256]);
        client.send(&request, 1);
        app.update();
        let connected = |app: &App| {
            let links = app.world().resource::<Links>();
            links.iter().filter(|link| link.is_connected()).count()
        };
        assert_eq!(connected(&app), 1);
        let mut goodbye = Vec::new();
        Numbering::default().write(&mut goodbye, DatagramType::Disconnect, &[]);
        client.send(&goodbye, 1);
        app.update();
        assert_eq!(connected(&app), 0);
        client.send(&request, 1);
        app.update();
        assert_eq!(connected(&app), 0);
    }
}
