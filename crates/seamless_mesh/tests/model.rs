//! The protocol as a small model, every state of which is visited.
//!
//! Messages may be lost, doubled, reordered and late for ever; timers fire whenever they are
//! armed; answers of the directory are lost; nodes crash, pause and are cut off. The seeds' two-phase
//! commit is the negative test: each of its readings breaks.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    hash::Hash,
};

type Label = &'static str;

/// All states that can be reached, in the order in which they were found.
struct Space<S> {
    states: Vec<S>,
    edges: Vec<Vec<(Label, usize)>>,
    parents: Vec<Option<(usize, Label)>>,
}

/// More states than a model of ours has; a model that has more is wrong.
const MOST: usize = 3_000_000;

impl<S: Clone + Eq + Hash> Space<S> {
    /// Stops early at a state where `enough` holds.
    fn explore(
        start: S,
        mut next: impl FnMut(&S, &mut Vec<(Label, S)>),
        enough: impl Fn(&S) -> bool,
    ) -> Self {
        let mut index = HashMap::from([(start.clone(), 0)]);
        let mut space = Self {
            states: vec![start],
            edges: Vec::new(),
            parents: vec![None],
        };
        let mut queue = VecDeque::from([0]);
        let mut successors = Vec::new();
        while let Some(at) = queue.pop_front() {
            let state = space.states[at].clone();
            if enough(&state) {
                break;
            }
            assert!(space.states.len() < MOST, "the model is too big");
            next(&state, &mut successors);
            let mut edges = Vec::with_capacity(successors.len());
            for (label, successor) in successors.drain(..) {
                let found = *index.entry(successor).or_insert_with_key(|successor| {
                    space.states.push(successor.clone());
                    space.parents.push(Some((at, label)));
                    queue.push_back(space.states.len() - 1);
                    space.states.len() - 1
                });
                edges.push((label, found));
            }
            space.edges.push(edges);
        }
        space
    }

    fn trace(&self, mut at: usize) -> Vec<Label> {
        let mut trace = Vec::new();
        while let Some((parent, label)) = self.parents[at] {
            trace.push(label);
            at = parent;
        }
        trace.reverse();
        trace
    }

    /// How to come to a state where this holds.
    fn find(&self, bad: impl Fn(&S) -> bool) -> Option<Vec<Label>> {
        let at = self.states.iter().position(bad)?;
        Some(self.trace(at))
    }

    /// States from which no path over edges of this kind leads to the goal.
    fn stuck(&self, goal: impl Fn(&S) -> bool, fair: impl Fn(Label) -> bool) -> Vec<usize> {
        let mut back: Vec<Vec<usize>> = vec![Vec::new(); self.states.len()];
        for (from, edges) in self.edges.iter().enumerate() {
            for (_, to) in edges.iter().filter(|(label, _)| fair(label)) {
                back[*to].push(from);
            }
        }
        let mut reaches: Vec<bool> = self.states.iter().map(goal).collect();
        let mut work: Vec<usize> = (0..reaches.len()).filter(|at| reaches[*at]).collect();
        while let Some(at) = work.pop() {
            for &from in &back[at] {
                if !reaches[from] {
                    reaches[from] = true;
                    work.push(from);
                }
            }
        }
        (0..reaches.len()).filter(|at| !reaches[*at]).collect()
    }
}

mod two_phase_commit {
    //! The seeds' protocol, read in each way that its text allows.

    use super::{BTreeSet, Label, Space};

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
                    s.source = Source::CleanedUp
                });
            }
            if reading.source_keeps {
                go("source: COMMIT timeout, keeps", &|s| {
                    s.source = Source::Kept
                });
            }
        }
        if state.target == Target::Reserved {
            if reading.target_assumes_success {
                go("target: timeout, assumes success", &|s| {
                    s.target = Target::Playing
                });
            }
            if reading.target_releases {
                go("target: timeout, releases", &|s| {
                    s.target = Target::Released
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
}

mod compare_and_swap {
    //! The claim by the target, the abort by a competing compare-and-swap, the reclaim after a
    //! burial; two nodes, each of them source and target in turn.

    use super::{Label, Space};

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
                    s.nodes[at].role = Role::Nothing
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
                        s.nodes[at].role = Role::Nothing
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
                        s.nodes[at].role = Role::Nothing
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
                        s.nodes[at].role = Role::Nothing
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
}
