//! Peers that send what no honest peer sends: nothing panics, nothing in the world changes, and
//! the counters tell of it.

mod common;

use bevy::prelude::*;
use common::{
    Health, Label, Place, Seen,
    authority::{at, holder, lending, move_to},
    command, counted, find, me, name, ready, seen, settle, wait_for,
};
use seamless_authority::{AuthorityCommandsExt, AuthorityPolicy, Delegated};
use seamless_replication::{
    NetClock, NetSlot, Peers, Registry, ReplicateAppExt, Replicated, ReplicationConfig,
    ReplicationStats, Slots,
    snapshot::{stage, take_snapshot},
    stats::LinkStats,
    transport::{Channel, Links},
    wire::{
        Allocator, BitWriter, Epoch, GlobalEntity, Holder, PacketSeq, PeerId, RequestId, Tenure,
        Term, Tick, WireId, codec,
        control::{AuthorityAnswer, Control, DenyReason, Subscription},
        delta,
        frame::{BigRow, Frame},
        packet::{AckBits, SectionKind, StateHeader},
        record::{Form, Leave, LeaveReason, RecordCursor, RecordHead, RowsHead, Version},
    },
};
use seamless_testkit::{AppId, Cluster, Fate, Parcel, Rng, Way, Weather, Wire};
use serde::{Deserialize, Serialize};

/// Unreadable datagrams that a link bears, with room to spare.
const BEARABLE: usize = 200;

/// A server with a world, an honest client, and a client whose wire the test has in its hands.
struct Scene {
    cluster: Cluster,
    server: AppId,
    honest: AppId,
    hostile: AppId,
    wire: Wire,
    /// Of the server's own entities.
    names: Vec<GlobalEntity>,
    entities: Vec<Entity>,
    /// What the hostile client was lent.
    lent: Entity,
    before: Vec<Seen>,
}

fn scene(seed: u64) -> Scene {
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
    fn world(&mut self, app: AppId) -> Vec<Seen> {
        let all = seen(&mut self.cluster, app);
        all.into_iter()
            .filter(|e| self.names.contains(&e.0))
            .collect()
    }

    /// What the server counted against the hostile client.
    fn counted(&mut self) -> LinkStats {
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
    fn check(&mut self, seed: u64) {
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
    fn possess(&mut self) -> Forger {
        self.wire.all(Way::ToServer, Fate::Lose);
        let world = self.cluster.world(self.hostile);
        let tick = world.resource::<NetClock>().tick();
        Forger {
            seq: 5_000,
            tick: tick.0 + 1_000,
        }
    }

    fn send(&mut self, bytes: Vec<u8>) {
        self.wire.put(Parcel::datagram(Way::ToServer, bytes));
        self.cluster.run(3);
    }

    fn component(&mut self, path: &str) -> u16 {
        let registry = self.cluster.world(self.server).resource::<Registry>();
        let components = &registry.schema().components;
        let at = components.iter().position(|c| c.path.ends_with(path));
        at.expect("it is registered") as u16
    }
}

/// Makes datagrams that look like the hostile client's.
struct Forger {
    seq: u64,
    tick: u32,
}

impl Forger {
    fn datagram(&mut self, sections: impl FnOnce(&mut BitWriter)) -> Vec<u8> {
        self.seq += 1;
        self.tick += 1;
        let mut w = BitWriter::new();
        let header = StateHeader {
            seq: Some(PacketSeq(self.seq)),
            tick: Tick(self.tick),
            acks: None,
        };
        header.write(&mut w);
        sections(&mut w);
        SectionKind::End.write(&mut w);
        w.finish().to_vec()
    }

    /// A datagram with one record of one component against nothing.
    fn record(
        &mut self,
        allocator: Allocator,
        (index, generation): (u32, u32),
        global: GlobalEntity,
        tenure: Tenure,
        (component, value): (u16, &[u8]),
    ) -> Vec<u8> {
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
                },
                tenure: Some(tenure),
            };
            RecordCursor::default().write(w, 1, &head);
            delta::write_bytes(w, None, value);
            RecordCursor::write_end(w);
        })
    }
}

