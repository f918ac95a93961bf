//! Messages that are triggered on the other side, for observers.
//!
//! They are messages in all else: the same frames, the same bounds, the same waiting for entities.

use bevy::prelude::*;

use super::{FromPeer, Target, ToPeers};

/// Sends events through [`Commands`]. The type is registered with
/// [`net_event`](super::MessageAppExt::net_event); another one is not sent, and logged by Bevy.
///
/// They leave with the tick in which the commands are applied, and are triggered there as
/// `On<FromPeer<E>>`, which names the sender; in the order in which they were sent if they are
/// reliable. What is too large is [`MessageNotSent`](super::MessageNotSent).
pub trait NetEventCommandsExt {
    /// On a server: triggers the event on these clients.
    fn server_trigger<E: Send + Sync + 'static>(&mut self, event: ToPeers<E>);

    /// On a client: triggers the event on its server.
    fn client_trigger<E: Send + Sync + 'static>(&mut self, event: E);
}

impl NetEventCommandsExt for Commands<'_, '_> {
    fn server_trigger<E: Send + Sync + 'static>(&mut self, event: ToPeers<E>) {
        self.write_message(event);
    }

    fn client_trigger<E: Send + Sync + 'static>(&mut self, event: E) {
        self.write_message(ToPeers {
            to: Target::Server,
            message: event,
        });
    }
}

/// Triggers what came in.
pub(super) fn trigger<E: Clone + Send + Sync + 'static>(
    mut commands: Commands,
    mut received: MessageReader<FromPeer<E>>,
) {
    for event in received.read() {
        commands.trigger(event.clone());
    }
}
