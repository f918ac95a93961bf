//! What the game does: players log in, groups near borders, freeze, pick things up.

use std::{collections::BTreeMap, time::Duration};

use seamless_mesh::{
    link::MeshLink,
    protocol::{CheckpointGroup, MeshCommand},
};
use seamless_wire::{
    CellId, Epoch, GlobalEntity, HandoverId, PeerId, Tenure, Term,
    mesh::SessionReply,
    snapshot::{SnapshotRow, WorldSnapshot},
};

use super::{Game, Hosted, Mode, Side, ms};

pub fn entity_row(entity: GlobalEntity) -> SnapshotRow {
    SnapshotRow {
        entity,
        tenure: Tenure::plain(Term(1)),
        components: vec![(1, vec![1, 2, 3])],
    }
}

pub fn snapshot(root: GlobalEntity, hosted: &Hosted) -> WorldSnapshot {
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
            placed
                && hosted.all(|(root, hosted)| {
                    hosted.mode == Mode::Playing && (hosted.player.is_none() || !alone(root))
                })
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
