//! Cells that become ours, and cells that go.

use bevy::prelude::*;
use seamless_authority::Terms;
use seamless_mesh::{directory::CellRecord, protocol::MeshCommand};
use seamless_replication::{
    EvenHidden, Hosted, NetSlot,
    interest::position_of,
    wire::{CellId, GlobalEntity, Term, record::LeaveReason},
};

use super::{
    plugin::Stored,
    state::{CellClosed, CellOpened, HandoverRoot, MeshView},
    terms::drop_entity,
};
use crate::{geometry::CellGrid, group::RidesOn, port::Mesh};

/// The directory's word about all cells. What is newly ours is opened once it is known which of
/// the world file's entities have a row, and so are somewhere already.
pub(super) fn changed(world: &mut World, mesh: &Mesh, cells: Vec<CellRecord>) {
    let mut view = world.resource_mut::<MeshView>();
    view.cells = cells
        .into_iter()
        .map(|record| (record.cell, record))
        .collect();
    let owned: Vec<CellId> = view
        .cells
        .keys()
        .copied()
        .filter(|cell| view.owns(*cell))
        .collect();
    let mut gone: Vec<CellId> = view
        .open
        .iter()
        .copied()
        .filter(|cell| !owned.contains(cell))
        .collect();
    view.open.retain(|cell| owned.contains(cell));
    let news = owned.iter().any(|cell| !view.open.contains(cell));
    let term = view.volatile_term();
    world.insert_resource(Terms::Fixed(term));
    gone.sort_unstable();
    close(world, &gone);
    if news {
        mesh.send(MeshCommand::ReadNames {
            block: GlobalEntity::WORLD_BLOCK,
        });
    }
}

/// Opens what is ours and not open. Of the world file's entities, `known` is somewhere in the mesh already.
pub(super) fn open(world: &mut World, known: &[GlobalEntity]) {
    let view = world.resource::<MeshView>();
    let mut fresh: Vec<(CellId, Term)> = view
        .cells
        .values()
        .filter(|record| view.owns(record.cell) && !view.open.contains(&record.cell))
        .map(|record| (record.cell, record.term))
        .collect();
    fresh.sort_unstable();
    for (cell, term) in fresh {
        world.resource_mut::<MeshView>().open.insert(cell);
        world.trigger(CellOpened {
            cell,
            term,
            known: known.to_vec(),
        });
        world.flush();
    }
}

type Volatile = (
    With<Hosted>,
    Without<Stored>,
    Without<HandoverRoot>,
    Without<RidesOn>,
    Without<ChildOf>,
    EvenHidden,
);

/// What has no row goes with its cell: the new owner puts there what belongs there. What has one
/// stays until it is handed over.
fn close(world: &mut World, gone: &[CellId]) {
    if gone.is_empty() {
        return;
    }
    let grid = *world.resource::<CellGrid>();
    let volatile: Vec<NetSlot> = world
        .query_filtered::<&NetSlot, Volatile>()
        .iter(world)
        .copied()
        .collect();
    for slot in volatile {
        let there =
            position_of(world, &slot).is_some_and(|place| gone.contains(&grid.cell_at(place)));
        if there && let Some(name) = slot.global() {
            drop_entity(world, name, LeaveReason::Moved);
        }
    }
    for &cell in gone {
        world.trigger(CellClosed { cell });
        world.flush();
    }
}
