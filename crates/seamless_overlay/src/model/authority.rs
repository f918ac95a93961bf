//! Who may write what.

use seamless_wire::{Epoch, GlobalEntity, Holder, PeerId};

/// Who holds the entities whose authority can be lent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuthorityModel {
    /// Those that this app hosts.
    pub hosted: u64,
    /// Those that it is told of.
    pub remote: u64,
    /// Nobody holds them: the next request is granted.
    pub available: u64,
    /// The host keeps them.
    pub kept: u64,
    /// Lent, by who holds them; the one with the most first.
    pub lent: Vec<(PeerId, u64)>,
    /// On a client: lent to us.
    pub granted: u64,
    /// On a client: asked for, without an answer yet.
    pub requested: u64,
    /// On a client: given back, and the host has not said so yet.
    pub releasing: u64,
    /// The fences of those that are lent, then of the others; at most
    /// [`MOST_FENCES`](Self::MOST_FENCES).
    pub fences: Vec<FenceModel>,
    /// Names of clients that are still understood although the entity has one of ours now; at most
    /// [`MOST_FENCES`](Self::MOST_FENCES).
    pub redirects: Vec<RedirectModel>,
    /// All of those.
    pub redirected: u64,
}

impl AuthorityModel {
    /// Entities, and redirects, that are shown one by one.
    pub const MOST_FENCES: usize = 256;

    /// Entities whose authority can be lent.
    #[must_use]
    pub const fn delegated(&self) -> u64 {
        self.hosted.saturating_add(self.remote)
    }

    /// Entities that are lent, to whomever.
    #[must_use]
    pub fn lent_total(&self) -> u64 {
        self.lent
            .iter()
            .fold(0, |sum, (_, count)| sum.saturating_add(*count))
    }
}

/// The fence of one entity: who may write it, and since when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FenceModel {
    /// Its name; `None` before it has one.
    pub entity: Option<GlobalEntity>,
    /// Who may write it.
    pub holder: Holder,
    /// Rises with every change of host or holder.
    pub epoch: Epoch,
    /// The epoch at which the holder's tenure began: writes of this one and later ones count.
    pub since: Epoch,
    /// Whether this app hosts it.
    pub hosted: bool,
    /// On a client: how it sees that.
    pub view: Option<&'static str>,
}

/// An old name of an entity that migrated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedirectModel {
    /// Whose name it is.
    pub peer: Option<PeerId>,
    /// The client's name, and its generation.
    pub old: (u32, u32),
    /// Ours, and its generation.
    pub new: (u32, u32),
}
