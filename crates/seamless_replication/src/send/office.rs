//! Who encodes and packs: workers, and what they share.

use bevy::prelude::*;
use seamless_transport::LinkId;
use seamless_wire::record::Version;

use super::{
    EncodeCache, Known, Scratch,
    projections::{Projections, Wanted},
    survey::Survey,
};
use crate::{
    plugin::ReplicationConfig,
    registry::Registry,
    rows::{ComponentSets, RowHashes, Rows},
    threads,
};

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
    /// What all peers have.
    pub(crate) known: Known,
    pub(super) workers: Vec<Worker>,
    /// What every link is due of what changed.
    pub(super) survey: Survey,
    /// Rows that were due in the last tick, summed over links.
    pub(super) due: usize,
    /// Bits of values per component, encoded since the start: absolute, delta.
    pub(crate) component_bits: Vec<(u64, u64)>,
}

impl Office {
    /// Begins a tick; gives how many threads are to work. `work`: rows, summed over links.
    pub(super) fn begin(&mut self, work: usize, config: &ReplicationConfig) -> usize {
        let threads = threads::worth(work, config.parallel_rows);
        if self.workers.len() < threads {
            self.workers.resize_with(threads, Worker::default);
        }
        self.primed.begin();
        for worker in &mut self.workers {
            worker.cache.begin();
            worker.due = 0;
        }
        threads
    }

    /// Makes what was found missing, in an order that does not depend on who found it; gives the links
    /// that need it, in theirs.
    pub(super) fn learn(&mut self, registry: &Registry, sets: &mut ComponentSets) -> Vec<LinkId> {
        let (mut wanted, mut again) = (Vec::new(), Vec::new());
        for worker in &mut self.workers {
            wanted.append(&mut worker.wanted);
            again.append(&mut worker.again);
        }
        wanted.sort_unstable_by_key(|(set, part)| (*set, part.order()));
        wanted.dedup();
        self.projections.learn(registry, sets, wanted.into_iter());
        again.sort_unstable();
        again
    }

    /// Ends a tick.
    pub(super) fn end(&mut self, rows: &mut Rows) {
        self.due = self.workers.iter().map(|worker| worker.due).sum();
        let mut deepest = 0;
        let own = self.workers.iter_mut().map(|worker| &mut worker.cache);
        let all = own.chain(self.survey.caches()).chain([&mut self.primed]);
        for cache in all {
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
        let found = self.workers.iter_mut().flat_map(|it| it.found.drain(..));
        let mut found: Vec<_> = found.collect();
        // Whoever found it.
        found.sort_unstable_by_key(|&(slot, _, bytes, max)| (slot, bytes, max));
        for (slot, version, bytes, max) in found {
            rows.find_too_large(slot, version, bytes, max);
        }
        for worker in &mut self.workers {
            // What no set has room for is asked for again in the next tick.
            worker.wanted.clear();
            worker.again.clear();
        }
    }
}
