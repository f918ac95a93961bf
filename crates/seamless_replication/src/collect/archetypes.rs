//! Which tables hold entities in slots, and which of their columns are replicated.

use bevy::{
    ecs::{
        archetype::ArchetypeId,
        component::{ComponentId, StorageType},
        storage::TableId,
    },
    prelude::*,
};

use crate::{
    interest::PositionAccessor,
    registry::Registry,
    rows::{ComponentSets, SetId},
    slots::NetSlot,
};

/// A table whose entities all have the same replicated components, all of them in columns.
pub(crate) struct ReplicatedTable {
    pub(crate) table: TableId,
    pub(crate) set: SetId,
    /// Schema index and column, in the order of the set.
    pub(crate) columns: Vec<(u16, ComponentId)>,
    pub(crate) has_position: bool,
}

/// Found once per archetype, when it appears.
#[derive(Default)]
pub(crate) struct ReplicatedArchetypes {
    /// How many archetypes were looked at; they are never removed.
    known: usize,
    tables: Vec<ReplicatedTable>,
    mixed: Vec<ArchetypeId>,
    slot_id: Option<ComponentId>,
}

impl ReplicatedArchetypes {
    pub(crate) fn tables(&self) -> &[ReplicatedTable] {
        &self.tables
    }

    /// Archetypes with a replicated component outside the table: walked entity by entity.
    pub(crate) fn mixed(&self) -> &[ArchetypeId] {
        &self.mixed
    }

    /// Looks at archetypes that are new since the last call.
    pub(crate) fn update(
        &mut self,
        world: &World,
        registry: &Registry,
        sets: &mut ComponentSets,
        position: Option<&PositionAccessor>,
    ) {
        let archetypes = world.archetypes();
        if self.known == archetypes.len() {
            return;
        }
        let slot_id = match self.slot_id {
            Some(id) => id,
            None => {
                let Some(id) = world.component_id::<NetSlot>() else {
                    return;
                };
                self.slot_id = Some(id);
                id
            }
        };
        for archetype in archetypes.iter().skip(self.known) {
            if !archetype.contains(slot_id) {
                continue;
            }
            let mut columns: Vec<(u16, ComponentId)> = archetype
                .iter_components()
                .filter_map(|id| registry.index_of(id).map(|index| (index, id)))
                .collect();
            columns.sort_unstable();
            let sparse = registry.any_sparse()
                && columns
                    .iter()
                    .any(|(_, id)| archetype.get_storage_type(*id) == Some(StorageType::SparseSet));
            if sparse {
                self.mixed.push(archetype.id());
                continue;
            }
            let table = archetype.table_id();
            if self.tables.iter().any(|known| known.table == table) {
                continue;
            }
            let indices: Vec<u16> = columns.iter().map(|(index, _)| *index).collect();
            let Some(set) = sets.intern(&indices) else {
                tracing::error!(
                    components = indices.len(),
                    "an entity has more replicated components than fit a row; it is not sent"
                );
                continue;
            };
            let has_position = position.is_some_and(|p| archetype.contains(p.component));
            self.tables.push(ReplicatedTable {
                table,
                set,
                columns,
                has_position,
            });
        }
        self.known = archetypes.len();
    }
}
