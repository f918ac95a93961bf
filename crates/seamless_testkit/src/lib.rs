//! Real apps with the real engine on virtual time, over links in memory with delay, loss,
//! duplication and reordering. Everything follows from a seed: a failing one reproduces bit for
//! bit. For our tests and for yours.
//!
//! ```
//! use bevy::prelude::*;
//! use seamless_replication::{ReplicateAppExt, Replicated};
//! use seamless_testkit::{Cluster, Weather};
//! # use bevy::reflect::TypePath;
//! # use serde::{Deserialize, Serialize};
//!
//! #[derive(Component, TypePath, Serialize, Deserialize, PartialEq, Debug)]
//! struct Health(u32);
//!
//! let mut cluster = Cluster::new(42, |app| {
//!     app.replicate::<Health>();
//! });
//! cluster.set_weather(Weather::lossy(0.3));
//! let server = cluster.server();
//! let client = cluster.client(server);
//! cluster.world(server).spawn((Replicated, Health(7)));
//! cluster.run_until("the client has it", 300, |cluster| {
//!     let mut health = cluster.world(client).query::<&Health>();
//!     health.iter(cluster.world(client)).any(|health| *health == Health(7))
//! });
//! ```

mod cluster;
mod mesh;
mod rng;
mod wire;

pub use cluster::{AppId, Cluster, Weather};
pub use mesh::{MeshCluster, NodeSetup};
pub use rng::Rng;
pub use wire::{Fate, Parcel, Way, Wire};
