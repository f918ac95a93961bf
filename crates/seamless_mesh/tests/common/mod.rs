//! A game of the simplest kind on every node of a simulated mesh, and the oracle that watches it.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses a part")]

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use seamless_mesh::{
    link::MeshLink,
    protocol::{CheckpointGroup, MeshCommand, MeshEvent, Staged},
    sim::{SimConfig, SimMesh, SimNode},
    timing::Timing,
};
use seamless_wire::{
    CellId, Epoch, GlobalEntity, HandoverId, InputSeq, NodeId, NodeRef, PeerId, Tenure, Term, Tick,
    mesh::{RejectReason, SessionReply},
    snapshot::{SnapshotRow, WorldSnapshot},
};

pub const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// One tick of the game.
pub const TICK: Duration = ms(33);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Playing,
    Frozen(HandoverId),
}

/// A root on a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hosted {
    pub term: Term,
    pub tick: Tick,
    pub input: InputSeq,
    /// What hangs on it, with the term of each.
    pub members: BTreeMap<GlobalEntity, Term>,
    pub player: Option<PeerId>,
    pub cell: CellId,
    pub mode: Mode,
}

/// The game side of one node.
pub struct Side {
    pub node: SimNode,
    pub me: Option<NodeRef>,
    pub hosted: BTreeMap<GlobalEntity, Hosted>,
    pub reserved: BTreeMap<GlobalEntity, HandoverId>,
    pub attached: BTreeSet<HandoverId>,
    pub expected: BTreeSet<HandoverId>,
    /// Everything that the node said, in words, if it is noted.
    pub said: Vec<String>,
    pub noting: bool,
    pub rejected: Vec<(GlobalEntity, RejectReason)>,
    pub healthy: bool,
    /// Attach the client of every expected handover at once.
    pub attach: bool,
    tick: Tick,
    ticked: Duration,
}

/// What must hold whatever happens.
#[derive(Default)]
pub struct Oracle {
    /// Who simulated a root under a term: one node, for ever.
    owners: BTreeMap<(GlobalEntity, Term), NodeRef>,
    /// What is stored: never older.
    stored: BTreeMap<GlobalEntity, (Term, Tick)>,
    /// At which tick a group was frozen.
    frozen: BTreeMap<HandoverId, Tick>,
    pub activated: u32,
    pub resumed: u32,
    pub handed_over: u32,
    pub reclaimed: u32,
    pub expelled: u32,
    pub lost: u32,
}

pub struct Game {
    pub mesh: SimMesh,
    pub sides: BTreeMap<NodeId, Side>,
    pub oracle: Oracle,
    made: BTreeSet<GlobalEntity>,
    looked: u64,
    seed: u64,
}

pub fn entity_row(entity: GlobalEntity) -> SnapshotRow {
    SnapshotRow {
        entity,
        tenure: Tenure::plain(Term(1)),
        components: vec![(1, vec![1, 2, 3])],
    }
}

fn snapshot(root: GlobalEntity, hosted: &Hosted) -> WorldSnapshot {
    let mut rows = vec![SnapshotRow {
        entity: root,
        tenure: Tenure {
            epoch: Epoch {
                term: hosted.term,
                seq: hosted.tick.0,
            },
            ..Tenure::plain(hosted.term)
        },
        components: vec![(1, hosted.tick.0.to_le_bytes().to_vec())],
    }];
    rows.extend(hosted.members.keys().map(|member| entity_row(*member)));
    WorldSnapshot {
        tick: hosted.tick,
        schema: 1,
        rows,
    }
}

impl Game {
    pub fn new(seed: u64) -> Self {
        Self::with_timing(seed, Timing::default())
    }

    pub fn with_timing(seed: u64, timing: Timing) -> Self {
        Self {
            mesh: SimMesh::with_timing(seed, timing),
            sides: BTreeMap::new(),
            oracle: Oracle::default(),
            made: BTreeSet::new(),
            looked: 0,
            seed,
        }
    }

    /// Nodes 1 to n; node i owns cell i.
    pub fn nodes(seed: u64, n: u32) -> Self {
        let mut game = Self::new(seed);
        for id in 1..=n {
            game.add(SimConfig::new(id));
        }
        game.run(ms(300));
        game
    }

    pub fn add(&mut self, config: SimConfig) -> NodeId {
        let id = config.id;
        let config = config.with_stager(|bytes: &[u8]| {
            let snapshot = WorldSnapshot::from_bytes(bytes).map_err(|error| error.to_string())?;
            Ok(Staged::new(snapshot))
        });
        let node = self.mesh.add(config);
        self.sides.insert(id, Side::new(node));
        id
    }

