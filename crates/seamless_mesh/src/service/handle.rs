//! The game's end of a node.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, sync_channel},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use rand_core::{OsRng, TryRngCore};
use seamless_wire::ticket::{Purpose, Ticket};
use tokio::sync::{
    mpsc::{Sender, channel, error::TrySendError, unbounded_channel},
    oneshot,
};

use super::{
    ServiceConfig, StartError,
    clock::{boot_clock, boot_id},
    directory, door,
    metrics::{self, HttpCounters},
    runtime::{Ears, Parts, Runtime},
    server,
    shared::Shared,
};
use crate::{
    directory::{Addresses, Directory},
    link::{MeshLink, MeshStatus, SendError},
    liveness::lock::LifeLock,
    protocol::{MeshCommand, MeshEvent, NodeConfig, NodeCore},
    ticket::TicketRefusal,
};

/// Commands that may wait for the mesh thread.
const COMMANDS: usize = 1024;
/// Events that may wait for the game.
const EVENTS: usize = 4096;
/// Requests of others that may wait for the mesh thread.
const ASKS: usize = 1024;

/// A running node. Dropping it ends the node without a goodbye, as a crash would; a
/// [`MeshCommand::Leave`] and its [`MeshEvent::Left`] come before a good end.
pub struct MeshHandle {
    commands: Sender<MeshCommand>,
    events: Mutex<Receiver<MeshEvent>>,
    shared: Arc<Shared>,
    addresses: Addresses,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

struct Bound {
    nodes: TcpListener,
    door: TcpListener,
    addresses: Addresses,
}

fn bind(what: &'static str, address: SocketAddr) -> Result<(TcpListener, SocketAddr), StartError> {
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::AddrInUse => StartError::PortTaken { what, address },
        _ => StartError::Bind {
            what,
            address,
            error,
        },
    };
    let listener = TcpListener::bind(address).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}

impl MeshHandle {
    /// Starts a node. It joins the mesh by and by; see [`MeshEvent::Joined`].
    ///
    /// # Errors
    /// [`StartError`], in one line. Nothing runs then.
    pub fn start(
        config: ServiceConfig,
        directory: impl Directory + 'static,
    ) -> Result<Self, StartError> {
        if config.key.is_none() && !config.http.ip().is_loopback() {
            return Err(StartError::KeyNeeded(config.http));
        }
        let (nodes, http) = bind("node", config.http)?;
        let (door, session) = bind("door", config.door)?;
        let told = |public: Option<SocketAddr>, bound: SocketAddr| {
            let mut told = public.unwrap_or(bound);
            if told.port() == 0 {
                told.set_port(bound.port());
            }
            told
        };
        let addresses = Addresses {
            udp: config.udp,
            http: told(config.public_http, http),
            session: told(config.public_door, session),
        };
        let bound = Bound {
            nodes,
            door,
            addresses,
        };
        Self::run(config, Box::new(directory), bound)
    }

