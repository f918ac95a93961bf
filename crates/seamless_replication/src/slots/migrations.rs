//! Which slots migrate, and from which link: those of a link are found without a look at the others.

use std::collections::VecDeque;

use bevy::platform::collections::{HashMap, HashSet};
use seamless_transport::LinkId;
use seamless_wire::{Tick, record::Version};

use super::Slots;

/// A migration that the former host has not confirmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Migrating {
    pub(crate) link: LinkId,
    /// The version of our stream that it was told to take as its first baseline.
    pub(crate) version: Version,
    /// The slot that it has there.
    pub(crate) old_index: u32,
    /// When it is not waited for any longer.
    pub(crate) until: Tick,
}

/// Slots that migrate.
#[derive(Default)]
pub(super) struct Migrations {
    /// By the link of their former host.
    by_link: HashMap<LinkId, HashSet<u32>>,
    /// Those that began to, the first to be waited for no longer first. Some are over.
    begun: VecDeque<(Tick, u32)>,
}

impl Migrations {
    fn begin(&mut self, link: LinkId, slot: u32) {
        self.by_link.entry(link).or_default().insert(slot);
    }

    pub(super) fn end(&mut self, link: LinkId, slot: u32) {
        if let Some(slots) = self.by_link.get_mut(&link) {
            slots.remove(&slot);
            if slots.is_empty() {
                self.by_link.remove(&link);
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
        if before.is_none_or(|before| before.until != migrating.until) {
            let begun = (migrating.until, index);
            self.migrations.begun.push_back(begun);
        }
    }

    /// The slots whose former host has not confirmed in time, and over which link it would have: a step for
    /// each that began to migrate, and one look otherwise.
    pub(crate) fn unconfirmed(&mut self, now: Tick) -> Vec<(LinkId, u32)> {
        let mut unconfirmed = Vec::new();
        while let Some(&(until, index)) = self.migrations.begun.front()
            && until <= now
        {
            self.migrations.begun.pop_front();
            let migrating = self.get(index).and_then(|slot| slot.migrating);
            // Another may have the slot by now.
            if let Some(migrating) = migrating.filter(|it| it.until == until) {
                unconfirmed.push((migrating.link, index));
            }
        }
        unconfirmed
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
        let slots = self.migrations.by_link.get(&link);
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
