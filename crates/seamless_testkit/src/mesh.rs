//! A mesh of nodes and its players, all in one process and on virtual time.

use std::{
    net::SocketAddr,
    ops::{Deref, DerefMut},
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use bevy::{platform::collections::HashMap, prelude::*};
use seamless_handover::{
    client::{
        Dialer, MeshClient, MeshClientConfig, MeshClientPlugin, SessionOutcome, SessionPort,
        Sessions,
    },
    geometry::{BorderRules, CellGrid},
    node::{MeshNodeConfig, MeshNodePlugin, stager},
    port::Mesh,
};
use seamless_mesh::{
    protocol::Staged,
    sim::{SimConfig, SimMesh, SimNode},
};
use seamless_replication::{
    Registry,
    transport::ClientConfig,
    transport::ConditionerConfig,
    transport::MemoryConfig,
    transport::MemoryServer,
    wire::{CellId, NodeId, PeerId, mesh::SessionReply},
};

use crate::cluster::{AppId, Cluster, TICK_RATE, TIMEOUT, Weather};

type Stage = Box<dyn Fn(&[u8]) -> Result<Staged, String> + Send + Sync>;

/// What a node of the cluster is.
#[derive(Clone, Debug)]
pub struct NodeSetup {
    /// Its number.
    pub id: u32,
    /// The cells it begins with.
    pub cells: Vec<CellId>,
}

/// A cluster whose servers are nodes of one simulated mesh. Dereferences to the [`Cluster`].
pub struct MeshCluster {
    cluster: Cluster,
    mesh: SimMesh,
    grid: CellGrid,
    rules: BorderRules,
    spawn: CellId,
    nodes: Vec<(NodeId, AppId)>,
    players: u64,
    mail: Mail,
}

impl MeshCluster {
    /// A world of these cells; players begin in `spawn`. `setup` as for [`Cluster::new`].
    #[must_use]
    pub fn new(
        seed: u64,
        grid: CellGrid,
        rules: BorderRules,
        spawn: CellId,
        setup: impl Fn(&mut App) + 'static,
    ) -> Self {
        Self {
            cluster: Cluster::new(seed, setup),
            mesh: SimMesh::new(seed),
            grid,
            rules,
            spawn,
            nodes: Vec::new(),
            players: 0,
            mail: Mail::default(),
        }
    }

    /// The simulated mesh: cut links, delay messages, look into the directory.
    #[must_use]
    pub const fn mesh(&self) -> &SimMesh {
        &self.mesh
    }

    /// Adds a node.
    ///
    /// # Panics
    /// Never: its place at the hub is free.
    pub fn node(&mut self, setup: &NodeSetup) -> AppId {
        let number = self.cluster.next_number();
        let place = MemoryServer::listen(
            self.cluster.hub(),
            number,
            MemoryConfig {
                timeout: TIMEOUT,
                ..MemoryConfig::default()
            },
        )
        .expect("the app's own number is free");
        let (grid, rules, cells) = (self.grid, self.rules, setup.cells.clone());
        let app = self.cluster.add(None, |app| {
            app.insert_resource(place).add_plugins(MeshNodePlugin {
                grid,
                rules,
                config: MeshNodeConfig {
                    cells,
                    ..MeshNodeConfig::default()
                },
            });
        });
        // The stager needs the registry, which is sealed by now.
        let stage: Arc<OnceLock<Stage>> = Arc::default();
        let _ = stage.set(Box::new(stager(self.cluster.app(app))));
        let spawn = self.spawn;
        let mut config = SimConfig::new(setup.id);
        config.schema = self.cluster.world(app).resource::<Registry>().digest();
        config.spawn = Arc::new(move |_| spawn);
        config.udp = address(number);
        config.stager = Arc::new(move |bytes| match stage.get() {
            Some(stage) => stage(bytes),
            None => Err("no stager yet".into()),
        });
        let node = self.mesh.add(config);
        self.cluster.world(app).insert_resource(Mesh::new(node));
        self.nodes.push((NodeId(setup.id), app));
        app
    }

    /// Adds a client of a new player, who enters by whichever node answers first.
    pub fn player(&mut self) -> (AppId, PeerId) {
        self.players += 1;
        let player = PeerId(1000 + self.players);
        let doors: Vec<SimNode> = self
            .nodes
            .iter()
            .map(|(id, _)| self.mesh.node(*id))
            .collect();
        let (hub, mail) = (self.cluster.hub().clone(), self.mail.clone());
        let condition = self.cluster.condition();
        let seed = self.cluster.seed().wrapping_add(self.players << 40);
        let app = self.cluster.add(None, |app| {
            let weather = ConditionerConfig {
                seed,
                send: condition,
                receive: condition,
            };
            app.insert_resource(MeshClient::new(player))
                .insert_resource(MeshClientConfig {
                    weather,
                    ..MeshClientConfig::default()
                })
                .insert_resource(Sessions(Box::new(Doors {
                    mail,
                    doors,
                    next: player.0 as usize,
                    asked: None,
                    player: None,
                    patience: 0,
                })))
                .insert_resource(Dialer(Box::new(move |address, token| {
                    let data = token.try_into().map_err(|_| "not a ticket".to_owned())?;
                    Ok(ClientConfig::memory(&hub, u64::from(address.port())).with_user_data(data))
                })))
                .add_plugins(MeshClientPlugin);
        });
        (app, player)
    }

    /// One frame of every app, and as much time in the mesh.
    pub fn step(&mut self) {
        let frame = Duration::from_nanos(1_000_000_000 / u64::from(TICK_RATE));
        self.mesh.run(frame);
        self.cluster.step();
    }

    /// So many frames.
    pub fn run(&mut self, frames: usize) {
        for _ in 0..frames {
            self.step();
        }
    }

    /// Frames until `done`; see [`Cluster::run_until`].
    ///
    /// # Panics
    /// If it is not so after `limit` frames.
    pub fn run_until(
        &mut self,
        what: &str,
        limit: usize,
        mut done: impl FnMut(&mut Self) -> bool,
    ) -> usize {
        for frame in 0..=limit {
            if done(self) {
                return frame;
            }
            self.step();
        }
        panic!("not within {limit} frames: {what} (seed {})", self.seed());
    }

    /// Kills a node: its process, its links, its place in the mesh.
    pub fn kill_node(&mut self, app: AppId) {
        if let Some((id, _)) = self.nodes.iter().find(|(_, node)| *node == app) {
            self.mesh.crash(*id);
        }
        self.cluster.kill(app);
    }

    /// Changes the weather of links that are made from now on.
    pub const fn set_weather(&mut self, weather: Weather) {
        self.cluster.set_weather(weather);
    }
}

impl Deref for MeshCluster {
    type Target = Cluster;

    fn deref(&self) -> &Cluster {
        &self.cluster
    }
}

impl DerefMut for MeshCluster {
    fn deref_mut(&mut self) -> &mut Cluster {
        &mut self.cluster
    }
}

/// A server's number at the hub, as an address that tickets can carry.
fn address(number: u64) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], number as u16))
}

