//! What is replicated, and how.
//!
//! Types are registered on the app before it runs. When plugins finish, the registry is sealed:
//! components are sorted by the hash of their type path, and the index in that order is what
//! travels. So the order of registration does not matter, and two peers with the same types agree
//! without talking.

mod audience;
mod bundle;
mod columns;
mod component;
mod condition;
mod quantized;
mod replicator;
pub(crate) mod resource;
mod rule;
mod staged;

use std::sync::Arc;

use bevy::{
    ecs::{
        archetype::Archetype,
        component::{ComponentId, StorageType},
    },
    platform::collections::{HashMap, HashSet},
    prelude::*,
    reflect::TypePath,
};
use seamless_wire::{
    WriteMask,
    hash::{Namespace, type_id},
    schema::{ComponentDescriptor, MessageDescriptor, Schema},
};
use serde::{Serialize, de::DeserializeOwned};

use crate::plugin::ReplicationSystems;
pub use audience::{Audience, Viewer};
pub use bundle::ReplicatedBundle;

pub(crate) use columns::Columns;
pub(crate) use component::{Entities, Registered, Typed};
pub use quantized::{Ints, IntsReader, Quantize, TransformPrecision};
use replicator::SERDE;
pub use replicator::{Lossless, MAX_COMPONENT_BYTES, Replicator};
pub use rule::Rule;
pub(crate) use staged::{Arrivals, RemoteMarks, StagedComponent, put_remote};

/// Adds registration to [`App`].
pub trait ReplicateAppExt {
    /// Replicates a serde component, lossless.
    ///
    /// Entity references inside it are *not* translated: see
    /// [`replicate_with_entities`](Self::replicate_with_entities).
    ///
    /// # Panics
    /// If the type is registered already, if the hash of its path is that of another type, or if
    /// the app has started.
    fn replicate<C>(&mut self) -> Rule<'_>
    where
        C: Component + TypePath + Serialize + DeserializeOwned;

    /// Replicates a serde component whose entity references (`#[entities]`) are translated: an
    /// entity has another local id on every peer. A reference to an entity that is not there yet
    /// reserves an empty one in its place.
    ///
    /// # Panics
    /// As [`replicate`](Self::replicate).
    fn replicate_with_entities<C>(&mut self) -> Rule<'_>
    where
        C: Component + TypePath + Clone + Serialize + DeserializeOwned;

    /// Replicates a component with a bounded loss, as a few integers. [`Transform`] is ready made;
    /// [`Quantize`] says how to do it for others.
    ///
    /// # Panics
    /// As [`replicate`](Self::replicate).
    fn replicate_quantized<C>(&mut self, precision: C::Precision) -> Rule<'_>
    where
        C: Component + TypePath + Quantize;

    /// Replicates a component with a coding of its own.
    ///
    /// # Panics
    /// As [`replicate`](Self::replicate).
    fn replicate_as<C>(&mut self, replicator: impl Replicator<C>) -> Rule<'_>
    where
        C: Component + TypePath;

    /// Replicates each component of a tuple, lossless, on entities that have all of them: an
    /// entity that has only some is told without any, and the peers lose all of them when one
    /// goes. Short for [`replicate`](Self::replicate) with [`Rule::when`] on each.
    ///
    /// # Panics
    /// As [`replicate`](Self::replicate). So a component is in one bundle at most.
    fn replicate_bundle<B: ReplicatedBundle>(&mut self) -> &mut Self;

