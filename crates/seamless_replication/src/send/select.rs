//! What a link is due, within its budget.

use seamless_wire::{
    Allocator, WireId,
    record::{Leave, LeaveReason},
};

use super::{
    PackContext, Sender,
    encode::{Has, Projection},
    slot::{Exception, Presence},
};
use crate::rows::{MAX_ROW_BYTES, Rows, SetId};

/// Ticks after which a row on the bulk channel that the peer did not keep is sent again. The
/// channel is reliable and may be long, so this is not a matter of round trips.
const BULK_PATIENCE: u32 = 900;

/// Bits that a record takes besides its values, about.
const HEAD_BITS: u32 = 12;
const ABSOLUTE_HEAD_BITS: u32 = 24;

/// One row that is due.
#[derive(Debug, Clone, Copy)]
pub(super) struct Candidate {
    pub(super) slot: u32,
    /// Its index on this link: the slot, or the peer's name for it.
    pub(super) index: u32,
    /// Its encoding; none if that is made when it is written.
    pub(super) run: Option<u32>,
    bits: u32,
    priority: f32,
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
    /// Buckets in use.
    used: usize,
    bits: u64,
    urgent: Vec<(f32, u32, u32)>,
}

impl Due {
    fn clear(&mut self) {
        self.leaves.clear();
        self.used = 0;
        self.bits = 0;
    }

    /// Whether no row is due.
    pub(super) fn no_rows(&self) -> bool {
        self.buckets().all(|bucket| bucket.rows.is_empty())
    }

    pub(super) fn buckets(&self) -> impl Iterator<Item = &Bucket> {
        self.buckets[..self.used].iter()
    }

    fn add(&mut self, told: SetId, allocator: Allocator, row: Candidate) {
        self.bits += u64::from(row.bits);
        let used = &self.buckets[..self.used];
        // Nearly always the one before.
        let at = used
            .iter()
            .rposition(|bucket| bucket.told == told && bucket.allocator == allocator);
        let at = at.unwrap_or_else(|| {
            if self.buckets.len() == self.used {
                self.buckets.push(Bucket {
                    told,
                    allocator,
                    rows: Vec::new(),
                });
            }
            let bucket = &mut self.buckets[self.used];
            bucket.told = told;
            bucket.allocator = allocator;
            bucket.rows.clear();
            self.used += 1;
            self.used - 1
        });
        self.buckets[at].rows.push(row);
    }
}

impl Sender {
    /// Finds what is due: leaves, and rows the peer lacks. One visit per dirty slot.
    pub(super) fn select(&mut self, due: &mut Due, context: &mut PackContext<'_>) {
        due.clear();
        for block in 0..self.dirty.as_slice().len() {
            let mut word = self.dirty.as_slice()[block];
            while word != 0 {
                let bit = word.trailing_zeros() as usize;
                word &= word - 1;
                let index = block * fixedbitset::Block::BITS as usize + bit;
                self.select_slot(index, due, context);
            }
        }
        if due.bits > context.budget as u64 * 8 {
            self.counters.deferred += due.limit(context.budget as u64 * 8, context.relevance);
        }
        for bucket in &mut due.buckets[..due.used] {
            if bucket.allocator == Allocator::Peer {
                bucket.rows.sort_unstable_by_key(|row| row.index);
            }
        }
        // Sections in the order of their sets, whatever came first.
        due.buckets[..due.used].sort_unstable_by_key(|bucket| (bucket.told, bucket.allocator));
    }

    #[inline]
    fn select_slot(&mut self, index: usize, due: &mut Due, context: &mut PackContext<'_>) {
        let slot = index as u32;
        let head = context.cache.head(slot, context.rows, context.slots);
        let state = &mut self.slots[index];
        let usual = state.presence == Presence::Live
            && state.projection == Projection::Full
            && !state.special
            && head.plain
            && context.whole
            && head.there
            && !head.is_large();
        if !usual {
            return self.select_unusual(index, due, context);
        }
        if state.acked() == Some(head.version) {
            state.set_sent(head.version);
        }
        if state.sent() == Some(head.version) {
            self.dirty.set(index, false);
            return;
        }
        let has = Has {
            acked: state.acked(),
            before: state.before(),
            projection: Projection::Full,
        };
        let told = (has, head.set);
        let Some(run) = context
            .cache
            .run(context.registry, context.rows, slot, told)
        else {
            return;
        };
        state.priority += context.rows.sets.weight(head.set);
        let bits = context.cache.get(run).bits;
        let extra = match has.acked {
            Some(_) => HEAD_BITS,
            None => ABSOLUTE_HEAD_BITS,
        };
        let row = Candidate {
            slot,
            index: slot,
            run: Some(run),
            bits: bits + extra,
            priority: state.priority,
        };
        due.add(head.set, Allocator::Local, row);
    }

