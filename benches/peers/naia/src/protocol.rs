//! Components and settings, the same on both sides.

use std::time::Duration;

use bevy_ecs::component::Component;
use naia_bevy_shared::{Property, Protocol, Replicate, Serde};
use naia_shared::{BandwidthConfig, ConnectionConfig};

/// Length of a tick. naia's test clock counts whole milliseconds.
pub const TICK_MILLIS: u32 = 33;

/// Position, rotation and velocity of an entity.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Values {
    /// In metres.
    pub position: [f32; 3],
    /// A quaternion.
    pub rotation: [f32; 4],
    /// In metres a second.
    pub velocity: [f32; 3],
}

#[derive(Serde, Clone, PartialEq, Debug)]
pub(crate) struct Vector3 {
    x: f32,
    y: f32,
    z: f32,
}

#[derive(Serde, Clone, PartialEq, Debug)]
pub(crate) struct Vector4 {
    x: f32,
    y: f32,
    z: f32,
    w: f32,
}

impl From<[f32; 3]> for Vector3 {
    fn from([x, y, z]: [f32; 3]) -> Self {
        Self { x, y, z }
    }
}

impl Vector3 {
    pub(crate) const fn to_array(&self) -> [f32; 3] {
        [self.x, self.y, self.z]
    }
}

impl From<[f32; 4]> for Vector4 {
    fn from([x, y, z, w]: [f32; 4]) -> Self {
        Self { x, y, z, w }
    }
}

impl Vector4 {
    pub(crate) const fn to_array(&self) -> [f32; 4] {
        [self.x, self.y, self.z, self.w]
    }
}

/// One property a component: all of its floats change together, so one bit says that they did.
#[derive(Component, Replicate)]
pub(crate) struct Position {
    pub(crate) value: Property<Vector3>,
}

#[derive(Component, Replicate)]
pub(crate) struct Rotation {
    pub(crate) value: Property<Vector4>,
}

#[derive(Component, Replicate)]
pub(crate) struct Velocity {
    pub(crate) value: Property<Vector3>,
}

pub(crate) fn protocol() -> Protocol {
    Protocol::builder()
        .tick_interval(Duration::from_millis(u64::from(TICK_MILLIS)))
        .add_component::<Position>()
        .add_component::<Rotation>()
        .add_component::<Velocity>()
        .build()
}

/// No limit of bandwidth, as for all subjects; no measuring of it.
pub(crate) fn connection() -> ConnectionConfig {
    ConnectionConfig {
        bandwidth_measure_duration: None,
        bandwidth: BandwidthConfig {
            target_bytes_per_sec: u32::MAX,
        },
        ..ConnectionConfig::default()
    }
}
