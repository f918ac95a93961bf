//! What the mesh tells the node, carried out in the world.

use bevy::prelude::*;
use seamless_authority::{Pending, Terms, resume_deferred};
use seamless_mesh::{
    directory::CellRecord,
    protocol::{MeshCommand, MeshEvent, ReclaimedGroup, Staged},
};
use seamless_replication::{
    Admission, Frozen, Hosted, Names, NetClock, NetSlot, Peers, Slots,
    inputs::Inboxes,
    interest::{View, position_of},
    snapshot::StagedSnapshot,
    wire::{
        CellId, GlobalEntity, HandoverId, InputSeq, NodeRef, PeerId, Tenure, Term, Tick,
        control::Control,
        frame::{Frame, HandoverOffer},
        record::LeaveReason,
    },
};

use super::{
    plugin::MeshNodeConfig,
    state::{
        CellOpened, Crossing, Expected, GroupActivated, GroupDeparted, HandoverRoot, MeshView,
        PlayerLogin, Tombstone,
    },
};
use crate::{
    geometry::BorderRules,
    group::{members, names},
    port::Mesh,
};

/// How long it is remembered where a group went.
const TOMBSTONE_SECONDS: u32 = 60;

/// Carries out everything the mesh said since the last frame.
pub(super) fn drive(world: &mut World) {
    let Some(mesh) = world.get_resource::<Mesh>().cloned() else { return };
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
            world.resource_mut::<NetClock>().follow(move || link.mesh_now());
            world.resource_mut::<Admission>().node = Some(node);
            let mut view = world.resource_mut::<MeshView>();
            view.node = Some(node);
            // It is well until told otherwise.
            view.healthy = true;
            let cells = world.resource::<MeshNodeConfig>().cells.clone();
            mesh.send(MeshCommand::ClaimCells(cells));
        }
        MeshEvent::CellsChanged(cells) => cells_changed(world, mesh, cells),
        MeshEvent::NodesChanged(nodes) => world.resource_mut::<MeshView>().nodes = nodes,
        MeshEvent::Reserved { handover, node, address, token, attached } => {
            reserved(world, handover, HandoverOffer { handover, node, address, token }, attached);
        }
        MeshEvent::Rejected { root, reason, retry_after } => {
            *world.resource_mut::<MeshView>().counters.rejected.entry(reason).or_default() += 1;
            end_attempt(world, root, Some(retry_after));
        }
        MeshEvent::HandedOver { handover, term, to } => handed_over(world, handover, term, to),
        MeshEvent::Resumed { handover, term } => resumed(world, handover, term),
        MeshEvent::Expect { handover, manifest, viewpoint, .. } => {
            let player = manifest.player;
            let expected = Expected { manifest, viewpoint: Vec3::from_array(viewpoint) };
            world.resource_mut::<MeshView>().expected.insert(handover, expected);
            if let Some(player) = player {
                welcome_spectator(world, mesh, player, handover);
            }
        }
        MeshEvent::Unexpect { handover } => {
            world.resource_mut::<MeshView>().expected.remove(&handover);
        }
        MeshEvent::Activate {
            handover, term, manifest, tick, last_input, staged, queue, claimed_at, ..
        } => {
            world.resource_mut::<MeshView>().expected.remove(&handover);
            let arrival = Arrival {
                handover: Some(handover),
                term,
                tick,
                last_input,
                player: manifest.player,
                claimed_at: Some(claimed_at),
            };
            if host(world, staged, &arrival).is_some() {
                world.resource_mut::<MeshView>().counters.activated += 1;
            }
            resume_deferred(world, queue);
        }
        MeshEvent::Reclaimed { dead, term, groups, .. } => reclaimed(world, dead, term, groups),
        MeshEvent::Created { root, term } => {
            if let Some(term) = term {
                set_term(world, root, term);
            }
        }
        MeshEvent::LostRows(lost) => {
            for name in lost {
                drop_entity(world, name, LeaveReason::Moved);
            }
        }
        MeshEvent::Fenced => set_fenced(world, true),
        MeshEvent::Unfenced => set_fenced(world, false),
        MeshEvent::Expelled => expelled(world),
        MeshEvent::Left => world.resource_mut::<MeshView>().left = true,
        MeshEvent::Health { ok, .. } => world.resource_mut::<MeshView>().healthy = ok,
        MeshEvent::Login { request, player, root, term, cell } => {
            world.trigger(PlayerLogin { player, root, cell });
            world.flush();
            let entity = world.resource::<Slots>().entity(root);
            if let Some(entity) = entity {
                settle(world, entity, Some(player), true);
                set_term(world, root, term);
                world.resource_mut::<Inboxes>().remove(player);
                world.resource_mut::<Inboxes>().entry(player).host(term);
            } else {
                tracing::error!(%player, %root, "nobody spawned the player");
            }
            mesh.send(MeshCommand::SessionAnswer { request, accepted: entity.is_some() });
        }
    }
}

