//! The client's side: ask, give back, hear.

use std::collections::{BTreeMap, BTreeSet};

use bevy::{platform::collections::HashMap, prelude::*};
use seamless_replication::{
    Authority, ControlReceived, Hosted, NetSlot, Peers, SessionState, Slots,
    migrate::{follow, restore, written_version},
    transport::LinkId,
    wire::{
        Epoch, GlobalEntity, Holder, PeerId, RequestId, Term, Tick,
        control::{AuthorityAnswer, Control, DenyReason},
    },
};

use crate::{
    Delegated, Loan, delegate,
    later::now_or_later,
    local, publish,
    view::{self, AuthorityDenied, AuthorityView},
};

/// Requests without an answer, and releases that go out with this tick's rows.
#[derive(Resource, Default)]
pub(crate) struct Asked {
    last: u32,
    /// Each with the link it went over: only that one brings the answer. One that a row answers is
    /// not open any more.
    open: HashMap<RequestId, (Entity, LinkId)>,
    /// Entities that were granted before any fence of theirs was shown, and with which epoch.
    unfenced: BTreeMap<Entity, Epoch>,
    /// Links that are gone, over which requests are open.
    lost: BTreeSet<LinkId>,
    releases: BTreeSet<Entity>,
    /// What we held and the game here despawned, under which epoch.
    gone: Vec<(LinkId, GlobalEntity, Epoch)>,
    /// Under which host's term each release was sent, and over which link. A host that took the
    /// entity over meanwhile may not know of it, nor one to whom that link is lost.
    released: HashMap<Entity, (Term, LinkId)>,
    /// Delegations that were sent and not answered, and over which link.
    pub(crate) delegated: HashMap<GlobalEntity, LinkId>,
    /// Entities of ours that the server may have taken over before a link was lost; and when to
    /// give up one that it said is its own, and does not tell us of.
    pub(crate) unclear: BTreeMap<GlobalEntity, Option<Tick>>,
    /// Entities of ours that are to be delegated and have no name yet.
    pub(crate) unnamed: BTreeSet<Entity>,
}

impl Asked {
    /// A row answers a request.
    pub(crate) fn answered(&mut self, request: RequestId) {
        self.open.remove(&request);
    }

    /// Whether a release goes out with this tick.
    pub(crate) fn gives_back(&self, entity: Entity) -> bool {
        self.releases.contains(&entity)
    }

    /// What we hold of a link is despawned here: its host goes on with it, whoever did so.
    pub(crate) fn despawned(&mut self, link: LinkId, entity: GlobalEntity, epoch: Epoch) {
        self.gone.push((link, entity, epoch));
    }

    /// The row came again while the release is under way: tells a new host of it.
    pub(crate) fn still_releasing(&mut self, entity: Entity, term: Term) {
        if self.released.get(&entity).map(|(told, _)| *told) != Some(term) {
            self.releases.insert(entity);
        }
    }
}

/// Adds what a game does with authority to entity commands.
pub trait AuthorityCommandsExt {
    /// Client: asks the host to lend the entity. The answer comes as
    /// [`AuthorityGranted`](crate::AuthorityGranted) or [`AuthorityDenied`], exactly one. Without
    /// effect while an earlier request is open or it is ours already.
    fn request_authority(&mut self) -> &mut Self;

    /// Client: gives the entity back, with the values it has at the end of this tick.
    fn release_authority(&mut self) -> &mut Self;

    /// Client: has the server take over an entity that we host, and lend it from then on. We stay
    /// its holder. Server: takes over what a client hosts without being asked; the client stays its
    /// holder if it sees it. What hangs on the entity (`Children`) and has the same host goes along.
    /// On a host: lets the entity's authority be lent, of this one alone.
    fn delegate(&mut self) -> &mut Self;

    /// Host: the entity cannot be lent any more. It goes on being replicated.
    fn undelegate(&mut self) -> &mut Self;

    /// Client: has the server show an entity that we host to other clients; we go on hosting it. It is
    /// [`Published`](crate::Published) once it is so. Refused, by the server's policy, it is a
    /// [`PublicationDenied`](crate::PublicationDenied). Server: the same, of what a client hosts,
    /// without asking anybody. Without effect on what a server hosts: everybody may see that.
    fn publish(&mut self) -> &mut Self;

