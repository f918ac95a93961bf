//! What renet sent and the peer did not acknowledge yet.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    Channel, Refused,
    channel::SLICE_BYTES,
    gate::{Acks, MAX_IN_FLIGHT, ReliablePacket},
};

/// renet forgets a sent packet after this time; its content is sent again under another number.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(3);

/// A mirror of renet's sending side, kept by reading the packets that it makes.
///
/// renet says only how many bytes are unacknowledged. The receiver's window counts messages, so
/// the sender must as well: see [`MAX_IN_FLIGHT`].
#[derive(Debug, Default)]
pub(crate) struct Flight {
    /// Packets by number.
    sent: BTreeMap<u64, Sent>,
    channels: [InFlight; 2],
    /// The number the next packet has at least.
    next: u64,
}

#[derive(Debug)]
struct Sent {
    at: Duration,
    channel: Channel,
    content: Content,
}

#[derive(Debug)]
enum Content {
    Messages(Vec<u64>),
    Slice(u64, u32),
}

#[derive(Debug, Default)]
struct InFlight {
    /// Messages given to renet so far, and the number of the next.
    given: u64,
    /// Unacknowledged ones.
    open: BTreeMap<u64, Open>,
}

/// An unacknowledged message: whole, or which of its slices are acknowledged.
#[derive(Debug)]
enum Open {
    Whole,
    Sliced { acked: Vec<bool>, left: usize },
}

impl Flight {
    /// Whether one more message may be given to renet.
    pub(crate) fn has_room(&self, channel: Channel) -> bool {
        let flight = &self.channels[channel as usize];
        let oldest = flight
            .open
            .first_key_value()
            .map_or(flight.given, |(id, _)| *id);
        flight.given - oldest < MAX_IN_FLIGHT
    }

    /// Unacknowledged messages.
    pub(crate) fn len(&self) -> usize {
        self.channels.iter().map(|flight| flight.open.len()).sum()
    }

    /// Notes that renet was given a message.
    pub(crate) fn give(&mut self, channel: Channel, len: usize) {
        let flight = &mut self.channels[channel as usize];
        let open = if len > SLICE_BYTES {
            let left = len.div_ceil(SLICE_BYTES);
            Open::Sliced {
                acked: vec![false; left],
                left,
            }
        } else {
            Open::Whole
        };
        flight.open.insert(flight.given, open);
        flight.given += 1;
    }

    /// Notes that renet has nothing unacknowledged on a channel, whatever the mirror shows.
    pub(crate) fn settle(&mut self, channel: Channel) {
        self.channels[channel as usize].open.clear();
    }

    /// Notes a packet that renet made.
    pub(crate) fn send(&mut self, now: Duration, packet: &ReliablePacket<'_>) {
        self.next = self.next.max(packet.sequence() + 1);
        let (channel, content) = match packet {
            ReliablePacket::Messages {
                channel, messages, ..
            } => (*channel, Content::Messages(messages.ids().collect())),
            ReliablePacket::Slice { channel, slice, .. } => {
                (*channel, Content::Slice(slice.message, slice.index))
            }
            ReliablePacket::Acks { .. } => return,
        };
        let sent = Sent {
            at: now,
            channel,
            content,
        };
        self.sent.insert(packet.sequence(), sent);
    }

    /// Takes the peer's acknowledgements.
    ///
    /// # Errors
    /// [`Refused::AckOfUnsent`], and nothing is taken.
    pub(crate) fn acknowledge(&mut self, acks: Acks<'_>) -> Result<(), Refused> {
        if acks.newest().is_none_or(|newest| newest >= self.next) {
            return Err(Refused::AckOfUnsent);
        }
        for range in acks.ranges() {
            while let Some((&number, _)) = self.sent.range(range.clone()).next() {
                if let Some(sent) = self.sent.remove(&number) {
                    self.channels[sent.channel as usize].close(&sent.content);
                }
            }
        }
        Ok(())
    }

    /// Forgets what renet has forgotten. `now` is renet's clock after its update.
    pub(crate) fn expire(&mut self, now: Duration) {
        while let Some(oldest) = self.sent.first_entry() {
            if now.saturating_sub(oldest.get().at) < FORGOTTEN_AFTER {
                break;
            }
            oldest.remove();
        }
    }
}

