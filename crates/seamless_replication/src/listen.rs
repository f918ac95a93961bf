//! A server with a player of its own: host and client in one app.
//!
//! There is no link between them, and one world. What the client half of a game says to its server
//! arrives as from any client: messages and events as [`FromPeer`](crate::messages::FromPeer) under
//! the local player's name, inputs through [`PlayerInputs`](crate::inputs::PlayerInputs). What the
//! server half says to clients arrives as well. It is encoded and decoded on the way, so that what
//! does not work over a link does not work here, and is read in the next frame.
//!
//! What the server hosts *is* what the local player sees: nothing is replicated to it, and its
//! entities have `Hosted` where those of a client have `Remote`. It has no
//! [`Peer`](crate::Peer), so no interest. Authority it asks for like any client, of the entities
//! that the server hosts: there are its views and events, too.

use bevy::prelude::*;
use seamless_transport::LinkId;
use seamless_wire::PeerId;

use crate::{
    clock::tick_is_fresh,
    inputs::{Inboxes, InputOutbox},
    peer::{PeerJoined, Peers},
    plugin::ReplicationSystems,
    send::PeerCaughtUp,
};

/// The local player's link, as the server half sees it. In no table of links.
pub const LOCAL_CLIENT: LinkId = LinkId {
    index: u16::MAX,
    generation: u16::MAX,
};

/// The local player's link, as the client half sees it: what came over it, the server half sent.
/// In no table of links.
pub const LOCAL_SERVER: LinkId = LinkId {
    index: u16::MAX,
    generation: u16::MAX - 1,
};

/// Makes a server a listen server. Add it beside the plugins of a server, after them.
///
/// [`Peers::me`] is the local player then, [`Peers::is_local`] tells it from the others, and
/// [`PeerJoined`] and [`PeerCaughtUp`] are written for it in `Startup`. No client is let in under its name.
#[derive(Clone, Copy, Debug)]
pub struct ListenPlugin {
    /// The local player's name. 1 by default.
    pub player: PeerId,
}

impl Default for ListenPlugin {
    fn default() -> Self {
        Self { player: PeerId(1) }
    }
}

impl Plugin for ListenPlugin {
    fn build(&self, app: &mut App) {
        let player = self.player;
        app.init_resource::<Peers>();
        app.world_mut().resource_mut::<Peers>().set_local(player);
        let join = move |mut joined: MessageWriter<PeerJoined>,
                         mut caught_up: MessageWriter<PeerCaughtUp>| {
            let (link, peer) = (LOCAL_CLIENT, player);
            joined.write(PeerJoined {
                link,
                peer,
                spectator: false,
                resumed: false,
            });
            caught_up.write(PeerCaughtUp { link, peer });
        };
        app.add_systems(Startup, join).add_systems(
            FixedPostUpdate,
            hand_inputs
                .in_set(ReplicationSystems::Messages)
                .run_if(tick_is_fresh),
        );
    }
}

/// Hands the local player's inputs to its host, for the next tick. Once a tick; a copy of those
/// that were not applied.
fn hand_inputs(peers: Res<Peers>, mut out: ResMut<InputOutbox>, mut inboxes: ResMut<Inboxes>) {
    let Some(player) = peers.local() else { return };
    out.ack(inboxes.entry(player).ack());
    if let Some(batch) = out.batch() {
        inboxes.arrive(player, batch);
    }
}
