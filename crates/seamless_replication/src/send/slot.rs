//! What one peer has of one slot.

use seamless_wire::{
    PacketSeq, Tick, WriteMask,
    record::{LeaveReason, Version},
};

use super::encode::{Has, Projection};
use crate::rows::SetId;

/// Losses in a row after which a row is told whole.
const MAX_LOSSES: u8 = 16;

/// Whether the peer is told of the slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Presence {
    /// It does not know of it.
    #[default]
    Unknown,
    /// It sees it and is told.
    Live,
    /// It is told that it goes, until it acknowledges.
    Leaving,
}

/// Sender's record of one slot on one link: 16 bytes, four to a line of the cache, because there is
/// one for every entity that every client sees. What few of them need is in [`Exception`].
#[derive(Debug, Clone, Default)]
#[repr(align(16))]
pub(super) struct LinkSlot {
    acked: Version,
    before: Version,
    sent: Version,
    has: u8,
    /// Losses since the last ack.
    losses: u8,
    pub(super) presence: Presence,
    /// Which part of the row the peer is told.
    pub(super) projection: Projection,
}

const _: () = assert!(size_of::<LinkSlot>() == 16, "none lies on two lines");

/// Which versions of a [`LinkSlot`] are there, and what else is known of it.
mod has {
    pub(super) const ACKED: u8 = 1;
    pub(super) const BEFORE: u8 = 2;
    pub(super) const SENT: u8 = 4;
    /// It migrated, and nothing was acknowledged since.
    pub(super) const MIGRATED: u8 = 8;
    /// The peer cannot read what is told against what it had, and nothing was acknowledged since.
    pub(super) const NOTHING: u8 = 16;
    /// Anything of it was sent in this life. It may arrive even after it was given up as lost.
    pub(super) const TOLD: u8 = 32;
    /// There is an [`Exception`](super::Exception).
    pub(super) const SPECIAL: u8 = 64;
    /// There are components of the row that the peer is not told.
    pub(super) const HIDDEN: u8 = 128;
    /// What does not depend on versions.
    pub(super) const OTHER: u8 = TOLD | SPECIAL | HIDDEN;
}

/// With which datagram the present life of each slot began: acks of earlier ones speak of another
/// life.
#[derive(Default)]
pub(super) struct Lives {
    /// The low bits: two sequences that are compared are never 2^31 apart.
    begun: Vec<u32>,
    last: PacketSeq,
}

impl Lives {
    /// There are so many slots.
    pub(super) fn grow(&mut self, slots: usize) {
        self.begun.resize(slots, 0);
    }

    /// Another life of the slot begins with the datagram `next`.
    pub(super) fn begin(&mut self, slot: u32, next: PacketSeq) {
        self.begun[slot as usize] = next.0 as u32;
        self.last = next;
    }

    /// Says of a slot whether a datagram belongs to its present life. Mostly it does to all.
    #[inline]
    pub(super) fn of(&self, seq: PacketSeq) -> impl Fn(u32) -> bool {
        let all = seq >= self.last;
        move |slot| {
            let begun = || self.begun.get(slot as usize).copied().unwrap_or_default();
            all || (seq.0 as u32).wrapping_sub(begun()) as i32 >= 0
        }
    }
}

/// What is out of the ordinary with a slot.
#[derive(Debug, Clone, Default)]
pub(super) struct Exception {
    /// Why it leaves, and as which use of the slot.
    pub(super) leaves: Option<(LeaveReason, u32)>,
    /// A version under way on the bulk channel; nothing else is sent meanwhile.
    pub(super) bulk: Option<Version>,
    /// When that one was sent.
    pub(super) bulk_sent: Tick,
    /// Which components the holder writes, while the peer is told a part of the row.
    pub(super) writes: WriteMask,
    /// A version that is larger than the peer takes. It is not tried again.
    pub(super) too_large: Option<Version>,
}

impl LinkSlot {
    /// `told`: whether the peer may still show what it was told in an earlier life.
    pub(super) fn appearing(told: bool) -> Self {
        Self {
            presence: Presence::Live,
            has: if told { has::TOLD } else { 0 },
            ..Self::default()
        }
    }

    /// Newest version that the peer holds: the baseline.
    #[inline]
    pub(super) fn acked(&self) -> Option<Version> {
        (self.has & has::ACKED != 0).then_some(self.acked)
    }

    /// The newest version before that one that the peer is known to hold.
    #[inline]
    pub(super) fn before(&self) -> Option<Version> {
        (self.has & has::BEFORE != 0).then_some(self.before)
    }

    /// Newest version that is under way or arrived.
    #[inline]
    pub(super) fn sent(&self) -> Option<Version> {
        (self.has & has::SENT != 0).then_some(self.sent)
    }

