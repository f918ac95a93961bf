//! Control items of one link: in order, once, resent when their datagram is lost.

use std::collections::{BTreeMap, VecDeque};

use seamless_wire::{
    WireError,
    control::{Control, ControlSeq},
};

/// Most items that wait to be acknowledged. Further ones are refused: the peer is not there.
const MAX_WAITING: usize = 4096;

/// How many of those places are not for answers: with fewer left, a peer is not listened to until it
/// has acknowledged some of what it was told. So each of its items can be answered, and a peer that
/// asks and never listens costs no more memory than that.
pub(crate) const NOT_FOR_ANSWERS: usize = 1024;

/// Most items that are kept while one before them is missing. The sender goes no further ahead of the
/// oldest one that is not acknowledged.
const MAX_AHEAD: u64 = 1024;

/// Most items that are in order and wait until there is room for their answers.
const MAX_READY: usize = 4096;

/// Send side.
#[derive(Debug, Default)]
pub(crate) struct ControlOut {
    next: u64,
    /// Unacknowledged items, ascending; `true`: to be sent (again).
    waiting: VecDeque<(ControlSeq, Vec<u8>, bool)>,
}

impl ControlOut {
    /// Queues an item.
    ///
    /// # Errors
    /// [`WireError`] if it is too large or too many wait.
    pub(crate) fn push(&mut self, item: &Control) -> Result<(), WireError> {
        if self.waiting.len() >= MAX_WAITING {
            let max = MAX_WAITING as u64;
            return Err(WireError::OutOfBounds {
                what: "waiting items",
                value: max + 1,
                max,
            });
        }
        let bytes = item.to_bytes()?;
        self.waiting.push_back((ControlSeq(self.next), bytes, true));
        self.next += 1;
        Ok(())
    }

    /// How many more items may wait.
    pub(crate) fn room(&self) -> usize {
        MAX_WAITING.saturating_sub(self.waiting.len())
    }

    /// All that is not acknowledged is to be sent again.
    pub(crate) fn all_due(&mut self) {
        for (.., due) in &mut self.waiting {
            *due = true;
        }
    }

    /// Items to be sent, ascending. A look at each that the other end has room for.
    pub(crate) fn due(&self) -> impl Iterator<Item = (ControlSeq, &[u8])> {
        let oldest = self.waiting.front().map_or(self.next, |(seq, ..)| seq.0);
        self.waiting
            .iter()
            .take_while(move |(seq, ..)| seq.0 < oldest + MAX_AHEAD)
            .filter(|(.., due)| *due)
            .map(|(seq, bytes, _)| (*seq, bytes.as_slice()))
    }

    pub(crate) fn has_due(&self) -> bool {
        self.due().next().is_some()
    }

    fn mark(&mut self, seq: ControlSeq, due: bool) {
        if let Ok(at) = self.waiting.binary_search_by_key(&seq, |(seq, ..)| *seq) {
            self.waiting[at].2 = due;
        }
    }

    pub(crate) fn sent(&mut self, seq: ControlSeq) {
        self.mark(seq, false);
    }

    pub(crate) fn lost(&mut self, seq: ControlSeq) {
        self.mark(seq, true);
    }

    pub(crate) fn acked(&mut self, seq: ControlSeq) {
        if let Ok(at) = self.waiting.binary_search_by_key(&seq, |(seq, ..)| *seq) {
            self.waiting.remove(at);
        }
    }
}

/// Receive side.
#[derive(Debug, Default)]
pub(crate) struct ControlIn {
    next: u64,
    ahead: BTreeMap<ControlSeq, Control>,
    ready: VecDeque<Control>,
}

impl ControlIn {
    /// Where the next number is expected, to widen short ones.
    pub(crate) const fn near(&self) -> ControlSeq {
        ControlSeq(self.next)
    }

    /// Whether the items can be taken without growing past the bounds. What is missing can be taken
    /// however much is kept already of what comes after it.
    pub(crate) fn has_room(&self, items: &[(ControlSeq, Control)]) -> bool {
        self.ready.len() + self.ahead.len() + items.len() <= MAX_READY
            && items.iter().all(|(seq, _)| seq.0 < self.next + MAX_AHEAD)
    }