    pub fn side(&self, id: u32) -> &Side {
        &self.sides[&NodeId(id)]
    }

    pub fn side_mut(&mut self, id: u32) -> &mut Side {
        self.sides.get_mut(&NodeId(id)).unwrap()
    }

    pub fn me(&self, id: u32) -> NodeRef {
        self.side(id).node.me().unwrap()
    }

    pub fn now(&self) -> Duration {
        self.mesh.now()
    }

    pub fn send(&mut self, id: u32, command: MeshCommand) {
        self.side(id).node.send(command).unwrap();
        self.listen();
    }

    /// Kills the process and the game in it.
    pub fn crash(&mut self, id: u32) {
        self.mesh.crash(NodeId(id));
        self.side_mut(id).forget();
    }

    pub fn restart(&mut self, id: u32) {
        self.mesh.restart(NodeId(id));
        self.side_mut(id).forget();
    }

    /// Every game side hears what its node has to say.
    pub fn listen(&mut self) {
        let seed = self.seed;
        loop {
            let mut quiet = true;
            for side in self.sides.values_mut() {
                if side.node.me().is_none() && !side.node.is_running() {
                    continue;
                }
                let events = if side.node.is_running() {
                    side.node.poll()
                } else {
                    Vec::new()
                };
                quiet &= events.is_empty();
                for event in events {
                    side.hear(event, &mut self.oracle, seed);
                }
            }
            if quiet {
                return;
            }
        }
    }

    /// Runs a game tick wherever one may run, and checks that nobody runs the same root.
    pub fn frame(&mut self) {
        self.listen();
        let mut running: BTreeMap<GlobalEntity, NodeRef> = BTreeMap::new();
        for side in self.sides.values_mut() {
            let (true, true, Some(me)) =
                (side.node.is_running(), side.node.may_simulate(), side.me)
            else {
                continue;
            };
            let mut tick = side.tick;
            if self.mesh.now() >= side.ticked + TICK {
                // Ticks may be skipped, never repeated, also where the clock is behind.
                let newest = side.hosted.values().map(|hosted| hosted.tick).max();
                let by_clock = Tick((side.node.mesh_now().as_nanos() / TICK.as_nanos()) as u32);
                tick = by_clock.max(tick.max(newest.unwrap_or_default()).plus(1));
                (side.tick, side.ticked) = (tick, self.mesh.now());
            }
            for (root, hosted) in &mut side.hosted {
                if hosted.mode != Mode::Playing {
                    continue;
                }
                if tick > hosted.tick {
                    hosted.tick = tick;
                    hosted.input.0 += 1;
                }
                let other = running.insert(*root, me);
                assert_eq!(
                    other,
                    None,
                    "seed {}: two nodes simulate {root} at {:?}",
                    self.seed,
                    self.mesh.now()
                );
                let owner = *self.oracle.owners.entry((*root, hosted.term)).or_insert(me);
                assert_eq!(
                    owner, me,
                    "seed {}: two nodes had {root} under {}",
                    self.seed, hosted.term
                );
            }
        }
        let version = self.mesh.directory().version();
        if version == self.looked {
            return;
        }
        self.looked = version;
        for row in self.mesh.directory().rows() {
            let stored = (row.written, row.tick);
            let before = self.oracle.stored.insert(row.entity, stored);
            assert!(
                before.is_none_or(|before| before <= stored),
                "seed {}: {} went back from {before:?} to {stored:?}",
                self.seed,
                row.entity
            );
        }
    }

    /// Lets time pass, with game ticks.
    pub fn run(&mut self, time: Duration) {
        let until = self.mesh.now() + time;
        while self.mesh.now() < until {
            let to = (self.mesh.now() + ms(5)).min(until);
            self.mesh.advance(to);
            self.frame();
        }
    }

    /// Lets time pass until something holds; panics if it does not within the bound.
    #[track_caller]
    pub fn until(&mut self, within: Duration, mut holds: impl FnMut(&Self) -> bool) -> Duration {
        let start = self.mesh.now();
        let until = start + within;
        loop {
            self.frame();
            if holds(self) {
                return self.mesh.now() - start;
            }
            if !self.mesh.step(until) {
                let said: Vec<_> = self
                    .sides
                    .iter()
                    .map(|(id, side)| (id, &side.said))
                    .collect();
                panic!("seed {}: not within {within:?}: {said:#?}", self.seed);
            }
        }
    }

