//! What is due, into datagrams.
//!
//! Each datagram can be decoded alone: header with acks, control items, inputs, leaves, then rows
//! by archetype in ascending order of their index. An entity is in one record; a row that no
//! datagram holds goes by the bulk channel under the same rules.

use std::time::Duration;

use seamless_wire::{
    Allocator, BitWriter, MAX_DATAGRAM, PacketSeq, Tick, WireId,
    control::{self, NumberedItem},
    frame::{BigRow, MAX_BIG_ROW},
    packet::{AckBits, SectionKind, StateHeader},
    record::{Form, Leave, RecordCursor, RecordHead, RowsHead, Version},
};

use super::{
    Sender,
    encode::{EncodeCache, Projection, Run},
    log::SentItem,
    slot::Presence,
};
use crate::{
    registry::Registry,
    rows::{MAX_ROW_BYTES, Rows, SetId},
    slots::Slots,
};

/// Bits that must stay free for the end of a section and of the datagram.
const TAIL_BITS: usize = 8;

/// Ticks after which a row on the bulk channel that the peer did not keep is sent again. The
/// channel is reliable and may be long, so this is not a matter of round trips.
const BULK_PATIENCE: u32 = 900;

/// What the packer reads of the world.
pub(crate) struct PackContext<'a> {
    pub(crate) registry: &'a Registry,
    pub(crate) rows: &'a mut Rows,
    pub(crate) slots: &'a Slots,
    pub(crate) cache: &'a mut EncodeCache,
    pub(crate) tick: Tick,
    pub(crate) now: Duration,
    /// Bytes this link may take in this tick.
    pub(crate) budget: usize,
    /// Which part of a slot this peer is told, and its name on this link.
    pub(crate) route: &'a dyn Fn(u32) -> Option<(Projection, WireId)>,
    /// Sections that others made: inputs, their acknowledgement, unreliable messages. They go
    /// into the first datagram.
    pub(crate) extra: &'a mut dyn FnMut(&mut BitWriter) -> ExtraContent,
}

/// What [`PackContext::extra`] wrote.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ExtraContent {
    /// Nothing.
    None,
    /// Something that need not be acknowledged.
    Unnumbered,
    /// Something that should be.
    Numbered,
}

/// What came out.
#[derive(Default)]
pub(crate) struct Outgoing {
    pub(crate) datagrams: Vec<Vec<u8>>,
    pub(crate) big_rows: Vec<BigRow>,
}

/// One row that is due.
struct Candidate {
    slot: u32,
    generation: u32,
    id: WireId,
    told: SetId,
    projection: Projection,
    version: Version,
    baseline: Option<Version>,
    priority: f32,
    estimate: usize,
}

impl Sender {
    /// Makes this tick's datagrams. `report` is what we owe the peer about its own.
    pub(crate) fn pack(
        &mut self,
        report: Option<AckBits>,
        keep_alive: bool,
        context: &mut PackContext<'_>,
    ) -> Outgoing {
        let (leaves, mut candidates) = self.select(context);
        limit(&mut candidates, context.budget, &mut self.counters.deferred);
        candidates.sort_unstable_by_key(|c| (c.told, c.id.allocator, c.id.index));

        let mut extra = BitWriter::new();
        let extra_content = (context.extra)(&mut extra);
        let numbered = extra_content == ExtraContent::Numbered
            || self.control.has_due()
            || !leaves.is_empty()
            || !candidates.is_empty();

        let mut out = Outgoing::default();
        if !numbered && extra_content == ExtraContent::None && report.is_none() && !keep_alive {
            return out;
        }
        let mut datagram = Datagram::new(self, context, report, numbered);
        let extra_bits = extra.bit_len();
        datagram.w.put_run(extra.finish(), extra_bits);
        datagram.used = extra_bits > 0;
        if numbered {
            self.write_control(&mut datagram, context, &mut out);
            self.write_leaves(&leaves, &mut datagram, context, &mut out);
            self.write_rows(&candidates, &mut datagram, context, &mut out);
        }
        datagram.finish(self, context, &mut out);
        out
    }