impl InFlight {
    fn close(&mut self, content: &Content) {
        match content {
            Content::Messages(ids) => {
                for id in ids {
                    self.open.remove(id);
                }
            }
            Content::Slice(id, index) => {
                let Some(Open::Sliced { acked, left }) = self.open.get_mut(id) else {
                    return;
                };
                if let Some(acked) = acked.get_mut(*index as usize)
                    && !*acked
                {
                    *acked = true;
                    *left -= 1;
                }
                if *left == 0 {
                    self.open.remove(id);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use renet::RenetClient;

    use super::*;
    use crate::{
        LinkSide, TransportConfig,
        channel::connection_config,
        gate::{Acks, parse_reliable},
    };

    const SECOND: Duration = Duration::from_secs(1);

    fn engine() -> RenetClient {
        let config = connection_config(LinkSide::ToServer, &TransportConfig::default());
        let mut renet = RenetClient::new(config);
        renet.set_connected();
        renet
    }

    /// Sends all of a flight; the packets' numbers.
    fn send(flight: &mut Flight, renet: &mut RenetClient, now: Duration) -> Vec<u64> {
        let packets = renet.get_packets_to_send();
        let parsed = packets.iter().map(|packet| parse_reliable(packet).unwrap());
        parsed
            .map(|packet| {
                flight.send(now, &packet);
                packet.sequence()
            })
            .collect()
    }

    fn with_ack_of<T>(number: u64, then: impl FnOnce(Acks<'_>) -> T) -> T {
        let packet = [4, 0, number as u8, 0, 0];
        let Ok(ReliablePacket::Acks { acks, .. }) = parse_reliable(&packet) else {
            panic!("not an ack");
        };
        then(acks)
    }

    fn acknowledge(flight: &mut Flight, number: u64) -> Result<(), Refused> {
        with_ack_of(number, |acks| flight.acknowledge(acks))
    }

    #[test]
    fn a_sliced_message_is_open_until_its_last_slice() {
        let (mut flight, mut renet) = (Flight::default(), engine());
        renet.send_message(1, vec![0; 3000]);
        flight.give(Channel::Bulk, 3000);
        let numbers = send(&mut flight, &mut renet, Duration::ZERO);
        assert_eq!(numbers, [0, 1, 2]);
        for number in numbers {
            assert_eq!(flight.len(), 1);
            acknowledge(&mut flight, number).unwrap();
        }
        assert_eq!(flight.len(), 0);
    }

    #[test]
    fn what_was_never_sent_cannot_be_acknowledged() {
        let (mut flight, mut renet) = (Flight::default(), engine());
        assert_eq!(acknowledge(&mut flight, 0), Err(Refused::AckOfUnsent));
        renet.send_message(0, vec![0; 10]);
        flight.give(Channel::Control, 10);
        send(&mut flight, &mut renet, Duration::ZERO);
        assert_eq!(acknowledge(&mut flight, 1), Err(Refused::AckOfUnsent));
        assert_eq!(acknowledge(&mut flight, 0), Ok(()));
        assert_eq!(acknowledge(&mut flight, 0), Ok(()));
    }

    #[test]
    fn an_acknowledgement_after_three_seconds_counts_for_nothing_as_in_renet() {
        let (mut flight, mut renet) = (Flight::default(), engine());
        renet.send_message(0, vec![0; 10]);
        flight.give(Channel::Control, 10);
        send(&mut flight, &mut renet, Duration::ZERO);
        renet.update(3 * SECOND);
        flight.expire(3 * SECOND);
        acknowledge(&mut flight, 0).unwrap();
        renet.process_packet(&[4, 0, 0, 0, 0]);
        assert_eq!(flight.len(), 1);
        assert_eq!(send(&mut flight, &mut renet, 3 * SECOND)[0], 1);
    }

    #[test]
    fn a_flight_is_full_until_its_oldest_message_is_acknowledged() {
        let mut flight = Flight::default();
        for _ in 0..MAX_IN_FLIGHT {
            assert!(flight.has_room(Channel::Control));
            flight.give(Channel::Control, 1);
        }
        assert!(!flight.has_room(Channel::Control));
        assert!(flight.has_room(Channel::Bulk));
        flight.settle(Channel::Control);
        assert!(flight.has_room(Channel::Control));
    }
}
