//! The host's side: sort, wait for gaps, apply once.

use std::collections::BTreeMap;

use bevy::{
    ecs::system::SystemParam,
    platform::collections::{HashMap, HashSet},
    prelude::*,
};
use seamless_wire::{
    InputSeq, PeerId, Term, Tick, codec,
    packet::{InputAck, InputBatch},
};

use super::{Kind, PlayerInput};
use crate::{
    clock::NetClock,
    peer::{Peer, Peers},
};

/// Most inputs of one player that wait to be applied.
const MAX_WAITING: usize = 256;

/// Longest time for which inputs may be caught up on, in seconds. What a client did not send in
/// time it cannot cash in later without bound.
const MAX_BANK_SECONDS: u32 = 3;

/// The same after a rescue, when it was not the client's fault.
const MAX_RESCUE_SECONDS: u32 = 30;

/// How long an input that is missing is waited for while later ones are here, in seconds. A client
/// sends the oldest that it still has again and again: what has not come by then it has no more.
const GAP_PATIENCE_SECONDS: u32 = 3;

/// Inputs of one player.
#[derive(Debug, Default)]
pub struct InputInbox {
    waiting: BTreeMap<InputSeq, Vec<u8>>,
    applied: InputSeq,
    term: Term,
    /// Inputs that may be applied: one a tick, saved up to a bound.
    bank: u32,
    /// No tick has passed since another host's state was taken over.
    resumed: bool,
    last_tick: Option<Tick>,
    /// Whether inputs are applied here. Before that, they are only kept in case.
    hosting: bool,
    /// The oldest that came from too far ahead to be kept.
    ahead: Option<InputSeq>,
    /// Since when the next one is missing while later ones have come.
    gap_since: Option<Tick>,
    skipped: u32,
    /// Since when its player has no link.
    absent_since: Option<Tick>,
}

impl InputInbox {
    /// What was applied last, and under which term.
    #[must_use]
    pub const fn ack(&self) -> InputAck {
        InputAck {
            term: self.term,
            applied: self.applied,
        }
    }

    /// Inputs that were given up, because the client had them no more when they were needed: after
    /// a rescue that took longer than it keeps them.
    #[must_use]
    pub const fn skipped(&self) -> u32 {
        self.skipped
    }

    /// Takes over a state in which inputs up to `applied` are contained, hosted under `term`.
    /// Inputs after it that came early stay; time since tick `from` may be caught up on.
    pub fn resume(&mut self, applied: InputSeq, term: Term, from: Tick) {
        self.applied = applied;
        self.term = term;
        self.last_tick = Some(from);
        self.bank = 0;
        self.resumed = true;
        self.hosting = true;
        self.gap_since = None;
        self.waiting = self
            .waiting
            .split_off(&InputSeq(applied.0.saturating_add(1)));
    }

    /// Hosts a new player under `term`: nothing is applied yet.
    pub const fn host(&mut self, term: Term) {
        self.term = term;
    }

    /// The player's root is under another term of the same host.
    pub fn raise_term(&mut self, term: Term) {
        self.term = self.term.max(term);
    }

    fn arrive(&mut self, batch: InputBatch) {
        if !self.hosting {
            // The client begins with what nobody acknowledged; what is before that is settled.
            let settled = InputSeq(batch.first.0.saturating_sub(1));
            self.applied = self.applied.max(settled);
            self.waiting = self
                .waiting
                .split_off(&InputSeq(self.applied.0.saturating_add(1)));
        }
        for (i, bytes) in batch.inputs.into_iter().enumerate() {
            let seq = InputSeq(batch.first.0.saturating_add(i as u32));
            if seq > self.applied
                && seq.0 - self.applied.0 <= MAX_WAITING as u32
                && self.waiting.len() < MAX_WAITING
            {
                self.waiting.entry(seq).or_insert(bytes);
            }
        }
        let far = self.applied.0.saturating_add(MAX_WAITING as u32);
        if batch.first.0 > far && self.waiting.is_empty() {
            self.ahead = Some(batch.first);
        }
    }

