//! Which reliable messages renet may hold, and how much of them.

use std::collections::BTreeMap;

use crate::{
    Channel, Refused,
    channel::SLICE_BYTES,
    gate::{Messages, SliceHead},
};

/// Messages beyond the oldest unread one that are taken.
pub const WINDOW: u64 = 1024;

/// Messages a correct sender has unacknowledged at most, on one channel.
///
/// All it may send are within [`WINDOW`] of what the receiver waits for, so no packet is refused
/// for ever: a packet that held the awaited message and one beyond the window would be.
pub const MAX_IN_FLIGHT: u64 = 512;

const WORDS: usize = (WINDOW / 64) as usize;

/// A mirror of renet's receive channel: which messages are whole, which are in pieces.
///
/// Messages up to 1200 bytes are bounded by the window alone (1.2 MB at most). Sliced messages
/// reserve their whole length with their first piece, as in renet, up to a bound; only the
/// message that everything waits for may exceed it, so the bound never blocks for ever.
#[derive(Debug)]
pub struct ReceiveWindow {
    /// The next message the application gets. renet's own counter.
    oldest: u64,
    /// Bit `id % WINDOW`: the message is whole.
    whole: [u64; WORDS],
    /// Messages in pieces, and whole ones that came in pieces, until they are read.
    sliced: BTreeMap<u64, Sliced>,
    /// Bytes of all in `sliced`, rounded up to whole slices.
    reserved: usize,
    /// Bytes that may be reserved.
    limit: usize,
}

#[derive(Debug)]
struct Sliced {
    count: u32,
    missing: u32,
    got: Vec<u64>,
}

impl ReceiveWindow {
    /// The window of a new link's channel.
    #[must_use]
    pub const fn new(channel: Channel) -> Self {
        Self {
            oldest: 0,
            whole: [0; WORDS],
            sliced: BTreeMap::new(),
            reserved: 0,
            limit: channel.slice_bytes(),
        }
    }

    /// Bytes reserved for messages in pieces.
    #[must_use]
    pub const fn reserved(&self) -> usize {
        self.reserved
    }

    /// Takes all messages of a packet or none.
    ///
    /// # Errors
    /// [`Refused::TooFarAhead`] and [`Refused::ChangedMessage`] are faults;
    /// [`Refused::ReceiveFull`] is not, the sender repeats the packet.
    pub fn admit_messages(&mut self, messages: Messages<'_>) -> Result<(), Refused> {
        for id in messages.ids() {
            self.check_reach(id)?;
            if self.sliced.contains_key(&id) {
                return Err(Refused::ChangedMessage);
            }
        }
        for id in messages.ids().filter(|id| *id >= self.oldest) {
            self.whole[word(id)] |= bit(id);
        }
        Ok(())
    }

    /// Takes a piece or not.
    ///
    /// # Errors
    /// As [`admit_messages`](Self::admit_messages).
    pub fn admit_slice(&mut self, slice: SliceHead) -> Result<(), Refused> {
        let id = slice.message;
        self.check_reach(id)?;
        if id < self.oldest {
            return Ok(());
        }
        if !self.sliced.contains_key(&id) {
            if self.is_whole(id) {
                return Err(Refused::ChangedMessage);
            }
            let bytes = slice.count as usize * SLICE_BYTES;
            if self.reserved + bytes > self.limit && id != self.oldest {
                return Err(Refused::ReceiveFull);
            }
            self.reserved += bytes;
        }
        let sliced = self.sliced.entry(id).or_insert_with(|| Sliced {
            count: slice.count,
            missing: slice.count,
            got: vec![0; slice.count.div_ceil(64) as usize],
        });
        if sliced.count != slice.count {
            return Err(Refused::ChangedMessage);
        }
        let got = &mut sliced.got[(slice.index / 64) as usize];
        let mask = 1 << (slice.index % 64);
        if *got & mask == 0 {
            *got |= mask;
            sliced.missing -= 1;
        }
        if sliced.missing == 0 {
            self.whole[word(id)] |= bit(id);
        }
        Ok(())
    }

