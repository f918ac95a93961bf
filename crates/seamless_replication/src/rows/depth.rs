//! How many versions senders keep.

use seamless_wire::Tick;

use super::ring::Ring;

/// Versions that are always kept.
const LEAST: usize = 4;

/// Ticks after which a maximum is forgotten.
const WINDOW: u32 = 256;

/// Follows how far behind the newest version the baselines in use are, over the last
/// [`WINDOW`] to twice as many ticks, so that rings are as long as round trips and losses want them
/// and not as long as they may be. A peer whose baseline is gone nevertheless gets a whole row.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Depth {
    /// The greatest distance in this window and in the one before.
    now: u32,
    before: u32,
    since: Tick,
}

impl Depth {
    /// A baseline with `later` newer versions was used, or would have been: it was gone.
    #[inline]
    pub(crate) fn used(&mut self, later: u32) {
        self.now = self.now.max(later);
    }

    /// Once a tick.
    pub(crate) fn tick(&mut self, tick: Tick) {
        if tick.since(self.since) >= WINDOW {
            self.before = std::mem::take(&mut self.now);
            self.since = tick;
        }
    }

    /// Versions to keep: twice as many as were needed.
    pub(crate) fn keep(&self) -> usize {
        let used = self.now.max(self.before) as usize;
        (used * 2 + 2).clamp(LEAST, Ring::CAPACITY)
    }
}