    /// Client: has the server hide an entity that we host from other clients. Server: the same, of
    /// what a client hosts. It may be published again.
    fn unpublish(&mut self) -> &mut Self;

    /// Client: asks for a lease to begin anew, of an entity that is ours. Without effect otherwise.
    fn renew_authority(&mut self) -> &mut Self;

    /// Host: lends the entity to a client, whoever has it, until it is given back or taken.
    fn give_authority(&mut self, peer: PeerId) -> &mut Self {
        self.lend_authority(peer, Loan::default())
    }

    /// Host: lends the entity to a client on these terms, whoever has it.
    fn lend_authority(&mut self, peer: PeerId, loan: Loan) -> &mut Self;

    /// Host: keeps the entity; requests are denied.
    fn take_authority(&mut self) -> &mut Self;

    /// Host: frees the entity, whoever has it.
    fn reset_authority(&mut self) -> &mut Self;
}

impl AuthorityCommandsExt for EntityCommands<'_> {
    fn request_authority(&mut self) -> &mut Self {
        self.queue(|entity: EntityWorldMut| now_or_later(entity, request))
    }

    fn release_authority(&mut self) -> &mut Self {
        self.queue(|entity: EntityWorldMut| now_or_later(entity, release))
    }

    fn delegate(&mut self) -> &mut Self {
        self.queue(|entity: EntityWorldMut| now_or_later(entity, delegate::delegate_tree))
    }

    fn undelegate(&mut self) -> &mut Self {
        // Its observer says so to the fence.
        self.try_remove::<Delegated>()
    }

    fn publish(&mut self) -> &mut Self {
        self.queue(|entity: EntityWorldMut| {
            now_or_later(entity, |world, entity| {
                publish::publish(world, entity, true);
            });
        })
    }

    fn unpublish(&mut self) -> &mut Self {
        self.queue(|entity: EntityWorldMut| {
            now_or_later(entity, |world, entity| {
                publish::publish(world, entity, false);
            });
        })
    }

    fn renew_authority(&mut self) -> &mut Self {
        self.queue(|entity: EntityWorldMut| {
            now_or_later(entity, |world, entity| {
                let held = world.get::<AuthorityView>(entity) == Some(&AuthorityView::Granted);
                if let Some(player) = local::player(world, entity).filter(|_| held) {
                    local::request(world, entity, player);
                } else if held && let Err(reason) = ask(world, entity) {
                    tracing::warn!(%entity, ?reason, "a lease cannot be renewed");
                }
            });
        })
    }

    fn lend_authority(&mut self, peer: PeerId, loan: Loan) -> &mut Self {
        self.queue(move |entity: EntityWorldMut| {
            now_or_later(entity, move |world, entity| {
                crate::server::give(world, entity, peer, loan);
            });
        })
    }

    fn take_authority(&mut self) -> &mut Self {
        self.queue(|entity: EntityWorldMut| {
            now_or_later(entity, |world, entity| {
                crate::server::apply(world, entity, crate::HolderEvent::Take);
            });
        })
    }

    fn reset_authority(&mut self) -> &mut Self {
        self.queue(|entity: EntityWorldMut| {
            now_or_later(entity, |world, entity| {
                crate::server::apply(world, entity, crate::HolderEvent::Reset);
            });
        })
    }
}

fn request(world: &mut World, entity: Entity) {
    let view = world.get::<AuthorityView>(entity).copied();
    if matches!(
        view,
        Some(AuthorityView::Requested { .. } | AuthorityView::Granted)
    ) {
        return;
    }
    if let Some(player) = local::player(world, entity) {
        return local::request(world, entity, player);
    }
    match ask(world, entity) {
        Ok((request, link)) => {
            let mut asked = world.resource_mut::<Asked>();
            asked.open.insert(request, (entity, link));
            let granted = None;
            let view = AuthorityView::Requested { request, granted };
            world.entity_mut(entity).insert(view);
        }
        Err(reason) => deny(world, entity, reason),
    }
}