    /// A new player in this node's cell, once it plays.
    #[track_caller]
    pub fn login(&mut self, id: u32, player: u64) -> GlobalEntity {
        self.side(id).node.knock(PeerId(player));
        let player = PeerId(player);
        self.until(ms(2000), |game| game.root_of(player).is_some());
        self.root_of(player).unwrap()
    }

    pub fn root_of(&self, player: PeerId) -> Option<GlobalEntity> {
        self.sides.values().find_map(|side| {
            let mut hosted = side.hosted.iter();
            hosted
                .find(|(_, hosted)| hosted.player == Some(player))
                .map(|(root, _)| *root)
        })
    }

    /// Where a root is simulated, or would be without the fence.
    pub fn hosts(&self, root: GlobalEntity) -> Vec<u32> {
        let playing = |side: &&Side| {
            let hosted = side.hosted.get(&root);
            hosted.is_some_and(|hosted| hosted.mode == Mode::Playing)
                && side.node.may_simulate()
                && side.node.is_running()
        };
        self.sides
            .values()
            .filter(playing)
            .map(|side| side.node.id().0)
            .collect()
    }

    pub fn checkpoint(&mut self, id: u32) {
        let side = self.side(id);
        let groups: Vec<CheckpointGroup> = side
            .hosted
            .iter()
            .map(|(root, hosted)| CheckpointGroup {
                root: *root,
                term: hosted.term,
                tick: hosted.tick,
                last_input: hosted.input,
                members: snapshot(*root, hosted).rows,
                cell: hosted.cell,
            })
            .collect();
        self.send(id, MeshCommand::Checkpoint { groups });
    }

    pub fn prepare(&mut self, id: u32, root: GlobalEntity, cell: u32) {
        let hosted = &self.side(id).hosted[&root];
        let command = MeshCommand::Prepare {
            root,
            members: hosted.members.keys().copied().collect(),
            player: hosted.player,
            cell: CellId(cell),
            viewpoint: [0.0; 3],
        };
        self.send(id, command);
    }

    /// The root takes its thing up, or puts it down. A thing that was made once is only taken up
    /// where it lies.
    pub fn toggle(&mut self, id: u32, root: GlobalEntity) {
        let thing = GlobalEntity::new(1, (root.counter() & 0xffff) + 1000).unwrap();
        let new = self.made.insert(thing);
        let side = self.side_mut(id);
        let Some(hosted) = side.hosted.get_mut(&root) else {
            return;
        };
        if let Some(term) = hosted.members.remove(&thing) {
            let dropped = Hosted {
                term,
                members: BTreeMap::new(),
                player: None,
                ..hosted.clone()
            };
            side.hosted.insert(thing, dropped);
        } else if new {
            let term = hosted.term;
            hosted.members.insert(thing, term);
        } else if let Some(lying) = side.hosted.get(&thing)
            && lying.mode == Mode::Playing
        {
            let term = lying.term;
            side.hosted.remove(&thing);
            side.reserved.remove(&thing);
            side.hosted
                .get_mut(&root)
                .unwrap()
                .members
                .insert(thing, term);
            self.send(id, MeshCommand::Cancel { root: thing });
        }
    }

    /// Prepares and waits for the reservation.
    #[track_caller]
    pub fn reserve(&mut self, id: u32, root: GlobalEntity, cell: u32) -> HandoverId {
        self.prepare(id, root, cell);
        self.until(ms(2000), |game| game.side(id).reserved.contains_key(&root));
        self.side(id).reserved[&root]
    }

    /// Freezes the group and commits the reserved handover.
    pub fn freeze(&mut self, id: u32, root: GlobalEntity) -> HandoverId {
        let side = self.side_mut(id);
        let handover = side.reserved[&root];
        let hosted = side.hosted.get_mut(&root).unwrap();
        hosted.mode = Mode::Frozen(handover);
        let command = MeshCommand::Commit {
            handover,
            tick: hosted.tick,
            last_input: hosted.input,
            state: snapshot(root, hosted).to_bytes().unwrap(),
            queue: Vec::new(),
        };
        let tick = hosted.tick;
        self.oracle.frozen.insert(handover, tick);
        self.send(id, command);
        handover
    }

    /// A whole handover without faults.
    #[track_caller]
    pub fn hand_over(&mut self, root: GlobalEntity, from: u32, to: u32) {
        self.reserve(from, root, to);
        self.freeze(from, root);
        self.until(ms(200), |game| game.hosts(root) == [to]);
    }

