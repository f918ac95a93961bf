//! The crash table: nodes die, pause and come back.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test may panic and print"
)]

mod common;

use std::time::Duration;

use common::{ms, table::*};
use seamless_mesh::{
    directory::Load,
    link::MeshLink,
    protocol::{MeshCommand, Outcome},
    sim::{DirectoryFate, Fate},
    ticket::TicketRefusal,
};
use seamless_wire::{
    NodeId, PeerId,
    mesh::{RejectReason, SessionReply},
    ticket::{TICKET_BYTES, Ticket},
};

#[test]
fn row_01_source_dies_before_the_freeze_and_the_last_checkpoint_is_taken_over() {
    let (mut game, root) = scene(1);
    let stored = game.row(root).tick;
    game.reserve(S, root, T);
    game.run(ms(100));
    game.crash(S);
    let heir = taken_over(&mut game, root, FAILOVER);
    assert!(heir == 2 || heir == 3);
    assert_eq!(game.oracle.reclaimed, 1);
    assert!(game.row(root).tick >= stored);
    // The client comes in by any door.
    game.side(heir).node.knock(PeerId(7));
    game.run(ms(50));
    assert!(
        matches!(game.answers(heir)[..], [(_, SessionReply::Welcome { root: r, .. })] if r == root)
    );
}

#[test]
fn row_01_without_a_lock_silence_tells() {
    let (mut game, root) = scene(2);
    game.mesh.locks(false);
    for id in [2, 3] {
        game.crash(id);
        game.restart(id);
    }
    game.run(ms(6000));
    game.crash(S);
    taken_over(&mut game, root, FAILOVER_BY_SILENCE);
}

#[test]
fn row_02_source_dies_after_the_freeze_before_the_commit_arrives() {
    let (mut game, root) = scene(3);
    game.reserve(S, root, T);
    to_messages(&game, is_commit, Fate::Lost);
    game.freeze(S, root);
    game.run(ms(5));
    game.crash(S);
    game.mesh.no_filters();
    taken_over(&mut game, root, FAILOVER);
    assert_eq!(game.oracle.activated, 0);
    assert_eq!(game.oracle.reclaimed, 1);
}

#[test]
fn row_03_source_dies_with_the_commit_at_the_target_and_nothing_is_lost() {
    let (mut game, root) = scene(4);
    game.reserve(S, root, T);
    let frozen = game.side(S).hosted[&root].tick;
    // The claim is slow enough for the death to be noticed first.
    to_operations(&game, T, is_claim, DirectoryFate::Late(ms(60)), 1);
    game.freeze(S, root);
    game.run(ms(3));
    game.crash(S);
    assert_eq!(taken_over(&mut game, root, FAILOVER), T);
    assert_eq!((game.oracle.activated, game.oracle.reclaimed), (1, 0));
    assert!(
        game.side(T).hosted[&root].tick >= frozen,
        "the frozen state, not the checkpoint"
    );
}

#[test]
fn row_03_the_reclaimer_waits_for_the_claims_of_the_others() {
    // As above, but the one that reclaims is the bystander: the target is the busier node.
    let (mut game, root) = scene(5);
    let load = Load {
        players: 50,
        tick_us: 0,
    };
    game.send(T, MeshCommand::Load(load));
    game.run(ms(1500));
    game.reserve(S, root, T);
    to_operations(&game, T, is_claim, DirectoryFate::Late(ms(120)), 1);
    game.freeze(S, root);
    game.run(ms(3));
    game.crash(S);
    assert_eq!(taken_over(&mut game, root, ms(500)), T);
    game.run(ms(500));
    assert_eq!((game.oracle.activated, game.oracle.reclaimed), (1, 0));
    assert_eq!(game.side(3).node.status().counters.reclaims, 1, "its cell");
}

#[test]
fn row_04_source_dies_after_the_claim_and_the_target_has_it() {
    let (mut game, root) = scene(6);
    game.reserve(S, root, T);
    game.freeze(S, root);
    game.until(ms(50), |game| game.hosts(root) == [T]);
    game.crash(S);
    game.run(ms(1000));
    game.settle(ms(1000));
    assert_eq!(game.hosts(root), [T]);
    assert_eq!(game.oracle.reclaimed, 0);
}

#[test]
fn row_05_target_dies_before_the_commit_and_nothing_happened() {
    let (mut game, root) = scene(7);
    let handover = game.reserve(S, root, T);
    game.crash(T);
    game.until(FAILOVER, |game| {
        game.side(S)
            .rejected
            .contains(&(root, RejectReason::Unreachable))
    });
    assert_eq!(game.hosts(root), [S]);
    assert_eq!(game.row(root).term, handover.term);
    // A commit that the game sends all the same never leaves.
    game.side_mut(S).reserved.insert(root, handover);
    game.freeze(S, root);
    assert_eq!(game.hosts(root), [S]);
    assert_eq!(game.oracle.resumed, 1);
    assert_eq!(
        game.row(root).term,
        handover.term,
        "not even a term was spent"
    );
}

