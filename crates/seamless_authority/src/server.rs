//! The host's side: decide, lend, take back.

use std::collections::{BTreeMap, BTreeSet};

use bevy::{platform::collections::HashMap, prelude::*};
use seamless_replication::{
    Authority, ControlReceived, Frozen, NetClock, NetSlot, Peer, Peers, ReplicationConfig, Role,
    SessionState, Slots,
    interest::position_of,
    migrate::{adopt, confirmed, has_arrived, is_migrating, sees},
    transport::LinkId,
    wire::{
        Epoch, GlobalEntity, PeerId, RequestId, Tick,
        control::{AuthorityAnswer, Control, DenyReason, Kept},
    },
};

use crate::{
    AuthorityStats, Delegated,
    deferred::Deferred,
    held::{Adopted, Held},
    holder::{HolderEvent, Loan, Outcome, step},
    lease::Leases,
    policy::{AuthorityPolicy, Terms},
    publish,
    waiting::{WAITING_SECONDS, Waiting},
};

/// Most requests of one client that wait for a release of its own.
const MAX_AFTER_RELEASE: usize = 256;

/// Releases whose last row has not arrived, and requests for entities that are frozen.
#[derive(Resource, Default)]
pub struct Pending {
    releases: BTreeMap<(PeerId, GlobalEntity), Release>,
    /// Requests of clients for what they are just giving back.
    after_release: Vec<(LinkId, PeerId, RequestId, GlobalEntity)>,
    /// Items about frozen entities.
    deferred: Deferred,
    /// Delegations that overtook the first row of their entity.
    delegations: Waiting<()>,
    /// Entities of clients to be taken over once there is room to tell of it.
    takeovers: BTreeSet<Entity>,
    /// Clients that lost a link and have another, and when: what they hold they must see over it.
    returned: BTreeMap<PeerId, Tick>,
    /// Requests per client in this second.
    requests: HashMap<PeerId, u32>,
    second: u32,
}

/// A release whose last row has not arrived.
struct Release {
    link: LinkId,
    epoch: Epoch,
    last: u32,
    /// When it is carried out even without the last row.
    deadline: Tick,
}

impl Pending {
    /// How many items of clients wait: releases for their last row, requests for a release, items
    /// about frozen entities, delegations for a first row or for room to tell of them. 0 at rest.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.releases.len()
            + self.after_release.len()
            + self.deferred.len()
            + self.delegations.len()
            + self.takeovers.len()
    }

    /// Takes the items about these entities that came while they were frozen.
    pub fn take_deferred(&mut self, entities: &[GlobalEntity]) -> Vec<ControlReceived> {
        self.deferred.take(entities)
    }
}

/// Carries an event out on an entity that we host. `None` if we do not.
pub(crate) fn apply(world: &mut World, entity: Entity, event: HolderEvent) -> Option<Outcome> {
    let slot = *world.get::<NetSlot>(entity)?;
    let slots = world.resource::<Slots>();
    if slots.role(&slot)? != Role::Host {
        return None;
    }
    let before = slots.tenure(&slot)?;
    let outcome = step(&before, event);
    world
        .resource_mut::<AuthorityStats>()
        .count(&before, &outcome);
    if outcome.tenure != before {
        // The hook of the immutable component moves the fence.
        world
            .entity_mut(entity)
            .insert(Authority::of(true, &outcome.tenure));
    }
    Some(outcome)
}

/// Lends an entity to a client, if that sees it.
pub(crate) fn give(world: &mut World, entity: Entity, peer: PeerId, loan: Loan) {
    let Some(slot) = world.get::<NetSlot>(entity).copied() else {
        return;
    };
    let peers = world.resource::<Peers>();
    let in_scope = peers.is_local(peer)
        || peers
            .by_id(peer)
            .is_some_and(|p| sees(peers, p.link(), &slot));
    if in_scope {
        apply(world, entity, HolderEvent::Give(peer, loan));
    } else {
        tracing::warn!(%entity, %peer, "not given: the client does not see it");
    }
}

