//! The mesh part of the model, from a node's world.

use std::time::Duration;

use bevy::prelude::*;
use seamless_handover::{
    geometry::CellGrid,
    node::{Crossing, HandoverCounters, HandoverRoot, MeshView},
    port::Mesh,
};
use seamless_mesh::{
    directory::NodeRecord,
    link::MeshStatus,
    protocol::{HandoverTrace, Outcome, Phase, Role, trace::TRACES},
};
use seamless_replication::{EvenHidden, NetSlot, interest::position_of};

use crate::model::{
    CellModel, CrossingModel, GridModel, MeshCountersModel, MeshModel, NodeModel, RecentHandover,
    RootModel,
};

/// `None` if the app is not a node.
pub(super) fn read(world: &World) -> Option<MeshModel> {
    let view = world.get_resource::<MeshView>()?;
    let grid = world.get_resource::<CellGrid>()?;
    let status = world
        .get_resource::<Mesh>()
        .map(|mesh| mesh.link().status())
        .unwrap_or_default();
    let mut cells: Vec<CellModel> = view
        .cells
        .values()
        .map(|record| CellModel {
            cell: record.cell,
            owner: record.owner,
            term: record.term,
        })
        .collect();
    cells.sort_by_key(|cell| cell.cell);
    let mut nodes: Vec<NodeModel> = view.nodes.iter().map(|record| node(record, view)).collect();
    nodes.sort_by_key(|node| node.node);
    Some(MeshModel {
        node: view.node,
        healthy: view.healthy,
        fenced: view.fenced,
        directory_p99: status.directory_p99,
        nodes,
        grid: GridModel {
            origin: grid.origin.to_array(),
            cell: grid.cell.to_array(),
            columns: grid.columns,
            rows: grid.rows,
        },
        cells,
        roots: roots(world, view, grid),
        counters: counters(&view.counters),
        recent: recent(&status),
    })
}

fn node(record: &NodeRecord, view: &MeshView) -> NodeModel {
    let owned = view
        .cells
        .values()
        .filter(|cell| cell.owner == record.node)
        .count();
    // Of itself, a node knows better than by its own last word.
    let players = if view.node == Some(record.node) {
        u32::try_from(view.players.len()).unwrap_or(u32::MAX)
    } else {
        record.load.players
    };
    NodeModel {
        node: record.node,
        players,
        tick: Duration::from_micros(record.load.tick_us.into()),
        cells: u32::try_from(owned).unwrap_or(u32::MAX),
        draining: record.draining,
    }
}

fn roots(world: &World, view: &MeshView, grid: &CellGrid) -> Vec<RootModel> {
    let Some(mut query) = world.try_query_filtered::<(&HandoverRoot, &NetSlot), EvenHidden>()
    else {
        return Vec::new();
    };
    let mut roots: Vec<RootModel> = query
        .iter(world)
        .filter_map(|(root, slot)| {
            let place = position_of(world, slot)?;
            Some(RootModel {
                name: slot.global()?,
                player: root.player,
                host: view.node,
                at: [place.x, place.z],
                crossing: crossing(root.crossing(), view, grid, place),
            })
        })
        .collect();
    roots.sort_by_key(|root| root.name);
    roots
}

fn crossing(crossing: &Crossing, view: &MeshView, grid: &CellGrid, place: Vec3) -> CrossingModel {
    match crossing {
        Crossing::Inside => CrossingModel::Inside,
        Crossing::Asked { cell, .. } => CrossingModel::Asked { to: *cell },
        Crossing::Reserved {
            handover,
            cell,
            attached,
            ..
        } => CrossingModel::Reserved {
            handover: *handover,
            to: *cell,
            attached: *attached,
        },
        // A frozen root stands well within the cell it goes to.
        Crossing::Frozen { handover, .. } => {
            let cell = grid.cell_at(place);
            CrossingModel::Frozen {
                handover: *handover,
                to: (!view.owns(cell)).then_some(cell),
            }
        }
        Crossing::Cooling(_) => CrossingModel::Cooling,
    }
}

fn counters(counters: &HandoverCounters) -> MeshCountersModel {
    let mut rejected: Vec<(String, u64)> = counters
        .rejected
        .iter()
        .map(|(reason, count)| (reason.to_string(), *count))
        .collect();
    rejected.sort();
    MeshCountersModel {
        handed_over: counters.handed_over,
        activated: counters.activated,
        resumed: counters.resumed,
        rejected,
        reclaims: counters.reclaims,
        reclaimed_groups: counters.reclaimed_groups,
        refused_tickets: counters.refused_tickets,
    }
}

fn recent(status: &MeshStatus) -> Vec<RecentHandover> {
    status
        .traces
        .iter()
        .rev()
        .take(TRACES)
        .filter_map(recent_one)
        .collect()
}

fn recent_one(trace: &HandoverTrace) -> Option<RecentHandover> {
    let (outcome, ended) = trace.outcome?;
    Some(RecentHandover {
        handover: trace.handover,
        source: trace.role == Role::Source,
        with: trace.peer,
        outcome: word(outcome),
        handed_over: matches!(outcome, Outcome::HandedOver(_)),
        frozen: trace
            .at(Phase::Committed)
            .map(|frozen| ended.saturating_sub(frozen)),
    })
}

fn word(outcome: Outcome) -> String {
    match outcome {
        Outcome::HandedOver(term) => format!("handed over {term}"),
        Outcome::Aborted(reason) => format!("aborted: {reason:?}"),
        Outcome::Rejected(reason) => format!("rejected: {reason}"),
        Outcome::Cancelled => "cancelled".to_owned(),
        Outcome::Expired => "expired".to_owned(),
        Outcome::NotSent => "not sent".to_owned(),
        Outcome::Gone => "gone".to_owned(),
        Outcome::Expelled => "expelled".to_owned(),
    }
}
