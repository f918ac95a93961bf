//! Entity records.
//!
//! A rows section is one archetype and the entities of it, in ascending order of their index. A
//! record says the *whole row*: what its mask leaves out equals the baseline, not whatever the
//! receiver shows at present. Values follow the head, coded by the component's own codec.

mod cursor;
mod fence;
mod leave;

pub use cursor::{Against, RecordCursor};
pub use fence::FenceChange;
pub use leave::{Leave, LeaveReason};

use serde::{Deserialize, Serialize};

use crate::{
    BitReader, BitWriter, WireError,
    epoch::Tenure,
    ids::{Allocator, GlobalEntity},
    tick::Tick,
};

/// Most components of one entity that are replicated.
pub const MAX_COMPONENTS: usize = 64;

/// Versions of a row that a sender keeps at most, and so the number of changes between a baseline
/// and what is told against it.
pub const MAX_BASELINES: u32 = 32;

/// A state of one slot's row: the tick in which it came to be, or one more than the version before
/// if that is later. It is not reset when the slot gets another entity, so (slot, version) names
/// one state for a long time; and as most of what is told is as old as its neighbours, a record
/// names its version and its baseline in a few bits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
pub struct Version(pub u32);

impl Version {
    /// How many ticks after `earlier`; wraps.
    #[must_use]
    pub const fn age_since(self, earlier: Self) -> u32 {
        self.0.wrapping_sub(earlier.0)
    }

    /// Whether it is the later of the two, over the wrap.
    #[must_use]
    pub const fn is_newer_than(self, other: Self) -> bool {
        (self.0.wrapping_sub(other.0) as i32) > 0
    }

    /// The next one in `tick`.
    #[must_use]
    pub const fn next(self, tick: Tick) -> Self {
        let this = Self(tick.0);
        if this.is_newer_than(self) {
            this
        } else {
            Self(self.0.wrapping_add(1))
        }
    }
}

/// The head of a rows section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowsHead {
    /// Who numbered the entities, seen from whoever holds this value.
    pub allocator: Allocator,
    /// Their components, as indices into the agreed schema, ascending.
    pub components: Vec<u16>,
}

impl RowsHead {
    /// Writes the head.
    pub fn write(w: &mut BitWriter, allocator: Allocator, components: &[u16]) {
        w.put_bool(allocator == Allocator::Peer);
        w.put_golomb(components.len() as u64, 1);
        let mut next = 0;
        for &component in components {
            w.put_golomb(u64::from(component - next), 0);
            next = component + 1;
        }
    }

    /// Reads the head; the allocator is turned to the reader's point of view.
    ///
    /// # Errors
    /// [`WireError`] if a component is not below `schema_len`, or the bits end.
    pub fn read(r: &mut BitReader<'_>, schema_len: usize) -> Result<Self, WireError> {
        let allocator = read_allocator(r)?;
        let count = r.get_bounded(1, MAX_COMPONENTS as u64, "components of a row")? as usize;
        let mut components = Vec::with_capacity(count);
        let mut next = 0u64;
        for _ in 0..count {
            let component = next + r.get_bounded(0, schema_len as u64, "component gap")?;
            if component >= schema_len as u64 {
                return Err(WireError::OutOfBounds {
                    what: "component index",
                    value: component,
                    max: schema_len as u64,
                });
            }
            components.push(component as u16);
            next = component + 1;
        }
        Ok(Self {
            allocator,
            components,
        })
    }
}

fn read_allocator(r: &mut BitReader<'_>) -> Result<Allocator, WireError> {
    // The bit is the sender's view: its peer is us.
    Ok(if r.get_bool()? {
        Allocator::Local
    } else {
        Allocator::Peer
    })
}

/// Head of one record, up to its values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordHead {
    /// The entity's index with the section's allocator.
    pub index: u32,
    /// What the values are coded against.
    pub form: Form,
}

/// Against what a record is coded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Against a version that the receiver acknowledged.
    Delta {
        /// The version this record is.
        version: Version,
        /// The version it is told against; an earlier one.
        baseline: Version,
        /// How many changes after the baseline it is, if values may be predicted from the version
        /// just before the baseline, which the receiver acknowledged too; 0 if not. At most
        /// [`MAX_BASELINES`].
        steps: u32,
        /// Bit `i`: the section's component `i` follows; the others equal the baseline's.
        mask: u64,
        /// What became of the baseline's fence, if it is another one now.
        fence: Option<FenceChange>,
    },
    /// Against nothing.
    Absolute {
        /// Use of the slot.
        generation: u32,
        /// The version this record is.
        version: Version,
        /// The entity's lasting name.
        global: GlobalEntity,
        /// The fence.
        tenure: Tenure,
    },
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::WireId;

    proptest! {
        #[test]
        fn section_heads_survive(components in proptest::collection::btree_set(0u16..200, 0..64)) {
            let components: Vec<u16> = components.into_iter().collect();
            let mut w = BitWriter::new();
            RowsHead::write(&mut w, Allocator::Peer, &components);
            let bytes = w.finish().to_vec();
            prop_assert_eq!(
                RowsHead::read(&mut BitReader::new(&bytes), 200),
                Ok(RowsHead { allocator: Allocator::Local, components: components.clone() })
            );
            if let Some(&last) = components.last() {
                prop_assert!(RowsHead::read(&mut BitReader::new(&bytes), last as usize).is_err());
            }
        }

        #[test]
        fn junk_is_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..300), components in 0usize..=64) {
            let mut r = BitReader::new(&bytes);
            let mut cursor = RecordCursor::new(Tick(1000), components);
            while let Ok(Some(head)) = cursor.read(&mut r, components) {
                prop_assert!(head.index < WireId::MAX_INDEX);
            }
            let _ = RowsHead::read(&mut BitReader::new(&bytes), 10);
        }
    }

    #[test]
    fn versions_are_ordered_over_the_wrap() {
        assert!(Version(2).is_newer_than(Version(u32::MAX)));
        assert_eq!(Version(5).next(Tick(9)), Version(9));
        assert_eq!(Version(9).next(Tick(9)), Version(10));
        assert_eq!(Version(u32::MAX).next(Tick(u32::MAX)), Version(0));
    }
}
