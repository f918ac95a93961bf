//! Row values to bits, once per (entity, baseline, projection) and tick, for all links.
//!
//! Links that have acknowledged the same of an entity share one encoding, which is found by a look
//! at the slot and a comparison or two: what a link knows of an entity is the version it
//! acknowledged last and the one before, and few links differ in that.

use seamless_wire::{BitWriter, WriteMask, delta::Baseline, record::Version};

use super::tape::{Place, Share, Tape};
use crate::{
    findings::Findings,
    prefetch::prefetch_at,
    registry::Registry,
    rows::{ComponentSets, Past, Ring, Row, Rows, SetId, same},
    slots::{Role, Slots},
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
    pub(super) fn tells(self, registry: &Registry, component: u16, writes: WriteMask) -> bool {
        match self {
            Self::Full => true,
            Self::HostOnly => !registry.holder_writes(component, writes),
            Self::HolderOnly => registry.holder_writes(component, writes),
        }
    }
}

/// Rows above this many bytes are encoded when they are written, not when they are selected, and
/// are not shared: there may be more of them due than fit a budget, or memory.
const LARGE: usize = 1024;

/// What every link needs to know of a slot in this tick.
#[derive(Debug, Clone, Copy)]
pub(super) struct SlotHead {
    serial: u32,
    /// The first of its runs.
    runs: u32,
    pub(super) version: Version,
    pub(super) set: SetId,
    /// Bytes of the row, at most [`u16::MAX`].
    pub(super) size: u16,
    /// Whether every peer that sees it is told all of it, under our own name for it.
    pub(super) plain: bool,
    /// Whether there is a row at all.
    pub(super) there: bool,
}

impl SlotHead {
    pub(super) const fn is_large(&self) -> bool {
        self.size as usize > LARGE
    }
}

/// What a link has of a slot, and what of it it is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Has {
    acked: Version,
    before: Version,
    /// Which of the two there are, the projection, and what is hidden.
    bits: u32,
}

impl Has {
    #[inline]
    pub(super) fn new(
        acked: Option<Version>,
        before: Option<Version>,
        (projection, hidden): (Projection, SetId),
    ) -> Self {
        Self {
            acked: acked.unwrap_or_default(),
            before: before.unwrap_or_default(),
            bits: u32::from(acked.is_some())
                | u32::from(before.is_some()) << 1
                | (projection as u32) << 2
                | hidden.bits() << 4,
        }
    }

    fn acked(&self) -> Option<Version> {
        (self.bits & 1 != 0).then_some(self.acked)
    }

    fn before(&self) -> Option<Version> {
        (self.bits & 2 != 0).then_some(self.before)
    }

    /// Which part of the row it is told.
    const fn part(&self) -> u32 {
        self.bits >> 2
    }
}

/// The values of one record, as bits.
#[derive(Debug, Clone, Copy)]
pub(super) struct Run {
    has: Has,
    next: u32,
    /// First word in the arena.
    start: u32,
    pub(super) bits: u32,
    /// Which components of the projected set are in it.
    pub(super) mask: u64,
    /// What it is told against, if anything.
    pub(super) baseline: Version,
    pub(super) is_delta: bool,
    /// Whether the record must carry the fence.
    pub(super) fenced: bool,
    /// How far what moved is taken to have gone on.
    pub(super) steps: u8,
    /// Where its record stands on a tape.
    pub(super) place: Place,
}

impl Run {
    /// What it is told against.
    #[inline]
    pub(super) fn told_against(&self) -> Option<Version> {
        self.is_delta.then_some(self.baseline)
    }
}

const NONE: u32 = u32::MAX;

/// A point in an [`EncodeCache`].
pub(super) struct CacheMark {
    slot: u32,
    first: u32,
    runs: usize,
    arena: usize,
}

/// Encodings of this tick, shared by all links.
#[derive(Default)]
pub(crate) struct EncodeCache {
    serial: u32,
    heads: Vec<SlotHead>,
    /// Which slots are told in full under our own names.
    plain: Findings,
    pub(super) runs: Vec<Run>,
    arena: Vec<u64>,
    /// What several links are told, in the order of slots.
    pub(super) shares: Vec<Share>,
    pub(super) tapes: Vec<Tape>,
    /// Tapes of before, for their memory.
    pub(super) spare: Vec<Tape>,
    writer: BitWriter,
    /// How many versions came after the oldest baseline that a link has.
    pub(super) deepest: u32,
    /// Bits of values per component: absolute, delta.
    pub(crate) component_bits: Vec<(u64, u64)>,
}

