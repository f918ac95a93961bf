//! Empty entities that wait for who is to move in.

use bevy::{ecs::entity::EntityHashMap, platform::collections::HashMap, prelude::*};
use seamless_wire::{GlobalEntity, PeerId};

use crate::names::NameHasher;

/// Most names that can wait for their entity; further ones become [`Entity::PLACEHOLDER`].
const MAX_RESERVED: usize = 1 << 16;

/// Most of them that one client's components can refer to.
pub(super) const MAX_RESERVED_BY_CLIENT: usize = 1024;

/// Names that are not here, each with the entity that is kept for it.
#[derive(Default)]
pub(super) struct Reserved {
    /// And the client that referred to it first, if it was one.
    entities: HashMap<GlobalEntity, (Entity, Option<PeerId>), NameHasher>,
    names: EntityHashMap<GlobalEntity>,
    /// How many each client has.
    by_client: HashMap<PeerId, usize>,
}

impl Reserved {
    /// Whether `client`, or somebody who is none, may have another.
    pub(super) fn has_room(&self, client: Option<PeerId>) -> bool {
        let of_client = client.and_then(|client| self.by_client.get(&client));
        self.entities.len() < MAX_RESERVED
            && of_client.is_none_or(|&count| count < MAX_RESERVED_BY_CLIENT)
    }

    pub(super) fn entity(&self, global: GlobalEntity) -> Option<Entity> {
        self.entities.get(&global).map(|(entity, _)| *entity)
    }

    pub(super) fn name(&self, entity: Entity) -> Option<GlobalEntity> {
        self.names.get(&entity).copied()
    }

    pub(super) fn insert(&mut self, global: GlobalEntity, entity: Entity, client: Option<PeerId>) {
        self.claim(global);
        self.entities.insert(global, (entity, client));
        self.names.insert(entity, global);
        if let Some(client) = client {
            *self.by_client.entry(client).or_default() += 1;
        }
    }

    /// Takes the entity that was kept for a name.
    pub(super) fn claim(&mut self, global: GlobalEntity) -> Option<Entity> {
        let (entity, client) = self.entities.remove(&global)?;
        self.forget(entity, client);
        Some(entity)
    }

    fn forget(&mut self, entity: Entity, client: Option<PeerId>) {
        self.names.remove(&entity);
        if let Some(client) = client
            && let Some(count) = self.by_client.get_mut(&client)
        {
            *count -= 1;
            if *count == 0 {
                self.by_client.remove(&client);
            }
        }
    }

    /// Keeps those that `wanted` says so of. Gives the others, in order.
    pub(super) fn retain(&mut self, wanted: impl Fn(GlobalEntity) -> bool) -> Vec<Entity> {
        let others = self.entities.extract_if(|&global, _| !wanted(global));
        let others: Vec<(Entity, Option<PeerId>)> = others.map(|(_, other)| other).collect();
        let mut gone = Vec::with_capacity(others.len());
        for (entity, client) in others {
            self.forget(entity, client);
            gone.push(entity);
        }
        gone.sort_unstable();
        gone
    }
}
