//! Rows that no datagram holds.

use seamless_wire::{
    BitWriter, MAX_DATAGRAM,
    frame::{BigRow, MAX_BIG_ROW},
    record::{RecordCursor, RowsHead},
};

use super::{
    PackContext, Sender,
    encode::Has,
    pack::record_head,
    select::{Bucket, Candidate},
    slot::OnBulk,
};
use crate::rows::SetId;

impl Sender {
    /// Whether a row must go by the bulk channel, as far as that is known before it is encoded.
    pub(super) fn is_bulk(&self, slot: u32, context: &mut PackContext<'_>) -> bool {
        let head = context.cache.head(slot, context.rows, context.slots);
        usize::from(head.size) > MAX_DATAGRAM && self.has(slot, context.known).0.is_none()
    }

    /// The encoding of a row that was not made before, because it is large.
    pub(super) fn large_run(
        &self,
        row: &Candidate,
        told: SetId,
        context: &mut PackContext<'_>,
    ) -> Option<u32> {
        let projection = self.slots[row.slot as usize].projection;
        let (acked, before) = self.has(row.slot, context.known);
        let has = Has::new(acked, before, (projection, self.hidden(row.slot)));
        let here = (context.rows, context.slots);
        let (slot, told) = (row.slot, (has, told));
        context.cache.run(context.registry, here, slot, told)
    }

    /// A row that no datagram holds: whole, against nothing, over the bulk channel.
    pub(super) fn send_big(
        &mut self,
        row: &Candidate,
        bucket: &Bucket,
        index: u32,
        context: &mut PackContext<'_>,
        big_rows: &mut Vec<BigRow>,
    ) {
        let slot = row.slot;
        // It stays in sight of the next ticks until the peer has said that it kept it.
        self.dirty.insert(slot as usize);
        if context.bulk_room == 0 {
            return;
        }
        let state = &self.slots[slot as usize];
        let has = Has::new(None, None, (state.projection, self.hidden(slot)));
        let told = (has, bucket.told);
        let here = (context.rows, context.slots);
        let Some(number) = context.cache.run(context.registry, here, slot, told) else {
            return;
        };
        let run = *context.cache.get(number);
        let Some(head) = record_head(slot, index, bucket.allocator, &run, context) else {
            return;
        };
        let components = context.rows.sets.components(bucket.told);
        let mut w = BitWriter::new();
        RowsHead::write(&mut w, bucket.allocator, components);
        RecordCursor::new(context.tick, components.len()).write(&mut w, components.len(), &head);
        context.cache.copy(number, &run, &mut w);
        RecordCursor::write_end(&mut w);
        let section = w.finish();
        let version = context
            .cache
            .head(slot, context.rows, context.slots)
            .version;
        if section.len() > MAX_BIG_ROW {
            self.except(slot, |_, exception| exception.too_large = Some(version));
            self.dirty.remove(slot as usize);
            let found = (slot, version, section.len(), MAX_BIG_ROW);
            context.found.push(found);
            return;
        }
        context.bulk_room = context.bulk_room.saturating_sub(section.len());
        big_rows.push(BigRow {
            tick: context.tick,
            section: section.to_vec(),
        });
        let tick = context.tick;
        self.except(slot, |state, exception| {
            let (same, other) = match exception.bulk {
                Some(before) if before.version == version => (Some(before), None),
                before => (None, before),
            };
            let other = other.map(|other| (other.version, [other.since, other.sent]));
            exception.bulk = Some(OnBulk {
                version,
                since: same.map_or(tick, |same| same.since),
                sent: tick,
                given_up: false,
                earlier: same.and_then(|same| same.earlier).or(other),
            });
            state.set_told();
        });
        self.served(slot);
        self.counters.big_rows += 1;
    }
}
