//! What is replicated: three components of plain floats, the same for every subject.

use bevy::prelude::*;
use serde::{Deserialize, Serialize};

/// Where it is, in metres.
#[derive(Component, TypePath, Serialize, Deserialize, Clone, Copy, PartialEq, Debug)]
pub(crate) struct Position(pub(crate) Vec3);

/// How it is turned.
#[derive(Component, TypePath, Serialize, Deserialize, Clone, Copy, PartialEq, Debug)]
pub(crate) struct Rotation(pub(crate) Quat);

/// How fast it was when it began, in metres a second. It does not change.
#[derive(Component, TypePath, Serialize, Deserialize, Clone, Copy, PartialEq, Debug)]
pub(crate) struct Velocity(pub(crate) Vec3);

/// The values of one entity.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Body {
    pub(crate) position: Vec3,
    pub(crate) rotation: Quat,
    pub(crate) velocity: Vec3,
}

impl Body {
    /// As components.
    pub(crate) const fn bundle(&self) -> (Position, Rotation, Velocity) {
        (
            Position(self.position),
            Rotation(self.rotation),
            Velocity(self.velocity),
        )
    }

    /// Reads an entity that has all three.
    pub(crate) fn read(world: &World, entity: Entity) -> Option<Self> {
        let entity = world.get_entity(entity).ok()?;
        Some(Self {
            position: entity.get::<Position>()?.0,
            rotation: entity.get::<Rotation>()?.0,
            velocity: entity.get::<Velocity>()?.0,
        })
    }

    /// Writes position and rotation, so that change detection sees both.
    pub(crate) fn write(&self, world: &mut World, entity: Entity) {
        let mut entity = world.entity_mut(entity);
        if let Some(mut position) = entity.get_mut::<Position>() {
            position.0 = self.position;
        }
        if let Some(mut rotation) = entity.get_mut::<Rotation>() {
            rotation.0 = self.rotation;
        }
    }
}
