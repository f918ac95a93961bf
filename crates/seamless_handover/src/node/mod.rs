//! A node: an app that hosts cells of the world.

mod border;
mod checkpoint;
mod door;
mod events;
mod plugin;
mod state;

pub(crate) use plugin::register_shared;
pub use plugin::{MeshNodeConfig, MeshNodePlugin, Stored, stager};
pub use state::{
    CellOpened, Crossing, GroupActivated, GroupDeparted, GroupFrozen, HandoverCounters, HandoverRoot, MeshView,
    PlayerLogin, PlayerRetired, Tombstone,
};
