//! Datagrams under way.

use std::{collections::VecDeque, time::Duration};

use seamless_wire::{PacketSeq, control::ControlSeq, record::Version};
use smallvec::SmallVec;

/// Most datagrams that wait for a report, sent or given up. Older ones are forgotten.
const CAPACITY: usize = 2048;

/// Later acks after which a datagram counts as lost.
const OVERTAKEN_BY: usize = 3;

/// Something that was in a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SentItem {
    Row {
        slot: u32,
        generation: u32,
        version: Version,
    },
    Leave {
        slot: u32,
        generation: u32,
    },
    Control(ControlSeq),
}

/// One datagram.
#[derive(Debug, Default)]
pub(super) struct Sent {
    pub(super) seq: PacketSeq,
    pub(super) sent_at: Duration,
    pub(super) items: Vec<SentItem>,
    lost: bool,
}

/// All datagrams that may still be reported, ascending.
#[derive(Debug, Default)]
pub(super) struct SendLog {
    entries: VecDeque<Sent>,
    /// The highest acknowledged sequences, descending.
    top: SmallVec<[PacketSeq; OVERTAKEN_BY]>,
    spare: Vec<Vec<SentItem>>,
}

impl SendLog {
    /// An empty list for the next datagram's items.
    pub(super) fn items(&mut self) -> Vec<SentItem> {
        self.spare.pop().unwrap_or_default()
    }

    pub(super) fn push(&mut self, seq: PacketSeq, sent_at: Duration, items: Vec<SentItem>) {
        self.entries.push_back(Sent {
            seq,
            sent_at,
            items,
            lost: false,
        });
    }

    /// Takes an acknowledged datagram out. `None` if it was acknowledged before.
    pub(super) fn ack(&mut self, seq: PacketSeq) -> Option<Sent> {
        let at = self
            .entries
            .binary_search_by_key(&seq, |sent| sent.seq)
            .ok()?;
        let place = self.top.partition_point(|&other| other > seq);
        if place < OVERTAKEN_BY {
            self.top.truncate(OVERTAKEN_BY - 1);
            let place = place.min(self.top.len());
            self.top.insert(place, seq);
        }
        self.entries.remove(at)
    }

    pub(super) fn recycle(&mut self, mut sent: Sent) {
        if self.spare.len() < 64 {
            sent.items.clear();
            self.spare.push(sent.items);
        }
    }

    /// Takes the next datagram that is lost and not yet treated as such.
    pub(super) fn next_lost(&mut self, now: Duration, timeout: Duration) -> Option<Sent> {
        while self.entries.len() > CAPACITY {
            let oldest = self.entries.pop_front()?;
            if !oldest.lost {
                return Some(oldest);
            }
            self.recycle(oldest);
        }
        let overtaken = (self.top.len() == OVERTAKEN_BY).then(|| self.top[OVERTAKEN_BY - 1]);
        // Entries ascend by sequence and by time, so the first that is neither ends the search.
        let at = self
            .entries
            .iter()
            .take_while(|sent| {
                sent.lost
                    || overtaken.is_some_and(|limit| sent.seq < limit)
                    || now.saturating_sub(sent.sent_at) > timeout
            })
            .position(|sent| !sent.lost)?;
        self.entries.remove(at)
    }

    /// Keeps a lost datagram's record: a late report of it still moves baselines.
    pub(super) fn keep_lost(&mut self, mut sent: Sent) {
        sent.lost = true;
        let at = self.entries.partition_point(|other| other.seq < sent.seq);
        if at == 0 && self.entries.len() >= CAPACITY {
            self.recycle(sent);
        } else {
            self.entries.insert(at, sent);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(n: u64) -> SendLog {
        let mut log = SendLog::default();
        for seq in 0..n {
            log.push(PacketSeq(seq), Duration::from_millis(seq), vec![]);
        }
        log
    }

    const LONG: Duration = Duration::from_secs(9);

    #[test]
    fn three_later_acks_make_a_datagram_lost() {
        let mut log = log(6);
        for seq in [2, 4] {
            assert!(log.ack(PacketSeq(seq)).is_some());
        }
        assert!(log.next_lost(Duration::ZERO, LONG).is_none());
        log.ack(PacketSeq(5));
        let mut lost = vec![];
        while let Some(sent) = log.next_lost(Duration::ZERO, LONG) {
            lost.push(sent.seq.0);
            log.keep_lost(sent);
        }
        assert_eq!(lost, [0, 1], "3 was overtaken by two only");
        assert!(
            log.ack(PacketSeq(1)).is_some(),
            "a late report still counts"
        );
        assert!(log.ack(PacketSeq(1)).is_none());
    }

    #[test]
    fn the_last_datagram_is_lost_by_time() {
        let mut log = log(2);
        let late = Duration::from_millis(102);
        let lost: Vec<_> = std::iter::from_fn(|| {
            let sent = log.next_lost(late, Duration::from_millis(100))?;
            let seq = sent.seq.0;
            log.keep_lost(sent);
            Some(seq)
        })
        .collect();
        assert_eq!(lost, [0, 1]);
    }

    #[test]
    fn the_log_is_bounded() {
        let mut log = log(CAPACITY as u64 + 100);
        while let Some(sent) = log.next_lost(Duration::ZERO, LONG) {
            log.keep_lost(sent);
        }
        assert!(log.entries.len() <= CAPACITY);
    }
}
