//! Publication: who sees what a client hosts.
//!
//! A client's own entity is *private* at first: the server has it, nobody else is told. It may be
//! *public*: other clients are told of it, and the client goes on hosting it. Once it is *delegated*
//! it is the server's, and seen like all that the server hosts.
//!
//! The client asks, the server's policy decides, and the server may decide by itself. What counts
//! is the server's flag; the client is told of each change, and says again what it wants when it
//! comes over another link.

use std::collections::BTreeSet;

use bevy::{
    ecs::{entity::EntityHashMap, world::DeferredWorld},
    prelude::*,
};
use seamless_replication::{
    Hosted, NetClock, NetSlot, Peer, Peers, ReplicationConfig, Role, Slots,
    migrate::{give_up, inherit, left_by},
    transport::LinkId,
    wire::{
        GlobalEntity, PeerId,
        control::{Control, DenyReason},
    },
};

use crate::{
    AuthorityStats,
    delegate::{hosted_there, playing},
    policy::{AuthorityPolicy, OwnerLeft, Terms},
    server::{known_to, within_rate},
    waiting::{WAITING_SECONDS, Waiting},
};

/// A client hosts the entity, and other clients see it. On that client, and on the server.
#[derive(Component, Clone, Copy, Debug, Default, Reflect)]
#[reflect(Component)]
#[component(clone_behavior = Ignore)]
pub struct Published;

/// What was asked for with [`publish`](crate::AuthorityCommandsExt::publish) or
/// [`unpublish`](crate::AuthorityCommandsExt::unpublish) was refused.
#[derive(EntityEvent, Clone, Copy, Debug)]
pub struct PublicationDenied {
    /// Which.
    pub entity: Entity,
    /// Why.
    pub reason: DenyReason,
}

/// Client: what we want of our own entities.
#[derive(Resource, Default)]
pub(crate) struct Wishes {
    /// What we said last; true: others see it.
    of: EntityHashMap<bool>,
    unsent: BTreeSet<Entity>,
    /// Over which link it was said.
    over: Option<LinkId>,
}

/// Wishes that overtook the first row of their entity.
#[derive(Resource, Default)]
pub(crate) struct Early(Waiting<bool>);

/// What the commands do, wherever they are used.
pub(crate) fn publish(world: &mut World, entity: Entity, public: bool) {
    let Some(slot) = world.get::<NetSlot>(entity).copied() else {
        return;
    };
    let slots = world.resource::<Slots>();
    let (role, owner) = (slots.role(&slot), slots.owner(&slot));
    // A server has names at all times.
    let client = world.resource::<Peers>().as_client().is_some() || slot.global().is_none();
    match role {
        Some(Role::Host) if client => {
            let mut wishes = world.resource_mut::<Wishes>();
            wishes.of.insert(entity, public);
            wishes.unsent.insert(entity);
            send_wishes(world);
        }
        // Everybody may see what a server hosts.
        Some(Role::Host) => {}
        Some(Role::Remote { source: Some(link) }) if owner.is_some() => {
            if set(world, entity, &slot, public)
                && let Some(global) = slot.global()
            {
                tell(
                    &mut world.resource_mut::<Peers>(),
                    link,
                    global,
                    (public, None),
                );
            }
        }
        _ => {
            let reason = DenyReason::HostedElsewhere;
            world.trigger(PublicationDenied { entity, reason });
        }
    }
}

/// Client: says what was not said over this link. Once a frame; nothing to do if nothing changed.
pub(crate) fn send_wishes(world: &mut World) {
    if world.resource::<Wishes>().of.is_empty() {
        return;
    }
    let Some(link) = playing(world.resource::<Peers>()).map(Peer::link) else {
        return;
    };
    let mut wishes = world.resource_mut::<Wishes>();
    let wishes = &mut *wishes;
    if wishes.over.replace(link) != Some(link) {
        // There all of ours are private.
        let public = wishes.of.iter().filter(|(_, public)| **public);
        wishes.unsent.extend(public.map(|(entity, _)| *entity));
    }
    for entity in std::mem::take(&mut wishes.unsent) {
        let public = world.resource::<Wishes>().of.get(&entity).copied();
        let (Some(public), Some(slot)) = (public, world.get::<NetSlot>(entity).copied()) else {
            continue;
        };
        let sent = slot.global().is_some_and(|global| {
            let control = Control::Publish {
                entity: global,
                public,
            };
            let mut peers = world.resource_mut::<Peers>();
            let peer = peers.get_mut(link);
            peer.is_some_and(|peer| peer.send_control(&control).is_ok())
        });
        if !sent {
            world.resource_mut::<Wishes>().unsent.insert(entity);
        }
    }
}

