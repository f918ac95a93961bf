//! What happened to authority, as a plain resource for overlays, logs and operators.

use bevy::{platform::collections::HashMap, prelude::*};
use seamless_replication::wire::{
    Holder, Tenure, TenureEnd,
    control::{AuthorityAnswer, DenyReason},
};

use crate::holder::Outcome;

/// Counted since the app started; all but the last on the host.
#[derive(Resource, Debug, Clone, Default)]
pub struct AuthorityStats {
    /// Requests that were granted.
    pub granted: u64,
    /// Requests that were denied, by reason.
    pub denied: HashMap<DenyReason, u64>,
    /// Times that a client became a holder, by a request or a gift.
    pub lent: u64,
    /// Tenures of clients that ended, by how.
    pub ended: HashMap<TenureEnd, u64>,
    /// Releases from who did not hold the entity, or not any more. They change nothing.
    pub void_releases: u64,
    /// Entities that were taken over from clients.
    pub migrated: u64,
    /// Entities of clients that were taken over because their client was gone.
    pub inherited: u64,
    /// Times that a client's own entity was shown to others.
    pub published: u64,
    /// Times that it was hidden from them again.
    pub unpublished: u64,
    /// Delegations and publications that were refused, by reason.
    pub refused: HashMap<DenyReason, u64>,
    /// Writes without authority that this app made itself, of entities that others host; see
    /// [`WriteGuard`](crate::WriteGuard).
    pub refused_writes: u64,
}

impl AuthorityStats {
    pub(crate) fn count(&mut self, before: &Tenure, outcome: &Outcome) {
        match outcome.answer {
            Some(AuthorityAnswer::Granted(_)) => self.granted += 1,
            Some(AuthorityAnswer::Denied(reason)) => self.deny(reason),
            None => {}
        }
        let after = &outcome.tenure;
        if after.since == before.since {
            return;
        }
        if let Holder::Peer(_) = before.holder {
            *self.ended.entry(after.ended).or_default() += 1;
        }
        if let Holder::Peer(_) = after.holder {
            self.lent += 1;
        }
    }

    pub(crate) fn deny(&mut self, reason: DenyReason) {
        *self.denied.entry(reason).or_default() += 1;
    }
}
