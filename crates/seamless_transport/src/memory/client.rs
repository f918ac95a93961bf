//! One link of a client, in memory.

use std::time::Duration;

use renet::RenetClient;
use seamless_wire::ticket::TICKET_BYTES;

use super::{
    datagram::{Framer, KEEP_ALIVE, Numbering, body, request},
    hub::{MemoryHub, MemorySocket},
};
use crate::{
    CloseReason, Link, Refused,
    gate::{DatagramType, check_datagram},
};

/// As in netcode: requests, keep-alives.
const SEND_EVERY: Duration = Duration::from_millis(250);

/// See the endpoint over UDP.
const GOODBYES: usize = 3;

pub(crate) struct MemoryClient {
    socket: MemorySocket,
    server: u64,
    request: Vec<u8>,
    timeout: Duration,
    numbering: Numbering,
    buffer: Vec<u8>,
    /// Set by the first receive: only then is the time known.
    began: bool,
}

impl MemoryClient {
    pub(crate) fn open(
        hub: MemoryHub,
        server: u64,
        user_data: Box<[u8; TICKET_BYTES]>,
        timeout: Duration,
    ) -> Self {
        Self {
            socket: hub.bind_client(),
            server,
            request: request(&user_data),
            timeout,
            numbering: Numbering::default(),
            buffer: Vec::new(),
            began: false,
        }
    }

    pub(crate) const fn address(&self) -> u64 {
        self.socket.address()
    }

    pub(crate) fn receive(&mut self, link: &mut Link, renet: &mut RenetClient, now: Duration) {
        while let Some((from, datagram)) = self.socket.receive() {
            let verdict = match check_datagram(&datagram) {
                _ if from != self.server => Err(Refused::Stranger),
                Ok(_) if !link.limiter.admit(now, datagram.len()) => Err(Refused::RateLimited),
                Ok(_) => Ok(()),
                Err(kind) => Err(kind),
            };
            match (verdict, link.incoming()) {
                (Ok(()), Some(weather)) => weather.offer(now, &datagram),
                (Ok(()), None) => self.open_datagram(&datagram, link, renet, now),
                (Err(kind), _) => link.refuse(kind, now),
            }
        }
        while let Some(datagram) = link.incoming().and_then(|weather| weather.take(now)) {
            self.open_datagram(&datagram, link, renet, now);
        }
        self.step(link, now);
        link.settle(renet);
        self.release(link, now);
    }

    pub(crate) fn flush(&mut self, link: &mut Link, renet: &mut RenetClient, now: Duration) {
        link.flush(renet, &mut self.framer(), now);
        self.release(link, now);
    }

    pub(crate) fn say_goodbye(&mut self, link: &mut Link, now: Duration) {
        if !link.is_connected() {
            return;
        }
        self.put(DatagramType::Disconnect, &[], link, now);
        for _ in 1..GOODBYES {
            link.path(now)
                .put(&self.buffer, |d| self.socket.send(d, self.server));
            link.stats.sent.overhead(self.buffer.len());
        }
        self.release(link, Duration::MAX);
    }

    const fn framer(&mut self) -> Framer<'_> {
        Framer {
            socket: &self.socket,
            numbering: &mut self.numbering,
            buffer: &mut self.buffer,
            to: self.server,
        }
    }

    fn put(&mut self, kind: DatagramType, body: &[u8], link: &mut Link, now: Duration) {
        let wire = self.framer().put(kind, body, &mut link.path(now));
        link.stats.sent.overhead(wire);
        link.times.served = now;
    }

    fn open_datagram(
        &mut self,
        datagram: &[u8],
        link: &mut Link,
        renet: &mut RenetClient,
        now: Duration,
    ) {
        let Ok(head) = check_datagram(datagram) else {
            return;
        };
        if !self.numbering.is_new(head.sequence) {
            link.refuse(Refused::Unopened, now);
            return;
        }
        match head.kind {
            DatagramType::Payload if link.is_connected() => {
                link.accept(body(head, datagram), datagram.len(), renet, now);
                return;
            }
            DatagramType::KeepAlive => {
                link.establish();
                renet.set_connected();
            }
            DatagramType::Denied if !link.is_connected() => link.doom(CloseReason::Denied),
            DatagramType::Disconnect if link.is_connected() => link.doom(CloseReason::ByPeer),
            _ => {
                link.refuse(Refused::Unexpected, now);
                return;
            }
        }
        link.times.heard = now;
        link.stats.received.overhead(datagram.len());
    }

    /// Timeouts, requests, keep-alives.
    fn step(&mut self, link: &mut Link, now: Duration) {
        let first = !std::mem::replace(&mut self.began, true);
        if first {
            link.times.heard = now;
        }
        if now.saturating_sub(link.times.heard) > self.timeout {
            link.doom(match link.is_connected() {
                true => CloseReason::TimedOut,
                false => CloseReason::Unreachable,
            });
            return;
        }
        let sent = link.times.sent.max(link.times.served);
        if !first && now.saturating_sub(sent) < SEND_EVERY {
            return;
        }
        if link.is_connected() {
            self.put(DatagramType::KeepAlive, KEEP_ALIVE, link, now);
            return;
        }
        link.path(now)
            .put(&self.request, |d| self.socket.send(d, self.server));
        link.stats.sent.overhead(self.request.len());
        link.times.served = now;
    }

    fn release(&self, link: &mut Link, now: Duration) {
        link.path(now)
            .release(|datagram| self.socket.send(datagram, self.server));
    }
}