    /// A slot that leaves, is lent, is under way on the bulk channel, or is large.
    #[inline(never)]
    fn select_unusual(&mut self, index: usize, due: &mut Due, context: &mut PackContext<'_>) {
        let slot = index as u32;
        let head = context.cache.head(slot, context.rows, context.slots);
        let next = self.next;
        let state = &mut self.slots[index];
        match state.presence {
            Presence::Unknown => return self.dirty.set(index, false),
            Presence::Leaving => {
                let id = WireId {
                    allocator: Allocator::Local,
                    index: slot,
                    generation: state.generation,
                };
                let reason = self.exceptions.get(&slot).and_then(|e| e.reason);
                let reason = reason.unwrap_or(LeaveReason::Despawned);
                due.leaves.push(Leave { id, reason });
                return;
            }
            Presence::Live => {}
        }
        let Some((projection, id)) = (context.route)(slot) else {
            return;
        };
        // An echo is left out only for a holder that has the values.
        let projection = match (projection, state.projection) {
            (Projection::HostOnly, Projection::Full) if state.acked().is_none() => Projection::Full,
            (projection, _) => projection,
        };
        let mut exception = self.exceptions.get(&slot).cloned().unwrap_or_default();
        if state.projection != projection {
            // A part of what the peer has in full can be told against that; anything else begins
            // anew. So who loses authority gets the whole row.
            if state.projection != Projection::Full {
                state.void(next);
                exception.bulk = None;
            }
            state.projection = projection;
            exception.too_large = None;
        }
        if !head.there {
            return self.settle(slot, exception);
        }
        let (version, set) = (head.version, head.set);
        if state.acked() == Some(version) {
            state.set_sent(version);
        }
        if exception.bulk.is_some() {
            if context.tick.since(exception.bulk_sent) < BULK_PATIENCE {
                return self.settle(slot, exception);
            }
            // It arrived, as all does on that channel, but was not kept.
            exception.bulk = None;
            state.forget_sent();
            self.counters.refused_big_rows += 1;
        }
        if state.sent() == Some(version) || exception.too_large == Some(version) {
            self.dirty.set(index, false);
            return self.settle(slot, exception);
        }
        let (acked, before) = (state.acked(), state.before());
        let weight = context.rows.sets.weight(set);
        state.priority += weight;
        let priority = state.priority;
        let (registry, rows) = (context.registry, &mut *context.rows);
        let sets = &mut rows.sets;
        let Some(told) = context.cache.project(registry, sets, set, projection) else {
            return self.settle(slot, exception);
        };
        let size = told_bytes(rows, slot, told);
        if size > MAX_ROW_BYTES {
            exception.too_large = Some(version);
            self.dirty.set(index, false);
            rows.find_too_large(slot, version, size, MAX_ROW_BYTES);
            return self.settle(slot, exception);
        }
        self.settle(slot, exception);
        let mut row = Candidate {
            slot,
            index: id.index,
            run: None,
            bits: size as u32 * if acked.is_some() { 4 } else { 8 } + ABSOLUTE_HEAD_BITS,
            priority,
        };
        if !head.is_large() {
            let has = Has {
                acked,
                before,
                projection,
            };
            row.run = context.cache.run(registry, rows, slot, (has, told));
            let Some(run) = row.run else { return };
            row.bits = context.cache.get(run).bits + ABSOLUTE_HEAD_BITS;
        }
        due.add(told, id.allocator, row);
    }

    /// Keeps what is out of the ordinary with a slot, or forgets that anything was.
    fn settle(&mut self, slot: u32, exception: Exception) {
        let state = &mut self.slots[slot as usize];
        state.special = exception.bulk.is_some() || exception.too_large.is_some();
        if state.special {
            self.exceptions.insert(slot, exception);
        } else {
            self.exceptions.remove(&slot);
        }
    }
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

impl Due {
    /// Keeps what fits `budget` bits, the most urgent first; gives how many rows must wait. What
    /// waits keeps its priority, which rises with every tick, so nothing starves: of `n` rows that
    /// are due in every tick, `m` of which fit, each goes at least once in
    /// `n / m * (largest weight / smallest weight) + 1` ticks.
    ///
    /// Sums up the bits of each class of priority, and sorts only the one where the budget ends.
    fn limit(&mut self, budget: u64, relevance: Option<&dyn Fn(u32) -> f32>) -> u64 {
        let mut bits = [0u64; CLASSES];
        for row in self.buckets[..self.used]
            .iter_mut()
            .flat_map(|bucket| &mut bucket.rows)
        {
            if let Some(relevance) = relevance {
                row.priority *= relevance(row.slot);
            }
            bits[class(row.priority)] += u64::from(row.bits);
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
        self.urgent.clear();
        for bucket in &self.buckets[..self.used] {
            let rows = bucket
                .rows
                .iter()
                .filter(|row| class(row.priority) == split);
            self.urgent
                .extend(rows.map(|row| (row.priority, row.slot, row.bits)));
        }
        self.urgent
            .sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        let fits = self.urgent.iter().position(|(_, _, bits)| {
            let rest = left.checked_sub(u64::from(*bits));
            left = rest.unwrap_or(0);
            rest.is_none()
        });
        let mut fits = fits.unwrap_or(self.urgent.len());
        if fits == 0 && nothing_yet {
            // Always one, or a row larger than the budget would never go.
            fits = 1;
        }
        let bound = fits.checked_sub(1).map(|at| self.urgent[at]);
        let mut waiting = 0;
        for bucket in &mut self.buckets[..self.used] {
            let before = bucket.rows.len();
            bucket.rows.retain(|row| {
                let class = class(row.priority);
                class > split
                    || class == split
                        && bound.is_some_and(|(priority, slot, _)| {
                            row.priority > priority || row.priority == priority && row.slot <= slot
                        })
            });
            waiting += (before - bucket.rows.len()) as u64;
        }
        waiting
    }
}
