//! A datagram network inside one process.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Datagrams that wait for one socket at most; more are lost, as in a real socket.
const MAX_WAITING: usize = 8192;

/// Clients' addresses begin here; servers choose theirs below.
pub(crate) const FIRST_CLIENT: u64 = 1 << 32;

/// A datagram network that apps of one process share. A cheap clone.
///
/// Servers listen at numbers below 2^32, clients get addresses above. A datagram is in the peer's
/// queue as soon as it was sent; delay and loss are the links' conditioners' work.
#[derive(Debug, Clone, Default)]
pub struct MemoryHub(Arc<Mutex<Network>>);

#[derive(Debug, Default)]
struct Network {
    sockets: BTreeMap<u64, VecDeque<(u64, Vec<u8>)>>,
    clients: u64,
}

impl MemoryHub {
    /// A network with nobody on it.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn network(&self) -> MutexGuard<'_, Network> {
        // Every change is one operation on a queue: a thread that panicked left it whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `None` if someone is at the address.
    pub(crate) fn bind(&self, address: u64) -> Option<MemorySocket> {
        let mut network = self.network();
        if network.sockets.contains_key(&address) {
            return None;
        }
        network.sockets.insert(address, VecDeque::new());
        Some(MemorySocket {
            hub: self.clone(),
            address,
        })
    }

    pub(crate) fn bind_client(&self) -> MemorySocket {
        let mut network = self.network();
        let address = FIRST_CLIENT + network.clients;
        network.clients += 1;
        network.sockets.insert(address, VecDeque::new());
        drop(network);
        MemorySocket {
            hub: self.clone(),
            address,
        }
    }
}

/// An address on the network. Dropped without a goodbye: datagrams to it then vanish.
#[derive(Debug)]
pub(crate) struct MemorySocket {
    hub: MemoryHub,
    address: u64,
}

impl MemorySocket {
    pub(crate) const fn address(&self) -> u64 {
        self.address
    }

    /// Never fails: what no one takes is lost.
    pub(crate) fn send(&self, datagram: &[u8], to: u64) {
        let mut network = self.hub.network();
        if let Some(queue) = network.sockets.get_mut(&to)
            && queue.len() < MAX_WAITING
        {
            queue.push_back((self.address, datagram.to_vec()));
        }
    }

    pub(crate) fn receive(&self) -> Option<(u64, Vec<u8>)> {
        let mut network = self.hub.network();
        network.sockets.get_mut(&self.address)?.pop_front()
    }
}

impl Drop for MemorySocket {
    fn drop(&mut self) {
        self.hub.network().sockets.remove(&self.address);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_free_again_when_its_owner_is_gone() {
        let hub = MemoryHub::new();
        let first = hub.bind(7).unwrap();
        assert!(hub.bind(7).is_none());
        let client = hub.bind_client();
        client.send(&[1], 7);
        assert_eq!(first.receive(), Some((FIRST_CLIENT, vec![1])));
        drop(first);
        client.send(&[2], 7);
        assert_eq!(hub.bind(7).unwrap().receive(), None);
    }

    #[test]
    fn a_socket_that_no_one_reads_does_not_fill_memory() {
        let hub = MemoryHub::new();
        let (server, client) = (hub.bind(7).unwrap(), hub.bind_client());
        for _ in 0..2 * MAX_WAITING {
            client.send(&[1], 7);
        }
        assert_eq!(std::iter::from_fn(|| server.receive()).count(), MAX_WAITING);
    }
}
