//! What a peer told us of one of its entities.

use bevy::prelude::Entity;
use seamless_wire::{Allocator, Epoch, GlobalEntity, Tick, record::Version};

use crate::{
    rows::{Ring, SetId},
    slots::SlotStamp,
};

/// One short name of a peer. Kept for the link's life, past the entity's end, so that nothing old
/// is ever applied.
#[derive(Debug, Default)]
pub(crate) struct RemoteSlot {
    /// Rows we have acknowledged: the baselines of what is to come.
    pub(crate) ring: Ring,
    /// Under which name it stands here.
    pub(super) name: (Allocator, u32),
    pub(crate) generation: u32,
    /// Set by [`RemoteTable::set_global`](super::RemoteTable::set_global).
    pub(super) global: Option<GlobalEntity>,
    /// Our entity, once spawned.
    pub(crate) entity: Option<Entity>,
    /// Tick of the newest record or leave, once there was one.
    pub(crate) newest: Option<Tick>,
    /// The row that the world shows, and its components.
    pub(crate) shown: Option<(Version, SetId)>,
    /// Our slot for the entity, as it was when a record was last found to apply to it. While that
    /// is unchanged, records with the same fence apply too.
    pub(crate) checked: Option<SlotStamp>,
    /// Whether the name stands for an entity at present.
    pub(crate) live: bool,
    /// We hold the entity: of its components only those that the host writes are shown.
    pub(crate) held: bool,
    /// A newer row waits to be shown.
    pub(crate) waiting: bool,
    /// What the world shows is not the kept row of that version.
    pub(crate) distrusted: bool,
}

impl RemoteSlot {
    pub(crate) const fn global(&self) -> Option<GlobalEntity> {
        self.global
    }

    /// Whether all that is kept was written before the tenure that began at `since`.
    pub(crate) fn is_of_before(&self, since: Epoch) -> bool {
        self.ring
            .newest()
            .is_none_or(|kept| kept.row.fence.epoch < since)
    }
}
