//! bevy_seamless: lossless, and with bounded loss.
//!
//! Its links in memory deliver at once. Clients run before the server in each tick, so what the
//! server sends arrives in the next; what clients send is held back on their side by the link's
//! conditioner until their next frame. That makes one tick in each direction, as for the others.
//! The conditioner on the client's side also loses datagrams, in both directions, so no chance is
//! rolled within the server's tick.

mod own_time;
mod quantized;

use std::time::Duration;

use bevy::prelude::*;
use seamless_replication::{
    NetSlot, PeerJoined, Peers, ReplicateAppExt, Replicated, ReplicationConfig, ReplicationPlugin,
    ReplicationSystems, Slots,
    interest::{InterestAppExt, View},
};
use seamless_transport::{
    ClientConfig, ClientEndpoints, Condition, ConditionerConfig, FlushPlacement, Links,
    MemoryConfig, MemoryHub, MemoryServer, PeerAddress, Rate, TransportConfig, TransportPlugin,
};

use self::{
    own_time::{OwnTime, measure_own_time},
    quantized::register_quantized,
};
use super::{Precision, Subject, TICK, bare_app, count_bodies, finished, read_all, write_some};
use crate::{
    body::{Body, Position, Rotation, Velocity},
    interest::{DISTANCE, GRID, followed},
    motion::TICK_RATE,
    network::Traffic,
    scenario::{Kind, Scenario},
};

/// The server's number at the hub.
const SERVER: u64 = 1;

/// Addresses of clients at a hub begin here.
const FIRST_CLIENT: u64 = 1 << 32;

/// Holds a client's datagram back until its next frame: longer than nothing, shorter than a tick.
const HELD: Duration = Duration::from_millis(20);

/// A server with clients on links in memory.
pub(crate) struct Seamless {
    server: App,
    clients: Vec<App>,
    hub: MemoryHub,
    entities: Vec<Entity>,
    quantized: bool,
}

/// Registers the components as they are.
fn register_lossless(app: &mut App) {
    app.replicate::<Position>();
    app.replicate::<Rotation>();
    app.replicate::<Velocity>();
}

/// What a client of the interest scenario follows.
#[derive(Resource)]
struct Follow {
    entities: Vec<Entity>,
    clients: usize,
}

impl Seamless {
    pub(crate) fn new(scenario: &Scenario, bodies: &[Body], quantized: bool) -> Self {
        let hub = MemoryHub::new();
        // Names of 2^24 blocks; a server without a mesh takes any.
        let mut server = app(quantized, Some(16));
        let place = MemoryServer::listen(&hub, SERVER, MemoryConfig::default())
            .expect("the first to listen");
        server.insert_resource(place);
        measure_own_time(&mut server);
        if scenario.kind == Kind::Interest {
            server
                .interest_position(|position: &Position| position.0)
                .insert_resource(GRID)
                .add_systems(PreUpdate, place_viewers.after(ReplicationSystems::React));
        }
        let mut server = finished(server);
        let entities: Vec<Entity> = bodies
            .iter()
            .map(|body| server.world_mut().spawn((Replicated, body.bundle())).id())
            .collect();
        if scenario.kind == Kind::Interest {
            server.insert_resource(Follow {
                entities: entities.clone(),
                clients: scenario.clients,
            });
        }
        Self {
            server,
            clients: Vec::new(),
            hub,
            entities,
            quantized,
        }
    }

    fn weather(loss: f32, seed: u64) -> ConditionerConfig {
        ConditionerConfig {
            seed,
            send: Condition {
                delay: HELD,
                loss,
                ..Condition::default()
            },
            receive: Condition {
                loss,
                ..Condition::default()
            },
        }
    }
}

fn app(quantized: bool, block: Option<u32>) -> App {
    let mut app = bare_app();
    app.add_plugins((
        TransportPlugin {
            flush: FlushPlacement::FixedPostUpdate,
        },
        ReplicationPlugin {
            tick_rate: TICK_RATE,
            block,
        },
    ));
    // No bound may make the work smaller than it is for the others, which have none.
    app.insert_resource(ReplicationConfig {
        bytes_per_tick: 1 << 30,
        ..ReplicationConfig::default()
    })
    .insert_resource(TransportConfig {
        datagrams_per_tick: 1 << 20,
        datagrams_unread: 1 << 20,
        packets_per_frame: 1 << 20,
        link_rate: Rate {
            packets_per_second: 1 << 24,
            bytes_per_second: 1 << 31,
        },
        ..TransportConfig::default()
    });
    match quantized {
        true => register_quantized(&mut app),
        false => register_lossless(&mut app),
    }
    app
}

