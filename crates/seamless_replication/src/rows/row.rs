//! One state of one entity.

use std::ops::Range;

use seamless_wire::Tenure;
use smallvec::SmallVec;

use super::{
    fence::Fence,
    sets::{ComponentSets, SetId},
};

/// An entity's components as row values, with its fence.
///
/// Values lie one after the other in the order of the set. Before them stands where each ends, in
/// four bytes each; small rows lie in place, without memory of their own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) fence: Fence,
    pub(crate) set: SetId,
    count: u16,
    data: SmallVec<[u8; IN_PLACE]>,
}

/// Bytes that lie in place.
const IN_PLACE: usize = 56;

/// A row that lies elsewhere.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RowRef<'a> {
    pub(crate) fence: &'a Fence,
    pub(crate) set: SetId,
    count: u16,
    data: &'a [u8],
}

/// Bytes of one end.
const END: usize = 4;

impl<'a> RowRef<'a> {
    /// The same values under another fence.
    pub(crate) const fn under(self, fence: &'a Fence) -> Self {
        Self { fence, ..self }
    }

    /// Bytes that a [`Row`] of this takes besides its own.
    #[inline]
    pub(super) const fn heap_bytes(&self) -> usize {
        let data = if self.data.len() > IN_PLACE {
            self.data.len()
        } else {
            0
        };
        data + self.fence.heap_bytes()
    }

    /// Its values. To look at several, ask once.
    #[inline]
    pub(crate) fn values(&self) -> Values<'a> {
        let (ends, bytes) = self.data.split_at(self.count as usize * END);
        Values {
            ends: ends.as_chunks().0,
            bytes,
        }
    }
}

impl PartialEq<Row> for RowRef<'_> {
    #[inline]
    fn eq(&self, row: &Row) -> bool {
        self.set == row.set && *self.data == *row.data && *self.fence == row.fence
    }
}

impl Row {
    /// The row where it lies.
    #[inline]
    pub(crate) fn view(&self) -> RowRef<'_> {
        RowRef {
            fence: &self.fence,
            set: self.set,
            count: self.count,
            data: &self.data,
        }
    }

    /// Puts it under another fence.
    pub(crate) fn set_tenure(&mut self, tenure: &Tenure) {
        self.fence = Fence::new(tenure, Some(&self.fence));
    }

    /// Its values. To look at several, ask once.
    #[inline]
    pub(crate) fn values(&self) -> Values<'_> {
        self.view().values()
    }

    /// The value at a position of the set.
    #[inline]
    pub(crate) fn value(&self, position: usize) -> &[u8] {
        self.values().at(position)
    }

    /// The value of a component, which stands at position `at` of `set`: mostly the row's own.
    #[inline]
    pub(crate) fn find(
        &self,
        sets: &ComponentSets,
        set: SetId,
        (at, component): (usize, u16),
    ) -> Option<&[u8]> {
        let at = if self.set == set {
            Some(at)
        } else {
            sets.position(self.set, component)
        };
        at.map(|at| self.value(at))
    }

    /// Bytes of all values.
    #[inline]
    pub(crate) fn byte_len(&self) -> usize {
        self.data.len() - self.count as usize * END
    }

    /// Bytes of memory that it takes besides its own.
    #[inline]
    pub(super) fn heap_bytes(&self) -> usize {
        let data = if self.data.spilled() {
            self.data.capacity()
        } else {
            0
        };
        data + self.fence.heap_bytes()
    }

    /// Becomes a copy of `other` and keeps its memory.
    #[inline]
    pub(crate) fn copy_from(&mut self, other: RowRef<'_>) {
        if self.fence != *other.fence {
            self.fence = other.fence.clone();
        }
        self.set = other.set;
        self.count = other.count;
        if self.data.len() == other.data.len() {
            self.data.copy_from_slice(other.data);
        } else {
            self.data.clear();
            self.data.extend_from_slice(other.data);
        }
    }
}

/// The values of a row.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Values<'a> {
    ends: &'a [[u8; END]],
    bytes: &'a [u8],
}

impl<'a> Values<'a> {
    #[inline]
    fn end(&self, position: usize) -> usize {
        u32::from_le_bytes(self.ends[position]) as usize
    }

    /// Where each value ends.
    #[inline]
    pub(super) const fn ends(&self) -> &'a [[u8; END]] {
        self.ends
    }

    /// Where the value at a position of the set lies.
    #[inline]
    pub(super) fn range(&self, position: usize) -> Range<usize> {
        let start = match position {
            0 => 0,
            position => self.end(position - 1),
        };
        start..self.end(position)
    }

    /// The bytes of all values.
    #[inline]
    pub(super) const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The value at a position of the set.
    #[inline]
    pub(crate) fn at(&self, position: usize) -> &'a [u8] {
        &self.bytes[self.range(position)]
    }

    /// The values beside those of another row of the same set, if they lie at the same places.
    #[inline]
    pub(crate) fn beside(self, other: Self) -> Option<impl Iterator<Item = (&'a [u8], &'a [u8])>> {
        let (mut start, mut one, mut two) = (0, self.bytes, other.bytes);
        self.lie_as(&other).then(|| {
            self.ends.iter().map(move |end| {
                let end = u32::from_le_bytes(*end);
                let len = (end - std::mem::replace(&mut start, end)) as usize;
                let (this, that);
                (this, one) = one.split_at(len);
                (that, two) = two.split_at(len);
                (this, that)
            })
        })
    }

    /// Whether the values of two rows of one set lie at the same places.
    #[inline]
    pub(super) fn lie_as(&self, other: &Self) -> bool {
        let mut pairs = self.ends.iter().zip(other.ends);
        self.ends.len() == other.ends.len() && pairs.all(|(one, other)| one == other)
    }
}

