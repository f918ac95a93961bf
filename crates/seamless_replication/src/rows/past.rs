//! What a row is told against: two earlier versions, value beside value.

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
    /// Their values, if they are of the same set and lie at the same places, as they mostly do.
    alike: Option<(Values<'a>, Option<Values<'a>>)>,
}

impl<'a> Past<'a> {
    /// `set`: whose positions count.
    #[inline]
    pub(crate) fn new(set: SetId, base: Option<&'a Row>, before: Option<(&'a Row, u32)>) -> Self {
        let before = before.filter(|(_, steps)| *steps > 0);
        let values = |row: &'a Row| (row.set == set).then(|| row.values());
        let alike = base.and_then(values).and_then(|base| match before {
            None => Some((base, None)),
            Some((before, _)) => {
                let before = values(before).filter(|before| before.lie_as(&base))?;
                Some((base, Some(before)))
            }
        });
        Self {
            set,
            base,
            before,
            alike,
        }
    }

    /// The baseline of a component at this position of the set; `None` if it has none.
    #[inline]
    pub(crate) fn get(&self, sets: &ComponentSets, place: (usize, u16)) -> Option<Baseline<'a>> {
        let Some((base, before)) = self.alike else {
            return self.find(sets, place);
        };
        let range = base.range(place.0);
        let steps = self.before.map_or(0, |(_, steps)| steps);
        Some(Baseline {
            value: &base.bytes()[range.clone()],
            before: before.map(|before| (&before.bytes()[range], steps)),
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
