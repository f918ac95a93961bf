//! How a server's endpoint drives its links.

use std::{collections::HashMap, net::SocketAddr, time::Duration};

use renet::RenetServer;
use renetcode::{NetcodeServer, ServerResult};

use super::{handshake::SpentNonces, server::ServerEndpoint, socket::Socket};
use crate::{
    CloseReason, Link, LinkId, PeerAddress, Refused,
    carrier::{Carrier, CarrierKind, Path},
    engine::{self, ServerEngine},
    frame::Frame,
    gate::{DatagramHead, DatagramType, check_datagram},
    notice::Notices,
};

/// netcode's own interval of keep-alives. Timeouts are looked for as often.
const SERVE_EVERY: Duration = Duration::from_millis(250);

/// A goodbye is one datagram; so often it is sent, because one may be lost. netcode drops copies.
const GOODBYES: usize = 3;

/// What the endpoint knows about an address with a link.
#[derive(Debug)]
pub(super) struct LinkPeer {
    pub(super) link: LinkId,
    pub(super) client: u64,
    spent: SpentNonces,
    /// The nonce of the next packet to it.
    next: u64,
}

impl LinkPeer {
    /// After the answer to its handshake. That has nonce 0, which no challenge has.
    pub(super) const fn new(link: LinkId, client: u64, spent: SpentNonces) -> Self {
        Self {
            link,
            client,
            spent,
            next: 1,
        }
    }

    /// Makes netcode skip nonces that are spent: packets that are sealed and not sent.
    fn step_over_spent(&mut self, netcode: &mut NetcodeServer) {
        while self.spent.contains(self.next) {
            let _ = netcode.generate_payload_packet(self.client, &[]);
            self.next += 1;
        }
    }
}

impl ServerEndpoint {
    /// Reads the socket until it is empty, and looks after all links.
    pub(crate) fn receive(&mut self, renet: &mut RenetServer, frame: &mut Frame<'_, '_>) {
        self.advance(frame.delta, frame.now);
        let mut arrivals = std::mem::take(&mut self.arrivals);
        let mut attempts = frame.config.packets_per_frame;
        while let Some((datagram, from)) = self.socket.receive(&mut arrivals, &mut attempts) {
            self.on_datagram(from, datagram, renet, frame);
        }
        self.arrivals = arrivals;
        self.receive_delayed(renet, frame);
        let links = frame.links.iter_mut();
        for link in links.filter(|link| link.carrier == CarrierKind::UdpServer) {
            self.serve(link, renet, frame.now);
            self.end_if_doomed(link, renet, frame.notices, frame.now);
        }
        for _ in 0..self.socket.flush() {
            self.refuse_stranger(Refused::SendFailed);
        }
    }

    /// Sends what a link has for this tick.
    pub(crate) fn flush(
        &mut self,
        link: &mut Link,
        renet: &mut RenetServer,
        notices: &mut Notices<'_>,
        now: Duration,
    ) {
        if let Some((address, peer)) = find(&mut self.peers, link) {
            let mut engine = ServerEngine {
                server: renet,
                client: peer.client,
            };
            let mut carrier = Sealer {
                netcode: &mut self.netcode,
                socket: &mut self.socket,
                peer,
                address,
            };
            link.flush(&mut engine, &mut carrier, now);
            link.path(now)
                .release(|datagram| self.socket.send(datagram, address));
        }
        self.end_if_doomed(link, renet, notices, now);
        link.lose(self.socket.flush());
    }

    fn on_datagram(
        &mut self,
        from: SocketAddr,
        datagram: &mut [u8],
        renet: &mut RenetServer,
        frame: &mut Frame<'_, '_>,
    ) {
        let now = frame.now;
        let Some(peer) = self.peers.get(&from) else {
            if let Err(kind) = self.on_stranger(from, datagram, renet, frame) {
                self.refuse_stranger(kind);
            }
            return;
        };
        let Some(link) = frame.links.get_mut(peer.link) else {
            return;
        };
        match admit(link, datagram, now) {
            Ok(head) => {
                if let Some(weather) = link.incoming() {
                    weather.offer(now, datagram);
                } else {
                    self.open(from, head, datagram, link, renet, now);
                }
            }
            Err(kind) => link.refuse(kind, now),
        }
    }

    /// Datagrams that the weather held back.
    fn receive_delayed(&mut self, renet: &mut RenetServer, frame: &mut Frame<'_, '_>) {
        let now = frame.now;
        let links = frame.links.iter_mut();
        for link in links.filter(|link| link.carrier == CarrierKind::UdpServer) {
            while let Some(mut datagram) = link.incoming().and_then(|weather| weather.take(now)) {
                let PeerAddress::Udp(from) = link.peer_address() else {
                    break;
                };
                if let Ok(head) = check_datagram(&datagram) {
                    self.open(from, head, &mut datagram, link, renet, now);
                }
            }
        }
    }

