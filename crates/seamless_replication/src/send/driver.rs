//! From the world to links: once a tick, after collect.

use bevy::prelude::*;
use fixedbitset::{Block, FixedBitSet};
use seamless_transport::{Channel, Link, LinkSide, Links};
use seamless_wire::{
    Allocator, Holder, MAX_DATAGRAM,
    frame::Frame,
    packet::{SectionKind, StateHeader},
};

use super::{
    EncodeCache, Known, PackContext,
    encoder::Encoder,
    office::{Office, Worker},
    pack::ExtraContent,
    projections::Projections,
    survey::Survey,
};
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
    stats::{ReplicationStats, TooLargeRow},
    threads::together,
};

/// Bits that inputs, their acknowledgement and unreliable messages may take of a datagram: what the
/// longest header leaves.
const EXTRA_BITS: usize = (MAX_DATAGRAM - StateHeader::MAX_BYTES - 1) * 8;

const _: () = assert!(
    messages::MAX_UNRELIABLE + 32 <= EXTRA_BITS / 8,
    "the longest message fits beside an acknowledgement of inputs"
);

/// What all links read, whoever works on them.
struct Shared<'a> {
    here: Here<'a>,
    rows: &'a Rows,
    primed: &'a EncodeCache,
    projections: &'a Projections,
    known: &'a Known,
    /// What of the changed is due to each link, unless that went already.
    survey: Option<&'a Survey>,
}

/// What does not change while links are packed.
#[derive(Clone, Copy)]
struct Here<'a> {
    registry: &'a Registry,
    slots: &'a Slots,
    clock: &'a NetClock,
    config: &'a ReplicationConfig,
    positions: &'a Positions,
    grid: &'a InterestGrid,
    outbox: &'a InputOutbox,
    inboxes: &'a Inboxes,
    /// Slots that changed in this tick.
    changed: &'a [Block],
}

/// Packs and queues what every peer is due.
///
/// Cost: for each link one word per 64 slots, and one visit and one copy for each row that is due;
/// one encoding for each row and each baseline that some link has of it. When there is much of it,
/// rows first and then links are shared out among the threads of rayon's pool.
#[expect(
    clippy::too_many_arguments,
    reason = "a system: each argument is a resource it reads"
)]
pub(crate) fn send(
    mut peers: ResMut<Peers>,
    mut links: ResMut<Links>,
    mut rows: ResMut<Rows>,
    mut office: ResMut<Office>,
    mut stats: ResMut<ReplicationStats>,
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
    let mut changed = std::mem::take(&mut rows.changed);
    rows.sets
        .weigh(|component| registry.component(component).priority);
    changed_bits.clear();
    for &slot in &changed {
        changed_bits.grow_and_insert(slot as usize);
    }
    // No more of it than there has to be: each link goes through it.
    let last = changed.iter().max();
    let blocks = last.map_or(0, |last| *last as usize / Block::BITS as usize + 1);
    // In ascending order, as records are.
    changed.clear();
    changed.extend(changed_bits.ones().map(|slot| slot as u32));
    let office = &mut *office;
    let told = peers.iter().filter(|peer| peer.state == PeerState::Ready);
    let work = office.due.max(changed.len() * told.count());
    let threads = office.begin(work, &config);
    let changed_now = (clock.tick(), &*changed);
    take_note(threads, &mut peers, (&mut office.known, &rows), &clock);
    let (survey, primed) = (&mut office.survey, &mut office.primed);
    let here = (&*rows, &*slots);
    survey.run(
        threads,
        &registry,
        here,
        changed_now,
        (&peers, &office.known),
        primed,
    );
    let here = Here {
        registry: &registry,
        slots: &slots,
        clock: &clock,
        config: &config,
        positions: &positions,
        grid: &grid,
        outbox: &outbox,
        inboxes: &inboxes,
        changed: &changed_bits.as_slice()[..blocks],
    };
    let shared = Shared {
        here,
        rows: &rows,
        primed: &office.primed,
        projections: &office.projections,
        known: &office.known,
        survey: Some(&office.survey),
    };
    if threads > 1 {
        send_together(
            &shared,
            &mut office.workers[..threads],
            &mut peers,
            &mut links,
        );
    } else if let Some(worker) = office.workers.first_mut() {
        for peer in ready(&mut peers) {
            if let Some(link) = links.get_mut(peer.link) {
                send_one(&shared, worker, peer, link);
            }
        }
    }
    if office
        .workers
        .iter()
        .any(|worker| !worker.wanted.is_empty())
    {
        // For the first time. The links that found it missing are done once more.
        let again = office.learn(&registry, &mut rows.sets);
        let shared = Shared {
            here,
            rows: &rows,
            primed: &office.primed,
            projections: &office.projections,
            known: &office.known,
            survey: None,
        };
        for id in again {
            if let (Some(worker), Some(peer), Some(link)) = (
                office.workers.first_mut(),
                peers.get_mut(id),
                links.get_mut(id),
            ) {
                send_one(&shared, worker, peer, link);
            }
        }
    }
    rows.changed = changed;
    office.end(&mut rows);
    name_too_large(&mut rows, &slots, &mut stats);
    stats.send_time = started.elapsed();
    stats.send_threads = threads;
}

