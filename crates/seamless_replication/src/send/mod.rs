//! The send side of one link: what the peer sees, what it has, what to send it this tick.
//!
//! Per tick and link: one word operation per 64 slots to find what is both visible and changed,
//! one visit per such entity. A settled entity costs its bit.

mod arrivals;
mod audit;
mod bulk;
mod caught_up;
mod ceiling;
mod congestion;
mod dirty;
pub(crate) mod driver;
mod encode;
mod encoder;
mod insure;
mod known;
mod lines;
mod log;
mod office;
mod pack;
mod projections;
mod select;
mod slot;
mod survey;
mod tape;

use std::time::Duration;

use bevy::platform::collections::HashMap;
use fixedbitset::{Block, FixedBitSet};
use seamless_wire::{
    PacketSeq, Tick, WireId,
    packet::AckBits,
    record::{LeaveReason, Version},
};

use audit::{AuditOut, AuditSent};
use caught_up::CatchUp;
pub use caught_up::PeerCaughtUp;
pub(crate) use caught_up::note_caught_up;
use ceiling::Ceiling;
use congestion::Congestion;
use dirty::Dirty;
pub(crate) use encode::{EncodeCache, Projection};
pub(crate) use known::Known;
use known::{News, Seat};
pub(crate) use log::SentItem;
use log::{Acked, Contents, SendLog};
pub(crate) use office::Office;
pub(crate) use pack::{PackContext, Scratch};
use slot::{Exception, LinkSlot, Lives, Presence};

use crate::{
    peer::{control::ControlOut, rtt::Rtt},
    rows::{Rows, SetId},
};

/// Send side of one link.
#[derive(Default)]
pub(crate) struct Sender {
    next: PacketSeq,
    log: SendLog,
    /// What was in datagrams that the peer has, to be taken note of.
    arrived: Vec<(PacketSeq, Contents)>,
    slots: Vec<LinkSlot>,
    /// Where it stands what the peer is known to have, see [`Known`].
    seat: Option<Seat>,
    /// What is to be known, in the order in which it happened.
    news: Vec<(u32, News)>,
    lives: Lives,
    /// How much slots matter that had to wait, once one had to.
    priorities: Vec<f32>,
    /// Slots of which messages speak, and the versions that the peer has not acknowledged yet.
    spoken_of: HashMap<u32, Version>,
    /// Components that the peer is not told, of slots of which it is not told all; once there were any.
    hidden: Vec<SetId>,
    /// What is out of the ordinary, by slot.
    exceptions: HashMap<u32, Exception>,
    /// Slots the peer may see, and how many they are.
    visible: FixedBitSet,
    seen: usize,
    /// Slots with something to tell: a row the peer lacks, or a leave. What is due in this tick is
    /// not among them, unless it was put back.
    dirty: Dirty,
    pub(crate) control: ControlOut,
    pub(crate) rtt: Rtt,
    congestion: Congestion,
    ceiling: Ceiling,
    /// The share of datagrams that is lost, of 1, over the last [`LOSS_WINDOW`] of them or so.
    loss: f32,
    audit: AuditOut,
    pub(crate) counters: SendCounters,
    /// Datagrams before this one went over another link.
    measured_from: PacketSeq,
    /// Slots that came into sight and whose audiences are still to be asked, if any are.
    appeared: Option<Vec<u32>>,
    /// The frame in which was looked last for what goes again unasked.
    insured_at: Duration,
    catch_up: CatchUp,
}

/// Datagrams after which one of them has little to say of the share that is lost.
const LOSS_WINDOW: f32 = 64.0;

/// Counted since the link stands.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct SendCounters {
    pub(crate) packets: u64,
    pub(crate) lost_packets: u64,
    pub(crate) records: u64,
    pub(crate) absolute_records: u64,
    pub(crate) resent_records: u64,
    /// Those that went again before it was known whether they were lost.
    pub(crate) insured_records: u64,
    /// Bits of records in datagrams: those against nothing, those against a baseline.
    pub(crate) record_bits: (u64, u64),
    pub(crate) big_rows: u64,
    /// Those that the peer did not keep in time.
    pub(crate) refused_big_rows: u64,
    /// Reliable frames that no channel takes.
    pub(crate) unsendable: u64,
    /// Entities that had to wait for a later tick, summed over ticks.
    pub(crate) deferred: u64,
    pub(crate) audit: AuditSent,
    /// Records that told of a change of the fence, and bits of their heads.
    pub(crate) fences: u64,
    pub(crate) fence_bits: u64,
    /// Bits of values that the peer, who holds the entity, had written itself.
    pub(crate) echo_bits: u64,
    /// Bits of values told whole of what migrated and so was there already.
    pub(crate) resent_bits: u64,
}

