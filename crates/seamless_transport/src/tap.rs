//! What passed a link, for a recorder.
//!
//! A tap stands between a link and the layers above: it notes what they took from the link and what
//! they gave to it, in that order, and nothing of what carries it. Without a tap this costs a
//! comparison for each datagram.

use bytes::Bytes;

use crate::Channel;

/// Most bytes that a link's tap holds until they are taken, and most entries in 64: when nobody
/// takes them, what comes after is counted and forgotten.
const MAX_HELD: usize = 8 << 20;

/// What of the links is noted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TapConfig {
    /// What the layers above took from links.
    pub received: bool,
    /// What they gave to links to be sent.
    pub sent: bool,
}

impl TapConfig {
    pub(crate) const fn is_off(self) -> bool {
        !self.received && !self.sent
    }
}

/// Which way it went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TapWay {
    /// The layers above took it from the link.
    Received,
    /// They gave it to the link.
    Sent,
}

/// Something that passed a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tapped<'a> {
    /// Which way.
    pub way: TapWay,
    /// Over which reliable channel; `None`: a state datagram.
    pub channel: Option<Channel>,
    /// What.
    pub bytes: &'a [u8],
}

/// A link's tap.
#[derive(Debug)]
pub(crate) struct Tap {
    config: TapConfig,
    bytes: Vec<u8>,
    entries: Vec<(TapWay, Option<Channel>, usize)>,
    lost: u64,
}

impl Tap {
    pub(crate) const fn new(config: TapConfig) -> Self {
        Self {
            config,
            bytes: Vec::new(),
            entries: Vec::new(),
            lost: 0,
        }
    }

    pub(crate) fn note(&mut self, way: TapWay, channel: Option<Channel>, bytes: &[u8]) {
        let wanted = match way {
            TapWay::Received => self.config.received,
            TapWay::Sent => self.config.sent,
        };
        if !wanted {
            return;
        }
        if self.bytes.len() + bytes.len() > MAX_HELD || self.entries.len() >= MAX_HELD / 64 {
            self.lost += 1;
            return;
        }
        self.bytes.extend_from_slice(bytes);
        self.entries.push((way, channel, self.bytes.len()));
    }

    /// Gives everything that was noted, in order, and how much was forgotten.
    pub(crate) fn take(&mut self, mut each: impl FnMut(Tapped<'_>)) -> u64 {
        let mut start = 0;
        for (way, channel, end) in self.entries.drain(..) {
            let bytes = &self.bytes[start..end];
            each(Tapped {
                way,
                channel,
                bytes,
            });
            start = end;
        }
        self.bytes.clear();
        std::mem::take(&mut self.lost)
    }
}

/// Notes what was taken, if there is a tap.
pub(crate) fn received(
    tap: &mut Option<Box<Tap>>,
    channel: Option<Channel>,
    taken: Option<Bytes>,
) -> Option<Bytes> {
    if let (Some(tap), Some(bytes)) = (tap, &taken) {
        tap.note(TapWay::Received, channel, bytes);
    }
    taken
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: TapConfig = TapConfig {
        received: true,
        sent: true,
    };

    #[test]
    fn a_tap_gives_what_it_noted_in_order_and_once() {
        let mut tap = Tap::new(BOTH);
        tap.note(TapWay::Sent, None, &[0x80]);
        tap.note(TapWay::Received, Some(Channel::Bulk), &[1, 2]);
        let mut seen = Vec::new();
        let lost = tap.take(|t| seen.push((t.way, t.channel, t.bytes.to_vec())));
        let wanted = [
            (TapWay::Sent, None, vec![0x80]),
            (TapWay::Received, Some(Channel::Bulk), vec![1, 2]),
        ];
        assert_eq!((seen, lost), (wanted.to_vec(), 0));
        assert_eq!(tap.take(|_| panic!("it was taken")), 0);
    }

    #[test]
    fn a_tap_that_nobody_empties_does_not_grow() {
        let mut tap = Tap::new(BOTH);
        for _ in 0..10_000 {
            tap.note(TapWay::Sent, None, &[0x80; 1190]);
        }
        assert!(tap.bytes.len() <= MAX_HELD);
        let mut held = 0;
        let lost = tap.take(|_| held += 1);
        assert_eq!(held + lost, 10_000);
    }
}
