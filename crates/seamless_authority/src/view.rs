//! How a client sees authority over an entity.
//!
//! The row says who holds it; the view adds what we asked for ourselves. An equal state tells
//! nothing; each entry into `Granted` or `Denied` and each exit from `Granted` is one event.

use bevy::{ecs::world::DeferredWorld, prelude::*};
use seamless_replication::{
    Authority, NetSlot, Peers, Slots,
    wire::{Epoch, Holder, PeerId, RequestId, control::DenyReason},
};

use crate::{client::Asked, holder::LossReason};

/// A client's view of an entity that can be lent.
#[derive(Component, Clone, Copy, PartialEq, Eq, Debug, Default)]
#[component(clone_behavior = Ignore)]
pub enum AuthorityView {
    /// Nobody has it.
    #[default]
    Available,
    /// We asked.
    Requested {
        /// The request.
        request: RequestId,
        /// Set once the answer said yes; the row with that epoch is still to come.
        granted: Option<Epoch>,
    },
    /// It is ours to write.
    Granted,
    /// We gave it back, held since this epoch, and the server has not said so yet.
    Releasing(Epoch),
    /// Somebody else has it.
    Denied,
}

/// The entity is lent to this client: what it writes goes to the host.
#[derive(Component, Clone, Copy, Debug, Default, Reflect)]
#[reflect(Component)]
#[component(clone_behavior = Ignore)]
pub struct Granted;

/// The entity is ours to write.
#[derive(EntityEvent, Clone, Copy, Debug)]
pub struct AuthorityGranted {
    /// Which.
    pub entity: Entity,
}

/// We may not write it: a request was denied, or somebody else took it while it was free.
#[derive(EntityEvent, Clone, Copy, Debug)]
pub struct AuthorityDenied {
    /// Which.
    pub entity: Entity,
    /// Why.
    pub reason: DenyReason,
}

/// It was ours, and is not any more.
#[derive(EntityEvent, Clone, Copy, Debug)]
pub struct AuthorityLost {
    /// Which.
    pub entity: Entity,
    /// Why; `None` after a release of our own.
    pub reason: Option<LossReason>,
}

/// The view that follows from a row.
#[must_use]
pub(crate) fn derive(before: AuthorityView, authority: &Authority, me: PeerId) -> AuthorityView {
    let mine = authority.holder == Holder::Peer(me);
    match before {
        // The row does not know of our release yet.
        AuthorityView::Releasing(since) if mine && authority.since == since => before,
        // The row of its grant is still to come. That it is ours may be of a tenure that we gave back.
        AuthorityView::Requested {
            granted: Some(epoch),
            ..
        } if authority.epoch < epoch => before,
        _ if mine => AuthorityView::Granted,
        // The answer is still to come.
        AuthorityView::Requested { granted: None, .. } => before,
        _ if authority.holder == Holder::Nobody => AuthorityView::Available,
        _ => AuthorityView::Denied,
    }
}

/// A row brought another fence: the view follows.
pub(crate) fn follow(world: &mut DeferredWorld<'_>, entity: Entity, authority: &Authority) {
    let view = world.get::<AuthorityView>(entity).copied();
    if !authority.hosted
        && !authority.delegated
        && let Some(AuthorityView::Requested { granted: None, .. }) = view
    {
        // The answer will say so.
        return;
    }
    // The player who sits at the server sees what that hosts.
    let peers = world.resource::<Peers>();
    let me = match authority.hosted {
        true => peers.local(),
        false => peers.as_client(),
    };
    if authority.hosted && me.is_none() || !authority.delegated {
        if let Some(AuthorityView::Requested { .. }) = view {
            let reason = DenyReason::Revoked;
            let denied = AuthorityDenied { entity, reason };
            world.commands().trigger(denied);
        }
        if view.is_some() {
            world
                .commands()
                .entity(entity)
                .try_remove::<(AuthorityView, Granted)>();
        }
        return;
    }
    let Some(me) = me else { return };
    let after = derive(view.unwrap_or_default(), authority, me);
    if let Some(AuthorityView::Requested { request, .. }) = view
        && !matches!(after, AuthorityView::Requested { .. })
    {
        world.resource_mut::<Asked>().answered(request);
    }
    if matches!(after, AuthorityView::Releasing(_)) {
        let mut asked = world.resource_mut::<Asked>();
        asked.still_releasing(entity, authority.epoch.term);
    }
    enter(&mut world.commands().entity(entity), view, after, None);
}

/// Puts the entity into a view and tells of it. `reason`: of a denied request.
pub(crate) fn enter(
    entity: &mut EntityCommands<'_>,
    before: Option<AuthorityView>,
    after: AuthorityView,
    reason: Option<DenyReason>,
) {
    if before != Some(after) {
        entity.try_insert(after);
        if after == AuthorityView::Granted {
            entity.try_insert(Granted);
        } else {
            entity.try_remove::<Granted>();
        }
    }
    let was_ours = matches!(
        before,
        Some(AuthorityView::Granted | AuthorityView::Releasing(_))
    );
    let asked = matches!(before, Some(AuthorityView::Requested { .. }));
    let implied = match after {
        AuthorityView::Denied if before != Some(after) && !was_ours => Some(DenyReason::Held),
        // It was granted and taken back before we knew.
        AuthorityView::Available if asked => Some(DenyReason::Revoked),
        _ => None,
    };
    if let Some(reason) = reason.or(implied) {
        entity.trigger(|entity| AuthorityDenied { entity, reason });
    }
}

