//! Slots: the dense numbers of entities that are on the network here.
//!
//! An entity takes a slot when it gets [`Replicated`] (we publish it) or when a peer's record
//! spawns it, and keeps it until it leaves. What it is to us, its fence and its name stand in the
//! slot; everything per link is indexed by the slot's number.

mod by_name;
mod migrations;
mod replicated;

use std::collections::{BTreeSet, VecDeque};

use bevy::{
    ecs::{lifecycle::HookContext, world::DeferredWorld},
    platform::collections::HashMap,
    prelude::*,
};
use fixedbitset::FixedBitSet;
use seamless_transport::LinkId;
use seamless_wire::{GlobalEntity, PeerId, Tenure, Tick, WireId, record::LeaveReason};

pub(crate) use self::migrations::Migrating;
pub use self::replicated::Replicated;
use self::{by_name::ByName, migrations::Migrations};
use crate::{
    authority::FenceFollower,
    names::Names,
    prefetch::prefetch_at,
    references::References,
    rows::{Fence, Rows},
};

/// An entity's place on the network. Comes with [`Replicated`] and on every remote entity.
#[derive(Component, Clone, Copy, Debug)]
#[component(on_add = take_slot, on_remove = free_slot, clone_behavior = Ignore)]
pub struct NetSlot {
    pub(crate) index: u32,
    global: Option<GlobalEntity>,
}

impl Default for NetSlot {
    fn default() -> Self {
        Self {
            index: u32::MAX,
            global: None,
        }
    }
}

impl NetSlot {
    /// Asks for this name instead of a fresh one: for entities that a file or another node named. To be
    /// inserted with [`Replicated`] or before it. Later it is in the way of the slot that the entity has.
    #[must_use]
    pub const fn named(global: GlobalEntity) -> Self {
        Self {
            index: u32::MAX,
            global: Some(global),
        }
    }

    /// The entity's name, on all peers and for its whole life. `None` on a client that has not
    /// been lent names yet; the entity is then not sent.
    #[must_use]
    pub const fn global(&self) -> Option<GlobalEntity> {
        self.global
    }
}

/// What this app is to an entity.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// It simulates it and tells the others.
    Host,
    /// It is told. `source` is the link that tells; none while that is gone.
    Remote {
        /// The link.
        source: Option<LinkId>,
    },
}

/// What is known of the entity in a slot.
#[derive(Debug, Clone)]
pub(crate) struct Slot {
    pub(crate) entity: Entity,
    global: Option<GlobalEntity>,
    pub(crate) generation: u32,
    /// Changed by [`Slots::set_role`], which counts.
    role: Role,
    pub(crate) tenure: Fence,
    /// Tick of the newest record that was applied: from the source, or from the holder.
    pub(crate) newest: Tick,
    /// The client that hosts it (role remote, on a server).
    pub(crate) owner: Option<PeerId>,
    /// Whether a client's own entity is shown to other clients.
    pub(crate) public: bool,
    /// Its short name at its source (role remote).
    pub(crate) remote_name: Option<WireId>,
    /// When an entity without a source is given up.
    orphaned_at: Option<Tick>,
    /// The former host's link, until it has confirmed that it migrated too: it is told nothing of
    /// the entity before that.
    /// Changed by [`Slots::begin_migration`] and [`Slots::end_migration`], which list it.
    migrating: Option<Migrating>,
}

impl Slot {
    fn new(entity: Entity, role: Role) -> Self {
        Self {
            entity,
            global: None,
            generation: 0,
            role,
            tenure: Fence::default(),
            newest: Tick(0),
            owner: None,
            public: false,
            remote_name: None,
            orphaned_at: None,
            migrating: None,
        }
    }

    /// An entity of this name that a link tells of, for [`Slots::occupy`].
    pub(crate) fn remote(entity: Entity, global: GlobalEntity, source: LinkId) -> Self {
        let source = Some(source);
        Self {
            global: Some(global),
            ..Self::new(entity, Role::Remote { source })
        }
    }

    pub(crate) const fn role(&self) -> Role {
        self.role
    }

