//! Joining, beating, looking around, leaving.

mod leaving;

use std::{collections::BTreeSet, time::Duration};

use seamless_wire::{CellId, NodeRef};

use super::{MeshEvent, NodeCore, base::OpFor};
use crate::{
    directory::{
        self, DirectoryAnswer, DirectoryError, DirectoryOp, Evidence, Join, Joined, NodeRecord,
        Refusal, Survey,
    },
    liveness::Watch,
    protocol::Action,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Not in the mesh; joins when it is time.
    Out { due: Option<Duration> },
    /// In.
    In,
    /// On the way out, at the latest at `until`.
    Leaving { until: Duration, step: Step },
    /// Out for good.
    Left,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// Saying so, and giving the cells away.
    Drain,
    /// Waiting for the last root.
    Count { due: Option<Duration> },
    /// Taking the record out.
    Leave { due: Option<Duration> },
}

pub(in crate::protocol) struct Membership {
    state: State,
    watch: Watch,
    /// Of the record that has our number.
    former: Watch,
    awaited: BTreeSet<NodeRef>,
    beat: Option<Duration>,
    survey: Option<Duration>,
    surveying: bool,
    again: bool,
    surveyed: Option<Duration>,
    /// Cells to claim, and when.
    wanted: BTreeSet<CellId>,
    claim: Option<Duration>,
}

impl Membership {
    pub(in crate::protocol) fn new(timing: &crate::timing::Timing) -> Self {
        let watch = Watch::new(timing.bury_after, timing.survey_gap);
        Self {
            state: State::Out {
                due: Some(Duration::ZERO),
            },
            former: watch.clone(),
            watch,
            awaited: BTreeSet::new(),
            beat: None,
            survey: None,
            surveying: false,
            again: false,
            surveyed: None,
            wanted: BTreeSet::new(),
            claim: None,
        }
    }

    pub(in crate::protocol) fn next(&self) -> Option<Duration> {
        let step = match self.state {
            State::Out { due } => due,
            State::Leaving { until, step } => match step {
                Step::Drain => Some(until),
                Step::Count { due } => Some(due.map_or(until, |due| due.min(until))),
                Step::Leave { due } => due,
            },
            State::In | State::Left => None,
        };
        let survey = self.survey.filter(|_| !self.surveying);
        [step, self.beat, survey, self.claim]
            .into_iter()
            .flatten()
            .min()
    }
}

impl NodeCore {
    pub(in crate::protocol) fn tick_membership(&mut self) {
        let now = self.base.now;
        let due = |at: Option<Duration>| at.is_some_and(|at| at <= now);
        if let State::Out { due: at } = self.membership.state
            && due(at)
        {
            self.membership.state = State::Out { due: None };
            let config = &self.base.config;
            let join = Join {
                id: config.id,
                life: config.life,
                addresses: config.addresses,
                boot: config.boot,
                clock: now,
                secret: config.secret,
            };
            self.base
                .ask(OpFor::Join, DirectoryOp::Join(Box::new(join)));
        }
        let Some(node) = self.base.me else {
            return;
        };
        if due(self.membership.beat) {
            self.membership.beat = None;
            let (load, clock) = (self.base.load, self.base.origin.mesh_time(now));
            let beat = DirectoryOp::Beat { node, load, clock };
            self.base.ask(OpFor::Beat { sent: now }, beat);
        }
        if due(self.membership.claim) {
            self.membership.claim = None;
            let cells = self.membership.wanted.iter().copied().collect();
            let op = self.base.op_id();
            self.base.ask(
                OpFor::ClaimCells,
                DirectoryOp::ClaimCells { node, op, cells },
            );
        }
        if due(self.membership.survey) && !self.membership.surveying {
            self.survey();
        }
        self.tick_leaving(node);
    }

    fn survey(&mut self) {
        let now = self.base.now;
        self.membership.surveying = true;
        self.membership.again = false;
        self.membership.survey = None;
        let known = self.base.view.layout;
        self.base
            .ask(OpFor::Survey { asked: now }, DirectoryOp::Survey { known });
    }

    /// Looks around as soon as the spacing allows.
    pub(in crate::protocol) fn survey_soon(&mut self) {
        if self.base.me.is_none() {
            return;
        }
        if self.membership.surveying {
            self.membership.again = true;
            return;
        }
        let spacing = self.base.config.timing.survey_spacing;
        let at = self
            .membership
            .surveyed
            .map_or(self.base.now, |last| (last + spacing).max(self.base.now));
        let planned = self.membership.survey.unwrap_or(Duration::MAX);
        self.membership.survey = Some(planned.min(at));
    }