    /// Takes items; those that are in order become ready.
    pub(crate) fn take(&mut self, items: Vec<(ControlSeq, Control)>) {
        for (seq, item) in items {
            if seq.0 >= self.next {
                self.ahead.insert(seq, item);
            }
        }
        while let Some(item) = self.ahead.remove(&ControlSeq(self.next)) {
            self.next += 1;
            self.ready.push_back(item);
        }
    }

    /// The next item in order.
    pub(crate) fn pop(&mut self) -> Option<Control> {
        self.ready.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use seamless_wire::{GlobalEntity, RequestId};

    use super::*;

    fn item(n: u32) -> Control {
        let entity = GlobalEntity::new(3, 1).expect("legal");
        Control::AuthorityRequest {
            request: RequestId(n),
            entity,
        }
    }

    #[test]
    fn items_come_once_and_in_order_whatever_the_network_does() {
        let mut out = ControlOut::default();
        let mut input = ControlIn::default();
        for n in 0..4 {
            out.push(&item(n)).expect("room");
        }
        let sent: Vec<_> = out
            .due()
            .map(|(seq, _)| (seq, item(seq.0 as u32)))
            .collect();
        for (seq, _) in &sent {
            out.sent(*seq);
        }
        assert!(!out.has_due());
        // 1 is lost, 3 comes first, 2 comes twice.
        for at in [3, 2, 2, 0] {
            input.take(vec![sent[at].clone()]);
        }
        out.lost(ControlSeq(1));
        assert_eq!(out.due().map(|(seq, _)| seq.0).collect::<Vec<_>>(), [1]);
        input.take(vec![sent[1].clone(), sent[3].clone()]);
        let got: Vec<_> = std::iter::from_fn(|| input.pop()).collect();
        assert_eq!(got, (0..4).map(item).collect::<Vec<_>>());
    }

    #[test]
    fn what_was_lost_first_is_taken_when_as_much_is_kept_as_may_be() {
        let mut out = ControlOut::default();
        let mut input = ControlIn::default();
        for n in 0..MAX_WAITING as u32 {
            out.push(&item(n)).expect("room");
        }
        let mut lost = true;
        let mut got = Vec::new();
        while out.has_due() {
            let sent: Vec<_> = out.due().take(80).map(|(seq, _)| seq).collect();
            sent.iter().for_each(|seq| out.sent(*seq));
            let items: Vec<_> = sent.iter().map(|seq| (*seq, item(seq.0 as u32))).collect();
            // The very first datagram.
            let arrives = !std::mem::take(&mut lost) && input.has_room(&items);
            if arrives {
                input.take(items);
                sent.iter().for_each(|seq| out.acked(*seq));
            }
            if !out.has_due() && out.room() < MAX_WAITING {
                out.all_due();
            }
            got.extend(std::iter::from_fn(|| input.pop()));
        }
        assert_eq!(got.len(), MAX_WAITING);
        assert_eq!(got, (0..MAX_WAITING as u32).map(item).collect::<Vec<_>>());
    }

    #[test]
    fn items_that_nobody_fetches_are_bounded() {
        let mut input = ControlIn::default();
        let mut taken = 0;
        for first in (0..100_000).step_by(100) {
            let items: Vec<_> = (first..first + 100)
                .map(|n| (ControlSeq(n), item(0)))
                .collect();
            if input.has_room(&items) {
                taken += items.len();
                input.take(items);
            }
        }
        assert!(taken <= MAX_READY, "{taken}");
        assert_eq!(std::iter::from_fn(|| input.pop()).count(), taken);
        let next = vec![(ControlSeq(taken as u64), item(0))];
        assert!(input.has_room(&next), "it goes on where it stopped");
    }

    #[test]
    fn a_flood_ahead_of_a_gap_is_not_kept() {
        let input = ControlIn::default();
        assert!(!input.has_room(&[(ControlSeq(1 << 20), item(0))]));
    }
}
