//! What a link is due, within its budget.

use fixedbitset::Block;
use nonmax::NonMaxU32;
use seamless_wire::{
    Allocator, WireId, WriteMask,
    record::{Leave, LeaveReason, Version},
};

use super::{
    News, PackContext, Sender,
    encode::{Has, Projection},
    projections::Part,
    slot::{Exception, OnBulk, Presence},
};
use crate::{
    registry::Registry,
    rows::{MAX_ROW_BYTES, Rows, SetId},
};

/// Ticks after which a row on the bulk channel that the peer did not keep is sent again. The
/// channel is reliable and may be long, so this is not a matter of round trips.
const BULK_PATIENCE: u32 = 900;

/// Ticks of waiting that are credited to a row of weight 1 of which a message speaks.
const SPOKEN_OF: f32 = 256.0;

/// Bits that a record takes besides its values, about.
pub(super) const HEAD_BITS: u32 = 12;

/// One part in so many of the budget is for rows, whatever else is said.
const LEAST_SHARE: u64 = 4;

/// Bits of a row that was not encoded yet, about. `size`: of its values, in bytes.
const fn large_bits(size: usize) -> u32 {
    size as u32 * 8 + HEAD_BITS
}

/// One row that is due: its slot, and its encoding, if that is not made when it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) slot: u32,
    run: u32,
}

const NO_RUN: u32 = u32::MAX;

impl Candidate {
    pub(super) const fn new(slot: u32, run: u32) -> Self {
        Self { slot, run }
    }

    /// The number of its encoding, if it has one.
    pub(super) const fn number(&self) -> u32 {
        self.run
    }

    #[inline]
    pub(super) fn run(&self) -> Option<u32> {
        (self.run != NO_RUN).then_some(self.run)
    }
}

/// Rows of one section: entities with the same components, named by the same side.
#[derive(Debug)]
pub(super) struct Bucket {
    pub(super) told: SetId,
    pub(super) allocator: Allocator,
    pub(super) rows: Vec<Candidate>,
}

/// Everything that is due. Its memory is used again for the next link.
#[derive(Default)]
pub(super) struct Due {
    pub(super) leaves: Vec<Leave>,
    buckets: Vec<Bucket>,
    /// Buckets in use: the first ones.
    used: usize,
    /// Where the bucket of a set and a side is, if there is one.
    places: Vec<Option<NonMaxU32>>,
    /// The bucket that was added to last.
    last: Option<((SetId, Allocator), usize)>,
    bits: u64,
    /// Whether some rows do not ascend.
    mixed: bool,
    urgent: Vec<(f32, u32, u32)>,
}

impl Due {
    pub(super) fn clear(&mut self) {
        self.leaves.clear();
        if self.buckets.len() > 2 * self.used + SPARE_BUCKETS {
            // Those of sets that are not told of any more.
            self.buckets.clear();
            self.places.clear();
        }
        self.used = 0;
        self.last = None;
        self.bits = 0;
        self.mixed = false;
    }

    /// Whether no row is due.
    pub(super) fn no_rows(&self) -> bool {
        self.buckets().all(|bucket| bucket.rows.is_empty())
    }

    /// How many rows are due.
    pub(super) fn rows(&self) -> usize {
        self.buckets().map(|bucket| bucket.rows.len()).sum()
    }

    pub(super) fn buckets(&self) -> impl Iterator<Item = &Bucket> {
        self.buckets[..self.used].iter()
    }

    #[inline]
    pub(super) fn add(&mut self, told: SetId, allocator: Allocator, row: Candidate, bits: u32) {
        self.bits += u64::from(bits);
        let key = (told, allocator);
        if self.last.is_none_or(|(last, _)| last != key) {
            self.find(key);
        }
        if let Some((_, at)) = self.last {
            let rows = &mut self.buckets[at].rows;
            self.mixed |= rows.last().is_some_and(|last| last.slot > row.slot);
            rows.push(row);
        }
    }

