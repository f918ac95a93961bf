//! Runs a plan on a server with clients, and says what went wrong.

use std::{
    collections::HashMap,
    panic::{AssertUnwindSafe, catch_unwind},
};

use bevy::prelude::*;
use seamless_replication::{
    NetSlot, Peers, ReplicateAppExt, Replicated, TransformPrecision,
    interest::{InterestAppExt, PeerInterest, ToolScopeId, ToolScopes, View},
};
use seamless_testkit::{AppId, Cluster, Weather};

use super::{
    Kind, Look, Op, Plan, Value,
    oracle::{GRID, History, SIGHT, differences, ghosts, sight, wanted},
};
use crate::common::{Health, Label, Place, Stunned, Target, register};

/// Everything that random worlds consist of.
pub fn setup(app: &mut App) {
    register(app);
    app.replicate_quantized::<Transform>(TransformPrecision::default());
    app.replicate_with_entities::<ChildOf>();
    app.interest_position::<Place>(|place| Vec3::new(place.0, place.1, place.2))
        .insert_resource(GRID);
}

/// A world in the making.
pub struct Run {
    pub cluster: Cluster,
    pub server: AppId,
    pub clients: Vec<AppId>,
    entities: HashMap<usize, Entity>,
    motion: HashMap<usize, Vec3>,
    /// By client.
    exceptions: Vec<HashMap<Entity, bool>>,
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

    fn alive(&mut self, n: usize) -> Option<Entity> {
        let entity = *self.entities.get(&n)?;
        let world = self.cluster.world(self.server);
        world.get_entity(entity).is_ok().then_some(entity)
    }

    fn interest(&mut self, client: usize, f: impl FnOnce(&mut PeerInterest)) -> bool {
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

    pub fn happen(&mut self, op: &Op) {
        match op {
            Op::Spawn(n, values) => {
                let world = self.cluster.world(self.server);
                let mut entity = world.spawn(Replicated);
                for value in values {
                    insert(&mut entity, value);
                }
                self.entities.insert(*n, entity.id());
            }
            Op::Except(client, n, shown) => {
                if let Some(entity) = self.alive(*n) {
                    self.except(*client, entity, *shown);
                }
            }
            Op::Subscribe(client, scope, enter) => {
                self.interest(*client, |interest| {
                    if *enter {
                        interest.subscribe(ToolScopeId(*scope));
                    } else {
                        interest.unsubscribe(ToolScopeId(*scope));
                    }
                });
            }
            Op::Look(client, look) => self.look(*client, *look),
            Op::Move(n, by) => {
                self.motion.insert(*n, Vec3::from_array(*by));
            }
            Op::Despawn(n)
            | Op::Insert(n, _)
            | Op::Remove(n, _)
            | Op::Touch(n)
            | Op::Parent(n, _)
            | Op::Target(n, _)
            | Op::Scopes(n, _) => {
                if let Some(entity) = self.alive(*n) {
                    self.change(entity, op);
                }
            }
        }
    }

    fn change(&mut self, entity: Entity, op: &Op) {
        let other = match op {
            Op::Parent(_, Some(parent)) => self.alive(*parent),
            // Dead ones too.
            Op::Target(_, target) => self.entities.get(target).copied(),
            _ => None,
        };
        let mut entity = self.cluster.world(self.server).entity_mut(entity);
        match (op, other) {
            (Op::Despawn(_), _) => entity.despawn(),
            (Op::Insert(_, value), _) => insert(&mut entity, value),
            (Op::Remove(_, kind), _) => remove(&mut entity, *kind),
            (Op::Touch(_), _) => touch(&mut entity),
            (Op::Parent(_, Some(_)), Some(parent)) => drop(entity.insert(ChildOf(parent))),
            (Op::Parent(_, None), _) => drop(entity.remove::<ChildOf>()),
            (Op::Target(..), Some(target)) => drop(entity.insert(Target(target))),
            (Op::Scopes(_, scopes), _) => {
                let scopes = scopes.iter().map(|scope| ToolScopeId(*scope)).collect();
                entity.insert(ToolScopes(scopes));
            }
            _ => {}
        }
    }

    fn except(&mut self, client: usize, entity: Entity, shown: Option<bool>) {
        let world = self.cluster.world(self.server);
        let slot = *world.get::<NetSlot>(entity).expect("it is replicated");
        if self.interest(client, |interest| interest.except(&slot, shown)) {
            match shown {
                Some(shown) => self.exceptions[client].insert(entity, shown),
                None => self.exceptions[client].remove(&entity),
            };
        }
    }

    fn look(&mut self, client: usize, look: Look) {
        let view = match look {
            Look::Everything => View::Everything,
            Look::Nothing => View::Nothing,
            Look::At(x, z) => View::At(Vec3::new(x, 0.0, z), SIGHT),
            Look::Around(n) => match self.alive(n) {
                Some(entity) => View::Around(entity, SIGHT),
                None => return,
            },
        };
        self.interest(client, |interest| interest.set_view(view));
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
        for (at, client) in self.clients.clone().into_iter().enumerate() {
            let Some(me) = self.cluster.world(client).resource::<Peers>().me() else {
                return Some(format!("client {at} is not in"));
            };
            let want = wanted(&mut self.cluster, self.server, me, &self.exceptions[at]);
            let got = sight(&mut self.cluster, client, false);
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
        let mut waited = 0;
        while let Some(missing) = self.missing() {
            waited += 1;
            if waited > patience {
                return Err(missing);
            }
            self.step()?;
        }
        // What comes late changes nothing.
        for _ in 0..10 {
            self.step()?;
        }
        self.missing().map_or(Ok(()), Err)
    }
}

fn insert(entity: &mut EntityWorldMut<'_>, value: &Value) {
    match value {
        Value::Place([x, y, z]) => entity.insert(Place(*x, *y, *z)),
        Value::Label(letter, len) => entity.insert(Label(letter.to_string().repeat(*len))),
        Value::Health(health) => entity.insert(Health(*health)),
        Value::Stunned(by) => entity.insert(Stunned(*by)),
        Value::Transform(at, [yaw, pitch]) => entity.insert(
            Transform::from_translation(Vec3::from_array(*at))
                .with_rotation(Quat::from_rotation_y(*yaw) * Quat::from_rotation_x(*pitch)),
        ),
    };
}

fn remove(entity: &mut EntityWorldMut<'_>, kind: Kind) {
    match kind {
        Kind::Label => entity.remove::<Label>(),
        Kind::Health => entity.remove::<Health>(),
        Kind::Stunned => entity.remove::<Stunned>(),
        Kind::Transform => entity.remove::<Transform>(),
        Kind::Target => entity.remove::<Target>(),
    };
}

fn touch(entity: &mut EntityWorldMut<'_>) {
    fn one<C: Component<Mutability = bevy::ecs::component::Mutable>>(
        entity: &mut EntityWorldMut<'_>,
    ) {
        if let Some(mut component) = entity.get_mut::<C>() {
            component.set_changed();
        }
    }
    one::<Place>(entity);
    one::<Label>(entity);
    one::<Health>(entity);
    one::<Stunned>(entity);
    one::<Transform>(entity);
    one::<Target>(entity);
}

/// Runs a plan. A panic is one of the things that can go wrong.
pub fn run(plan: &Plan, patience: u32) -> Result<(), String> {
    catch_unwind(AssertUnwindSafe(|| {
        let mut run = Run::new(plan.seed, Weather::lossy(plan.loss));
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
