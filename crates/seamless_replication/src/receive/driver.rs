//! From links to peers: opens, closes, frames and datagrams, once a frame.

use bevy::prelude::*;
use bytes::Bytes;
use seamless_transport::{Channel, LinkId, LinkSide, LinkState, Links};
use seamless_wire::{
    Allocator, PacketSeq, PeerId, Tick, codec,
    control::{Control, Speaker},
    frame::{BigRow, Frame},
    packet::HeaderContext,
};

use super::{
    ParseContext, ParseError, Parsed, ParsedRows, audit, leave, parse, parse_big_row, show,
    usual::take_rows,
};
use crate::{
    clock::NetClock,
    inputs::{Inboxes, InputOutbox},
    interest,
    messages::{self, Incoming, Spoken},
    names,
    peer::{
        ControlReceived, HandoverOffered, Peer, PeerState, Peers, control::NOT_FOR_ANSWERS,
        on_frame, on_open, refuse_other_version, resume, take_names,
    },
    plugin::ReplicationConfig,
    references,
    registry::Registry,
    rows::Rows,
    slots::Slots,
    snapshot::transfer::take_chunk,
    stats::ReplicationStats,
};

/// Unreadable datagrams and frames after which a link is closed.
const MAX_MALFORMED: u64 = 256;

/// Lists that are filled anew in every frame, for their memory.
#[derive(Resource, Default)]
pub(crate) struct Arrivals {
    links: Vec<LinkId>,
    frames: Vec<Bytes>,
    datagrams: Vec<Bytes>,
}

/// Takes in everything that arrived since the last frame.
pub(crate) fn receive(world: &mut World) {
    let started = std::time::Instant::now();
    open_and_close(world);
    let mut arrivals = std::mem::take(&mut *world.resource_mut::<Arrivals>());
    arrivals.links.clear();
    let links = world.resource::<Links>().iter();
    let speaking = links.filter(|link| link.has_unread());
    arrivals.links.extend(speaking.map(|link| link.id()));
    let mut any = false;
    for at in 0..arrivals.links.len() {
        let link = arrivals.links[at];
        drain(world, link, &mut arrivals);
        if arrivals.frames.is_empty() && arrivals.datagrams.is_empty() {
            continue;
        }
        any = true;
        // The peer is out of the table while it is worked on, so that observers that run
        // meanwhile can use the table.
        let Some(mut peer) = world.resource_mut::<Peers>().take(link) else {
            continue;
        };
        for bytes in arrivals.frames.drain(..) {
            take_frame(world, &mut peer, &bytes);
        }
        for (at, bytes) in arrivals.datagrams.drain(..).rev().enumerate().rev() {
            peer.receiver.datagrams_left = at;
            take_datagram(world, &mut peer, &bytes);
            if peer.receiver.table.waiting() >= show::TOGETHER {
                show::show_waiting(world, &mut peer);
            }
        }
        show::show_waiting(world, &mut peer);
        audit::compare(world, &mut peer);
        hand_out_control(world, &mut peer);
        if peer.receiver.counters.malformed > MAX_MALFORMED && peer.state != PeerState::Ended {
            tracing::warn!(%link, "closed after {MAX_MALFORMED} unreadable datagrams");
            peer.state = PeerState::Ended;
        }
        world.resource_mut::<Peers>().put_back(peer);
    }
    *world.resource_mut::<Arrivals>() = arrivals;
    if any {
        references::relate_waiting(world);
    }
    messages::deliver_waiting(world);
    if any {
        world.resource_mut::<ReplicationStats>().receive_time = started.elapsed();
    }
}

