//! Reliable messages of a session, which outlives its links.
//!
//! A link delivers them in order, so a number says which of them came: how many. Who comes back is told
//! that, and says the others again. While the link stands the other end says its number once a second, so
//! that few have to be kept.

use std::collections::VecDeque;

use bytes::Bytes;
use seamless_transport::Channel;
use seamless_wire::{control::Control, frame::Frame};

use super::{Peer, PeerState};

/// Most memory for messages of which is not known that they came: 4 MiB. Beyond it the oldest would not be
/// said again.
const MAX_BYTES: usize = 4 << 20;

/// Bytes that one takes besides its own, about.
const EACH: usize = 128;

/// See the [module](self).
#[derive(Debug, Default)]
pub(crate) struct Said {
    /// How many were said before the first that is kept. Goes on from zero after the last number.
    before: u32,
    kept: VecDeque<Bytes>,
    bytes: usize,
    /// How many of the other end's came, and how many it knows of.
    heard: u32,
    told: u32,
}

impl Said {
    /// A message is said.
    fn say(&mut self, frame: Bytes) {
        self.bytes += frame.len() + EACH;
        self.kept.push_back(frame);
        while self.bytes > MAX_BYTES {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        if let Some(oldest) = self.kept.pop_front() {
            self.bytes -= oldest.len() + EACH;
            self.before = self.before.wrapping_add(1);
        }
    }

    /// So many came. More than were said changes nothing.
    pub(crate) fn came(&mut self, messages: u32) {
        let newly = messages.wrapping_sub(self.before) as usize;
        if newly <= self.kept.len() {
            for _ in 0..newly {
                self.drop_oldest();
            }
        }
    }

    /// The session goes on, and the other end has had so many. It counts on from there with the first that
    /// is said again, also where some between are not kept.
    fn go_on(&mut self, messages: u32) {
        self.came(messages);
        self.before = messages;
    }

    /// Those that did not come, as far as they are kept.
    fn kept(&self) -> impl Iterator<Item = &Bytes> {
        self.kept.iter()
    }

    /// One came.
    pub(crate) const fn hear(&mut self) {
        self.heard = self.heard.wrapping_add(1);
    }

    /// How many came.
    pub(super) const fn heard(&self) -> u32 {
        self.heard
    }

    /// How many came, if the other end does not know.
    fn news(&self) -> Option<u32> {
        (self.told != self.heard).then_some(self.heard)
    }

    /// The other end is told how many came.
    const fn tell(&mut self) {
        self.told = self.heard;
    }
}

impl Peer {
    /// Queues a message that is said again if it does not come before the link drops. `linked`: there is
    /// a link to say it over now.
    pub(crate) fn say(&mut self, message: &Frame, linked: bool) {
        let Some(bytes) = self.frame(message, Channel::Control) else {
            return;
        };
        if self.resume_key.is_some() {
            self.said.say(bytes.clone());
        }
        if linked {
            self.frames[Channel::Control as usize].push(bytes);
        }
    }

    /// The session goes on over this link, and the other end has had so many messages of it.
    pub(super) fn say_again(&mut self, messages: u32) {
        self.said.go_on(messages);
        let frames = &mut self.frames[Channel::Control as usize];
        self.said
            .kept()
            .cloned()
            .for_each(|frame| frames.push(frame));
    }

    /// Tells the other end which of its messages came, if that is news.
    pub(crate) fn say_what_came(&mut self) {
        if self.state == PeerState::Ready
            && self.resume_key.is_some()
            && let Some(messages) = self.said.news()
        {
            match self.send_control(&Control::Heard { messages }) {
                Ok(()) => self.said.tell(),
                Err(error) => tracing::debug!(%error, "what came is said later"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_is_not_said_again_and_what_never_was_cannot_come() {
        let mut said = Said {
            before: u32::MAX - 1,
            ..Said::default()
        };
        let frame = |n: u8| Bytes::from(vec![n; 10]);
        (0..5).for_each(|n| said.say(frame(n)));
        let kept = |said: &Said| said.kept().map(|frame| frame[0]).collect::<Vec<_>>();
        for nonsense in [4, 700, u32::MAX - 2] {
            said.came(nonsense);
            assert_eq!(kept(&said), [0, 1, 2, 3, 4]);
        }
        said.came(1);
        assert_eq!(kept(&said), [3, 4]);
        said.came(1);
        said.came(3);
        assert_eq!((kept(&said), said.bytes), (vec![], 0));
    }

    #[test]
    fn the_oldest_go_when_there_are_too_many() {
        let mut said = Said::default();
        for n in 0..100 {
            said.say(Bytes::from(vec![n; 60_000]));
        }
        assert!(said.bytes <= MAX_BYTES);
        let first = said.kept().next().expect("some are kept")[0];
        assert_eq!(u32::from(first), said.before);
        said.came(99);
        assert_eq!(said.kept().count(), 1);
    }

    #[test]
    fn both_ends_count_the_same_again_when_some_were_lost() {
        let (mut said, mut heard) = (Said::default(), Said::default());
        for _ in 0..3 {
            (0..100).for_each(|n| said.say(Bytes::from(vec![n; 60_000])));
            said.go_on(heard.heard());
            let again = said.kept().count();
            assert!((1..100).contains(&again));
            (0..again).for_each(|_| heard.hear());
            said.came(heard.heard());
            assert_eq!(said.kept().count(), 0);
        }
    }
}
