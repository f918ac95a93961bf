//! Records in blocks, whole, cut and damaged.

use proptest::prelude::*;
use seamless_wire::{
    Tick, WireError,
    recording::{
        BLOCK_HEAD_BYTES, MAX_BLOCK, Record, RecordBuilder, RecordedEvent, RecordedLink,
        RecordedPeer, RecordingError, RecordingHead, RecordingReader, put_block,
    },
    schema::Schema,
    snapshot::{Plain, digest},
};

const LINK: RecordedLink = RecordedLink {
    index: 3,
    generation: 1,
};

fn peer() -> RecordedPeer {
    RecordedPeer {
        to_server: true,
        address: Some("127.0.0.1:99".parse().expect("an address")),
        memory: 0,
        netcode_id: 77,
        user_data: Some(vec![5; 256]),
    }
}

/// One of each kind.
fn events(long: &[u8]) -> Vec<RecordedEvent<'_>> {
    vec![
        RecordedEvent::Opened(LINK, peer()),
        RecordedEvent::Received(LINK, &[0x80, 1]),
        RecordedEvent::ReceivedReliable(LINK, 1, long),
        RecordedEvent::Flushed,
        RecordedEvent::Closed(LINK, 4),
        RecordedEvent::Sent(LINK, &[0x81, 2, 3]),
        RecordedEvent::SentReliable(LINK, 0, &[9]),
    ]
}

fn frame(events: &[RecordedEvent<'_>], out: &mut Vec<u8>) {
    let mut builder = RecordBuilder::default();
    for event in events {
        builder.event(event).expect("within bounds");
    }
    builder.finish(33_333_333, Tick(12), out);
    assert!(builder.is_empty());
}

/// Three records in blocks of this size.
fn written(long: &[u8], block: usize) -> Vec<u8> {
    let mut records = Vec::new();
    frame(&events(long), &mut records);
    Record::Gap { frames: 9 }.write(&mut records);
    Record::End { full: true }.write(&mut records);
    let mut out = Vec::new();
    for piece in records.chunks(block) {
        put_block(piece, &Plain, &mut out);
    }
    out
}

/// Reads, given so many bytes at a time.
fn read(bytes: &[u8], at_once: usize) -> (Vec<Record>, Result<(), RecordingError>) {
    let mut reader = RecordingReader::default();
    let mut records = Vec::new();
    for piece in bytes.chunks(at_once) {
        reader.push(piece);
        loop {
            match reader.next(&Plain) {
                Ok(Some(record)) => records.push(record),
                Ok(None) => break,
                Err(error) => {
                    assert_eq!(reader.next(&Plain), Err(error.clone()), "it stays so");
                    return (records, Err(error));
                }
            }
        }
    }
    assert_eq!(reader.records(), records.len() as u64);
    let end = reader.finish();
    (records, end)
}

#[test]
fn records_come_back_however_they_are_cut_into_blocks_and_reads() {
    let long = vec![7; 3000];
    for block in [1, 5, 100, 1 << 20] {
        for at_once in [1, 17, 1 << 20] {
            let (records, end) = read(&written(&long, block), at_once);
            assert_eq!(end, Ok(()));
            let [Record::Frame(frame), rest @ ..] = &records[..] else {
                panic!("{records:?}");
            };
            assert_eq!((frame.delta, frame.tick), (33_333_333, Tick(12)));
            let back: Result<Vec<_>, _> = frame.events().collect();
            assert_eq!(back, Ok(events(&long)));
            assert_eq!(
                rest,
                [Record::Gap { frames: 9 }, Record::End { full: true }]
            );
        }
    }
}

#[test]
fn a_record_larger_than_a_block_comes_back() {
    let long = vec![7; 2 * MAX_BLOCK + 5];
    let (records, end) = read(&written(&long, usize::MAX), 64 << 10);
    assert_eq!((records.len(), end), (3, Ok(())));
}

#[test]
fn what_was_cut_is_read_up_to_there_and_says_so() {
    let bytes = written(&[7; 30], 100);
    for len in 0..bytes.len() {
        let (records, end) = read(&bytes[..len], 64);
        let cut = RecordingError::Cut {
            records: records.len() as u64,
        };
        // Between two records there is nothing wrong.
        assert!(end == Err(cut) || end == Ok(()), "{len}: {end:?}");
        assert!(
            end.is_err() || len == 0,
            "{len}: no block ends where a record does"
        );
    }
}

#[test]
fn damage_anywhere_is_noticed() {
    let bytes = written(&[7; 30], 100);
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1 << bit;
            let (_, end) = read(&damaged, 1 << 20);
            assert!(end.is_err(), "{at} {bit}");
        }
    }
}

