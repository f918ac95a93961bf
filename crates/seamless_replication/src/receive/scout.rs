//! A look ahead in a section, for the memory that its records will need.
//!
//! Where few entities change, each record is of another corner of memory, and to read it is to wait
//! for that, twice: for the name's slot, and for the rows that lie behind it. What a record is told
//! against need not be known to find where the next one begins, so a second reader goes before the
//! first and has both fetched. All that it finds is a hint; nothing depends on it.

use seamless_wire::{
    Allocator, BitReader, WireError,
    record::{Form, RecordCursor},
};
use smallvec::SmallVec;

use super::RemoteTable;
use crate::registry::Registry;

/// Records between the reader and those whose slots are fetched.
const SLOTS: usize = 8;

/// Records between the reader and those whose rows are fetched: by then their slots are here.
const ROWS: usize = 4;

/// Of the last eight records, how many are not of the name after the one before them where it pays to
/// look ahead. Where fewer are, the next places are known without.
const GAPS: u32 = 3;

/// Most bytes of a row that it goes past. To go past more would cost more than it gains, and a peer
/// could have it go past them again and again.
const MAX_BYTES: usize = 512;

/// Goes before a reader.
#[derive(Default)]
pub(super) struct Scout<'a> {
    /// Which of the last records left a gap, the last one in the lowest bit.
    gaps: u8,
    /// Where it is, if it is on its way.
    reader: Option<(BitReader<'a>, RecordCursor)>,
    /// Bytes of the values of a record, as they were when it set out.
    lens: SmallVec<[usize; 16]>,
    /// Places of the records ahead, those of the next one last.
    ahead: SmallVec<[Option<u32>; SLOTS]>,
    /// It came to what it cannot go past.
    is_lost: bool,
}

/// What a section is about.
pub(super) struct Terrain<'a> {
    pub(super) registry: &'a Registry,
    pub(super) table: &'a RemoteTable,
    pub(super) allocator: Allocator,
    pub(super) components: &'a [u16],
}

impl<'a> Scout<'a> {
    /// The reader has come past a record. `here`: where it is now; `lens`: of the record's values.
    ///
    /// A step for each integer or each eight bytes of the values that differ in one record, and of
    /// eight records where it sets out.
    #[inline]
    pub(super) fn follow(
        &mut self,
        is_next: bool,
        here: (&BitReader<'a>, &RecordCursor),
        lens: impl Iterator<Item = usize>,
        terrain: &Terrain<'_>,
    ) {
        self.gaps = self.gaps << 1 | u8::from(!is_next);
        if self.gaps.count_ones() < GAPS {
            self.reader = None;
        } else if !self.is_lost {
            self.go_on(here, lens, terrain);
        }
    }

    fn go_on(
        &mut self,
        (reader, cursor): (&BitReader<'a>, &RecordCursor),
        lens: impl Iterator<Item = usize>,
        terrain: &Terrain<'_>,
    ) {
        if self.reader.is_none() {
            self.reader = Some((reader.clone(), *cursor));
            self.lens = lens.collect();
            self.ahead.clear();
            self.is_lost = self.lens.iter().sum::<usize>() > MAX_BYTES;
        }
        // The reader has passed the nearest.
        self.ahead.pop();
        while self.ahead.len() < SLOTS && !self.is_lost {
            match self.pass(terrain) {
                Ok(Some(place)) => self.ahead.insert(0, place),
                Ok(None) | Err(_) => self.is_lost = true,
            }
        }
        let soon = self.ahead.len().checked_sub(ROWS);
        if let Some(place) = soon.and_then(|at| self.ahead[at]) {
            terrain.table.prefetch_rows(place);
        }
    }

    /// Goes past one record. Gives the place of its name; `None` at the end of what it can tell.
    fn pass(&mut self, terrain: &Terrain<'_>) -> Result<Option<Option<u32>>, WireError> {
        let Some((reader, cursor)) = &mut self.reader else {
            return Ok(None);
        };
        let Some(head) = cursor.read(reader, terrain.components.len())? else {
            return Ok(None);
        };
        let Form::Delta { mask, .. } = head.form else {
            return Ok(None);
        };
        let values = terrain.components.iter().zip(&self.lens).enumerate();
        for (_, (&component, &len)) in values.filter(|(at, _)| mask >> at & 1 != 0) {
            if !terrain
                .registry
                .component(component)
                .erased
                .skip(len, reader)?
            {
                return Ok(None);
            }
        }
        let place = terrain.table.place(terrain.allocator, head.index);
        if let Some(place) = place {
            terrain.table.prefetch_slot(place);
        }
        Ok(Some(place))
    }
}
