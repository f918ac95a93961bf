//! Datagrams under way.

use std::{collections::VecDeque, time::Duration};

use seamless_wire::{PacketSeq, Tick, control::ControlSeq, record::Version};
use smallvec::SmallVec;

use crate::prefetch::{FAR_AHEAD, prefetch_at};

/// Most datagrams that wait for a report, sent or given up. Older ones are forgotten.
const CAPACITY: usize = 2048;

/// Most lists that are kept for datagrams to come.
const MAX_SPARE: usize = 512;

/// Later acks after which a datagram counts as lost.
const OVERTAKEN_BY: usize = 3;

/// Something other than a row that was in a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SentItem {
    Leave { slot: u32 },
    Control(ControlSeq),
}

/// What was in a datagram.
#[derive(Debug, Default)]
pub(super) struct Contents {
    /// The version of most rows: those that changed in the datagram's tick.
    version: Version,
    usual: Vec<u32>,
    other: Vec<(u32, Version)>,
    pub(super) items: Vec<SentItem>,
}

impl Contents {
    /// Begins the list of a datagram of this tick.
    pub(super) const fn begin(&mut self, tick: Tick) {
        self.version = Version(tick.0);
    }

    /// A row is in the datagram.
    #[inline]
    pub(super) fn add_row(&mut self, slot: u32, version: Version) {
        if version == self.version {
            self.usual.push(slot);
        } else {
            self.other.push((slot, version));
        }
    }

    /// Rows that changed in the datagram's tick are in it.
    pub(super) fn add_rows(&mut self, slots: impl Iterator<Item = u32>) {
        self.usual.extend(slots);
    }

    /// How many rows are in the datagram.
    pub(super) const fn rows(&self) -> usize {
        self.usual.len() + self.other.len()
    }

    /// The version of the [usual](Self::each_usual) rows.
    pub(super) const fn version(&self) -> Version {
        self.version
    }

    /// The slots that changed in the datagram's tick, with what stands in `lines` for each, the first of
    /// which is that of slot `first`.
    #[inline]
    pub(super) fn each_usual<T>(
        &self,
        first: u32,
        lines: &mut [T],
        mut visit: impl FnMut(u32, &mut T),
    ) {
        for (at, &slot) in self.usual.iter().enumerate() {
            // What lies before the first is beyond the last.
            if let Some(&soon) = self.usual.get(at + FAR_AHEAD) {
                prefetch_at(lines, soon.wrapping_sub(first));
            }
            if let Some(line) = lines.get_mut(slot.wrapping_sub(first) as usize) {
                visit(slot, line);
            }
        }
    }

    /// As [`each_usual`](Self::each_usual), if they are wanted, and all others, with their versions.
    #[inline]
    pub(super) fn each_row<T>(
        &self,
        usual: bool,
        first: u32,
        lines: &mut [T],
        mut visit: impl FnMut(u32, Version, &mut T),
    ) {
        if usual {
            self.each_usual(first, lines, |slot, line| visit(slot, self.version, line));
        }
        for &(slot, version) in &self.other {
            if let Some(line) = lines.get_mut(slot.wrapping_sub(first) as usize) {
                visit(slot, version, line);
            }
        }
    }

