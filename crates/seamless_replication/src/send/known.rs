//! What peers are known to have: whose bit is which, and what happens besides arrivals.

use std::sync::{Arc, Mutex, PoisonError};

use seamless_wire::record::Version;
use smallvec::SmallVec;

use super::{
    Sender,
    arrivals::{Arrivals, Notes, Odd},
    lines::{Block, LINKS, LinkBits},
};
use crate::peer::Peers;

/// Rows that arrived of which fewer are not worth another thread.
const LEAST: usize = 8192;

/// A link's place among all that are told; given back when it is dropped.
#[derive(Debug)]
pub(super) struct Seat {
    number: u32,
    back: Arc<Mutex<Vec<u32>>>,
}

impl Seat {
    /// Its block.
    pub(super) const fn block(&self) -> usize {
        self.number as usize / LINKS
    }

    /// Its bit there.
    pub(super) const fn bit(&self) -> LinkBits {
        1 << (self.number as usize % LINKS)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut back = self.back.lock().unwrap_or_else(PoisonError::into_inner);
        back.push(self.number);
    }
}

/// What comes to be known of a slot, other than by datagrams that arrive.
#[derive(Debug, Clone, Copy)]
pub(super) enum News {
    /// How it is told may be another way from now on.
    Mark,
    /// Nothing that the peer has of it counts.
    Forget,
    /// The peer has this version.
    Has(Version),
}

/// What is known of all peers.
#[derive(Default)]
pub(crate) struct Known {
    /// With the seats in use.
    blocks: Vec<(Block, LinkBits)>,
    /// Seats that were given, of which some were given back.
    given: u32,
    free: Vec<u32>,
    back: Arc<Mutex<Vec<u32>>>,
    /// One for each thread.
    notes: Vec<Notes>,
}

impl Known {
    /// What is known of the links of one block.
    pub(super) fn block(&self, at: usize) -> &Block {
        &self.blocks[at].0
    }

    /// Whether a link's peer has this version of a slot.
    #[inline]
    pub(super) fn holds(&self, seat: Option<&Seat>, slot: u32, version: Version) -> bool {
        seat.is_some_and(|seat| self.block(seat.block()).holds(slot, seat.bit(), version))
    }

    /// See [`Block::has`].
    #[inline]
    pub(super) fn has(&self, seat: Option<&Seat>, slot: u32) -> (Option<Version>, Option<Version>) {
        seat.map_or((None, None), |seat| {
            self.block(seat.block()).has(slot, seat.bit())
        })
    }

    /// Takes seats back whose links are gone. A step for each slot and each block of those links, none
    /// for a block without any that is left.
    pub(super) fn take_back(&mut self) {
        let mut back = self.back.lock().unwrap_or_else(PoisonError::into_inner);
        if back.is_empty() {
            return;
        }
        for (at, (block, taken)) in self.blocks.iter_mut().enumerate() {
            let its = back.iter().filter(|number| **number as usize / LINKS == at);
            let gone = its.fold(0, |gone, number| gone | 1 << (*number as usize % LINKS));
            *taken &= !gone;
            match (gone, *taken) {
                (0, _) => {}
                // As narrow as at first.
                (_, 0) => *block = Block::default(),
                _ => block.remove(gone),
            }
        }
        self.free.append(&mut back);
    }

    fn seat(&mut self) -> Seat {
        let number = self.free.pop().unwrap_or_else(|| {
            self.given += 1;
            self.given - 1
        });
        let blocks = number as usize / LINKS + 1;
        if self.blocks.len() < blocks {
            self.blocks.resize_with(blocks, Default::default);
        }
        let seat = Seat {
            number,
            back: self.back.clone(),
        };
        self.blocks[seat.block()].1 |= seat.bit();
        seat
    }

    /// Hears what is new of a sender's slots.
    pub(super) fn hear(&mut self, sender: &mut Sender) {
        // Who has not been told of anything needs no seat.
        if sender.news.is_empty() {
            return;
        }
        let news = std::mem::take(&mut sender.news);
        let seat = sender.seat.get_or_insert_with(|| self.seat());
        let (bit, block) = (seat.bit(), &mut self.blocks[seat.block()].0);
        block.grow(sender.slots.len());
        for &(slot, news) in &news {
            match news {
                News::Mark => {}
                News::Forget => block.forget(slot, bit),
                News::Has(version) => {
                    block.insert(slot, version, bit);
                }
            }
            block.mark(slot, bit, sender.way(slot));
        }
        sender.news = news;
        sender.news.clear();
    }