    pub fn row(&self, root: GlobalEntity) -> seamless_mesh::directory::EntityRecord {
        let rows = self.mesh.directory().rows();
        rows.into_iter().find(|row| row.entity == root).unwrap()
    }

    pub fn answers(&self, id: u32) -> Vec<(PeerId, SessionReply)> {
        self.side(id).node.answers()
    }

    /// After all faults have been mended: every root plays on exactly one node, the one that the
    /// directory names, and nothing is frozen.
    #[track_caller]
    pub fn settle(&mut self, within: Duration) {
        let roots = |game: &Self| -> Vec<_> {
            let rows = game.mesh.directory().rows();
            rows.into_iter()
                .filter(|row| row.root == row.entity)
                .collect()
        };
        let settled = |game: &Self| {
            let rows = roots(game);
            let placed = rows.iter().all(|row| {
                let hosted = game
                    .sides
                    .get(&row.owner.id)
                    .and_then(|side| side.hosted.get(&row.entity));
                game.hosts(row.entity) == [row.owner.id.0]
                    && hosted.is_some_and(|hosted| hosted.term >= row.term)
            });
            // What has no row is volatile, and lives where it was made.
            let alone = |root: &GlobalEntity| !rows.iter().any(|row| row.entity == *root);
            let mut hosted = game.sides.values().flat_map(|side| &side.hosted);
            placed && hosted.all(|(root, hosted)| hosted.player.is_none() || !alone(root))
        };
        let until = self.now() + within;
        while self.now() < until && !settled(self) {
            for id in self.sides.keys().map(|id| id.0).collect::<Vec<_>>() {
                if self.side(id).node.is_running() {
                    self.checkpoint(id);
                }
            }
            let to = self.now() + ms(20);
            self.mesh.advance(to);
            self.frame();
        }
        if !settled(self) {
            let rows = roots(self);
            let sides: Vec<_> = self
                .sides
                .values()
                .map(|side| {
                    (
                        side.me,
                        side.node.may_simulate(),
                        &side.hosted,
                        side.node.status().busy,
                    )
                })
                .collect();
            panic!(
                "seed {}: not settled within {within:?}\nrows {rows:#?}\nsides {sides:#?}",
                self.seed
            );
        }
    }
}

impl Side {
    fn new(node: SimNode) -> Self {
        Self {
            node,
            me: None,
            hosted: BTreeMap::new(),
            reserved: BTreeMap::new(),
            attached: BTreeSet::new(),
            expected: BTreeSet::new(),
            said: Vec::new(),
            noting: true,
            rejected: Vec::new(),
            healthy: true,
            attach: true,
            tick: Tick(0),
            ticked: Duration::ZERO,
        }
    }

    /// The process was killed behind the game's back.
    pub fn restart_quietly(&mut self) {
        self.forget();
    }

    fn forget(&mut self) {
        self.me = None;
        self.hosted.clear();
        self.reserved.clear();
        self.attached.clear();
        self.expected.clear();
        self.healthy = true;
    }

    fn tell(&self, command: MeshCommand) {
        let _ = self.node.send(command);
    }