    pub(in crate::protocol) fn on_joined(
        &mut self,
        sent: Duration,
        result: directory::Result<DirectoryAnswer>,
    ) {
        match result {
            Ok(DirectoryAnswer::Joined(joined)) => self.enter(sent, &joined),
            Err(DirectoryError::Refused(Refusal::NodeTaken(record))) => {
                self.on_taken(sent, &record);
            }
            _ => self.join_later(),
        }
    }

    fn join_later(&mut self) {
        let due = Some(self.base.now + self.base.config.timing.join_retry);
        self.membership.state = State::Out { due };
    }

    /// A record has our number: a former life of ours, or another process by mistake. It goes the
    /// way of every silent node, or stays.
    fn on_taken(&mut self, sent: Duration, record: &NodeRecord) {
        let now = self.base.now;
        let beat = [(record.node, record.beat)];
        for (node, beat) in self.membership.former.look(sent, now, beat) {
            let evidence = Evidence::Silent { beat };
            self.base
                .ask(OpFor::Bury(node), DirectoryOp::Bury { node, evidence });
        }
        self.await_death(record);
        self.join_later();
    }

    fn await_death(&mut self, record: &NodeRecord) {
        if self.membership.awaited.insert(record.node) {
            let (node, life) = (record.node, record.life);
            self.base.out.push(Action::AwaitDeath { node, life });
        }
    }

    fn enter(&mut self, sent: Duration, joined: &Joined) {
        let base = &mut self.base;
        base.me = Some(joined.node);
        base.block = joined.block;
        base.origin = joined.origin;
        base.secret = joined.secret;
        base.desk.open(joined.node);
        base.fence.beat(sent);
        base.fenced = base.fence.is_up(base.now);
        self.membership.state = State::In;
        self.membership.beat = Some(sent + base.config.timing.beat_every);
        base.event(MeshEvent::Joined {
            node: joined.node,
            block: joined.block,
            origin: joined.origin,
        });
        if base.fenced {
            base.event(MeshEvent::Fenced);
        }
        if !self.membership.wanted.is_empty() {
            self.membership.claim = Some(base.now);
        }
        self.survey();
    }

    pub(in crate::protocol) fn on_beat(&mut self, sent: Duration, done: bool) {
        let timing = &self.base.config.timing;
        if done {
            if !self.is_going() {
                self.base.fence.beat(sent);
            }
            self.membership.beat = Some((sent + timing.beat_every).max(self.base.now));
            if self.base.fenced && !self.base.fence.is_up(self.base.now) && !self.is_going() {
                self.base.fenced = false;
                self.base.event(MeshEvent::Unfenced);
            }
        } else {
            self.membership.beat = Some(self.base.now + timing.beat_every / 4);
        }
    }

    /// Puts the fence up when its time has come.
    pub(in crate::protocol) fn check_fence(&mut self) {
        if self.base.me.is_some() && !self.base.fenced && self.base.fence.is_up(self.base.now) {
            self.base.fenced = true;
            self.base.counters.fenced += 1;
            self.base.event(MeshEvent::Fenced);
        }
    }

    pub(in crate::protocol) fn on_survey(&mut self, asked: Duration, survey: Option<Survey>) {
        let now = self.base.now;
        self.membership.surveying = false;
        self.membership.surveyed = Some(now);
        self.membership.survey = Some(now + self.base.config.timing.survey_every);
        if self.membership.again {
            self.survey_soon();
        }
        let (Some(survey), Some(me)) = (survey, self.base.me) else {
            return;
        };
        if !survey.nodes.iter().any(|record| record.node == me) {
            self.expel();
            return;
        }
        self.take_in(survey, me);
        let others = self
            .base
            .view
            .nodes
            .iter()
            .filter(|record| record.node != me);
        let beats: Vec<_> = others.map(|record| (record.node, record.beat)).collect();
        for (node, beat) in self.membership.watch.look(asked, now, beats) {
            let evidence = Evidence::Silent { beat };
            self.base
                .ask(OpFor::Bury(node), DirectoryOp::Bury { node, evidence });
        }
        if let Some(next) = self.membership.watch.next() {
            // The question that proves a silence must come after it.
            let next = next.max(now + self.base.config.timing.survey_spacing);
            let planned = self.membership.survey.unwrap_or(next);
            self.membership.survey = Some(planned.min(next));
        }
        self.reclaim_what_is_left();
    }

