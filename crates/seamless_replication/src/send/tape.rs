//! Records one after the other, as most links will be told them.
//!
//! What the head of a delta record looks like follows from its entity and from the record before
//! it. So two neighbours that a link is told just as on the tape have the same bits there, and a
//! link copies the longest stretches that it has in common with the tape, a few machine words each,
//! where it would else make records one by one.

use seamless_wire::{BitWriter, Tick, record::RecordCursor};
use smallvec::SmallVec;

use super::{
    encode::{EncodeCache, NONE, Run},
    select::Candidate,
};
use crate::rows::{ComponentSets, SetId};

/// Delta records of entities with the same components that changed in this tick, in ascending
/// order.
#[derive(Default)]
pub(super) struct Tape {
    pub(super) told: SetId,
    rows: Vec<Candidate>,
    /// Bits up to the end of each record.
    ends: Vec<u32>,
    words: Vec<u64>,
    /// What is not in `words` yet.
    writer: BitWriter,
}

/// A tape that is being written.
struct Recording {
    tape: Tape,
    cursor: RecordCursor,
    components: usize,
}

/// How many sets of components get a tape in one piece: few make up most of what changes.
const MOST: usize = 8;

impl EncodeCache {
    /// Records of each slot the run that most links are told. One step per slot: the head of its
    /// record, and a copy of its values.
    pub(super) fn record(&mut self, sets: &ComponentSets, tick: Tick, changed: &[u32]) {
        let mut recordings: SmallVec<[Recording; MOST]> = SmallVec::new();
        let mut last = 0;
        for (at, &slot) in changed.iter().enumerate() {
            let number = self.most_told[at];
            let Some(&head) = self.known(slot).filter(|_| number != NONE) else {
                continue;
            };
            let run = *self.get(number);
            if !run.is_delta || run.fenced || head.version.0 != tick.0 {
                continue;
            }
            let told = head.set;
            if recordings
                .get(last)
                .is_none_or(|last| last.tape.told != told)
            {
                let found = recordings.iter().position(|other| other.tape.told == told);
                last = match found {
                    Some(at) => at,
                    None if recordings.len() == MOST => continue,
                    None => {
                        let components = sets.components(told).len();
                        let tape = self.spare.pop().unwrap_or_default();
                        recordings.push(Recording::begin(tape, told, tick, components));
                        recordings.len() - 1
                    }
                };
            }
            let Recording {
                tape,
                cursor,
                components,
            } = &mut recordings[last];
            let against = (head.version, run.baseline, u32::from(run.steps), run.mask);
            cursor.write_delta(&mut tape.writer, *components, slot, against, None);
            self.copy(&run, &mut tape.writer);
            tape.rows.push(Candidate::new(slot, number));
            tape.ends.push(tape.writer.bit_len() as u32);
        }
        self.tapes
            .extend(recordings.into_iter().map(Recording::end));
    }
}

impl Recording {
    fn begin(tape: Tape, told: SetId, tick: Tick, components: usize) -> Self {
        Self {
            tape: Tape { told, ..tape },
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

/// A place on the tapes of one set; it only goes forward.
pub(super) struct Place<'a> {
    tapes: &'a [Tape],
    told: SetId,
    row: usize,
}

impl<'a> Place<'a> {
    pub(super) const fn begin(tapes: &'a [Tape], told: SetId) -> Self {
        Self {
            tapes,
            told,
            row: 0,
        }
    }

    /// The rows of `after` that follow `row`, which was written last, just as on the tape, and
    /// their bits: as many as there is `room` for. One step per row that is given, and over all
    /// calls one per row of the tape.
    pub(super) fn stretch<'r>(
        &mut self,
        row: Candidate,
        after: &'r [Candidate],
        room: usize,
    ) -> Option<(&'r [Candidate], Bits<'a>)> {
        let tape = loop {
            let tape = self.tapes.first()?;
            if tape.told == self.told {
                while tape.rows.get(self.row).is_some_and(|at| at.slot < row.slot) {
                    self.row += 1;
                }
                if self.row < tape.rows.len() {
                    break tape;
                }
            }
            (self.tapes, self.row) = (&self.tapes[1..], 0);
        };
        if tape.rows[self.row] != row {
            return None;
        }
        let (next, start) = (self.row + 1, tape.ends[self.row] as usize);
        let ends = &tape.ends[next..];
        let most = ends.partition_point(|&end| end as usize - start <= room);
        let pairs = after.iter().zip(&tape.rows[next..next + most]);
        let fits = pairs.take_while(|(wanted, there)| wanted == there).count();
        let end = *ends.get(fits.checked_sub(1)?)? as usize;
        let bits = Bits {
            words: &tape.words,
            start,
            len: end - start,
        };
        Some((&after[..fits], bits))
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
