//! One node of the world: the game as a server runs it.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use bevy::prelude::*;
use bevy_seamless::{
    handover::{
        port,
        service::{self, NodeAddresses, NodeSettings},
    },
    mesh::{
        directory::{SqliteDirectory, sqlite::OpenError},
        protocol::MeshCommand,
    },
    prelude::*,
    replication::recording::RecordPlugin,
};

use super::{
    game::{AppliedInputs, Banner, Body, Crate, LastInput, Position, TICK_RATE, headless, walk},
    log::{self, OracleLog},
    report::{NodeReport, percentile},
    world::{GameWorld, WalkFile, anchor},
};

/// Longest sleep between two looks at the network.
const POLL: Duration = Duration::from_millis(4);

/// How long a node may take to say goodbye when its patience is over.
const GOODBYE: Duration = Duration::from_secs(2);

/// How long a banner stands.
const BANNER_SECONDS: u32 = 20;

/// What makes a node.
pub struct NodeSetup {
    /// The world's ground.
    pub grid: CellGrid,
    /// What is in it.
    pub world: GameWorld,
    /// Where players begin.
    pub walks: Vec<Arc<WalkFile>>,
    /// Cells it takes at the start.
    pub cells: Vec<CellId>,
    /// Where it writes what it does, for the oracle.
    pub log: Option<PathBuf>,
    /// Where what clients and other nodes say to it is recorded.
    pub record: Option<PathBuf>,
    /// Sockets, key, bounds.
    pub settings: NodeSettings,
    /// The SQLite file that all nodes share.
    pub directory: PathBuf,
}

/// Clients' entities that this node took over.
#[derive(Resource, Default)]
struct Taken(u64);

#[derive(Resource, Default)]
struct Lateness(Vec<f64>);

#[derive(Component)]
struct PlantedAt(u32);

/// Where a player begins: the first stop of its walk.
fn start_of(walks: &[Arc<WalkFile>], grid: &CellGrid, player: PeerId) -> Vec3 {
    let n = player.0.saturating_sub(1) as usize;
    let (place, quarters) = anchor(grid, n);
    walks[n % walks.len()].stop_at(0, place, quarters).0
}

/// Why a node did not start, in one line.
pub struct NotStarted {
    /// What is wrong.
    pub what: String,
    /// Whether it may be right the next time.
    pub passing: bool,
}

impl NotStarted {
    fn for_good(what: String) -> Self {
        Self {
            what,
            passing: false,
        }
    }
}

fn crate_at(name: GlobalEntity, place: Vec3) -> impl Bundle {
    let slot = NetSlot::named(name);
    (Replicated, slot, Position(place), Crate, Delegated)
}

/// The app of one node, started.
///
/// # Errors
/// [`NotStarted`]: a port that is taken, a directory that cannot be opened, a key that is missing.
pub fn app(setup: NodeSetup) -> Result<(App, NodeAddresses), NotStarted> {
    let NodeSetup {
        grid,
        world,
        walks,
        cells,
        log,
        record,
        mut settings,
        directory,
    } = setup;
    let directory = SqliteDirectory::open(&directory).map_err(|error| NotStarted {
        what: error.to_string(),
        passing: matches!(error, OpenError::NoFolder(_) | OpenError::Unusable { .. }),
    })?;
    let rules = BorderRules {
        interest: world.interest,
        ..default()
    };
    let config = MeshNodeConfig { cells, ..default() };
    let node = MeshNodePlugin {
        grid,
        rules,
        config,
    };
    let mut app = headless(SeamlessPlugins::node(), node);
    app.add_plugins(log::plugin);
    if let Some(path) = record {
        app.add_plugins(RecordPlugin::new(path));
    }
    if let Some(path) = log {
        app.insert_resource(OracleLog::create(&path).map_err(NotStarted::for_good)?);
    }
    let start = move |player| start_of(&walks, &grid, player);
    let spawn_at = start.clone();
    let whole = world.clone();
    settings.spawn = Arc::new(move |player| grid.cell_at(spawn_at(player)));
    app.init_resource::<AppliedInputs>()
        .init_resource::<Taken>()
        .init_resource::<Lateness>()
        .add_observer(super::game::carry)
        .add_observer(move |login: On<PlayerLogin>, mut commands: Commands| {
            commands.spawn((
                Replicated,
                NetSlot::named(login.root),
                Position(start(login.player)),
                LastInput(0),
                Body {
                    player: login.player.0,
                },
            ));
        })
        .add_observer(
            move |opened: On<CellOpened>, mut commands: Commands, slots: Res<Slots>| {
                for (name, place) in world.crates_of(&grid, opened.cell) {
                    if !opened.known.contains(&name) && slots.entity(name).is_none() {
                        commands.spawn(crate_at(name, place));
                    }
                }
            },
        )
        .add_observer(move |missing: On<StateMissing>, mut commands: Commands| {
            let crates = grid.cells().flat_map(|cell| whole.crates_of(&grid, cell));
            for (name, place) in crates.filter(|(name, _)| missing.names.contains(name)) {
                commands.spawn(crate_at(name, place));
            }
        })
        .add_observer(count_migrations)
        .add_systems(FixedPreUpdate, note_lateness)
        .add_systems(FixedUpdate, (walk, wither));
    app.finish();
    app.cleanup();
    let addresses = service::start(&mut app, settings, directory).map_err(|error| NotStarted {
        what: error.to_string(),
        passing: error.is_passing(),
    })?;
    Ok((app, addresses))
}

