//! What was found of slots, and need not be looked for again.

use crate::{
    prefetch::prefetch_at,
    slots::{Slot, SlotStamp, Slots},
};

/// What was found of slots, for as long as they are as they were then: a few bytes for each beside
/// the table itself, which is too large to be looked into for every entity in every tick.
///
/// By slot: the stamp that it had, and what was found; `None` where nobody has looked. A stamp cannot
/// say that: any of them may be the slot's.
#[derive(Default)]
pub(crate) struct Findings(Vec<(u32, Option<bool>)>);

impl Findings {
    /// What `find` says of a slot, or said when it was last changed.
    #[inline]
    pub(crate) fn of(&mut self, slots: &Slots, slot: u32, find: impl Fn(&Slot) -> bool) -> bool {
        let at = slot as usize;
        let Some(SlotStamp { stamp, .. }) = slots.stamp_of(slot) else {
            return false;
        };
        match self.0.get(at) {
            Some(&(then, Some(found))) if then == stamp => found,
            _ => self.find(slots, slot, stamp, find),
        }
    }

    #[inline(never)]
    fn find(&mut self, slots: &Slots, slot: u32, stamp: u32, find: impl Fn(&Slot) -> bool) -> bool {
        let at = slot as usize;
        if self.0.len() <= at {
            self.0.resize(at + 1, (0, None));
        }
        let found = slots.get(slot).is_some_and(find);
        self.0[at] = (stamp, Some(found));
        found
    }

    /// It is soon asked about a slot.
    #[inline]
    pub(crate) fn prefetch(&self, slots: &Slots, slot: u32) {
        slots.prefetch_stamp(slot);
        prefetch_at(&self.0, slot);
    }

    /// All must be found anew.
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}
