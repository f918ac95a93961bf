//! A UDP socket that never blocks and never fails for good.

use std::{
    io::{self, ErrorKind},
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
};

use crate::{Refused, gate::MAX_DATAGRAM_BYTES};

/// What we ask the system to buffer between two frames, in bytes. It may give less.
const SOCKET_BUFFER_BYTES: usize = 4 * 1024 * 1024;

/// A buffer for one datagram, a little longer than the longest legal one, to tell a longer one.
pub(crate) fn buffer() -> Vec<u8> {
    vec![0; MAX_DATAGRAM_BYTES + 64]
}

#[derive(Debug)]
pub(crate) struct Socket(UdpSocket);

impl Socket {
    pub(crate) fn bind(address: SocketAddr) -> io::Result<Self> {
        let socket = UdpSocket::bind(address)?;
        socket.set_nonblocking(true)?;
        let options = socket2::SockRef::from(&socket);
        // The system's default holds about a hundred packets. Less than asked for still works.
        let _ = options.set_recv_buffer_size(SOCKET_BUFFER_BYTES);
        let _ = options.set_send_buffer_size(SOCKET_BUFFER_BYTES);
        Ok(Self(socket))
    }

    /// Any free port, for talking to `peer`.
    pub(crate) fn bind_for(peer: SocketAddr) -> io::Result<Self> {
        Self::bind(match peer {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        })
    }

    pub(crate) fn local_address(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    /// The next datagram; `None` when no more wait.
    ///
    /// Errors of single packets (a peer's closed port on some systems) use up one of `attempts`.
    pub(crate) fn receive(
        &self,
        buffer: &mut [u8],
        attempts: &mut usize,
    ) -> Option<(usize, SocketAddr)> {
        while *attempts > 0 {
            *attempts -= 1;
            match self.0.recv_from(buffer) {
                Ok(received) => return Some(received),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return None,
                Err(_) => {}
            }
        }
        None
    }

    pub(crate) fn send(&self, datagram: &[u8], to: SocketAddr) -> Result<(), Refused> {
        match self.0.send_to(datagram, to) {
            Ok(_) => Ok(()),
            Err(_) => Err(Refused::SendFailed),
        }
    }
}
