//! A datagram's bits to values, without touching anything.

use seamless_wire::{
    Allocator, BitReader, PeerId, Tick, WireError,
    audit::{self, Audited},
    control::{self, Control, ControlSeq},
    frame::BigRow,
    packet::{HeaderContext, InputAck, InputBatch, SectionKind, StateHeader},
    record::{Against, FenceChange, Form, Leave, RecordCursor, RecordHead, RowsHead, Version},
};

use super::{
    ParsedHead, ParsedRows, Receiver,
    scout::{Scout, Terrain},
};
use crate::{
    messages::{self, Spoken},
    registry::{MAX_COMPONENT_BYTES, Registry},
    rows::{ComponentSets, Fence, MAX_ROW_BYTES, Past, RowBuilder, SetId},
};

/// Most bytes of rows that one datagram may unfold to. Ours unfold to some hundred kilobytes at
/// worst; without a bound, records against large baselines would multiply.
const MAX_UNFOLDED: usize = 4 << 20;

/// Everything in a datagram.
#[derive(Debug)]
pub(crate) struct Parsed {
    pub(crate) header: StateHeader,
    pub(crate) control: Vec<(ControlSeq, Control)>,
    pub(crate) leaves: Vec<Leave>,
    pub(crate) rows: ParsedRows,
    pub(crate) inputs: Option<InputBatch>,
    pub(crate) input_ack: Option<InputAck>,
    /// Unreliable messages.
    pub(crate) messages: Vec<Spoken>,
    pub(crate) audited: Vec<Audited>,
}

/// What parsing reads.
pub(crate) struct ParseContext<'a> {
    pub(crate) registry: &'a Registry,
    pub(crate) sets: &'a mut ComponentSets,
    pub(crate) receiver: &'a Receiver,
    pub(crate) header: HeaderContext,
    /// Most bytes of rows that it may unfold to, beside the bound for any datagram; and how many it did.
    pub(crate) most_unfolded: usize,
    pub(crate) unfolded: usize,
    /// The client that answers for new sets of components; `None`: nobody need.
    pub(crate) inventor: Option<PeerId>,
    /// An empty list for the rows, for its memory.
    pub(crate) spare: ParsedRows,
}

/// Why a datagram was not read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ParseError {
    /// No honest peer wrote it.
    #[error("malformed: {0}")]
    Malformed(#[from] WireError),
    /// A record is against a row that is not kept any more: the datagram is late. Its sender will
    /// find it lost and send what is newest.
    #[error("late: no baseline for entity {0}")]
    Late(u32),
    /// A record is of components that nobody had together so far, and there is no room for more such
    /// sets. Its sender may be honest, and others have used up the room.
    #[error("no room for another set of components")]
    NoRoom,
}

/// Reads one datagram.
///
/// # Errors
/// [`ParseError`] for the first thing that does not make sense; then nothing of it counts.
pub(crate) fn parse(bytes: &[u8], context: &mut ParseContext<'_>) -> Result<Parsed, ParseError> {
    let mut r = BitReader::new(bytes);
    let header = StateHeader::read(&mut r, context.header)?;
    let tick = header.tick;
    let mut parsed = Parsed {
        header,
        control: Vec::new(),
        leaves: Vec::new(),
        rows: std::mem::take(&mut context.spare),
        inputs: None,
        input_ack: None,
        messages: Vec::new(),
        audited: Vec::new(),
    };
    loop {
        match SectionKind::read(&mut r)? {
            SectionKind::End => break,
            SectionKind::Control => {
                let near = context.receiver.control.near();
                parsed.control.extend(control::read_section(&mut r, near)?);
            }
            SectionKind::Rows => read_rows(&mut r, tick, context, &mut parsed.rows)?,
            SectionKind::Leaves => parsed.leaves.extend(Leave::read_all(&mut r)?),
            SectionKind::Inputs => parsed.inputs = Some(InputBatch::read(&mut r)?),
            SectionKind::InputAck => parsed.input_ack = Some(InputAck::read(&mut r)?),
            SectionKind::Messages => {
                messages::read_section(&mut r, context.registry, &mut parsed.messages)?;
            }
            SectionKind::Audit => parsed.audited = audit::read_section(&mut r, tick)?,
        }
    }
    r.expect_zeros()?;
    if parsed.header.seq.is_none()
        && !(parsed.control.is_empty() && parsed.leaves.is_empty() && parsed.rows.is_empty())
    {
        // It could not be acknowledged, so nothing in it may need to be.
        return Err(WireError::Invalid {
            what: "content of an unnumbered datagram",
            value: 0,
        }
        .into());
    }
    Ok(parsed)
}

