//! What nodes say to each other.

use seamless_wire::{
    CellId, InputSeq, PeerId, Term, Tick,
    control::Control,
    mesh::{
        Commit, CommitRefusal, CommitReply, DeadNode, DeadNodeReply, HandoverStatus, Manifest,
        Prepare, PrepareReply, RejectReason, Release, SessionReply, SessionRequest,
    },
};

use crate::support::{assert_value, handover, member, root, source, target};

fn manifest() -> Manifest {
    Manifest {
        version: 3,
        members: vec![root(), member()],
        player: Some(PeerId(77)),
    }
}

#[test]
fn prepare_says_what_would_come_and_where_to() {
    assert_value(
        &manifest(),
        "03 02 fd0500000000bc0a00 fd0600000000bc0a00 01 4d",
    );
    assert_value(
        &Prepare {
            handover: handover(),
            from: source(),
            to: target(),
            cell: CellId(7),
            manifest: manifest(),
            schema: 0x1122_3344_5566_7788,
            viewpoint: [1.0, -2.0, 0.5],
            token: true,
        },
        "fd0500000000bc0a00 0c 02  03 09  04 0b  07
         03 02 fd0500000000bc0a00 fd0600000000bc0a00 01 4d
         fd8877665544332211  0000803f 000000c0 0000003f  01",
    );
}

#[test]
fn the_answer_to_prepare_is_a_reservation_or_a_reason() {
    assert_value(
        &PrepareReply::Reserved {
            address: "10.0.0.7:5000".parse().expect("an address"),
            token: vec![0xaa, 0xbb],
            attached: false,
        },
        "00 00 0a000007 fb8813 02 aabb 00",
    );
    for (reason, pinned) in [
        (RejectReason::NotOwner, "01 00 fbf401"),
        (RejectReason::Full, "01 01 fbf401"),
        (RejectReason::Draining, "01 02 fbf401"),
        (RejectReason::Schema, "01 03 fbf401"),
        (RejectReason::Incarnation, "01 04 fbf401"),
        (RejectReason::Directory, "01 05 fbf401"),
        (RejectReason::Superseded, "01 06 fbf401"),
        (RejectReason::Unreachable, "01 07 fbf401"),
    ] {
        let retry_after_ms = 500;
        assert_value(
            &PrepareReply::Rejected {
                reason,
                retry_after_ms,
            },
            pinned,
        );
    }
}

#[test]
fn release_is_an_attempt_and_a_sender() {
    assert_value(
        &Release {
            handover: handover(),
            from: source(),
        },
        "fd0500000000bc0a00 0c 02  03 09",
    );
}

#[test]
fn commit_is_the_manifest_the_time_the_queue_and_the_state() {
    assert_value(
        &Commit {
            handover: handover(),
            from: source(),
            to: target(),
            cell: CellId(7),
            manifest: manifest(),
            tick: Tick(66_000),
            last_input: InputSeq(41),
            queue: vec![(PeerId(77), Control::MoreNames)],
            state: vec![1, 2, 3],
            digest: std::array::from_fn(|i| i as u8),
        },
        "fd0500000000bc0a00 0c 02  03 09  04 0b  07
         03 02 fd0500000000bc0a00 fd0600000000bc0a00 01 4d
         fcd0010100  29  01 4d 09  03 010203
         000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
    );
}

#[test]
fn every_answer_to_commit_has_its_number() {
    for (reply, pinned) in [
        (CommitReply::Confirmed(Term(13)), "00 0d"),
        (CommitReply::Void, "01"),
        (CommitReply::Refused(CommitRefusal::NotReserved), "02 00"),
        (CommitReply::Refused(CommitRefusal::Digest), "02 01"),
        (CommitReply::Refused(CommitRefusal::Undecodable), "02 02"),
        (CommitReply::Refused(CommitRefusal::Incarnation), "02 03"),
        (CommitReply::InDoubt, "03"),
    ] {
        assert_value(&reply, pinned);
    }
}

#[test]
fn every_status_has_its_number() {
    for (status, pinned) in [
        (HandoverStatus::Unknown, "00"),
        (HandoverStatus::Reserved, "01"),
        (HandoverStatus::Staged, "02"),
        (HandoverStatus::Claimed(Term(13)), "03 0d"),
        (HandoverStatus::Void, "04"),
    ] {
        assert_value(&status, pinned);
    }
}

#[test]
fn a_dead_node_and_what_was_claimed_of_it_are_lists_of_names() {
    assert_value(&DeadNode { node: source() }, "03 09");
    assert_value(
        &DeadNodeReply {
            claimed: vec![root()],
        },
        "01 fd0500000000bc0a00",
    );
}

#[test]
fn a_session_is_asked_for_by_a_player_and_answered_with_a_token() {
    assert_value(
        &SessionRequest {
            player: PeerId(77),
            from: source(),
        },
        "4d  03 09",
    );
    assert_value(
        &SessionReply::Welcome {
            node: source(),
            address: "10.0.0.7:5000".parse().expect("an address"),
            root: root(),
            token: vec![0xaa, 0xbb],
        },
        "00  03 09  00 0a000007 fb8813  fd0500000000bc0a00  02 aabb",
    );
    assert_value(&SessionReply::Retry { after_ms: 500 }, "01 fbf401");
}
