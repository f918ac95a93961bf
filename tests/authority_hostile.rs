//! Every control item, from either side, with fields that are random, about entities in every state:
//! nothing panics, nothing changes that is not the sender's, memory stays bounded, and it is counted.
//!
//! `SEAMLESS_CASES` says how many items; 50,000 each way if it is not set.

mod common;

use bevy::prelude::*;
use common::{
    Place, Seen,
    authority::heard,
    command, find,
    hostile::{Scene, scene},
    me,
    memory::{assert_flat, resident},
    name, seen, wait_for,
};
use seamless_authority::{
    AuthorityCommandsExt, AuthorityPolicy, AuthorityStats, Delegated, Pending, Published,
    resume_deferred,
};
use seamless_replication::{
    Authority, Frozen, NetSlot, Peers, Replicated, ReplicationConfig, Slots,
    migrate::redirects,
    wire::{
        Epoch, GlobalEntity, HandoverId, Holder, InputSeq, PeerId, RequestId, Tenure, Term, Tick,
        control::{AuthorityAnswer, Control, DenyReason, Kept, Speaker, Subscription},
    },
};
use seamless_testkit::Rng;

fn cases() -> u64 {
    std::env::var("SEAMLESS_CASES").map_or(50_000, |text| {
        let cases = text.parse();
        cases.expect("SEAMLESS_CASES is a number of items")
    })
}

/// A number that is small, or large, or anything.
fn number(rng: &mut Rng) -> u32 {
    match rng.below(4) {
        0 => rng.below(30) as u32,
        1 => u32::MAX - rng.below(3) as u32,
        _ => rng.next() as u32,
    }
}

fn epoch(rng: &mut Rng) -> Epoch {
    let term = Term(match rng.below(3) {
        0 => rng.next(),
        _ => rng.below(3) as u64,
    });
    let seq = number(rng);
    Epoch { term, seq }
}

fn reason(rng: &mut Rng) -> DenyReason {
    const ALL: [DenyReason; 9] = [
        DenyReason::Held,
        DenyReason::Policy,
        DenyReason::OutOfScope,
        DenyReason::NotDelegated,
        DenyReason::HostedElsewhere,
        DenyReason::Unknown,
        DenyReason::Limited,
        DenyReason::TooFar,
        DenyReason::Revoked,
    ];
    ALL[rng.below(ALL.len())]
}

fn tenure(rng: &mut Rng) -> Tenure {
    let holder = match rng.below(3) {
        0 => Holder::Nobody,
        1 => Holder::Host,
        _ => Holder::Peer(PeerId(rng.below(4) as u64)),
    };
    Tenure {
        epoch: epoch(rng),
        since: epoch(rng),
        holder,
        delegated: rng.chance(0.5),
        lease: number(rng),
        ..Tenure::default()
    }
}

