//! The last versions of one slot's row.

use seamless_wire::{
    Tick,
    record::{MAX_BASELINES, Version},
};

use super::row::{Row, RowRef};
use crate::prefetch::{prefetch, prefetch_at};

/// A row with its number.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stored {
    pub(crate) version: Version,
    pub(crate) row: Row,
}

/// At most [`MAX_BASELINES`] + 1 versions, ascending; the newest is never evicted. The version
/// number goes on when the slot gets another entity.
///
/// A circle whose places are written over, so that a steady state allocates nothing. It grows to
/// what it is asked to keep.
#[derive(Debug, Default)]
pub(crate) struct Ring {
    places: Vec<Stored>,
    /// Where the oldest lies, and how many there are.
    first: u8,
    len: u8,
    last: Version,
    /// The newest version that was forgotten, once one was. What comes late and is older must not
    /// take its place: senders count on which version lies before another.
    forgotten: Option<Version>,
    /// Bytes of memory that the places have.
    bytes: usize,
}

impl Ring {
    pub(crate) const CAPACITY: usize = MAX_BASELINES as usize + 1;

    /// Bytes that a row takes at least.
    const EACH: usize = size_of::<Stored>();

    /// Bytes that a row takes if there is no place for it yet.
    #[inline]
    pub(crate) fn cost_of(row: RowRef<'_>) -> usize {
        Self::EACH + row.heap_bytes()
    }

    #[inline]
    fn place(&self, at: usize) -> usize {
        let place = self.first as usize + at;
        if place < self.places.len() {
            place
        } else {
            place - self.places.len()
        }
    }

    #[inline]
    fn at(&self, at: usize) -> Option<&Stored> {
        (at < self.len as usize).then(|| &self.places[self.place(at)])
    }

    #[inline]
    pub(crate) fn newest(&self) -> Option<&Stored> {
        self.at((self.len as usize).wrapping_sub(1))
    }

    /// Where a version stands if there was one in each tick since, from the oldest: versions are ticks.
    #[inline]
    fn likely_position(&self, version: Version) -> Option<usize> {
        let age = self.last.0.wrapping_sub(version.0) as usize;
        (self.len as usize).checked_sub(1)?.checked_sub(age)
    }

    /// Where a version stands, from the oldest. One look, mostly; otherwise one at each newer one:
    /// baselines are young.
    #[inline]
    fn position(&self, version: Version) -> Option<usize> {
        let is_at = |at: &usize| self.places[self.place(*at)].version == version;
        let likely = self.likely_position(version).filter(is_at);
        likely.or_else(|| (0..self.len as usize).rev().find(is_at))
    }

    /// It is soon looked into.
    #[inline]
    pub(crate) fn prefetch(&self) {
        prefetch(&self.places);
    }

    /// A version, and what is told against it, is soon looked for, and the one before it.
    #[inline]
    pub(crate) fn prefetch_version(&self, version: Version) {
        let last = self.len as usize;
        let at = self.likely_position(version);
        // What does not change in every tick is told against the version before.
        let at = at.unwrap_or_else(|| last.wrapping_sub(2));
        for at in [at, at.wrapping_sub(1)] {
            if at < last {
                prefetch_at(&self.places, self.place(at) as u32);
            }
        }
    }

    /// Its newest version is soon looked at, and the next one stored.
    #[inline]
    pub(crate) fn prefetch_next(&self) {
        self.prefetch_newest();
        let len = self.len as usize;
        let next = if len < self.places.len() { len } else { 0 };
        prefetch_at(&self.places, self.place(next) as u32);
    }

    /// Its newest version is soon looked at.
    #[inline]
    pub(crate) fn prefetch_newest(&self) {
        if let Some(newest) = self.newest() {
            prefetch(std::slice::from_ref(newest));
        }
    }

    /// The version with this number, if it is still here.
    pub(crate) fn get(&self, version: Version) -> Option<&Stored> {
        self.at(self.position(version)?)
    }

