//! One link of a client, on a socket of its own.

use std::{io, net::SocketAddr, time::Duration};

use renet::RenetClient;
use renetcode::{ClientAuthentication, DisconnectReason, NetcodeClient, NetcodeError};

use super::{arrivals::Arrivals, socket::Socket};
use crate::{
    CloseReason, Link, PeerAddress, Refused,
    carrier::{Carrier, Path},
    gate::{DatagramHead, DatagramType, check_datagram},
};

/// The longest step that counts towards a timeout. After a longer stall, what waits in the socket
/// is read before the link is given up.
const MAX_STEP: Duration = Duration::from_secs(1);

/// See the server's.
const GOODBYES: usize = 3;

/// A socket and netcode behind a gate.
pub(crate) struct UdpClient {
    socket: Socket,
    netcode: Box<NetcodeClient>,
    arrivals: Arrivals,
}

/// Why a socket for a link could not be had.
pub(crate) enum OpenError {
    Io(io::Error),
    Netcode(NetcodeError),
}

impl UdpClient {
    pub(crate) fn open(
        server: SocketAddr,
        bind: Option<SocketAddr>,
        now: Duration,
        authentication: ClientAuthentication,
    ) -> Result<Self, OpenError> {
        let socket = match bind {
            Some(address) => Socket::bind(address),
            None => Socket::bind_for(server),
        };
        let netcode = NetcodeClient::new(now, authentication).map_err(OpenError::Netcode)?;
        let socket = socket.map_err(OpenError::Io)?;
        Ok(Self {
            arrivals: socket.arrivals(),
            socket,
            netcode: Box::new(netcode),
        })
    }

    pub(crate) fn client_id(&self) -> u64 {
        self.netcode.client_id()
    }

    pub(crate) fn local_address(&self) -> Option<SocketAddr> {
        self.socket.local_address().ok()
    }

    /// Reads the socket until it is empty, and advances the handshake.
    pub(crate) fn receive(
        &mut self,
        link: &mut Link,
        renet: &mut RenetClient,
        (now, delta): (Duration, Duration),
        mut attempts: usize,
    ) {
        let mut arrivals = std::mem::take(&mut self.arrivals);
        while let Some((datagram, from)) = self.socket.receive(&mut arrivals, &mut attempts) {
            match self.admit(from, datagram, link, now) {
                Ok(head) => match link.incoming() {
                    Some(weather) => weather.offer(now, datagram),
                    None => self.open_datagram(head, datagram, link, renet, now),
                },
                Err(kind) => link.refuse(kind, now),
            }
        }
        self.arrivals = arrivals;
        while let Some(mut datagram) = link.incoming().and_then(|weather| weather.take(now)) {
            if let Ok(head) = check_datagram(&datagram) {
                self.open_datagram(head, &mut datagram, link, renet, now);
            }
        }
        self.step(link, renet, now, delta);
        self.leave(link, now);
    }

    /// Sends what the link has for this tick.
    pub(crate) fn flush(&mut self, link: &mut Link, renet: &mut RenetClient, now: Duration) {
        link.flush(renet, self, now);
        self.leave(link, now);
    }

    /// Says goodbye. What the weather would still hold back leaves now, the goodbye last.
    pub(crate) fn say_goodbye(&mut self, link: &mut Link, now: Duration) {
        if self.netcode.is_disconnected() {
            return;
        }
        let Ok((server, datagram)) = self.netcode.disconnect() else {
            return;
        };
        for _ in 0..GOODBYES {
            link.path(now)
                .put(datagram, |d| self.socket.send(d, server));
            link.stats.sent.overhead(datagram.len());
        }
        self.leave(link, Duration::MAX);
    }

    fn admit(
        &self,
        from: SocketAddr,
        datagram: &[u8],
        link: &mut Link,
        now: Duration,
    ) -> Result<DatagramHead, Refused> {
        if from != self.netcode.server_addr() {
            return Err(Refused::Stranger);
        }
        let head = check_datagram(datagram)?;
        match head.kind {
            DatagramType::Request | DatagramType::Response => return Err(Refused::Unexpected),
            _ => {}
        }
        if !link.limiter.admit(now, datagram.len()) {
            return Err(Refused::RateLimited);
        }
        Ok(head)
    }

    fn open_datagram(
        &mut self,
        head: DatagramHead,
        datagram: &mut [u8],
        link: &mut Link,
        renet: &mut RenetClient,
        now: Duration,
    ) {
        let wire = datagram.len();
        if let Some(payload) = self.netcode.process_packet(datagram) {
            link.accept(payload, wire, renet, now);
            return;
        }
        // netcode does not say whether it took a packet, except by its clock.
        let taken = self.netcode.time_since_last_received_packet().is_zero();
        if head.kind != DatagramType::Payload && taken {
            link.times.heard = now;
            link.stats.received.overhead(wire);
        } else {
            link.refuse(Refused::Unopened, now);
        }
    }

    /// Timeouts, requests, keep-alives; then the link follows netcode's state.
    fn step(&mut self, link: &mut Link, renet: &mut RenetClient, now: Duration, delta: Duration) {
        if let Some((datagram, server)) = self.netcode.update(delta.min(MAX_STEP)) {
            let mut path = link.path(now);
            path.put(datagram, |d| self.socket.send(d, server));
            link.stats.sent.overhead(datagram.len());
        }
        link.set_peer(PeerAddress::Udp(self.netcode.server_addr()));
        if self.netcode.is_connected() {
            link.establish();
            renet.set_connected();
        } else if let Some(reason) = self.netcode.disconnect_reason() {
            link.doom(match reason {
                DisconnectReason::ConnectTokenExpired => CloseReason::TokenExpired,
                DisconnectReason::ConnectionTimedOut => CloseReason::TimedOut,
                DisconnectReason::ConnectionResponseTimedOut
                | DisconnectReason::ConnectionRequestTimedOut => CloseReason::Unreachable,
                DisconnectReason::ConnectionDenied => CloseReason::Denied,
                DisconnectReason::DisconnectedByClient => CloseReason::Requested,
                DisconnectReason::DisconnectedByServer => CloseReason::ByPeer,
            });
        }
        link.settle(renet);
    }

    /// Sends what the weather lets out, and what waits for others.
    fn leave(&mut self, link: &mut Link, now: Duration) {
        let server = self.netcode.server_addr();
        link.path(now)
            .release(|datagram| self.socket.send(datagram, server));
        link.lose(self.socket.flush());
    }
}

impl Carrier for UdpClient {
    fn send(&mut self, payload: &[u8], path: &mut Path<'_>) -> Result<usize, Refused> {
        let Ok((server, datagram)) = self.netcode.generate_payload_packet(payload) else {
            return Err(Refused::SendFailed);
        };
        path.put(datagram, |d| self.socket.send(d, server));
        Ok(datagram.len())
    }

    fn sends_together(&self) -> bool {
        self.socket.sends_together()
    }
}
