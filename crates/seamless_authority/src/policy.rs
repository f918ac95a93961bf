//! Who may hold what, and where terms come from.

use bevy::prelude::*;
use seamless_replication::wire::{PeerId, Term, control::DenyReason};

type Decide = dyn Fn(&World, PeerId, Entity) -> Result<(), DenyReason> + Send + Sync;
type DecideDelegation = dyn Fn(&World, PeerId, Entity) -> bool + Send + Sync;

/// Decides on requests that scope and present holder would allow. By default the first wins.
#[derive(Resource)]
pub struct AuthorityPolicy {
    decide: Box<Decide>,
    delegation: Box<DecideDelegation>,
    /// Most entities one client may hold.
    pub entities_per_client: u32,
    /// Most requests a second of one client; further ones are denied.
    pub requests_per_second: u32,
}

impl Default for AuthorityPolicy {
    fn default() -> Self {
        Self {
            decide: Box::new(|_, _, _| Ok(())),
            delegation: Box::new(|_, _, _| true),
            entities_per_client: 256,
            requests_per_second: 64,
        }
    }
}

impl AuthorityPolicy {
    /// Decides with `decide(world, client, entity)`: distance, rank, a lock.
    #[must_use]
    pub fn new(
        decide: impl Fn(&World, PeerId, Entity) -> Result<(), DenyReason> + Send + Sync + 'static,
    ) -> Self {
        Self {
            decide: Box::new(decide),
            ..Self::default()
        }
    }

    /// Decides with `decide(world, client, entity)` whether the server takes over an entity that a
    /// client spawned. By default always.
    #[must_use]
    pub fn delegation(
        mut self,
        decide: impl Fn(&World, PeerId, Entity) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.delegation = Box::new(decide);
        self
    }

    pub(crate) fn decide(
        &self,
        world: &World,
        peer: PeerId,
        entity: Entity,
    ) -> Result<(), DenyReason> {
        (self.decide)(world, peer, entity)
    }

    pub(crate) fn decide_delegation(&self, world: &World, peer: PeerId, entity: Entity) -> bool {
        (self.delegation)(world, peer, entity)
    }
}

/// Where the terms of adopted entities come from: a counter of this process, or in a mesh the
/// term under which this node owns the cell.
#[derive(Resource, Debug, Clone, Copy)]
pub enum Terms {
    /// Counts up from here.
    Counter(Term),
    /// The same for all until it is set anew.
    Fixed(Term),
}

impl Default for Terms {
    fn default() -> Self {
        Self::Counter(Term(0))
    }
}

impl Terms {
    /// The term for one more adoption.
    #[expect(
        clippy::should_implement_trait,
        reason = "terms are drawn one at a time, nobody loops over them"
    )]
    pub fn next(&mut self) -> Term {
        match self {
            Self::Counter(term) => {
                term.0 += 1;
                *term
            }
            Self::Fixed(term) => *term,
        }
    }
}
