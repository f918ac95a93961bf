//! Which components of what it sees a client is told.
//!
//! A rule with an [`Audience`](crate::Audience) is asked for each client that sees an entity with
//! the component. What is hidden is left out of the rows of that link: they are rows of fewer
//! components. When the verdict changes the client is told the entity whole, once, with or without
//! the component.

use bevy::{platform::collections::HashMap, prelude::*};
use fixedbitset::FixedBitSet;
use seamless_transport::LinkSide;
use seamless_wire::{Holder, record::LeaveReason};

use crate::{
    peer::{Peer, PeerState, Peers},
    registry::{Registry, Viewer},
    rows::{Rows, SetId},
    slots::{Slot, Slots},
};

/// What is known of entities that have components with an audience.
#[derive(Resource, Default)]
pub(crate) struct Audiences {
    /// Components with an audience, by set.
    ruled: HashMap<SetId, Box<[u16]>>,
    /// Slots whose row has one, and the set of each row.
    slots: FixedBitSet,
    sets: Vec<SetId>,
    /// Slots about which all clients are asked again.
    recheck: Vec<u32>,
    /// For its memory.
    check: Vec<u32>,
    hidden: Vec<u16>,
}

/// Takes note of what the visibility of whole entities uses up: slots that another client holds or
/// that changed scopes, clients that changed scopes.
pub(crate) fn note(
    mut audiences: ResMut<Audiences>,
    mut peers: ResMut<Peers>,
    slots: Res<Slots>,
    registry: Res<Registry>,
) {
    if !registry.has_audiences() {
        return;
    }
    audiences.recheck.extend_from_slice(&slots.rerouted);
    for peer in peers.iter_mut() {
        peer.sender
            .notes_appearances(peer.side == LinkSide::ToClient);
        peer.interest.masks_stale |= peer.interest.stale;
    }
}

/// Asks the audiences where one of their inputs changed.
///
/// Cost: nothing without rules that have one. With them, a look at each row that changed, and for
/// each client one question for each such component of the entities that came into its sight,
/// changed hands or scopes, or, where the audience looks at the entity, changed.
pub(crate) fn update(world: &mut World) {
    if !world.resource::<Registry>().has_audiences() {
        return;
    }
    let registry = world.resource::<Registry>().clone();
    world.resource_scope(|world, mut audiences: Mut<Audiences>| {
        world.resource_scope(|world, mut rows: Mut<Rows>| {
            world.resource_scope(|world, mut peers: Mut<Peers>| {
                let audiences = &mut *audiences;
                audiences.follow(&registry, &mut rows);
                let ready = |peer: &&mut Peer| {
                    peer.state == PeerState::Ready && peer.side == LinkSide::ToClient
                };
                for peer in peers.iter_mut().filter(ready) {
                    audiences.ask(world, &registry, &mut rows, peer);
                }
                audiences.recheck.clear();
            });
        });
    });
}

impl Audiences {
    /// Finds the slots that changed in a way that matters.
    fn follow(&mut self, registry: &Registry, rows: &mut Rows) {
        for &slot in &rows.changed {
            let Some((_, row)) = rows.newest(slot) else {
                continue;
            };
            let at = slot as usize;
            let ruled = self.ruled.entry(row.set).or_insert_with(|| {
                let components = rows.sets.components(row.set).iter().copied();
                components
                    .filter(|&component| registry.component(component).audience.is_some())
                    .collect()
            });
            self.slots.grow(at + 1);
            self.slots.set(at, !ruled.is_empty());
            if self.sets.len() <= at {
                self.sets.resize(at + 1, SetId::default());
            }
            let is_other = std::mem::replace(&mut self.sets[at], row.set) != row.set;
            if ruled.is_empty() {
                continue;
            }
            let reads = |component: &u16| {
                let audience = &registry.component(*component).audience;
                audience.as_ref().is_some_and(|a| a.reads_entity)
            };
            if is_other || ruled.iter().any(reads) {
                self.recheck.push(slot);
            }
        }
    }

    fn ask(&mut self, world: &World, registry: &Registry, rows: &mut Rows, peer: &mut Peer) {
        let mut check = std::mem::take(&mut self.check);
        check.clear();
        check.extend_from_slice(&self.recheck);
        peer.sender.take_appeared(&mut check);
        check.append(&mut peer.interest.component_recheck);
        if std::mem::take(&mut peer.interest.masks_stale) {
            check.extend(self.slots.ones().map(|slot| slot as u32));
        }
        check.sort_unstable();
        check.dedup();
        for &index in &check {
            if !self.slots.contains(index as usize) || !peer.sender.sees(index) {
                continue;
            }
            let slot = world.resource::<Slots>().get(index);
            let Some(slot) = slot else { continue };
            let generation = slot.generation;
            let hidden = self.hidden_from(world, registry, rows, peer, (index, slot));
            let Some(hidden) = hidden else {
                // There is no number left for what is hidden. Rather nothing than too much.
                tracing::error!(
                    slot = index,
                    "too many sets of components; an entity is hidden"
                );
                let reason = LeaveReason::OutOfSight;
                peer.sender.vanish(index, generation, reason);
                continue;
            };
            peer.sender.hide(index, hidden);
        }
        self.check = check;
    }

    /// What of a slot's row a peer is not told. `None` if that cannot be said.
    fn hidden_from(
        &mut self,
        world: &World,
        registry: &Registry,
        rows: &mut Rows,
        peer: &Peer,
        (index, slot): (u32, &Slot),
    ) -> Option<SetId> {
        let (Some(id), Some((_, row))) = (peer.id, rows.newest(index)) else {
            return Some(SetId::default());
        };
        let (Some(ruled), Ok(entity)) = (self.ruled.get(&row.set), world.get_entity(slot.entity))
        else {
            return Some(SetId::default());
        };
        let viewer = Viewer {
            peer: id,
            interest: &peer.interest,
            owns: slot.owner == Some(id) || slot.tenure.holder == Holder::Peer(id),
        };
        self.hidden.clear();
        for &component in ruled {
            let registered = registry.component(component);
            let told = peer
                .interest
                .component_exception(index, registered.descriptor.id)
                .or_else(|| Some(registered.audience.as_ref()?.has(&viewer, entity)));
            if told == Some(false) {
                self.hidden.push(component);
            }
        }
        let hidden = rows.sets.intern(&self.hidden);
        // Out of sets: rather too little than too much.
        hidden.or_else(|| rows.sets.intern(ruled))
    }
}
