//! Every state that can be reached.

use std::{
    collections::{HashMap, VecDeque},
    hash::Hash,
};

pub(crate) type Label = &'static str;

/// All states that can be reached, in the order in which they were found.
pub(crate) struct Space<S> {
    pub(crate) states: Vec<S>,
    pub(crate) edges: Vec<Vec<(Label, usize)>>,
    pub(crate) parents: Vec<Option<(usize, Label)>>,
}

/// More states than a model of ours has; a model that has more is wrong.
pub(crate) const MOST: usize = 3_000_000;

impl<S: Clone + Eq + Hash> Space<S> {
    /// Stops early at a state where `enough` holds.
    pub(crate) fn explore(
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

    pub(crate) fn trace(&self, mut at: usize) -> Vec<Label> {
        let mut trace = Vec::new();
        while let Some((parent, label)) = self.parents[at] {
            trace.push(label);
            at = parent;
        }
        trace.reverse();
        trace
    }

    /// How to come to a state where this holds.
    pub(crate) fn find(&self, bad: impl Fn(&S) -> bool) -> Option<Vec<Label>> {
        let at = self.states.iter().position(bad)?;
        Some(self.trace(at))
    }

    /// States from which no path over edges of this kind leads to the goal.
    pub(crate) fn stuck(
        &self,
        goal: impl Fn(&S) -> bool,
        fair: impl Fn(Label) -> bool,
    ) -> Vec<usize> {
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