/// A cell that is newly ours is opened once it is known what of it has a row.
fn cells_changed(world: &mut World, mesh: &Mesh, cells: Vec<CellRecord>) {
    let mut view = world.resource_mut::<MeshView>();
    view.cells = cells.into_iter().map(|record| (record.cell, record)).collect();
    let owned: Vec<CellId> =
        view.cells.keys().copied().filter(|cell| view.owns(*cell)).collect();
    view.open.retain(|cell| owned.contains(cell));
    let news = owned.iter().any(|cell| !view.open.contains(cell));
    let term = view.volatile_term();
    world.insert_resource(Terms::Fixed(term));
    if news {
        let _ = mesh;
        open_cells(world, &[]);
    }
}

fn open_cells(world: &mut World, known: &[GlobalEntity]) {
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
        world.trigger(CellOpened { cell, term, known: known.to_vec() });
        world.flush();
    }
}

/// The neighbour has room: tell the client where to open its second link.
fn reserved(world: &mut World, handover: HandoverId, offer: HandoverOffer, attached: bool) {
    let now = world.resource::<NetClock>().tick();
    let rate = u32::from(world.resource::<NetClock>().rate());
    let Some(entity) = world.resource::<Slots>().entity(handover.root) else { return };
    set_term(world, handover.root, handover.term);
    let Some(mut root) = world.get_mut::<HandoverRoot>(entity) else { return };
    let (cell, since, was_attached) = match root.crossing {
        Crossing::Asked { cell, .. } => (cell, now, false),
        Crossing::Reserved { cell, since, attached, handover: before, .. } => {
            (cell, since, attached && before == handover)
        }
        Crossing::Inside | Crossing::Frozen { .. } | Crossing::Cooling(_) => return,
    };
    let node = offer.node;
    root.stored = true;
    root.confirmed = true;
    root.crossing = Crossing::Reserved {
        handover,
        node,
        cell,
        attached: attached || was_attached,
        since,
        again: now.plus((rate / 4).max(1)),
    };
    let player = root.player;
    // An empty token says that the client is linked there or was told already; it is told again
    // all the same, so that it keeps that link.
    if let Some(player) = player
        && let Some(peer) = world.resource_mut::<Peers>().by_id_mut(player)
    {
        peer.send_frame(Frame::Handover(Box::new(offer)));
    }
}

/// An attempt came to nothing.
fn end_attempt(world: &mut World, root: GlobalEntity, retry_after: Option<std::time::Duration>) {
    let clock = world.resource::<NetClock>();
    let wait = retry_after.map_or(0, |wait| {
        (wait.as_nanos() / clock.tick_length().as_nanos()) as u32
    });
    let until = clock.tick().plus(wait.max(u32::from(clock.rate())));
    let Some(entity) = world.resource::<Slots>().entity(root) else { return };
    let Some(mut root) = world.get_mut::<HandoverRoot>(entity) else { return };
    let told = match root.crossing {
        Crossing::Reserved { handover, .. } | Crossing::Frozen { handover, .. } => Some(handover),
        Crossing::Inside | Crossing::Asked { .. } | Crossing::Cooling(_) => None,
    };
    root.crossing = Crossing::Cooling(until);
    let player = root.player;
    if let (Some(handover), Some(player)) = (told, player) {
        tell(world, player, &Control::HandoverEnded { handover });
    }
}

pub(super) fn tell(world: &mut World, player: PeerId, control: &Control) {
    if let Some(peer) = world.resource_mut::<Peers>().by_id_mut(player)
        && let Err(error) = peer.send_control(control)
    {
        tracing::warn!(%player, %error, "a client cannot be told");
    }
}

