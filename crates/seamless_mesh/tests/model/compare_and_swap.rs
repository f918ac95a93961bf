//! The claim by the target, the abort by a competing compare-and-swap, the reclaim after a
//! burial; two nodes, each of them source and target in turn.

use crate::space::{Label, Space};

const TERMS: u8 = 4;
const VALUES: u8 = 2;

/// What a node has of the root. The value counts its ticks.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
enum Role {
    Nothing,
    Plays { term: u8, value: u8 },
    Frozen { term: u8, value: u8 },
    Aborts { term: u8, value: u8 },
    Staged { term: u8, value: u8 },
    Claims { term: u8, value: u8 },
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
struct Node {
    role: Role,
    alive: bool,
    paused: bool,
    /// Runs no tick: its last beat is too old.
    fenced: bool,
    /// Has a record.
    present: bool,
}

/// Messages and operations under way. One that is lost is one that never arrives, and one
/// that has arrived may arrive again, so they are never taken out.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
struct Bits(u32);

impl Bits {
    fn bit(by: usize, term: u8, value: u8) -> u32 {
        1 << (by as u8 * 16 + (term - 1) * 4 + value)
    }

    fn insert(&mut self, (by, term, value): (usize, u8, u8)) {
        self.0 |= Self::bit(by, term, value);
    }

    fn iter(self) -> impl Iterator<Item = (usize, u8, u8)> {
        let all = (0..2).flat_map(|by| {
            (1..=TERMS).flat_map(move |term| (0..4).map(move |value| (by, term, value)))
        });
        all.filter(move |&(by, term, value)| self.0 & Self::bit(by, term, value) != 0)
    }

