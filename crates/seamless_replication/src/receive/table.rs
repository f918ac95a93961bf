//! What a peer told us of its entities, by their short names.

use std::collections::VecDeque;

use bevy::{
    platform::collections::{HashMap, HashTable},
    prelude::Entity,
};
use seamless_wire::{Allocator, GlobalEntity, Tick, WireId, record::Version};

use super::{ParsedHead, ParsedRow, index::PagedIndex, slot::RemoteSlot};
use crate::{
    names::hash_of,
    plugin::Limits,
    prefetch::prefetch_at,
    rows::{Ring, Row, RowRef},
};

/// An old name that now means one of our own.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Redirect {
    /// Use of the old slot that was migrated; a later use is another entity.
    pub(crate) generation: u32,
    /// Our slot.
    pub(crate) slot: u32,
    pub(crate) slot_generation: u32,
    /// Whether the peer has confirmed the migration: what comes under the old name after that
    /// was not written as host.
    pub(crate) confirmed: bool,
    /// How long what it writes counts as written by the host, unless it confirms sooner.
    pub(crate) host_until: Tick,
    pub(crate) expires: Tick,
}

/// Most names of one entity that are listed for it. It has one, and for moments two; others are what
/// it was called before it left.
const MAX_NAMES: usize = 16;

/// Names that are looked at to make room, for each row for which there was none.
const NAMES_FOR_EACH: usize = 8;

/// All short names of a peer.
#[derive(Default)]
pub(crate) struct RemoteTable {
    slots: Vec<RemoteSlot>,
    /// Places in `slots` that are free.
    free: Vec<u32>,
    /// Places by index: of our own names, of the peer's.
    places: [PagedIndex; 2],
    /// Places by the entity that their name stands for, or stood for. Nearly always one.
    by_global: HashTable<u32>,
    redirects: HashMap<u32, Redirect>,
    /// When each goes, the first to go first.
    expiries: VecDeque<(Tick, u32)>,
    bytes: usize,
    /// Rows for which there was none since room was made last.
    without_room: usize,
    /// Places whose newest row waits to be shown.
    waiting: Vec<u32>,
}

impl RemoteTable {
    /// Where records under one of the peer's own names go now, if that was migrated.
    pub(crate) fn redirect(&self, allocator: Allocator, index: u32) -> Option<&Redirect> {
        if allocator == Allocator::Local {
            None
        } else {
            self.redirects.get(&index)
        }
    }

    /// The entity that the peer hosted under `index` is ours now, in `redirect.slot`: the stream
    /// goes on under that name, with the same baselines.
    pub(crate) fn migrate(&mut self, index: u32, redirect: Redirect) {
        if let Some(place) = self.place(Allocator::Peer, index) {
            self.forget(Allocator::Local, redirect.slot);
            let slot = &mut self.slots[place as usize];
            slot.name = (Allocator::Local, redirect.slot);
            slot.generation = redirect.slot_generation;
            slot.checked = None;
            self.places[Allocator::Peer as usize].set(index, None);
            self.places[Allocator::Local as usize].set(redirect.slot, Some(place));
        }
        self.expiries.push_back((redirect.expires, index));
        self.redirects.insert(index, redirect);
    }

    /// The peer has migrated what it had under `index`, and what is in our `slot`, as well.
    pub(crate) fn confirm(&mut self, index: u32, slot: u32) {
        let redirect = self.redirects.get_mut(&index);
        if let Some(redirect) = redirect.filter(|redirect| redirect.slot == slot) {
            redirect.confirmed = true;
        }
    }

    /// The old name is used for another entity.
    pub(crate) fn drop_redirect(&mut self, index: u32) {
        self.redirects.remove(&index);
    }

    /// Forgets redirects that are past their time: a step for each, and one look otherwise.
    pub(crate) fn expire_redirects(&mut self, now: Tick) {
        while let Some(&(expires, index)) = self.expiries.front()
            && expires <= now
        {
            self.expiries.pop_front();
            // It may stand for a later migration by now.
            let there = self.redirects.get(&index);
            if there.is_some_and(|redirect| redirect.expires == expires) {
                self.redirects.remove(&index);
            }
        }
    }

