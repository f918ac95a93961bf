//! Interest: who is told of what.
//!
//! One predicate decides, per (client, entity): `PeerInterest::wants`. Its falling edge, whatever
//! the cause, is the only way an entity leaves a client. It is asked again only where one of its
//! inputs changed: an entity that changed region, a client whose view changed region, a scope, an
//! exception. So the work per tick follows movement across regions, not entities times clients.
//!
//! The server decides on view, scopes and exceptions. A client may ask for scopes
//! ([`Subscriptions`]); it gets those that the server's [`ScopePolicy`] opens to it, by default none.

mod audience;
mod grid;
mod subscription;
mod visibility;

use bevy::{
    ecs::{component::ComponentId, world::DeferredWorld},
    platform::collections::{HashMap, HashSet},
    prelude::*,
    ptr::Ptr,
};
use seamless_wire::{
    GlobalEntity,
    hash::{Namespace, type_id},
};
use smallvec::SmallVec;

pub(crate) use audience::{Audiences, note as note_for_audiences, update as update_audiences};
pub use grid::{InterestGrid, InterestRegionId};
pub use subscription::{ScopePolicy, Subscriptions};
pub(crate) use subscription::{ToldScopes, hear, tell_servers};
pub use visibility::Watched;
pub(crate) use visibility::{Route, read_scopes, update_visibility};

use crate::slots::{NetSlot, Slots};

/// A named scope: a team, a tool, a room. Entities in scopes are told only to clients in one of
/// them.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Reflect)]
pub struct ToolScopeId(pub u32);

/// The scopes an entity belongs to. Without this component, or with none in it: everybody's.
#[derive(Component, Clone, PartialEq, Eq, Debug, Default, Reflect)]
#[reflect(Component)]
#[component(immutable, on_insert = visibility::scopes_changed, on_remove = visibility::scopes_changed)]
pub struct ToolScopes(pub Vec<ToolScopeId>);

/// Most scopes that a client may enter on its own.
const MAX_CHOSEN_SCOPES: usize = 1024;

/// Where a client looks from.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum View {
    /// It sees every region.
    Everything,
    /// Around an entity, at this distance in metres; beyond 64 regions of the [`InterestGrid`]
    /// everything.
    Around(Entity, f32),
    /// Around a point, at this distance in metres; beyond 64 regions of the [`InterestGrid`]
    /// everything.
    At(Vec3, f32),
    /// It sees no region; only what has no place, and what is included.
    Nothing,
}

/// What one client is interested in.
#[derive(Debug)]
pub struct PeerInterest {
    view: View,
    /// Whether the client chose it; else the server did.
    scopes: HashMap<ToolScopeId, bool>,
    chosen: usize,
    /// By slot: for which entity, and what.
    exceptions: HashMap<u32, (Option<GlobalEntity>, bool)>,
    regions: HashSet<InterestRegionId>,
    everything: bool,
    /// Where the regions were computed for.
    anchor: Option<(InterestRegionId, f32)>,
    /// Where it looks from, in this tick.
    eye: Option<Vec3>,
    /// Which entity it looks from, and its slot.
    viewer: Option<(Entity, u32)>,
    /// Everything must be asked again.
    stale: bool,
    /// Slots to ask again.
    recheck: Vec<u32>,
    /// Scopes that were entered or left: what is in them is asked again.
    changed_scopes: HashSet<ToolScopeId>,
    /// By slot and component: for which entity, and what.
    component_exceptions: HashMap<(u32, u64), (Option<GlobalEntity>, bool)>,
    /// Slots whose components are to be asked again.
    component_recheck: Vec<u32>,
    /// Components of everything must be asked again.
    masks_stale: bool,
}

impl Default for PeerInterest {
    fn default() -> Self {
        Self {
            view: View::Everything,
            scopes: HashMap::default(),
            chosen: 0,
            exceptions: HashMap::default(),
            regions: HashSet::default(),
            everything: true,
            anchor: None,
            eye: None,
            viewer: None,
            stale: true,
            recheck: Vec::new(),
            changed_scopes: HashSet::default(),
            component_exceptions: HashMap::default(),
            component_recheck: Vec::new(),
            masks_stale: true,
        }
    }
}

