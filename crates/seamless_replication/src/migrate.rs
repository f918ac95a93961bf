//! Migration: an entity changes its host, and with it the map it stands in, in one tick.
//!
//! A client spawned an entity and hosts it; the server takes it over. On the server it moves from
//! the remote map to the host map ([`adopt`]), on the client from the host map to the remote map
//! ([`follow`]), each time on the same Bevy entity, at a cost that does not depend on how many
//! there are. The client's stream goes on under the new name with the same baselines, and the
//! server's reverse stream begins at the row that both have, so no component is sent again.
//!
//! This is the only time an entity is renumbered. What the client sent under the old name before
//! it knew is redirected, for [`REDIRECT_TTL`].

use std::time::Duration;

use bevy::prelude::*;
use seamless_transport::{LinkId, LinkSide};
use seamless_wire::{
    Allocator, GlobalEntity, Holder, HostEntity, PeerId, RemoteEntity, Tenure, TenureEnd, Term,
    WireId, WriteMask,
    control::{Control, DenyReason, Kept},
    record::{LeaveReason, Version},
};

use crate::{
    clock::NetClock,
    peer::Peers,
    receive::{
        Redirect, apply,
        leave::{despawn, end_remote},
    },
    role::{assign_role, change_role, show_role},
    rows::{Fence, Ring, Rows},
    slots::{Migrating, NetSlot, Role, Slot, Slots},
};

/// How long an old name is understood after a migration.
pub const REDIRECT_TTL: Duration = Duration::from_secs(60);

/// How long a client may take to hear that it is not the host any more.
const HEARD_WITHIN_SECONDS: u32 = 5;

/// How long the rows that a migration named are kept once it is confirmed.
const UNPIN_SECONDS: u32 = 2;

/// Server: takes over an entity that a client hosts, under `term`, and lets its authority be lent.
/// The client stays its holder if `lent` says on which terms: what it may write, and for how many ticks
/// (0: until it gives it back).
///
/// Observers of the game see it become hosted. If one of them despawns it or takes it off the network,
/// the client is told of both.
///
/// # Errors
/// [`DenyReason`] if there is no such entity, or the client does not host it.
pub fn adopt(
    world: &mut World,
    link: LinkId,
    global: GlobalEntity,
    term: Term,
    lent: Option<(WriteMask, u32)>,
) -> Result<Entity, DenyReason> {
    let slots = world.resource::<Slots>();
    let index = slots.index_of(global).ok_or(DenyReason::Unknown)?;
    let slot = slots.get(index).ok_or(DenyReason::Unknown)?;
    let (entity, generation) = (slot.entity, slot.generation);
    match slot.role() {
        Role::Remote {
            source: Some(source),
        } if source == link && slot.owner.is_some() => {}
        // Taken over long ago; the client lost its link before it knew.
        Role::Host if slot.tenure.delegated => return Err(DenyReason::HostedElsewhere),
        _ => return Err(DenyReason::NotDelegated),
    }
    let name = slot.remote_name.ok_or(DenyReason::Unknown)?;
    let holder = slot.owner.map_or(Holder::Nobody, Holder::Peer);
    let mut tenure = Tenure {
        delegated: true,
        holder,
        ..*slot.tenure
    };
    tenure.rehost(term);
    match lent {
        Some((writes, lease)) => (tenure.writes, tenure.lease) = (writes, lease),
        None => tenure.transfer(Holder::Nobody, TenureEnd::OutOfScope),
    }

    let expires = redirect_expiry(world);
    let clock = world.resource::<NetClock>();
    let host_until = clock
        .due()
        .plus(HEARD_WITHIN_SECONDS * u32::from(clock.rate()));
    let mut peers = world.resource_mut::<Peers>();
    let peer = peers.get_mut(link).ok_or(DenyReason::Unknown)?;
    let old = peer
        .receiver
        .table
        .get(name.allocator, name.index)
        .ok_or(DenyReason::Unknown)?;
    let applied = old.ring.last();
    peer.receiver.table.migrate(
        name.index,
        Redirect {
            generation: name.generation,
            slot: index,
            slot_generation: generation,
            confirmed: false,
            host_until,
            expires,
        },
    );
    let kept = match peer.receiver.table.get_mut(Allocator::Local, index) {
        Some(slot) => std::mem::take(&mut slot.ring),
        None => Ring::default(),
    };
    // The row that both sides have, as the first of our own stream.
    let fence = Fence::new(&tenure, None);
    let mut rows = world.resource_mut::<Rows>();
    if let Some(shown) = kept.newest() {
        // Others may have been shown the entity before.
        rows.push_early(index, shown.row.view().under(&fence));
    }
    rows.pin(index);
    let version = rows
        .newest(index)
        .map_or_else(Version::default, |(version, _)| version);
    let response = Control::MigrateResponse {
        entity: global,
        old_index: name.index,
        old_generation: name.generation,
        new_index: index,
        new_generation: generation,
        tenure,
        applied: applied.0,
        version: version.0,
    };
    let mut peers = world.resource_mut::<Peers>();
    if let Some(peer) = peers.get_mut(link) {
        if let Some(slot) = peer.receiver.table.get_mut(Allocator::Local, index) {
            slot.ring = kept;
        }
        if let Err(error) = peer.send_control(&response) {
            tracing::warn!(%link, %error, "a migration cannot be told");
        }
    }
    // Before anybody sees the change: whoever takes the entity off the network then leaves a client
    // behind that is to hear under which name it goes.
    let migrating = Migrating {
        link,
        version,
        old_index: name.index,
        until: expires,
    };
    let mut slots = world.resource_mut::<Slots>();
    slots.begin_migration(index, migrating);
    if let Some(life) = assign_role(&mut slots, index, Role::Host, fence) {
        show_role(world, entity, life, Role::Host, &tenure);
    }
    Ok(entity)
}