/// Sends a request. Nobody waits for the answer yet.
fn ask(world: &mut World, entity: Entity) -> Result<(RequestId, LinkId), DenyReason> {
    let (link, slot) = source(world, entity).ok_or(DenyReason::NotDelegated)?;
    let global = slot.global().ok_or(DenyReason::Unknown)?;
    let mut asked = world.resource_mut::<Asked>();
    asked.last = asked.last.wrapping_add(1);
    let request = RequestId(asked.last);
    let mut peers = world.resource_mut::<Peers>();
    let peer = peers.get_mut(link).ok_or(DenyReason::HostedElsewhere)?;
    let control = Control::AuthorityRequest {
        request,
        entity: global,
    };
    peer.send_control(&control)
        .map_err(|_| DenyReason::Limited)?;
    Ok((request, link))
}

/// Tells the game that it may not write an entity, if that is still there.
pub(crate) fn deny(world: &mut World, entity: Entity, reason: DenyReason) {
    if world.get_entity(entity).is_ok() {
        world.trigger(AuthorityDenied { entity, reason });
    }
}

fn source(world: &World, entity: Entity) -> Option<(LinkId, NetSlot)> {
    let slot = *world.get::<NetSlot>(entity)?;
    let link = world.resource::<Slots>().source(&slot)?;
    Some((link, slot))
}

fn release(world: &mut World, entity: Entity) {
    if let Some(player) = local::player(world, entity) {
        return local::release(world, entity, player);
    }
    let held = world.get::<AuthorityView>(entity) == Some(&AuthorityView::Granted);
    let Some(authority) = world.get::<Authority>(entity).copied().filter(|_| held) else {
        return;
    };
    world.resource_mut::<Asked>().releases.insert(entity);
    let after = AuthorityView::Releasing(authority.since);
    view::give_back(world, entity, after);
}

/// After collect, before send: a release names the last row of this tick, so that the server can
/// wait for it.
pub(crate) fn send_releases(world: &mut World) {
    if !world.resource::<Asked>().released.is_empty() {
        world.resource_scope(|world, mut asked: Mut<Asked>| {
            asked.released.retain(|entity, _| {
                matches!(
                    world.get::<AuthorityView>(*entity),
                    Some(AuthorityView::Releasing(_))
                )
            });
        });
    }
    for (link, entity, epoch) in std::mem::take(&mut world.resource_mut::<Asked>().gone) {
        let control = Control::AuthorityRelease {
            entity,
            epoch,
            last: None,
        };
        let mut peers = world.resource_mut::<Peers>();
        let sent = match peers.session(link) {
            SessionState::Stands(present) => peers
                .get_mut(present)
                .is_some_and(|peer| peer.send_control(&control).is_ok()),
            SessionState::Suspended => false,
            // Whoever had it lent has it back.
            SessionState::Over => true,
        };
        if !sent {
            let mut asked = world.resource_mut::<Asked>();
            asked.despawned(link, entity, epoch);
        }
    }
    for entity in std::mem::take(&mut world.resource_mut::<Asked>().releases) {
        let releasing = matches!(
            world.get::<AuthorityView>(entity),
            Some(AuthorityView::Releasing(_))
        );
        if !releasing {
            continue;
        }
        let Some((link, slot)) = source(world, entity) else {
            // Nobody tells of it at present: whoever does next hears of the release.
            world.resource_mut::<Asked>().releases.insert(entity);
            continue;
        };
        let (Some(global), Some(authority)) = (slot.global(), world.get::<Authority>(entity))
        else {
            continue;
        };
        let epoch = authority.epoch;
        let control = Control::AuthorityRelease {
            entity: global,
            epoch,
            last: written_version(world, &slot),
        };
        let mut peers = world.resource_mut::<Peers>();
        let peer = peers.get_mut(link);
        let sent = peer.is_some_and(|peer| peer.send_control(&control).is_ok());
        let mut asked = world.resource_mut::<Asked>();
        if sent {
            asked.released.insert(entity, (epoch.term, link));
        } else {
            // There is no room now: with the rows of a later tick.
            asked.releases.insert(entity);
        }
    }
}

