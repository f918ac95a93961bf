//! The hot loop: change ticks of whole columns, then rows of the entities that changed.

use std::ops::Range;

use bevy::ecs::storage::Table;
use smallvec::SmallVec;

use super::{
    archetypes::ReplicatedTable,
    holds, keeps_rows,
    scan::{BLOCK, Pass},
    window::Ticks,
};
use crate::{
    findings::Findings,
    prefetch::AHEAD,
    rows::{RowShare, Rows},
    threads::{pieces, together},
};

/// Entities of which fewer are not worth another thread.
const LEAST: usize = 4 * BLOCK;

/// Entities of which it is looked at once whether any of them changed: where all rest, a look at each
/// block would take as long as its change ticks.
const STRETCH: usize = 16 * BLOCK;

/// What one thread makes of its part of a table.
#[derive(Default)]
pub(super) struct Share {
    made: RowShare,
    /// Whether we keep rows of a slot.
    kept: Findings,
    /// Slots whose rows are to be made from scratch.
    forced: Vec<u32>,
    failed: u64,
}

impl Share {
    /// What was found of slots may be wrong by now.
    pub(super) fn forget(&mut self) {
        self.kept.clear();
    }
}

/// Columns of a table that change with its rows, and the slots of these.
struct Columns<'t, S> {
    table: &'t Table,
    ticks: SmallVec<[Ticks<'t>; 16]>,
    slot_of: S,
}