    /// Replicates a resource, lossless: what the server has, its clients have, each of them. It
    /// is on no place and in no scope, so everybody sees it.
    ///
    /// On a client it is a resource like any other: `Res<R>` works, a change that arrives is a
    /// change, and one that the server removes is removed. A value that the client had is replaced
    /// by the server's first, with its entity; one that the server does not have, stays. After
    /// the link is gone the last value stays.
    ///
    /// A server or node publishes it in the first tick in which it has it, and as long as it has
    /// it. Clients of several nodes have the value that arrived last, so nodes should agree on it.
    ///
    /// It should refer to no entity: Bevy does not let it say to which. An entity with a component of its
    /// own can, and is replicated like any other.
    ///
    /// Cost: that of a component of one entity.
    ///
    /// # Panics
    /// As [`replicate`](Self::replicate).
    fn replicate_resource<R>(&mut self) -> Rule<'_>
    where
        R: Resource + TypePath + Serialize + DeserializeOwned;

    /// Keeps a server-only component with its entity through handover, checkpoint and restore:
    /// timers, random states, anything that players must not see but that must not be lost. References to
    /// entities are translated.
    ///
    /// # Panics
    /// As [`replicate`](Self::replicate).
    fn keep<C>(&mut self) -> &mut Self
    where
        C: Component + TypePath + Clone + Serialize + DeserializeOwned;
}

impl ReplicateAppExt for App {
    fn replicate<C>(&mut self) -> Rule<'_>
    where
        C: Component + TypePath + Serialize + DeserializeOwned,
    {
        assert!(
            C::relationship_accessor().is_none(),
            "\"{}\" relates entities, which are others on every peer: `replicate_with_entities` \
             translates them, of the component that is on the one that is related \
             (`ChildOf`, not `Children`)",
            C::type_path()
        );
        register(self, Lossless::<C>::default(), Entities::Lost)
    }

    fn replicate_with_entities<C>(&mut self) -> Rule<'_>
    where
        C: Component + TypePath + Clone + Serialize + DeserializeOwned,
    {
        register(
            self,
            Lossless::<C>::default(),
            Entities::Translated(C::clone),
        )
    }

    fn replicate_quantized<C>(&mut self, precision: C::Precision) -> Rule<'_>
    where
        C: Component + TypePath + Quantize,
    {
        register(
            self,
            quantized::Quantized::<C>(precision),
            Entities::Replicators,
        )
    }

    fn replicate_as<C>(&mut self, replicator: impl Replicator<C>) -> Rule<'_>
    where
        C: Component + TypePath,
    {
        register(self, replicator, Entities::Replicators)
    }

    fn replicate_bundle<B: ReplicatedBundle>(&mut self) -> &mut Self {
        B::register(self);
        self
    }

    fn replicate_resource<R>(&mut self) -> Rule<'_>
    where
        R: Resource + TypePath + Serialize + DeserializeOwned,
    {
        self.add_systems(
            FixedPostUpdate,
            resource::publish::<R>
                .in_set(ReplicationSystems::Collect)
                .before(crate::send::driver::depart),
        );
        self.replicate::<R>().resource()
    }

    fn keep<C>(&mut self) -> &mut Self
    where
        C: Component + TypePath + Clone + Serialize + DeserializeOwned,
    {
        let entities = Entities::Translated(C::clone);
        let entry = entry(self, Lossless::<C>::default(), entities);
        builder(self).add_kept(entry);
        self
    }
}

fn register<'a, C: Component + TypePath>(
    app: &'a mut App,
    replicator: impl Replicator<C>,
    entities: Entities<C>,
) -> Rule<'a> {
    let entry = entry(app, replicator, entities);
    let id = entry.descriptor.id;
    builder(app).add(entry);
    app.world_mut().add_observer(crate::collect::on_remove::<C>);
    Rule::new(app, id)
}

fn entry<C: Component + TypePath>(
    app: &mut App,
    replicator: impl Replicator<C>,
    entities: Entities<C>,
) -> Registered {
    let path = C::type_path();
    Registered {
        descriptor: ComponentDescriptor {
            id: type_id(Namespace::Component, path),
            path: path.into(),
            codec: replicator.describe(),
            host_only: false,
        },
        component_id: app.world_mut().register_component::<C>(),
        storage: C::STORAGE_TYPE,
        priority: 1.0,
        is_resource: false,
        refers: matches!(entities, Entities::Translated(_)),
        once: false,
        unaudited: false,
        audience: None,
        write_bit: None,
        conditions: Vec::new(),
        erased: Box::new(Typed::new(replicator, &entities)),
    }
}