impl Sender {
    /// The newest sequence that was used, to widen acks.
    pub(crate) fn newest_sent(&self) -> PacketSeq {
        PacketSeq(self.next.0.saturating_sub(1))
    }

    fn slot_mut(&mut self, slot: u32) -> &mut LinkSlot {
        let at = slot as usize;
        if self.slots.len() <= at {
            // The next ones come soon.
            let len = (at + 1).next_multiple_of(64);
            self.slots.resize_with(len, LinkSlot::default);
            self.lives.grow(len);
            self.visible.grow(len);
            self.dirty.grow(len);
        }
        &mut self.slots[at]
    }

    /// Whether the peer may see the slot.
    pub(crate) fn sees(&self, slot: u32) -> bool {
        self.visible.contains(slot as usize)
    }

    /// Whether the peer has yet to confirm that the slot's former entity is gone.
    pub(crate) fn is_leaving(&self, slot: u32) -> bool {
        let state = self.slots.get(slot as usize);
        state.is_some_and(|state| state.presence == Presence::Leaving)
    }

    /// Whether the peer is still to hear that another server hosts what the slot had.
    pub(crate) fn is_moving(&self, slot: u32) -> bool {
        self.is_leaving(slot)
            && self
                .exceptions
                .get(&slot)
                .and_then(|exception| exception.leaves)
                .is_some_and(|(reason, _)| reason == LeaveReason::Moved)
    }

    /// Slots the peer may see.
    pub(crate) const fn visible(&self) -> usize {
        self.seen
    }

    /// What the link gets of a full budget, in bytes: less while its network is full or drops what is
    /// above a rate, never less than a datagram.
    pub(crate) fn budget(&self, full: usize) -> usize {
        let share = (full as f32 * self.congestion.share()) as usize;
        let most = self.ceiling.of(full);
        share.min(most).max(full.min(seamless_wire::MAX_DATAGRAM))
    }

    /// Slots that are not settled for this peer. A step for each 64 slots, none while all is.
    pub(crate) fn unsettled(&self) -> usize {
        self.dirty.count()
    }

    /// Whether nothing waits to be told, as far as is known without a search.
    pub(crate) fn has_nothing_due(&self) -> bool {
        self.dirty.is_known_empty() && !self.control.has_due()
    }

    /// The stream goes on over another link: what was under way is lost, and how long it took says
    /// nothing.
    pub(crate) fn resume(&mut self) {
        self.find_losses(Duration::MAX, Duration::ZERO, None);
        self.control.all_due();
        self.catch_up = CatchUp::default();
        self.rtt = Rtt::default();
        self.congestion = Congestion::default();
        self.ceiling = Ceiling::default();
        self.measured_from = self.next;
        for exception in self.exceptions.values_mut() {
            // The channel is gone with what was in it.
            exception.bulk = None;
        }
        self.dirty.add_all(&self.visible);
    }

    /// The slot comes into the peer's sight: it gets the whole row, whatever it had before, and
    /// acks of earlier datagrams say nothing about it any more.
    ///
    /// What no name on the wire stands for is nothing that it could see.
    pub(crate) fn appear(&mut self, slot: u32) {
        if slot >= WireId::MAX_INDEX {
            return;
        }
        let appeared = self.next;
        let state = self.slot_mut(slot);
        // What it was told in an earlier life it may still show, until it acknowledged the end.
        let told = state.is_told();
        *state = LinkSlot::appearing(told);
        self.lives.begin(slot, appeared);
        self.news.push((slot, News::Forget));
        self.served(slot);
        if !self.exceptions.is_empty() {
            self.exceptions.remove(&slot);
        }
        if let Some(appeared) = &mut self.appeared {
            appeared.push(slot);
        }
        self.seen += usize::from(!self.visible.put(slot as usize));
        self.dirty.insert(slot as usize);
    }

