//! Borders: who is about to cross, who crosses now.
//!
//! Once a tick, after rows are up to date, one look at every root: ask the neighbour for room in
//! time for the client's second link to stand, and freeze the group once it is over the border for
//! good. Nothing is frozen while the directory is slow, and a root that cannot cross meets a soft
//! wall of the game's ([`CellGrid::hold_back`]).

use bevy::prelude::*;
use seamless_mesh::protocol::MeshCommand;
use seamless_replication::{
    EvenHidden, Frozen, NetClock, NetSlot,
    inputs::Inboxes,
    interest::position_of,
    snapshot::take_snapshot,
    wire::{CellId, HandoverId, control::Control},
};

use super::{
    depart::tell,
    state::{Crossing, GroupFrozen, HandoverRoot, MeshView},
};
use crate::{
    geometry::{BorderRules, CellGrid},
    group::{members, names},
    port::Mesh,
};

/// What is to be done about a root.
enum Step {
    Ask(CellId),
    Withdraw,
    Freeze(HandoverId),
}

/// One look at every root.
pub(super) fn watch_borders(
    world: &mut World,
    roots: &mut QueryState<Entity, (With<HandoverRoot>, EvenHidden)>,
) {
    let Some(mesh) = world.get_resource::<Mesh>().cloned() else {
        return;
    };
    let roots: Vec<Entity> = roots.iter(world).collect();
    for entity in roots {
        let Some(slot) = world.get::<NetSlot>(entity).copied() else {
            continue;
        };
        let Some(place) = position_of(world, &slot) else {
            continue;
        };
        let Some(step) = consider(world, entity, place) else {
            continue;
        };
        match step {
            Step::Ask(cell) => ask(world, &mesh, entity, place, cell),
            Step::Withdraw => withdraw(world, &mesh, entity),
            Step::Freeze(handover) => freeze(world, &mesh, entity, place, handover),
        }
    }
}

fn consider(world: &mut World, entity: Entity, place: Vec3) -> Option<Step> {
    let rules = *world.resource::<BorderRules>();
    let grid = *world.resource::<CellGrid>();
    let clock = world.resource::<NetClock>();
    let (now, length, rate) = (clock.tick(), clock.tick_length(), u32::from(clock.rate()));
    let ticks = |time: std::time::Duration| (time.as_nanos() / length.as_nanos()) as u32;
    let view = world.resource::<MeshView>();
    let (healthy, fenced) = (view.healthy, view.fenced || view.node.is_none());
    let own = |cell: CellId| view.owns(cell);
    let inside = grid
        .cells()
        .filter(|cell| own(*cell))
        .map(|cell| grid.distance(place, cell))
        .fold(f32::INFINITY, f32::min);
    let (nearest, distance) = grid.nearest_other(place, own)?;
    let owner = view.owner(nearest);

    let mut root = world.get_mut::<HandoverRoot>(entity)?;
    if let Some(last) = root.last_place.replace(place) {
        root.velocity = (place - last) * rate as f32;
    }
    let speed = Vec2::new(root.velocity.x, root.velocity.z).length();
    let past = inside >= rules.margin(speed);
    root.past_since = if past {
        Some(root.past_since.unwrap_or(now))
    } else {
        None
    };
    let settled = now.since(root.arrived) >= ticks(rules.residency);
    let near = distance <= rules.reach(speed);
    match root.crossing {
        Crossing::Frozen { .. } => None,
        Crossing::Cooling(until) => {
            if now >= until {
                root.crossing = Crossing::Inside;
            }
            None
        }
        Crossing::Inside => {
            let may = near && settled && owner.is_some() && !fenced;
            may.then_some(Step::Ask(nearest))
        }
        Crossing::Asked { cell, again } => {
            if !near && distance > rules.reach(speed) * 1.5 {
                return Some(Step::Withdraw);
            }
            (now >= again).then_some(Step::Ask(cell))
        }
        Crossing::Reserved {
            handover,
            cell,
            attached,
            since,
            again,
            ..
        } => {
            let other = past && nearest != cell && grid.distance(place, cell) > 0.0;
            if distance > rules.reach(speed) * 1.5 || other {
                return Some(Step::Withdraw);
            }
            let dwelt = root
                .past_since
                .is_some_and(|past| now.since(past) >= ticks(rules.dwell));
            let client = root.player.is_none()
                || attached
                || now.since(since) >= ticks(rules.attach_patience);
            if dwelt && client && healthy && !fenced {
                return Some(Step::Freeze(handover));
            }
            (now >= again && !attached).then_some(Step::Ask(cell))
        }
    }
}

