//! What a row is told against: two earlier versions, value beside value.

use std::ops::Range;

use seamless_wire::delta::Baseline;

use super::{
    row::{Row, Values},
    sets::{ComponentSets, SetId},
};

/// Two earlier versions of a row, to be looked at position by position of a set.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Past<'a> {
    set: SetId,
    base: Option<&'a Row>,
    /// The version before that, and how many steps the new one is ahead of the baseline.
    before: Option<(&'a Row, u32)>,
    alike: Option<Alike<'a>>,
}

/// Values of two versions that are of the same set and lie at the same places, as they mostly do.
#[derive(Clone, Copy, Debug)]
struct Alike<'a> {
    base: Values<'a>,
    /// Nothing if there are no steps.
    before: &'a [u8],
    steps: u32,
}

impl<'a> Alike<'a> {
    /// Where a value lies, and its baseline.
    #[inline(always)]
    fn at(&self, position: usize) -> (Range<usize>, Baseline<'a>) {
        let range = self.base.range(position);
        let before = match self.steps {
            0 => None,
            steps => Some((&self.before[range.clone()], steps)),
        };
        let value = &self.base.bytes()[range.clone()];
        (range, Baseline { value, before })
    }
}

impl<'a> Past<'a> {
    /// `set`: whose positions count.
    #[inline]
    pub(crate) fn new(set: SetId, base: Option<&'a Row>, before: Option<(&'a Row, u32)>) -> Self {
        let before = before.filter(|(_, steps)| *steps > 0);
        let values = |row: &'a Row| (row.set == set).then(|| row.values());
        let alike = base.and_then(values).and_then(|base| {
            let (before, steps) = match before {
                None => (&[][..], 0),
                Some((before, steps)) => {
                    let before = values(before).filter(|before| before.lie_as(&base))?;
                    (before.bytes(), steps)
                }
            };
            Some(Alike {
                base,
                before,
                steps,
            })
        });
        Self {
            set,
            base,
            before,
            alike,
        }
    }

    /// The baseline of a component at this position of the set; `None` if it has none.
    #[inline(always)]
    pub(crate) fn get(&self, sets: &ComponentSets, place: (usize, u16)) -> Option<Baseline<'a>> {
        match &self.alike {
            Some(alike) => Some(alike.at(place.0).1),
            None => self.find(sets, place),
        }
    }

    /// The baseline as a whole, if it is of the same set, and the version before it lies as it does:
    /// mostly.
    #[inline(always)]
    pub(crate) fn alike(
        &self,
    ) -> Option<(&'a Row, impl Fn(usize) -> (Range<usize>, Baseline<'a>))> {
        let alike = self.alike?;
        Some((self.base?, move |position| alike.at(position)))
    }

    /// As [`get`](Self::get) for all positions at once, next to the values of `row`, if that is of
    /// the same set and its values lie at the same places as well. One pass over them, and none of
    /// the looking up.
    #[inline]
    pub(crate) fn beside<'r>(&self, row: &'r Row) -> Option<Beside<'r, 'a>> {
        let alike = self.alike.as_ref()?;
        let values = (row.set == self.set).then(|| row.values())?;
        let (ends, bytes) = (values.ends(), values.bytes());
        values.lie_as(&alike.base).then_some(Beside {
            ends,
            start: 0,
            new: bytes,
            base: alike.base.bytes(),
            before: alike.before,
            steps: alike.steps,
        })
    }

    #[inline(never)]
    fn find(&self, sets: &ComponentSets, place: (usize, u16)) -> Option<Baseline<'a>> {
        let find = |row: &'a Row| row.find(sets, self.set, place);
        let value = self.base.and_then(find)?;
        let before = self
            .before
            .and_then(|(row, steps)| Some((find(row)?, steps)));
        Some(Baseline { value, before })
    }
}

/// The values of a row, each with its baseline.
pub(crate) struct Beside<'r, 'a> {
    ends: &'r [[u8; 4]],
    start: u32,
    new: &'r [u8],
    base: &'a [u8],
    before: &'a [u8],
    steps: u32,
}

impl<'r, 'a> Iterator for Beside<'r, 'a> {
    type Item = (&'r [u8], Baseline<'a>);

    #[inline(always)]
    fn next(&mut self) -> Option<Self::Item> {
        let (end, ends) = self.ends.split_first()?;
        let end = u32::from_le_bytes(*end);
        let len = (end - self.start) as usize;
        (self.ends, self.start) = (ends, end);
        let (new, base);
        (new, self.new) = self.new.split_at(len);
        (base, self.base) = self.base.split_at(len);
        let before = match self.steps {
            0 => None,
            steps => {
                let before;
                (before, self.before) = self.before.split_at(len);
                Some((before, steps))
            }
        };
        let value = base;
        Some((new, Baseline { value, before }))
    }
}
