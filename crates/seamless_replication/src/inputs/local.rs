//! The client's side: number, keep, repeat.

use std::collections::VecDeque;

use bevy::{ecs::system::SystemParam, prelude::*};
use seamless_wire::{
    BitWriter, InputSeq, Tick, codec,
    packet::{InputAck, InputBatch, MAX_INPUT_BYTES, MAX_INPUTS, SectionKind},
};

use super::{Kind, PlayerInput};
use crate::clock::NetClock;

/// How long an input is kept after it was acknowledged, in seconds: a host that recovered an
/// older state asks for it again. Longer than it takes until a silent node is known to be dead
/// (twice 3 s) and somebody else has its players.
const KEEP_SECONDS: u32 = 12;

/// Most inputs that are kept; about half a minute of them.
const MAX_KEPT: usize = 1024;

/// Inputs that a player may have sent before this process: more than a year of 60 a second. Whoever speaks
/// of more could have us count past the end.
const MAX_APPLIED: u32 = 1 << 31;

/// Inputs on their way, encoded.
#[derive(Resource, Default)]
pub struct OutBox {
    /// Consecutive, ending with the newest.
    kept: VecDeque<Kept>,
    newest: InputSeq,
    acked: Option<InputAck>,
    /// The newest acknowledgement that came, for measuring.
    advanced: bool,
}

struct Kept {
    bytes: Vec<u8>,
    pushed: Tick,
}

impl OutBox {
    /// Number of the newest input.
    #[must_use]
    pub const fn newest(&self) -> InputSeq {
        self.newest
    }

    /// The newest acknowledgement: applied up to here, by the host of this term.
    #[must_use]
    pub const fn acked(&self) -> Option<InputAck> {
        self.acked
    }

    /// Whether an acknowledgement advanced since the last call.
    pub fn take_advanced(&mut self) -> bool {
        std::mem::take(&mut self.advanced)
    }

    /// Inputs that are not acknowledged.
    #[must_use]
    pub fn unacked(&self) -> u32 {
        self.newest.0 - self.acked.map_or(0, |ack| ack.applied.0.min(self.newest.0))
    }

    fn push(&mut self, bytes: Vec<u8>, tick: Tick, rate: u16) -> InputSeq {
        self.newest.0 += 1;
        self.kept.push_back(Kept {
            bytes,
            pushed: tick,
        });
        let acked = self.acked.map_or(0, |ack| ack.applied.0);
        let age = KEEP_SECONDS * u32::from(rate);
        while let Some(oldest) = self.kept.front() {
            let seq = self.newest.0 + 1 - self.kept.len() as u32;
            let expired = seq <= acked && tick.since(oldest.pushed) > age;
            if !expired && self.kept.len() <= MAX_KEPT {
                break;
            }
            self.kept.pop_front();
        }
        self.newest
    }

    /// Another host is ours, whose state contains the inputs up to `ack.applied`: what follows is
    /// sent to it.
    pub fn take_over(&mut self, ack: InputAck) {
        self.ack(ack);
    }

    /// An acknowledgement came. Only that of the highest term counts; under a new term it may be
    /// lower than before, and what follows it is sent again.
    ///
    /// If the first one speaks of more than we have, the player is older than this process: ours go
    /// on after what was applied.
    pub(crate) fn ack(&mut self, ack: InputAck) {
        if self.acked.is_none() && ack.applied > self.newest && ack.applied.0 < MAX_APPLIED {
            self.newest = InputSeq(ack.applied.0 + self.kept.len() as u32);
        }
        let news = match self.acked {
            None => true,
            Some(old) => ack.term > old.term || (ack.term == old.term && ack.applied > old.applied),
        };
        if news && ack.applied <= self.newest {
            self.acked = Some(ack);
            self.advanced = true;
        }
    }

    /// The inputs that are not acknowledged, the oldest first, as many as go at once.
    pub(crate) fn batch(&self) -> Option<InputBatch> {
        let unacked = self.unacked().min(self.kept.len() as u32);
        let start = self.kept.len() - unacked as usize;
        let kept = self.kept.iter().skip(start).take(MAX_INPUTS as usize);
        (unacked > 0).then(|| InputBatch {
            first: InputSeq(self.newest.0 - unacked + 1),
            inputs: kept.map(|kept| kept.bytes.clone()).collect(),
        })
    }

