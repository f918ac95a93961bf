//! The door: who comes in with which ticket, and what happens when a client leaves.

use bevy::{ecs::message::MessageCursor, platform::collections::HashMap, prelude::*};
use seamless_mesh::protocol::MeshCommand;
use seamless_replication::{
    Admission, Admitted, ControlReceived, NetClock, NetSlot, PeerJoined, PeerLeft, PeerRefused,
    Peers,
    inputs::Inboxes,
    interest::View,
    transport::LinkId,
    wire::{
        PeerId, Tick,
        control::Control,
        frame::Refusal,
        ticket::{Purpose, Ticket},
    },
};

use super::{
    depart::tell,
    events::welcome_spectator,
    plugin::MeshNodeConfig,
    state::{Crossing, HandoverRoot, MeshView},
};
use crate::{geometry::BorderRules, port::Mesh};

/// Players without a client, since when.
#[derive(Resource, Default)]
pub(super) struct Linkless(HashMap<PeerId, Tick>);

impl Linkless {
    /// A player is here: unless its client is, it has so long to come.
    pub(super) fn watch(world: &mut World, player: PeerId) {
        let now = world.resource::<NetClock>().tick();
        if world.resource::<Peers>().by_id(player).is_none() {
            world.resource_mut::<Self>().0.insert(player, now);
        }
    }
}

/// Has every ticket redeemed in the frame of the connect.
pub(super) fn install(world: &mut World, mesh: &Mesh) {
    let mesh = mesh.clone();
    let purposes = world.resource::<MeshView>().purposes.clone();
    let node = world.resource::<Admission>().node;
    let mut admission = Admission::new(move |link: LinkId, _, sealed| {
        let refused = |why: &str| Refusal::Ticket(why.to_owned());
        let ticket = sealed
            .and_then(Ticket::from_bytes)
            .ok_or_else(|| refused("no ticket"))?;
        let purpose = mesh
            .redeem(&ticket)
            .map_err(|error| refused(&error.to_string()))?;
        let mut purposes = purposes
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        purposes.insert(link, purpose);
        Ok(Admitted {
            peer: ticket.player,
            spectator: matches!(purpose, Purpose::Spectate { .. }),
        })
    });
    admission.node = node;
    world.insert_resource(admission);
}

/// Clients that came, said something, or left.
pub(super) fn attend(
    world: &mut World,
    mut joined: Local<MessageCursor<PeerJoined>>,
    mut left: Local<MessageCursor<PeerLeft>>,
    mut controls: Local<MessageCursor<ControlReceived>>,
    mut refusals: Local<MessageCursor<PeerRefused>>,
) {
    let Some(mesh) = world.get_resource::<Mesh>().cloned() else {
        return;
    };
    let arrivals: Vec<PeerJoined> = joined
        .read(world.resource::<Messages<PeerJoined>>())
        .copied()
        .collect();
    for arrival in arrivals {
        on_joined(world, &mesh, arrival);
    }
    let refused = refusals
        .read(world.resource::<Messages<PeerRefused>>())
        .filter(|refused| matches!(refused.reason, Refusal::Ticket(_)))
        .count();
    world.resource_mut::<MeshView>().counters.refused_tickets += refused as u64;
    let items: Vec<ControlReceived> = controls
        .read(world.resource::<Messages<ControlReceived>>())
        .cloned()
        .collect();
    for item in items {
        on_control(world, &mesh, &item);
    }
    let departures: Vec<PeerLeft> = left
        .read(world.resource::<Messages<PeerLeft>>())
        .copied()
        .collect();
    for PeerLeft { link, peer, .. } in departures {
        let purposes = world.resource::<MeshView>().purposes.clone();
        let purpose = purposes
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .remove(&link);
        if let Some(Purpose::Spectate { handover }) = purpose
            && world.resource::<Peers>().by_id(peer).is_none()
            && world
                .resource::<MeshView>()
                .expected
                .contains_key(&handover)
        {
            mesh.send(MeshCommand::ClientDetached { handover });
        }
        if world.resource::<MeshView>().players.contains_key(&peer) {
            Linkless::watch(world, peer);
        }
    }
    // Who was turned away after its ticket was taken never joined, and never leaves.
    let purposes = world.resource::<MeshView>().purposes.clone();
    let peers = world.resource::<Peers>();
    purposes
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
        .retain(|link, _| peers.get(*link).is_some());
}

