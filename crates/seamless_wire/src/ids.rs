//! Names. Newtypes, so that a slot cannot be passed where a node is wanted.

use std::{fmt, num::NonZeroU64};

use serde::{Deserialize, Serialize};

#[cfg(feature = "bevy")]
use bevy::prelude::Reflect;

use crate::epoch::Term;

/// An entity's name everywhere and for its whole life.
///
/// The high 24 bits are a block, issued once per node incarnation (by the directory, or at random
/// without one); the low 40 bits count inside the block. Only servers mint names; a client names
/// its own spawns from a range that its server lent to it.
///
/// The low 32 bits are never zero, so that a name is also a legal bit pattern of a Bevy `Entity`:
/// that is how entity references inside serde components travel without a wrapper.
#[cfg_attr(feature = "bevy", derive(Reflect))]
#[cfg_attr(feature = "bevy", reflect(opaque))]
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "u64", into = "u64")]
pub struct GlobalEntity(NonZeroU64);

impl GlobalEntity {
    /// Bits of the counter inside a block.
    pub const COUNTER_BITS: u32 = 40;
    /// Largest block number. Block 0 names nothing: it is what an unresolved reference becomes.
    pub const MAX_BLOCK: u32 = (1 << 24) - 1;
    /// Block of entities that are defined by a world file; the counter is their line in it.
    pub const WORLD_BLOCK: u32 = 1;

    /// The name `counter` of `block`, unless one of them is out of range or reserved.
    #[must_use]
    pub const fn new(block: u32, counter: u64) -> Option<Self> {
        if block == 0 || block > Self::MAX_BLOCK || counter >> Self::COUNTER_BITS != 0 {
            return None;
        }
        Self::from_bits(((block as u64) << Self::COUNTER_BITS) | counter)
    }

    /// Reads a name back from [`to_bits`](Self::to_bits). `None` for a reserved pattern.
    #[must_use]
    pub const fn from_bits(bits: u64) -> Option<Self> {
        match NonZeroU64::new(bits) {
            Some(name) if bits as u32 != 0 && bits >> Self::COUNTER_BITS != 0 => Some(Self(name)),
            _ => None,
        }
    }

    /// The name as a number.
    #[must_use]
    pub const fn to_bits(self) -> u64 {
        self.0.get()
    }

    /// The block it was minted in.
    #[must_use]
    pub const fn block(self) -> u32 {
        (self.to_bits() >> Self::COUNTER_BITS) as u32
    }

    /// Its number inside the block.
    #[must_use]
    pub const fn counter(self) -> u64 {
        self.to_bits() & ((1 << Self::COUNTER_BITS) - 1)
    }
}

impl TryFrom<u64> for GlobalEntity {
    type Error = &'static str;

    fn try_from(bits: u64) -> Result<Self, Self::Error> {
        Self::from_bits(bits).ok_or("reserved entity name")
    }
}

impl From<GlobalEntity> for u64 {
    fn from(value: GlobalEntity) -> Self {
        value.to_bits()
    }
}

impl fmt::Debug for GlobalEntity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for GlobalEntity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "g{:x}.{:x}", self.block(), self.counter())
    }
}

/// Which side of a link allocated a short name. It says nothing about who hosts the entity.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub enum Allocator {
    /// This side.
    #[default]
    Local,
    /// The other side of the link.
    Peer,
}

impl Allocator {
    /// The same name, seen from the other end of the link.
    #[must_use]
    pub const fn flipped(self) -> Self {
        match self {
            Self::Local => Self::Peer,
            Self::Peer => Self::Local,
        }
    }
}

/// An entity's short name on one link: an index into the allocator's slots, and how often that
/// slot was used before.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct WireId {
    /// Who numbered it.
    pub allocator: Allocator,
    /// Slot of the allocator, below [`WireId::MAX_INDEX`].
    pub index: u32,
    /// Rises each time the slot is used for another entity.
    pub generation: u32,
}

impl WireId {
    /// Slots are numbered below this; a larger index in a packet is an attack on our memory.
    pub const MAX_INDEX: u32 = 1 << 20;
}

/// A [`WireId`] as it stands in the host map: the entity is hosted here.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct HostEntity(pub WireId);

/// A [`WireId`] as it stands in the remote map: the entity is hosted at the other end.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct RemoteEntity(pub WireId);

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty), $prefix:literal) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize,
        )]
        #[cfg_attr(feature = "bevy", derive(Reflect))]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0)
            }
        }
    };
}

number!(
    /// A player, or any other client, everywhere in the mesh and over reconnects.
    PeerId(u64), "p"
);
number!(
    /// A server process by its configured number. See [`NodeRef`] for one life of it.
    NodeId(u32), "n"
);
number!(
    /// One life of a node: new at every start, never used twice.
    Incarnation(u64), "#"
);
number!(
    /// A region of the world with one owner.
    CellId(u32), "c"
);
number!(
    /// Number of a client's input. The first is 1; 0 stands for "none yet".
    InputSeq(u32), "i"
);
number!(
    /// Number of a client's request, answered exactly once.
    RequestId(u32), "r"
);

/// A node in one of its lives.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct NodeRef {
    /// The configured number.
    pub id: NodeId,
    /// The life.
    pub incarnation: Incarnation,
}

impl fmt::Debug for NodeRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for NodeRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.id, self.incarnation)
    }
}

/// One attempt to hand one root over: the id in logs, metrics and tickets.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct HandoverId {
    /// What crosses, with everything that hangs on it.
    pub root: GlobalEntity,
    /// The term under which the source owns it.
    pub term: Term,
    /// Counts attempts under that term.
    pub attempt: u32,
}

impl fmt::Debug for HandoverId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for HandoverId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.root, self.term, self.attempt)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_never_has_an_entity_pattern_that_bevy_refuses() {
        assert!(GlobalEntity::new(5, 0).is_none());
        assert!(GlobalEntity::new(5, 1 << 32).is_none());
        assert!(GlobalEntity::new(0, 1).is_none());
        assert!(GlobalEntity::new(GlobalEntity::MAX_BLOCK + 1, 1).is_none());
        assert!(GlobalEntity::new(1, 1 << 40).is_none());
        let name = GlobalEntity::new(0xabcdef, (7 << 32) | 9).expect("legal");
        assert_eq!(name.block(), 0xabcdef);
        assert_eq!(name.counter(), (7 << 32) | 9);
        assert_eq!(GlobalEntity::from_bits(name.to_bits()), Some(name));
    }
}
