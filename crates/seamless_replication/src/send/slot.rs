//! What one peer has of one slot.

use seamless_wire::{
    PacketSeq, Tick, WriteMask,
    record::{LeaveReason, Version},
};

use super::encode::Projection;

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

/// Sender's record of one slot on one link, besides what of it the peer is known to have, see
/// [`Known`](super::Known). Looked at only when something is out of the ordinary.
#[derive(Debug, Clone, Default)]
pub(super) struct LinkSlot {
    marks: u8,
    /// Losses since the last ack.
    losses: u8,
    pub(super) presence: Presence,
    /// Which part of the row the peer is told.
    pub(super) projection: Projection,
}

const _: () = assert!(size_of::<LinkSlot>() == 4, "there is one for each link");

/// What there is to know of a [`LinkSlot`].
mod marks {
    /// It migrated, and nothing was acknowledged since.
    pub(super) const MIGRATED: u8 = 1;
    /// The peer cannot read what is told against what it had, and nothing was acknowledged since.
    pub(super) const NOTHING: u8 = 2;
    /// Anything of it was sent in this life. It may arrive even after it was given up as lost.
    pub(super) const TOLD: u8 = 4;
    /// There is an [`Exception`](super::Exception).
    pub(super) const SPECIAL: u8 = 8;
    /// There are components of the row that the peer is not told.
    pub(super) const HIDDEN: u8 = 16;
    /// How often what was sent last went again unasked: a number of two bits, and what it counts by.
    pub(super) const INSURED: u8 = 32 + 64;
    pub(super) const INSURED_ONCE: u8 = 32;
}

/// With which datagram the present life of each slot began: acks of earlier ones speak of another
/// life.
#[derive(Default)]
pub(super) struct Lives {
    /// The low bits: two sequences that are compared are never 2^31 apart.
    begun: Vec<u32>,
    last: PacketSeq,
    /// When those that are long ago were brought nearer last.
    renewed: u64,
}

/// Datagrams after which what began before them may as well have begun just then: of none older is
/// there anything to hear.
const LONG_AGO: u64 = 1 << 30;

impl Lives {
    /// There are so many slots.
    pub(super) fn grow(&mut self, slots: usize) {
        self.begun.resize(slots, 0);
    }

    /// Another life of the slot begins with the datagram `next`.
    pub(super) fn begin(&mut self, slot: u32, next: PacketSeq) {
        self.begun[slot as usize] = next.0 as u32;
        self.last = next;
        if next.0 - self.renewed.min(next.0) > LONG_AGO {
            self.renew(next);
        }
    }

    /// Once in [`LONG_AGO`] datagrams, a look at each slot.
    #[cold]
    fn renew(&mut self, next: PacketSeq) {
        self.renewed = next.0;
        let next = next.0 as u32;
        for begun in &mut self.begun {
            *begun = next.wrapping_sub(next.wrapping_sub(*begun).min(LONG_AGO as u32));
        }
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

/// A row that no datagram holds.
#[derive(Debug, Clone, Copy)]
pub(super) struct OnBulk {
    pub(super) version: Version,
    /// When it was sent first, and last.
    pub(super) since: Tick,
    pub(super) sent: Tick,
    /// It was not heard of for long, and is sent again. It may still arrive.
    pub(super) given_up: bool,
    /// The version before it that was given up, and in which ticks that was sent.
    pub(super) earlier: Option<(Version, [Tick; 2])>,
}

impl OnBulk {
    /// Which version was sent in this tick.
    pub(super) fn sent_in(&self, tick: Tick) -> Option<Version> {
        let now = (self.version, [self.since, self.sent]);
        let all = self.earlier.into_iter().chain([now]);
        let sent = |&(_, [since, sent]): &(Version, [Tick; 2])| (since..=sent).contains(&tick);
        all.filter(sent).map(|(version, _)| version).next_back()
    }
}

/// What is out of the ordinary with a slot.
#[derive(Debug, Clone, Default)]
pub(super) struct Exception {
    /// Why it leaves, and as which use of the slot.
    pub(super) leaves: Option<(LeaveReason, u32)>,
    /// What is under way on the bulk channel; nothing else is meanwhile.
    pub(super) bulk: Option<OnBulk>,
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
            marks: if told { marks::TOLD } else { 0 },
            ..Self::default()
        }
    }

    const fn is(&self, mark: u8) -> bool {
        self.marks & mark != 0
    }

    const fn set(&mut self, mark: u8, there: bool) {
        match there {
            true => self.marks |= mark,
            false => self.marks &= !mark,
        }
    }

    /// Whether the peer is told all of its row, by datagrams.
    pub(super) fn is_usual(&self) -> bool {
        self.projection == Projection::Full && !self.is(marks::SPECIAL | marks::HIDDEN)
    }