/// Takes note of what arrived, so that it is told against from now on, and finds what was lost: it is
/// due again.
fn take_note(
    threads: usize,
    peers: &mut Peers,
    (known, rows): (&mut Known, &Rows),
    clock: &NetClock,
) {
    known.take_back();
    let suspended = peers.suspended.iter_mut().map(|kept| &mut kept.peer);
    let mut arrived = false;
    for peer in peers.map.values_mut().chain(suspended) {
        known.hear(&mut peer.sender);
        arrived |= peer.sender.has_arrived();
    }
    if arrived {
        known.note_arrived(threads, peers);
    }
    let now = (clock.now(), clock.tick_length());
    if threads > 1 {
        let here = (&*known, rows);
        together(0..threads, ready(peers), |_, peer| {
            peer.sender.find_overdue(now, here);
        });
        return ready(peers).for_each(|peer| known.hear(&mut peer.sender));
    }
    for peer in ready(peers) {
        peer.sender.find_overdue(now, (&*known, rows));
        known.hear(&mut peer.sender);
    }
}

/// Peers whose handshake is done.
fn ready(peers: &mut Peers) -> impl Iterator<Item = &mut Peer> {
    let is_ready = |peer: &&mut Peer| peer.state == PeerState::Ready;
    peers.iter_mut().filter(is_ready)
}

/// Shares the links out among the workers.
fn send_together(
    shared: &Shared<'_>,
    workers: &mut [Worker],
    peers: &mut Peers,
    links: &mut Links,
) {
    // Both ascend by the link's name.
    let mut links = links.iter_mut().peekable();
    let linked = ready(peers).filter_map(|peer| {
        while links.next_if(|link| link.id() < peer.link).is_some() {}
        let link = links.next_if(|link| link.id() == peer.link)?;
        Some((peer, link))
    });
    together(workers.iter_mut(), linked, |worker, (peer, link)| {
        send_one(shared, worker, peer, link);
    });
}

/// Packs and queues what one peer is due. A few looks if it is nothing.
fn send_one(shared: &Shared<'_>, worker: &mut Worker, peer: &mut Peer, link: &mut Link) {
    let Here {
        slots,
        clock,
        config,
        positions,
        grid,
        ..
    } = shared.here;
    let (tick, now) = (clock.tick(), clock.now());
    let (whole, full_budget) = (peer.is_told_all(), peer.full_budget(config));
    let Peer {
        sender,
        receiver,
        unreliable,
        inputs,
        interest,
        frames,
        ..
    } = peer;
    let report = receiver.received.take_report();
    let keep_alive = tick.since(peer.last_sent) >= config.keep_alive_ticks;
    let view = Route {
        side: peer.side,
        link: peer.link,
        id: peer.id,
        spectator: peer.spectator,
    };
    let player = view
        .id
        .filter(|_| view.side == LinkSide::ToClient && !view.spectator);
    let inbox = player.and_then(|id| shared.here.inboxes.get(id));
    let heard = inbox.map(|inbox| inbox.ack());
    let told = &mut inputs.told;
    let is_quiet = shared.here.changed.is_empty()
        && report.is_none()
        && !keep_alive
        && view.side == LinkSide::ToClient
        && unreliable.is_empty()
        && (heard.is_none() || *told == heard)
        && sender.has_nothing_due();
    if is_quiet {
        return;
    }
    let eye = interest.eye();
    let relevance = |slot: u32| match (eye, positions.get(slot)) {
        (Some(eye), Some(at)) => grid.relevance(eye.distance(at)),
        _ => 1.0,
    };
    let wanted = worker.wanted.len();
    // What is sent already, the second time; and what reliable messages take.
    let budget = sender.budget(full_budget);
    let (waiting, reliable) = link.tick_bytes();
    let taken = waiting + reliable.min(budget / 4);
    let budget = budget.saturating_sub(taken).max(budget / 4);
    let bulk_room = frames[Channel::Bulk as usize].room_for_rows();
    // Whether messages went.
    let mut spoken = false;
    let sent = sender.pack(
        report,
        keep_alive,
        &mut worker.scratch,
        &mut PackContext {
            registry: shared.here.registry,
            rows: shared.rows,
            slots,
            cache: Encoder {
                primed: shared.primed,
                own: &mut worker.cache,
            },
            projections: shared.projections,
            known: shared.known,
            answers: shared.survey.and_then(|survey| survey.of(peer.link)),
            changed: shared.here.changed,
            wanted: &mut worker.wanted,
            hashes: &mut worker.hashes,
            found: &mut worker.found,
            tick,
            now,
            budget,
            bulk_room,
            audited_per_tick: config.audit_per_second as f32 / f32::from(clock.rate()),
            whole,
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
            extra: &mut |w, again| {
                let mut content = ExtraContent::None;
                match view.side {
                    _ if again => {}
                    LinkSide::ToServer => {
                        if shared.here.outbox.write(w) {
                            content = ExtraContent::Numbered;
                        }
                    }
                    LinkSide::ToClient => {
                        if let Some(ack) = heard {
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
                if !spoken && messages::write_section(w, room, unreliable) {
                    spoken = true;
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
    worker.due += worker.scratch.due();
    if worker.wanted.len() > wanted {
        worker.again.push(view.link);
    }
    for big in worker.scratch.big_rows.drain(..) {
        peer.send_frame(Frame::Row(big));
    }
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
    let all = std::mem::take(&mut slots.departed);
    slots.just_left.clear();
    for departed in all {
        slots
            .just_left
            .extend(departed.global.map(|name| (departed.entity, name)));
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
