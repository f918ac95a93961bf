//! Components overwritten where they lie.

use std::{cell::UnsafeCell, panic::Location, ptr::NonNull};

use bevy::{
    ecs::{
        change_detection::{MaybeLocation, Tick},
        component::ComponentId,
        storage::{Table, TableId},
    },
    prelude::*,
};
use seamless_wire::WireError;

use super::Registry;
use crate::rows::{ComponentSets, Rows};

/// The column of one type in one table, the type forgotten.
#[derive(Clone, Copy)]
pub(crate) struct Column<'w> {
    components: NonNull<()>,
    /// As many as there are components.
    changed: &'w [UnsafeCell<Tick>],
    changed_by: MaybeLocation<Option<&'w [UnsafeCell<&'static Location<'static>>]>>,
}

impl<'w> Column<'w> {
    /// The column of `C`. `None` if there is none in the table.
    ///
    /// # Safety
    /// `id` is that of `C`.
    #[expect(unsafe_code, reason = "the id must be that of the type")]
    pub(super) unsafe fn of<C: Component>(table: &'w Table, id: ComponentId) -> Option<Self> {
        // SAFETY: the caller promises it.
        let components = unsafe { table.get_data_slice_for::<C>(id) }?;
        let changed = table.get_changed_ticks_slice_for(id)?;
        debug_assert_eq!(components.len(), changed.len());
        Some(Self {
            components: NonNull::from(components).cast(),
            changed,
            changed_by: table.get_changed_by_slice_for(id),
        })
    }

    /// Overwrites the component in a row of the table, as if it were written to through a query.
    ///
    /// # Safety
    /// The column is of type `C`, `row` is in the table, and nobody else looks at the column.
    #[inline]
    #[expect(unsafe_code, reason = "a component in a column without a type")]
    pub(super) unsafe fn put<C: Component>(&self, row: usize, component: C, now: Tick) {
        // SAFETY: a column has a tick for each component, so that there are at least `row + 1`, and
        // the caller promises the rest.
        unsafe {
            let places = self.components.cast::<UnsafeCell<C>>();
            *places.add(row).as_ref().get() = component;
            *self.changed[row].get() = now;
        }
        self.changed_by.map(|places| {
            if let Some(place) = places.and_then(|places| places.get(row)) {
                // SAFETY: as above.
                unsafe {
                    *place.get() = Location::caller();
                }
            }
        });
    }
}

/// Columns of all registered components, as entities one after the other ask for them. They are
/// looked up again when an entity is in another table than the one before it.
pub(crate) struct Columns<'w> {
    /// Borrowed exclusively while this lives. Of components that are registered no reference is handed
    /// out.
    world: &'w World,
    registry: &'w Registry,
    sets: &'w ComponentSets,
    now: Tick,
    /// By component: the table where it was looked for last, and what was found.
    found: Vec<Option<(TableId, Option<Column<'w>>)>>,
}

impl<'w> Columns<'w> {
    pub(crate) fn of(world: &'w mut World, registry: &'w Registry) -> Self {
        let now = world.change_tick();
        Self {
            world,
            registry,
            // Ours alone and never registered.
            sets: &world.resource::<Rows>().sets,
            now,
            found: vec![None; registry.components().len()],
        }
    }

    pub(crate) const fn sets(&self) -> &'w ComponentSets {
        self.sets
    }

    /// The components of an entity. `None` if it is nowhere.
    #[inline]
    pub(crate) fn at(&mut self, entity: Entity) -> Option<InPlace<'_, 'w>> {
        let found = self.world.get_entity(entity).ok()?.location();
        Some(InPlace {
            table: found.table_id,
            row: found.table_row.index(),
            columns: self,
        })
    }
}

/// The components of one entity, where they lie.
pub(crate) struct InPlace<'c, 'w> {
    columns: &'c mut Columns<'w>,
    table: TableId,
    row: usize,
}

impl InPlace<'_, '_> {
    /// Overwrites a component with that of a row value. False if that cannot be done in place: it
    /// is not there, or not in a table, or more is to be done.
    ///
    /// # Errors
    /// [`WireError`] if the value does not decode; the component stays.
    #[inline]
    pub(crate) fn put(&mut self, component: u16, value: &[u8]) -> Result<bool, WireError> {
        let Columns {
            world,
            registry,
            now,
            ref mut found,
            ..
        } = *self.columns;
        let registered = registry.component(component);
        let found = &mut found[component as usize];
        let column = match *found {
            Some((table, column)) if table == self.table => column,
            _ => {
                let table = world.storages().tables.get(self.table);
                let look = |table| registered.erased.column(table, registered.component_id);
                let column = table.and_then(look);
                *found = Some((self.table, column));
                column
            }
        };
        let Some(column) = column.filter(|column| self.row < column.changed.len()) else {
            return Ok(false);
        };
        #[expect(unsafe_code, reason = "a component in a column without a type")]
        // SAFETY: the column was found for this component and the row is in it. The world is borrowed
        // exclusively for as long as the columns live, and neither the components nor their ticks are
        // handed out.
        unsafe {
            registered.erased.put(&column, self.row, value, now)?;
        }
        Ok(true)
    }
}