/// The group is another node's: it leaves this world, and whoever sees it here waits for the other
/// node to tell of it.
fn handed_over(world: &mut World, handover: HandoverId, term: Term, to: NodeRef) {
    let Some(entity) = world.resource::<Slots>().entity(handover.root) else { return };
    let group = members(world, entity);
    let gone = names(world, &group);
    let player = world.get::<HandoverRoot>(entity).and_then(|root| root.player);
    let place = world.get::<NetSlot>(entity).copied().and_then(|slot| position_of(world, &slot));
    let clock = world.resource::<NetClock>();
    let expires = clock.tick().plus(u32::from(clock.rate()) * TOMBSTONE_SECONDS);
    // Requests that came while it was frozen are answered: not here any more.
    let deferred = world.resource_mut::<Pending>().take_deferred(&gone);
    for &name in gone.iter().rev() {
        drop_entity(world, name, LeaveReason::Moved);
    }
    resume_deferred(world, deferred);
    let mut view = world.resource_mut::<MeshView>();
    view.counters.handed_over += 1;
    for &name in &gone {
        view.tombstones.insert(name, Tombstone { to, term, expires });
    }
    if let Some(player) = player {
        view.players.remove(&player);
        world.resource_mut::<Inboxes>().remove(player);
        let interest = world.resource::<BorderRules>().interest;
        // The client goes on watching this side of the border, as long as it wants to.
        if let Some(peer) = world.resource_mut::<Peers>().by_id_mut(player) {
            peer.set_spectator(true);
            let here = place.map_or(View::Nothing, |place| View::At(place, interest));
            peer.interest_mut().set_view(here);
        }
    }
    world.write_message(GroupDeparted { members: gone, handover, term, to });
}

/// The group stays: it goes on where it was frozen.
fn resumed(world: &mut World, handover: HandoverId, term: Term) {
    let Some(entity) = world.resource::<Slots>().entity(handover.root) else { return };
    let group = members(world, entity);
    let kept = names(world, &group);
    for &member in &group {
        world.entity_mut(member).remove::<Frozen>();
    }
    set_term(world, handover.root, term);
    end_attempt(world, handover.root, None);
    world.resource_mut::<MeshView>().counters.resumed += 1;
    let deferred = world.resource_mut::<Pending>().take_deferred(&kept);
    resume_deferred(world, deferred);
}

/// How a group came here.
pub(super) struct Arrival {
    pub(super) handover: Option<HandoverId>,
    pub(super) term: Term,
    pub(super) tick: Tick,
    pub(super) last_input: InputSeq,
    pub(super) player: Option<PeerId>,
    pub(super) claimed_at: Option<std::time::Duration>,
}

/// Hosts a group from its decoded state. `None` if the state is not of our making.
fn host(world: &mut World, staged: Staged, arrival: &Arrival) -> Option<Entity> {
    let Ok(snapshot) = staged.downcast::<StagedSnapshot>() else {
        tracing::error!("a group came with a state that another stager made");
        return None;
    };
    let term = arrival.term;
    let group = snapshot.spawn(world, |_, mut tenure: Tenure| {
        tenure.rehost(term.max(tenure.epoch.term));
        tenure
    });
    for &member in &group {
        world.entity_mut(member).remove::<Frozen>().insert(super::plugin::Stored);
        forget_tombstone(world, member);
    }
    let &root = group.first()?;
    settle(world, root, arrival.player, true);
    if let Some(player) = arrival.player {
        take_player(world, player, root, arrival);
    }
    world.write_message(GroupActivated {
        root,
        members: group,
        handover: arrival.handover,
        term,
        tick: arrival.tick,
        last_input: arrival.last_input,
        claimed_at: arrival.claimed_at,
    });
    Some(root)
}

fn forget_tombstone(world: &mut World, entity: Entity) {
    let name = world.get::<NetSlot>(entity).and_then(NetSlot::global);
    if let Some(name) = name {
        world.resource_mut::<MeshView>().tombstones.remove(&name);
    }
}

/// An entity becomes a root of ours.
fn settle(world: &mut World, entity: Entity, player: Option<PeerId>, stored: bool) {
    let mut root = HandoverRoot::new(player);
    root.arrived = world.resource::<NetClock>().tick();
    root.stored = stored;
    world.entity_mut(entity).insert(root);
    if let Some(player) = player {
        world.resource_mut::<MeshView>().players.insert(player, entity);
    }
}