/// Client: how it is from here on.
pub(crate) fn heard(
    world: &mut World,
    link: LinkId,
    global: GlobalEntity,
    public: bool,
    refused: Option<DenyReason>,
) {
    if refused == Some(DenyReason::HostedElsewhere) {
        hosted_there(world, global);
    }
    let entity = world.resource::<Slots>().entity(global);
    let Some(entity) = entity.filter(|entity| world.get::<Hosted>(*entity).is_some()) else {
        // It migrated meanwhile, or is gone.
        return;
    };
    let mut wishes = world.resource_mut::<Wishes>();
    // What this server decided by itself it need not be asked for.
    wishes.over.get_or_insert(link);
    if !wishes.unsent.contains(&entity) {
        wishes.of.insert(entity, public);
    }
    mark(world, entity, public);
    if let Some(reason) = refused
        && world.get_entity(entity).is_ok()
    {
        world.trigger(PublicationDenied { entity, reason });
    }
}

/// Sets the marker, if the entity is still there: of several, the first one's observers may have
/// despawned the others.
fn mark(world: &mut World, entity: Entity, public: bool) {
    let Ok(mut entity) = world.get_entity_mut(entity) else {
        return;
    };
    match (public, entity.contains::<Published>()) {
        (true, false) => {
            entity.insert(Published);
        }
        (false, true) => {
            entity.remove::<Published>();
        }
        _ => {}
    }
}

/// An entity is not hosted here any more: what was wished of it is void.
pub(crate) fn forget(
    event: On<Remove, Hosted>,
    mut wishes: ResMut<Wishes>,
    mut commands: Commands,
) {
    let entity = event.entity;
    if wishes.of.remove(&entity).is_some() {
        wishes.unsent.remove(&entity);
        commands.entity(entity).try_remove::<Published>();
    }
}

/// Server: the marker goes, and not because it was decided so: the game took it off, or despawned the
/// entity. If its host tells of it again it is private, and the host knows.
pub(crate) fn unmarked(event: On<Remove, Published>, mut world: DeferredWorld) {
    let Some(slot) = world.get::<NetSlot>(event.entity).copied() else {
        return;
    };
    let mut slots = world.resource_mut::<Slots>();
    if !slots.is_public(&slot) {
        return;
    }
    slots.set_public(&slot, false);
    if let (Some(link), Some(entity)) = (slots.source(&slot), slot.global()) {
        tell(
            &mut world.resource_mut::<Peers>(),
            link,
            entity,
            (false, None),
        );
    }
}

/// A link is gone, and with it whom a server could show anything to.
pub(crate) fn link_lost(world: &mut World, link: LinkId) {
    world.resource_mut::<Early>().0.link_lost(link);
    let mut wishes = world.resource_mut::<Wishes>();
    if wishes.over != Some(link) {
        return;
    }
    wishes.over = None;
    let told: Vec<Entity> = wishes.of.keys().copied().collect();
    for entity in told {
        mark(world, entity, false);
    }
}

/// Server: what a client wishes.
pub(crate) fn hear(world: &mut World, from: (LinkId, PeerId), global: GlobalEntity, public: bool) {
    let here = known_to(world, from, global).is_some();
    let most = world.resource::<ReplicationConfig>().client_entities as usize;
    let clock = world.resource::<NetClock>();
    let deadline = clock.due().plus(u32::from(clock.rate()) * WAITING_SECONDS);
    let mut early = world.resource_mut::<Early>();
    if here || !early.0.push(from, global, (public, deadline), most) {
        decide(world, from, global, public);
    }
}

