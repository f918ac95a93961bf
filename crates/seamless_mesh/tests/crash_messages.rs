//! The crash table: messages are lost, late, doubled and senseless.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test may panic and print"
)]

mod common;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use common::{Mode, ms, table::*};
use seamless_mesh::{
    link::MeshLink,
    protocol::{AbortReason, MeshCommand, Outcome, PeerReply},
    sim::{DirectoryFate, Fate, Payload},
};
use seamless_wire::{
    CellId, InputSeq, NodeId, Tick,
    mesh::{CommitReply, RejectReason},
};

#[test]
fn row_09_lost_prepares_and_reservations_are_repeated_under_the_same_name() {
    let (mut game, root) = scene(11);
    let seen: Arc<AtomicU32> = Arc::default();
    let count = Arc::clone(&seen);
    game.mesh.on_message(move |envelope| {
        if is_prepare(&envelope) && count.fetch_add(1, Ordering::Relaxed) < 4 {
            Fate::Lost
        } else {
            Fate::Normal
        }
    });
    game.reserve(S, root, T);
    assert!(seen.load(Ordering::Relaxed) > 4);
    assert_eq!(game.side(T).expected.len(), 1, "one reservation");
    game.freeze(S, root);
    game.until(ms(100), |game| game.hosts(root) == [T]);
    assert_eq!(game.side(T).node.status().counters.claimed, 1);
}

#[test]
fn row_10_a_client_that_does_not_arrive_gets_new_tickets_and_the_group_stays() {
    let (mut game, root) = scene(12);
    game.side_mut(T).attach = false;
    let first = game.reserve(S, root, T);
    game.run(ms(30_000));
    assert_eq!(game.hosts(root), [S], "nothing was frozen");
    let again = game.side(S).reserved[&root];
    assert_eq!(first, again, "the reservation still stands");
    let reserved = |said: &&String| said.contains("Reserved {");
    let tokens = game.side(S).said.iter().filter(reserved).count();
    assert!((4..=6).contains(&tokens), "{tokens} tokens in 30 s");
    game.send(S, MeshCommand::Cancel { root });
    game.run(ms(100));
    assert!(
        game.side(T).expected.is_empty(),
        "called off {:#?}",
        game.side(T).said
    );
    // And one that arrives late is heard of.
    game.side_mut(T).attach = true;
    game.reserve(S, root, T);
    game.until(ms(500), |game| !game.side(S).attached.is_empty());
}

#[test]
fn row_11_a_lost_commit_is_sent_again_within_the_budget() {
    let (mut game, root) = scene(13);
    game.reserve(S, root, T);
    let left = AtomicU32::new(3);
    game.mesh.on_message(move |envelope| {
        let lose = is_commit(&envelope)
            && left
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                    left.checked_sub(1)
                })
                .is_ok();
        if lose { Fate::Lost } else { Fate::Normal }
    });
    game.freeze(S, root);
    let took = game.until(ms(100), |game| game.hosts(root) == [T]);
    assert!((ms(30)..ms(40)).contains(&took), "frozen for {took:?}");
    game.settle(ms(500));
    assert_eq!(game.oracle.resumed, 0);
}

#[test]
fn row_11_when_all_commits_are_lost_the_source_aborts() {
    let (mut game, root) = scene(14);
    game.reserve(S, root, T);
    to_messages(&game, is_commit, Fate::Lost);
    game.freeze(S, root);
    let took = game.until(ms(100), |game| game.hosts(root) == [S]);
    assert!((ms(50)..ms(56)).contains(&took), "frozen for {took:?}");
    assert_eq!(
        source_outcome(&game),
        Outcome::Aborted(AbortReason::Timeout)
    );
    game.mesh.no_filters();
    game.hand_over(root, S, T);
}

#[test]
fn row_12_without_a_confirmation_the_source_learns_from_the_directory() {
    let (mut game, root) = scene(15);
    game.reserve(S, root, T);
    to_messages(
        &game,
        |envelope| matches!(envelope.payload, Payload::Reply(PeerReply::Commit(_))),
        Fate::Lost,
    );
    game.freeze(S, root);
    let took = game.until(ms(200), |game| game.oracle.handed_over == 1);
    assert!(took < ms(20), "by the watch, after {took:?}");
    assert_eq!(game.hosts(root), [T]);
    assert!(matches!(source_outcome(&game), Outcome::HandedOver(_)));
}

#[test]
fn row_12_without_confirmation_and_watch_the_abort_tells() {
    let (mut game, root) = scene(16);
    let network = seamless_mesh::sim::Network {
        watch_every: ms(10_000),
        ..Default::default()
    };
    game.mesh.network(network);
    game.reserve(S, root, T);
    to_messages(
        &game,
        |envelope| matches!(envelope.payload, Payload::Reply(PeerReply::Commit(_))),
        Fate::Lost,
    );
    game.freeze(S, root);
    game.until(ms(200), |game| game.oracle.handed_over == 1);
    assert_eq!((game.hosts(root), game.oracle.resumed), (vec![T], 0));
}

