//! The crash table: clients, tickets, clocks, borders and groups.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test may panic and print"
)]

mod common;

use std::{sync::Arc, time::Duration};

use common::{Game, ms, table::*};
use seamless_mesh::{
    directory::Load,
    link::MeshLink,
    protocol::{AbortReason, MeshCommand, Outcome, PeerReply},
    sim::{DirectoryFate, Fate, Payload, SimConfig},
    ticket::TicketRefusal,
};
use seamless_wire::{
    NodeId, PeerId,
    mesh::{RejectReason, SessionReply},
    ticket::Ticket,
};

#[test]
fn row_24_the_handover_goes_on_without_the_client_and_its_login_finds_the_owner() {
    let (mut game, root) = scene(32);
    game.side_mut(T).attach = false;
    game.reserve(S, root, T);
    game.freeze(S, root);
    game.until(ms(100), |game| game.hosts(root) == [T]);
    game.run(ms(50));
    assert_eq!(game.answers(S).len(), 1, "that was the first login");
    for door in 1..=3 {
        game.side(door).node.knock(PeerId(7));
        game.run(ms(20));
        let answers = game.answers(door);
        let [(PeerId(7), SessionReply::Welcome { node, root: r, .. })] = &answers[..] else {
            panic!("door {door}: {answers:?}");
        };
        assert_eq!((node.id, *r), (NodeId(T), root));
    }
    let rows = game.mesh.directory().rows();
    assert_eq!(rows.iter().filter(|row| row.player.is_some()).count(), 1);
}

#[test]
fn row_25_an_attached_client_is_enough() {
    let (mut game, root) = scene(33);
    let handover = game.reserve(S, root, T);
    // Said by the source's game side, which heard it from the client before the link broke.
    game.send(S, MeshCommand::ClientAttached { handover });
    game.freeze(S, root);
    game.until(ms(100), |game| game.hosts(root) == [T]);
}

#[test]
fn row_27_a_spectators_ticket_works_once_and_ends_with_its_handover() {
    let (mut game, root) = scene(34);
    game.side_mut(T).attach = false;
    let seen: Arc<std::sync::Mutex<Vec<Vec<u8>>>> = Arc::default();
    let tokens = Arc::clone(&seen);
    game.mesh.on_message(move |envelope| {
        if let Payload::Reply(PeerReply::Prepare(seamless_wire::mesh::PrepareReply::Reserved {
            token,
            ..
        })) = envelope.payload
            && !token.is_empty()
        {
            tokens.lock().unwrap().push(token.clone());
        }
        Fate::Normal
    });
    let ticket = |game: &mut Game| {
        game.reserve(S, root, T);
        let token = seen.lock().unwrap().pop().unwrap();
        Ticket::from_bytes(&token.try_into().unwrap()).unwrap()
    };
    let first = ticket(&mut game);
    assert_eq!(first.player, PeerId(7));
    assert!(game.side(T).node.redeem(&first).is_ok());
    assert_eq!(game.side(T).node.redeem(&first), Err(TicketRefusal::Used));
    assert_eq!(game.side(3).node.redeem(&first), Err(TicketRefusal::Node));
    game.send(S, MeshCommand::Cancel { root });
    game.side_mut(S).reserved.clear();
    game.run(ms(50));
    let second = ticket(&mut game);
    game.send(S, MeshCommand::Cancel { root });
    game.run(ms(50));
    assert_eq!(game.side(T).node.redeem(&second), Err(TicketRefusal::Void));
}

#[test]
fn row_28_clocks_that_differ_by_hours_change_nothing() {
    let mut game = Game::new(35);
    for (id, hours) in [(1, 0), (2, 1), (3, 30)] {
        let mut config = SimConfig::new(id);
        config.clock = Duration::from_secs(3600 * hours);
        config.drift_ppm = 5000;
        game.add(config);
    }
    game.run(ms(300));
    let root = game.login(S, 7);
    game.hand_over(root, S, T);
    game.hand_over(root, T, 3);
    game.checkpoint(3);
    game.run(ms(5000));
    game.crash(3);
    taken_over(&mut game, root, FAILOVER);
}

#[test]
fn row_29_from_a_to_b_to_c_within_a_second() {
    let (mut game, root) = scene(36);
    let start = game.now();
    game.hand_over(root, 1, 2);
    game.hand_over(root, 2, 3);
    game.hand_over(root, 3, 1);
    game.hand_over(root, 1, 3);
    assert!(game.now() - start < ms(1000));
    game.settle(ms(500));
    assert_eq!(game.oracle.activated, 4);
}