    /// The rows in the datagram, each with its version and the one that is [`FAR_AHEAD`] of it.
    pub(super) fn with_soon(&self) -> impl Iterator<Item = (u32, Version, Option<u32>)> {
        let soon = |at: usize| self.usual.get(at + FAR_AHEAD).copied();
        let usual = self.usual.iter().enumerate();
        let usual = usual.map(move |(at, &slot)| (slot, self.version, soon(at)));
        usual.chain(
            self.other
                .iter()
                .map(|&(slot, version)| (slot, version, None)),
        )
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Waiting,
    /// Treated as lost. A late report still moves baselines.
    Lost,
    /// Reported, or forgotten.
    Done,
}

/// A datagram that arrived.
#[derive(Debug)]
pub(super) struct Acked {
    pub(super) sent_at: Duration,
    pub(super) contents: Contents,
    /// Whether it had been given up.
    pub(super) was_lost: bool,
}

/// One datagram.
#[derive(Debug)]
struct Sent {
    sent_at: Duration,
    contents: Contents,
    fate: Fate,
}

/// All datagrams that may still be reported, one after the other, so that a sequence is a place.
#[derive(Debug, Default)]
pub(super) struct SendLog {
    entries: VecDeque<Sent>,
    /// Sequence of the first entry.
    first: u64,
    /// How many of the first entries do not wait any more.
    settled: usize,
    /// The highest acknowledged sequences, descending.
    top: SmallVec<[PacketSeq; OVERTAKEN_BY]>,
    spare: Vec<Contents>,
}

impl SendLog {
    /// Whether nothing is under way.
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Empty lists for the next datagram.
    pub(super) fn contents(&mut self) -> Contents {
        self.spare.pop().unwrap_or_default()
    }

    /// Takes note of a datagram. Sequences follow one another.
    pub(super) fn push(&mut self, seq: PacketSeq, sent_at: Duration, contents: Contents) {
        if self.entries.is_empty() {
            self.first = seq.0;
        }
        debug_assert_eq!(self.first + self.entries.len() as u64, seq.0);
        self.entries.push_back(Sent {
            sent_at,
            contents,
            fate: Fate::Waiting,
        });
    }

    /// Takes an acknowledged datagram out. `None` if it was acknowledged before.
    pub(super) fn ack(&mut self, seq: PacketSeq) -> Option<Acked> {
        let at = usize::try_from(seq.0.checked_sub(self.first)?).ok()?;
        let sent = self.entries.get_mut(at)?;
        if sent.fate == Fate::Done {
            return None;
        }
        let before = std::mem::replace(&mut sent.fate, Fate::Done);
        let taken = Acked {
            sent_at: sent.sent_at,
            contents: std::mem::take(&mut sent.contents),
            was_lost: before == Fate::Lost,
        };
        let place = self.top.partition_point(|&other| other > seq);
        if place < OVERTAKEN_BY {
            self.top.truncate(OVERTAKEN_BY - 1);
            let place = place.min(self.top.len());
            self.top.insert(place, seq);
        }
        self.drop_done();
        Some(taken)
    }

    fn drop_done(&mut self) {
        while self
            .entries
            .front()
            .is_some_and(|sent| sent.fate == Fate::Done)
        {
            self.entries.pop_front();
            self.first += 1;
            self.settled = self.settled.saturating_sub(1);
        }
    }

    /// Takes lists back that a datagram does not need any more.
    pub(super) fn recycle(&mut self, mut contents: Contents) {
        if self.spare.len() < MAX_SPARE {
            contents.usual.clear();
            contents.other.clear();
            contents.items.clear();
            self.spare.push(contents);
        }
    }

    /// Takes what was in the next datagram that is lost and not yet treated as such.
    /// [`keep_lost`](Self::keep_lost) gives it back.
    ///
    /// Entries ascend by sequence and by time, so the first that waits and is not lost ends the
    /// search; those before it are looked at once.
    pub(super) fn next_lost(
        &mut self,
        now: Duration,
        timeout: Duration,
    ) -> Option<(PacketSeq, Contents)> {
        let overtaken = (self.top.len() == OVERTAKEN_BY).then(|| self.top[OVERTAKEN_BY - 1]);
        let full = self.entries.len() - self.settled.min(self.entries.len()) > CAPACITY;
        while let Some(sent) = self.entries.get_mut(self.settled) {
            let seq = PacketSeq(self.first + self.settled as u64);
            if sent.fate == Fate::Waiting {
                let lost = full
                    || overtaken.is_some_and(|limit| seq < limit)
                    || now.saturating_sub(sent.sent_at) > timeout;
                if !lost {
                    break;
                }
                sent.fate = Fate::Lost;
                self.settled += 1;
                return Some((seq, std::mem::take(&mut sent.contents)));
            }
            self.settled += 1;
        }
        while self.entries.len() > CAPACITY && self.settled > 0 {
            if let Some(forgotten) = self.entries.pop_front() {
                self.recycle(forgotten.contents);
            }
            self.first += 1;
            self.settled -= 1;
            self.drop_done();
        }
        None
    }