/// Asks, or asks again: whether the client is there by now, or for a group that has changed.
fn ask(world: &mut World, mesh: &Mesh, entity: Entity, place: Vec3, cell: CellId) {
    let clock = world.resource::<NetClock>();
    let again = clock.tick().plus((u32::from(clock.rate()) / 4).max(1));
    let group = members(world, entity);
    let named = names(world, &group);
    let Some((&root_name, rest)) = named.split_first() else {
        return;
    };
    let rest = rest.to_vec();
    let Some(mut root) = world.get_mut::<HandoverRoot>(entity) else {
        return;
    };
    let player = root.player;
    root.confirmed &= root.asked == named;
    root.asked = named;
    match &mut root.crossing {
        Crossing::Reserved { again: next, .. } => *next = again,
        crossing => *crossing = Crossing::Asked { cell, again },
    }
    mesh.send(MeshCommand::Prepare {
        root: root_name,
        members: rest,
        player,
        cell,
        viewpoint: place.to_array(),
    });
}

fn withdraw(world: &mut World, mesh: &Mesh, entity: Entity) {
    let Some(name) = world.get::<NetSlot>(entity).and_then(NetSlot::global) else {
        return;
    };
    let Some(mut root) = world.get_mut::<HandoverRoot>(entity) else {
        return;
    };
    let told = match root.crossing {
        Crossing::Reserved { handover, .. } => Some(handover),
        _ => None,
    };
    root.crossing = Crossing::Inside;
    let player = root.player;
    mesh.send(MeshCommand::Cancel { root: name });
    if let (Some(handover), Some(player)) = (told, player) {
        tell(world, player, &Control::HandoverEnded { handover });
    }
}

/// Stops simulating the group at the end of this tick and hands its state to the mesh.
///
/// If something joined or left since the neighbour was asked, it is asked anew instead.
fn freeze(world: &mut World, mesh: &Mesh, entity: Entity, place: Vec3, handover: HandoverId) {
    let tick = world.resource::<NetClock>().tick();
    let group = members(world, entity);
    let named = names(world, &group);
    let Some(root) = world.get::<HandoverRoot>(entity) else {
        return;
    };
    let (player, cell) = match root.crossing {
        Crossing::Reserved { cell, .. } => (root.player, cell),
        _ => return,
    };
    if root.asked != named || !root.confirmed {
        if root.asked != named {
            ask(world, mesh, entity, place, cell);
        }
        return;
    }
    let state = match take_snapshot(world, &group).and_then(|snapshot| snapshot.to_bytes()) {
        Ok(state) => state,
        Err(error) => {
            tracing::error!(%handover, %error, "a group cannot be handed over");
            return withdraw(world, mesh, entity);
        }
    };
    // Observers of one may despawn another.
    for &member in &group {
        if let Ok(mut member) = world.get_entity_mut(member) {
            member.insert(Frozen);
        }
    }
    if let Some(mut root) = world.get_mut::<HandoverRoot>(entity) {
        root.crossing = Crossing::Frozen { handover, tick };
    }
    let last_input = player
        .and_then(|player| world.resource::<Inboxes>().get(player))
        .map(|inbox| inbox.ack().applied)
        .unwrap_or_default();
    let at = mesh.link().now();
    world.write_message(GroupFrozen { handover, tick, at });
    mesh.send(MeshCommand::Commit {
        handover,
        tick,
        last_input,
        state,
        queue: Vec::new(),
    });
}
