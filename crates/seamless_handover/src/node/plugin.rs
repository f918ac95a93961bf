//! The node's plugin.

use std::time::Duration;

use bevy::{
    app::{RunFixedMainLoop, RunFixedMainLoopSystems},
    prelude::*,
};
use seamless_authority::AuthoritySystems;
use seamless_mesh::protocol::Staged;
use seamless_replication::{
    EvenHidden, Hosted, NetSlot, Registry, ReplicateAppExt, Replicated, ReplicationConfig,
    ReplicationSystems, Slots,
    inputs::Inboxes,
    snapshot::stage,
    tick_is_fresh,
    transport::TransportSystems,
    wire::{CellId, snapshot::WorldSnapshot},
};

use super::{
    arrive::{self, Held},
    border, checkpoint,
    door::{self, Linkless},
    events,
    load::{self, LoadMeter},
    state::{GroupActivated, GroupDeparted, GroupFrozen, MeshView},
    terms,
};
use crate::{
    geometry::{BorderRules, CellGrid},
    group::RidesOn,
    port::Mesh,
};

/// How this node behaves.
#[derive(Resource, Clone, Debug)]
pub struct MeshNodeConfig {
    /// Cells it takes at the start, if nobody has them.
    pub cells: Vec<CellId>,
    /// How often changed groups are written to the directory. At least 5, or more is lost when
    /// this node dies than the design allows for.
    pub checkpoints_per_second: u32,
    /// How long a player stays in the world after its client left.
    pub linger: Duration,
}

impl Default for MeshNodeConfig {
    fn default() -> Self {
        Self {
            cells: Vec::new(),
            checkpoints_per_second: 5,
            linger: Duration::from_secs(30),
        }
    }
}

/// The entity has a row in the directory.
#[derive(Component, Clone, Copy, Debug, Default)]
#[component(clone_behavior = Ignore)]
pub struct Stored;

/// Hosts cells of a world that other nodes host other cells of.
///
/// `PreUpdate`, after receive: what the mesh decided takes effect (groups come, go, stay), clients
/// at the door are attended. `FixedFirst`: groups that came begin. `FixedPostUpdate`, once rows are up to date: borders are watched,
/// groups frozen and handed to the mesh, changed groups stored.
///
/// Insert a [`Mesh`] before the app runs, or at any time later.
pub struct MeshNodePlugin {
    /// The cells of the world.
    pub grid: CellGrid,
    /// Distances and times of a crossing.
    pub rules: BorderRules,
    /// How the node behaves.
    pub config: MeshNodeConfig,
}

impl Plugin for MeshNodePlugin {
    fn build(&self, app: &mut App) {
        app.insert_resource(self.grid)
            .insert_resource(self.rules)
            .insert_resource(self.config.clone())
            .init_resource::<MeshView>()
            .init_resource::<Linkless>()
            .init_resource::<Held>()
            .init_resource::<LoadMeter>()
            .add_message::<GroupActivated>()
            .add_message::<GroupFrozen>()
            .add_message::<GroupDeparted>();
        crate::share(app);
        // A player's inputs go with its group, and wait for as long as it does.
        app.add_systems(Startup, |mut inboxes: ResMut<Inboxes>| {
            inboxes.keep_absent();
        });
        app.add_systems(Startup, |mut config: ResMut<ReplicationConfig>| {
            config.keep_alive_ticks = config.keep_alive_ticks.min(KEEP_ALIVE_TICKS);
            // Clients come back by the doors, perhaps to another node.
            config.resume_grace = Duration::ZERO;
        })
        .add_systems(
            RunFixedMainLoop,
            hold_if_fenced
                .in_set(RunFixedMainLoopSystems::BeforeFixedMainLoop)
                .before(ReplicationSystems::Align),
        )
        .add_systems(
            PreUpdate,
            (install_door, events::drive, door::attend)
                .chain()
                // What a client asked for before its entity left is answered first.
                .after(AuthoritySystems::React)
                .in_set(ReplicationSystems::React),
        )
        .add_systems(
            FixedFirst,
            (arrive::begin, load::tick_begins)
                .chain()
                .after(ReplicationSystems::Tick),
        )
        .add_systems(
            FixedPostUpdate,
            (
                (checkpoint::adjust_roots, give_terms)
                    .before(ReplicationSystems::Collect)
                    .run_if(tick_is_fresh),
                (
                    border::watch_borders,
                    checkpoint::checkpoint,
                    door::retire_linkless,
                    door::forget_tombstones,
                )
                    .chain()
                    .after(ReplicationSystems::Collect)
                    .before(ReplicationSystems::Visibility)
                    .run_if(tick_is_fresh),
                load::report.after(TransportSystems::Send),
            ),
        );
    }
}

/// Before any tick of this frame: a process that was stopped for too long finds out here, before
/// any event has reached it.
fn hold_if_fenced(world: &mut World) {
    let Some(mesh) = world.get_resource::<Mesh>() else {
        return;
    };
    let fenced = !mesh.link().may_simulate();
    events::set_fenced(world, fenced);
}

/// A client takes ten silent ticks for the death of its host: five signs of life, of which four
/// may be lost.
const KEEP_ALIVE_TICKS: u32 = 2;

fn install_door(world: &mut World) {
    if world
        .get_resource_ref::<Mesh>()
        .is_some_and(|mesh| mesh.is_added())
        && let Some(mesh) = world.get_resource::<Mesh>().cloned()
    {
        door::install(world, &mesh);
    }
}

/// Entities without a row live under the term of our cells.
fn give_terms(
    world: &mut World,
    fresh: &mut QueryState<
        (Entity, &'static NetSlot),
        (Added<Replicated>, With<Hosted>, EvenHidden),
    >,
) {
    let term = world.resource::<MeshView>().volatile_term();
    let fresh: Vec<Entity> = fresh
        .iter(world)
        .filter(|(_, slot)| {
            world
                .resource::<Slots>()
                .tenure(slot)
                .is_some_and(|tenure| tenure.epoch.term.0 == 0)
        })
        .map(|(entity, _)| entity)
        .collect();
    for entity in fresh {
        terms::raise_term(world, entity, term);
    }
}

/// Decodes groups for this app, on the mesh's thread: give it to the node service. Call after the
/// app's plugins are finished.
///
/// # Panics
/// If they are not.
pub fn stager(app: &App) -> impl Fn(&[u8]) -> Result<Staged, String> + Send + Sync + 'static {
    let registry = app.world().resource::<Registry>().clone();
    move |bytes: &[u8]| {
        let snapshot = WorldSnapshot::from_bytes(bytes).map_err(|error| error.to_string())?;
        stage(&registry, &snapshot)
            .map(Staged::new)
            .map_err(|error| error.to_string())
    }
}

/// What nodes and clients must register alike.
pub(crate) fn register_shared(app: &mut App) {
    app.replicate_with_entities::<RidesOn>();
}
