//! All records of a datagram. Nearly all are newer states of what is shown here, and take the short
//! way, and so do entities that come for the first time ([`take_new`]); the others are looked at one
//! by one ([`take_row`]).

use bevy::prelude::*;
use seamless_transport::LinkSide;

use super::{ParsedHead, ParsedRows, apply::take_row, arrive::take_new};
use crate::{
    peer::Peer,
    plugin::{Limits, ReplicationConfig},
    prefetch::FAR_AHEAD,
    rows::RowRef,
    slots::Slots,
};

/// Takes the records of a datagram, and leaves the list empty. False if it must not be
/// acknowledged.
pub(crate) fn take_rows(world: &mut World, peer: &mut Peer, rows: &mut ParsedRows) -> bool {
    let limits = world.resource::<ReplicationConfig>().limits(peer.side);
    let (mut kept, mut at) = (true, 0);
    while let Some(head) = rows.head(at) {
        if head.place.is_some() {
            let (usual, all_kept) = take_usual(world.resource(), peer, (rows, at), limits);
            at += usual;
            kept &= all_kept;
        }
        // Looked up anew where it is needed: what else arrives may be a world full of entities.
        let new = take_new(world, peer, (rows, at), limits);
        at += new;
        if new == 0
            && let Some((head, row)) = rows.get(at)
        {
            kept &= take_row(world, peer, head.with(row), limits);
            at += 1;
        }
    }
    rows.clear();
    kept
}

/// Takes the records from a number on, one after the other, as long as they are usual. Gives how many
/// those are, and whether all were kept.
fn take_usual(
    slots: &Slots,
    peer: &mut Peer,
    (rows, from): (&ParsedRows, usize),
    limits: Limits,
) -> (usize, bool) {
    let (mut taken, mut kept) = (0, true);
    for (head, row) in rows.iter_from(from) {
        let soon = rows.head(from + taken + FAR_AHEAD);
        let soon = soon.and_then(|head| peer.receiver.table.at(head.place?).checked);
        if let Some(then) = soon {
            slots.prefetch_stamp(then.slot);
        }
        let Some(place) = head.place else { break };
        match keep_usual(slots, peer, (head, place), row, limits.baseline_bytes) {
            Some(usual) => kept &= usual,
            None => break,
        }
        taken += 1;
    }
    (taken, kept)
}

/// A newer state of a server's entity that is shown here, under the fence of the state before:
/// nothing but its components changes, and they can wait for the others. Whether it was kept;
/// `None` for anything else.
#[inline]
fn keep_usual(
    slots: &Slots,
    peer: &mut Peer,
    (head, place): (&ParsedHead, u32),
    row: RowRef<'_>,
    bytes: usize,
) -> Option<bool> {
    let table = &mut peer.receiver.table;
    let room = table.has_room(row, bytes);
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