/// What the server says.
pub(crate) fn hear(world: &mut World, received: &ControlReceived) {
    match &received.control {
        Control::AuthorityAnswer {
            request, answer, ..
        } => {
            let Some((entity, _)) = world.resource_mut::<Asked>().open.remove(request) else {
                return;
            };
            heard_answer(world, entity, *request, *answer);
        }
        Control::MigrateResponse { entity, .. } => {
            world.resource_mut::<Asked>().delegated.remove(entity);
            follow(world, received.link, &received.control);
        }
        &Control::Published {
            entity,
            public,
            refused,
        } => publish::heard(world, received.link, entity, public, refused),
        Control::WriteRefused {
            entity: global,
            hosted: true,
        }
        | Control::DelegateRefused {
            entity: global,
            reason: DenyReason::HostedElsewhere,
        } => delegate::hosted_there(world, *global),
        Control::DelegateRefused {
            entity: global,
            reason,
        } => {
            world.resource_mut::<Asked>().delegated.remove(global);
            let entity = world.resource::<Slots>().entity(*global);
            // If the server has taken it over by itself meanwhile, it was answered by that.
            let own = entity.filter(|entity| world.get::<Hosted>(*entity).is_some());
            if let Some(entity) = own {
                deny(world, entity, *reason);
            }
        }
        _ => {}
    }
}

fn heard_answer(world: &mut World, entity: Entity, request: RequestId, answer: AuthorityAnswer) {
    let Ok(present) = world.get_entity(entity) else {
        return;
    };
    let before = present.get::<AuthorityView>().copied();
    let ours = matches!(before, Some(AuthorityView::Requested { request: r, .. }) if r == request);
    if !ours {
        // Its host took it out of our sight meanwhile.
        return match answer {
            AuthorityAnswer::Granted(epoch) => granted_unseen(world, entity, request, epoch),
            AuthorityAnswer::Denied(reason) => deny(world, entity, reason),
        };
    }
    let Some(authority) = present.get::<Authority>().copied() else {
        // It was never shown to be lendable. If it was granted, the row that says so is under way.
        match answer {
            AuthorityAnswer::Denied(reason) => {
                world.entity_mut(entity).remove::<AuthorityView>();
                deny(world, entity, reason);
            }
            AuthorityAnswer::Granted(epoch) => {
                let granted = Some(epoch);
                let waiting = AuthorityView::Requested { request, granted };
                world.entity_mut(entity).insert(waiting);
                let mut asked = world.resource_mut::<Asked>();
                asked.unfenced.insert(entity, epoch);
            }
        }
        return;
    };
    if !authority.delegated {
        // It could be lent when it was asked for, and cannot any more.
        let reason = match answer {
            AuthorityAnswer::Granted(_) => DenyReason::Revoked,
            AuthorityAnswer::Denied(reason) => reason,
        };
        restore_of(world, entity);
        if let Ok(mut entity) = world.get_entity_mut(entity) {
            entity.remove::<AuthorityView>();
        }
        return deny(world, entity, reason);
    }
    let Some(me) = world.resource::<Peers>().as_client() else {
        return;
    };
    let (after, reason) = match answer {
        AuthorityAnswer::Granted(epoch) => {
            let waiting = AuthorityView::Requested {
                request,
                granted: Some(epoch),
            };
            (view::derive(waiting, &authority, me), None)
        }
        AuthorityAnswer::Denied(reason) => {
            let after = match authority.holder {
                Holder::Nobody => AuthorityView::Available,
                // We gave it back, and the row that says what came of it is under way. Until then
                // nobody else has it as far as we know, and what we wrote last may count.
                Holder::Peer(peer) if peer == me => AuthorityView::Releasing(authority.since),
                _ => AuthorityView::Denied,
            };
            (after, Some(reason))
        }
    };
    if matches!(after, AuthorityView::Releasing(_)) {
        // While we asked, the release was not said again if its link was lost.
        let mut asked = world.resource_mut::<Asked>();
        asked.still_releasing(entity, authority.epoch.term);
    }
    if reason.is_some() {
        // What was written here in hope of a grant goes.
        restore_of(world, entity);
        if world.get_entity(entity).is_err() {
            return;
        }
    }
    let mut commands = world.commands();
    view::enter(&mut commands.entity(entity), before, after, reason);
    world.flush();
}

