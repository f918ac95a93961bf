//! The crash table: the directory is away, slow or in doubt.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test may panic and print"
)]

mod common;

use common::{Mode, ms, table::*};
use seamless_mesh::{
    directory::DirectoryOp,
    link::MeshLink,
    protocol::{AbortReason, Outcome, Phase},
    sim::{DirectoryFate, Fate},
};
use seamless_wire::{NodeId, mesh::RejectReason};

#[test]
fn row_15_when_the_reply_to_the_claim_is_lost_both_ask_the_directory() {
    let (mut game, root) = scene(19);
    game.reserve(S, root, T);
    to_operations(&game, T, is_claim, DirectoryFate::AnswerLost, 1);
    game.freeze(S, root);
    game.until(ms(300), |game| game.hosts(root) == [T]);
    assert_eq!((game.oracle.activated, game.oracle.resumed), (1, 0));
    game.settle(ms(500));
    let trace = game.side(T).node.status().traces.pop().unwrap();
    assert!(trace.at(Phase::InDoubt).is_some());
}

#[test]
fn row_15_when_the_call_of_the_claim_is_lost_whoever_asks_first_wins() {
    let (mut game, root) = scene(20);
    game.reserve(S, root, T);
    to_operations(&game, T, is_claim, DirectoryFate::CallLost, 1);
    game.freeze(S, root);
    game.run(ms(400));
    game.settle(ms(500));
    assert_eq!(game.oracle.activated + game.oracle.resumed, 1);
}

#[test]
fn row_15_when_the_reply_to_the_abort_is_lost_the_source_asks_again() {
    let (mut game, root) = scene(21);
    let before = game.reserve(S, root, T).term;
    to_messages(&game, is_commit, Fate::Lost);
    to_operations(&game, S, is_abort, DirectoryFate::AnswerLost, 2);
    game.freeze(S, root);
    game.until(ms(400), |game| game.hosts(root) == [S]);
    let row = game.row(root);
    assert!(row.term > before);
    assert_eq!(
        row.term,
        game.side(S).hosted[&root].term,
        "one abort, however often it was asked"
    );
}

#[test]
fn row_16_without_a_directory_play_goes_on_and_nothing_crosses() {
    let (mut game, root) = scene(22);
    for id in 1..=3 {
        game.mesh.cut_directory(NodeId(id), true);
    }
    let before = game.side(S).hosted[&root].tick;
    game.run(ms(1500));
    assert_eq!(game.hosts(root), [S]);
    assert!(game.side(S).hosted[&root].tick > before);
    assert!(!game.side(S).healthy, "the gate is closed");
    game.prepare(S, root, T);
    game.run(ms(50));
    assert_eq!(game.side(S).rejected, [(root, RejectReason::Directory)]);
    for id in 1..=3 {
        game.mesh.cut_directory(NodeId(id), false);
    }
    game.run(ms(3500));
    assert!(game.side(S).healthy);
    game.hand_over(root, S, T);
    assert_eq!(game.oracle.expelled, 0);
}

#[test]
fn row_16_after_a_long_outage_nobody_is_buried() {
    let (mut game, root) = scene(23);
    for id in 1..=3 {
        game.mesh.cut_directory(NodeId(id), true);
    }
    game.run(ms(8000));
    assert!(
        game.hosts(root).is_empty(),
        "past the bound nobody can know"
    );
    for id in 1..=3 {
        game.mesh.cut_directory(NodeId(id), false);
    }
    game.run(ms(6000));
    assert_eq!(game.hosts(root), [S]);
    assert_eq!((game.oracle.expelled, game.oracle.reclaimed), (0, 0));
}

#[test]
fn row_17_without_a_directory_after_the_freeze_the_group_waits_for_it() {
    let (mut game, root) = scene(24);
    game.reserve(S, root, T);
    let handover = game.freeze(S, root);
    for id in 1..=3 {
        game.mesh.cut_directory(NodeId(id), true);
    }
    game.run(ms(2000));
    assert!(game.hosts(root).is_empty(), "neither acts on a timer");
    assert_eq!(game.side(S).hosted[&root].mode, Mode::Frozen(handover));
    assert!(!game.side(S).healthy, "alarm");
    for id in 1..=3 {
        game.mesh.cut_directory(NodeId(id), false);
    }
    game.until(ms(1000), |game| game.hosts(root).len() == 1);
    game.settle(ms(1000));
}

#[test]
fn row_20_a_source_without_directory_stops_before_others_take_over() {
    let (mut game, root) = scene(27);
    game.mesh.locks(false);
    game.mesh.cut_directory(NodeId(S), true);
    let stopped = game.until(ms(4000), |game| game.hosts(root).is_empty());
    assert!(stopped <= ms(3000), "{stopped:?}");
    // `frame` asserts on the way that no two nodes ever simulate it.
    let heir = taken_over(&mut game, root, FAILOVER_BY_SILENCE);
    assert_ne!(heir, S);
    game.mesh.cut_directory(NodeId(S), false);
    game.run(ms(3000));
    assert_eq!(game.oracle.expelled, 1);
    assert_eq!(game.hosts(root), [heir]);
    assert!(game.side(S).me.is_some(), "it came back as somebody new");
}

#[test]
fn row_21_a_target_without_directory_cannot_claim() {
    let (mut game, root) = scene(28);
    game.reserve(S, root, T);
    game.mesh.cut_directory(NodeId(T), true);
    game.freeze(S, root);
    game.until(ms(100), |game| game.hosts(root) == [S]);
    assert_eq!(
        source_outcome(&game),
        Outcome::Aborted(AbortReason::Timeout)
    );
    game.run(ms(500));
    game.mesh.cut_directory(NodeId(T), false);
    game.run(ms(500));
    game.settle(ms(500));
    assert_eq!(game.oracle.activated, 0);
    assert_eq!(game.side(T).node.status().counters.void, 1);
}

#[test]
fn row_35_a_failed_transaction_changes_nothing_and_is_repeated() {
    let (mut game, root) = scene(44);
    to_operations(
        &game,
        S,
        |op| matches!(op, DirectoryOp::Checkpoint { .. }),
        DirectoryFate::Unavailable,
        3,
    );
    let before = game.row(root).tick;
    game.run(ms(100));
    game.checkpoint(S);
    game.run(ms(30));
    assert_eq!(game.row(root).tick, before);
    game.run(ms(400));
    assert!(
        game.row(root).tick > before,
        "the latest state was kept and stored"
    );
    to_operations(&game, T, is_claim, DirectoryFate::Unavailable, 1000);
    game.run(ms(1200));
    game.side_mut(S).reserved.clear();
    game.reserve(S, root, T);
    game.freeze(S, root);
    game.until(ms(100), |game| game.hosts(root) == [S]);
    game.settle(ms(500));
}