/// Any item, about one of these entities or any.
fn item(rng: &mut Rng, entities: &[GlobalEntity]) -> Control {
    let any = GlobalEntity::from_bits(rng.next());
    let entity = match any.filter(|_| rng.chance(0.1)) {
        Some(any) => any,
        None => entities[rng.below(entities.len())],
    };
    let request = RequestId(number(rng));
    let (yes, index, version) = (rng.chance(0.5), number(rng), number(rng));
    let handover = HandoverId {
        root: entity,
        term: Term(rng.below(5) as u64),
        attempt: number(rng),
    };
    match rng.below(21) {
        0 => Control::AuthorityRequest { request, entity },
        1 => Control::AuthorityRelease {
            entity,
            epoch: epoch(rng),
            last: yes.then_some(version),
        },
        2 => Control::AuthorityAnswer {
            request,
            entity,
            answer: match yes {
                true => AuthorityAnswer::Granted(epoch(rng)),
                false => AuthorityAnswer::Denied(reason(rng)),
            },
        },
        3 => Control::Delegate { entity },
        4 => Control::MigrateResponse {
            entity,
            old_index: number(rng),
            old_generation: rng.below(3) as u32,
            new_index: index,
            new_generation: number(rng),
            tenure: tenure(rng),
            applied: number(rng),
            version,
        },
        5 => Control::DelegateRefused {
            entity,
            reason: reason(rng),
        },
        6 => Control::Migrated {
            entity,
            kept: [Kept::Row, Kept::Entity, Kept::Nothing][rng.below(3)],
        },
        7 => Control::RowKept {
            yours: yes,
            index,
            tick: Tick(number(rng)),
        },
        8 => Control::Names {
            first: entity,
            count: number(rng),
        },
        9 => Control::MoreNames,
        10 => Control::Subscribe(Subscription {
            enter: (0..rng.below(5)).map(|_| number(rng)).collect(),
            leave: (0..rng.below(5)).map(|_| number(rng)).collect(),
        }),
        11 => Control::Attached { handover },
        12 => Control::AttachFailed { handover },
        13 => Control::Route {
            root: entity,
            term: Term(rng.next()),
            tick: Tick(number(rng)),
            applied: InputSeq(number(rng)),
        },
        14 => Control::RouteKept {
            term: Term(rng.next()),
        },
        15 => Control::HandoverEnded { handover },
        16 => Control::RouteEnded {
            term: Term(rng.next()),
        },
        17 => Control::Resend { index, version },
        18 => Control::WriteRefused {
            entity,
            hosted: yes,
        },
        19 => Control::Publish {
            entity,
            public: yes,
        },
        _ => Control::Published {
            entity,
            public: yes,
            refused: rng.chance(0.5).then(|| reason(rng)),
        },
    }
}

/// A scene in which there are entities in every state.
struct States {
    scene: Scene,
    /// What is not the hostile client's, on the server.
    others: Vec<Entity>,
    /// All that can be spoken of.
    names: Vec<GlobalEntity>,
}

fn states() -> States {
    let mut scene = scene(1);
    let (server, honest, hostile) = (scene.server, scene.honest, scene.hostile);
    let policy = AuthorityPolicy::new(|_, _, _| Err(DenyReason::Policy))
        .delegation(|_, _, _| false)
        .publication(|_, _, _| false);
    scene.cluster.world(server).insert_resource(policy);
    let honest_id = me(&mut scene.cluster, honest);
    let [kept, given, plain] = [scene.entities[0], scene.entities[1], scene.entities[2]];
    command(&mut scene.cluster, server, kept, |e| {
        e.take_authority();
    });
    command(&mut scene.cluster, server, given, |e| {
        e.give_authority(honest_id);
    });
    command(&mut scene.cluster, server, plain, |e| {
        e.undelegate();
    });
    let mut own = Vec::new();
    for (app, x) in [(honest, 1.0), (honest, 2.0), (hostile, 3.0), (hostile, 4.0)] {
        let bundle = (Replicated, Place(x, 0.0, 0.0));
        let entity = scene.cluster.world(app).spawn(bundle).id();
        let name = name(&mut scene.cluster, app, entity);
        own.push((name, wait_for(&mut scene.cluster, server, name)));
    }
    for n in [0, 2] {
        command(&mut scene.cluster, server, own[n].1, |e| {
            e.publish();
        });
    }
    let gone = GlobalEntity::new(40, 40).expect("legal");
    let lent = name(&mut scene.cluster, server, scene.lent);
    scene.cluster.run(30);
    scene
        .cluster
        .world(server)
        .entity_mut(scene.entities[3])
        .insert(Frozen);
    let mut names = scene.names.clone();
    names.extend(own.iter().map(|(name, _)| *name));
    names.extend([gone, lent]);
    let mut others = scene.entities.clone();
    others.extend([own[0].1, own[1].1]);
    States {
        scene,
        others,
        names,
    }
}

type Protected = (Tenure, Option<Authority>, Option<Place>, bool);