    /// Gives up on inputs that will not come any more.
    fn mind_the_gap(&mut self, tick: Tick, rate: u16) {
        let next = InputSeq(self.applied.0.saturating_add(1));
        let kept = self.waiting.keys().next().copied();
        let Some(oldest) = kept.or(self.ahead).filter(|oldest| *oldest > next) else {
            self.gap_since = None;
            self.ahead = None;
            return;
        };
        let since = *self.gap_since.get_or_insert(tick);
        if tick.since(since) > GAP_PATIENCE_SECONDS * u32::from(rate) {
            self.skipped = self.skipped.saturating_add(oldest.0 - next.0);
            self.applied = InputSeq(oldest.0 - 1);
            self.gap_since = None;
            self.ahead = None;
        }
    }

    fn next(&mut self) -> Option<(InputSeq, Vec<u8>)> {
        if self.bank == 0 {
            return None;
        }
        let seq = InputSeq(self.applied.0 + 1);
        let bytes = self.waiting.remove(&seq)?;
        self.bank -= 1;
        self.applied = seq;
        Some((seq, bytes))
    }

    fn earn(&mut self, tick: Tick, rate: u16) {
        self.hosting = true;
        let earned = match self.last_tick {
            Some(last) => tick.since(last),
            // The first tick: what came while nobody hosted the player is not counted.
            None => 1,
        };
        self.last_tick = Some(self.last_tick.map_or(tick, |last| last.max(tick)));
        let most = if std::mem::take(&mut self.resumed) {
            MAX_RESCUE_SECONDS
        } else {
            MAX_BANK_SECONDS
        };
        // What was granted once is not taken back.
        let most = (most * u32::from(rate)).max(self.bank);
        self.bank = (self.bank + earned).min(most);
        self.mind_the_gap(tick, rate);
    }
}

/// Inputs of all players, by the client's name.
#[derive(Resource, Default)]
pub struct Inboxes {
    map: HashMap<PeerId, InputInbox>,
    keep_absent: bool,
}

impl Inboxes {
    /// A player's inputs.
    #[must_use]
    pub fn get(&self, peer: PeerId) -> Option<&InputInbox> {
        self.map.get(&peer)
    }

    /// A player's inputs, made if there are none yet.
    pub fn entry(&mut self, peer: PeerId) -> &mut InputInbox {
        self.map.entry(peer).or_default()
    }

    /// Forgets a player.
    pub fn remove(&mut self, peer: PeerId) {
        self.map.remove(&peer);
    }

    /// From now on players without a link are forgotten by whoever calls [`remove`](Self::remove), as
    /// a node of a mesh does. Else it is after a minute.
    pub const fn keep_absent(&mut self) {
        self.keep_absent = true;
    }

    pub(crate) fn arrive(&mut self, peer: PeerId, batch: InputBatch) {
        self.entry(peer).arrive(batch);
    }
}

/// How long a player without a link is remembered, in seconds. Who comes back later goes on as well:
/// a client begins with what nobody acknowledged.
const MAX_ABSENCE_SECONDS: u32 = 60;

/// Forgets players who are gone. Once a second, a look at each player and each link.
pub(crate) fn forget_absent(peers: Res<Peers>, clock: Res<NetClock>, mut inboxes: ResMut<Inboxes>) {
    if inboxes.keep_absent || inboxes.map.is_empty() {
        return;
    }
    let linked = peers.iter().filter_map(Peer::id);
    let present: HashSet<PeerId> = linked.chain(peers.local()).collect();
    let (now, longest) = (clock.tick(), MAX_ABSENCE_SECONDS * u32::from(clock.rate()));
    inboxes.map.retain(|peer, inbox| {
        if present.contains(peer) {
            inbox.absent_since = None;
            return true;
        }
        let since = *inbox.absent_since.get_or_insert(now);
        now.since(since) < longest
    });
}

/// Applies players' inputs on their host: call [`due`](Self::due) in `FixedUpdate` for every
/// player that is simulated.
#[derive(SystemParam)]
pub struct PlayerInputs<'w, I: PlayerInput> {
    inboxes: ResMut<'w, Inboxes>,
    clock: Res<'w, NetClock>,
    _kind: Res<'w, Kind<I>>,
}

impl<I: PlayerInput> PlayerInputs<'_, I> {
    /// The inputs of `peer` to apply in this tick, in order. Each is given out once; usually one,
    /// none if it is late, several after a gap, never more than ticks have passed.
    pub fn due(&mut self, peer: PeerId) -> DueInputs<'_, I> {
        let (tick, rate) = (self.clock.tick(), self.clock.rate());
        let inbox = self.inboxes.entry(peer);
        inbox.earn(tick, rate);
        DueInputs {
            inbox,
            _kind: std::marker::PhantomData,
        }
    }
}

