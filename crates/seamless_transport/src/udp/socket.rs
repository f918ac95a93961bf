//! A UDP socket that never blocks and never fails for good.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
};

use quinn_udp::{Transmit, UdpSockRef, UdpSocketState};

use super::{arrivals::Arrivals, departures::Departures};

/// What we ask the system to buffer between two frames, in bytes. It may give less.
const SOCKET_BUFFER_BYTES: usize = 4 * 1024 * 1024;

/// A socket, and how the system takes and gives several datagrams at once.
pub(super) struct Wire {
    pub(super) socket: UdpSocket,
    pub(super) state: UdpSocketState,
}

impl Wire {
    /// Sends `datagrams`, which have `segment` bytes each, the last at most so many.
    pub(super) fn send(&self, datagrams: &[u8], segment: usize, to: SocketAddr) -> io::Result<()> {
        let transmit = Transmit {
            destination: to,
            ecn: None,
            contents: datagrams,
            segment_size: (datagrams.len() > segment).then_some(segment),
            src_ip: None,
        };
        self.state
            .try_send(UdpSockRef::from(&self.socket), &transmit)
    }
}

pub(crate) struct Socket {
    wire: Wire,
    departures: Departures,
}

impl Socket {
    pub(crate) fn bind(address: SocketAddr) -> io::Result<Self> {
        let socket = UdpSocket::bind(address)?;
        let options = socket2::SockRef::from(&socket);
        // The system's default holds about a hundred packets. Less than asked for still works.
        let _ = options.set_recv_buffer_size(SOCKET_BUFFER_BYTES);
        let _ = options.set_send_buffer_size(SOCKET_BUFFER_BYTES);
        // From now on it does not block.
        let state = UdpSocketState::new(UdpSockRef::from(&socket))?;
        Ok(Self {
            departures: Departures::default(),
            wire: Wire { socket, state },
        })
    }

    /// Any free port, for talking to `peer`.
    pub(crate) fn bind_for(peer: SocketAddr) -> io::Result<Self> {
        Self::bind(match peer {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        })
    }

    pub(crate) fn local_address(&self) -> io::Result<SocketAddr> {
        self.wire.socket.local_addr()
    }

    /// Room for what arrives.
    pub(crate) fn arrivals(&self) -> Arrivals {
        Arrivals::new(self.wire.state.gro_segments())
    }

    /// The next datagram; `None` when no more wait, or `attempts` are used up: one for each.
    pub(crate) fn receive<'a>(
        &self,
        arrivals: &'a mut Arrivals,
        attempts: &mut usize,
    ) -> Option<(&'a mut [u8], SocketAddr)> {
        arrivals.next(&self.wire, attempts)
    }

    /// Whether datagrams of one length to one address leave together, for less than one each.
    pub(crate) fn sends_together(&self) -> bool {
        self.wire.state.max_gso_segments() > 1
    }

    /// Sends a datagram, at [`flush`](Self::flush) at the latest.
    pub(crate) fn send(&mut self, datagram: &[u8], to: SocketAddr) {
        self.departures.put(&self.wire, datagram, to);
    }

    /// Sends what waits for others. How many datagrams the system did not take since it was called
    /// last: they are lost, as they might be further on.
    #[must_use]
    pub(crate) fn flush(&mut self) -> usize {
        self.departures.flush(&self.wire)
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    fn socket() -> Socket {
        Socket::bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap()
    }

    /// The first byte of each datagram that comes, up to `count` of them, at most `step` in one go.
    fn firsts(socket: &Socket, arrivals: &mut Arrivals, count: usize, step: usize) -> Vec<u8> {
        let (mut firsts, started) = (Vec::new(), Instant::now());
        while firsts.len() < count && started.elapsed() < Duration::from_secs(5) {
            let mut attempts = step;
            while let Some((datagram, _)) = socket.receive(arrivals, &mut attempts) {
                firsts.push(datagram[0]);
            }
        }
        firsts
    }

    #[test]
    fn what_goes_to_several_arrives_at_each_in_order_however_little_is_taken_at_once() {
        let (mut from, one, other) = (socket(), socket(), socket());
        let addresses = [&one, &other].map(|socket| socket.local_address().unwrap());
        for n in 0..200 {
            // Runs of some ten to one address, of one length or not.
            let to = addresses[usize::from(n / 10 % 2)];
            from.send(&vec![n; 900 + usize::from(n % 7 / 5)], to);
        }
        assert_eq!(from.flush(), 0);
        for (at, socket) in [(0, one), (1, other)] {
            let sent: Vec<u8> = (0..200).filter(|n| n / 10 % 2 == at).collect();
            assert_eq!(firsts(&socket, &mut socket.arrivals(), 100, 3), sent);
        }
    }

    #[test]
    fn what_the_system_does_not_take_is_counted_one_by_one_and_the_rest_goes_on() {
        let (mut from, to) = (socket(), socket());
        for _ in 0..5 {
            from.send(&[1; 900], (Ipv6Addr::LOCALHOST, 9).into());
        }
        from.send(&[2; 900], to.local_address().unwrap());
        assert_eq!(from.flush(), 5, "another family of addresses");
        assert_eq!(from.flush(), 0);
        assert_eq!(firsts(&to, &mut to.arrivals(), 1, 9), [2]);
    }
}
