//! Queues of state datagrams, without an allocation for each.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

/// Received datagrams share blocks of this size.
const BLOCK_BYTES: usize = 64 * 1024;

/// Datagrams to send this tick, end to end in one buffer.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Outbox {
    pub(crate) const fn len(&self) -> usize {
        self.ends.len()
    }

    pub(crate) fn push(&mut self, datagram: &[u8]) {
        self.bytes.extend_from_slice(datagram);
        self.ends.push(self.bytes.len());
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts
            .zip(&self.ends)
            .map(|(start, end)| &self.bytes[start..*end])
    }

    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }
}

/// Received datagrams, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    block: BytesMut,
    datagrams: VecDeque<Bytes>,
}

impl Inbox {
    pub(crate) fn len(&self) -> usize {
        self.datagrams.len()
    }

    /// Keeps a datagram. `true` if the oldest had to go: newer state replaces older.
    pub(crate) fn push(&mut self, datagram: &[u8], limit: usize) -> bool {
        let full = self.datagrams.len() >= limit;
        if full {
            self.datagrams.pop_front();
        }
        if self.block.capacity() < datagram.len() {
            // Takes the old block again if everything in it was read and dropped.
            self.block.reserve(BLOCK_BYTES);
        }
        self.block.extend_from_slice(datagram);
        self.datagrams.push_back(self.block.split().freeze());
        full
    }

    pub(crate) fn pop(&mut self) -> Option<Bytes> {
        self.datagrams.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_outbox_gives_back_what_it_was_given() {
        let mut outbox = Outbox::default();
        for datagram in [&[1, 2, 3][..], &[4], &[5, 6]] {
            outbox.push(datagram);
        }
        assert_eq!(
            outbox.iter().collect::<Vec<_>>(),
            [&[1, 2, 3][..], &[4], &[5, 6]]
        );
        outbox.clear();
        assert_eq!((outbox.len(), outbox.iter().count()), (0, 0));
    }

    #[test]
    fn a_full_inbox_drops_the_oldest() {
        let mut inbox = Inbox::default();
        let dropped = (0..10).filter(|i| inbox.push(&[*i], 4)).count();
        assert_eq!(dropped, 6);
        assert_eq!(inbox.pop().as_deref(), Some(&[6][..]));
        assert_eq!(inbox.len(), 3);
    }

    #[test]
    fn an_inbox_that_is_read_does_not_grow() {
        let mut inbox = Inbox::default();
        for round in 0..10_000u32 {
            inbox.push(&[round as u8; 1190], 16);
            let read = inbox.pop().unwrap();
            assert_eq!(read[..], [round as u8; 1190]);
        }
        assert!(inbox.block.capacity() <= 2 * BLOCK_BYTES);
    }
}
