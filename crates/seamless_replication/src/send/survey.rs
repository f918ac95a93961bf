//! What of the changed is due to whom, slot by slot.
//!
//! A link that would look through what changed on its own fetches the slot, its row and its
//! encoding anew, and so does the next one. Here each changed slot is fetched once, with what all links
//! have of it, and each group of links that has the same gets its encoding.

use seamless_transport::{LinkId, LinkSide};
use seamless_wire::{Tick, record::Version};
use smallvec::SmallVec;

use super::{
    EncodeCache, Known,
    encode::{Has, Projection, SlotHead},
    lines::{Block, LINKS, LinkBits},
    select::Due,
    tape::{Share, Tape},
};
use crate::{
    peer::{Peer, PeerState, Peers},
    prefetch::AHEAD,
    registry::Registry,
    rows::{Rows, SetId},
    slots::Slots,
    threads::{pieces, together},
};

/// Questions of which fewer are not worth another thread.
const LEAST: usize = 4096;

/// Questions that take as long as one encoding.
const ENCODING: usize = 16;

/// What one link is due, as far as others are not due the same.
#[derive(Default)]
struct Answer {
    due: Due,
    /// Slots that the link sees and has to look at itself.
    others: Vec<u32>,
}

/// What was found out about some of the slots that changed, neighbours.
#[derive(Default)]
struct Found {
    /// What every link is due.
    common: Due,
    answers: Vec<Answer>,
    /// Their records as most links are told them.
    tapes: Vec<Tape>,
    /// Which thread found it, and has the encodings.
    by: usize,
    /// How much higher the numbers of its encodings are where all are together.
    offset: u32,
}

/// What changed in this tick, and what every link is due of it.
#[derive(Default)]
pub(crate) struct Survey {
    /// The links that were asked, ascending.
    links: Vec<LinkId>,
    /// One for each thread.
    caches: Vec<EncodeCache>,
    /// In the order of the slots.
    found: Vec<Found>,
    /// How many of them are of this tick.
    used: usize,
}

/// One link's answers.
#[derive(Clone, Copy)]
pub(crate) struct Answers<'a> {
    found: &'a [Found],
    link: usize,
}

impl<'a> Answers<'a> {
    /// What is due, as it was found, and how much the numbers of its encodings rise.
    pub(super) fn due(&self) -> impl Iterator<Item = (&'a Due, u32)> {
        let link = self.link;
        self.found.iter().flat_map(move |found| {
            let answer = &found.answers[link];
            [(&found.common, found.offset), (&answer.due, found.offset)]
        })
    }

    /// Slots that the link has to look at itself.
    pub(super) fn others(&self) -> impl Iterator<Item = u32> {
        let answers = self.found.iter().map(|found| &found.answers[self.link]);
        answers.flat_map(|answer| answer.others.iter().copied())
    }
}

/// The links of one block that are asked.
struct Asked<'a> {
    known: &'a Block,
    /// All of them, and those that are told all of what nobody holds, under our own names.
    links: LinkBits,
    told_all: LinkBits,
    /// Which answers are whose, by bit.
    answers: [u32; LINKS],
}

/// All links that are asked, by block.
type AllAsked<'a> = SmallVec<[Asked<'a>; 1]>;

impl Survey {
    /// Asks all links about all that changed, on up to `threads` threads. `primed`: gets all
    /// encodings.
    ///
    /// Per changed slot: one fetch, a look at what all links have of it, and one encoding for each group
    /// of them that has the same.
    pub(super) fn run(
        &mut self,
        threads: usize,
        registry: &Registry,
        here: (&Rows, &Slots),
        (tick, changed): (Tick, &[u32]),
        (peers, known): (&Peers, &Known),
        primed: &mut EncodeCache,
    ) {
        self.links.clear();
        self.used = 0;
        if changed.is_empty() {
            return;
        }
        let mut asked = AllAsked::new();
        for peer in peers.iter().filter(|peer| peer.state == PeerState::Ready) {
            let Some(seat) = &peer.sender.seat else {
                continue;
            };
            let blocks = asked.len()..=seat.block();
            asked.extend(blocks.map(|at| Asked {
                known: known.block(at),
                links: 0,
                told_all: 0,
                answers: [0; LINKS],
            }));
            let block = &mut asked[seat.block()];
            block.links |= seat.bit();
            if peer.is_told_all() {
                block.told_all |= seat.bit();
            }
            block.answers[seat.bit().trailing_zeros() as usize] = self.links.len() as u32;
            self.links.push(peer.link);
        }
        asked.retain(|block| block.links != 0);
        if asked.is_empty() {
            return;
        }
        let links = self.links.len();
        let questions = changed.len() * (links + ENCODING);
        let threads = threads.min(questions / LEAST).min(changed.len()).max(1);
        let ask = |changed: &[u32], cache: &mut EncodeCache, found: &mut Found| {
            found.begin(links);
            cache.ask(registry, here, changed, &asked, found);
            // One link alone has nothing in common with others.
            if links > 1 {
                cache.record(&here.0.sets, tick);
            }
        };
        // Each piece has a list for each link.
        let least = LEAST / (links + ENCODING) + 1;
        let each = changed.len().div_ceil(pieces(threads)).max(least);
        self.used = changed.len().div_ceil(each).max(1);
        if self.found.len() < self.used {
            self.found.resize_with(self.used, Found::default);
        }
        let found = &mut self.found[..self.used];
        if let [found] = found {
            ask(changed, primed, found);
            return primed.find_places();
        }
        if self.caches.len() < threads {
            self.caches.resize_with(threads, EncodeCache::default);
        }
        let caches = &mut self.caches[..threads];
        caches.iter_mut().for_each(EncodeCache::begin);
        let parts = changed.chunks(each).zip(&mut *found);
        together(
            caches.iter_mut().enumerate(),
            parts,
            |(by, cache), (changed, found)| {
                ask(changed, cache, found);
                found.tapes.append(&mut cache.tapes);
                found.by = *by;
            },
        );
        for (by, cache) in caches.iter_mut().enumerate() {
            let parts = changed.chunks(each).zip(&*found);
            let own = parts.filter(|(_, found)| found.by == by);
            let offset = primed.take(cache, own.flat_map(|(changed, _)| changed).copied());
            let own = found.iter_mut().filter(|found| found.by == by);
            own.for_each(|found| found.offset = offset);
        }
        // As the slots ascend, whoever wrote them.
        for found in found {
            for tape in found.tapes.drain(..) {
                caches[found.by].spare.extend(primed.spare.pop());
                primed.tapes.push(tape.renumber(found.offset));
            }
        }
        primed.find_places();
    }

