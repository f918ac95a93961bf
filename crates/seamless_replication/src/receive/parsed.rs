//! Records of a datagram, read and not yet taken.

use seamless_wire::{Allocator, GlobalEntity, Tick, record::Version};

use crate::rows::{Built, Fence, RowBuilder, RowRef, SetId};

/// What stands before a record's values, in full.
#[derive(Clone, Debug, Default)]
pub(crate) struct ParsedHead {
    pub(crate) allocator: Allocator,
    pub(crate) index: u32,
    /// Where the name's slot is, for a delta whose name was not migrated.
    pub(crate) place: Option<u32>,
    /// `None`: that of the baseline.
    pub(crate) generation: Option<u32>,
    pub(crate) global: Option<GlobalEntity>,
    pub(crate) version: Version,
    pub(crate) baseline: Option<Version>,
    pub(crate) tick: Tick,
    pub(crate) set: SetId,
    pub(crate) fence: Fence,
    pub(super) built: Built,
}

impl ParsedHead {
    /// The record on its own.
    pub(crate) const fn with<'a>(&self, row: RowRef<'a>) -> ParsedRow<'a> {
        ParsedRow {
            allocator: self.allocator,
            index: self.index,
            generation: self.generation,
            global: self.global,
            version: self.version,
            baseline: self.baseline,
            tick: self.tick,
            row,
        }
    }
}

/// One record, whole.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ParsedRow<'a> {
    pub(crate) allocator: Allocator,
    pub(crate) index: u32,
    /// `None`: that of the baseline.
    pub(crate) generation: Option<u32>,
    pub(crate) global: Option<GlobalEntity>,
    pub(crate) version: Version,
    pub(crate) baseline: Option<Version>,
    pub(crate) tick: Tick,
    pub(crate) row: RowRef<'a>,
}

/// The records of a datagram, their values one after the other.
#[derive(Debug, Default)]
pub(crate) struct ParsedRows {
    heads: Vec<ParsedHead>,
    values: RowBuilder,
    /// Bytes of the values of all rows.
    unfolded: usize,
}

impl ParsedRows {
    /// Begins a record. Gives its head, to be written where it lies: to copy what was just written
    /// piece by piece makes the processor wait.
    #[inline]
    pub(super) fn begin(&mut self) -> &mut ParsedHead {
        self.heads.push_mut(ParsedHead::default())
    }

    /// Where the values of the record are made that was begun last.
    #[inline]
    pub(super) const fn builder(&mut self) -> &mut RowBuilder {
        &mut self.values
    }

    /// The record that was begun last is complete.
    #[inline]
    pub(super) fn end(&mut self) {
        self.unfolded += self.values.byte_len();
        if let Some(head) = self.heads.last_mut() {
            head.built = self.values.end();
        }
    }

    /// Bytes of each value of the record that was ended last.
    pub(super) fn last_lens(&self) -> impl Iterator<Item = usize> {
        let last = self.heads.last().map(|head| head.built);
        self.values.lens(last.unwrap_or_default())
    }

    /// Bytes of all values.
    pub(super) const fn unfolded(&self) -> usize {
        self.unfolded
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.heads.is_empty()
    }

    /// What stands before the values of a record, by its number.
    #[inline]
    pub(super) fn head(&self, at: usize) -> Option<&ParsedHead> {
        self.heads.get(at)
    }

    /// What stands before the values of the records from a number on.
    #[inline]
    pub(super) fn heads_from(&self, at: usize) -> &[ParsedHead] {
        self.heads.get(at..).unwrap_or_default()
    }

    /// A record, by its number.
    #[inline]
    pub(super) fn get(&self, at: usize) -> Option<(&ParsedHead, RowRef<'_>)> {
        self.iter_from(at).next()
    }

    /// All records.
    #[inline]
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&ParsedHead, RowRef<'_>)> {
        self.iter_from(0)
    }

    /// The records from a number on.
    #[inline]
    pub(super) fn iter_from(&self, at: usize) -> impl Iterator<Item = (&ParsedHead, RowRef<'_>)> {
        let values = &self.values;
        self.heads_from(at)
            .iter()
            .map(|head| (head, values.row(head.built, head.set, &head.fence)))
    }

    /// Forgets all records, keeps the memory.
    pub(crate) fn clear(&mut self) {
        self.heads.clear();
        self.values.clear();
        self.unfolded = 0;
    }
}