    fn take_in(&mut self, survey: Survey, me: NodeRef) {
        let view = &mut self.base.view;
        let same = |a: &NodeRecord, b: &NodeRecord| {
            (a.node, a.addresses, a.draining) == (b.node, b.addresses, b.draining)
        };
        let unchanged = view.nodes.len() == survey.nodes.len()
            && view
                .nodes
                .iter()
                .zip(&survey.nodes)
                .all(|(a, b)| same(a, b));
        let busy = |nodes: &[NodeRecord]| nodes.iter().map(|node| node.load).collect::<Vec<_>>();
        let as_busy = busy(&view.nodes) == busy(&survey.nodes);
        let gone: Vec<NodeRef> = view
            .nodes
            .iter()
            .map(|record| record.node)
            .filter(|node| !survey.nodes.iter().any(|record| record.node == *node))
            .collect();
        view.nodes = survey.nodes;
        let mut cells_changed = false;
        if let Some(rest) = survey.rest {
            view.layout = Some(survey.layout);
            view.dead = rest.dead;
            let cells = rest
                .cells
                .into_iter()
                .map(|record| (record.cell, record))
                .collect();
            cells_changed = view.cells != cells;
            view.cells = cells;
        }
        if !unchanged {
            let nodes = self.base.view.nodes.clone();
            for record in nodes.iter().filter(|record| record.node != me) {
                self.await_death(record);
            }
        }
        if !unchanged || !as_busy {
            let nodes = self.base.view.nodes.clone();
            self.base.event(MeshEvent::NodesChanged(nodes));
        }
        if cells_changed {
            let cells = self.base.view.cells.values().copied().collect();
            self.base.event(MeshEvent::CellsChanged(cells));
        }
        for node in gone {
            self.membership.awaited.remove(&node);
            self.source_lost_target(node);
            self.reclaimer_died(node);
        }
    }

    /// This process is dead for certain.
    pub(in crate::protocol) fn on_lock_gained(&mut self, node: NodeRef) {
        let evidence = Evidence::Dead;
        self.base
            .ask(OpFor::Bury(node), DirectoryOp::Bury { node, evidence });
        self.source_lost_target(node);
        self.reclaimer_died(node);
    }

    pub(in crate::protocol) fn on_buried(&mut self, done: bool) {
        if done {
            self.base.counters.buried += 1;
        }
        if let State::Out { due: Some(_) } = self.membership.state {
            self.membership.state = State::Out {
                due: Some(self.base.now),
            };
        }
        self.survey_soon();
    }

    pub(in crate::protocol) fn claim_cells(&mut self, cells: impl IntoIterator<Item = CellId>) {
        self.membership.wanted.extend(cells);
        if self.base.me.is_some() {
            self.membership.claim = Some(self.base.now);
        }
    }

    pub(in crate::protocol) fn on_cells(&mut self, result: directory::Result<DirectoryAnswer>) {
        match result {
            Ok(DirectoryAnswer::Cells(cells)) => {
                for record in cells {
                    self.membership.wanted.remove(&record.cell);
                }
                self.survey_soon();
            }
            _ if !self.membership.wanted.is_empty() => {
                let wait = self.base.config.timing.retry_slowest;
                self.membership.claim = Some(self.base.now + wait);
            }
            _ => {}
        }
    }

    /// We were taken for dead: step down from everything, then join as somebody new.
    pub(in crate::protocol) fn expel(&mut self) {
        if self.base.me.is_none() {
            return;
        }
        let going = self.is_going();
        self.forget();
        if going {
            self.membership.state = State::Left;
            self.base.event(MeshEvent::Left);
            return;
        }
        self.base.counters.expelled += 1;
        self.base.event(MeshEvent::Expelled);
        self.join_later();
    }

    fn forget(&mut self) {
        self.abandon_sources();
        self.abandon_targets();
        self.abandon_sessions();
        self.reclaims.clear();
        self.stores.clear();
        let base = &mut self.base;
        base.me = None;
        base.leaving = false;
        base.fence.raise();
        base.fenced = true;
        base.view = crate::protocol::base::View::default();
        base.desk.close();
        base.ops.clear();
        base.sends.clear();
        base.stages.clear();
        self.membership = Membership::new(&base.config.timing);
    }
}
