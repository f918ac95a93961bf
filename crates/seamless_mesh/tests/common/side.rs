//! The game side of one node.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use seamless_mesh::{
    link::MeshLink,
    protocol::{MeshCommand, MeshEvent},
    sim::SimNode,
};
use seamless_wire::{
    CellId, GlobalEntity, HandoverId, InputSeq, NodeRef, PeerId, Term, Tick, mesh::RejectReason,
    snapshot::WorldSnapshot,
};

use super::Oracle;

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
    /// Lets no new player in.
    pub refuses: bool,
    pub tick: Tick,
    pub ticked: Duration,
}

impl Side {
    pub fn new(node: SimNode) -> Self {
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
            refuses: false,
            tick: Tick(0),
            ticked: Duration::ZERO,
        }
    }

    /// The process was killed behind the game's back.
    pub fn restart_quietly(&mut self) {
        self.forget();
    }

    pub fn forget(&mut self) {
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

    pub fn hear(&mut self, event: MeshEvent, oracle: &mut Oracle, seed: u64) {
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
                let accepted = !self.refuses;
                self.tell(MeshCommand::SessionAnswer { request, accepted });
                if !accepted {
                    return;
                }
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
            | MeshEvent::Names { .. }
            | MeshEvent::NoRow { .. }
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
