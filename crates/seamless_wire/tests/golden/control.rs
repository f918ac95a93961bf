//! Control items, each alone and in a section.

use seamless_wire::{
    BitWriter, InputSeq, RequestId, Term, Tick,
    control::{
        AuthorityAnswer, Control, ControlSeq, DenyReason, Kept, NumberedItem, Subscription,
        read_section, write_section,
    },
};

use crate::support::{assert_bits, assert_bytes, assert_value, epoch, handover, lent, root};

/// Number of the item's kind. A new kind does not compile here until it has one, and then
/// [`every_control_item_is_pinned`] wants its bytes.
const fn kind(item: &Control) -> u8 {
    match item {
        Control::AuthorityRequest { .. } => 0,
        Control::AuthorityRelease { .. } => 1,
        Control::AuthorityAnswer { .. } => 2,
        Control::Delegate { .. } => 3,
        Control::MigrateResponse { .. } => 4,
        Control::DelegateRefused { .. } => 5,
        Control::Migrated { .. } => 6,
        Control::RowKept { .. } => 7,
        Control::Names { .. } => 8,
        Control::MoreNames => 9,
        Control::Subscribe(_) => 10,
        Control::Attached { .. } => 11,
        Control::AttachFailed { .. } => 12,
        Control::Route { .. } => 13,
        Control::RouteKept { .. } => 14,
        Control::HandoverEnded { .. } => 15,
        Control::RouteEnded { .. } => 16,
        Control::Resend { .. } => 17,
        Control::WriteRefused { .. } => 18,
        Control::Publish { .. } => 19,
        Control::Published { .. } => 20,
        Control::Heard { .. } => 21,
    }
}

const KINDS: u8 = 22;

fn authority() -> Vec<(Control, &'static str)> {
    vec![
        (
            Control::AuthorityRequest {
                request: RequestId(300),
                entity: root(),
            },
            "00 fb2c01 fd0500000000bc0a00",
        ),
        (
            Control::AuthorityRelease {
                entity: root(),
                epoch: epoch(12, 3),
                last: Some(9),
            },
            "01 fd0500000000bc0a00 0c 03 01 09",
        ),
        (
            Control::AuthorityRelease {
                entity: root(),
                epoch: epoch(12, 3),
                last: None,
            },
            "01 fd0500000000bc0a00 0c 03 00",
        ),
        (
            Control::AuthorityAnswer {
                request: RequestId(300),
                entity: root(),
                answer: AuthorityAnswer::Granted(epoch(12, 4)),
            },
            "02 fb2c01 fd0500000000bc0a00 00 0c 04",
        ),
        (
            Control::AuthorityAnswer {
                request: RequestId(300),
                entity: root(),
                answer: AuthorityAnswer::Denied(DenyReason::Policy),
            },
            "02 fb2c01 fd0500000000bc0a00 01 01",
        ),
        (
            Control::Delegate { entity: root() },
            "03 fd0500000000bc0a00",
        ),
        (
            Control::MigrateResponse {
                entity: root(),
                old_index: 6,
                old_generation: 1,
                new_index: 500,
                new_generation: 2,
                tenure: lent(),
                applied: 40,
                version: 70_000,
            },
            "04 fd0500000000bc0a00 06 01 fbf401 02  0c 03 09 02 02 4d 01 00 00 00  28 fc70110100",
        ),
        (
            Control::DelegateRefused {
                entity: root(),
                reason: DenyReason::Policy,
            },
            "05 fd0500000000bc0a00 01",
        ),
        (
            Control::Migrated {
                entity: root(),
                kept: Kept::Row,
            },
            "06 fd0500000000bc0a00 00",
        ),
        (
            Control::Migrated {
                entity: root(),
                kept: Kept::Nothing,
            },
            "06 fd0500000000bc0a00 02",
        ),
        (
            Control::WriteRefused {
                entity: root(),
                hosted: true,
            },
            "12 fd0500000000bc0a00 01",
        ),
        (
            Control::Publish {
                entity: root(),
                public: true,
            },
            "13 fd0500000000bc0a00 01",
        ),
        (
            Control::Published {
                entity: root(),
                public: false,
                refused: Some(DenyReason::Limited),
            },
            "14 fd0500000000bc0a00 00 01 06",
        ),
        (Control::Heard { messages: 300 }, "15 fb2c01"),
    ]
}

