//! What went wrong at a client is found and healed within a stated time, and looking for it costs
//! next to nothing.

mod common;

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use bevy::prelude::*;
use common::{
    Health, Label, Place, Target,
    authority::{lending, move_to},
    command, counted, differences, find, get,
    hostile::forged,
    me, name, on_a_wire, pair, register, seen, settle, show, spawn_on, state_sent,
};
use seamless_authority::{AuthorityCommandsExt, Delegated};
use seamless_replication::{
    ReplicateAppExt, Replicated, ReplicationConfig, Replicator, TransformPrecision,
    stats::AuditStats,
    wire::{
        BitReader, Tick, WireError,
        audit::{self, Audited},
        control::{self, Control, ControlSeq, NumberedItem},
        delta::{self, Baseline},
        packet::SectionKind,
        record::Version,
    },
};
use seamless_testkit::{AppId, Cluster, Parcel, Rng, Way, Weather};

/// Settled entities of a scene.
const ENTITIES: usize = 100;

/// Ticks in which a difference is found and healed when nothing is lost: a round of all entities,
/// a second in which it stays as it is, and the ticks between two datagrams.
fn stated(entities: usize) -> usize {
    let per_second = ReplicationConfig::default().audit_per_second as usize;
    entities * 30 / per_second + 30 + 2 * 10 + 2
}

fn audited(cluster: &mut Cluster, app: AppId) -> AuditStats {
    counted(cluster, app).audit
}

/// A server with settled entities, and a client.
fn scene(
    weather: Weather,
    setup: impl Fn(&mut App) + 'static,
) -> (Cluster, [AppId; 2], Vec<Entity>) {
    let (mut cluster, apps) = pair(7, weather, setup);
    let entities = (0..ENTITIES as u32)
        .map(|n| {
            let bundle = (Replicated, Place(n as f32, 0.5, 0.0), Health(n));
            cluster.world(apps[0]).spawn(bundle).id()
        })
        .collect();
    settle(&mut cluster, apps[0], &apps[1..]);
    cluster.run(30);
    (cluster, apps, entities)
}

fn is_healed(cluster: &mut Cluster, [server, client]: [AppId; 2]) -> bool {
    let want = seen(cluster, server);
    differences(&seen(cluster, client), &want).is_none()
}

type Harm = fn(&mut EntityWorldMut);

const HARMS: [Harm; 4] = [
    |entity| entity.get_mut::<Place>().expect("it has one").1 = 7.0,
    |entity| {
        entity.remove::<Health>();
    },
    |entity| {
        entity
            .insert(Health(1_000_000))
            .insert(Place(f32::NAN, 1.0, -0.0));
    },
    |_| {},
];

#[test]
fn what_a_client_changed_by_mistake_is_put_right_within_the_stated_time() {
    for (nth, harm) in HARMS.into_iter().enumerate() {
        let (mut cluster, apps, entities) = scene(Weather::clear(), register);
        let [server, client] = apps;
        let name = name(&mut cluster, server, entities[42]);
        let there = find(&mut cluster, client, name).expect("it is there");
        let mut there = cluster.world(client).entity_mut(there);
        harm(&mut there);
        if nth == 3 {
            there.despawn();
        }
        assert!(!is_healed(&mut cluster, apps));
        cluster.run_until("it is healed", stated(ENTITIES), |c| is_healed(c, apps));
        assert_eq!(audited(&mut cluster, client).healed, 1, "harm {nth}");
        assert_eq!(
            audited(&mut cluster, server).resent,
            0,
            "nothing was asked for"
        );
    }
}

#[test]
fn what_a_client_changed_by_mistake_is_put_right_whatever_is_lost() {
    let (mut cluster, apps, entities) = scene(Weather::lossy(0.3), register);
    let [server, client] = apps;
    for &entity in &entities[10..20] {
        let name = name(&mut cluster, server, entity);
        let there = find(&mut cluster, client, name).expect("it is there");
        cluster
            .world(client)
            .entity_mut(there)
            .insert(Health(9_999));
    }
    // Each round loses three in ten.
    cluster.run_until("all are healed", stated(ENTITIES) * 8, |c| {
        is_healed(c, apps)
    });
    assert_eq!(audited(&mut cluster, client).healed, 10);
}

/// Decodes one value in so many wrongly.
#[derive(Component, TypePath, Clone, Copy, PartialEq, Debug)]
struct Gauge(u32);

struct Faulty(Arc<AtomicBool>);

impl Replicator<Gauge> for Faulty {
    fn describe(&self) -> String {
        "a gauge".into()
    }

