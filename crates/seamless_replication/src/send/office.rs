//! Who encodes and packs: workers, and what they share.

use bevy::prelude::*;
use seamless_transport::LinkId;
use seamless_wire::{Tick, record::Version};

use super::{
    EncodeCache, Scratch, Sender,
    projections::{Projections, Wanted},
};
use crate::{
    peer::{PeerState, Peers},
    plugin::ReplicationConfig,
    registry::Registry,
    rows::{ComponentSets, RowHashes, Rows},
    slots::Slots,
    threads::{self, together},
};

/// Rows of which fewer are not worth another thread.
const LEAST_ROWS: usize = 128;

/// How many links are asked what will be wanted. Links mostly want the same.
const SAMPLES: usize = 4;

/// One thread's share: everything that changes while a link is packed and is not the link's own.
#[derive(Default)]
pub(super) struct Worker {
    pub(super) cache: EncodeCache,
    pub(super) scratch: Scratch,
    pub(super) hashes: RowHashes,
    /// Parts of sets that were found missing, and the links that need them.
    pub(super) wanted: Vec<Wanted>,
    pub(super) again: Vec<LinkId>,
    /// Rows that are too large for a peer.
    pub(super) found: Vec<(u32, Version, usize, usize)>,
    /// Rows that were due in this tick.
    pub(super) due: usize,
}

/// All workers, and what they share.
#[derive(Resource, Default)]
pub(crate) struct Office {
    /// What was encoded for all, before any link was packed.
    pub(super) primed: EncodeCache,
    pub(super) projections: Projections,
    pub(super) workers: Vec<Worker>,
    /// Shares of `primed` while it is made.
    parts: Vec<EncodeCache>,
    /// Rows that were due in the last tick, summed over links.
    pub(super) due: usize,
    /// Bits of values per component, encoded since the start: absolute, delta.
    pub(crate) component_bits: Vec<(u64, u64)>,
}

impl Office {
    /// Begins a tick; gives how many threads are to work. `work`: rows, summed over links.
    pub(super) fn begin(&mut self, work: usize, config: &ReplicationConfig) -> usize {
        let threads = threads::shares(work, config.parallel_rows);
        if self.workers.len() < threads {
            self.workers.resize_with(threads, Worker::default);
            self.parts.resize_with(threads, EncodeCache::default);
        }
        self.primed.begin();
        for worker in &mut self.workers {
            worker.cache.begin();
            worker.due = 0;
        }
        threads
    }

    /// Encodes what changed, on all threads, as most links will want it. With one thread there is
    /// nothing to be gained: links find what the first of them made.
    pub(super) fn prime(
        &mut self,
        threads: usize,
        registry: &Registry,
        here: (&Rows, &Slots),
        (tick, changed): (Tick, &[u32]),
        peers: &Peers,
    ) {
        let threads = threads.min(changed.len() / LEAST_ROWS);
        if threads < 2 {
            return;
        }
        let ready = || peers.iter().filter(|peer| peer.state == PeerState::Ready);
        let step = ready().count().div_ceil(SAMPLES).max(1);
        let senders: Vec<&Sender> = ready().step_by(step).map(|peer| &peer.sender).collect();
        let senders = &*senders;
        let each = changed.len().div_ceil(threads);
        let shares = changed.chunks(each).zip(&mut self.parts);
        together(shares, |(changed, part)| {
            part.begin();
            part.prime(registry, here, changed, senders);
            part.record(&here.0.sets, tick, changed);
        });
        for (changed, part) in changed.chunks(each).zip(&mut self.parts) {
            self.primed.take(part, changed.iter().copied());
        }
    }

    /// Makes what was found missing; gives the links that need it, in their order.
    pub(super) fn learn(&mut self, registry: &Registry, sets: &mut ComponentSets) -> Vec<LinkId> {
        let mut again = Vec::new();
        for worker in &mut self.workers {
            self.projections
                .learn(registry, sets, worker.wanted.drain(..));
            again.append(&mut worker.again);
        }
        again.sort_unstable();
        again
    }

    /// Ends a tick.
    pub(super) fn end(&mut self, rows: &mut Rows) {
        self.due = self.workers.iter().map(|worker| worker.due).sum();
        let mut deepest = self.primed.deepest;
        let own = self.workers.iter_mut().map(|worker| &mut worker.cache);
        for cache in own.chain(&mut self.parts) {
            deepest = deepest.max(std::mem::take(&mut cache.deepest));
            let new = std::mem::take(&mut cache.component_bits);
            if self.component_bits.len() < new.len() {
                self.component_bits.resize(new.len(), (0, 0));
            }
            for (sum, bits) in self.component_bits.iter_mut().zip(&new) {
                sum.0 += bits.0;
                sum.1 += bits.1;
            }
            cache.component_bits = new;
            cache.component_bits.fill((0, 0));
        }
        rows.depth.used(deepest);
        for worker in &mut self.workers {
            for (slot, version, bytes, max) in worker.found.drain(..) {
                rows.find_too_large(slot, version, bytes, max);
            }
            // What no set has room for is asked for again in the next tick.
            worker.wanted.clear();
            worker.again.clear();
        }
    }
}
