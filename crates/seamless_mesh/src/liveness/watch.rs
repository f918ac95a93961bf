//! Who is silent?

use std::{collections::BTreeMap, time::Duration};

use seamless_wire::NodeRef;

/// What one node saw of the others' beats, by its own clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watch {
    after: Duration,
    gap: Duration,
    seen: BTreeMap<NodeRef, Seen>,
    last: Option<Duration>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seen {
    beat: u64,
    // When the answer with this beat came: the beat was at most that old then.
    since: Duration,
}

impl Watch {
    /// Calls a node silent after `after`; counts from the start again when it did not look for
    /// longer than `gap`.
    #[must_use]
    pub const fn new(after: Duration, gap: Duration) -> Self {
        Self {
            after,
            gap,
            seen: BTreeMap::new(),
            last: None,
        }
    }

    /// Takes in a look at the directory that was asked at `asked` and answered at `now`. Gives the
    /// nodes whose beat stood still long enough, with that beat.
    ///
    /// Only time between an answer and a later question counts, so a pause of our own is nobody's
    /// silence.
    pub fn look(
        &mut self,
        asked: Duration,
        now: Duration,
        beats: impl IntoIterator<Item = (NodeRef, u64)>,
    ) -> Vec<(NodeRef, u64)> {
        let away = self
            .last
            .is_none_or(|last| asked.saturating_sub(last) > self.gap);
        self.last = Some(now);
        let mut silent = Vec::new();
        let mut seen = BTreeMap::new();
        for (node, beat) in beats {
            let since = match self.seen.get(&node) {
                Some(old) if old.beat == beat && !away => old.since,
                _ => now,
            };
            if asked.saturating_sub(since) >= self.after {
                silent.push((node, beat));
            }
            seen.insert(node, Seen { beat, since });
        }
        self.seen = seen;
        silent
    }

    /// When the next node will have been silent long enough, if it stays so.
    #[must_use]
    pub fn next(&self) -> Option<Duration> {
        self.seen.values().map(|seen| seen.since + self.after).min()
    }
}

#[cfg(test)]
mod tests {
    use seamless_wire::{Incarnation, NodeId};

    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    const NODE: NodeRef = NodeRef {
        id: NodeId(1),
        incarnation: Incarnation(1),
    };

    fn look(watch: &mut Watch, at: u64, beat: u64) -> bool {
        !watch.look(ms(at), ms(at + 1), [(NODE, beat)]).is_empty()
    }

    #[test]
    fn a_beat_that_stands_still_is_silence() {
        let mut watch = Watch::new(ms(3000), ms(1250));
        for at in (0..=3000).step_by(500) {
            assert!(!look(&mut watch, at, 7), "at {at}");
        }
        assert_eq!(watch.next(), Some(ms(3001)));
        assert!(look(&mut watch, 3001, 7));
    }

    #[test]
    fn a_beat_that_moves_is_life() {
        let mut watch = Watch::new(ms(3000), ms(1250));
        for at in (0..=10_000).step_by(500) {
            assert!(!look(&mut watch, at, at / 1000), "at {at}");
        }
    }

    #[test]
    fn our_own_absence_is_nobodys_silence() {
        let mut watch = Watch::new(ms(3000), ms(1250));
        assert!(!look(&mut watch, 0, 7));
        assert!(!look(&mut watch, 60_000, 7), "we slept");
        assert!(!look(&mut watch, 61_000, 7));
        assert!(!look(&mut watch, 62_000, 7));
        assert!(!look(&mut watch, 63_000, 7));
        assert!(look(&mut watch, 63_001, 7));
    }

    #[test]
    fn a_new_life_begins_anew() {
        let mut watch = Watch::new(ms(1000), ms(1250));
        assert!(!look(&mut watch, 0, 7));
        let later = NodeRef {
            incarnation: Incarnation(2),
            ..NODE
        };
        assert!(watch.look(ms(1001), ms(1001), [(later, 7)]).is_empty());
    }
}
