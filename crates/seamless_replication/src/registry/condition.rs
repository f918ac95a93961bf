//! On which entities a component is replicated.

use bevy::{
    ecs::{
        component::{ComponentId, StorageType},
        query::{ArchetypeFilter, FilteredAccess},
    },
    prelude::*,
};

/// Whether an entity has a component.
type Has<'a> = &'a dyn Fn(ComponentId) -> bool;

/// A filter by what entities have, with its type erased. It is asked once per archetype, and for
/// each row that is made from scratch.
pub(crate) struct Condition {
    holds: Box<dyn Fn(Has<'_>) -> bool + Send + Sync>,
    /// Components that it asks for.
    pub(super) reads: Vec<ComponentId>,
    /// Whether one of them lies outside the tables: entities of one table may then differ.
    sparse: bool,
}

impl Condition {
    pub(super) fn new<F>(world: &mut World) -> Self
    where
        F: ArchetypeFilter + 'static,
        F::State: 'static,
    {
        let state = F::init_state(world);
        let mut access = FilteredAccess::matches_everything();
        F::update_component_access(&state, &mut access);
        let mut reads: Vec<ComponentId> = access
            .with_filters()
            .chain(access.without_filters())
            .collect();
        reads.sort_unstable();
        reads.dedup();
        let sparse = reads.iter().any(|id| {
            let info = world.components().get_info(*id);
            info.is_some_and(|info| info.storage_type() == StorageType::SparseSet)
        });
        Self {
            holds: Box::new(move |has| F::matches_component_set(&state, &|id| has(id))),
            reads,
            sparse,
        }
    }

    pub(super) fn holds(&self, has: Has<'_>) -> bool {
        (self.holds)(has)
    }

    pub(super) const fn is_sparse(&self) -> bool {
        self.sparse
    }
}
