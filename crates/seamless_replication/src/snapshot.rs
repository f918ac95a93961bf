//! Entities to rows outside a connection, and back.
//!
//! Used for handover, checkpoints and save files. Taking a snapshot reads the world; putting one
//! back is in two steps: [`stage`] decodes everything (on any thread, may fail), and
//! [`StagedSnapshot::spawn`] puts it into the world (on the main thread, cannot fail).

use bevy::prelude::*;
use seamless_wire::{
    GlobalEntity, Tenure, Tick, WireError,
    snapshot::{SnapshotRow, WorldSnapshot},
};

use crate::{
    Replicated,
    authority::Authority,
    clock::NetClock,
    references::References,
    registry::{Registry, StagedComponent},
    slots::{NetSlot, Slots},
};

/// Rows of these entities, with everything registered for replication or with
/// [`keep`](crate::ReplicateAppExt::keep). Entities without a name are left out.
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
    entities: Vec<StagedEntity>,
}

struct StagedEntity {
    name: GlobalEntity,
    tenure: Tenure,
    components: Vec<Box<dyn StagedComponent>>,
}

/// Decodes a snapshot.
///
/// # Errors
/// [`WireError`] if a component is not registered here or does not decode: nothing is dropped in
/// silence.
pub fn stage(registry: &Registry, snapshot: &WorldSnapshot) -> Result<StagedSnapshot, WireError> {
    let mut entities = Vec::with_capacity(snapshot.rows.len());
    for row in &snapshot.rows {
        let mut components = Vec::with_capacity(row.components.len());
        for (id, value) in &row.components {
            let registered = registry.by_hash(*id).ok_or(WireError::Invalid {
                what: "component of a snapshot",
                value: *id,
            })?;
            components.push(registered.erased.stage(value)?);
        }
        entities.push(StagedEntity {
            name: row.entity,
            tenure: row.tenure,
            components,
        });
    }
    Ok(StagedSnapshot {
        tick: snapshot.tick,
        entities,
    })
}

impl StagedSnapshot {
    /// Names of the entities in it, in order.
    pub fn names(&self) -> impl Iterator<Item = GlobalEntity> {
        self.entities.iter().map(|entity| entity.name)
    }

    /// Hosts the entities here. `fence` gives each its fence from the one it had. Entities with the
    /// same name that are here already are replaced in place: same Bevy entity.
    ///
    /// Returns them in the order of the snapshot.
    pub fn spawn(
        self,
        world: &mut World,
        mut fence: impl FnMut(GlobalEntity, Tenure) -> Tenure,
    ) -> Vec<Entity> {
        // All entities first, so that references between them resolve at once.
        let mut spawned = Vec::with_capacity(self.entities.len());
        for staged in &self.entities {
            let tenure = fence(staged.name, staged.tenure);
            let entity = place(world, staged.name);
            if let Some(slot) = world.get::<NetSlot>(entity).copied() {
                world.resource_mut::<Slots>().set_tenure(&slot, tenure);
            }
            if tenure.delegated {
                world
                    .entity_mut(entity)
                    .insert(Authority::of(true, &tenure));
            }
            spawned.push(entity);
        }
        for (staged, &entity) in self.entities.into_iter().zip(&spawned) {
            for component in staged.components {
                component.insert(world, entity);
            }
        }
        spawned
    }
}

/// The entity that is to carry a name: one that is here, one that is reserved, or a new one.
fn place(world: &mut World, name: GlobalEntity) -> Entity {
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
        crate::receive::apply::change_role(world, present, crate::Role::Host, tenure);
        return present;
    }
    let entity = world
        .resource_mut::<References>()
        .claim(name)
        .filter(|entity| world.get_entity(*entity).is_ok())
        .unwrap_or_else(|| world.spawn_empty().id());
    world
        .entity_mut(entity)
        .insert((NetSlot::named(name), Replicated));
    entity
}