/// Reads a row that came by the bulk channel.
///
/// # Errors
/// [`WireError`] if it is not exactly one absolute record.
pub(crate) fn parse_big_row(
    big: &BigRow,
    context: &mut ParseContext<'_>,
) -> Result<ParsedRows, ParseError> {
    let mut r = BitReader::new(&big.section);
    let mut rows = ParsedRows::default();
    read_rows(&mut r, big.tick, context, &mut rows)?;
    r.expect_end()?;
    let mut all = rows.iter();
    match (all.next(), all.next()) {
        (Some((head, _)), None) if head.baseline.is_none() => {}
        _ => {
            return Err(WireError::Invalid {
                what: "number of big rows",
                value: rows.iter().count() as u64,
            }
            .into());
        }
    }
    drop(all);
    Ok(rows)
}

fn read_rows<'a>(
    r: &mut BitReader<'a>,
    tick: Tick,
    context: &mut ParseContext<'_>,
    out: &mut ParsedRows,
) -> Result<(), ParseError> {
    let head = RowsHead::read(r, context.registry.components().len())?;
    if RecordCursor::ends_here(r) {
        // Without records it says nothing, and its components need not be known.
        r.get_bool()?;
        return Ok(());
    }
    let set = match context.inventor {
        Some(by) => context.sets.intern_invented(&head.components, by),
        None => context.sets.intern(&head.components),
    };
    let set = set.ok_or(ParseError::NoRoom)?;
    let mut cursor = RecordCursor::new(tick, head.components.len());
    let mut last = u32::MAX;
    let mut scout = Scout::default();
    let section = Section {
        head: &head,
        tick,
        set,
    };
    loop {
        // Nearly all are alike. What another is goes by way of memory.
        let (index, against, fence) = match cursor.read_alike(r)? {
            Some((index, against)) => (index, Some(against), None),
            None => match cursor.read(r, head.components.len())? {
                None => return Ok(()),
                Some(RecordHead {
                    index,
                    form:
                        Form::Delta {
                            version,
                            baseline,
                            steps,
                            mask,
                            fence,
                        },
                }) => (index, Some((version, baseline, steps, mask)), fence),
                Some(RecordHead {
                    index,
                    form:
                        Form::Absolute {
                            generation,
                            version,
                            global,
                            tenure,
                        },
                }) => {
                    let parsed = section.begin(out, index, version);
                    parsed.generation = Some(generation);
                    parsed.global = Some(global);
                    parsed.fence = Fence::new(&tenure, None);
                    section.read_absolute(r, out, context)?;
                    (index, None, None)
                }
            },
        };
        let is_next = index == last.wrapping_add(1);
        last = index;
        if let Some(against) = against {
            section.read_delta(r, (index, is_next), against, fence, out, context)?;
        }
        let terrain = Terrain {
            registry: context.registry,
            table: &context.receiver.table,
            allocator: head.allocator,
            components: &head.components,
        };
        context.unfolded = out.unfolded();
        if context.unfolded > context.most_unfolded {
            return Err(ParseError::NoRoom);
        }
        scout.follow(is_next, (r, &cursor), out.last_lens(), &terrain);
        if out.unfolded() > MAX_UNFOLDED {
            return Err(WireError::OutOfBounds {
                what: "unfolded datagram",
                value: out.unfolded() as u64,
                max: MAX_UNFOLDED as u64,
            }
            .into());
        }
    }
}

/// What the records of a section have in common.
struct Section<'h> {
    head: &'h RowsHead,
    tick: Tick,
    set: SetId,
}