    /// Adds a row that is told in full, under our own name. `bits`: of its values.
    #[inline]
    pub(super) fn add_usual(&mut self, told: SetId, slot: u32, run: u32, bits: u32) {
        let row = Candidate { slot, run };
        self.add(told, Allocator::Local, row, bits + HEAD_BITS);
    }

    /// Adds what was found due otherwise, with the numbers of its runs risen by `offset`.
    fn extend(&mut self, other: &Self, offset: u32) {
        self.bits += other.bits;
        for bucket in other.buckets() {
            self.find((bucket.told, bucket.allocator));
            if let Some((_, at)) = self.last {
                let rows = &mut self.buckets[at].rows;
                let (last, first) = (rows.last(), bucket.rows.first());
                self.mixed |= last.zip(first).is_some_and(|(a, b)| a.slot > b.slot);
                let more = bucket.rows.iter();
                rows.extend(more.map(|row| Candidate::new(row.slot, row.run + offset)));
            }
        }
    }

    #[inline(never)]
    fn find(&mut self, key: (SetId, Allocator)) {
        let known = self.places.get(place_of(key)).copied().flatten();
        let known = known.map(|at| at.get() as usize);
        let at = match known.filter(|at| *at < self.used) {
            Some(at) => at,
            None => self.open(key, known),
        };
        self.last = Some((key, at));
    }

    /// Memory stays with its key: all buckets together take what the rows of all sets may. `spare`: where
    /// the key's bucket lies unused.
    fn open(&mut self, key: (SetId, Allocator), spare: Option<usize>) -> usize {
        let at = spare.unwrap_or_else(|| {
            let (told, allocator) = key;
            self.buckets.push(Bucket {
                told,
                allocator,
                rows: Vec::new(),
            });
            self.buckets.len() - 1
        });
        self.buckets.swap(self.used, at);
        self.note_place(at);
        self.note_place(self.used);
        self.buckets[self.used].rows.clear();
        self.used += 1;
        self.used - 1
    }

    fn note_place(&mut self, at: usize) {
        let bucket = &self.buckets[at];
        let place = place_of((bucket.told, bucket.allocator));
        if self.places.len() <= place {
            self.places.resize(place + 1, None);
        }
        self.places[place] = NonMaxU32::new(at as u32);
    }

    /// Puts the buckets in the order of their keys. Nothing can be added to the last one then.
    fn sort(&mut self) {
        self.buckets[..self.used].sort_unstable_by_key(|bucket| (bucket.told, bucket.allocator));
        (0..self.used).for_each(|at| self.note_place(at));
        self.last = None;
    }
}

/// Unused buckets that are kept in any case, for their memory.
const SPARE_BUCKETS: usize = 256;

/// Where in a list of all sets and sides.
fn place_of((told, allocator): (SetId, Allocator)) -> usize {
    told.bits() as usize * 2 + allocator as usize
}

impl Sender {
    /// Finds what is due: leaves, and rows the peer lacks. What changed is known, and one copy
    /// each; otherwise one visit per dirty slot. `said`: bits of the budget that others take.
    pub(super) fn select(&mut self, due: &mut Due, said: usize, context: &mut PackContext<'_>) {
        due.clear();
        if let Some(answers) = context.answers {
            self.pass_over(context.changed);
            for (found, offset) in answers.due() {
                due.extend(found, offset);
            }
            for slot in answers.others() {
                self.dirty.insert(slot as usize);
            }
        }
        let mut next = 0;
        while let Some(block) = self.dirty.next_word(next) {
            next = block + 1;
            let mut word = self.dirty.words()[block];
            while word != 0 {
                let bit = word.trailing_zeros() as usize;
                word &= word - 1;
                let index = block * Block::BITS as usize + bit;
                self.select_slot(index, due, context);
            }
        }
        let full = context.budget as u64 * 8;
        let said = (said + due.leaves.iter().map(Leave::bits).sum::<usize>()) as u64;
        let budget = full.saturating_sub(said).max(full / LEAST_SHARE);
        if due.bits > budget {
            self.counters.deferred += self.limit(due, budget, context);
        } else {
            // All of it goes.
            self.spoken_of.clear();
        }
        for bucket in &mut due.buckets[..due.used] {
            if bucket.allocator == Allocator::Peer {
                let index = |row: &Candidate| (context.route)(row.slot).map(|(_, id)| id.index);
                bucket.rows.sort_by_cached_key(index);
            } else if due.mixed {
                // A few runs that ascend.
                bucket.rows.sort_by_key(|row| row.slot);
            }
        }
        // Sections in the order of their sets, whatever came first.
        due.sort();
    }