fn redirect_expiry(world: &World) -> seamless_wire::Tick {
    let clock = world.resource::<NetClock>();
    let ticks = REDIRECT_TTL.as_nanos() / clock.tick_length().as_nanos();
    clock.tick().plus(ticks as u32)
}

/// Client: the server took over an entity of ours. Gives it, if it was still here.
///
/// `response` is a [`Control::MigrateResponse`]; anything else does nothing.
pub fn follow(world: &mut World, link: LinkId, response: &Control) -> Option<Entity> {
    let &Control::MigrateResponse {
        entity: global,
        old_index,
        old_generation,
        new_index,
        new_generation,
        tenure,
        applied,
        version,
    } = response
    else {
        return None;
    };
    if new_index >= WireId::MAX_INDEX {
        // No slot of a server that means well.
        return None;
    }
    let slots = world.resource::<Slots>();
    let local = slots.index_of(global).filter(|&index| index == old_index);
    let entity = local
        .and_then(|index| slots.get(index))
        .filter(|slot| slot.generation == old_generation && slot.role() == Role::Host)
        .map(|slot| slot.entity);
    let row = world
        .resource::<Rows>()
        .ring(old_index)
        .and_then(|ring| ring.get(Version(applied)))
        .map(|stored| stored.row.clone());
    let name = WireId {
        allocator: Allocator::Peer,
        index: new_index,
        generation: new_generation,
    };
    let mut kept = Kept::Nothing;
    let peer = world.resource::<Peers>().get(link);
    let ended = peer.is_some_and(|peer| peer.receiver.table.has_ended(name));
    if let Some(entity) = entity.filter(|_| ended) {
        // The server has despawned it since, and we heard that first.
        world.despawn(entity);
    } else if let Some(entity) = entity {
        let role = Role::Remote { source: Some(link) };
        let is_here = change_role(world, entity, role, tenure);
        if !is_here {
            // An observer despawned it. It begins anew with what the server tells of it next.
            tell_migrated(world, link, global, kept);
            return None;
        }
        if let Some(slot) = world.resource_mut::<Slots>().get_mut(old_index) {
            slot.remote_name = Some(name);
            slot.newest = seamless_wire::Tick(0);
        }
        let row = row.map(|mut row| {
            row.set_tenure(&tenure);
            (Version(version), row)
        });
        kept = match row {
            Some(_) => Kept::Row,
            None => Kept::Entity,
        };
        // The server used the slot before, and we have not heard of its end.
        let former = world
            .resource_mut::<Peers>()
            .get_mut(link)
            .and_then(|peer| {
                let table = &mut peer.receiver.table;
                table.end_life(name.allocator, name.index)
            });
        if let Some(former) = former.filter(|former| *former != entity) {
            end_remote(world, link, former, LeaveReason::Despawned);
        }
        if let Some(peer) = world.resource_mut::<Peers>().get_mut(link) {
            peer.receiver.table.install(name, global, entity, row);
            peer.sender.migrated_at(old_index, Version(applied));
        }
    }
    tell_migrated(world, link, global, kept);
    entity
}