    /// Whether the peer is told all of its row, by datagrams.
    #[inline]
    pub(super) fn is_usual(&self) -> bool {
        self.projection == Projection::Full && self.has & (has::SPECIAL | has::HIDDEN) == 0
    }

    /// Whether the peer is told the same as another one that is told all of its row.
    #[inline]
    pub(super) fn wants_as(&self, other: &Self) -> bool {
        (self.acked, self.before, self.sent) == (other.acked, other.before, other.sent)
            && (self.has, self.presence) == (other.has, other.presence)
            && self.is_usual()
    }

    /// What it has of the row, for the encoder, if it is told but for `hidden`.
    #[inline]
    pub(super) fn has(&self, projection: Projection, hidden: SetId) -> Has {
        Has::new(self.acked(), self.before(), (projection, hidden))
    }

    /// Whether anything of it was sent in this life.
    #[inline]
    pub(super) const fn is_told(&self) -> bool {
        self.has & has::TOLD != 0
    }

    /// Whether there is an [`Exception`].
    #[inline]
    pub(super) const fn is_special(&self) -> bool {
        self.has & has::SPECIAL != 0
    }

    pub(super) const fn set_special(&mut self, special: bool) {
        self.set(has::SPECIAL, special);
    }

    /// Whether there are components of the row that the peer is not told.
    #[inline]
    pub(super) const fn is_hidden(&self) -> bool {
        self.has & has::HIDDEN != 0
    }

    pub(super) const fn set_hidden(&mut self, hidden: bool) {
        self.set(has::HIDDEN, hidden);
    }

    const fn set(&mut self, mark: u8, there: bool) {
        match there {
            true => self.has |= mark,
            false => self.has &= !mark,
        }
    }

    /// Forgets all versions, and keeps what does not depend on them.
    const fn clear(&mut self, and: u8) {
        self.has = (self.has & has::OTHER) | and;
    }

    /// A version is under way to the peer.
    #[inline]
    pub(super) const fn tell(&mut self, version: Version) {
        self.sent = version;
        self.has |= has::SENT | has::TOLD;
    }

    #[inline]
    pub(super) const fn set_sent(&mut self, version: Version) {
        self.sent = version;
        self.has |= has::SENT;
    }

    /// What is under way counts no more.
    pub(super) const fn forget_sent(&mut self) {
        self.sent = self.acked;
        self.has = (self.has & !has::SENT) | (self.has & has::ACKED) << 2;
    }

    pub(super) const fn leave(&mut self) {
        self.presence = Presence::Leaving;
        self.clear(0);
    }

    /// Nothing that it has counts. A new life begins with the next datagram.
    pub(super) const fn void(&mut self) {
        self.clear(has::NOTHING);
    }

    pub(super) const fn install(&mut self, version: Version) {
        self.acked = version;
        self.clear(has::ACKED);
        self.tell(version);
    }

    /// See [`has::MIGRATED`]. The peer shows it, so it must hear if it leaves.
    pub(super) const fn migrated(&mut self) {
        self.has |= has::TOLD | has::MIGRATED;
    }

    /// As [`ack`](Self::ack) for a version that a migration named, if it may still be told against.
    pub(super) fn ack_migrated(&mut self, version: Version) {
        if self.has & has::NOTHING == 0 {
            self.ack(version);
            self.migrated();
        }
    }

    /// Whether what the peer has of it came by a migration.
    pub(super) const fn has_migrated(&self) -> bool {
        self.has & has::MIGRATED != 0
    }

    #[inline]
    pub(super) fn ack(&mut self, version: Version) {
        if self.presence != Presence::Live {
            return;
        }
        self.losses = 0;
        match self.acked() {
            Some(acked) if acked == version => {}
            Some(acked) if acked.is_newer_than(version) => {
                if self
                    .before()
                    .is_none_or(|before| version.is_newer_than(before))
                {
                    self.before = version;
                    self.has |= has::BEFORE;
                }
            }
            acked => {
                if let Some(acked) = acked {
                    self.before = acked;
                    self.has |= has::BEFORE;
                }
                self.acked = version;
                self.has = (self.has | has::ACKED) & !(has::MIGRATED | has::NOTHING);
            }
        }
    }

    /// A record of `version` was lost. True if nothing newer is under way, so that the row must
    /// be sent again.
    pub(super) fn lose(&mut self, version: Version) -> bool {
        let resend = self.presence == Presence::Live
            && self.sent() == Some(version)
            && self.acked() != Some(version);
        if resend {
            self.losses = self.losses.saturating_add(1);
            if self.losses >= MAX_LOSSES {
                // Perhaps it is not chance, and the peer cannot read what is told against this
                // baseline.
                self.void();
            }
            self.forget_sent();
        }
        resend
    }
}
