//! The network between a server and its clients: datagrams in memory, delivered at the next tick
//! in both directions, each lost with the same probability.
//!
//! For subjects that hand over and take datagrams. bevy_seamless has links in memory of its own,
//! see `subject::seamless` for how those are made to do the same.

use crate::rng::Rng;

/// Bytes and datagrams.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Traffic {
    pub(crate) bytes: u64,
    pub(crate) datagrams: u64,
}

/// One direction to one client.
struct Way<P> {
    /// Put there in this tick.
    sent: Vec<P>,
    /// To be taken in this tick.
    arrived: Vec<P>,
}

/// Both directions of all clients. `P` is what the subject has its datagrams in, so that nobody
/// pays for a copy.
pub(crate) struct Network<P> {
    down: Vec<Way<P>>,
    up: Vec<Way<P>>,
    /// From the server to the clients, lost ones included.
    traffic: Traffic,
    loss: f32,
    rng: Rng,
}

impl<P: AsRef<[u8]>> Network<P> {
    /// A network without loss for so many clients.
    pub(crate) fn new(clients: usize) -> Self {
        let way = || Way {
            sent: Vec::new(),
            arrived: Vec::new(),
        };
        let ways = || std::iter::repeat_with(way).take(clients).collect();
        Self {
            down: ways(),
            up: ways(),
            traffic: Traffic::default(),
            loss: 0.0,
            rng: Rng::new(0, 0),
        }
    }

    /// Loses this share of datagrams from now on, in both directions.
    pub(crate) const fn set_loss(&mut self, loss: f32, seed: u64) {
        self.loss = loss;
        self.rng = Rng::new(seed, 3);
    }

    /// From the server to the clients, since the beginning.
    pub(crate) const fn traffic(&self) -> Traffic {
        self.traffic
    }

    /// The server puts a datagram on the link to a client.
    pub(crate) fn send_down(&mut self, client: usize, datagram: P) {
        self.traffic.bytes += datagram.as_ref().len() as u64;
        self.traffic.datagrams += 1;
        self.down[client].sent.push(datagram);
    }

    /// A client puts a datagram on its link.
    pub(crate) fn send_up(&mut self, client: usize, datagram: P) {
        self.up[client].sent.push(datagram);
    }

    /// Takes what has arrived at a client.
    pub(crate) fn take_down(&mut self, client: usize) -> Vec<P> {
        std::mem::take(&mut self.down[client].arrived)
    }

    /// Takes what has arrived at the server from a client.
    pub(crate) fn take_up(&mut self, client: usize) -> Vec<P> {
        std::mem::take(&mut self.up[client].arrived)
    }

    /// Drops all that lies on the links.
    pub(crate) fn clear(&mut self) {
        for way in self.down.iter_mut().chain(&mut self.up) {
            way.sent = Vec::new();
            way.arrived = Vec::new();
        }
    }

    /// The tick ends: what was sent in it can be taken in the next, unless it is lost.
    pub(crate) fn turn(&mut self) {
        for way in self.down.iter_mut().chain(&mut self.up) {
            for datagram in way.sent.drain(..) {
                if self.loss <= 0.0 || self.rng.unit() >= self.loss {
                    way.arrived.push(datagram);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_datagram_arrives_in_the_next_tick() {
        let mut network = Network::new(2);
        network.send_down(1, vec![1]);
        network.send_up(0, vec![2]);
        assert!(network.take_down(1).is_empty());
        network.turn();
        assert_eq!(network.take_down(1), [vec![1]]);
        assert_eq!(network.take_up(0), [vec![2]]);
        assert!(network.take_down(0).is_empty());
        assert_eq!(network.traffic().bytes, 1);
    }

    #[test]
    fn the_share_that_is_lost_is_lost() {
        let mut network = Network::new(1);
        network.set_loss(0.3, 5);
        for _ in 0..10_000 {
            network.send_down(0, vec![0]);
        }
        network.turn();
        let arrived = network.take_down(0).len();
        assert!((6_800..7_200).contains(&arrived), "{arrived}");
    }
}
