//! Packet numbers.

/// Number of a state datagram on one link and in one direction, counted from 0.
///
/// 64 bits in memory, the low 16 on the wire; [`PacketSeq::widen`] restores the rest.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub struct PacketSeq(pub u64);

impl PacketSeq {
    /// The low 16 bits, as the wire carries them.
    #[must_use]
    pub const fn low(self) -> u16 {
        self.0 as u16
    }

    /// The sequence with these low bits that is nearest to `near`.
    ///
    /// `None` if that would be below zero: no peer sent it.
    #[must_use]
    pub const fn widen(near: Self, low: u16) -> Option<Self> {
        let ahead = low.wrapping_sub(near.0 as u16) as i16;
        match near.0.checked_add_signed(ahead as i64) {
            Some(wide) => Some(Self(wide)),
            None => None,
        }
    }

    /// The next one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn widening_never_invents_a_sequence_below_zero() {
        assert_eq!(PacketSeq::widen(PacketSeq(3), 0xfff0), None);
        assert_eq!(
            PacketSeq::widen(PacketSeq(0x1_0003), 0xfff0),
            Some(PacketSeq(0xfff0))
        );
        assert_eq!(
            PacketSeq::widen(PacketSeq(0xffff), 2),
            Some(PacketSeq(0x1_0002))
        );
    }
}