fn encoded<C: serde::Serialize>(component: &C) -> Vec<u8> {
    codec::to_vec(component).expect("it encodes")
}

#[test]
fn random_bytes_change_nothing() {
    for seed in 0..10 {
        let mut scene = scene(seed);
        let mut rng = Rng::new(seed);
        for n in 0..BEARABLE {
            let len = 1 + rng.below(if n % 2 == 0 { 40 } else { 1190 });
            let mut bytes: Vec<u8> = (0..len).map(|_| rng.next() as u8).collect();
            bytes[0] = if rng.chance(0.9) {
                0x80 | bytes[0] & 3
            } else {
                0x80 | bytes[0]
            };
            scene.wire.put(Parcel::datagram(Way::ToServer, bytes));
            if n % 20 == 0 {
                scene.cluster.step();
            }
        }
        scene.cluster.run(10);
        let refused = scene.counted().refused;
        assert!(refused.malformed >= BEARABLE as u64 / 2, "{refused:?}");
        scene.check(seed);
    }
}

/// A changed copy: cut short, with flipped bits, or with bytes of another.
fn mutant(rng: &mut Rng, bytes: &[u8], other: &[u8]) -> Vec<u8> {
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
    bytes[0] |= 0x80;
    bytes
}

#[test]
fn changed_copies_of_a_clients_datagrams_change_nothing_but_its_own() {
    let mut cases = 0;
    for seed in 0..10 {
        let mut scene = scene(seed);
        let mut rng = Rng::new(seed);
        let (server, hostile) = (scene.server, scene.hostile);
        // It hosts one entity, holds another, asks for what it does not get.
        let own = scene
            .cluster
            .world(hostile)
            .spawn((Replicated, Place::default()))
            .id();
        let name = name(&mut scene.cluster, server, scene.lent);
        let lent = wait_for(&mut scene.cluster, hostile, name);
        let wanted = find(&mut scene.cluster, hostile, scene.names[3]).expect("seen");
        scene.wire.all(Way::ToServer, Fate::Hold);
        let mut last = vec![0x83];
        for n in 0..60 {
            move_to(&mut scene.cluster, hostile, own, n as f32);
            if let Some(mut place) = scene.cluster.world(hostile).get_mut::<Place>(lent) {
                place.1 += 1.0;
            }
            if n % 10 == 0 && scene.cluster.world(hostile).get_entity(wanted).is_ok() {
                command(&mut scene.cluster, hostile, wanted, |e| {
                    e.request_authority();
                });
            }
            scene.cluster.step();
            let (bad, idle) = (scene.counted().refused.malformed, scene.wire.kept());
            for parcel in idle {
                // Before the real one, so that its number is fresh.
                for _ in 0..8 {
                    if bad + 16 < BEARABLE as u64 {
                        cases += 1;
                        let bytes = mutant(&mut rng, &parcel.bytes, &last);
                        scene.wire.put(Parcel::datagram(Way::ToServer, bytes));
                    }
                }
                last.clone_from(&parcel.bytes);
                scene.wire.put(parcel);
            }
        }
        scene.cluster.run(30);
        assert!(scene.counted().refused.malformed > 20);
        let lent = scene.lent;
        let health = common::get::<Health>(&mut scene.cluster, server, lent);
        assert_eq!(health, Some(Health(77)), "only the host writes it");
        scene.check(seed);
    }
    assert!(cases > 1500, "{cases}");
}

