//! A scene with a hostile client, and a forger of datagrams.

use bevy::prelude::*;
use seamless_authority::{AuthorityCommandsExt, AuthorityPolicy, Delegated};
use seamless_replication::{
    NetClock, Peers, Registry, Replicated, ReplicationStats,
    stats::LinkStats,
    wire::{
        Allocator, BitWriter, GlobalEntity, Holder, PacketSeq, Tenure, Tick, codec,
        control::DenyReason,
        delta,
        packet::{SectionKind, StateHeader},
        record::{Form, RecordCursor, RecordHead, RowsHead, Version},
    },
};
use seamless_testkit::{AppId, Cluster, Fate, Parcel, Rng, Way, Weather, Wire};

use super::{
    Health, Label, Place, Seen,
    authority::{holder, lending},
    command, me, name, ready, seen, settle,
};

/// Unreadable datagrams that a link bears, with room to spare.
pub const BEARABLE: usize = 200;

/// A server with a world, an honest client, and a client whose wire the test has in its hands.
pub struct Scene {
    pub cluster: Cluster,
    pub server: AppId,
    pub honest: AppId,
    pub hostile: AppId,
    pub wire: Wire,
    /// Of the server's own entities.
    pub names: Vec<GlobalEntity>,
    pub entities: Vec<Entity>,
    /// What the hostile client was lent.
    pub lent: Entity,
    pub before: Vec<Seen>,
}

pub fn scene(seed: u64) -> Scene {
    let mut cluster = Cluster::new(seed, lending);
    cluster.set_weather(Weather::clear());
    let server = cluster.server();
    let policy =
        AuthorityPolicy::new(|_, _, _| Err(DenyReason::Policy)).delegation(|_, _, _| false);
    cluster.world(server).insert_resource(policy);
    let entities: Vec<Entity> = (0..20u32)
        .map(|n| {
            let bundle = (Replicated, Delegated, Place(n as f32, 0.0, 0.0), Health(n));
            let mut entity = cluster.world(server).spawn(bundle);
            if n % 2 == 0 {
                entity.insert(Label("x".repeat(n as usize * 3)));
            }
            entity.id()
        })
        .collect();
    let names: Vec<GlobalEntity> = entities
        .iter()
        .map(|entity| name(&mut cluster, server, *entity))
        .collect();
    let honest = cluster.client(server);
    let (hostile, wire) = cluster.client_over_wire(server);
    ready(&mut cluster, honest);
    ready(&mut cluster, hostile);
    let bundle = (Replicated, Delegated, Place::default(), Health(77));
    let lent = cluster.world(server).spawn(bundle).id();
    cluster.run(10);
    let id = me(&mut cluster, hostile);
    command(&mut cluster, server, lent, |e| {
        e.give_authority(id);
    });
    settle(&mut cluster, server, &[honest, hostile]);
    cluster.run(20);
    let mut scene = Scene {
        cluster,
        server,
        honest,
        hostile,
        wire,
        names,
        entities,
        lent,
        before: Vec::new(),
    };
    scene.before = scene.world(server);
    scene
}

impl Scene {
    /// The server's own entities, as an app sees them.
    pub fn world(&mut self, app: AppId) -> Vec<Seen> {
        let all = seen(&mut self.cluster, app);
        all.into_iter()
            .filter(|e| self.names.contains(&e.0))
            .collect()
    }

    /// What the server counted against the hostile client.
    pub fn counted(&mut self) -> LinkStats {
        let id = me(&mut self.cluster, self.hostile);
        let peers = self.cluster.world(self.server).resource::<Peers>();
        let Some(link) = peers.by_id(id).map(|peer| peer.link()) else {
            return LinkStats::default();
        };
        let stats = self
            .cluster
            .world(self.server)
            .resource::<ReplicationStats>();
        stats.links[&link].clone()
    }

