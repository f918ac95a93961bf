//! A game of the simplest kind on every node of a simulated mesh, and the oracle that watches it.

#![allow(dead_code, unreachable_pub, reason = "each test binary uses a part")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

pub mod play;
pub mod side;
pub mod table;

pub use side::{Hosted, Mode, Side};

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use seamless_mesh::{
    link::MeshLink,
    protocol::{MeshCommand, Staged},
    sim::{SimConfig, SimMesh},
    timing::Timing,
};
use seamless_wire::{
    GlobalEntity, HandoverId, NodeId, NodeRef, Term, Tick, snapshot::WorldSnapshot,
};

pub const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// One tick of the game.
pub const TICK: Duration = ms(33);

/// What must hold whatever happens.
#[derive(Default)]
pub struct Oracle {
    /// Who simulated a root under a term: one node, for ever.
    pub owners: BTreeMap<(GlobalEntity, Term), NodeRef>,
    /// What is stored: never older.
    pub stored: BTreeMap<GlobalEntity, (Term, Tick)>,
    /// At which tick a group was frozen.
    pub frozen: BTreeMap<HandoverId, Tick>,
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
    pub made: BTreeSet<GlobalEntity>,
    pub looked: u64,
    pub seed: u64,
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
}
