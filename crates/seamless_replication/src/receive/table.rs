//! What a peer told us of its entities, by their short names.

use bevy::{platform::collections::HashMap, prelude::Entity};
use seamless_wire::{Allocator, Epoch, GlobalEntity, Tick, WireId, record::Version};

use super::ParsedRow;
use crate::rows::{Ring, Row};

/// One short name of a peer. Kept for the link's life, past the entity's end, so that nothing old
/// is ever applied.
#[derive(Debug, Default)]
pub(crate) struct RemoteSlot {
    pub(crate) generation: u32,
    /// Whether the name stands for an entity at present.
    pub(crate) live: bool,
    pub(crate) global: Option<GlobalEntity>,
    /// Our entity, once spawned.
    pub(crate) entity: Option<Entity>,
    /// Tick of the newest record or leave, once there was one.
    pub(crate) newest: Option<Tick>,
    /// Rows we have acknowledged: the baselines of what is to come.
    pub(crate) ring: Ring,
    /// The row that the world shows.
    pub(crate) shown: Option<Row>,
    /// We hold the entity: of its components only those that the host writes are shown.
    pub(crate) held: bool,
}

impl RemoteSlot {
    /// Whether all that is kept was written before the tenure that began at `since`.
    pub(crate) fn is_of_before(&self, since: Epoch) -> bool {
        self.ring
            .newest()
            .is_none_or(|kept| kept.row.tenure.epoch < since)
    }
}

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
    pub(crate) expires: Tick,
}

/// All short names of a peer.
#[derive(Default)]
pub(crate) struct RemoteTable {
    slots: HashMap<(Allocator, u32), RemoteSlot>,
    redirects: HashMap<u32, Redirect>,
    bytes: usize,
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
        if let Some(mut slot) = self.slots.remove(&(Allocator::Peer, index)) {
            slot.generation = redirect.slot_generation;
            self.forget(Allocator::Local, redirect.slot);
            self.slots.insert((Allocator::Local, redirect.slot), slot);
        }
        self.redirects.insert(index, redirect);
    }

    /// The peer has migrated as well.
    pub(crate) fn confirm(&mut self, slot: u32) {
        for redirect in self
            .redirects
            .values_mut()
            .filter(|redirect| redirect.slot == slot)
        {
            redirect.confirmed = true;
        }
    }

    /// The old name is used for another entity.
    pub(crate) fn drop_redirect(&mut self, index: u32) {
        self.redirects.remove(&index);
    }

    /// Forgets redirects that are past their time.
    pub(crate) fn expire_redirects(&mut self, now: Tick) {
        if !self.redirects.is_empty() {
            self.redirects.retain(|_, redirect| redirect.expires > now);
        }
    }

    /// Old names and what they mean now.
    pub(crate) fn redirects(&self) -> impl Iterator<Item = (u32, &Redirect)> {
        self.redirects
            .iter()
            .map(|(index, redirect)| (*index, redirect))
    }

    pub(crate) fn get(&self, allocator: Allocator, index: u32) -> Option<&RemoteSlot> {
        self.slots.get(&(allocator, index))
    }

    pub(crate) fn get_mut(&mut self, allocator: Allocator, index: u32) -> Option<&mut RemoteSlot> {
        self.slots.get_mut(&(allocator, index))
    }

    /// The slot of a name. `None` if the peer already uses `limit` names.
    pub(crate) fn entry(
        &mut self,
        allocator: Allocator,
        index: u32,
        limit: usize,
    ) -> Option<&mut RemoteSlot> {
        if self.slots.len() >= limit && !self.slots.contains_key(&(allocator, index)) {
            return None;
        }
        Some(self.slots.entry((allocator, index)).or_default())
    }

    /// Bytes of all rows kept as baselines.
    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Keeps a record's row as a baseline. What is older than the record's own baseline goes: the
    /// sender has moved on.
    pub(crate) fn keep(&mut self, parsed: ParsedRow) {
        let Some(slot) = self.slots.get_mut(&(parsed.allocator, parsed.index)) else {
            return;
        };
        let before = slot.ring.bytes();
        if let Some(baseline) = parsed.baseline {
            slot.ring.forget_before(baseline);
        }
        slot.ring.keep(parsed.version, parsed.row);
        self.bytes = self.bytes + slot.ring.bytes() - before;
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
        let slot = self.slots.entry((name.allocator, name.index)).or_default();
        slot.generation = name.generation;
        slot.global = Some(global);
        slot.entity = Some(entity);
        slot.live = true;
        slot.held = true;
        if let Some((version, row)) = row {
            let before = slot.ring.bytes();
            slot.ring.keep(version, row);
            self.bytes = self.bytes + slot.ring.bytes() - before;
        }
    }

    /// The name gets another entity: all is forgotten but the version numbers.
    pub(crate) fn begin_life(&mut self, allocator: Allocator, index: u32) {
        let Some(slot) = self.slots.get_mut(&(allocator, index)) else {
            return;
        };
        self.bytes -= slot.ring.bytes();
        slot.ring.clear();
        *slot = RemoteSlot {
            ring: std::mem::take(&mut slot.ring),
            ..RemoteSlot::default()
        };
    }

    /// The name's entity has left. Gives it back if it was there.
    pub(crate) fn end_life(&mut self, allocator: Allocator, index: u32) -> Option<Entity> {
        let slot = self.slots.get_mut(&(allocator, index))?;
        self.bytes -= slot.ring.bytes();
        slot.ring.clear();
        slot.shown = None;
        let entity = slot.entity.take();
        entity.filter(|_| std::mem::take(&mut slot.live))
    }

    /// Forgets a name of ours: only its holder's writes were kept under it, and those of an ended
    /// tenure are fenced.
    pub(crate) fn forget(&mut self, allocator: Allocator, index: u32) {
        if let Some(slot) = self.slots.remove(&(allocator, index)) {
            self.bytes -= slot.ring.bytes();
        }
    }

    /// Names that stand for entities.
    pub(crate) fn iter_live(&self) -> impl Iterator<Item = (WireId, &RemoteSlot)> {
        self.slots
            .iter()
            .filter(|(_, slot)| slot.live)
            .map(|(&(allocator, index), slot)| {
                (
                    WireId {
                        allocator,
                        index,
                        generation: slot.generation,
                    },
                    slot,
                )
            })
    }

    /// The name under which the peer tells of an entity.
    pub(crate) fn name_of(&self, global: GlobalEntity) -> Option<WireId> {
        self.iter_live()
            .find(|(_, slot)| slot.global == Some(global))
            .map(|(id, _)| id)
    }
}
