//! Entities that leave.

use super::read_allocator;
use crate::{
    BitReader, BitWriter, WireError,
    ids::{Allocator, WireId},
};

/// Why an entity leaves a receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LeaveReason {
    /// It is gone from the world.
    Despawned,
    /// The receiver does not see it any more.
    OutOfSight,
    /// Another server hosts it now: keep it until that one speaks, or for a while.
    Moved,
}

/// One entity that leaves the receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leave {
    /// Its short name, seen from whoever holds this value.
    pub id: WireId,
    /// Why.
    pub reason: LeaveReason,
}

impl Leave {
    /// Most leaves in one section; the reader's bound.
    pub const MAX: usize = 1024;

    /// Writes one leave of a section's list.
    pub fn write(&self, w: &mut BitWriter) {
        w.put_bool(true);
        w.put_bool(self.id.allocator == Allocator::Peer);
        w.put_golomb(u64::from(self.id.index), 6);
        w.put_golomb(u64::from(self.id.generation), 0);
        w.put(
            match self.reason {
                LeaveReason::Despawned => 0,
                LeaveReason::OutOfSight => 1,
                LeaveReason::Moved => 2,
            },
            2,
        );
    }

    /// How many bits [`write`](Self::write) takes.
    #[must_use]
    pub const fn bits(&self) -> usize {
        const fn golomb(value: u64, order: u32) -> usize {
            let width = ((value >> order) + 1).ilog2();
            (2 * width + 1 + order) as usize
        }
        let Self { id, .. } = self;
        1 + 1 + golomb(id.index as u64, 6) + golomb(id.generation as u64, 0) + 2
    }

    /// Ends the section's list.
    pub fn write_end(w: &mut BitWriter) {
        w.put_bool(false);
    }

    /// Reads a section's list.
    ///
    /// # Errors
    /// [`WireError`] for lists that [`write`](Self::write) cannot have made.
    pub fn read_all(r: &mut BitReader<'_>) -> Result<Vec<Self>, WireError> {
        let mut leaves = Vec::new();
        while r.get_bool()? {
            if leaves.len() == Self::MAX {
                let max = Self::MAX as u64;
                return Err(WireError::OutOfBounds {
                    what: "leaves",
                    value: max + 1,
                    max,
                });
            }
            let allocator = read_allocator(r)?;
            let max = u64::from(WireId::MAX_INDEX) - 1;
            let index = r.get_bounded(6, max, "entity index")? as u32;
            let generation = r.get_bounded(0, u32::MAX.into(), "generation")? as u32;
            let reason = match r.get(2)? {
                0 => LeaveReason::Despawned,
                1 => LeaveReason::OutOfSight,
                2 => LeaveReason::Moved,
                value => {
                    return Err(WireError::Invalid {
                        what: "reason to leave",
                        value,
                    });
                }
            };
            leaves.push(Self {
                id: WireId {
                    allocator,
                    index,
                    generation,
                },
                reason,
            });
        }
        Ok(leaves)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn leaves_survive(list in proptest::collection::vec((any::<bool>(), 0..WireId::MAX_INDEX, any::<u32>(), 0..3), 0..30)) {
            let leaves: Vec<Leave> = list.into_iter().map(|(peer, index, generation, reason)| Leave {
                id: WireId { allocator: if peer { Allocator::Peer } else { Allocator::Local }, index, generation },
                reason: [LeaveReason::Despawned, LeaveReason::OutOfSight, LeaveReason::Moved][reason as usize],
            }).collect();
            let mut w = BitWriter::new();
            for leave in &leaves {
                let before = w.bit_len();
                leave.write(&mut w);
                prop_assert_eq!(w.bit_len() - before, leave.bits());
            }
            Leave::write_end(&mut w);
            let bytes = w.finish().to_vec();
            let mut read = Leave::read_all(&mut BitReader::new(&bytes)).unwrap();
            for leave in &mut read {
                leave.id.allocator = leave.id.allocator.flipped();
            }
            prop_assert_eq!(read, leaves);
        }

        #[test]
        fn junk_is_an_error_and_never_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(leaves) = Leave::read_all(&mut BitReader::new(&bytes)) {
                prop_assert!(leaves.len() <= Leave::MAX);
            }
        }
    }
}
