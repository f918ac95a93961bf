//! What a look at the world is made of: change ticks of columns, rows of entities, positions.

use std::sync::{Mutex, PoisonError};

use bevy::{
    ecs::{
        archetype::ArchetypeId,
        change_detection::Tick as ChangeTick,
        component::{ComponentId, StorageType},
        storage::{Table, TableRow},
    },
    prelude::*,
    ptr::Ptr,
};
use nonmax::NonMaxU32;
use seamless_wire::{PeerId, WireError};

use super::{
    archetypes::ReplicatedTable,
    holds, keeps_rows,
    window::{Ticks, Window},
};
use crate::{
    interest::{PositionAccessor, Positions},
    registry::Registry,
    rows::{Built, Row, RowBuilder, Rows, SetId},
    slots::{NetSlot, Slots},
};

/// Entities that are looked at together.
pub(super) const BLOCK: usize = 256;

/// Everything one pass over the world reads. The world is borrowed shared, so nothing writes a
/// column while it is read.
pub(super) struct Pass<'a> {
    pub(super) world: &'a World,
    pub(super) registry: &'a Registry,
    pub(super) slots: &'a Slots,
    pub(super) last_run: ChangeTick,
    pub(super) this_run: ChangeTick,
    pub(super) me: Option<PeerId>,
    /// Slots of which no row could be made. Several threads make them.
    pub(super) unmade: Mutex<Vec<u32>>,
}