/// Lets a client look around the entity it follows, as soon as it is there.
fn place_viewers(
    mut joined: MessageReader<PeerJoined>,
    mut peers: ResMut<Peers>,
    links: Res<Links>,
    follow: Res<Follow>,
) {
    for PeerJoined { link, .. } in joined.read() {
        let address = links.get(*link).map(|link| link.peer_address());
        let Some(PeerAddress::Memory(address)) = address else {
            continue;
        };
        let client = (address - FIRST_CLIENT) as usize;
        let entity = follow.entities[followed(client, follow.clients, follow.entities.len())];
        if let Some(peer) = peers.get_mut(*link) {
            peer.interest_mut().set_view(View::Around(entity, DISTANCE));
        }
    }
}

impl Subject for Seamless {
    fn write(&mut self, changed: &[u32], bodies: &[Body]) {
        write_some(self.server.world_mut(), &self.entities, changed, bodies);
    }

    fn connect(&mut self, clients: usize) {
        for client in 0..clients {
            let mut app = finished(app(self.quantized, None));
            let config = ClientConfig::memory(&self.hub, SERVER)
                .with_conditioner(Self::weather(0.0, client as u64));
            app.world_mut()
                .resource_scope(|world, mut endpoints: Mut<ClientEndpoints>| {
                    let limits = world.resource::<TransportConfig>().clone();
                    let mut links = world.resource_mut::<Links>();
                    endpoints
                        .connect(&mut links, &limits, config)
                        .expect("a fresh app has room for a link")
                });
            self.clients.push(app);
        }
    }

    fn server_tick(&mut self) {
        self.server.update();
    }

    fn client_tick(&mut self, client: usize) {
        self.clients[client].update();
    }

    fn turn(&mut self) {}

    fn drop_clients(&mut self) {
        self.clients.clear();
    }

    fn set_loss(&mut self, loss: f32, seed: u64) {
        for (client, app) in self.clients.iter_mut().enumerate() {
            let weather = Self::weather(loss, seed.wrapping_mul(1_000_003) + client as u64);
            for link in app.world_mut().resource_mut::<Links>().iter_mut() {
                link.set_conditioner(weather);
            }
        }
    }

    fn sends_together(&self) -> bool {
        true
    }

    fn sent(&self) -> Traffic {
        let mut traffic = Traffic::default();
        for link in self.server.world().resource::<Links>().iter() {
            // Without what netcode adds to each datagram for encryption, which nobody else's
            // bytes have either.
            let sent = link.stats().sent;
            traffic.bytes += sent.state.bytes + sent.reliable.bytes;
            traffic.datagrams += sent.state.packets + sent.reliable.packets;
        }
        traffic
    }

    fn own_time(&mut self) -> Option<Duration> {
        let mut own = self.server.world_mut().resource_mut::<OwnTime>();
        Some(own.take())
    }

    fn count(&mut self, client: usize) -> usize {
        count_bodies(self.clients[client].world_mut())
    }

    fn server_bodies(&self) -> Vec<Body> {
        read_all(self.server.world(), &self.entities)
    }

    fn client_bodies(&self, client: usize, entities: &[u32]) -> Vec<Option<Body>> {
        let (server, client) = (self.server.world(), self.clients[client].world());
        let slots = client.resource::<Slots>();
        let body = |&index: &u32| {
            let slot = server.get::<NetSlot>(self.entities[index as usize])?;
            Body::read(client, slots.entity(slot.global()?)?)
        };
        entities.iter().map(body).collect()
    }

    fn precision(&self) -> Option<Precision> {
        self.quantized.then_some(quantized::PRECISION)
    }
}

const _: () = assert!(HELD.as_millis() < TICK.as_millis());