    fn run(
        config: ServiceConfig,
        directory: Box<dyn Directory>,
        bound: Bound,
    ) -> Result<Self, StartError> {
        let random = |bytes: &mut [u8]| {
            OsRng
                .try_fill_bytes(bytes)
                .map_err(|error| StartError::Random(error.to_string()))
        };
        let (mut life, mut secret) = ([0; 8], [0; 32]);
        random(&mut life)?;
        random(&mut secret)?;
        let life = u64::from_le_bytes(life);
        let lock = match &config.locks {
            // Before anybody can hear of this life.
            Some(folder) => Some(LifeLock::take(folder, config.id, life)?),
            None => None,
        };
        let core = NodeCore::new(NodeConfig {
            id: config.id,
            life,
            addresses: bound.addresses,
            schema: config.schema,
            capacity: config.capacity,
            boot: boot_id(),
            secret,
            spawn: config.spawn,
            timing: config.timing,
        });
        let key = config.key.as_ref().map(|key| *key.bytes());
        let shared = Arc::new(Shared::new(key, core.desk()));
        let (commands, commands_in) = channel(COMMANDS);
        let (events_out, events) = sync_channel(EVENTS);
        let (asks, asks_in) = channel(ASKS);
        let (wakes, wakes_in) = unbounded_channel();
        let (stop, stop_in) = oneshot::channel();
        let asker = directory::start(directory, wakes.clone()).map_err(StartError::Thread)?;
        let parts = Parts {
            core,
            shared: Arc::clone(&shared),
            stager: config.stager,
            mint: config.mint,
            asker,
            locks: config.locks,
            lock,
            wakes,
            events: events_out,
        };
        let ears = Ears {
            commands: commands_in,
            asks: asks_in,
            wakes: wakes_in,
            stop: stop_in,
        };
        let node_routes = server::router(Arc::clone(&shared), asks.clone());
        let door_routes = door::router(
            Arc::clone(&shared),
            asks,
            config.authenticate,
            config.limits,
        );
        let (nodes, door, limits) = (bound.nodes, bound.door, config.limits);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(StartError::Thread)?;
        let thread = thread::Builder::new()
            .name("seamless-mesh".to_owned())
            .spawn(move || {
                runtime.block_on(async move {
                    let (Ok(nodes), Ok(door)) = (
                        tokio::net::TcpListener::from_std(nodes),
                        tokio::net::TcpListener::from_std(door),
                    ) else {
                        tracing::error!("the bound ports cannot be served");
                        return;
                    };
                    tokio::spawn(server::serve(
                        nodes,
                        node_routes,
                        limits.node_connections,
                        server::IDLE_NODE,
                    ));
                    tokio::spawn(server::serve(
                        door,
                        door_routes,
                        limits.door_connections,
                        door::IDLE_CLIENT,
                    ));
                    Runtime::new(parts).run(ears).await;
                });
                // Ends the servers with the loop; nothing of ours needs to be waited for.
                runtime.shutdown_background();
            })
            .map_err(StartError::Thread)?;
        Ok(Self {
            commands,
            events: Mutex::new(events),
            shared,
            addresses: bound.addresses,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// Where it is reached, as others are told: with the ports that were really bound.
    #[must_use]
    pub const fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// What its HTTP servers did.
    #[must_use]
    pub fn http(&self) -> &HttpCounters {
        &self.shared.http
    }

    /// The page that `/metrics` shows.
    #[must_use]
    pub fn metrics(&self) -> String {
        metrics::render(&self.shared)
    }

    /// Ends the node without a goodbye and waits until it has ended.
    pub fn kill(mut self) {
        self.halt();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }

    fn halt(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
    }
}

impl Drop for MeshHandle {
    fn drop(&mut self) {
        self.halt();
    }
}

impl MeshLink for MeshHandle {
    fn send(&self, command: MeshCommand) -> Result<(), SendError> {
        self.commands
            .try_send(command)
            .map_err(|error| match error {
                TrySendError::Full(command) => SendError::Full(Box::new(command)),
                TrySendError::Closed(command) => SendError::Stopped(Box::new(command)),
            })
    }

    fn poll(&self) -> Vec<MeshEvent> {
        let events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        events.try_iter().collect()
    }

    fn may_simulate(&self) -> bool {
        self.shared.may_simulate()
    }

    fn now(&self) -> Duration {
        boot_clock()
    }

    fn mesh_now(&self) -> Duration {
        self.shared.mesh_now()
    }

    fn redeem(&self, ticket: &Ticket) -> Result<Purpose, TicketRefusal> {
        self.shared.desk.redeem(ticket, boot_clock())
    }

    fn status(&self) -> MeshStatus {
        self.shared.status()
    }
}

impl std::fmt::Debug for MeshHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MeshHandle")
            .field("addresses", &self.addresses)
            .finish_non_exhaustive()
    }
}
