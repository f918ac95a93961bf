//! How strangers become links: the handshake, with what renetcode leaves out.

use std::net::SocketAddr;

use renet::RenetServer;
use renetcode::ServerResult;
use seamless_wire::ticket::TICKET_BYTES;

use super::{server::ServerEndpoint, server_link::LinkPeer};
use crate::{
    CloseReason, Link, PeerAddress, Refused,
    carrier::CarrierKind,
    frame::Frame,
    gate::{DatagramType, Request, check_datagram},
    link::Peer,
    token::MAX_TOKEN_SECONDS,
};

impl ServerEndpoint {
    /// A datagram from an address without a link: only handshakes get anywhere.
    pub(super) fn on_stranger(
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
                        let latest = self.clock.now().as_secs() + MAX_TOKEN_SECONDS;
                        let expires = request.expires.min(latest);
                        self.tokens.note(request.mac, from, expires);
                    }
                    if answer.kind == DatagramType::Challenge {
                        self.handshakes.challenged(from, answer.sequence, frame.now);
                    }
                    self.stats.sent.add(1, payload.len());
                    self.socket.send(payload, from);
                    return Ok(());
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
        Err(Refused::Unopened)
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
        self.socket.send(answer, from);
        link.stats.sent.overhead(answer.len());
        self.peers
            .insert(from, LinkPeer::new(link.id(), client, spent));
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
}
