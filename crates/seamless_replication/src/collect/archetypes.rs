//! Which tables hold entities in slots, and which of their columns are replicated.

use bevy::{
    ecs::{
        archetype::ArchetypeId,
        component::{ComponentId, StorageType},
        storage::TableId,
    },
    prelude::*,
};
use seamless_wire::record::MAX_COMPONENTS;

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
    /// Schema index and column, in the order of the set. Then those that do not meet their
    /// conditions.
    pub(crate) columns: Vec<(u16, ComponentId)>,
    pub(crate) has_position: bool,
    /// Whether there are such.
    pub(crate) is_filtered: bool,
}

/// Found once per archetype, when it appears.
#[derive(Default)]
pub(crate) struct ReplicatedArchetypes {
    /// How many archetypes were looked at; they are never removed.
    known: usize,
    tables: Vec<ReplicatedTable>,
    mixed: Vec<ArchetypeId>,
    /// Further ones whose position alone is outside the table.
    placed: Vec<ArchetypeId>,
    /// Tables in which some entities are of such an archetype.
    shared: Vec<TableId>,
    slot_id: Option<ComponentId>,
}

impl ReplicatedArchetypes {
    pub(crate) fn tables(&self) -> &[ReplicatedTable] {
        &self.tables
    }

    /// Archetypes with a replicated component outside the table, or with a condition that asks for
    /// one: walked entity by entity.
    pub(crate) fn mixed(&self) -> &[ArchetypeId] {
        &self.mixed
    }

    /// Archetypes whose positions are walked entity by entity.
    pub(crate) fn placed(&self) -> impl Iterator<Item = ArchetypeId> {
        self.mixed.iter().chain(&self.placed).copied()
    }

    /// Whether some entities in a table are of a mixed archetype.
    pub(crate) fn is_shared(&self, table: TableId) -> bool {
        self.shared.contains(&table)
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
            let is_sparse = |id| archetype.get_storage_type(id) == Some(StorageType::SparseSet);
            let all = registry.replicated_in(archetype, true);
            let sparse = registry.any_sparse()
                && all.iter().any(|&(index, id)| {
                    is_sparse(id) || registry.component(index).has_sparse_condition()
                });
            if sparse {
                self.mixed.push(archetype.id());
                self.shared.push(archetype.table_id());
                continue;
            }
            if position.is_some_and(|p| is_sparse(p.component)) {
                self.placed.push(archetype.id());
            }
            let table = archetype.table_id();
            if self.tables.iter().any(|known| known.table == table) {
                continue;
            }
            let mut columns = registry.replicated_in(archetype, false);
            let indices: Vec<u16> = columns.iter().map(|(index, _)| *index).collect();
            let Some(set) = sets.intern(&indices) else {
                tracing::error!(
                    components = indices.len(),
                    "entities have more replicated components than a row, or there are too many different \
                     sets of them; they are not sent"
                );
                continue;
            };
            let is_filtered = columns.len() != all.len();
            if is_filtered {
                // A holder tells them too, so their changes count.
                let others: Vec<_> = all.into_iter().filter(|c| !columns.contains(c)).collect();
                columns.extend(others);
                columns.truncate(MAX_COMPONENTS);
            }
            let has_position = position.is_some_and(|p| archetype.contains(p.component));
            self.tables.push(ReplicatedTable {
                table,
                set,
                columns,
                has_position,
                is_filtered,
            });
        }
        self.known = archetypes.len();
    }
}
