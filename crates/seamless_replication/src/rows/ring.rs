//! The last versions of one slot's row.

use std::collections::VecDeque;

use seamless_wire::record::{MAX_BASELINE_AGE, Version};

use super::row::Row;

/// A row with its number.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stored {
    pub(crate) version: Version,
    pub(crate) row: Row,
}

/// At most [`MAX_BASELINE_AGE`] + 1 versions, ascending; the newest is never evicted. The version number
/// goes on when the slot gets another entity.
#[derive(Debug, Default)]
pub(crate) struct Ring {
    versions: VecDeque<Stored>,
    last: Version,
    /// Evicted rows, for their memory.
    spare: Option<Row>,
    /// Bytes of all values.
    bytes: usize,
}

impl Ring {
    const CAPACITY: usize = MAX_BASELINE_AGE as usize + 1;

    pub(crate) fn newest(&self) -> Option<&Stored> {
        self.versions.back()
    }

    /// The version with this number, if it is still here.
    pub(crate) fn get(&self, version: Version) -> Option<&Stored> {
        // Own versions are consecutive, so this is a subtraction; a receiver's have gaps.
        let newest = self.versions.back()?;
        let age = newest.version.age_since(version) as usize;
        let guess = self
            .versions
            .len()
            .checked_sub(age + 1)
            .and_then(|at| self.versions.get(at));
        match guess {
            Some(stored) if stored.version == version => Some(stored),
            _ => self
                .versions
                .iter()
                .rev()
                .find(|stored| stored.version == version),
        }
    }

    /// Appends the next version.
    pub(crate) fn push_next(&mut self, row: &Row) {
        self.last = self.last.next();
        let version = self.last;
        self.store(version, row);
    }

    /// Keeps a received version. Returns false if it is here already or older than all that can
    /// be named.
    pub(crate) fn keep(&mut self, version: Version, row: Row) -> bool {
        match self.versions.back() {
            Some(newest) if !version.is_newer_than(newest.version) => {
                if newest.version.age_since(version) > MAX_BASELINE_AGE
                    || self.versions.iter().any(|stored| stored.version == version)
                {
                    return false;
                }
                let at = self
                    .versions
                    .iter()
                    .position(|stored| stored.version.is_newer_than(version))
                    .unwrap_or(self.versions.len());
                self.bytes += row.byte_len();
                self.versions.insert(at, Stored { version, row });
            }
            _ => {
                self.last = version;
                self.bytes += row.byte_len();
                self.versions.push_back(Stored { version, row });
            }
        }
        self.trim();
        true
    }

    fn store(&mut self, version: Version, row: &Row) {
        let mut copy = self.spare.take().unwrap_or_default();
        copy.copy_from(row);
        self.bytes += row.byte_len();
        self.versions.push_back(Stored { version, row: copy });
        self.trim();
    }

    fn trim(&mut self) {
        let newest = self.last;
        while self.versions.front().is_some_and(|oldest| {
            self.versions.len() > Self::CAPACITY
                || newest.age_since(oldest.version) > MAX_BASELINE_AGE
        }) {
            if let Some(stored) = self.versions.pop_front() {
                self.bytes -= stored.row.byte_len();
                self.spare = Some(stored.row);
            }
        }
    }

    /// Forgets versions before `version`: the sender has moved on.
    pub(crate) fn forget_before(&mut self, version: Version) {
        while self
            .versions
            .front()
            .is_some_and(|oldest| version.is_newer_than(oldest.version))
        {
            if let Some(stored) = self.versions.pop_front() {
                self.bytes -= stored.row.byte_len();
            }
        }
    }

    /// Forgets all rows, keeps the number.
    pub(crate) fn clear(&mut self) {
        self.versions.clear();
        self.bytes = 0;
    }

    /// Bytes of all values that are kept.
    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// The newest number that was given or received.
    pub(crate) fn last(&self) -> Version {
        self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_is_never_evicted_and_old_ones_are() {
        let mut ring = Ring::default();
        for _ in 0..100 {
            ring.push_next(&Row::default());
        }
        let newest = ring.newest().expect("kept").version;
        assert_eq!(newest, Version(100));
        assert_eq!(ring.versions.len(), 33);
        assert!(ring.get(Version(68)).is_some());
        assert!(ring.get(Version(67)).is_none());
    }

    #[test]
    fn received_versions_may_come_in_any_order() {
        let mut ring = Ring::default();
        for version in [5, 3, 9, 4, 9] {
            ring.keep(Version(version), Row::default());
        }
        assert_eq!(ring.versions.len(), 4);
        for version in [3, 4, 5, 9] {
            assert!(ring.get(Version(version)).is_some());
        }
        assert!(!ring.keep(Version(u32::MAX - 40), Row::default()));
        ring.forget_before(Version(5));
        assert_eq!(ring.versions.len(), 2);
    }

    #[test]
    fn the_number_goes_on_when_the_slot_is_reused() {
        let mut ring = Ring::default();
        ring.push_next(&Row::default());
        ring.clear();
        ring.push_next(&Row::default());
        assert_eq!(ring.newest().expect("kept").version, Version(2));
    }
}