    /// The version with this number, the one just before it, and how many came after it.
    #[inline]
    pub(crate) fn get_with_past(
        &self,
        version: Version,
    ) -> Option<(&Stored, Option<&Stored>, u32)> {
        let at = self.position(version)?;
        let before = self.at(at.wrapping_sub(1));
        let later = self.len as usize - 1 - at;
        Some((self.at(at)?, before, later as u32))
    }

    /// Appends the next version, unless it equals the newest. Whether it is the only one then;
    /// `None` if nothing was appended.
    #[inline]
    pub(crate) fn push(&mut self, row: RowRef<'_>, tick: Tick, keep: usize) -> Option<bool> {
        let newest = self.newest();
        if newest.is_some_and(|newest| row == newest.row) {
            return None;
        }
        let first = newest.is_none();
        self.push_next(row, tick, keep);
        Some(first)
    }

    /// Appends the next version, which came to be in `tick`. At most `keep` of them are kept.
    #[inline]
    pub(crate) fn push_next(&mut self, row: RowRef<'_>, tick: Tick, keep: usize) {
        self.last = self.last.next(tick);
        while self.len as usize >= keep.clamp(1, Self::CAPACITY) {
            self.drop_oldest();
        }
        let version = self.last;
        self.append(version, row);
    }

    /// Puts a row in the place after the newest.
    #[inline]
    fn append(&mut self, version: Version, row: RowRef<'_>) {
        if self.len as usize == self.places.len() {
            self.grow();
        }
        let place = self.place(self.len as usize);
        self.len += 1;
        let place = &mut self.places[place];
        place.version = version;
        let before = place.row.heap_bytes();
        place.row.copy_from(row);
        self.bytes = self.bytes + place.row.heap_bytes() - before;
    }

    fn grow(&mut self) {
        self.places.rotate_left(self.first as usize);
        self.first = 0;
        // The first only one, and no room beyond: what rests has no more.
        let len = self.places.len();
        let more = (len * 2).clamp(1, Self::CAPACITY);
        self.places.reserve_exact(more - len);
        self.places.resize_with(more, Stored::default);
        self.bytes += (more - len) * Self::EACH;
    }

    /// Gives back the memory of places without a row.
    pub(crate) fn shrink(&mut self) {
        self.places.rotate_left(self.first as usize);
        self.first = 0;
        self.places.truncate(self.len as usize);
        self.places.shrink_to_fit();
        let heap = self.places.iter().map(|place| place.row.heap_bytes());
        self.bytes = heap.sum::<usize>() + self.places.len() * Self::EACH;
    }

    fn drop_oldest(&mut self) {
        self.forgotten = Some(self.places[self.first as usize].version);
        self.first = self.place(1) as u8;
        self.len -= 1;
    }

    /// Keeps a received version. False if it is older than what was forgotten: then it must not be
    /// acknowledged. True also if it is here already.
    pub(crate) fn keep(&mut self, version: Version, row: RowRef<'_>) -> bool {
        if let Some(forgotten) = self.forgotten
            && !version.is_newer_than(forgotten)
        {
            return false;
        }
        let mut at = self.len as usize;
        while let Some(before) = at.checked_sub(1).and_then(|before| self.at(before)) {
            if version.is_newer_than(before.version) {
                break;
            }
            if version == before.version {
                return true;
            }
            at -= 1;
        }
        if self.len as usize == Self::CAPACITY {
            if at == 0 {
                return false;
            }
            self.drop_oldest();
            at -= 1;
        }
        if at == self.len as usize {
            self.last = version;
        }
        self.append(version, row);
        for later in (at + 1..self.len as usize).rev() {
            let (one, other) = (self.place(later - 1), self.place(later));
            self.places.swap(one, other);
        }
        true
    }

    /// Forgets one version, as if it had never been kept.
    pub(crate) fn forget(&mut self, version: Version) {
        let Some(at) = self.position(version) else {
            return;
        };
        for later in at + 1..self.len as usize {
            let (one, other) = (self.place(later - 1), self.place(later));
            self.places.swap(one, other);
        }
        self.len -= 1;
    }

