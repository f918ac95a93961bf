//! One continuous Bevy world on as many server processes as it needs.
//!
//! * **Replication**: snapshots and deltas of registered components, server to client and client
//!   to server, with one engine ([`replication`]).
//! * **Delegation**: authority over an entity is lent to a client and taken back ([`authority`]).
//! * **Handover**: players, with what they carry, cross from one server process to the next without
//!   a loading screen, a duplicate or a lost input, and survive a server that is killed
//!   ([`handover`], feature `mesh`).
//! * **Keeping it**: worlds in files ([`replication::snapshot`]), sessions recorded and played back
//!   ([`replication::recording`]).
//! * **Seeing it**: an egui panel ([`overlay`](seamless_overlay), feature `overlay`).
//!
//! # Quickstart
//!
//! The same components are registered on both sides; the server spawns, the client is told:
//!
//! ```no_run
#![doc = include_str!("../examples/hello_replication.rs")]
//! ```
//!
//! # Features
//!
//! | Feature | Default | What it adds |
//! |---|---|---|
//! | `mesh` | yes | nodes, borders, handover, the node service |
//! | `sqlite` | yes | the directory in an SQLite file: many nodes on one machine, nothing to start |
//! | `zstd` | yes | snapshots, save files and recordings are compressed with Zstandard |
//! | `overlay` | no | the egui panel and its `bevy_egui` plugin |
//! | `window` | no | a window, for the examples that show something |
//!
//! Nothing in the default features pulls in rendering.

use std::{
    hash::{BuildHasher, RandomState},
    ops::RangeInclusive,
};

use bevy::{app::PluginGroupBuilder, prelude::*};

pub use seamless_authority as authority;
#[cfg(feature = "mesh")]
pub use seamless_handover as handover;
#[cfg(feature = "mesh")]
pub use seamless_mesh as mesh;
#[cfg(feature = "overlay")]
pub use seamless_overlay as overlay;
pub use seamless_replication as replication;
pub use seamless_transport as transport;
pub use seamless_wire as wire;

use seamless_authority::AuthorityPlugin;
use seamless_replication::ReplicationPlugin;
use seamless_transport::TransportPlugin;

/// Blocks of names for servers that have none from a directory, which counts from the lowest.
const OWN_BLOCKS: RangeInclusive<u32> = 1 << 23..=wire::GlobalEntity::MAX_BLOCK;

/// Everything a game needs, server, client or both in one app.
///
/// Add it after `MinimalPlugins` or `DefaultPlugins` and before registering components. A server
/// then inserts a [`ServerEndpoint`](transport::ServerEndpoint), a client asks for a link with
/// [`ClientEndpoints`](transport::ClientEndpoints).
pub struct SeamlessPlugins {
    /// Ticks per second, the same on all peers. 30 by default.
    pub tick_rate: u16,
    /// Whether this app names entities by itself, in this block. `None` for clients, which are lent
    /// names, and for nodes of a mesh, which get a block from the directory.
    pub names: Option<u32>,
}

impl SeamlessPlugins {
    /// For a server without a mesh. Its block of names is drawn at random: a client may come from
    /// another server, or from this one before it was started anew, and still have entities with names
    /// that it was lent there.
    #[must_use]
    pub fn server() -> Self {
        let drawn = RandomState::new().hash_one("names") as u32;
        Self {
            tick_rate: 30,
            names: Some(OWN_BLOCKS.start() + drawn % OWN_BLOCKS.clone().count() as u32),
        }
    }

    /// For a client, with or without a mesh.
    #[must_use]
    pub const fn client() -> Self {
        Self {
            tick_rate: 30,
            names: None,
        }
    }

    /// For a node of a mesh: add a
    /// [`MeshNodePlugin`](seamless_handover::node::MeshNodePlugin) too.
    #[cfg(feature = "mesh")]
    #[must_use]
    pub const fn node() -> Self {
        Self {
            tick_rate: 30,
            names: None,
        }
    }

    /// At this many ticks per second, 1 to 1000.
    #[must_use]
    pub const fn with_tick_rate(mut self, tick_rate: u16) -> Self {
        self.tick_rate = tick_rate;
        self
    }
}

impl PluginGroup for SeamlessPlugins {
    fn build(self) -> PluginGroupBuilder {
        PluginGroupBuilder::start::<Self>()
            .add(TransportPlugin::default())
            .add(ReplicationPlugin {
                tick_rate: self.tick_rate,
                block: self.names,
            })
            .add(AuthorityPlugin)
    }
}

/// What most systems need.
pub mod prelude {
    pub use crate::SeamlessPlugins;
    pub use seamless_authority::{
        AuthorityCommandsExt, AuthorityDenied, AuthorityGranted, AuthorityLost, AuthorityView,
        Delegated, Granted,
    };
    #[cfg(feature = "mesh")]
    pub use seamless_handover::{
        client::{MeshClient, MeshClientPlugin},
        geometry::{BorderRules, CellGrid},
        group::RidesOn,
        node::{
            CellOpened, HandoverRoot, MeshNodeConfig, MeshNodePlugin, MeshView, PlayerLogin,
            StateMissing,
        },
    };
    pub use seamless_replication::{
        Audience, Authority, Frozen, Hosted, NetClock, NetSlot, PeerJoined, PeerLeft, Peers,
        PrespawnPlugin, Prespawned, Quantize, Remote, ReplicateAppExt, Replicated,
        ReplicationStats, Slots, TransformPrecision,
        inputs::{InputAppExt, LocalInputs, PlayerInputs},
        interest::{InterestAppExt, ToolScopeId, ToolScopes, View},
        listen::ListenPlugin,
        messages::{
            Delivery, Direction, FromPeer, MessageAppExt, NetEventCommandsExt, Target, ToPeers,
        },
    };
    pub use seamless_transport::{ClientConfig, ClientEndpoints, ServerConfig, ServerEndpoint};
    pub use seamless_wire::{CellId, GlobalEntity, PeerId};
}

/// The README's code, compiled.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;
