//! Slots with something to tell.

use fixedbitset::{Block, FixedBitSet};

/// A set of slots, of which it is mostly known that it is empty.
#[derive(Default)]
pub(super) struct Dirty {
    slots: FixedBitSet,
    /// Not set: there are none.
    may_be_any: bool,
}

impl Dirty {
    pub(super) fn grow(&mut self, slots: usize) {
        self.slots.grow(slots);
    }

    #[inline]
    pub(super) fn insert(&mut self, slot: usize) {
        self.may_be_any = true;
        self.slots.insert(slot);
    }

    #[inline]
    pub(super) fn remove(&mut self, slot: usize) {
        self.slots.set(slot, false);
    }

    pub(super) fn contains(&self, slot: usize) -> bool {
        self.may_be_any && self.slots.contains(slot)
    }

    pub(super) fn add_all(&mut self, slots: &FixedBitSet) {
        self.may_be_any = true;
        self.slots.union_with(slots);
    }

    /// Takes out what is in both of these. A step for each word, up to the last of the shorter one.
    pub(super) fn remove_common(&mut self, one: &[Block], other: &[Block]) {
        let words = one.iter().zip(other);
        for (dirty, (one, other)) in self.slots.as_mut_slice().iter_mut().zip(words) {
            *dirty &= !(one & other);
        }
    }

    /// Whether it was found out that there are none.
    pub(super) const fn is_known_empty(&self) -> bool {
        !self.may_be_any
    }

    /// How many there are. A step for each word, if there may be any.
    pub(super) fn count(&self) -> usize {
        match self.may_be_any {
            true => self.slots.count_ones(..),
            false => 0,
        }
    }

    /// A bit for each slot.
    pub(super) fn words(&self) -> &[Block] {
        self.slots.as_slice()
    }

    /// The first word from this one on in which there are any. To look at all of them and find
    /// nothing is done once, and not again before something is put in.
    #[inline]
    pub(super) fn next_word(&mut self, from: usize) -> Option<usize> {
        if !self.may_be_any {
            return None;
        }
        let found = first_not_clear(&self.slots.as_slice()[from..]).map(|skipped| from + skipped);
        self.may_be_any = from > 0 || found.is_some();
        found
    }
}

/// The first word in which a bit is set. Eight at once, because mostly there is none.
#[inline]
fn first_not_clear(words: &[Block]) -> Option<usize> {
    let (eights, _) = words.as_chunks::<8>();
    let is_clear = |eight: &&[Block; 8]| eight.iter().fold(0, |all, word| all | word) == 0;
    let clear = eights.iter().take_while(is_clear).count() * 8;
    let at = words[clear..].iter().position(|word| *word != 0)?;
    Some(clear + at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(dirty: &mut Dirty) -> Vec<usize> {
        let (mut found, mut next) = (vec![], 0);
        while let Some(at) = dirty.next_word(next) {
            let bits = Block::BITS as usize;
            found.extend((at * bits..(at + 1) * bits).filter(|slot| dirty.slots.contains(*slot)));
            next = at + 1;
        }
        found
    }

    #[test]
    fn what_is_put_in_is_found_also_after_a_look_at_nothing() {
        let mut dirty = Dirty::default();
        dirty.grow(2000);
        assert_eq!((all(&mut dirty), dirty.count()), (vec![], 0));
        for round in 0..3 {
            dirty.insert(3 + round);
            dirty.insert(1999);
            assert_eq!(all(&mut dirty), [3 + round, 1999]);
            assert_eq!(dirty.count(), 2);
            dirty.remove(1999);
            assert_eq!(all(&mut dirty), [3 + round]);
            dirty.remove(3 + round);
            assert_eq!((all(&mut dirty), dirty.count()), (vec![], 0));
        }
        let mut some = FixedBitSet::with_capacity(2000);
        some.insert_range(70..73);
        dirty.add_all(&some);
        dirty.remove_common(some.as_slice(), &[0, 1 << 7, 1 << 7]);
        let left: Vec<usize> = (70..73).filter(|slot| *slot != 64 + 7).collect();
        assert_eq!(all(&mut dirty), left);
    }
}