    /// Whether to remember what comes into sight, for [`take_appeared`](Self::take_appeared).
    pub(crate) fn notes_appearances(&mut self, notes: bool) {
        if !notes {
            self.appeared = None;
        } else if self.appeared.is_none() {
            self.appeared = Some(Vec::new());
        }
    }

    /// What came into sight since it was asked last.
    pub(crate) fn take_appeared(&mut self, into: &mut Vec<u32>) {
        into.extend(self.appeared.iter_mut().flat_map(|list| list.drain(..)));
    }

    /// Components of a slot's row that the peer is not told.
    pub(crate) fn hidden(&self, slot: u32) -> SetId {
        match self.slots.get(slot as usize) {
            Some(state) if state.is_hidden() => self.hidden[slot as usize],
            _ => SetId::default(),
        }
    }

    /// Components of a visible slot's row that the peer is not told. If that changes, it is told
    /// the row whole, and acks of what it was told before say nothing any more.
    pub(crate) fn hide(&mut self, slot: u32, hidden: SetId) {
        let next = self.next;
        if self.hidden(slot) == hidden {
            return;
        }
        let state = self.slot_mut(slot);
        state.set_hidden(hidden != SetId::default());
        state.void();
        if self.hidden.len() < self.slots.len() {
            self.hidden.resize(self.slots.len(), SetId::default());
        }
        self.hidden[slot as usize] = hidden;
        self.lives.begin(slot, next);
        self.news.push((slot, News::Forget));
        self.exceptions.remove(&slot);
        self.slots[slot as usize].set_special(false);
        self.dirty.insert(slot as usize);
    }

    /// A message to the peer speaks of this version of a slot. Whether the peer may not have it yet:
    /// then it goes before others.
    pub(crate) fn speak_of(&mut self, slot: u32, version: Version, known: &Known) -> bool {
        let state = self.slots.get(slot as usize);
        let Some(state) = state.filter(|state| state.presence == Presence::Live) else {
            return false;
        };
        // What the peer holds, or is told over another channel, may never be told as that version.
        if !state.is_told_in_full() {
            return false;
        }
        // What is dirty may have appeared in this tick, which is not known everywhere.
        if !self.dirty.contains(slot as usize) && self.has_now(slot, version, known) {
            return false;
        }
        self.spoken_of.insert(slot, version);
        true
    }

    /// The slot, in its use number `generation`, leaves the peer's sight.
    pub(crate) fn vanish(&mut self, slot: u32, generation: u32, reason: LeaveReason) {
        if !self.sees(slot) {
            return;
        }
        self.visible.set(slot as usize, false);
        self.seen -= 1;
        self.news.push((slot, News::Forget));
        let state = self.slot_mut(slot);
        // Whom we told what we held of it, hosts it: what becomes of that is not ours to say.
        if state.is_told() && state.projection != Projection::HolderOnly {
            state.leave();
            self.except(slot, |_, exception| {
                *exception = Exception {
                    leaves: Some((reason, generation)),
                    ..Exception::default()
                };
            });
            self.dirty.insert(slot as usize);
        } else {
            // It never heard of it from us, so there is nothing to take back.
            *state = LinkSlot::default();
            self.exceptions.remove(&slot);
            self.dirty.remove(slot as usize);
        }
    }

    /// What the peer sees of what changed in this tick is looked after otherwise, whether or not
    /// it was dirty. A step for each 64 slots, up to the last one that changed.
    fn pass_over(&mut self, changed: &[Block]) {
        self.dirty.remove_common(self.visible.as_slice(), changed);
    }

    /// The peer has this version of a slot that has just appeared by other means, as a baseline.
    pub(crate) fn install_baseline(&mut self, slot: u32, version: Version) {
        if self.sees(slot) {
            self.slot_mut(slot).set_told();
            self.news.push((slot, News::Has(version)));
        }
    }

