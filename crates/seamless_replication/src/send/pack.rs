//! What is due, into datagrams.
//!
//! Each datagram can be decoded alone: header with acks, control items, inputs, leaves, then rows
//! by archetype in ascending order of their index. An entity is in one record; a row that no
//! datagram holds goes by the bulk channel under the same rules.

use std::time::Duration;

use fixedbitset::Block;
use seamless_wire::{
    Allocator, BitWriter, MAX_DATAGRAM, PacketSeq, Tick, WireId, audit,
    control::{self, NumberedItem},
    frame::BigRow,
    packet::{AckBits, SectionKind, StateHeader},
    record::{FenceChange, Form, Leave, RecordCursor, RecordHead, RowsHead, Version},
};

use super::{
    Known, Sender,
    encode::{Projection, Run},
    encoder::Encoder,
    log::{Contents, SentItem},
    projections::{Part, Projections, Wanted},
    select::{Bucket, Candidate, Due},
    survey::Answers,
    tape,
};
use crate::{
    registry::Registry,
    rows::{RowHashes, Rows, SetId},
    slots::Slots,
};

/// Bits that must stay free for the end of a section and of the datagram.
const TAIL_BITS: usize = 8;

/// Bits that the head of a delta without a fence takes at most.
const MAX_DELTA_HEAD: usize = 256;

/// What the packer reads of the world.
pub(crate) struct PackContext<'a> {
    pub(crate) registry: &'a Registry,
    pub(crate) rows: &'a Rows,
    pub(crate) slots: &'a Slots,
    pub(crate) cache: Encoder<'a>,
    pub(crate) projections: &'a Projections,
    pub(crate) known: &'a Known,
    /// What of the changed is due, unless the link had that in this tick already.
    pub(crate) answers: Option<Answers<'a>>,
    /// Slots that changed in this tick.
    pub(crate) changed: &'a [Block],
    /// Parts of sets that are missing.
    pub(crate) wanted: &'a mut Vec<Wanted>,
    pub(crate) hashes: &'a mut RowHashes,
    /// Rows that are larger than the peer takes: slot, version, bytes, and what it takes.
    pub(crate) found: &'a mut Vec<(u32, Version, usize, usize)>,
    pub(crate) tick: Tick,
    pub(crate) now: Duration,
    /// Bytes this link may take in this tick.
    pub(crate) budget: usize,
    /// Bytes of rows that may still be queued for the bulk channel.
    pub(crate) bulk_room: usize,
    /// Settled entities that are named to this peer in a tick, on average.
    pub(crate) audited_per_tick: f32,
    /// Which part of a slot this peer is told, and its name on this link.
    pub(crate) route: &'a dyn Fn(u32) -> Option<(Projection, WireId)>,
    /// Whether this peer is told all of what nobody holds, under our own names.
    pub(crate) whole: bool,
    /// Whether this peer holds a slot's entity and we have what it wrote: it has all values then.
    pub(crate) has_written: &'a dyn Fn(u32) -> bool,
    /// How much a slot matters to this peer, above 0; asked when not everything fits.
    pub(crate) relevance: Option<&'a dyn Fn(u32) -> f32>,
    /// Sections that others made: inputs, their acknowledgement, unreliable messages. They go
    /// into the first datagram; messages that inputs left no room for, into one of their own, for
    /// which it is called again. It is asked before rows are chosen, which get what room is left.
    pub(crate) extra: &'a mut dyn FnMut(&mut BitWriter, bool) -> ExtraContent,
    /// Takes each datagram.
    pub(crate) emit: &'a mut dyn FnMut(&[u8]),
}

impl PackContext<'_> {
    /// The set that is told of `set`; `None` if that must be made first.
    #[inline]
    pub(super) fn told(&mut self, set: SetId, part: Part) -> Option<SetId> {
        match self.projections.get(set, part) {
            Ok(told) => Some(told),
            Err(wanted) => {
                self.wanted.push(wanted);
                None
            }
        }
    }
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

/// Memory that one link after the other uses.
#[derive(Default)]
pub(crate) struct Scratch {
    due: Due,
    datagram: BitWriter,
    /// What others made, for the first datagram and the next.
    extra: [BitWriter; 2],
    /// Rows that no datagram holds, for the bulk channel.
    pub(crate) big_rows: Vec<BigRow>,
}

