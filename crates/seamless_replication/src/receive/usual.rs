//! All records of a datagram. Nearly all are newer states of what is shown here, and take the short
//! way; the others are looked at one by one ([`take_row`]).

use bevy::prelude::*;
use seamless_transport::LinkSide;

use super::{ParsedHead, ParsedRows, apply::take_row};
use crate::{
    peer::Peer, plugin::ReplicationConfig, prefetch::FAR_AHEAD, rows::RowRef, slots::Slots,
};

/// Takes the records of a datagram, and leaves the list empty. False if it must not be
/// acknowledged.
pub(crate) fn take_rows(world: &mut World, peer: &mut Peer, rows: &mut ParsedRows) -> bool {
    let limits = world.resource::<ReplicationConfig>().limits(peer.side);
    let mut kept = true;
    // Looked up where it is needed: what else arrives may be a world full of entities.
    let mut slots = None;
    for (at, (head, row)) in rows.iter().enumerate() {
        let soon = rows.head(at + FAR_AHEAD).and_then(|head| head.place);
        let usual = head.place.and_then(|place| {
            let slots = slots.get_or_insert_with(|| world.resource::<Slots>());
            let checked = soon.and_then(|soon| peer.receiver.table.at(soon).checked);
            if let Some(then) = checked {
                slots.prefetch_stamp(then.slot);
            }
            take_usual(slots, peer, (head, place), row, limits.baseline_bytes)
        });
        kept &= match usual {
            Some(kept) => kept,
            None => {
                slots = None;
                take_row(world, peer, head.with(row), limits)
            }
        };
    }
    rows.clear();
    kept
}

/// A newer state of a server's entity that is shown here, under the fence of the state before:
/// nothing but its components changes, and they can wait for the others. Whether it was kept;
/// `None` for anything else.
#[inline]
fn take_usual(
    slots: &Slots,
    peer: &mut Peer,
    (head, place): (&ParsedHead, u32),
    row: RowRef<'_>,
    bytes: usize,
) -> Option<bool> {
    let table = &mut peer.receiver.table;
    let room = table.bytes() + row.byte_len() <= bytes;
    let slot = table.at_mut(place);
    let usual = room
        && peer.side == LinkSide::ToServer
        && slot.live
        && slot.entity.is_some()
        && slot.checked.is_some_and(|then| slots.is_as_it_was(then))
        && slot.newest.is_some_and(|newest| head.tick > newest)
        && slot
            .ring
            .newest()
            .is_some_and(|newest| newest.row.fence == *row.fence);
    if !usual {
        return None;
    }
    slot.newest = Some(head.tick);
    let kept = table.keep_at(place, head.version, head.baseline, row);
    table.show_later(place);
    peer.receiver.counters.records += 1;
    Some(kept)
}