    /// Decrypts a datagram of a link and hands its payload over.
    fn open(
        &mut self,
        from: SocketAddr,
        head: DatagramHead,
        datagram: &mut [u8],
        link: &mut Link,
        renet: &mut RenetServer,
        now: Duration,
    ) {
        let wire = datagram.len();
        match self.netcode.process_packet(from, datagram) {
            ServerResult::Payload { client_id, payload } => {
                let mut engine = ServerEngine {
                    server: renet,
                    client: client_id,
                };
                link.accept(payload, wire, &mut engine, now);
                return;
            }
            ServerResult::ClientDisconnected { .. } => {
                link.stats.received.overhead(wire);
                link.doom(CloseReason::ByPeer);
                return;
            }
            _ => {}
        }
        // netcode does not say whether it took a keep-alive, except by its clock.
        let silence = self
            .netcode
            .time_since_last_received_packet(link.netcode_id());
        if head.kind == DatagramType::KeepAlive && silence == Some(Duration::ZERO) {
            link.times.heard = now;
            link.stats.received.overhead(wire);
        } else {
            link.refuse(Refused::Unopened, now);
        }
    }

    /// Keep-alives, timeouts and delayed datagrams of a link.
    fn serve(&mut self, link: &mut Link, renet: &mut RenetServer, now: Duration) {
        let Some((address, peer)) = find(&mut self.peers, link) else {
            // Made by another endpoint that stood here before.
            link.doom(CloseReason::Abandoned);
            return;
        };
        link.path(now)
            .release(|datagram| self.socket.send(datagram, address));
        link.settle(&mut ServerEngine {
            server: renet,
            client: peer.client,
        });
        // Asking netcode walks over its table, so not for every link in every frame.
        let served = link.times.sent.max(link.times.served);
        if now.saturating_sub(served) < SERVE_EVERY {
            return;
        }
        link.times.served = now;
        peer.step_over_spent(&mut self.netcode);
        match self.netcode.update_client(peer.client) {
            ServerResult::PacketToSend { payload, .. } => {
                peer.next += 1;
                link.path(now)
                    .put(payload, |d| self.socket.send(d, address));
                link.stats.sent.overhead(payload.len());
            }
            ServerResult::ClientDisconnected { .. } => link.doom(CloseReason::TimedOut),
            _ => {}
        }
    }

    fn end_if_doomed(
        &mut self,
        link: &mut Link,
        renet: &mut RenetServer,
        notices: &mut Notices<'_>,
        now: Duration,
    ) {
        let Some(reason) = link.doomed() else { return };
        let address = find(&mut self.peers, link).map(|(address, _)| address);
        let removed = address.and_then(|address| self.peers.remove_entry(&address));
        if let Some((address, mut peer)) = removed {
            peer.step_over_spent(&mut self.netcode);
            let goodbye = self.netcode.disconnect(peer.client);
            if let ServerResult::ClientDisconnected {
                payload: Some(payload),
                ..
            } = goodbye
                && reason != CloseReason::Abandoned
            {
                for _ in 0..GOODBYES {
                    link.path(now)
                        .put(payload, |d| self.socket.send(d, address));
                    link.stats.sent.overhead(payload.len());
                }
                // What the weather would still hold back leaves now, the goodbye last.
                link.path(Duration::MAX)
                    .release(|datagram| self.socket.send(datagram, address));
            }
        }
        engine::end(renet, link.netcode_id(), reason);
        notices.closed(link, reason);
    }
}

/// Checks that cost next to nothing, before decryption.
fn admit(link: &mut Link, datagram: &[u8], now: Duration) -> Result<DatagramHead, Refused> {
    let head = check_datagram(datagram)?;
    // renetcode would also take a request, unencrypted, as a sign of life.
    match head.kind {
        DatagramType::KeepAlive | DatagramType::Payload | DatagramType::Disconnect => {}
        _ => return Err(Refused::Unexpected),
    }
    if !link.limiter.admit(now, datagram.len()) {
        return Err(Refused::RateLimited);
    }
    Ok(head)
}

fn find<'a>(
    peers: &'a mut HashMap<SocketAddr, LinkPeer>,
    link: &Link,
) -> Option<(SocketAddr, &'a mut LinkPeer)> {
    let PeerAddress::Udp(address) = link.peer_address() else {
        return None;
    };
    let peer = peers.get_mut(&address)?;
    (peer.link == link.id()).then_some((address, peer))
}

struct Sealer<'a> {
    netcode: &'a mut NetcodeServer,
    socket: &'a mut Socket,
    peer: &'a mut LinkPeer,
    address: SocketAddr,
}

impl Carrier for Sealer<'_> {
    fn send(&mut self, payload: &[u8], path: &mut Path<'_>) -> Result<usize, Refused> {
        self.peer.step_over_spent(self.netcode);
        let sealed = self
            .netcode
            .generate_payload_packet(self.peer.client, payload);
        let Ok((_, datagram)) = sealed else {
            return Err(Refused::SendFailed);
        };
        self.peer.next += 1;
        path.put(datagram, |d| self.socket.send(d, self.address));
        Ok(datagram.len())
    }

    fn sends_together(&self) -> bool {
        self.socket.sends_together()
    }
}
