//! Control items of one link: in order, once, resent when their datagram is lost.
//!
//! One that is lost keeps all that come after it waiting for as long as it takes to notice. So where
//! datagrams are lost, an item goes with the datagrams of the next ticks as well, until it is
//! acknowledged or [`insurance`] has been paid.

use std::collections::{BTreeMap, VecDeque};

use seamless_wire::{
    WireError,
    control::{Control, ControlSeq, item_bits},
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

/// Most datagrams after the first that carry the same item unasked.
const MAX_INSURANCE: u8 = 3;

/// Most items that go again unasked at a time: the oldest, for which the others wait. A flood of them
/// must not become several on a network that loses datagrams because it is full.
const MAX_INSURED: usize = 32;

/// Datagrams after the first that carry an item unasked, so that all but one item in a hundred
/// arrive with one of them; `loss`: the share of datagrams that is lost.
pub(crate) fn insurance(loss: f32) -> u8 {
    let mut all = loss;
    let mut copies = 0;
    while all > 0.01 && copies < MAX_INSURANCE {
        all *= loss;
        copies += 1;
    }
    copies
}

/// An item that is not acknowledged.
#[derive(Debug)]
struct Waiting {
    seq: ControlSeq,
    bytes: Vec<u8>,
    /// It is to be sent (again).
    due: bool,
    /// Datagrams under way that carry it.
    under_way: u8,
    /// Times that it was sent since it was new or all of them were lost.
    sent: u8,
}

/// Send side.
#[derive(Debug, Default)]
pub(crate) struct ControlOut {
    next: u64,
    /// Unacknowledged items, ascending.
    waiting: VecDeque<Waiting>,
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
        self.waiting.push_back(Waiting {
            seq: ControlSeq(self.next),
            bytes: item.to_bytes()?,
            due: true,
            under_way: 0,
            sent: 0,
        });
        self.next += 1;
        Ok(())
    }

    /// How many more items may wait.
    pub(crate) fn room(&self) -> usize {
        MAX_WAITING.saturating_sub(self.waiting.len())
    }

    /// All that is not acknowledged is to be sent again: of what is under way, nothing will be heard.
    pub(crate) fn all_due(&mut self) {
        for item in &mut self.waiting {
            item.due = true;
            item.under_way = 0;
            item.sent = 0;
        }
    }

    /// Another tick: what is under way goes once more if that pays at this share of losses. A look
    /// at [`MAX_INSURED`] items.
    pub(crate) fn insure(&mut self, loss: f32) {
        let copies = insurance(loss);
        if copies > 0 {
            for item in self.waiting.iter_mut().take(MAX_INSURED) {
                item.due |= item.sent <= copies;
            }
        }
    }

    /// Items to be sent, ascending. A look at each that the other end has room for.
    pub(crate) fn due(&self) -> impl Iterator<Item = (ControlSeq, &[u8])> {
        let oldest = self.waiting.front().map_or(self.next, |item| item.seq.0);
        self.waiting
            .iter()
            .take_while(move |item| item.seq.0 < oldest + MAX_AHEAD)
            .filter(|item| item.due)
            .map(|item| (item.seq, item.bytes.as_slice()))
    }

    /// Bits that they take in datagrams.
    pub(crate) fn due_bits(&self) -> usize {
        self.due().map(|(_, bytes)| item_bits(bytes.len())).sum()
    }

    pub(crate) fn has_due(&self) -> bool {
        self.due().next().is_some()
    }

    fn at(&self, seq: ControlSeq) -> Option<usize> {
        self.waiting
            .binary_search_by_key(&seq, |item| item.seq)
            .ok()
    }

    pub(crate) fn sent(&mut self, seq: ControlSeq) {
        if let Some(at) = self.at(seq) {
            let item = &mut self.waiting[at];
            item.due = false;
            item.under_way = item.under_way.saturating_add(1);
            item.sent = item.sent.saturating_add(1);
        }
    }

    /// A datagram that carried it is lost.
    pub(crate) fn lost(&mut self, seq: ControlSeq) {
        if let Some(at) = self.at(seq) {
            let item = &mut self.waiting[at];
            item.under_way = item.under_way.saturating_sub(1);
            if item.under_way == 0 {
                item.due = true;
                item.sent = 0;
            }
        }
    }

    pub(crate) fn acked(&mut self, seq: ControlSeq) {
        if let Some(at) = self.at(seq) {
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
    fn where_datagrams_are_lost_an_item_goes_with_the_next_ones_too() {
        let copies = |loss| (insurance(loss), loss);
        for (want, loss) in [
            (0, 0.0),
            (0, 0.01),
            (1, 0.05),
            (1, 0.09),
            (3, 0.3),
            (3, 1.0),
        ] {
            assert_eq!(copies(loss), (want, loss));
        }
        let mut out = ControlOut::default();
        out.push(&item(0)).expect("room");
        let mut ticks = Vec::new();
        for tick in 0..10 {
            out.insure(0.05);
            let due: Vec<_> = out.due().map(|(seq, _)| seq).collect();
            ticks.extend(due.iter().map(|_| tick));
            due.iter().for_each(|seq| out.sent(*seq));
            if tick == 5 {
                out.lost(ControlSeq(0));
                assert!(!out.has_due(), "the other one may arrive");
                out.lost(ControlSeq(0));
            }
        }
        assert_eq!(ticks, [0, 1, 6, 7]);
        // The link is another one, and so are the datagrams.
        out.all_due();
        out.sent(ControlSeq(0));
        out.lost(ControlSeq(0));
        assert!(out.has_due());
        out.acked(ControlSeq(0));
        out.insure(0.3);
        assert!(!out.has_due());
        for n in 0..1000 {
            out.push(&item(n)).expect("room");
        }
        let all: Vec<_> = out.due().map(|(seq, _)| seq).collect();
        all.iter().for_each(|seq| out.sent(*seq));
        out.insure(0.3);
        assert_eq!(out.due().count(), MAX_INSURED);
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
