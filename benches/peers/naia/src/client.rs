//! A client's app.

use std::{collections::HashMap, time::Duration};

use bevy_app::App;
use bevy_ecs::{
    entity::Entity,
    system::RunSystemOnce,
    world::{EntityRef, World},
};
use naia_bevy_client::{
    Client as Naia, ClientConfig, DefaultClientTag, DefaultPlugin, JitterBufferType,
};

use crate::{
    post::Post,
    protocol::{Position, Rotation, Values, Velocity, connection, protocol},
    sockets::ClientSocket,
};

/// A client.
pub struct Client {
    app: App,
    /// Its entities by the bits of their velocity, which never changes and is another for each.
    by_velocity: HashMap<[u32; 3], Entity>,
}

impl Client {
    /// A client that asks to be let in.
    ///
    /// # Panics
    /// If naia's systems cannot run, which they can.
    #[must_use]
    pub fn new(post: &Post, client: usize) -> Self {
        let mut app = App::new();
        let config = ClientConfig {
            connection: connection(),
            // Nobody else measures the network before it joins.
            handshake_pings: 1,
            send_handshake_interval: Duration::from_millis(30),
            // Everybody else applies what has come at once.
            jitter_buffer: JitterBufferType::Bypass,
            ..ClientConfig::default()
        };
        app.add_plugins(DefaultPlugin::new(config, protocol()));
        app.finish();
        app.cleanup();
        let socket = ClientSocket {
            post: post.clone(),
            client,
        };
        let connect = move |mut naia: Naia<DefaultClientTag>| {
            let socket = ClientSocket {
                post: socket.post.clone(),
                client: socket.client,
            };
            naia.connect(socket);
        };
        app.world_mut()
            .run_system_once(connect)
            .expect("the client is there");
        Self {
            app,
            by_velocity: HashMap::new(),
        }
    }

    /// One frame.
    pub fn update(&mut self) {
        self.app.update();
    }

    /// Number of whole entities.
    pub fn count(&mut self) -> usize {
        let world = self.app.world_mut();
        let mut whole = world.query::<(Entity, &Position, &Rotation, &Velocity)>();
        self.by_velocity = whole
            .iter(world)
            .map(|(entity, _, _, velocity)| (bits(velocity.value.to_array()), entity))
            .collect();
        self.by_velocity.len()
    }

    /// What it has of the entity with this velocity, if it was there at the last
    /// [`count`](Self::count).
    #[must_use]
    pub fn find(&self, velocity: [f32; 3]) -> Option<Values> {
        let world: &World = self.app.world();
        let entity = *self.by_velocity.get(&bits(velocity))?;
        read(world.get_entity(entity).ok()?)
    }
}

fn bits(vector: [f32; 3]) -> [u32; 3] {
    vector.map(f32::to_bits)
}

/// What an entity has.
pub(crate) fn read(entity: EntityRef<'_>) -> Option<Values> {
    Some(Values {
        position: entity.get::<Position>()?.value.to_array(),
        rotation: entity.get::<Rotation>()?.value.to_array(),
        velocity: entity.get::<Velocity>()?.value.to_array(),
    })
}
