//! Writes to what another app may write, found where they are made.
//!
//! A client that writes a component without authority is not heard by its server, and its world
//! would differ from all others until the host changes the component. So such writes are looked
//! for, and can be undone ([`migrate::restore`](crate::migrate::restore)).

use bevy::{
    ecs::{change_detection::Tick as ChangeTick, world::EntityRef},
    prelude::*,
};
use seamless_wire::{Holder, PeerId};

use crate::{
    Authority, EvenHidden, Remote,
    peer::Peers,
    registry::Registry,
    rows::{Row, Rows},
    slots::{NetSlot, Role, Slots},
};

/// A component that was written and is another's to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForeignWrite {
    /// The entity.
    pub entity: Entity,
    /// The type path of the component.
    pub component: String,
}

/// Remote entities that can be lent.
pub type Lendable = QueryState<EntityRef<'static>, (With<Remote>, With<Authority>, EvenHidden)>;

/// Components of remote entities that can be lent, which were written or inserted since `then` and
/// differ from what the host told of them last, without being ours to write. At most one for each
/// entity. None where we are no client. `lendable`: kept from call to call; an exclusive system has it
/// as a parameter.
///
/// Cost: a comparison for each replicated component of each entity that can be lent and is not
/// hosted here; one encoding for each that was written.
pub fn foreign_writes(
    world: &World,
    lendable: &mut Lendable,
    then: ChangeTick,
) -> Vec<ForeignWrite> {
    let Some(me) = world.resource::<Peers>().as_client() else {
        return Vec::new();
    };
    let now = world.read_change_tick();
    let entities = lendable.query(world);
    let watch = Watch {
        world,
        me,
        then,
        now,
    };
    let found = entities.iter().filter_map(|entity| watch.look(entity));
    found.collect()
}

struct Watch<'w> {
    world: &'w World,
    me: PeerId,
    then: ChangeTick,
    now: ChangeTick,
}

impl Watch<'_> {
    fn look(&self, entity: EntityRef<'_>) -> Option<ForeignWrite> {
        let registry = self.world.resource::<Registry>();
        let authority = entity.get::<Authority>()?;
        let mine = authority.holder == Holder::Peer(self.me);
        let mut row = None;
        for &id in entity.archetype().components() {
            let Some(component) = registry.index_of(id) else {
                continue;
            };
            let written = entity
                .get_change_ticks_by_id(id)
                .is_some_and(|ticks| ticks.is_changed(self.then, self.now));
            if !written || (mine && registry.holder_writes(component, authority.writes)) {
                continue;
            }
            if row.is_none() {
                row = Some(self.told(entity)?);
            }
            if row.is_some_and(|row| self.differs(entity, component, row, mine)) {
                return Some(ForeignWrite {
                    entity: entity.id(),
                    component: registry.component(component).descriptor.path.to_string(),
                });
            }
        }
        None
    }

    /// The row that the entity's host told of it last.
    fn told(&self, entity: EntityRef<'_>) -> Option<&Row> {
        let slot = self
            .world
            .resource::<Slots>()
            .get(entity.get::<NetSlot>()?.index)?;
        let (Role::Remote { source: Some(link) }, Some(name)) = (slot.role(), slot.remote_name)
        else {
            return None;
        };
        let peer = self.world.resource::<Peers>().get(link)?;
        let told = peer.receiver.table.get(name.allocator, name.index)?;
        told.ring.newest().map(|stored| &stored.row)
    }

    #[expect(
        unsafe_code,
        reason = "components are read by id, as the registry knows them"
    )]
    fn differs(&self, entity: EntityRef<'_>, component: u16, row: &Row, mine: bool) -> bool {
        let registry = self.world.resource::<Registry>();
        let registered = registry.component(component);
        let Ok(ptr) = entity.get_by_id(registered.component_id) else {
            return false;
        };
        let sets = &self.world.resource::<Rows>().sets;
        let Some(at) = sets.position(row.set, component) else {
            // The host has none, or does not tell a holder of it.
            return !mine;
        };
        let mut value = Vec::new();
        // SAFETY: `ptr` was read under the id that the codec was registered for.
        let written = unsafe { registered.erased.write(ptr, self.world, &mut value) };
        written.is_err() || value != row.value(at)
    }
}