    /// Writes the inputs that are not acknowledged, the oldest first, as many as fit. False if
    /// there are none.
    pub(crate) fn write(&self, w: &mut BitWriter) -> bool {
        let unacked = self.unacked().min(self.kept.len() as u32);
        if unacked == 0 {
            return false;
        }
        let start = self.kept.len() - unacked as usize;
        let mut room: usize = 700;
        let count = self
            .kept
            .iter()
            .skip(start)
            .take(MAX_INPUTS as usize)
            .take_while(|kept| match room.checked_sub(kept.bytes.len() + 2) {
                Some(rest) => {
                    room = rest;
                    true
                }
                None => false,
            })
            .count();
        let first = InputSeq(self.newest.0 - unacked + 1);
        SectionKind::Inputs.write(w);
        let inputs: Vec<&[u8]> = self
            .kept
            .iter()
            .skip(start)
            .take(count)
            .map(|kept| kept.bytes.as_slice())
            .collect();
        InputBatch::write(w, first, inputs.into_iter());
        true
    }
}

/// Queues this client's inputs: call [`push`](Self::push) once a tick, in `FixedPreUpdate` or
/// `FixedUpdate`.
#[derive(SystemParam)]
pub struct LocalInputs<'w, I: PlayerInput> {
    out: ResMut<'w, OutBox>,
    clock: Res<'w, NetClock>,
    _kind: Res<'w, Kind<I>>,
}

impl<I: PlayerInput> LocalInputs<'_, I> {
    /// Queues an input and gives its number. `None` if it does not encode into 128 bytes.
    ///
    /// Numbers count up, but for two cases: a player that joins another server without a mesh, or the same
    /// one without [resuming](crate::ReplicationConfig::resume_grace), begins anew from 1, and what was
    /// not acknowledged is forgotten; and if a server had the player before, they go on after what it
    /// applied then.
    pub fn push(&mut self, input: &I) -> Option<InputSeq> {
        let bytes = codec::to_vec(input)
            .ok()
            .filter(|bytes| bytes.len() <= MAX_INPUT_BYTES)?;
        Some(self.out.push(bytes, self.clock.tick(), self.clock.rate()))
    }

    /// The newest acknowledgement.
    #[must_use]
    pub fn acked(&self) -> Option<InputAck> {
        self.out.acked()
    }

    /// Number of the newest input.
    #[must_use]
    pub fn newest(&self) -> InputSeq {
        self.out.newest()
    }
}

#[cfg(test)]
mod tests {
    use seamless_wire::{BitReader, Term};

    use super::*;

    fn written(out: &OutBox) -> Option<InputBatch> {
        let mut w = BitWriter::new();
        if !out.write(&mut w) {
            return None;
        }
        let bytes = w.finish().to_vec();
        let mut r = BitReader::new(&bytes);
        assert_eq!(SectionKind::read(&mut r), Ok(SectionKind::Inputs));
        Some(InputBatch::read(&mut r).expect("ours"))
    }

    fn ack(term: u64, applied: u32) -> InputAck {
        InputAck {
            term: Term(term),
            applied: InputSeq(applied),
        }
    }

    #[test]
    fn what_is_not_acknowledged_is_repeated() {
        let mut out = OutBox::default();
        assert_eq!(written(&out), None);
        for n in 1..=5u8 {
            out.push(vec![n], Tick(n.into()), 30);
        }
        out.ack(ack(1, 2));
        let batch = written(&out).expect("three are left");
        assert_eq!(
            (batch.first, batch.inputs),
            (InputSeq(3), vec![vec![3], vec![4], vec![5]])
        );
    }

    #[test]
    fn a_server_that_speaks_of_more_than_can_be_has_nobody_count_past_the_end() {
        for applied in [u32::MAX, u32::MAX - 2, u32::MAX - 1024, MAX_APPLIED] {
            let mut out = OutBox::default();
            out.ack(ack(1, applied));
            for n in 1..=5u8 {
                out.push(vec![n], Tick(n.into()), 30);
            }
            let batch = written(&out).expect("none is acknowledged");
            assert_eq!((batch.first, batch.inputs.len()), (InputSeq(1), 5));
        }
    }

    #[test]
    fn a_higher_term_may_take_an_acknowledgement_back_and_a_lower_one_says_nothing() {
        let mut out = OutBox::default();
        for n in 1..=9u8 {
            out.push(vec![n], Tick(n.into()), 30);
        }
        out.ack(ack(4, 8));
        out.ack(ack(5, 6));
        assert_eq!(
            written(&out).expect("kept after the ack").first,
            InputSeq(7)
        );
        out.ack(ack(4, 9));
        assert_eq!(out.acked(), Some(ack(5, 6)));
        out.ack(ack(9, 77));
        assert_eq!(
            out.acked(),
            Some(ack(5, 6)),
            "an ack of what was never sent is void"
        );
    }
}
