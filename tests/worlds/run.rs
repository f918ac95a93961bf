//! Runs a plan on a server with clients, and says what went wrong.

use std::{
    collections::HashMap,
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

use bevy::prelude::*;
use seamless_replication::{
    Audience, Peers, ReplicateAppExt, ReplicationConfig, ReplicationStats, TransformPrecision,
    interest::{InterestAppExt, PeerInterest, ToolScopeId, View},
};
use seamless_testkit::{AppId, Cluster, Weather};

use super::{
    Look, Plan, SECRETS, Secret,
    oracle::{GRID, History, differences, ghosts, sight, wanted},
};
use crate::common::{Place, register};

/// Frames in which nothing is missing, one after the other, when all has arrived.
const SILENCE: u32 = 10;

/// Everything that random worlds consist of.
pub fn setup(app: &mut App) {
    register(app);
    app.replicate_quantized::<Transform>(TransformPrecision::default());
    app.replicate_with_entities::<ChildOf>();
    let who = Audience::scope(ToolScopeId(SECRETS));
    let _ = app.replicate::<Secret>().visible_to(who);
    app.interest_position::<Place>(|place| Vec3::new(place.0, place.1, place.2))
        .insert_resource(GRID);
}

/// A world in the making.
pub struct Run {
    pub cluster: Cluster,
    pub server: AppId,
    pub clients: Vec<AppId>,
    pub(super) entities: HashMap<usize, Entity>,
    pub(super) motion: HashMap<usize, Vec3>,
    /// By client.
    pub(super) exceptions: Vec<HashMap<Entity, bool>>,
    history: History,
}

impl Run {
    pub fn new(seed: u64, weather: Weather) -> Self {
        let mut cluster = Cluster::new(seed, setup);
        cluster.set_weather(weather);
        let server = cluster.server();
        Self {
            cluster,
            server,
            clients: Vec::new(),
            entities: HashMap::new(),
            motion: HashMap::new(),
            exceptions: Vec::new(),
            history: History::default(),
        }
    }

    pub fn join(&mut self) {
        let client = self.cluster.client(self.server);
        self.clients.push(client);
        self.exceptions.push(HashMap::new());
    }

    /// The server has, for a client that comes anew, none of what it had excepted for it.
    pub fn forget_exceptions(&mut self, client: usize) {
        self.exceptions[client].clear();
    }

    pub(super) fn alive(&mut self, n: usize) -> Option<Entity> {
        let entity = *self.entities.get(&n)?;
        let world = self.cluster.world(self.server);
        world.get_entity(entity).is_ok().then_some(entity)
    }

    pub(super) fn interest(&mut self, client: usize, f: impl FnOnce(&mut PeerInterest)) -> bool {
        let Some(&client) = self.clients.get(client) else {
            return false;
        };
        let Some(me) = self.cluster.world(client).resource::<Peers>().me() else {
            return false;
        };
        let mut peers = self.cluster.world(self.server).resource_mut::<Peers>();
        peers
            .by_id_mut(me)
            .map(|peer| f(peer.interest_mut()))
            .is_some()
    }

    /// Everything moves on by a tick, and clients show nothing that never was.
    pub fn step(&mut self) -> Result<(), String> {
        let world = self.cluster.world(self.server);
        for (n, by) in &self.motion {
            let Some(entity) = self.entities.get(n) else {
                continue;
            };
            let Ok(mut entity) = world.get_entity_mut(*entity) else {
                continue;
            };
            if let Some(mut place) = entity.get_mut::<Place>() {
                let [x, y, z] = by.to_array();
                *place = Place(place.0 + x, place.1 + y, place.2 + z);
            }
            if let Some(mut transform) = entity.get_mut::<Transform>() {
                transform.translation += *by;
                transform.rotate_y(by.x * 0.1);
            }
        }
        self.cluster.step();
        let now = sight(&mut self.cluster, self.server, true);
        self.history.record(&now);
        for (at, client) in self.clients.iter().enumerate() {
            let now = sight(&mut self.cluster, *client, false);
            self.history.check(at, &now)?;
        }
        Ok(())
    }

    /// Nothing happens any more: what clients still lack.
    fn missing(&mut self) -> Option<String> {
        self.lacking(false)
    }

    /// As [`missing`](Self::missing). `once`: all was there once, so whatever is to be seen must be there
    /// still, and only what is not may be seen for a while.
    fn lacking(&mut self, once: bool) -> Option<String> {
        for (at, client) in self.clients.clone().into_iter().enumerate() {
            let Some(me) = self.cluster.world(client).resource::<Peers>().me() else {
                return Some(format!("client {at} is not in"));
            };
            let want = wanted(&mut self.cluster, self.server, me, &self.exceptions[at]);
            let mut got = sight(&mut self.cluster, client, false);
            if once {
                got.retain(|name, _| want.contains_key(name));
            }
            let ghosts = ghosts(&mut self.cluster, client);
            let ghosts = (ghosts > 0).then(|| format!("{ghosts} that are not on the network"));
            if let Some(differences) = differences(&got, &want).or(ghosts) {
                return Some(format!("client {at}: {differences}"));
            }
        }
        None
    }

    /// Waits for silence. A view around what is not there has a past; it looks elsewhere first.
    pub fn settle(&mut self, patience: u32) -> Result<(), String> {
        self.motion.clear();
        for client in 0..self.clients.len() {
            let mut view = View::Everything;
            self.interest(client, |interest| view = interest.view());
            let world = self.cluster.world(self.server);
            if let View::Around(entity, _) = view
                && world.get::<Place>(entity).is_none()
            {
                self.look(client, Look::At(24.0, 24.0));
            }
        }
        // What was seen of nobody yet and is gone may still come, before the news that it went: a silence
        // is longer than a moment. What comes late changes nothing else.
        let (mut waited, mut silent, mut was_there) = (0, 0, false);
        while silent < SILENCE {
            match self.missing() {
                None => (silent, was_there) = (silent + 1, true),
                Some(missing) if waited > patience => return Err(missing),
                Some(_) => silent = 0,
            }
            if was_there && let Some(lost) = self.lacking(true) {
                return Err(format!("it was there: {lost}"));
            }
            waited += 1;
            self.step()?;
        }
        self.audits()
    }

    /// Nothing was ever found to be wrong: what heals itself must not hide what is broken.
    fn audits(&mut self) -> Result<(), String> {
        let all = self.clients.iter().chain([&self.server]).copied();
        for (at, app) in all.collect::<Vec<_>>().into_iter().enumerate() {
            let stats = self.cluster.world(app).resource::<ReplicationStats>();
            for link in stats.links.values() {
                let audit = link.audit;
                if audit.differing + audit.healed + audit.resent > 0 {
                    return Err(format!("app {at}: {audit:?}"));
                }
            }
        }
        Ok(())
    }
}

/// What a world has for a network. Every fourth one is far away, and its datagrams late by more
/// than a second at times: baselines grow old.
fn weather(plan: &Plan) -> Weather {
    let mut weather = Weather::lossy(plan.loss);
    if plan.seed % 4 == 3 {
        weather.0.delay = Duration::from_millis(250);
        weather.0.jitter = Duration::from_millis(100);
        weather.0.reorder_by = Duration::from_millis(1500);
    }
    weather
}

/// Runs a plan. A panic is one of the things that can go wrong.
pub fn run(plan: &Plan, patience: u32) -> Result<(), String> {
    catch_unwind(AssertUnwindSafe(|| {
        let mut run = Run::new(plan.seed, weather(plan));
        let world = run.cluster.world(run.server);
        let mut config = world.resource_mut::<ReplicationConfig>();
        if let Some(rows) = plan.parallel_rows {
            config.parallel_rows = rows;
        }
        if let Some(budget) = plan.budget {
            config.bytes_per_tick = budget;
        }
        let mut ops = plan.ops.iter().peekable();
        for tick in 0..plan.ticks {
            for _ in plan.joins.iter().filter(|join| **join == tick) {
                run.join();
            }
            while let Some((_, op)) = ops.next_if(|(at, _)| *at <= tick) {
                run.happen(op);
            }
            run.step()
                .map_err(|error| format!("tick {tick}: {error}"))?;
        }
        run.settle(patience)
    }))
    .unwrap_or_else(|panic| {
        let said = panic
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()));
        Err(format!("a panic: {}", said.unwrap_or_default()))
    })
}
