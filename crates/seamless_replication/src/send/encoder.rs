//! What one worker encodes with: what was encoded for all beforehand, and what it adds itself.

use seamless_wire::BitWriter;

use super::encode::{CacheMark, EncodeCache, Has, Run, SlotHead};
use crate::{
    registry::Registry,
    rows::{Rows, SetId},
    slots::Slots,
};

/// Marks a run that the worker made itself.
const OWN: u32 = 1 << 31;

/// Encodings of this tick, as one worker sees them.
pub(crate) struct Encoder<'a> {
    /// Shared by all workers, and finished.
    pub(super) primed: &'a EncodeCache,
    pub(super) own: &'a mut EncodeCache,
}

impl Encoder<'_> {
    /// The slot's head, made when it is asked for first in this tick.
    #[inline]
    pub(super) fn head(&mut self, slot: u32, rows: &Rows, slots: &Slots) -> &SlotHead {
        match self.primed.known(slot) {
            Some(head) => head,
            None => self.own.head(slot, rows, slots),
        }
    }

    /// The encoding of a slot's newest row for a link that has `has` of it, for the projected set
    /// `told`.
    #[inline]
    pub(super) fn run(
        &mut self,
        registry: &Registry,
        (rows, slots): (&Rows, &Slots),
        slot: u32,
        (has, told): (Has, SetId),
    ) -> Option<u32> {
        if let Some(run) = self.primed.find(slot, has) {
            return Some(run);
        }
        self.own.head(slot, rows, slots);
        let run = self.own.run(registry, rows, slot, (has, told))?;
        Some(run | OWN)
    }

    /// A run by its number.
    #[inline]
    pub(super) fn get(&self, run: u32) -> &Run {
        match run & OWN {
            0 => self.primed.get(run),
            _ => self.own.get(run & !OWN),
        }
    }

    /// Copies a run into a datagram.
    #[inline]
    pub(super) fn copy(&self, number: u32, run: &Run, w: &mut BitWriter) {
        match number & OWN {
            0 => self.primed.copy(run, w),
            _ => self.own.copy(run, w),
        }
    }

    /// A point to come back to with [`rewind`](Self::rewind), for a slot that is not primed.
    pub(super) fn mark(&mut self, slot: u32, rows: &Rows, slots: &Slots) -> CacheMark {
        self.own.head(slot, rows, slots);
        self.own.mark(slot)
    }

    /// Forgets the runs of the mark's slot that were made since: large ones are not kept.
    pub(super) fn rewind(&mut self, mark: &CacheMark) {
        self.own.rewind(mark);
    }
}
