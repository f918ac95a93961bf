//! One node.

use std::time::Duration;

use seamless_wire::{NodeRef, mesh::DeadNodeReply};

use super::{
    Action, HandoverTrace, Health, Input, MeshCommand, MeshCounters, NodeConfig, OpToken,
    PeerError, PeerMessage, PeerReply, ResponseToken, SendToken,
    base::{Base, OpFor, SendFor, StageFor},
    membership::Membership,
    reclaim::Reclaims,
    session::Sessions,
    source::{Frozen, Sources, Wish},
    store::Stores,
    target::Targets,
};
use crate::{
    directory::{
        self, Create, DirectoryAnswer, DirectoryError, DirectoryOp, NodeRecord, Origin, Refusal,
    },
    ticket::TicketDesk,
};

/// One node's part of the protocol: deterministic, driven by [`Input`]s, answering with
/// [`Action`]s. See the [module](super) for the contract.
pub struct NodeCore {
    pub(super) base: Base,
    pub(super) membership: Membership,
    pub(super) sources: Sources,
    pub(super) targets: Targets,
    pub(super) reclaims: Reclaims,
    pub(super) stores: Stores,
    pub(super) sessions: Sessions,
}

/// How many things a node has under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Busy {
    /// Handovers as source.
    pub sources: usize,
    /// Those of them whose group is frozen.
    pub frozen: usize,
    /// Handovers as target.
    pub targets: usize,
    /// Roots whose latest checkpoint is not stored yet.
    pub checkpoints: usize,
}

impl NodeCore {
    /// A node that joins at the first input.
    #[must_use]
    pub fn new(config: NodeConfig) -> Self {
        Self {
            membership: Membership::new(&config.timing),
            base: Base::new(config),
            sources: Sources::default(),
            targets: Targets::default(),
            reclaims: Reclaims::default(),
            stores: Stores::default(),
            sessions: Sessions::default(),
        }
    }

    /// Takes in what happened at `now` and appends what is to be done to `out`.
    ///
    /// Costs in proportion to what changes; never waits, never panics.
    pub fn handle(&mut self, now: Duration, input: Input, out: &mut Vec<Action>) {
        self.base.now = self.base.now.max(now);
        self.check_fence();
        match input {
            Input::Tick => {}
            Input::Command(command) => self.on_command(command),
            Input::Request {
                token,
                from,
                message,
            } => self.on_request(token, from, message),
            Input::Session { token, player } => self.on_session(token, player, false),
            Input::Reply { token, result } => self.on_reply(token, result),
            Input::Directory { token, result } => self.on_directory(token, result),
            Input::DirectoryChanged => {
                self.survey_soon();
                self.look_at_frozen();
            }
            Input::Staged { token, result } => match self.base.stages.remove(&token) {
                Some(StageFor::Incoming(handover)) => self.on_incoming_staged(handover, result),
                Some(StageFor::Reclaimed { dead, index }) => {
                    self.on_reclaimed_staged(dead, index, result);
                }
                None => {}
            },
            Input::LockGained(node) => self.on_lock_gained(node),
        }
        self.tick_membership();
        self.tick_sources();
        self.tick_targets();
        self.tick_reclaims();
        self.tick_stores();
        self.tick_sessions();
        out.append(&mut self.base.out);
    }

