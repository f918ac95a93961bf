//! The cluster.

use std::time::Duration;

use bevy::{prelude::*, time::TimeUpdateStrategy};
use seamless_authority::AuthorityPlugin;
use seamless_replication::{Peers, ReplicationPlugin};
use seamless_transport::{
    ClientConfig, ClientEndpoints, Condition, ConditionerConfig, LinkId, Links, MemoryConfig,
    MemoryHub, MemoryServer, TransportConfig, TransportPlugin,
};

use crate::wire::{Wire, wire_app};

/// Ticks per second of a cluster's apps.
pub(crate) const TICK_RATE: u16 = 30;

/// Silence after which a link in a cluster ends.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(5);

/// One app of a cluster.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct AppId(usize);

/// What the network does to datagrams, in each direction.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Weather(pub Condition);

impl Weather {
    /// Instant and perfect.
    #[must_use]
    pub fn clear() -> Self {
        Self(Condition::default())
    }

    /// 20 ms each way.
    #[must_use]
    pub fn near() -> Self {
        Self(Condition {
            delay: Duration::from_millis(20),
            ..Condition::default()
        })
    }

    /// 40 ms each way with jitter; this share of datagrams is lost, half as many come twice or out
    /// of order.
    #[must_use]
    pub fn lossy(loss: f32) -> Self {
        Self(Condition {
            delay: Duration::from_millis(40),
            jitter: Duration::from_millis(10),
            loss,
            duplicate: loss / 2.0,
            reorder: loss / 2.0,
            reorder_by: Duration::from_millis(70),
            ..Condition::default()
        })
    }
}

type Setup = Box<dyn Fn(&mut App)>;

/// Apps that advance together, a frame of a tick's length at a time.
pub struct Cluster {
    apps: Vec<App>,
    hub: MemoryHub,
    weather: Weather,
    seed: u64,
    links: u64,
    frames: u64,
    setup: Setup,
}

impl Cluster {
    /// A cluster without apps. `setup` registers on each app what it replicates and does; what it
    /// adds runs on servers and clients alike, so ask for
    /// [`is_server`](Self::is_server)-like facts in it by resources of your own.
    #[must_use]
    pub fn new(seed: u64, setup: impl Fn(&mut App) + 'static) -> Self {
        Self {
            apps: Vec::new(),
            hub: MemoryHub::new(),
            weather: Weather::near(),
            seed,
            links: 0,
            frames: 0,
            setup: Box::new(setup),
        }
    }

    /// The weather of links that are made from now on.
    pub const fn set_weather(&mut self, weather: Weather) {
        self.weather = weather;
    }

    /// Changes the weather of all links.
    pub fn change_weather(&mut self, weather: Weather) {
        self.weather = weather;
        let seed = self.seed;
        for (at, app) in self.apps.iter_mut().enumerate() {
            for link in app.world_mut().resource_mut::<Links>().iter_mut() {
                let mut config = ConditionerConfig::default().with_seed(seed ^ at as u64);
                config.send = weather.0;
                link.set_conditioner(config);
            }
        }
    }

    /// Adds an app. `before` runs before the cluster's own setup.
    pub(crate) fn add(&mut self, block: Option<u32>, before: impl FnOnce(&mut App)) -> AppId {
        let mut app = App::new();
        app.add_plugins((
            MinimalPlugins,
            TransportPlugin::default(),
            ReplicationPlugin {
                tick_rate: TICK_RATE,
                block,
            },
            AuthorityPlugin,
        ));
        before(&mut app);
        (self.setup)(&mut app);
        let tick = Duration::from_nanos(1_000_000_000 / u64::from(TICK_RATE));
        app.insert_resource(TimeUpdateStrategy::ManualDuration(tick));
        app.finish();
        app.cleanup();
        self.apps.push(app);
        AppId(self.apps.len() - 1)
    }

    /// Adds a server. Its entities are named in a block of its own.
    ///
    /// # Panics
    /// Never: the number is free.
    pub fn server(&mut self) -> AppId {
        let number = self.apps.len() as u64;
        let config = MemoryConfig {
            timeout: TIMEOUT,
            ..MemoryConfig::default()
        };
        let place =
            MemoryServer::listen(&self.hub, number, config).expect("the app's own number is free");
        self.add(Some(16 + number as u32), |app| {
            app.insert_resource(place);
        })
    }

