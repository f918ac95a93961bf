//! What a bot measures of its own play.

use std::time::Duration;

use bevy::prelude::*;
use bevy_seamless::wire::{Term, packet::InputAck};
use serde::{Deserialize, Serialize};

/// How long after a crossing a correction counts as its.
const AFTER_CROSSING: Duration = Duration::from_secs(1);

/// Arrivals on each side of the one that is looked at.
const AROUND: usize = 3;

/// Raw observations of one client.
#[derive(Resource, Default)]
pub struct Measures {
    /// Arrivals of packets that advanced the acknowledgement of the own inputs.
    acks: Vec<(Duration, Term)>,
    /// Terms under which another host became ours over a border.
    crossings: Vec<(Duration, Term)>,
    /// Terms under which we came in by the door.
    entries: Vec<(Duration, Term)>,
    corrections: Vec<(Duration, f32)>,
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
    /// For each crossing, the longest arrival interval around it, in ticks.
    pub gaps: Vec<f64>,
    /// The same at instants without a crossing.
    pub control_gaps: Vec<f64>,
    /// For each crossing, the largest correction in the second after it, in metres.
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
    /// An acknowledgement advanced.
    pub fn acked(&mut self, now: Duration, ack: InputAck) {
        self.acks.push((now, ack.term));
    }

    /// Another host is ours.
    pub fn host_changed(&mut self, now: Duration, term: Term, crossed: bool) {
        if crossed {
            self.crossings.push((now, term));
        } else {
            self.entries.push((now, term));
        }
    }

    /// The server's word differed from the prediction by so much.
    pub fn corrected(&mut self, now: Duration, metres: f32) {
        if metres > 0.0 {
            self.corrections.push((now, metres));
        }
    }

    /// The longest of the six intervals around an arrival, in ticks.
    fn gap_at(&self, at: usize, tick: Duration) -> Option<f64> {
        let window = self.acks.get(at.checked_sub(AROUND)?..=at + AROUND)?;
        window
            .windows(2)
            .map(|pair| (pair[1].0 - pair[0].0).as_secs_f64() / tick.as_secs_f64())
            .reduce(f64::max)
    }

    /// Sums up. `zero`: what the machine's clock shows when this app's time began.
    pub fn report(&self, tick: Duration, zero: Duration, seed: u64) -> BotReport {
        let firsts: Vec<(usize, Term)> = self
            .acks
            .iter()
            .enumerate()
            .filter(|(at, (_, term))| *at == 0 || self.acks[at - 1].1 != *term)
            .map(|(at, (_, term))| (at, *term))
            .collect();
        let crossed = |term: &Term| self.crossings.iter().any(|(_, t)| t == term);
        let gaps = firsts
            .iter()
            .filter(|(_, term)| crossed(term))
            .filter_map(|(at, _)| self.gap_at(*at, tick))
            .collect();
        let quiet: Vec<usize> = (AROUND..self.acks.len().saturating_sub(AROUND))
            .filter(|at| {
                firsts
                    .iter()
                    .all(|(first, _)| first.abs_diff(*at) > 2 * AROUND)
            })
            .collect();
        // As many as there are crossings and then some, spread by a fixed stride from the seed.
        let wanted = (firsts.len() * 2).max(8);
        let control_gaps = (0..wanted)
            .filter(|_| !quiet.is_empty())
            .map(|n| quiet[(seed as usize + n * 7919) % quiet.len()])
            .filter_map(|at| self.gap_at(at, tick))
            .collect();
        let corrections = self
            .crossings
            .iter()
            .map(|(since, _)| {
                self.corrections
                    .iter()
                    .filter(|(at, _)| *at >= *since && *at < *since + AFTER_CROSSING)
                    .map(|(_, metres)| *metres)
                    .fold(0.0, f32::max)
            })
            .collect();
        let first_acks = firsts
            .iter()
            .map(|(at, term)| (term.0, (zero + self.acks[*at].0).as_nanos() as u64))
            .collect();
        BotReport {
            gaps,
            control_gaps,
            corrections,
            first_acks,
            grants: self.grants,
            planted: self.planted,
            ..BotReport::default()
        }
    }
}
