//! One world on many servers, in the ECS.
//!
//! A *node* hosts cells of the world ([`node::MeshNodePlugin`]). When a player comes near a border,
//! the node asks the neighbour for room and tells the player's client to open a second link there,
//! so that it sees both sides. When the player is over the border for good, its group (itself, its
//! children, what it carries) is frozen at the end of a tick and handed to the mesh, which decides
//! by one compare-and-swap whose it is. The neighbour goes on with the next tick and the next
//! input; the client's other link becomes its first. If anything fails before that, the player
//! plays on where it was.
//!
//! A *client* ([`client::MeshClientPlugin`]) needs to know some node's address and its own name.
//!
//! # Layout
//!
//! * [`geometry`]: cells, borders, distances.
//! * [`group`]: what crosses together.
//! * [`port`]: the door to the mesh protocol.
//! * [`node`]: the server's side.
//! * [`client`]: the client's side.

pub mod client;
pub mod geometry;
pub mod group;
pub mod node;
pub mod port;
#[cfg(feature = "http")]
pub mod service;

use bevy::prelude::*;

/// What nodes and clients have in common. Added by both.
pub(crate) struct SharedPlugin;

/// Adds it, if nobody has.
pub(crate) fn share(app: &mut App) {
    if !app.is_plugin_added::<SharedPlugin>() {
        app.add_plugins(SharedPlugin);
    }
}

impl Plugin for SharedPlugin {
    fn build(&self, app: &mut App) {
        node::register_shared(app);
    }
}
