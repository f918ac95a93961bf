//! What messages speak of: entities, and the states in which their sender had them.

use bevy::{ecs::entity::EntityMapper, prelude::*};
use seamless_transport::LinkId;
use seamless_wire::frame::{MAX_MENTIONS, Mention};
use smallvec::SmallVec;

use crate::{
    peer::{Peer, Peers},
    references::ToNames,
    rows::Rows,
    send::Known,
    slots::{NetSlot, Slots},
};

/// Slots of which a message speaks.
pub(super) type SpokenOf = SmallVec<[u32; MAX_MENTIONS]>;

/// Local entities to names, and which slots they have.
pub(super) struct Naming<'w> {
    names: ToNames<'w>,
    pub(super) slots: SpokenOf,
}

impl<'w> Naming<'w> {
    pub(super) fn new(world: &'w World) -> Self {
        Self {
            names: ToNames { world },
            slots: SpokenOf::new(),
        }
    }
}

impl Naming<'_> {
    /// The name of an entity that left the network since the last tick: the message may be about that.
    /// A look at each that did.
    fn departed(&self, entity: Entity) -> Entity {
        let left = &self.names.world.resource::<Slots>().just_left;
        let its = left.iter().find(|(left, _)| *left == entity);
        let name = its.and_then(|(_, name)| Entity::try_from_bits(name.to_bits()));
        name.unwrap_or(Entity::PLACEHOLDER)
    }
}

impl EntityMapper for Naming<'_> {
    fn get_mapped(&mut self, source: Entity) -> Entity {
        if let Some(slot) = self.names.world.get::<NetSlot>(source)
            && self.slots.len() < MAX_MENTIONS
            && !self.slots.contains(&slot.index)
        {
            self.slots.push(slot.index);
        }
        let name = self.names.get_mapped(source);
        if name == Entity::PLACEHOLDER {
            return self.departed(source);
        }
        name
    }

    fn set_mapped(&mut self, _source: Entity, _target: Entity) {}
}

/// What is to be said of these slots beside a message to a peer: nothing of what the peer has
/// acknowledged, or is not told by us. At most `most`.
///
/// A look at each slot.
pub(super) fn of_peer(
    peer: &mut Peer,
    spoken_of: &[u32],
    most: usize,
    (rows, slots, known): (&Rows, &Slots, &Known),
) -> Vec<Mention> {
    let mention = |&slot: &u32| {
        let (version, _) = rows.newest(slot)?;
        let entity = slots.get(slot)?.global()?;
        let is_news = peer.sender.speak_of(slot, version, known);
        is_news.then_some(Mention { entity, version })
    };
    spoken_of.iter().filter_map(mention).take(most).collect()
}

/// Whether what a link's message speaks of is here in the states in which the sender had it, as far
/// as it is here at all.
pub(super) fn are_here(world: &World, link: LinkId, mentions: &[Mention]) -> bool {
    let Some(peer) = world.resource::<Peers>().get(link) else {
        return true;
    };
    let table = &peer.receiver.table;
    mentions.iter().all(|mention| {
        let name = table.name_of(mention.entity);
        let slot = name.and_then(|name| table.get(name.allocator, name.index));
        slot.is_none_or(|slot| !mention.version.is_newer_than(slot.ring.last()))
    })
}
