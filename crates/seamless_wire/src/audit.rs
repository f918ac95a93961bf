//! What the peer should have: short names with hashes of the rows it acknowledged.
//!
//! A sender that has room left names entities that are settled for the peer, a few at a time, all
//! of them in turn. The peer compares with what it kept. Nothing in here must arrive: what is lost
//! comes again with the next round.

use crate::{BitReader, BitWriter, Tenure, WireError, WireId, codec, record::Version, tick::Tick};

/// Most entities in one section.
pub const MAX_AUDITED: usize = 256;

/// Bits that one entity takes in a section at most.
pub const AUDIT_BITS: usize = 43 + 57 + 16;

/// One entity that the receiver should have as it is named here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Audited {
    /// Its index, as the sender numbers it.
    pub index: u32,
    /// The version that the receiver acknowledged.
    pub version: Version,
    /// [`RowHash`] of that version.
    pub hash: u16,
}

/// Writes a section's body: entities in ascending order of their index, as of `tick`. At most
/// [`MAX_AUDITED`].
pub fn write_section(w: &mut BitWriter, tick: Tick, entities: &[Audited]) {
    debug_assert!(entities.len() <= MAX_AUDITED, "{} entities", entities.len());
    w.put_golomb(entities.len() as u64, 4);
    let mut next = 0;
    let mut order = 6;
    let mut last = Version(tick.0);
    for entity in entities {
        w.put_golomb(u64::from(entity.index - next), order);
        w.put_signed_golomb(i64::from(last.0.wrapping_sub(entity.version.0) as i32), 0);
        w.put(entity.hash.into(), 16);
        next = entity.index + 1;
        order = 0;
        last = entity.version;
    }
}

/// Reads a section's body.
///
/// # Errors
/// [`WireError`] for bodies that [`write_section`] cannot have made.
pub fn read_section(r: &mut BitReader<'_>, tick: Tick) -> Result<Vec<Audited>, WireError> {
    let count = r.get_bounded(4, MAX_AUDITED as u64, "entities in an audit")? as usize;
    let mut entities = Vec::with_capacity(count);
    let mut next = 0u64;
    let mut order = 6;
    let mut last = Version(tick.0);
    for _ in 0..count {
        let max = u64::from(WireId::MAX_INDEX) - 1;
        let index = next + r.get_bounded(order, max, "entity index")?;
        if index > max {
            return Err(WireError::OutOfBounds {
                what: "entity index",
                value: index,
                max,
            });
        }
        let lag = r.get_signed_golomb(0)?;
        let lag = i32::try_from(lag).map_err(|_| WireError::Invalid {
            what: "age of a version",
            value: lag.unsigned_abs(),
        })?;
        let version = Version(last.0.wrapping_sub(lag as u32));
        entities.push(Audited {
            index: index as u32,
            version,
            hash: r.get(16)? as u16,
        });
        next = index + 1;
        order = 0;
        last = version;
    }
    Ok(entities)
}

/// The hash of a row in an audit: FNV-1a of 32 bits, folded to 16. One row in 65,536 that is wrong
/// has the hash of the right one.
#[derive(Debug, Clone, Copy)]
pub struct RowHash(u32);

impl Default for RowHash {
    fn default() -> Self {
        Self(0x811c_9dc5)
    }
}

impl RowHash {
    fn bytes(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = (self.0 ^ u32::from(byte)).wrapping_mul(0x0100_0193);
        }
    }

    /// Takes in a component of the row, by its index in the schema; ascending.
    pub fn component(&mut self, index: u16, value: &[u8]) {
        self.bytes(&index.to_le_bytes());
        self.bytes(&(value.len() as u32).to_le_bytes());
        self.bytes(value);
    }

    /// Takes in the fence, after the components. The empty one leaves no trace.
    pub fn tenure(&mut self, tenure: &Tenure) {
        if *tenure == Tenure::default() {
            return;
        }
        // It always encodes: numbers and flags.
        if let Ok(bytes) = codec::to_vec(tenure) {
            self.bytes(&bytes);
        }
    }

    /// The hash of all that was taken in.
    #[must_use]
    pub const fn finish(self) -> u16 {
        (self.0 >> 16) as u16 ^ self.0 as u16
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_section_survives(tick in any::<u32>(), list in proptest::collection::btree_map(0..WireId::MAX_INDEX, (any::<u32>(), any::<u16>()), 0..MAX_AUDITED)) {
            let entities: Vec<Audited> = list.into_iter().map(|(index, (version, hash))| Audited {
                index, version: Version(version), hash,
            }).collect();
            let mut w = BitWriter::new();
            write_section(&mut w, Tick(tick), &entities);
            prop_assert!(w.bit_len() <= 17 + entities.len() * AUDIT_BITS);
            let bytes = w.finish().to_vec();
            let mut r = BitReader::new(&bytes);
            prop_assert_eq!(read_section(&mut r, Tick(tick)), Ok(entities));
            prop_assert_eq!(r.expect_end(), Ok(()));
        }

        #[test]
        fn junk_is_an_error_and_never_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            if let Ok(entities) = read_section(&mut BitReader::new(&bytes), Tick(7)) {
                prop_assert!(entities.len() <= MAX_AUDITED);
                prop_assert!(entities.is_sorted_by(|a, b| a.index < b.index));
            }
        }
    }

    #[test]
    fn where_a_value_ends_counts() {
        let hash = |values: &[(u16, &[u8])]| {
            let mut hash = RowHash::default();
            values
                .iter()
                .for_each(|(index, value)| hash.component(*index, value));
            hash.finish()
        };
        assert_ne!(
            hash(&[(0, &[1, 2]), (1, &[3])]),
            hash(&[(0, &[1]), (1, &[2, 3])])
        );
        assert_ne!(hash(&[(0, &[1])]), hash(&[(1, &[1])]));
    }
}