#[test]
fn changed_copies_of_a_servers_datagrams_do_not_panic_and_short_ones_change_nothing() {
    for seed in 0..8 {
        let mut scene = scene(seed);
        let mut rng = Rng::new(seed);
        let short = seed % 2 == 0;
        scene.wire.decide(|parcel| match parcel.way {
            Way::ToClient if parcel.channel.is_none() => Fate::Hold,
            _ => Fate::Pass,
        });
        let mut last = vec![0x83];
        for n in 0..60 {
            let entity = scene.entities[n % 20];
            move_to(&mut scene.cluster, scene.server, entity, n as f32 * 3.0);
            scene.cluster.step();
            for parcel in scene.wire.kept() {
                for _ in 0..3 {
                    let bytes = if short {
                        let len = 1 + rng.below(parcel.bytes.len() - 1);
                        parcel.bytes[..len].to_vec()
                    } else {
                        mutant(&mut rng, &parcel.bytes, &last)
                    };
                    scene.wire.put(Parcel::datagram(Way::ToClient, bytes));
                }
                last.clone_from(&parcel.bytes);
                scene.wire.put(parcel);
            }
        }
        scene.wire.pass();
        scene.cluster.run(40);
        assert!(counted(&mut scene.cluster, scene.hostile).refused.malformed > 0);
        if short {
            settle(&mut scene.cluster, scene.server, &[scene.hostile]);
        }
        settle(&mut scene.cluster, scene.server, &[scene.honest]);
    }
}

#[test]
fn acknowledging_what_was_never_sent_says_nothing() {
    let mut scene = scene(1);
    let (server, hostile) = (scene.server, scene.hostile);
    for ahead in 0..60u64 {
        // What it has not got yet, and what does not exist.
        let mut acks = AckBits::new(PacketSeq(30 + ahead * 97));
        (0..40)
            .for_each(|back| acks.report(PacketSeq((30 + ahead * 97).saturating_sub(back)), true));
        let tick = scene.cluster.world(hostile).resource::<NetClock>().tick();
        let mut w = BitWriter::new();
        let header = StateHeader {
            seq: None,
            tick,
            acks: Some(acks),
        };
        header.write(&mut w);
        SectionKind::End.write(&mut w);
        let bytes = w.finish().to_vec();
        scene.wire.put(Parcel::datagram(Way::ToServer, bytes));
        let entity = scene.entities[5];
        move_to(&mut scene.cluster, server, entity, ahead as f32);
        scene.cluster.step();
    }
    settle(&mut scene.cluster, server, &[hostile, scene.honest]);
}

#[test]
fn records_about_what_is_not_the_clients_are_fenced() {
    let mut scene = scene(2);
    let server = scene.server;
    let own = scene
        .cluster
        .world(scene.honest)
        .spawn((Replicated, Place::default()))
        .id();
    let others = name(&mut scene.cluster, scene.honest, own);
    scene.cluster.run(20);
    let mut forger = scene.possess();
    let place = scene.component("common::Place");
    let value = encoded(&Place(666.0, 0.0, 0.0));
    let id = me(&mut scene.cluster, scene.hostile);
    let claims = [
        Tenure::default(),
        Tenure {
            epoch: Epoch {
                term: Term(u64::MAX),
                seq: u32::MAX,
            },
            holder: Holder::Peer(id),
            delegated: true,
            ..Tenure::default()
        },
    ];
    let unknown = GlobalEntity::new(40, 40).expect("legal");
    let mut fenced = scene.counted().refused.fenced;
    for tenure in claims {
        let mut cases = Vec::new();
        for index in [0, 3, 19, 400, WireId::MAX_INDEX - 1] {
            // A write as the holder of the server's entity; also of one that never was.
            let id = (index, 0);
            let name = scene.names[3];
            cases.push(forger.record(Allocator::Peer, id, name, tenure, (place, &value)));
            cases.push(forger.record(Allocator::Peer, id, unknown, tenure, (place, &value)));
        }
        // Its own entity under the name of the server's, of another client's, of one to come.
        let next = GlobalEntity::from_bits(scene.names[19].to_bits() + 5000).expect("legal");
        for (n, name) in [scene.names[3], others, next].into_iter().enumerate() {
            let id = (1000 + n as u32, 0);
            cases.push(forger.record(Allocator::Local, id, name, tenure, (place, &value)));
        }
        for (n, bytes) in cases.into_iter().enumerate() {
            scene.send(bytes);
            let now = scene.counted().refused.fenced;
            assert!(now > fenced, "case {n} of {tenure:?}");
            fenced = now;
        }
    }
    scene.check(2);
    let mut places = scene.cluster.world(server).query::<&Place>();
    let evil = places
        .iter(scene.cluster.world(server))
        .any(|p| p.0 == 666.0);
    assert!(!evil, "nowhere");
}

