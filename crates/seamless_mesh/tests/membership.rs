//! Joining, leaving, cells, rows of the game's own; on virtual time.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use common::{Game, ms, table::*};
use seamless_mesh::{
    directory::{
        Directory, DirectoryError, DirectoryOp, Load, MemoryDirectory,
        faults::{FaultSwitch, Faults, FaultyDirectory},
    },
    link::MeshLink,
    protocol::MeshCommand,
    sim::{DirectoryFate, SimConfig},
};
use seamless_wire::{CellId, GlobalEntity, NodeId, PeerId, mesh::RejectReason};

const fn is_reclaim(op: &DirectoryOp) -> bool {
    matches!(op, DirectoryOp::Reclaim { .. })
}

fn cells_of(game: &Game, id: u32) -> Vec<CellId> {
    let rest = game.mesh.directory().survey(None).unwrap().rest.unwrap();
    let cells = rest
        .cells
        .into_iter()
        .filter(|cell| cell.owner.id == NodeId(id));
    cells.map(|cell| cell.cell).collect()
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let said = || {
        let (mut game, root) = scene(77);
        game.hand_over(root, 1, 2);
        game.crash(2);
        game.run(ms(500));
        let said: Vec<_> = game.sides.values().map(|side| side.said.clone()).collect();
        said
    };
    assert_eq!(said(), said());
}

#[test]
fn a_leaving_node_gives_its_cells_away_takes_nothing_more_and_goes_when_it_is_empty() {
    let (mut game, root) = scene(1);
    let other = {
        game.side(2).node.knock(PeerId(9));
        game.run(ms(100));
        game.root_of(PeerId(9)).unwrap()
    };
    // Players begin on node 1, so both are there; one walks to node 2 to come back later.
    game.hand_over(other, 1, 2);
    game.settle(ms(500));
    game.send(
        1,
        MeshCommand::Leave {
            patience: ms(60_000),
        },
    );
    game.run(ms(200));
    assert!(cells_of(&game, 1).is_empty());
    let home = CellId(1);
    let rest = game.mesh.directory().survey(None).unwrap().rest.unwrap();
    let heir = rest
        .cells
        .iter()
        .find(|cell| cell.cell == home)
        .unwrap()
        .owner
        .id
        .0;
    assert!(heir == 2 || heir == 3);
    // Nothing comes in, the last group goes out.
    game.side_mut(1).reserved.clear();
    game.reserve(1, root, 1);
    game.freeze(1, root);
    game.until(ms(200), |game| game.hosts(root) == [heir]);
    game.until(ms(1000), |game| {
        game.side(1).said.iter().any(|said| said.ends_with("Left"))
    });
    assert_eq!(game.mesh.directory().survey(None).unwrap().nodes.len(), 2);
    game.run(ms(3000));
    assert_eq!((game.oracle.reclaimed, game.oracle.expelled), (0, 0));
}

#[test]
fn a_draining_target_refuses() {
    let (mut game, root) = scene(2);
    // Its cell stays its own: the directory does not move it.
    game.mesh.on_directory(|node, op| {
        let stuck = node == NodeId(2) && matches!(op, DirectoryOp::MoveCell { .. });
        if stuck {
            DirectoryFate::Unavailable
        } else {
            DirectoryFate::Normal
        }
    });
    game.send(
        2,
        MeshCommand::Leave {
            patience: ms(60_000),
        },
    );
    game.prepare(1, root, 2);
    game.until(ms(500), |game| !game.side(1).rejected.is_empty());
    assert_eq!(game.side(1).rejected, [(root, RejectReason::Draining)]);
    assert_eq!(game.hosts(root), [1]);
}

#[test]
fn the_last_node_leaves_its_world_to_the_next_that_joins() {
    let mut game = Game::nodes(3, 1);
    let root = game.login(1, 7);
    game.run(ms(200));
    game.checkpoint(1);
    game.send(1, MeshCommand::Leave { patience: ms(1000) });
    game.until(ms(1500), |game| {
        game.side(1).said.iter().any(|said| said.ends_with("Left"))
    });
    let stored = game.row(root).tick;
    assert!(stored.0 > 0, "the last checkpoint was waited for");
    game.restart(1);
    game.until(ms(2000), |game| game.hosts(root) == [1]);
    assert!(game.side(1).hosted[&root].tick >= stored);
    assert_eq!(cells_of(&game, 1), [CellId(1)]);
}

#[test]
fn when_all_are_killed_the_first_to_come_back_has_everything() {
    let (mut game, root) = scene(4);
    for id in 1..=3 {
        game.crash(id);
    }
    game.run(ms(500));
    game.restart(2);
    game.until(ms(6000), |game| game.hosts(root) == [2]);
    game.run(ms(4500));
    assert_eq!(cells_of(&game, 2).len(), 3);
    game.settle(ms(500));
}

