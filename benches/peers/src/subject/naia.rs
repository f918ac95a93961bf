//! naia 0.25 with its Bevy adapter, on Bevy 0.18, its datagrams on our network.
//!
//! What it is set to, and why, stands in `naia/src/protocol.rs`, `naia/src/client.rs` and here:
//! * no limit of bandwidth, no measuring of it;
//! * its clients apply what arrives at once (no jitter buffer), and join without measuring first;
//! * interest by rooms, its own way: a room for each region of the grid. Without interest one room.

use bevy::math::{Quat, Vec3};
use seamless_peers_naia::{Client, Post, Server, Values, advance_clock};
use seamless_replication::interest::InterestRegionId;

use super::Subject;
use crate::{
    body::Body,
    interest::{DISTANCE, GRID, followed},
    network::{Network, Traffic},
    scenario::{Kind, Scenario},
};

/// The only room, where there is no interest.
const ROOM: u64 = 0;

/// Packets that one packet of naia acknowledges, and bytes of a packet.
const ACKNOWLEDGED: usize = 33;
const PACKET_BYTES: usize = 430;

/// Bytes of a change, about.
const CHANGE_BYTES: usize = 33;

/// Entities that a client can know: naia numbers them in 16 bits.
const MAX_ENTITIES: usize = 1 << 16;

/// What naia is not made for.
pub(crate) fn unfit(scenario: &Scenario) -> Option<String> {
    if scenario.entities >= MAX_ENTITIES {
        return Some("it numbers a client's entities in 16 bits".into());
    }
    let packets = scenario.changes() * CHANGE_BYTES / PACKET_BYTES;
    (scenario.kind != Kind::Interest && packets > ACKNOWLEDGED).then(|| {
        format!(
            "these are {packets} of its packets to each client in a tick, and its acknowledgements \
             cover {ACKNOWLEDGED}: it takes the others for lost and spends seconds on a tick"
        )
    })
}

/// A server with clients.
pub(crate) struct Naia {
    server: Server,
    clients: Vec<Client>,
    post: Post,
    network: Network<Vec<u8>>,
    velocities: Vec<[f32; 3]>,
    interest: Option<Interest>,
}

/// Who is in which region.
struct Interest {
    regions: Vec<Option<InterestRegionId>>,
    /// What each client follows and from where it looks.
    viewers: Vec<(usize, Option<InterestRegionId>)>,
    /// What has moved since the last tick.
    moved: Vec<(usize, Vec3)>,
}

impl Naia {
    pub(crate) fn new(scenario: &Scenario, bodies: &[Body]) -> Self {
        let post = Post::default();
        let values: Vec<Values> = bodies.iter().map(values).collect();
        let mut server = Server::new(&post, &values);
        let interest = (scenario.kind == Kind::Interest).then(|| Interest {
            regions: vec![None; bodies.len()],
            viewers: (0..scenario.clients)
                .map(|client| (followed(client, scenario.clients, bodies.len()), None))
                .collect(),
            moved: bodies
                .iter()
                .map(|body| body.position)
                .enumerate()
                .collect(),
        });
        if interest.is_none() {
            for entity in 0..bodies.len() {
                server.place(entity, None, ROOM);
            }
        }
        Self {
            server,
            clients: Vec::new(),
            post,
            network: Network::new(scenario.clients),
            velocities: values.iter().map(|values| values.velocity).collect(),
            interest,
        }
    }
}

impl Interest {
    /// Moves whoever crossed into another region, and follows those who are followed.
    fn update(&mut self, server: &mut Server) {
        for (entity, at) in self.moved.drain(..) {
            let old = self.regions[entity];
            let new = GRID.region_of(at, old);
            if old != Some(new) {
                self.regions[entity] = Some(new);
                server.place(entity, old.map(room), room(new));
            }
        }
        for (client, (follows, from)) in self.viewers.iter_mut().enumerate() {
            let at = self.regions[*follows];
            if at == *from {
                continue;
            }
            let around = |region: Option<InterestRegionId>| -> Vec<InterestRegionId> {
                let region = region.into_iter();
                region
                    .flat_map(|region| GRID.around(region, DISTANCE))
                    .collect()
            };
            let (old, new) = (around(*from), around(at));
            *from = at;
            // Into new rooms first: what moves along must not be lost.
            for region in new.iter().filter(|region| !old.contains(region)) {
                server.enter(client, room(*region));
            }
            for region in old.iter().filter(|region| !new.contains(region)) {
                server.leave(client, room(*region));
            }
        }
    }
}

const fn room(region: InterestRegionId) -> u64 {
    (region.x as u32 as u64) << 32 | region.z as u32 as u64
}

fn values(body: &Body) -> Values {
    Values {
        position: body.position.to_array(),
        rotation: body.rotation.to_array(),
        velocity: body.velocity.to_array(),
    }
}

fn body(values: &Values) -> Body {
    Body {
        position: Vec3::from_array(values.position),
        rotation: Quat::from_array(values.rotation),
        velocity: Vec3::from_array(values.velocity),
    }
}

impl Subject for Naia {
    fn write(&mut self, changed: &[u32], bodies: &[Body]) {
        for &index in changed {
            let (index, body) = (index as usize, &bodies[index as usize]);
            self.server
                .write(index, body.position.to_array(), body.rotation.to_array());
            if let Some(interest) = &mut self.interest {
                interest.moved.push((index, body.position));
            }
        }
    }

    fn connect(&mut self, clients: usize) {
        for client in 0..clients {
            self.clients.push(Client::new(&self.post, client));
            if self.interest.is_none() {
                self.server.enter(client, ROOM);
            }
        }
    }

    fn server_tick(&mut self) {
        for client in 0..self.clients.len() {
            for datagram in self.network.take_up(client) {
                self.post.bring_to_server(client, datagram);
            }
        }
        if let Some(interest) = &mut self.interest {
            interest.update(&mut self.server);
        }
        self.server.update();
        for (client, datagram) in self.post.fetch_from_server() {
            self.network.send_down(client, datagram);
        }
    }

    fn client_tick(&mut self, client: usize) {
        for datagram in self.network.take_down(client) {
            self.post.bring_to_client(client, datagram);
        }
        self.clients[client].update();
        for datagram in self.post.fetch_from_client(client) {
            self.network.send_up(client, datagram);
        }
    }

    fn turn(&mut self) {
        self.network.turn();
        advance_clock();
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
        self.clients[client].count()
    }

    fn server_bodies(&self) -> Vec<Body> {
        self.server.values().iter().map(body).collect()
    }

    fn client_bodies(&self, client: usize, entities: &[u32]) -> Vec<Option<Body>> {
        let client = &self.clients[client];
        let find = |&index: &u32| client.find(self.velocities[index as usize]);
        entities
            .iter()
            .map(find)
            .map(|found| found.as_ref().map(body))
            .collect()
    }
}