#[test]
fn a_holder_cannot_write_what_only_the_host_writes() {
    let mut scene = scene(3);
    let server = scene.server;
    let lent = scene.lent;
    let name = name(&mut scene.cluster, server, lent);
    let held = common::get::<seamless_replication::Authority>(&mut scene.cluster, server, lent);
    let tenure = held.expect("lent").tenure();
    let mut forger = scene.possess();
    let (health, place) = (
        scene.component("common::Health"),
        scene.component("common::Place"),
    );
    let id = (20, 0);
    let before = scene.counted().refused.fenced;
    let value = encoded(&Health(0));
    let bytes = forger.record(Allocator::Peer, id, name, tenure, (health, &value));
    scene.send(bytes);
    assert_eq!(scene.counted().refused.fenced, before + 1);
    // The same way of writing does reach what it may write.
    let value = encoded(&Place(5.0, 0.0, 0.0));
    let bytes = forger.record(Allocator::Peer, id, name, tenure, (place, &value));
    scene.send(bytes);
    assert_eq!(at(&mut scene.cluster, server, lent), Some(5.0));
    let health = common::get::<Health>(&mut scene.cluster, server, lent);
    assert_eq!(health, Some(Health(77)));
}

#[test]
fn a_client_cannot_make_the_servers_entities_leave() {
    let mut scene = scene(4);
    let mut forger = scene.possess();
    for index in [0, 7, 20, 5000] {
        for allocator in [Allocator::Local, Allocator::Peer] {
            for generation in [0, 1, u32::MAX] {
                let bytes = forger.datagram(|w| {
                    SectionKind::Leaves.write(w);
                    let id = WireId {
                        allocator,
                        index,
                        generation,
                    };
                    let reason = LeaveReason::Despawned;
                    Leave { id, reason }.write(w);
                    Leave::write_end(w);
                });
                scene.send(bytes);
            }
        }
    }
    assert!(scene.counted().refused.fenced > 0);
    scene.check(4);
}

/// Items of every kind, about this entity.
fn items(entity: GlobalEntity) -> Vec<Control> {
    let request = RequestId(u32::MAX);
    let epoch = Epoch {
        term: Term(u64::MAX),
        seq: u32::MAX,
    };
    let tenure = Tenure {
        epoch,
        holder: Holder::Peer(PeerId(1)),
        delegated: true,
        ..Tenure::default()
    };
    let mut all = vec![
        Control::AuthorityRequest { request, entity },
        Control::Delegate { entity },
        Control::Names {
            first: entity,
            count: u32::MAX,
        },
        Control::MoreNames,
        Control::DelegateRefused {
            entity,
            reason: DenyReason::Unknown,
        },
    ];
    for answer in [
        AuthorityAnswer::Granted(epoch),
        AuthorityAnswer::Denied(DenyReason::Held),
    ] {
        all.push(Control::AuthorityAnswer {
            request,
            entity,
            answer,
        });
    }
    for last in [None, Some(0), Some(u32::MAX)] {
        all.push(Control::AuthorityRelease {
            entity,
            epoch,
            last,
        });
    }
    for yes in [true, false] {
        all.push(Control::Migrated {
            entity,
            baseline: yes,
        });
        for index in [0, 3, u32::MAX] {
            all.push(Control::RowKept {
                yours: yes,
                index,
                generation: 0,
                version: 1,
            });
            all.push(Control::MigrateResponse {
                entity,
                old_index: index,
                old_generation: 7,
                new_index: 9,
                new_generation: 0,
                tenure,
                applied: 1,
                version: 1,
            });
        }
    }
    all
}

