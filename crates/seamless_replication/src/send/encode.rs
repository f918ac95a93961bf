//! Row values to bits, once per (entity, baseline, projection) and tick, for all links.

use bevy::platform::collections::HashMap;
use seamless_wire::{BitWriter, Tenure, record::Version};

use crate::{
    registry::Registry,
    rows::{ComponentSets, Row, Rows, SetId},
};

/// Which part of a row a peer is told.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub(crate) enum Projection {
    /// All of it.
    #[default]
    Full,
    /// To the holder of a lent entity: what only the host writes. The rest would be an echo.
    HostOnly,
    /// From the holder to the host: what the holder may write.
    HolderOnly,
}

impl Projection {
    fn tells(self, registry: &Registry, component: u16) -> bool {
        let host_only = registry.component(component).descriptor.host_only;
        match self {
            Self::Full => true,
            Self::HostOnly => host_only,
            Self::HolderOnly => !host_only,
        }
    }
}

/// The values of one record, as bits.
#[derive(Debug, Clone, Copy)]
pub(super) struct Run {
    /// First byte in the arena.
    start: usize,
    bits: usize,
    /// Which components of the projected set are in it.
    pub(super) mask: u64,
    /// The fence, if the record must carry it.
    pub(super) tenure: Option<Tenure>,
}

/// Encodings of this tick, shared by all links.
#[derive(Default)]
pub(crate) struct EncodeCache {
    runs: HashMap<(u32, Option<Version>, Projection), Run>,
    arena: Vec<u8>,
    writer: BitWriter,
    projected: HashMap<(SetId, Projection), SetId>,
    share: bool,
    /// Bits of values per component: absolute, delta.
    pub(crate) component_bits: Vec<(u64, u64)>,
}

impl EncodeCache {
    /// Begins a tick. `share`: more than one link will ask, so that encodings are kept.
    pub(crate) fn begin(&mut self, share: bool) {
        self.runs.clear();
        self.arena.clear();
        self.share = share;
    }

    /// The set that is told of `set`.
    pub(super) fn project(
        &mut self,
        registry: &Registry,
        sets: &mut ComponentSets,
        set: SetId,
        projection: Projection,
    ) -> Option<SetId> {
        if projection == Projection::Full {
            return Some(set);
        }
        if let Some(&known) = self.projected.get(&(set, projection)) {
            return Some(known);
        }
        let told: Vec<u16> = sets
            .components(set)
            .iter()
            .copied()
            .filter(|&component| projection.tells(registry, component))
            .collect();
        let projected = sets.intern(&told)?;
        self.projected.insert((set, projection), projected);
        Some(projected)
    }

    /// The bits of a slot's newest row against `baseline` (which must be at hand), for the
    /// projected set `told`.
    pub(super) fn encode(
        &mut self,
        registry: &Registry,
        rows: &Rows,
        slot: u32,
        baseline: Option<Version>,
        (projection, told): (Projection, SetId),
    ) -> Option<Run> {
        let key = (slot, baseline, projection);
        if self.share
            && let Some(run) = self.runs.get(&key)
        {
            return Some(*run);
        }
        let (_, row) = rows.newest(slot)?;
        let base = match baseline {
            None => None,
            Some(version) => Some(&rows.ring(slot)?.get(version)?.row),
        };
        if !self.share {
            self.arena.clear();
        }
        self.writer.clear();
        let mask = self.write_values(registry, &rows.sets, row, base, told);
        let tenure = match base {
            Some(base) if base.tenure == row.tenure => None,
            _ => Some(row.tenure),
        };
        let bits = self.writer.bit_len();
        let start = self.arena.len();
        self.arena.extend_from_slice(self.writer.finish());
        let run = Run {
            start,
            bits,
            mask,
            tenure,
        };
        if self.share {
            self.runs.insert(key, run);
        }
        Some(run)
    }

    fn write_values(
        &mut self,
        registry: &Registry,
        sets: &ComponentSets,
        row: &Row,
        base: Option<&Row>,
        told: SetId,
    ) -> u64 {
        let mut mask = 0;
        for (bit, &component) in sets.components(told).iter().enumerate() {
            let at = if told == row.set {
                bit
            } else {
                let Some(at) = sets.position(row.set, component) else {
                    continue;
                };
                at
            };
            let value = row.value(at);
            let old = base.and_then(|base| {
                let at = if base.set == row.set {
                    Some(at)
                } else {
                    sets.position(base.set, component)
                };
                at.map(|at| base.value(at))
            });
            if old == Some(value) {
                continue;
            }
            mask |= 1 << bit;
            let before = self.writer.bit_len();
            registry
                .component(component)
                .erased
                .encode(old, value, &mut self.writer);
            let bits = (self.writer.bit_len() - before) as u64;
            if self.component_bits.len() <= component as usize {
                self.component_bits.resize(component as usize + 1, (0, 0));
            }
            let count = &mut self.component_bits[component as usize];
            if old.is_some() {
                count.1 += bits;
            } else {
                count.0 += bits;
            }
        }
        mask
    }

    /// Copies a run into a datagram.
    pub(super) fn copy(&self, run: &Run, w: &mut BitWriter) {
        w.put_run(&self.arena[run.start..], run.bits);
    }
}
