//! Who may write an entity, as the game sees it.
//!
//! The fence itself ([`Tenure`]) stands in the entity's slot and travels in its row. [`Authority`]
//! shows it on entities whose authority can be lent and on what clients host. It is immutable:
//! changing it means replacing it, and the replacement's hook is the only thing that moves the
//! fence on the host's side, so the two cannot drift apart.

use bevy::{
    ecs::{entity_disabling::Disabled, lifecycle::HookContext, world::DeferredWorld},
    prelude::*,
};
use seamless_wire::{Epoch, Holder, Tenure, TenureEnd, WriteMask};

use crate::slots::{NetSlot, Slots};

/// The fence of an entity, for queries and observers (`On<Insert, Authority>`).
#[derive(Component, Clone, Copy, PartialEq, Eq, Debug, Reflect)]
#[reflect(Component)]
#[component(immutable, on_insert = fence_follows, clone_behavior = Ignore)]
pub struct Authority {
    /// Whether this app hosts the entity.
    pub hosted: bool,
    /// Who may write it.
    pub holder: Holder,
    /// The present epoch.
    pub epoch: Epoch,
    /// The epoch at which the holder's tenure began.
    pub since: Epoch,
    /// Whether it can be lent.
    pub delegated: bool,
    /// Which components the holder may write.
    pub writes: WriteMask,
    /// For how many ticks it is lent at a time; 0: until it is given back or taken.
    pub lease: u32,
    /// How the tenure before this one ended.
    pub ended: TenureEnd,
}

impl Authority {
    /// Shows a fence.
    #[must_use]
    pub const fn of(hosted: bool, tenure: &Tenure) -> Self {
        Self {
            hosted,
            holder: tenure.holder,
            epoch: tenure.epoch,
            since: tenure.since,
            delegated: tenure.delegated,
            writes: tenure.writes,
            lease: tenure.lease,
            ended: tenure.ended,
        }
    }

    /// What a remote entity shows of its fence, if there is anything to show.
    pub(crate) fn shown(tenure: &Tenure) -> Option<Self> {
        let any = tenure.delegated || tenure.holder != Holder::Nobody;
        any.then(|| Self::of(false, tenure))
    }

    /// The fence it shows.
    #[must_use]
    pub const fn tenure(&self) -> Tenure {
        Tenure {
            epoch: self.epoch,
            since: self.since,
            holder: self.holder,
            delegated: self.delegated,
            writes: self.writes,
            lease: self.lease,
            ended: self.ended,
        }
    }
}

fn fence_follows(mut world: DeferredWorld, context: HookContext) {
    let entity = context.entity;
    let Ok(shown) = world.get_entity(entity) else {
        return;
    };
    let Some(&authority) = shown.get::<Authority>() else {
        return;
    };
    let slot = shown.get::<NetSlot>().copied();
    let Some(mut slots) = world.get_resource_mut::<Slots>() else {
        return;
    };
    if authority.hosted
        && let Some(slot) = slot
    {
        slots.set_tenure(&slot, authority.tenure());
    }
    if let Some(follow) = slots.fence_follower {
        follow(&mut world, entity, &authority);
    }
}

/// Called for each [`Authority`] that an entity gets, once the fence in its slot says the same and
/// before observers hear of it. There is one, which is that of the crate that lends authority; games
/// observe [`Authority`].
pub type FenceFollower = fn(&mut DeferredWorld<'_>, Entity, &Authority);

/// This app hosts the entity.
#[derive(Component, Clone, Copy, Debug, Default, Reflect)]
#[reflect(Component)]
#[component(clone_behavior = Ignore)]
pub struct Hosted;

/// Another app hosts the entity; this one is told.
///
/// What a server tells of gets it in one go with its components, so that observers of it
/// (`On<Add, Remote>`) see them. What they add of their own must not take a component's place: use
/// `insert_if_new`. Only where some components refer to entities, or are resources, or where the entity
/// was referred to or [prespawned](crate::Prespawned) before, do they come right after it.
#[derive(Component, Clone, Copy, Debug, Default, Reflect)]
#[reflect(Component)]
#[component(clone_behavior = Ignore)]
pub struct Remote;

/// The entity is frozen on its way to another node: no query sees it that does not name this
/// marker, so nothing simulates it. It is still shown to clients as it was.
#[derive(Component, Clone, Copy, Debug, Default, Reflect)]
#[reflect(Component)]
#[component(clone_behavior = Ignore)]
pub struct Frozen;

/// Query filter: also what is frozen or disabled, which queries pass over unless they say otherwise.
/// What is disabled is on the network like anything else. Disabling components of a game's own are
/// not in it.
pub type EvenHidden = (Allow<Frozen>, Allow<Disabled>);