/// Client: says that it has followed, and what it kept.
fn tell_migrated(world: &mut World, link: LinkId, entity: GlobalEntity, kept: Kept) {
    let mut peers = world.resource_mut::<Peers>();
    if let Some(peer) = peers.get_mut(link)
        && let Err(error) = peer.send_control(&Control::Migrated { entity, kept })
    {
        tracing::warn!(%link, %error, "a migration cannot be confirmed");
    }
}

/// Client: gives up an entity of ours that the server hosts, as far as it has told us of it by now:
/// it migrated, and the link was lost before we knew. False if the server has not told us yet.
pub fn yield_to_host(world: &mut World, global: GlobalEntity) -> bool {
    let slots = world.resource::<Slots>();
    let entity = slots
        .index_of(global)
        .and_then(|index| slots.get(index))
        .filter(|slot| slot.role() == Role::Host)
        .map(|slot| slot.entity);
    let peers = world.resource::<Peers>();
    let told = peers
        .iter()
        .filter(|peer| peer.side() == LinkSide::ToServer)
        .find_map(|peer| Some((peer.link(), peer.receiver.table.name_of(global)?)));
    let (Some(entity), Some((link, name))) = (entity, told) else {
        return false;
    };
    let source = Some(link);
    change_role(world, entity, Role::Remote { source }, Tenure::default());
    if let Some(mut peer) = world.resource_mut::<Peers>().take(link) {
        apply::restore(world, &mut peer, name);
        world.resource_mut::<Peers>().put_back(peer);
    }
    true
}

/// Server: entities that a client hosted, which other clients saw, and whose link is gone. Each is to be
/// [inherited](inherit) or [given up](give_up) in the same frame.
#[must_use]
pub fn left_by(world: &World, owner: PeerId) -> Vec<Entity> {
    world.resource::<Slots>().left_by(owner).collect()
}

/// Server: takes over what a client hosted whose link is gone, under `term`. Nobody holds it, and it
/// cannot be lent until it is delegated. False if there is no such entity.
pub fn inherit(world: &mut World, entity: Entity, term: Term) -> bool {
    let Some(slot) = world.get::<NetSlot>(entity) else {
        return false;
    };
    let slots = world.resource::<Slots>();
    let left = slots.get(slot.index).filter(|slot| {
        let source = None;
        slot.role() == (Role::Remote { source }) && slot.owner.is_some()
    });
    let Some(mut tenure) = left.map(|slot| *slot.tenure) else {
        return false;
    };
    tenure.rehost(term);
    tenure.transfer(Holder::Nobody, TenureEnd::OutOfScope);
    change_role(world, entity, Role::Host, tenure)
}

/// Server: despawns what a client hosted whose link is gone. Children that are told of on their own
/// stay.
pub fn give_up(world: &mut World, entity: Entity) {
    if world.get::<NetSlot>(entity).is_some() {
        despawn(world, entity, LeaveReason::Despawned);
    }
}

/// Server: whether an entity migrates from this link already, and the client does not know yet.
#[must_use]
pub fn is_migrating(world: &World, link: LinkId, global: GlobalEntity) -> bool {
    let slots = world.resource::<Slots>();
    let slot = slots.index_of(global).and_then(|index| slots.get(index));
    let migrating = slot.and_then(|slot| slot.migrating());
    migrating.is_some_and(|migrating| migrating.link == link)
}

/// Server: the client has migrated too. From here on it is told of the entity like anybody else.
///
/// `kept`: what it has of the entity and of the row that [`Control::MigrateResponse`] named.
pub fn confirmed(world: &mut World, link: LinkId, global: GlobalEntity, kept: Kept) {
    let slots = world.resource::<Slots>();
    let Some(index) = slots.index_of(global) else {
        return;
    };
    let under_way = slots.get(index).and_then(|slot| slot.migrating());
    let Some(migrating) = under_way.filter(|migrating| migrating.link == link) else {
        return;
    };
    end(world, index);
    let mut peers = world.resource_mut::<Peers>();
    let Some(peer) = peers.get_mut(link) else {
        return;
    };
    peer.receiver.table.confirm(migrating.old_index, index);
    if kept == Kept::Nothing {
        // It begins anew with the next record, also as a holder.
        peer.receiver.table.forget(Allocator::Local, index);
        return;
    }
    peer.sender.appear(index);
    if kept == Kept::Row {
        peer.sender.install_baseline(index, migrating.version);
    }
    peer.sender.migrated(index);
}