pub(crate) fn builder(app: &mut App) -> Mut<'_, RegistryBuilder> {
    app.init_resource::<RegistryBuilder>();
    app.world_mut().resource_mut::<RegistryBuilder>()
}

/// Collects registrations until the app starts.
#[derive(Resource, Default)]
pub(crate) struct RegistryBuilder {
    components: HashMap<u64, Registered>,
    kept: HashMap<u64, Registered>,
    messages: HashMap<u64, MessageDescriptor>,
    input: Option<MessageDescriptor>,
    /// Components that conditions name.
    watched: HashSet<ComponentId>,
    sealed: bool,
}

impl RegistryBuilder {
    fn check(&self, id: u64, path: &str) {
        assert!(
            !self.sealed,
            "\"{path}\" is registered after the app started"
        );
        let other = self
            .components
            .get(&id)
            .or_else(|| self.kept.get(&id))
            .map(|c| c.descriptor.path.as_str())
            .or_else(|| self.messages.get(&id).map(|m| m.path.as_str()));
        if let Some(other) = other {
            assert_ne!(other, path, "\"{path}\" is registered twice");
            panic!("\"{path}\" and \"{other}\" hash to {id:#018x}: rename one");
        }
    }

    fn add(&mut self, entry: Registered) {
        self.check(entry.descriptor.id, &entry.descriptor.path);
        self.components.insert(entry.descriptor.id, entry);
    }

    fn add_kept(&mut self, entry: Registered) {
        self.check(entry.descriptor.id, &entry.descriptor.path);
        self.kept.insert(entry.descriptor.id, entry);
    }

    pub(crate) fn add_message(&mut self, message: MessageDescriptor) {
        self.check(message.id, &message.path);
        self.messages.insert(message.id, message);
    }

    pub(crate) fn set_input(&mut self, input: MessageDescriptor) {
        assert!(
            !self.sealed,
            "\"{}\" is registered after the app started",
            input.path
        );
        if let Some(other) = &self.input {
            panic!(
                "there is one kind of input: \"{}\" or \"{}\"",
                other.path, input.path
            );
        }
        self.input = Some(input);
    }

    /// `remote`: see [`Registry::remote_ids`].
    pub(crate) fn seal(&mut self, remote: [ComponentId; 3]) -> Registry {
        self.sealed = true;
        let mut components: Vec<Registered> = self.components.drain().map(|(_, c)| c).collect();
        components.sort_by_key(|c| c.descriptor.id);
        let writable = components.iter_mut().filter(|c| !c.descriptor.host_only);
        for (bit, component) in (0..WriteMask::LEN).zip(writable) {
            component.write_bit = Some(bit);
        }
        let mut kept: Vec<Registered> = self.kept.drain().map(|(_, c)| c).collect();
        kept.sort_by_key(|c| c.descriptor.id);
        let mut messages: Vec<MessageDescriptor> = self.messages.drain().map(|(_, m)| m).collect();
        messages.sort_by_key(|m| m.id);
        let schema = Schema {
            components: components.iter().map(|c| c.descriptor.clone()).collect(),
            messages,
            input: self.input.take(),
        };
        let by_component = components
            .iter()
            .enumerate()
            .map(|(index, c)| (c.component_id, index as u16))
            .collect();
        Registry(Arc::new(Sealed {
            digest: schema.digest(),
            any_sparse: components
                .iter()
                .any(|c| c.storage == StorageType::SparseSet || c.has_sparse_condition()),
            has_audiences: components.iter().any(|c| c.audience.is_some()),
            schema,
            components,
            kept,
            by_component,
            remote,
        }))
    }
}