/// Whether two values are the same. Most are short, and not worth a call: their first and last bytes
/// are all of them.
#[inline]
pub(crate) fn same(one: &[u8], other: &[u8]) -> bool {
    if one.len() != other.len() {
        return false;
    }
    if let (Some(a), Some(b)) = (ends::<8>(one), ends::<8>(other)) {
        let word = u64::from_ne_bytes;
        return (word(*a.0) ^ word(*b.0)) | (word(*a.1) ^ word(*b.1)) == 0;
    }
    if let (Some(a), Some(b)) = (ends::<4>(one), ends::<4>(other)) {
        let word = u32::from_ne_bytes;
        return (word(*a.0) ^ word(*b.0)) | (word(*a.1) ^ word(*b.1)) == 0;
    }
    one == other
}

/// The first and the last bytes, if there are none between them.
#[inline(always)]
fn ends<const N: usize>(bytes: &[u8]) -> Option<(&[u8; N], &[u8; N])> {
    let (first, last) = (bytes.first_chunk()?, bytes.last_chunk()?);
    (bytes.len() <= 2 * N).then_some((first, last))
}

/// Makes rows value by value, in the order of their sets, in memory that is used again.
#[derive(Default, Debug)]
pub(crate) struct RowBuilder {
    data: Vec<u8>,
    /// Where the row begins, where its values do, and where its next end is noted.
    start: usize,
    values: usize,
    next: usize,
}

/// Where a row lies in a [`RowBuilder`].
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Built {
    start: u32,
    end: u32,
    count: u16,
}

impl RowBuilder {
    /// Forgets all rows.
    #[inline]
    pub(crate) fn clear(&mut self) {
        self.data.clear();
    }

    /// Begins a row of `count` values, after those that are there.
    #[inline]
    pub(crate) fn begin(&mut self, count: usize) {
        self.start = self.data.len();
        self.next = self.start;
        self.values = self.start + count * END;
        self.data.resize(self.values, 0);
    }

    /// Begins a row as a copy of another, and ends it: what differs is still to be written over.
    #[inline]
    pub(crate) fn copy(&mut self, row: &Row) {
        self.start = self.data.len();
        self.data.extend_from_slice(&row.data);
        self.values = self.start + row.count as usize * END;
        self.next = self.values;
    }

    /// A value of the row that was begun last.
    #[inline]
    pub(crate) fn value_mut(&mut self, range: Range<usize>) -> &mut [u8] {
        &mut self.data[self.values..][range]
    }

    /// Forgets the row that was begun last.
    pub(crate) fn drop_last(&mut self) {
        self.data.truncate(self.start);
    }

    /// The buffer to append the next value to; [`end_value`](Self::end_value) closes it.
    #[inline]
    pub(crate) const fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.data
    }

    /// The value is complete.
    #[inline]
    pub(crate) fn end_value(&mut self) {
        let end = (self.data.len() - self.values) as u32;
        self.data[self.next..self.next + END].copy_from_slice(&end.to_le_bytes());
        self.next += END;
    }

    /// Takes a value over as it is.
    #[inline]
    pub(crate) fn copy_value(&mut self, value: &[u8]) {
        self.data.extend_from_slice(value);
        self.end_value();
    }

    /// Bytes of the values of the row that was begun last.
    #[inline]
    pub(crate) fn byte_len(&self) -> usize {
        self.data.len().saturating_sub(self.values)
    }

    /// Ends the row.
    #[inline]
    pub(crate) fn end(&mut self) -> Built {
        debug_assert_eq!(self.next, self.values, "all values are there");
        Built {
            start: self.start as u32,
            end: self.data.len() as u32,
            count: ((self.values - self.start) / END) as u16,
        }
    }

    /// Bytes of each value of such a row.
    pub(crate) fn lens(&self, built: Built) -> impl Iterator<Item = usize> {
        let data = &self.data[built.start as usize..built.end as usize];
        let ends = data.as_chunks::<END>().0.iter().take(built.count.into());
        ends.scan(0, |start, end| {
            let end = u32::from_le_bytes(*end) as usize;
            Some(end - std::mem::replace(start, end))
        })
    }

    /// A row that was made since [`clear`](Self::clear).
    #[inline]
    pub(crate) fn row<'a>(&'a self, built: Built, set: SetId, fence: &'a Fence) -> RowRef<'a> {
        RowRef {
            fence,
            set,
            count: built.count,
            data: &self.data[built.start as usize..built.end as usize],
        }
    }
}
