//! bevy_replicon over renet, through its own integration, with renet's packets on our network.
//!
//! Settings that are not the defaults, each for bevy_replicon's good:
//! * renet's bytes per tick, which would silently drop most of the larger scenarios: no limit.
//! * renet's memory per channel, at which joining would be cut off: 1 GiB.
//! * renet's resend time, which delays acknowledgements after a loss: 100 ms instead of 300 ms,
//!   since a round trip is two ticks here.
//! * `mutations_timeout`, for which what was lost is remembered: 1 s instead of 10 s, since
//!   nothing comes after that here. It saves memory and time where datagrams are lost.

use std::time::Duration;

use bevy::{prelude::*, state::app::StatesPlugin};
use bevy_replicon::{
    prelude::*,
    server::visibility::{
        client_visibility::ClientVisibility, filters_mask::FilterBit, registry::FilterRegistry,
    },
    shared::{
        backend::connected_client::NetworkId, replication::registry::ReplicationRegistry,
        server_entity_map::ServerEntityMap,
    },
};
use bevy_replicon_renet::{
    RenetChannelsExt, RenetClient, RenetServer, RepliconRenetPlugins,
    renet::{ChannelConfig, ConnectionConfig, SendType},
};

use super::{
    Subject, bare_app, count_bodies, finished, read_all,
    viewers::{Viewers, follow_movement, spawn_all},
    write_some,
};
use crate::{
    body::{Body, Position, Rotation, Velocity},
    network::{Network, Traffic},
    scenario::{Kind, Scenario},
};

const CHANNEL_MEMORY: usize = 1 << 30;
const RESEND_TIME: Duration = Duration::from_millis(100);
const MUTATIONS_TIMEOUT: Duration = Duration::from_secs(1);

/// A server with clients on renet connections.
pub(crate) struct Replicon {
    server: App,
    clients: Vec<App>,
    network: Network<Vec<u8>>,
    entities: Vec<Entity>,
}

impl Replicon {
    pub(crate) fn new(scenario: &Scenario, bodies: &[Body]) -> Self {
        let mut server = app();
        let interest = scenario.kind == Kind::Interest;
        if interest {
            server
                .init_resource::<SightBit>()
                .add_observer(blindfold)
                .add_systems(
                    PostUpdate,
                    (follow_movement, look).chain().before(ServerSystems::Send),
                );
        }
        let mut server = finished(server);
        let config = connection(&server);
        server.insert_resource(RenetServer::new(config));
        let entities = spawn_all(server.world_mut(), bodies, interest, || Replicated);
        if interest {
            server.insert_resource(Viewers::new(&entities, scenario.clients));
        }
        Self {
            server,
            clients: Vec::new(),
            network: Network::new(scenario.clients),
            entities,
        }
    }
}

fn app() -> App {
    let mut app = bare_app();
    app.add_plugins((
        StatesPlugin,
        RepliconPlugins.set(ServerPlugin {
            mutations_timeout: MUTATIONS_TIMEOUT,
            ..ServerPlugin::default()
        }),
        RepliconRenetPlugins,
    ));
    app.replicate::<Position>()
        .replicate::<Rotation>()
        .replicate::<Velocity>();
    app
}

fn connection(app: &App) -> ConnectionConfig {
    let channels = app.world().resource::<RepliconChannels>();
    let raise = |mut configs: Vec<ChannelConfig>| {
        for config in &mut configs {
            config.max_memory_usage_bytes = CHANNEL_MEMORY;
            if let SendType::ReliableOrdered { resend_time }
            | SendType::ReliableUnordered { resend_time } = &mut config.send_type
            {
                *resend_time = RESEND_TIME;
            }
        }
        configs
    };
    ConnectionConfig {
        available_bytes_per_tick: u64::MAX,
        server_channels_config: raise(channels.server_configs()),
        client_channels_config: raise(channels.client_configs()),
    }
}

/// The bit by which whole entities are shown and hidden: the crate's way for a game that keeps
/// track of who sees what by itself, without asking about every pair again.
#[derive(Resource)]
struct SightBit(FilterBit);

impl FromWorld for SightBit {
    fn from_world(world: &mut World) -> Self {
        let bit = world.resource_scope(|world, mut filters: Mut<FilterRegistry>| {
            world.resource_scope(|world, mut registry: Mut<ReplicationRegistry>| {
                filters.register_scope::<Entity>(world, &mut registry, ScopeLifetime::WhileVisible)
            })
        });
        Self(bit)
    }
}

/// A client sees nothing until it looks from somewhere.
fn blindfold(
    added: On<Add, AuthorizedClient>,
    mut clients: Query<(&mut ClientVisibility, &NetworkId)>,
    mut viewers: ResMut<Viewers>,
    bit: Res<SightBit>,
) {
    let Ok((mut visibility, id)) = clients.get_mut(added.entity) else {
        return;
    };
    for &entity in viewers.entities() {
        visibility.set(entity, bit.0, false);
    }
    viewers.admit(id.get() as usize, added.entity);
}

/// Shows and hides what crossed into or out of somebody's view.
fn look(
    mut clients: Query<&mut ClientVisibility>,
    mut viewers: ResMut<Viewers>,
    bit: Res<SightBit>,
) {
    for (entity, client, sees) in viewers.take_turns() {
        if let Ok(mut visibility) = clients.get_mut(client) {
            visibility.set(entity, bit.0, sees);
        }
    }
}

impl Subject for Replicon {
    fn write(&mut self, changed: &[u32], bodies: &[Body]) {
        write_some(self.server.world_mut(), &self.entities, changed, bodies);
    }

    fn connect(&mut self, clients: usize) {
        for client in 0..clients {
            let mut app = finished(app());
            let mut renet = RenetClient::new(connection(&app));
            renet.set_connected();
            app.insert_resource(renet);
            self.clients.push(app);
            let mut server = self.server.world_mut().resource_mut::<RenetServer>();
            server.add_connection(client as u64);
        }
    }

    fn server_tick(&mut self) {
        let clients = 0..self.clients.len();
        let mut renet = self.server.world_mut().resource_mut::<RenetServer>();
        for client in clients.clone() {
            for packet in self.network.take_up(client) {
                let _ = renet.process_packet_from(&packet, client as u64);
            }
        }
        self.server.update();
        let mut renet = self.server.world_mut().resource_mut::<RenetServer>();
        for client in clients {
            for packet in renet.get_packets_to_send(client as u64).unwrap_or_default() {
                self.network.send_down(client, packet);
            }
        }
    }

    fn client_tick(&mut self, client: usize) {
        let app = &mut self.clients[client];
        let mut renet = app.world_mut().resource_mut::<RenetClient>();
        for packet in self.network.take_down(client) {
            renet.process_packet(&packet);
        }
        app.update();
        let mut renet = app.world_mut().resource_mut::<RenetClient>();
        for packet in renet.get_packets_to_send() {
            self.network.send_up(client, packet);
        }
    }

    fn turn(&mut self) {
        self.network.turn();
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
        count_bodies(self.clients[client].world_mut())
    }

    fn server_bodies(&self) -> Vec<Body> {
        read_all(self.server.world(), &self.entities)
    }

    fn client_bodies(&self, client: usize, entities: &[u32]) -> Vec<Option<Body>> {
        let world = self.clients[client].world();
        let map = world.resource::<ServerEntityMap>().to_client();
        let body = |&index: &u32| Body::read(world, *map.get(&self.entities[index as usize])?);
        entities.iter().map(body).collect()
    }
}