    #[inline]
    fn select_slot(&mut self, index: usize, due: &mut Due, context: &mut PackContext<'_>) {
        let slot = index as u32;
        let head = *context.cache.head(slot, context.rows, context.slots);
        let state = &self.slots[index];
        let usual = state.presence == Presence::Live
            && state.is_usual()
            && head.plain
            && context.whole
            && head.there
            && !head.is_large();
        if !usual {
            return self.select_unusual(index, due, context);
        }
        if self.has_now(slot, head.version, context.known) {
            self.dirty.remove(index);
            return;
        }
        let (acked, before) = self.has(slot, context.known);
        let has = Has::new(acked, before, (Projection::Full, SetId::default()));
        let told = (has, head.set);
        let Some(run) =
            context
                .cache
                .run(context.registry, (context.rows, context.slots), slot, told)
        else {
            return;
        };
        due.add_usual(head.set, slot, run, context.cache.get(run).bits);
        self.dirty.remove(index);
    }

    /// A slot that leaves, is lent, is under way on the bulk channel, or is large.
    #[inline(never)]
    fn select_unusual(&mut self, index: usize, due: &mut Due, context: &mut PackContext<'_>) {
        let slot = index as u32;
        let head = *context.cache.head(slot, context.rows, context.slots);
        let (next, hidden) = (self.next, self.hidden(slot));
        let (acked, _) = self.has(slot, context.known);
        let state = &mut self.slots[index];
        match state.presence {
            Presence::Unknown => return self.dirty.remove(index),
            Presence::Leaving => {
                let leaves = self.exceptions.get(&slot).and_then(|e| e.leaves);
                let (reason, generation) = leaves.unwrap_or((LeaveReason::Despawned, 0));
                let id = WireId {
                    allocator: Allocator::Local,
                    index: slot,
                    generation,
                };
                due.leaves.push(Leave { id, reason });
                return;
            }
            Presence::Live => {}
        }
        let Some((projection, id)) = (context.route)(slot) else {
            return;
        };
        // An echo is left out only for a holder that has the values with which it was lent.
        let projection = match (projection, state.projection) {
            (Projection::HostOnly, _)
                if !has_tenure(context, slot, acked) && !(context.has_written)(slot) =>
            {
                Projection::Full
            }
            (projection, _) => projection,
        };
        let writes = match projection {
            Projection::Full => WriteMask::ALL,
            _ => context
                .slots
                .get(slot)
                .map_or(WriteMask::ALL, |slot| slot.tenure.writes),
        };
        let mut exception = self.exceptions.get(&slot).cloned().unwrap_or_default();
        if state.projection != projection || exception.writes != writes {
            // A part of what the peer has in full can be told against that; anything else begins
            // anew. So who loses authority gets the whole row.
            if state.projection != Projection::Full {
                state.void();
                self.lives.begin(slot, next);
                self.news.push((slot, News::Forget));
                exception.bulk = None;
            } else {
                self.news.push((slot, News::Mark));
            }
            state.projection = projection;
            exception.writes = writes;
            exception.too_large = None;
        }
        if !head.there {
            return self.settle(slot, exception);
        }
        let (version, set) = (head.version, head.set);
        if let Some(bulk) = exception.bulk.as_mut().filter(|bulk| !bulk.given_up) {
            if context.tick.since(bulk.sent) < BULK_PATIENCE {
                return self.settle(slot, exception);
            }
            // It was not kept, or the channel is slow.
            bulk.given_up = true;
            self.counters.refused_big_rows += 1;
        }
        let has_it = self.has_now(slot, version, context.known);
        // It need not go, or goes with datagrams now.
        let is_small = |bulk: &mut OnBulk| bulk.version != version && !head.is_large();
        exception.bulk.take_if(|bulk| has_it || is_small(bulk));
        if has_it || exception.too_large == Some(version) {
            self.dirty.remove(index);
            return self.settle(slot, exception);
        }
        let (acked, before) = self.has(slot, context.known);
        let has = Has::new(acked, before, (projection, hidden));
        let part = Part {
            projection,
            hidden,
            writes,
        };
        let (registry, rows) = (context.registry, context.rows);
        let Some(told) = context.told(set, part) else {
            return self.settle(slot, exception);
        };
        let size = told_bytes(rows, slot, told);
        if size > MAX_ROW_BYTES {
            exception.too_large = Some(version);
            self.dirty.remove(index);
            context.found.push((slot, version, size, MAX_ROW_BYTES));
            return self.settle(slot, exception);
        }
        self.settle(slot, exception);
        if head.is_large() {
            let row = Candidate { slot, run: NO_RUN };
            self.dirty.remove(index);
            return due.add(told, id.allocator, row, large_bits(size));
        }
        let here = (rows, context.slots);
        let Some(run) = context.cache.run(registry, here, slot, (has, told)) else {
            return;
        };
        let written = context.cache.get(run);
        if (context.has_written)(slot) && holders_own(registry, rows, (told, writes), written.mask)
        {
            self.counters.echo_bits += u64::from(written.bits);
        }
        let bits = written.bits + HEAD_BITS;
        due.add(told, id.allocator, Candidate { slot, run }, bits);
        self.dirty.remove(index);
    }