    /// Forgets what is older than the version before `version`: the sender has moved on, and
    /// predicts from those two.
    pub(crate) fn forget_before(&mut self, version: Version) {
        while self
            .at(1)
            .is_some_and(|second| version.is_newer_than(second.version))
        {
            self.drop_oldest();
        }
    }

    /// Forgets all rows, keeps the number.
    pub(crate) fn clear(&mut self) {
        self.places = Vec::new();
        self.first = 0;
        self.len = 0;
        self.forgotten = None;
        self.bytes = 0;
    }

    /// Bytes of memory that it takes for its rows, those that it has room for counted in.
    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// The newest number that was given or received.
    pub(crate) const fn last(&self) -> Version {
        self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn versions(ring: &Ring) -> Vec<u32> {
        (0..ring.len as usize)
            .map(|at| ring.at(at).expect("there").version.0)
            .collect()
    }

    #[test]
    fn the_newest_is_never_evicted_and_old_ones_are() {
        let mut ring = Ring::default();
        for tick in 1..=100 {
            ring.push_next(Row::default().view(), Tick(tick), Ring::CAPACITY);
        }
        assert_eq!(versions(&ring), (68..=100).collect::<Vec<_>>());
        ring.push_next(Row::default().view(), Tick(101), 0);
        assert_eq!(versions(&ring), [101]);
        ring.push_next(Row::default().view(), Tick(200), 3);
        let (stored, before, later) = ring.get_with_past(Version(200)).expect("kept");
        assert_eq!(stored.version, Version(200));
        assert_eq!(before.map(|before| before.version), Some(Version(101)));
        assert_eq!(later, 0);
    }

    #[test]
    fn a_version_is_later_than_the_one_before_also_in_the_same_tick() {
        let mut ring = Ring::default();
        for tick in [5, 5, 3, 9] {
            ring.push_next(Row::default().view(), Tick(tick), 9);
        }
        assert_eq!(versions(&ring), [5, 6, 7, 9]);
    }

    #[test]
    fn received_versions_may_come_in_any_order() {
        let mut ring = Ring::default();
        for version in [5, 3, 9, 4, 9] {
            ring.keep(Version(version), Row::default().view());
        }
        assert_eq!(versions(&ring), [3, 4, 5, 9]);
        ring.forget_before(Version(9));
        assert_eq!(versions(&ring), [5, 9], "the one before stays");
        for version in 10..60 {
            ring.keep(Version(version), Row::default().view());
        }
        assert_eq!(ring.len as usize, Ring::CAPACITY);
        assert!(
            !ring.keep(Version(8), Row::default().view()),
            "older than the forgotten"
        );
        assert!(
            ring.keep(Version(59), Row::default().view()),
            "here already"
        );
        assert_eq!(ring.last(), Version(59));
    }

    #[test]
    fn one_version_can_be_forgotten_and_kept_anew() {
        let mut ring = Ring::default();
        for version in 1..60 {
            ring.keep(Version(version), Row::default().view());
        }
        ring.forget(Version(40));
        assert_eq!(ring.len as usize, Ring::CAPACITY - 1);
        assert!(ring.get(Version(40)).is_none());
        assert!(ring.keep(Version(40), Row::default().view()));
        assert_eq!(versions(&ring), (27..60).collect::<Vec<_>>());
        ring.forget(Version(59));
        assert_eq!(versions(&ring), (27..59).collect::<Vec<_>>());
    }

    #[test]
    fn the_number_goes_on_when_the_slot_is_reused() {
        let mut ring = Ring::default();
        ring.push_next(Row::default().view(), Tick(8), 9);
        ring.clear();
        ring.push_next(Row::default().view(), Tick(8), 9);
        assert_eq!(ring.newest().expect("kept").version, Version(9));
    }
}