impl PeerInterest {
    /// Looks from here at first, unless the game has said otherwise already.
    pub(crate) fn begin(&mut self, view: View) {
        if self.view == View::Everything {
            self.set_view(view);
        }
    }

    /// Looks from elsewhere from the next tick on.
    pub fn set_view(&mut self, view: View) {
        if self.view != view {
            self.view = view;
            self.anchor = None;
        }
    }

    /// Where it looks from.
    #[must_use]
    pub const fn view(&self) -> View {
        self.view
    }

    /// Enters a scope. The client cannot leave it by itself.
    pub fn subscribe(&mut self, scope: ToolScopeId) {
        let before = self.scopes.insert(scope, false);
        if before.is_none() {
            self.changed(scope);
        }
        self.chosen -= usize::from(before == Some(true));
    }

    /// Leaves a scope, whoever entered it.
    pub fn unsubscribe(&mut self, scope: ToolScopeId) {
        let before = self.scopes.remove(&scope);
        if before.is_some() {
            self.changed(scope);
        }
        self.chosen -= usize::from(before == Some(true));
    }

    /// Enters a scope that the client asked for. False if it is in too many of those.
    fn choose(&mut self, scope: ToolScopeId) -> bool {
        if self.scopes.contains_key(&scope) {
            return true;
        }
        if self.chosen >= MAX_CHOSEN_SCOPES {
            return false;
        }
        self.chosen += 1;
        self.scopes.insert(scope, true);
        self.changed(scope);
        true
    }

    /// A scope was entered or left.
    fn changed(&mut self, scope: ToolScopeId) {
        self.changed_scopes.insert(scope);
        // Audiences may look at scopes.
        self.masks_stale = true;
    }

    /// Leaves a scope if the client had asked for it.
    fn unchoose(&mut self, scope: ToolScopeId) {
        if self.scopes.get(&scope) == Some(&true) {
            self.unsubscribe(scope);
        }
    }

    /// The scopes it is in, in no order.
    pub fn scopes(&self) -> impl ExactSizeIterator<Item = ToolScopeId> + '_ {
        self.scopes.keys().copied()
    }

    /// Whether it is in a scope.
    #[must_use]
    pub fn is_subscribed(&self, scope: ToolScopeId) -> bool {
        self.scopes.contains_key(&scope)
    }

    /// Shows (`true`) or hides (`false`) one entity whatever its place and scopes; `None` takes
    /// the exception back.
    pub fn except(&mut self, slot: &NetSlot, shown: Option<bool>) {
        match shown {
            Some(shown) => self.exceptions.insert(slot.index, (slot.global(), shown)),
            None => self.exceptions.remove(&slot.index),
        };
        self.recheck.push(slot.index);
    }

    /// Shows (`true`) or hides (`false`) one component of one entity, whatever its audience;
    /// `None` takes the exception back. Only components with an audience
    /// ([`Rule::visible_to`](crate::Rule::visible_to)) can be excepted.
    pub fn except_component<C: Component + TypePath>(
        &mut self,
        slot: &NetSlot,
        shown: Option<bool>,
    ) {
        let key = (slot.index, type_id(Namespace::Component, C::type_path()));
        match shown {
            Some(shown) => self
                .component_exceptions
                .insert(key, (slot.global(), shown)),
            None => self.component_exceptions.remove(&key),
        };
        self.component_recheck.push(slot.index);
    }

    fn component_exception(&self, slot: u32, component: u64) -> Option<bool> {
        if self.component_exceptions.is_empty() {
            return None;
        }
        let exception = self.component_exceptions.get(&(slot, component));
        exception.map(|(_, shown)| *shown)
    }

    /// Everything is asked again in the next tick.
    pub(crate) const fn ask_everything_again(&mut self) {
        self.stale = true;
        // The grid may be another by now.
        self.anchor = None;
    }

    /// Where it looks from, if from anywhere.
    pub(crate) const fn eye(&self) -> Option<Vec3> {
        self.eye
    }

    /// The slot is free: exceptions for its entity go with it.
    /// One for the next entity in the slot stands.
    pub(crate) fn forget(&mut self, slot: u32, entity: Option<GlobalEntity>) {
        if self
            .exceptions
            .get(&slot)
            .is_some_and(|(of, _)| *of == entity)
        {
            self.exceptions.remove(&slot);
        }
        if !self.component_exceptions.is_empty() {
            self.component_exceptions
                .retain(|(at, _), (of, _)| *at != slot || *of != entity);
        }
    }

    /// Whether it looks at a region.
    fn looks_at(&self, region: InterestRegionId) -> bool {
        self.everything || self.regions.contains(&region)
    }

    /// The predicate, as far as place, scopes and exceptions go.
    fn wants(&self, slot: u32, region: Option<InterestRegionId>, scopes: &[ToolScopeId]) -> bool {
        if let Some(&(_, shown)) = self.exceptions.get(&slot) {
            return shown;
        }
        let in_region = match region {
            Some(region) => self.looks_at(region),
            None => true,
        };
        in_region && (scopes.is_empty() || scopes.iter().any(|scope| self.is_subscribed(*scope)))
    }
}

