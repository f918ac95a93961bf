//! Several nodes in one process on virtual time.
//!
//! [`SimMesh`] drives real [`NodeCore`](crate::protocol::NodeCore)s over a real
//! [`MemoryDirectory`](crate::directory::MemoryDirectory) and a network that loses, delays,
//! doubles and reorders, cuts links, kills, restarts and pauses nodes. The same seed and the same
//! calls give the same run. Without faults it is an in-process mesh for tests of the game side:
//! each [`SimNode`] is a [`MeshLink`](crate::link::MeshLink), and nothing happens until somebody
//! calls [`SimMesh::advance`].
//!
//! * [`mesh`]: the handles.
//! * [`fate`]: what may become of messages and operations.
//! * [`rng`]: random numbers.

pub mod fate;
pub mod mesh;
pub mod rng;
mod world;

pub use fate::{DirectoryFate, Envelope, Fate, Network, Payload};
pub use mesh::{SimConfig, SimMesh, SimNode, SimStager};
pub use rng::Rng;
