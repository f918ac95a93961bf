//! State datagrams: header, acks, and the sections that need no schema.
//!
//! A datagram is `header, section*, end`. Its first byte is at least `0x80`, which tells it from
//! renet's packets on the same link. Datagrams with something in them are numbered and get
//! acknowledged; those that only acknowledge are not numbered.

use crate::{
    BitReader, BitWriter, MAX_DATAGRAM, WireError,
    delta::{self, Baseline},
    epoch::Term,
    ids::InputSeq,
    seq::PacketSeq,
    tick::Tick,
};

/// First byte of every state datagram is at least this.
pub const STATE_MARK: u8 = 0x80;

/// Most acknowledged sequences in one datagram.
pub const MAX_ACK_BITS: u32 = 1024;

/// Most unacknowledged inputs a datagram repeats; about a second of them.
pub const MAX_INPUTS: u32 = 32;

/// Largest encoding of one input, in bytes.
pub const MAX_INPUT_BYTES: usize = 128;

const FLAG_NUMBERED: u64 = 1;
const FLAG_ACKS: u64 = 2;
const FLAGS: u64 = FLAG_NUMBERED | FLAG_ACKS;

/// What stands before the sections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateHeader {
    /// `None` for a datagram that only acknowledges.
    pub seq: Option<PacketSeq>,
    /// The sender's tick. Records in the datagram are as of its end.
    pub tick: Tick,
    /// What the sender received from us.
    pub acks: Option<AckBits>,
}

/// Which of the datagrams up to and including `newest` arrived and were kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AckBits {
    /// The highest sequence that arrived, kept or not.
    pub newest: PacketSeq,
    /// How many sequences are reported, counting down from `newest`; 1 to [`MAX_ACK_BITS`].
    len: u32,
    /// Bit `i` stands for `newest - i`.
    words: [u64; (MAX_ACK_BITS / 64) as usize],
}

impl AckBits {
    /// A report that ends at `newest` and says nothing yet.
    #[must_use]
    pub const fn new(newest: PacketSeq) -> Self {
        Self {
            newest,
            len: 1,
            words: [0; (MAX_ACK_BITS / 64) as usize],
        }
    }

    /// Reports `seq` as arrived and kept (or only as seen). Out of reach: ignored.
    pub fn report(&mut self, seq: PacketSeq, kept: bool) {
        let Some(back) = self.newest.0.checked_sub(seq.0) else {
            return;
        };
        if back >= u64::from(MAX_ACK_BITS) {
            return;
        }
        let back = back as u32;
        self.len = self.len.max(back + 1);
        if kept {
            self.words[(back / 64) as usize] |= 1 << (back % 64);
        }
    }

    /// Number of sequences it speaks of.
    #[must_use]
    pub const fn reach(&self) -> u32 {
        self.len
    }

    /// The acknowledged sequences, newest first.
    pub fn acked(&self) -> impl DoubleEndedIterator<Item = PacketSeq> + '_ {
        (0..self.len)
            .filter(|back| self.words[(back / 64) as usize] >> (back % 64) & 1 != 0)
            .filter_map(|back| self.newest.0.checked_sub(u64::from(back)).map(PacketSeq))
    }

    fn write(&self, w: &mut BitWriter) {
        w.put(u64::from(self.newest.low()), 16);
        w.put_golomb(u64::from(self.len - 1), 3);
        for at in (0..self.len).step_by(32) {
            let count = (self.len - at).min(32);
            let word = self.words[(at / 64) as usize] >> (at % 64);
            w.put(word & ((1 << count) - 1), count);
        }
    }

    fn read(r: &mut BitReader<'_>, near: PacketSeq) -> Result<Self, WireError> {
        let low = r.get(16)? as u16;
        let Some(newest) = PacketSeq::widen(near, low) else {
            return Err(WireError::Invalid {
                what: "acknowledged sequence",
                value: low.into(),
            });
        };
        let len = r.get_bounded(3, u64::from(MAX_ACK_BITS) - 1, "reach of acks")? as u32 + 1;
        let mut acks = Self {
            newest,
            len,
            words: [0; (MAX_ACK_BITS / 64) as usize],
        };
        for at in (0..len).step_by(32) {
            let count = (len - at).min(32);
            acks.words[(at / 64) as usize] |= r.get(count)? << (at % 64);
        }
        Ok(acks)
    }
}