#[test]
fn items_that_a_client_may_not_send_or_that_make_no_sense_change_nothing() {
    let mut scene = scene(5);
    let unknown = GlobalEntity::new(40, 40).expect("legal");
    for entity in [scene.names[3], scene.names[4], unknown] {
        for item in items(entity) {
            let mut peers = scene.cluster.world(scene.hostile).resource_mut::<Peers>();
            let peer = peers.iter_mut().next().expect("a link");
            peer.send_control(&item).expect("room");
            scene.cluster.run(2);
        }
    }
    scene.cluster.run(90);
    scene.check(5);
    settle(&mut scene.cluster, scene.server, &[scene.hostile]);
}

#[test]
fn items_that_a_server_may_not_send_change_nothing_on_the_client() {
    let mut scene = scene(6);
    let id = me(&mut scene.cluster, scene.hostile);
    let unknown = GlobalEntity::new(40, 40).expect("legal");
    for entity in [scene.names[3], unknown] {
        let names = |c: &Control| matches!(c, Control::Names { .. });
        for item in items(entity).into_iter().filter(|item| !names(item)) {
            let mut peers = scene.cluster.world(scene.server).resource_mut::<Peers>();
            let peer = peers.by_id_mut(id).expect("linked");
            peer.send_control(&item).expect("room");
            scene.cluster.run(2);
        }
    }
    scene.cluster.run(60);
    scene.check(6);
    settle(&mut scene.cluster, scene.server, &[scene.hostile]);
    // And its stream still works.
    move_to(&mut scene.cluster, scene.server, scene.entities[3], 50.0);
    settle(&mut scene.cluster, scene.server, &[scene.hostile]);
}

#[test]
fn frames_that_make_no_sense_change_nothing() {
    let mut scene = scene(7);
    let mut rng = Rng::new(7);
    let section = |rng: &mut Rng| (0..rng.below(300)).map(|_| rng.next() as u8).collect();
    for n in 0..BEARABLE {
        let frame = match rng.below(4) {
            0 => Frame::Message {
                kind: rng.next() as u16,
                payload: section(&mut rng),
            },
            1 => Frame::Row(BigRow {
                tick: Tick(rng.next() as u32),
                section: section(&mut rng),
            }),
            2 => Frame::Row(BigRow {
                tick: Tick(u32::MAX),
                section: vec![0xff; 3000],
            }),
            _ => Frame::Refused(seamless_replication::wire::frame::Refusal::Other(
                "no".into(),
            )),
        };
        let mut bytes = codec::to_vec(&frame).expect("it encodes");
        if rng.chance(0.3) {
            bytes.truncate(rng.below(bytes.len()).max(1));
        }
        let channel = Some(Channel::ALL[rng.below(2)]);
        let way = Way::ToServer;
        scene.wire.put(Parcel {
            way,
            channel,
            bytes,
        });
        if n % 10 == 0 {
            scene.cluster.step();
        }
    }
    scene.cluster.run(60);
    assert!(scene.counted().refused.malformed > BEARABLE as u64 / 2);
    scene.check(7);
}

#[test]
fn who_sends_nothing_but_rubbish_is_cut_off_and_the_others_play_on() {
    let mut scene = scene(8);
    let links = |scene: &mut Scene| {
        let links = scene.cluster.world(scene.server).resource::<Links>();
        links.iter().count()
    };
    assert_eq!(links(&mut scene), 2);
    for _ in 0..40 {
        for n in 0..10 {
            scene
                .wire
                .put(Parcel::datagram(Way::ToServer, vec![0x81, n, n, n]));
        }
        scene.cluster.step();
    }
    scene.cluster.run(90);
    assert_eq!(links(&mut scene), 1);
    scene.check(8);
    move_to(&mut scene.cluster, scene.server, scene.entities[0], 70.0);
    settle(&mut scene.cluster, scene.server, &[scene.honest]);
}

