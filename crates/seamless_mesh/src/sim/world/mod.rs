//! The machinery of the simulation: one queue of things that are going to happen.

mod calls;
mod network;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use seamless_wire::{NodeId, NodeRef, PeerId, mesh::SessionReply};

use super::{DirectoryFate, Envelope, Fate, Network, Rng, SimConfig};
use crate::{
    directory::{self, Addresses, DirectoryAnswer, DirectoryOp, MemoryDirectory},
    link::MeshStatus,
    protocol::{
        Action, Input, MeshCommand, MeshEvent, NodeConfig, NodeCore, OpToken, PeerError,
        PeerMessage, PeerReply, ResponseToken, SendToken,
    },
    timing::Timing,
};

/// One life of a process.
type Life = u64;

pub(in crate::sim) type MessageFilter = Box<dyn FnMut(Envelope<'_>) -> Fate + Send>;
pub(in crate::sim) type DirectoryFilter =
    Box<dyn FnMut(NodeId, &DirectoryOp) -> DirectoryFate + Send>;

enum Event {
    Wake {
        node: NodeId,
        life: Life,
    },
    Request {
        to: NodeId,
        from: NodeRef,
        asker: (NodeId, Life),
        token: SendToken,
        message: PeerMessage,
    },
    Reply {
        to: NodeId,
        life: Life,
        token: SendToken,
        result: Result<PeerReply, PeerError>,
    },
    Call {
        node: NodeId,
        life: Life,
        token: OpToken,
        op: Box<DirectoryOp>,
        fate: DirectoryFate,
    },
    Answer {
        node: NodeId,
        life: Life,
        token: OpToken,
        result: directory::Result<DirectoryAnswer>,
    },
    Changed {
        node: NodeId,
        life: Life,
    },
    Lock {
        node: NodeId,
        life: Life,
        dead: NodeRef,
    },
}

pub(in crate::sim) struct Alive {
    pub(in crate::sim) core: NodeCore,
    life: Life,
    paused: bool,
    events: VecDeque<MeshEvent>,
    wake: Option<Duration>,
    changed: bool,
    /// Requests that are not answered: whom to answer, or which client.
    asked: BTreeMap<ResponseToken, Asker>,
    open: BTreeSet<SendToken>,
    next: u64,
    /// What came while it was paused.
    held: VecDeque<Event>,
    commands: VecDeque<MeshCommand>,
}

enum Asker {
    Node(NodeId, Life, SendToken),
    Client(PeerId),
}

impl Alive {
    pub(in crate::sim) fn status(&self) -> MeshStatus {
        MeshStatus {
            node: self.core.me(),
            counters: self.core.counters(),
            busy: self.core.busy(),
            traces: self.core.traces().cloned().collect(),
            nodes: self.core.nodes().to_vec(),
            healthy: self.core.health().ok(),
            directory_p99: self.core.health().p99(),
        }
    }
}

struct Process {
    config: SimConfig,
    alive: Option<Alive>,
    /// When its last directory operation is made; later ones come after it.
    directory: Duration,
    /// When its last one is answered.
    answered: Duration,
    answers: Vec<(PeerId, SessionReply)>,
}

pub(in crate::sim) struct World {
    now: Duration,
    serial: u64,
    rng: Rng,
    timing: Timing,
    queue: BTreeMap<(Duration, u64), Event>,
    processes: BTreeMap<NodeId, Process>,
    /// Lives that have ended, and who waits for which.
    ended: BTreeSet<Life>,
    waiting: BTreeMap<Life, Vec<(NodeId, Life, NodeRef)>>,
    directory: MemoryDirectory,
    cuts: BTreeSet<(NodeId, NodeId)>,
    directory_cuts: BTreeSet<NodeId>,
    pub(in crate::sim) network: Network,
    pub(in crate::sim) locks: bool,
    pub(in crate::sim) message_filter: Option<MessageFilter>,
    pub(in crate::sim) directory_filter: Option<DirectoryFilter>,
}

impl World {
    pub(in crate::sim) fn new(seed: u64, timing: Timing) -> Self {
        Self {
            now: Duration::ZERO,
            serial: 0,
            rng: Rng::new(seed),
            timing,
            queue: BTreeMap::new(),
            processes: BTreeMap::new(),
            ended: BTreeSet::new(),
            waiting: BTreeMap::new(),
            directory: MemoryDirectory::new(),
            cuts: BTreeSet::new(),
            directory_cuts: BTreeSet::new(),
            network: Network::default(),
            locks: true,
            message_filter: None,
            directory_filter: None,
        }
    }

    pub(in crate::sim) const fn now(&self) -> Duration {
        self.now
    }

    pub(in crate::sim) fn directory(&self) -> MemoryDirectory {
        self.directory.clone()
    }

    pub(in crate::sim) fn alive(&self, node: NodeId) -> Option<&Alive> {
        self.processes.get(&node)?.alive.as_ref()
    }

    fn alive_mut(&mut self, node: NodeId, life: Life) -> Option<&mut Alive> {
        let alive = self.processes.get_mut(&node)?.alive.as_mut()?;
        (alive.life == life).then_some(alive)
    }

    pub(in crate::sim) fn is_running(&self, node: NodeId) -> bool {
        self.alive(node).is_some_and(|alive| !alive.paused)
    }

    /// What a node's clock shows.
    pub(in crate::sim) fn local(&self, node: NodeId) -> Duration {
        let Some(process) = self.processes.get(&node) else {
            return self.now;
        };
        let now = self.now.as_nanos() as i64;
        let drift = now / 1_000_000 * i64::from(process.config.drift_ppm);
        process.config.clock + Duration::from_nanos((now + drift).max(0) as u64)
    }

    /// When a node's clock will show `local`: not before.
    fn global(&self, node: NodeId, local: Duration) -> Duration {
        let Some(process) = self.processes.get(&node) else {
            return local;
        };
        let elapsed = local.saturating_sub(process.config.clock).as_nanos() as i64;
        let rate = 1_000_000 + i64::from(process.config.drift_ppm);
        let nanos = elapsed / rate * 1_000_000 + elapsed % rate;
        // The rounding of `local` is at most this coarse.
        let slack = if process.config.drift_ppm == 0 {
            0
        } else {
            2_000_000
        };
        Duration::from_nanos((nanos + slack) as u64).max(self.now)
    }

    fn at(&mut self, when: Duration, event: Event) {
        self.serial += 1;
        self.queue.insert((when.max(self.now), self.serial), event);
    }

    pub(in crate::sim) fn add(&mut self, config: SimConfig) {
        let id = config.id;
        let process = Process {
            config,
            alive: None,
            directory: Duration::ZERO,
            answered: Duration::ZERO,
            answers: Vec::new(),
        };
        self.processes.insert(id, process);
        self.restart(id);
    }

    pub(in crate::sim) fn restart(&mut self, id: NodeId) {
        self.crash(id);
        self.serial += 1;
        let life = self.serial;
        let timing = self.timing.clone();
        let Some(process) = self.processes.get_mut(&id) else {
            return;
        };
        let config = &process.config;
        let address = |port: u16| ([127, 0, 0, 1], port + id.0 as u16).into();
        let core = NodeCore::new(NodeConfig {
            id,
            life,
            addresses: Addresses {
                udp: config.udp,
                http: address(20_000),
                session: address(30_000),
            },
            schema: config.schema,
            capacity: config.capacity,
            boot: 1,
            secret: [7; 32],
            spawn: config.spawn.clone(),
            timing,
        });
        process.alive = Some(Alive {
            core,
            life,
            paused: false,
            events: VecDeque::new(),
            wake: Some(self.now),
            changed: false,
            asked: BTreeMap::new(),
            open: BTreeSet::new(),
            next: 0,
            held: VecDeque::new(),
            commands: VecDeque::new(),
        });
        self.at(self.now, Event::Wake { node: id, life });
    }

    pub(in crate::sim) fn crash(&mut self, id: NodeId) {
        let Some(alive) = self
            .processes
            .get_mut(&id)
            .and_then(|process| process.alive.take())
        else {
            return;
        };
        self.ended.insert(alive.life);
        for (node, life, dead) in self.waiting.remove(&alive.life).unwrap_or_default() {
            let soon = self.now + Duration::from_millis(1);
            self.at(soon, Event::Lock { node, life, dead });
        }
    }

    pub(in crate::sim) fn pause(&mut self, id: NodeId) {
        if let Some(alive) = self
            .processes
            .get_mut(&id)
            .and_then(|process| process.alive.as_mut())
        {
            alive.paused = true;
        }
    }

    pub(in crate::sim) fn resume(&mut self, id: NodeId) {
        let Some(alive) = self
            .processes
            .get_mut(&id)
            .and_then(|process| process.alive.as_mut())
        else {
            return;
        };
        alive.paused = false;
        let life = alive.life;
        alive.wake = None;
        let held = std::mem::take(&mut alive.held);
        let commands = std::mem::take(&mut alive.commands);
        for event in held {
            self.at(self.now, event);
        }
        for command in commands {
            self.input(id, life, Input::Command(command));
        }
        self.input(id, life, Input::Tick);
    }

    pub(in crate::sim) fn cut(&mut self, a: NodeId, b: NodeId, cut: bool) {
        for link in [(a, b), (b, a)] {
            if cut {
                self.cuts.insert(link);
            } else {
                self.cuts.remove(&link);
            }
        }
    }

    pub(in crate::sim) fn cut_directory(&mut self, node: NodeId, cut: bool) {
        if cut {
            self.directory_cuts.insert(node);
        } else {
            self.directory_cuts.remove(&node);
        }
    }

    pub(in crate::sim) fn command(
        &mut self,
        id: NodeId,
        command: MeshCommand,
    ) -> Result<(), MeshCommand> {
        let alive = self
            .processes
            .get_mut(&id)
            .and_then(|process| process.alive.as_mut());
        let Some(alive) = alive else {
            return Err(command);
        };
        if alive.paused {
            alive.commands.push_back(command);
        } else {
            let life = alive.life;
            self.input(id, life, Input::Command(command));
        }
        Ok(())
    }

    pub(in crate::sim) fn knock(&mut self, id: NodeId, player: PeerId) {
        let alive = self
            .processes
            .get_mut(&id)
            .and_then(|process| process.alive.as_mut());
        let Some(alive) = alive.filter(|alive| !alive.paused) else {
            return;
        };
        alive.next += 1;
        let (life, token) = (alive.life, ResponseToken(alive.next));
        alive.asked.insert(token, Asker::Client(player));
        self.input(id, life, Input::Session { token, player });
    }

    pub(in crate::sim) fn take_events(&mut self, id: NodeId) -> Vec<MeshEvent> {
        let alive = self
            .processes
            .get_mut(&id)
            .and_then(|process| process.alive.as_mut());
        alive
            .map(|alive| alive.events.drain(..).collect())
            .unwrap_or_default()
    }

    pub(in crate::sim) fn take_answers(&mut self, id: NodeId) -> Vec<(PeerId, SessionReply)> {
        let process = self.processes.get_mut(&id);
        process
            .map(|process| std::mem::take(&mut process.answers))
            .unwrap_or_default()
    }

    pub(in crate::sim) fn advance(&mut self, to: Duration) {
        while self.step(to) {}
        self.now = self.now.max(to);
    }

    pub(in crate::sim) fn step(&mut self, until: Duration) -> bool {
        let Some(entry) = self.queue.first_entry() else {
            return false;
        };
        if entry.key().0 > until {
            return false;
        }
        let ((when, _), event) = entry.remove_entry();
        self.now = when;
        self.happen(event);
        true
    }

    fn happen(&mut self, event: Event) {
        // A call that has left is made even if its maker is dead or paused by now.
        if let Event::Call {
            node,
            life,
            token,
            op,
            fate,
        } = event
        {
            self.make(node, life, token, &op, fate);
            return;
        }
        let (node, life) = match &event {
            Event::Wake { node, life }
            | Event::Changed { node, life }
            | Event::Answer { node, life, .. }
            | Event::Lock { node, life, .. }
            | Event::Reply { to: node, life, .. } => (*node, Some(*life)),
            Event::Request { to, .. } => (*to, None),
            Event::Call { .. } => return,
        };
        let alive = self
            .processes
            .get_mut(&node)
            .and_then(|process| process.alive.as_mut());
        let Some(alive) = alive.filter(|alive| life.is_none_or(|life| alive.life == life)) else {
            if let Event::Request {
                asker: (to, life),
                token,
                ..
            } = event
            {
                // Nobody listens on that port.
                let result = Err(PeerError::Unreachable("connection refused".to_owned()));
                let when = self.now + self.network.latency.start;
                self.at(
                    when,
                    Event::Reply {
                        to,
                        life,
                        token,
                        result,
                    },
                );
            }
            return;
        };
        if alive.paused {
            if !matches!(event, Event::Wake { .. }) {
                alive.held.push_back(event);
            }
            return;
        }
        let life = alive.life;
        match event {
            Event::Wake { .. } => {
                if alive.wake != Some(self.now) {
                    return;
                }
                alive.wake = None;
                self.input(node, life, Input::Tick);
            }
            Event::Request {
                from,
                asker: (asker, their),
                token,
                message,
                ..
            } => {
                alive.next += 1;
                let response = ResponseToken(alive.next);
                alive
                    .asked
                    .insert(response, Asker::Node(asker, their, token));
                self.input(
                    node,
                    life,
                    Input::Request {
                        token: response,
                        from,
                        message,
                    },
                );
            }
            Event::Reply { token, result, .. } => {
                if alive.open.remove(&token) {
                    self.input(node, life, Input::Reply { token, result });
                }
            }
            Event::Answer { token, result, .. } => {
                self.input(node, life, Input::Directory { token, result });
            }
            Event::Changed { .. } => {
                alive.changed = false;
                self.input(node, life, Input::DirectoryChanged);
            }
            Event::Lock { dead, .. } => self.input(node, life, Input::LockGained(dead)),
            Event::Call { .. } => {}
        }
    }

    fn input(&mut self, node: NodeId, life: Life, input: Input) {
        let now = self.local(node);
        let mut inputs = VecDeque::from([input]);
        let mut actions = Vec::new();
        while let Some(input) = inputs.pop_front() {
            let Some(alive) = self.alive_mut(node, life) else {
                return;
            };
            alive.core.handle(now, input, &mut actions);
            for action in actions.drain(..) {
                self.act(node, life, action, &mut inputs);
            }
        }
        let Some(next) = self.alive(node).and_then(|alive| alive.core.next_timeout()) else {
            return;
        };
        let when = self.global(node, next);
        if let Some(alive) = self.alive_mut(node, life)
            && alive.wake.is_none_or(|wake| when < wake)
        {
            alive.wake = Some(when);
            self.at(when, Event::Wake { node, life });
        }
    }

    fn act(&mut self, node: NodeId, life: Life, action: Action, inputs: &mut VecDeque<Input>) {
        match action {
            Action::Event(event) => {
                if let Some(alive) = self.alive_mut(node, life) {
                    alive.events.push_back(event);
                }
            }
            Action::Stage { token, bytes } => {
                let result = self.processes.get(&node).map_or_else(
                    || Err("no process".to_owned()),
                    |process| (process.config.stager)(&bytes),
                );
                inputs.push_back(Input::Staged { token, result });
            }
            Action::AwaitDeath {
                node: dead,
                life: theirs,
            } => self.await_death(node, life, dead, theirs),
            Action::Directory { token, op } => self.call(node, life, token, op),
            Action::Send {
                to,
                message,
                token,
                within,
                ..
            } => {
                self.request(node, life, to.id, message, token, within);
            }
            Action::Respond {
                token,
                reply,
                ticket,
            } => self.respond(node, life, token, reply, ticket),
        }
    }

    fn await_death(&mut self, node: NodeId, life: Life, dead: NodeRef, theirs: Life) {
        if !self.locks {
            return;
        }
        if self.ended.contains(&theirs) {
            let soon = self.now + Duration::from_millis(1);
            self.at(soon, Event::Lock { node, life, dead });
        } else {
            self.waiting
                .entry(theirs)
                .or_default()
                .push((node, life, dead));
        }
    }
}