impl Pass<'_> {
    fn columns<'t>(&'t self, info: &ReplicatedTable) -> Option<Columns<'t, impl Fn(usize) -> u32>> {
        let table = self.world.storages().tables.get(info.table)?;
        let ticks: SmallVec<[Ticks<'_>; 16]> = info
            .columns
            .iter()
            .filter_map(|(_, column)| table.get_changed_ticks_slice_for(*column))
            .collect();
        let slot_of = self.slot_indices(table);
        (table.entity_count() > 0 && ticks.len() == info.columns.len()).then_some(Columns {
            table,
            ticks,
            slot_of,
        })
    }

    /// Rows of one table. Returns how many values could not be encoded.
    ///
    /// Reads four bytes for each component of each entity, two or three times near where something
    /// changed; looks at single entities only in a block of [`BLOCK`] where something did. `shared`: some of them may be of
    /// a mixed archetype. Each share is a thread's; with more than one, they share out pieces of the table.
    pub(super) fn table(
        &self,
        info: &ReplicatedTable,
        rows: &mut Rows,
        shares: &mut [Share],
        shared: bool,
    ) -> u64 {
        let Some(columns) = self.columns(info) else {
            return 0;
        };
        let len = columns.table.entity_count() as usize;
        let mut failed = 0;
        if shares.len() > 1 && len >= LEAST * shares.len() {
            let each = len.div_ceil(pieces(shares.len())).next_multiple_of(BLOCK);
            let starts = (0..len).step_by(each);
            let before = &*rows;
            together(shares.iter_mut(), starts, |share, start| {
                if let Some(columns) = self.columns(info) {
                    for block in self.blocks(&columns, start..len.min(start + each)) {
                        self.block(info, &columns, block, before, share, shared);
                    }
                }
            });
            let made = shares.iter().map(|share| &share.made);
            rows.push_all(info.set, &made.collect::<SmallVec<[_; 64]>>());
            for share in shares {
                share.made.clear();
                failed += self.end(rows, share);
            }
        } else if let Some(share) = shares.first_mut() {
            for block in self.blocks(&columns, 0..len) {
                self.block(info, &columns, block, rows, share, shared);
                failed += self.store(info, rows, share);
            }
        }
        failed
    }

    /// The blocks of a part of a table, but for those of a stretch in which nothing changed.
    fn blocks<S>(
        &self,
        columns: &Columns<'_, S>,
        part: Range<usize>,
    ) -> impl Iterator<Item = Range<usize>> {
        let pieces = |whole: Range<usize>, size: usize| {
            let starts = whole.clone().step_by(size);
            starts.map(move |start| start..(start + size).min(whole.end))
        };
        pieces(part, STRETCH)
            .filter(|stretch| {
                let mut columns = columns.ticks.iter();
                columns.any(|ticks| self.is_any_newer(&ticks[stretch.clone()]))
            })
            .flat_map(move |stretch| pieces(stretch, BLOCK))
    }

    /// Makes rows of those of a block that changed.
    #[inline]
    fn block<S: Fn(usize) -> u32>(
        &self,
        info: &ReplicatedTable,
        columns: &Columns<'_, S>,
        block: Range<usize>,
        rows: &Rows,
        share: &mut Share,
        shared: bool,
    ) {
        let columns_here = || columns.ticks.iter().map(|ticks| &ticks[block.clone()]);
        let mut newer = 0u64;
        for (position, ticks) in columns_here().enumerate() {
            newer |= u64::from(self.is_any_newer(ticks)) << position;
        }
        if newer == 0 {
            return;
        }
        let mut masks = [0u64; BLOCK];
        for (position, ticks) in columns_here().enumerate() {
            if newer >> position & 1 != 0 {
                self.mark_newer(ticks, 1 << position, &mut masks);
            }
        }
        let table = columns.table;
        let changed = || block.clone().zip(&masks).filter(|(_, mask)| **mask != 0);
        for (row, _) in changed() {
            let slot = (columns.slot_of)(row);
            rows.prefetch_ring(slot);
            share.kept.prefetch(self.slots, slot);
        }
        changed().for_each(|(row, _)| rows.prefetch_newest((columns.slot_of)(row)));
        for (row, &mask) in block.zip(&masks).filter(|(_, mask)| **mask != 0) {
            let index = (columns.slot_of)(row);
            if shared && self.is_mixed(table, row) {
                // [`Self::mixed`] makes its row.
                continue;
            }
            let kept = &mut share.kept;
            if !kept.of(self.slots, index, |slot| keeps_rows(slot, self.me)) {
                continue;
            }
            if info.is_filtered && self.slots.get(index).is_some_and(|s| holds(s, self.me)) {
                share.forced.push(index);
                continue;
            }
            // What has a row has the right fence in it: a change of it makes the row anew.
            let fence = match rows.newest(index) {
                Some((_, row)) => row.fence.clone(),
                None => match self.slots.get(index) {
                    Some(slot) => slot.tenure.clone(),
                    None => continue,
                },
            };
            let (builder, failed) = (&mut share.made.builder, &mut share.failed);
            let ptr = |position: usize| Self::column_ptr(table, info.columns[position].1, row);
            let built = self.build(rows, builder, index, info.set, failed, |position| {
                (info.columns[position].0, mask >> position & 1 != 0, ptr)
            });
            if let Some(built) = built {
                // Written where it lies, not made and moved there.
                let made = share.made.rows.push_mut(Default::default());
                (made.0, made.1) = (index, fence);
                made.2 = built;
            }
        }
    }

    /// Stores the rows of a share.
    #[inline]
    fn store(&self, info: &ReplicatedTable, rows: &mut Rows, share: &mut Share) -> u64 {
        let RowShare {
            builder,
            rows: made,
        } = &mut share.made;
        for at in 0..made.len() {
            if let Some((soon, ..)) = made.get(at + AHEAD) {
                rows.prefetch_next(*soon);
            }
            let (index, ref fence, built) = made[at];
            rows.push(index, builder.row(built, info.set, fence));
        }
        made.clear();
        builder.clear();
        self.end(rows, share)
    }

    /// Makes the rows that are to be made from scratch. Gives how many values could not be encoded,
    /// also of the others.
    fn end(&self, rows: &mut Rows, share: &mut Share) -> u64 {
        let mut failed = std::mem::take(&mut share.failed);
        if !share.forced.is_empty() {
            for index in std::mem::take(&mut share.forced) {
                failed += self.forced(index, rows, &mut share.made.builder);
            }
            share.made.builder.clear();
        }
        failed
    }
}