    /// Notes that renet gave out the oldest message.
    pub fn read(&mut self) {
        self.whole[word(self.oldest)] &= !bit(self.oldest);
        if let Some(sliced) = self.sliced.remove(&self.oldest) {
            self.reserved -= sliced.count as usize * SLICE_BYTES;
        }
        self.oldest += 1;
    }

    fn is_whole(&self, id: u64) -> bool {
        self.whole[word(id)] & bit(id) != 0
    }

    fn check_reach(&self, id: u64) -> Result<(), Refused> {
        let ahead = id.saturating_sub(self.oldest);
        if ahead < WINDOW {
            Ok(())
        } else if ahead < WINDOW + MAX_IN_FLIGHT {
            // All before it may have arrived and wait for the application.
            Err(Refused::ReceiveFull)
        } else {
            Err(Refused::TooFarAhead)
        }
    }
}

const fn word(id: u64) -> usize {
    (id % WINDOW / 64) as usize
}

const fn bit(id: u64) -> u64 {
    1 << (id % 64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slice(message: u64, index: u32, count: u32) -> SliceHead {
        SliceHead {
            message,
            index,
            count,
        }
    }

    #[test]
    fn a_message_must_keep_its_number_of_slices() {
        let mut window = ReceiveWindow::new(Channel::Control);
        window.admit_slice(slice(0, 0, 3)).unwrap();
        assert_eq!(
            window.admit_slice(slice(0, 1, 4)),
            Err(Refused::ChangedMessage)
        );
        window.admit_slice(slice(0, 1, 3)).unwrap();
    }

    #[test]
    fn reserved_bytes_are_bounded_but_the_awaited_message_always_fits() {
        let mut window = ReceiveWindow::new(Channel::Control);
        let count = Channel::Control.max_slices();
        let each = count as usize * SLICE_BYTES;
        let taken = (1..WINDOW)
            .filter(|id| window.admit_slice(slice(*id, 0, count)).is_ok())
            .count();
        assert_eq!(taken, Channel::Control.slice_bytes() / each);
        assert_eq!(
            window.admit_slice(slice(900, 0, count)),
            Err(Refused::ReceiveFull)
        );
        window.admit_slice(slice(0, 0, count)).unwrap();
        for index in 1..count {
            window.admit_slice(slice(0, index, count)).unwrap();
        }
        window.read();
        assert_eq!(window.reserved(), taken * each);
        // Now the next one is awaited, and is there already.
        window.admit_slice(slice(1, 1, count)).unwrap();
    }

    #[test]
    fn numbers_beyond_the_window_wait_and_absurd_ones_are_faults() {
        let mut window = ReceiveWindow::new(Channel::Bulk);
        assert!(window.admit_slice(slice(WINDOW - 1, 0, 2)).is_ok());
        assert_eq!(
            window.admit_slice(slice(WINDOW, 0, 2)),
            Err(Refused::ReceiveFull)
        );
        let absurd = WINDOW + MAX_IN_FLIGHT;
        assert_eq!(
            window.admit_slice(slice(absurd, 0, 2)),
            Err(Refused::TooFarAhead)
        );
        assert_eq!(
            window.admit_slice(slice(u64::MAX, 0, 2)),
            Err(Refused::TooFarAhead)
        );
        window.read();
        assert!(window.admit_slice(slice(WINDOW, 0, 2)).is_ok());
    }

    #[test]
    fn an_old_message_passes_and_costs_nothing() {
        let mut window = ReceiveWindow::new(Channel::Bulk);
        window.admit_slice(slice(0, 0, 2)).unwrap();
        window.admit_slice(slice(0, 1, 2)).unwrap();
        window.read();
        window.admit_slice(slice(0, 1, 9)).unwrap();
        assert_eq!(window.reserved(), 0);
    }
}
