//! What a peer should have, a few entities at a time.

use fixedbitset::Block;
use seamless_wire::{
    Allocator, Tick, WriteMask,
    audit::{AUDIT_BITS, Audited, MAX_AUDITED},
};

use super::{News, PackContext, Projection, Sender, projections::Part, slot::Presence};

/// Most entities that are saved up while nothing goes.
const MAX_CREDIT: f32 = 64.0;

/// Most words of 64 slots, and most slots, that are looked at for one datagram: most of what is not
/// dirty may be under way.
const MAX_WORDS: usize = 4096;
const MAX_LOOKS: usize = 64;

/// Slots of one word.
const BITS: usize = Block::BITS as usize;

/// Entities that a peer may ask for within [`WINDOW`] before its whole stream begins anew.
const RESTART_AT: u32 = 32;

/// Ticks after which what a peer asked for is forgotten.
const WINDOW: u32 = 300;

/// Where the rounds of one link are.
#[derive(Default)]
pub(super) struct AuditOut {
    /// The next slot.
    cursor: usize,
    /// When entities were named last.
    last: Tick,
    credit: f32,
    entities: Vec<Audited>,
    /// Entities that the peer asked for since `window`.
    asked: u32,
    window: Tick,
}

/// Counted since the link stands.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct AuditSent {
    /// Entities named.
    pub(crate) named: u64,
    /// Entities told whole because the peer lacked them.
    pub(crate) resent: u64,
    /// Streams begun anew.
    pub(crate) restarts: u64,
}

impl Sender {
    /// Entities that are settled for the peer, in turn, as many as `room` bits and the rate allow.
    ///
    /// Cost: a step for each word of 64 slots up to the last that is named, a look at
    /// [`MAX_LOOKS`] slots at most, and the hash of each row that is named, which all links share.
    /// So a round takes a datagram for each [`MAX_LOOKS`] slots, and the rate's time for what is
    /// settled, whichever is longer.
    pub(super) fn audit(&mut self, room: usize, context: &mut PackContext<'_>) -> &[Audited] {
        let audit = &mut self.audit;
        audit.entities.clear();
        let ticks = context.tick.since(audit.last);
        audit.last = context.tick;
        audit.credit = (audit.credit + ticks as f32 * context.audited_per_tick).min(MAX_CREDIT);
        let most = (room / AUDIT_BITS)
            .min(MAX_AUDITED)
            .min(audit.credit as usize);
        if most == 0 {
            return &[];
        }
        let mut at = audit.cursor;
        let words = self.visible.as_slice().len().min(self.dirty.words().len());
        let end = words.min(at / BITS + MAX_WORDS);
        let mut looks = MAX_LOOKS;
        while self.audit.entities.len() < most && looks > 0 {
            let word = at / BITS;
            if word >= end {
                break;
            }
            let settled = self.visible.as_slice()[word] & !self.dirty.words()[word];
            let rest = settled >> (at % BITS);
            if rest == 0 {
                at = (word + 1) * BITS;
                continue;
            }
            at += rest.trailing_zeros() as usize;
            looks -= 1;
            if let Some(audited) = self.audited(at as u32, context) {
                self.audit.entities.push(audited);
            }
            at += 1;
        }
        let audit = &mut self.audit;
        audit.cursor = if at / BITS >= words { 0 } else { at };
        audit.credit -= audit.entities.len() as f32;
        self.counters.audit.named += audit.entities.len() as u64;
        &audit.entities
    }

    fn audited(&self, slot: u32, context: &mut PackContext<'_>) -> Option<Audited> {
        let state = &self.slots[slot as usize];
        let is_told_whole = state.presence == Presence::Live
            && state.projection == Projection::Full
            && !state.is_special()
            && !state.is_void();
        if !is_told_whole {
            return None;
        }
        let (projection, id) = (context.route)(slot)?;
        if projection != Projection::Full || id.allocator != Allocator::Local {
            return None;
        }
        let (version, set) = context.rows.newest(slot).map(|(v, row)| (v, row.set))?;
        if !context.known.holds(self.seat.as_ref(), slot, version) {
            return None;
        }
        let part = Part {
            projection: Projection::Full,
            hidden: self.hidden(slot),
            writes: WriteMask::ALL,
        };
        let told = context.told(set, part)?;
        let hash = context.hashes.of_newest(context.rows, slot, told)?;
        Some(Audited {
            index: slot,
            version,
            hash,
        })
    }

    /// The peer does not have what it acknowledged: it is told the entity whole. When it asks for
    /// many, it is told everything anew.
    pub(crate) fn resend(&mut self, slot: u32, now: Tick) {
        if !self.sees(slot) {
            return;
        }
        let next = self.next;
        let state = self.slot_mut(slot);
        if state.presence != Presence::Live || state.is_void() {
            // It goes, or is being told whole already.
            return;
        }
        state.void();
        self.lives.begin(slot, next);
        self.news.push((slot, News::Forget));
        self.dirty.insert(slot as usize);
        self.counters.audit.resent += 1;
        let audit = &mut self.audit;
        if now.since(audit.window) > WINDOW {
            audit.window = now;
            audit.asked = 0;
        }
        audit.asked += 1;
        if audit.asked >= RESTART_AT {
            audit.asked = 0;
            self.restart();
        }
    }

    /// Tells everything anew, as if nothing had been acknowledged.
    fn restart(&mut self) {
        self.counters.audit.restarts += 1;
        let next = self.next;
        for slot in self.visible.ones() {
            let state = &mut self.slots[slot];
            if state.presence == Presence::Live {
                state.void();
                self.lives.begin(slot as u32, next);
                self.news.push((slot as u32, News::Forget));
                self.dirty.insert(slot);
            }
        }
    }
}
