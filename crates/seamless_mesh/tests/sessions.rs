//! Players at the door, on virtual time.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use common::{Game, ms, table::*};
use seamless_mesh::{
    directory::DirectoryOp,
    link::MeshLink,
    protocol::MeshCommand,
    sim::{DirectoryFate, SimConfig},
};
use seamless_wire::{CellId, GlobalEntity, NodeId, PeerId, mesh::SessionReply};

const PLAYER: PeerId = PeerId(7);

const fn is_create(op: &DirectoryOp) -> bool {
    matches!(op, DirectoryOp::Create { .. })
}

fn welcomed(answers: &[(PeerId, SessionReply)]) -> Vec<(NodeId, GlobalEntity)> {
    let welcome = |(_, reply): &(PeerId, SessionReply)| match reply {
        SessionReply::Welcome { node, root, .. } => Some((node.id, *root)),
        SessionReply::Retry { .. } => None,
    };
    answers.iter().filter_map(welcome).collect()
}

/// Knocks until it is let in, as a client does.
#[track_caller]
fn insist(game: &mut Game, door: u32) -> (NodeId, GlobalEntity) {
    for _ in 0..100 {
        game.side(door).node.knock(PLAYER);
        game.run(ms(100));
        if let Some(welcome) = welcomed(&game.answers(door)).first() {
            return *welcome;
        }
    }
    panic!("never let in: {:#?}", game.side(door).said);
}

fn players(game: &Game) -> usize {
    let rows = game.mesh.directory().rows();
    rows.iter().filter(|row| row.player.is_some()).count()
}

#[test]
fn a_new_player_begins_where_players_begin_whatever_the_door() {
    let mut game = Game::nodes(1, 3);
    let (node, root) = insist(&mut game, 3);
    assert_eq!(node, NodeId(1));
    assert_eq!(game.hosts(root), [1]);
    assert_eq!(insist(&mut game, 2), (node, root));
}

#[test]
fn many_doors_at_once_make_one_row() {
    for seed in 0..20 {
        let mut game = Game::nodes(seed, 3);
        for door in [1, 2, 3, 1, 2, 3] {
            game.side(door).node.knock(PLAYER);
        }
        game.run(ms(300));
        let roots: Vec<_> = (1..=3)
            .flat_map(|door| welcomed(&game.answers(door)))
            .collect();
        assert!(
            !roots.is_empty() && roots.iter().all(|root| *root == roots[0]),
            "{roots:?}"
        );
        assert_eq!(players(&game), 1);
    }
}

#[test]
fn while_the_owner_is_dead_the_player_waits_and_is_never_made_twice() {
    let (mut game, root) = scene(2);
    game.mesh.locks(false);
    for id in [2, 3] {
        game.crash(id);
        game.restart(id);
    }
    game.run(ms(6000));
    game.crash(1);
    game.side(2).node.knock(PLAYER);
    game.run(ms(1000));
    assert!(welcomed(&game.answers(2)).is_empty(), "come again later");
    let (node, again) = insist(&mut game, 2);
    assert_eq!((again, game.hosts(root)), (root, vec![node.0]));
    assert_eq!(players(&game), 1);
}

#[test]
fn a_frozen_player_is_let_in_when_it_is_decided() {
    let (mut game, root) = scene(3);
    game.reserve(1, root, 2);
    for id in 1..=3 {
        game.mesh.cut_directory(NodeId(id), true);
    }
    game.freeze(1, root);
    game.run(ms(100));
    game.side(1).node.knock(PLAYER);
    game.run(ms(100));
    assert_eq!(welcomed(&game.answers(1)[1..]), []);
    for id in 1..=3 {
        game.mesh.cut_directory(NodeId(id), false);
    }
    let (node, again) = insist(&mut game, 3);
    assert_eq!((again, game.hosts(root)), (root, vec![node.0]));
}

#[test]
fn a_lost_answer_about_a_new_row_leaves_no_row_without_a_player_in_the_world() {
    for fate in [
        DirectoryFate::AnswerLost,
        DirectoryFate::CallLost,
        DirectoryFate::Unavailable,
    ] {
        let mut game = Game::nodes(4, 2);
        to_operations(&game, 1, is_create, fate, 2);
        let (_, root) = insist(&mut game, 2);
        assert_eq!(game.hosts(root), [1]);
        assert_eq!(players(&game), 1);
        assert_eq!(game.row(root).player, Some(PLAYER));
    }
}

#[test]
fn a_player_whom_the_game_refuses_leaves_no_row() {
    let mut game = Game::nodes(5, 1);
    game.side_mut(1).refuses = true;
    game.side(1).node.knock(PLAYER);
    game.run(ms(300));
    assert!(welcomed(&game.answers(1)).is_empty());
    assert_eq!(players(&game), 0);
    game.side_mut(1).refuses = false;
    insist(&mut game, 1);
}

#[test]
fn a_node_that_dies_between_row_and_world_leaves_a_player_that_begins_anew() {
    let mut game = Game::nodes(6, 2);
    to_operations(&game, 1, is_create, DirectoryFate::DiesAfter, 1);
    game.side(1).node.knock(PLAYER);
    game.run(ms(20));
    game.crash(1);
    let (node, root) = insist(&mut game, 2);
    assert_eq!((node, game.hosts(root)), (NodeId(2), vec![2]));
    assert_eq!(players(&game), 1);
}

#[test]
fn a_draining_or_fenced_node_says_come_again() {
    let (mut game, _) = scene(7);
    let before = game.answers(1).len();
    assert_eq!(before, 1);
    game.send(
        1,
        MeshCommand::Leave {
            patience: ms(60_000),
        },
    );
    game.side(1).node.knock(PLAYER);
    game.mesh.cut_directory(NodeId(2), true);
    game.run(ms(3500));
    assert!(!game.side(2).node.may_simulate());
    game.side(2).node.knock(PLAYER);
    game.run(ms(50));
    for door in [1, 2] {
        let answers = game.answers(door);
        assert!(
            matches!(answers[..], [(_, SessionReply::Retry { .. })]),
            "{door}: {answers:?}"
        );
    }
}

#[test]
fn where_nobody_owns_the_first_cell_players_wait() {
    let mut game = Game::new(8);
    let mut config = SimConfig::new(1);
    config.spawn = std::sync::Arc::new(|_| CellId(99));
    game.add(config);
    game.run(ms(300));
    game.side(1).node.knock(PLAYER);
    game.run(ms(100));
    assert!(matches!(
        game.answers(1)[..],
        [(_, SessionReply::Retry { .. })]
    ));
    game.send(1, MeshCommand::ClaimCells(vec![CellId(99)]));
    insist(&mut game, 1);
}
