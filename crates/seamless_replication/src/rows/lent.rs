//! What entities had when they were lent.

use bevy::platform::collections::HashMap;
use seamless_wire::{Epoch, Holder, Tenure};

use super::SetId;

/// The components with which each lent entity was lent, by slot: what its holder took off shows in
/// its first row already.
#[derive(Default)]
pub(crate) struct Lent {
    sets: HashMap<u32, (Epoch, SetId)>,
}

impl Lent {
    /// The row of an entity under this fence has these components; the first one in a tenure counts.
    pub(crate) fn note(&mut self, slot: u32, tenure: &Tenure, set: SetId) {
        if !matches!(tenure.holder, Holder::Peer(_)) {
            self.sets.remove(&slot);
            return;
        }
        let lent = self.sets.entry(slot).or_insert((tenure.since, set));
        if lent.0 != tenure.since {
            *lent = (tenure.since, set);
        }
    }

    /// With what the entity was lent in the tenure that began at `since`.
    pub(crate) fn get(&self, slot: u32, since: Epoch) -> Option<SetId> {
        let (then, set) = self.sets.get(&slot)?;
        (*then == since).then_some(*set)
    }

    /// The slot is used for another entity.
    pub(crate) fn forget(&mut self, slot: u32) {
        self.sets.remove(&slot);
    }
}
