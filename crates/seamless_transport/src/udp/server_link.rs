//! How a server's endpoint drives its links.

use std::{net::SocketAddr, time::Duration};

use renet::RenetServer;
use renetcode::{NetcodeServer, ServerResult};
use seamless_wire::ticket::TICKET_BYTES;

use super::{handshake::SpentNonces, server::ServerEndpoint, socket::Socket};
use crate::{
    CloseReason, Link, LinkId, PeerAddress, Refused,
    carrier::{Carrier, CarrierKind, Path},
    engine::{self, ServerEngine},
    frame::Frame,
    gate::{DatagramHead, DatagramType, Request, check_datagram},
    link::Peer,
    notice::Notices,
    token::MAX_TOKEN_SECONDS,
};

/// netcode's own interval of keep-alives. Timeouts are looked for as often.
const SERVE_EVERY: Duration = Duration::from_millis(250);

/// A goodbye is one datagram; so often it is sent, because one may be lost. netcode drops copies.
const GOODBYES: usize = 3;

/// What the endpoint knows about an address with a link.
#[derive(Debug)]
pub(super) struct LinkPeer {
    link: LinkId,
    client: u64,
    spent: SpentNonces,
}

impl ServerEndpoint {
    /// Reads the socket until it is empty, and looks after all links.
    pub(crate) fn receive(&mut self, renet: &mut RenetServer, frame: &mut Frame<'_, '_>) {
        self.advance(frame.delta, frame.now);
        let mut buffer = std::mem::take(&mut self.buffer);
        let mut attempts = frame.config.packets_per_frame;
        while let Some((len, from)) = self.socket.receive(&mut buffer[..], &mut attempts) {
            self.on_datagram(from, &mut buffer[..len], renet, frame);
        }
        self.buffer = buffer;
        self.receive_delayed(renet, frame);
        let links = frame.links.iter_mut();
        for link in links.filter(|link| link.carrier == CarrierKind::UdpServer) {
            self.serve(link, renet, frame.now);
            self.end_if_doomed(link, renet, frame.notices, frame.now);
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
        if let Some((address, peer)) = find(&self.peers, link) {
            let mut engine = ServerEngine {
                server: renet,
                client: peer.client,
            };
            let mut carrier = Sealer {
                netcode: &mut self.netcode,
                socket: &self.socket,
                spent: &peer.spent,
                client: peer.client,
                address,
            };
            link.flush(&mut engine, &mut carrier, now);
            link.path(now)
                .release(|datagram| self.socket.send(datagram, address));
        }
        self.end_if_doomed(link, renet, notices, now);
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

    /// A datagram from an address without a link: only handshakes get anywhere.
    fn on_stranger(
        &mut self,
        from: SocketAddr,
        datagram: &mut [u8],
        renet: &mut RenetServer,
        frame: &mut Frame<'_, '_>,
    ) -> Result<(), Refused> {
        let head = check_datagram(datagram)?;
        let request = match head.kind {
            DatagramType::Request => Some(self.check_request(from, datagram)?),
            DatagramType::Response if self.handshakes.contains(from) => None,
            _ => return Err(Refused::Stranger),
        };
        if !self.strangers.admit(frame.now, from.ip()) {
            return Err(Refused::RateLimited);
        }
        self.stats.received.add(1, datagram.len());
        // A nonce of 0 would meet that of the link's first packet. Requests are not changed by
        // being read, so asking again gives the next.
        for _ in 0..2 {
            match self.netcode.process_packet(from, datagram) {
                ServerResult::PacketToSend { payload, .. } => {
                    let answer = check_datagram(payload)?;
                    if answer.sequence == 0 {
                        continue;
                    }
                    if let Some(request) = request {
                        self.tokens.note(request.mac, from, request.expires);
                    }
                    if answer.kind == DatagramType::Challenge {
                        self.handshakes.challenged(from, answer.sequence, frame.now);
                    }
                    self.stats.sent.add(1, payload.len());
                    return self.socket.send(payload, from);
                }
                ServerResult::ClientConnected {
                    client_id,
                    user_data,
                    payload,
                    ..
                } => {
                    let answer = payload.to_vec();
                    return self.welcome(from, client_id, user_data, &answer, renet, frame);
                }
                _ => return Err(Refused::Unopened),
            }
        }
        Err(Refused::NonceUsed)
    }

    /// What renetcode does not check, or only after decrypting.
    fn check_request(&mut self, from: SocketAddr, datagram: &[u8]) -> Result<Request, Refused> {
        let request = Request::read(datagram)?;
        let now = self.clock.now().as_secs();
        // Whoever takes anyone also takes any clock.
        let timely = match self.mint {
            Some(_) => (now + 1..=now + MAX_TOKEN_SECONDS).contains(&request.expires),
            None => request.expires > now,
        };
        if request.protocol_id != self.protocol_id || !timely {
            return Err(Refused::BadRequest);
        }
        self.tokens.check(&request.mac, from, now)?;
        self.handshakes.check_room(from)?;
        Ok(request)
    }

    /// A client proved its address and its token.
    fn welcome(
        &mut self,
        from: SocketAddr,
        client: u64,
        user_data: Box<[u8; TICKET_BYTES]>,
        answer: &[u8],
        renet: &mut RenetServer,
        frame: &mut Frame<'_, '_>,
    ) -> Result<(), Refused> {
        let spent = self.handshakes.finish(from);
        let minted = self
            .mint
            .as_ref()
            .is_none_or(|mint| mint.redeem(client, &user_data));
        // netcode can be brought to take one id twice; renet cannot tell the two apart.
        let known = renet.is_connected(client);
        let peer = Peer {
            carrier: CarrierKind::UdpServer,
            address: PeerAddress::Udp(from),
            netcode_id: client,
            user_data: Some(user_data),
        };
        let make = |id| Link::new(id, peer, frame.config, frame.now);
        let link = (minted && !known)
            .then(|| frame.links.insert(make))
            .flatten();
        let Some(link) = link.and_then(|id| frame.links.get_mut(id)) else {
            // Nothing is sent: with a used token, our packets would repeat nonces.
            self.netcode.disconnect(client);
            if known {
                self.close_all_of(client, frame);
            }
            return Err(Refused::TokenReused);
        };
        renet.add_connection(client);
        if check_datagram(answer).is_ok_and(|head| !spent.contains(head.sequence)) {
            self.socket.send(answer, from)?;
            link.stats.sent.overhead(answer.len());
        }
        let peer = LinkPeer {
            link: link.id(),
            client,
            spent,
        };
        self.peers.insert(from, peer);
        frame.notices.opened(link);
        Ok(())
    }

    fn close_all_of(&self, client: u64, frame: &mut Frame<'_, '_>) {
        let peers = self.peers.values().filter(|peer| peer.client == client);
        for peer in peers {
            if let Some(link) = frame.links.get_mut(peer.link) {
                link.doom(CloseReason::Misbehaved);
            }
        }
    }

    /// Keep-alives, timeouts and delayed datagrams of a link.
    fn serve(&mut self, link: &mut Link, renet: &mut RenetServer, now: Duration) {
        let Some((address, peer)) = find(&self.peers, link) else {
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
        match self.netcode.update_client(peer.client) {
            ServerResult::PacketToSend { payload, .. } => {
                let fresh =
                    check_datagram(payload).is_ok_and(|head| !peer.spent.contains(head.sequence));
                if !fresh {
                    link.stats.refused.count(Refused::NonceUsed);
                    return;
                }
                let mut path = link.path(now);
                if path.put(payload, |d| self.socket.send(d, address)).is_ok() {
                    link.stats.sent.overhead(payload.len());
                }
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
        let address = find(&self.peers, link).map(|(address, _)| address);
        let removed = address.and_then(|address| self.peers.remove_entry(&address));
        if let Some((address, peer)) = removed {
            let goodbye = self.netcode.disconnect(peer.client);
            if let ServerResult::ClientDisconnected {
                payload: Some(payload),
                ..
            } = goodbye
            {
                let fresh =
                    check_datagram(payload).is_ok_and(|head| !peer.spent.contains(head.sequence));
                if fresh && reason != CloseReason::Abandoned {
                    for _ in 0..GOODBYES {
                        let _ = link
                            .path(now)
                            .put(payload, |d| self.socket.send(d, address));
                        link.stats.sent.overhead(payload.len());
                    }
                    // What the weather would still hold back leaves now, the goodbye last.
                    link.path(Duration::MAX)
                        .release(|datagram| self.socket.send(datagram, address));
                }
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
    peers: &'a std::collections::HashMap<SocketAddr, LinkPeer>,
    link: &Link,
) -> Option<(SocketAddr, &'a LinkPeer)> {
    let PeerAddress::Udp(address) = link.peer_address() else {
        return None;
    };
    let peer = peers.get(&address)?;
    (peer.link == link.id()).then_some((address, peer))
}

struct Sealer<'a> {
    netcode: &'a mut NetcodeServer,
    socket: &'a Socket,
    spent: &'a SpentNonces,
    client: u64,
    address: SocketAddr,
}

impl Carrier for Sealer<'_> {
    fn send(&mut self, payload: &[u8], path: &mut Path<'_>) -> Result<usize, Refused> {
        loop {
            let Ok((_, datagram)) = self.netcode.generate_payload_packet(self.client, payload)
            else {
                return Err(Refused::SendFailed);
            };
            let head = check_datagram(datagram).map_err(|_| Refused::SendFailed)?;
            // Stepping over a spent nonce: the next packet has the next one.
            if !self.spent.contains(head.sequence) {
                path.put(datagram, |d| self.socket.send(d, self.address))?;
                return Ok(datagram.len());
            }
        }
    }
}
