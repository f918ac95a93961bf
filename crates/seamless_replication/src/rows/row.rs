//! One state of one entity.

use seamless_wire::Tenure;
use smallvec::SmallVec;

use super::sets::SetId;

/// An entity's components as row values, with its fence.
///
/// Values lie one after the other in the order of the set; `ends` says where each ends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) tenure: Tenure,
    pub(crate) set: SetId,
    ends: SmallVec<[u32; 8]>,
    bytes: Vec<u8>,
}

impl Row {
    /// The value at a position of the set.
    pub(crate) fn value(&self, position: usize) -> &[u8] {
        let start = if position == 0 {
            0
        } else {
            self.ends[position - 1] as usize
        };
        &self.bytes[start..self.ends[position] as usize]
    }

    /// Bytes of all values.
    pub(crate) fn byte_len(&self) -> usize {
        self.bytes.len()
    }

    /// Becomes a copy of `other` and keeps its memory.
    pub(crate) fn copy_from(&mut self, other: &Self) {
        self.tenure = other.tenure;
        self.set = other.set;
        self.ends.clone_from(&other.ends);
        self.bytes.clone_from(&other.bytes);
    }
}

/// Makes a row value by value, in the order of its set, in memory that is used again.
#[derive(Default)]
pub(crate) struct RowBuilder {
    row: Row,
}

impl RowBuilder {
    /// Begins a row.
    pub(crate) fn begin(&mut self, set: SetId, tenure: Tenure) {
        self.row.set = set;
        self.row.tenure = tenure;
        self.row.ends.clear();
        self.row.bytes.clear();
    }

    /// The buffer to append the next value to; [`end_value`](Self::end_value) closes it.
    pub(crate) fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.row.bytes
    }

    /// The value is complete.
    pub(crate) fn end_value(&mut self) {
        self.row.ends.push(self.row.bytes.len() as u32);
    }

    /// Takes a value over as it is.
    pub(crate) fn copy_value(&mut self, value: &[u8]) {
        self.row.bytes.extend_from_slice(value);
        self.end_value();
    }

    /// The row.
    pub(crate) fn row(&self) -> &Row {
        &self.row
    }

    /// The row, leaving an empty one.
    pub(crate) fn take(&mut self) -> Row {
        std::mem::take(&mut self.row)
    }
}
