//! A node: an app that hosts cells of the world.

mod arrive;
mod border;
mod cells;
mod checkpoint;
mod depart;
mod door;
mod events;
mod load;
mod plugin;
mod state;
mod terms;

pub(crate) use plugin::register_shared;
pub use plugin::{MeshNodeConfig, MeshNodePlugin, Stored, stager};
pub use state::{
    CellClosed, CellOpened, Crossing, GroupActivated, GroupDeparted, GroupFrozen, HandoverCounters,
    HandoverRoot, MeshView, PlayerLogin, PlayerRetired, StateMissing, Tombstone,
};
