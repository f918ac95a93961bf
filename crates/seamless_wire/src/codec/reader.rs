//! Numbers, texts and counts in bincode's standard format, from bytes of which nothing is known.

use serde::de::Error;

use super::FREE_ELEMENTS;
use crate::WireError;

/// Why a value cannot be read. In a box, so that what is read can be returned in registers.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub(super) struct Failure(Box<WireError>);

impl From<Failure> for WireError {
    fn from(failure: Failure) -> Self {
        *failure.0
    }
}

impl Error for Failure {
    #[cold]
    fn custom<T: std::fmt::Display>(words: T) -> Self {
        Self(Box::new(WireError::Payload(words.to_string())))
    }
}

/// First bytes of integers that take more than one byte; below them stand those that take one.
const TWO: u8 = 251;
const FOUR: u8 = 252;
const EIGHT: u8 = 253;
const SIXTEEN: u8 = 254;

/// Bytes that are left, and what else is left to one decode.
pub(super) struct Reader<'de> {
    bytes: &'de [u8],
    elements: usize,
    max_elements: usize,
    /// The bound that was passed, if one was. A type may put words of its own in an error's place.
    broken: Option<Box<WireError>>,
}

impl<'de> Reader<'de> {
    #[inline(always)]
    pub(super) const fn new(bytes: &'de [u8]) -> Self {
        let max_elements = bytes.len() + FREE_ELEMENTS;
        Self {
            bytes,
            elements: max_elements,
            max_elements,
            broken: None,
        }
    }

    /// The bound that was passed, if one was.
    #[inline(always)]
    pub(super) const fn broken(&mut self) -> Option<Box<WireError>> {
        self.broken.take()
    }

    /// How many bytes are left.
    #[inline]
    pub(super) const fn left(&self) -> usize {
        self.bytes.len()
    }

    #[cold]
    pub(super) fn refuse(&mut self, error: WireError) -> Failure {
        self.broken = Some(Box::new(error.clone()));
        Failure(Box::new(error))
    }

    #[cold]
    fn ends(&self) -> Failure {
        Failure::custom(format_args!(
            "the bytes end, with {} of a part left",
            self.bytes.len()
        ))
    }

    #[inline(always)]
    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Failure> {
        match self.bytes.split_first_chunk() {
            Some((taken, rest)) => {
                self.bytes = rest;
                Ok(*taken)
            }
            None => Err(self.ends()),
        }
    }

    #[inline(always)]
    pub(super) fn byte(&mut self) -> Result<u8, Failure> {
        self.array().map(|[byte]| byte)
    }

    pub(super) fn take(&mut self, len: usize) -> Result<&'de [u8], Failure> {
        match self.bytes.split_at_checked(len) {
            Some((taken, rest)) => {
                self.bytes = rest;
                Ok(taken)
            }
            None => Err(self.ends()),
        }
    }

    pub(super) fn boolean(&mut self, what: &'static str) -> Result<bool, Failure> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(Failure::custom(format_args!("{other} is no {what}"))),
        }
    }

    /// An integer of at most so many bytes.
    #[inline]
    pub(super) fn integer(&mut self, most: u32) -> Result<u64, Failure> {
        match self.byte()? {
            TWO if most >= 2 => Ok(u16::from_le_bytes(self.array()?).into()),
            FOUR if most >= 4 => Ok(u32::from_le_bytes(self.array()?).into()),
            EIGHT if most >= 8 => Ok(u64::from_le_bytes(self.array()?)),
            small if small < TWO => Ok(small.into()),
            mark => Err(too_wide(mark, most)),
        }
    }

    pub(super) fn wide_integer(&mut self) -> Result<u128, Failure> {
        if self.bytes.first() == Some(&SIXTEEN) {
            self.byte()?;
            return Ok(u128::from_le_bytes(self.array()?));
        }
        self.integer(8).map(u128::from)
    }

    /// How long something is, of which each piece takes a byte.
    pub(super) fn len(&mut self) -> Result<usize, Failure> {
        let len = self.integer(8)?;
        usize::try_from(len).map_err(Failure::custom)
    }

    /// How many elements follow. They are taken from what is left before the first is read.
    pub(super) fn count(&mut self) -> Result<usize, Failure> {
        let claimed = self.len()?;
        if claimed > self.elements {
            let used = self.max_elements - self.elements;
            return Err(self.refuse(WireError::OutOfBounds {
                what: "elements of a value",
                value: (used as u64).saturating_add(claimed as u64),
                max: self.max_elements as u64,
            }));
        }
        self.elements -= claimed;
        Ok(claimed)
    }

    pub(super) fn text(&mut self) -> Result<&'de str, Failure> {
        let len = self.len()?;
        std::str::from_utf8(self.take(len)?).map_err(Failure::custom)
    }

    pub(super) fn letter(&mut self) -> Result<char, Failure> {
        let len = match self.bytes.first() {
            Some(..0x80) | None => 1,
            Some(0xc2..0xe0) => 2,
            Some(0xe0..0xf0) => 3,
            Some(0xf0..0xf5) => 4,
            Some(other) => return Err(Failure::custom(format_args!("{other} begins no letter"))),
        };
        let text = std::str::from_utf8(self.take(len)?).map_err(Failure::custom)?;
        let letter = text.chars().next();
        letter.ok_or_else(|| Failure::custom("no letter"))
    }
}

#[cold]
fn too_wide(mark: u8, most: u32) -> Failure {
    Failure::custom(format_args!(
        "{mark} begins no integer of at most {most} bytes"
    ))
}

/// bincode's zigzag.
#[inline]
pub(super) const fn signed(n: u64) -> i64 {
    (n >> 1) as i64 ^ -((n & 1) as i64)
}