impl States {
    /// What must stay as it is, as the server has it, and as the honest client sees it.
    fn protected(&mut self) -> (Vec<Protected>, Vec<Seen>) {
        let world = self.scene.cluster.world(self.scene.server);
        let of = |entity: &Entity| {
            let slot = world.get::<NetSlot>(*entity).expect("it is there");
            let tenure = world.resource::<Slots>().tenure(slot);
            (
                tenure.expect("it has one"),
                world.get(*entity).copied(),
                world.get(*entity).cloned(),
                world.get::<Published>(*entity).is_some(),
            )
        };
        let on_server = self.others.iter().map(of).collect();
        let mut seen = seen(&mut self.scene.cluster, self.scene.honest);
        // What the hostile client was lent or hosts is its own to change.
        let honest = self.others.len();
        let own = &self.names[self.scene.names.len()..];
        let theirs = [own[2], own[3], own[5]];
        seen.retain(|entity| !theirs.contains(&entity.0));
        assert!(seen.len() + 3 >= honest, "{} of {honest}", seen.len());
        (on_server, seen)
    }
}

#[test]
fn nothing_that_a_client_says_changes_what_is_not_its_own() {
    let mut t = states();
    let (server, hostile) = (t.scene.server, t.scene.hostile);
    let mut config = t
        .scene
        .cluster
        .world(hostile)
        .resource_mut::<ReplicationConfig>();
    config.bytes_per_tick = 1 << 20;
    let before = t.protected();
    let counted = t.scene.counted().refused.misdirected;
    let mut rng = Rng::new(7);
    let (mut sent, mut wrong, mut requests) = (0, 0, 0);
    let mut warm = None;
    let cases = cases();
    while sent < cases {
        let mut peers = t.scene.cluster.world(hostile).resource_mut::<Peers>();
        let peer = peers.iter_mut().next().expect("a link");
        while peer.control_room() > 3_000 && sent < cases {
            let item = item(&mut rng, &t.names);
            wrong += u64::from(item.speaker() == Speaker::Server);
            requests += u64::from(matches!(item, Control::AuthorityRequest { .. }));
            peer.send_control(&item).expect("room");
            sent += 1;
        }
        t.scene.cluster.step();
        heard(&mut t.scene.cluster, hostile);
        if t.scene.cluster.frames().is_multiple_of(64) {
            assert_eq!(t.protected(), before, "after {sent}");
            let waiting = t
                .scene
                .cluster
                .world(server)
                .resource::<Pending>()
                .waiting();
            assert!(waiting <= 4096 + 256, "{waiting}");
        }
        if warm.is_none() && sent > cases / 3 {
            warm = resident();
        }
    }
    t.scene.cluster.run(120);
    assert_flat(warm, 8192);
    assert_eq!(t.protected(), before);
    let misdirected = t.scene.counted().refused.misdirected - counted;
    assert_eq!(misdirected, wrong, "each from the wrong side is counted");
    let world = t.scene.cluster.world(server);
    let waiting = world.resource::<Pending>().waiting() as u64;
    let stats = world.resource::<AuthorityStats>();
    let answered = stats.granted + stats.denied.values().sum::<u64>();
    assert_eq!(answered + waiting, requests, "each is answered or waits");
    assert!(stats.void_releases > 0 && !stats.refused.is_empty());
    assert_eq!(redirects(world.resource::<Peers>()).count(), 0);
    // The game goes on: what was frozen answers, and the honest client is served.
    let frozen = t.scene.entities[3];
    t.scene
        .cluster
        .world(server)
        .entity_mut(frozen)
        .remove::<Frozen>();
    t.scene
        .cluster
        .world(server)
        .insert_resource(AuthorityPolicy::default());
    let there = find(&mut t.scene.cluster, t.scene.honest, t.scene.names[3]);
    let honest = t.scene.honest;
    common::authority::grab(&mut t.scene.cluster, honest, there.expect("seen"));
}

