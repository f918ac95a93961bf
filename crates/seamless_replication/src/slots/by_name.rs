//! Slots by the name of their entity, in five bytes for each: the names themselves stand in the slots.

use bevy::platform::collections::HashTable;
use seamless_wire::GlobalEntity;

use super::Slot;
use crate::names::hash_of;

/// Which slot has the entity of which name. What is listed is in use, and has its name.
#[derive(Default)]
pub(super) struct ByName(HashTable<u32>);

impl ByName {
    pub(super) fn get(&self, slots: &[Slot], name: GlobalEntity) -> Option<u32> {
        let is_its = |&slot: &u32| slots[slot as usize].global == Some(name);
        self.0.find(hash_of(name), is_its).copied()
    }

    /// Makes room for so many more.
    pub(super) fn reserve(&mut self, more: usize, slots: &[Slot]) {
        let hash = |&slot: &u32| slots[slot as usize].global.map_or(0, hash_of);
        self.0.reserve(more, hash);
    }

    /// Lists a slot that has its name already. Gives another one that had it.
    pub(super) fn insert(&mut self, slots: &[Slot], name: GlobalEntity, slot: u32) -> Option<u32> {
        let is_its = |&other: &u32| slots[other as usize].global == Some(name);
        if let Some(other) = self.0.find_mut(hash_of(name), is_its) {
            return Some(std::mem::replace(other, slot));
        }
        let hash = |&slot: &u32| slots[slot as usize].global.map_or(0, hash_of);
        self.0.insert_unique(hash_of(name), slot, hash);
        None
    }

    /// A slot is not in use any more, and still has its name.
    pub(super) fn remove(&mut self, name: GlobalEntity, slot: u32) {
        let found = self.0.find_entry(hash_of(name), |&other| other == slot);
        if let Ok(found) = found {
            found.remove();
        }
    }
}