impl Section<'_> {
    /// Begins a record.
    #[inline(always)]
    fn begin<'p>(
        &self,
        out: &'p mut ParsedRows,
        index: u32,
        version: Version,
    ) -> &'p mut ParsedHead {
        let parsed = out.begin();
        parsed.allocator = self.head.allocator;
        parsed.index = index;
        parsed.version = version;
        parsed.tick = self.tick;
        parsed.set = self.set;
        parsed
    }

    /// Reads the values of a record that is told against a row that is here. `is_next`: it is of the
    /// name after that of the record before, and so the records after it may well be of the names
    /// after it.
    #[inline(always)]
    fn read_delta(
        &self,
        r: &mut BitReader<'_>,
        (index, is_next): (u32, bool),
        (version, baseline, steps, mask): Against,
        fence: Option<FenceChange>,
        out: &mut ParsedRows,
        context: &ParseContext<'_>,
    ) -> Result<(), ParseError> {
        let allocator = self.head.allocator;
        let missing = || ParseError::Late(index);
        let table = &context.receiver.table;
        let redirect = match table.has_redirects() {
            true => table.redirect(allocator, index),
            false => None,
        };
        let place = match redirect {
            Some(redirect) => table.place(Allocator::Local, redirect.slot),
            None => table.place(allocator, index),
        };
        let place = place.ok_or_else(missing)?;
        if is_next {
            table.prefetch_after(place);
        }
        let ring = &table.at(place).ring;
        let (base, past, _) = ring.get_with_past(baseline).ok_or_else(missing)?;
        if steps > 0 && past.is_none() {
            return Err(missing());
        }
        let base_fence = &base.row.fence;
        let parsed = self.begin(out, index, version);
        parsed.place = (redirect.is_none() && allocator == Allocator::Peer).then_some(place);
        parsed.baseline = Some(baseline);
        parsed.fence = match fence {
            Some(change) => Fence::new(&change.apply(base_fence)?, Some(base_fence)),
            None => base_fence.clone(),
        };
        let before = past.map(|past| (&past.row, steps));
        let past = Past::new(self.set, Some(&base.row), before);
        self.read_row(r, &past, mask, out, context)
    }

    /// Reads the values of a record that is told against nothing.
    #[inline(never)]
    fn read_absolute(
        &self,
        r: &mut BitReader<'_>,
        out: &mut ParsedRows,
        context: &ParseContext<'_>,
    ) -> Result<(), ParseError> {
        let past = Past::new(self.set, None, None);
        self.read_row(r, &past, u64::MAX, out, context)
    }

    #[inline(always)]
    fn read_row(
        &self,
        r: &mut BitReader<'_>,
        past: &Past<'_>,
        mask: u64,
        out: &mut ParsedRows,
        context: &ParseContext<'_>,
    ) -> Result<(), ParseError> {
        let builder = out.builder();
        let components = &self.head.components;
        if !read_over(r, past, mask, components, builder, context.registry)? {
            read_values(r, past, mask, components, builder, context)?;
        }
        out.end();
        Ok(())
    }
}

/// Reads the values that differ over a copy of the baseline. False if that cannot be done: then
/// nothing is read.
///
/// A copy of the row, and a step for each value that differs.
#[inline]
fn read_over(
    r: &mut BitReader<'_>,
    past: &Past<'_>,
    mask: u64,
    components: &[u16],
    builder: &mut RowBuilder,
    registry: &Registry,
) -> Result<bool, WireError> {
    let Some((base, at)) = past.alike() else {
        return Ok(false);
    };
    let before = r.clone();
    builder.copy(base);
    let mut left = mask;
    while left != 0 {
        let position = left.trailing_zeros() as usize;
        left &= left - 1;
        let (range, old) = at(position);
        let erased = &registry.component(components[position]).erased;
        if !erased.decode_over(old, r, builder.value_mut(range))? {
            *r = before;
            builder.drop_last();
            return Ok(false);
        }
    }
    Ok(true)
}

/// Reads all values one after the other.
#[inline(never)]
fn read_values(
    r: &mut BitReader<'_>,
    past: &Past<'_>,
    mask: u64,
    components: &[u16],
    builder: &mut RowBuilder,
    context: &ParseContext<'_>,
) -> Result<(), WireError> {
    builder.begin(components.len());
    for (bit, &component) in components.iter().enumerate() {
        let old = past.get(context.sets, (bit, component));
        if mask >> bit & 1 == 0 {
            let old = old.ok_or(WireError::Invalid {
                what: "mask",
                value: mask,
            })?;
            builder.copy_value(old.value);
        } else {
            let erased = &context.registry.component(component).erased;
            let before = builder.byte_len();
            erased.decode(old, r, builder.buffer())?;
            let len = builder.byte_len();
            if len - before > MAX_COMPONENT_BYTES || len > MAX_ROW_BYTES {
                let max = MAX_ROW_BYTES as u64;
                return Err(WireError::OutOfBounds {
                    what: "row",
                    value: len as u64,
                    max,
                });
            }
            builder.end_value();
        }
    }
    Ok(())
}