/// A migration is over: the rows of the slot are kept like any other's from here on.
fn end(world: &mut World, index: u32) {
    world.resource_mut::<Slots>().end_migration(index);
    let clock = world.resource::<NetClock>();
    let soon = clock.tick().plus(UNPIN_SECONDS * u32::from(clock.rate()));
    world.resource_mut::<Rows>().unpin(index, soon);
}

/// Server: a link to a client is gone for good, and nobody will confirm what migrates from it. A step
/// for each of those.
pub(crate) fn link_ended(world: &mut World, link: LinkId) {
    for index in world.resource::<Slots>().migrating_from(link) {
        end(world, index);
    }
}

/// Forgets redirects that are past their time, and does not wait any longer for a client that has not said
/// in all that time that it migrated too: it begins anew with what it is told. Once a tick, a look at each
/// link.
pub(crate) fn expire_redirects(world: &mut World) {
    let now = world.resource::<NetClock>().tick();
    for peer in world.resource_mut::<Peers>().iter_mut() {
        peer.receiver.table.expire_redirects(now);
    }
    for (link, index) in world.resource_mut::<Slots>().unconfirmed(now) {
        let slot = world.resource::<Slots>().get(index);
        match slot.and_then(Slot::global) {
            Some(global) => confirmed(world, link, global, Kept::Nothing),
            None => end(world, index),
        }
    }
}

/// An old name on a link and what it means now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RedirectEntry {
    /// The link.
    pub link: LinkId,
    /// The client's name for it.
    pub old: RemoteEntity,
    /// Ours.
    pub new: HostEntity,
}

/// The redirect table: all old names that are still understood.
pub fn redirects(peers: &Peers) -> impl Iterator<Item = RedirectEntry> {
    peers.iter().flat_map(|peer| {
        peer.receiver
            .table
            .redirects()
            .map(move |(index, redirect)| RedirectEntry {
                link: peer.link(),
                old: RemoteEntity(WireId {
                    allocator: Allocator::Peer,
                    index,
                    generation: redirect.generation,
                }),
                new: HostEntity(WireId {
                    allocator: Allocator::Local,
                    index: redirect.slot,
                    generation: redirect.slot_generation,
                }),
            })
    })
}

/// The host map: every entity that this app hosts, by its short name, the same on all links.
pub fn host_map(slots: &Slots) -> impl Iterator<Item = (HostEntity, Entity)> {
    slots
        .iter()
        .filter(|(_, slot)| slot.role() == Role::Host)
        .map(|(index, slot)| {
            let id = WireId {
                allocator: Allocator::Local,
                index,
                generation: slot.generation,
            };
            (HostEntity(id), slot.entity)
        })
}

/// The remote map: every entity that others host, by the link that tells of it and its short name
/// there.
pub fn remote_map(slots: &Slots) -> impl Iterator<Item = (LinkId, RemoteEntity, Entity)> {
    slots
        .iter()
        .filter_map(|(_, slot)| match (slot.role(), slot.remote_name) {
            (Role::Remote { source: Some(link) }, Some(name)) => {
                Some((link, RemoteEntity(name), slot.entity))
            }
            _ => None,
        })
}

/// Whether `entity` is told of over `link`, by its slot.
#[must_use]
pub fn sees(peers: &Peers, link: LinkId, slot: &NetSlot) -> bool {
    peers
        .get(link)
        .is_some_and(|peer| peer.side() == LinkSide::ToServer || peer.sender.sees(slot.index))
}

/// The number of the newest row of ours in a slot: what a release names as its last.
#[must_use]
pub fn written_version(world: &World, slot: &NetSlot) -> Option<u32> {
    world
        .resource::<Rows>()
        .newest(slot.index)
        .map(|(version, _)| version.0)
}

