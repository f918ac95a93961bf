//! The fence: who may write an entity, under which epoch, since when.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ids::PeerId;

/// Number of a change of host. Drawn from one counter (the directory's; a process counter without
/// a mesh), never reused, never falling.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "bevy", derive(bevy::prelude::Reflect))]
#[serde(transparent)]
pub struct Term(pub u64);

impl fmt::Debug for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "e{}", self.0)
    }
}

/// The fencing token of an entity: ordered first by host, then by holder.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "bevy", derive(bevy::prelude::Reflect))]
pub struct Epoch {
    /// Rises with every change of host.
    pub term: Term,
    /// Rises with every change of holder.
    pub seq: u32,
}

impl Epoch {
    /// The epoch after one more change of holder.
    #[must_use]
    pub const fn next_holder(self) -> Self {
        Self {
            term: self.term,
            seq: self.seq.wrapping_add(1),
        }
    }

    /// The same tenure under another host.
    #[must_use]
    pub const fn with_term(self, term: Term) -> Self {
        Self {
            term,
            seq: self.seq,
        }
    }
}

impl fmt::Debug for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.term, self.seq)
    }
}

/// Who may write a delegated entity.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "bevy", derive(bevy::prelude::Reflect))]
pub enum Holder {
    /// Nobody asked for it; the host simulates it and a request may be granted.
    #[default]
    Nobody,
    /// The host keeps it for itself; requests are denied.
    Host,
    /// It is lent to this peer.
    Peer(PeerId),
}

/// Which components a holder may write: all that are not only the host's, or some of them.
///
/// A bit for each component that a holder may write at all, in the order of the schema; the first
/// 64 of them. What is past those cannot be withheld.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "bevy", derive(bevy::prelude::Reflect))]
#[serde(transparent)]
pub struct WriteMask {
    /// What is withheld, so that the usual mask is 0 and short.
    withheld: u64,
}

impl WriteMask {
    /// All of them.
    pub const ALL: Self = Self { withheld: 0 };

    /// Components that a mask can withhold.
    pub const LEN: u8 = 64;

    /// A mask that withholds the components of these bits.
    #[must_use]
    pub const fn withholding(bits: u64) -> Self {
        Self { withheld: bits }
    }

    /// The bits of what is withheld.
    #[must_use]
    pub const fn withheld(self) -> u64 {
        self.withheld
    }

    /// What both allow.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self::withholding(self.withheld | other.withheld)
    }

    /// What one of the two allows.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        Self::withholding(self.withheld & other.withheld)
    }

    /// Whether the component with this bit may be written.
    #[must_use]
    pub const fn allows(self, bit: u8) -> bool {
        bit >= Self::LEN || self.withheld >> bit & 1 == 0
    }
}

impl fmt::Debug for WriteMask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.withheld {
            0 => write!(f, "all"),
            withheld => write!(f, "all but {withheld:#b}"),
        }
    }
}

/// How the tenure before the present one ended.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "bevy", derive(bevy::prelude::Reflect))]
pub enum TenureEnd {
    /// There was none, or nobody held it.
    #[default]
    Unheld,
    /// The holder gave it back.
    Released,
    /// The host gave it to another.
    Given,
    /// The host took it for itself.
    Taken,
    /// The host freed it.
    Reset,
    /// The holder did not see it any more, or was gone.
    OutOfScope,
    /// The holder had it for as long as it was lent.
    LeaseEnded,
    /// It cannot be lent any more.
    Disabled,
}

impl TenureEnd {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 8] = [
        Self::Unheld,
        Self::Released,
        Self::Given,
        Self::Taken,
        Self::Reset,
        Self::OutOfScope,
        Self::LeaseEnded,
        Self::Disabled,
    ];
}

/// The fence of one entity: it stands in the entity's row and travels with it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "bevy", derive(bevy::prelude::Reflect))]
pub struct Tenure {
    /// The present epoch.
    pub epoch: Epoch,
    /// The epoch at which the present holder's tenure began. A change of host that keeps the
    /// holder raises `epoch` and keeps `since`.
    pub since: Epoch,
    /// Who may write.
    pub holder: Holder,
    /// Whether authority over it can be lent at all.
    pub delegated: bool,
    /// Which components the holder may write.
    pub writes: WriteMask,
    /// For how many ticks it is lent at a time; 0: until it is given back or taken.
    pub lease: u32,
    /// How the tenure before this one ended.
    pub ended: TenureEnd,
}

impl Tenure {
    /// A fresh, undelegated entity under `term`.
    #[must_use]
    pub const fn plain(term: Term) -> Self {
        let epoch = Epoch { term, seq: 0 };
        Self {
            epoch,
            since: epoch,
            holder: Holder::Nobody,
            delegated: false,
            writes: WriteMask::ALL,
            lease: 0,
            ended: TenureEnd::Unheld,
        }
    }

    /// Whether a write that `peer` stamped with `stamp` passes.
    ///
    /// True exactly if the peer holds the entity and stamped the write within its present tenure:
    /// a write in flight over a migration or a handover passes, a write after a revocation never.
    #[must_use]
    pub fn admits_holder(&self, peer: PeerId, stamp: Epoch) -> bool {
        self.holder == Holder::Peer(peer) && self.since <= stamp && stamp <= self.epoch
    }

    /// Whether a record of a host that carries `stamp` passes. A newer epoch is to be adopted.
    #[must_use]
    pub fn admits_host(&self, stamp: Epoch) -> bool {
        stamp >= self.epoch
    }

    /// Gives the entity to another holder and begins a new tenure, without a lease and with all
    /// components to write. `ended`: how the former one ended, if a peer held it.
    pub fn transfer(&mut self, holder: Holder, ended: TenureEnd) {
        self.ended = match self.holder {
            Holder::Peer(_) => ended,
            Holder::Nobody | Holder::Host => TenureEnd::Unheld,
        };
        self.epoch = self.epoch.next_holder();
        self.since = self.epoch;
        self.holder = holder;
        self.writes = WriteMask::ALL;
        self.lease = 0;
    }

    /// Puts the entity under another host and keeps the holder's tenure.
    pub fn rehost(&mut self, term: Term) {
        self.epoch = self.epoch.with_term(term);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: PeerId = PeerId(1);
    const B: PeerId = PeerId(2);

    #[test]
    fn a_write_in_flight_over_a_change_of_host_passes() {
        let mut tenure = Tenure::plain(Term(3));
        tenure.transfer(Holder::Peer(A), TenureEnd::Given);
        let stamp = tenure.epoch;
        tenure.rehost(Term(9));
        assert!(tenure.admits_holder(A, stamp));
        assert!(tenure.admits_holder(A, tenure.epoch));
    }

    #[test]
    fn a_write_after_a_revocation_never_passes() {
        let mut tenure = Tenure::plain(Term(3));
        tenure.transfer(Holder::Peer(A), TenureEnd::Given);
        let stamp = tenure.epoch;
        tenure.transfer(Holder::Nobody, TenureEnd::Reset);
        assert!(!tenure.admits_holder(A, stamp));
        tenure.transfer(Holder::Peer(A), TenureEnd::Given);
        assert!(
            !tenure.admits_holder(A, stamp),
            "an old write does not pass a new tenure"
        );
        assert!(!tenure.admits_holder(B, tenure.epoch));
        assert!(!tenure.admits_holder(A, tenure.epoch.next_holder()));
    }

    #[test]
    fn the_term_counts_before_the_holder() {
        let low = Epoch {
            term: Term(1),
            seq: 900,
        };
        let high = Epoch {
            term: Term(2),
            seq: 0,
        };
        assert!(low < high);
    }
}
