//! Groups of ours on their way to a neighbour, or back.

use bevy::prelude::*;
use seamless_authority::{Pending, resume_deferred};
use seamless_replication::{
    Frozen, NetClock, NetSlot, Peers, Slots,
    inputs::Inboxes,
    interest::{View, position_of},
    wire::{
        GlobalEntity, HandoverId, NodeRef, PeerId, Term,
        control::Control,
        frame::{Frame, HandoverOffer},
        record::LeaveReason,
    },
};

use super::{
    state::{Crossing, GroupDeparted, HandoverRoot, MeshView, Tombstone},
    terms::{drop_entity, set_term},
};
use crate::{
    geometry::BorderRules,
    group::{members, names},
};

/// How long it is remembered where a group went.
const TOMBSTONE_SECONDS: u32 = 60;

/// The neighbour has room: tell the client where to open its second link.
pub(super) fn reserved(
    world: &mut World,
    handover: HandoverId,
    offer: HandoverOffer,
    attached: bool,
) {
    let now = world.resource::<NetClock>().tick();
    let rate = u32::from(world.resource::<NetClock>().rate());
    let Some(entity) = world.resource::<Slots>().entity(handover.root) else {
        return;
    };
    set_term(world, handover.root, handover.term);
    let Some(mut root) = world.get_mut::<HandoverRoot>(entity) else {
        return;
    };
    let (cell, since, was_attached) = match root.crossing {
        Crossing::Asked { cell, .. } => (cell, now, false),
        Crossing::Reserved {
            cell,
            since,
            attached,
            handover: before,
            ..
        } => (cell, since, attached && before == handover),
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
pub(super) fn end_attempt(
    world: &mut World,
    root: GlobalEntity,
    retry_after: Option<std::time::Duration>,
) {
    let clock = world.resource::<NetClock>();
    let wait = retry_after.map_or(0, |wait| {
        (wait.as_nanos() / clock.tick_length().as_nanos()) as u32
    });
    let until = clock.tick().plus(wait.max(u32::from(clock.rate())));
    let Some(entity) = world.resource::<Slots>().entity(root) else {
        return;
    };
    let Some(mut root) = world.get_mut::<HandoverRoot>(entity) else {
        return;
    };
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
pub(super) fn handed_over(world: &mut World, handover: HandoverId, term: Term, to: NodeRef) {
    let Some(entity) = world.resource::<Slots>().entity(handover.root) else {
        return;
    };
    let group = members(world, entity);
    let gone = names(world, &group);
    let player = world
        .get::<HandoverRoot>(entity)
        .and_then(|root| root.player);
    let place = world
        .get::<NetSlot>(entity)
        .copied()
        .and_then(|slot| position_of(world, &slot));
    let clock = world.resource::<NetClock>();
    let expires = clock
        .tick()
        .plus(u32::from(clock.rate()) * TOMBSTONE_SECONDS);
    // Requests that came while it was frozen are answered: not here any more.
    let deferred = world.resource_mut::<Pending>().take_deferred(&gone);
    for &name in gone.iter().rev() {
        drop_entity(world, name, LeaveReason::Moved);
    }
    resume_deferred(world, deferred);
    let mut view = world.resource_mut::<MeshView>();
    view.counters.handed_over += 1;
    for &name in &gone {
        view.tombstones
            .insert(name, Tombstone { to, term, expires });
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
        tell(world, player, &Control::RouteEnded { term });
    }
    world.write_message(GroupDeparted {
        members: gone,
        handover,
        term,
        to,
    });
}

/// The group stays: it goes on where it was frozen.
pub(super) fn resumed(world: &mut World, handover: HandoverId, term: Term) {
    let Some(entity) = world.resource::<Slots>().entity(handover.root) else {
        return;
    };
    let group = members(world, entity);
    let kept = names(world, &group);
    // Observers of one may despawn another.
    for &member in &group {
        if let Ok(mut member) = world.get_entity_mut(member) {
            member.remove::<Frozen>();
        }
    }
    set_term(world, handover.root, term);
    end_attempt(world, handover.root, None);
    world.resource_mut::<MeshView>().counters.resumed += 1;
    let deferred = world.resource_mut::<Pending>().take_deferred(&kept);
    resume_deferred(world, deferred);
}