/// Everything registered, fixed once the app runs. Cheap to clone and to send to another thread.
#[derive(Resource, Clone)]
pub struct Registry(Arc<Sealed>);

struct Sealed {
    schema: Schema,
    digest: u64,
    components: Vec<Registered>,
    kept: Vec<Registered>,
    by_component: HashMap<ComponentId, u16>,
    remote: [ComponentId; 3],
    any_sparse: bool,
    has_audiences: bool,
}

impl Registry {
    /// What peers compare before they talk.
    #[must_use]
    pub fn schema(&self) -> &Schema {
        &self.0.schema
    }

    /// [`Schema::digest`] of it.
    #[must_use]
    pub fn digest(&self) -> u64 {
        self.0.digest
    }

    pub(crate) fn component(&self, index: u16) -> &Registered {
        &self.0.components[index as usize]
    }

    pub(crate) fn components(&self) -> &[Registered] {
        &self.0.components
    }

    /// Whether anything is kept in snapshots without being replicated.
    #[must_use]
    pub fn keeps_any(&self) -> bool {
        !self.0.kept.is_empty()
    }

    pub(crate) fn kept(&self) -> &[Registered] {
        &self.0.kept
    }

    /// Replicated components that come by themselves with these (`#[require]`) and are none of them.
    pub(crate) fn required_with(&self, world: &World, ids: &[ComponentId]) -> Vec<u16> {
        let infos = ids.iter().filter_map(|id| world.components().get_info(*id));
        let required = infos.flat_map(|info| info.required_components().iter_ids());
        let others = required.filter(|id| !ids.contains(id));
        let mut found: Vec<u16> = others.filter_map(|id| self.index_of(id)).collect();
        found.sort_unstable();
        found.dedup();
        found
    }

    /// Takes off what came by itself with these components and is not told, unless something else that is
    /// on the entity requires it.
    pub(crate) fn take_off(
        &self,
        world: &mut World,
        entity: Entity,
        unasked: &[u16],
        told: &[ComponentId],
    ) {
        for &component in unasked {
            let Registered {
                component_id,
                erased,
                ..
            } = self.component(component);
            let requires = |id: &ComponentId| {
                let info = world.components().get_info(*id);
                info.is_some_and(|info| {
                    info.required_components()
                        .iter_ids()
                        .any(|id| id == *component_id)
                })
            };
            let needed = world.get_entity(entity).is_ok_and(|entity| {
                let all = entity.archetype().components().iter();
                let others = all.filter(|id| !told.contains(id));
                let mut others =
                    others.filter(|id| self.index_of(**id).is_none_or(|id| !unasked.contains(&id)));
                others.any(requires)
            });
            if !needed {
                erased.remove(world, entity);
            }
        }
    }

    /// Takes components off an entity, all at once: one move between archetypes.
    pub(crate) fn remove_all(&self, world: &mut World, entity: Entity, components: &[u16]) {
        let all = || {
            components
                .iter()
                .map(|&component| self.component(component))
        };
        all().for_each(|registered| registered.erased.forget(world, entity));
        let ids: Vec<ComponentId> = all().map(|registered| registered.component_id).collect();
        if let Ok(mut entity) = world.get_entity_mut(entity)
            && !ids.is_empty()
        {
            entity.remove_by_ids(&ids);
        }
    }

    /// Whether a component is what a row value says, to the bit. False if that cannot be told.
    pub(crate) fn is_exactly(
        &self,
        world: &World,
        entity: Entity,
        component: u16,
        value: &[u8],
    ) -> bool {
        let registered = self.component(component);
        let entity = world.get_entity(entity).ok();
        let Some(ptr) = entity.and_then(|entity| entity.get_by_id(registered.component_id).ok())
        else {
            return false;
        };
        let mut live = Vec::with_capacity(value.len());
        #[expect(unsafe_code, reason = "a component whose type is not known")]
        // SAFETY: the registry maps each id to the codec of its type.
        let written = unsafe { registered.erased.write(ptr, world, &mut live) };
        // What is rounded may be another value in the same bits.
        registered.descriptor.codec == SERDE && written.is_ok() && live == value
    }

