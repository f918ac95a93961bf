//! A player's inputs: numbered on the client, applied once and in order by whoever hosts the
//! player.
//!
//! Every datagram repeats what is not acknowledged yet, so a lost one costs a tick, not a round
//! trip. *Acknowledged* means applied. With two links (during a handover) the same inputs go over
//! both; the acknowledgement of the highest term counts, and inputs are kept for a while after it,
//! so that a host that took over an older state can be given them again.

mod local;
mod player;

use std::marker::PhantomData;

use bevy::{prelude::*, reflect::TypePath};
use seamless_wire::{
    hash::{Namespace, type_id},
    schema::MessageDescriptor,
};
use serde::{Serialize, de::DeserializeOwned};

pub use local::{LocalInputs, OutBox as InputOutbox};
pub(crate) use player::forget_absent;
pub use player::{DueInputs, Inboxes, InputInbox, PlayerInputs};

use crate::registry;

/// What a link keeps of inputs.
#[derive(Debug, Default)]
pub struct PeerInputs {
    /// Newest acknowledgement that was written, to send one only when it changed.
    pub(crate) told: Option<seamless_wire::packet::InputAck>,
}

/// A kind of input: what a player wants in one tick.
pub trait PlayerInput: TypePath + Serialize + DeserializeOwned + Send + Sync + 'static {}

impl<T: TypePath + Serialize + DeserializeOwned + Send + Sync + 'static> PlayerInput for T {}

/// Adds the player input to [`App`].
pub trait InputAppExt {
    /// Sends `I` from clients to whoever hosts their player. One kind per app; make it an enum or
    /// a struct. At most 128 bytes encoded.
    ///
    /// # Panics
    /// If another kind is registered, or after the app has started.
    fn player_input<I: PlayerInput>(&mut self) -> &mut Self;
}

impl InputAppExt for App {
    fn player_input<I: PlayerInput>(&mut self) -> &mut Self {
        let path = I::type_path();
        registry::builder(self).set_input(MessageDescriptor {
            id: type_id(Namespace::Input, path),
            path: path.into(),
            kind: "input".into(),
        });
        self.init_resource::<Kind<I>>()
    }
}

/// Marks the registered kind, so that using another one fails early and by name.
#[derive(Resource)]
pub(crate) struct Kind<I>(PhantomData<fn() -> I>);

impl<I> Default for Kind<I> {
    fn default() -> Self {
        Self(PhantomData)
    }
}