    /// Keeps what is out of the ordinary with a slot, or forgets that anything was.
    fn settle(&mut self, slot: u32, exception: Exception) {
        let state = &mut self.slots[slot as usize];
        let before = state.is_special();
        state.set_special(
            exception.bulk.is_some()
                || exception.too_large.is_some()
                || exception.writes != WriteMask::ALL,
        );
        if state.is_special() != before {
            self.news.push((slot, News::Mark));
        }
        if state.is_special() {
            self.exceptions.insert(slot, exception);
        } else {
            self.exceptions.remove(&slot);
        }
    }
}

/// Whether a version is of the present tenure.
fn has_tenure(context: &PackContext<'_>, slot: u32, version: Option<Version>) -> bool {
    let since = context.slots.get(slot).map(|slot| slot.tenure.since);
    let ring = context.rows.ring(slot);
    let stored = ring
        .zip(version)
        .and_then(|(ring, version)| ring.get(version));
    stored.is_some_and(|stored| Some(stored.row.fence.since) == since)
}

/// Whether a component that is told is one that a holder writes.
fn holders_own(
    registry: &Registry,
    rows: &Rows,
    (told, writes): (SetId, WriteMask),
    mask: u64,
) -> bool {
    let mut components = rows.sets.components(told).iter().enumerate();
    components
        .any(|(bit, &component)| mask >> bit & 1 != 0 && registry.holder_writes(component, writes))
}

/// Bytes of the values that a peer is told of a slot's newest row.
pub(super) fn told_bytes(rows: &Rows, slot: u32, told: SetId) -> usize {
    let Some((_, row)) = rows.newest(slot) else {
        return 0;
    };
    if row.set == told {
        return row.byte_len();
    }
    let components = rows.sets.components(told).iter();
    components
        .filter_map(|&component| rows.sets.position(row.set, component))
        .map(|at| row.value(at).len())
        .sum()
}