    /// Nothing of the server's changed, for nobody, and nobody holds anything.
    pub fn check(&mut self, seed: u64) {
        for app in [self.server, self.honest] {
            let now = self.world(app);
            assert_eq!(now, self.before, "seed {seed}");
        }
        for entity in self.entities.clone() {
            let holder = holder(&mut self.cluster, self.server, entity);
            assert_eq!(holder, Some(Holder::Nobody), "seed {seed}");
        }
    }

    /// Silences the hostile client's own app, so that the test alone speaks for it. Numbers of its
    /// datagrams that were not used begin at what is given.
    pub fn possess(&mut self) -> Forger {
        self.wire.all(Way::ToServer, Fate::Lose);
        let world = self.cluster.world(self.hostile);
        let tick = world.resource::<NetClock>().tick();
        Forger {
            seq: 5_000,
            tick: tick.0 + 1_000,
        }
    }

    pub fn send(&mut self, bytes: Vec<u8>) {
        self.wire.put(Parcel::datagram(Way::ToServer, bytes));
        self.cluster.run(3);
    }

    pub fn component(&mut self, path: &str) -> u16 {
        let registry = self.cluster.world(self.server).resource::<Registry>();
        let components = &registry.schema().components;
        let at = components.iter().position(|c| c.path.ends_with(path));
        at.expect("it is registered") as u16
    }
}

/// Makes datagrams that look like the hostile client's.
pub struct Forger {
    pub seq: u64,
    pub tick: u32,
}

impl Forger {
    pub fn datagram(&mut self, sections: impl FnOnce(&mut BitWriter)) -> Vec<u8> {
        self.seq += 1;
        self.tick += 1;
        forged(self.tick, Some(self.seq), sections)
    }

    /// A datagram with one record of one component against nothing.
    pub fn record(
        &mut self,
        allocator: Allocator,
        (index, generation): (u32, u32),
        global: GlobalEntity,
        tenure: Tenure,
        (component, value): (u16, &[u8]),
    ) -> Vec<u8> {
        let tick = Tick(self.tick + 1);
        let version = Version(self.tick);
        self.datagram(|w| {
            SectionKind::Rows.write(w);
            RowsHead::write(w, allocator, &[component]);
            let head = RecordHead {
                index,
                form: Form::Absolute {
                    generation,
                    version,
                    global,
                    tenure,
                },
            };
            RecordCursor::new(tick, 1).write(w, 1, &head);
            delta::write_bytes(w, None, value);
            RecordCursor::write_end(w);
        })
    }
}

pub fn encoded<C: serde::Serialize>(component: &C) -> Vec<u8> {
    codec::to_vec(component).expect("it encodes")
}

/// A changed copy of a datagram: cut short, with flipped bits, or with bytes of another.
pub fn mutant(rng: &mut Rng, bytes: &[u8], other: &[u8]) -> Vec<u8> {
    let mut bytes = changed(rng, bytes, other);
    bytes[0] |= 0x80;
    bytes
}

/// A changed copy of any bytes.
pub fn changed(rng: &mut Rng, bytes: &[u8], other: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    match rng.below(4) {
        0 => bytes.truncate(1 + rng.below(bytes.len())),
        1 => {
            let from = rng.below(bytes.len());
            bytes.truncate(from.max(1));
            bytes.extend(other.iter().skip(from));
        }
        _ => {
            for _ in 0..=rng.below(3) {
                let at = rng.below(bytes.len() * 8);
                bytes[at / 8] ^= 1 << (at % 8);
            }
        }
    }
    bytes
}

/// A datagram of a hostile end, as of this tick.
pub fn forged(tick: u32, numbered: Option<u64>, sections: impl FnOnce(&mut BitWriter)) -> Vec<u8> {
    let mut w = BitWriter::new();
    StateHeader {
        seq: numbered.map(PacketSeq),
        tick: Tick(tick),
        acks: None,
    }
    .write(&mut w);
    sections(&mut w);
    SectionKind::End.write(&mut w);
    w.finish().to_vec()
}
