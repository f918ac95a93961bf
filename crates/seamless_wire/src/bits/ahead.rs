//! Short codes one after the other, taken from a register.

use super::BitReader;
use crate::WireError;

/// Looks at the bits ahead of a reader. Several codes are taken from one look at memory, and whether
/// they were there at all is asked once for each look.
#[derive(Debug)]
pub(crate) struct Ahead<'r, 'a> {
    reader: &'r mut BitReader<'a>,
    bits: u64,
    /// How many of them are taken, below [`VALID`](Self::VALID).
    taken: u32,
}

impl<'r, 'a> Ahead<'r, 'a> {
    /// How many bits a look gives at least: the longest code there may be.
    const VALID: u32 = BitReader::PEEKED;

    #[inline(always)]
    pub(crate) fn new(reader: &'r mut BitReader<'a>) -> Self {
        let bits = reader.peek();
        Self {
            reader,
            bits,
            taken: 0,
        }
    }

    /// Takes the next code. `read` says from the bits ahead how long it is and what it means. Bits
    /// that are not there are zero, and a code that has any of them must turn out longer than what
    /// there is: then it is read again from more. At most [`VALID`](Self::VALID) bits are one code.
    /// Past the end of the data all bits are zero; [`finish`](Self::finish) finds out.
    ///
    /// # Errors
    /// [`WireError::Truncated`] if what was taken before was not all there.
    #[inline(always)]
    pub(crate) fn next(&mut self, read: impl Fn(u64) -> (u32, u64)) -> Result<u64, WireError> {
        let (mut len, mut value) = read(self.bits >> self.taken);
        if self.taken + len > Self::VALID {
            self.refill()?;
            (len, value) = read(self.bits);
            debug_assert!(len <= Self::VALID, "{len} bits of one code");
        }
        self.taken += len;
        Ok(value)
    }

    #[inline]
    fn refill(&mut self) -> Result<(), WireError> {
        self.reader.skip(self.taken)?;
        self.bits = self.reader.peek();
        self.taken = 0;
        Ok(())
    }

    /// The reader goes on behind what was taken.
    ///
    /// # Errors
    /// As [`next`](Self::next).
    #[inline(always)]
    pub(crate) fn finish(self) -> Result<(), WireError> {
        self.reader.skip(self.taken)
    }
}
