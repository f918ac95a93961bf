//! Sets of components, interned: most entities share a few.

use bevy::platform::collections::HashMap;
use seamless_wire::{PeerId, record::MAX_COMPONENTS};

/// An interned set. Only comparable within one [`ComponentSets`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub(crate) struct SetId(u16);

impl SetId {
    /// Its number.
    #[inline]
    pub(crate) const fn bits(self) -> u32 {
        self.0 as u32
    }
}

/// Most different sets: as many as there are numbers. They are never given back; a dozen components that
/// come and go on their own make up to 4,096.
const MAX_SETS: usize = 1 << 16;

/// How many of them clients may invent together. One that invents more is refused.
const MAX_INVENTED: usize = 4096;

/// How many of them one client may be the first to name, however often it comes: an eighth.
const MAX_BY_ONE: u16 = 512;

/// All sets in use: ascending indices into the schema. The first is the empty one, whether it is listed
/// yet or not.
#[derive(Default)]
pub(crate) struct ComponentSets {
    sets: Vec<Box<[u16]>>,
    ids: HashMap<Box<[u16]>, SetId>,
    invented: usize,
    /// By whom: at most as many clients as there are such sets.
    inventors: HashMap<PeerId, u16>,
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

    /// As [`intern`](Self::intern), for a set that a client named.
    pub(crate) fn intern_invented(&mut self, components: &[u16], by: PeerId) -> Option<SetId> {
        if components.is_empty() {
            return Some(SetId::default());
        }
        if let Some(&id) = self.ids.get(components) {
            return Some(id);
        }
        let so_far = self.inventors.get(&by).copied().unwrap_or_default();
        if so_far >= MAX_BY_ONE || self.invented >= MAX_INVENTED {
            return None;
        }
        let id = self.intern(components)?;
        self.inventors.insert(by, so_far + 1);
        self.invented += 1;
        Some(id)
    }

    /// The components of a set, ascending.
    pub(crate) fn components(&self, id: SetId) -> &[u16] {
        self.sets
            .get(id.0 as usize)
            .map_or(&[], |components| components)
    }

    /// Weighs the sets that are new: the heaviest component counts. `weight`: of a component, more
    /// than 0.
    pub(crate) fn weigh(&mut self, weight: impl Fn(u16) -> f32) {
        for components in &self.sets[self.weights.len()..] {
            let weights = components.iter().map(|&component| weight(component));
            self.weights.push(weights.reduce(f32::max).unwrap_or(1.0));
        }
    }

    /// How much a change of a row of this set matters, see [`Rule::priority`](crate::Rule::priority).
    pub(crate) fn weight(&self, id: SetId) -> f32 {
        self.weights.get(id.0 as usize).copied().unwrap_or(1.0)
    }

    /// Where a component's value stands in rows of this set.
    pub(crate) fn position(&self, id: SetId, component: u16) -> Option<usize> {
        self.components(id).binary_search(&component).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Different sets.
    fn many() -> impl Iterator<Item = Vec<u16>> {
        (0..1 << 17).map(|n: u32| vec![(n % 60) as u16, (60 + n / 60) as u16])
    }

    #[test]
    fn one_client_uses_up_its_own_room_however_often_it_comes() {
        let mut sets = ComponentSets::default();
        let (greedy, other) = (PeerId(1), PeerId(2));
        let mut all = many();
        let taken = all.by_ref().take(10 * MAX_BY_ONE as usize);
        let taken = taken.filter(|set| sets.intern_invented(set, greedy).is_some());
        assert_eq!(taken.count(), MAX_BY_ONE as usize);
        assert!(sets.intern_invented(&[0, 60], greedy).is_some(), "known");
        assert!(sets.intern_invented(&[], greedy).is_some(), "known");
        let next = all.next().expect("there are more");
        assert!(sets.intern_invented(&next, other).is_some());
        assert!(sets.intern_invented(&next, greedy).is_some(), "known now");
    }

    #[test]
    fn all_clients_together_leave_room_for_ours() {
        let mut sets = ComponentSets::default();
        let mut all = many();
        for by in 0..20 {
            for set in all.by_ref().take(MAX_BY_ONE as usize) {
                sets.intern_invented(&set, PeerId(by));
            }
        }
        assert_eq!(sets.invented, MAX_INVENTED);
        assert!(sets.inventors.len() <= MAX_INVENTED);
        let ours = all.filter(|set| sets.intern(set).is_some()).count();
        // One place is that of the empty set.
        assert_eq!(ours, MAX_SETS - MAX_INVENTED - 1);
        assert_eq!(sets.intern(&[]), Some(SetId::default()));
        assert!(sets.components(SetId::default()).is_empty());
    }
}
