//! What arrived, and what of it must still be reported.

use seamless_wire::{
    PacketSeq,
    packet::{AckBits, MAX_ACK_BITS},
};

/// How often each sequence is reported at least.
const REPORTS: u8 = 3;

/// How far back a late datagram may be and still be taken.
const WINDOW: u64 = MAX_ACK_BITS as u64;

/// Receive side of one direction of a link.
#[derive(Debug, Default)]
pub(crate) struct Received {
    /// The newest sequence that arrived; `None` before the first.
    newest: Option<PacketSeq>,
    /// Arrived sequences that still want reports, with how many are owed and whether they were
    /// kept. Ascending; at most [`WINDOW`].
    owed: Vec<(PacketSeq, u8, bool)>,
    /// Bit `i`: `newest - i` arrived. Drops duplicates; [`WINDOW`] long.
    seen: SeenBits,
}

#[derive(Debug)]
struct SeenBits([u64; (MAX_ACK_BITS / 64) as usize]);

impl Default for SeenBits {
    fn default() -> Self {
        Self([0; (MAX_ACK_BITS / 64) as usize])
    }
}

impl SeenBits {
    fn shift(&mut self, by: u64) {
        if by >= WINDOW {
            self.0.fill(0);
            return;
        }
        let (words, bits) = ((by / 64) as usize, (by % 64) as u32);
        for i in (0..self.0.len()).rev() {
            let low = if i >= words { self.0[i - words] } else { 0 };
            let carry = if bits > 0 && i > words {
                self.0[i - words - 1] >> (64 - bits)
            } else {
                0
            };
            self.0[i] = (low << bits) | carry;
        }
    }

    /// Sets a bit and tells whether it was set before.
    fn set(&mut self, back: u64) -> bool {
        let (word, bit) = ((back / 64) as usize, 1u64 << (back % 64));
        let was = self.0[word] & bit != 0;
        self.0[word] |= bit;
        was
    }
}

impl Received {
    /// The newest sequence that arrived, or zero.
    pub(crate) fn newest(&self) -> PacketSeq {
        self.newest.unwrap_or_default()
    }

    /// Takes note of an arrival. False if it is a duplicate or too old to be of use.
    pub(crate) fn arrive(&mut self, seq: PacketSeq) -> bool {
        match self.newest {
            Some(newest) if seq <= newest => {
                let back = newest.0 - seq.0;
                back < WINDOW && !self.seen.set(back)
            }
            newest => {
                self.seen.shift(seq.0 - newest.unwrap_or(seq).0);
                self.seen.set(0);
                self.newest = Some(seq);
                true
            }
        }
    }

    /// Whether the datagram's content is retained: from here on it is reported.
    pub(crate) fn report(&mut self, seq: PacketSeq, kept: bool) {
        let at = self.owed.partition_point(|(other, ..)| *other < seq);
        self.owed.insert(at, (seq, REPORTS, kept));
        if self.owed.len() > WINDOW as usize {
            self.owed.remove(0);
        }
    }

    /// The report for the next datagram.
    ///
    /// Everything that is owed is in reach: a report ends at the newest arrival and goes back as
    /// far as the oldest sequence that was not yet reported often enough, but not past the window.
    pub(crate) fn take_report(&mut self) -> Option<AckBits> {
        if self.owed.is_empty() {
            return None;
        }
        let newest = self.newest?;
        let mut bits = AckBits::new(newest);
        for (seq, owed, kept) in &mut self.owed {
            bits.report(*seq, *kept);
            *owed -= 1;
        }
        self.owed.retain(|(_, owed, _)| *owed > 0);
        Some(bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn duplicates_and_ancient_datagrams_are_dropped() {
        let mut received = Received::default();
        assert!(received.arrive(PacketSeq(5)));
        assert!(!received.arrive(PacketSeq(5)));
        assert!(received.arrive(PacketSeq(3)));
        assert!(!received.arrive(PacketSeq(3)));
        assert!(received.arrive(PacketSeq(2000)));
        assert!(received.arrive(PacketSeq(1936)), "still in the window");
        assert!(!received.arrive(PacketSeq(900)), "out of the window");
        assert!(received.arrive(PacketSeq(1999)));
        assert!(!received.arrive(PacketSeq(1936)));
    }

    #[test]
    fn every_arrival_is_reported_three_times() {
        let mut received = Received::default();
        received.arrive(PacketSeq(7));
        received.report(PacketSeq(7), true);
        received.arrive(PacketSeq(9));
        received.report(PacketSeq(9), false);
        for _ in 0..3 {
            let report = received.take_report().expect("owed");
            assert_eq!(report.acked().map(|s| s.0).collect::<Vec<_>>(), [7]);
            assert_eq!(report.newest, PacketSeq(9));
        }
        assert_eq!(received.take_report(), None);
    }
}