#[test]
fn a_client_cannot_make_the_server_keep_more_than_its_share() {
    let mut scene = scene(9);
    let mut config = scene
        .cluster
        .world(scene.server)
        .resource_mut::<ReplicationConfig>();
    config.client_entities = 10;
    config.client_baseline_bytes = 20_000;
    let greedy = scene.hostile;
    for n in 0..300u32 {
        let label = Label(format!("{n}").repeat(40));
        scene.cluster.world(greedy).spawn((Replicated, label));
    }
    for _ in 0..60 {
        let world = scene.cluster.world(greedy);
        let mut labels = world.query::<&mut Label>();
        labels
            .iter_mut(world)
            .for_each(|mut label| label.0.push('x'));
        scene.cluster.step();
    }
    let count = |scene: &mut Scene| {
        let world = scene.cluster.world(scene.server);
        let mut slots = world.query::<&NetSlot>();
        slots.iter(world).count()
    };
    // Its ten, and the twenty-one of the server.
    assert!(count(&mut scene) <= 31, "{}", count(&mut scene));
    assert!(scene.counted().refused.over_bounds > 0);
    scene.check(9);
}

#[test]
fn nothing_of_what_a_client_spawned_under_anothers_name_stays_when_the_true_one_comes() {
    let mut scene = scene(10);
    let server = scene.server;
    let name = GlobalEntity::new(40, 40).expect("legal");
    let mut forger = scene.possess();
    let label = scene.component("common::Label");
    let value = encoded(&Label("evil".into()));
    let id = (1000, 0);
    let bytes = forger.record(
        Allocator::Local,
        id,
        name,
        Tenure::default(),
        (label, &value),
    );
    scene.send(bytes.clone());
    let usurper = find(&mut scene.cluster, server, name);
    assert!(
        usurper.is_some(),
        "it cannot be known that the name is another's"
    );
    // The true one comes from another node.
    let world = scene.cluster.world(server);
    let mut snapshot = take_snapshot(world, &[scene.entities[1]]).expect("it encodes");
    snapshot.rows[0].entity = name;
    let staged = stage(world.resource::<Registry>(), &snapshot).expect("it decodes");
    let heir = staged.spawn(world, |_, tenure| tenure)[0];
    let bytes = forger.record(
        Allocator::Local,
        id,
        name,
        Tenure::default(),
        (label, &value),
    );
    scene.send(bytes);
    assert_eq!(find(&mut scene.cluster, server, name), Some(heir));
    assert_eq!(common::get::<Label>(&mut scene.cluster, server, heir), None);
    assert_eq!(at(&mut scene.cluster, server, heir), Some(1.0));
    settle(&mut scene.cluster, server, &[scene.honest]);
}

#[test]
fn a_client_cannot_use_up_the_servers_names() {
    let mut scene = scene(11);
    let left = |scene: &mut Scene| {
        let slots = scene.cluster.world(scene.server).resource::<Slots>();
        slots.names_left()
    };
    let before = left(&mut scene);
    for _ in 0..60 {
        let mut peers = scene.cluster.world(scene.hostile).resource_mut::<Peers>();
        let peer = peers.iter_mut().next().expect("a link");
        for _ in 0..200 {
            peer.send_control(&Control::MoreNames).expect("room");
        }
        scene.cluster.step();
    }
    scene.cluster.run(20);
    let gone = before - left(&mut scene);
    assert!(
        (1..=1024).contains(&gone),
        "{gone} in less than three seconds"
    );
}

#[test]
fn a_client_that_spawns_a_lot_is_never_long_without_names() {
    let mut scene = scene(12);
    let client = scene.hostile;
    for _ in 0..300 {
        let world = scene.cluster.world(client);
        let new: Vec<Entity> = (0..4)
            .map(|_| world.spawn((Replicated, Place::default())).id())
            .collect();
        scene.cluster.step();
        let named = new.iter().filter(|entity| {
            let slot = scene.cluster.world(client).get::<NetSlot>(**entity);
            slot.is_some_and(|slot| slot.global().is_some())
        });
        assert_eq!(named.count(), 4);
        for entity in new {
            scene.cluster.world(client).despawn(entity);
        }
    }
}