fn count_migrations(
    hosted: On<Add, Hosted>,
    banners: Query<(), With<Banner>>,
    clock: Res<NetClock>,
    mut taken: ResMut<Taken>,
    mut commands: Commands,
) {
    if banners.contains(hosted.entity) {
        taken.0 += 1;
        commands
            .entity(hosted.entity)
            .insert(PlantedAt(clock.tick().0));
    }
}

fn note_lateness(clock: Res<NetClock>, mut lateness: ResMut<Lateness>) {
    lateness.0.push(clock.lateness().as_secs_f64() * 1e3);
}

fn wither(
    banners: Query<(Entity, &PlantedAt), With<Hosted>>,
    clock: Res<NetClock>,
    mut commands: Commands,
) {
    let now = clock.tick().0;
    for (banner, planted) in &banners {
        if now.saturating_sub(planted.0) > BANNER_SECONDS * u32::from(TICK_RATE) {
            commands.entity(banner).despawn();
        }
    }
}

/// Runs a node until `leave` is raised and it has handed everything over, or `patience` has passed
/// since. Calls `each_second` with how it goes.
pub fn run(
    app: &mut App,
    number: u32,
    leave: &AtomicBool,
    patience: Duration,
    mut each_second: impl FnMut(&NodeReport),
) {
    let mut meter = Meter::new(number);
    let mut leaving: Option<Instant> = None;
    loop {
        let began = Instant::now();
        let before = app.world().resource::<NetClock>().tick();
        app.update();
        let clock = app.world().resource::<NetClock>();
        if clock.tick() != before {
            meter.ticks.push(began.elapsed().as_secs_f64() * 1e3);
        }
        let into = clock.lateness() + began.elapsed();
        let rest = clock.tick_length().saturating_sub(into);
        if meter.due() {
            each_second(&meter.report(app.world()));
        }
        if leave.load(Ordering::Relaxed) && leaving.is_none() {
            leaving = Some(began);
            app.world()
                .resource::<port::Mesh>()
                .send(MeshCommand::Leave { patience });
        }
        let left = app.world().resource::<MeshView>().has_left();
        if left || leaving.is_some_and(|since| since.elapsed() > patience + GOODBYE) {
            each_second(&meter.report(app.world()));
            return;
        }
        std::thread::sleep(rest.min(POLL));
    }
}

struct Meter {
    number: u32,
    ticks: Vec<f64>,
    last: Instant,
}

impl Meter {
    fn new(number: u32) -> Self {
        Self {
            number,
            ticks: Vec::new(),
            last: Instant::now(),
        }
    }

    fn due(&mut self) -> bool {
        let due = self.last.elapsed() >= Duration::from_secs(1);
        if due {
            self.last += Duration::from_secs(1);
        }
        due
    }

    fn report(&mut self, world: &World) -> NodeReport {
        let view = world.resource::<MeshView>();
        let stats = world.resource::<ReplicationStats>();
        let taken = world.resource::<Taken>();
        let (bytes_in, bytes_out) = stats.bytes_per_second();
        let playing: Vec<f64> = stats
            .links
            .values()
            .filter(|link| !link.spectator && link.peer.is_some())
            .map(|link| link.bytes_per_second.1 / 1e3)
            .collect();
        NodeReport {
            node: self.number,
            players: view.players.len() as u32,
            entities: stats.entities.0 as u32,
            kbps_in: bytes_in / 1e3,
            kbps_out: bytes_out / 1e3,
            kbps_per_client: playing.iter().sum::<f64>() / (playing.len().max(1) as f64),
            handed_over: view.counters.handed_over,
            resumed: view.counters.resumed,
            reclaimed: view.counters.reclaimed_groups,
            migrations: taken.0,
            tick_ms_p95: percentile(&mut self.ticks, 0.95),
            late_ms_p99: percentile(&mut world.resource::<Lateness>().0.clone(), 0.99),
        }
    }
}
