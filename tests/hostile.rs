//! Bytes that no honest peer sends: nothing panics, nothing in the world changes, and the counters
//! tell of it.

mod common;

use bevy::prelude::*;
use common::{
    Health, Place,
    authority::move_to,
    command, counted, find,
    hostile::{BEARABLE, Scene, mutant, scene},
    name, settle, wait_for,
};
use seamless_authority::AuthorityCommandsExt;
use seamless_replication::{
    Replicated,
    transport::{Channel, Links},
    wire::frame::{BigRow, Frame, Mention},
    wire::{GlobalEntity, Tick, codec, record::Version},
};
use seamless_testkit::{Fate, Parcel, Rng, Way};

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

fn mention(rng: &mut Rng) -> Mention {
    Mention {
        entity: GlobalEntity::new(1 + rng.below(9) as u32, 1 + rng.below(9) as u64).expect("legal"),
        version: Version(rng.next() as u32),
    }
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
                tick: Tick(rng.next() as u32),
                mentions: (0..rng.below(40)).map(|_| mention(&mut rng)).collect(),
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