    /// The slot's entity migrated to the peer, which has this version of what it was told of. If it
    /// has asked for everything anew since, that is how it is told.
    pub(crate) fn migrated_at(&mut self, slot: u32, version: Version) {
        if self.sees(slot) {
            let state = self.slot_mut(slot);
            if !state.is_void() {
                state.acknowledged(false);
                state.migrated();
                self.news.push((slot, News::Has(version)));
            }
        }
    }

    /// The newest version of a slot that the peer is known to have and that counts, and the one before
    /// it, see [`Block::has`](lines::Block::has).
    fn has(&self, slot: u32, known: &Known) -> (Option<Version>, Option<Version>) {
        match self.slots.get(slot as usize) {
            // Before it is known everywhere.
            Some(state) if state.is_void() => (None, None),
            _ => known.has(self.seat.as_ref(), slot),
        }
    }

    /// Whether the peer is known to have this version of a slot.
    fn has_now(&self, slot: u32, version: Version, known: &Known) -> bool {
        self.has(slot, known).0 == Some(version)
    }

    /// The slot's entity migrated between us and the peer: what was told of it before need not be
    /// told again, and if it is, that is counted.
    pub(crate) fn migrated(&mut self, slot: u32) {
        if self.sees(slot) {
            self.slot_mut(slot).migrated();
            self.news.push((slot, News::Mark));
        }
    }

    /// A row that went by the bulk channel in `tick` is kept by the peer.
    pub(crate) fn big_row_kept(&mut self, slot: u32, tick: Tick) {
        if self.sees(slot) {
            let state = self.slot_mut(slot);
            if state.is_special() {
                let mut kept = None;
                self.except(slot, |state, exception| {
                    kept = exception.bulk.and_then(|bulk| bulk.sent_in(tick));
                    if kept.is_some() {
                        exception.bulk = None;
                        state.acknowledged(true);
                    }
                });
                if let Some(version) = kept {
                    self.news.push((slot, News::Has(version)));
                    self.dirty.insert(slot as usize);
                }
            }
        }
    }

    /// The peer reports what arrived. Of the rows that were in it, note is taken before the next is sent,
    /// for all peers together. `is_timely`: it came now, and did not lie there for a while.
    pub(crate) fn on_acks(&mut self, acks: &AckBits, now: Duration, is_timely: bool) {
        if acks.newest >= self.next {
            // It acknowledges what was never sent; nothing follows from that.
            return;
        }
        // The oldest first, so that what is done with goes from the front of the log.
        for seq in acks.acked().rev() {
            let Some(Acked {
                sent_at,
                contents,
                was_lost,
            }) = self.log.ack(seq)
            else {
                continue;
            };
            if !was_lost {
                let queues = self.congestion.queues();
                self.ceiling.judge(seq, false, queues);
            }
            if is_timely && seq == acks.newest && seq >= self.measured_from {
                self.rtt.sample(now.saturating_sub(sent_at));
            }
            for item in &contents.items {
                match *item {
                    SentItem::Leave { slot } => {
                        let Some(state) = self.slots.get_mut(slot as usize) else {
                            continue;
                        };
                        if self.lives.of(seq)(slot) && state.presence == Presence::Leaving {
                            *state = LinkSlot::default();
                            self.exceptions.remove(&slot);
                            self.dirty.remove(slot as usize);
                        }
                    }
                    SentItem::Control(seq) => self.control.acked(seq),
                }
            }
            self.loss -= self.loss / LOSS_WINDOW;
            self.arrived.push((seq, contents));
        }
    }

    /// Whether datagrams arrived of whose rows no note was taken yet.
    const fn has_arrived(&self) -> bool {
        !self.arrived.is_empty()
    }

    /// Rows in datagrams that arrived and of which no note was taken yet.
    fn arrived_rows(&self) -> usize {
        let rows = |(_, contents): &(PacketSeq, Contents)| contents.rows();
        self.arrived.iter().map(rows).sum()
    }

    /// A row of the slot arrived, and it is told in another way than the usual one.
    fn odd_arrived(&mut self, slot: u32, newest: bool) {
        self.slots[slot as usize].acknowledged(newest);
    }