    /// Terms never come again: what names an earlier one can only be refused.
    fn forget_before(&mut self, term: u8) {
        for (by, old, value) in self.iter().filter(|(_, old, _)| *old < term) {
            self.0 &= !Self::bit(by, old, value);
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct State {
    owner: usize,
    term: u8,
    next: u8,
    stored: u8,
    /// The operation that drew the term: by whom, and what it was to replace.
    by: Option<(usize, bool, u8)>,
    nodes: [Node; 2],
    commits: Bits,
    /// By whom, of which term, with which value.
    claims: Bits,
    /// By whom, of which term.
    aborts: Bits,
    crashes: u8,
    pauses: u8,
    cuts: u8,
}

/// The protocol, and ways to break it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Variant {
    AsBuilt,
    SourceResumesByTimer,
    TargetActivatesInDoubt,
    BurialBeforeTheFence,
    AbortKeepsTheTerm,
    ReclaimWithoutBurial,
}

impl State {
    fn simulates(&self, at: usize) -> bool {
        let node = &self.nodes[at];
        node.alive && !node.paused && !node.fenced && matches!(node.role, Role::Plays { .. })
    }

    fn draw(&mut self) {
        self.next += 1;
        self.term = self.next;
        self.claims.forget_before(self.term);
        self.aborts.forget_before(self.term);
    }
}

fn start(crashes: u8, pauses: u8, cuts: u8) -> State {
    let node = |role| Node {
        role,
        alive: true,
        paused: false,
        fenced: false,
        present: true,
    };
    State {
        owner: 0,
        term: 1,
        next: 1,
        stored: 0,
        by: None,
        nodes: [node(Role::Plays { term: 1, value: 0 }), node(Role::Nothing)],
        commits: Bits::default(),
        claims: Bits::default(),
        aborts: Bits::default(),
        crashes,
        pauses,
        cuts,
    }
}

fn next(state: &State, variant: Variant, out: &mut Vec<(Label, State)>) {
    for at in 0..2 {
        node_steps(state, variant, at, out);
    }
    for (by, term, value) in state.claims.iter() {
        if (state.owner, state.term) == (1 - by, term) && state.nodes[by].present {
            let mut after = *state;
            after.draw();
            after.owner = by;
            after.stored = value;
            after.by = Some((by, true, term));
            out.push(("the directory carries out a claim", after));
        }
    }
    for (by, term, _) in state.aborts.iter() {
        if (state.owner, state.term) == (by, term) && state.nodes[by].present {
            let mut after = *state;
            if variant != Variant::AbortKeepsTheTerm {
                after.draw();
            }
            after.by = Some((by, false, term));
            out.push(("the directory carries out an abort", after));
        }
    }
}

fn node_steps(state: &State, variant: Variant, at: usize, out: &mut Vec<(Label, State)>) {
    let (node, other) = (state.nodes[at], 1 - at);
    let room = state.next < TERMS;
    let mut go = |label, edit: &dyn Fn(&mut State)| {
        let mut after = *state;
        edit(&mut after);
        out.push((label, after));
    };
    if !node.alive {
        return;
    }
    if state.crashes > 0 {
        go("fault: a node crashes", &|s| {
            s.nodes[at].alive = false;
            s.nodes[at].role = Role::Nothing;
            s.crashes -= 1;
        });
    }
    if node.paused {
        go("a paused node wakes", &|s| s.nodes[at].paused = false);
        if !node.fenced {
            go("fault: its beat grows old", &|s| s.nodes[at].fenced = true);
        }
        return;
    }
    if state.pauses > 0 {
        go("fault: a node is paused", &|s| {
            s.nodes[at].paused = true;
            s.pauses -= 1;
        });
    }
    if state.cuts > 0 && !node.fenced {
        go("fault: a node is cut off from the directory", &|s| {
            s.nodes[at].fenced = true;
            s.cuts -= 1;
        });
    }
    if node.fenced && node.present {
        go("a beat gets through", &|s| s.nodes[at].fenced = false);
    }
    if !node.present {
        if node.role != Role::Nothing {
            go("a buried node steps down", &|s| {
                s.nodes[at].role = Role::Nothing;
            });
        }
        return;
    }
    // Burial of the other, by silence or by proof.
    let silent = state.nodes[other].fenced || variant == Variant::BurialBeforeTheFence;
    if state.nodes[other].present && (!state.nodes[other].alive || silent) {
        go("the other is buried", &|s| s.nodes[other].present = false);
    }
    let gone = !state.nodes[other].present || variant == Variant::ReclaimWithoutBurial;
    if gone && state.owner == other && node.role == Role::Nothing && !node.fenced && room {
        go("the other's root is reclaimed", &|s| {
            s.draw();
            s.owner = at;
            s.by = None;
            s.nodes[at].role = Role::Plays {
                term: s.term,
                value: s.stored,
            };
        });
    }
    match node.role {
        Role::Nothing => {
            for (from, term, value) in state.commits.iter() {
                if from == other {
                    go("a COMMIT arrives and is staged", &|s| {
                        s.nodes[at].role = Role::Staged { term, value };
                    });
                }
            }
        }
        Role::Plays { term, value } if !node.fenced => {
            if value < VALUES {
                go("a tick", &|s| {
                    s.nodes[at].role = Role::Plays {
                        term,
                        value: value + 1,
                    }
                });
            }
            if state.owner == at && state.term == term && value > state.stored {
                go("a checkpoint", &|s| s.stored = value);
            }
            go("freeze and COMMIT", &|s| {
                s.nodes[at].role = Role::Frozen { term, value };
                s.commits.insert((at, term, value));
            });
        }
        Role::Plays { .. } => {}
        Role::Frozen { term, value } => {
            if variant == Variant::SourceResumesByTimer {
                go("timer: the source resumes", &|s| {
                    s.nodes[at].role = Role::Plays { term, value }
                });
            } else if room {
                go("timer: the source asks for an abort", &|s| {
                    s.nodes[at].role = Role::Aborts { term, value };
                    s.aborts.insert((at, term, 0));
                });
            }
            if state.owner != at {
                go("the source reads that it is handed over", &|s| {
                    s.nodes[at].role = Role::Nothing;
                });
            }
        }
        Role::Aborts { term, value } => {
            if state.by == Some((at, false, term)) {
                go("the source reads that its abort won", &|s| {
                    s.nodes[at].role = Role::Plays {
                        term: s.term,
                        value,
                    };
                });
            } else if state.owner != at || state.term != term {
                go("the source reads that its abort lost", &|s| {
                    s.nodes[at].role = Role::Nothing;
                });
            }
        }
        Role::Staged { term, value } => {
            if room {
                go("the target claims", &|s| {
                    s.nodes[at].role = Role::Claims { term, value };
                    s.claims.insert((at, term, value));
                });
            }
        }
        Role::Claims { term, value } => {
            if variant == Variant::TargetActivatesInDoubt {
                go("the target activates without an answer", &|s| {
                    s.nodes[at].role = Role::Plays {
                        term: term + 1,
                        value,
                    };
                });
            }
            if state.by == Some((at, true, term)) {
                go("the target reads that its claim won", &|s| {
                    s.nodes[at].role = Role::Plays {
                        term: s.term,
                        value,
                    };
                });
            } else if state.owner == at || state.term != term {
                go("the target reads that its claim lost", &|s| {
                    s.nodes[at].role = Role::Nothing;
                });
            }
        }
    }
}

/// What must never be.
fn violation(state: &State) -> Option<&'static str> {
    if state.simulates(0) && state.simulates(1) {
        return Some("two nodes simulate");
    }
    for at in 0..2 {
        let Role::Plays { term, value } = state.nodes[at].role else {
            continue;
        };
        if state.simulates(at) && (state.owner, state.term) != (at, term) {
            return Some(
                "a node simulates what the directory gives to another, or under another term",
            );
        }
        if state.simulates(at) && value < state.stored {
            return Some("a node simulates a state older than the stored one");
        }
    }
    None
}

fn effective(state: &State) -> bool {
    state.simulates(0) || state.simulates(1)
}

fn check(space: &Space<State>) -> Option<(&'static str, Vec<Label>)> {
    let at = space
        .states
        .iter()
        .position(|state| violation(state).is_some())?;
    Some((violation(&space.states[at])?, space.trace(at)))
}

fn explore(variant: Variant, crashes: u8, pauses: u8, cuts: u8) -> Space<State> {
    let start = start(crashes, pauses, cuts);
    Space::explore(
        start,
        |state, out| next(state, variant, out),
        |state| violation(state).is_some(),
    )
}

#[test]
fn with_a_crash_a_pause_and_a_cut_nothing_is_doubled_and_nothing_goes_back() {
    for (crashes, pauses, cuts) in [(1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (1, 0, 1)] {
        let space = explore(Variant::AsBuilt, crashes, pauses, cuts);
        println!(
            "{crashes} crashes, {pauses} pauses, {cuts} cuts: {} states",
            space.states.len()
        );
        assert_eq!(check(&space), None);
        // What is stored never falls.
        for (from, edges) in space.edges.iter().enumerate() {
            for (label, to) in edges {
                let (before, after) = (&space.states[from], &space.states[*to]);
                assert!(
                    after.stored >= before.stored,
                    "{label}: {:?}",
                    space.trace(*to)
                );
                assert!(after.term >= before.term, "{label}");
            }
        }
    }
}

#[test]
fn from_every_state_with_a_living_node_there_is_a_way_to_an_owner() {
    let space = explore(Variant::AsBuilt, 1, 1, 0);
    // Not even by a message that may be lost.
    let fair = |label: Label| !label.starts_with("a COMMIT") && !label.starts_with("fault");
    let stuck = space.stuck(effective, fair);
    // Out of terms is the model's bound, and a node that was buried alive joins anew, which
    // the model leaves out.
    let explained = |state: &State| {
        let able = |at: usize| state.nodes[at].alive && state.nodes[at].present;
        state.next >= TERMS || !(able(0) || able(1))
    };
    let unexplained = stuck.iter().find(|at| !explained(&space.states[**at]));
    if let Some(at) = unexplained {
        panic!("{:?}\n{:#?}", space.states[*at], space.trace(*at));
    }
}

#[test]
fn every_broken_variant_is_found_out() {
    for (name, variant, faults) in [
        (
            "source resumes by timer",
            Variant::SourceResumesByTimer,
            (0, 0, 0),
        ),
        (
            "target activates in doubt",
            Variant::TargetActivatesInDoubt,
            (0, 0, 0),
        ),
        (
            "burial before the fence",
            Variant::BurialBeforeTheFence,
            (0, 0, 0),
        ),
        (
            "abort keeps the term",
            Variant::AbortKeepsTheTerm,
            (0, 0, 0),
        ),
        (
            "reclaim without burial",
            Variant::ReclaimWithoutBurial,
            (0, 0, 0),
        ),
    ] {
        let space = explore(variant, faults.0, faults.1, faults.2);
        let found = check(&space);
        assert!(found.is_some(), "{name} was not found out");
    }
}