/// Answers of nodes to clients who have not looked yet.
type Mail = Arc<Mutex<HashMap<(NodeId, PeerId), SessionReply>>>;

/// The doors of the simulated nodes.
struct Doors {
    mail: Mail,
    doors: Vec<SimNode>,
    next: usize,
    asked: Option<usize>,
    player: Option<PeerId>,
    patience: u32,
}

impl SessionPort for Doors {
    fn ask(&mut self, player: PeerId) {
        let at = self.next % self.doors.len().max(1);
        self.next += 1;
        self.player = Some(player);
        self.patience = 0;
        if let Some(door) = self.doors.get(at).filter(|door| door.is_running()) {
            door.knock(player);
            self.asked = Some(at);
        } else {
            self.asked = None;
        }
    }

    fn poll(&mut self) -> Option<SessionOutcome> {
        let player = self.player?;
        self.patience += 1;
        let Some(door) = self.asked.and_then(|at| self.doors.get(at)) else {
            self.player = None;
            return Some(SessionOutcome::Unreachable("a dead node".into()));
        };
        // Other clients' answers wait here until they look.
        let mut mail = self.mail.lock().unwrap_or_else(PoisonError::into_inner);
        for (whose, answer) in door.answers() {
            mail.insert((door.id(), whose), answer);
        }
        let outcome = match mail.remove(&(door.id(), player)) {
            Some(SessionReply::Welcome { address, token, .. }) => {
                SessionOutcome::Ticket { address, token }
            }
            Some(SessionReply::Retry { after_ms }) => {
                SessionOutcome::Later(Duration::from_millis(after_ms.into()))
            }
            None if self.patience > u32::from(TICK_RATE) => {
                SessionOutcome::Unreachable("no answer".into())
            }
            None => return None,
        };
        self.player = None;
        Some(outcome)
    }
}
