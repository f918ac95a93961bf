//! Entities to rows outside a connection, and back.
//!
//! Used for handover, checkpoints and save files. Taking a snapshot reads the world; putting one
//! back is in two steps: [`stage`] decodes everything (on any thread, may fail), and
//! [`StagedSnapshot::spawn`] puts it into the world (on the main thread, cannot fail).
//!
//! # Save files
//!
//! [`save_snapshot`] writes what an app hosts to a file, [`load_snapshot`] reads it. Names, fences
//! and references between entities come back as they were, components that are only
//! [kept](crate::ReplicateAppExt::keep) too.
//!
//! ```
//! use bevy::prelude::*;
//! use seamless_replication::{Registry, ReplicateAppExt, Replicated, ReplicationPlugin, snapshot::*};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Component, TypePath, Serialize, Deserialize, PartialEq, Debug)]
//! struct Gold(u32);
//!
//! fn app() -> App {
//!     let mut app = App::new();
//!     let names = ReplicationPlugin { block: Some(2), ..default() };
//!     app.add_plugins((MinimalPlugins, seamless_transport::TransportPlugin::default(), names));
//!     app.replicate::<Gold>();
//!     app.finish();
//!     app
//! }
//!
//! let folder = std::env::temp_dir().join(format!("seamless-doc-{}", std::process::id()));
//! std::fs::create_dir_all(&folder)?;
//! let path = folder.join("world.seamless");
//! let options = FileOptions::default();
//!
//! let mut old = app();
//! old.world_mut().spawn((Replicated, Gold(7)));
//! save_snapshot(old.world(), Scope::Hosted, &path, &options)?;
//!
//! let mut new = app();
//! let staged = load_snapshot(new.world().resource::<Registry>(), &path, &options)?;
//! // Whoever held something is not connected to this server yet.
//! let loaded = staged.spawn(new.world_mut(), |_, tenure| unheld(tenure));
//! assert_eq!(new.world().get::<Gold>(loaded[0]), Some(&Gold(7)));
//! # std::fs::remove_dir_all(folder)?;
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! ```

mod atomic;
mod error;
mod file;
mod options;
mod read;
pub(crate) mod transfer;

use bevy::{ecs::component::ComponentId, platform::collections::HashSet, prelude::*};
use seamless_wire::{
    GlobalEntity, Holder, Tenure, TenureEnd, Tick, WireError,
    snapshot::{SnapshotRow, WorldSnapshot},
};

use crate::{
    Replicated,
    authority::Authority,
    clock::NetClock,
    references::References,
    registry::{Arrivals, Registry, StagedComponent},
    rows::Rows,
    slots::{NetSlot, Slots},
};

pub use error::{LoadError, SaveError, StageError};
pub use file::{SavedWorld, Scope, load_snapshot, save_snapshot};
pub use options::FileOptions;
pub(crate) use options::{default_compressor, known};
pub use transfer::{
    SendSnapshotError, SnapshotFailed, SnapshotReceived, SnapshotTransfer, TransferError,
};

/// Rows of these entities, with everything registered for replication or with
/// [`keep`](crate::ReplicateAppExt::keep), and what only some clients are told: it is not for players.
/// Entities without a name are left out.
///
/// # Errors
/// [`WireError`] if a component refuses to be encoded.
#[expect(
    unsafe_code,
    reason = "components are read by id, as the registry knows them"
)]
pub fn take_snapshot(world: &World, entities: &[Entity]) -> Result<WorldSnapshot, WireError> {
    let registry = world.resource::<Registry>();
    let slots = world.resource::<Slots>();
    let mut rows = Vec::with_capacity(entities.len());
    for &entity in entities {
        let Ok(entity) = world.get_entity(entity) else {
            continue;
        };
        let Some(slot) = entity.get::<NetSlot>() else {
            continue;
        };
        let (Some(name), Some(tenure)) = (slot.global(), slots.tenure(slot)) else {
            continue;
        };
        let mut components = Vec::new();
        for registered in registry.components().iter().chain(registry.kept()) {
            let Ok(ptr) = entity.get_by_id(registered.component_id) else {
                continue;
            };
            let mut value = Vec::new();
            // SAFETY: `ptr` was read under the id that the codec was registered for.
            unsafe { registered.erased.write(ptr, world, &mut value) }?;
            components.push((registered.descriptor.id, value));
        }
        components.sort_by_key(|(id, _)| *id);
        rows.push(SnapshotRow {
            entity: name,
            tenure,
            components,
        });
    }
    Ok(WorldSnapshot {
        tick: world.resource::<NetClock>().tick(),
        schema: registry.digest(),
        rows,
    })
}

/// A decoded snapshot. Putting it into the world cannot fail.
pub struct StagedSnapshot {
    /// The tick at whose end it was taken.
    pub tick: Tick,
    /// The first name that the writer of a file had not given to anything.
    free_name: Option<GlobalEntity>,
    /// Whether the writer knew all that is replicated here.
    is_of_this_schema: bool,
    entities: Vec<StagedEntity>,
}

struct StagedEntity {
    name: GlobalEntity,
    tenure: Tenure,
    components: Vec<(ComponentId, Box<dyn StagedComponent>)>,
}

/// Decodes a snapshot.
///
/// # Errors
/// [`StageError`] if a component is not registered here, comes twice or does not decode: nothing is
/// dropped in silence.
pub fn stage(registry: &Registry, snapshot: &WorldSnapshot) -> Result<StagedSnapshot, StageError> {
    let mut entities = Vec::with_capacity(snapshot.rows.len());
    for row in &snapshot.rows {
        let mut components = Vec::with_capacity(row.components.len());
        let mut last = None;
        for (id, value) in &row.components {
            let entity = row.entity;
            if last.replace(*id) >= Some(*id) {
                return Err(StageError::Disordered {
                    entity,
                    component: *id,
                });
            }
            let registered = registry.by_hash(*id).ok_or(StageError::Unknown {
                entity,
                component: *id,
            })?;
            let staged = registered.erased.stage(value);
            let staged = staged.map_err(|error| StageError::Undecodable {
                entity,
                path: registered.descriptor.path.clone(),
                error,
            })?;
            components.push((registered.component_id, staged));
        }
        entities.push(StagedEntity {
            name: row.entity,
            tenure: row.tenure,
            components,
        });
    }
    Ok(StagedSnapshot {
        tick: snapshot.tick,
        free_name: None,
        is_of_this_schema: snapshot.schema == registry.digest(),
        entities,
    })
}

/// A fence without a peer that holds the entity, for [`StagedSnapshot::spawn`]: a loaded world's
/// clients are not connected, and nobody else would end their tenure.
#[must_use]
pub fn unheld(mut tenure: Tenure) -> Tenure {
    if matches!(tenure.holder, Holder::Peer(_)) {
        tenure.transfer(Holder::Nobody, TenureEnd::OutOfScope);
    }
    tenure
}

impl StagedSnapshot {
    /// Names of the entities in it, in order.
    pub fn names(&self) -> impl Iterator<Item = GlobalEntity> {
        self.entities.iter().map(|entity| entity.name)
    }

    /// Hosts the entities here. `fence` gives each its fence from the one it had. Entities with the
    /// same name that are here already are replaced in place: same Bevy entity, without those of its
    /// replicated and kept components that the snapshot does not have. None gets replicated components
    /// either that others require (`#[require]`) and that it does not have there. Components of which the
    /// app that took the snapshot may not have known are as they are, or as Bevy makes them: it had another
    /// schema, of which what is only kept is no part, and nothing in the snapshot has them. Names of a snapshot
    /// are not given to anything else afterwards, and of one from a file none that its writer gave.
    ///
    /// Returns them in the order of the snapshot. One that an observer despawned as it came is gone,
    /// and one that it took off the network gets no components.
    pub fn spawn(
        self,
        world: &mut World,
        mut fence: impl FnMut(GlobalEntity, Tenure) -> Tenure,
    ) -> Vec<Entity> {
        let mut slots = world.resource_mut::<Slots>();
        let names = self.entities.iter().map(|staged| staged.name);
        for name in names {
            slots.names.pass(name);
        }
        if let Some(free) = self.free_name {
            slots.names.begin_at(free);
        }
        let registry = world.resource::<Registry>().clone();
        // What the writer knew of, so that it was not there if it is not in it.
        let staged = self.entities.iter().flat_map(|staged| &staged.components);
        let in_it: HashSet<ComponentId> = staged.map(|(id, _)| *id).collect();
        let is_of_this_schema = self.is_of_this_schema;
        let knew = |id: ComponentId| is_of_this_schema || in_it.contains(&id);
        // All entities first, so that references between them resolve at once.
        let mut spawned = Vec::with_capacity(self.entities.len());
        for staged in &self.entities {
            let mut tenure = fence(staged.name, staged.tenure);
            let slots = world.resource::<Slots>();
            let live = slots.index_of(staged.name).and_then(|at| slots.get(at));
            if let Some(live) = live.map(|slot| &*slot.tenure)
                && (tenure.epoch < live.epoch || tenure.epoch == live.epoch && tenure != *live)
            {
                // Peers know of that one, and take nothing else under it or an earlier one.
                tenure.epoch = live.epoch.next_holder();
                tenure.since = tenure.epoch;
            }
            let (entity, was_here) = place(world, staged.name);
            if let Some(slot) = world.get::<NetSlot>(entity).copied() {
                world.resource_mut::<Slots>().set_tenure(&slot, tenure);
            }
            if let Some(mut entity) = on_network(world, entity)
                && (tenure.delegated || entity.contains::<Authority>())
            {
                entity.insert(Authority::of(true, &tenure));
            }
            if was_here {
                if let Some(slot) = world.get::<NetSlot>(entity).copied() {
                    world.resource_mut::<Rows>().told_anew.insert(slot.index);
                }
                let stays = |id| !knew(id) || staged.components.iter().any(|(its, _)| *its == id);
                strip(world, &registry, entity, stays);
            }
            spawned.push(entity);
        }
        for (staged, &entity) in self.entities.into_iter().zip(&spawned) {
            if on_network(world, entity).is_none() {
                continue;
            }
            let ids: Vec<ComponentId> = staged.components.iter().map(|(id, _)| *id).collect();
            let mut arrivals = Arrivals::default();
            for (id, component) in staged.components {
                let here = world.get_entity(entity);
                if here.is_ok_and(|entity| entity.contains_id(id)) {
                    component.put(world, entity);
                } else {
                    arrivals.add(world, entity, id, component);
                }
            }
            arrivals.insert_alone(world, &registry, entity, |component| {
                let id = registry.component(component).component_id;
                !knew(id) || ids.contains(&id)
            });
        }
        spawned
    }
}