    /// Takes note of all rows that arrived at peers. For each a bit in a list by slot, and then a look at
    /// each slot for each version of it that arrived. If there are many, several threads do it, each for
    /// its own slots.
    pub(super) fn note_arrived(&mut self, threads: usize, peers: &mut Peers) {
        let mut notes = std::mem::take(&mut self.notes);
        notes.resize_with(notes.len().max(threads), Notes::default);
        for at in 0..self.blocks.len() {
            let senders = peers.iter().map(|peer| &peer.sender);
            let there = |sender: &&Sender| {
                let seat = sender.seat.as_ref();
                !sender.arrived.is_empty() && seat.is_some_and(|seat| seat.block() == at)
            };
            let senders: SmallVec<[&Sender; LINKS]> = senders.filter(there).collect();
            let rows: usize = senders.iter().map(|sender| sender.arrived_rows()).sum();
            if rows == 0 {
                continue;
            }
            let threads = threads.min(rows / LEAST).max(1);
            self.blocks[at].0.with(Arrivals {
                senders: &senders,
                rows,
                notes: &mut notes[..threads],
            });
            drop(senders);
            self.note_odd(at, peers, &mut notes);
        }
        self.notes = notes;
    }

    /// Takes note of what of it is out of the ordinary, for all links of a block.
    fn note_odd(&mut self, block: usize, peers: &mut Peers, notes: &mut [Notes]) {
        if notes.iter().all(|notes| notes.odd.is_empty()) {
            return;
        }
        let here = &mut self.blocks[block].0;
        let mut odd: Vec<Odd> = Vec::new();
        for mut found in notes.iter_mut().flat_map(|notes| notes.odd.drain(..)) {
            if found.newer.is_none() {
                let (links, newer) = here.arrived(found.slot, found.version, found.links);
                (found.links, found.newer) = (links, Some(newer));
            }
            if found.links != 0 {
                odd.push(found);
            }
        }
        for peer in peers.iter_mut() {
            let sender = &mut peer.sender;
            let seat = sender.seat.as_ref().filter(|seat| seat.block() == block);
            let Some(bit) = seat.map(Seat::bit) else {
                continue;
            };
            for row in odd.iter().filter(|row| row.links & bit != 0) {
                let newest = row.newer.is_some_and(|newer| newer & bit == 0);
                sender.odd_arrived(row.slot, newest);
                here.mark(row.slot, bit, sender.way(row.slot));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use seamless_wire::{WireId, record::LeaveReason};

    use super::*;

    fn sees(known: &Known, sender: &Sender, slot: u32) -> bool {
        let seat = sender.seat.as_ref().expect("it was told");
        let view = known.block(seat.block()).view(slot);
        (view.usual | view.odd) & seat.bit() != 0
    }

    #[test]
    fn what_no_name_on_the_wire_stands_for_is_not_seen() {
        let mut sender = Sender::default();
        for slot in [WireId::MAX_INDEX - 1, WireId::MAX_INDEX, u32::MAX] {
            sender.appear(slot);
            assert_eq!(sender.sees(slot), slot < WireId::MAX_INDEX);
        }
    }

    #[test]
    fn a_seat_that_is_used_again_has_nothing_of_its_former_link() {
        let mut known = Known::default();
        let mut senders: Vec<Sender> = (0..LINKS + 2).map(|_| Sender::default()).collect();
        for sender in &mut senders {
            known.hear(sender);
            assert!(sender.seat.is_none(), "who is told of nothing has none");
            sender.appear(3);
            sender.install_baseline(3, Version(7));
            known.hear(sender);
            assert!(known.holds(sender.seat.as_ref(), 3, Version(7)));
        }
        assert_eq!(known.blocks.len(), 2);
        let gone = senders.remove(5);
        drop(gone);
        known.take_back();
        let mut next = Sender::default();
        next.appear(2);
        known.hear(&mut next);
        assert_eq!(next.seat.as_ref().map(|seat| seat.number), Some(5));
        assert!(sees(&known, &next, 2) && !sees(&known, &next, 3));
        assert_eq!(known.has(next.seat.as_ref(), 3), (None, None));
        assert!(known.holds(senders[0].seat.as_ref(), 3, Version(7)));
        senders.clear();
        known.take_back();
        assert_eq!(known.given as usize, LINKS + 2);
        assert!(sees(&known, &next, 2));
        assert_eq!(known.block(1).view(3).usual, 0, "nobody is left there");
    }

    #[test]
    fn what_happens_in_one_tick_is_known_in_its_order() {
        let mut known = Known::default();
        let mut sender = Sender::default();
        sender.appear(1);
        sender.install_baseline(1, Version(4));
        known.hear(&mut sender);
        assert!(known.holds(sender.seat.as_ref(), 1, Version(4)));
        // It goes and is back before anything is sent.
        sender.vanish(1, 0, LeaveReason::OutOfSight);
        sender.appear(1);
        known.hear(&mut sender);
        assert!(sees(&known, &sender, 1));
        assert_eq!(known.has(sender.seat.as_ref(), 1), (None, None));
        sender.vanish(1, 0, LeaveReason::OutOfSight);
        known.hear(&mut sender);
        assert!(!sees(&known, &sender, 1));
    }
}
