//! The server's app.

use std::collections::HashMap;

use bevy_app::{App, Update};
use bevy_ecs::{
    entity::Entity,
    message::MessageReader,
    prelude::{Commands, IntoScheduleConfigs, Resource},
    system::{ResMut, RunSystemOnce},
};
use naia_bevy_server::{
    CommandsExt, HandleWorldEvents, Plugin, RoomKey, Server as Naia, ServerConfig, UserKey,
    events::ConnectEvent, listen_on_app,
};

use crate::{
    post::{Post, client_at},
    protocol::{Position, Rotation, Values, Velocity, connection, protocol},
    sockets::ServerSocket,
};

/// A server with a world.
pub struct Server {
    app: App,
    entities: Vec<Entity>,
}

/// Rooms by the number that the caller gives them, and users by client.
#[derive(Resource, Default)]
struct Rooms {
    rooms: HashMap<u64, RoomKey>,
    users: HashMap<usize, UserKey>,
    /// Where users go as soon as they are there.
    wanted: Vec<Move>,
}

/// A change of who is in which room.
#[derive(Clone, Copy)]
enum Move {
    Enter(usize, u64),
    Leave(usize, u64),
    Place(Entity, u64),
    Remove(Entity, u64),
}

impl Server {
    /// A server with these entities in no room.
    ///
    /// # Panics
    /// If naia's systems cannot run, which they can.
    #[must_use]
    pub fn new(post: &Post, values: &[Values]) -> Self {
        let mut app = App::new();
        let config = ServerConfig {
            require_auth: false,
            connection: connection(),
            ..ServerConfig::default()
        };
        app.add_plugins(Plugin::new(config, protocol()))
            .init_resource::<Rooms>()
            .add_systems(
                Update,
                (welcome, change_rooms).chain().in_set(HandleWorldEvents),
            );
        app.finish();
        app.cleanup();
        listen_on_app(&mut app, ServerSocket(post.clone()));
        let values = values.to_vec();
        let spawn = move |mut commands: Commands, mut naia: Naia| -> Vec<Entity> {
            let spawn = |value: &Values| {
                let mut entity = commands.spawn_empty();
                let id = entity.id();
                entity.enable_replication(&mut naia).insert((
                    Position::new_complete(value.position.into()),
                    Rotation::new_complete(value.rotation.into()),
                    Velocity::new_complete(value.velocity.into()),
                ));
                id
            };
            values.iter().map(spawn).collect()
        };
        let entities = app
            .world_mut()
            .run_system_once(spawn)
            .expect("the server is there");
        Self { app, entities }
    }

    /// Writes position and rotation of an entity.
    pub fn write(&mut self, entity: usize, position: [f32; 3], rotation: [f32; 4]) {
        let mut entity = self.app.world_mut().entity_mut(self.entities[entity]);
        if let Some(mut component) = entity.get_mut::<Position>() {
            *component.value = position.into();
        }
        if let Some(mut component) = entity.get_mut::<Rotation>() {
            *component.value = rotation.into();
        }
    }

    /// Lets a client see a room's entities from the next tick on, or as soon as it is connected.
    pub fn enter(&mut self, client: usize, room: u64) {
        self.want(Move::Enter(client, room));
    }

    /// No more.
    pub fn leave(&mut self, client: usize, room: u64) {
        self.want(Move::Leave(client, room));
    }

    /// Moves an entity from room to room.
    pub fn place(&mut self, entity: usize, from: Option<u64>, to: u64) {
        let entity = self.entities[entity];
        // Into the new room first: who sees both must not lose it.
        self.want(Move::Place(entity, to));
        if let Some(from) = from {
            self.want(Move::Remove(entity, from));
        }
    }

    fn want(&mut self, change: Move) {
        self.app
            .world_mut()
            .resource_mut::<Rooms>()
            .wanted
            .push(change);
    }

    /// One frame.
    pub fn update(&mut self) {
        self.app.update();
    }

    /// What all entities have.
    #[must_use]
    pub fn values(&self) -> Vec<Values> {
        let world = self.app.world();
        let read = |&entity: &Entity| crate::client::read(world.entity(entity));
        self.entities.iter().filter_map(read).collect()
    }
}

fn welcome(mut connected: MessageReader<ConnectEvent>, naia: Naia, mut rooms: ResMut<Rooms>) {
    for ConnectEvent(user) in connected.read() {
        let client = client_at(&naia.user(user).address());
        rooms.users.insert(client, *user);
    }
}

fn change_rooms(mut rooms: ResMut<Rooms>, mut naia: Naia) {
    let rooms = &mut *rooms;
    let mut room = |number: u64, naia: &mut Naia| {
        *rooms
            .rooms
            .entry(number)
            .or_insert_with(|| naia.create_room().key())
    };
    let users = &rooms.users;
    rooms.wanted.retain(|change| {
        match *change {
            Move::Enter(client, number) | Move::Leave(client, number) => {
                let Some(user) = users.get(&client) else {
                    // Not connected yet.
                    return true;
                };
                let key = room(number, &mut naia);
                let mut room = naia.room_mut(&key);
                match change {
                    Move::Enter(..) => room.add_user(user),
                    _ => room.remove_user(user),
                };
            }
            Move::Place(entity, number) => {
                let key = room(number, &mut naia);
                naia.room_mut(&key).add_entity(&entity);
            }
            Move::Remove(entity, number) => {
                let key = room(number, &mut naia);
                naia.room_mut(&key).remove_entity(&entity);
            }
        }
        false
    });
}