/// Takes off an entity what a snapshot would have of it and does not.
fn strip(
    world: &mut World,
    registry: &Registry,
    entity: Entity,
    stays: impl Fn(ComponentId) -> bool,
) {
    for registered in registry.components().iter().chain(registry.kept()) {
        let id = registered.component_id;
        let has = world.get_entity(entity).is_ok_and(|it| it.contains_id(id));
        if has && !stays(id) {
            registered.erased.remove(world, entity);
        }
    }
}

/// An entity, if observers of the game have left it on the network.
fn on_network(world: &mut World, entity: Entity) -> Option<EntityWorldMut<'_>> {
    let entity = world.get_entity_mut(entity).ok()?;
    entity.contains::<NetSlot>().then_some(entity)
}

/// The entity that is to carry a name, and whether it did already: one that is here, one that is
/// reserved, or a new one.
fn place(world: &mut World, name: GlobalEntity) -> (Entity, bool) {
    let slots = world.resource::<Slots>();
    let present = slots.entity(name).map(|entity| {
        let owner = world
            .get::<NetSlot>(entity)
            .and_then(|slot| slots.owner(slot));
        (entity, owner)
    });
    if let Some((usurper, Some(_))) = present {
        // A client spawned something under a name that was never lent to it.
        world.despawn(usurper);
    } else if let Some((present, None)) = present {
        let tenure = Tenure::default();
        crate::role::change_role(world, present, crate::Role::Host, tenure);
        return (present, true);
    }
    let entity = world
        .resource_mut::<References>()
        .claim(name)
        .filter(|entity| world.get_entity(*entity).is_ok())
        .unwrap_or_else(|| world.spawn_empty().id());
    world
        .entity_mut(entity)
        .insert((NetSlot::named(name), Replicated));
    (entity, false)
}
