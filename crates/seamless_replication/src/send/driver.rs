//! From the world to links: once a tick, after collect.

use bevy::prelude::*;
use seamless_transport::{LinkSide, Links};
use seamless_wire::{Allocator, Holder, MAX_DATAGRAM, frame::Frame, packet::SectionKind};

use super::{Outgoing, PackContext, pack::ExtraContent};
use crate::{
    clock::NetClock,
    inputs::{Inboxes, InputOutbox},
    interest::route,
    messages,
    peer::{Peer, PeerState, Peers},
    plugin::ReplicationConfig,
    registry::Registry,
    rows::{Rows, TooLarge},
    slots::{Role, Slot, Slots},
    stats::{EncodeTotals, ReplicationStats, TooLargeRow},
};

/// Bits that inputs, their acknowledgement and unreliable messages may take of a datagram.
const EXTRA_BITS: usize = (MAX_DATAGRAM - 200) * 8;

/// Packs and queues what every peer is due.
#[expect(
    clippy::too_many_arguments,
    reason = "a system: each argument is a resource it reads"
)]
pub(crate) fn send(
    mut peers: ResMut<Peers>,
    mut links: ResMut<Links>,
    mut rows: ResMut<Rows>,
    mut cache: ResMut<EncodeTotals>,
    mut stats: ResMut<ReplicationStats>,
    slots: Res<Slots>,
    registry: Res<Registry>,
    clock: Res<NetClock>,
    config: Res<ReplicationConfig>,
    outbox: Res<InputOutbox>,
    inboxes: Res<Inboxes>,
) {
    let started = std::time::Instant::now();
    let (tick, now) = (clock.tick(), clock.now());
    let changed = std::mem::take(&mut rows.changed);
    let ready = peers
        .iter()
        .filter(|peer| peer.state == PeerState::Ready)
        .count();
    cache.0.begin(ready > 1);
    for peer in peers
        .iter_mut()
        .filter(|peer| peer.state == PeerState::Ready)
    {
        let Some(link) = links.get_mut(peer.link) else {
            continue;
        };
        peer.sender.find_overdue(now, clock.tick_length());
        peer.sender.changed(&changed);
        let report = peer.receiver.received.take_report();
        let keep_alive = tick.since(peer.last_sent) >= config.keep_alive_ticks;
        let mut sender = std::mem::take(&mut peer.sender);
        let mut unreliable = std::mem::take(&mut peer.unreliable);
        let mut told = peer.inputs.told;
        let view: &Peer = peer;
        let Outgoing {
            datagrams,
            big_rows,
        } = sender.pack(
            report,
            keep_alive,
            &mut PackContext {
                registry: &registry,
                rows: &mut rows,
                slots: &slots,
                cache: &mut cache.0,
                tick,
                now,
                budget: config.bytes_per_tick,
                route: &|index| slots.get(index).and_then(|slot| route(view, index, slot)),
                extra: &mut |w| {
                    let mut content = ExtraContent::None;
                    match view.side {
                        LinkSide::ToServer => {
                            if outbox.write(w) {
                                content = ExtraContent::Numbered;
                            }
                        }
                        LinkSide::ToClient => {
                            let ack = view.id.and_then(|id| inboxes.get(id)).map(|i| i.ack());
                            if let Some(ack) = ack.filter(|_| !view.spectator) {
                                SectionKind::InputAck.write(w);
                                ack.write(w);
                                if told != Some(ack) {
                                    told = Some(ack);
                                    content = ExtraContent::Unnumbered;
                                }
                            }
                        }
                    }
                    let room = EXTRA_BITS.saturating_sub(w.bit_len());
                    if messages::write_section(w, room, &mut unreliable) {
                        content = content.max(ExtraContent::Unnumbered);
                    }
                    content
                },
            },
        );
        peer.sender = sender;
        peer.unreliable = unreliable;
        peer.inputs.told = told;
        if !datagrams.is_empty() {
            peer.last_sent = tick;
        }
        for datagram in datagrams {
            if let Err(error) = link.send_datagram(&datagram) {
                tracing::debug!(link = %peer.link, %error, "a datagram was not sent");
            }
        }
        for big in big_rows {
            peer.send_frame(Frame::Row(big));
        }
    }
    rows.changed = changed;
    for found in rows.too_large.drain(..) {
        let Some(entity) = slots.get(found.slot).and_then(Slot::global) else {
            continue;
        };
        let TooLarge { bytes, max, .. } = found;
        stats.rows_too_large += 1;
        stats.too_large = Some(TooLargeRow { entity, bytes, max });
        if found.first {
            tracing::error!(%entity, bytes, max, "an entity is too large to be told of");
        }
    }
    stats.send_time = started.elapsed();
}

/// How long what a holder wrote is kept after its tenure, in seconds.
const RETIRE_SECONDS: u32 = 2;

/// Tells peers of slots that were left in this tick, and forgets the slots' rows, and those of
/// holders that are not any more.
pub(crate) fn depart(
    mut peers: ResMut<Peers>,
    mut slots: ResMut<Slots>,
    mut rows: ResMut<Rows>,
    mut positions: ResMut<crate::interest::Positions>,
    clock: Res<NetClock>,
) {
    for departed in std::mem::take(&mut slots.departed) {
        peers.slot_departed(departed.slot, departed.reason);
        rows.clear(departed.slot);
        positions.clear(departed.slot);
        slots.relent.push(departed.slot);
    }
    let due = clock.tick().plus(RETIRE_SECONDS * u32::from(clock.rate()));
    let relent = std::mem::take(&mut slots.relent);
    for peer in peers
        .iter_mut()
        .filter(|peer| peer.side == LinkSide::ToClient)
    {
        let receiver = &mut peer.receiver;
        for &slot in &relent {
            if receiver.table.get(Allocator::Local, slot).is_some() {
                receiver.retired.push_back((due, slot));
            }
        }
        while receiver
            .retired
            .front()
            .is_some_and(|(due, _)| *due <= clock.tick())
        {
            let Some((_, slot)) = receiver.retired.pop_front() else {
                break;
            };
            let held = slots.get(slot).is_some_and(|slot| {
                slot.role() == Role::Host
                    && peer
                        .id
                        .is_some_and(|id| slot.tenure.holder == Holder::Peer(id))
            });
            if !held {
                receiver.table.forget(Allocator::Local, slot);
            }
        }
    }
}
