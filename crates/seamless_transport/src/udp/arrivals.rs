//! Datagrams that arrived, as many from one system call as it gives.
//!
//! The kernel may hand over several datagrams of one length from one address as one ("receive
//! offload"), and several such in one call.

use std::{
    io::{ErrorKind, IoSliceMut},
    net::SocketAddr,
};

use quinn_udp::{RecvMeta, UdpSockRef};

use super::socket::Wire;
use crate::gate::MAX_DATAGRAM_BYTES;

/// Buffers for one system call.
const BUFFERS: usize = 4;

/// Received and not yet looked at.
#[derive(Debug, Default)]
pub(crate) struct Arrivals {
    buffers: Vec<Vec<u8>>,
    metas: [RecvMeta; BUFFERS],
    /// Buffers that were filled.
    filled: usize,
    /// The one that is looked at, and how far.
    at: usize,
    from: usize,
}

impl Arrivals {
    /// Room for datagrams of which the kernel may put `together` into one buffer. A little longer than
    /// the longest legal one, to tell a longer one.
    pub(super) fn new(together: usize) -> Self {
        let bytes = (MAX_DATAGRAM_BYTES + 64) * together.max(1);
        Self {
            buffers: vec![vec![0; bytes.min(1 << 16)]; BUFFERS],
            ..Self::default()
        }
    }

    /// The next datagram; `None` when no more wait. Errors of single packets (a peer's closed port on
    /// some systems) use up one of `attempts`, too.
    pub(super) fn next(
        &mut self,
        wire: &Wire,
        attempts: &mut usize,
    ) -> Option<(&mut [u8], SocketAddr)> {
        while *attempts > 0 {
            *attempts -= 1;
            if self.at == self.filled && !self.receive(wire)? {
                continue;
            }
            let meta = self.metas[self.at];
            let start = self.from;
            let end = (start + meta.stride.max(1)).min(meta.len);
            let buffer = self.at;
            self.from = end;
            if end == meta.len {
                (self.at, self.from) = (self.at + 1, 0);
            }
            return Some((&mut self.buffers[buffer][start..end], meta.addr));
        }
        None
    }

    /// Receives what there is, up to the room. False after an error of a single packet; `None` if
    /// nothing waits.
    fn receive(&mut self, wire: &Wire) -> Option<bool> {
        (self.at, self.from, self.filled) = (0, 0, 0);
        let mut slices = self.buffers.iter_mut();
        let mut slices: [IoSliceMut<'_>; BUFFERS] = std::array::from_fn(|_| {
            IoSliceMut::new(slices.next().map_or(&mut [][..], Vec::as_mut_slice))
        });
        let socket = UdpSockRef::from(&wire.socket);
        match wire.state.recv(socket, &mut slices, &mut self.metas) {
            Ok(0) => None,
            Ok(filled) => {
                self.filled = filled;
                Some(true)
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => None,
            Err(_) => Some(false),
        }
    }
}
