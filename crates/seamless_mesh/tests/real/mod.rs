//! A node with real sockets and the simplest of games on it.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses a part")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

pub mod http;

use std::{
    collections::BTreeMap,
    env, fs,
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use seamless_mesh::{
    directory::{Directory, SqliteDirectory},
    link::MeshLink,
    protocol::{CheckpointGroup, MeshCommand, MeshEvent, Staged},
    service::{EnterError, MeshHandle, Offer, ServiceConfig, enter},
};
use seamless_wire::{
    CellId, GlobalEntity, HandoverId, InputSeq, NodeId, NodeRef, PeerId, Tenure, Term, Tick,
    mesh::RejectReason,
    snapshot::{SnapshotRow, WorldSnapshot},
};

/// How long something may take that has no bound of its own, on a machine that is busy.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A folder that goes away with the test.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path =
            env::temp_dir().join(format!("seamless-service-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub fn file(&self) -> PathBuf {
        self.0.join("mesh.sqlite")
    }

    pub fn locks(&self) -> PathBuf {
        self.0.join("locks")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

pub struct Hosted {
    pub term: Term,
    pub tick: Tick,
    pub player: Option<PeerId>,
    pub frozen: bool,
}

/// A node with the simplest of games.
pub struct Node {
    pub handle: Option<MeshHandle>,
    pub me: Option<NodeRef>,
    pub hosted: BTreeMap<GlobalEntity, Hosted>,
    pub reserved: BTreeMap<GlobalEntity, HandoverId>,
    /// What wants to cross, into which cell, and when it asks again.
    wishes: BTreeMap<GlobalEntity, (u32, Option<Instant>)>,
    pub rejected: Vec<RejectReason>,
    pub resumed: u32,
    pub logins: u32,
    pub reclaimed: u32,
    pub left: bool,
    /// Takes the events of this node or leaves them.
    pub listens: bool,
}

pub fn config(id: u32, folder: &Folder) -> ServiceConfig {
    let stager = |bytes: &[u8]| {
        let snapshot = WorldSnapshot::from_bytes(bytes).map_err(|error| error.to_string())?;
        Ok(Staged::new(snapshot))
    };
    let mut config = ServiceConfig::new(
        NodeId(id),
        SocketAddr::from(([127, 0, 0, 1], 40_000 + id as u16)),
        Arc::new(|ticket| Ok(ticket.to_bytes().to_vec())),
        Box::new(stager),
    );
    config.locks = Some(folder.locks());
    config.spawn = Arc::new(|player| CellId(if player.0 < 1000 { 1 } else { 2 }));
    config.limits.knocks_at_once = 100_000;
    // What the gate does has tests of its own, in simulated time. Here the machine may have other
    // things to do, and its disk too.
    config.timing.gate_latency = ms(1000);
    config
}

impl Node {
    pub fn start(config: ServiceConfig, folder: &Folder) -> Self {
        let directory = SqliteDirectory::open(folder.file()).unwrap();
        let handle = MeshHandle::start(config, directory).unwrap();
        Self {
            handle: Some(handle),
            me: None,
            hosted: BTreeMap::new(),
            reserved: BTreeMap::new(),
            wishes: BTreeMap::new(),
            rejected: Vec::new(),
            resumed: 0,
            logins: 0,
            reclaimed: 0,
            left: false,
            listens: true,
        }
    }

    pub fn handle(&self) -> &MeshHandle {
        self.handle.as_ref().expect("running")
    }

    pub fn door(&self) -> SocketAddr {
        self.handle().addresses().session
    }

    pub fn http(&self) -> SocketAddr {
        self.handle().addresses().http
    }

    pub fn send(&self, command: MeshCommand) {
        self.handle().send(command).unwrap();
    }

    pub fn hear(&mut self) {
        self.ask_again();
        let Some(handle) = self.handle.as_ref().filter(|_| self.listens) else {
            return;
        };
        for event in handle.poll() {
            match event {
                MeshEvent::Joined { node, .. } => {
                    self.me = Some(node);
                    handle
                        .send(MeshCommand::ClaimCells(vec![CellId(node.id.0)]))
                        .unwrap();
                }
                MeshEvent::Login {
                    request,
                    player,
                    root,
                    term,
                    ..
                } => {
                    self.logins += 1;
                    self.host(root, term, Tick(1), Some(player));
                    self.send(MeshCommand::SessionAnswer {
                        request,
                        accepted: true,
                    });
                    return self.hear();
                }
                MeshEvent::Expect { handover, .. } => {
                    handle
                        .send(MeshCommand::ClientAttached { handover })
                        .unwrap();
                }
                MeshEvent::Reserved {
                    handover,
                    attached: true,
                    ..
                } => {
                    self.reserved.insert(handover.root, handover);
                }
                MeshEvent::Rejected {
                    root,
                    reason,
                    retry_after,
                } => {
                    self.rejected.push(reason);
                    self.reserved.remove(&root);
                    if let Some((_, again)) = self.wishes.get_mut(&root) {
                        *again = Some(Instant::now() + retry_after);
                    }
                }
                MeshEvent::HandedOver { handover, .. } => {
                    self.reserved.remove(&handover.root);
                    self.hosted.remove(&handover.root);
                }
                MeshEvent::Resumed { handover, term } => {
                    self.resumed += 1;
                    self.reserved.remove(&handover.root);
                    let hosted = self.hosted.get_mut(&handover.root).unwrap();
                    (hosted.term, hosted.frozen) = (term, false);
                }
                MeshEvent::Activate {
                    handover,
                    term,
                    tick,
                    staged,
                    manifest,
                    ..
                } => {
                    let snapshot: WorldSnapshot = staged.downcast().unwrap();
                    assert_eq!(
                        (snapshot.rows.len(), snapshot.tick),
                        (manifest.members.len(), tick)
                    );
                    self.host(handover.root, term, tick, manifest.player);
                    return self.hear();
                }
                MeshEvent::Reclaimed { term, groups, .. } => {
                    for group in groups {
                        self.reclaimed += 1;
                        self.host(group.root, term, group.tick, group.player);
                    }
                    return self.hear();
                }
                MeshEvent::Expelled => {
                    self.hosted.clear();
                    self.me = None;
                }
                MeshEvent::Left => self.left = true,
                _ => {}
            }
        }
    }

    pub fn host(&mut self, root: GlobalEntity, term: Term, tick: Tick, player: Option<PeerId>) {
        let hosted = Hosted {
            term,
            tick,
            player,
            frozen: false,
        };
        assert!(
            self.hosted.insert(root, hosted).is_none(),
            "{root} came twice"
        );
    }

    pub fn row(root: GlobalEntity, hosted: &Hosted) -> SnapshotRow {
        SnapshotRow {
            entity: root,
            tenure: Tenure::plain(hosted.term),
            // As large as a player with all that it needs.
            components: vec![
                (1, hosted.tick.0.to_le_bytes().to_vec()),
                (2, vec![7; 2000]),
            ],
        }
    }

    /// Asks for room in a cell, and again whenever it is told to, as a game does; until it
    /// freezes.
    pub fn cross(&mut self, root: GlobalEntity, cell: u32) {
        self.wishes.insert(root, (cell, None));
        self.prepare(root, cell);
    }

    fn ask_again(&mut self) {
        let now = Instant::now();
        let due = |(_, (_, again)): &(&GlobalEntity, &mut (u32, Option<Instant>))| {
            again.is_some_and(|again| again <= now)
        };
        let due = self.wishes.iter_mut().filter(due);
        let asked: Vec<(GlobalEntity, u32)> = due
            .map(|(root, (cell, again))| {
                *again = None;
                (*root, *cell)
            })
            .collect();
        for (root, cell) in asked {
            if self.handle.is_some() && self.plays(root) {
                self.prepare(root, cell);
            }
        }
    }

    /// Asks once.
    pub fn prepare(&self, root: GlobalEntity, cell: u32) {
        self.send(MeshCommand::Prepare {
            root,
            members: Vec::new(),
            player: self.hosted[&root].player,
            cell: CellId(cell),
            viewpoint: [0.0; 3],
        });
    }

    pub fn freeze(&mut self, root: GlobalEntity) {
        self.wishes.remove(&root);
        let handover = self.reserved[&root];
        let hosted = self.hosted.get_mut(&root).unwrap();
        hosted.tick.0 += 1;
        hosted.frozen = true;
        let rows = vec![Self::row(root, hosted)];
        let (tick, schema) = (hosted.tick, 0);
        let snapshot = WorldSnapshot { tick, schema, rows };
        self.send(MeshCommand::Commit {
            handover,
            tick,
            last_input: InputSeq(tick.0),
            state: snapshot.to_bytes().unwrap(),
            queue: Vec::new(),
        });
    }

    pub fn checkpoint(&self) {
        let group = |(root, hosted): (&GlobalEntity, &Hosted)| CheckpointGroup {
            root: *root,
            term: hosted.term,
            tick: hosted.tick,
            last_input: InputSeq(hosted.tick.0),
            members: vec![Self::row(*root, hosted)],
            cell: CellId(1),
        };
        let groups = self.hosted.iter().map(group).collect();
        self.send(MeshCommand::Checkpoint { groups });
    }

    pub fn plays(&self, root: GlobalEntity) -> bool {
        self.handle.is_some() && self.hosted.get(&root).is_some_and(|hosted| !hosted.frozen)
    }
}

/// Every game listens until something holds; panics if it does not in time.
#[track_caller]
pub fn until(
    nodes: &mut [&mut Node],
    within: Duration,
    mut holds: impl FnMut(&[&mut Node]) -> bool,
) -> Duration {
    let start = Instant::now();
    loop {
        for node in nodes.iter_mut() {
            node.hear();
        }
        if holds(nodes) {
            return start.elapsed();
        }
        assert!(start.elapsed() < within, "not within {within:?}");
        thread::sleep(Duration::from_micros(100));
    }
}

/// Nodes 1 and 2, each with its cell.
pub fn pair(folder: &Folder) -> (Node, Node) {
    pair_with(folder, |_| {})
}

/// Nodes 1 and 2, each with its cell, and with something else than the usual.
pub fn pair_with(folder: &Folder, edit: impl Fn(&mut ServiceConfig)) -> (Node, Node) {
    let start = |id| {
        let mut config = config(id, folder);
        edit(&mut config);
        Node::start(config, folder)
    };
    let (mut one, mut two) = (start(1), start(2));
    see_each_other(&mut [&mut one, &mut two], folder, 2);
    (one, two)
}

/// Until every node knows all nodes and all cells.
#[track_caller]
pub fn see_each_other(nodes: &mut [&mut Node], folder: &Folder, count: usize) {
    let mut directory = SqliteDirectory::open(folder.file()).unwrap();
    until(nodes, ms(20_000), |nodes| {
        let cells = directory_cells(&folder.file());
        cells >= count
            && nodes
                .iter()
                .all(|node| node.handle().status().nodes.len() >= count)
    });
    let _ = directory.changed();
    thread::sleep(ms(60));
}

pub fn directory_cells(file: &std::path::Path) -> usize {
    let mut directory = SqliteDirectory::open(file).unwrap();
    directory
        .survey(None)
        .unwrap()
        .rest
        .map_or(0, |rest| rest.cells.len())
}

/// Knocks from a thread of its own while the games listen.
#[track_caller]
pub fn knock(nodes: &mut [&mut Node], door: SocketAddr, player: u64) -> Offer {
    for _ in 0..50 {
        let knocking = thread::spawn(move || enter(door, PeerId(player), None, ms(3000)));
        until(nodes, ms(4000), |_| knocking.is_finished());
        match knocking.join().unwrap() {
            Ok(offer) => return offer,
            Err(EnterError::Retry { .. }) => thread::sleep(ms(50)),
            Err(error) => panic!("{error}"),
        }
    }
    panic!("never let in");
}