/// A player's inputs go on after the last one that is in its state, and its client is told.
fn take_player(world: &mut World, player: PeerId, entity: Entity, arrival: &Arrival) {
    let Arrival { term, tick, last_input, .. } = *arrival;
    world.resource_mut::<Inboxes>().entry(player).resume(last_input, term, tick);
    let Some(root) = world.get::<NetSlot>(entity).and_then(NetSlot::global) else { return };
    let interest = world.resource::<BorderRules>().interest;
    if let Some(peer) = world.resource_mut::<Peers>().by_id_mut(player) {
        peer.set_spectator(false);
        peer.interest_mut().set_view(View::Around(entity, interest));
    }
    tell(world, player, &Control::Route { root, term, tick, applied: last_input });
}

/// A dead node's things are ours.
fn reclaimed(world: &mut World, dead: NodeRef, term: Term, groups: Vec<ReclaimedGroup>) {
    tracing::warn!(%dead, groups = groups.len(), "taken over from a dead node");
    world.resource_mut::<MeshView>().counters.reclaims += 1;
    for group in groups {
        let ReclaimedGroup { root, player, cell, tick, last_input, staged, .. } = group;
        let hosted = match staged {
            Some(Ok(staged)) => {
                host(world, staged, &Arrival { handover: None, term, tick, last_input, player, claimed_at: None })
            }
            Some(Err(error)) => {
                tracing::error!(%root, error, "a stored state does not decode here");
                None
            }
            // It had just logged in: it begins anew.
            None => player.and_then(|player| {
                world.trigger(PlayerLogin { player, root, cell });
                world.flush();
                let entity = world.resource::<Slots>().entity(root)?;
                settle(world, entity, Some(player), true);
                set_term(world, root, term);
                world.resource_mut::<Inboxes>().entry(player).host(term);
                Some(entity)
            }),
        };
        if hosted.is_some() {
            world.resource_mut::<MeshView>().counters.reclaimed_groups += 1;
        }
    }
}

/// Puts a root's group under a term, if that is higher.
fn set_term(world: &mut World, root: GlobalEntity, term: Term) {
    let Some(entity) = world.resource::<Slots>().entity(root) else { return };
    for member in members(world, entity) {
        raise_term(world, member, term);
    }
    let player = world.get::<HandoverRoot>(entity).and_then(|root| root.player);
    if let Some(player) = player {
        world.resource_mut::<Inboxes>().entry(player).raise_term(term);
    }
}

/// Puts one hosted entity under a term, if that is higher.
pub(super) fn raise_term(world: &mut World, entity: Entity, term: Term) {
    let Some(slot) = world.get::<NetSlot>(entity).copied() else { return };
    let Some(mut tenure) = world.resource::<Slots>().tenure(&slot) else { return };
    if tenure.epoch.term >= term || world.get::<Hosted>(entity).is_none() {
        return;
    }
    let plain = tenure.since == tenure.epoch && tenure.epoch.seq == 0 && !tenure.delegated;
    tenure.rehost(term);
    if plain {
        tenure.since = tenure.epoch;
    }
    if world.get::<seamless_replication::Authority>(entity).is_some() {
        world.entity_mut(entity).insert(seamless_replication::Authority::of(true, &tenure));
    } else {
        world.resource_mut::<Slots>().set_tenure(&slot, tenure);
    }
}

/// Takes an entity out of this world.
fn drop_entity(world: &mut World, name: GlobalEntity, reason: LeaveReason) {
    let Some(entity) = world.resource::<Slots>().entity(name) else { return };
    // Children that stay must not be despawned with it.
    let children: Vec<Entity> =
        world.get::<Children>(entity).map(|c| c.iter().collect()).unwrap_or_default();
    for child in children {
        if world.get::<NetSlot>(child).is_some() {
            world.entity_mut(child).remove::<ChildOf>();
        }
    }
    world.resource_mut::<Slots>().leave_because(reason);
    world.despawn(entity);
}

pub(super) fn set_fenced(world: &mut World, fenced: bool) {
    if world.resource::<MeshView>().fenced == fenced {
        return;
    }
    world.resource_mut::<MeshView>().fenced = fenced;
    let mut time = world.resource_mut::<Time<Virtual>>();
    if fenced {
        tracing::warn!("no sign of life of ours stands in the directory: nothing runs here");
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
    let Some(peer) = peers.by_id_mut(player) else { return };
    if peer.is_spectator() {
        peer.interest_mut().set_view(View::At(viewpoint, interest));
    }
    mesh.send(MeshCommand::ClientAttached { handover });
}
