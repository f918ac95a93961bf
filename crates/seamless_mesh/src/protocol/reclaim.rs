//! What is left of the dead.
//!
//! When a node's record is gone and it still owned something, one of the living takes it over:
//! the others are asked first, so that each claims the COMMITs that it holds from the dead node;
//! then the directory moves what is left, with the states that were stored last. Every step may
//! be done by several nodes at once; the directory gives everything to one of them.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use seamless_wire::{
    CellId, GlobalEntity, InputSeq, NodeRef, PeerId, Term, Tick, mesh::DeadNode,
    snapshot::WorldSnapshot,
};

use super::{
    MeshEvent, NodeCore, PeerMessage, ReclaimedGroup, SendToken, Staged,
    base::{OpFor, Retry, SendFor, StageFor},
};
use crate::directory::{
    self, CellRecord, DirectoryAnswer, DirectoryError, DirectoryOp, EntityRow, OpId, Reclaimed,
    Refusal,
};

#[derive(Debug)]
enum State {
    /// Others come first; perhaps one of them is at it.
    Waiting {
        until: Duration,
        to: Option<NodeRef>,
    },
    /// The living claim what they hold.
    Asking {
        until: Duration,
        asked: BTreeSet<SendToken>,
    },
    /// The directory decides.
    Taking { op: OpId, retry: Retry },
    /// Ours; being decoded.
    Staging {
        left: usize,
        term: Term,
        cells: Vec<CellRecord>,
        groups: Vec<ReclaimedGroup>,
    },
}

/// Dead nodes that this node may clear up.
#[derive(Debug, Default)]
pub(super) struct Reclaims(BTreeMap<NodeRef, State>);