#[test]
fn nothing_that_a_server_says_makes_a_client_panic_or_grow() {
    let mut t = states();
    let (server, honest) = (t.scene.server, t.scene.honest);
    let id = me(&mut t.scene.cluster, honest);
    t.scene
        .cluster
        .world(server)
        .resource_mut::<ReplicationConfig>()
        .bytes_per_tick = 1 << 20;
    let counted = common::counted(&mut t.scene.cluster, honest).refused;
    let mut rng = Rng::new(8);
    let (mut sent, mut wrong) = (0, 0);
    let mut warm = None;
    let cases = cases();
    while sent < cases {
        let mut peers = t.scene.cluster.world(server).resource_mut::<Peers>();
        let peer = peers.by_id_mut(id).expect("linked");
        while peer.control_room() > 3_000 && sent < cases {
            let item = item(&mut rng, &t.names);
            wrong += u64::from(item.speaker() == Speaker::Client);
            peer.send_control(&item).expect("room");
            sent += 1;
        }
        // Something of the client's that can be spoken of.
        if sent.is_multiple_of(7) {
            let bundle = (Replicated, Place(sent as f32, 0.0, 0.0));
            let own = t.scene.cluster.world(honest).spawn(bundle).id();
            command(&mut t.scene.cluster, honest, own, |e| {
                e.publish();
            });
            let slot = t.scene.cluster.world(honest).get::<NetSlot>(own).copied();
            if let Some(name) = slot.and_then(|slot| slot.global()) {
                let at = t.scene.names.len() + rng.below(4);
                t.names[at] = name;
            }
        }
        t.scene.cluster.step();
        heard(&mut t.scene.cluster, honest);
        if warm.is_none() && sent > cases / 3 {
            warm = resident();
        }
    }
    t.scene.cluster.run(120);
    assert_flat(warm, 16 * 1024);
    let now = common::counted(&mut t.scene.cluster, honest).refused;
    assert_eq!(now.misdirected - counted.misdirected, wrong);
    assert_eq!(now.malformed, counted.malformed);
    // What the server says in earnest still arrives.
    let bundle = (Replicated, Delegated, Place(5.0, 0.0, 0.0));
    let fresh = t.scene.cluster.world(server).spawn(bundle).id();
    let name = name(&mut t.scene.cluster, server, fresh);
    wait_for(&mut t.scene.cluster, honest, name);
}

#[test]
fn one_release_of_each_holder_waits_for_what_is_frozen_and_it_is_the_last() {
    let mut t = scene(1);
    let (server, honest, hostile) = (t.server, t.honest, t.hostile);
    let lent = name(&mut t.cluster, server, t.lent);
    let there = find(&mut t.cluster, hostile, lent).expect("seen");
    let authority = t.cluster.world(hostile).get::<Authority>(there).copied();
    let epoch = authority.expect("it is lent").epoch;
    t.cluster.world(server).entity_mut(t.lent).insert(Frozen);
    let release = |last| Control::AuthorityRelease {
        entity: lent,
        epoch,
        last: Some(last),
    };
    const RELEASES: u32 = 300;
    for last in 1..=RELEASES {
        let mut peers = t.cluster.world(hostile).resource_mut::<Peers>();
        let peer = peers.iter_mut().next().expect("a link");
        peer.send_control(&release(last)).expect("room");
        t.cluster.step();
    }
    t.cluster.run(10);
    let waiting = |t: &mut Scene| {
        let world = t.cluster.world(server);
        world.resource::<Pending>().waiting()
    };
    assert_eq!(waiting(&mut t), 1);
    // There is room for what others ask for, and it stays in its order.
    let seen = find(&mut t.cluster, honest, lent).expect("seen");
    command(&mut t.cluster, honest, seen, |e| {
        e.request_authority();
    });
    t.cluster.run(10);
    assert_eq!(waiting(&mut t), 2);
    let id = me(&mut t.cluster, hostile);
    let mut pending = t.cluster.world(server).resource_mut::<Pending>();
    let deferred = pending.take_deferred(&[lent]);
    assert_eq!(deferred.len(), 2);
    let first = &deferred[0];
    assert_eq!((first.peer, &first.control), (id, &release(RELEASES)));
    assert_eq!(waiting(&mut t), 0);
    // Thawed, it is given back.
    let world = t.cluster.world(server);
    world.entity_mut(t.lent).remove::<Frozen>();
    resume_deferred(world, deferred);
    t.cluster.run(120);
    let holder = common::authority::holder(&mut t.cluster, server, t.lent);
    assert_eq!(holder, Some(Holder::Nobody));
}
