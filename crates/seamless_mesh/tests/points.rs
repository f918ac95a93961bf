//! One handover with a fault at every single message and directory operation, and then with a
//! second fault at every one of those that follow.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test may panic and print"
)]

mod common;

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, Ordering},
};

use common::{Game, ms};
use seamless_mesh::{
    directory::DirectoryOp,
    sim::{DirectoryFate, Fate, SimConfig},
    timing::Timing,
};
use seamless_wire::NodeId;

const MESSAGE: [Fate; 5] = [
    Fate::Lost,
    Fate::Late(ms(60)),
    Fate::Twice(ms(55)),
    Fate::SenderDies,
    Fate::ReceiverDies,
];

const OPERATION: [DirectoryFate; 6] = [
    DirectoryFate::Unavailable,
    DirectoryFate::CallLost,
    DirectoryFate::AnswerLost,
    DirectoryFate::Late(ms(60)),
    DirectoryFate::DiesBefore,
    DirectoryFate::DiesAfter,
];

/// A fault: at which point, counted from the freeze, and which of the above.
type Fault = (usize, usize);

/// Whether a point is a message (or an operation).
type Points = Arc<Mutex<Vec<bool>>>;

/// Operations of the protocol; beats and looks go on for ever.
const fn counts(op: &DirectoryOp) -> bool {
    matches!(
        op,
        DirectoryOp::Claim { .. }
            | DirectoryOp::Abort { .. }
            | DirectoryOp::Head { .. }
            | DirectoryOp::Reclaim { .. }
            | DirectoryOp::Bury { .. }
            | DirectoryOp::Regroup { .. }
    )
}

/// Runs one handover with these faults; gives the points there were.
fn run(faults: &[Fault]) -> Vec<bool> {
    let timing = Timing {
        beat_every: ms(100),
        fence_after: ms(300),
        bury_after: ms(340),
        survey_every: ms(50),
        survey_gap: ms(130),
        prepare_for: ms(400),
        reservation: ms(600),
        request_within: ms(60),
        ..Timing::default()
    };
    let mut game = Game::with_timing(1, timing);
    for id in 1..=3 {
        game.add(SimConfig::new(id));
        game.side_mut(id).noting = false;
    }
    game.run(ms(60));
    let root = game.login(1, 7);
    game.checkpoint(1);
    game.reserve(1, root, 2);
    let points: Points = Arc::default();
    let on = Arc::new(AtomicBool::new(true));
    let fate_of = {
        let (points, faults, on) = (Arc::clone(&points), faults.to_vec(), Arc::clone(&on));
        move |message: bool| {
            if !on.load(Ordering::Relaxed) {
                return None;
            }
            let mut points = points.lock().unwrap();
            points.push(message);
            let at = points.len() - 1;
            faults
                .iter()
                .find(|(point, _)| *point == at)
                .map(|(_, kind)| *kind)
        }
    };
    let fate = fate_of.clone();
    game.mesh
        .on_message(move |_| fate(true).map_or(Fate::Normal, |kind| MESSAGE[kind % 5]));
    game.mesh.on_directory(move |_, op| {
        let kind = if counts(op) { fate_of(false) } else { None };
        kind.map_or(DirectoryFate::Normal, |kind| OPERATION[kind % 6])
    });
    game.freeze(1, root);
    game.run(ms(150));
    on.store(false, Ordering::Relaxed);
    for id in 1..=3 {
        if !game.side(id).node.is_running() {
            game.side_mut(id).restart_quietly();
            game.mesh.restart(NodeId(id));
        }
    }
    game.settle(ms(3000));
    assert_eq!(game.mesh.directory().rows().len(), 1, "{faults:?}");
    points.lock().unwrap().clone()
}

fn kinds(message: bool) -> usize {
    if message {
        MESSAGE.len()
    } else {
        OPERATION.len()
    }
}

#[test]
fn one_or_two_faults_at_any_point_of_a_handover_leave_one_owner() {
    let calm = run(&[]);
    assert!(
        calm.len() >= 4,
        "COMMIT, claim, confirmation, look: {calm:?}"
    );
    let mut runs = 0;
    for (first, message) in calm.iter().enumerate() {
        for kind in 0..kinds(*message) {
            let points = run(&[(first, kind)]);
            runs += 1;
            for (second, message) in points.iter().enumerate().skip(first + 1).take(14) {
                for other in 0..kinds(*message) {
                    run(&[(first, kind), (second, other)]);
                    runs += 1;
                }
            }
        }
    }
    println!("{runs} runs");
    assert!(runs > 500);
}
