//! The mesh thread's loop: inputs in, actions out.

use std::{
    collections::{BTreeMap, VecDeque},
    path::PathBuf,
    sync::{
        Arc, PoisonError,
        atomic::Ordering,
        mpsc::{SyncSender, TrySendError},
    },
    time::Duration,
};

use seamless_wire::{
    NodeRef, PeerId,
    mesh::{PrepareReply, RejectReason, SessionReply},
    ticket::Ticket,
};
use tokio::sync::{
    mpsc::{Receiver, UnboundedReceiver, UnboundedSender},
    oneshot,
};

use super::{client::Client, clock::boot_clock, directory::Asker, fail, shared::Shared};
use crate::{
    directory::{self, DirectoryAnswer},
    link::Mint,
    liveness::lock::{LifeLock, await_death},
    protocol::{
        Action, Input, MeshCommand, MeshEvent, NodeCore, OpToken, PeerError, PeerMessage,
        PeerReply, Phase, ResponseToken, Role, SendToken, Stager,
    },
};

/// How often the copy for overlays is renewed.
const STATUS_EVERY: Duration = Duration::from_millis(100);

/// How soon events are offered again to a game that does not take them.
const OFFER_AGAIN: Duration = Duration::from_millis(5);

/// What comes from our own helpers. Bounded by what we asked them.
pub(super) enum Wake {
    Directory(OpToken, directory::Result<DirectoryAnswer>),
    Changed,
    LockGained(NodeRef),
    Reply(SendToken, Result<PeerReply, PeerError>),
}

/// What comes from outside, through a bounded channel.
pub(super) enum Ask {
    Node {
        from: NodeRef,
        message: PeerMessage,
        answer: oneshot::Sender<PeerReply>,
    },
    Client {
        player: PeerId,
        answer: oneshot::Sender<SessionReply>,
    },
}

enum Waiting {
    Node(oneshot::Sender<PeerReply>),
    Client(oneshot::Sender<SessionReply>),
}

impl Waiting {
    fn is_closed(&self) -> bool {
        match self {
            Self::Node(answer) => answer.is_closed(),
            Self::Client(answer) => answer.is_closed(),
        }
    }
}

/// The thread's state.
pub(super) struct Runtime {
    pub(super) core: NodeCore,
    pub(super) shared: Arc<Shared>,
    pub(super) stager: Box<dyn Stager>,
    pub(super) mint: Mint,
    pub(super) asker: Asker,
    pub(super) client: Client,
    pub(super) locks: Option<PathBuf>,
    /// Held as long as the thread lives.
    pub(super) lock: Option<LifeLock>,
    pub(super) wakes: UnboundedSender<Wake>,
    pub(super) events: SyncSender<MeshEvent>,
    pub(super) backlog: VecDeque<MeshEvent>,
    waiting: BTreeMap<ResponseToken, Waiting>,
    next: u64,
    told: Duration,
    traced: usize,
}

/// What the thread listens to.
pub(super) struct Ears {
    pub(super) commands: Receiver<MeshCommand>,
    pub(super) asks: Receiver<Ask>,
    pub(super) wakes: UnboundedReceiver<Wake>,
    pub(super) stop: oneshot::Receiver<()>,
}

/// What a [`Runtime`] is made of.
pub(super) struct Parts {
    pub(super) core: NodeCore,
    pub(super) shared: Arc<Shared>,
    pub(super) stager: Box<dyn Stager>,
    pub(super) mint: Mint,
    pub(super) asker: Asker,
    pub(super) locks: Option<PathBuf>,
    pub(super) lock: Option<LifeLock>,
    pub(super) wakes: UnboundedSender<Wake>,
    pub(super) events: SyncSender<MeshEvent>,
}

impl Runtime {
    pub(super) fn new(parts: Parts) -> Self {
        Self {
            client: Client::new(Arc::clone(&parts.shared)),
            core: parts.core,
            shared: parts.shared,
            stager: parts.stager,
            mint: parts.mint,
            asker: parts.asker,
            locks: parts.locks,
            lock: parts.lock,
            wakes: parts.wakes,
            events: parts.events,
            backlog: VecDeque::new(),
            waiting: BTreeMap::new(),
            next: 0,
            told: Duration::ZERO,
            traced: 0,
        }
    }

