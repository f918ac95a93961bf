//! Authority over entities, lent to clients and taken back.
//!
//! Every entity has one host, and at most one *holder* who may write it: the host, unless it is
//! lent. A client asks for an entity that is [`Delegated`], writes it while it holds it, and gives
//! it back; the server can give, take and reset at any time. The fence (epoch and tenure) stands
//! in the entity's row and on every write, so a write after a revocation is never applied, and the
//! last write before a release is never lost.
//!
//! A client may also spawn an entity and have the server take it over
//! ([`AuthorityCommandsExt::delegate`]): it *migrates* from the client's host map to its remote
//! map, on the same Bevy entity, in one tick.
//!
//! # Layout
//!
//! * [`step`]: the rules, pure.
//! * [`AuthorityCommandsExt`]: what a game does.
//! * [`Published`], [`PublicationDenied`]: whether others see what a client hosts.
//! * [`AuthorityView`], [`Granted`], [`AuthorityGranted`], [`AuthorityDenied`], [`AuthorityLost`]:
//!   what a client sees and hears.
//! * [`AuthorityPolicy`], [`Loan`]: who may, how many, how far away, for how long, and what of it.
//! * [`WriteGuard`]: what becomes of a client's writes without authority.
//! * [`AuthorityStats`]: what happened.
//! * [`Pending`], [`resume_deferred`], [`resume_from_source`]: requests for entities on their way to
//!   another node.

mod client;
mod deferred;
mod delegate;
mod guard;
mod held;
mod holder;
mod later;
mod lease;
mod local;
mod plugin;
mod policy;
mod publish;
mod server;
mod stats;
mod view;
mod waiting;

pub use client::AuthorityCommandsExt;
pub use deferred::{resume_deferred, resume_from_source};
pub use guard::WriteGuard;
pub use holder::{HolderEvent, Loan, LossReason, Outcome, step};
pub use plugin::{AuthorityPlugin, AuthoritySystems, Delegated};
pub use policy::{AuthorityPolicy, OwnerLeft, Terms};
pub use publish::{PublicationDenied, Published};
pub use server::Pending;
pub use stats::AuthorityStats;
pub use view::{AuthorityDenied, AuthorityGranted, AuthorityLost, AuthorityView, Granted};