    pub(crate) const fn migrating(&self) -> Option<Migrating> {
        self.migrating
    }

    pub(crate) const fn global(&self) -> Option<GlobalEntity> {
        self.global
    }
}

/// An entity that left a slot in this tick.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Departed {
    pub(crate) entity: Entity,
    pub(crate) slot: u32,
    pub(crate) generation: u32,
    pub(crate) global: Option<GlobalEntity>,
    pub(crate) reason: LeaveReason,
    /// The link of a client that may still believe that it hosts it.
    pub(crate) migrating: Option<LinkId>,
}

/// A state of what is known of a slot. It changes whenever that may have changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SlotStamp {
    pub(crate) slot: u32,
    pub(crate) stamp: u32,
}

/// The table of slots.
#[derive(Resource, Default)]
pub struct Slots {
    table: Vec<Slot>,
    /// Counts the changes of each slot.
    stamps: Vec<u32>,
    live: FixedBitSet,
    /// Those that were free longest come first.
    free: VecDeque<u32>,
    /// Those that something of ours had. A peer keeps each name that we ever used towards it, so ours are
    /// used again, however many others there were.
    free_own: VecDeque<u32>,
    own: FixedBitSet,
    by_name: ByName,
    pub(crate) names: Names,
    pub(crate) departed: Vec<Departed>,
    /// What of it peers are told of in this tick, under which names: messages may be about just that.
    pub(crate) just_left: Vec<(Entity, GlobalEntity)>,
    /// Slots whose row must be made anew: taken, renamed, fence changed, component removed.
    pub(crate) touched: Vec<u32>,
    /// Slots whose holder changed: what the former one told of them is of no more use.
    pub(crate) relent: Vec<u32>,
    /// Slots whose role or holder changed, so that other links may have to be told.
    pub(crate) rerouted: Vec<u32>,
    next_reason: Option<LeaveReason>,
    pub(crate) fence_follower: Option<FenceFollower>,
    /// How many are ours and how many are told of: hosted, remote.
    census: (usize, usize),
    /// How many each client hosts, on a server.
    owned: HashMap<PeerId, u32>,
    /// Slots whose source is gone.
    orphans: BTreeSet<u32>,
    /// Slots that wait for a name.
    unnamed: BTreeSet<u32>,
    migrations: Migrations,
}

impl Slots {
    pub(crate) fn get(&self, index: u32) -> Option<&Slot> {
        self.live
            .contains(index as usize)
            .then(|| &self.table[index as usize])
    }

    pub(crate) fn get_mut(&mut self, index: u32) -> Option<&mut Slot> {
        if !self.live.contains(index as usize) {
            return None;
        }
        self.stamp(index);
        Some(&mut self.table[index as usize])
    }

    fn stamp(&mut self, index: u32) {
        let stamp = &mut self.stamps[index as usize];
        *stamp = stamp.wrapping_add(1);
    }

    /// The slot as it is now.
    #[inline]
    pub(crate) fn stamp_of(&self, slot: u32) -> Option<SlotStamp> {
        let stamp = *self.stamps.get(slot as usize)?;
        Some(SlotStamp { slot, stamp })
    }

    /// Whether nothing was changed of a slot since.
    #[inline]
    pub(crate) fn is_as_it_was(&self, then: SlotStamp) -> bool {
        self.stamps.get(then.slot as usize) == Some(&then.stamp)
    }

    /// It is soon asked whether a slot is as it was.
    #[inline]
    pub(crate) fn prefetch_stamp(&self, slot: u32) {
        prefetch_at(&self.stamps, slot);
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &Slot)> {
        self.live
            .ones()
            .map(|index| (index as u32, &self.table[index]))
    }

    /// The entity with this name, if it is here.
    #[must_use]
    pub fn entity(&self, global: GlobalEntity) -> Option<Entity> {
        let slot = self.get(self.index_of(global)?)?;
        Some(slot.entity)
    }

    /// The index of the entity with this name.
    pub(crate) fn index_of(&self, global: GlobalEntity) -> Option<u32> {
        self.by_name.get(&self.table, global)
    }

