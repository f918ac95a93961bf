//! A storm: a server, clients, entities that everybody wants, and a network that does what it
//! likes.

mod act;
pub mod ear;
pub mod oracle;
mod settled;
pub mod setup;
pub mod trace;

use std::collections::{BTreeMap, BTreeSet};

use bevy::prelude::*;
use seamless_authority::{AuthorityPolicy, AuthorityStats, AuthorityView};
use seamless_replication::{
    Admission, Admitted, Hosted, NetClock, NetSlot, Peers, ReplicationConfig, ReplicationStats,
    Slots,
    stats::AuthorityCosts,
    transport::{Condition, LinkId, Links},
    wire::{GlobalEntity, PeerId},
};
use seamless_testkit::{AppId, Cluster, Rng, Weather};

use oracle::Oracle;
use setup::Rogue;
pub use setup::{Ballast, Mark, Seal};
use trace::{SERVER, Who};

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub clients: usize,
    pub entities: usize,
    /// Share of datagrams that are lost, 0 to 1; half as many come twice or out of order.
    pub loss: f32,
    pub seed: u64,
}

/// A client.
pub struct Seat {
    pub app: AppId,
    /// Under which name the server knows it, once it does.
    pub peer: Option<PeerId>,
    /// The frame in which it comes back, if it is away.
    away_until: Option<u64>,
}

pub struct Storm {
    pub cluster: Cluster,
    pub server: AppId,
    /// By who they are; the first is the server's and is no client.
    pub seats: Vec<Seat>,
    pub plan: Plan,
    pub rng: Rng,
    pub oracle: Oracle,
    pub operations: u64,
    /// What was said of the entity that is followed, by app.
    followed: Vec<String>,
    /// Whom the server does not show what.
    hidden: BTreeSet<(PeerId, GlobalEntity)>,
    /// What links cost that are gone, or stand.
    costs: BTreeMap<(usize, LinkId), AuthorityCosts>,
    /// Round trips as the clients measure them, in ticks, one for each of their ticks.
    pub round_trips: Vec<u64>,
    /// Rows that audits found to be wrong, by app and link.
    found: BTreeMap<(usize, LinkId), u64>,
}

/// 20 ms each way, so a round trip of 1.2 ticks.
fn weather(loss: f32) -> Weather {
    let millis = std::time::Duration::from_millis;
    Weather(Condition {
        delay: millis(20),
        jitter: millis(5),
        loss,
        duplicate: loss / 2.0,
        reorder: loss / 2.0,
        reorder_by: millis(70),
        ..Condition::default()
    })
}

impl Storm {
    pub fn new(plan: Plan) -> Self {
        let mut cluster = Cluster::new(plan.seed, setup::setup);
        cluster.set_weather(weather(plan.loss));
        let server = cluster.server();
        let world = cluster.world(server);
        // Players have numbers, as a door would give them.
        world.insert_resource(Admission::new(|_, id, _| {
            Ok(Admitted {
                peer: PeerId(id & 0xffff),
                spectator: false,
            })
        }));
        let mut policy = world.resource_mut::<AuthorityPolicy>();
        policy.requests_per_second = 10_000;
        policy.entities_per_client = plan.entities as u32;
        world.resource_mut::<ReplicationConfig>().client_entities = 4096;
        let mut seats = vec![Seat {
            app: server,
            peer: None,
            away_until: None,
        }];
        for _ in 0..plan.clients {
            seats.push(Seat {
                app: cluster.client(server),
                peer: None,
                away_until: None,
            });
        }
        let mut storm = Self {
            cluster,
            server,
            seats,
            plan,
            rng: Rng::new(plan.seed),
            oracle: Oracle::default(),
            operations: 0,
            followed: Vec::new(),
            hidden: BTreeSet::new(),
            costs: BTreeMap::new(),
            round_trips: Vec::new(),
            found: BTreeMap::new(),
        };
        for _ in 0..plan.entities {
            storm.spawn_on_server();
        }
        storm.settle();
        storm
    }

    /// So many frames, with operations before each.
    pub fn rage(&mut self, frames: usize) {
        let rate = (self.plan.entities / 40).max(1);
        for _ in 0..frames {
            for _ in 0..rate {
                self.act();
            }
            self.write();
            self.step();
        }
    }

    /// A frame, with a look before it and one after it.
    pub fn step(&mut self) {
        self.come_back();
        self.before();
        self.cluster.step();
        self.after();
        self.tell_of_followed();
        self.note_links();
    }