    /// What is due: leaves, and rows the peer lacks. One visit per dirty slot.
    fn select(&mut self, context: &mut PackContext<'_>) -> (Vec<Leave>, Vec<Candidate>) {
        let mut leaves = Vec::new();
        let mut candidates = Vec::new();
        let dirty: Vec<usize> = self.dirty.ones().collect();
        for index in dirty {
            let slot = index as u32;
            let state = &mut self.slots[index];
            match state.presence {
                Presence::Unknown => self.dirty.set(index, false),
                Presence::Leaving(reason) => {
                    let id = WireId {
                        allocator: Allocator::Local,
                        index: slot,
                        generation: state.generation,
                    };
                    leaves.push(Leave { id, reason });
                }
                Presence::Live => {
                    let Some((projection, id)) = (context.route)(slot) else {
                        continue;
                    };
                    // An echo is left out only for a holder that has the values.
                    let projection = match (projection, state.projection) {
                        (Projection::HostOnly, Projection::Full) if state.acked.is_none() => {
                            Projection::Full
                        }
                        (projection, _) => projection,
                    };
                    if state.projection != projection {
                        // A part of what the peer has in full can be told against that; anything
                        // else begins anew. So who loses authority gets the whole row.
                        if state.projection != Projection::Full {
                            let next = self.next;
                            state.void(next);
                        }
                        state.projection = projection;
                        state.too_large = None;
                    }
                    let Some((version, row)) = context.rows.newest(slot) else {
                        continue;
                    };
                    let (set, size) = (row.set, row.byte_len());
                    if state.acked == Some(version) {
                        state.sent = state.acked;
                    }
                    if state.bulk.is_some() {
                        if context.tick.since(state.bulk_sent) < BULK_PATIENCE {
                            continue;
                        }
                        // It arrived, as all does on that channel, but was not kept.
                        state.bulk = None;
                        state.sent = state.acked;
                        self.counters.refused_big_rows += 1;
                    }
                    if state.sent == Some(version) || state.too_large == Some(version) {
                        self.dirty.set(index, false);
                        continue;
                    }
                    let baseline = state.acked.filter(|&acked| {
                        acked != version
                            && context
                                .rows
                                .ring(slot)
                                .is_some_and(|ring| ring.get(acked).is_some())
                    });
                    let Some(told) = context.cache.project(
                        context.registry,
                        &mut context.rows.sets,
                        set,
                        projection,
                    ) else {
                        continue;
                    };
                    if size > MAX_ROW_BYTES {
                        let bytes = told_bytes(context.rows, slot, told);
                        if bytes > MAX_ROW_BYTES {
                            state.too_large = Some(version);
                            self.dirty.set(index, false);
                            let rows = &mut context.rows;
                            rows.find_too_large(slot, version, bytes, MAX_ROW_BYTES);
                            continue;
                        }
                    }
                    state.priority += priority(context, set);
                    candidates.push(Candidate {
                        slot,
                        generation: state.generation,
                        id,
                        told,
                        projection,
                        version,
                        baseline,
                        priority: state.priority,
                        estimate: if baseline.is_some() {
                            size / 2 + 4
                        } else {
                            size + 16
                        },
                    });
                }
            }
        }
        (leaves, candidates)
    }

    fn write_control(
        &mut self,
        datagram: &mut Datagram,
        context: &mut PackContext<'_>,
        out: &mut Outgoing,
    ) {
        while self.control.has_due() {
            let mut items = Vec::new();
            let mut bits = 3 + 16;
            for (seq, bytes) in self.control.due() {
                bits += control::item_bits(bytes.len());
                if !datagram.has_room(bits) || items.len() == control::MAX_ITEMS {
                    break;
                }
                items.push((seq, bytes.to_vec()));
            }
            if items.is_empty() {
                datagram.finish(self, context, out);
                *datagram = Datagram::new(self, context, None, true);
                continue;
            }
            SectionKind::Control.write(&mut datagram.w);
            let numbered: Vec<NumberedItem<'_>> = items
                .iter()
                .map(|(seq, bytes)| NumberedItem { seq: *seq, bytes })
                .collect();
            control::write_section(&mut datagram.w, &numbered);
            datagram.used = true;
            for (seq, _) in items {
                self.control.sent(seq);
                datagram.items.push(SentItem::Control(seq));
            }
        }
    }

