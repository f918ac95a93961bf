//! Many datagrams at once, read on several threads.
//!
//! Reading touches nothing, so datagrams of one frame can be read beside each other, and taken in one
//! after the other. What one of them does may change what another means: then that is read again.

use bevy::prelude::*;
use bytes::Bytes;
use seamless_wire::packet::HeaderContext;

use super::{ParseContext, Parsed, ParsedRows, RemoteTable, parse, parse::Sets};
use crate::{
    peer::Peer,
    plugin::ReplicationConfig,
    registry::Registry,
    rows::Rows,
    threads::{shares, together},
};

/// Most datagrams that are read before the first of them is taken in. What was read of more would
/// lie too far away by then.
pub(super) const BURST: usize = 32;

/// Bytes of a record, if there are few. Only for a guess at how much there is to do.
const BYTES_OF_RECORD: usize = 8;

/// Most bytes of rows that a datagram of a burst may unfold to; what is larger is read alone.
const MAX_UNFOLDED: usize = 256 << 10;

/// Datagrams that were read and not yet taken in.
#[derive(Default)]
pub(crate) struct Burst {
    /// By datagram. `None` if it could not be read beside others: it is to be read alone, which
    /// also finds out what is wrong with it.
    read: Vec<Option<Parsed>>,
    /// What the names of the peer meant when they were read.
    meaning: u64,
    /// For their memory.
    spare: Vec<ParsedRows>,
}

impl Burst {
    /// Memory for the rows of a datagram.
    pub(super) fn spare(&mut self) -> ParsedRows {
        self.spare.pop().unwrap_or_default()
    }

    /// Gives it back.
    pub(super) fn recycle(&mut self, mut rows: ParsedRows) {
        if self.spare.len() < BURST && rows.memory() <= MAX_UNFOLDED {
            rows.clear();
            self.spare.push(rows);
        }
    }

    /// Whether any were read.
    pub(super) const fn is_read(&self) -> bool {
        !self.read.is_empty()
    }

    /// What was read of a datagram, if it would be read the same now.
    ///
    /// A look for each record at what it is told against.
    pub(super) fn take(&mut self, at: usize, table: &RemoteTable) -> Option<Parsed> {
        let read = self.read.get_mut(at)?.take()?;
        let there = |rows: &ParsedRows| rows.iter().all(|(head, _)| table.has_baseline_of(head));
        if self.meaning == table.meaning() && there(&read.rows) {
            return Some(read);
        }
        self.recycle(read.rows);
        None
    }
}

/// Reads datagrams, if they are worth several threads. Not more than [`BURST`].
pub(super) fn read(world: &World, peer: &mut Peer, datagrams: &[Bytes]) {
    let mut burst = std::mem::take(&mut peer.receiver.burst);
    burst.read.clear();
    burst.meaning = peer.receiver.table.meaning();
    let bytes: usize = datagrams.iter().map(Bytes::len).sum();
    let least = world.resource::<ReplicationConfig>().parallel_rows;
    let threads = shares(bytes / BYTES_OF_RECORD, least).min(datagrams.len());
    if threads > 1 {
        burst.read.resize_with(datagrams.len(), || None);
        let spares = datagrams.iter().map(|_| burst.spare()).collect::<Vec<_>>();
        let registry = world.resource::<Registry>();
        let sets = &world.resource::<Rows>().sets;
        let header = header_context(peer);
        let receiver = &peer.receiver;
        let each = datagrams.len().div_ceil(threads);
        let mut spares = spares.into_iter();
        let shares = burst.read.chunks_mut(each).zip(datagrams.chunks(each));
        let shares = shares.map(|(read, datagrams)| {
            let spares = spares.by_ref().take(datagrams.len());
            (read, datagrams, spares.collect::<Vec<_>>())
        });
        together(shares, |(read, datagrams, spares)| {
            for ((read, bytes), spare) in read.iter_mut().zip(datagrams).zip(spares) {
                let mut context = ParseContext {
                    registry,
                    sets: Sets::Known(sets),
                    receiver,
                    header,
                    spare,
                    max_unfolded: MAX_UNFOLDED,
                };
                *read = parse(bytes, &mut context).ok();
            }
        });
    }
    peer.receiver.burst = burst;
}

/// What the numbers in a header are told against.
pub(super) fn header_context(peer: &Peer) -> HeaderContext {
    HeaderContext {
        seq: peer.receiver.received.newest(),
        sent: peer.sender.newest_sent(),
        tick: peer.receiver.tick,
    }
}
