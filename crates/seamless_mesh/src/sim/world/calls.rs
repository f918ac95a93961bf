//! Directory operations on their way there and back.

use std::time::Duration;

use seamless_wire::NodeId;

use super::{Event, Life, World};
use crate::{
    directory::{DirectoryError, DirectoryOp},
    protocol::OpToken,
    sim::DirectoryFate,
};

impl World {
    pub(super) fn call(&mut self, node: NodeId, life: Life, token: OpToken, op: DirectoryOp) {
        let filtered = match &mut self.directory_filter {
            Some(filter) => filter(node, &op),
            None => DirectoryFate::Normal,
        };
        let fate = if filtered != DirectoryFate::Normal {
            filtered
        } else if self.rng.per_mille(self.network.lost_calls) {
            DirectoryFate::CallLost
        } else if self.rng.per_mille(self.network.lost_answers) {
            DirectoryFate::AnswerLost
        } else {
            DirectoryFate::Normal
        };
        let late = match fate {
            DirectoryFate::Late(late) => late,
            _ => Duration::ZERO,
        };
        let there = self.now + self.rng.time(&self.network.directory.clone()) + late;
        let Some(process) = self.processes.get_mut(&node) else {
            return;
        };
        process.directory = process.directory.max(there);
        let (when, op) = (process.directory, Box::new(op));
        self.at(
            when,
            Event::Call {
                node,
                life,
                token,
                op,
                fate,
            },
        );
    }

    pub(super) fn make(
        &mut self,
        node: NodeId,
        life: Life,
        token: OpToken,
        op: &DirectoryOp,
        fate: DirectoryFate,
    ) {
        if fate == DirectoryFate::DiesBefore {
            if self.alive_mut(node, life).is_some() {
                self.crash(node);
            }
            return;
        }
        let back = self.rng.time(&self.network.directory.clone());
        let doubt = || Err(DirectoryError::InDoubt("no answer".to_owned()));
        let cut = self.directory_cuts.contains(&node);
        let before = self.directory.version();
        let (result, wait) = match fate {
            _ if cut => (doubt(), self.network.directory_timeout),
            DirectoryFate::CallLost => (doubt(), self.network.directory_timeout),
            DirectoryFate::Unavailable => (
                Err(DirectoryError::Unavailable("switched off".to_owned())),
                back,
            ),
            DirectoryFate::AnswerLost => {
                let _ = op.run(&mut self.directory);
                (doubt(), self.network.directory_timeout)
            }
            _ => (op.run(&mut self.directory), back),
        };
        if self.directory.version() != before {
            self.tell_watchers(node);
        }
        if fate == DirectoryFate::DiesAfter && self.alive_mut(node, life).is_some() {
            self.crash(node);
        }
        let mut when = self.now + wait;
        if let Some(process) = self.processes.get_mut(&node) {
            process.answered = process.answered.max(when);
            when = process.answered;
        }
        self.at(
            when,
            Event::Answer {
                node,
                life,
                token,
                result,
            },
        );
    }

    fn tell_watchers(&mut self, author: NodeId) {
        let mut told = Vec::new();
        for (node, process) in &mut self.processes {
            if let Some(alive) = &mut process.alive
                && *node != author
                && !alive.changed
                && !self.directory_cuts.contains(node)
            {
                alive.changed = true;
                told.push((*node, alive.life));
            }
        }
        for (node, life) in told {
            let when = self.now + self.network.watch_every;
            self.at(when, Event::Changed { node, life });
        }
    }
}
