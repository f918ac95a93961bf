//! Which slots migrate, and from which link: those of a link are found without a look at the others.

use bevy::platform::collections::{HashMap, HashSet};
use seamless_transport::LinkId;
use seamless_wire::record::Version;

use super::Slots;

/// A migration that the former host has not confirmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Migrating {
    pub(crate) link: LinkId,
    /// The version of our stream that it was told to take as its first baseline.
    pub(crate) version: Version,
    /// The slot that it has there.
    pub(crate) old_index: u32,
}

/// Slots that migrate, by the link of their former host.
#[derive(Default)]
pub(super) struct Migrations(HashMap<LinkId, HashSet<u32>>);

impl Migrations {
    fn begin(&mut self, link: LinkId, slot: u32) {
        self.0.entry(link).or_default().insert(slot);
    }

    pub(super) fn end(&mut self, link: LinkId, slot: u32) {
        if let Some(slots) = self.0.get_mut(&link) {
            slots.remove(&slot);
            if slots.is_empty() {
                self.0.remove(&link);
            }
        }
    }
}

impl Slots {
    /// The entity in a slot migrates.
    pub(crate) fn begin_migration(&mut self, index: u32, migrating: Migrating) {
        let Some(slot) = self.get_mut(index) else {
            return;
        };
        let before = slot.migrating.replace(migrating);
        if let Some(before) = before {
            self.migrations.end(before.link, index);
        }
        self.migrations.begin(migrating.link, index);
    }

    /// It has migrated, or its former host is gone.
    pub(crate) fn end_migration(&mut self, index: u32) {
        let ended = self.get_mut(index).and_then(|slot| slot.migrating.take());
        if let Some(ended) = ended {
            self.migrations.end(ended.link, index);
            self.rerouted.push(index);
        }
    }

    /// The slots that migrate from a link, ascending.
    pub(crate) fn migrating_from(&self, link: LinkId) -> Vec<u32> {
        let slots = self.migrations.0.get(&link);
        let mut slots: Vec<u32> = slots.into_iter().flatten().copied().collect();
        slots.sort_unstable();
        slots
    }

    /// A client goes on over another link, and confirms there what it was told over the old one.
    pub(crate) fn migrations_follow(&mut self, old: LinkId, new: LinkId) {
        for index in self.migrating_from(old) {
            let under_way = self.get(index).and_then(|slot| slot.migrating);
            if let Some(migrating) = under_way {
                self.begin_migration(
                    index,
                    Migrating {
                        link: new,
                        ..migrating
                    },
                );
            }
        }
    }
}