impl Reclaims {
    pub(super) fn next(&self) -> Option<Duration> {
        self.0
            .values()
            .filter_map(|state| match state {
                State::Waiting { until, .. } | State::Asking { until, .. } => Some(*until),
                State::Taking { retry, .. } => retry.due,
                State::Staging { .. } => None,
            })
            .min()
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

/// The stored rows of one root, put together.
struct Group {
    root: GlobalEntity,
    player: Option<PeerId>,
    cell: CellId,
    tick: Tick,
    last_input: InputSeq,
    missing: Vec<GlobalEntity>,
    /// `None` if nothing was stored, an error if it cannot be put together.
    state: Option<Result<Vec<u8>, String>>,
}

fn group(rows: &[EntityRow]) -> Option<Group> {
    let first = rows.first()?.record;
    let mut whole: Option<WorldSnapshot> = None;
    let mut missing = Vec::new();
    let mut problem = None;
    for row in rows {
        if row.state.is_empty() {
            missing.push(row.record.entity);
            continue;
        }
        match WorldSnapshot::from_bytes(&row.state) {
            Ok(part) => match &mut whole {
                Some(whole) => whole.rows.extend(part.rows),
                None => whole = Some(part),
            },
            Err(error) => problem = Some(error.to_string()),
        }
    }
    let state = match (problem, whole) {
        (Some(problem), _) => Some(Err(problem)),
        (None, Some(whole)) => Some(whole.to_bytes().map_err(|error| error.to_string())),
        (None, None) => None,
    };
    Some(Group {
        root: first.root,
        player: first.player,
        cell: first.cell,
        tick: first.tick,
        last_input: first.last_input,
        missing,
        state,
    })
}

impl NodeCore {
    /// Looks at the dead in the view: new ones are to be reclaimed, those that are gone are not
    /// any more.
    pub(super) fn reclaim_what_is_left(&mut self) {
        let now = self.base.now;
        let dead = std::mem::take(&mut self.base.view.dead);
        self.reclaims.0.retain(|node, state| {
            let undecided = matches!(state, State::Waiting { .. } | State::Asking { .. });
            !undecided || dead.contains(node)
        });
        for node in &dead {
            if self.reclaims.0.contains_key(node) {
                continue;
            }
            let wait = if self.sources.gave(*node, now) {
                Duration::ZERO
            } else {
                self.turn()
            };
            let until = now + wait;
            let to = None;
            self.reclaims.0.insert(*node, State::Waiting { until, to });
        }
        self.base.view.dead = dead;
    }

    /// How long the nodes before us get.
    fn turn(&self) -> Duration {
        let order = self.base.view.preference();
        let mut order = order.iter();
        let rank = order.position(|node| Some(*node) == self.base.me);
        self.base.config.timing.reclaim_stagger * (rank.unwrap_or(0) as u32 + 1)
    }

    /// Another node is at it.
    pub(super) fn yield_reclaim(&mut self, dead: NodeRef, by: NodeRef) {
        let until = self.base.now + self.base.config.timing.reclaim_yield + self.turn();
        let to = Some(by);
        match self.reclaims.0.get_mut(&dead) {
            Some(waiting @ State::Waiting { .. }) => *waiting = State::Waiting { until, to },
            Some(_) => {}
            None => {
                // It may have heard of the death before us.
                self.reclaims.0.insert(dead, State::Waiting { until, to });
                self.survey_soon();
            }
        }
    }

    /// This node will not clear anything up any more.
    pub(super) fn reclaimer_died(&mut self, node: NodeRef) {
        let soon = self.base.now + self.turn();
        for state in self.reclaims.0.values_mut() {
            if let State::Waiting { until, to } = state
                && *to == Some(node)
            {
                (*until, *to) = (soon.min(*until), None);
            }
        }
    }

    pub(super) fn tick_reclaims(&mut self) {
        let now = self.base.now;
        if self.reclaims.0.is_empty() {
            return;
        }
        let nodes: Vec<NodeRef> = self.reclaims.0.keys().copied().collect();
        for dead in nodes {
            match self.reclaims.0.get(&dead) {
                Some(State::Waiting { until, .. }) if *until <= now => self.ask_the_living(dead),
                Some(State::Asking { until, asked }) => {
                    let answered = asked.is_empty() && !self.targets.holds_from(dead);
                    if answered || *until <= now {
                        let op = self.base.op_id();
                        let retry = Retry::default();
                        self.reclaims.0.insert(dead, State::Taking { op, retry });
                        self.take(dead);
                    }
                }
                Some(State::Taking { retry, .. }) if retry.is_due(now) => self.take(dead),
                _ => {}
            }
        }
    }

    fn ask_the_living(&mut self, dead: NodeRef) {
        let now = self.base.now;
        if !self.base.view.dead.contains(&dead) {
            self.reclaims.0.remove(&dead);
            return;
        }
        let Some(me) = self.base.active() else {
            // Fenced: perhaps later, if nobody else did.
            let until = now + self.base.config.timing.reclaim_yield;
            let to = None;
            self.reclaims.0.insert(dead, State::Waiting { until, to });
            return;
        };
        let others: Vec<NodeRef> = self
            .base
            .view
            .nodes
            .iter()
            .map(|record| record.node)
            .filter(|node| *node != me)
            .collect();
        let mut asked = BTreeSet::new();
        for node in others {
            let message = PeerMessage::Dead(DeadNode { node: dead });
            asked.extend(self.base.send(SendFor::Dead(dead), node, message));
        }
        let until = now + self.base.config.timing.ask_within;
        self.reclaims.0.insert(dead, State::Asking { until, asked });
        self.tick_reclaims();
    }

    /// One of the living has answered, or cannot be asked.
    pub(super) fn on_dead_reply(&mut self, dead: NodeRef, token: SendToken) {
        if let Some(State::Asking { asked, .. }) = self.reclaims.0.get_mut(&dead) {
            asked.remove(&token);
        }
    }

    fn take(&mut self, dead: NodeRef) {
        let (Some(node), Some(State::Taking { op, retry })) =
            (self.base.me, self.reclaims.0.get_mut(&dead))
        else {
            return;
        };
        retry.due = None;
        let op = *op;
        self.base.ask(
            OpFor::Reclaim(dead),
            DirectoryOp::Reclaim { node, op, dead },
        );
    }

    pub(super) fn on_reclaimed(
        &mut self,
        dead: NodeRef,
        result: directory::Result<DirectoryAnswer>,
    ) {
        let Some(State::Taking { retry, .. }) = self.reclaims.0.get_mut(&dead) else {
            return;
        };
        match result {
            Ok(DirectoryAnswer::Reclaimed(taken)) => self.taken(dead, *taken),
            Err(DirectoryError::Refused(Refusal::NotBuried(_))) => {
                self.reclaims.0.remove(&dead);
            }
            _ => self.base.later(retry),
        }
    }

    fn taken(&mut self, dead: NodeRef, taken: Reclaimed) {
        self.reclaims.0.remove(&dead);
        self.survey_soon();
        if taken.rows.is_empty() && taken.cells.is_empty() {
            return;
        }
        self.base.counters.reclaims += 1;
        let mut groups = Vec::new();
        let mut states = Vec::new();
        for rows in taken.rows.chunk_by(|a, b| a.record.root == b.record.root) {
            let Some(group) = group(rows) else {
                continue;
            };
            self.source_reclaimed(group.root, dead, taken.term);
            self.target_reclaimed(group.root);
            let staged = match group.state {
                None => None,
                Some(Err(problem)) => Some(Err(problem)),
                Some(Ok(state)) => {
                    states.push((groups.len(), state));
                    None
                }
            };
            groups.push(ReclaimedGroup {
                root: group.root,
                player: group.player,
                cell: group.cell,
                tick: group.tick,
                last_input: group.last_input,
                staged,
                missing: group.missing,
            });
        }
        self.base.counters.reclaimed_roots += groups.len() as u64;
        let state = State::Staging {
            left: states.len(),
            term: taken.term,
            cells: taken.cells,
            groups,
        };
        self.reclaims.0.insert(dead, state);
        for (index, state) in states {
            self.base.stage(StageFor::Reclaimed { dead, index }, state);
        }
        self.tell_reclaimed(dead);
    }

    pub(super) fn on_reclaimed_staged(
        &mut self,
        dead: NodeRef,
        index: usize,
        result: Result<Staged, String>,
    ) {
        if let Some(State::Staging { left, groups, .. }) = self.reclaims.0.get_mut(&dead) {
            *left = left.saturating_sub(1);
            if result.is_err() {
                self.base.counters.undecodable += 1;
            }
            if let Some(group) = groups.get_mut(index) {
                group.staged = Some(result);
            }
        }
        self.tell_reclaimed(dead);
    }

    fn tell_reclaimed(&mut self, dead: NodeRef) {
        if !matches!(
            self.reclaims.0.get(&dead),
            Some(State::Staging { left: 0, .. })
        ) {
            return;
        }
        if let Some(State::Staging {
            term,
            cells,
            groups,
            ..
        }) = self.reclaims.0.remove(&dead)
        {
            self.base.event(MeshEvent::Reclaimed {
                dead,
                term,
                cells,
                groups,
            });
        }
    }
}