fn streams() -> Vec<(Control, &'static str)> {
    vec![
        (
            Control::RowKept {
                yours: false,
                index: 6,
                tick: Tick(9),
            },
            "07 00 06 09",
        ),
        (
            Control::Names {
                first: root(),
                count: 256,
            },
            "08 fd0500000000bc0a00 fb0001",
        ),
        (Control::MoreNames, "09"),
        (
            Control::Subscribe(Subscription {
                enter: vec![1, 300],
                leave: vec![2],
            }),
            "0a 02 01 fb2c01 01 02",
        ),
    ]
}

fn handovers() -> Vec<(Control, &'static str)> {
    let handover = handover();
    vec![
        (
            Control::Attached { handover },
            "0b fd0500000000bc0a00 0c 02",
        ),
        (
            Control::AttachFailed { handover },
            "0c fd0500000000bc0a00 0c 02",
        ),
        (
            Control::Route {
                root: root(),
                term: Term(13),
                tick: Tick(66_000),
                applied: InputSeq(41),
            },
            "0d fd0500000000bc0a00 0d fcd0010100 29",
        ),
        (Control::RouteKept { term: Term(13) }, "0e 0d"),
        (
            Control::HandoverEnded { handover },
            "0f fd0500000000bc0a00 0c 02",
        ),
        (Control::RouteEnded { term: Term(14) }, "10 0e"),
        (
            Control::Resend {
                index: 5,
                version: 66_000,
            },
            "11 05 fcd0010100",
        ),
    ]
}

#[test]
fn every_control_item_is_pinned() {
    let mut missing: Vec<u8> = (0..KINDS).collect();
    for (item, pinned) in [authority(), streams(), handovers()].concat() {
        assert_value(&item, pinned);
        assert_bytes(&item.to_bytes().expect("it is small"), pinned);
        assert_eq!(item.to_bytes().expect("it is small")[0], kind(&item));
        missing.retain(|&kind_of_other| kind_of_other != kind(&item));
    }
    assert_eq!(missing, [0; 0], "kinds without pinned bytes");
}

#[test]
fn every_reason_to_deny_has_its_number() {
    for (reason, pinned) in [
        (DenyReason::Held, "00"),
        (DenyReason::Policy, "01"),
        (DenyReason::OutOfScope, "02"),
        (DenyReason::NotDelegated, "03"),
        (DenyReason::HostedElsewhere, "04"),
        (DenyReason::Unknown, "05"),
        (DenyReason::Limited, "06"),
    ] {
        assert_value(&reason, pinned);
    }
}

#[test]
fn a_section_numbers_its_first_item_and_counts_gaps_after_it() {
    let items = vec![
        (ControlSeq(70_000), Control::MoreNames),
        (ControlSeq(70_001), Control::RouteKept { term: Term(12) }),
        (ControlSeq(70_005), Control::RouteEnded { term: Term(13) }),
    ];
    let write = |w: &mut BitWriter| {
        let bytes: Vec<Vec<u8>> = items
            .iter()
            .map(|(_, item)| item.to_bytes().expect("it is small"))
            .collect();
        let numbered: Vec<NumberedItem<'_>> = items
            .iter()
            .zip(&bytes)
            .map(|((seq, _), bytes)| NumberedItem { seq: *seq, bytes })
            .collect();
        write_section(w, &numbered);
    };
    assert_bits(
        write,
        |r| read_section(r, ControlSeq(69_000)),
        &items,
        "0a17311216070652201a00",
    );
}
