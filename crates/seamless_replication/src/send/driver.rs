//! From the world to links: once a tick, after collect.

use bevy::prelude::*;
use fixedbitset::FixedBitSet;
use seamless_transport::{LinkSide, Links};
use seamless_wire::{Allocator, Holder, MAX_DATAGRAM, frame::Frame, packet::SectionKind};

use super::{PackContext, Scratch, pack::ExtraContent};
use crate::{
    clock::NetClock,
    inputs::{Inboxes, InputOutbox},
    interest::{InterestGrid, Positions, Route},
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
///
/// Cost: for each link one word per 64 slots, and one visit and one copy for each row that is due;
/// one encoding for each row and each baseline that some link has of it.
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
    mut scratch: Local<Scratch>,
    mut changed_bits: Local<FixedBitSet>,
    slots: Res<Slots>,
    registry: Res<Registry>,
    clock: Res<NetClock>,
    config: Res<ReplicationConfig>,
    positions: Res<Positions>,
    grid: Res<InterestGrid>,
    outbox: Res<InputOutbox>,
    inboxes: Res<Inboxes>,
) {
    let started = std::time::Instant::now();
    let (tick, now) = (clock.tick(), clock.now());
    let changed = std::mem::take(&mut rows.changed);
    rows.sets
        .weigh(|component| registry.component(component).priority);
    cache.0.begin();
    changed_bits.clear();
    for &slot in &changed {
        changed_bits.grow_and_insert(slot as usize);
    }
    for peer in peers
        .iter_mut()
        .filter(|peer| peer.state == PeerState::Ready)
    {
        let Some(link) = links.get_mut(peer.link) else {
            continue;
        };
        let Peer {
            sender,
            receiver,
            unreliable,
            inputs,
            interest,
            ..
        } = peer;
        sender.find_overdue(now, clock.tick_length());
        sender.changed(&changed_bits);
        let report = receiver.received.take_report();
        let keep_alive = tick.since(peer.last_sent) >= config.keep_alive_ticks;
        let view = Route {
            side: peer.side,
            link: peer.link,
            id: peer.id,
            spectator: peer.spectator,
        };
        let eye = interest.eye();
        let relevance = |slot: u32| match (eye, positions.get(slot)) {
            (Some(eye), Some(at)) => grid.relevance(eye.distance(at)),
            _ => 1.0,
        };
        let told = &mut inputs.told;
        let budget = sender.budget(config.bytes_per_tick);
        let sent = sender.pack(
            report,
            keep_alive,
            &mut scratch,
            &mut PackContext {
                registry: &registry,
                rows: &mut rows,
                slots: &slots,
                cache: &mut cache.0,
                tick,
                now,
                budget,
                whole: view.side == LinkSide::ToClient || !view.spectator,
                has_written: &|index| {
                    let held = receiver.table.get(Allocator::Local, index);
                    view.side == LinkSide::ToClient
                        && held.zip(slots.get(index)).is_some_and(|(held, slot)| {
                            view.id.map(Holder::Peer) == Some(slot.tenure.holder)
                                && held.generation == slot.generation
                                && !held.is_of_before(slot.tenure.since)
                        })
                },
                route: &|index| slots.get(index).and_then(|slot| view.route(index, slot)),
                relevance: eye.is_some().then_some(&relevance),
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
                                if *told != Some(ack) {
                                    *told = Some(ack);
                                    content = ExtraContent::Unnumbered;
                                }
                            }
                        }
                    }
                    let room = EXTRA_BITS.saturating_sub(w.bit_len());
                    if messages::write_section(w, room, unreliable) {
                        content = content.max(ExtraContent::Unnumbered);
                    }
                    content
                },
                emit: &mut |datagram| {
                    if let Err(error) = link.send_datagram(datagram) {
                        tracing::debug!(link = %view.link, %error, "a datagram was not sent");
                    }
                },
            },
        );
        if sent {
            peer.last_sent = tick;
        }
        for big in scratch.big_rows.drain(..) {
            peer.send_frame(Frame::Row(big));
        }
    }
    rows.changed = changed;
    let deepest = cache.0.deepest;
    rows.depth.used(deepest);
    name_too_large(&mut rows, &slots, &mut stats);
    stats.send_time = started.elapsed();
}

fn name_too_large(rows: &mut Rows, slots: &Slots, stats: &mut ReplicationStats) {
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
}

/// How long what a holder wrote is kept after its tenure, in seconds.
const RETIRE_SECONDS: u32 = 2;

/// Tells peers of slots that were left in this tick, and forgets the slots' rows, and those of
/// holders that are not any more.
pub(crate) fn depart(
    mut peers: ResMut<Peers>,
    mut slots: ResMut<Slots>,
    mut positions: ResMut<Positions>,
    clock: Res<NetClock>,
) {
    for departed in std::mem::take(&mut slots.departed) {
        peers.slot_departed(&departed);
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
