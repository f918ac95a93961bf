//! What the mesh tells the node, carried out in the world.

use bevy::prelude::*;
use seamless_mesh::protocol::{MeshCommand, MeshEvent};
use seamless_replication::{
    Admission, Names, NetClock, NetSlot, Peers, Slots,
    inputs::Inboxes,
    interest::{View, position_of},
    wire::{GlobalEntity, HandoverId, PeerId, frame::HandoverOffer, record::LeaveReason},
};

use super::{
    arrive::{Held, hold, settle},
    cells,
    depart::{end_attempt, handed_over, reserved, resumed},
    door::Linkless,
    plugin::MeshNodeConfig,
    state::{Expected, HandoverRoot, MeshView, PlayerLogin},
    terms::{drop_entity, set_term},
};
use crate::{
    geometry::{BorderRules, CellGrid},
    group::{members, names},
    port::Mesh,
};

/// Carries out everything the mesh said since the last frame.
pub(super) fn drive(world: &mut World) {
    let Some(mesh) = world.get_resource::<Mesh>().cloned() else {
        return;
    };
    for event in mesh.poll() {
        on_event(world, &mesh, event);
    }
}

fn on_event(world: &mut World, mesh: &Mesh, event: MeshEvent) {
    match event {
        MeshEvent::Joined { node, block, .. } => {
            if let Some(names) = Names::in_block(block) {
                world.resource_mut::<Slots>().set_names(names);
            }
            let link = mesh.link().clone();
            world
                .resource_mut::<NetClock>()
                .follow(move || link.mesh_now());
            world.resource_mut::<Admission>().node = Some(node);
            let mut view = world.resource_mut::<MeshView>();
            view.node = Some(node);
            // It is well until told otherwise.
            view.healthy = true;
            let cells = world.resource::<MeshNodeConfig>().cells.clone();
            mesh.send(MeshCommand::ClaimCells(cells));
        }
        MeshEvent::CellsChanged(cells) => cells::changed(world, mesh, cells),
        MeshEvent::NoRow { root } => make_row(world, mesh, root),
        MeshEvent::Names { names, .. } => cells::open(world, &names),
        MeshEvent::NodesChanged(nodes) => world.resource_mut::<MeshView>().nodes = nodes,
        MeshEvent::Reserved {
            handover,
            node,
            address,
            token,
            attached,
        } => {
            reserved(
                world,
                handover,
                HandoverOffer {
                    handover,
                    node,
                    address,
                    token,
                },
                attached,
            );
        }
        MeshEvent::Rejected {
            root,
            reason,
            retry_after,
        } => {
            *world
                .resource_mut::<MeshView>()
                .counters
                .rejected
                .entry(reason)
                .or_default() += 1;
            end_attempt(world, root, Some(retry_after));
        }
        MeshEvent::HandedOver { handover, term, to } => handed_over(world, handover, term, to),
        MeshEvent::Resumed { handover, term } => resumed(world, handover, term),
        MeshEvent::Expect {
            handover,
            manifest,
            viewpoint,
            ..
        } => {
            let player = manifest.player;
            let expected = Expected {
                manifest,
                viewpoint: Vec3::from_array(viewpoint),
            };
            world
                .resource_mut::<MeshView>()
                .expected
                .insert(handover, expected);
            if let Some(player) = player {
                welcome_spectator(world, mesh, player, handover);
            }
        }
        MeshEvent::Unexpect { handover } => {
            world.resource_mut::<MeshView>().expected.remove(&handover);
        }
        MeshEvent::Activate { .. } | MeshEvent::Reclaimed { .. } => hold(world, mesh, event),
        MeshEvent::Created { root, term } => {
            if let Some(term) = term {
                set_term(world, root, term);
            }
        }
        MeshEvent::LostRows(lost) => {
            world.resource_mut::<Held>().drop_rows(&lost);
            for name in lost {
                drop_entity(world, name, LeaveReason::Moved);
            }
        }
        MeshEvent::Fenced => set_fenced(world, true),
        MeshEvent::Unfenced => set_fenced(world, false),
        MeshEvent::Expelled => expelled(world),
        MeshEvent::Left => world.resource_mut::<MeshView>().left = true,
        MeshEvent::Health { ok, .. } => world.resource_mut::<MeshView>().healthy = ok,
        MeshEvent::Login {
            request,
            player,
            root,
            term,
            cell,
        } => {
            world.trigger(PlayerLogin { player, root, cell });
            world.flush();
            let entity = world.resource::<Slots>().entity(root);
            if let Some(entity) = entity {
                settle(world, entity, Some(player), true);
                set_term(world, root, term);
                world.resource_mut::<Inboxes>().remove(player);
                world.resource_mut::<Inboxes>().entry(player).host(term);
                Linkless::watch(world, player);
            } else {
                tracing::error!(%player, %root, "nobody spawned the player");
            }
            mesh.send(MeshCommand::SessionAnswer {
                request,
                accepted: entity.is_some(),
            });
        }
    }
}

