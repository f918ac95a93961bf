//! Bits, least significant first.
//!
//! A datagram is one run of bits: no field is aligned, bits of one writer can be copied into
//! another at any offset ([`BitWriter::put_run`]), which is what lets one encoding be shared by
//! many clients.

mod ahead;
mod reader;
mod run;

pub(crate) use ahead::Ahead;
pub use reader::BitReader;
pub(crate) use run::Run;

/// Writes bits into a growing buffer. Reuse one: [`BitWriter::clear`] keeps the memory.
#[derive(Debug, Default, Clone)]
pub struct BitWriter {
    bytes: Vec<u8>,
    /// Bits not yet in `bytes`, least significant first.
    pending: u64,
    /// How many of them; always below 64 between calls.
    pending_len: u32,
}

impl BitWriter {
    /// An empty writer.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Forgets the bits, keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.pending = 0;
        self.pending_len = 0;
    }

    /// Bits written so far.
    #[must_use]
    pub const fn bit_len(&self) -> usize {
        self.bytes.len() * 8 + self.pending_len as usize
    }

    /// Bytes needed for what was written so far.
    #[must_use]
    pub const fn byte_len(&self) -> usize {
        self.bytes.len() + self.pending_len.div_ceil(8) as usize
    }

    /// Writes the low `count` bits of `value`. `count` is at most 63.
    #[inline]
    pub fn put(&mut self, value: u64, count: u32) {
        debug_assert!(
            count <= 63 && value >> count == 0,
            "{value} in {count} bits"
        );
        self.pending |= value << self.pending_len;
        let len = self.pending_len + count;
        if len < 64 {
            self.pending_len = len;
            return;
        }
        self.bytes.extend_from_slice(&self.pending.to_le_bytes());
        // `count` is below 64, so `pending_len` was at least 1, and the shift is in range.
        self.pending = value >> (64 - self.pending_len);
        self.pending_len = len - 64;
    }

    /// Writes 64 bits at once.
    #[inline]
    fn put_word(&mut self, word: u64) {
        let whole = self.pending | (word << self.pending_len);
        self.bytes.extend_from_slice(&whole.to_le_bytes());
        if self.pending_len > 0 {
            self.pending = word >> (64 - self.pending_len);
        }
    }

    /// Writes one bit.
    #[inline]
    pub fn put_bool(&mut self, value: bool) {
        self.put(u64::from(value), 1);
    }

    /// Writes 64 bits.
    #[inline]
    pub fn put_u64(&mut self, value: u64) {
        self.put_word(value);
    }

    /// Writes `value` as an Exp-Golomb number of order `k`: `2 * floor(log2(v / 2^k + 1)) + 1 + k`
    /// bits, so 1 bit for a 0 of order 0. `k` is at most 31.
    #[inline]
    pub fn put_golomb(&mut self, value: u64, k: u32) {
        debug_assert!(k < 32, "order {k}");
        // One more than the high part never overflows: it is at most 2^64 / 2^k, and only k = 0
        // reaches the top, which saturates to the longest code.
        let high = (value >> k).saturating_add(1);
        let width = 63 - high.leading_zeros();
        // `width` zeros, a one, then `width` low bits of `high`, then k low bits of the value.
        if 2 * width + 1 + k <= 56 {
            let low = high & ((1 << width) - 1);
            let rest = (low << (width + 1)) | (1 << width);
            let tail = value & ((1 << k) - 1);
            self.put(rest | (tail << (2 * width + 1)), 2 * width + 1 + k);
            return;
        }
        for _ in 0..width / 32 {
            self.put(0, 32);
        }
        self.put(0, width % 32);
        self.put(1, 1);
        let low = high & ((1 << width) - 1);
        if width > 32 {
            self.put(low & 0xffff_ffff, 32);
            self.put(low >> 32, width - 32);
        } else {
            self.put(low, width);
        }
        self.put(value & ((1 << k) - 1), k);
    }

    /// Writes a signed number as Exp-Golomb of its zigzag form.
    #[inline]
    pub fn put_signed_golomb(&mut self, value: i64, k: u32) {
        self.put_golomb(zigzag(value), k);
    }

    /// Writes whole bytes at the present bit offset.
    pub fn put_bytes(&mut self, bytes: &[u8]) {
        let mut words = bytes.chunks_exact(8);
        for word in words.by_ref() {
            self.put_word(u64::from_le_bytes(
                word.try_into().expect("a chunk of eight"),
            ));
        }
        for &byte in words.remainder() {
            self.put(u64::from(byte), 8);
        }
    }

    /// Copies the first `bits` bits of `bytes`, which another writer made.
    ///
    /// One step for each 64 bits.
    #[inline]
    pub fn put_run(&mut self, bytes: &[u8], bits: usize) {
        debug_assert!(
            bits <= bytes.len() * 8,
            "{bits} bits of {} bytes",
            bytes.len()
        );
        let words = bits / 64;
        let (whole, tail) = bytes.split_at(words * 8);
        for word in whole.chunks_exact(8) {
            self.put_word(u64::from_le_bytes(
                word.try_into().expect("a chunk of eight"),
            ));
        }
        let mut rest = (bits % 64) as u32;
        if rest == 0 {
            return;
        }
        let mut word = [0; 8];
        let present = tail.len().min(8);
        word[..present].copy_from_slice(&tail[..present]);
        let mut word = u64::from_le_bytes(word);
        if rest > 32 {
            self.put(word & 0xffff_ffff, 32);
            word >>= 32;
            rest -= 32;
        }
        self.put(word & ((1 << rest) - 1), rest);
    }

    /// Copies the first `bits` bits of `words`. What follows them in their last word is zero.
    ///
    /// One step for each word.
    #[inline]
    pub fn put_words(&mut self, words: &[u64], bits: usize) {
        let whole = bits / 64;
        for &word in &words[..whole] {
            self.put_word(word);
        }
        let rest = (bits % 64) as u32;
        if rest > 0 {
            self.put(words[whole], rest);
        }
    }

    /// Copies `bits` bits of `words`, from bit `start` on.
    ///
    /// One step for each word.
    pub fn put_span(&mut self, words: &[u64], start: usize, bits: usize) {
        debug_assert!(start + bits <= words.len() * 64, "{bits} bits from {start}");
        let (words, shift) = (&words[start / 64..], (start % 64) as u32);
        if shift == 0 {
            return self.put_words_of(words, bits);
        }
        let (whole, rest) = (bits / 64, (bits % 64) as u32);
        let at = self.bytes.len();
        self.bytes.resize(at + whole * 8, 0);
        let (out, _) = self.bytes[at..].as_chunks_mut::<8>();
        let (taken, later) = (&words[..whole], &words[1..]);
        let (mut pending, len) = (self.pending, self.pending_len);
        for ((out, &word), &next) in out.iter_mut().zip(taken).zip(later) {
            let word = word >> shift | next << (64 - shift);
            *out = (pending | word << len).to_le_bytes();
            // Nothing is left over where nothing was pending.
            pending = (word >> 1) >> (63 - len);
        }
        self.pending = pending;
        if rest > 0 {
            let next = later.get(whole).copied().unwrap_or(0);
            let word = words[whole] >> shift | next << (64 - shift);
            self.put(word & ((1 << rest) - 1), rest);
        }
    }

    /// As [`put_words`](Self::put_words), whatever follows the bits.
    fn put_words_of(&mut self, words: &[u64], bits: usize) {
        let (whole, rest) = (bits / 64, bits % 64);
        self.put_words(words, whole * 64);
        if rest > 0 {
            self.put(words[whole] & ((1 << rest) - 1), rest as u32);
        }
    }

    /// Ends the run and appends it to `words`, the last of them filled with zeros.
    pub fn finish_words(&mut self, words: &mut Vec<u64>) {
        let bytes = self.bytes.chunks_exact(8);
        words.extend(
            bytes.map(|word| u64::from_le_bytes(word.try_into().expect("a chunk of eight"))),
        );
        if self.pending_len > 0 {
            words.push(self.pending);
        }
        self.clear();
    }

    /// Ends the run: fills the last byte with zeros and gives the bytes.
    pub fn finish(&mut self) -> &[u8] {
        let count = self.pending_len.div_ceil(8) as usize;
        self.bytes
            .extend_from_slice(&self.pending.to_le_bytes()[..count]);
        self.pending = 0;
        self.pending_len = 0;
        &self.bytes
    }

    /// A point to come back to with [`BitWriter::rewind`].
    #[must_use]
    pub fn mark(&self) -> BitMark {
        BitMark {
            bytes: self.bytes.len(),
            pending: self.pending,
            pending_len: self.pending_len,
        }
    }

    /// Takes back everything written since `mark`.
    pub fn rewind(&mut self, mark: BitMark) {
        self.bytes.truncate(mark.bytes);
        self.pending = mark.pending;
        self.pending_len = mark.pending_len;
    }
}