impl Scratch {
    /// Rows that were due.
    pub(super) fn due(&self) -> usize {
        self.due.rows()
    }
}

impl Sender {
    /// Makes this tick's datagrams; false if there was nothing to say. `report` is what we owe the
    /// peer about its own.
    pub(crate) fn pack(
        &mut self,
        report: Option<AckBits>,
        keep_alive: bool,
        scratch: &mut Scratch,
        context: &mut PackContext<'_>,
    ) -> bool {
        let Scratch {
            due,
            datagram,
            extra,
            big_rows,
        } = scratch;
        extra.iter_mut().for_each(BitWriter::clear);
        let [extra, more] = extra;
        let extra_content = (context.extra)(extra, false);
        let has_more = (context.extra)(more, true) != ExtraContent::None;
        let said = extra.bit_len() + more.bit_len() + self.control.due_bits();
        self.select(due, said, context);
        let numbered = extra_content == ExtraContent::Numbered
            || self.control.has_due()
            || !due.leaves.is_empty()
            || !due.no_rows();
        let is_quiet = extra_content == ExtraContent::None && !has_more;
        if !numbered && is_quiet && report.is_none() && !keep_alive {
            return false;
        }
        let first = self.next;
        let mut datagram = Datagram::begin(datagram, self, context, report, numbered);
        let extra_bits = extra.bit_len();
        datagram.w.put_run(extra.finish(), extra_bits);
        datagram.used = extra_bits > 0;
        if has_more {
            datagram.next(self, context);
            let more_bits = more.bit_len();
            datagram.w.put_run(more.finish(), more_bits);
            datagram.used = true;
        }
        if numbered {
            self.write_control(&mut datagram, context);
            self.write_leaves(&due.leaves, &mut datagram, context);
            for bucket in due.buckets() {
                self.write_rows(bucket, &mut datagram, context, big_rows);
            }
        }
        self.write_audit(&mut datagram, context);
        datagram.finish(self, context);
        self.ceiling.sent((first, self.next), datagram.bytes);
        true
    }

    /// Into what room there is left.
    fn write_audit(&mut self, datagram: &mut Datagram<'_>, context: &mut PackContext<'_>) {
        // The kind and the number of entities.
        const HEAD_BITS: usize = 3 + 17;
        let entities = self.audit(datagram.room().saturating_sub(HEAD_BITS), context);
        if !entities.is_empty() {
            SectionKind::Audit.write(datagram.w);
            audit::write_section(datagram.w, context.tick, entities);
        }
    }

