//! Save files and recordings.

use seamless_wire::{
    Tick,
    recording::{
        Record, RecordBuilder, RecordedEvent, RecordedLink, RecordedPeer, RecordingHead, put_block,
    },
    schema::{ComponentDescriptor, Schema},
    snapshot::{FileHead, FilePiece, Plain},
};

use crate::support::{assert_bytes, hex, root};

fn health() -> ComponentDescriptor {
    ComponentDescriptor {
        id: 0x0123_4567_89ab_cdef,
        path: "g::H".into(),
        codec: "serde".into(),
        host_only: true,
    }
}

#[test]
fn a_save_file_begins_with_a_mark_a_version_and_its_head() {
    const PINNED: &str = "
    534d4c57 0100 0000 38000000
    fcd0010100 1e 01 fd0500000000bc0a00 fd8877665544332211
    01 fdefcdab8967452301 04 673a3a48 05 7365726465 01  00
    02 4b 05 01 00  01 3c 07
    74be9b5d42678f0f";
    let head = FileHead {
        tick: Tick(66_000),
        tick_rate: 30,
        free_name: Some(root()),
        schema: 0x1122_3344_5566_7788,
        components: vec![health()],
        kept: vec![],
        entities: 2,
        total: 75,
        digest: 5,
        compressor: 1,
        dictionary: 0,
        pieces: vec![FilePiece {
            bytes: 60,
            digest: 7,
        }],
    };
    assert_bytes(&head.to_bytes().expect("it is small"), PINNED);
    assert_eq!(FileHead::from_bytes(&hex(PINNED)), Ok(head));
}

#[test]
fn a_recording_begins_with_a_mark_a_version_and_its_head() {
    const PINNED: &str = "
    534d4c52 0200 0000 20000000
    01 1e 01 00  01 10  01 fdefcdab8967452301 04 673a3a48 05 7365726465 01  00 00  00 00
    2e37e7ec32ee4d08";
    let head = RecordingHead {
        wire_version: 1,
        tick_rate: 30,
        received: true,
        sent: false,
        names: Some(16),
        schema: Schema {
            components: vec![health()],
            ..Schema::default()
        },
        compressor: 0,
        dictionary: 0,
    };
    assert_bytes(&head.to_bytes().expect("it is small"), PINNED);
    assert_eq!(RecordingHead::from_bytes(&hex(PINNED)), Ok(head));
}

#[test]
fn a_block_is_two_lengths_a_digest_and_records() {
    const PINNED: &str = "
    65000000 65000000 5ea3c2cc19009230
    00 51000000  55a0fc0100000000 d0010100
       00 0300 0100 0a000000 00 00 09 fb2c01 01 02 aabb
       01 0300 0100 04
       02 0300 0100 0400 80d20100
       03 0300 0100 01 03000000 010203
       04 0300 0100 0100 81
       05 0300 0100 00 01000000 04
       06
    01 04000000  02000000
    02 01000000  01";
    let link = RecordedLink {
        index: 3,
        generation: 1,
    };
    let peer = RecordedPeer {
        to_server: false,
        address: None,
        memory: 9,
        netcode_id: 300,
        user_data: Some(vec![0xaa, 0xbb]),
    };
    let mut frame = RecordBuilder::default();
    for event in [
        RecordedEvent::Opened(link, peer),
        RecordedEvent::Closed(link, 4),
        RecordedEvent::Received(link, &[0x80, 0xd2, 0x01, 0x00]),
        RecordedEvent::ReceivedReliable(link, 1, &[1, 2, 3]),
        RecordedEvent::Sent(link, &[0x81]),
        RecordedEvent::SentReliable(link, 0, &[4]),
        RecordedEvent::Flushed,
    ] {
        frame.event(&event).expect("it is small");
    }
    let mut records = Vec::new();
    frame.finish(33_333_333, Tick(66_000), &mut records);
    Record::Gap { frames: 2 }.write(&mut records);
    Record::End { full: true }.write(&mut records);
    let mut block = Vec::new();
    put_block(&records, &Plain, &mut block);
    assert_bytes(&block, PINNED);
}