impl EncodeCache {
    /// Begins a tick.
    pub(crate) fn begin(&mut self) {
        self.serial = self.serial.wrapping_add(1);
        self.runs.clear();
        self.arena.clear();
        self.spare.extend(self.tapes.drain(..).map(Tape::clear));
        self.deepest = 0;
    }

    /// The slot's head is soon asked for.
    #[inline]
    pub(super) fn prefetch_head(&self, slot: u32, slots: &Slots) {
        prefetch_at(&self.heads, slot);
        self.plain.prefetch(slots, slot);
    }

    /// The slot's head, made when it is asked for first in this tick.
    #[inline]
    pub(super) fn head(&mut self, slot: u32, rows: &Rows, slots: &Slots) -> &SlotHead {
        if self.known(slot).is_none() {
            self.make_head(slot, rows, slots);
        }
        &self.heads[slot as usize]
    }

    /// The slot's head, if it was made in this tick.
    #[inline]
    pub(super) fn known(&self, slot: u32) -> Option<&SlotHead> {
        let head = self.heads.get(slot as usize)?;
        (head.serial == self.serial).then_some(head)
    }

    #[inline(never)]
    fn make_head(&mut self, slot: u32, rows: &Rows, slots: &Slots) {
        self.open(slot);
        let plain = self.plain.of(slots, slot, |slot| {
            slot.role() == Role::Host
                && slot.migrating().is_none()
                && slot.global().is_some()
                && !matches!(slot.tenure.holder, seamless_wire::Holder::Peer(_))
        });
        let newest = rows.newest(slot);
        // Written where it lies: to copy what was just written piece by piece makes the processor wait.
        let head = &mut self.heads[slot as usize];
        head.serial = self.serial;
        head.runs = NONE;
        head.version = newest.map_or_else(Version::default, |(version, _)| version);
        head.set = newest.map_or_else(SetId::default, |(_, row)| row.set);
        head.size = newest.map_or(0, |(_, row)| row.byte_len().min(u16::MAX as usize) as u16);
        head.plain = plain;
        head.there = newest.is_some();
    }

    /// Makes room for a slot's head.
    fn open(&mut self, slot: u32) {
        let empty = SlotHead {
            serial: self.serial.wrapping_sub(1),
            runs: NONE,
            version: Version::default(),
            set: SetId::default(),
            size: 0,
            plain: false,
            there: false,
        };
        if self.heads.len() <= slot as usize {
            self.heads.resize(slot as usize + 1, empty);
        }
    }

    /// The encoding of a slot's newest row for a link that has `has` of it, for the projected set
    /// `told`. The slot's [`head`](Self::head) was asked for in this tick.
    #[inline]
    pub(super) fn run(
        &mut self,
        registry: &Registry,
        rows: &Rows,
        slot: u32,
        (has, told): (Has, SetId),
    ) -> Option<u32> {
        match self.find(slot, has) {
            Some(run) => Some(run),
            None => self.make_run(registry, rows, slot, has, told),
        }
    }

    /// The encoding for a link that has `has` of a slot, if it was made in this tick.
    #[inline]
    pub(super) fn find(&self, slot: u32, has: Has) -> Option<u32> {
        let mut at = self.known(slot)?.runs;
        while at != NONE {
            let run = &self.runs[at as usize];
            if run.has == has {
                return Some(at);
            }
            at = run.next;
        }
        None
    }

    #[inline(never)]
    fn make_run(
        &mut self,
        registry: &Registry,
        rows: &Rows,
        slot: u32,
        has: Has,
        told: SetId,
    ) -> Option<u32> {
        let ring = rows.ring(slot)?;
        let row = &ring.newest()?.row;
        let found = has.acked().and_then(|acked| ring.get_with_past(acked));
        let later = match (found, has.acked()) {
            (Some((.., later)), _) => later,
            (None, Some(_)) => Ring::CAPACITY as u32,
            (None, None) => 0,
        };
        self.deepest = self.deepest.max(later);
        let (base, past, steps) = match found {
            None => (None, None, 0),
            Some((base, past, later)) => {
                let past = past.filter(|past| Some(past.version) == has.before());
                (Some(base), past, if past.is_some() { later } else { 0 })
            }
        };
        let baseline = base.map(|base| base.version);
        let first = self.heads[slot as usize].runs;
        let mut run = match self.twin(first, baseline, steps, has.part()) {
            Some(twin) => twin,
            None => {
                self.writer.clear();
                let before = past.map(|past| (&past.row, steps));
                let past = Past::new(told, base.map(|base| &base.row), before);
                let mask = self.write_values(registry, &rows.sets, row, &past, told);
                let bits = self.writer.bit_len() as u32;
                let start = self.arena.len() as u32;
                self.writer.finish_words(&mut self.arena);
                Run {
                    has,
                    next: NONE,
                    start,
                    bits,
                    mask,
                    baseline: baseline.unwrap_or_default(),
                    is_delta: baseline.is_some(),
                    fenced: base.is_none_or(|base| base.row.fence != row.fence),
                    steps: steps as u8,
                    place: Place::NONE,
                }
            }
        };
        run.has = has;
        run.next = first;
        let at = self.runs.len() as u32;
        self.runs.push(run);
        self.heads[slot as usize].runs = at;
        Some(at)
    }

