//! lightyear without prediction and interpolation, its link payloads on our network.
//!
//! What it is set to, and why:
//! * `raw_connection`: no netcode, so that its packets are plaintext and are counted before
//!   encryption, like everybody's.
//! * Its clock is the mock one of its own tests: pings measure the network's two ticks, not how
//!   long this process took for them. Resending goes by that.
//! * No `PredictionTarget`, no `InterpolationTarget`: nobody else predicts or interpolates here.
//! * No bandwidth limit and no compression, its defaults.
//! * Interest: `VisibilityExt` for each pair that changes. Rooms on a grid are its other way; they
//!   ask about all clients for each entity that crosses, and about all entities for each client.

use std::net::{Ipv4Addr, SocketAddr};

use bevy::{prelude::*, state::app::StatesPlugin};
use bevy_replicon::{
    server::ServerSystems, server::visibility::client_visibility::ClientVisibility,
    shared::server_entity_map::ServerEntityMap,
};
use bytes::Bytes;
use lightyear::{
    link::recv_payload_from_bytes,
    prelude::{
        AppComponentExt, Link, LinkOf, Linked, LocalAddr, NetworkTarget, PeerAddr, Replicate,
        ReplicationReceiver, ReplicationSender, ReplicationSystems, VisibilityExt,
        client::{ClientPlugins, RawClient},
        server::{RawServer, ServerPlugins},
    },
};
use mock_instant::global::MockClock;

use super::{
    Subject, TICK, bare_app, count_bodies, finished, read_all,
    viewers::{Viewers, follow_movement, spawn_all},
    write_some,
};
use crate::{
    body::{Body, Position, Rotation, Velocity},
    network::{Network, Traffic},
    scenario::{Kind, Scenario},
};

/// A server with clients on raw links.
pub(crate) struct Lightyear {
    server: App,
    /// The server's entity, to which links belong.
    endpoint: Entity,
    /// The server's entity for each client's link.
    links: Vec<Entity>,
    /// Each client with its own entity for its link.
    clients: Vec<(App, Entity)>,
    network: Network<Bytes>,
    entities: Vec<Entity>,
}

impl Lightyear {
    pub(crate) fn new(scenario: &Scenario, bodies: &[Body]) -> Self {
        let mut server = bare_app();
        server.add_plugins((
            StatesPlugin,
            ServerPlugins {
                tick_duration: TICK,
            },
        ));
        register(&mut server);
        let interest = scenario.kind == Kind::Interest;
        if interest {
            server.add_observer(blindfold).add_systems(
                PostUpdate,
                (follow_movement, look)
                    .chain()
                    .before(ReplicationSystems::Send)
                    .before(ServerSystems::Send),
            );
        }
        let mut server = finished(server);
        let endpoint = server.world_mut().spawn(RawServer).id();
        server.world_mut().entity_mut(endpoint).insert(Linked);
        let replicated = || Replicate::to_clients(NetworkTarget::All);
        let entities = spawn_all(server.world_mut(), bodies, interest, replicated);
        if interest {
            server.insert_resource(Viewers::new(&entities, scenario.clients));
        }
        Self {
            server,
            endpoint,
            links: Vec::new(),
            clients: Vec::new(),
            network: Network::new(scenario.clients),
            entities,
        }
    }
}

fn register(app: &mut App) {
    app.component::<Position>().replicate();
    app.component::<Rotation>().replicate();
    app.component::<Velocity>().replicate();
}

/// An address for the sake of a name: a raw connection's peer is called by it.
fn address(number: usize) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, 10_000 + number as u16))
}

/// A client sees nothing until it looks from somewhere.
fn blindfold(added: On<Add, ClientVisibility>, mut commands: Commands) {
    let link = added.entity;
    commands.queue(move |world: &mut World| {
        let entities = world.resource::<Viewers>().entities().to_vec();
        for entity in entities {
            world.lose_visibility(entity, link);
        }
        let mut viewers = world.resource_mut::<Viewers>();
        let client = viewers.next_client();
        viewers.admit(client, link);
    });
}

/// Shows and hides what crossed into or out of somebody's view.
fn look(world: &mut World) {
    for (entity, link, sees) in world.resource_mut::<Viewers>().take_turns() {
        match sees {
            true => world.gain_visibility(entity, link),
            false => world.lose_visibility(entity, link),
        }
    }
}

/// Hands a link what has arrived.
fn feed(app: &mut App, link: Entity, arrived: Vec<Bytes>) {
    let Some(mut link) = app.world_mut().get_mut::<Link>(link) else {
        return;
    };
    for datagram in arrived {
        link.recv.push_raw(recv_payload_from_bytes(datagram));
    }
}

impl Subject for Lightyear {
    fn write(&mut self, changed: &[u32], bodies: &[Body]) {
        write_some(self.server.world_mut(), &self.entities, changed, bodies);
    }

    fn connect(&mut self, clients: usize) {
        for number in 0..clients {
            let link = LinkOf {
                server: self.endpoint,
            };
            let sender = (
                Link::default(),
                PeerAddr(address(number)),
                ReplicationSender,
            );
            let world = self.server.world_mut();
            let link = world.spawn((link, sender)).id();
            world.entity_mut(link).insert(Linked);
            self.links.push(link);

            let mut client = bare_app();
            client.add_plugins((
                StatesPlugin,
                ClientPlugins {
                    tick_duration: TICK,
                },
            ));
            register(&mut client);
            let mut client = finished(client);
            let receiver = (RawClient, LocalAddr(address(number)), ReplicationReceiver);
            let link = client.world_mut().spawn(receiver).id();
            client.world_mut().entity_mut(link).insert(Linked);
            self.clients.push((client, link));
        }
    }

    fn server_tick(&mut self) {
        for (client, &link) in self.links.iter().enumerate() {
            feed(&mut self.server, link, self.network.take_up(client));
        }
        self.server.update();
        for (client, &link) in self.links.iter().enumerate() {
            if let Some(mut link) = self.server.world_mut().get_mut::<Link>(link) {
                for datagram in link.send.drain() {
                    self.network.send_down(client, datagram);
                }
            }
        }
    }

    fn client_tick(&mut self, client: usize) {
        let (app, link) = &mut self.clients[client];
        feed(app, *link, self.network.take_down(client));
        app.update();
        if let Some(mut link) = app.world_mut().get_mut::<Link>(*link) {
            for datagram in link.send.drain() {
                self.network.send_up(client, datagram);
            }
        }
    }

    fn turn(&mut self) {
        self.network.turn();
        MockClock::advance(TICK);
    }

    fn drop_clients(&mut self) {
        self.clients.clear();
        self.network.clear();
    }

    fn set_loss(&mut self, loss: f32, seed: u64) {
        self.network.set_loss(loss, seed);
    }

    fn sent(&self) -> Traffic {
        self.network.traffic()
    }

    fn count(&mut self, client: usize) -> usize {
        count_bodies(self.clients[client].0.world_mut())
    }

    fn server_bodies(&self) -> Vec<Body> {
        read_all(self.server.world(), &self.entities)
    }

    fn client_bodies(&self, client: usize, entities: &[u32]) -> Vec<Option<Body>> {
        let world = self.clients[client].0.world();
        let map = world.resource::<ServerEntityMap>().to_client();
        let body = |&index: &u32| Body::read(world, *map.get(&self.entities[index as usize])?);
        entities.iter().map(body).collect()
    }
}
