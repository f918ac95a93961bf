//! Components of one type, overwritten where they lie.

use std::{cell::UnsafeCell, panic::Location};

use bevy::{
    ecs::{
        change_detection::{MaybeLocation, Tick},
        component::{ComponentId, ComponentMutability},
        storage::TableId,
    },
    prelude::*,
};

/// Columns of one component, as entities one after the other ask for them.
pub(super) struct Columns<'w, C> {
    /// Borrowed exclusively while this lives, see [`Columns::of`].
    world: &'w World,
    id: ComponentId,
    now: Tick,
    last: Option<Column<'w, C>>,
}

/// The column of one table.
struct Column<'w, C> {
    table: TableId,
    components: &'w [UnsafeCell<C>],
    changed: &'w [UnsafeCell<Tick>],
    changed_by: MaybeLocation<Option<&'w [UnsafeCell<&'static Location<'static>>]>>,
}

impl<'w, C: Component> Columns<'w, C> {
    /// The columns of `C`, whose id in this world is `id`. `None` if it may not be overwritten.
    ///
    /// # Safety
    /// `id` is that of `C`.
    #[expect(unsafe_code, reason = "the id must be that of the type")]
    pub(super) unsafe fn of(world: &'w mut World, id: ComponentId) -> Option<Self> {
        let now = world.change_tick();
        C::Mutability::MUTABLE.then_some(Self {
            world,
            id,
            now,
            last: None,
        })
    }

    /// Overwrites the entity's component, as if it were written to through a query. Gives the new
    /// one back if there is none in a table.
    ///
    /// A look at where the entity is, and another one at its table if the entity before was in
    /// another.
    #[inline]
    pub(super) fn put(&mut self, entity: Entity, component: C) -> Result<(), C> {
        let Ok(found) = self.world.get_entity(entity) else {
            return Err(component);
        };
        let (table, row) = (found.location().table_id, found.location().table_row);
        if self.last.as_ref().is_none_or(|last| last.table != table) {
            self.last = self.column(table);
        }
        let Some(last) = &self.last else {
            return Err(component);
        };
        let row = row.index();
        let (Some(place), Some(changed)) = (last.components.get(row), last.changed.get(row)) else {
            return Err(component);
        };
        #[expect(
            unsafe_code,
            reason = "a component in a column that is behind UnsafeCells"
        )]
        // SAFETY: the world is borrowed exclusively for as long as `self` lives, and no reference
        // to a component or its ticks is handed out, so these are the only ones.
        unsafe {
            *place.get() = component;
            *changed.get() = self.now;
        }
        last.changed_by.map(|places| {
            if let Some(place) = places.and_then(|places| places.get(row)) {
                #[expect(unsafe_code, reason = "as above")]
                // SAFETY: as above.
                unsafe {
                    *place.get() = Location::caller();
                }
            }
        });
        Ok(())
    }

    fn column(&self, id: TableId) -> Option<Column<'w, C>> {
        let table = self.world.storages().tables.get(id)?;
        #[expect(unsafe_code, reason = "the id must be that of the type")]
        // SAFETY: `Columns::of` asks for it.
        let components = unsafe { table.get_data_slice_for::<C>(self.id) }?;
        Some(Column {
            table: id,
            components,
            changed: table.get_changed_ticks_slice_for(self.id)?,
            changed_by: table.get_changed_by_slice_for(self.id),
        })
    }
}
