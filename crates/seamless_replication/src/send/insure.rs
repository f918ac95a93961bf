//! Rows and leaves that go again unasked where datagrams are lost.
//!
//! That a row was lost is seen when later datagrams have overtaken it, or after a time that allows for the
//! slowest of answers. What changes in every tick need not wait for that: its next row follows. But what
//! changes and then rests is stale until then. So where datagrams are lost and few rows are under way, a row
//! goes with the datagrams of the next ticks as well, until it is acknowledged or
//! [`insurance`] has been paid.

use std::time::Duration;

use smallvec::SmallVec;

use super::{Known, Sender, log::SentItem};
use crate::{peer::control::insurance, rows::Rows};

/// Most rows of a tick that go again: a world in motion tells the next ones anyway, and a network that
/// loses datagrams because it is full gets no more of them.
const MAX_INSURED: usize = 64;

impl Sender {
    /// Once a tick, before anything is declared lost: what was sent last and has not changed since is due
    /// again, if that pays at this share of losses. A look at each row of the last frame in which anything
    /// was sent, unless there are more than [`MAX_INSURED`]. A frame of several ticks sends them all at once,
    /// and to send something twice at once does not help.
    pub(super) fn insure_rows(&mut self, now: Duration, (known, rows): (&Known, &Rows)) {
        let copies = insurance(self.loss);
        if copies == 0 || self.insured_at == now || self.dirty.count() > MAX_INSURED {
            // Nothing is lost, this is another tick of the same frame, or there is too much to say as it is.
            return;
        }
        self.insured_at = now;
        // With each, whether it was sent for the first time.
        let mut again: SmallVec<[(u32, bool); MAX_INSURED]> = SmallVec::new();
        for (seq, contents) in self.log.waiting_of_last_frame(now) {
            if again.len() + contents.rows() + contents.items.len() > MAX_INSURED {
                return;
            }
            let is_of_this_life = self.lives.of(seq);
            let rests = |slot: u32, version| {
                rows.ring(slot).is_some_and(|ring| ring.last() == version)
                    && self.sees(slot)
                    && !known.holds(self.seat.as_ref(), slot, version)
            };
            let resting = contents.with_soon();
            let resting = resting.filter(|&(slot, version, _)| rests(slot, version));
            let first = contents.version();
            let resting = resting.map(|(slot, version, _)| (slot, version == first));
            let leaving = contents.items.iter().filter_map(|item| match *item {
                SentItem::Leave { slot } if self.is_leaving(slot) => Some((slot, false)),
                _ => None,
            });
            again.extend(
                resting
                    .chain(leaving)
                    .filter(|(slot, _)| is_of_this_life(*slot)),
            );
        }
        again.sort_unstable();
        again.dedup_by_key(|(slot, _)| *slot);
        for (slot, first) in again {
            if self.slots[slot as usize].insure(first, copies) {
                self.counters.insured_records += 1;
                self.dirty.insert(slot as usize);
            }
        }
    }
}