/// Puts an entity that is ours into the view in which it is given back. Observers run after each of
/// the two steps, and may despawn it.
pub(crate) fn give_back(world: &mut World, entity: Entity, after: AuthorityView) {
    if let Ok(mut entity) = world.get_entity_mut(entity) {
        entity.insert(after);
    }
    if let Ok(mut entity) = world.get_entity_mut(entity) {
        entity.remove::<Granted>();
    }
}

/// The marker came: tell.
pub(crate) fn tell_granted(event: On<Add, Granted>, mut commands: Commands) {
    commands.trigger(AuthorityGranted {
        entity: event.entity,
    });
}

/// It is gone, or nobody lends it any more. A release that is still to be sent goes on its own then.
pub(crate) fn send_release(event: On<Remove, AuthorityView>, mut world: DeferredWorld) {
    let entity = event.entity;
    let releasing = matches!(
        world.get::<AuthorityView>(entity),
        Some(AuthorityView::Releasing(_))
    );
    if releasing && world.resource::<Asked>().gives_back(entity) {
        give_up(&mut world, entity);
    }
}

/// What was lent to us is not here any more: its host is to know.
fn give_up(world: &mut DeferredWorld, entity: Entity) {
    // Its host said so itself.
    if world.resource::<Peers>().is_receiving() {
        return;
    }
    if let Some(authority) = world.get::<Authority>(entity)
        && let Some(slot) = world.get::<NetSlot>(entity)
        && let (Some(link), Some(global)) = (world.resource::<Slots>().source(slot), slot.global())
    {
        let epoch = authority.epoch;
        let mut asked = world.resource_mut::<Asked>();
        asked.despawned(link, global, epoch);
    }
}

/// The marker goes: tell, whatever the cause. The reason is what the row says.
pub(crate) fn tell_lost(event: On<Remove, Granted>, mut world: DeferredWorld) {
    let entity = event.entity;
    let authority = world.get::<Authority>(entity);
    let view = world.get::<AuthorityView>(entity);
    let peers = world.resource::<Peers>();
    let reason = match (authority, view) {
        (_, Some(AuthorityView::Releasing(_))) => None,
        // Still ours by the row: the entity itself goes.
        (Some(authority), _) if peers.me().map(Holder::Peer) == Some(authority.holder) => {
            Some(LossReason::Gone)
        }
        (Some(authority), _) => LossReason::of(authority.ended),
        (None, _) => Some(LossReason::Gone),
    };
    if view == Some(&AuthorityView::Granted) && reason == Some(LossReason::Gone) {
        give_up(&mut world, entity);
    }
    world.commands().trigger(AuthorityLost { entity, reason });
}

#[cfg(test)]
mod tests {
    use seamless_replication::wire::{Tenure, TenureEnd, Term};

    use super::*;

    const ME: PeerId = PeerId(7);
    const REQUEST: AuthorityView = AuthorityView::Requested {
        request: RequestId(1),
        granted: None,
    };

    fn row(holders: &[Holder]) -> Authority {
        let mut tenure = Tenure {
            delegated: true,
            ..Tenure::plain(Term(1))
        };
        for &holder in holders {
            tenure.transfer(holder, TenureEnd::Given);
        }
        Authority::of(false, &tenure)
    }

    #[test]
    fn a_request_stands_until_its_answer_or_a_grant() {
        let other = row(&[Holder::Peer(PeerId(1))]);
        assert_eq!(derive(REQUEST, &other, ME), REQUEST);
        assert_eq!(derive(REQUEST, &row(&[Holder::Nobody]), ME), REQUEST);
        assert_eq!(
            derive(REQUEST, &row(&[Holder::Peer(ME)]), ME),
            AuthorityView::Granted
        );
    }

    #[test]
    fn a_grant_that_was_taken_back_before_its_row_came_is_not_waited_for() {
        let granted = row(&[Holder::Peer(ME)]);
        let taken = row(&[Holder::Peer(ME), Holder::Host]);
        let waiting = AuthorityView::Requested {
            request: RequestId(1),
            granted: Some(granted.epoch),
        };
        assert_eq!(derive(waiting, &row(&[]), ME), waiting);
        assert_eq!(derive(waiting, &taken, ME), AuthorityView::Denied);
    }

    #[test]
    fn a_release_under_way_is_not_undone_by_an_old_row_but_by_a_new_grant() {
        let held = row(&[Holder::Peer(ME)]);
        let releasing = AuthorityView::Releasing(held.since);
        assert_eq!(derive(releasing, &held, ME), releasing);
        let again = row(&[Holder::Peer(ME), Holder::Nobody, Holder::Peer(ME)]);
        assert_eq!(derive(releasing, &again, ME), AuthorityView::Granted);
        let freed = row(&[Holder::Peer(ME), Holder::Nobody]);
        assert_eq!(derive(releasing, &freed, ME), AuthorityView::Available);
    }
}
