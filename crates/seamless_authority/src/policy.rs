//! Who may hold what, for how long, and where terms come from.

use bevy::prelude::*;
use seamless_replication::wire::{PeerId, Term, control::DenyReason};

use crate::holder::Loan;

type Decide = dyn Fn(&World, PeerId, Entity) -> Result<Loan, DenyReason> + Send + Sync;
type DecideOwn = dyn Fn(&World, PeerId, Entity) -> bool + Send + Sync;

/// Decides on requests that scope and present holder would allow. By default the first wins.
///
/// The bounds below are looked at first, each in constant time.
#[derive(Resource)]
pub struct AuthorityPolicy {
    decide: Box<Decide>,
    delegation: Box<DecideOwn>,
    publication: Box<DecideOwn>,
    /// Most entities one client may hold. 256 by default.
    pub entities_per_client: u32,
    /// Most entities that were taken over from one client because it wished so, and are still there:
    /// they stay when it is gone. 4,096 by default. Of what it holds, the bound above counts, too.
    pub adopted_per_client: u32,
    /// Most requests a second of one client; further ones are denied. 64 by default. Hiding what
    /// was public counts as one.
    pub requests_per_second: u32,
    /// How far from where a client looks an entity may be that it asks for, in metres. No bound by
    /// default, nor for clients that see everything or entities without a place.
    pub max_distance: Option<f32>,
    /// On which terms entities are lent that clients ask for, or that migrate from them, unless
    /// [`lending`](Self::lending) says otherwise.
    pub loan: Loan,
    /// Whether a lease begins anew when its holder has written since it was looked at last. True
    /// by default. It is looked at when it ends, so what nobody writes any more comes back at most
    /// two leases after the last write. If not, holders ask for it:
    /// [`renew_authority`](crate::AuthorityCommandsExt::renew_authority).
    pub renewed_by_writes: bool,
    /// What becomes of a client's public entities when the client is gone. They are despawned by
    /// default, as its private ones are always; what was delegated is the server's and stays.
    pub owner_left: OwnerLeft,
}

/// What becomes of what a client hosts and others see, when the client is gone.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum OwnerLeft {
    /// It is gone, too.
    #[default]
    Despawn,
    /// The server hosts it from then on. Nobody holds it, and it cannot be lent until the server
    /// [delegates](crate::AuthorityCommandsExt::delegate) it. A client that comes again does not
    /// host it any more.
    Adopt,
}

impl Default for AuthorityPolicy {
    fn default() -> Self {
        Self {
            decide: Box::new(|world, _, _| Ok(world.resource::<Self>().loan)),
            delegation: Box::new(|_, _, _| true),
            publication: Box::new(|_, _, _| true),
            entities_per_client: 256,
            adopted_per_client: 4096,
            requests_per_second: 64,
            max_distance: None,
            loan: Loan::default(),
            renewed_by_writes: true,
            owner_left: OwnerLeft::default(),
        }
    }
}

impl AuthorityPolicy {
    /// Decides with `decide(world, client, entity)`: distance, rank, a lock.
    #[must_use]
    pub fn new(
        decide: impl Fn(&World, PeerId, Entity) -> Result<(), DenyReason> + Send + Sync + 'static,
    ) -> Self {
        Self::lending(move |world, peer, entity| {
            decide(world, peer, entity).map(|()| world.resource::<Self>().loan)
        })
    }

    /// Decides with `decide(world, client, entity)`, and on which terms it is lent.
    #[must_use]
    pub fn lending(
        decide: impl Fn(&World, PeerId, Entity) -> Result<Loan, DenyReason> + Send + Sync + 'static,
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

    /// Decides with `decide(world, client, entity)` whether other clients are shown an entity that a
    /// client hosts, when it asks for that. By default always. Hiding it again is its right.
    #[must_use]
    pub fn publication(
        mut self,
        decide: impl Fn(&World, PeerId, Entity) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.publication = Box::new(decide);
        self
    }

    pub(crate) fn decide(
        &self,
        world: &World,
        peer: PeerId,
        entity: Entity,
    ) -> Result<Loan, DenyReason> {
        (self.decide)(world, peer, entity)
    }

    pub(crate) fn decide_delegation(&self, world: &World, peer: PeerId, entity: Entity) -> bool {
        (self.delegation)(world, peer, entity)
    }

    pub(crate) fn decide_publication(&self, world: &World, peer: PeerId, entity: Entity) -> bool {
        (self.publication)(world, peer, entity)
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
