//! Queues of state datagrams, without an allocation for each.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use seamless_wire::MAX_DATAGRAM;

/// Received datagrams share blocks of this size.
const BLOCK_BYTES: usize = 64 * 1024;

/// Datagrams to send this tick, end to end in one buffer.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    bytes: Vec<u8>,
    ends: Vec<usize>,
    /// Whether datagrams that lack little to [`MAX_DATAGRAM`] get zeros if another one follows:
    /// those of one length leave together.
    pub(crate) fills: bool,
}

/// Most bytes that a datagram may lack to be filled.
const LITTLE: usize = MAX_DATAGRAM / 32;

impl Outbox {
    pub(crate) const fn len(&self) -> usize {
        self.ends.len()
    }

    pub(crate) fn push(&mut self, datagram: &[u8]) {
        if self.fills && self.last_len() + LITTLE >= MAX_DATAGRAM {
            self.bytes
                .resize(self.bytes.len() + MAX_DATAGRAM - self.last_len(), 0);
            self.ends.pop();
            self.ends.push(self.bytes.len());
        }
        self.bytes.extend_from_slice(datagram);
        self.ends.push(self.bytes.len());
    }

    fn last_len(&self) -> usize {
        let mut ends = self.ends.iter().rev().copied();
        let end = ends.next().unwrap_or_default();
        end - ends.next().unwrap_or_default()
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
    fn what_lacks_little_and_is_followed_is_filled() {
        let mut outbox = Outbox {
            fills: true,
            ..Outbox::default()
        };
        let least = MAX_DATAGRAM - LITTLE;
        let lens = [least, least - 1, MAX_DATAGRAM, 1, MAX_DATAGRAM - 1, least];
        for len in lens {
            outbox.push(&vec![7; len]);
        }
        let filled = [
            MAX_DATAGRAM,
            least - 1,
            MAX_DATAGRAM,
            1,
            MAX_DATAGRAM,
            least,
        ];
        for ((datagram, len), filled) in outbox.iter().zip(lens).zip(filled) {
            assert_eq!(datagram[..len], vec![7; len]);
            assert_eq!(datagram[len..], vec![0; filled - len]);
        }
        assert_eq!(outbox.len(), lens.len());
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