/// Server: decides on wishes whose entity has come by now, or did not in time. Once a frame.
pub(crate) fn finish(world: &mut World) {
    if world.resource::<Early>().0.is_empty() {
        return;
    }
    let now = world.resource::<NetClock>().tick();
    let due = world.resource_scope(|world, mut early: Mut<Early>| {
        let (world, peers) = (&*world, world.resource::<Peers>());
        let is_here = |link, peer, entity| known_to(world, (link, peer), entity).is_some();
        let room = |link| peers.get(link).map_or(0, Peer::control_room);
        early.0.take_due(now, is_here, room)
    });
    for (link, peer, entity, public) in due {
        decide(world, (link, peer), entity, public);
    }
}

fn decide(world: &mut World, from: (LinkId, PeerId), global: GlobalEntity, public: bool) {
    let verdict = match known_to(world, from, global) {
        Some(entity) => carry_out(world, from, entity, public),
        None => Err(DenyReason::Unknown),
    };
    let told = match verdict {
        Ok(()) => (public, None),
        Err(reason) => {
            let mut stats = world.resource_mut::<AuthorityStats>();
            *stats.refused.entry(reason).or_default() += 1;
            // As it is; of what is not its own it is told nothing.
            let own = reason == DenyReason::Policy || reason == DenyReason::Limited;
            (own && !public, Some(reason))
        }
    };
    tell(&mut world.resource_mut::<Peers>(), from.0, global, told);
}

fn carry_out(
    world: &mut World,
    (link, peer): (LinkId, PeerId),
    entity: Entity,
    public: bool,
) -> Result<(), DenyReason> {
    let slots = world.resource::<Slots>();
    let slot = *world.get::<NetSlot>(entity).ok_or(DenyReason::Unknown)?;
    let source = Some(link);
    match slots.role(&slot).ok_or(DenyReason::Unknown)? {
        Role::Host => return Err(DenyReason::HostedElsewhere),
        role if role != (Role::Remote { source }) || slots.owner(&slot) != Some(peer) => {
            return Err(DenyReason::NotDelegated);
        }
        Role::Remote { .. } => {}
    }
    if slots.is_public(&slot) == public {
        return Ok(());
    }
    let policy = world.resource::<AuthorityPolicy>();
    if public && !policy.decide_publication(world, peer, entity) {
        return Err(DenyReason::Policy);
    }
    // Shown again it is told whole to everybody, so it cannot be hidden as often as one likes.
    if !public && !within_rate(world, peer) {
        return Err(DenyReason::Limited);
    }
    set(world, entity, &slot, public);
    Ok(())
}

/// Server: shows a client's entity to others, or hides it. False if it is so already.
fn set(world: &mut World, entity: Entity, slot: &NetSlot, public: bool) -> bool {
    let mut slots = world.resource_mut::<Slots>();
    if slots.is_public(slot) == public {
        return false;
    }
    slots.set_public(slot, public);
    let mut stats = world.resource_mut::<AuthorityStats>();
    match public {
        true => stats.published += 1,
        false => stats.unpublished += 1,
    }
    mark(world, entity, public);
    true
}

/// Server: tells the host of an entity who sees it from here on.
fn tell(
    peers: &mut Peers,
    link: LinkId,
    entity: GlobalEntity,
    (public, refused): (bool, Option<DenyReason>),
) {
    let control = Control::Published {
        entity,
        public,
        refused,
    };
    if let Some(peer) = peers.get_mut(link)
        && let Err(error) = peer.send_control(&control)
    {
        tracing::warn!(%link, %error, "a client is not told who sees its entity");
    }
}

/// Server: it hosts from here on what a client did.
pub(crate) fn taken_over(world: &mut World, entity: Entity) {
    mark(world, entity, false);
}

/// Server: a client is gone, and left behind what others saw of its own. A step for each.
pub(crate) fn owner_left(world: &mut World, peer: PeerId, spectator: bool) {
    let policy = world.resource::<AuthorityPolicy>().owner_left;
    for entity in left_by(world, peer) {
        // Of one that only watches here another node hears.
        if spectator || policy == OwnerLeft::Despawn {
            give_up(world, entity);
            continue;
        }
        let term = world.resource_mut::<Terms>().next();
        if inherit(world, entity, term) {
            world.resource_mut::<AuthorityStats>().inherited += 1;
            taken_over(world, entity);
        }
    }
}
