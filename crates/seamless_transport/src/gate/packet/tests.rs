use std::time::Duration;

use proptest::prelude::*;
use renet::RenetClient;

use super::*;
use crate::{
    LinkSide, TransportConfig,
    channel::connection_config,
    gate::{AckRangeGuard, ReceiveWindow, WINDOW},
};

fn varint(out: &mut Vec<u8>, value: u64) {
    match value {
        0..64 => out.push(value as u8),
        64..16_384 => out.extend((value as u16 | 0x4000).to_be_bytes()),
        16_384..0x4000_0000 => out.extend((value as u32 | 0x8000_0000).to_be_bytes()),
        _ => out.extend((value | 0xc000_0000_0000_0000).to_be_bytes()),
    }
}

fn varints(out: &mut Vec<u8>, values: &[u64]) {
    values.iter().for_each(|value| varint(out, *value));
}

fn messages(sequence: u64, channel: u8, list: &[(u64, usize)]) -> Vec<u8> {
    let mut out = vec![0];
    varint(&mut out, sequence);
    out.push(channel);
    out.extend((list.len() as u16).to_be_bytes());
    for (id, len) in list {
        varints(&mut out, &[*id, *len as u64]);
        out.extend(std::iter::repeat_n(7, *len));
    }
    out
}

fn slice(sequence: u64, channel: u8, message: u64, piece: [u64; 2], len: usize) -> Vec<u8> {
    let mut out = vec![2];
    varint(&mut out, sequence);
    out.push(channel);
    varints(&mut out, &[message, piece[0], piece[1], len as u64]);
    out.extend(std::iter::repeat_n(7, len));
    out
}

fn acks(sequence: u64, end: u64, size: u64, more: &[(u64, u64)]) -> Vec<u8> {
    let mut out = vec![4];
    varints(&mut out, &[sequence, end, size, more.len() as u64]);
    for (gap, size) in more {
        varints(&mut out, &[*gap, *size]);
    }
    out
}

/// renet behind the gate, as it stands in a link.
struct Guarded {
    renet: RenetClient,
    windows: [ReceiveWindow; 2],
    ranges: AckRangeGuard,
}

impl Guarded {
    fn new() -> Self {
        let config = connection_config(LinkSide::ToServer, &TransportConfig::default());
        let mut renet = RenetClient::new(config);
        renet.set_connected();
        Self {
            renet,
            windows: Channel::ALL.map(ReceiveWindow::new),
            ranges: AckRangeGuard::default(),
        }
    }

    fn feed(&mut self, bytes: &[u8]) -> Result<(), Refused> {
        let packet = parse_reliable(bytes)?;
        let mut ranges = self.ranges;
        ranges.admit(packet.sequence())?;
        match packet {
            ReliablePacket::Messages {
                channel, messages, ..
            } => self.windows[channel as usize].admit_messages(messages)?,
            ReliablePacket::Slice { channel, slice, .. } => {
                self.windows[channel as usize].admit_slice(slice)?;
            }
            ReliablePacket::Acks { .. } => {}
        }
        self.ranges = ranges;
        self.renet.process_packet(bytes);
        Ok(())
    }

    fn read(&mut self) {
        for channel in Channel::ALL {
            while self.renet.receive_message(channel as u8).is_some() {
                self.windows[channel as usize].read();
            }
        }
    }

    fn tick(&mut self) {
        self.renet.update(Duration::from_millis(33));
        for packet in self.renet.get_packets_to_send() {
            assert!(packet.len() <= 1300);
            if let ReliablePacket::Acks { acks, .. } = parse_reliable(&packet).unwrap() {
                assert!(acks.count() <= self.ranges.ranges());
                self.ranges.refresh(acks.count());
            }
        }
    }
}

#[test]
fn what_renet_sends_passes() {
    let config = connection_config(LinkSide::ToServer, &TransportConfig::default());
    let mut sender = RenetClient::new(config);
    sender.set_connected();
    for len in [1, 40, 1190, 1201, 5000, 64 * 1024] {
        sender.send_message(0, vec![9; len]);
        sender.send_message(1, vec![9; len]);
    }
    let mut guarded = Guarded::new();
    let mut count = 0;
    for _ in 0..40 {
        sender.update(Duration::from_millis(33));
        for packet in sender.get_packets_to_send() {
            guarded.feed(&packet).unwrap();
            count += 1;
        }
        guarded.read();
        guarded.renet.update(Duration::from_millis(33));
        for packet in guarded.renet.get_packets_to_send() {
            assert!(matches!(
                parse_reliable(&packet),
                Ok(ReliablePacket::Acks { .. })
            ));
            sender.process_packet(&packet);
        }
    }
    assert!(count > 100);
    assert!(guarded.windows.iter().all(|window| window.reserved() == 0));
}