/// What the reader of a header knows about the link, to widen short counters.
#[derive(Debug, Clone, Copy)]
pub struct HeaderContext {
    /// The newest sequence that arrived.
    pub seq: PacketSeq,
    /// The newest sequence we sent.
    pub sent: PacketSeq,
    /// The newest tick that arrived; [`None`] before the first numbered datagram, when the
    /// handshake's tick serves.
    pub tick: Tick,
}

impl StateHeader {
    /// The longest one, in bytes: it acknowledges as much as one can.
    pub const MAX_BYTES: usize = (8 + 3 * 16 + 18 + MAX_ACK_BITS as usize).div_ceil(8);

    /// Begins a datagram.
    pub fn write(&self, w: &mut BitWriter) {
        let flags = if self.seq.is_some() { FLAG_NUMBERED } else { 0 }
            | if self.acks.is_some() { FLAG_ACKS } else { 0 };
        w.put(flags | u64::from(STATE_MARK), 8);
        w.put(u64::from(self.tick.low()), 16);
        if let Some(seq) = self.seq {
            w.put(u64::from(seq.low()), 16);
        }
        if let Some(acks) = &self.acks {
            acks.write(w);
        }
    }

    /// Reads the beginning of a datagram.
    ///
    /// # Errors
    /// [`WireError`] for anything that [`write`](Self::write) cannot have made.
    pub fn read(r: &mut BitReader<'_>, context: HeaderContext) -> Result<Self, WireError> {
        let first = r.get(8)?;
        if first & !FLAGS != u64::from(STATE_MARK) {
            return Err(WireError::Invalid {
                what: "first byte of a state datagram",
                value: first,
            });
        }
        let tick = Tick::widen(context.tick, r.get(16)? as u16);
        let seq = if first & FLAG_NUMBERED == 0 {
            None
        } else {
            let low = r.get(16)? as u16;
            Some(
                PacketSeq::widen(context.seq, low).ok_or_else(|| WireError::Invalid {
                    what: "packet sequence",
                    value: low.into(),
                })?,
            )
        };
        let acks = if first & FLAG_ACKS == 0 {
            None
        } else {
            Some(AckBits::read(r, context.sent)?)
        };
        Ok(Self { seq, tick, acks })
    }
}

/// What a section holds. Three bits before each section; [`SectionKind::End`] closes the datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SectionKind {
    /// No more sections.
    End = 0,
    /// Control items, see [`crate::control`].
    Control = 1,
    /// Rows of entities of one archetype, see [`crate::record`].
    Rows = 2,
    /// Entities that leave the receiver, see [`crate::record`].
    Leaves = 3,
    /// A player's inputs.
    Inputs = 4,
    /// Which inputs were applied.
    InputAck = 5,
    /// Unreliable messages.
    Messages = 6,
    /// What the receiver should have, see [`crate::audit`].
    Audit = 7,
}

impl SectionKind {
    /// Begins a section.
    pub fn write(self, w: &mut BitWriter) {
        w.put(self as u64, 3);
    }

    /// Reads the beginning of a section.
    ///
    /// # Errors
    /// [`WireError`] at the end of the bits.
    pub fn read(r: &mut BitReader<'_>) -> Result<Self, WireError> {
        Ok(match r.get(3)? {
            0 => Self::End,
            1 => Self::Control,
            2 => Self::Rows,
            3 => Self::Leaves,
            4 => Self::Inputs,
            5 => Self::InputAck,
            6 => Self::Messages,
            _ => Self::Audit,
        })
    }
}

/// Consecutive inputs, oldest first, each coded against the one before it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct InputBatch {
    /// Number of the first.
    pub first: InputSeq,
    /// Their encodings.
    pub inputs: Vec<Vec<u8>>,
}

impl InputBatch {
    /// Writes the section's body. At most [`MAX_INPUTS`] inputs of [`MAX_INPUT_BYTES`] each.
    pub fn write<'a>(
        w: &mut BitWriter,
        first: InputSeq,
        inputs: impl ExactSizeIterator<Item = &'a [u8]>,
    ) {
        debug_assert!(inputs.len() as u32 <= MAX_INPUTS, "{} inputs", inputs.len());
        w.put(u64::from(first.0), 32);
        w.put_golomb(inputs.len() as u64, 2);
        let mut previous = None;
        for input in inputs {
            delta::write_bytes(w, previous.map(Baseline::still), input);
            previous = Some(input);
        }
    }

    /// Reads the section's body.
    ///
    /// # Errors
    /// [`WireError`] for bodies that [`write`](Self::write) cannot have made.
    pub fn read(r: &mut BitReader<'_>) -> Result<Self, WireError> {
        let first = InputSeq(r.get(32)? as u32);
        let count = r.get_bounded(2, u64::from(MAX_INPUTS), "number of inputs")? as usize;
        if first.0.checked_add(count as u32).is_none() {
            return Err(WireError::Invalid {
                what: "input sequence",
                value: first.0.into(),
            });
        }
        let mut inputs: Vec<Vec<u8>> = Vec::with_capacity(count);
        for _ in 0..count {
            let mut input = Vec::new();
            let previous = inputs.last().map(Vec::as_slice);
            delta::read_bytes(
                r,
                previous.map(Baseline::still),
                MAX_INPUT_BYTES,
                &mut input,
            )?;
            inputs.push(input);
        }
        Ok(Self { first, inputs })
    }
}

