//! From interest to what each link is told.

use bevy::{
    ecs::{lifecycle::HookContext, world::DeferredWorld},
    platform::collections::HashSet,
    prelude::*,
};
use seamless_transport::{LinkId, LinkSide};
use seamless_wire::{Allocator, Holder, WireId, record::LeaveReason};

use super::{InterestGrid, PeerInterest, Positions, ToolScopes, View};
use crate::{
    EvenHidden,
    peer::{Peer, PeerState, Peers},
    send::Projection,
    slots::{NetSlot, Role, Slot, Slots},
};

/// A client sees an entity, or does not see it any more.
#[derive(Message, Clone, Copy, Debug)]
pub struct Watched {
    /// The client.
    pub peer: seamless_wire::PeerId,
    /// The entity.
    pub entity: Entity,
    /// Whether it sees it now.
    pub sees: bool,
}

pub(super) fn scopes_changed(mut world: DeferredWorld, context: HookContext) {
    let entity = context.entity;
    let Some(&slot) = world.get::<NetSlot>(entity) else {
        return;
    };
    if let Some(mut slots) = world.get_resource_mut::<Slots>() {
        slots.rerouted.push(slot.index);
    }
}

/// What of a peer decides which part of a slot's row it is told.
#[derive(Clone, Copy)]
pub(crate) struct Route {
    pub(crate) side: LinkSide,
    pub(crate) link: LinkId,
    pub(crate) id: Option<seamless_wire::PeerId>,
    pub(crate) spectator: bool,
}

impl Route {
    const fn of(peer: &Peer) -> Self {
        Self {
            side: peer.side,
            link: peer.link,
            id: peer.id,
            spectator: peer.spectator,
        }
    }

    /// Which part of a slot's row the peer is told, and under which name. `None`: nothing,
    /// whatever its interest.
    ///
    /// A host tells everyone, but only what the host writes to the holder; a holder tells the host
    /// what it may write; a server shows a client's own entity to others if it is public; nobody
    /// is told what he told us.
    pub(crate) fn route(&self, index: u32, slot: &Slot) -> Option<(Projection, WireId)> {
        slot.global()?;
        let own = WireId {
            allocator: Allocator::Local,
            index,
            generation: slot.generation,
        };
        match (slot.role(), self.side) {
            (Role::Host, LinkSide::ToClient)
                if slot
                    .migrating()
                    .is_some_and(|migrating| migrating.link == self.link) =>
            {
                None
            }
            (Role::Host, LinkSide::ToClient) => {
                let lent = self
                    .id
                    .is_some_and(|id| slot.tenure.holder == Holder::Peer(id));
                Some((
                    if lent {
                        Projection::HostOnly
                    } else {
                        Projection::Full
                    },
                    own,
                ))
            }
            (Role::Host, LinkSide::ToServer) => {
                (!self.spectator).then_some((Projection::Full, own))
            }
            (Role::Remote { source }, LinkSide::ToClient) => {
                (slot.public && source != Some(self.link)).then_some((Projection::Full, own))
            }
            (Role::Remote { source }, LinkSide::ToServer) => {
                let held = self
                    .id
                    .is_some_and(|id| slot.tenure.holder == Holder::Peer(id));
                let name = slot
                    .remote_name
                    .filter(|_| held && source == Some(self.link))?;
                Some((Projection::HolderOnly, name))
            }
        }
    }
}

/// Reads the scopes of what may be seen by others than before. By no query: what hides from those
/// would be everybody's.
pub(crate) fn read_scopes(world: &mut World) {
    if world.resource::<Slots>().rerouted.is_empty() {
        return;
    }
    // In most games nothing is in a scope.
    let in_archetypes = |id| world.archetypes().component_index().get(&id);
    let scopes = world.component_id::<ToolScopes>().and_then(in_archetypes);
    let none_has_any = scopes.is_none_or(|archetypes| archetypes.is_empty());
    if none_has_any && world.resource::<Positions>().in_scope.is_empty() {
        return;
    }
    world.resource_scope(|world, mut positions: Mut<Positions>| {
        let slots = world.resource::<Slots>();
        for &index in &slots.rerouted {
            positions.grow(index);
            let entity = slots.get(index).map(|slot| slot.entity);
            let scopes = entity.and_then(|entity| world.get::<ToolScopes>(entity));
            let scopes = scopes.map(|scopes| scopes.0.iter().copied().collect());
            positions.set_scopes(index, scopes.unwrap_or_default());
        }
    });
}

