//! How many ranges of received packets renet keeps to acknowledge.

use crate::Refused;

/// Most ranges in one acknowledgement. renet keeps to it for packets in order; the guard makes it
/// hold for late ones too.
pub const MAX_ACK_RANGES: u32 = 64;

/// Furthest a packet number may be beyond the newest. A thousand times what is sent in a second.
const MAX_JUMP: u64 = 1 << 20;

/// Bounds the list of ranges that renet acknowledges with every packet it sends.
///
/// renet 2.0.1 cuts the list at 64 only when a packet is newer than all before. Late packets with
/// gaps between them grow it without end, until it no longer fits renet's buffer and renet ends
/// the connection. The guard keeps an upper bound of its length and refuses late packets while it
/// is long; their content is sent again under a new number.
#[derive(Debug, Clone, Copy, Default)]
pub struct AckRangeGuard {
    newest: Option<u64>,
    ranges: u32,
}

impl AckRangeGuard {
    /// Upper bound of the number of ranges.
    #[must_use]
    pub const fn ranges(&self) -> u32 {
        self.ranges
    }

    /// Notes how many ranges renet really had when it last wrote them.
    pub const fn refresh(&mut self, ranges: u32) {
        self.ranges = ranges;
    }

    /// Takes a packet number or refuses it. Nothing changes if it is refused.
    ///
    /// # Errors
    /// [`Refused::SequenceJump`] and [`Refused::Reordered`].
    pub fn admit(&mut self, sequence: u64) -> Result<(), Refused> {
        let next = self.newest.map_or(0, |newest| newest + 1);
        if sequence < next {
            if self.ranges >= MAX_ACK_RANGES {
                return Err(Refused::Reordered);
            }
            self.ranges += 1;
            return Ok(());
        }
        if sequence - next > MAX_JUMP {
            return Err(Refused::SequenceJump);
        }
        if sequence > next || self.ranges == 0 {
            self.ranges = (self.ranges + 1).min(MAX_ACK_RANGES);
        }
        self.newest = Some(sequence);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_in_order_stay_one_range() {
        let mut guard = AckRangeGuard::default();
        for sequence in 0..1000 {
            guard.admit(sequence).unwrap();
        }
        assert_eq!(guard.ranges(), 1);
    }

    #[test]
    fn late_packets_are_refused_while_the_list_is_long() {
        let mut guard = AckRangeGuard::default();
        guard.admit(10_000).unwrap();
        let admitted = (1..1000)
            .filter(|i| guard.admit(10_000 - 2 * i).is_ok())
            .count();
        assert_eq!(admitted as u32, MAX_ACK_RANGES - 1);
        assert_eq!(guard.admit(9), Err(Refused::Reordered));
        // Newer ones still pass, and late ones again once the list is short.
        guard.admit(10_001).unwrap();
        guard.refresh(2);
        guard.admit(9).unwrap();
    }

    #[test]
    fn a_jump_is_refused_and_forgotten() {
        let mut guard = AckRangeGuard::default();
        assert_eq!(guard.admit(1 << 40), Err(Refused::SequenceJump));
        guard.admit(3).unwrap();
        guard.admit(4).unwrap();
        assert_eq!(guard.ranges(), 1);
    }
}