    /// What a link is due, if it was asked.
    pub(super) fn of(&self, link: LinkId) -> Option<Answers<'_>> {
        let link = self.links.binary_search(&link).ok()?;
        let found = &self.found[..self.used];
        Some(Answers { found, link })
    }

    /// Caches that may have encoded something.
    pub(super) fn caches(&mut self) -> impl Iterator<Item = &mut EncodeCache> {
        self.caches.iter_mut()
    }
}

impl Found {
    fn begin(&mut self, links: usize) {
        self.offset = 0;
        self.common.clear();
        self.answers.resize_with(links, Answer::default);
        for answer in &mut self.answers {
            answer.due.clear();
            answer.others.clear();
        }
    }
}

impl EncodeCache {
    /// Asks all links about slots that changed.
    fn ask(
        &mut self,
        registry: &Registry,
        (rows, slots): (&Rows, &Slots),
        changed: &[u32],
        asked: &[Asked<'_>],
        found: &mut Found,
    ) {
        self.shares.clear();
        for (at, &slot) in changed.iter().enumerate() {
            if let Some(&then) = changed.get(at + 2 * AHEAD) {
                rows.prefetch_ring(then);
                self.prefetch_head(then, slots);
                asked.iter().for_each(|block| block.known.prefetch(then));
            }
            if let Some(ring) = changed.get(at + AHEAD).and_then(|&soon| rows.ring(soon)) {
                ring.prefetch_newest();
                for block in asked {
                    let told = block.known.view(changed[at + AHEAD]);
                    told.each_newest(|version| ring.prefetch_version(version));
                }
            }
            let head = *self.head(slot, rows, slots);
            let usual = head.there && head.plain && !head.is_large();
            let common = usual.then(|| all_have(asked, slot, head.version)).flatten();
            let run = common.and_then(|has| self.run(registry, rows, slot, (has, head.set)));
            match run {
                Some(run) => {
                    let bits = self.get(run).bits;
                    found.common.add_usual(head.set, slot, run, bits);
                    self.shares.push(Share::of_all(slot, run));
                }
                None => self.ask_each(registry, rows, (slot, &head, usual), asked, found),
            }
        }
    }

    /// Asks all links about a slot of which they have different versions, or which not all of them
    /// see.
    fn ask_each(
        &mut self,
        registry: &Registry,
        rows: &Rows,
        (slot, head, usual): (u32, &SlotHead, bool),
        asked: &[Asked<'_>],
        found: &mut Found,
    ) {
        for block in asked {
            let there = block.known.view(slot);
            let wants = if usual {
                there.usual & block.told_all
            } else {
                0
            };
            let others = (there.usual | there.odd) & block.links & !wants;
            for link in bits(others) {
                found.answers[block.answers[link] as usize]
                    .others
                    .push(slot);
            }
            there.groups(wants, |links, acked, before| {
                if acked == Some(head.version) {
                    return;
                }
                let has = Has::new(acked, before, (Projection::Full, SetId::default()));
                let Some(number) = self.run(registry, rows, slot, (has, head.set)) else {
                    return;
                };
                self.shares.extend(Share::of(slot, number, links));
                let run_bits = self.get(number).bits;
                for link in bits(links) {
                    let answer = &mut found.answers[block.answers[link] as usize];
                    answer.due.add_usual(head.set, slot, number, run_bits);
                }
            });
        }
    }
}

/// What all links have of a slot, if they all see it, have the same, and want all of its newest row.
#[inline]
fn all_have(asked: &[Asked<'_>], slot: u32, version: Version) -> Option<Has> {
    let mut all = None;
    for block in asked {
        let there = block.known.view(slot);
        if there.usual & block.told_all != block.links {
            return None;
        }
        let (acked, before) = there.all_have(block.links)?;
        let its = Has::new(acked, before, (Projection::Full, SetId::default()));
        if acked == Some(version) || all.is_some_and(|all| all != its) {
            return None;
        }
        all = Some(its);
    }
    all
}

/// The places of the bits that are set.
fn bits(mut links: LinkBits) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let at = links.trailing_zeros() as usize;
        links &= links.wrapping_sub(1);
        (at < LINKS).then_some(at)
    })
}

impl Peer {
    /// Whether it is told all of what nobody holds, under our own names.
    pub(super) fn is_told_all(&self) -> bool {
        self.side == LinkSide::ToClient || !self.spectator
    }
}