/// Brings every link's set of visible slots up to date and tells of the changes.
///
/// Per link: two looks for each entity that went from region to region, and one question for each that
/// thereby comes or goes, that changed hands or scopes, or that is in a region or a scope that the link
/// has entered or left.
pub(crate) fn update_visibility(
    mut peers: ResMut<Peers>,
    mut slots: ResMut<Slots>,
    mut positions: ResMut<Positions>,
    grid: Res<InterestGrid>,
    net_slots: Query<&NetSlot, EvenHidden>,
    mut watched: MessageWriter<Watched>,
) {
    let positions = &mut *positions;
    let mut dirty = std::mem::take(&mut slots.rerouted);
    dirty.sort_unstable();
    dirty.dedup();
    // Which went to another region, and to which.
    let mut crossed = Vec::new();
    let mut moved = std::mem::take(&mut positions.moved);
    for &slot in &moved {
        let before = positions.region[slot as usize];
        let Some(at) = positions.at[slot as usize] else {
            continue;
        };
        let region = grid.region_of(at, before);
        if before != Some(region) {
            positions.place(slot, Some(region));
            crossed.push((slot, region));
        }
    }
    moved.clear();
    positions.moved = moved;
    let is_divided_anew = grid.is_changed();
    if is_divided_anew {
        // Regions are others now. A look at each entity, and below one at each for each peer.
        for slot in 0..positions.region.len() {
            let region = positions.region[slot].and(positions.at[slot]);
            let region = region.map(|at| grid.region_of(at, None));
            positions.place(slot as u32, region);
        }
    }

    for peer in peers
        .iter_mut()
        .filter(|peer| peer.state == PeerState::Ready)
    {
        let mut check = Vec::new();
        let here = (&*slots, &net_slots);
        if is_divided_anew {
            peer.interest.anchor = None;
            peer.interest.stale = true;
        }
        follow_view(&mut peer.interest, positions, &grid, here, &mut check);
        let Peer {
            interest,
            sender,
            side,
            ..
        } = peer;
        if *side == LinkSide::ToClient {
            let comes_or_goes = crossed
                .iter()
                .filter(|(slot, region)| interest.looks_at(*region) != sender.sees(*slot));
            check.extend(comes_or_goes.map(|(slot, _)| slot));
        }
        for scope in interest.changed_scopes.drain() {
            check.extend(positions.in_scope.get(&scope).into_iter().flatten());
        }
        check.append(&mut interest.recheck);
        if std::mem::take(&mut peer.interest.stale) {
            check.clear();
            check.extend(slots.iter().map(|(index, _)| index));
        } else {
            // Mostly all there is, and in order.
            check.extend_from_slice(&dirty);
            check.sort_unstable();
            check.dedup();
        }
        for index in check {
            let Some(slot) = slots.get(index) else {
                continue;
            };
            let wants = peer.side == LinkSide::ToServer
                || peer.interest.wants(
                    index,
                    positions.region.get(index as usize).copied().flatten(),
                    positions
                        .scopes
                        .get(index as usize)
                        .map_or(&[], |s| s.as_slice()),
                );
            let has_name = index < WireId::MAX_INDEX;
            let route = Route::of(peer).route(index, slot);
            let route = route.filter(|_| wants && has_name);
            let sees = route.is_some();
            if sees == peer.sender.sees(index) {
                continue;
            }
            if let Some((_, name)) = route
                && (name.allocator == Allocator::Peer && peer.sender.is_leaving(index)
                    || peer.sender.is_moving(index))
            {
                // The entity that had the slot before went under our own name for it. What comes
                // under another name does not imply that, so the peer must hear of it first. What
                // comes under the same name would imply that it is no more, and it is, elsewhere.
                peer.interest.recheck.push(index);
                continue;
            }
            if sees {
                peer.sender.appear(index);
            } else {
                let reason = LeaveReason::OutOfSight;
                peer.sender.vanish(index, slot.generation, reason);
            }
            if peer.side == LinkSide::ToClient
                && let Some(id) = peer.id
            {
                watched.write(Watched {
                    peer: id,
                    entity: slot.entity,
                    sees,
                });
            }
        }
    }
    dirty.clear();
    slots.rerouted = dirty;
}

/// Computes the regions a viewer sees if its own region changed, and adds what may have come or
/// gone to `check`.
fn follow_view(
    interest: &mut PeerInterest,
    positions: &Positions,
    grid: &InterestGrid,
    (slots, net_slots): (&Slots, &Query<&NetSlot, EvenHidden>),
    check: &mut Vec<u32>,
) {
    let everything = match interest.view {
        View::Everything => true,
        View::Nothing => false,
        View::Around(_, distance) | View::At(_, distance) => grid.is_too_far(distance),
    };
    if everything != interest.everything {
        interest.everything = everything;
        interest.stale = true;
    }
    let (at, distance) = match interest.view {
        View::Everything | View::Nothing => {
            interest.eye = None;
            if !interest.regions.is_empty() {
                interest.regions.clear();
                interest.stale = true;
            }
            return;
        }
        View::Around(entity, distance) => {
            if let Ok(slot) = net_slots.get(entity) {
                interest.viewer = Some((entity, slot.index));
            }
            // A game may hide it in a way that no query of ours knows of. It is in its slot still.
            let is_its = |index: u32| slots.get(index).is_some_and(|slot| slot.entity == entity);
            let viewer = interest
                .viewer
                .filter(|&(viewer, index)| viewer == entity && is_its(index));
            // While the entity is not there, the view stays where it was.
            let place = viewer.and_then(|(_, index)| positions.get(index));
            let Some(at) = place.or_else(|| interest.eye.filter(|_| interest.anchor.is_none()))
            else {
                return;
            };
            (at, distance)
        }
        View::At(at, distance) => (at, distance),
    };
    interest.eye = Some(at);
    if everything {
        interest.regions.clear();
        interest.anchor = None;
        return;
    }
    let region = grid.region_of(at, interest.anchor.map(|(region, _)| region));
    if interest.anchor == Some((region, distance)) {
        return;
    }
    interest.anchor = Some((region, distance));
    let regions: HashSet<_> = grid.around(region, distance).collect();
    for changed in regions.symmetric_difference(&interest.regions) {
        if let Some(members) = positions.members.get(changed) {
            check.extend_from_slice(members);
        }
    }
    interest.regions = regions;
}