    pub(crate) fn index_of(&self, component: ComponentId) -> Option<u16> {
        self.0.by_component.get(&component).copied()
    }

    /// The ids of [`Authority`](crate::Authority), [`NetSlot`](crate::NetSlot) and
    /// [`Remote`](crate::Remote) in this world, in this order.
    pub(crate) fn remote_ids(&self) -> [ComponentId; 3] {
        self.0.remote
    }

    /// Whether a holder to whom these are lent writes a component.
    pub(crate) fn holder_writes(&self, component: u16, writes: WriteMask) -> bool {
        let registered = self.component(component);
        !registered.descriptor.host_only
            && registered.write_bit.is_none_or(|bit| writes.allows(bit))
    }

    /// A mask that allows a holder to write all components but `C`. `None` if `C` is not
    /// replicated, is `host_only` anyway, or is past the 64 components that can be withheld.
    #[must_use]
    pub fn writes_all_but<C: Component + TypePath>(&self) -> Option<WriteMask> {
        let mut all = self.components().iter();
        let found = all.find(|c| c.descriptor.path == C::type_path())?;
        Some(WriteMask::withholding(1 << found.write_bit?))
    }

    /// A mask that allows a holder to write only `C`, of the 64 components that can be withheld.
    /// `None` as for [`writes_all_but`](Self::writes_all_but).
    #[must_use]
    pub fn writes_only<C: Component + TypePath>(&self) -> Option<WriteMask> {
        let but = self.writes_all_but::<C>()?;
        Some(WriteMask::withholding(!but.withheld()))
    }

    /// Whether one of these components is a resource.
    pub(crate) fn any_resource(&self, components: &[u16]) -> bool {
        components
            .iter()
            .any(|&index| self.component(index).is_resource)
    }

    /// Components of an archetype that are replicated on its entities, ascending by their index
    /// in the schema. `all`: whatever their conditions say.
    pub(crate) fn replicated_in(
        &self,
        archetype: &Archetype,
        all: bool,
    ) -> Vec<(u16, ComponentId)> {
        let mut components: Vec<(u16, ComponentId)> = archetype
            .iter_components()
            .filter_map(|id| self.index_of(id).map(|index| (index, id)))
            .filter(|(index, _)| all || self.component(*index).is_replicated_in(archetype))
            .collect();
        components.sort_unstable();
        components
    }

    pub(crate) fn any_sparse(&self) -> bool {
        self.0.any_sparse
    }

    /// Whether any component is told to some clients only.
    pub(crate) fn has_audiences(&self) -> bool {
        self.0.has_audiences
    }

    /// A replicated or kept component by the hash of its path.
    pub(crate) fn by_hash(&self, id: u64) -> Option<&Registered> {
        let find =
            |list: &'_ [Registered]| list.binary_search_by_key(&id, |c| c.descriptor.id).ok();
        match find(&self.0.components) {
            Some(at) => Some(&self.0.components[at]),
            None => find(&self.0.kept).map(|at| &self.0.kept[at]),
        }
    }

    /// Index of a message by the hash of its path.
    pub(crate) fn message_index(&self, id: u64) -> Option<u16> {
        self.0
            .schema
            .messages
            .binary_search_by_key(&id, |m| m.id)
            .ok()
            .map(|at| at as u16)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "\"one\" and \"other\" hash to 0x0000000000000007: rename one")]
    fn two_names_of_one_hash_are_named() {
        let mut builder = RegistryBuilder::default();
        let message = |path: &str| MessageDescriptor {
            id: 7,
            path: path.into(),
            kind: String::new(),
        };
        builder.add_message(message("other"));
        builder.add_message(message("one"));
    }
}