    /// The fence of the entity in a slot.
    #[must_use]
    pub fn tenure(&self, slot: &NetSlot) -> Option<Tenure> {
        self.get(slot.index).map(|slot| *slot.tenure)
    }

    /// What this app is to the entity in a slot.
    #[must_use]
    pub fn role(&self, slot: &NetSlot) -> Option<Role> {
        self.get(slot.index).map(|slot| slot.role)
    }

    /// The link that tells of the entity in a slot; none if this app hosts it.
    #[must_use]
    pub fn source(&self, slot: &NetSlot) -> Option<LinkId> {
        match self.role(slot)? {
            Role::Remote { source } => source,
            Role::Host => None,
        }
    }

    /// The client that hosts the entity in a slot, on a server.
    #[must_use]
    pub fn owner(&self, slot: &NetSlot) -> Option<PeerId> {
        self.get(slot.index).and_then(|slot| slot.owner)
    }

    /// Mints names from this source from now on.
    pub fn set_names(&mut self, names: Names) {
        self.names = names;
    }

    /// Names that this app can still give to new entities.
    #[must_use]
    pub fn names_left(&self) -> u64 {
        self.names.left()
    }

    /// Mints a name without an entity, for one that another part will spawn.
    pub fn mint(&mut self) -> Option<GlobalEntity> {
        self.names.mint()
    }

    /// Has every change of a fence told to `follow`, in the place of whoever was told before.
    pub const fn set_fence_follower(&mut self, follow: FenceFollower) {
        self.fence_follower = Some(follow);
    }

    /// What peers are told when the next entity leaves. Despawn it right after.
    pub fn leave_because(&mut self, reason: LeaveReason) {
        self.next_reason = Some(reason);
    }

    /// Puts an entity under another fence. Hosts only; remotes follow their records.
    pub fn set_tenure(&mut self, slot: &NetSlot, tenure: Tenure) {
        if let Some(entry) = self.get_mut(slot.index)
            && *entry.tenure != tenure
        {
            let holder_changed = entry.tenure.holder != tenure.holder;
            entry.tenure = Fence::new(&tenure, None);
            if holder_changed {
                // Another holder counts its own ticks.
                entry.newest = Tick(0);
            }
            self.touched.push(slot.index);
            if holder_changed {
                self.rerouted.push(slot.index);
                self.relent.push(slot.index);
            }
        }
    }

    /// Shows a client's own entity to other clients, or hides it (on a server).
    pub fn set_public(&mut self, slot: &NetSlot, public: bool) {
        if let Some(entry) = self.get_mut(slot.index)
            && entry.public != public
        {
            entry.public = public;
            // Of what is private there are no rows, or old ones.
            self.touched.push(slot.index);
            self.rerouted.push(slot.index);
        }
    }

    /// Whether other clients are shown a client's own entity (on a server).
    #[must_use]
    pub fn is_public(&self, slot: &NetSlot) -> bool {
        self.get(slot.index).is_some_and(|slot| slot.public)
    }

    /// Has audiences asked anew about the entity in a slot, for every client: something that they
    /// look at has changed, and nothing that is replicated.
    pub fn ask_again(&mut self, slot: &NetSlot) {
        self.rerouted.push(slot.index);
    }

    /// Changes what the entity in a slot is to us. It has a source again, or needs none.
    pub(crate) fn set_role(&mut self, index: u32, role: Role) {
        let Some(slot) = self.get_mut(index) else {
            return;
        };
        slot.orphaned_at = None;
        let before = std::mem::replace(&mut slot.role, role);
        self.orphans.remove(&index);
        *self.count(before) -= 1;
        *self.count(role) += 1;
    }

    /// How many entities a client hosts, on a server.
    pub(crate) fn owned_by(&self, owner: PeerId) -> usize {
        self.owned.get(&owner).map_or(0, |&count| count as usize)
    }

