//! Which bit of which block is whose, and what comes to be known of what peers have.

use std::sync::{Arc, Mutex, PoisonError};

use seamless_wire::record::Version;
use smallvec::SmallVec;

use super::{
    Sender,
    known::{Block, LINKS, Line, LinkBits, OnLines, Placed},
};
use crate::{
    peer::Peers,
    threads::{pieces, together},
};

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
    blocks: Vec<Block>,
    /// Seats that were given, of which some were given back.
    given: u32,
    free: Vec<u32>,
    back: Arc<Mutex<Vec<u32>>>,
    /// For its memory.
    odd: Vec<Odd>,
}

/// A row that arrived and of which its sender has more to say.
struct Odd {
    seat: u32,
    slot: u32,
    version: Version,
    placed: Placed,
}

impl Known {
    /// What is known of the links of one block.
    pub(super) fn block(&self, at: usize) -> &Block {
        &self.blocks[at]
    }

    /// Whether a link's peer has this version of a slot.
    #[inline]
    pub(super) fn holds(&self, seat: Option<&Seat>, slot: u32, version: Version) -> bool {
        seat.is_some_and(|seat| self.blocks[seat.block()].holds(slot, seat.bit(), version))
    }

    /// See [`Block::has`].
    #[inline]
    pub(super) fn has(&self, seat: Option<&Seat>, slot: u32) -> (Option<Version>, Option<Version>) {
        seat.map_or((None, None), |seat| {
            self.blocks[seat.block()].has(slot, seat.bit())
        })
    }

    /// Takes seats back whose links are gone. A step for each slot and each of those links.
    pub(super) fn take_back(&mut self) {
        let mut back = self.back.lock().unwrap_or_else(PoisonError::into_inner);
        for number in back.drain(..) {
            let at = number as usize;
            self.blocks[at / LINKS].remove(1 << (at % LINKS));
            self.free.push(number);
        }
    }

    fn seat(&mut self) -> Seat {
        let number = self.free.pop().unwrap_or_else(|| {
            self.given += 1;
            self.given - 1
        });
        let blocks = number as usize / LINKS + 1;
        if self.blocks.len() < blocks {
            self.blocks.resize_with(blocks, Block::default);
        }
        Seat {
            number,
            back: self.back.clone(),
        }
    }

    /// Hears what is new of a sender's slots.
    pub(super) fn hear(&mut self, sender: &mut Sender) {
        if sender.news.is_empty() && sender.seat.is_some() {
            return;
        }
        let news = std::mem::take(&mut sender.news);
        let seat = sender.seat.get_or_insert_with(|| self.seat());
        let (bit, block) = (seat.bit(), &mut self.blocks[seat.block()]);
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

    /// Takes note of all rows that arrived at peers. A look at one slot for each, neighbours first; if
    /// there are many, several threads do it, each for its own slots.
    pub(super) fn note_arrived(&mut self, threads: usize, peers: &mut Peers) {
        let mut odd = std::mem::take(&mut self.odd);
        for (at, block) in self.blocks.iter_mut().enumerate() {
            let senders = peers.iter().map(|peer| &peer.sender);
            let there = |sender: &&Sender| {
                let seat = sender.seat.as_ref();
                !sender.arrived.is_empty() && seat.is_some_and(|seat| seat.block() == at)
            };
            let senders: SmallVec<[&Sender; LINKS]> = senders.filter(there).collect();
            if senders.is_empty() {
                continue;
            }
            let rows: usize = senders.iter().map(|sender| sender.arrived_rows()).sum();
            block.with(Arrivals {
                threads: threads.min(rows / LEAST).max(1),
                senders: &senders,
                odd: &mut odd,
            });
        }
        if !odd.is_empty() {
            odd.sort_by_key(|row| row.seat);
            for peer in peers.iter_mut() {
                self.note_odd(&mut peer.sender, &odd);
            }
            odd.clear();
        }
        self.odd = odd;
    }

    /// Takes note of a sender's rows among these, which ascend by seat.
    fn note_odd(&mut self, sender: &mut Sender, odd: &[Odd]) {
        let Some(seat) = &sender.seat else { return };
        let (number, bit) = (seat.number, seat.bit());
        let block = &mut self.blocks[seat.block()];
        let begin = odd.partition_point(|row| row.seat < number);
        for row in odd[begin..].iter().take_while(|row| row.seat == number) {
            let placed = match row.placed {
                Placed::NoRoom => block.insert(row.slot, row.version, bit),
                placed => placed,
            };
            sender.odd_arrived(row.slot, placed == Placed::Newest);
            block.mark(row.slot, bit, sender.way(row.slot));
        }
    }
}

/// What arrived at the peers of one block.
struct Arrivals<'a> {
    threads: usize,
    senders: &'a [&'a Sender],
    odd: &'a mut Vec<Odd>,
}

impl OnLines for Arrivals<'_> {
    fn on<const WIDTH: usize>(self, lines: &mut [Line<WIDTH>]) {
        let Self {
            threads,
            senders,
            odd,
        } = self;
        if threads == 1 {
            return note(senders, 0, lines, odd);
        }
        let each = lines.len().div_ceil(pieces(threads)).max(1);
        let mut found: Vec<Vec<Odd>> = Vec::new();
        found.resize_with(threads, Vec::new);
        together(
            found.iter_mut(),
            lines.chunks_mut(each).enumerate(),
            |odd, (at, lines)| note(senders, (at * each) as u32, lines, odd),
        );
        odd.extend(found.into_iter().flatten());
    }
}

/// Takes note of what arrived in these lines, the first of which is that of slot `first`.
fn note<const WIDTH: usize>(
    senders: &[&Sender],
    first: u32,
    lines: &mut [Line<WIDTH>],
    odd: &mut Vec<Odd>,
) {
    for sender in senders {
        let Some(seat) = &sender.seat else { continue };
        for (seq, contents) in &sender.arrived {
            let is_of_this_life = sender.lives.of(*seq);
            contents.each_row(first, lines, |slot, version, line| {
                if is_of_this_life(slot)
                    && let Some(placed) = line.arrived(version, seat.bit())
                {
                    odd.push(Odd {
                        seat: seat.number,
                        slot,
                        version,
                        placed,
                    });
                }
            });
        }
    }
}
