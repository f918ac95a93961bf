//! Whom a component is told to.

use bevy::{ecs::world::EntityRef, prelude::*};
use seamless_wire::PeerId;

use crate::interest::{PeerInterest, ToolScopeId};

/// A client, as an [`Audience`] sees it, looking at one entity.
#[derive(Clone, Copy)]
pub struct Viewer<'a> {
    pub(crate) peer: PeerId,
    pub(crate) interest: &'a PeerInterest,
    pub(crate) owns: bool,
}

impl Viewer<'_> {
    /// Its name.
    #[must_use]
    pub const fn peer(&self) -> PeerId {
        self.peer
    }

    /// Whether it is in a scope.
    #[must_use]
    pub fn is_in(&self, scope: ToolScopeId) -> bool {
        self.interest.is_subscribed(scope)
    }

    /// Whether it hosts the entity or was lent it.
    #[must_use]
    pub const fn owns(&self) -> bool {
        self.owns
    }
}

type Decide = dyn Fn(&Viewer<'_>, EntityRef<'_>) -> bool + Send + Sync;

/// To which of the clients that see an entity a component of it is told, see
/// [`Rule::visible_to`](crate::Rule::visible_to).
pub struct Audience {
    decide: Box<Decide>,
    /// Whether the entity's components are looked at.
    pub(crate) reads_entity: bool,
}

impl Audience {
    fn new(
        reads_entity: bool,
        decide: impl Fn(&Viewer<'_>, EntityRef<'_>) -> bool + Send + Sync + 'static,
    ) -> Self {
        Self {
            decide: Box::new(decide),
            reads_entity,
        }
    }

    /// Everybody but those who are left out one by one.
    #[must_use]
    pub fn everybody() -> Self {
        Self::new(false, |_, _| true)
    }

    /// Nobody but those who are let in one by one.
    #[must_use]
    pub fn nobody() -> Self {
        Self::new(false, |_, _| false)
    }

    /// The client that hosts the entity or was lent it.
    #[must_use]
    pub fn owner() -> Self {
        Self::new(false, |viewer, _| viewer.owns())
    }

    /// Clients in a scope: a team.
    #[must_use]
    pub fn scope(scope: ToolScopeId) -> Self {
        Self::new(false, move |viewer, _| viewer.is_in(scope))
    }

    /// Clients in one of the scopes that a component of the entity names: its team, whichever that
    /// is. Nobody while the entity lacks the component.
    #[must_use]
    pub fn scope_in<C: Component>(read: fn(&C) -> ToolScopeId) -> Self {
        Self::new(true, move |viewer, entity| {
            entity.get::<C>().is_some_and(|c| viewer.is_in(read(c)))
        })
    }

    /// The client that a component of the entity names: its player. Nobody while the entity lacks
    /// the component.
    #[must_use]
    pub fn peer_in<C: Component>(read: fn(&C) -> PeerId) -> Self {
        Self::new(true, move |viewer, entity| {
            entity.get::<C>().is_some_and(|c| viewer.peer == read(c))
        })
    }

    /// Whomever `decide` lets in, from the entity's components.
    #[must_use]
    pub fn matching(
        decide: impl Fn(&Viewer<'_>, EntityRef<'_>) -> bool + Send + Sync + 'static,
    ) -> Self {
        Self::new(true, decide)
    }

    /// Those of this one and those of another.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        let (one, two) = (self.decide, other.decide);
        Self {
            decide: Box::new(move |viewer, entity| one(viewer, entity) || two(viewer, entity)),
            reads_entity: self.reads_entity || other.reads_entity,
        }
    }

    /// Whether a client is told.
    pub(crate) fn has(&self, viewer: &Viewer<'_>, entity: EntityRef<'_>) -> bool {
        (self.decide)(viewer, entity)
    }
}