#[test]
fn a_client_cannot_make_the_server_keep_scopes_without_end() {
    let mut scene = scene(13);
    let id = me(&mut scene.cluster, scene.hostile);
    for n in 0..100u32 {
        let mut peers = scene.cluster.world(scene.hostile).resource_mut::<Peers>();
        let peer = peers.iter_mut().next().expect("a link");
        let enter = (n * 40..n * 40 + 40).collect();
        let leave = Vec::new();
        let item = Control::Subscribe(Subscription { enter, leave });
        peer.send_control(&item).expect("room");
        scene.cluster.step();
    }
    scene.cluster.run(20);
    let mut peers = scene.cluster.world(scene.server).resource_mut::<Peers>();
    let interest = peers.by_id_mut(id).expect("linked").interest_mut();
    assert_eq!(interest.scopes().len(), 1024);
}

/// One of many small components, so that there are many sets of them.
#[derive(Component, TypePath, Serialize, Deserialize, Clone, PartialEq, Debug)]
struct Mark<const N: usize>(u8);

fn marks(app: &mut App) {
    common::register(app);
    app.replicate::<Mark<0>>();
    app.replicate::<Mark<1>>();
    app.replicate::<Mark<2>>();
    app.replicate::<Mark<3>>();
    app.replicate::<Mark<4>>();
    app.replicate::<Mark<5>>();
    app.replicate::<Mark<6>>();
    app.replicate::<Mark<7>>();
}

#[test]
fn a_client_cannot_use_up_the_room_for_sets_of_components() {
    let mut cluster = Cluster::new(14, marks);
    cluster.set_weather(Weather::clear());
    let server = cluster.server();
    let honest = cluster.client(server);
    ready(&mut cluster, honest);
    // The one set that is left over is that of an entity to come.
    let schema = cluster
        .world(server)
        .resource::<Registry>()
        .schema()
        .clone();
    let ours = ["Health", "Place", "Label", "Mark<0>", "Mark<7>"];
    let is_ours = |path: &str| ours.iter().any(|name| path.ends_with(name));
    let left_over: u32 = (0..13)
        .filter(|bit| is_ours(&schema.components[*bit].path))
        .map(|bit| 1 << bit)
        .sum();
    assert_eq!(left_over.count_ones(), 5);
    // Thirteen components make 8,192 sets; a datagram without a record names sixteen of them.
    for first in (0..8192u32).step_by(1600) {
        let (hostile, wire) = cluster.client_over_wire(server);
        ready(&mut cluster, hostile);
        cluster.run(2);
        wire.all(Way::ToServer, Fate::Lose);
        let mut forger = Forger {
            seq: 5_000,
            tick: 5_000,
        };
        for part in (first..first + 1600).step_by(16) {
            let bytes = forger.datagram(|w| {
                for set in (part..part + 16).filter(|set| *set != left_over) {
                    let components: Vec<u16> = (0..13).filter(|bit| set >> bit & 1 != 0).collect();
                    SectionKind::Rows.write(w);
                    RowsHead::write(w, Allocator::Local, &components);
                    RecordCursor::write_end(w);
                }
            });
            wire.put(Parcel::datagram(Way::ToServer, bytes));
        }
        cluster.run(3);
    }
    let marks = (Mark::<0>(1), Mark::<7>(1));
    let bundle = (
        Replicated,
        Health(3),
        Place::default(),
        Label("new".into()),
        marks,
    );
    let new = cluster.world(server).spawn(bundle).id();
    let name = name(&mut cluster, server, new);
    let there = wait_for(&mut cluster, honest, name);
    let mark = common::get::<Mark<7>>(&mut cluster, honest, there);
    assert_eq!(mark, Some(Mark(1)));
}