    fn write_control(&mut self, datagram: &mut Datagram<'_>, context: &mut PackContext<'_>) {
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
                datagram.next(self, context);
                continue;
            }
            SectionKind::Control.write(datagram.w);
            let numbered: Vec<NumberedItem<'_>> = items
                .iter()
                .map(|(seq, bytes)| NumberedItem { seq: *seq, bytes })
                .collect();
            control::write_section(datagram.w, &numbered);
            datagram.used = true;
            for (seq, _) in items {
                self.control.sent(seq);
                datagram.contents.items.push(SentItem::Control(seq));
            }
        }
    }

    fn write_leaves(
        &mut self,
        leaves: &[Leave],
        datagram: &mut Datagram<'_>,
        context: &mut PackContext<'_>,
    ) {
        // Section head, one leave at most, and the end of the list.
        const LEAVE_BITS: usize = 3 + 1 + 1 + 41 + 65 + 2 + 1;
        let mut rest = leaves;
        while !rest.is_empty() {
            if !datagram.has_room(LEAVE_BITS) {
                datagram.next(self, context);
            }
            SectionKind::Leaves.write(datagram.w);
            let mut written = 0;
            for leave in rest.iter().take(Leave::MAX) {
                if !datagram.has_room(LEAVE_BITS) {
                    break;
                }
                leave.write(datagram.w);
                let slot = leave.id.index;
                datagram.contents.items.push(SentItem::Leave { slot });
                self.dirty.remove(slot as usize);
                written += 1;
            }
            Leave::write_end(datagram.w);
            datagram.used = true;
            rest = &rest[written..];
        }
    }

    /// One section for each datagram that it takes. One step per row: its head, and a copy of its
    /// values.
    fn write_rows(
        &mut self,
        bucket: &Bucket,
        datagram: &mut Datagram<'_>,
        context: &mut PackContext<'_>,
        big_rows: &mut Vec<BigRow>,
    ) {
        let components = context.rows.sets.components(bucket.told).len();
        let mut cursor = RecordCursor::new(context.tick, components);
        let mut open = false;
        let primed = context.cache.primed;
        let mut rest = bucket.rows.as_slice();
        while let Some((row, after)) = rest.split_first() {
            rest = after;
            let large = match row.run() {
                Some(_) => None,
                None => Some(context.cache.mark(row.slot, context.rows, context.slots)),
            };
            if large.is_some() && context.bulk_room == 0 && self.is_bulk(row.slot, context) {
                self.dirty.insert(row.slot as usize);
                continue;
            }
            let run = row
                .run()
                .or_else(|| self.large_run(row, bucket.told, context));
            let Some(number) = run else {
                self.dirty.insert(row.slot as usize);
                continue;
            };
            let run = *context.cache.get(number);
            let head = context.cache.head(row.slot, context.rows, context.slots);
            let version = head.version;
            let index = match bucket.allocator {
                Allocator::Local => row.slot,
                Allocator::Peer => match (context.route)(row.slot) {
                    Some((_, id)) => id.index,
                    None => {
                        self.dirty.insert(row.slot as usize);
                        continue;
                    }
                },
            };
            if open
                && run.is_delta
                && !run.fenced
                && datagram.has_room(run.bits as usize + MAX_DELTA_HEAD)
            {
                // Nearly all of them.
                let against = (version, run.baseline, u32::from(run.steps), run.mask);
                let before = datagram.w.bit_len();
                cursor.write_delta(datagram.w, components, index, against, None);
                context.cache.copy(number, &run, datagram.w);
                self.note_sent(row.slot, version, &run, before, datagram);
                // Tapes have our own names.
                if bucket.allocator == Allocator::Local
                    && let Some((rows, bits)) = primed.stretch(&run, after, datagram.room())
                    && let Some(last) = rows.last()
                {
                    let before = datagram.w.bit_len();
                    bits.copy(datagram.w);
                    self.counters.record_bits.1 += (datagram.w.bit_len() - before) as u64;
                    self.note_stretch(rows, datagram);
                    let run = context.cache.get(last.number());
                    tape::pass(&mut cursor, last.slot, context.tick, run);
                    rest = &after[rows.len()..];
                }
                continue;
            }
            for attempt in 0.. {
                let mark = datagram.w.mark();
                if !open {
                    SectionKind::Rows.write(datagram.w);
                    let told = context.rows.sets.components(bucket.told);
                    RowsHead::write(datagram.w, bucket.allocator, told);
                    cursor = RecordCursor::new(context.tick, components);
                }
                let before = datagram.w.bit_len();
                let written = match run.told_against() {
                    Some(baseline) if !run.fenced => {
                        let against = (version, baseline, u32::from(run.steps), run.mask);
                        cursor.write_delta(datagram.w, components, index, against, None);
                        true
                    }
                    _ => match record_head(row.slot, index, bucket.allocator, &run, context) {
                        Some(head) => {
                            cursor.write(datagram.w, components, &head);
                            true
                        }
                        None => false,
                    },
                };
                if written {
                    let head_bits = datagram.w.bit_len() - before;
                    context.cache.copy(number, &run, datagram.w);
                    if datagram.has_room(0) {
                        open = true;
                        datagram.used = true;
                        if run.is_delta && run.fenced {
                            self.counters.fences += 1;
                            self.counters.fence_bits += head_bits as u64;
                        }
                        self.note_sent(row.slot, version, &run, before, datagram);
                        break;
                    }
                }
                // It does not fit: close this datagram before the record and begin another, once.
                datagram.w.rewind(mark);
                if !written {
                    self.dirty.insert(row.slot as usize);
                    break;
                }
                if open {
                    RecordCursor::write_end(datagram.w);
                    open = false;
                }
                if attempt > 0 {
                    self.send_big(row, bucket, index, context, big_rows);
                    break;
                }
                if datagram.used {
                    datagram.next(self, context);
                }
            }
            if let Some(mark) = large {
                context.cache.rewind(&mark);
            }
        }
        if open {
            RecordCursor::write_end(datagram.w);
        }
    }

    /// A record was written, `from` this bit on.
    #[inline]
    fn note_sent(
        &mut self,
        slot: u32,
        version: Version,
        run: &Run,
        from: usize,
        datagram: &mut Datagram<'_>,
    ) {
        let bits = (datagram.w.bit_len() - from) as u64;
        let (absolute, delta) = &mut self.counters.record_bits;
        *(if run.is_delta { delta } else { absolute }) += bits;
        datagram.contents.add_row(slot, version);
        self.served(slot);
        self.counters.records += 1;
        if !run.is_delta {
            // What is told against a baseline was told before.
            let state = &mut self.slots[slot as usize];
            state.set_told();
            self.counters.absolute_records += 1;
            if state.has_migrated() {
                self.counters.resent_bits += u64::from(run.bits);
            }
        }
    }

    /// As [`note_sent`](Self::note_sent), for rows of this tick that are told as deltas.
    fn note_stretch(&mut self, rows: &[Candidate], datagram: &mut Datagram<'_>) {
        datagram.contents.add_rows(rows.iter().map(|row| row.slot));
        if !self.priorities.is_empty() {
            rows.iter().for_each(|row| self.served(row.slot));
        }
        self.counters.records += rows.len() as u64;
    }
}

