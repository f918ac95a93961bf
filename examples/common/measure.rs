//! What a bot measures of its own play. Of every arrival only the last seven are kept, so that a
//! run may be as long as it likes.

use std::{collections::VecDeque, time::Duration};

use bevy::prelude::*;
use bevy_seamless::wire::{Term, packet::InputAck};
use serde::{Deserialize, Serialize};

/// How long after a crossing a correction counts as its.
const AFTER_CROSSING: Duration = Duration::from_secs(1);

/// Arrivals on each side of the one that is looked at.
const AROUND: usize = 3;

/// One in so many quiet arrivals is a control; a prime, so that it meets no beat of the game's.
const CONTROL_EVERY: u64 = 61;

/// An arrival that advanced the acknowledgement of the own inputs.
#[derive(Clone, Copy)]
struct Arrival {
    at: Duration,
    term: Term,
    /// The first under its term, and not the first of all.
    first: bool,
}

/// Raw observations of one client.
#[derive(Resource)]
pub struct Measures {
    tick: Duration,
    last: VecDeque<Arrival>,
    term: Option<Term>,
    quiet: u64,
    /// Since when the corrections of a crossing count, and the largest so far.
    following: Option<(Duration, f32)>,
    told: usize,
    report: BotReport,
    /// Entities that were lent to us.
    pub grants: u32,
    /// Banners planted.
    pub planted: u32,
}

/// What a client reports at the end.
#[derive(Serialize, Deserialize, Default, Clone, Debug)]
pub struct BotReport {
    /// Whose.
    pub player: u64,
    /// Inputs that were sent.
    pub inputs: u32,
    /// By the term that began: the longest arrival interval around its first arrival, in ticks.
    pub gaps: Vec<(u64, f64)>,
    /// The same at instants at which no term began.
    pub control_gaps: Vec<f64>,
    /// For each new host, the largest correction in the second after it, in metres.
    pub corrections: Vec<f32>,
    /// First arrival under a term, in nanoseconds of the machine's clock, by term.
    pub first_acks: Vec<(u64, u64)>,
    /// Entities that were lent to it.
    pub grants: u32,
    /// Banners it planted.
    pub planted: u32,
    /// Times that it asked for a ticket.
    pub logins: u32,
    /// Crossings as the client counted them.
    pub crossings: u32,
}

impl Measures {
    /// `tick`: length of one. `phase`: where the controls begin, to be drawn from the seed.
    pub fn new(tick: Duration, phase: u64) -> Self {
        Self {
            tick,
            last: VecDeque::with_capacity(2 * AROUND + 2),
            term: None,
            quiet: phase % CONTROL_EVERY,
            following: None,
            told: 0,
            report: BotReport::default(),
            grants: 0,
            planted: 0,
        }
    }

    /// An acknowledgement advanced. `zero`: what the machine's clock showed at time zero.
    pub fn acked(&mut self, now: Duration, ack: InputAck, zero: Duration) {
        let begins = self.term != Some(ack.term);
        if begins {
            let at = (zero + now).as_nanos() as u64;
            self.report.first_acks.push((ack.term.0, at));
        }
        let first = begins && self.term.is_some();
        self.term = Some(ack.term);
        self.last.push_back(Arrival {
            at: now,
            term: ack.term,
            first,
        });
        if self.last.len() > 2 * AROUND + 1 {
            self.last.pop_front();
        }
        if self.last.len() == 2 * AROUND + 1 {
            self.look();
        }
    }

    /// Looks at the arrival in the middle.
    fn look(&mut self) {
        let middle = self.last[AROUND];
        let pairs = self.last.iter().zip(self.last.iter().skip(1));
        let longest = pairs.map(|(a, b)| b.at - a.at).max().unwrap_or_default();
        let ticks = longest.as_secs_f64() / self.tick.as_secs_f64();
        if middle.first {
            self.report.gaps.push((middle.term.0, ticks));
        } else if !self.last.iter().any(|arrival| arrival.first) {
            self.quiet += 1;
            if self.quiet.is_multiple_of(CONTROL_EVERY) {
                self.report.control_gaps.push(ticks);
            }
        }
    }

    /// Another host is ours.
    pub fn host_changed(&mut self, now: Duration) {
        self.follow_no_more();
        self.following = Some((now, 0.0));
    }

    fn follow_no_more(&mut self) {
        if let Some((_, largest)) = self.following.take() {
            self.report.corrections.push(largest);
        }
    }

    /// The server's word differed from the prediction by so much.
    pub fn corrected(&mut self, now: Duration, metres: f32) {
        if let Some((since, largest)) = &mut self.following
            && now < *since + AFTER_CROSSING
        {
            *largest = largest.max(metres);
        }
    }

    /// Gaps since the last call.
    pub fn fresh_gaps(&mut self) -> impl Iterator<Item = f64> + '_ {
        let from = std::mem::replace(&mut self.told, self.report.gaps.len());
        self.report.gaps[from..].iter().map(|(_, ticks)| *ticks)
    }

    /// Sums up.
    pub fn report(&mut self) -> BotReport {
        self.follow_no_more();
        BotReport {
            grants: self.grants,
            planted: self.planted,
            ..std::mem::take(&mut self.report)
        }
    }
}

#[cfg(test)]
mod tests {
    use bevy_seamless::wire::InputSeq;

    use super::*;

    /// Arrivals every tick, with a hole of three at the change of host.
    #[test]
    fn the_hole_at_a_new_term_is_the_gap() {
        let tick = Duration::from_millis(10);
        let mut measures = Measures::new(tick, 0);
        let mut at = Duration::ZERO;
        for n in 0..400 {
            at += if n == 200 { 3 * tick } else { tick };
            let term = Term(if n < 200 { 5 } else { 9 });
            measures.acked(
                at,
                InputAck {
                    term,
                    applied: InputSeq(n),
                },
                Duration::ZERO,
            );
        }
        let report = measures.report();
        assert_eq!(report.gaps, [(9, 3.0)]);
        assert_eq!(report.first_acks.len(), 2);
        assert!(report.control_gaps.len() >= 5);
        assert!(report.control_gaps.iter().all(|ticks| *ticks == 1.0));
    }
}
