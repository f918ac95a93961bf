//! renet, on either side of a link.

use bytes::Bytes;
use renet::{RenetClient, RenetServer};

use crate::{Channel, CloseReason};

/// One renet connection. Everything given to it passed the gate.
pub(crate) trait Engine {
    fn is_disconnected(&self) -> bool;
    fn rtt(&self) -> f64;
    fn process(&mut self, packet: &[u8]);
    fn receive(&mut self, channel: Channel) -> Option<Bytes>;
    fn send(&mut self, channel: Channel, message: Bytes);
    /// Bytes that may be sent until some are acknowledged.
    fn free_bytes(&self, channel: Channel) -> usize;
    fn packets(&mut self) -> Vec<Vec<u8>>;

    /// Whether nothing is unacknowledged.
    fn is_settled(&self, channel: Channel) -> bool {
        self.free_bytes(channel) >= channel.send_bytes()
    }
}

impl Engine for RenetClient {
    fn is_disconnected(&self) -> bool {
        Self::is_disconnected(self)
    }

    fn rtt(&self) -> f64 {
        Self::rtt(self)
    }

    fn process(&mut self, packet: &[u8]) {
        self.process_packet(packet);
    }

    fn receive(&mut self, channel: Channel) -> Option<Bytes> {
        self.receive_message(channel as u8)
    }

    fn send(&mut self, channel: Channel, message: Bytes) {
        self.send_message(channel as u8, message);
    }

    fn free_bytes(&self, channel: Channel) -> usize {
        self.channel_available_memory(channel as u8)
    }

    fn packets(&mut self) -> Vec<Vec<u8>> {
        self.get_packets_to_send()
    }
}

/// One of a server's connections.
pub(crate) struct ServerEngine<'a> {
    pub(crate) server: &'a mut RenetServer,
    pub(crate) client: u64,
}

impl Engine for ServerEngine<'_> {
    fn is_disconnected(&self) -> bool {
        !self.server.is_connected(self.client)
    }

    fn rtt(&self) -> f64 {
        self.server.rtt(self.client)
    }

    fn process(&mut self, packet: &[u8]) {
        // Fails for an unknown client only, which `is_disconnected` reports.
        let _ = self.server.process_packet_from(packet, self.client);
    }

    fn receive(&mut self, channel: Channel) -> Option<Bytes> {
        self.server.receive_message(self.client, channel as u8)
    }

    fn send(&mut self, channel: Channel, message: Bytes) {
        self.server
            .send_message(self.client, channel as u8, message);
    }

    fn free_bytes(&self, channel: Channel) -> usize {
        self.server
            .channel_available_memory(self.client, channel as u8)
    }

    fn packets(&mut self) -> Vec<Vec<u8>> {
        self.server
            .get_packets_to_send(self.client)
            .unwrap_or_default()
    }
}

/// Removes a server's connection; renet's event then says who ended it.
pub(crate) fn end(server: &mut RenetServer, client: u64, reason: CloseReason) {
    match reason {
        CloseReason::ByPeer | CloseReason::TimedOut | CloseReason::Abandoned => {}
        _ => server.disconnect(client),
    }
    server.remove_connection(client);
}
