//! Frames of the reliable channels.

use seamless_wire::{
    PeerId, Tick,
    frame::{BigRow, Frame, HandoverOffer, Hello, Mention, Refusal, Welcome},
    hash::{Namespace, type_id},
    record::Version,
    schema::{ComponentDescriptor, MessageDescriptor, Schema},
    snapshot::SnapshotChunk,
};

use crate::support::{assert_number, assert_value, handover, root, source};

fn component(path: &str, host_only: bool) -> ComponentDescriptor {
    ComponentDescriptor {
        id: type_id(Namespace::Component, path),
        path: path.into(),
        codec: "serde".into(),
        host_only,
    }
}

fn message(namespace: Namespace, path: &str, kind: &str) -> MessageDescriptor {
    MessageDescriptor {
        id: type_id(namespace, path),
        path: path.into(),
        kind: kind.into(),
    }
}

fn schema() -> Schema {
    let mut components = vec![
        component("game::Health", true),
        component("game::Body", false),
    ];
    components.sort_by_key(|component| component.id);
    Schema {
        components,
        messages: vec![message(
            Namespace::Message,
            "game::Chat",
            "toserver, reliable",
        )],
        input: Some(message(Namespace::Input, "game::Input", "input")),
    }
}

/// Number of the frame's kind. A new kind does not compile here until it has one; give it a test
/// then.
const fn kind(frame: &Frame) -> u8 {
    match frame {
        Frame::Hello(_) => 0,
        Frame::Welcome(_) => 1,
        Frame::Refused(_) => 2,
        Frame::Message { .. } => 3,
        Frame::Row(_) => 4,
        Frame::Handover(_) => 5,
        Frame::Chunk { .. } => 6,
    }
}

#[track_caller]
fn assert_frame(frame: &Frame, pinned: &str) {
    let first = u8::from_str_radix(&pinned[..2], 16).expect("hex");
    assert_eq!(first, kind(frame));
    assert_value(frame, pinned);
}

#[test]
fn hello_is_a_version_and_a_schema() {
    let hello = |schema, resume| {
        Frame::Hello(Box::new(Hello {
            wire_version: 1,
            schema,
            resume,
            tick: Tick(77),
        }))
    };
    assert_frame(&hello(Schema::default(), None), "00 01 00 00 00 00 4d");
    assert_frame(
        &hello(schema(), Some(([0xa5; 16], 300))),
        "00 01
         02
           fd2cae22a3eca0f4c9 0a 67616d653a3a426f6479 05 7365726465 00
           fd02c06a5d757f70e6 0c 67616d653a3a4865616c7468 05 7365726465 01
         01
           fdaf25076cd15d1953 0a 67616d653a3a43686174
             12 746f7365727665722c2072656c6961626c65
         01
           fdbef0799dbfec1ae3 0b 67616d653a3a496e707574 05 696e707574
         01 a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5 fb2c01 4d",
    );
}

#[test]
fn ids_of_types_are_hashes_of_their_paths() {
    for (namespace, path, id) in [
        (Namespace::Component, "game::Health", 0xe670_7f75_5d6a_c002),
        (Namespace::Message, "game::Chat", 0x5319_5dd1_6c07_25af),
        (Namespace::Input, "game::Input", 0xe31a_ecbf_9d79_f0be),
    ] {
        assert_number(type_id(namespace, path), id, path);
    }
}

#[test]
fn a_schema_has_the_digest_of_its_bytes() {
    assert_number(schema().digest(), 0x540b_1e67_9a65_09ba, "a digest");
    assert_number(
        Schema::default().digest(),
        0x4b34_4aa6_eb7e_a39f,
        "the digest of nothing",
    );
}

#[test]
fn welcome_is_a_name_the_time_and_names_to_use() {
    let welcome = Welcome {
        peer: PeerId(77),
        tick: Tick(66_000),
        tick_rate: 30,
        names: Some(root()),
        name_count: 256,
        node: Some(source()),
        spectator: false,
        resume: Some([0x5a; 16]),
        resumed: Some(7),
    };
    assert_frame(
        &Frame::Welcome(Box::new(welcome.clone())),
        "01 4d fcd0010100 1e  01 fd0500000000bc0a00 fb0001  01 03 09  00
         01 5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a  01 07",
    );
    assert_frame(
        &Frame::Welcome(Box::new(Welcome {
            names: None,
            name_count: 0,
            node: None,
            spectator: true,
            resume: None,
            resumed: None,
            ..welcome
        })),
        "01 4d fcd0010100 1e  00 00  00  01  00 00",
    );
}

#[test]
fn every_refusal_has_its_number() {
    for (refusal, pinned) in [
        (Refusal::WireVersion { ours: 2, theirs: 1 }, "02 00 02 01"),
        (
            Refusal::Schema(vec!["a".into(), "bc".into()]),
            "02 01 02 01 61 02 6263",
        ),
        (Refusal::Ticket("used".into()), "02 02 04 75736564"),
        (Refusal::Other("full".into()), "02 03 04 66756c6c"),
    ] {
        assert_frame(&Frame::Refused(refusal), pinned);
    }
}

#[test]
fn a_message_is_a_kind_a_tick_mentions_and_a_payload() {
    let mention = Mention {
        entity: root(),
        version: Version(300),
    };
    for (mentions, pinned) in [
        (vec![], "03 02 4d 00 03 cafeff"),
        (
            vec![mention],
            "03 02 4d 01 fd0500000000bc0a00 fb2c01 03 cafeff",
        ),
    ] {
        let message = Frame::Message {
            kind: 2,
            tick: Tick(77),
            mentions,
            payload: vec![0xca, 0xfe, 0xff],
        };
        assert_frame(&message, pinned);
    }
}

#[test]
fn a_big_row_is_a_tick_and_the_bits_of_a_section() {
    assert_frame(
        &Frame::Row(BigRow {
            tick: Tick(66_000),
            section: vec![1, 2],
        }),
        "04 fcd0010100 02 0102",
    );
}

#[test]
fn a_handover_offer_is_a_node_an_address_and_a_token() {
    let offer = |address: &str, token| {
        Frame::Handover(Box::new(HandoverOffer {
            handover: handover(),
            node: source(),
            address: address.parse().expect("an address"),
            token,
        }))
    };
    assert_frame(
        &offer("10.0.0.7:5000", vec![0xaa, 0xbb]),
        "05 fd0500000000bc0a00 0c 02  03 09  00 0a000007 fb8813  02 aabb",
    );
    assert_frame(
        &offer("[2001:db8::1]:80", vec![]),
        "05 fd0500000000bc0a00 0c 02  03 09  01 20010db8000000000000000000000001 50  00",
    );
}

#[test]
fn a_chunk_is_a_number_and_a_piece_of_a_snapshot() {
    let chunk = SnapshotChunk {
        index: 1,
        count: 3,
        total: 66_000,
        digest: 0x1122_3344_5566_7788,
        compressor: 1,
        dictionary: 0,
        payload: vec![9, 8],
    };
    let chunk = Box::new(chunk);
    assert_frame(
        &Frame::Chunk { tag: 300, chunk },
        "06 fb2c01 01 03 fcd0010100 fd8877665544332211 01 00 02 0908",
    );
}
