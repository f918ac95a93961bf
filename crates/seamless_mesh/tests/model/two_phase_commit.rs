//! The seeds' protocol, read in each way that its text allows.

use std::collections::BTreeSet;

use crate::space::{Label, Space};

#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
enum Message {
    Prepare,
    Reserved,
    Commit,
    Confirmed,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Source {
    Playing,
    Preparing,
    Committing,
    /// Gave up and plays on.
    Kept,
    CleanedUp,
    Dead,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Target {
    Idle,
    Reserved,
    Playing,
    Released,
    Dead,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct State {
    source: Source,
    target: Target,
    messages: BTreeSet<Message>,
    crashes: u8,
}

/// What happens at a timeout: the text gives two answers on each side.
struct Reading {
    source_cleans_up: bool,
    source_keeps: bool,
    target_assumes_success: bool,
    target_releases: bool,
}

fn explore(reading: &Reading, crashes: u8) -> Space<State> {
    let start = State {
        source: Source::Playing,
        target: Target::Idle,
        messages: BTreeSet::new(),
        crashes,
    };
    Space::explore(start, |state, out| next(state, reading, out), |_| false)
}

fn next(state: &State, reading: &Reading, out: &mut Vec<(Label, State)>) {
    let has = |message| state.messages.contains(&message);
    let mut go = |label, edit: &dyn Fn(&mut State)| {
        let mut after = state.clone();
        edit(&mut after);
        out.push((label, after));
    };
    if state.source == Source::Playing {
        go("source sends PREPARE", &|s| {
            s.source = Source::Preparing;
            s.messages.insert(Message::Prepare);
        });
    }
    if has(Message::Prepare) && state.target == Target::Idle {
        go("target reserves", &|s| {
            s.target = Target::Reserved;
            s.messages.insert(Message::Reserved);
        });
    }
    if has(Message::Reserved) && state.source == Source::Preparing {
        go("source sends COMMIT", &|s| {
            s.source = Source::Committing;
            s.messages.insert(Message::Commit);
        });
    }
    if has(Message::Commit) && state.target == Target::Reserved {
        go("target activates", &|s| {
            s.target = Target::Playing;
            s.messages.insert(Message::Confirmed);
        });
    }
    if has(Message::Confirmed) && state.source == Source::Committing {
        go("source cleans up", &|s| s.source = Source::CleanedUp);
    }
    if state.source == Source::Preparing {
        go("source: PREPARE timeout", &|s| s.source = Source::Kept);
    }
    if state.source == Source::Committing {
        if reading.source_cleans_up {
            go("source: COMMIT timeout, cleans up", &|s| {
                s.source = Source::CleanedUp;
            });
        }
        if reading.source_keeps {
            go("source: COMMIT timeout, keeps", &|s| {
                s.source = Source::Kept;
            });
        }
    }
    if state.target == Target::Reserved {
        if reading.target_assumes_success {
            go("target: timeout, assumes success", &|s| {
                s.target = Target::Playing;
            });
        }
        if reading.target_releases {
            go("target: timeout, releases", &|s| {
                s.target = Target::Released;
            });
        }
    }
    if state.crashes > 0 {
        go("source crashes", &|s| {
            s.source = Source::Dead;
            s.crashes -= 1;
        });
        go("target crashes", &|s| {
            s.target = Target::Dead;
            s.crashes -= 1;
        });
    }
    for &message in &state.messages {
        go("a message is lost", &|s| {
            s.messages.remove(&message);
        });
    }
}

/// For good, not only for a moment.
fn two_owners(state: &State) -> bool {
    state.source == Source::Kept && state.target == Target::Playing
}

fn no_owner(state: &State) -> bool {
    state.source == Source::CleanedUp
        && matches!(state.target, Target::Released | Target::Idle)
        && state.messages.is_empty()
}

#[test]
fn every_reading_of_the_two_phase_commit_loses_or_doubles_the_player_without_any_crash() {
    let readings = [
        ("what is written, all of it", [true, true, true, true]),
        ("the source assumes success", [true, false, false, true]),
        ("the source keeps", [false, true, false, true]),
        ("the target assumes success", [true, false, true, false]),
    ];
    for (
        name,
        [
            source_cleans_up,
            source_keeps,
            target_assumes_success,
            target_releases,
        ],
    ) in readings
    {
        let reading = Reading {
            source_cleans_up,
            source_keeps,
            target_assumes_success,
            target_releases,
        };
        let space = explore(&reading, 0);
        let doubled = space.find(two_owners);
        let lost = space.find(no_owner);
        assert!(doubled.is_some() || lost.is_some(), "{name} holds?");
    }
}