/// Classes of priority: exponent and three bits of a float that is not negative.
const CLASSES: usize = 1 << 11;

const fn class(priority: f32) -> usize {
    (priority.to_bits() >> 20) as usize % CLASSES
}

impl Sender {
    /// Keeps what fits `budget` bits, the most urgent first; gives how many rows must wait. What
    /// waits keeps its priority, which rises with every tick, so nothing starves: of `n` rows that
    /// are due in every tick, `m` of which fit, each goes at least once in
    /// `n / m * (largest weight / smallest weight) + 1` ticks, relevance counted in.
    ///
    /// Sums up the bits of each class of priority, and sorts only the one where the budget ends.
    #[inline(never)]
    fn limit(&mut self, due: &mut Due, budget: u64, context: &PackContext<'_>) -> u64 {
        self.priorities.resize(self.slots.len(), 0.0);
        for bucket in due.buckets() {
            let weight = context.rows.sets.weight(bucket.told);
            for row in &bucket.rows {
                self.priorities[row.slot as usize] += weight;
            }
        }
        let mut spoken_of = std::mem::take(&mut self.spoken_of);
        spoken_of.retain(|&slot, version| {
            let (acked, _) = self.has(slot, context.known);
            self.sees(slot) && acked.is_none_or(|acked| version.is_newer_than(acked))
        });
        self.spoken_of = spoken_of;
        for &slot in self.spoken_of.keys() {
            self.priorities[slot as usize] += SPOKEN_OF;
        }
        let priorities = &self.priorities;
        let urgency = |bucket: &Bucket, row: &Candidate| {
            let relevance = context
                .relevance
                .map_or(1.0, |relevance| relevance(row.slot));
            let priority = priorities[row.slot as usize] * relevance;
            let bits = match row.run() {
                Some(run) => context.cache.get(run).bits + HEAD_BITS,
                None => large_bits(told_bytes(context.rows, row.slot, bucket.told)),
            };
            (priority, bits)
        };
        let mut bits = [0u64; CLASSES];
        for bucket in due.buckets() {
            for row in &bucket.rows {
                let (priority, size) = urgency(bucket, row);
                bits[class(priority)] += u64::from(size);
            }
        }
        let mut left = budget;
        let mut last = CLASSES;
        while let Some(next) = last.checked_sub(1) {
            if bits[next] > left {
                break;
            }
            left -= bits[next];
            last = next;
        }
        // Classes from `last` up fit; of the one below, some do.
        let Some(split) = last.checked_sub(1) else {
            return 0;
        };
        let nothing_yet = left == budget;
        due.urgent.clear();
        for bucket in &due.buckets[..due.used] {
            for row in &bucket.rows {
                let (priority, bits) = urgency(bucket, row);
                if class(priority) == split {
                    due.urgent.push((priority, row.slot, bits));
                }
            }
        }
        due.urgent
            .sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        let fits = due.urgent.iter().position(|(_, _, bits)| {
            let rest = left.checked_sub(u64::from(*bits));
            left = rest.unwrap_or(0);
            rest.is_none()
        });
        let mut fits = fits.unwrap_or(due.urgent.len());
        if fits == 0 && nothing_yet {
            // Always one, or a row larger than the budget would never go.
            fits = 1;
        }
        let bound = fits.checked_sub(1).map(|at| due.urgent[at]);
        let mut waiting = 0;
        for bucket in &mut due.buckets[..due.used] {
            let mut rows = std::mem::take(&mut bucket.rows);
            let before = rows.len();
            rows.retain(|row| {
                let (priority, _) = urgency(bucket, row);
                let class = class(priority);
                let goes = class > split
                    || class == split
                        && bound.is_some_and(|(least, slot, _)| {
                            priority > least || priority == least && row.slot <= slot
                        });
                if !goes {
                    self.dirty.insert(row.slot as usize);
                }
                goes
            });
            waiting += (before - rows.len()) as u64;
            bucket.rows = rows;
        }
        waiting
    }
}