/// The head of a record that is whole or carries its fence.
pub(super) fn record_head(
    slot: u32,
    index: u32,
    allocator: Allocator,
    run: &Run,
    context: &PackContext<'_>,
) -> Option<RecordHead> {
    let (version, row) = context.rows.newest(slot)?;
    let form = match run.told_against() {
        Some(baseline) => Form::Delta {
            version,
            baseline,
            steps: run.steps.into(),
            mask: run.mask,
            fence: match run.fenced {
                true => {
                    let base = context.rows.ring(slot)?.get(baseline)?;
                    Some(FenceChange::between(&base.row.fence, &row.fence))
                }
                false => None,
            },
        },
        None => Form::Absolute {
            generation: match allocator {
                Allocator::Local => context.slots.get(slot)?.generation,
                Allocator::Peer => (context.route)(slot)?.1.generation,
            },
            version,
            global: context.slots.get(slot)?.global()?,
            tenure: *row.fence,
        },
    };
    Some(RecordHead { index, form })
}

/// A datagram being written.
struct Datagram<'w> {
    w: &'w mut BitWriter,
    seq: Option<PacketSeq>,
    contents: Contents,
    /// Whether a section was written.
    used: bool,
    /// Bytes of it and those before it.
    bytes: usize,
}

impl<'w> Datagram<'w> {
    fn begin(
        w: &'w mut BitWriter,
        sender: &mut Sender,
        context: &PackContext<'_>,
        report: Option<AckBits>,
        numbered: bool,
    ) -> Self {
        let mut datagram = Self {
            w,
            seq: None,
            contents: Contents::default(),
            used: false,
            bytes: 0,
        };
        datagram.start(sender, context, report, numbered);
        datagram
    }

    fn start(
        &mut self,
        sender: &mut Sender,
        context: &PackContext<'_>,
        report: Option<AckBits>,
        numbered: bool,
    ) {
        self.w.clear();
        self.used = false;
        self.seq = numbered.then_some(sender.next);
        StateHeader {
            seq: self.seq,
            tick: context.tick,
            acks: report,
        }
        .write(self.w);
        if numbered {
            self.contents = sender.log.contents();
            self.contents.begin(context.tick);
        }
    }

    /// Ends this datagram and begins another.
    fn next(&mut self, sender: &mut Sender, context: &mut PackContext<'_>) {
        self.finish(sender, context);
        self.start(sender, context, None, true);
    }

    /// Whether `bits` more bits leave room for the ends.
    fn has_room(&self, bits: usize) -> bool {
        self.w.bit_len() + bits + TAIL_BITS <= MAX_DATAGRAM * 8
    }

    /// Bits that are free.
    fn room(&self) -> usize {
        (MAX_DATAGRAM * 8).saturating_sub(self.w.bit_len() + TAIL_BITS)
    }

    fn finish(&mut self, sender: &mut Sender, context: &mut PackContext<'_>) {
        SectionKind::End.write(self.w);
        if let Some(seq) = self.seq {
            sender.next = seq.next();
            sender.counters.packets += 1;
            let contents = std::mem::take(&mut self.contents);
            sender.log.push(seq, context.now, contents);
        }
        let bytes = self.w.finish();
        self.bytes += bytes.len();
        (context.emit)(bytes);
    }
}