fn open_and_close(world: &mut World) {
    let links = world.resource::<Links>();
    let peers = world.resource::<Peers>();
    // Both ascend by the link's name, and mostly nothing opened or closed.
    let connected = links
        .iter()
        .filter(|link| link.state() == LinkState::Connected);
    if connected
        .map(|link| link.id())
        .eq(peers.map.keys().copied())
    {
        return resume::expire(world);
    }
    let opened: Vec<LinkId> = links
        .iter()
        .filter(|link| link.state() == LinkState::Connected && peers.get(link.id()).is_none())
        .map(|link| link.id())
        .collect();
    let closed: Vec<LinkId> = peers
        .map
        .keys()
        .copied()
        .filter(|id| {
            links
                .get(*id)
                .is_none_or(|link| matches!(link.state(), LinkState::Closed(_)))
        })
        .collect();
    for link in closed {
        let Some(mut peer) = world.resource_mut::<Peers>().map.remove(&link) else {
            continue;
        };
        let left = peer.leaves();
        resume::suspend_or_end(world, peer);
        if let Some(left) = left {
            world.write_message(left);
        }
    }
    resume::expire(world);
    for link in opened {
        on_open(world, link);
    }
}

/// Takes what a link received into the lists.
fn drain(world: &mut World, link: LinkId, arrivals: &mut Arrivals) {
    arrivals.frames.clear();
    arrivals.datagrams.clear();
    let Some(peer) = world.resource::<Peers>().get(link) else {
        return;
    };
    // The channels know nothing of each other's order: rows may come before the welcome. They wait.
    let is_greeting = peer.state == PeerState::Greeting;
    let mut links = world.resource_mut::<Links>();
    let Some(link) = links.get_mut(link) else {
        return;
    };
    for channel in [Channel::Control, Channel::Bulk] {
        if is_greeting && channel == Channel::Bulk {
            continue;
        }
        while let Some(frame) = link.recv_reliable(channel) {
            arrivals.frames.push(frame);
        }
    }
    arrivals.datagrams.extend(link.drain_datagrams());
}

fn take_frame(world: &mut World, peer: &mut Peer, bytes: &[u8]) {
    if refuse_other_version(world, peer, bytes) {
        return;
    }
    let frame: Frame = match codec::decode(bytes) {
        Ok(frame) => frame,
        Err(error) => return malformed(peer, &error.to_string()),
    };
    let Some(frame) = on_frame(world, peer, frame) else {
        return;
    };
    match frame {
        Frame::Message {
            kind,
            tick,
            mentions,
            payload,
        } => {
            let Some(id) = peer.id else { return };
            peer.said.hear();
            let spoken = Spoken {
                kind,
                mentions,
                payload,
            };
            let mut incoming = Incoming::new(world, (peer.link, peer.side, id), tick, spoken);
            incoming.reliable = true;
            if let Err(error) = messages::receive(world, incoming) {
                malformed(peer, &error.to_string());
            }
        }
        Frame::Row(big) => take_big_row(world, peer, &big),
        Frame::Chunk { tag, chunk } => take_chunk(world, peer, tag, &chunk),
        Frame::Handover(offer) if peer.side == LinkSide::ToServer => {
            world.write_message(HandoverOffered {
                link: peer.link,
                offer: *offer,
            });
        }
        Frame::Handover(_) | Frame::Hello(_) | Frame::Welcome(_) | Frame::Refused(_) => {
            malformed(peer, "frame out of turn");
        }
    }
}

fn malformed(peer: &mut Peer, error: &str) {
    peer.receiver.counters.malformed += 1;
    tracing::debug!(link = %peer.link, error, "unreadable");
}

/// Who answers for sets of components that the peer is the first to name. Of a server nobody need: it
/// is the one with the world.
fn inventor(peer: &Peer) -> Option<PeerId> {
    match peer.side {
        LinkSide::ToClient => Some(peer.id.unwrap_or(PeerId(0))),
        LinkSide::ToServer => None,
    }
}

fn take_big_row(world: &mut World, peer: &mut Peer, big: &BigRow) {
    let header = HeaderContext {
        seq: PacketSeq(0),
        sent: PacketSeq(0),
        tick: peer.receiver.tick,
    };
    let registry = world.resource::<Registry>().clone();
    let parsed = {
        let mut rows = world.resource_mut::<Rows>();
        let mut context = ParseContext {
            registry: &registry,
            sets: &mut rows.sets,
            receiver: &peer.receiver,
            header,
            most_unfolded: usize::MAX,
            unfolded: 0,
            inventor: inventor(peer),
            spare: ParsedRows::default(),
        };
        parse_big_row(big, &mut context)
    };
    match parsed {
        Ok(mut rows) => {
            let Some(kept) = rows.iter().next().map(|(row, _)| Control::RowKept {
                yours: row.allocator == Allocator::Peer,
                index: row.index,
                tick: big.tick,
            }) else {
                return;
            };
            if take_rows(world, peer, &mut rows)
                && let Err(error) = peer.send_control(&kept)
            {
                tracing::debug!(%error, "a big row cannot be acknowledged");
            }
        }
        Err(ParseError::NoRoom) => peer.receiver.counters.refused += 1,
        Err(error) => malformed(peer, &error.to_string()),
    }
}