    /// Old names and what they mean now.
    pub(crate) fn redirects(&self) -> impl Iterator<Item = (u32, &Redirect)> {
        self.redirects
            .iter()
            .map(|(index, redirect)| (*index, redirect))
    }

    /// Whether any old name means one of ours.
    #[inline]
    pub(crate) fn has_redirects(&self) -> bool {
        !self.redirects.is_empty()
    }

    /// Where a name's slot is.
    #[inline]
    pub(crate) fn place(&self, allocator: Allocator, index: u32) -> Option<u32> {
        self.places[allocator as usize].get(index)
    }

    /// The slot in a place.
    #[inline]
    pub(crate) fn at(&self, place: u32) -> &RemoteSlot {
        &self.slots[place as usize]
    }

    /// The slot in a place is soon looked at.
    #[inline]
    pub(super) fn prefetch_slot(&self, place: u32) {
        prefetch_at(&self.slots, place);
    }

    /// And the rows behind it.
    #[inline]
    pub(super) fn prefetch_rows(&self, place: u32) {
        if let Some(slot) = self.slots.get(place as usize) {
            slot.ring.prefetch();
        }
    }

    /// A record after the next may well be of the place after the next: where all entities change,
    /// rows of one tick come in the order of their slots, and they lie apart from each other. Where few
    /// change it is not, and to look there costs more than all the rest.
    #[inline]
    pub(crate) fn prefetch_after(&self, place: u32) {
        self.prefetch_rows(place + 2);
    }

    /// The slot in a place, to change.
    #[inline]
    pub(crate) fn at_mut(&mut self, place: u32) -> &mut RemoteSlot {
        &mut self.slots[place as usize]
    }

    pub(crate) fn get(&self, allocator: Allocator, index: u32) -> Option<&RemoteSlot> {
        self.place(allocator, index).map(|place| self.at(place))
    }

    pub(crate) fn get_mut(&mut self, allocator: Allocator, index: u32) -> Option<&mut RemoteSlot> {
        let place = self.place(allocator, index)?;
        Some(self.at_mut(place))
    }

    /// The slot of a name. `None` if the peer already uses `limit` names.
    pub(crate) fn entry(
        &mut self,
        allocator: Allocator,
        index: u32,
        limit: usize,
    ) -> Option<&mut RemoteSlot> {
        let place = match self.place(allocator, index) {
            Some(place) => place,
            None if self.is_full(limit) => return None,
            None => self.take_place(allocator, index),
        };
        Some(self.at_mut(place))
    }