/// What a client says.
pub(crate) fn hear(world: &mut World, received: &ControlReceived) {
    let &ControlReceived {
        link,
        peer,
        ref control,
    } = received;
    match control {
        Control::AuthorityRequest { request, entity } => {
            hear_request(world, (link, peer), *request, *entity);
        }
        &Control::AuthorityRelease {
            entity,
            epoch,
            last,
        } => {
            let last = last.unwrap_or_default();
            hear_release(world, (link, peer), entity, epoch, last);
        }
        Control::Delegate { entity } => hear_delegate(world, (link, peer), *entity),
        &Control::Publish { entity, public } => {
            publish::hear(world, (link, peer), entity, public);
        }
        &Control::Migrated { entity, kept } => {
            // Who despawned it does not hold it.
            let lost = world.resource::<Slots>().entity(entity);
            if let Some(entity) = lost.filter(|_| kept == Kept::Nothing) {
                vanished(world, entity, peer);
            }
            confirmed(world, link, entity, kept);
        }
        _ => {}
    }
}

/// Notes a release until its last row is there. One outside the tenure says nothing, so no more
/// wait than a client holds entities.
fn hear_release(
    world: &mut World,
    (link, peer): (LinkId, PeerId),
    entity: GlobalEntity,
    epoch: Epoch,
    last: u32,
) {
    let slots = world.resource::<Slots>();
    let holds = slots
        .entity(entity)
        .and_then(|entity| world.get::<NetSlot>(entity))
        .and_then(|slot| slots.tenure(slot))
        .is_some_and(|tenure| tenure.admits_holder(peer, epoch));
    if !holds {
        world.resource_mut::<AuthorityStats>().void_releases += 1;
        return;
    }
    let clock = world.resource::<NetClock>();
    let deadline = clock.due().plus(u32::from(clock.rate()) * 2);
    let mut pending = world.resource_mut::<Pending>();
    let release = Release {
        link,
        epoch,
        last,
        deadline,
    };
    pending.releases.insert((peer, entity), release);
}

fn hear_request(
    world: &mut World,
    (link, peer): (LinkId, PeerId),
    request: RequestId,
    global: GlobalEntity,
) {
    let mut pending = world.resource_mut::<Pending>();
    let gives_back = pending.releases.contains_key(&(peer, global));
    if gives_back {
        // In the order in which the client said it.
        let waiting = pending.after_release.iter();
        if waiting.filter(|(_, other, ..)| *other == peer).count() < MAX_AFTER_RELEASE {
            pending.after_release.push((link, peer, request, global));
        } else {
            deny(world, link, request, global, DenyReason::Limited);
        }
        return;
    }
    let entity = known_to(world, (link, peer), global);
    if let Some(entity) = entity
        && world.get::<Frozen>(entity).is_some()
        // Of each client no more than it may ask for, so that others have room, too.
        && within_rate(world, peer)
        && world.resource::<Pending>().deferred.has_room()
    {
        let item = ControlReceived {
            link,
            peer,
            control: Control::AuthorityRequest {
                request,
                entity: global,
            },
        };
        world.resource_mut::<Pending>().deferred.push(item);
        return;
    }
    let entity = match entity {
        None => {
            let reason = match within_rate(world, peer) {
                true => DenyReason::Unknown,
                false => DenyReason::Limited,
            };
            return deny(world, link, request, global, reason);
        }
        Some(entity) if world.get::<Frozen>(entity).is_some() => {
            return deny(world, link, request, global, DenyReason::Limited);
        }
        Some(entity) => entity,
    };
    let verdict = verdict(world, (Some(link), peer), entity);
    renew(world, entity, peer);
    let outcome = apply(world, entity, HolderEvent::Request { peer, verdict });
    match outcome.and_then(|outcome| outcome.answer) {
        Some(answer) => answer_request(world, link, request, global, answer),
        None => deny(world, link, request, global, DenyReason::HostedElsewhere),
    }
}

/// Denies a request before anybody asks who holds the entity.
fn deny(
    world: &mut World,
    link: LinkId,
    request: RequestId,
    entity: GlobalEntity,
    reason: DenyReason,
) {
    world.resource_mut::<AuthorityStats>().deny(reason);
    let answer = AuthorityAnswer::Denied(reason);
    answer_request(world, link, request, entity, answer);
}