/// How the position of an entity is read: an accessor that the game registers, so that it is the
/// position of this tick and needs no transform propagation.
pub(crate) struct PositionAccessor {
    pub(crate) component: ComponentId,
    read: Box<dyn Fn(Ptr<'_>) -> Vec3 + Send + Sync>,
}

impl PositionAccessor {
    #[expect(unsafe_code, reason = "the accessor is called on untyped columns")]
    fn new<C: Component>(world: &mut World, read: fn(&C) -> Vec3) -> Self {
        Self {
            component: world.register_component::<C>(),
            // SAFETY: `Self::read` is only called with pointers read under `component`, which is
            // the id of `C`.
            read: Box::new(move |ptr| read(unsafe { ptr.deref::<C>() })),
        }
    }

    /// The position behind `ptr`, which points to the registered component.
    pub(crate) fn read(&self, ptr: Ptr<'_>) -> Vec3 {
        (self.read)(ptr)
    }
}

/// Places and scopes of all slots.
#[derive(Resource, Default)]
pub(crate) struct Positions {
    accessor: Option<PositionAccessor>,
    at: Vec<Option<Vec3>>,
    region: Vec<Option<InterestRegionId>>,
    scopes: Vec<SmallVec<[ToolScopeId; 2]>>,
    members: HashMap<InterestRegionId, Vec<u32>>,
    /// By scope.
    in_scope: HashMap<ToolScopeId, HashSet<u32>>,
    moved: Vec<u32>,
}

impl Positions {
    pub(crate) fn accessor(&self) -> Option<&PositionAccessor> {
        self.accessor.as_ref()
    }

    /// Takes the accessor out while it is used on the rest; put it back.
    pub(crate) fn take_accessor(&mut self) -> Option<PositionAccessor> {
        self.accessor.take()
    }

    pub(crate) fn set_accessor(&mut self, accessor: PositionAccessor) {
        self.accessor = Some(accessor);
    }

    fn grow(&mut self, slot: u32) {
        let len = slot as usize + 1;
        if self.at.len() < len {
            self.at.resize(len, None);
            self.region.resize(len, None);
            self.scopes.resize(len, SmallVec::new());
        }
    }

    /// The slot's entity is here now.
    pub(crate) fn set(&mut self, slot: u32, position: Vec3) {
        if slot == u32::MAX {
            return;
        }
        self.grow(slot);
        self.at[slot as usize] = Some(position);
        self.moved.push(slot);
    }

    pub(crate) fn get(&self, slot: u32) -> Option<Vec3> {
        self.at.get(slot as usize).copied().flatten()
    }