/// Inputs to apply now. See [`PlayerInputs::due`].
pub struct DueInputs<'a, I> {
    inbox: &'a mut InputInbox,
    _kind: std::marker::PhantomData<fn() -> I>,
}

impl<I: PlayerInput> Iterator for DueInputs<'_, I> {
    type Item = (InputSeq, I);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let (seq, bytes) = self.inbox.next()?;
            match codec::decode(&bytes) {
                Ok(input) => return Some((seq, input)),
                // A client that sends what is no input wastes its own turn.
                Err(error) => tracing::debug!(%seq, %error, "an input does not decode"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(first: u32, count: u8) -> InputBatch {
        InputBatch {
            first: InputSeq(first),
            inputs: (0..count).map(|i| vec![i]).collect(),
        }
    }

    fn drain(inbox: &mut InputInbox, tick: u32) -> Vec<u32> {
        inbox.earn(Tick(tick), 30);
        std::iter::from_fn(|| inbox.next().map(|(seq, _)| seq.0)).collect()
    }

    #[test]
    fn inputs_are_applied_once_and_in_order() {
        let mut inbox = InputInbox::default();
        inbox.arrive(batch(1, 1));
        assert_eq!(drain(&mut inbox, 100), [1]);
        inbox.arrive(batch(3, 1));
        assert_eq!(drain(&mut inbox, 101), [0u32; 0], "2 is missing");
        inbox.arrive(batch(1, 4));
        assert_eq!(drain(&mut inbox, 102), [2, 3]);
        inbox.arrive(batch(1, 4));
        assert_eq!(drain(&mut inbox, 103), [4]);
    }

    #[test]
    fn catching_up_is_bounded_by_the_time_that_passed() {
        let mut inbox = InputInbox::default();
        inbox.arrive(batch(1, 32));
        assert_eq!(drain(&mut inbox, 10).len(), 1);
        assert_eq!(drain(&mut inbox, 13).len(), 3);
        assert_eq!(drain(&mut inbox, 13).len(), 0);
    }

    #[test]
    fn a_new_host_goes_on_after_the_last_input_that_is_in_its_state() {
        let mut inbox = InputInbox::default();
        inbox.arrive(batch(5, 8));
        inbox.resume(InputSeq(7), Term(4), Tick(50));
        assert_eq!(drain(&mut inbox, 53), [8, 9, 10]);
        assert_eq!(
            inbox.ack(),
            InputAck {
                term: Term(4),
                applied: InputSeq(10)
            }
        );
    }

    #[test]
    fn after_a_rescue_all_of_it_is_caught_up_on() {
        let mut inbox = InputInbox::default();
        inbox.resume(InputSeq(0), Term(4), Tick(50));
        let mut applied = 0;
        for (tick, first) in (350..370).zip((1..).step_by(20)) {
            inbox.arrive(batch(first, 20));
            applied += drain(&mut inbox, tick).len();
        }
        assert!((300..320).contains(&applied), "{applied} of 319 ticks");
    }

    #[test]
    fn what_the_client_has_no_more_is_given_up_after_a_while() {
        for first in [20, 2000] {
            let mut inbox = InputInbox::default();
            inbox.resume(InputSeq(5), Term(4), Tick(50));
            inbox.arrive(batch(first, 4));
            assert_eq!(drain(&mut inbox, 60), [0u32; 0]);
            assert_eq!(drain(&mut inbox, 150), [0u32; 0], "it may still come");
            let mut applied = drain(&mut inbox, 151);
            // Those from too far ahead were not kept; the client sends them again.
            inbox.arrive(batch(first, 4));
            applied.extend(drain(&mut inbox, 152));
            assert_eq!(applied, [first, first + 1, first + 2, first + 3]);
            assert_eq!(inbox.skipped(), first - 6);
        }
    }

    #[test]
    fn a_flood_is_not_kept() {
        let mut inbox = InputInbox::default();
        for first in 0..1000 {
            inbox.arrive(batch(first * 30, 30));
        }
        assert!(inbox.waiting.len() <= MAX_WAITING);
    }
}