    /// When the node wants an [`Input::Tick`] if nothing else comes.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Duration> {
        let fence =
            (self.base.me.is_some() && !self.base.fenced).then(|| self.base.fence.deadline());
        [
            fence,
            self.membership.next(),
            self.sources.next(),
            self.targets.next(),
            self.reclaims.next(),
            self.stores.next(),
            self.sessions.next(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Until when the game may run ticks, on the node's clock. Zero: not at all.
    #[must_use]
    pub fn fence_deadline(&self) -> Duration {
        match self.base.me {
            Some(_) => self.base.fence.deadline(),
            None => Duration::ZERO,
        }
    }

    /// Our name in this life, while we are in the mesh.
    #[must_use]
    pub const fn me(&self) -> Option<NodeRef> {
        self.base.me
    }

    /// Where mesh time begins. Zero before the first join.
    #[must_use]
    pub const fn origin(&self) -> Origin {
        self.base.origin
    }

    /// What all nodes of the mesh know. Zero before the first join.
    #[must_use]
    pub const fn secret(&self) -> [u8; 32] {
        self.base.secret
    }

    /// The nodes as last seen.
    #[must_use]
    pub fn nodes(&self) -> &[NodeRecord] {
        &self.base.view.nodes
    }

    /// How the directory does.
    #[must_use]
    pub const fn health(&self) -> &Health {
        &self.base.health
    }

    /// What happened how often.
    #[must_use]
    pub const fn counters(&self) -> MeshCounters {
        self.base.counters
    }

    /// What became of the last handovers, the oldest first.
    pub fn traces(&self) -> impl Iterator<Item = &HandoverTrace> {
        self.base.traces.iter()
    }

    /// How many handovers were finished since the process started.
    #[must_use]
    pub const fn finished(&self) -> usize {
        self.base.traces.finished()
    }

    /// What is under way.
    #[must_use]
    pub fn busy(&self) -> Busy {
        let (sources, frozen) = self.sources.count();
        Busy {
            sources,
            frozen,
            targets: self.targets.count(),
            checkpoints: self.stores.backlog(),
        }
    }

    /// Takes tickets back; to be shared with the game side.
    #[must_use]
    pub fn desk(&self) -> TicketDesk {
        self.base.desk.clone()
    }

    fn on_command(&mut self, command: MeshCommand) {
        match command {
            MeshCommand::Prepare {
                root,
                members,
                player,
                cell,
                viewpoint,
            } => self.prepare(Wish {
                root,
                members,
                player,
                cell,
                viewpoint,
            }),
            MeshCommand::Cancel { root } => self.cancel(root),
            MeshCommand::Commit {
                handover,
                tick,
                last_input,
                state,
                queue,
            } => self.commit(Frozen {
                handover,
                tick,
                last_input,
                state,
                queue,
            }),
            MeshCommand::ClientAttached { handover } => {
                self.source_attached(handover);
                self.target_attached(handover);
            }
            MeshCommand::ClientDetached { handover } => {
                self.source_detached(handover);
                self.target_detached(handover);
            }
            MeshCommand::Checkpoint { groups } => self.checkpoint(groups),
            MeshCommand::Create {
                root,
                members,
                cell,
            } => self.create(Create {
                root,
                members,
                player: None,
                cell,
            }),
            MeshCommand::Retire { roots } => self.retire(roots),
            MeshCommand::ClaimCells(cells) => self.claim_cells(cells),
            MeshCommand::MoveCell { cell, to } => {
                if let Some(node) = self.base.me {
                    let op = self.base.op_id();
                    let op = DirectoryOp::MoveCell { node, op, cell, to };
                    self.base.ask(OpFor::MoveCell, op);
                }
            }
            MeshCommand::ReadNames { block } => self.read_names(block),
            MeshCommand::SessionAnswer { request, accepted } => {
                self.on_session_answer(request, accepted);
            }
            MeshCommand::Load(load) => self.base.load = load,
            MeshCommand::Leave { patience } => self.leave(patience),
        }
    }

    fn on_request(&mut self, token: ResponseToken, from: NodeRef, message: PeerMessage) {
        // Whoever speaks must speak for itself.
        match message {
            PeerMessage::Prepare(prepare) if prepare.from == from => {
                self.on_prepare(token, *prepare);
            }
            PeerMessage::Commit(commit) if commit.from == from => self.on_commit(token, commit),
            PeerMessage::Release(release) if release.from == from => {
                self.on_release(release);
                self.base.respond(token, PeerReply::Released);
            }
            PeerMessage::Dead(dead) => {
                if Some(dead.node) == self.base.me {
                    // The beat will tell whether it is right.
                    let reply = PeerReply::Dead(DeadNodeReply::default());
                    self.base.respond(token, reply);
                    self.survey_soon();
                } else {
                    self.on_dead_query(token, from, dead);
                }
            }
            PeerMessage::Session(request) if request.from == from => {
                self.on_session(token, request.player, true);
            }
            PeerMessage::Status(handover) => self.on_status(token, handover),
            PeerMessage::Prepare(_)
            | PeerMessage::Commit(_)
            | PeerMessage::Release(_)
            | PeerMessage::Session(_) => {}
        }
    }

    fn on_reply(&mut self, token: SendToken, result: Result<PeerReply, PeerError>) {
        match self.base.sends.remove(&token) {
            Some(SendFor::Prepare { root, serial }) => self.on_prepare_reply(root, serial, result),
            Some(SendFor::Commit { root, serial }) => self.on_commit_reply(root, serial, result),
            Some(SendFor::Dead(dead)) => self.on_dead_reply(dead, token),
            Some(SendFor::Session(serial)) => self.on_session_reply(serial, result),
            Some(SendFor::Release) | None => {}
        }
    }

    fn on_directory(&mut self, token: OpToken, result: directory::Result<DirectoryAnswer>) {
        let Some((sent, purpose)) = self.base.ops.remove(&token) else {
            return;
        };
        self.weigh(sent, &result);
        if let Err(DirectoryError::Refused(Refusal::NodeGone(node))) = &result
            && Some(*node) == self.base.me
        {
            self.expel();
            return;
        }
        match purpose {
            OpFor::Join => self.on_joined(sent, result),
            OpFor::Beat { sent } => self.on_beat(sent, result.is_ok()),
            OpFor::Survey { asked } => {
                let survey = match result {
                    Ok(DirectoryAnswer::Survey(survey)) => Some(*survey),
                    _ => None,
                };
                self.on_survey(asked, survey);
            }
            OpFor::Bury(_) => self.on_buried(result.is_ok()),
            OpFor::Drain => self.on_draining(),
            OpFor::CountRoots => {
                let count = match result {
                    Ok(DirectoryAnswer::Count(count)) => Some(count),
                    _ => None,
                };
                self.on_counted(count);
            }
            OpFor::Leave => self.on_left(result.is_ok()),
            OpFor::ClaimCells => self.on_cells(result),
            OpFor::MoveCell => self.survey_soon(),
            OpFor::Regroup { root, serial } => self.on_regrouped(root, serial, result),
            OpFor::Head { root, serial } => {
                if let Ok(DirectoryAnswer::Row(row)) = result {
                    self.on_head(root, serial, row.map(|row| *row));
                }
            }
            OpFor::Abort { root, serial } => self.on_aborted(root, serial, result),
            OpFor::Claim(handover) => self.on_claimed(handover, result),
            OpFor::Reclaim(dead) => self.on_reclaimed(dead, result),
            OpFor::Checkpoint => self.on_checkpointed(result),
            OpFor::Create(root) => self.on_created(root, result),
            OpFor::Retire(root) => self.on_retired(root, result),
            OpFor::Names(block) => self.on_names(block, result),
            OpFor::FindPlayer(serial) => self.on_player_found(serial, result),
            OpFor::CreatePlayer(serial) => self.on_player_made(serial, result),
        }
    }

    /// Takes the directory's pulse, and tells the game when it changes.
    fn weigh(&mut self, sent: Duration, result: &directory::Result<DirectoryAnswer>) {
        let base = &mut self.base;
        let failed = matches!(
            result,
            Err(DirectoryError::Unavailable(_) | DirectoryError::InDoubt(_))
        );
        if failed {
            base.counters.directory_failures += 1;
        }
        let before = base.health.ok();
        let took = base.now.saturating_sub(sent);
        base.health.record(base.now, took, failed);
        let oldest = base.ops.values().next().map_or(base.now, |(sent, _)| *sent);
        base.health.weigh(base.now, base.now.saturating_sub(oldest));
        let ok = base.health.ok();
        if ok != before {
            let cas_p99 = base.health.p99();
            base.event(super::MeshEvent::Health { ok, cas_p99 });
        }
    }
}

impl std::fmt::Debug for NodeCore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NodeCore")
            .field("me", &self.base.me)
            .field("now", &self.base.now)
            .field("busy", &self.busy())
            .finish_non_exhaustive()
    }
}