/// A point in a [`BitWriter`].
#[derive(Debug, Clone, Copy)]
pub struct BitMark {
    bytes: usize,
    pending: u64,
    pending_len: u32,
}

/// Maps small negatives and positives to small naturals: 0, -1, 1, -2, 2 become 0, 1, 2, 3, 4.
#[must_use]
pub const fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

/// The inverse of [`zigzag`].
#[must_use]
pub const fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone)]
    enum Op {
        Bits(u64, u32),
        Golomb(u64, u32),
        Signed(i64, u32),
        Bytes(Vec<u8>),
        Word(u64),
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            (0u32..=56, any::<u64>()).prop_map(|(n, v)| Op::Bits(v & ((1u64 << n) - 1), n)),
            // Saturation makes u64::MAX of order 0 the one number that does not round-trip.
            (0u32..32, 0..u64::MAX).prop_map(|(k, v)| Op::Golomb(v, k)),
            (0u32..32, -1000i64..1000).prop_map(|(k, v)| Op::Signed(v, k)),
            proptest::collection::vec(any::<u8>(), 0..20).prop_map(Op::Bytes),
            any::<u64>().prop_map(Op::Word),
        ]
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            ops in proptest::collection::vec(op(), 0..40),
            cut in any::<(u8, u8)>(),
        ) {
            let mut w = BitWriter::new();
            for op in &ops {
                match op {
                    Op::Bits(v, n) => w.put(*v, *n),
                    Op::Golomb(v, k) => w.put_golomb(*v, *k),
                    Op::Signed(v, k) => w.put_signed_golomb(*v, *k),
                    Op::Bytes(b) => w.put_bytes(b),
                    Op::Word(v) => w.put_u64(*v),
                }
            }
            let bits = w.bit_len();
            let bytes = w.finish().to_vec();
            // Also through a copy at an odd offset.
            let mut shifted = BitWriter::new();
            shifted.put(0b101, 3);
            shifted.put_run(&bytes, bits);
            let shifted = shifted.finish().to_vec();
            let mut copy = BitWriter::new();
            copy.put_run(&bytes, bits);
            let mut words = vec![7];
            copy.finish_words(&mut words);
            let mut copy = BitWriter::new();
            copy.put(0b101, 3);
            copy.put_words(&words[1..], bits);
            prop_assert_eq!(copy.finish(), &shifted[..]);
            // Any part of it, wherever it begins.
            let (from, to) = (bits * usize::from(cut.0) / 256, bits * usize::from(cut.1) / 256);
            let (from, to) = (from.min(to), from.max(to));
            let mut part = BitWriter::new();
            part.put(0b101, 3);
            part.put_span(&words[1..], from, to - from);
            let part = part.finish().to_vec();
            let mut whole = BitReader::new(&bytes);
            let mut part = BitReader::new(&part);
            part.get(3).unwrap();
            for bit in 0..to {
                let bit_there = whole.get_bool().unwrap();
                if bit >= from {
                    prop_assert_eq!(part.get_bool().unwrap(), bit_there);
                }
            }
            prop_assert_eq!(part.expect_end(), Ok(()));
            for (bytes, skip) in [(&bytes, 0), (&shifted, 3)] {
                let mut r = BitReader::new(bytes);
                r.get(skip).unwrap();
                for op in &ops {
                    match op {
                        Op::Bits(v, n) => prop_assert_eq!(r.get(*n).unwrap(), *v),
                        Op::Golomb(v, k) => prop_assert_eq!(r.get_golomb(*k).unwrap(), *v),
                        Op::Signed(v, k) => prop_assert_eq!(r.get_signed_golomb(*k).unwrap(), *v),
                        Op::Bytes(b) => {
                            let mut out = vec![];
                            r.get_bytes(b.len(), &mut out).unwrap();
                            prop_assert_eq!(&out, b);
                        }
                        Op::Word(v) => prop_assert_eq!(r.get_u64().unwrap(), *v),
                    }
                }
                prop_assert_eq!(r.expect_end(), Ok(()));
            }
        }

        #[test]
        fn junk_is_an_error_and_never_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..40), k in 0u32..32) {
            let mut r = BitReader::new(&bytes);
            while r.get_golomb(k).is_ok() && r.left() > 0 {}
            let mut r = BitReader::new(&bytes);
            let mut out = vec![];
            let _ = r.get_bytes(usize::MAX, &mut out);
            prop_assert!(out.is_empty());
        }

        #[test]
        fn rewinding_takes_back_exactly_what_came_after(head in 0u64..1000, tail in any::<u64>()) {
            let mut w = BitWriter::new();
            w.put_golomb(head, 0);
            let mark = w.mark();
            let before = w.clone().finish().to_vec();
            w.put_u64(tail);
            w.rewind(mark);
            prop_assert_eq!(w.finish(), &before[..]);
        }
    }

    #[test]
    fn a_zero_costs_one_bit() {
        let mut w = BitWriter::new();
        w.put_golomb(0, 0);
        assert_eq!(w.bit_len(), 1);
        w.put_golomb(1, 0);
        assert_eq!(w.bit_len(), 4);
    }
}
