//! netcode's datagrams without encryption.

use crate::{
    Refused,
    carrier::{Carrier, Path},
    gate::{DatagramHead, DatagramType, MAC_BYTES, PROTOCOL_VERSION, REQUEST_BYTES},
};
use seamless_wire::ticket::TICKET_BYTES;

use super::hub::MemorySocket;

/// Sequences that are remembered, as in renetcode.
const REPLAY_WINDOW: u64 = 256;

/// Where the user data stand in a request: behind prefix, version, protocol, expiry and nonce.
const USER_DATA_AT: usize = REQUEST_BYTES - 1024;

/// Numbers the datagrams of one direction and knows those of the other.
#[derive(Debug)]
pub(crate) struct Numbering {
    next: u64,
    newest: u64,
    /// Slot `n % 256`: one more than the newest sequence seen there.
    seen: [u64; REPLAY_WINDOW as usize],
}

impl Default for Numbering {
    fn default() -> Self {
        Self {
            // A goodbye with sequence 0 would be too short for the gate.
            next: 1,
            newest: 0,
            seen: [0; REPLAY_WINDOW as usize],
        }
    }
}

impl Numbering {
    /// Notes an arriving sequence; `false` if it came before or is too old to tell.
    pub(crate) const fn is_new(&mut self, sequence: u64) -> bool {
        if sequence + REPLAY_WINDOW <= self.newest {
            return false;
        }
        let seen = &mut self.seen[(sequence % REPLAY_WINDOW) as usize];
        if *seen > sequence {
            return false;
        }
        *seen = sequence + 1;
        if sequence > self.newest {
            self.newest = sequence;
        }
        true
    }

    /// Writes the next datagram over `out`.
    pub(crate) fn write(&mut self, out: &mut Vec<u8>, kind: DatagramType, body: &[u8]) {
        let sequence = self.next;
        self.next += 1;
        let bytes = 8 - sequence.leading_zeros() as usize / 8;
        out.clear();
        out.push(kind as u8 | (bytes as u8) << 4);
        out.extend_from_slice(&sequence.to_le_bytes()[..bytes]);
        out.extend_from_slice(body);
        out.resize(out.len() + MAC_BYTES, 0);
    }
}

/// A request for a link.
pub(crate) fn request(user_data: &[u8; TICKET_BYTES]) -> Vec<u8> {
    let mut out = vec![0; REQUEST_BYTES];
    out[1..=PROTOCOL_VERSION.len()].copy_from_slice(PROTOCOL_VERSION);
    out[USER_DATA_AT..USER_DATA_AT + TICKET_BYTES].copy_from_slice(user_data);
    out
}

/// The user data of a request.
pub(crate) fn user_data(request: &[u8]) -> Option<Box<[u8; TICKET_BYTES]>> {
    let bytes = request.get(USER_DATA_AT..USER_DATA_AT + TICKET_BYTES)?;
    bytes.try_into().ok().map(Box::new)
}

/// The body of a datagram that passed the gate.
pub(crate) fn body(head: DatagramHead, datagram: &[u8]) -> &[u8] {
    debug_assert_ne!(
        head.kind,
        DatagramType::Request,
        "a request has another frame"
    );
    let start = 1 + datagram
        .first()
        .map_or(0, |prefix| usize::from(prefix >> 4));
    let end = datagram.len().saturating_sub(MAC_BYTES);
    datagram.get(start..end).unwrap_or_default()
}

/// What a keep-alive carries in netcode: two numbers that no one needs.
pub(crate) const KEEP_ALIVE: &[u8] = &[0; 8];

/// Frames payloads of one link.
pub(crate) struct Framer<'a> {
    pub(crate) socket: &'a MemorySocket,
    pub(crate) numbering: &'a mut Numbering,
    pub(crate) buffer: &'a mut Vec<u8>,
    pub(crate) to: u64,
}

impl Framer<'_> {
    /// Sends a datagram of any type; how long it was.
    pub(crate) fn put(&mut self, kind: DatagramType, body: &[u8], path: &mut Path<'_>) -> usize {
        self.numbering.write(self.buffer, kind, body);
        path.put(self.buffer, |d| self.socket.send(d, self.to));
        self.buffer.len()
    }
}

impl Carrier for Framer<'_> {
    fn send(&mut self, payload: &[u8], path: &mut Path<'_>) -> Result<usize, Refused> {
        Ok(self.put(DatagramType::Payload, payload, path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::check_datagram;

    #[test]
    fn the_gate_takes_what_is_written() {
        let mut numbering = Numbering::default();
        let mut out = Vec::new();
        for count in 1..70_000 {
            numbering.write(&mut out, DatagramType::Payload, &[9, 8, 7]);
            let head = check_datagram(&out).unwrap();
            assert_eq!(head.sequence, count);
            assert_eq!(body(head, &out), [9, 8, 7]);
        }
        assert_eq!(out.len(), 1 + 3 + 3 + 16);
        let request = request(&[5; TICKET_BYTES]);
        assert_eq!(
            check_datagram(&request).unwrap().kind,
            DatagramType::Request
        );
        assert_eq!(user_data(&request), Some(Box::new([5; TICKET_BYTES])));
    }

    #[test]
    fn a_datagram_is_new_once() {
        let mut numbering = Numbering::default();
        for sequence in [0, 1, 5, 3, 300, 299] {
            assert!(numbering.is_new(sequence), "{sequence}");
            assert!(!numbering.is_new(sequence), "{sequence}");
        }
        assert!(!numbering.is_new(4), "older than the window");
        assert!(numbering.is_new(45));
    }
}