#[test]
fn row_29_back_before_the_source_knows_is_put_off() {
    let (mut game, root) = scene(37);
    game.reserve(S, root, T);
    // The source hears nothing for a while: neither of the confirmation nor of its abort.
    game.mesh.on_message(|envelope| {
        let reply = matches!(envelope.payload, Payload::Reply(PeerReply::Commit(_)));
        if reply { Fate::Lost } else { Fate::Normal }
    });
    game.mesh.on_directory(|node, _| {
        if node == NodeId(S) {
            DirectoryFate::Late(ms(40))
        } else {
            DirectoryFate::Normal
        }
    });
    game.freeze(S, root);
    game.until(ms(50), |game| game.hosts(root) == [T]);
    game.prepare(T, root, S);
    game.until(ms(200), |game| {
        game.side(T)
            .rejected
            .contains(&(root, RejectReason::Superseded))
    });
    game.mesh.no_filters();
    game.until(ms(500), |game| game.oracle.handed_over == 1);
    game.run(ms(300));
    game.hand_over(root, T, S);
}

#[test]
fn row_30_where_four_cells_meet_there_is_one_attempt_at_a_time() {
    let mut game = Game::nodes(38, 4);
    let root = game.login(S, 7);
    for cell in [2, 3, 4, 2, 4, 3] {
        game.side_mut(S).reserved.clear();
        game.reserve(S, root, cell);
        assert_eq!(game.side(S).node.status().busy.sources, 1);
    }
    game.run(ms(50));
    let expected = |id| game.side(id).expected.len();
    assert_eq!(
        [2, 3, 4].map(expected),
        [0, 1, 0],
        "the others were called off"
    );
    game.freeze(S, root);
    game.until(ms(100), |game| game.hosts(root) == [3]);
}

#[test]
fn row_31_a_member_that_joins_after_prepare_renews_the_reservation() {
    let (mut game, root) = scene(39);
    let first = game.reserve(S, root, T);
    game.toggle(S, root);
    game.side_mut(S).reserved.clear();
    let second = game.reserve(S, root, T);
    assert_eq!(first, second, "the same attempt under another manifest");
    game.freeze(S, root);
    game.until(ms(100), |game| game.hosts(root) == [T]);
    assert_eq!(game.side(T).hosted[&root].members.len(), 1);
    assert_eq!(game.oracle.resumed, 0);
}

#[test]
fn row_31_a_checkpoint_with_another_member_renews_it_too() {
    let (mut game, root) = scene(40);
    game.reserve(S, root, T);
    game.toggle(S, root);
    game.checkpoint(S);
    game.run(ms(100));
    game.freeze(S, root);
    game.until(ms(100), |game| game.hosts(root) == [T]);
    assert_eq!(game.side(T).hosted[&root].members.len(), 1);
}

#[test]
fn row_31_a_claim_with_another_manifest_fails_and_the_group_resumes() {
    let (mut game, root) = scene(41);
    game.reserve(S, root, T);
    game.toggle(S, root);
    // The game freezes without having prepared again: the state has a member too many.
    game.freeze(S, root);
    game.until(ms(100), |game| game.hosts(root) == [S]);
    assert_eq!(
        source_outcome(&game),
        Outcome::Aborted(AbortReason::Refused)
    );
    assert_eq!(game.side(S).hosted[&root].members.len(), 1);
    game.side_mut(S).reserved.clear();
    game.hand_over(root, S, T);
}

#[test]
fn row_32_another_schema_is_refused_before_any_freeze() {
    let mut game = Game::new(42);
    game.add(SimConfig::new(1));
    let mut other = SimConfig::new(2);
    other.schema = 99;
    game.add(other);
    game.run(ms(300));
    let root = game.login(S, 7);
    game.prepare(S, root, T);
    game.until(ms(200), |game| {
        game.side(S).rejected == [(root, RejectReason::Schema)]
    });
    assert_eq!(game.hosts(root), [S]);
}

#[test]
fn row_33_a_full_target_refuses_and_takes_again_when_there_is_room() {
    let mut game = Game::new(43);
    game.add(SimConfig::new(1));
    let mut small = SimConfig::new(2);
    small.capacity = 3;
    game.add(small);
    game.run(ms(300));
    let (one, two) = (game.login(S, 7), game.login(S, 8));
    let load = |players| {
        MeshCommand::Load(Load {
            players,
            tick_us: 0,
        })
    };
    game.send(T, load(2));
    game.reserve(S, one, T);
    game.prepare(S, two, T);
    game.until(ms(200), |game| {
        game.side(S).rejected == [(two, RejectReason::Full)]
    });
    game.send(T, load(1));
    game.reserve(S, two, T);
}
