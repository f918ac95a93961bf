//! Where the sockets' datagrams lie.

use std::{
    collections::{BTreeMap, VecDeque},
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Port of the first client; the others follow.
const FIRST_PORT: u16 = 10_000;

#[derive(Default)]
pub(crate) struct Boxes {
    /// What clients say to be let in, by client.
    pub(crate) knocks: VecDeque<usize>,
    /// What they were answered.
    pub(crate) answers: BTreeMap<usize, String>,
    pub(crate) to_server: VecDeque<(usize, Vec<u8>)>,
    pub(crate) from_server: Vec<(usize, Vec<u8>)>,
    pub(crate) to_client: BTreeMap<usize, VecDeque<Vec<u8>>>,
    pub(crate) from_client: BTreeMap<usize, Vec<Vec<u8>>>,
}

/// Boxes between sockets and whoever carries datagrams. A cheap clone.
#[derive(Clone, Default)]
pub struct Post(Arc<Mutex<Boxes>>);

impl Post {
    pub(crate) fn boxes(&self) -> MutexGuard<'_, Boxes> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A datagram of a client has arrived at the server.
    pub fn bring_to_server(&self, client: usize, datagram: Vec<u8>) {
        self.boxes().to_server.push_back((client, datagram));
    }

    /// A datagram of the server has arrived at a client.
    pub fn bring_to_client(&self, client: usize, datagram: Vec<u8>) {
        let mut boxes = self.boxes();
        boxes
            .to_client
            .entry(client)
            .or_default()
            .push_back(datagram);
    }

    /// What the server has sent, and to which clients.
    #[must_use]
    pub fn fetch_from_server(&self) -> Vec<(usize, Vec<u8>)> {
        std::mem::take(&mut self.boxes().from_server)
    }

    /// What a client has sent.
    #[must_use]
    pub fn fetch_from_client(&self, client: usize) -> Vec<Vec<u8>> {
        let mut boxes = self.boxes();
        boxes
            .from_client
            .get_mut(&client)
            .map(std::mem::take)
            .unwrap_or_default()
    }
}

/// The server's address, which is only a name.
pub(crate) fn server_address() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, FIRST_PORT - 1))
}

/// A client's address.
pub(crate) fn address(client: usize) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, FIRST_PORT + client as u16))
}

/// Whose address it is.
pub(crate) fn client_at(address: &SocketAddr) -> usize {
    usize::from(address.port() - FIRST_PORT)
}