/// Server: whether the holder's row with this number, or a later one, has arrived over `link` in
/// its present tenure.
#[must_use]
pub fn has_arrived(world: &World, link: LinkId, slot: &NetSlot, version: u32) -> bool {
    held_version(world, link, slot)
        .is_some_and(|newest| !Version(version).is_newer_than(Version(newest)))
}

/// Server: the number of the holder's newest row that arrived over `link`, if any did in its
/// present tenure.
#[must_use]
pub fn held_version(world: &World, link: LinkId, slot: &NetSlot) -> Option<u32> {
    let entry = world.resource::<Slots>().get(slot.index)?;
    let peer = world.resource::<Peers>().get(link)?;
    let held = peer.receiver.table.get(Allocator::Local, slot.index)?;
    // The slot may have been another entity's, also one that the same client held.
    let present = held.generation == entry.generation && !held.is_of_before(entry.tenure.since);
    present.then(|| held.ring.last().0)
}

/// Shows a remote entity again as its host told of it last, over whatever was written here. What was
/// added to it here goes, as far as that is the host's to add.
pub fn restore(world: &mut World, slot: &NetSlot) {
    let told = world
        .resource::<Slots>()
        .get(slot.index)
        .map(|slot| (slot.role(), slot.remote_name));
    let Some((Role::Remote { source: Some(link) }, Some(name))) = told else {
        return;
    };
    let Some(mut peer) = world.resource_mut::<Peers>().take(link) else {
        return;
    };
    apply::restore(world, &mut peer, name);
    world.resource_mut::<Peers>().put_back(peer);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Names, Replicated, slots::Slot};

    fn link(index: u16) -> LinkId {
        LinkId {
            index,
            generation: 0,
        }
    }

    /// A server's world with entities that migrate from these links, and their slots.
    fn migrating(links: [LinkId; 3]) -> (World, [u32; 3]) {
        let mut world = World::new();
        let mut slots = Slots::default();
        slots.set_names(Names::in_block(1).expect("a block"));
        world.insert_resource(slots);
        world.insert_resource(NetClock::new(30));
        world.init_resource::<Rows>();
        let indices = links.map(|link| {
            let entity = world.spawn(Replicated).id();
            let index = world.get::<NetSlot>(entity).expect("it has one").index;
            world.resource_mut::<Rows>().pin(index);
            let migrating = Migrating {
                link,
                version: Version(1),
                old_index: 4,
                until: seamless_wire::Tick(60 * 30),
            };
            let mut slots = world.resource_mut::<Slots>();
            slots.begin_migration(index, migrating);
            index
        });
        (world, indices)
    }

    /// Slots of which all rows are kept, some seconds later.
    fn pinned(world: &mut World, indices: [u32; 3]) -> [bool; 3] {
        let later = world.resource::<NetClock>().tick().plus(10 * 30);
        let mut rows = world.resource_mut::<Rows>();
        rows.begin(later);
        indices.map(|index| rows.is_pinned(index))
    }

    #[test]
    fn rows_are_pinned_for_as_long_as_the_former_hosts_link_may_confirm() {
        let (mut world, indices) = migrating([link(1), link(2), link(1)]);
        assert_eq!(pinned(&mut world, indices), [true; 3]);
        link_ended(&mut world, link(1));
        assert_eq!(pinned(&mut world, indices), [false, true, false]);
        let slots = world.resource::<Slots>();
        let under_way = indices.map(|index| slots.get(index).and_then(Slot::migrating).is_some());
        assert_eq!(under_way, [false, true, false]);
    }

    #[test]
    fn what_is_listed_of_a_link_follows_it_and_goes_with_the_entity() {
        let (mut world, indices) = migrating([link(1), link(2), link(1)]);
        let mut slots = world.resource_mut::<Slots>();
        slots.migrations_follow(link(1), link(3));
        assert!(slots.migrating_from(link(1)).is_empty());
        assert_eq!(slots.migrating_from(link(3)), [indices[0], indices[2]]);
        let gone = slots.get(indices[0]).expect("taken").entity;
        world.despawn(gone);
        let mut slots = world.resource_mut::<Slots>();
        assert_eq!(slots.migrating_from(link(3)), [indices[2]]);
        slots.end_migration(indices[2]);
        assert!(slots.migrating_from(link(3)).is_empty());
    }
}