/// What was asked for was granted, and the entity has been out of our sight since: it does not show that it
/// was asked for.
fn granted_unseen(world: &mut World, entity: Entity, request: RequestId, epoch: Epoch) {
    use AuthorityView as View;
    let view = world.get::<View>(entity);
    if let Some(View::Granted | View::Releasing(_) | View::Requested { .. }) = view {
        // That was it, or it was asked for again.
        return;
    }
    let shown = world.get::<Authority>(entity).map(|shown| shown.epoch);
    if shown.is_some_and(|shown| shown >= epoch) {
        // It was lost on the way.
        return deny(world, entity, DenyReason::Revoked);
    }
    if shown.is_none() {
        let mut asked = world.resource_mut::<Asked>();
        asked.unfenced.insert(entity, epoch);
    }
    let granted = Some(epoch);
    let mut entity = world.entity_mut(entity);
    entity.insert(View::Requested { request, granted });
}

/// Denies what was granted if its row is there and shows no fence: it cannot be lent any more. Once a
/// frame, a look at each that was granted before its first fence was shown.
pub(crate) fn settle_unfenced(world: &mut World) {
    for (entity, epoch) in std::mem::take(&mut world.resource_mut::<Asked>().unfenced) {
        let waits = matches!(
            world.get::<AuthorityView>(entity),
            Some(AuthorityView::Requested { granted, .. }) if *granted == Some(epoch)
        );
        if !waits || world.get::<Authority>(entity).is_some() {
            // The view follows the fence.
            continue;
        }
        let slot = world.get::<NetSlot>(entity);
        let tenure = slot.and_then(|slot| world.resource::<Slots>().tenure(slot));
        // Of what is out of sight, it says so when it comes again.
        if tenure.is_none_or(|tenure| tenure.epoch < epoch) {
            let mut asked = world.resource_mut::<Asked>();
            asked.unfenced.insert(entity, epoch);
            continue;
        }
        restore_of(world, entity);
        if let Ok(mut entity) = world.get_entity_mut(entity) {
            entity.remove::<AuthorityView>();
        }
        deny(world, entity, DenyReason::Revoked);
    }
}

/// Shows an entity as its host told of it last.
fn restore_of(world: &mut World, entity: Entity) {
    if let Some(slot) = world.get::<NetSlot>(entity).copied() {
        restore(world, &slot);
    }
}

/// A link is gone: what was asked over it will perhaps not be answered, whoever tells of the entity
/// now, and what was given back over it may not have been heard. A look at each open request and
/// release.
pub(crate) fn link_lost(world: &mut World, link: LinkId) {
    let mut asked = world.resource_mut::<Asked>();
    let asked = &mut *asked;
    for (global, _) in asked.delegated.extract_if(|_, over| *over == link) {
        asked.unclear.insert(global, None);
    }
    // Said again with the next tick, if it is still under way. One that was heard is void then.
    let unheard = asked.released.extract_if(|_, (_, over)| *over == link);
    asked.releases.extend(unheard.map(|(entity, _)| entity));
    if asked.open.values().any(|(_, over)| *over == link) {
        asked.lost.insert(link);
    }
}

/// Denies what was asked over links that are gone, unless their session may go on: then the request
/// and its answer do, too. Once a frame, a look at each open request while there is such a link.
pub(crate) fn settle_lost(world: &mut World) {
    for link in std::mem::take(&mut world.resource_mut::<Asked>().lost) {
        let session = world.resource::<Peers>().session(link);
        let asked = &mut *world.resource_mut::<Asked>();
        match session {
            SessionState::Suspended => {
                asked.lost.insert(link);
            }
            SessionState::Stands(present) => {
                let open = asked.open.values_mut();
                open.filter(|(_, over)| *over == link)
                    .for_each(|(_, over)| *over = present);
            }
            SessionState::Over => {
                let lost = asked.open.extract_if(|_, (_, over)| *over == link);
                let mut lost: Vec<(RequestId, Entity)> =
                    lost.map(|(id, (entity, _))| (id, entity)).collect();
                lost.sort_unstable();
                for (request, entity) in lost {
                    let denied = AuthorityAnswer::Denied(DenyReason::HostedElsewhere);
                    heard_answer(world, entity, request, denied);
                }
            }
        }
    }
}
