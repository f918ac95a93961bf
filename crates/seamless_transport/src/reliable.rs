//! The reliable half of a link: our queues in front of renet and behind it, and the gate between.

use std::{collections::VecDeque, time::Duration};

use bytes::Bytes;

use crate::{
    Channel, LinkError, Refused,
    channel::{MESSAGE_OVERHEAD, SLICE_BYTES},
    engine::Engine,
    flight::Flight,
    gate::{AckRangeGuard, MAX_ACK_RANGES, ReceiveWindow, ReliablePacket, parse_reliable},
    pacing::AckPacer,
};

/// How often renet is asked for what it was not given by us. Whoever sends through its resource, which
/// nobody should, does not wait for ever.
const ASK_EVERY: Duration = Duration::from_millis(200);

/// Bytes by which packets may exceed what they should have, and that are paid for later: those that
/// renet gives at once by default. What exceeds it by more, because the control channel was busy, is not.
const MAX_DEBT: isize = 16 << 10;

/// Messages with a bound on their bytes.
#[derive(Debug, Default)]
struct Queue {
    messages: VecDeque<Bytes>,
    bytes: usize,
}

const fn cost(len: usize) -> usize {
    len + MESSAGE_OVERHEAD
}

impl Queue {
    fn push(&mut self, message: Bytes) {
        self.bytes += cost(message.len());
        self.messages.push_back(message);
    }

    fn pop(&mut self) -> Option<Bytes> {
        let message = self.messages.pop_front()?;
        self.bytes -= cost(message.len());
        Some(message)
    }
}

/// Everything reliable about one link.
///
/// Out: our queue, then renet, as much as renet's bytes and the receiver's window allow. A full
/// renet channel would end the connection; a full queue of ours is an error to the caller.
/// In: the gate, renet, then our queue. When nobody reads, the gate refuses packets, which are
/// then not acknowledged and come again: the sender slows down, nothing grows.
#[derive(Debug)]
pub(crate) struct Reliable {
    out: [Queue; 2],
    inn: [Queue; 2],
    windows: [ReceiveWindow; 2],
    ranges: AckRangeGuard,
    flight: Flight,
    /// Where renet was given something and did not say since that all of it is acknowledged.
    open: [bool; 2],
    /// When it was asked last, wherever it was.
    asked: Duration,
    acks: AckPacer,
    /// Bytes of packets that may leave now; below zero if more left than should have.
    credit: isize,
    /// Bytes of packets that left at the last flush.
    sent_bytes: usize,
    /// renet may hold messages that our full queue did not take.
    held_back: bool,
}

impl Default for Reliable {
    fn default() -> Self {
        Self {
            out: Default::default(),
            inn: Default::default(),
            windows: Channel::ALL.map(ReceiveWindow::new),
            ranges: AckRangeGuard::default(),
            flight: Flight::default(),
            open: [false; 2],
            asked: Duration::ZERO,
            acks: AckPacer::default(),
            credit: 0,
            sent_bytes: 0,
            held_back: false,
        }
    }
}

impl Reliable {
    pub(crate) fn send(&mut self, channel: Channel, message: Bytes) -> Result<(), LinkError> {
        let (len, max) = (message.len(), channel.max_message());
        if len == 0 {
            return Err(LinkError::Empty);
        }
        if len > max {
            return Err(LinkError::TooLong { len, max });
        }
        let queue = &mut self.out[channel as usize];
        if queue.bytes + cost(len) > channel.max_backlog() {
            return Err(LinkError::Backpressure(channel));
        }
        queue.push(message);
        Ok(())
    }

    pub(crate) fn recv(&mut self, channel: Channel) -> Option<Bytes> {
        self.inn[channel as usize].pop()
    }

    pub(crate) fn has_unread(&self) -> bool {
        self.inn.iter().any(|queue| !queue.messages.is_empty())
    }

    /// A message that a recording gives: as if the engine had.
    pub(crate) fn play(&mut self, channel: Channel, message: Bytes) {
        self.inn[channel as usize].push(message);
    }

    /// Drops what waits to be sent, each of so many bytes.
    pub(crate) fn discard(&mut self, mut each: impl FnMut(usize)) {
        for queue in &mut self.out {
            while let Some(message) = queue.pop() {
                each(message.len());
            }
        }
    }

    /// Bytes waiting in front of renet, unacknowledged messages, bytes not read.
    pub(crate) fn backlog(&self) -> (usize, usize, usize) {
        let bytes = |queues: &[Queue; 2]| queues.iter().map(|queue| queue.bytes).sum();
        (bytes(&self.out), self.flight.len(), bytes(&self.inn))
    }

    /// Nothing waits to be sent or acknowledged.
    pub(crate) fn is_settled(&self, engine: &dyn Engine) -> bool {
        self.out.iter().all(|queue| queue.messages.is_empty())
            && Channel::ALL
                .iter()
                .all(|channel| engine.is_settled(*channel))
    }

