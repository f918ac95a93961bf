//! Leaving in good order.

use std::time::Duration;

use seamless_wire::{CellId, NodeRef};

use super::{State, Step};
use crate::{
    directory::DirectoryOp,
    protocol::{MeshEvent, NodeCore, base::OpFor},
};

/// How long the last checkpoints may take.
const FLUSH_WITHIN: Duration = Duration::from_secs(1);

impl NodeCore {
    pub(in crate::protocol) fn leave(&mut self, patience: Duration) {
        let Some(node) = self.base.me else {
            self.membership.state = State::Left;
            self.base.event(MeshEvent::Left);
            return;
        };
        if self.membership.state != State::In {
            return;
        }
        self.base.leaving = true;
        self.membership.state = State::Leaving {
            until: self.base.now + patience,
            step: Step::Drain,
        };
        let draining = true;
        self.base
            .ask(OpFor::Drain, DirectoryOp::SetDraining { node, draining });
        if self.heir(node).is_none() {
            // Nobody takes anything over; what is stored waits for the next to join.
            self.go();
            return;
        }
        self.give_cells_away(node);
        self.survey_soon();
    }

    /// Who takes our cells: the first in the order of preference that stays.
    fn heir(&self, node: NodeRef) -> Option<NodeRef> {
        let view = &self.base.view;
        let stays = |heir: &NodeRef| view.node(*heir).is_some_and(|record| !record.draining);
        let mut heirs = view.preference().into_iter();
        heirs.find(|heir| *heir != node && stays(heir))
    }

    fn give_cells_away(&mut self, node: NodeRef) {
        let Some(to) = self.heir(node) else {
            return;
        };
        let cells = self.base.view.cells.values();
        let mine: Vec<CellId> = cells
            .filter(|record| record.owner == node)
            .map(|record| record.cell)
            .collect();
        for cell in mine {
            let op = self.base.op_id();
            let op = DirectoryOp::MoveCell { node, op, cell, to };
            self.base.ask(OpFor::MoveCell, op);
        }
    }

    pub(in crate::protocol) fn on_draining(&mut self) {
        if let State::Leaving {
            until,
            step: Step::Drain,
        } = self.membership.state
        {
            let step = Step::Count {
                due: Some(self.base.now),
            };
            self.membership.state = State::Leaving { until, step };
        }
    }

    pub(super) fn tick_leaving(&mut self, node: NodeRef) {
        let State::Leaving { until, step } = self.membership.state else {
            return;
        };
        let now = self.base.now;
        match step {
            Step::Leave { due } => {
                if due.is_none_or(|due| due > now) {
                    return;
                }
                // The last states first, if the directory takes them.
                let flushing = self.stores.backlog() > 0 && now < until + FLUSH_WITHIN;
                let due = flushing.then(|| now + self.base.config.timing.retry_first);
                let step = Step::Leave { due };
                self.membership.state = State::Leaving { until, step };
                if !flushing {
                    self.base.ask(OpFor::Leave, DirectoryOp::Leave { node });
                }
            }
            _ if now >= until => self.go(),
            Step::Count { due } if due.is_some_and(|due| due <= now) => {
                let step = Step::Count { due: None };
                self.membership.state = State::Leaving { until, step };
                self.give_cells_away(node);
                let count = DirectoryOp::OwnedRoots { node };
                self.base.ask(OpFor::CountRoots, count);
            }
            Step::Count { .. } | Step::Drain => {}
        }
    }

    pub(in crate::protocol) fn on_counted(&mut self, count: Option<u32>) {
        let State::Leaving {
            until,
            step: Step::Count { .. },
        } = self.membership.state
        else {
            return;
        };
        let mut cells = self.base.view.cells.values();
        let landed = cells.any(|cell| Some(cell.owner) == self.base.me);
        if count == Some(0) && !landed && !self.targets.claiming() {
            self.go();
        } else {
            let due = Some(self.base.now + self.base.config.timing.drain_poll);
            self.membership.state = State::Leaving {
                until,
                step: Step::Count { due },
            };
        }
    }

    /// No more ticks, then out: in this order, so that nobody reclaims what still moves.
    fn go(&mut self) {
        let due = Some(self.base.now);
        self.membership.state = State::Leaving {
            until: self.base.now,
            step: Step::Leave { due },
        };
        self.base.fence.raise();
        if !self.base.fenced {
            self.base.fenced = true;
            self.base.event(MeshEvent::Fenced);
        }
    }

    pub(super) fn is_going(&self) -> bool {
        matches!(
            self.membership.state,
            State::Left
                | State::Leaving {
                    step: Step::Leave { .. },
                    ..
                }
        )
    }

    pub(in crate::protocol) fn on_left(&mut self, gone: bool) {
        if gone {
            self.forget();
            self.membership.state = State::Left;
            self.base.event(MeshEvent::Left);
        } else if let State::Leaving { until, .. } = self.membership.state {
            let due = Some(self.base.now + self.base.config.timing.retry_slowest);
            let step = Step::Leave { due };
            self.membership.state = State::Leaving { until, step };
        }
    }
}