    /// With `STORM_FOLLOW=g10.68`: says on the standard error how every app shows that entity,
    /// whenever that changes.
    fn tell_of_followed(&mut self) {
        let Some(followed) = std::env::var_os("STORM_FOLLOW") else {
            return;
        };
        let frame = self.cluster.frames();
        let mut told = std::mem::take(&mut self.followed);
        told.resize(self.seats.len(), String::new());
        for (who, told) in told.iter_mut().enumerate() {
            let now = self.show_followed(who, &followed);
            if *told != now {
                eprintln!("{frame}: {who}: {now}");
                *told = now;
            }
        }
        self.followed = told;
    }

    fn show_followed(&mut self, who: Who, followed: &std::ffi::OsStr) -> String {
        let peer = self.seats[who].peer;
        let world = self.world(who);
        let mut query = world.query::<(Entity, &NetSlot, Option<&Mark>, Has<Hosted>)>();
        let slots = world.resource::<Slots>();
        let mut all = query.iter(world);
        let found = all.find(|(_, slot, ..)| {
            let name = slot.global();
            name.is_some_and(|name| followed == name.to_string().as_str())
        });
        let shown = found.map(|(entity, slot, mark, hosted)| {
            let view = world.get::<AuthorityView>(entity);
            format!(
                "{mark:?} hosted: {hosted} {:?} {view:?}",
                slots.tenure(slot)
            )
        });
        format!("{peer:?} {}", shown.unwrap_or_default())
    }

    fn come_back(&mut self) {
        let now = self.cluster.frames();
        for who in 1..self.seats.len() {
            let away = self.seats[who].away_until;
            // Whoever was refused tries again, as a game does.
            let lost = away.is_none() && self.world(who).resource::<Links>().iter().count() == 0;
            if lost || away.is_some_and(|until| until <= now) {
                self.seats[who].away_until = None;
                self.cluster.connect(self.seats[who].app, self.server);
            }
        }
    }

    /// Writes down what links cost, and whether an audit found something: what heals itself must
    /// not hide what is broken.
    fn note_links(&mut self) {
        let frame = self.cluster.frames();
        for seat in 0..self.seats.len() {
            let app = self.seats[seat].app;
            let world = self.cluster.world(app);
            let rate = f64::from(world.resource::<NetClock>().rate());
            let stats = world.resource::<ReplicationStats>();
            for (link, stats) in &stats.links {
                let at = (seat, *link);
                self.costs.insert(at, stats.authority);
                if stats.to_server && !stats.rtt.is_zero() {
                    let ticks = stats.rtt.as_secs_f64() * rate;
                    self.round_trips.push(ticks.round() as u64);
                }
                let found = stats.audit.differing;
                if self.found.insert(at, found).unwrap_or_default() < found {
                    let what = format!("{frame}: app {seat}: audits found {found} rows wrong");
                    self.oracle.violate(what);
                }
            }
        }
    }

    /// Everybody is here.
    fn gather(&mut self) {
        for who in 1..self.seats.len() {
            if self.seats[who].away_until.is_some() {
                self.seats[who].away_until = Some(0);
            }
        }
    }

    pub fn world(&mut self, who: Who) -> &mut World {
        self.cluster.world(self.seats[who].app)
    }

    /// Whether a client's link stands, as both see it.
    pub fn is_linked(&mut self, who: Who) -> bool {
        let Some(peer) = self.seats[who].peer else {
            return false;
        };
        let app = self.seats[who].app;
        self.seats[who].away_until.is_none()
            && self.cluster.is_ready(app)
            && self
                .cluster
                .world(self.server)
                .resource::<Peers>()
                .by_id(peer)
                .is_some()
    }

    pub fn entity(&mut self, who: Who, name: GlobalEntity) -> Option<Entity> {
        self.world(who).resource::<Slots>().entity(name)
    }

    pub fn name(&mut self, who: Who, entity: Entity) -> Option<GlobalEntity> {
        self.world(who).get::<NetSlot>(entity)?.global()
    }

    /// What all links cost so far, as their senders counted it.
    pub fn costs(&self) -> AuthorityCosts {
        let zero = AuthorityCosts::default();
        self.costs.values().fold(zero, |sum, of| AuthorityCosts {
            fences: sum.fences + of.fences,
            fence_bits: sum.fence_bits + of.fence_bits,
            echo_bits: sum.echo_bits + of.echo_bits,
            resent_bits: sum.resent_bits + of.resent_bits,
        })
    }

    pub fn stats(&mut self) -> AuthorityStats {
        self.world(SERVER).resource::<AuthorityStats>().clone()
    }

    /// Has a client write without authority in its next frame.
    fn write_rogue(&mut self, who: Who, entity: Entity, mark: Mark) {
        self.world(who)
            .resource_mut::<Rogue>()
            .0
            .push((entity, mark));
    }
}