#[test]
fn a_slice_index_out_of_range_is_refused() {
    for index in [2, 3, 5, 1 << 40] {
        let packet = slice(0, 0, 0, [index, 2], SLICE_BYTES);
        assert_eq!(parse_reliable(&packet), Err(Refused::BadSlice), "{index}");
    }
}

#[test]
fn a_changed_number_of_slices_is_refused() {
    let mut guarded = Guarded::new();
    guarded.feed(&slice(0, 1, 0, [0, 4], SLICE_BYTES)).unwrap();
    let changed = slice(1, 1, 0, [1, 3], SLICE_BYTES);
    assert_eq!(guarded.feed(&changed), Err(Refused::ChangedMessage));
    guarded.feed(&slice(2, 1, 0, [1, 4], SLICE_BYTES)).unwrap();
    assert!(guarded.renet.is_connected());
}

#[test]
fn a_message_is_either_whole_or_in_slices() {
    let mut guarded = Guarded::new();
    guarded.feed(&slice(0, 0, 1, [0, 2], SLICE_BYTES)).unwrap();
    assert_eq!(
        guarded.feed(&messages(1, 0, &[(1, 9)])),
        Err(Refused::ChangedMessage)
    );
    guarded.feed(&messages(2, 0, &[(2, 9)])).unwrap();
    let sliced = slice(3, 0, 2, [0, 2], SLICE_BYTES);
    assert_eq!(guarded.feed(&sliced), Err(Refused::ChangedMessage));
}

#[test]
fn slices_of_wrong_counts_and_lengths_are_refused() {
    let over = u64::from(Channel::Control.max_slices()) + 1;
    for (piece, len) in [
        ([0, 0], SLICE_BYTES),
        ([0, 1], 40),
        ([0, over], SLICE_BYTES),
        ([0, 1_000_000], SLICE_BYTES),
        ([0, 2], SLICE_BYTES - 1),
        ([0, 2], SLICE_BYTES + 1),
        ([1, 2], SLICE_BYTES + 1),
        ([0, 2], 0),
        ([1, 2], 0),
    ] {
        let packet = slice(0, 0, 0, piece, len);
        assert_eq!(
            parse_reliable(&packet),
            Err(Refused::BadSlice),
            "{piece:?} {len}"
        );
    }
    assert!(parse_reliable(&slice(0, 0, 0, [1, 2], 1)).is_ok());
    assert!(parse_reliable(&slice(0, 1, 0, [0, over], SLICE_BYTES)).is_ok());
}

#[test]
fn unreliable_packets_and_unknown_channels_are_refused() {
    for kind in [1, 3] {
        let mut packet = messages(0, 0, &[(0, 4)]);
        packet[0] = kind;
        assert_eq!(parse_reliable(&packet), Err(Refused::UnreliablePacket));
    }
    for channel in 2..=255 {
        let packets = [
            messages(0, channel, &[(0, 4)]),
            slice(0, channel, 0, [1, 2], 4),
        ];
        for packet in packets {
            assert_eq!(parse_reliable(&packet), Err(Refused::UnknownChannel));
        }
    }
    for kind in 5..=255 {
        assert_eq!(parse_reliable(&[kind, 0, 0]), Err(Refused::UnknownPayload));
    }
}

#[test]
fn empty_packets_and_empty_messages_are_refused() {
    assert_eq!(parse_reliable(&[]), Err(Refused::Truncated));
    assert_eq!(
        parse_reliable(&messages(0, 0, &[])),
        Err(Refused::EmptyMessage)
    );
    let packet = messages(0, 0, &[(0, 1), (1, 0)]);
    assert_eq!(parse_reliable(&packet), Err(Refused::EmptyMessage));
}

#[test]
fn message_numbers_must_rise() {
    let packet = messages(0, 0, &[(5, 1), (5, 1)]);
    assert_eq!(parse_reliable(&packet), Err(Refused::BadMessage));
    let packet = messages(0, 0, &[(5, 1), (4, 1)]);
    assert_eq!(parse_reliable(&packet), Err(Refused::BadMessage));
}

#[test]
fn every_cut_and_every_tail_is_refused() {
    for packet in [
        messages(70_000, 0, &[(5, 1), (600, 90)]),
        slice(1 << 40, 1, 1 << 20, [1, 2], 44),
        acks(3, 5000, 100, &[(3, 5), (100, 0)]),
    ] {
        assert!(parse_reliable(&packet).is_ok());
        for len in 0..packet.len() {
            assert_eq!(
                parse_reliable(&packet[..len]),
                Err(Refused::Truncated),
                "{len}"
            );
        }
        let longer = [&packet[..], &[0]].concat();
        assert_eq!(parse_reliable(&longer), Err(Refused::Trailing));
    }
}