    /// A run that is the same for another reason.
    fn twin(&self, mut at: u32, baseline: Option<Version>, steps: u32, part: u32) -> Option<Run> {
        while at != NONE {
            let run = &self.runs[at as usize];
            if run.told_against() == baseline
                && u32::from(run.steps) == steps
                && run.has.part() == part
            {
                return Some(*run);
            }
            at = run.next;
        }
        None
    }

    /// Takes over what another made in this tick of the slots in `made`, but for its tapes. Gives by how
    /// much the numbers of its runs rise.
    pub(super) fn take(&mut self, part: &mut Self, made: impl Iterator<Item = u32>) -> u32 {
        let (runs, words) = (self.runs.len() as u32, self.arena.len() as u32);
        let later = |at: u32| if at == NONE { NONE } else { at + runs };
        self.runs.extend(part.runs.iter().map(|run| Run {
            next: later(run.next),
            start: run.start + words,
            ..*run
        }));
        self.arena.extend_from_slice(&part.arena);
        for slot in made {
            if let Some(head) = part.known(slot) {
                self.open(slot);
                self.heads[slot as usize] = SlotHead {
                    serial: self.serial,
                    runs: later(head.runs),
                    ..*head
                };
            }
        }
        self.deepest = self.deepest.max(part.deepest);
        runs
    }

    /// A run by its number.
    #[inline]
    pub(super) fn get(&self, run: u32) -> &Run {
        &self.runs[run as usize]
    }

    /// A point to come back to with [`rewind`](Self::rewind).
    pub(super) fn mark(&self, slot: u32) -> CacheMark {
        CacheMark {
            slot,
            first: self.heads[slot as usize].runs,
            runs: self.runs.len(),
            arena: self.arena.len(),
        }
    }

    /// Forgets the runs of the mark's slot that were made since: large ones are not kept.
    pub(super) fn rewind(&mut self, mark: &CacheMark) {
        self.runs.truncate(mark.runs);
        self.arena.truncate(mark.arena);
        self.heads[mark.slot as usize].runs = mark.first;
    }

    fn write_values(
        &mut self,
        registry: &Registry,
        sets: &ComponentSets,
        row: &Row,
        past: &Past<'_>,
        told: SetId,
    ) -> u64 {
        let counted = registry.components().len();
        if self.component_bits.len() < counted {
            self.component_bits.resize(counted, (0, 0));
        }
        let components = sets.components(told).iter().enumerate();
        let mut mask = 0;
        if let Some(beside) = past.beside(row) {
            // Nearly all of them.
            for ((at, &component), (value, old)) in components.zip(beside) {
                if !same(old.value, value) {
                    mask |= 1 << at;
                    self.write_value(registry, component, Some(old), value);
                }
            }
            return mask;
        }
        // Positions are those in the told set.
        for place in components.map(|(at, &component)| (at, component)) {
            let Some(value) = row.find(sets, told, place) else {
                continue;
            };
            let old = past.get(sets, place);
            if old.is_none_or(|old| !same(old.value, value)) {
                mask |= 1 << place.0;
                self.write_value(registry, place.1, old, value);
            }
        }
        mask
    }

    #[inline]
    fn write_value(
        &mut self,
        registry: &Registry,
        component: u16,
        old: Option<Baseline<'_>>,
        value: &[u8],
    ) {
        let before = self.writer.bit_len();
        let erased = &registry.component(component).erased;
        erased.encode(old, value, &mut self.writer);
        let bits = (self.writer.bit_len() - before) as u64;
        let (absolute, delta) = &mut self.component_bits[component as usize];
        *(if old.is_some() { delta } else { absolute }) += bits;
    }

    /// Copies a run into a datagram.
    #[inline]
    pub(super) fn copy(&self, run: &Run, w: &mut BitWriter) {
        w.put_words(&self.arena[run.start as usize..], run.bits as usize);
    }
}