fn take_datagram(world: &mut World, peer: &mut Peer, bytes: &[u8]) {
    if peer.state != PeerState::Ready {
        return;
    }
    peer.receiver.counters.packets += 1;
    peer.shown_key = None;
    let mut parsed = match read_datagram(world, peer, bytes) {
        Ok(parsed) => parsed,
        Err(ParseError::Late(_)) => {
            peer.receiver.counters.late += 1;
            return;
        }
        Err(ParseError::NoRoom) => {
            peer.receiver.counters.refused += 1;
            return;
        }
        Err(error) => return malformed(peer, &error.to_string()),
    };
    let tick = parsed.header.tick;
    let clock = world.resource::<NetClock>();
    if let Some(acks) = &parsed.header.acks {
        let is_timely = !clock.is_after_pause();
        peer.sender.on_acks(acks, clock.now(), is_timely);
    }
    if let Some(seq) = parsed.header.seq
        && !peer.receiver.received.arrive(seq)
    {
        peer.receiver.counters.duplicates += 1;
        return;
    }
    let here = world.resource::<NetClock>().tick();
    peer.receiver.hear(tick, here);
    take_inputs(world, peer, parsed.inputs, parsed.input_ack);
    take_messages(world, peer, tick, parsed.messages);

    peer.receiver.audit.take(tick, parsed.audited);
    let mut kept = peer.receiver.control.has_room(&parsed.control);
    if kept {
        peer.receiver.control.take(parsed.control);
    }
    for leave in &parsed.leaves {
        kept &= leave::take_leave(world, peer, leave, tick);
    }
    kept &= take_rows(world, peer, &mut parsed.rows);
    peer.receiver.spare = parsed.rows;
    if let Some(seq) = parsed.header.seq {
        peer.receiver.received.report(seq, kept);
    }
}

fn read_datagram(world: &mut World, peer: &mut Peer, bytes: &[u8]) -> Result<Parsed, ParseError> {
    let spare = std::mem::take(&mut peer.receiver.spare);
    let here = world.resource::<NetClock>().tick();
    let registry = world.resource::<Registry>().clone();
    let due = world.resource::<NetClock>().due();
    let most_unfolded = match peer.side {
        LinkSide::ToClient => peer.receiver.unfolding.left(due),
        LinkSide::ToServer => usize::MAX,
    };
    let mut rows = world.resource_mut::<Rows>();
    let mut context = ParseContext {
        registry: &registry,
        sets: &mut rows.sets,
        receiver: &peer.receiver,
        header: HeaderContext {
            seq: peer.receiver.received.newest(),
            sent: peer.sender.newest_sent(),
            tick: peer.receiver.near(here),
        },
        most_unfolded,
        unfolded: 0,
        inventor: inventor(peer),
        spare,
    };
    let parsed = parse(bytes, &mut context);
    let unfolded = context.unfolded;
    if peer.side == LinkSide::ToClient {
        peer.receiver.unfolding.spend(unfolded);
    }
    parsed
}

fn take_inputs(
    world: &mut World,
    peer: &mut Peer,
    inputs: Option<seamless_wire::packet::InputBatch>,
    ack: Option<seamless_wire::packet::InputAck>,
) {
    match peer.side {
        LinkSide::ToClient => {
            if let (Some(batch), Some(id)) = (inputs, peer.id) {
                world.resource_mut::<Inboxes>().arrive(id, batch);
            }
        }
        LinkSide::ToServer => {
            if let Some(ack) = ack {
                world.resource_mut::<InputOutbox>().ack(ack);
            }
        }
    }
}

