//! Handovers without faults.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test may panic and print"
)]

mod common;

use common::{Game, ms};

#[test]
fn a_player_walks_to_the_next_node_and_back() {
    let mut game = Game::nodes(1, 2);
    let root = game.login(1, 7);
    for round in 0..5 {
        let (from, to) = if round % 2 == 0 { (1, 2) } else { (2, 1) };
        let before = game.side(from).hosted[&root].tick;
        game.hand_over(root, from, to);
        assert!(game.side(to).hosted[&root].tick >= before);
        game.settle(ms(500));
    }
    assert_eq!(game.oracle.activated, 5);
    assert_eq!(game.oracle.resumed, 0);
}