    /// No client hosts the entity in a slot.
    pub(crate) fn disown(&mut self, index: u32) {
        let owner = self.get_mut(index).and_then(|slot| slot.owner.take());
        if let Some(owner) = owner
            && let Some(count) = self.owned.get_mut(&owner)
        {
            *count -= 1;
            if *count == 0 {
                self.owned.remove(&owner);
            }
        }
    }

    /// Nobody tells of the entity in a slot any more.
    pub(crate) fn orphan(&mut self, index: u32, now: Tick) {
        self.set_role(index, Role::Remote { source: None });
        if let Some(slot) = self.get_mut(index) {
            slot.remote_name = None;
            slot.orphaned_at = Some(now);
            self.orphans.insert(index);
        }
    }

    /// Entities without a source and since when, ascending by slot.
    pub(crate) fn orphans(&self) -> impl Iterator<Item = (Entity, Tick)> {
        let slots = self.orphans.iter().filter_map(|&index| self.get(index));
        slots.filter_map(|slot| Some((slot.entity, slot.orphaned_at?)))
    }

    /// Entities that a client hosted and whose link is gone, ascending by slot.
    pub(crate) fn left_by(&self, owner: PeerId) -> impl Iterator<Item = Entity> {
        let slots = self.orphans.iter().filter_map(|&index| self.get(index));
        slots
            .filter(move |slot| slot.owner == Some(owner))
            .map(|slot| slot.entity)
    }

    /// How many entities we host, and how many we are told of.
    #[must_use]
    pub const fn census(&self) -> (usize, usize) {
        self.census
    }

    const fn count(&mut self, role: Role) -> &mut usize {
        match role {
            Role::Host => &mut self.census.0,
            Role::Remote { .. } => &mut self.census.1,
        }
    }

    /// Whether the entity has that slot, under that name.
    pub(crate) fn is_taken_by(&self, slot: &NetSlot, entity: Entity) -> bool {
        let there = self.get(slot.index);
        there.is_some_and(|there| (there.entity, there.global) == (entity, slot.global))
    }

    /// Takes a slot for an entity, which is to get the component next if it has not. Names it if it
    /// has no name and there is one.
    pub(crate) fn occupy(&mut self, slot: Slot) -> NetSlot {
        let global = slot.global.or_else(|| self.names.mint());
        let is_own = slot.role == Role::Host;
        let free = match is_own {
            true => self.free_own.pop_front().or_else(|| self.free.pop_front()),
            false => self.free.pop_front(),
        };
        let index = free.unwrap_or_else(|| {
            self.table.push(Slot {
                generation: u32::MAX,
                ..Slot::new(Entity::PLACEHOLDER, Role::Host)
            });
            if self.live.len() < self.table.len() {
                // The next ones come soon.
                let soon = self.table.len().next_multiple_of(64);
                self.live.grow(soon);
                self.own.grow(soon);
            }
            self.stamps.push(0);
            if self.table.len() as u32 == WireId::MAX_INDEX + 1 {
                tracing::error!(
                    "more than {} entities: no peer is told of those beyond",
                    WireId::MAX_INDEX
                );
            }
            self.table.len() as u32 - 1
        });
        self.stamp(index);
        let entry = &mut self.table[index as usize];
        *entry = Slot {
            global,
            generation: entry.generation.wrapping_add(1),
            ..slot
        };
        let (role, owner) = (entry.role, entry.owner);
        *self.count(role) += 1;
        if let Some(owner) = owner {
            *self.owned.entry(owner).or_default() += 1;
        }
        if global.is_none() {
            self.unnamed.insert(index);
        }
        self.live.insert(index as usize);
        if is_own {
            self.own.insert(index as usize);
        }
        self.touched.push(index);
        self.rerouted.push(index);
        if let Some(global) = global
            && let Some(other) = self.by_name.insert(&self.table, global, index)
        {
            tracing::error!(%global, slot = index, other, "two entities have one name");
        }
        NetSlot { index, global }
    }

    /// As [`RemoteTable::expect`](crate::receive::RemoteTable::expect).
    pub(crate) fn expect(&mut self, now: usize, soon: usize) {
        if self.table.capacity() - self.table.len() < now {
            self.table.reserve(soon);
            self.stamps.reserve(soon);
            self.by_name.reserve(soon, &self.table);
        }
    }

