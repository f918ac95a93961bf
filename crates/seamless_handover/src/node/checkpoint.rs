//! Checkpoints: what survives this node.
//!
//! A few times a second, every root whose group changed is written to the directory, with all its
//! members at one tick. After a death, another node goes on from there.

use std::hash::{DefaultHasher, Hash, Hasher};

use bevy::{ecs::entity_disabling::Disabled, prelude::*};
use seamless_mesh::protocol::{CheckpointGroup, MeshCommand};
use seamless_replication::{
    EvenHidden, Frozen, Hosted, NetClock, NetSlot, Registry, Slots, inputs::Inboxes,
    interest::position_of, migrate::written_version, snapshot::take_snapshot,
};

use super::{
    plugin::{MeshNodeConfig, Stored},
    state::{Crossing, HandoverRoot, MeshView},
};
use crate::{
    geometry::CellGrid,
    group::{RidesOn, members},
    port::Mesh,
};

/// Writes the groups that changed. Cost per call: the version of each member of each root, and a
/// row per member of those that changed; a row per member of all if components are kept without
/// being replicated.
pub(super) fn checkpoint(
    world: &mut World,
    roots: &mut QueryState<Entity, (With<HandoverRoot>, With<Hosted>, Allow<Disabled>)>,
) {
    let Some(mesh) = world.get_resource::<Mesh>().cloned() else {
        return;
    };
    let clock = world.resource::<NetClock>();
    let (now, rate) = (clock.tick(), u32::from(clock.rate()));
    let every = (rate
        / world
            .resource::<MeshNodeConfig>()
            .checkpoints_per_second
            .max(1))
    .max(1);
    if !now.0.is_multiple_of(every) || world.resource::<MeshView>().node.is_none() {
        return;
    }
    let roots: Vec<Entity> = roots.iter(world).collect();
    let mut groups = Vec::new();
    for entity in roots {
        if let Some(group) = changed_group(world, entity) {
            groups.push(group);
        }
    }
    if !groups.is_empty() {
        mesh.send(MeshCommand::Checkpoint { groups });
    }
}

fn changed_group(world: &mut World, entity: Entity) -> Option<CheckpointGroup> {
    let root = world.get::<HandoverRoot>(entity)?;
    if !root.stored {
        return None;
    }
    let (written, player) = (root.written, root.player);
    let group = members(world, entity);
    let last_input = player
        .and_then(|player| world.resource::<Inboxes>().get(player))
        .map(|inbox| inbox.ack().applied)
        .unwrap_or_default();
    let mut digest = DefaultHasher::new();
    last_input.0.hash(&mut digest);
    for slot in group
        .iter()
        .filter_map(|&member| world.get::<NetSlot>(member))
    {
        (slot.global(), written_version(world, slot)).hash(&mut digest);
    }
    let keeps = world.resource::<Registry>().keeps_any();
    if !keeps && digest.finish() == written {
        return None;
    }
    let slot = *world.get::<NetSlot>(entity)?;
    let name = slot.global()?;
    let term = world.resource::<Slots>().tenure(&slot)?.epoch.term;
    let place = position_of(world, &slot)?;
    let snapshot = match take_snapshot(world, &group) {
        Ok(snapshot) => snapshot,
        Err(error) => {
            tracing::error!(root = %name, %error, "a group cannot be stored");
            return None;
        }
    };
    if keeps {
        // What is kept but not replicated makes no versions.
        for row in &snapshot.rows {
            row.components.hash(&mut digest);
        }
        if digest.finish() == written {
            return None;
        }
    }
    // Observers of one may despawn another.
    for &member in &group {
        if let Ok(mut member) = world.get_entity_mut(member) {
            member.insert(Stored);
        }
    }
    if let Some(mut root) = world.get_mut::<HandoverRoot>(entity) {
        root.written = digest.finish();
    }
    Some(CheckpointGroup {
        root: name,
        term,
        tick: snapshot.tick,
        last_input,
        members: snapshot.rows,
        cell: world.resource::<CellGrid>().cell_at(place),
    })
}

/// What was carried and has a row becomes a root of its own when it is put down, and stops being
/// one when it is picked up.
pub(super) fn adjust_roots(
    mut commands: Commands,
    alone: Query<
        Entity,
        (
            With<Stored>,
            With<Hosted>,
            Without<HandoverRoot>,
            Without<RidesOn>,
            Without<ChildOf>,
            EvenHidden,
        ),
    >,
    carried: Query<
        (Entity, &NetSlot, &HandoverRoot),
        (
            Or<(With<RidesOn>, With<ChildOf>)>,
            Without<Frozen>,
            Allow<Disabled>,
        ),
    >,
    clock: Res<NetClock>,
    mesh: Option<Res<Mesh>>,
) {
    for entity in &alone {
        let mut root = HandoverRoot::new(None);
        root.stored = true;
        root.arrived = clock.tick();
        commands.entity(entity).insert(root);
    }
    for (entity, slot, root) in &carried {
        if root.player.is_some() {
            continue;
        }
        commands.entity(entity).remove::<HandoverRoot>();
        // It crosses with its carrier now, not by itself.
        if *root.crossing() != Crossing::Inside
            && let (Some(mesh), Some(root)) = (&mesh, slot.global())
        {
            mesh.send(MeshCommand::Cancel { root });
        }
    }
}
