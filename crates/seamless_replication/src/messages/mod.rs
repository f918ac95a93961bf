//! Typed messages between peers.
//!
//! Write a [`ToPeers<M>`] and the other side reads a [`FromPeer<M>`]: both are Bevy messages.
//! With [`net_event`](MessageAppExt::net_event) the other side's observers see an
//! `On<FromPeer<E>>`, too. Entity references inside are translated; a message that speaks of an entity which is not there
//! yet waits for it, at most a second, and is then delivered flagged.

mod events;
mod inbox;
mod outbox;

use bevy::{ecs::entity::EntityMapper, prelude::*, reflect::TypePath};
use seamless_transport::LinkId;
use seamless_wire::{
    BitReader, BitWriter, PeerId, WireError,
    hash::{Namespace, type_id},
    packet::SectionKind,
    schema::MessageDescriptor,
};
use serde::{Serialize, de::DeserializeOwned};

pub use events::NetEventCommandsExt;
pub(crate) use inbox::{Incoming, WaitingMessages, deliver_waiting, receive};
use outbox::send;

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
    /// In order and once. Up to [`MAX_RELIABLE`] bytes.
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
    /// What.
    pub message: M,
    /// Whether it speaks of an entity that did not come in time; the reference is then
    /// [`Entity::PLACEHOLDER`].
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
            (move |world: &mut World| send::<M>(world, id, direction, delivery))
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
    missing: bool,
}

impl EntityMapper for Resolve<'_> {
    fn get_mapped(&mut self, source: Entity) -> Entity {
        let global = seamless_wire::GlobalEntity::from_bits(source.to_bits());
        match global.map(|global| self.slots.entity(global)) {
            Some(Some(entity)) => entity,
            Some(None) => {
                self.missing = true;
                Entity::PLACEHOLDER
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

/// Largest encoding of an unreliable message, in bytes.
pub const MAX_UNRELIABLE: usize = 1000;

/// Most unreliable messages in one datagram.
const MAX_IN_SECTION: u64 = 64;

/// Writes as many unreliable messages as fit into `room` bits and takes them out of the list.
pub(crate) fn write_section(
    w: &mut BitWriter,
    room: usize,
    messages: &mut Vec<(u16, Vec<u8>)>,
) -> bool {
    let mut bits = 3 + 13;
    let count = messages
        .iter()
        .take(MAX_IN_SECTION as usize)
        .take_while(|(_, payload)| {
            bits += 33 + 17 + payload.len() * 8;
            bits <= room
        })
        .count();
    if count == 0 {
        return false;
    }
    SectionKind::Messages.write(w);
    w.put_golomb(count as u64, 1);
    for (kind, payload) in messages.drain(..count) {
        w.put_golomb(u64::from(kind), 3);
        w.put_golomb(payload.len() as u64, 5);
        w.put_bytes(&payload);
    }
    true
}

/// Reads a section of unreliable messages.
pub(crate) fn read_section(
    r: &mut BitReader<'_>,
    registry: &crate::Registry,
    out: &mut Vec<(u16, Vec<u8>)>,
) -> Result<(), WireError> {
    let count = r.get_bounded(1, MAX_IN_SECTION, "number of messages")?;
    for _ in 0..count {
        let kinds = registry.schema().messages.len() as u64;
        let kind = r.get_golomb(3)?;
        if kind >= kinds {
            return Err(WireError::OutOfBounds {
                what: "kind of message",
                value: kind,
                max: kinds,
            });
        }
        let len = r.get_bounded(5, MAX_UNRELIABLE as u64, "length of a message")? as usize;
        let mut payload = Vec::new();
        r.get_bytes(len, &mut payload)?;
        out.push((kind as u16, payload));
    }
    Ok(())
}