    /// The slot's entity is nowhere now, and so everywhere. False if it was nowhere before.
    fn lose(&mut self, slot: u32) -> bool {
        let at = self.at.get_mut(slot as usize);
        let was_there = at.is_some_and(|at| at.take().is_some());
        if was_there {
            self.place(slot, None);
        }
        was_there
    }

    /// The slot is free again.
    pub(crate) fn clear(&mut self, slot: u32) {
        if (slot as usize) < self.at.len() {
            self.place(slot, None);
            self.at[slot as usize] = None;
            self.set_scopes(slot, SmallVec::new());
        }
    }

    /// The slot's entity is in these scopes now.
    fn set_scopes(&mut self, slot: u32, scopes: SmallVec<[ToolScopeId; 2]>) {
        let before = std::mem::replace(&mut self.scopes[slot as usize], scopes);
        let now = &self.scopes[slot as usize];
        if before == *now {
            return;
        }
        for scope in before {
            if let Some(slots) = self.in_scope.get_mut(&scope) {
                slots.remove(&slot);
                if slots.is_empty() {
                    self.in_scope.remove(&scope);
                }
            }
        }
        for &scope in now {
            self.in_scope.entry(scope).or_default().insert(slot);
        }
    }

    fn place(&mut self, slot: u32, region: Option<InterestRegionId>) {
        let old = std::mem::replace(&mut self.region[slot as usize], region);
        if old == region {
            return;
        }
        if let Some(old) = old
            && let Some(members) = self.members.get_mut(&old)
        {
            if let Some(at) = members.iter().position(|&member| member == slot) {
                members.swap_remove(at);
            }
            if members.is_empty() {
                self.members.remove(&old);
            }
        }
        if let Some(region) = region {
            self.members.entry(region).or_default().push(slot);
        }
    }
}

/// Where an entity was at the end of the last tick, if positions are registered
/// ([`InterestAppExt::interest_position`]).
#[must_use]
pub fn position_of(world: &World, slot: &NetSlot) -> Option<Vec3> {
    world.resource::<Positions>().get(slot.index)
}

/// An entity that has no position any more is not where it was.
fn lose_position<C: Component>(lost: On<Remove, C>, mut world: DeferredWorld) {
    let Some(slot) = world.get::<NetSlot>(lost.entity).map(|slot| slot.index) else {
        return;
    };
    let component = world.component_id::<C>();
    let positions = world.get_resource_mut::<Positions>();
    let was_there = positions.is_some_and(|mut positions| {
        let reads = positions.accessor().map(|accessor| accessor.component);
        reads == component && positions.lose(slot)
    });
    if was_there && let Some(mut slots) = world.get_resource_mut::<Slots>() {
        slots.rerouted.push(slot);
    }
}

/// Adds interest management to [`App`].
pub trait InterestAppExt {
    /// Reads the position of entities from `C`: what clients are told then depends on their
    /// [`View`] in the grid. The component need not be replicated. An entity without it is seen from
    /// everywhere; one that loses it while a client looks [`View::Around`] it leaves that view where
    /// it was.
    fn interest_position<C: Component>(&mut self, read: fn(&C) -> Vec3) -> &mut Self;
}

impl InterestAppExt for App {
    fn interest_position<C: Component>(&mut self, read: fn(&C) -> Vec3) -> &mut Self {
        let accessor = PositionAccessor::new(self.world_mut(), read);
        self.init_resource::<Positions>();
        self.world_mut()
            .resource_mut::<Positions>()
            .set_accessor(accessor);
        self.add_observer(lose_position::<C>);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_that_nobody_is_in_take_no_memory() {
        let mut positions = Positions::default();
        for x in 0..1000 {
            for slot in 0..3 {
                positions.grow(slot);
                let region = InterestRegionId { x, z: slot as i32 };
                positions.place(slot, Some(region));
            }
        }
        assert_eq!(positions.members.len(), 3);
        (0..3).for_each(|slot| positions.clear(slot));
        assert!(positions.members.is_empty());
    }
}
