//! Sets of components, interned: most entities share a few.

use bevy::platform::collections::HashMap;
use seamless_wire::record::MAX_COMPONENTS;

/// An interned set. Only comparable within one [`ComponentSets`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub(crate) struct SetId(u16);

impl SetId {
    /// Its number, below 2^12.
    #[inline]
    pub(crate) const fn bits(self) -> u32 {
        self.0 as u32
    }
}

/// Most different sets. A peer that invents more of them is refused.
const MAX_SETS: usize = 4096;

/// How many of them clients may invent together, so that there is always room for our own.
const MAX_INVENTED: usize = MAX_SETS / 2;

/// All sets in use: ascending indices into the schema. The first is the empty one, whether it is listed
/// yet or not.
#[derive(Default)]
pub(crate) struct ComponentSets {
    sets: Vec<Box<[u16]>>,
    ids: HashMap<Box<[u16]>, SetId>,
    invented: usize,
    /// How much a change of a row of each set matters.
    weights: Vec<f32>,
}

impl ComponentSets {
    /// The id of a set. `None` if there are too many sets or too many components in this one.
    pub(crate) fn intern(&mut self, components: &[u16]) -> Option<SetId> {
        debug_assert!(components.is_sorted(), "sets are ascending");
        if components.is_empty() {
            return Some(SetId::default());
        }
        if let Some(&id) = self.ids.get(components) {
            return Some(id);
        }
        if self.sets.len() >= MAX_SETS || components.len() > MAX_COMPONENTS {
            return None;
        }
        if self.sets.is_empty() {
            self.sets.push(Box::default());
        }
        let id = SetId(self.sets.len() as u16);
        self.sets.push(components.into());
        self.ids.insert(components.into(), id);
        Some(id)
    }

    /// As [`intern`](Self::intern), for a set that a client named. `left`: how many more it may
    /// invent.
    pub(crate) fn intern_invented(&mut self, components: &[u16], left: &mut u16) -> Option<SetId> {
        if components.is_empty() {
            return Some(SetId::default());
        }
        if let Some(&id) = self.ids.get(components) {
            return Some(id);
        }
        if *left == 0 || self.invented >= MAX_INVENTED {
            return None;
        }
        let id = self.intern(components)?;
        *left -= 1;
        self.invented += 1;
        Some(id)
    }

    /// The components of a set, ascending.
    pub(crate) fn components(&self, id: SetId) -> &[u16] {
        self.sets
            .get(id.0 as usize)
            .map_or(&[], |components| components)
    }

    /// Weighs the sets that are new: the heaviest component counts. `weight`: of a component.
    pub(crate) fn weigh(&mut self, weight: impl Fn(u16) -> f32) {
        for components in &self.sets[self.weights.len()..] {
            let heaviest = components.iter().map(|&component| weight(component));
            self.weights.push(heaviest.fold(1.0, f32::max));
        }
    }

    /// How much a change of a row of this set matters; 1 or more.
    pub(crate) fn weight(&self, id: SetId) -> f32 {
        self.weights.get(id.0 as usize).copied().unwrap_or(1.0)
    }

    /// Where a component's value stands in rows of this set.
    pub(crate) fn position(&self, id: SetId, component: u16) -> Option<usize> {
        self.components(id).binary_search(&component).ok()
    }
}
