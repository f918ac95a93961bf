//! Rows: the replicated state of entities, kept in versions.
//!
//! [`Row`] is one state, [`Ring`] the last few states of one slot, [`Rows`] all of them. Senders
//! encode against versions that a peer has acknowledged; receivers keep the same rows to decode.

mod depth;
mod fence;
mod hash;
mod lent;
mod past;
mod ring;
mod row;
mod sets;

use std::collections::VecDeque;

use bevy::{
    platform::collections::{HashMap, HashSet},
    prelude::*,
};
use seamless_wire::{Tick, record::Version};

pub(crate) use depth::Depth;
pub(crate) use fence::Fence;
pub(crate) use hash::{RowHashes, hash_of};
pub(crate) use lent::Lent;
pub(crate) use past::Past;
pub(crate) use ring::{Ring, Stored};
pub(crate) use row::{Built, Row, RowBuilder, RowRef, Values, same};
pub(crate) use sets::{ComponentSets, SetId};

use crate::{
    prefetch::{AHEAD, prefetch_at},
    threads::together,
};

/// Largest row of one entity that a peer takes, in bytes of values.
pub(crate) const MAX_ROW_BYTES: usize = 1 << 20;

/// A row that is too large for a peer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TooLarge {
    pub(crate) slot: u32,
    pub(crate) bytes: usize,
    pub(crate) max: usize,
    /// Whether no row of this entity was too large before.
    pub(crate) first: bool,
}

/// Rows that one thread made, of entities with the same components.
#[derive(Default)]
pub(crate) struct RowShare {
    pub(crate) builder: RowBuilder,
    pub(crate) rows: Vec<(u32, Fence, Built)>,
}

impl RowShare {
    /// Forgets all rows, keeps the memory.
    pub(crate) fn clear(&mut self) {
        self.rows.clear();
        self.builder.clear();
    }
}

/// What one thread stored.
#[derive(Default)]
struct Store {
    changed: Vec<u32>,
    /// Slots that had no rows before.
    first: usize,
}

/// The rows of everything this app hosts, holds or relays, by slot.
#[derive(Resource, Default)]
pub(crate) struct Rows {
    pub(crate) sets: ComponentSets,
    /// Slots of which with the next tick also that is told that is told once: other values were loaded.
    pub(crate) told_anew: HashSet<u32>,
    rings: Vec<Ring>,
    /// How many of them have rows.
    kept: usize,
    /// Slots that got a new version in this tick.
    pub(crate) changed: Vec<u32>,
    /// Slots whose row changed before this tick's rows were made.
    early: Vec<u32>,
    /// Rows that were found too large and are still to be named.
    pub(crate) too_large: Vec<TooLarge>,
    /// The tick in which versions come to be.
    pub(crate) tick: Tick,
    /// How many versions of a slot are worth keeping.
    pub(crate) depth: Depth,
    /// Slots of which all versions are kept that there is room for, whatever the depth: a migration
    /// named one of them to its former host.
    pinned: HashMap<u32, Option<Tick>>,
    /// Pinned slots that need not be, from these ticks on, ascending.
    unpin: VecDeque<(Tick, u32)>,
    /// On a client: all slots are pinned. A server may take any of them over and name a version.
    pub(crate) all_pinned: bool,
    pub(crate) lent: Lent,
    /// For their memory.
    stores: Vec<Store>,
    /// In which second it was said last that a value does not decode.
    pub(crate) warned: Option<u32>,
    /// Which version of a slot was named as too large last. Many links find the same.
    named: HashMap<u32, Version>,
}

impl Rows {
    pub(crate) fn ring(&self, slot: u32) -> Option<&Ring> {
        self.rings.get(slot as usize)
    }

    /// It is soon looked where the versions of a slot lie.
    #[inline]
    pub(crate) fn prefetch_ring(&self, slot: u32) {
        prefetch_at(&self.rings, slot);
    }

    /// A row of a slot is soon pushed. Best after [`Self::prefetch_ring`].
    #[inline]
    pub(crate) fn prefetch_next(&self, slot: u32) {
        if let Some(ring) = self.ring(slot) {
            ring.prefetch_next();
        }
    }

    /// The newest row of a slot is soon looked at.
    #[inline]
    pub(crate) fn prefetch_newest(&self, slot: u32) {
        if let Some(ring) = self.ring(slot) {
            ring.prefetch_newest();
        }
    }

    fn ring_mut(&mut self, slot: u32) -> &mut Ring {
        let slot = slot as usize;
        if self.rings.len() <= slot {
            self.rings.resize_with(slot + 1, Ring::default);
        }
        &mut self.rings[slot]
    }

    /// Whether there are no rows at all.
    pub(crate) const fn is_empty(&self) -> bool {
        self.kept == 0
    }