#[test]
fn row_06_target_dies_after_commit_before_claim_and_the_source_resumes() {
    let (mut game, root) = scene(8);
    let before = game.reserve(S, root, T).term;
    to_operations(&game, T, is_claim, DirectoryFate::DiesBefore, 1);
    let frozen = game.side(S).hosted[&root].tick;
    game.freeze(S, root);
    let took = game.until(ms(100), |game| game.hosts(root) == [S]);
    assert!(took < ms(60), "frozen for {took:?}");
    assert!(game.side(S).hosted[&root].tick >= frozen);
    assert!(game.row(root).term > before);
    game.crash(T);
    game.settle(ms(2000));
    assert!(matches!(source_outcome(&game), Outcome::Aborted(_)));
}

#[test]
fn row_07_target_dies_after_the_claim_and_the_source_reclaims_the_frozen_state() {
    let (mut game, root) = scene(9);
    game.reserve(S, root, T);
    to_operations(&game, T, is_claim, DirectoryFate::DiesAfter, 1);
    game.freeze(S, root);
    let frozen = game.side(S).hosted[&root].tick;
    assert_eq!(
        taken_over(&mut game, root, FAILOVER),
        S,
        "the source comes first"
    );
    assert_eq!((game.oracle.activated, game.oracle.reclaimed), (0, 1));
    assert!(game.side(S).hosted[&root].tick >= frozen);
    assert_eq!(
        game.oracle.handed_over, 1,
        "what was frozen is history before it comes back"
    );
}

#[test]
fn row_08_target_dies_active_and_its_last_checkpoint_is_taken_over() {
    let (mut game, root) = scene(10);
    game.hand_over(root, S, T);
    let claimed = game.row(root).tick;
    game.run(ms(200));
    game.checkpoint(T);
    game.run(ms(50));
    let stored = game.row(root);
    assert!(stored.tick > claimed);
    game.run(ms(100));
    game.crash(T);
    taken_over(&mut game, root, FAILOVER);
    assert_eq!(game.oracle.reclaimed, 1);
    let row = game.row(root);
    assert_eq!((row.tick, row.last_input), (stored.tick, stored.last_input));
}

#[test]
fn row_22_a_source_that_was_paused_past_its_liveness_steps_down() {
    let (mut game, root) = scene(29);
    game.mesh.pause(NodeId(S));
    let heir = taken_over(&mut game, root, FAILOVER_BY_SILENCE);
    assert_ne!(heir, S);
    game.run(ms(1000));
    game.mesh.resume(NodeId(S));
    assert!(
        !game.side(S).node.may_simulate(),
        "known before any event is read"
    );
    game.run(ms(2000));
    assert_eq!(game.oracle.expelled, 1);
    assert_eq!(game.hosts(root), [heir]);
    game.settle(ms(500));
}

#[test]
fn row_22_a_source_paused_in_the_middle_of_a_commit_finds_out_what_holds() {
    for pause in 0..8 {
        let (mut game, root) = scene(200 + pause);
        game.reserve(S, root, T);
        game.freeze(S, root);
        game.run(Duration::from_micros(300 * pause));
        game.mesh.pause(NodeId(S));
        game.run(ms(6000));
        game.mesh.resume(NodeId(S));
        game.run(ms(2000));
        game.settle(ms(1000));
    }
}

#[test]
fn row_23_a_restarted_node_owns_nothing_and_its_old_tickets_are_void() {
    let (mut game, root) = scene(30);
    let old = game.me(S);
    game.side(S).node.knock(PeerId(7));
    game.run(ms(20));
    let answers = game.answers(S);
    let (_, SessionReply::Welcome { token, .. }) = answers.last().unwrap() else {
        panic!("not let in");
    };
    let ticket = Ticket::from_bytes(&<[u8; TICKET_BYTES]>::try_from(&token[..]).unwrap()).unwrap();
    game.restart(S);
    let heir = taken_over(&mut game, root, ms(1500));
    game.run(ms(500));
    let new = game.me(S);
    assert_eq!(new.id, old.id);
    assert!(new.incarnation > old.incarnation);
    assert_eq!(game.side(S).node.redeem(&ticket), Err(TicketRefusal::Node));
    assert_eq!(game.hosts(root), [heir]);
    assert_eq!(game.oracle.reclaimed, 1);
}

#[test]
fn row_23_a_second_process_under_a_living_number_does_not_get_in() {
    let (mut game, root) = scene(31);
    let me = game.me(S);
    // A rival with another life but the same number joins through the same directory.
    let mut rival = game.mesh.directory();
    let join = seamless_mesh::directory::Join {
        id: NodeId(S),
        life: 999,
        addresses: seamless_mesh::directory::Addresses {
            udp: ([127, 0, 0, 1], 1).into(),
            http: ([127, 0, 0, 1], 1).into(),
            session: ([127, 0, 0, 1], 1).into(),
        },
        boot: 1,
        clock: ms(0),
        secret: [1; 32],
    };
    let refused = seamless_mesh::directory::Directory::join(&mut rival, &join);
    assert!(refused.unwrap_err().to_string().contains("already"));
    game.run(ms(5000));
    assert_eq!((game.me(S), game.hosts(root)), (me, vec![S]));
}