    fn write(&self, component: &Gauge, out: &mut Vec<u8>) -> Result<(), WireError> {
        out.extend(component.0.to_le_bytes());
        Ok(())
    }

    fn read(&self, value: &[u8]) -> Result<Gauge, WireError> {
        let bytes = value.try_into();
        bytes
            .map(|bytes| Gauge(u32::from_le_bytes(bytes)))
            .map_err(|_| WireError::Trailing(value.len()))
    }

    fn decode(
        &self,
        base: Option<Baseline<'_>>,
        r: &mut BitReader<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), WireError> {
        let start = out.len();
        delta::read_bytes(r, base, 100, out)?;
        if self.0.load(Ordering::Relaxed)
            && let Some(first) = out.get_mut(start)
        {
            *first ^= 1;
        }
        Ok(())
    }
}

fn gauges(cluster: &mut Cluster, app: AppId) -> Vec<u32> {
    let world = cluster.world(app);
    let mut all: Vec<u32> = world.query::<&Gauge>().iter(world).map(|g| g.0).collect();
    all.sort_unstable();
    all
}

/// A server whose client takes this many gauges in wrongly.
fn misread(count: u32) -> (Cluster, [AppId; 2]) {
    let fault = Arc::new(AtomicBool::new(true));
    let shared = fault.clone();
    let (mut cluster, apps) = pair(5, Weather::lossy(0.1), move |app| {
        app.replicate_as(Faulty(shared.clone()));
    });
    let [server, client] = apps;
    for n in 0..count {
        cluster.world(server).spawn((Replicated, Gauge(n * 2)));
    }
    cluster.run_until("all are there", 300, |cluster| {
        gauges(cluster, client).len() == count as usize
    });
    fault.store(false, Ordering::Relaxed);
    assert!(
        gauges(&mut cluster, client)
            .iter()
            .all(|gauge| gauge % 2 == 1)
    );
    (cluster, apps)
}

#[test]
fn a_row_that_was_taken_in_wrongly_is_asked_for_and_told_whole() {
    let (mut cluster, [server, client]) = misread(3);
    let whole = counted(&mut cluster, server).records.1;
    cluster.run_until("they are right", 300, |cluster| {
        gauges(cluster, client) == [0, 2, 4]
    });
    cluster.run(60);
    let (host, seen) = (audited(&mut cluster, server), audited(&mut cluster, client));
    assert!(seen.differing >= 3 && host.resent >= 3, "{host:?} {seen:?}");
    assert!(counted(&mut cluster, server).records.1 >= whole + 3);
    assert_eq!((host.restarts, seen.healed), (0, 0));
    // And from there on as before.
    for mut gauge in cluster
        .world(server)
        .query::<&mut Gauge>()
        .iter_mut(cluster.world(server))
    {
        gauge.0 += 100;
    }
    cluster.run_until("changes arrive", 100, |cluster| {
        gauges(cluster, client) == [100, 102, 104]
    });
}

#[test]
fn a_link_with_many_wrong_rows_begins_anew() {
    let (mut cluster, [server, client]) = misread(300);
    let want: Vec<u32> = (0..300).map(|n| n * 2).collect();
    cluster.run_until("all are right", 300, |cluster| {
        gauges(cluster, client) == want
    });
    let host = audited(&mut cluster, server);
    assert!(host.restarts >= 1 && host.resent < 200, "{host:?}");
    cluster.run(400);
    let later = audited(&mut cluster, server);
    assert_eq!(later.restarts, host.restarts, "that was it");
}

/// Its encoding is another one for every map: the order of a hash map is its own.
#[derive(Component, TypePath, serde::Serialize, serde::Deserialize, Clone, Debug)]
struct Bag(std::collections::HashMap<u32, u32>);