    /// A peer tells of an entity for the first time, under a name of its own that it has not used so
    /// far. Gives where; `None` if that is not so, or nothing more may be kept.
    pub(super) fn admit(
        &mut self,
        (head, row): (&ParsedHead, RowRef<'_>),
        limits: Limits,
    ) -> Option<u32> {
        let (allocator, index) = (head.allocator, head.index);
        let room = self.has_room(row, limits.baseline_bytes) && !self.is_full(limits.entities);
        if !room || self.place(allocator, index).is_some() {
            return None;
        }
        let generation = head.generation?;
        let place = self.take_place(allocator, index);
        let slot = &mut self.slots[place as usize];
        slot.generation = generation;
        slot.newest = Some(head.tick);
        slot.live = true;
        self.stand_for(place, head.global);
        self.keep_at(place, head.version, None, row)
            .then_some(place)
    }

    /// So many entities come for the first time now, and about `soon` of them one after the other: room
    /// for all of those, if any is made.
    pub(super) fn expect(&mut self, now: usize, soon: usize) {
        if self.slots.capacity() - self.slots.len() < now {
            self.slots.reserve(soon);
            let slots = &self.slots;
            let hash = |&place: &u32| slots[place as usize].global.map_or(0, hash_of);
            self.by_global.reserve(soon, hash);
        }
    }

    /// Whether the peer uses `limit` names already.
    const fn is_full(&self, limit: usize) -> bool {
        self.slots.len() - self.free.len() >= limit
    }

    fn take_place(&mut self, allocator: Allocator, index: u32) -> u32 {
        let place = self.free.pop().unwrap_or_else(|| {
            self.slots.push(RemoteSlot::default());
            self.slots.len() as u32 - 1
        });
        self.slots[place as usize].name = (allocator, index);
        self.places[allocator as usize].set(index, Some(place));
        place
    }

    /// Bytes of memory for rows kept as baselines.
    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether a row can be kept with no more than so many bytes of memory for all.
    #[inline]
    pub(super) fn has_room(&self, row: RowRef<'_>, bytes: usize) -> bool {
        self.bytes + Ring::cost_of(row) <= bytes
    }

    /// As [`has_room`](Self::has_room), after making room if there is none: places without a row give
    /// back their memory. A step for each name then, once in a while.
    pub(super) fn make_room(&mut self, row: RowRef<'_>, bytes: usize) -> bool {
        if self.has_room(row, bytes) {
            return true;
        }
        self.without_room += 1;
        if self.without_room * NAMES_FOR_EACH < self.slots.len() {
            return false;
        }
        self.without_room = 0;
        self.slots.iter_mut().for_each(|slot| slot.ring.shrink());
        self.bytes = self.slots.iter().map(|slot| slot.ring.bytes()).sum();
        self.has_room(row, bytes)
    }

    /// Keeps a record's row as a baseline. What is older than the record's own baseline goes, but
    /// for the one before it: the sender has moved on. False if the row is so late that it cannot
    /// be kept.
    #[inline]
    #[must_use]
    pub(crate) fn keep_at(
        &mut self,
        place: u32,
        version: Version,
        baseline: Option<Version>,
        row: RowRef<'_>,
    ) -> bool {
        let slot = &mut self.slots[place as usize];
        let before = slot.ring.bytes();
        if let Some(baseline) = baseline {
            slot.ring.forget_before(baseline);
        }
        let kept = slot.ring.keep(version, row);
        self.bytes = self.bytes + slot.ring.bytes() - before;
        kept
    }

    /// As [`keep_at`](Self::keep_at), by name.
    #[must_use]
    pub(crate) fn keep(&mut self, parsed: &ParsedRow<'_>) -> bool {
        match self.place(parsed.allocator, parsed.index) {
            Some(place) => self.keep_at(place, parsed.version, parsed.baseline, parsed.row),
            None => false,
        }
    }

    /// Makes way for a row that is told against nothing under a version that is kept already. That
    /// one may be another part of the row, which the peer was told before, or a wrong one. `newest`:
    /// whether the row is what the peer said last. False if the row must not be kept.
    #[must_use]
    pub(crate) fn make_way(&mut self, parsed: &ParsedRow<'_>, newest: bool) -> bool {
        let Some(slot) = self.get_mut(parsed.allocator, parsed.index) else {
            return true;
        };
        let kept = slot.ring.get(parsed.version);
        if parsed.baseline.is_some() || kept.is_none_or(|kept| parsed.row == kept.row) {
            return true;
        }
        if newest {
            let before = slot.ring.bytes();
            slot.ring.forget(parsed.version);
            slot.distrusted = true;
            let gone = before - slot.ring.bytes();
            self.bytes -= gone;
        }
        newest
    }

    /// Nothing that is kept of a name is right: all of it goes, and what comes is shown as a whole.
    pub(crate) fn distrust(&mut self, allocator: Allocator, index: u32) {
        if let Some(slot) = self.get_mut(allocator, index) {
            let bytes = slot.ring.bytes();
            slot.ring.clear();
            slot.distrusted = true;
            self.bytes -= bytes;
        }
    }

    /// The newest row in a place is to be shown with the others.
    #[inline]
    pub(crate) fn show_later(&mut self, place: u32) {
        if !std::mem::replace(&mut self.slots[place as usize].waiting, true) {
            self.waiting.push(place);
        }
    }

    /// How many rows wait to be shown.
    pub(crate) const fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Places whose newest row waits to be shown, in the order in which they came.
    pub(crate) fn take_waiting(&mut self) -> Vec<u32> {
        let mut waiting = std::mem::take(&mut self.waiting);
        waiting.retain(|place| std::mem::take(&mut self.slots[*place as usize].waiting));
        waiting
    }

    /// Gives the list back, for its memory.
    pub(crate) fn recycle_waiting(&mut self, mut list: Vec<u32>) {
        list.clear();
        self.waiting = list;
    }

    /// Whether the peer has said already that this use of a slot has ended.
    pub(crate) fn has_ended(&self, name: WireId) -> bool {
        self.get(name.allocator, name.index).is_some_and(|slot| {
            let ahead = name.generation.wrapping_sub(slot.generation) as i32;
            slot.newest.is_some() && (ahead < 0 || (ahead == 0 && !slot.live))
        })
    }

    /// A name stands for an entity of ours that migrated to the peer. `row`: what both have, as the
    /// first baseline.
    pub(crate) fn install(
        &mut self,
        name: WireId,
        global: GlobalEntity,
        entity: Entity,
        row: Option<(Version, Row)>,
    ) {
        self.begin_life(name.allocator, name.index);
        let place = match self.place(name.allocator, name.index) {
            Some(place) => place,
            None => self.take_place(name.allocator, name.index),
        };
        let slot = &mut self.slots[place as usize];
        slot.generation = name.generation;
        slot.entity = Some(entity);
        slot.live = true;
        slot.held = true;
        // Older than all that is told of it, and later than all of the slot's former uses.
        slot.newest = Some(Tick(0));
        if let Some((version, row)) = row {
            let before = slot.ring.bytes();
            slot.ring.keep(version, row.view());
            self.bytes = self.bytes + slot.ring.bytes() - before;
        }
        self.set_global(name.allocator, name.index, Some(global));
    }

    /// A name stands for this entity.
    pub(crate) fn set_global(
        &mut self,
        allocator: Allocator,
        index: u32,
        global: Option<GlobalEntity>,
    ) {
        if let Some(place) = self.place(allocator, index) {
            self.stand_for(place, global);
        }
    }

    fn stand_for(&mut self, place: u32, global: Option<GlobalEntity>) {
        let before = std::mem::replace(&mut self.at_mut(place).global, global);
        if before == global {
            return;
        }
        if let Some(before) = before {
            self.unlist(place, before);
        }
        if let Some(global) = global
            && self.may_list(global)
        {
            let slots = &self.slots;
            let hash = |&place: &u32| slots[place as usize].global.map_or(0, hash_of);
            self.by_global.insert_unique(hash_of(global), place, hash);
        }
    }

    /// Makes way for another name of an entity, by one that it has no more. False if it has more
    /// than a peer that means well gives it.
    fn may_list(&mut self, global: GlobalEntity) -> bool {
        let listed = || {
            let places = self.by_global.iter_hash(hash_of(global)).copied();
            places.filter(|&place| self.at(place).global == Some(global))
        };
        if listed().count() < MAX_NAMES {
            return true;
        }
        let dead = listed().find(|&place| !self.at(place).live);
        if let Some(dead) = dead {
            self.unlist(dead, global);
        }
        dead.is_some()
    }

    fn unlist(&mut self, place: u32, global: GlobalEntity) {
        let found = self
            .by_global
            .find_entry(hash_of(global), |&other| other == place);
        if let Ok(found) = found {
            found.remove();
        }
    }

    /// The name gets another entity: all is forgotten but the version numbers.
    pub(crate) fn begin_life(&mut self, allocator: Allocator, index: u32) {
        let Some(place) = self.place(allocator, index) else {
            return;
        };
        let slot = &mut self.slots[place as usize];
        self.bytes -= slot.ring.bytes();
        slot.ring.clear();
        *slot = RemoteSlot {
            ring: std::mem::take(&mut slot.ring),
            name: slot.name,
            global: slot.global,
            ..RemoteSlot::default()
        };
        self.set_global(allocator, index, None);
    }

    /// Another tenure of the same holder begins: what it writes is compared with nothing. Its
    /// baselines stay, because it was told that they are kept, and versions are ticks, so those of
    /// a later tenure are later.
    pub(crate) fn begin_tenure(&mut self, allocator: Allocator, index: u32) {
        if let Some(slot) = self.get_mut(allocator, index) {
            slot.newest = None;
            slot.entity = None;
            slot.shown = None;
            slot.held = false;
            slot.checked = None;
        }
    }

    /// The name's entity has left. Gives it back if it was there, and is not told of under another name
    /// already.
    pub(crate) fn end_life(&mut self, allocator: Allocator, index: u32) -> Option<Entity> {
        let place = self.place(allocator, index)?;
        let slot = &mut self.slots[place as usize];
        self.bytes -= slot.ring.bytes();
        slot.ring.clear();
        slot.shown = None;
        slot.checked = None;
        // Also without an entity: it was told of and never shown, because another link shows it.
        let live = std::mem::take(&mut slot.live);
        let (entity, global) = (slot.entity.take(), slot.global);
        entity.filter(|_| live && global.is_none_or(|global| self.name_of(global).is_none()))
    }

    /// Forgets a name of ours: only its holder's writes were kept under it, and those of an ended
    /// tenure are fenced.
    pub(crate) fn forget(&mut self, allocator: Allocator, index: u32) {
        if let Some(place) = self.place(allocator, index) {
            let slot = std::mem::take(&mut self.slots[place as usize]);
            self.bytes -= slot.ring.bytes();
            self.places[allocator as usize].set(index, None);
            self.free.push(place);
            if let Some(global) = slot.global {
                self.unlist(place, global);
            }
        }
    }

    /// The name under which the peer tells of an entity: the one that it used last, if it comes
    /// under another before the end of the first is heard of.
    pub(crate) fn name_of(&self, global: GlobalEntity) -> Option<WireId> {
        let places = self.by_global.iter_hash(hash_of(global));
        let slots = places.map(|&place| self.at(place));
        let slot = slots
            .filter(|slot| slot.live && slot.global == Some(global))
            .max_by_key(|slot| slot.newest)?;
        let (allocator, index) = slot.name;
        Some(WireId {
            allocator,
            index,
            generation: slot.generation,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: usize = 100;

    fn begin(table: &mut RemoteTable, (allocator, index): (Allocator, u32), global: GlobalEntity) {
        let slot = table.entry(allocator, index, LIMIT).expect("room");
        slot.live = true;
        table.set_global(allocator, index, Some(global));
    }

    #[test]
    fn an_entity_is_found_by_the_name_that_is_alive() {
        let mut table = RemoteTable::default();
        let global = |n| GlobalEntity::new(7, n).expect("legal");
        let found = |table: &RemoteTable, n| {
            let name = table.name_of(global(n))?;
            Some((name.allocator, name.index))
        };
        let (old, new) = ((Allocator::Peer, 3), (Allocator::Peer, 9));
        begin(&mut table, old, global(1));
        assert_eq!(found(&table, 1), Some(old));
        // It comes under another name before the old one's end is heard of, or after.
        begin(&mut table, new, global(1));
        begin(&mut table, old, global(1));
        table.end_life(old.0, old.1);
        assert_eq!(found(&table, 1), Some(new));
        // The old name gets another entity.
        table.begin_life(old.0, old.1);
        begin(&mut table, old, global(2));
        assert_eq!(found(&table, 2), Some(old));
        assert_eq!(found(&table, 1), Some(new));
        let redirect = Redirect {
            generation: 0,
            slot: 5,
            slot_generation: 1,
            confirmed: false,
            host_until: Tick(9),
            expires: Tick(9),
        };
        table.migrate(new.1, redirect);
        assert_eq!(found(&table, 1), Some((Allocator::Local, 5)));
        table.forget(Allocator::Local, 5);
        table.end_life(old.0, old.1);
        assert_eq!((found(&table, 1), found(&table, 2)), (None, None));
        table.begin_life(old.0, old.1);
        assert!(table.by_global.is_empty(), "{:?}", table.by_global);
    }
}