/// Something that was put down by a player who has left for good: it stays, and gets a row of its
/// own.
fn make_row(world: &mut World, mesh: &Mesh, root: GlobalEntity) {
    let Some(entity) = world.resource::<Slots>().entity(root) else {
        return;
    };
    let is_thing = world
        .get::<HandoverRoot>(entity)
        .is_some_and(|root| root.player.is_none());
    let place = world
        .get::<NetSlot>(entity)
        .copied()
        .and_then(|slot| position_of(world, &slot));
    if let (true, Some(place)) = (is_thing, place) {
        let cell = world.resource::<CellGrid>().cell_at(place);
        let group = members(world, entity);
        let members = names(world, &group).into_iter().skip(1).collect();
        mesh.send(MeshCommand::Create {
            root,
            members,
            cell,
        });
    }
}

pub(super) fn set_fenced(world: &mut World, fenced: bool) {
    if world.resource::<MeshView>().fenced == fenced {
        return;
    }
    let mut view = world.resource_mut::<MeshView>();
    view.fenced = fenced;
    let me = view.node;
    let leaving = view.left || view.nodes.iter().any(|n| Some(n.node) == me && n.draining);
    let alive = me.is_some() && !leaving;
    let mut time = world.resource_mut::<Time<Virtual>>();
    if fenced {
        if alive {
            tracing::warn!("no sign of life of ours stands in the directory: nothing runs here");
        }
        time.pause();
        // What this frame would have run is not run either.
        time.advance_by(std::time::Duration::ZERO);
    } else {
        time.unpause();
    }
}

/// Others took us for dead: all that we had is theirs.
fn expelled(world: &mut World) {
    tracing::error!("taken for dead by the others; everything here is dropped");
    let hosted: Vec<GlobalEntity> = {
        let slots = world.resource::<Slots>();
        seamless_replication::migrate::host_map(slots)
            .filter_map(|(_, entity)| world.get::<NetSlot>(entity)?.global())
            .collect()
    };
    for name in hosted {
        drop_entity(world, name, LeaveReason::Moved);
    }
    let mut view = world.resource_mut::<MeshView>();
    view.node = None;
    view.cells.clear();
    view.open.clear();
    view.players.clear();
    view.expected.clear();
    world.resource_mut::<Admission>().node = None;
    world.insert_resource(Held::default());
    set_fenced(world, false);
    // Their clients must go and find whoever has them.
    let mut peers = world.resource_mut::<Peers>();
    for peer in peers.iter_mut() {
        peer.end();
    }
}

/// A client that is to come is linked here already, or has just come: let it look in, and say so.
pub(super) fn welcome_spectator(
    world: &mut World,
    mesh: &Mesh,
    player: PeerId,
    handover: HandoverId,
) {
    let viewpoint = match world.resource::<MeshView>().expected.get(&handover) {
        Some(expected) if expected.manifest.player == Some(player) => expected.viewpoint,
        _ => return,
    };
    let interest = world.resource::<BorderRules>().interest;
    let mut peers = world.resource_mut::<Peers>();
    let Some(peer) = peers.by_id_mut(player) else {
        return;
    };
    if peer.is_spectator() {
        peer.interest_mut().set_view(View::At(viewpoint, interest));
    }
    mesh.send(MeshCommand::ClientAttached { handover });
}