    /// Adds a client and has it connect to a server.
    ///
    /// # Panics
    /// If there is no room for another link.
    pub fn client(&mut self, server: AppId) -> AppId {
        let client = self.add(None, |_| {});
        self.connect(client, server);
        client
    }

    /// Adds a client and has it connect to a server over a wire that the test has its hands on.
    /// The weather is between the client and the wire.
    ///
    /// # Panics
    /// If there is no room for another link.
    pub fn client_over_wire(&mut self, server: AppId) -> (AppId, Wire) {
        let wire = Wire::default();
        let number = self.next_number();
        let config = MemoryConfig {
            timeout: TIMEOUT,
            ..MemoryConfig::default()
        };
        let place =
            MemoryServer::listen(&self.hub, number, config).expect("the app's own number is free");
        let mut app = wire_app(wire.clone());
        app.insert_resource(place);
        let tick = Duration::from_nanos(1_000_000_000 / u64::from(TICK_RATE));
        app.insert_resource(TimeUpdateStrategy::ManualDuration(tick));
        app.finish();
        app.cleanup();
        self.apps.push(app);
        let middle = AppId(self.apps.len() - 1);
        let weather = std::mem::replace(&mut self.weather, Weather::clear());
        self.connect(middle, server);
        self.weather = weather;
        (self.client(middle), wire)
    }

    /// Has a client ask for one more link, to this server.
    ///
    /// # Panics
    /// If there is no room for another link.
    pub fn connect(&mut self, client: AppId, server: AppId) -> LinkId {
        self.links += 1;
        let mut weather =
            ConditionerConfig::default().with_seed(self.seed.wrapping_add(self.links << 32));
        weather.send = self.weather.0;
        weather.receive = self.weather.0;
        let config = ClientConfig::memory(&self.hub, server.0 as u64).with_conditioner(weather);
        let world = self.apps[client.0].world_mut();
        world.resource_scope(|world, mut endpoints: Mut<ClientEndpoints>| {
            let limits = world.resource::<TransportConfig>().clone();
            let mut links = world.resource_mut::<Links>();
            endpoints
                .connect(&mut links, &limits, config)
                .expect("room for a link")
        })
    }

    /// One frame of every app, a tick long.
    pub fn step(&mut self) {
        self.frames += 1;
        for app in &mut self.apps {
            app.update();
        }
    }

    /// So many frames.
    pub fn run(&mut self, frames: usize) {
        for _ in 0..frames {
            self.step();
        }
    }

    /// Frames until `done`, looked at before each. Returns how many there were.
    ///
    /// # Panics
    /// If it is not so after `limit` frames; `what` says what was waited for.
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
        panic!("not within {limit} frames: {what} (seed {})", self.seed);
    }

    /// The hub that all links run through.
    pub(crate) const fn hub(&self) -> &MemoryHub {
        &self.hub
    }

    /// The number that the next app will have.
    pub(crate) const fn next_number(&self) -> u64 {
        self.apps.len() as u64
    }

    /// The weather in one direction.
    pub(crate) const fn condition(&self) -> Condition {
        self.weather.0
    }

    /// The cluster's seed.
    #[must_use]
    pub const fn seed(&self) -> u64 {
        self.seed
    }

    /// Frames so far.
    #[must_use]
    pub const fn frames(&self) -> u64 {
        self.frames
    }

    /// Ends an app without a goodbye, as `kill -9` would. Its id must not be used any more.
    pub fn kill(&mut self, app: AppId) {
        self.apps[app.0] = App::empty();
        self.apps[app.0].init_resource::<Links>();
    }

    /// An app's world.
    pub fn world(&mut self, app: AppId) -> &mut World {
        self.apps[app.0].world_mut()
    }

    /// An app.
    pub fn app(&mut self, app: AppId) -> &mut App {
        &mut self.apps[app.0]
    }

    /// Whether all links of an app have done their handshake.
    pub fn is_ready(&mut self, app: AppId) -> bool {
        let peers = self.apps[app.0].world().resource::<Peers>();
        peers.iter().count() > 0
            && peers
                .iter()
                .all(|peer| peer.state() == seamless_replication::PeerState::Ready)
    }
}