#[test]
fn row_14_a_late_commit_of_an_aborted_attempt_is_void_for_ever() {
    let (mut game, root) = scene(17);
    game.reserve(S, root, T);
    to_messages(&game, is_commit, Fate::Late(ms(300)));
    game.freeze(S, root);
    game.until(ms(100), |game| game.hosts(root) == [S]);
    let term = game.row(root).term;
    game.run(ms(600));
    assert_eq!(game.hosts(root), [S]);
    assert_eq!(game.row(root).term, term);
    assert_eq!(game.oracle.activated, 0);
    game.settle(ms(500));
}

#[test]
fn row_14_a_commit_that_arrives_at_the_moment_of_the_abort_is_decided_by_the_directory() {
    // Sweeps the arrival over the end of the budget: whatever comes out, one node has it.
    let mut outcomes = [0, 0];
    for late in 0..60 {
        let (mut game, root) = scene(100 + late);
        game.reserve(S, root, T);
        game.mesh.on_message(move |envelope| {
            if is_commit(&envelope) {
                Fate::Late(Duration::from_micros(47_000 + late * 75))
            } else {
                Fate::Normal
            }
        });
        game.freeze(S, root);
        game.run(ms(300));
        game.settle(ms(500));
        outcomes[(game.hosts(root) == [T]) as usize] += 1;
        assert_eq!(game.oracle.resumed + game.oracle.handed_over, 1);
    }
    assert!(
        outcomes[0] > 5 && outcomes[1] > 5,
        "both happen: {outcomes:?}"
    );
}

#[test]
fn row_14_doubled_messages_change_nothing() {
    let (mut game, root) = scene(18);
    game.mesh.on_message(|_| Fate::Twice(ms(7)));
    for round in 0..6 {
        let (from, to) = if round % 2 == 0 { (S, T) } else { (T, S) };
        game.hand_over(root, from, to);
        game.run(ms(50));
    }
    game.settle(ms(500));
    assert_eq!((game.oracle.activated, game.oracle.resumed), (6, 0));
}

#[test]
fn row_18_source_and_target_cut_before_the_commit_and_nothing_crosses() {
    let (mut game, root) = scene(25);
    game.mesh.cut(NodeId(S), NodeId(T), true);
    game.prepare(S, root, T);
    game.until(ms(4000), |game| {
        game.side(S).rejected == [(root, RejectReason::Unreachable)]
    });
    assert_eq!(game.hosts(root), [S]);
    game.mesh.cut(NodeId(S), NodeId(T), false);
    game.reserve(S, root, T);
    game.mesh.cut(NodeId(S), NodeId(T), true);
    game.freeze(S, root);
    game.until(ms(100), |game| game.hosts(root) == [S]);
    game.run(ms(13_000));
    assert!(game.side(T).expected.is_empty(), "the reservation ran out");
}

#[test]
fn row_19_source_and_target_cut_after_the_commit_and_the_source_reads_the_directory() {
    let (mut game, root) = scene(26);
    game.reserve(S, root, T);
    to_operations(&game, T, is_claim, DirectoryFate::Late(ms(5)), 1);
    game.freeze(S, root);
    game.run(ms(2));
    game.mesh.cut(NodeId(S), NodeId(T), true);
    game.until(ms(100), |game| game.oracle.handed_over == 1);
    assert_eq!(game.hosts(root), [T]);
    assert_eq!(game.oracle.resumed, 0);
}

#[test]
fn an_undecodable_state_is_refused_before_the_claim() {
    let (mut game, root) = scene(45);
    let handover = game.reserve(S, root, T);
    let hosted = game.side_mut(S).hosted.get_mut(&root).unwrap();
    hosted.mode = Mode::Frozen(handover);
    let commit = MeshCommand::Commit {
        handover,
        tick: Tick(5),
        last_input: InputSeq(1),
        state: vec![1, 2, 3],
        queue: Vec::new(),
    };
    game.send(S, commit);
    game.until(ms(100), |game| game.hosts(root) == [S]);
    assert_eq!(
        source_outcome(&game),
        Outcome::Aborted(AbortReason::Refused)
    );
    assert_eq!(game.side(T).node.status().counters.claimed, 0);
}

#[test]
fn a_void_answer_does_not_wait_for_the_budget() {
    let (mut game, root) = scene(46);
    game.reserve(S, root, T);
    let cell = MeshCommand::MoveCell {
        cell: CellId(T),
        to: game.me(3),
    };
    // The target gives its cell away in the last moment: its claim fails.
    game.send(T, cell);
    game.freeze(S, root);
    let took = game.until(ms(100), |game| game.hosts(root) == [S]);
    assert!(took < ms(10), "frozen for {took:?}");
    assert_eq!(source_outcome(&game), Outcome::Aborted(AbortReason::Void));
}

#[test]
fn a_confirmation_alone_moves_nothing() {
    // A target that lies (or speaks of another life) cannot make the source let go.
    let (mut game, root) = scene(47);
    game.reserve(S, root, T);
    to_operations(&game, T, is_claim, DirectoryFate::CallLost, 1000);
    game.freeze(S, root);
    game.mesh.on_message(|envelope| {
        if let Payload::Reply(PeerReply::Commit(reply)) = envelope.payload {
            assert!(!matches!(reply, CommitReply::Confirmed(_)));
        }
        Fate::Normal
    });
    game.until(ms(400), |game| game.hosts(root) == [S]);
}