    /// The newest row of a slot.
    pub(crate) fn newest(&self, slot: u32) -> Option<(Version, &Row)> {
        self.ring(slot)?
            .newest()
            .map(|stored| (stored.version, &stored.row))
    }

    /// Stores `row` as the slot's next version, unless it equals the newest.
    #[inline]
    pub(crate) fn push(&mut self, slot: u32, row: RowRef<'_>) -> bool {
        let (tick, keep) = (self.tick, self.keep(slot));
        let Some(first) = self.ring_mut(slot).push(row, tick, keep) else {
            return false;
        };
        self.kept += usize::from(first);
        self.changed.push(slot);
        true
    }

    /// As [`push`](Self::push) for rows that were made on several threads, on as many: for each range of
    /// slots, one looks at all of them and stores its own.
    pub(crate) fn push_all(&mut self, set: SetId, shares: &[&RowShare]) {
        let slots = shares.iter().flat_map(|share| &share.rows);
        let Some(last) = slots.map(|(slot, ..)| *slot).max() else {
            return;
        };
        self.ring_mut(last);
        let mut rings = std::mem::take(&mut self.rings);
        let mut stores = std::mem::take(&mut self.stores);
        stores.resize_with(shares.len(), Store::default);
        let each = rings.len().div_ceil(shares.len());
        let this = &*self;
        together(
            stores.iter_mut(),
            rings.chunks_mut(each).enumerate(),
            |store, (at, rings)| {
                let begin = at * each;
                for share in shares {
                    for (row, (slot, fence, built)) in share.rows.iter().enumerate() {
                        let place = |slot: u32| (slot as usize).checked_sub(begin);
                        let soon = share.rows.get(row + AHEAD).and_then(|row| place(row.0));
                        if let Some(ring) = soon.and_then(|place| rings.get(place)) {
                            ring.prefetch_next();
                        }
                        let ring = place(*slot).and_then(|place| rings.get_mut(place));
                        let Some(ring) = ring else {
                            continue;
                        };
                        let row = share.builder.row(*built, set, fence);
                        if let Some(first) = ring.push(row, this.tick, this.keep(*slot)) {
                            store.first += usize::from(first);
                            store.changed.push(*slot);
                        }
                    }
                }
            },
        );
        for store in &mut stores {
            self.kept += std::mem::take(&mut store.first);
            self.changed.append(&mut store.changed);
        }
        (self.rings, self.stores) = (rings, stores);
    }

    /// As [`push`](Self::push), before the rows of a tick are made: it counts as a change in that tick.
    pub(crate) fn push_early(&mut self, slot: u32, row: RowRef<'_>) {
        if self.push(slot, row) {
            self.early.push(slot);
        }
    }

    /// How many versions of a slot are kept.
    #[inline]
    fn keep(&self, slot: u32) -> usize {
        if self.all_pinned || self.is_pinned(slot) {
            Ring::CAPACITY
        } else {
            self.depth.keep()
        }
    }

    #[inline]
    pub(crate) fn is_pinned(&self, slot: u32) -> bool {
        !self.pinned.is_empty() && self.pinned.contains_key(&slot)
    }

    /// Keeps all versions of a slot that there is room for, until a while after
    /// [`unpin`](Self::unpin).
    pub(crate) fn pin(&mut self, slot: u32) {
        self.pinned.insert(slot, None);
    }

    /// The peer has the version that the slot was pinned for, and will acknowledge a later one soon.
    pub(crate) fn unpin(&mut self, slot: u32, at: Tick) {
        if let Some(until) = self.pinned.get_mut(&slot) {
            *until = Some(at);
            self.unpin.push_back((at, slot));
        }
    }

    /// Another tick begins.
    pub(crate) fn begin(&mut self, tick: Tick) {
        self.changed.clear();
        self.changed.append(&mut self.early);
        self.tick = tick;
        self.depth.tick(tick);
        while let Some(&(at, slot)) = self.unpin.front()
            && at <= tick
        {
            self.unpin.pop_front();
            // It may be pinned anew by now.
            if self.pinned.get(&slot) == Some(&Some(at)) {
                self.pinned.remove(&slot);
            }
        }
    }

    /// A link found that the newest row of a slot is too large for its peer.
    pub(crate) fn find_too_large(&mut self, slot: u32, version: Version, bytes: usize, max: usize) {
        let before = self.named.insert(slot, version);
        if before != Some(version) {
            self.too_large.push(TooLarge {
                slot,
                bytes,
                max,
                first: before.is_none(),
            });
        }
    }

    /// The slot is used for another entity: its rows go, its version number stays.
    pub(crate) fn clear(&mut self, slot: u32) {
        if let Some(ring) = self.rings.get_mut(slot as usize) {
            self.kept -= usize::from(ring.newest().is_some());
            ring.clear();
        }
        self.named.remove(&slot);
        self.pinned.remove(&slot);
        self.lent.forget(slot);
    }
}
