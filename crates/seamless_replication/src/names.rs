//! Where names of entities come from.

use std::{collections::VecDeque, hash::BuildHasher, sync::LazyLock};

use bevy::platform::hash::RandomState;
use seamless_wire::GlobalEntity;

/// How many names a server lends to a client at a time.
pub(crate) const LENT: u32 = 256;

/// For tables of what has names. Peers choose names: another hash in each process, so that none can choose
/// those that fall into one place.
#[derive(Clone, Copy, Default)]
pub(crate) struct NameHasher;

static SEED: LazyLock<RandomState> = LazyLock::new(RandomState::default);

impl BuildHasher for NameHasher {
    type Hasher = <RandomState as BuildHasher>::Hasher;

    #[inline]
    fn build_hasher(&self) -> Self::Hasher {
        SEED.build_hasher()
    }
}

/// As [`NameHasher`] does.
#[inline]
pub(crate) fn hash_of(name: GlobalEntity) -> u64 {
    NameHasher.hash_one(name)
}

/// Mints [`GlobalEntity`] names.
///
/// A server counts up in a block of its own: given by the directory in a mesh, else chosen at
/// random. A client takes from ranges that its server lent to it and asks for more in time.
#[derive(Debug, Default)]
pub struct Names {
    /// The first of each, and how many.
    ranges: VecDeque<(u64, u64)>,
    /// Whether it counts in a block of its own.
    own: bool,
}

impl Names {
    /// Mints in this block from its beginning. `None` if the block is reserved or out of range.
    #[must_use]
    pub fn in_block(block: u32) -> Option<Self> {
        let first = GlobalEntity::new(block, 1)?;
        // All counters of the block but the last: clients who ask again and again for names that they
        // do not need are at it for weeks.
        Some(Self {
            ranges: VecDeque::from([(first.to_bits(), (1 << GlobalEntity::COUNTER_BITS) - 2)]),
            own: true,
        })
    }

    /// Adds a lent range; it ends below the last number there is. Reserved names in it are passed
    /// over.
    pub fn add(&mut self, first: GlobalEntity, count: u32) {
        let first = first.to_bits();
        let ahead = u64::MAX - first;
        self.ranges.push_back((first, u64::from(count).min(ahead)));
    }

    /// The block that they count in, if that is one of their own.
    pub(crate) fn block(&self) -> Option<u32> {
        let &(first, _) = self.ranges.front().filter(|_| self.own)?;
        Some(GlobalEntity::from_bits(first)?.block())
    }

    /// Whether they count in a block of their own, as those of servers and nodes do. A client's are
    /// lent.
    pub(crate) const fn is_own(&self) -> bool {
        self.own
    }

    /// Names that are left.
    #[must_use]
    pub fn left(&self) -> u64 {
        self.ranges.iter().map(|(_, count)| count).sum()
    }

    /// The next name. `None` until more are lent.
    pub fn mint(&mut self) -> Option<GlobalEntity> {
        loop {
            let (next, count) = self.ranges.front_mut()?;
            if *count == 0 {
                self.ranges.pop_front();
                continue;
            }
            let bits = *next;
            // Ranges end below the last number.
            *next = next.saturating_add(1);
            *count -= 1;
            if let Some(name) = GlobalEntity::from_bits(bits) {
                return Some(name);
            }
        }
    }

    /// The name that is minted next.
    pub(crate) fn peek(&self) -> Option<GlobalEntity> {
        let legal = |&(next, count): &(u64, u64)| {
            // Of two neighbours at most one is reserved.
            let mut candidates = (next..=next.saturating_add(1)).take(count.min(2) as usize);
            candidates.find_map(GlobalEntity::from_bits)
        };
        self.ranges.iter().find_map(legal)
    }

    /// Somebody has this name already: it and those before it in its range are not minted.
    pub(crate) fn pass(&mut self, name: GlobalEntity) {
        self.skip_below(name.to_bits().saturating_add(1));
    }

    /// Names before this one in its range were given: minting goes on here.
    pub(crate) fn begin_at(&mut self, name: GlobalEntity) {
        self.skip_below(name.to_bits());
    }

