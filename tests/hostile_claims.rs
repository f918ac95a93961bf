//! Clients that claim what is not theirs, in datagrams that are well made: the fence holds.

mod common;

use bevy::prelude::*;
use common::{
    Health, Label, Place,
    authority::{at, move_to},
    find,
    hostile::{encoded, scene},
    me, name, settle,
};
use seamless_replication::{
    NetClock, NetSlot, Peers, Registry, Replicated, Slots,
    snapshot::{stage, take_snapshot},
    wire::audit::{self, Audited},
    wire::control::{AuthorityAnswer, Control, DenyReason, Kept, Speaker},
    wire::packet::{AckBits, SectionKind, StateHeader},
    wire::record::{Leave, LeaveReason, Version},
    wire::{
        Allocator, BitWriter, Epoch, GlobalEntity, Holder, PacketSeq, PeerId, RequestId, Tenure,
        Term, Tick, WireId,
    },
};
use seamless_testkit::{Parcel, Way};

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
fn what_a_client_does_not_see_it_can_neither_change_nor_learn_of() {
    let mut scene = scene(12);
    let (server, hostile) = (scene.server, scene.hostile);
    let id = me(&mut scene.cluster, hostile);
    // One of the server's, and what the client was lent.
    let hidden = [scene.entities[5], scene.lent];
    let slots = hidden.map(|entity| {
        let world = scene.cluster.world(server);
        let slot = *world.get::<NetSlot>(entity).expect("on the network");
        let mut peers = world.resource_mut::<Peers>();
        let peer = peers.by_id_mut(id).expect("it is linked");
        peer.interest_mut().except(&slot, Some(false));
        slot
    });
    let names = hidden.map(|entity| name(&mut scene.cluster, server, entity));
    scene.cluster.run(60);
    for name in names {
        assert_eq!(find(&mut scene.cluster, hostile, name), None);
    }
    // With what it knows of them, while its own app still speaks: all that can be asked and claimed.
    for name in names {
        for item in items(name) {
            let mut peers = scene.cluster.world(hostile).resource_mut::<Peers>();
            let peer = peers.iter_mut().next().expect("a link");
            let _ = peer.send_control(&item);
            scene.cluster.step();
        }
    }
    scene.cluster.run(30);
    let mut forger = scene.possess();
    let place = scene.component("common::Place");
    let value = encoded(&Place(666.0, 0.0, 0.0));
    // The scene's numbers: the sixth of the server's own, and what it lent.
    for ((slot, index), name) in slots.iter().zip([5, 20]).zip(names) {
        let world = scene.cluster.world(server);
        let tenure = world.resource::<Slots>().tenure(slot).expect("there");
        let claimed = Tenure {
            holder: Holder::Peer(id),
            delegated: true,
            ..tenure
        };
        for tenure in [tenure, claimed] {
            for generation in 0..3 {
                let id = (index, generation);
                let fenced = scene.counted().refused.fenced;
                let bytes = forger.record(Allocator::Peer, id, name, tenure, (place, &value));
                scene.send(bytes);
                assert!(scene.counted().refused.fenced > fenced, "{tenure:?}");
            }
        }
        let tick = Tick(forger.tick + 1);
        let bytes = forger.datagram(|w| {
            SectionKind::Audit.write(w);
            let (version, hash) = (Version(1), 7);
            let audited = Audited {
                index,
                version,
                hash,
            };
            audit::write_section(w, tick, &[audited]);
        });
        scene.send(bytes);
    }
    scene.check(12);
    let world = scene.cluster.world(server);
    for entity in hidden {
        assert_ne!(world.get::<Place>(entity), Some(&Place(666.0, 0.0, 0.0)));
    }
    // What happens to them since, it does not hear of.
    for n in 0..60 {
        let world = scene.cluster.world(server);
        for entity in hidden {
            *world.get_mut::<Place>(entity).expect("there") = Place(777.0, n as f32, 0.0);
        }
        scene.cluster.step();
    }
    for name in names {
        assert_eq!(find(&mut scene.cluster, hostile, name), None);
        assert!(find(&mut scene.cluster, scene.honest, name).is_some());
    }
    let world = scene.cluster.world(hostile);
    let mut places = world.query::<&Place>();
    assert!(places.iter(world).all(|place| place.0 != 777.0));
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
    for index in [0, 3, u32::MAX] {
        let version = u32::MAX;
        all.push(Control::Resend { index, version });
    }
    for kept in [Kept::Row, Kept::Entity, Kept::Nothing] {
        all.push(Control::Migrated { entity, kept });
    }
    for yes in [true, false] {
        all.push(Control::WriteRefused {
            entity,
            hosted: yes,
        });
        all.push(Control::Publish {
            entity,
            public: yes,
        });
        all.push(Control::Published {
            entity,
            public: yes,
            refused: (!yes).then_some(DenyReason::HostedElsewhere),
        });
        for index in [0, 3, u32::MAX] {
            all.push(Control::RowKept {
                yours: yes,
                index,
                tick: Tick(1),
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

/// How many of those only one end may say.
fn said_by(speaker: Speaker, entity: GlobalEntity) -> u64 {
    let items = items(entity);
    let count = items
        .iter()
        .filter(|item| item.speaker() == speaker)
        .count() as u64;
    assert!(count > 3, "{count} of {}", items.len());
    count
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
    let wrong = 3 * said_by(Speaker::Server, unknown);
    assert_eq!(scene.counted().refused.misdirected, wrong);
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
    let counted = common::counted(&mut scene.cluster, scene.hostile).refused;
    let wrong = 2 * said_by(Speaker::Client, unknown);
    assert_eq!(counted.misdirected, wrong);
    settle(&mut scene.cluster, scene.server, &[scene.hostile]);
    // And its stream still works.
    move_to(&mut scene.cluster, scene.server, scene.entities[3], 50.0);
    settle(&mut scene.cluster, scene.server, &[scene.hostile]);
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
