//! Writes without authority, refused where they are made.

use bevy::{ecs::change_detection::Tick as ChangeTick, prelude::*};
use seamless_replication::{
    NetClock, NetSlot,
    guard::{ForeignWrite, Lendable, foreign_writes},
    migrate::restore,
};

use crate::{AuthorityStats, client::Asked, view::AuthorityView};

/// What a client does about its own writes to components that are another's to write, of entities
/// that can be lent.
///
/// The server never takes such a write. What a client writes while its request is open may stay
/// until the answer comes.
#[derive(Resource, Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum WriteGuard {
    /// They are undone at the end of the tick, and a warning is logged at most once a second.
    #[default]
    Revert,
    /// They stay until the host changes the component, with the same warning.
    Warn,
    /// Nobody looks: right for games that smooth what they show by writing to it.
    Off,
}

/// Between which change ticks the game wrote.
#[derive(Resource)]
pub(crate) struct Watched {
    since: ChangeTick,
    warned: Option<u32>,
}

impl Default for Watched {
    fn default() -> Self {
        Self {
            since: ChangeTick::new(0),
            warned: None,
        }
    }
}

/// After everything was received: what is written from here on, the game wrote.
pub(crate) fn begin(world: &mut World) {
    let now = world.increment_change_tick();
    world.resource_mut::<Watched>().since = now;
}

/// At the end of a tick before it is collected, and at the end of a frame before anything is received:
/// what the game wrote without authority is undone.
pub(crate) fn refuse_writes(world: &mut World, lendable: &mut Lendable) {
    let guard = *world.resource::<WriteGuard>();
    if guard == WriteGuard::Off {
        return;
    }
    let since = world.resource::<Watched>().since;
    for ForeignWrite { entity, component } in foreign_writes(world, lendable, since) {
        let view = world.get::<AuthorityView>(entity).copied();
        let hopes = matches!(view, Some(AuthorityView::Requested { .. }));
        // What is being given back is given back with the values of this tick.
        let gives_back = matches!(view, Some(AuthorityView::Releasing(_)));
        if hopes || gives_back || world.resource::<Asked>().gives_back(entity) {
            continue;
        }
        world.resource_mut::<AuthorityStats>().refused_writes += 1;
        warn(world, entity, &component);
        if guard == WriteGuard::Revert
            && let Some(slot) = world.get::<NetSlot>(entity).copied()
        {
            restore(world, &slot);
        }
    }
    // More than one tick may run in a frame.
    begin(world);
}

fn warn(world: &mut World, entity: Entity, component: &str) {
    let clock = world.resource::<NetClock>();
    let second = clock.tick().0 / u32::from(clock.rate());
    let mut watched = world.resource_mut::<Watched>();
    if watched.warned.replace(second) != Some(second) {
        tracing::warn!(
            %entity,
            component,
            "written without authority: request_authority() first; the write is not sent"
        );
    }
}