/// The newest input that was applied, and by the host of which term.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InputAck {
    /// Term of the player's root on the node that applied it. Only the highest counts.
    pub term: Term,
    /// The input; [`InputSeq`] 0 if none was applied yet.
    pub applied: InputSeq,
}

impl InputAck {
    /// Writes the section's body.
    pub fn write(self, w: &mut BitWriter) {
        w.put_golomb(self.term.0, 8);
        w.put(u64::from(self.applied.0), 32);
    }

    /// Reads the section's body.
    ///
    /// # Errors
    /// [`WireError`] at the end of the bits.
    pub fn read(r: &mut BitReader<'_>) -> Result<Self, WireError> {
        Ok(Self {
            term: Term(r.get_golomb(8)?),
            applied: InputSeq(r.get(32)? as u32),
        })
    }
}

/// Whether a section of `bits` more bits (and the end mark) still fits a datagram.
#[must_use]
pub fn fits(w: &BitWriter, bits: usize) -> bool {
    w.bit_len() + bits + 3 <= MAX_DATAGRAM * 8
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn context() -> HeaderContext {
        HeaderContext {
            seq: PacketSeq(70_000),
            sent: PacketSeq(65_530),
            tick: Tick(66_000),
        }
    }

    proptest! {
        #[test]
        fn a_header_survives(numbered in any::<bool>(), reports in proptest::collection::vec((0u64..1200, any::<bool>()), 0..50)) {
            let mut acks = AckBits::new(PacketSeq(65_540));
            for (back, kept) in &reports {
                acks.report(PacketSeq(65_540 - back), *kept);
            }
            let header = StateHeader {
                seq: numbered.then_some(PacketSeq(70_003)),
                tick: Tick(66_002),
                acks: (!reports.is_empty()).then_some(acks),
            };
            let mut w = BitWriter::new();
            header.write(&mut w);
            let bytes = w.finish().to_vec();
            prop_assert!(bytes[0] >= STATE_MARK);
            let mut r = BitReader::new(&bytes);
            prop_assert_eq!(StateHeader::read(&mut r, context()), Ok(header));
            prop_assert_eq!(r.expect_end(), Ok(()));
        }

        #[test]
        fn inputs_survive(first in 0u32..1000, inputs in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..20), 0..32)) {
            let mut w = BitWriter::new();
            InputBatch::write(&mut w, InputSeq(first), inputs.iter().map(Vec::as_slice));
            let bytes = w.finish().to_vec();
            prop_assert_eq!(InputBatch::read(&mut BitReader::new(&bytes)), Ok(InputBatch { first: InputSeq(first), inputs }));
        }

        #[test]
        fn junk_is_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = StateHeader::read(&mut BitReader::new(&bytes), context());
            let _ = InputBatch::read(&mut BitReader::new(&bytes));
            let _ = InputAck::read(&mut BitReader::new(&bytes));
        }
    }

    #[test]
    fn acks_name_what_was_kept_and_nothing_else() {
        let mut acks = AckBits::new(PacketSeq(5));
        acks.report(PacketSeq(5), true);
        acks.report(PacketSeq(3), true);
        acks.report(PacketSeq(2), false);
        acks.report(PacketSeq(9), true);
        assert_eq!(acks.reach(), 4);
        assert_eq!(acks.acked().map(|s| s.0).collect::<Vec<_>>(), [5, 3]);
    }

    #[test]
    fn the_longest_header_is_as_long_as_it_says() {
        let mut acks = AckBits::new(PacketSeq(70_000));
        acks.report(PacketSeq(70_000 - u64::from(MAX_ACK_BITS) + 1), true);
        let header = StateHeader {
            seq: Some(PacketSeq(9)),
            tick: Tick(7),
            acks: Some(acks),
        };
        let mut w = BitWriter::new();
        header.write(&mut w);
        assert_eq!(w.byte_len(), StateHeader::MAX_BYTES);
    }
}