    fn skip_below(&mut self, bits: u64) {
        for (next, count) in &mut self.ranges {
            if let Some(ahead) = bits.checked_sub(*next)
                && ahead <= *count
            {
                *next = bits;
                *count -= ahead;
            }
        }
    }

    /// Whether a name is still to be minted here: nobody can have been lent it.
    pub(crate) fn holds(&self, name: GlobalEntity) -> bool {
        self.ranges.iter().any(|&(next, count)| {
            name.to_bits()
                .checked_sub(next)
                .is_some_and(|ahead| ahead < count)
        })
    }

    /// Takes `count` names at once, to lend them on.
    pub fn lend(&mut self, count: u32) -> Option<(GlobalEntity, u32)> {
        let lent = u64::from(count);
        let (next, left) = self.ranges.iter_mut().find(|(_, left)| *left > lent)?;
        if GlobalEntity::from_bits(*next).is_none() {
            // Reserved; the next one is not.
            *next = next.saturating_add(1);
            *left -= 1;
        }
        let first = GlobalEntity::from_bits(*next)?;
        *next = next.saturating_add(lent);
        *left -= lent;
        Some((first, count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lent_range_is_not_minted_again() {
        let mut server = Names::in_block(9).expect("legal");
        let own = server.mint().expect("fresh");
        let (first, count) = server.lend(3).expect("fresh");
        let mut client = Names::default();
        assert_eq!(client.mint(), None);
        client.add(first, count);
        let lent: Vec<_> = std::iter::from_fn(|| client.mint()).collect();
        assert_eq!(lent.len(), 3);
        let next = server.mint().expect("fresh");
        assert!(!lent.contains(&own) && !lent.contains(&next) && own != next);
    }

    #[test]
    fn all_names_of_a_block_can_be_lent() {
        let mut server = Names::in_block(9).expect("legal");
        let all = server.left();
        assert!(all > 1 << 39);
        // Past a name that nobody may have.
        server.begin_at(GlobalEntity::new(9, (1 << 32) - 3).expect("legal"));
        let lent: Vec<_> = (0..4).filter_map(|_| server.lend(2)).collect();
        let firsts: Vec<_> = lent.iter().map(|(first, _)| first.counter()).collect();
        let round = 1 << 32;
        assert_eq!(firsts, [round - 3, round - 1, round + 1, round + 3]);
        let mut client = Names::default();
        lent.iter()
            .for_each(|&(first, count)| client.add(first, count));
        assert_eq!(std::iter::from_fn(|| client.mint()).count(), 7);
        server.begin_at(GlobalEntity::new(9, (1 << 40) - 9).expect("legal"));
        while server.lend(2).is_some() {}
        assert!(server.left() <= 2, "{}", server.left());
    }

    #[test]
    fn names_that_somebody_has_are_not_minted() {
        let at = |counter| GlobalEntity::new(9, counter).expect("legal");
        let mut names = Names::in_block(9).expect("legal");
        assert_eq!(names.peek(), Some(at(1)));
        names.pass(at(7));
        names.pass(at(3));
        names.pass(GlobalEntity::new(10, 5).expect("legal"));
        assert_eq!((names.peek(), names.mint()), (Some(at(8)), Some(at(8))));
        names.begin_at(at(20));
        assert_eq!(names.mint(), Some(at(20)));
        names.begin_at(at(20));
        assert_eq!(names.mint(), Some(at(21)));
    }

    #[test]
    fn a_range_at_the_end_of_all_numbers_ends_there() {
        let at = |bits| GlobalEntity::from_bits(bits).expect("legal");
        for (first, left) in [(u64::MAX, 0), (u64::MAX - 1, 1), (u64::MAX - 9, 9)] {
            let mut names = Names::default();
            names.add(at(first), u32::MAX);
            assert_eq!(names.left(), left);
            let minted: Vec<_> = std::iter::from_fn(|| names.mint()).collect();
            let want: Vec<_> = (first..first + left).map(at).collect();
            assert_eq!(minted, want);
        }
    }
}