    fn release(&mut self, index: u32, entity: Entity) {
        let reason = self.next_reason.take().unwrap_or(LeaveReason::Despawned);
        let Some(slot) = self.get(index).filter(|slot| slot.entity == entity) else {
            return;
        };
        let (role, generation, global) = (slot.role, slot.generation, slot.global);
        let migrating = slot.migrating.map(|migrating| migrating.link);
        if let Some(global) = global {
            self.by_name.remove(global, index);
        }
        *self.count(role) -= 1;
        self.disown(index);
        self.orphans.remove(&index);
        self.unnamed.remove(&index);
        if let Some(link) = migrating {
            self.migrations.end(link, index);
        }
        self.stamp(index);
        self.departed.push(Departed {
            entity,
            slot: index,
            generation,
            global,
            reason,
            migrating,
        });
        self.live.set(index as usize, false);
        match self.own.contains(index as usize) {
            true => self.free_own.push_back(index),
            false => self.free.push_back(index),
        }
    }

    /// Whether something waits for a name and there is one.
    pub(crate) fn can_name(&self) -> bool {
        !self.unnamed.is_empty() && self.names.left() > 0
    }

    /// Names that were lent to us reach entities that wait for one.
    pub(crate) fn name_waiting(&mut self) -> Vec<(Entity, GlobalEntity)> {
        let mut named = Vec::new();
        while let Some(&index) = self.unnamed.first() {
            let Some(global) = self.names.mint() else {
                break;
            };
            self.unnamed.remove(&index);
            self.stamp(index);
            self.table[index as usize].global = Some(global);
            self.by_name.insert(&self.table, global, index);
            self.touched.push(index);
            self.rerouted.push(index);
            named.push((self.table[index as usize].entity, global));
        }
        named
    }
}

/// Names what waits for a name, as far as there are names.
pub(crate) fn name_waiting(world: &mut World) {
    for (entity, global) in world.resource_mut::<Slots>().name_waiting() {
        set_name(world, entity, global);
    }
}

/// Writes a name that came late into the entity's own component.
pub(crate) fn set_name(world: &mut World, entity: Entity, global: GlobalEntity) {
    if let Some(mut slot) = world.get_mut::<NetSlot>(entity) {
        slot.global = Some(global);
    }
}

fn take_slot(mut world: DeferredWorld, context: HookContext) {
    let entity = context.entity;
    let given = world.get::<NetSlot>(entity).copied().unwrap_or_default();
    let Some(mut slots) = world.get_resource_mut::<Slots>() else {
        tracing::error!("an entity is Replicated, but the ReplicationPlugin is not there");
        return;
    };
    if slots.is_taken_by(&given, entity) {
        return;
    }
    // A copy of another entity's place is none of this one's, and neither is the name.
    let asked = given.global.filter(|_| given.index == u32::MAX);
    let taken = slots.occupy(Slot {
        global: asked,
        ..Slot::new(entity, Role::Host)
    });
    if let Some(mut slot) = world.get_mut::<NetSlot>(entity) {
        *slot = taken;
    }
}

/// An entity that was to get this slot is gone.
pub(crate) fn vacate(world: &mut World, slot: NetSlot, entity: Entity) {
    world.resource_mut::<Slots>().release(slot.index, entity);
    world.resource_mut::<Rows>().clear(slot.index);
}

fn free_slot(mut world: DeferredWorld, context: HookContext) {
    let Some(index) = world.get::<NetSlot>(context.entity).map(|slot| slot.index) else {
        return;
    };
    if let Some(mut slots) = world.get_resource_mut::<Slots>() {
        slots.release(index, context.entity);
    }
    if let Some(mut references) = world.get_resource_mut::<References>() {
        references.loses_name(context.entity);
    }
    // At once: the slot may have another entity with a row before the tick ends.
    if let Some(mut rows) = world.get_resource_mut::<Rows>() {
        rows.clear(index);
    }
}
