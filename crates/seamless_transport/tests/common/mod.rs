//! Apps on virtual time, one tick a step, for the tests of this crate.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "every test file uses a part of it, and a test may panic"
)]

pub mod hostile;

use std::time::Duration;

use bevy::{prelude::*, time::TimeUpdateStrategy};
use bytes::Bytes;
use seamless_transport::*;

pub const PROTOCOL: u64 = 0x5ea3;
pub const KEY: [u8; 32] = [42; 32];
/// A tick.
pub const TICK: Duration = Duration::from_nanos(33_333_333);

/// What an app was told, in order.
#[derive(Resource, Default)]
pub struct Told {
    pub opened: Vec<LinkId>,
    pub closed: Vec<(LinkId, CloseReason)>,
}

/// An app whose every update is one tick of 1/30 s, and nothing else moves its clock.
pub fn app() -> App {
    app_with(TransportConfig::default())
}

pub fn app_with(config: TransportConfig) -> App {
    let mut app = App::new();
    app.add_plugins(MinimalPlugins)
        .insert_resource(Time::<Fixed>::from_duration(TICK))
        .insert_resource(TimeUpdateStrategy::FixedTimesteps(1))
        .insert_resource(config)
        .add_plugins(TransportPlugin::default())
        .init_resource::<Told>()
        .add_systems(
            Last,
            |mut opened: MessageReader<LinkOpened>,
             mut closed: MessageReader<LinkClosed>,
             mut told: ResMut<Told>| {
                told.opened
                    .extend(opened.read().map(|message| message.link));
                told.closed
                    .extend(closed.read().map(|message| (message.link, message.reason)));
            },
        );
    app.finish();
    app.cleanup();
    app
}

pub fn memory_server(hub: &MemoryHub, number: u64) -> App {
    let mut app = app();
    let server = MemoryServer::listen(hub, number, MemoryConfig::default()).unwrap();
    app.insert_resource(server);
    app
}

pub fn server_config(authentication: Authentication) -> ServerConfig {
    ServerConfig::new(([127, 0, 0, 1], 0).into(), PROTOCOL, authentication)
}

pub fn udp_server(config: &ServerConfig) -> App {
    let mut app = app();
    app.insert_resource(ServerEndpoint::bind(config).unwrap());
    app
}

pub fn secure_server() -> App {
    udp_server(&server_config(Authentication::Secure { private_key: KEY }))
}

pub fn token(server: &App, user_data: &[u8; 256]) -> Token {
    let mint = server.world().resource::<ServerEndpoint>().mint().unwrap();
    mint.mint(TokenRequest {
        expire_seconds: 10,
        timeout_seconds: 3,
        user_data,
    })
    .unwrap()
}

pub fn connect(app: &mut App, config: ClientConfig) -> LinkId {
    let limits = app.world().resource::<TransportConfig>().clone();
    app.world_mut()
        .resource_scope(|world, mut links: Mut<Links>| {
            let mut clients = world.resource_mut::<ClientEndpoints>();
            clients.connect(&mut links, &limits, config).unwrap()
        })
}

pub fn link(app: &App, id: LinkId) -> &Link {
    app.world().resource::<Links>().get(id).unwrap()
}

pub fn link_mut(app: &mut App, id: LinkId) -> &mut Link {
    app.world_mut()
        .resource_mut::<Links>()
        .into_inner()
        .get_mut(id)
        .unwrap()
}

pub fn told(app: &App) -> &Told {
    app.world().resource::<Told>()
}

/// A server and a client, stepped in this order.
pub struct Pair {
    pub server: App,
    pub client: App,
    /// The link as the client knows it.
    pub up: LinkId,
    /// The link as the server knows it.
    pub down: LinkId,
}

impl Pair {
    /// Over a hub, with the weather on the client's side.
    pub fn in_memory(conditioner: ConditionerConfig) -> Self {
        let hub = MemoryHub::new();
        let server = memory_server(&hub, 1);
        let config = ClientConfig::memory(&hub, 1).with_conditioner(conditioner);
        Self::connect(server, app(), config)
    }

    /// Over loopback sockets and netcode.
    pub fn over_udp(conditioner: ConditionerConfig) -> Self {
        let server = secure_server();
        let config = ClientConfig::secure(token(&server, &[0; 256]));
        Self::connect(server, app(), config.with_conditioner(conditioner))
    }

    pub fn connect(mut server: App, mut client: App, config: ClientConfig) -> Self {
        let up = connect(&mut client, config);
        for _ in 0..200 {
            server.update();
            client.update();
            if link(&client, up).is_connected() {
                let down = *told(&server).opened.last().unwrap();
                return Self {
                    server,
                    client,
                    up,
                    down,
                };
            }
        }
        panic!("no link in 200 ticks");
    }

    pub fn step(&mut self) {
        self.server.update();
        self.client.update();
    }

    pub fn steps(&mut self, count: u32) {
        (0..count).for_each(|_| self.step());
    }

    /// The client's end and the server's.
    pub fn both(&mut self) -> [&mut Link; 2] {
        let up = link_mut(&mut self.client, self.up);
        [up, link_mut(&mut self.server, self.down)]
    }

    pub fn up(&mut self) -> &mut Link {
        link_mut(&mut self.client, self.up)
    }

    pub fn down(&mut self) -> &mut Link {
        link_mut(&mut self.server, self.down)
    }
}

pub fn bytes(byte: u8, len: usize) -> Bytes {
    vec![byte; len].into()
}

/// A numbered message of some length.
pub fn numbered(number: u32, len: usize) -> Bytes {
    let mut message = vec![0; len.max(4)];
    message[..4].copy_from_slice(&number.to_le_bytes());
    message.into()
}

pub fn number(message: &[u8]) -> u32 {
    u32::from_le_bytes(message[..4].try_into().unwrap())
}

/// Everything reliable that waits on a channel.
pub fn read(link: &mut Link, channel: Channel) -> Vec<Bytes> {
    std::iter::from_fn(|| link.recv_reliable(channel)).collect()
}

/// FNV-1a: a name for a run.
pub fn digest(hash: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(hash, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// Bad weather: 30 % loss both ways, late, twice, out of order.
pub fn lossy(seed: u64) -> ConditionerConfig {
    let way = Condition {
        delay: Duration::from_millis(40),
        jitter: Duration::from_millis(30),
        loss: 0.3,
        duplicate: 0.1,
        reorder: 0.1,
        ..Default::default()
    };
    ConditionerConfig {
        seed,
        send: way,
        receive: way,
    }
}