#[test]
fn what_is_as_told_is_never_taken_for_wrong() {
    let (mut cluster, apps) = pair(3, Weather::lossy(0.1), |app| {
        register(app);
        app.replicate::<Bag>();
        app.replicate_quantized::<Transform>(TransformPrecision::default());
        app.replicate_with_entities::<ChildOf>();
    });
    let [server, client] = apps;
    let mut rng = Rng::new(11);
    let mut all = Vec::new();
    for n in 0..40u32 {
        let angle = rng.below(1000) as f32;
        let turned = Transform::from_xyz(angle / 7.0, 1.0 / 3.0, -angle)
            .with_rotation(Quat::from_euler(EulerRot::XYZ, angle, 0.3, 1.0));
        let bag = Bag((0..n).map(|key| (key, key)).collect());
        let bundle = (Replicated, turned, bag, Label("x".repeat(n as usize)));
        let entity = cluster.world(server).spawn(bundle).id();
        if let Some(&parent) = all.last() {
            let gone = cluster
                .world(server)
                .spawn((Replicated, Place::default()))
                .id();
            let world = cluster.world(server);
            world
                .entity_mut(entity)
                .insert((ChildOf(parent), Target(gone)));
            if n % 2 == 0 {
                // It goes, and who refers to it is not told anew.
                world.despawn(gone);
            }
        }
        all.push(entity);
    }
    for round in 0..20 {
        for entity in &all {
            if rng.chance(0.2)
                && let Some(mut transform) = cluster.world(server).get_mut::<Transform>(*entity)
            {
                transform.rotate_y(0.1);
                transform.translation.x += round as f32 * 0.37;
            }
        }
        cluster.run(45);
    }
    let seen = audited(&mut cluster, client);
    assert!(seen.compared > 500, "{seen:?}");
    // The bags cannot be compared. That is found out with the first that has another order.
    assert!(seen.differing == 0 && seen.healed <= 5, "{seen:?}");
}

#[test]
fn two_that_refer_to_what_is_gone_are_right_also_if_they_came_before_and_after_it_went() {
    let (mut cluster, [server, client]) = pair(1, Weather::lossy(0.1), register);
    let [gone, _] = spawn_on(&mut cluster, [server, client], Place::default());
    let both = [(); 2].map(|()| spawn_on(&mut cluster, [server, client], Target(gone))[0]);
    show(&mut cluster, server, both[1], false);
    cluster.run(60);
    cluster.world(server).despawn(gone);
    cluster.run(60);
    show(&mut cluster, server, both[1], true);
    let before = audited(&mut cluster, client).compared;
    cluster.run(200);
    let seen = audited(&mut cluster, client);
    assert!(seen.compared > before + 4, "{seen:?}");
    assert_eq!((seen.differing, seen.healed), (0, 0));
}

#[test]
fn what_the_client_holds_or_may_show_as_it_likes_is_left_alone() {
    let (mut cluster, apps, _) = scene(Weather::clear(), |app| {
        lending(app);
        let _ = app.replicate::<Gauge2>().unaudited();
    });
    let [server, client] = apps;
    let id = me(&mut cluster, client);
    let bundle = (Delegated, Place::default(), Gauge2(1));
    let [held, here] = spawn_on(&mut cluster, apps, bundle);
    command(&mut cluster, server, held, |e| {
        e.give_authority(id);
    });
    cluster.run(10);
    move_to(&mut cluster, client, here, 50.0);
    cluster.world(client).entity_mut(here).insert(Gauge2(2));
    cluster.run(stated(ENTITIES) * 2);
    assert_eq!(
        get::<Place>(&mut cluster, server, held).map(|p| p.0),
        Some(50.0)
    );
    let [shown, there] = spawn_on(&mut cluster, apps, (Place::default(), Gauge2(1)));
    cluster.world(client).entity_mut(there).insert(Gauge2(2));
    cluster.run(stated(ENTITIES) * 2);
    assert_eq!(get(&mut cluster, client, there), Some(Gauge2(2)));
    assert_eq!(get(&mut cluster, server, shown), Some(Gauge2(1)));
    assert_eq!(audited(&mut cluster, client).healed, 0);
}

/// Smoothed in place.
#[derive(Component, TypePath, serde::Serialize, serde::Deserialize, Clone, PartialEq, Debug)]
struct Gauge2(u32);

#[test]
fn what_the_game_is_at_work_on_is_left_alone() {
    let (mut cluster, apps, entities) = scene(Weather::clear(), register);
    let [server, client] = apps;
    let name = name(&mut cluster, server, entities[0]);
    let there = find(&mut cluster, client, name).expect("it is there");
    for n in 0..400 {
        let world = cluster.world(client);
        world.get_mut::<Place>(there).expect("it has one").0 = n as f32;
        cluster.step();
    }
    assert_eq!(audited(&mut cluster, client).healed, 0);
    assert_eq!(
        get::<Place>(&mut cluster, client, there).map(|p| p.0),
        Some(399.0)
    );
    // Until it lets go of it.
    cluster.run_until("it is healed", stated(ENTITIES) + 30, |c| {
        is_healed(c, apps)
    });
}