#[test]
fn when_the_first_reclaimer_dies_at_it_another_takes_over() {
    for fate in [DirectoryFate::DiesBefore, DirectoryFate::DiesAfter] {
        let mut game = Game::nodes(5, 4);
        let root = game.login(1, 7);
        game.run(ms(100));
        game.checkpoint(1);
        game.run(ms(100));
        // The least busy comes first.
        for (id, players) in [(2, 5), (3, 1), (4, 9)] {
            game.send(
                id,
                MeshCommand::Load(Load {
                    players,
                    tick_us: 0,
                }),
            );
        }
        game.run(ms(1500));
        to_operations(&game, 3, is_reclaim, fate, 1);
        game.crash(1);
        game.until(ms(100), |game| !game.side(3).node.is_running());
        game.crash(3);
        game.until(ms(1500), |game| game.hosts(root) == [2]);
        game.settle(ms(1000));
        game.run(ms(1000));
        assert_eq!(
            cells_of(&game, 2).len(),
            3,
            "{fate:?}: its own and those of both"
        );
    }
}

#[test]
fn a_cell_that_is_given_away_is_the_others() {
    let (mut game, root) = scene(6);
    let to = game.me(3);
    game.send(
        1,
        MeshCommand::MoveCell {
            cell: CellId(1),
            to,
        },
    );
    game.run(ms(100));
    assert_eq!(cells_of(&game, 3), [CellId(1), CellId(3)]);
    assert_eq!(
        game.hosts(root),
        [1],
        "the row decides who simulates, not the cell"
    );
    game.side_mut(1).reserved.clear();
    game.reserve(1, root, 1);
    game.freeze(1, root);
    game.until(ms(100), |game| game.hosts(root) == [3]);
}

#[test]
fn what_the_game_makes_is_stored_and_what_it_retires_is_gone() {
    let mut game = Game::nodes(7, 2);
    let chest = GlobalEntity::new(2, 5).unwrap();
    let create = |root| MeshCommand::Create {
        root,
        members: Vec::new(),
        cell: CellId(1),
    };
    game.send(1, create(chest));
    game.run(ms(50));
    let created = |game: &Game| {
        game.side(1)
            .said
            .iter()
            .filter(|said| said.contains("Created {"))
            .count()
    };
    assert_eq!(created(&game), 1);
    assert_eq!(game.row(chest).owner, game.me(1));
    game.send(1, create(chest));
    game.run(ms(50));
    assert!(game.side(1).said.last().unwrap().contains("term: None"));
    game.send(1, MeshCommand::Retire { roots: vec![chest] });
    game.run(ms(50));
    assert!(game.mesh.directory().rows().is_empty());
}

#[test]
fn a_lost_answer_to_a_create_or_retire_is_asked_for_again() {
    let mut game = Game::nodes(8, 1);
    let chest = GlobalEntity::new(2, 5).unwrap();
    let both =
        |op: &DirectoryOp| matches!(op, DirectoryOp::Create { .. } | DirectoryOp::Retire { .. });
    to_operations(&game, 1, both, DirectoryFate::AnswerLost, 2);
    let create = MeshCommand::Create {
        root: chest,
        members: Vec::new(),
        cell: CellId(1),
    };
    game.send(1, create);
    game.run(ms(500));
    let created = game
        .side(1)
        .said
        .iter()
        .filter(|said| said.contains("Created { root: g2.5, term: Some"));
    assert_eq!(created.count(), 1);
    to_operations(&game, 1, both, DirectoryFate::CallLost, 2);
    game.send(1, MeshCommand::Retire { roots: vec![chest] });
    game.run(ms(500));
    assert!(game.mesh.directory().rows().is_empty());
}

#[test]
fn a_node_alone_without_a_directory_joins_when_there_is_one() {
    let mut game = Game::new(9);
    game.mesh.cut_directory(NodeId(1), true);
    game.add(SimConfig::new(1));
    game.run(ms(2000));
    assert!(game.side(1).me.is_none());
    assert!(!game.side(1).node.may_simulate());
    game.mesh.cut_directory(NodeId(1), false);
    game.until(ms(1000), |game| game.side(1).me.is_some());
    game.run(ms(300));
    game.login(1, 7);
}

#[test]
fn a_faulty_directory_fails_as_it_is_told() {
    let switch = FaultSwitch::default();
    let mut d = FaultyDirectory::new(MemoryDirectory::new(), switch.clone());
    switch.set(Faults {
        unavailable: true,
        ..Faults::default()
    });
    assert!(matches!(
        d.survey(None),
        Err(DirectoryError::Unavailable(_))
    ));
    let mut plain = MemoryDirectory::new();
    let mut d = FaultyDirectory::new(plain.clone(), switch.clone());
    let address = ([127, 0, 0, 1], 1).into();
    let join = seamless_mesh::directory::Join {
        id: NodeId(1),
        life: 1,
        addresses: seamless_mesh::directory::Addresses {
            udp: address,
            http: address,
            session: address,
        },
        boot: 1,
        clock: ms(0),
        secret: [1; 32],
    };
    switch.set(Faults {
        lose_calls: 1,
        lose_answers: 1,
        ..Faults::default()
    });
    assert!(matches!(d.join(&join), Err(DirectoryError::InDoubt(_))));
    assert!(
        plain.survey(None).unwrap().nodes.is_empty(),
        "the call was lost"
    );
    assert!(matches!(d.join(&join), Err(DirectoryError::InDoubt(_))));
    assert_eq!(plain.survey(None).unwrap().nodes.len(), 1, "the answer was");
    d.join(&join).unwrap();
}