    fn write_leaves(
        &mut self,
        leaves: &[Leave],
        datagram: &mut Datagram,
        context: &mut PackContext<'_>,
        out: &mut Outgoing,
    ) {
        // Section head, one leave at most, and the end of the list.
        const LEAVE_BITS: usize = 3 + 1 + 1 + 41 + 65 + 2 + 1;
        let mut rest = leaves;
        while !rest.is_empty() {
            if !datagram.has_room(LEAVE_BITS) {
                datagram.finish(self, context, out);
                *datagram = Datagram::new(self, context, None, true);
            }
            SectionKind::Leaves.write(&mut datagram.w);
            let mut written = 0;
            for leave in rest.iter().take(Leave::MAX) {
                if !datagram.has_room(LEAVE_BITS) {
                    break;
                }
                leave.write(&mut datagram.w);
                let (slot, generation) = (leave.id.index, leave.id.generation);
                datagram.items.push(SentItem::Leave { slot, generation });
                self.dirty.set(slot as usize, false);
                written += 1;
            }
            Leave::write_end(&mut datagram.w);
            datagram.used = true;
            rest = &rest[written..];
        }
    }

    fn write_rows(
        &mut self,
        candidates: &[Candidate],
        datagram: &mut Datagram,
        context: &mut PackContext<'_>,
        out: &mut Outgoing,
    ) {
        let mut open: Option<(SetId, Allocator)> = None;
        let mut cursor = RecordCursor::default();
        for candidate in candidates {
            let Some(run) = context.cache.encode(
                context.registry,
                context.rows,
                candidate.slot,
                candidate.baseline,
                (candidate.projection, candidate.told),
            ) else {
                continue;
            };
            let head = record_head(candidate, &run, context.slots);
            let Some(head) = head else { continue };
            let components = context.rows.sets.components(candidate.told).len();
            let section = (candidate.told, candidate.id.allocator);
            let mut attempts = 0;
            loop {
                attempts += 1;
                let mark = datagram.w.mark();
                let saved = cursor;
                if open != Some(section) {
                    if open.is_some() {
                        RecordCursor::write_end(&mut datagram.w);
                    }
                    SectionKind::Rows.write(&mut datagram.w);
                    let components = context.rows.sets.components(candidate.told);
                    RowsHead::write(&mut datagram.w, candidate.id.allocator, components);
                    cursor = RecordCursor::default();
                }
                cursor.write(&mut datagram.w, components, &head);
                context.cache.copy(&run, &mut datagram.w);
                if datagram.has_room(0) {
                    open = Some(section);
                    datagram.used = true;
                    self.note_sent(candidate, datagram);
                    break;
                }
                // It does not fit: close this datagram before the record and begin another, once.
                datagram.w.rewind(mark);
                cursor = saved;
                if open.is_some() {
                    RecordCursor::write_end(&mut datagram.w);
                    open = None;
                }
                if attempts > 1 {
                    self.send_big(candidate, context, out);
                    break;
                }
                if datagram.used {
                    datagram.finish(self, context, out);
                    *datagram = Datagram::new(self, context, None, true);
                }
            }
        }
        if open.is_some() {
            RecordCursor::write_end(&mut datagram.w);
        }
    }

    fn note_sent(&mut self, candidate: &Candidate, datagram: &mut Datagram) {
        let Candidate {
            slot,
            generation,
            version,
            ..
        } = *candidate;
        datagram.items.push(SentItem::Row {
            slot,
            generation,
            version,
        });
        let state = &mut self.slots[slot as usize];
        state.sent = Some(version);
        state.told = true;
        state.priority = 0.0;
        self.dirty.set(slot as usize, false);
        self.counters.records += 1;
        self.counters.absolute_records += u64::from(candidate.baseline.is_none());
    }

    /// A row that no datagram holds: whole, against nothing, over the bulk channel.
    fn send_big(
        &mut self,
        candidate: &Candidate,
        context: &mut PackContext<'_>,
        out: &mut Outgoing,
    ) {
        let told = (candidate.projection, candidate.told);
        let Some(run) =
            context
                .cache
                .encode(context.registry, context.rows, candidate.slot, None, told)
        else {
            return;
        };
        let absolute = Candidate {
            baseline: None,
            ..*candidate
        };
        let Some(head) = record_head(&absolute, &run, context.slots) else {
            return;
        };
        let components = context.rows.sets.components(candidate.told);
        let mut w = BitWriter::new();
        RowsHead::write(&mut w, candidate.id.allocator, components);
        RecordCursor::default().write(&mut w, components.len(), &head);
        context.cache.copy(&run, &mut w);
        RecordCursor::write_end(&mut w);
        let section = w.finish();
        let state = &mut self.slots[candidate.slot as usize];
        if section.len() > MAX_BIG_ROW {
            let Candidate { slot, version, .. } = *candidate;
            state.too_large = Some(version);
            self.dirty.set(slot as usize, false);
            let rows = &mut context.rows;
            rows.find_too_large(slot, version, section.len(), MAX_BIG_ROW);
            return;
        }
        out.big_rows.push(BigRow {
            tick: context.tick,
            section: section.to_vec(),
        });
        state.bulk = Some(candidate.version);
        state.bulk_sent = context.tick;
        state.sent = Some(candidate.version);
        state.told = true;
        state.priority = 0.0;
        // It stays in sight of the next ticks until the peer has said that it kept it.
        self.counters.big_rows += 1;
    }
}