#[test]
fn ack_ranges_below_zero_are_refused() {
    assert_eq!(parse_reliable(&acks(0, 5, 6, &[])), Err(Refused::BadAck));
    assert_eq!(
        parse_reliable(&acks(0, 5, 4, &[(0, 0)])),
        Err(Refused::BadAck)
    );
    assert_eq!(
        parse_reliable(&acks(0, 5, 0, &[(4, 0)])),
        Err(Refused::BadAck)
    );
    assert_eq!(
        parse_reliable(&acks(0, 5, 0, &[(3, 1)])),
        Err(Refused::BadAck)
    );
    assert!(parse_reliable(&acks(0, 5, 0, &[(3, 0)])).is_ok());
    let huge = (1 << 62) - 1;
    assert!(parse_reliable(&acks(huge, huge, huge, &[])).is_ok());
    assert_eq!(
        parse_reliable(&acks(0, 5, 0, &[(huge, huge)])),
        Err(Refused::BadAck)
    );
}

#[test]
fn an_absurd_number_of_ack_ranges_is_refused() {
    let most = MAX_ACK_RANGES as usize - 1;
    let ok = acks(0, 1000, 0, &vec![(0, 0); most]);
    assert!(parse_reliable(&ok).is_ok());
    let many = acks(0, 1000, 0, &vec![(0, 0); most + 1]);
    assert_eq!(parse_reliable(&many), Err(Refused::BadAck));
    let mut claims = vec![4];
    varints(&mut claims, &[0, 9, 0, (1 << 62) - 1]);
    assert_eq!(parse_reliable(&claims), Err(Refused::BadAck));
}

#[test]
fn ack_ranges_read_back_as_they_were_meant() {
    let packet = acks(0, 20_039, 4, &[(13, 9)]);
    let Ok(ReliablePacket::Acks { acks, .. }) = parse_reliable(&packet) else {
        panic!("not an ack");
    };
    let ranges: Vec<_> = acks.ranges().collect();
    assert_eq!(ranges, [20_035..=20_039, 20_011..=20_020]);
    assert_eq!((acks.newest(), acks.count()), (Some(20_039), 2));
}

#[test]
fn late_packets_with_gaps_do_not_break_the_acknowledgements() {
    let mut guarded = Guarded::new();
    for round in 0..40u64 {
        let top = 3000 * (round + 1);
        for i in 0..700 {
            let _ = guarded.feed(&messages(top - 2 * i, 0, &[(0, 1)]));
        }
        guarded.tick();
        assert!(guarded.renet.is_connected());
    }
}

#[test]
fn tiny_messages_far_ahead_do_not_fill_memory() {
    let mut guarded = Guarded::new();
    let taken = (0..100_000)
        .filter(|i| guarded.feed(&messages(*i, 0, &[(1 + i * 7, 1)])).is_ok())
        .count();
    assert!(taken as u64 <= WINDOW / 7 + 1, "{taken}");
}

fn hostile() -> impl Strategy<Value = Vec<u8>> {
    let id = prop_oneof![
        0u64..6,
        0u64..1200,
        Just(1 << 40),
        any::<u64>().prop_map(|n| n >> 2)
    ];
    let sequence = prop_oneof![0u64..40, 0u64..5000, Just(1 << 40)];
    let len = prop_oneof![Just(SLICE_BYTES), Just(0usize), 0usize..1301];
    let piece = prop_oneof![
        (0u64..4, 2u64..4),
        (0u64..100, 0u64..100),
        (any::<u64>().prop_map(|n| n >> 2), Just(1_000_000)),
    ]
    .prop_map(|(index, count)| [index, count]);
    prop_oneof![
        4 => (sequence.clone(), 0u8..3, proptest::collection::vec((id.clone(), 0usize..40), 0..5))
            .prop_map(|(sequence, channel, list)| messages(sequence, channel, &list)),
        4 => (sequence.clone(), 0u8..3, id.clone(), piece, len)
            .prop_map(|(s, channel, id, piece, len)| slice(s, channel, id, piece, len)),
        2 => (sequence.clone(), id.clone(), id, proptest::collection::vec((0u64..9, 0u64..9), 0..80))
            .prop_map(|(s, end, size, more)| acks(s, end, size, &more)),
        1 => proptest::collection::vec(any::<u8>(), 0..60),
    ]
}

proptest! {
    #[test]
    fn nothing_that_passes_ends_the_connection(
        steps in proptest::collection::vec((hostile(), 0u8..16), 1..300)
    ) {
        let mut guarded = Guarded::new();
        guarded.renet.send_message(0, vec![1; 5000]);
        guarded.renet.send_message(1, vec![1; 50]);
        for (packet, then) in steps {
            let _ = guarded.feed(&packet);
            match then {
                0 => guarded.read(),
                1 => guarded.tick(),
                _ => {}
            }
            prop_assert!(!guarded.renet.is_disconnected());
        }
    }
}