    /// Gives renet a packet that the gate let through.
    pub(crate) fn accept(&mut self, bytes: &[u8], engine: &mut dyn Engine) -> Result<(), Refused> {
        let packet = parse_reliable(bytes)?;
        // Both guards or neither: a refused packet must not look received.
        let mut ranges = self.ranges;
        ranges.admit(packet.sequence())?;
        match packet {
            ReliablePacket::Messages {
                channel, messages, ..
            } => {
                self.windows[channel as usize].admit_messages(messages)?;
                self.acks.on_data();
            }
            ReliablePacket::Slice { channel, slice, .. } => {
                self.windows[channel as usize].admit_slice(slice)?;
                self.acks.on_data();
            }
            ReliablePacket::Acks { acks, .. } => {
                self.flight.acknowledge(acks)?;
                self.acks.on_acks(acks.count());
            }
        }
        self.ranges = ranges;
        engine.process(bytes);
        self.collect(engine);
        Ok(())
    }

    /// Moves what renet still holds, if there is room now.
    pub(crate) fn catch_up(&mut self, engine: &mut dyn Engine) {
        if self.held_back {
            self.collect(engine);
        }
    }

    /// Moves what renet has in order to our queue, as long as there is room.
    fn collect(&mut self, engine: &mut dyn Engine) {
        self.held_back = false;
        for channel in Channel::ALL {
            let queue = &mut self.inn[channel as usize];
            while let Some(message) = (queue.bytes < channel.unread_bytes())
                .then(|| engine.receive(channel))
                .flatten()
            {
                self.windows[channel as usize].read();
                queue.push(message);
            }
            self.held_back |= queue.bytes >= channel.unread_bytes();
        }
    }

    /// The packets of this tick, each handed to `send`. Call once a tick, after renet's update.
    ///
    /// `room`: how many bytes they should have. What is on the bulk channel waits until that much has come
    /// together. What is on the control channel does not, and takes with it what else renet has: in one
    /// call it gives the packets of both.
    ///
    /// `false` when nothing waits, is unacknowledged, or must be acknowledged. It costs next to
    /// nothing then: renet is asked [now and then](ASK_EVERY).
    pub(crate) fn flush(
        &mut self,
        (now, room): (Duration, Option<usize>),
        engine: &mut dyn Engine,
        mut send: impl FnMut(&[u8]),
    ) -> bool {
        self.credit = match room.map(isize::try_from) {
            Some(Ok(room)) => {
                let most = room.max(SLICE_BYTES as isize);
                let credit = self.credit.max(-MAX_DEBT);
                credit.saturating_add(room).min(most)
            }
            _ => isize::MAX,
        };
        self.sent_bytes = 0;
        self.flight.expire(now);
        let ask = now.saturating_sub(self.asked) >= ASK_EVERY;
        if ask {
            self.asked = now;
        }
        for channel in Channel::ALL {
            self.feed(channel, engine);
            let open = &mut self.open[channel as usize];
            if *open || ask {
                *open = !engine.is_settled(channel);
                if !*open {
                    self.flight.settle(channel);
                }
            }
        }
        let open = self.open.contains(&true);
        let ack = self.acks.is_due(now);
        // renet writes its ranges into every acknowledgement, so asking it also tells their
        // number when the guard's bound has grown.
        if !open && !ack && self.ranges.ranges() <= MAX_ACK_RANGES / 2 {
            return false;
        }
        let waits = self.credit <= 0 && open && !self.open[Channel::Control as usize];
        if waits && !ack {
            return true;
        }
        // Asked twice, renet would number two acknowledgements of which one does not go, and the gaps
        // between the numbers of what does are more than the other end can keep.
        let mut ranges = 0;
        for packet in engine.packets() {
            // An empty packet, which renet makes before a message of nearly a slice, is no packet
            // to our gate either.
            let Ok(parsed) = parse_reliable(&packet) else {
                continue;
            };
            self.flight.send(now, &parsed);
            if let ReliablePacket::Acks { acks, .. } = parsed {
                ranges = acks.count();
                if !ack {
                    continue;
                }
                self.acks.on_sent(now);
            } else {
                self.sent_bytes += packet.len();
            }
            send(&packet);
        }
        self.credit = self.credit.saturating_sub_unsigned(self.sent_bytes);
        self.ranges.refresh(ranges);
        true
    }

    /// Bytes of packets that left at the last flush, acknowledgements not counted.
    pub(crate) const fn sent_bytes(&self) -> usize {
        self.sent_bytes
    }

    fn feed(&mut self, channel: Channel, engine: &mut dyn Engine) {
        let queue = &mut self.out[channel as usize];
        let mut fed = 0;
        while let Some(next) = queue.messages.front() {
            self.open[channel as usize] = true;
            let is_due = channel == Channel::Control || fed < self.credit;
            fed = fed.saturating_add_unsigned(next.len());
            if !is_due || next.len() > engine.free_bytes(channel) || !self.flight.has_room(channel)
            {
                break;
            }
            let Some(message) = queue.pop() else { break };
            self.flight.give(channel, message.len());
            engine.send(channel, message);
        }
    }
}
