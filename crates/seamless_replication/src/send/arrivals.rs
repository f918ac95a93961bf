//! What arrived, noted in the lines of its slots.

use seamless_wire::record::Version;
use smallvec::SmallVec;

use super::{
    Sender,
    lines::{Line, LinkBits, NoRoom, OnLines},
};
use crate::threads::together;

/// Rows that arrived for each slot from which on they are brought together by slot first.
const DENSE: usize = 4;

/// Most versions of which all rows that arrived are brought together.
const TOGETHER: usize = 8;

/// A row that arrived at some links and of which there is more to say.
pub(super) struct Odd {
    pub(super) slot: u32,
    pub(super) version: Version,
    pub(super) links: LinkBits,
    /// Who has a newer version, if there was room for this one.
    pub(super) newer: Option<LinkBits>,
}

/// What one thread notes with.
#[derive(Default)]
pub(super) struct Notes {
    /// Links at which a row of one version arrived, by slot.
    links: Vec<LinkBits>,
    pub(super) odd: Vec<Odd>,
}

/// What arrived at the peers of one block.
pub(super) struct Arrivals<'a> {
    pub(super) senders: &'a [&'a Sender],
    /// How much it is.
    pub(super) rows: usize,
    /// One for each thread.
    pub(super) notes: &'a mut [Notes],
}

impl OnLines for Arrivals<'_> {
    fn on<const WIDTH: usize>(self, lines: &mut [Line<WIDTH>]) {
        let Self {
            senders,
            rows,
            notes,
        } = self;
        let dense = rows >= lines.len() * DENSE;
        if let [notes] = notes {
            return notes.take(senders, dense, 0, lines);
        }
        // Each goes through all that arrived, so not into more pieces.
        let each = lines.len().div_ceil(notes.len()).max(1);
        together(
            notes.iter_mut(),
            lines.chunks_mut(each).enumerate(),
            |notes, (at, lines)| notes.take(senders, dense, (at * each) as u32, lines),
        );
    }
}

impl Notes {
    /// Takes note of what arrived in these lines, the first of which is that of slot `first`.
    fn take<const WIDTH: usize>(
        &mut self,
        senders: &[&Sender],
        dense: bool,
        first: u32,
        lines: &mut [Line<WIDTH>],
    ) {
        let Self { links, odd } = self;
        let mut note = |slot: u32, version: Version, links: LinkBits, line: &mut Line<WIDTH>| {
            let (links, newer) = match line.arrived(version, links) {
                Ok((0, _)) => return,
                Ok((odd, newer)) => (odd, Some(newer)),
                Err(NoRoom) => (links, None),
            };
            odd.push(Odd {
                slot,
                version,
                links,
                newer,
            });
        };
        // What arrives is mostly of a few ticks.
        let mut together: SmallVec<[Version; TOGETHER]> = SmallVec::new();
        for sender in senders {
            let Some(seat) = &sender.seat else { continue };
            for (seq, contents) in &sender.arrived {
                let is_of_this_life = sender.lives.of(*seq);
                let version = contents.version();
                let mut later = together.contains(&version);
                if !later && dense && together.len() < TOGETHER {
                    together.push(version);
                    later = true;
                }
                contents.each_row(!later, first, lines, |slot, version, line| {
                    if is_of_this_life(slot) {
                        note(slot, version, seat.bit(), line);
                    }
                });
            }
        }
        for version in together {
            links.clear();
            links.resize(lines.len(), 0);
            for sender in senders {
                let Some(seat) = &sender.seat else { continue };
                for (seq, contents) in &sender.arrived {
                    if contents.version() == version {
                        let is_of_this_life = sender.lives.of(*seq);
                        contents.each_usual(first, links, |slot, links| {
                            *links |= if is_of_this_life(slot) { seat.bit() } else { 0 };
                        });
                    }
                }
            }
            for (at, (line, links)) in lines.iter_mut().zip(&*links).enumerate() {
                if *links != 0 {
                    note(first + at as u32, version, *links, line);
                }
            }
        }
    }
}
