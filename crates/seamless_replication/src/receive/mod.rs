//! The receive side of one link: datagrams to rows, rows to the world.
//!
//! A datagram is read as a whole before anything of it takes effect ([`fn@parse`]); a datagram with
//! one unreadable bit changes nothing. Then each record is kept as a baseline, also when it is
//! stale, and the newest of an entity is applied ([`apply`]). Only if all of it was kept is the
//! datagram acknowledged.

pub(crate) mod apply;
mod arrive;
mod audit;
pub(crate) mod driver;
mod index;
pub(crate) mod leave;
mod parse;
mod parsed;
mod scout;
mod show;
mod slot;
mod table;
mod usual;

pub(crate) use audit::AuditIn;
pub(crate) use parse::{ParseContext, ParseError, Parsed, parse, parse_big_row};
pub(crate) use parsed::{ParsedHead, ParsedRow, ParsedRows};
pub(crate) use table::{Redirect, RemoteTable};

use std::collections::VecDeque;

use crate::peer::{acks::Received, control::ControlIn};
use seamless_wire::Tick;

use self::arrive::Arriving;

/// Receive side of one link.
#[derive(Default)]
pub(crate) struct Receiver {
    /// Entities of which the peer was told that it may not write them.
    pub(crate) refused: bevy::platform::collections::HashSet<seamless_wire::GlobalEntity>,
    pub(crate) received: Received,
    pub(crate) control: ControlIn,
    pub(crate) table: RemoteTable,
    pub(crate) audit: AuditIn,
    /// The newest tick that the peer sent, and our own when it came.
    pub(crate) tick: Tick,
    pub(crate) heard_at: Tick,
    pub(crate) counters: ReceiveCounters,
    /// Slots of ours that the peer held, and when what it wrote of them is forgotten. Not at once:
    /// a datagram with a late record must still be readable for what else is in it.
    pub(crate) retired: VecDeque<(Tick, u32)>,
    /// What a client's rows may still unfold to.
    pub(crate) unfolding: Unfolding,
    /// Datagrams that came with the one that is read, and come after it.
    pub(crate) datagrams_left: usize,
    /// For the rows of the next datagram.
    pub(crate) spare: ParsedRows,
    /// For the next entity that the peer tells of for the first time.
    pub(crate) arriving: Option<Box<Arriving>>,
}

impl Receiver {
    /// Something of this tick of the peer's came in our tick `now`.
    pub(crate) fn hear(&mut self, tick: Tick, now: Tick) {
        if tick >= self.tick {
            (self.tick, self.heard_at) = (tick, now);
        }
    }

    /// The peer's tick, about: it went on while nothing was heard.
    fn near(&self, now: Tick) -> Tick {
        self.tick.plus(now.since(self.heard_at))
    }
}

/// What a client's rows may unfold to in a tick, and after a pause, in bytes. A datagram against large
/// baselines unfolds to a thousand times its length, and a client can send a thousand of them.
const UNFOLDED_PER_TICK: usize = 1 << 20;
const UNFOLDED_AT_ONCE: usize = 8 << 20;

/// See [`UNFOLDED_PER_TICK`].
#[derive(Debug)]
pub(crate) struct Unfolding {
    left: usize,
    since: Tick,
}

impl Default for Unfolding {
    fn default() -> Self {
        Self {
            left: UNFOLDED_AT_ONCE,
            since: Tick(0),
        }
    }
}

impl Unfolding {
    /// Bytes that are left in this tick.
    fn left(&mut self, now: Tick) -> usize {
        let more = UNFOLDED_PER_TICK.saturating_mul(now.since(self.since) as usize);
        self.left = self.left.saturating_add(more).min(UNFOLDED_AT_ONCE);
        self.since = now;
        self.left
    }

    const fn spend(&mut self, bytes: usize) {
        self.left = self.left.saturating_sub(bytes);
    }
}

/// Counted since the link stands.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct ReceiveCounters {
    pub(crate) packets: u64,
    pub(crate) duplicates: u64,
    /// Datagrams that could not be read.
    pub(crate) malformed: u64,
    /// Datagrams so late that their baselines are gone.
    pub(crate) late: u64,
    /// Records that came after a newer one.
    pub(crate) stale: u64,
    /// Records of a writer who may not write.
    pub(crate) fenced: u64,
    pub(crate) masked: u64,
    /// Components that did not decode.
    pub(crate) undecodable: u64,
    /// Scopes that a client asked for and did not get.
    pub(crate) refused_scopes: u64,
    /// Control items that the other end may not say.
    pub(crate) misdirected: u64,
    /// Records past a bound of ours.
    pub(crate) refused: u64,
    pub(crate) records: u64,
}
