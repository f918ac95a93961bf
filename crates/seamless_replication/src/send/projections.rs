//! Sets of components that peers are told, if not all of a row's.

use bevy::platform::collections::HashMap;
use seamless_wire::WriteMask;

use super::encode::Projection;
use crate::{
    registry::Registry,
    rows::{ComponentSets, SetId},
};

/// What of a row a peer is told.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Part {
    pub(super) projection: Projection,
    /// Components that are hidden from it.
    pub(super) hidden: SetId,
    /// Components that a holder writes.
    pub(super) writes: WriteMask,
}

impl Part {
    /// Says one from another, in the same order wherever and whenever.
    pub(super) const fn order(&self) -> (Projection, SetId, u64) {
        (self.projection, self.hidden, self.writes.withheld())
    }
}

/// A set of which a part is told.
pub(crate) type Wanted = (SetId, Part);

/// Parts of sets. Workers only read it; what they find missing is made when they are done.
#[derive(Default)]
pub(crate) struct Projections(HashMap<Wanted, SetId>);

impl Projections {
    /// The set that is told of `set`; otherwise, what is missing.
    #[inline]
    pub(super) fn get(&self, set: SetId, part: Part) -> Result<SetId, Wanted> {
        if part.projection == Projection::Full && part.hidden == SetId::default() {
            return Ok(set);
        }
        self.0.get(&(set, part)).copied().ok_or((set, part))
    }

    /// Adds what was found missing.
    pub(super) fn learn(
        &mut self,
        registry: &Registry,
        sets: &mut ComponentSets,
        wanted: impl Iterator<Item = Wanted>,
    ) {
        for (set, part) in wanted {
            let told: Vec<u16> = sets
                .components(set)
                .iter()
                .copied()
                .filter(|&component| part.projection.tells(registry, component, part.writes))
                .filter(|&component| sets.position(part.hidden, component).is_none())
                .collect();
            // Without room the entity waits.
            if let Some(told) = sets.intern(&told) {
                self.0.insert((set, part), told);
            }
        }
    }
}