    /// Runs until it is told to stop or the game lets go of its end.
    pub(super) async fn run(mut self, mut ears: Ears) {
        self.input(Input::Tick);
        loop {
            let wait = self.wait();
            let input = tokio::select! {
                biased;
                _ = &mut ears.stop => return,
                wake = ears.wakes.recv() => match wake {
                    Some(Wake::Directory(token, result)) => Input::Directory { token, result },
                    Some(Wake::Changed) => Input::DirectoryChanged,
                    Some(Wake::LockGained(node)) => Input::LockGained(node),
                    Some(Wake::Reply(token, result)) => Input::Reply { token, result },
                    None => return,
                },
                command = ears.commands.recv() => match command {
                    Some(command) => {
                        if matches!(command, MeshCommand::Commit { .. }) {
                            fail::point("after_freeze");
                        }
                        Input::Command(command)
                    }
                    None => return,
                },
                Some(ask) = ears.asks.recv() => match self.take_in(ask) {
                    Some(input) => input,
                    None => continue,
                },
                () = tokio::time::sleep(wait) => Input::Tick,
            };
            self.input(input);
        }
    }

    fn wait(&self) -> Duration {
        let now = boot_clock();
        let wait = self
            .core
            .next_timeout()
            .map_or(Duration::from_secs(1), |at| at.saturating_sub(now));
        if self.backlog.is_empty() {
            wait
        } else {
            wait.min(OFFER_AGAIN)
        }
    }

    fn take_in(&mut self, ask: Ask) -> Option<Input> {
        // A game that does not listen gets nothing new to hear.
        if !self.backlog.is_empty()
            && let Ask::Node {
                message: PeerMessage::Prepare(_),
                answer,
                ..
            } = ask
        {
            let reply = PrepareReply::Rejected {
                reason: RejectReason::Full,
                retry_after_ms: 1000,
            };
            let _ = answer.send(PeerReply::Prepare(reply));
            return None;
        }
        self.next += 1;
        let token = ResponseToken(self.next);
        if self.next.is_multiple_of(64) {
            self.waiting.retain(|_, waiting| !waiting.is_closed());
        }
        Some(match ask {
            Ask::Node {
                from,
                message,
                answer,
            } => {
                self.waiting.insert(token, Waiting::Node(answer));
                Input::Request {
                    token,
                    from,
                    message,
                }
            }
            Ask::Client { player, answer } => {
                self.waiting.insert(token, Waiting::Client(answer));
                Input::Session { token, player }
            }
        })
    }

    fn input(&mut self, input: Input) {
        let mut inputs = VecDeque::from([input]);
        let mut actions = Vec::new();
        while let Some(input) = inputs.pop_front() {
            self.core.handle(boot_clock(), input, &mut actions);
            // Before anything leaves: nobody may act on an answer whose sender may not act.
            self.shared.set_fence(self.core.fence_deadline());
            for action in actions.drain(..) {
                self.act(action, &mut inputs);
            }
        }
        self.offer();
        self.tell();
    }

    fn act(&mut self, action: Action, inputs: &mut VecDeque<Input>) {
        match action {
            Action::Event(event) => self.event(event),
            Action::Stage { token, bytes } => {
                let result = self.stager.stage(&bytes);
                inputs.push_back(Input::Staged { token, result });
            }
            Action::Directory { token, op } => self.asker.ask(token, op),
            Action::AwaitDeath { node, life } => {
                if let Some(folder) = &self.locks {
                    let wakes = self.wakes.clone();
                    let ended = move || {
                        let _ = wakes.send(Wake::LockGained(node));
                    };
                    if let Err(error) = await_death(folder, node.id, life, ended) {
                        tracing::warn!(%node, %error, "its death will only be told by silence");
                    }
                }
            }
            Action::Send {
                to,
                http,
                message,
                token,
                within,
            } => {
                let (client, wakes) = (self.client.clone(), self.wakes.clone());
                let commit = matches!(message, PeerMessage::Commit(_));
                tokio::spawn(async move {
                    let result = client.ask(to, http, message, within).await;
                    let _ = wakes.send(Wake::Reply(token, result));
                });
                if commit && cfg!(feature = "failpoints") {
                    tokio::spawn(async {
                        tokio::time::sleep(Duration::from_millis(2)).await;
                        fail::point("after_commit_sent");
                    });
                }
            }
            Action::Respond {
                token,
                reply,
                ticket,
            } => self.respond(token, reply, ticket),
        }
    }

    fn respond(&mut self, token: ResponseToken, reply: PeerReply, ticket: Option<Ticket>) {
        let reply = match ticket {
            Some(ticket) => self.seal(reply, &ticket),
            None => reply,
        };
        match (self.waiting.remove(&token), reply) {
            (Some(Waiting::Node(answer)), reply) => {
                let _ = answer.send(reply);
            }
            (Some(Waiting::Client(answer)), PeerReply::Session(reply)) => {
                let _ = answer.send(reply);
            }
            _ => {}
        }
    }