fn answer_request(
    world: &mut World,
    link: LinkId,
    request: RequestId,
    entity: GlobalEntity,
    answer: AuthorityAnswer,
) {
    let control = Control::AuthorityAnswer {
        request,
        entity,
        answer,
    };
    if let Some(peer) = world.resource_mut::<Peers>().get_mut(link)
        && let Err(error) = peer.send_control(&control)
    {
        tracing::warn!(%link, %error, "a request cannot be answered");
    }
}

/// A lease begins anew, if that client has one.
pub(crate) fn renew(world: &mut World, entity: Entity, peer: PeerId) {
    let now = world.resource::<NetClock>().tick();
    world.resource_mut::<Leases>().renew(entity, peer, now);
}

/// Counts a request of a client. False if it has made too many in this second.
pub(crate) fn within_rate(world: &mut World, peer: PeerId) -> bool {
    let clock = world.resource::<NetClock>();
    let second = clock.tick().0 / u32::from(clock.rate());
    let limit = world.resource::<AuthorityPolicy>().requests_per_second;
    let mut pending = world.resource_mut::<Pending>();
    if pending.second != second {
        pending.second = second;
        pending.requests.clear();
    }
    let count = pending.requests.entry(peer).or_default();
    *count = count.saturating_add(1);
    *count <= limit
}

/// The entity of a name, if a client may know of it: it sees it, or hosts it, or did just now. Whether
/// there is one that it does not see is nothing to tell it.
pub(crate) fn known_to(
    world: &World,
    (link, peer): (LinkId, PeerId),
    global: GlobalEntity,
) -> Option<Entity> {
    let slots = world.resource::<Slots>();
    let entity = slots.entity(global)?;
    let slot = world.get::<NetSlot>(entity)?;
    let known = slots.owner(slot) == Some(peer)
        || sees(world.resource::<Peers>(), link, slot)
        || is_migrating(world, link, global);
    known.then_some(entity)
}

/// What scope, rate and policy say to a request. Who has no link sees everything, from everywhere.
pub(crate) fn verdict(
    world: &mut World,
    (link, peer): (Option<LinkId>, PeerId),
    entity: Entity,
) -> Result<Loan, DenyReason> {
    if !within_rate(world, peer) {
        return Err(DenyReason::Limited);
    }
    let slot = world
        .get::<NetSlot>(entity)
        .copied()
        .ok_or(DenyReason::Unknown)?;
    let peers = world.resource::<Peers>();
    if link.is_some_and(|link| !sees(peers, link, &slot)) {
        return Err(DenyReason::OutOfScope);
    }
    let held = world.resource::<Held>().count(peer);
    let policy = world.resource::<AuthorityPolicy>();
    if held >= policy.entities_per_client as usize {
        return Err(DenyReason::Limited);
    }
    if let Some(max) = policy.max_distance {
        let peer = link.and_then(|link| world.resource::<Peers>().get(link));
        let eye = peer.and_then(Peer::eye);
        let place = position_of(world, &slot);
        if eye
            .zip(place)
            .is_some_and(|(eye, at)| eye.distance(at) > max)
        {
            return Err(DenyReason::TooFar);
        }
    }
    policy.decide(world, peer, entity)
}

/// Takes an entity over, or waits for its first row.
fn hear_delegate(world: &mut World, from: (LinkId, PeerId), global: GlobalEntity) {
    let here = known_to(world, from, global).is_some();
    let most = world.resource::<ReplicationConfig>().client_entities as usize;
    let clock = world.resource::<NetClock>();
    let deadline = clock.due().plus(u32::from(clock.rate()) * WAITING_SECONDS);
    let mut pending = world.resource_mut::<Pending>();
    if here || !pending.delegations.push(from, global, ((), deadline), most) {
        decide_delegation(world, from, global);
    }
}

/// Decides on delegations whose entity has come by now, or did not in time; and takes over what
/// there was no room for to tell of. Once a frame.
pub(crate) fn finish_delegations(world: &mut World) {
    for entity in std::mem::take(&mut world.resource_mut::<Pending>().takeovers) {
        take_over_unasked(world, entity);
    }
    if world.resource::<Pending>().delegations.is_empty() {
        return;
    }
    let now = world.resource::<NetClock>().tick();
    let due = world.resource_scope(|world, mut pending: Mut<Pending>| {
        let (world, peers) = (&*world, world.resource::<Peers>());
        let is_here = |link, peer, entity| known_to(world, (link, peer), entity).is_some();
        let room = |link| peers.get(link).map_or(0, Peer::control_room);
        pending.delegations.take_due(now, is_here, room)
    });
    for (link, peer, entity, ()) in due {
        decide_delegation(world, (link, peer), entity);
    }
}