    /// Datagrams that were sent in the last frame before this one in which any was, and wait for a report,
    /// the newest first.
    pub(super) fn waiting_of_last_frame(
        &self,
        now: Duration,
    ) -> impl Iterator<Item = (PacketSeq, &Contents)> {
        let all = self.entries.iter().enumerate().rev();
        let before = all.skip_while(move |(_, sent)| sent.sent_at >= now);
        let mut then = None;
        before
            .take_while(move |(_, sent)| *then.get_or_insert(sent.sent_at) == sent.sent_at)
            .filter(|(_, sent)| sent.fate == Fate::Waiting)
            .map(|(at, sent)| (PacketSeq(self.first + at as u64), &sent.contents))
    }

    /// Keeps a lost datagram's contents for a late report.
    pub(super) fn keep_lost(&mut self, seq: PacketSeq, contents: Contents) {
        let at = seq.0.checked_sub(self.first).map(|at| at as usize);
        match at.and_then(|at| self.entries.get_mut(at)) {
            Some(sent) if sent.fate == Fate::Lost => sent.contents = contents,
            _ => self.recycle(contents),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(n: u64) -> SendLog {
        let mut log = SendLog::default();
        for seq in 0..n {
            log.push(
                PacketSeq(seq),
                Duration::from_millis(seq),
                Contents::default(),
            );
        }
        log
    }

    fn lost(log: &mut SendLog, now: Duration, timeout: Duration) -> Vec<u64> {
        std::iter::from_fn(|| {
            let (seq, contents) = log.next_lost(now, timeout)?;
            log.keep_lost(seq, contents);
            Some(seq.0)
        })
        .collect()
    }

    const LONG: Duration = Duration::from_secs(9);

    #[test]
    fn three_later_acks_make_a_datagram_lost() {
        let mut log = log(6);
        for seq in [2, 4] {
            assert!(log.ack(PacketSeq(seq)).is_some());
        }
        assert!(lost(&mut log, Duration::ZERO, LONG).is_empty());
        log.ack(PacketSeq(5));
        let found = lost(&mut log, Duration::ZERO, LONG);
        assert_eq!(found, [0, 1], "3 was overtaken by two only");
        assert!(
            log.ack(PacketSeq(1)).is_some(),
            "a late report still counts"
        );
        assert!(log.ack(PacketSeq(1)).is_none());
        assert!(log.ack(PacketSeq(99)).is_none());
    }

    #[test]
    fn the_last_datagram_is_lost_by_time() {
        let mut log = log(2);
        let late = Duration::from_millis(102);
        assert_eq!(lost(&mut log, late, Duration::from_millis(100)), [0, 1]);
    }

    #[test]
    fn the_log_is_bounded() {
        let mut log = log(CAPACITY as u64 + 100);
        assert_eq!(lost(&mut log, Duration::ZERO, LONG).len(), 100);
        let next = CAPACITY as u64 + 100;
        for seq in next..next + 300 {
            log.push(PacketSeq(seq), Duration::ZERO, Contents::default());
            lost(&mut log, Duration::ZERO, LONG);
        }
        assert!(log.entries.len() <= CAPACITY + 1, "{}", log.entries.len());
    }

    #[test]
    fn what_is_reported_in_order_leaves_nothing() {
        let mut log = log(40);
        for seq in 0..40 {
            assert!(log.ack(PacketSeq(seq)).is_some());
        }
        assert!(log.entries.is_empty());
        log.push(PacketSeq(40), Duration::ZERO, Contents::default());
        assert!(log.ack(PacketSeq(40)).is_some());
    }
}