fn take_messages(world: &mut World, peer: &mut Peer, tick: Tick, messages: Vec<Spoken>) {
    let Some(id) = peer.id else { return };
    for spoken in messages {
        let incoming = Incoming::new(world, (peer.link, peer.side, id), tick, spoken);
        if let Err(error) = messages::receive(world, incoming) {
            malformed(peer, &error.to_string());
        }
    }
}

/// Control items that are our own business are done here; the others become messages.
fn hand_out_control(world: &mut World, peer: &mut Peer) {
    let Some(id) = peer.id else { return };
    let other_end = match peer.side {
        LinkSide::ToClient => Speaker::Client,
        LinkSide::ToServer => Speaker::Server,
    };
    // Each may call for an answer.
    let room = peer.control_room().saturating_sub(NOT_FOR_ANSWERS);
    for _ in 0..room {
        let Some(control) = peer.receiver.control.pop() else {
            break;
        };
        let speaker = control.speaker();
        if speaker != other_end && speaker != Speaker::Both {
            peer.receiver.counters.misdirected += 1;
            tracing::debug!(link = %peer.link, ?control, "a control item from the wrong side");
            continue;
        }
        match control {
            Control::RowKept {
                yours: true,
                index,
                tick,
            } => peer.sender.big_row_kept(index, tick),
            Control::RowKept {
                yours: false,
                index,
                tick,
            } => {
                if let Some(slot) = held_slot(world, peer, index) {
                    peer.sender.big_row_kept(slot, tick);
                }
            }
            Control::Names { first, count } => {
                peer.asked_for_names = false;
                take_names(world, first, count.min(names::LENT));
            }
            Control::Heard { messages } => peer.said.came(messages),
            Control::Resend { index, .. } => {
                let now = world.resource::<NetClock>().tick();
                peer.sender.resend(index, now);
            }
            Control::MoreNames => peer.wants_names = true,
            Control::Subscribe(subscription) => {
                interest::hear(world, peer, id, subscription);
            }
            control => {
                world.write_message(ControlReceived {
                    link: peer.link,
                    peer: id,
                    control,
                });
            }
        }
    }
}

/// The local slot of an entity that the peer numbers and we hold.
fn held_slot(world: &World, peer: &Peer, index: u32) -> Option<u32> {
    let told = peer.receiver.table.get(Allocator::Peer, index)?;
    let slots = world.resource::<Slots>();
    let local = slots.index_of(told.global()?)?;
    let slot = slots.get(local)?;
    let source = Some(peer.link);
    let same = slot.remote_name.is_some_and(|name| name.index == index)
        && slot.role() == (crate::Role::Remote { source });
    same.then_some(local)
}

/// Lends a client more names, once a second: more than it may have entities, and nobody uses up
/// what there is by asking.
fn lend_names(slots: &mut Slots, clock: &NetClock, peer: &mut Peer) {
    let second = u32::from(clock.rate());
    if !peer.wants_names || clock.tick().since(peer.lent_names) < second {
        return;
    }
    peer.wants_names = false;
    peer.lent_names = clock.tick();
    let lent = slots.names.lend(names::LENT);
    if let Some((first, count)) = lent {
        peer.lend(first, count);
        if let Err(error) = peer.send_control(&Control::Names { first, count }) {
            tracing::warn!(%error, "names cannot be lent");
        }
    }
}

/// Closes links of peers that ended; asks for names in time. Once a tick, before sending.
pub(crate) fn keep_house(
    mut peers: ResMut<Peers>,
    mut links: ResMut<Links>,
    mut slots: ResMut<Slots>,
    (clock, config): (Res<NetClock>, Res<ReplicationConfig>),
) {
    let low = slots.names_left() < u64::from(names::LENT / 2);
    for peer in peers.iter_mut() {
        if peer.side == LinkSide::ToServer
            && peer.state == PeerState::Ready
            && !peer.spectator
            && low
            && !peer.asked_for_names
        {
            peer.asked_for_names = peer.send_control(&Control::MoreNames).is_ok();
        }
        lend_names(&mut slots, &clock, peer);
        if clock.tick().0.is_multiple_of(clock.rate().into()) {
            peer.say_what_came();
        }
    }
    crate::peer::greet(&mut peers, &mut links, (clock.now(), &config));
}