fn decide_delegation(world: &mut World, (link, peer): (LinkId, PeerId), global: GlobalEntity) {
    if is_migrating(world, link, global) {
        // It asked twice.
        return;
    }
    let allowed = may_delegate(world, (link, peer), global);
    let result = allowed.and_then(|()| take_over(world, link, global));
    if let Ok(entity) = result
        && world.get::<NetSlot>(entity).is_some()
    {
        world.resource_mut::<Adopted>().note(entity, peer);
    }
    let Err(reason) = result else { return };
    let mut stats = world.resource_mut::<AuthorityStats>();
    *stats.refused.entry(reason).or_default() += 1;
    if let Some(peer) = world.resource_mut::<Peers>().get_mut(link)
        && let Err(error) = peer.send_control(&Control::DelegateRefused {
            entity: global,
            reason,
        })
    {
        tracing::warn!(%link, %error, "a delegation cannot be refused");
    }
}

/// What bounds and policy say to a client's wish that its entity be taken over.
fn may_delegate(
    world: &World,
    (link, peer): (LinkId, PeerId),
    global: GlobalEntity,
) -> Result<(), DenyReason> {
    let entity = known_to(world, (link, peer), global).ok_or(DenyReason::Unknown)?;
    let policy = world.resource::<AuthorityPolicy>();
    let held = world.resource::<Held>().count(peer);
    let adopted = world.resource::<Adopted>().count(peer);
    if held >= policy.entities_per_client as usize || adopted >= policy.adopted_per_client as usize
    {
        return Err(DenyReason::Limited);
    }
    match policy.decide_delegation(world, peer, entity) {
        true => Ok(()),
        false => Err(DenyReason::Policy),
    }
}

/// Takes over what a client hosts, and lets it be lent. The client is told.
fn take_over(world: &mut World, link: LinkId, global: GlobalEntity) -> Result<Entity, DenyReason> {
    let frozen = |entity| world.get::<Frozen>(entity).is_some();
    if world.resource::<Slots>().entity(global).is_some_and(frozen) {
        // On its way to another node. It may be asked for there.
        return Err(DenyReason::Limited);
    }
    let term = world.resource_mut::<Terms>().next();
    let keep = world
        .resource::<Peers>()
        .get(link)
        .is_some_and(|peer| !peer.is_spectator());
    let loan = world.resource::<AuthorityPolicy>().loan;
    let lent = keep.then_some((loan.writes, loan.lease));
    let entity = adopt(world, link, global, term, lent)?;
    publish::taken_over(world, entity);
    // An observer of the game may have despawned it, or taken it off the network.
    if let Ok(mut entity) = world.get_entity_mut(entity)
        && entity.contains::<NetSlot>()
    {
        entity.insert(Delegated);
    }
    world.resource_mut::<AuthorityStats>().migrated += 1;
    Ok(entity)
}

/// The server wants what a client hosts. Later, if the client cannot be told at present.
pub(crate) fn take_over_unasked(world: &mut World, entity: Entity) {
    let Some(slot) = world.get::<NetSlot>(entity).copied() else {
        return;
    };
    let link = world.resource::<Slots>().source(&slot);
    let (Some(link), Some(global)) = (link, slot.global()) else {
        return;
    };
    let room = world
        .resource::<Peers>()
        .get(link)
        .map_or(0, Peer::control_room);
    if room == 0 {
        world.resource_mut::<Pending>().takeovers.insert(entity);
    } else if let Err(reason) = take_over(world, link, global) {
        tracing::warn!(%entity, ?reason, "it stays with its client");
    }
}