    /// As [`is_usual`](Self::is_usual), but for components that are hidden from it.
    pub(super) fn is_told_in_full(&self) -> bool {
        self.projection == Projection::Full && !self.is(marks::SPECIAL)
    }

    /// Whether acknowledgements of it are to be [looked at](Self::acknowledged).
    pub(super) const fn is_watched(&self) -> bool {
        self.losses > 0 || self.is(marks::MIGRATED | marks::NOTHING)
    }

    /// Whether anything of it was sent in this life.
    pub(super) const fn is_told(&self) -> bool {
        self.is(marks::TOLD)
    }

    pub(super) const fn set_told(&mut self) {
        self.set(marks::TOLD, true);
    }

    /// Whether there is an [`Exception`].
    pub(super) const fn is_special(&self) -> bool {
        self.is(marks::SPECIAL)
    }

    pub(super) const fn set_special(&mut self, special: bool) {
        self.set(marks::SPECIAL, special);
    }

    /// Whether there are components of the row that the peer is not told.
    pub(super) const fn is_hidden(&self) -> bool {
        self.is(marks::HIDDEN)
    }

    pub(super) const fn set_hidden(&mut self, hidden: bool) {
        self.set(marks::HIDDEN, hidden);
    }

    pub(super) const fn leave(&mut self) {
        self.presence = Presence::Leaving;
        self.insure_anew();
        self.set(marks::MIGRATED | marks::NOTHING, false);
    }

    /// Nothing that the peer has of it counts.
    pub(super) const fn void(&mut self) {
        self.set(marks::MIGRATED, false);
        self.set(marks::NOTHING, true);
    }

    /// Whether it was [voided](Self::void) and nothing was acknowledged since.
    pub(super) const fn is_void(&self) -> bool {
        self.is(marks::NOTHING)
    }

    /// See [`marks::MIGRATED`]. The peer shows it, so it must hear if it leaves.
    pub(super) const fn migrated(&mut self) {
        self.set(marks::TOLD | marks::MIGRATED, true);
    }

    /// Whether what the peer has of it came by a migration.
    pub(super) const fn has_migrated(&self) -> bool {
        self.is(marks::MIGRATED)
    }

    /// A version was acknowledged. `newest`: the peer had none that is newer.
    pub(super) const fn acknowledged(&mut self, newest: bool) {
        self.losses = 0;
        if newest {
            self.set(marks::MIGRATED | marks::NOTHING, false);
        }
    }

    /// What was sent of it goes again unasked, if that was not done `copies` times (3 at most) by now.
    /// `first`: it was sent for the first time.
    pub(super) const fn insure(&mut self, first: bool, copies: u8) -> bool {
        if first {
            self.insure_anew();
        }
        let pays = (self.marks & marks::INSURED) / marks::INSURED_ONCE < copies;
        if pays {
            self.marks += marks::INSURED_ONCE;
        }
        pays
    }

    /// What goes of it next goes for another reason.
    pub(super) const fn insure_anew(&mut self) {
        self.set(marks::INSURED, false);
    }

    /// Its newest version was lost and goes again. True if that happened so often that perhaps it is
    /// not chance, and the peer cannot read what is told against what it has: it is told the row whole.
    pub(super) const fn lose(&mut self) -> bool {
        self.losses = self.losses.saturating_add(1);
        self.insure_anew();
        let is_void = self.losses >= MAX_LOSSES;
        if is_void {
            self.void();
        }
        is_void
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SLOTS: u32 = 4;

    /// Datagrams of which something is still to be heard.
    const HEARD: u64 = 2048;

    proptest! {
        #[test]
        fn lives_begin_where_they_did_however_long_it_goes_on(
            steps in proptest::collection::vec((0..SLOTS, 0_u64..3, 0_u64..LONG_AGO), 1..200),
        ) {
            let mut lives = Lives::default();
            lives.grow(SLOTS as usize);
            let mut begun = [0_u64; SLOTS as usize];
            let mut next = 0_u64;
            for (slot, kind, far) in steps {
                // Short ways, and long ones after which something comes or goes.
                next += if kind == 0 { far } else { far % HEARD };
                if kind < 2 {
                    lives.begin(slot, PacketSeq(next));
                    begun[slot as usize] = next;
                }
                for ago in [0, 1, 2, far % HEARD, HEARD] {
                    let Some(seq) = next.checked_sub(ago) else { continue };
                    let of = lives.of(PacketSeq(seq));
                    for slot in 0..SLOTS {
                        prop_assert_eq!(of(slot), seq >= begun[slot as usize], "{} {}", seq, slot);
                    }
                }
            }
        }
    }
}
