//! What one peer has of one slot.

use seamless_wire::{
    PacketSeq, Tick,
    record::{LeaveReason, Version},
};

use super::encode::Projection;

/// Whether the peer is told of the slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Presence {
    /// It does not know of it.
    #[default]
    Unknown,
    /// It is told.
    Live,
    /// It is told that it goes, until it acknowledges.
    Leaving(LeaveReason),
}

/// Sender's record of one slot on one link.
#[derive(Debug, Clone, Default)]
pub(super) struct LinkSlot {
    pub(super) presence: Presence,
    pub(super) generation: u32,
    /// Whether anything of it was sent in this life. It may arrive even after it was given up as
    /// lost.
    pub(super) told: bool,
    /// Newest version that the peer holds: the baseline.
    pub(super) acked: Option<Version>,
    /// Newest version that is under way or arrived.
    pub(super) sent: Option<Version>,
    /// Acks of datagrams before this one speak of an earlier life.
    pub(super) appeared: PacketSeq,
    /// Which part of the row the peer is told.
    pub(super) projection: Projection,
    /// A version under way on the bulk channel; nothing else is sent meanwhile.
    pub(super) bulk: Option<Version>,
    /// When that one was sent.
    pub(super) bulk_sent: Tick,
    /// A version that is larger than the peer takes. It is not tried again.
    pub(super) too_large: Option<Version>,
    pub(super) priority: f32,
}

impl LinkSlot {
    pub(super) fn appearing(generation: u32, appeared: PacketSeq) -> Self {
        Self {
            presence: Presence::Live,
            generation,
            appeared,
            ..Self::default()
        }
    }

    pub(super) fn leave(&mut self, reason: LeaveReason) {
        self.presence = Presence::Leaving(reason);
        self.acked = None;
        self.sent = None;
        self.bulk = None;
    }

    pub(super) fn void(&mut self, appeared: PacketSeq) {
        self.acked = None;
        self.sent = None;
        self.bulk = None;
        self.appeared = appeared;
    }

    pub(super) fn install(&mut self, version: Version) {
        self.told = true;
        self.acked = Some(version);
        self.sent = Some(version);
    }

    pub(super) fn ack(&mut self, version: Version) {
        if self.presence == Presence::Live
            && self.acked.is_none_or(|acked| version.is_newer_than(acked))
        {
            self.acked = Some(version);
        }
    }

    /// A record of `version` was lost. True if nothing newer is under way, so that the row must
    /// be sent again.
    pub(super) fn lose(&mut self, version: Version) -> bool {
        let resend = self.presence == Presence::Live
            && self.sent == Some(version)
            && self.acked != Some(version);
        if resend {
            self.sent = self.acked;
        }
        resend
    }
}