impl Pass<'_> {
    /// Whether the entity in a row of a table has a replicated component outside of it.
    pub(super) fn is_mixed(&self, table: &Table, row: usize) -> bool {
        let entity = self.world.get_entity(table.entities()[row]);
        entity.is_ok_and(|entity| {
            let archetype = entity.archetype();
            archetype.iter_components().any(|id| {
                self.registry.index_of(id).is_some()
                    && archetype.get_storage_type(id) == Some(StorageType::SparseSet)
            })
        })
    }

    /// Entities of an archetype with sparse components, one by one.
    pub(super) fn mixed(
        &self,
        archetype: ArchetypeId,
        rows: &mut Rows,
        builder: &mut RowBuilder,
    ) -> u64 {
        let Some(archetype) = self.world.archetypes().get(archetype) else {
            return 0;
        };
        let mut failed = 0;
        for entity in archetype.entities() {
            let Ok(entity) = self.world.get_entity(entity.id()) else {
                continue;
            };
            let changed = archetype.iter_components().any(|id| {
                self.registry.index_of(id).is_some()
                    && entity
                        .get_change_ticks_by_id(id)
                        .is_some_and(|ticks| ticks.is_changed(self.last_run, self.this_run))
            });
            if changed && let Some(slot) = entity.get::<NetSlot>() {
                failed += self.forced(slot.index, rows, builder);
            }
        }
        failed
    }

    /// The row of one slot, from scratch.
    pub(super) fn forced(&self, index: u32, rows: &mut Rows, builder: &mut RowBuilder) -> u64 {
        let Some(slot) = self.slots.get(index).filter(|s| keeps_rows(s, self.me)) else {
            return 0;
        };
        let Ok(entity) = self.world.get_entity(slot.entity) else {
            return 0;
        };
        let all = holds(slot, self.me);
        let components = self.registry.replicated_in(entity.archetype(), all);
        let indices: Vec<u16> = components.iter().map(|(index, _)| *index).collect();
        let Some(set) = rows.sets.intern(&indices) else {
            return 1;
        };
        rows.lent.note(index, &slot.tenure, set);
        let fence = slot.tenure.clone();
        builder.clear();
        let mut failed = 0;
        let ptr = |position: usize| entity.get_by_id(components[position].1).ok();
        let built = self.build(rows, builder, index, set, &mut failed, |position| {
            (components[position].0, true, ptr)
        });
        if let Some(built) = built {
            rows.push(index, builder.row(built, set, &fence));
        }
        failed
    }

    /// Makes a row of `set`, if all of it is there. `value(position)` names the component, whether it
    /// may have changed, and who knows where it lies. `failed` counts values that could not be
    /// encoded.
    pub(super) fn build<'p, P: Fn(usize) -> Option<Ptr<'p>>>(
        &self,
        rows: &Rows,
        builder: &mut RowBuilder,
        index: u32,
        set: SetId,
        failed: &mut u64,
        value: impl Fn(usize) -> (u16, bool, P),
    ) -> Option<Built> {
        let count = rows.sets.components(set).len();
        let previous = rows.newest(index).map(|(_, row)| row);
        let alike = previous.filter(|row| row.set == set).map(Row::values);
        builder.begin(count);
        for position in 0..count {
            let (component, changed, ptr) = value(position);
            let old = match alike {
                Some(values) => Some(values.at(position)),
                None => previous.and_then(|row| row.find(&rows.sets, set, (position, component))),
            };
            let told =
                || self.registry.component(component).once && !rows.told_anew.contains(&index);
            if let Some(old) = old
                && (!changed || told())
            {
                builder.copy_value(old);
                continue;
            }
            match ptr(position) {
                Some(ptr) => {
                    let start = builder.buffer().len();
                    match self.write(component, ptr, builder.buffer()) {
                        Ok(()) => builder.end_value(),
                        Err(error) => {
                            *failed += 1;
                            let path = &self.registry.component(component).descriptor.path;
                            let entity = self.slots.get(index).map(|slot| slot.entity);
                            tracing::warn!(?entity, path, %error, "not replicated");
                            builder.buffer().truncate(start);
                            // The last good value stands until one can be encoded again; without
                            // one the entity waits.
                            let Some(old) = old else {
                                let unmade = self.unmade.lock();
                                unmade.unwrap_or_else(PoisonError::into_inner).push(index);
                                return None;
                            };
                            builder.copy_value(old);
                        }
                    }
                }
                None => return None,
            }
        }
        Some(builder.end())
    }

    #[expect(
        unsafe_code,
        reason = "typed reads of untyped columns, without a lookup per value"
    )]
    fn write(&self, component: u16, ptr: Ptr<'_>, out: &mut Vec<u8>) -> Result<(), WireError> {
        let registered = self.registry.component(component);
        // SAFETY: `ptr` was read from the column (or entity) under the `ComponentId` that
        // `component` was looked up by, and the registry maps each id to the codec of its type.
        unsafe { registered.erased.write(ptr, self.world, out) }
    }

    /// Whether any of these change ticks is newer than the last run.
    #[inline]
    #[expect(unsafe_code, reason = "the ticks may not be written meanwhile")]
    pub(super) fn is_any_newer(&self, ticks: Ticks<'_>) -> bool {
        // SAFETY: the world is borrowed shared for the whole pass, so nobody writes them.
        unsafe { Window::between(self.last_run, self.this_run).has_any(ticks) }
    }

    /// Sets `bit` for the rows whose change tick is newer than the last run.
    #[inline]
    #[expect(unsafe_code, reason = "the ticks may not be written meanwhile")]
    pub(super) fn mark_newer(&self, ticks: Ticks<'_>, bit: u64, masks: &mut [u64; BLOCK]) {
        // SAFETY: as above.
        unsafe { Window::between(self.last_run, self.this_run).mark(ticks, bit, masks) }
    }

    /// The slots of a table's rows.
    #[expect(
        unsafe_code,
        reason = "the slots of a table, without a lookup per entity"
    )]
    pub(super) fn slot_indices<'t>(&self, table: &'t Table) -> impl Fn(usize) -> u32 + 't {
        let column = self.world.component_id::<NetSlot>().and_then(|id| {
            // SAFETY: the id is that of `NetSlot`, so the column's type is.
            unsafe { table.get_data_slice_for::<NetSlot>(id) }
        });
        move |row| {
            let slot = column.and_then(|slots| slots.get(row));
            // SAFETY: the world is borrowed shared for the whole pass, so nobody writes the slot.
            slot.map_or(u32::MAX, |slot| unsafe { (*slot.get()).index })
        }
    }

    #[expect(
        unsafe_code,
        reason = "one value of a column, without a lookup per entity"
    )]
    pub(super) fn column_ptr(table: &Table, column: ComponentId, row: usize) -> Option<Ptr<'_>> {
        debug_assert!(
            row < table.entity_count() as usize,
            "row {row} is outside the table"
        );
        let row = TableRow::new(NonMaxU32::new(row as u32)?);
        // SAFETY: `row` is below the table's length.
        unsafe { table.get_component(column, row) }
    }

    /// Positions in one table that were written to.
    pub(super) fn positions(
        &self,
        info: &ReplicatedTable,
        accessor: &PositionAccessor,
        positions: &mut Positions,
    ) {
        if !info.has_position {
            return;
        }
        let Some(table) = self.world.storages().tables.get(info.table) else {
            return;
        };
        let Some(ticks) = table.get_changed_ticks_slice_for(accessor.component) else {
            return;
        };
        let slot_of = self.slot_indices(table);
        for (block, ticks) in ticks.chunks(BLOCK).enumerate() {
            if !self.is_any_newer(ticks) {
                continue;
            }
            let mut masks = [0; BLOCK];
            self.mark_newer(ticks, 1, &mut masks);
            let marked = (0..ticks.len()).filter(|row| masks[*row] != 0);
            for row in marked.map(|row| block * BLOCK + row) {
                if let Some(ptr) = Self::column_ptr(table, accessor.component, row) {
                    positions.set(slot_of(row), accessor.read(ptr));
                }
            }
        }
    }

    /// Positions in an archetype with sparse components that were written to. A look at each of its
    /// entities.
    pub(super) fn mixed_positions(
        &self,
        archetype: ArchetypeId,
        accessor: &PositionAccessor,
        positions: &mut Positions,
    ) {
        let archetype = self.world.archetypes().get(archetype);
        for entity in archetype.into_iter().flat_map(|a| a.entities()) {
            let Ok(entity) = self.world.get_entity(entity.id()) else {
                continue;
            };
            let moved = entity
                .get_change_ticks_by_id(accessor.component)
                .is_some_and(|ticks| ticks.is_changed(self.last_run, self.this_run));
            if moved && let Some(slot) = entity.get::<NetSlot>() {
                self.position_of(slot.index, accessor, positions);
            }
        }
    }

    /// The position of one slot, whether or not it was written to.
    pub(super) fn position_of(
        &self,
        index: u32,
        accessor: &PositionAccessor,
        positions: &mut Positions,
    ) {
        let Some(slot) = self.slots.get(index) else {
            return;
        };
        let Ok(entity) = self.world.get_entity(slot.entity) else {
            return;
        };
        if let Ok(ptr) = entity.get_by_id(accessor.component) {
            positions.set(index, accessor.read(ptr));
        }
    }
}
