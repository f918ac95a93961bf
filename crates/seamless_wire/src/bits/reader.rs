//! Bits back to values.

use super::unzigzag;
use crate::WireError;

/// Reads bits from a slice. Every read is checked; after an error the reader is of no more use.
#[derive(Debug, Clone)]
pub struct BitReader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> BitReader<'a> {
    /// Bits that [`peek`](Self::peek) gives at least.
    pub(crate) const PEEKED: u32 = 57;

    /// Reads from the first bit of `bytes`.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Bits not yet read.
    #[must_use]
    pub const fn left(&self) -> usize {
        self.bytes.len() * 8 - self.at
    }

    /// Bits read so far.
    #[must_use]
    pub const fn position(&self) -> usize {
        self.at
    }

    /// Reads `count` bits, at most 56.
    ///
    /// # Errors
    /// [`WireError::Truncated`] if fewer are left.
    #[inline]
    pub fn get(&mut self, count: u32) -> Result<u64, WireError> {
        debug_assert!(count <= 56);
        if (count as usize) > self.left() {
            return Err(WireError::Truncated {
                wanted: count,
                left: self.left() as u32,
            });
        }
        let word = self.peek();
        self.at += count as usize;
        Ok(word & ((1 << count) - 1))
    }

    /// Takes `count` bits that were looked at.
    #[inline]
    pub(crate) fn skip(&mut self, count: u32) -> Result<(), WireError> {
        if (count as usize) > self.left() {
            return Err(WireError::Truncated {
                wanted: count,
                left: self.left() as u32,
            });
        }
        self.at += count as usize;
        Ok(())
    }

    /// Reads one bit.
    ///
    /// # Errors
    /// [`WireError::Truncated`] at the end.
    #[inline]
    pub fn get_bool(&mut self) -> Result<bool, WireError> {
        Ok(self.get(1)? != 0)
    }

    /// Reads 64 bits.
    ///
    /// # Errors
    /// [`WireError::Truncated`] if fewer are left.
    pub fn get_u64(&mut self) -> Result<u64, WireError> {
        Ok(self.get(32)? | (self.get(32)? << 32))
    }

    /// At least the next 57 bits, filled up with zeros past the end. [`skip`](Self::skip) takes
    /// those that mattered.
    #[inline]
    pub(crate) fn peek(&self) -> u64 {
        let first = self.at / 8;
        let word = if let Some(eight) = self.bytes.get(first..first + 8) {
            u64::from_le_bytes(eight.try_into().expect("a slice of eight"))
        } else {
            let mut tail = [0; 8];
            let rest = self.bytes.get(first..).unwrap_or_default();
            tail[..rest.len()].copy_from_slice(rest);
            u64::from_le_bytes(tail)
        };
        word >> (self.at % 8)
    }

    /// Reads an Exp-Golomb number of order `k`.
    ///
    /// # Errors
    /// [`WireError::Truncated`], or [`WireError::Invalid`] if the number needs more than 64 bits.
    #[inline]
    pub fn get_golomb(&mut self, k: u32) -> Result<u64, WireError> {
        let word = self.peek();
        // What `peek` does not promise counts as a one that makes it too long.
        let width = (word | 1 << (Self::PEEKED - 1)).trailing_zeros();
        let len = 2 * width + 1 + k;
        if len > Self::PEEKED {
            return self.get_long_golomb(k);
        }
        self.skip(len)?;
        let high = (1 << width | (word >> (width + 1)) & ((1 << width) - 1)) - 1;
        Ok(high << k | (word >> (2 * width + 1)) & ((1 << k) - 1))
    }

    /// One that may be longer than what can be looked at at once.
    #[cold]
    #[inline(never)]
    fn get_long_golomb(&mut self, k: u32) -> Result<u64, WireError> {
        let width = self.get_zeros()?;
        let low = if width > 32 {
            self.get(32)? | (self.get(width - 32)? << 32)
        } else {
            self.get(width)?
        };
        let high = ((1u64 << width) | low) - 1;
        if high.leading_zeros() < k {
            return Err(WireError::Invalid {
                what: "golomb number",
                value: high,
            });
        }
        Ok((high << k) | self.get(k)?)
    }

    /// Reads zeros up to the next one, and the one; gives how many zeros.
    fn get_zeros(&mut self) -> Result<u32, WireError> {
        let mut width = 0;
        while !self.get_bool()? {
            width += 1;
            if width > 63 {
                return Err(WireError::Invalid {
                    what: "golomb width",
                    value: width,
                });
            }
        }
        Ok(width as u32)
    }

    /// Reads an Exp-Golomb number and refuses one above `max`.
    ///
    /// # Errors
    /// As [`get_golomb`](Self::get_golomb), or [`WireError::OutOfBounds`] naming `what`.
    #[inline]
    pub fn get_bounded(&mut self, k: u32, max: u64, what: &'static str) -> Result<u64, WireError> {
        let value = self.get_golomb(k)?;
        if value > max {
            return Err(WireError::OutOfBounds { what, value, max });
        }
        Ok(value)
    }

    /// Reads a signed Exp-Golomb number.
    ///
    /// # Errors
    /// As [`get_golomb`](Self::get_golomb).
    #[inline]
    pub fn get_signed_golomb(&mut self, k: u32) -> Result<i64, WireError> {
        Ok(unzigzag(self.get_golomb(k)?))
    }

    /// Appends `count` whole bytes to `out`.
    ///
    /// # Errors
    /// [`WireError::Truncated`] if fewer are left; nothing is appended then.
    pub fn get_bytes(&mut self, count: usize, out: &mut Vec<u8>) -> Result<(), WireError> {
        if count.checked_mul(8).is_none_or(|bits| bits > self.left()) {
            return Err(WireError::Truncated {
                wanted: u32::try_from(count.saturating_mul(8)).unwrap_or(u32::MAX),
                left: self.left() as u32,
            });
        }
        if self.at.is_multiple_of(8) {
            let first = self.at / 8;
            out.extend_from_slice(&self.bytes[first..first + count]);
            self.at += count * 8;
        } else {
            out.reserve(count);
            let (mut left, shift) = (count, self.at % 8);
            // Eight of them lie in nine.
            while left >= 8
                && let first = self.at / 8
                && let Some(nine) = self.bytes.get(first..first + 9)
                && let Some((eight, [last])) = nine.split_first_chunk::<8>()
            {
                let word = u64::from_le_bytes(*eight) >> shift | u64::from(*last) << (64 - shift);
                out.extend_from_slice(&word.to_le_bytes());
                self.at += 64;
                left -= 8;
            }
            debug_assert!(left < 8, "they were there");
            out.extend_from_slice(&self.peek().to_le_bytes()[..left]);
            self.at += left * 8;
        }
        Ok(())
    }

    /// Checks that nothing but zeros is left: the filling of the last byte, and of a datagram that was
    /// made as long as others. One step for each seven bytes.
    ///
    /// # Errors
    /// [`WireError::Trailing`] if a bit is set.
    pub fn expect_zeros(mut self) -> Result<(), WireError> {
        let trailing = WireError::Trailing(self.left().div_ceil(8));
        while self.left() > 0 {
            if self.get(self.left().min(56) as u32)? != 0 {
                return Err(trailing);
            }
        }
        Ok(())
    }

    /// Checks that only the filling of the last byte is left.
    ///
    /// # Errors
    /// [`WireError::Trailing`] if a whole byte or a set bit is left.
    pub fn expect_end(mut self) -> Result<(), WireError> {
        let left = self.left();
        if left >= 8 || self.get(left as u32)? != 0 {
            return Err(WireError::Trailing(left.div_ceil(8)));
        }
        Ok(())
    }
}