/// A block with a correct digest around these bytes.
fn block(original: u32, stored: &[u8]) -> Vec<u8> {
    let mut out = (stored.len() as u32).to_le_bytes().to_vec();
    out.extend(original.to_le_bytes());
    out.extend(digest(stored).to_le_bytes());
    out.extend(stored);
    out
}

#[test]
fn blocks_that_lie_about_their_lengths_are_refused() {
    let over = MAX_BLOCK as u32 + 1;
    for lie in [
        block(4, &[1, 2, 3]),
        block(2, &[1, 2, 3]),
        block(over, &[1]),
    ] {
        let (_, end) = read(&lie, 100);
        assert!(
            matches!(end, Err(RecordingError::Block { block: 0, .. })),
            "{end:?}"
        );
    }
    // More than a block ever takes is refused before it is there.
    let mut huge = vec![0xff; BLOCK_HEAD_BYTES];
    huge[4..8].copy_from_slice(&[1, 0, 0, 0]);
    let (_, end) = read(&huge, 100);
    assert!(matches!(end, Err(RecordingError::Block { .. })), "{end:?}");
}

#[test]
fn records_that_make_no_sense_are_refused() {
    let head = |kind: u8, len: u32| {
        let mut record = vec![kind];
        record.extend(len.to_le_bytes());
        record
    };
    let with = |kind, content: &[u8]| {
        let mut record = head(kind, content.len() as u32);
        record.extend(content);
        record
    };
    let event = |event: &[u8]| with(0, &[&[0; 12], event].concat());
    for (what, record) in [
        ("too long", head(0, u32::MAX)),
        ("no such kind", with(3, &[])),
        ("a frame without a time", with(0, &[0; 11])),
        ("a gap with a tail", with(1, &[0; 5])),
        ("an end without a reason", with(2, &[])),
        ("a frame that took an age", with(0, &[0xff; 12])),
        ("no such event", event(&[7, 0, 0, 0, 0])),
        ("an event without a link", event(&[1, 0, 0])),
        ("a datagram past the end", event(&[2, 0, 0, 0, 0, 9, 0, 1])),
        (
            "a frame past the end",
            event(&[3, 0, 0, 0, 0, 1, 255, 255, 255, 255]),
        ),
        (
            "a peer that is none",
            event(&[0, 0, 0, 0, 0, 1, 0, 0, 0, 7]),
        ),
    ] {
        let (records, end) = read(&block(record.len() as u32, &record), 1000);
        assert_eq!(records, [], "{what}");
        let refused = matches!(end, Err(RecordingError::Record { record: 0, .. }));
        assert!(refused, "{what}: {end:?}");
    }
}

#[test]
fn a_datagram_that_is_none_is_not_written() {
    let mut builder = RecordBuilder::default();
    let long = vec![0; 70_000];
    let got = builder.event(&RecordedEvent::Received(LINK, &long));
    assert!(matches!(got, Err(WireError::OutOfBounds { .. })), "{got:?}");
    assert_eq!(builder.len(), 0);
}

fn head() -> RecordingHead {
    RecordingHead {
        wire_version: 1,
        tick_rate: 30,
        received: true,
        sent: false,
        names: Some(16),
        schema: Schema::default(),
        compressor: 0,
        dictionary: 0,
    }
}

#[test]
fn a_head_cut_or_changed_anywhere_is_refused() {
    let bytes = head().to_bytes().expect("it encodes");
    assert_eq!(RecordingHead::from_bytes(&bytes), Ok(head()));
    for len in 0..bytes.len() {
        let got = RecordingHead::from_bytes(&bytes[..len]);
        assert_eq!(got, Err(RecordingError::NoHead), "{len}");
    }
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x10;
        let got = RecordingHead::from_bytes(&damaged);
        let named = match at {
            0..4 => matches!(got, Err(RecordingError::NotARecording(_))),
            4..6 => matches!(got, Err(RecordingError::Version { .. })),
            8..12 => got.is_err(),
            _ => got == Err(RecordingError::HeadDamaged),
        };
        assert!(named, "{at}: {got:?}");
    }
}

proptest! {
    #[test]
    fn junk_is_an_error_or_wants_more(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let (records, end) = read(&bytes, 100);
        prop_assert!(end.is_err() || (records.is_empty() && bytes.is_empty()));
    }

    #[test]
    fn junk_in_a_whole_block_is_an_error_or_a_record(
        bytes in proptest::collection::vec(any::<u8>(), 1..200),
        kind in 0u8..3,
    ) {
        let mut record = vec![kind];
        record.extend((bytes.len() as u32).to_le_bytes());
        record.extend(&bytes);
        let (records, _) = read(&block(record.len() as u32, &record), 100);
        prop_assert!(records.len() <= 1);
    }
}