#[test]
fn looking_costs_no_datagram_and_few_bytes() {
    let run = |per_second| {
        let (mut cluster, [server, _], _) = scene(Weather::near(), move |app| {
            register(app);
            app.world_mut()
                .resource_mut::<ReplicationConfig>()
                .audit_per_second = per_second;
        });
        let before = state_sent(&mut cluster, server);
        cluster.run(600);
        let after = state_sent(&mut cluster, server);
        let named = audited(&mut cluster, server).named;
        (
            after.packets - before.packets,
            after.bytes - before.bytes,
            named,
        )
    };
    let (packets, bytes, none) = run(0);
    let (with, more, named) = run(64);
    assert_eq!((packets, none), (with, 0));
    assert!(named >= 20 * 60, "{named}");
    let each = (more - bytes) as f32 / (20 * 64) as f32;
    assert!(each < 4.0, "{each} bytes for each entity");
}

#[test]
fn an_entity_that_changes_is_not_named() {
    let (mut cluster, [server, client], entities) = scene(Weather::lossy(0.1), register);
    let before = audited(&mut cluster, server).named;
    for n in 0..200 {
        for &entity in &entities {
            cluster
                .world(server)
                .get_mut::<Place>(entity)
                .expect("it has one")
                .2 = n as f32;
        }
        cluster.step();
    }
    assert_eq!(audited(&mut cluster, server).named, before);
    assert_eq!(audited(&mut cluster, client).differing, 0);
}

#[test]
fn lies_about_what_the_other_should_have_cost_a_bounded_number_of_records() {
    for way in [Way::ToClient, Way::ToServer] {
        let (mut cluster, apps, wire) = on_a_wire(register);
        let [server, client] = apps;
        for n in 0..50 {
            let bundle = (Replicated, Place(n as f32, 0.0, 0.0));
            cluster.world(server).spawn(bundle);
        }
        let own = cluster
            .world(client)
            .spawn((Replicated, Place(5.0, 0.0, 0.0)))
            .id();
        let own = name(&mut cluster, client, own);
        settle(&mut cluster, server, &[client]);
        cluster.run(40);
        let mut rng = Rng::new(3);
        let tick = cluster.frames() as u32 + 100;
        for n in 0..400u32 {
            let mut index = 0;
            let entities: Vec<Audited> = (0..200)
                .map(|_| {
                    index += 1 + rng.below(3) as u32;
                    Audited {
                        index,
                        version: Version(rng.below(200) as u32),
                        hash: rng.next() as u16,
                    }
                })
                .collect();
            let bytes = forged(tick + n, None, |w| {
                SectionKind::Audit.write(w);
                audit::write_section(w, Tick(tick + n), &entities);
            });
            wire.put(Parcel::datagram(way, bytes));
            cluster.step();
        }
        cluster.run(60);
        let told = if way == Way::ToClient { server } else { client };
        let host = audited(&mut cluster, told);
        // 64 in ten seconds, and what a new beginning costs.
        assert!(host.resent <= 64 * 3 && host.restarts <= 2 * 3, "{host:?}");
        settle(&mut cluster, server, &[client]);
        let there = find(&mut cluster, server, own);
        assert!(there.is_some(), "the client's own is still there");
        assert!(cluster.is_ready(client) && cluster.is_ready(server));
    }
}

#[test]
fn a_flood_of_requests_stays_within_the_budget() {
    let (mut cluster, apps, wire) = on_a_wire(|app| {
        register(app);
        app.world_mut()
            .resource_mut::<ReplicationConfig>()
            .bytes_per_tick = 2_000;
    });
    let [server, client] = apps;
    for n in 0..2000 {
        cluster
            .world(server)
            .spawn((Replicated, Place(n as f32, 0.0, 0.0)));
    }
    settle(&mut cluster, server, &[client]);
    cluster.run(40);
    let before = state_sent(&mut cluster, server);
    let tick = cluster.frames() as u32 + 100;
    // The client says nothing by itself; its acknowledgements go on.
    let mut number = 0;
    for n in 0..100u32 {
        let items: Vec<Vec<u8>> = (0..100u32)
            .map(|i| Control::Resend {
                index: (n * 100 + i) % 2500,
                version: i,
            })
            .map(|item| item.to_bytes().expect("it is small"))
            .collect();
        let bytes = forged(tick + n, Some(5_000 + u64::from(n)), |w| {
            SectionKind::Control.write(w);
            let items: Vec<_> = items
                .iter()
                .map(|bytes| {
                    number += 1;
                    NumberedItem {
                        seq: ControlSeq(number - 1),
                        bytes,
                    }
                })
                .collect();
            control::write_section(w, &items);
        });
        wire.put(Parcel::datagram(Way::ToServer, bytes));
        cluster.step();
    }
    let after = state_sent(&mut cluster, server);
    let host = audited(&mut cluster, server);
    assert!(
        host.resent > 300 && host.restarts > 5,
        "it was heard: {host:?}"
    );
    let bytes = after.bytes - before.bytes;
    assert!(bytes < 110 * 2_600, "{bytes}");
}