    fn hear(&mut self, event: MeshEvent, oracle: &mut Oracle, seed: u64) {
        if self.noting {
            self.said.push(format!("{:?} {event:?}", self.node.now()));
        }
        match event {
            MeshEvent::Joined { node, .. } => {
                self.me = Some(node);
                self.tell(MeshCommand::ClaimCells(vec![CellId(node.id.0)]));
            }
            MeshEvent::Login {
                request,
                player,
                root,
                term,
                cell,
            } => {
                self.hosted.insert(
                    root,
                    Hosted {
                        term,
                        tick: Tick(0),
                        input: InputSeq(0),
                        members: BTreeMap::new(),
                        player: Some(player),
                        cell,
                        mode: Mode::Playing,
                    },
                );
                self.tell(MeshCommand::SessionAnswer {
                    request,
                    accepted: true,
                });
            }
            MeshEvent::Expect { handover, .. } => {
                self.expected.insert(handover);
                if self.attach {
                    self.tell(MeshCommand::ClientAttached { handover });
                }
            }
            MeshEvent::Unexpect { handover } => {
                self.expected.remove(&handover);
            }
            MeshEvent::Reserved {
                handover, attached, ..
            } => {
                self.reserved.insert(handover.root, handover);
                if attached {
                    self.attached.insert(handover);
                }
                if let Some(hosted) = self.hosted.get_mut(&handover.root) {
                    hosted.term = hosted.term.max(handover.term);
                }
            }
            MeshEvent::Rejected { root, reason, .. } => {
                self.reserved.remove(&root);
                self.rejected.push((root, reason));
            }
            MeshEvent::HandedOver { handover, .. } => {
                oracle.handed_over += 1;
                self.reserved.remove(&handover.root);
                let gone = self.hosted.remove(&handover.root);
                assert_eq!(
                    gone.map(|hosted| hosted.mode),
                    Some(Mode::Frozen(handover)),
                    "seed {seed}"
                );
            }
            MeshEvent::Resumed { handover, term } => {
                oracle.resumed += 1;
                self.reserved.remove(&handover.root);
                let hosted = self.hosted.get_mut(&handover.root).unwrap();
                assert_eq!(hosted.mode, Mode::Frozen(handover), "seed {seed}");
                assert!(term >= hosted.term);
                hosted.term = term;
                hosted
                    .members
                    .values_mut()
                    .for_each(|member| *member = term.max(*member));
                hosted.mode = Mode::Playing;
            }
            MeshEvent::Activate {
                handover,
                term,
                tick,
                last_input,
                staged,
                manifest,
                cell,
                ..
            } => {
                oracle.activated += 1;
                self.expected.remove(&handover);
                assert_eq!(
                    oracle.frozen.get(&handover),
                    Some(&tick),
                    "seed {seed}: another state than was frozen"
                );
                let snapshot: WorldSnapshot = staged.downcast().unwrap();
                self.host(
                    handover.root,
                    term,
                    tick,
                    last_input,
                    cell,
                    manifest.player,
                    snapshot,
                    Vec::new(),
                    oracle,
                    seed,
                );
            }
            MeshEvent::Reclaimed { term, groups, .. } => {
                for group in groups {
                    oracle.reclaimed += 1;
                    let snapshot = match group.staged {
                        Some(staged) => staged.unwrap().downcast().unwrap(),
                        None => WorldSnapshot::default(),
                    };
                    self.host(
                        group.root,
                        term,
                        group.tick,
                        group.last_input,
                        group.cell,
                        group.player,
                        snapshot,
                        group.missing,
                        oracle,
                        seed,
                    );
                }
            }
            MeshEvent::LostRows(roots) => {
                for root in roots {
                    oracle.lost += 1;
                    self.hosted.remove(&root);
                    self.reserved.remove(&root);
                    for hosted in self.hosted.values_mut() {
                        hosted.members.remove(&root);
                    }
                }
            }
            MeshEvent::Expelled => {
                oracle.expelled += 1;
                self.forget();
            }
            MeshEvent::Left => self.forget(),
            MeshEvent::Health { ok, .. } => self.healthy = ok,
            MeshEvent::Created { root, term } => {
                if let (Some(hosted), Some(term)) = (self.hosted.get_mut(&root), term) {
                    hosted.term = hosted.term.max(term);
                }
            }
            MeshEvent::CellsChanged(_)
            | MeshEvent::NodesChanged(_)
            | MeshEvent::Fenced
            | MeshEvent::Unfenced => {}
        }
    }

    #[allow(
        clippy::too_many_arguments,
        reason = "a test helper with one caller's fields"
    )]
    fn host(
        &mut self,
        root: GlobalEntity,
        term: Term,
        tick: Tick,
        input: InputSeq,
        cell: CellId,
        player: Option<PeerId>,
        snapshot: WorldSnapshot,
        missing: Vec<GlobalEntity>,
        oracle: &Oracle,
        seed: u64,
    ) {
        // What a paused node hears when it wakes may be overtaken; a later term says so.
        let stored = oracle
            .stored
            .get(&root)
            .filter(|(written, _)| *written <= term);
        let stored = stored.map_or(Tick(0), |(_, tick)| *tick);
        assert!(
            tick >= stored,
            "seed {seed}: {root} came back at {tick}, {stored} was stored"
        );
        let members = snapshot.rows.iter().map(|row| row.entity).chain(missing);
        let members = members
            .filter(|entity| *entity != root)
            .map(|entity| (entity, term))
            .collect();
        let hosted = Hosted {
            term,
            tick,
            input,
            members,
            player,
            cell,
            mode: Mode::Playing,
        };
        let before = self.hosted.insert(root, hosted);
        assert_eq!(before, None, "seed {seed}: {root} came twice");
    }
}