/// Carries out releases whose last row has arrived, so that no final value is lost, and hears the
/// requests behind them. Once a frame, a step for each, and a look at all peers for each link.
pub(crate) fn finish_releases(world: &mut World) {
    let mut pending = world.resource_mut::<Pending>();
    let releases = std::mem::take(&mut pending.releases);
    if releases.is_empty() && pending.after_release.is_empty() {
        return;
    }
    let now = world.resource::<NetClock>().tick();
    let mut waiting = BTreeMap::new();
    for ((peer, global), release) in releases {
        let Some(entity) = world.resource::<Slots>().entity(global) else {
            continue;
        };
        let Some(slot) = world.get::<NetSlot>(entity).copied() else {
            continue;
        };
        let Release {
            link, epoch, last, ..
        } = release;
        if world.get::<Frozen>(entity).is_some() {
            let item = ControlReceived {
                link,
                peer,
                control: Control::AuthorityRelease {
                    entity: global,
                    epoch,
                    last: Some(last),
                },
            };
            let mut pending = world.resource_mut::<Pending>();
            pending.deferred.release(global, item);
            continue;
        }
        let arrived = last == 0 || has_arrived(world, link, &slot, last);
        if !arrived && now < release.deadline {
            waiting.insert((peer, global), release);
            continue;
        }
        let stamp = epoch;
        apply(world, entity, HolderEvent::Release { peer, stamp });
    }
    let mut pending = world.resource_mut::<Pending>();
    waiting.append(&mut pending.releases);
    pending.releases = waiting;
    // Those whose release is still waiting are put back.
    let mut sessions = BTreeMap::new();
    for (link, peer, request, entity) in std::mem::take(&mut pending.after_release) {
        let peers = world.resource::<Peers>();
        match *sessions.entry(link).or_insert_with(|| peers.session(link)) {
            SessionState::Stands(present) => hear_request(world, (present, peer), request, entity),
            SessionState::Suspended => {
                let mut pending = world.resource_mut::<Pending>();
                pending.after_release.push((link, peer, request, entity));
            }
            // The client knows that it will not be answered.
            SessionState::Over => {}
        }
    }
}

/// A client does not see an entity any more: it cannot go on holding it.
pub(crate) fn vanished(world: &mut World, entity: Entity, peer: PeerId) {
    apply(world, entity, HolderEvent::Vanish(peer));
}

/// A link is gone: what waits for an entity that it would tell of waits for nothing.
pub(crate) fn link_lost(world: &mut World, link: LinkId) {
    let mut pending = world.resource_mut::<Pending>();
    pending.delegations.link_lost(link);
}

/// A client goes on over another link with what it said.
pub(crate) fn resumed(world: &mut World) {
    world.resource_scope(|world, mut pending: Mut<Pending>| {
        pending.deferred.follow(world.resource::<Peers>());
    });
}

/// A client is gone: what it held is free. A step for each.
pub(crate) fn client_left(world: &mut World, peer: PeerId) {
    for entity in world.resource::<Held>().by(peer) {
        apply(world, entity, HolderEvent::Vanish(peer));
    }
}

/// A client lost a link and has another: once it is known what it sees over that, what it does not
/// see is free.
pub(crate) fn client_returned(world: &mut World, peer: PeerId) {
    let now = world.resource::<NetClock>().tick();
    world.resource_mut::<Pending>().returned.insert(peer, now);
}

/// Frees what clients that came again do not see any more. They never saw it over their new link, so
/// it did not leave their sight there. A step for each entity that such a client holds, once.
pub(crate) fn look_at_returned(world: &mut World) {
    if world.resource::<Pending>().returned.is_empty() {
        return;
    }
    let now = world.resource::<NetClock>().tick();
    let mut pending = world.resource_mut::<Pending>();
    // Sight is decided once a tick.
    let due = pending.returned.extract_if(.., |_, since| *since != now);
    let due: Vec<PeerId> = due.map(|(peer, _)| peer).collect();
    for peer in due {
        let Some(link) = world.resource::<Peers>().by_id(peer).map(Peer::link) else {
            continue;
        };
        for entity in world.resource::<Held>().by(peer) {
            let Some(slot) = world.get::<NetSlot>(entity).copied() else {
                continue;
            };
            // What it tells of itself still, it is not told.
            let its = slot
                .global()
                .is_some_and(|global| is_migrating(world, link, global));
            if !its && !sees(world.resource::<Peers>(), link, &slot) {
                vanished(world, entity, peer);
            }
        }
    }
}
