//! renet's packets, read in full before renet may see them.

use std::ops::RangeInclusive;

use crate::{Channel, Refused, channel::SLICE_BYTES};

use super::MAX_ACK_RANGES;

/// A renet packet of a reliable channel, or its acknowledgements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReliablePacket<'a> {
    /// Whole messages.
    Messages {
        /// Number of the packet.
        sequence: u64,
        /// Where they belong.
        channel: Channel,
        /// At least one.
        messages: Messages<'a>,
    },
    /// A piece of a message.
    Slice {
        /// Number of the packet.
        sequence: u64,
        /// Where it belongs.
        channel: Channel,
        /// Which piece of which message.
        slice: SliceHead,
    },
    /// Which packets arrived.
    Acks {
        /// Number of the packet.
        sequence: u64,
        /// At least one range.
        acks: Acks<'a>,
    },
}

/// Which piece of which message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SliceHead {
    /// Number of the message.
    pub message: u64,
    /// Number of the piece, below `count`.
    pub index: u32,
    /// Number of pieces, at least two.
    pub count: u32,
}

/// Reads a packet to its last byte. What passes does not make renet panic or disconnect, as long
/// as it also passes the receive window. Costs nanoseconds, allocates nothing.
///
/// # Errors
/// The kind of [`Refused`] to count; all of them are faults of the peer.
pub fn parse_reliable(bytes: &[u8]) -> Result<ReliablePacket<'_>, Refused> {
    let mut r = Reader(bytes);
    let packet = match r.u8()? {
        0 => {
            let sequence = r.varint()?;
            let channel = r.channel()?;
            let count = r.u16()?;
            if count == 0 {
                return Err(Refused::EmptyMessage);
            }
            let messages = Messages { count, body: r.0 };
            let mut newest = None;
            for _ in 0..count {
                let (id, len) = r.message()?;
                match len {
                    0 => return Err(Refused::EmptyMessage),
                    1..=SLICE_BYTES => {}
                    _ => return Err(Refused::BadMessage),
                }
                if newest.is_some_and(|newest| id <= newest) {
                    return Err(Refused::BadMessage);
                }
                newest = Some(id);
            }
            ReliablePacket::Messages {
                sequence,
                channel,
                messages,
            }
        }
        2 => {
            let sequence = r.varint()?;
            let channel = r.channel()?;
            let message = r.varint()?;
            let index = r.varint()?;
            let count = r.varint()?;
            let len = r.varint()?;
            r.skip(len)?;
            // Exact pieces, all full but the last: renet ends the connection for others.
            let is_last = count.checked_sub(1) == Some(index);
            let full = len == SLICE_BYTES as u64;
            let good = (2..=u64::from(channel.max_slices())).contains(&count)
                && index < count
                && (full || is_last && (1..SLICE_BYTES as u64).contains(&len));
            if !good {
                return Err(Refused::BadSlice);
            }
            ReliablePacket::Slice {
                sequence,
                channel,
                slice: SliceHead {
                    message,
                    index: index as u32,
                    count: count as u32,
                },
            }
        }
        1 | 3 => return Err(Refused::UnreliablePacket),
        4 => {
            let sequence = r.varint()?;
            let acks = Acks { body: r.0 };
            let end = r.varint()?;
            let mut start = end.checked_sub(r.varint()?).ok_or(Refused::BadAck)?;
            let more = r.varint()?;
            if more >= u64::from(MAX_ACK_RANGES) {
                return Err(Refused::BadAck);
            }
            for _ in 0..more {
                (start, _) = r.ack_range(start)?;
            }
            ReliablePacket::Acks { sequence, acks }
        }
        _ => return Err(Refused::UnknownPayload),
    };
    if r.0.is_empty() {
        Ok(packet)
    } else {
        Err(Refused::Trailing)
    }
}

impl ReliablePacket<'_> {
    /// Number of the packet.
    #[must_use]
    pub const fn sequence(&self) -> u64 {
        match self {
            Self::Messages { sequence, .. }
            | Self::Slice { sequence, .. }
            | Self::Acks { sequence, .. } => *sequence,
        }
    }
}

/// The messages of a packet, checked; iterating gives their numbers and lengths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Messages<'a> {
    count: u16,
    body: &'a [u8],
}

impl<'a> Messages<'a> {
    /// Numbers, rising.
    pub fn ids(self) -> impl Iterator<Item = u64> + use<'a> {
        let mut r = Reader(self.body);
        (0..self.count).map_while(move |_| r.message().ok().map(|(id, _)| id))
    }
}

/// Acknowledged packets, checked; iterating gives ranges, the newest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Acks<'a> {
    body: &'a [u8],
}

impl<'a> Acks<'a> {
    /// The ranges, newest first, not touching each other.
    pub fn ranges(self) -> impl Iterator<Item = RangeInclusive<u64>> + use<'a> {
        let mut r = Reader(self.body);
        let first = (|| {
            let end = r.varint().ok()?;
            let start = end.checked_sub(r.varint().ok()?)?;
            Some((start, end, r.varint().ok()?))
        })();
        let (mut below, first, more) = match first {
            Some((start, end, more)) => (start, Some(start..=end), more),
            None => (0, None, 0),
        };
        first.into_iter().chain((0..more).map_while(move |_| {
            let (start, end) = r.ack_range(below).ok()?;
            below = start;
            Some(start..=end)
        }))
    }

    /// The newest acknowledged packet.
    #[must_use]
    pub fn newest(self) -> Option<u64> {
        Reader(self.body).varint().ok()
    }

    /// Number of ranges.
    #[must_use]
    pub fn count(self) -> u32 {
        self.ranges().count() as u32
    }
}

/// Big-endian fields and QUIC variable-length integers.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take(&mut self, len: usize) -> Result<&[u8], Refused> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(Refused::Truncated)?;
        self.0 = rest;
        Ok(taken)
    }

    fn skip(&mut self, len: u64) -> Result<(), Refused> {
        let len = usize::try_from(len).map_err(|_| Refused::Truncated)?;
        self.take(len).map(|_| ())
    }

    fn u8(&mut self) -> Result<u8, Refused> {
        Ok(self.take(1)?[0])
    }

    fn u16(&mut self) -> Result<u16, Refused> {
        let bytes = self.take(2)?;
        Ok(u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    /// At most 2^62 - 1: two bits of the first byte tell the length.
    fn varint(&mut self) -> Result<u64, Refused> {
        let first = *self.0.first().ok_or(Refused::Truncated)?;
        let len = 1 << (first >> 6);
        let bytes = self.take(len)?;
        let first = u64::from(first & 0x3f);
        Ok(bytes[1..]
            .iter()
            .fold(first, |value, byte| value << 8 | u64::from(*byte)))
    }

    fn channel(&mut self) -> Result<Channel, Refused> {
        Channel::from_id(self.u8()?).ok_or(Refused::UnknownChannel)
    }

    fn message(&mut self) -> Result<(u64, usize), Refused> {
        let id = self.varint()?;
        let len = self.varint()?;
        self.skip(len)?;
        Ok((id, len as usize))
    }

    /// The range below one that starts at `above`: start and end.
    fn ack_range(&mut self, above: u64) -> Result<(u64, u64), Refused> {
        let gap = self.varint()?;
        let end = above
            .checked_sub(gap)
            .and_then(|end| end.checked_sub(2))
            .ok_or(Refused::BadAck)?;
        let start = end.checked_sub(self.varint()?).ok_or(Refused::BadAck)?;
        Ok((start, end))
    }
}

#[cfg(test)]
mod tests;
