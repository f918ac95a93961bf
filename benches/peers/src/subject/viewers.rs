//! Interest in the grid for subjects on bevy_replicon, as a game would write it: a [`Sight`] that
//! hears of every move, and a list of who is to see what anew.

use bevy::prelude::*;

use crate::{
    body::{Body, Position},
    interest::{Sight, Turn, followed},
};

/// Number of an entity of the server.
#[derive(Component, Clone, Copy)]
pub(super) struct Number(u32);

/// What there is to be seen, and who looks at it.
#[derive(Resource)]
pub(super) struct Viewers {
    entities: Vec<Entity>,
    /// The server's entity for each client that is connected.
    clients: Vec<Option<Entity>>,
    sight: Sight,
    turns: Vec<Turn>,
}

impl Viewers {
    /// Nobody looks yet, but there is room for so many.
    pub(super) fn new(entities: &[Entity], clients: usize) -> Self {
        Self {
            entities: entities.to_vec(),
            clients: vec![None; clients],
            sight: Sight::default(),
            turns: Vec::new(),
        }
    }

    /// All there is to be seen.
    pub(super) fn entities(&self) -> &[Entity] {
        &self.entities
    }

    /// The number that the next client has, if they come in order.
    pub(super) fn next_client(&self) -> usize {
        self.clients.iter().flatten().count()
    }

    /// A client looks from where its entity is, from the next tick on.
    pub(super) fn admit(&mut self, client: usize, entity: Entity) {
        self.clients[client] = Some(entity);
        let follows = followed(client, self.clients.len(), self.entities.len());
        self.sight
            .add_viewer(client, follows as u32, &mut self.turns);
    }

    /// Takes what is to be shown or hidden: entity, client, whether it sees it.
    pub(super) fn take_turns(&mut self) -> Vec<(Entity, Entity, bool)> {
        let (entities, clients) = (&self.entities, &self.clients);
        let turn = |turn: Turn| {
            let entity = entities[turn.entity as usize];
            Some((entity, clients[turn.client]?, turn.sees))
        };
        self.turns.drain(..).filter_map(turn).collect()
    }
}

/// Spawns the server's entities with whatever has them replicated, and numbers them if they are
/// looked at.
pub(super) fn spawn_all<B: Bundle>(
    world: &mut World,
    bodies: &[Body],
    numbered: bool,
    replicated: impl Fn() -> B,
) -> Vec<Entity> {
    let spawn = |(index, body): (usize, &Body)| {
        let mut entity = world.spawn((replicated(), body.bundle()));
        if numbered {
            entity.insert(Number(index as u32));
        }
        entity.id()
    };
    bodies.iter().enumerate().map(spawn).collect()
}

/// Looks at everybody who has moved.
pub(super) fn follow_movement(
    moved: Query<(&Number, &Position), Changed<Position>>,
    mut viewers: ResMut<Viewers>,
) {
    let Viewers { sight, turns, .. } = &mut *viewers;
    for (number, position) in &moved {
        sight.moved(number.0, position.0, turns);
    }
}