    fn seal(&self, mut reply: PeerReply, ticket: &Ticket) -> PeerReply {
        let sealed = (self.mint)(ticket);
        if let Err(error) = &sealed {
            tracing::error!(player = %ticket.player, %error, "no token");
        }
        match (&mut reply, sealed) {
            (PeerReply::Prepare(PrepareReply::Reserved { token, .. }), Ok(sealed))
            | (PeerReply::Session(SessionReply::Welcome { token, .. }), Ok(sealed)) => {
                *token = sealed;
                reply
            }
            (PeerReply::Prepare(_), _) => PeerReply::Prepare(PrepareReply::Rejected {
                reason: RejectReason::Full,
                retry_after_ms: 1000,
            }),
            _ => PeerReply::Session(SessionReply::Retry { after_ms: 1000 }),
        }
    }

    fn event(&mut self, event: MeshEvent) {
        match &event {
            MeshEvent::Joined { node, origin, .. } => {
                let secret = Some(self.core.secret());
                *self
                    .shared
                    .secret
                    .write()
                    .unwrap_or_else(PoisonError::into_inner) = secret;
                *self
                    .shared
                    .me
                    .write()
                    .unwrap_or_else(PoisonError::into_inner) = Some(*node);
                self.shared.origin.store(origin.0, Ordering::Release);
                self.shared.in_mesh.store(true, Ordering::Release);
                tracing::info!(%node, "joined the mesh");
            }
            MeshEvent::Expelled | MeshEvent::Left => {
                *self
                    .shared
                    .me
                    .write()
                    .unwrap_or_else(PoisonError::into_inner) = None;
                if matches!(event, MeshEvent::Left) {
                    if let Some(lock) = self.lock.take() {
                        lock.retire();
                    }
                    tracing::info!("left the mesh");
                } else {
                    tracing::error!("taken for dead by the mesh; stepping down");
                }
            }
            MeshEvent::Reserved { .. } => fail::point("after_reserved"),
            MeshEvent::Activate { .. } => fail::point("before_activate"),
            MeshEvent::Fenced => tracing::warn!("fenced: the directory does not hear us"),
            MeshEvent::Unfenced => tracing::info!("not fenced any more"),
            MeshEvent::Health { ok: false, cas_p99 } => {
                tracing::warn!(?cas_p99, "the directory is slow");
            }
            MeshEvent::LostRows(rows) => tracing::warn!(?rows, "not ours"),
            MeshEvent::Reclaimed {
                dead, term, groups, ..
            } => {
                tracing::warn!(%dead, %term, roots = groups.len(), "reclaimed");
            }
            _ => {}
        }
        self.backlog.push_back(event);
    }

    /// Gives the game what it takes.
    fn offer(&mut self) {
        while let Some(event) = self.backlog.pop_front() {
            let activation = matches!(event, MeshEvent::Activate { .. });
            match self.events.try_send(event) {
                Ok(()) => {
                    if activation {
                        fail::point("after_activate");
                    }
                }
                Err(TrySendError::Full(event)) => {
                    self.backlog.push_front(event);
                    return;
                }
                // The game has let go; the thread is about to end.
                Err(TrySendError::Disconnected(_)) => return,
            }
        }
    }

    /// Renews the copy for overlays.
    fn tell(&mut self) {
        let now = boot_clock();
        if now < self.told + STATUS_EVERY {
            return;
        }
        self.told = now;
        let finished = self.core.finished();
        let fresh = (finished - self.traced).min(self.core.traces().count());
        let traces = (fresh > 0).then(|| self.core.traces().cloned().collect::<Vec<_>>());
        self.traced = finished;
        let mut status = self
            .shared
            .status
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        status.node = self.core.me();
        status.counters = self.core.counters();
        status.busy = self.core.busy();
        status.healthy = self.core.health().ok();
        status.directory_p99 = self.core.health().p99();
        if status.nodes != self.core.nodes() {
            status.nodes = self.core.nodes().to_vec();
        }
        let Some(traces) = traces else {
            return;
        };
        for trace in traces
            .iter()
            .rev()
            .take(fresh)
            .filter(|trace| trace.role == Role::Source)
        {
            if let (Some(frozen), Some((outcome, at))) = (trace.at(Phase::Committed), trace.outcome)
            {
                self.shared.frozen.add(at.saturating_sub(frozen));
                tracing::debug!(handover = %trace.handover, ?outcome, frozen = ?at.saturating_sub(frozen), "handover");
            }
        }
        status.traces = traces;
    }
}