fn record_head(candidate: &Candidate, run: &Run, slots: &Slots) -> Option<RecordHead> {
    let form = match candidate.baseline {
        Some(baseline) => Form::Delta {
            baseline: baseline.0 as u8,
            age: candidate.version.age_since(baseline),
            mask: run.mask,
        },
        None => Form::Absolute {
            generation: candidate.id.generation,
            version: candidate.version,
            global: slots.get(candidate.slot)?.global()?,
        },
    };
    Some(RecordHead {
        index: candidate.id.index,
        form,
        tenure: run.tenure,
    })
}

/// Bytes of the values that a peer is told of a slot's newest row.
fn told_bytes(rows: &Rows, slot: u32, told: SetId) -> usize {
    let Some((_, row)) = rows.newest(slot) else {
        return 0;
    };
    let components = rows.sets.components(told).iter();
    components
        .filter_map(|&component| rows.sets.position(row.set, component))
        .map(|at| row.value(at).len())
        .sum()
}

/// Sum of the weights of a set's components.
fn priority(context: &PackContext<'_>, set: SetId) -> f32 {
    let components = context.rows.sets.components(set);
    1.0 + components
        .iter()
        .map(|&c| context.registry.component(c).priority - 1.0)
        .fold(0.0, f32::max)
}

/// Keeps what fits the budget, the most urgent first. What is left keeps its priority, which
/// rises with every tick, so nothing starves.
fn limit(candidates: &mut Vec<Candidate>, budget: usize, deferred: &mut u64) {
    let total: usize = candidates.iter().map(|c| c.estimate).sum();
    if total <= budget {
        return;
    }
    candidates.sort_unstable_by(|a, b| b.priority.total_cmp(&a.priority).then(a.slot.cmp(&b.slot)));
    let mut left = budget;
    let fitting = candidates
        .iter()
        .position(|c| match left.checked_sub(c.estimate) {
            Some(rest) => {
                left = rest;
                false
            }
            None => true,
        })
        .unwrap_or(candidates.len())
        // Always one, or a row larger than the budget would never go.
        .max(1);
    *deferred += (candidates.len() - fitting) as u64;
    candidates.truncate(fitting);
}

/// A datagram being written.
struct Datagram {
    w: BitWriter,
    seq: Option<PacketSeq>,
    items: Vec<SentItem>,
    /// Whether a section was written.
    used: bool,
}

impl Datagram {
    fn new(
        sender: &mut Sender,
        context: &PackContext<'_>,
        report: Option<AckBits>,
        numbered: bool,
    ) -> Self {
        let mut w = BitWriter::new();
        let seq = numbered.then_some(sender.next);
        StateHeader {
            seq,
            tick: context.tick,
            acks: report,
        }
        .write(&mut w);
        let items = if numbered {
            sender.log.items()
        } else {
            Vec::new()
        };
        Self {
            w,
            seq,
            items,
            used: false,
        }
    }

    /// Whether `bits` more bits leave room for the ends.
    fn has_room(&self, bits: usize) -> bool {
        self.w.bit_len() + bits + TAIL_BITS <= MAX_DATAGRAM * 8
    }

    fn finish(&mut self, sender: &mut Sender, context: &PackContext<'_>, out: &mut Outgoing) {
        SectionKind::End.write(&mut self.w);
        if let Some(seq) = self.seq {
            sender.next = seq.next();
            sender.counters.packets += 1;
            sender
                .log
                .push(seq, context.now, std::mem::take(&mut self.items));
        }
        out.datagrams.push(self.w.finish().to_vec());
    }
}