fn on_joined(world: &mut World, mesh: &Mesh, arrival: PeerJoined) {
    let PeerJoined { link, peer, .. } = arrival;
    let purpose = {
        let purposes = world.resource::<MeshView>().purposes.clone();
        let purposes = purposes
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        purposes.get(&link).copied()
    };
    match purpose {
        Some(Purpose::Spectate { handover }) => {
            if world
                .resource::<MeshView>()
                .expected
                .contains_key(&handover)
            {
                welcome_spectator(world, mesh, peer, handover);
            } else {
                // The group may have come while its client was on the way.
                adopt_link(world, peer);
            }
        }
        Some(Purpose::Enter { .. }) => adopt_link(world, peer),
        None => {}
    }
}

/// A client whose player is here: its link plays.
fn adopt_link(world: &mut World, player: PeerId) {
    let Some(&entity) = world.resource::<MeshView>().players.get(&player) else {
        return;
    };
    world.resource_mut::<Linkless>().0.remove(&player);
    let interest = world.resource::<BorderRules>().interest;
    let ack = world.resource_mut::<Inboxes>().entry(player).ack();
    let Some(root) = world.get::<NetSlot>(entity).and_then(NetSlot::global) else {
        return;
    };
    let tick = world.resource::<NetClock>().tick();
    if let Some(peer) = world.resource_mut::<Peers>().by_id_mut(player) {
        peer.set_spectator(false);
        peer.interest_mut().set_view(View::Around(entity, interest));
    }
    let route = Control::Route {
        root,
        term: ack.term,
        tick,
        applied: ack.applied,
    };
    tell(world, player, &route);
}

fn on_control(world: &mut World, mesh: &Mesh, item: &ControlReceived) {
    let (said, stands) = match item.control {
        // The target says the same with its next answer; this is sooner. A client that lies is
        // handed over without its link, and has to come in by itself.
        Control::Attached { handover } => (handover, true),
        Control::AttachFailed { handover } => (handover, false),
        _ => return,
    };
    let now = world.resource::<NetClock>().tick();
    let view = world.resource::<MeshView>();
    let entity = view.players.get(&item.peer).copied();
    let Some(mut root) = entity.and_then(|entity| world.get_mut::<HandoverRoot>(entity)) else {
        return;
    };
    let Crossing::Reserved {
        handover,
        attached,
        again,
        ..
    } = &mut root.crossing
    else {
        return;
    };
    if *handover != said {
        return;
    }
    if stands && !*attached {
        *attached = true;
        *again = Tick(u32::MAX);
        mesh.send(MeshCommand::ClientAttached { handover: said });
    } else if !stands {
        tracing::warn!(player = %item.peer, handover = %said, "a client cannot reach the neighbour");
        // It gets another token. How long it is waited for in all stays as it is.
        *attached = false;
        *again = now;
        mesh.send(MeshCommand::ClientDetached { handover: said });
    }
}

/// Retires players whose client has been gone for long. Once a tick.
pub(super) fn retire_linkless(world: &mut World) {
    let Some(mesh) = world.get_resource::<Mesh>().cloned() else {
        return;
    };
    let clock = world.resource::<NetClock>();
    let now = clock.tick();
    let linger = world.resource::<MeshNodeConfig>().linger;
    let limit = (linger.as_nanos() / clock.tick_length().as_nanos()) as u32;
    let gone: Vec<PeerId> = world
        .resource::<Linkless>()
        .0
        .iter()
        .filter(|(_, since)| now.since(**since) > limit)
        .map(|(player, _)| *player)
        .collect();
    for player in gone {
        world.resource_mut::<Linkless>().0.remove(&player);
        if world.resource::<Peers>().by_id(player).is_some() {
            continue;
        }
        let Some(entity) = world.resource_mut::<MeshView>().players.remove(&player) else {
            continue;
        };
        let Some(name) = world.get::<NetSlot>(entity).and_then(NetSlot::global) else {
            continue;
        };
        world.resource_mut::<Inboxes>().remove(player);
        world.trigger(super::state::PlayerRetired {
            player,
            root: entity,
        });
        world.flush();
        mesh.send(MeshCommand::Retire { roots: vec![name] });
        if let Ok(entity) = world.get_entity_mut(entity) {
            entity.despawn();
        }
    }
}

/// Forgets where groups went, after a while.
pub(super) fn forget_tombstones(mut view: ResMut<MeshView>, clock: Res<NetClock>) {
    let now = clock.tick();
    if view
        .tombstones
        .values()
        .any(|tombstone| tombstone.expires <= now)
    {
        view.tombstones
            .retain(|_, tombstone| tombstone.expires > now);
    }
}
