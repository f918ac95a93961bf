//! Typed messages between peers.
//!
//! Write a [`ToPeers<M>`] and the other side reads a [`FromPeer<M>`]: both are Bevy messages.
//! With [`net_event`](MessageAppExt::net_event) the other side's observers see an
//! `On<FromPeer<E>>`, too. Entity references inside are translated. A message that speaks of an
//! entity waits until that is there, in the state in which the sender had it or a later one, at most
//! a second; then it is delivered flagged.

mod events;
mod inbox;
mod mentions;
mod outbox;
mod section;

use bevy::{ecs::entity::EntityMapper, prelude::*, reflect::TypePath};
use seamless_transport::LinkId;
use seamless_wire::{
    PeerId, Tick, WireError,
    hash::{Namespace, type_id},
    schema::MessageDescriptor,
};
use serde::{Serialize, de::DeserializeOwned};

pub use events::NetEventCommandsExt;
pub(crate) use inbox::{Incoming, WaitingMessages, deliver_waiting, receive};
use outbox::{Held, send};
pub(crate) use section::{Spoken, read_section, write_section};

use crate::{plugin::ReplicationSystems, registry};

/// Which way a message goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    /// From clients to their server.
    ToServer,
    /// From the server to clients.
    ToClients,
    /// Both.
    Both,
}

/// How a message goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Delivery {
    /// Once, and in the order in which messages of its type were sent to a peer. Up to
    /// [`MAX_RELIABLE`] bytes.
    Reliable,
    /// Perhaps, once at most, in any order. Up to [`MAX_UNRELIABLE`] bytes.
    Unreliable,
}

/// Whom a message goes to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Target {
    /// The server that plays, from a client.
    Server,
    /// All clients, from a server.
    All,
    /// One client.
    Peer(PeerId),
    /// All clients but one.
    AllExcept(PeerId),
}

/// A message on its way out.
#[derive(Message, Clone, Debug)]
pub struct ToPeers<M: Send + Sync + 'static> {
    /// To whom.
    pub to: Target,
    /// What.
    pub message: M,
}

/// A message that the game wrote and that went to nobody, because it is too large or does not
/// encode. Written in the tick in which it would have been sent, and counted in
/// [`ReplicationStats::messages_not_sent`](crate::ReplicationStats::messages_not_sent).
#[derive(Message, Clone, Debug)]
pub struct MessageNotSent {
    /// Path of its type.
    pub path: &'static str,
    /// To whom it would have gone.
    pub to: Target,
    /// Why: [`WireError::OutOfBounds`] with its bytes if it is too large.
    pub error: WireError,
}

/// A message that came in. Also the event that observers of a
/// [`net_event`](MessageAppExt::net_event) see.
#[derive(Message, Event, Clone, Debug)]
pub struct FromPeer<M: Send + Sync + 'static> {
    /// The client that sent it, on a server; our own name on a client.
    pub peer: PeerId,
    /// The link it came over.
    pub link: LinkId,
    /// The sender's tick in which it was sent.
    pub tick: Tick,
    /// What.
    pub message: M,
    /// Whether it speaks of an entity that did not come in time; the reference is then
    /// [`Entity::PLACEHOLDER`]. Or of a state of one that did not.
    pub unresolved: bool,
}

/// What can be sent. Give it `#[entities]` by deriving [`MapEntities`](bevy::ecs::entity::MapEntities).
pub trait NetMessage:
    TypePath
    + Clone
    + Serialize
    + DeserializeOwned
    + bevy::ecs::entity::MapEntities
    + Send
    + Sync
    + 'static
{
}

impl<M> NetMessage for M where
    M: TypePath
        + Clone
        + Serialize
        + DeserializeOwned
        + bevy::ecs::entity::MapEntities
        + Send
        + Sync
        + 'static
{
}

/// Adds messages to [`App`].
pub trait MessageAppExt {
    /// Sends `M` in this direction and manner.
    ///
    /// # Panics
    /// If it is registered already, or after the app has started.
    fn net_message<M: NetMessage>(&mut self, direction: Direction, delivery: Delivery)
    -> &mut Self;

    /// Sends `E` in this direction and manner, and triggers `On<FromPeer<E>>` where it arrives: in
    /// `PreUpdate`, in [`ReplicationSystems::React`], after all state of the frame was applied.
    /// [`NetEventCommandsExt`] sends it. A [`MessageReader`] of [`FromPeer<E>`] reads it as well.
    ///
    /// # Panics
    /// As [`net_message`](Self::net_message).
    fn net_event<E: NetMessage>(&mut self, direction: Direction, delivery: Delivery) -> &mut Self;
}

impl MessageAppExt for App {
    fn net_message<M: NetMessage>(
        &mut self,
        direction: Direction,
        delivery: Delivery,
    ) -> &mut Self {
        let path = M::type_path();
        let id = type_id(Namespace::Message, path);
        registry::builder(self).add_message(MessageDescriptor {
            id,
            path: path.into(),
            kind: format!("{direction:?}, {delivery:?}").to_lowercase(),
        });
        self.add_message::<ToPeers<M>>()
            .add_message::<FromPeer<M>>();
        self.init_resource::<inbox::Decoders>();
        self.world_mut()
            .resource_mut::<inbox::Decoders>()
            .add::<M>(id, direction, delivery);
        self.add_systems(
            FixedPostUpdate,
            (move |world: &mut World, held: Local<Held<M>>| {
                send::<M>(world, held, id, (direction, delivery));
            })
            .in_set(ReplicationSystems::Messages),
        )
    }

    fn net_event<E: NetMessage>(&mut self, direction: Direction, delivery: Delivery) -> &mut Self {
        self.net_message::<E>(direction, delivery).add_systems(
            PreUpdate,
            events::trigger::<E>.in_set(ReplicationSystems::React),
        )
    }
}

/// Translates references on the way in and notes what is missing.
struct Resolve<'a> {
    slots: &'a crate::Slots,
    /// Whether the message is from this app's own other half.
    local: bool,
    missing: bool,
}

impl EntityMapper for Resolve<'_> {
    fn get_mapped(&mut self, source: Entity) -> Entity {
        let global = seamless_wire::GlobalEntity::from_bits(source.to_bits());
        match global.map(|global| self.slots.entity(global)) {
            Some(Some(entity)) => entity,
            Some(None) => {
                self.missing = true;
                // A listen server's own player hears of it when it is gone already.
                let left = self.slots.just_left.iter();
                let mut left = left.filter(|(_, name)| self.local && Some(*name) == global);
                left.next()
                    .map_or(Entity::PLACEHOLDER, |(entity, _)| *entity)
            }
            None => Entity::PLACEHOLDER,
        }
    }

    fn set_mapped(&mut self, _source: Entity, _target: Entity) {}
}

/// Largest encoding of a reliable message, in bytes: what one frame of the control channel holds.
pub const MAX_RELIABLE: usize = seamless_wire::frame::MAX_MESSAGE;

const _: () = assert!(
    seamless_wire::frame::MAX_CONTROL_FRAME == seamless_transport::Channel::Control.max_message(),
    "the longest frame is what the channel takes"
);

/// Largest encoding of an unreliable message, in bytes, with what it mentions.
pub const MAX_UNRELIABLE: usize = 1000;