    /// Whether the peer sees the slot and is told it in the usual way, and whether it sees it and there
    /// is more to say.
    fn way(&self, slot: u32) -> (bool, bool) {
        let state = self.slots.get(slot as usize);
        let state = state.filter(|state| state.presence == Presence::Live && self.sees(slot));
        let is_usual = |state: &LinkSlot| state.is_usual() && !state.is_watched();
        match state.map(is_usual) {
            None => (false, false),
            Some(usual) => (usual, !usual),
        }
    }

    /// Once a tick, when note was taken of what arrived. Datagrams that three later ones overtook, or
    /// that were sent longer ago than the round trip allows for, are lost.
    pub(crate) fn find_overdue(
        &mut self,
        (now, tick): (Duration, Duration),
        (known, rows): (&Known, &Rows),
    ) {
        for (_, contents) in self.arrived.drain(..) {
            self.log.recycle(contents);
        }
        if !self.log.is_empty() {
            self.insure_rows(now, (known, rows));
            let timeout = self.rtt.timeout(tick);
            self.find_losses(now, timeout, Some((known, rows)));
        } else if self.congestion.is_at_rest() {
            // Nothing is under way, and nothing is held back.
            return self.control.insure(self.loss);
        }
        let SendCounters {
            packets,
            lost_packets,
            ..
        } = self.counters;
        if let Some(rtt) = self.rtt.measured() {
            self.congestion.look(now, rtt, packets, lost_packets);
        }
        self.ceiling.try_more(now);
        self.control.insure(self.loss);
    }

    /// Declares datagrams lost that three later ones overtook, or that are older than `timeout`.
    /// What they carried is dirty again, to be sent at its newest value.
    /// `here`: unless all that the peer sees is due anyway.
    fn find_losses(&mut self, now: Duration, timeout: Duration, here: Option<(&Known, &Rows)>) {
        while let Some((seq, contents)) = self.log.next_lost(now, timeout) {
            self.counters.lost_packets += 1;
            let queues = self.congestion.queues();
            self.ceiling.judge(seq, true, queues);
            self.loss += (1.0 - self.loss) / LOSS_WINDOW;
            if let Some((known, rows)) = here {
                self.take_back_rows(seq, &contents, known, rows);
            }
            self.take_back(&contents);
            self.log.keep_lost(seq, contents);
        }
    }

    /// Rows of a lost datagram are due again if nothing newer was sent or waits: whatever changed since
    /// is due, or was sent.
    fn take_back_rows(&mut self, seq: PacketSeq, contents: &Contents, known: &Known, rows: &Rows) {
        let is_of_this_life = self.lives.of(seq);
        for (slot, version, soon) in contents.with_soon() {
            if let Some(soon) = soon {
                rows.prefetch_ring(soon);
            }
            let is_newest = rows.ring(slot).is_some_and(|ring| ring.last() == version);
            let resend = is_newest
                && is_of_this_life(slot)
                && self.sees(slot)
                && !known.holds(self.seat.as_ref(), slot, version);
            if resend {
                self.dirty.insert(slot as usize);
                self.counters.resent_records += 1;
                let is_void = self.slots[slot as usize].lose();
                let news = if is_void { News::Forget } else { News::Mark };
                self.news.push((slot, news));
            }
        }
    }

    /// What was in a lost datagram besides rows is due again.
    fn take_back(&mut self, contents: &Contents) {
        for item in &contents.items {
            match *item {
                SentItem::Leave { slot } => {
                    if self.is_leaving(slot) {
                        self.dirty.insert(slot as usize);
                        self.slots[slot as usize].insure_anew();
                    }
                }
                SentItem::Control(seq) => self.control.lost(seq),
            }
        }
    }

    /// The slot was told, and need not wait any more.
    #[inline]
    fn served(&mut self, slot: u32) {
        if let Some(priority) = self.priorities.get_mut(slot as usize) {
            *priority = 0.0;
        }
    }

    /// Changes what is out of the ordinary with a slot.
    fn except(&mut self, slot: u32, change: impl FnOnce(&mut LinkSlot, &mut Exception)) {
        let state = &mut self.slots[slot as usize];
        if !state.is_special() {
            state.set_special(true);
            self.news.push((slot, News::Mark));
        }
        change(state, self.exceptions.entry(slot).or_default());
    }
}
