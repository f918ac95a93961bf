//! One state of one entity.

use seamless_wire::Tenure;
use smallvec::SmallVec;

use super::{fence::Fence, sets::SetId};

/// An entity's components as row values, with its fence.
///
/// Values lie one after the other in the order of the set. Before them stands where each ends, in
/// four bytes each; small rows lie in place, without memory of their own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) fence: Fence,
    pub(crate) set: SetId,
    count: u16,
    data: SmallVec<[u8; 56]>,
}

/// Bytes of one end.
const END: usize = 4;

impl Row {
    /// Puts it under another fence.
    pub(crate) fn set_tenure(&mut self, tenure: &Tenure) {
        self.fence = Fence::new(tenure, Some(&self.fence));
    }

    #[inline]
    fn end(&self, position: usize) -> usize {
        let at = position * END;
        let end = self.data[at..at + END].try_into();
        u32::from_le_bytes(end.expect("a slice of four")) as usize
    }

    /// The value at a position of the set.
    #[inline]
    pub(crate) fn value(&self, position: usize) -> &[u8] {
        let values = self.count as usize * END;
        let start = match position.checked_sub(1) {
            None => 0,
            Some(before) => self.end(before),
        };
        &self.data[values + start..values + self.end(position)]
    }

    /// Bytes of all values.
    pub(crate) fn byte_len(&self) -> usize {
        self.data.len() - self.count as usize * END
    }

    /// Becomes a copy of `other` and keeps its memory.
    pub(crate) fn copy_from(&mut self, other: &Self) {
        self.fence = other.fence.clone();
        self.set = other.set;
        self.count = other.count;
        self.data.clear();
        self.data.extend_from_slice(&other.data);
    }
}

/// Makes a row value by value, in the order of its set, in memory that is used again.
#[derive(Default)]
pub(crate) struct RowBuilder {
    fence: Fence,
    set: SetId,
    ends: Vec<u8>,
    bytes: Vec<u8>,
    row: Row,
}

impl RowBuilder {
    /// Begins a row.
    #[inline]
    pub(crate) fn begin(&mut self, set: SetId, fence: Fence) {
        self.set = set;
        self.fence = fence;
        self.ends.clear();
        self.bytes.clear();
    }

    /// The buffer to append the next value to; [`end_value`](Self::end_value) closes it.
    pub(crate) const fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// The value is complete.
    #[inline]
    pub(crate) fn end_value(&mut self) {
        let end = self.bytes.len() as u32;
        self.ends.extend_from_slice(&end.to_le_bytes());
    }

    /// Takes a value over as it is.
    #[inline]
    pub(crate) fn copy_value(&mut self, value: &[u8]) {
        self.bytes.extend_from_slice(value);
        self.end_value();
    }

    /// The row.
    #[inline]
    pub(crate) fn row(&mut self) -> &Row {
        let row = &mut self.row;
        row.fence = self.fence.clone();
        row.set = self.set;
        row.count = (self.ends.len() / END) as u16;
        row.data.clear();
        row.data.extend_from_slice(&self.ends);
        row.data.extend_from_slice(&self.bytes);
        row
    }

    /// The row, leaving an empty one.
    pub(crate) fn take(&mut self) -> Row {
        self.row();
        std::mem::take(&mut self.row)
    }
}
