//! Records one after the other, as several links will be told them.
//!
//! What the head of a delta record looks like follows from its entity and from the record before
//! it. So two neighbours that a link is told just as on a tape have the same bits there, and a
//! link copies the longest stretches that it has in common with a tape, a few machine words each,
//! where it would else make records one by one.
//!
//! Links that lost nothing are told all the same, and there is one tape. What is lost is lost
//! datagram by datagram, so neighbours are mostly told to the same links against the same, and there
//! is a tape for each company of links that stays together for a while.

use seamless_wire::{BitWriter, Tick, record::RecordCursor};
use smallvec::SmallVec;

use super::{
    encode::{EncodeCache, Run},
    lines::LinkBits,
    select::Candidate,
};
use crate::rows::{ComponentSets, SetId};

/// Delta records of entities with the same components that changed in this tick, in ascending
/// order.
#[derive(Default)]
pub(super) struct Tape {
    rows: Vec<Candidate>,
    /// Bits up to the end of each record.
    ends: Vec<u32>,
    words: Vec<u64>,
    /// What is not in `words` yet.
    writer: BitWriter,
}

/// Where the record of a run stands.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    tape: u32,
    row: u32,
}

impl Place {
    /// On no tape.
    pub(super) const NONE: Self = Self {
        tape: u32::MAX,
        row: 0,
    };
}

/// A run that several links are told.
#[derive(Clone, Copy)]
pub(super) struct Share {
    pub(super) slot: u32,
    pub(super) run: u32,
    /// These links.
    pub(super) links: LinkBits,
}

impl Share {
    /// Nothing if it is one link only: a record on a tape would be no use to others.
    #[inline]
    pub(super) const fn of(slot: u32, run: u32, links: LinkBits) -> Option<Self> {
        match links & links.wrapping_sub(1) {
            0 => None,
            _ => Some(Self { slot, run, links }),
        }
    }

    /// A run that all links are told.
    #[inline]
    pub(super) const fn of_all(slot: u32, run: u32) -> Self {
        let links = LinkBits::MAX;
        Self { slot, run, links }
    }
}

/// A tape that is being written.
struct Recording {
    tape: Tape,
    cursor: RecordCursor,
    components: usize,
}

/// Whom the last record on a tape is told.
#[derive(Clone, Copy)]
struct Company {
    told: SetId,
    links: LinkBits,
    /// The entity.
    slot: u32,
}

/// How many tapes there are in one piece: few sets of components make up most of what changes, and
/// few companies of links most of who is told it.
const MOST: usize = 8;

impl EncodeCache {
    /// Records what several links are told. For each of it: a look at each tape, the head of its
    /// record, and a copy of its values.
    pub(super) fn record(&mut self, sets: &ComponentSets, tick: Tick) {
        let mut recordings: SmallVec<[Recording; MOST]> = SmallVec::new();
        let mut companies: SmallVec<[Company; MOST]> = SmallVec::new();
        let shares = std::mem::take(&mut self.shares);
        for share in &shares {
            let run = *self.get(share.run);
            let Some(&head) = self.known(share.slot) else {
                continue;
            };
            if !run.is_delta || run.fenced || head.version.0 != tick.0 {
                continue;
            }
            let company = Company {
                told: head.set,
                links: share.links,
                slot: share.slot,
            };
            let at = match company.nearest(&companies) {
                Some(at) => at,
                None if recordings.len() == MOST => continue,
                None => {
                    let components = sets.components(head.set).len();
                    let tape = self.spare.pop().unwrap_or_default();
                    recordings.push(Recording::begin(tape, tick, components));
                    companies.push(company);
                    recordings.len() - 1
                }
            };
            companies[at] = company;
            let Recording {
                tape,
                cursor,
                components,
            } = &mut recordings[at];
            let against = (head.version, run.baseline, u32::from(run.steps), run.mask);
            cursor.write_delta(&mut tape.writer, *components, share.slot, against, None);
            self.copy(&run, &mut tape.writer);
            tape.rows.push(Candidate::new(share.slot, share.run));
            tape.ends.push(tape.writer.bit_len() as u32);
        }
        self.shares = shares;
        self.tapes
            .extend(recordings.into_iter().map(Recording::end));
    }

    /// Says of each run where it stands. A step for each record.
    pub(super) fn find_places(&mut self) {
        for (at, tape) in self.tapes.iter().enumerate() {
            for (row, candidate) in tape.rows.iter().enumerate() {
                self.runs[candidate.number() as usize].place = Place {
                    tape: at as u32,
                    row: row as u32,
                };
            }
        }
    }

    /// The rows of `after` that follow a row, which was written last, just as on its tape, and their
    /// bits: as many as there is `room` for. One step for each row that is given.
    pub(super) fn stretch<'r>(
        &self,
        run: &Run,
        after: &'r [Candidate],
        room: usize,
    ) -> Option<(&'r [Candidate], Bits<'_>)> {
        let Place { tape, row } = run.place;
        let tape = self.tapes.get(tape as usize)?;
        let (next, start) = (row as usize + 1, tape.ends[row as usize] as usize);
        let (rows, ends) = (&tape.rows[next..], &tape.ends[next..]);
        let pairs = after.iter().zip(rows).zip(ends);
        let fits = pairs
            .take_while(|((wanted, there), end)| wanted == there && **end as usize - start <= room);
        let fits = fits.count();
        let end = *ends.get(fits.checked_sub(1)?)? as usize;
        let bits = Bits {
            words: &tape.words,
            start,
            len: end - start,
        };
        Some((&after[..fits], bits))
    }
}

impl Company {
    /// Which of these has most links in common with it, if any has. One tape has one record of an
    /// entity.
    #[inline]
    fn nearest(&self, others: &[Self]) -> Option<usize> {
        let (mut nearest, mut most) = (None, 0);
        for (at, other) in others.iter().enumerate() {
            if other.told != self.told || other.slot == self.slot {
                continue;
            }
            if other.links == self.links {
                return Some(at);
            }
            let common = (other.links & self.links).count_ones();
            if common > most {
                (nearest, most) = (Some(at), common);
            }
        }
        nearest
    }
}

impl Recording {
    fn begin(tape: Tape, tick: Tick, components: usize) -> Self {
        Self {
            tape,
            cursor: RecordCursor::new(tick, components),
            components,
        }
    }

    fn end(mut self) -> Tape {
        let Tape { words, writer, .. } = &mut self.tape;
        writer.finish_words(words);
        self.tape
    }
}

impl Tape {
    /// Forgets all records, keeps the memory.
    pub(super) fn clear(mut self) -> Self {
        self.rows.clear();
        self.ends.clear();
        self.words.clear();
        self
    }

    /// The runs have other numbers from now on.
    pub(super) fn renumber(mut self, runs: u32) -> Self {
        for row in &mut self.rows {
            *row = Candidate::new(row.slot, row.number() + runs);
        }
        self
    }
}

/// Some bits of a tape.
pub(super) struct Bits<'a> {
    words: &'a [u64],
    start: usize,
    len: usize,
}

impl Bits<'_> {
    pub(super) fn copy(&self, w: &mut BitWriter) {
        w.put_span(self.words, self.start, self.len);
    }
}

/// What a cursor needs to know to go on behind a record that was copied.
pub(super) fn pass(cursor: &mut RecordCursor, slot: u32, tick: Tick, run: &Run) {
    let version = seamless_wire::record::Version(tick.0);
    let against = (version, run.baseline, u32::from(run.steps), run.mask);
    cursor.pass_delta(slot, against);
}
