//! Rows that are larger than a datagram, and worlds that are joined late.

mod common;

use bevy::prelude::*;
use common::{
    Health, Label, Place,
    authority::{at, grab, lending, move_to, weathers},
    counted, find, get, name, on_a_wire, pair, register, settle, show, spawn_on, wait_for,
};
use seamless_authority::{AuthorityCommandsExt, Delegated};
use seamless_replication::{
    MAX_COMPONENT_BYTES, ReplicateAppExt, Replicated, ReplicationConfig, ReplicationStats,
    Replicator, transport::Channel, wire::WireError,
};
use seamless_testkit::{AppId, Cluster, Fate, Rng, Way, Weather};
use serde::{Deserialize, Serialize};

fn long(letter: &str) -> Label {
    Label(letter.repeat(6000))
}

fn set(cluster: &mut Cluster, app: AppId, entity: Entity, label: Label) {
    cluster.world(app).entity_mut(entity).insert(label);
}

#[test]
fn a_row_larger_than_a_datagram_arrives_and_follows_its_changes() {
    for seed in 0..6 {
        let loss = [0.0, 0.3][seed as usize % 2];
        let (mut cluster, apps) = pair(seed, Weather::lossy(loss), register);
        let [server, client] = apps;
        let [book, there] = spawn_on(&mut cluster, apps, (Place::default(), long("a")));
        assert_eq!(get(&mut cluster, client, there), Some(long("a")));
        // Every tick another value: large, small, without, and back.
        for letter in ["b", "c", "d"] {
            set(&mut cluster, server, book, long(letter));
            cluster.step();
            set(&mut cluster, server, book, Label(letter.into()));
            cluster.step();
            cluster.world(server).entity_mut(book).remove::<Label>();
            cluster.step();
        }
        set(&mut cluster, server, book, long("a"));
        settle(&mut cluster, server, &[client]);
    }
}

#[test]
fn a_small_change_of_a_large_row_is_a_small_record() {
    let (mut cluster, apps) = pair(1, Weather::near(), register);
    let [server, client] = apps;
    let [book, there] = spawn_on(&mut cluster, apps, (Place::default(), long("a")));
    cluster.run(60);
    let before = counted(&mut cluster, server).bytes.1;
    move_to(&mut cluster, server, book, 5.0);
    cluster.run(30);
    assert_eq!(at(&mut cluster, client, there), Some(5.0));
    let bytes = counted(&mut cluster, server).bytes.1 - before;
    assert!(bytes < 600, "{bytes} bytes for one number");
}

#[test]
fn a_large_row_that_comes_after_the_despawn_does_not_resurrect() {
    let (mut cluster, [server, client], wire) = on_a_wire(register);
    wire.decide(|parcel| match parcel.channel {
        Some(Channel::Bulk) => Fate::Hold,
        _ => Fate::Pass,
    });
    let book = cluster.world(server).spawn((Replicated, long("a"))).id();
    cluster.run(10);
    let name = name(&mut cluster, server, book);
    cluster.world(server).despawn(book);
    cluster.run(10);
    // Its slot has another entity by now.
    let next = cluster.world(server).spawn((Replicated, Health(1))).id();
    let next = common::name(&mut cluster, server, next);
    cluster.run(10);
    wire.pass();
    let late = wire.kept();
    assert_eq!(late.len(), 1);
    late.into_iter().for_each(|parcel| wire.put(parcel));
    cluster.run(30);
    assert_eq!(find(&mut cluster, client, name), None);
    let next = find(&mut cluster, client, next).expect("it is in sight");
    assert_eq!(get(&mut cluster, client, next), Some(Health(1)));
    assert_eq!(get::<Label>(&mut cluster, client, next), None);
}

#[test]
fn while_a_large_row_is_under_way_nothing_else_is_told_and_then_all_is() {
    let (mut cluster, apps, wire) = on_a_wire(register);
    let [server, client] = apps;
    let mut numbered = 0;
    wire.decide(move |parcel| match parcel.channel {
        Some(Channel::Bulk) => Fate::Hold,
        _ if parcel.way == Way::ToClient && parcel.is_numbered() => {
            // The newest state is lost, too.
            numbered += 1;
            let last = (5..9).contains(&numbered);
            if last { Fate::Lose } else { Fate::Pass }
        }
        _ => Fate::Pass,
    });
    let bundle = (Replicated, Place::default(), long("a"));
    let book = cluster.world(server).spawn(bundle).id();
    let other = cluster.world(server).spawn((Replicated, Health(0))).id();
    cluster.run(10);
    let name = name(&mut cluster, server, book);
    cluster.world(server).entity_mut(book).remove::<Label>();
    for n in 1..=8u8 {
        move_to(&mut cluster, server, book, f32::from(n));
        let mut health = cluster.world(server).get_mut::<Health>(other);
        health.as_mut().expect("it is there").0 += 1;
        cluster.run(3);
    }
    cluster.run(30);
    assert_eq!(
        find(&mut cluster, client, name),
        None,
        "the rest would overtake it"
    );
    wire.pass();
    wire.kept().into_iter().for_each(|parcel| wire.put(parcel));
    cluster.run(60);
    let there = find(&mut cluster, client, name).expect("it came");
    assert_eq!(at(&mut cluster, client, there), Some(8.0));
    move_to(&mut cluster, server, book, 9.0);
    cluster.run(30);
    assert_eq!(at(&mut cluster, client, there), Some(9.0));
    settle(&mut cluster, server, &[client]);
}

#[test]
fn a_holder_writes_large_rows_too_and_the_last_before_its_release_counts() {
    for seed in 0..4 {
        let loss = [0.0, 0.3][seed as usize % 2];
        let (mut cluster, apps) = pair(seed, Weather::lossy(loss), lending);
        let [server, client] = apps;
        let [book, there] = spawn_on(&mut cluster, apps, (Delegated, Label("empty".into())));
        grab(&mut cluster, client, there);
        set(&mut cluster, client, there, long("x"));
        cluster.step();
        set(&mut cluster, client, there, long("y"));
        common::command(&mut cluster, client, there, |e| {
            e.release_authority();
        });
        cluster.run(120);
        assert_eq!(
            get(&mut cluster, server, book),
            Some(long("y")),
            "seed {seed}"
        );
        assert_eq!(get(&mut cluster, client, there), Some(long("y")));
    }
}

/// One of several large components of an entity.
#[derive(Component, TypePath, Serialize, Deserialize, Clone, PartialEq, Debug)]
struct Tome<const N: usize>(String);

fn library(app: &mut App) {
    register(app);
    app.replicate::<Tome<0>>();
    app.replicate::<Tome<1>>();
    app.replicate::<Tome<2>>();
    app.replicate::<Tome<3>>();
    app.replicate::<Tome<4>>();
}

#[test]
fn a_row_that_no_peer_takes_is_named_once_and_waits_until_it_is_smaller() {
    let (mut cluster, [server, client]) = pair(1, Weather::near(), library);
    let pages = || "p".repeat(250_000);
    let tomes = (
        Tome::<0>(pages()),
        Tome::<1>(pages()),
        Tome::<2>(pages()),
        Tome::<3>(pages()),
        Tome::<4>(pages()),
    );
    let shelf = cluster.world(server).spawn((Replicated, Health(1), tomes));
    let shelf = shelf.id();
    let shelf_name = name(&mut cluster, server, shelf);
    // Longer than a row that was not kept waits to be sent again.
    cluster.run(1000);
    assert_eq!(find(&mut cluster, client, shelf_name), None);
    let stats = cluster.world(server).resource::<ReplicationStats>();
    let found = stats.too_large.expect("it is named");
    assert_eq!((stats.rows_too_large, found.entity), (1, shelf_name));
    assert!((1_250_000..1_260_000).contains(&found.bytes), "{found:?}");
    assert_eq!(found.max, 1 << 20);
    let link = counted(&mut cluster, server);
    assert_eq!((link.big_rows, link.unsettled), ((0, 0), 0));
    // Still too large, in another way.
    cluster.world(server).entity_mut(shelf).insert(Health(2));
    cluster.run(10);
    let stats = cluster.world(server).resource::<ReplicationStats>();
    assert_eq!(stats.rows_too_large, 2);
    type Most = (Tome<0>, Tome<1>, Tome<2>);
    cluster.world(server).entity_mut(shelf).remove::<Most>();
    let there = wait_for(&mut cluster, client, shelf_name);
    assert_eq!(get(&mut cluster, client, there), Some(Health(2)));
    assert_eq!(get(&mut cluster, client, there), Some(Tome::<4>(pages())));
}

/// The letters, and nothing before them.
struct Letters;

impl Replicator<Label> for Letters {
    fn describe(&self) -> String {
        "letters".into()
    }

    fn write(&self, label: &Label, out: &mut Vec<u8>) -> Result<(), WireError> {
        out.extend(label.0.bytes());
        Ok(())
    }

    fn read(&self, value: &[u8]) -> Result<Label, WireError> {
        Ok(Label(String::from_utf8_lossy(value).into()))
    }
}

#[test]
fn a_value_longer_than_a_peer_takes_is_counted_and_the_last_good_one_stands() {
    let (mut cluster, apps) = pair(1, Weather::near(), |app| {
        app.replicate::<Place>();
        app.replicate_as::<Label>(Letters);
    });
    let [server, client] = apps;
    let [book, there] = spawn_on(&mut cluster, apps, (Place::default(), long("a")));
    let book_of = |len| Label("b".repeat(len));
    set(&mut cluster, server, book, book_of(MAX_COMPONENT_BYTES + 1));
    move_to(&mut cluster, server, book, 5.0);
    cluster.run(30);
    let stats = cluster.world(server).resource::<ReplicationStats>();
    assert_eq!(stats.unencodable, 1);
    assert_eq!(get(&mut cluster, client, there), Some(long("a")));
    assert_eq!(at(&mut cluster, client, there), Some(5.0));
    assert_eq!(counted(&mut cluster, client).refused.malformed, 0);
    set(&mut cluster, server, book, book_of(MAX_COMPONENT_BYTES));
    cluster.run(60);
    let longest = Some(book_of(MAX_COMPONENT_BYTES));
    assert_eq!(get(&mut cluster, client, there), longest);
}

#[test]
fn the_only_entity_is_told_of_once_its_first_value_can_be() {
    let (mut cluster, [server, client]) = pair(1, Weather::near(), |app| {
        app.replicate_as::<Label>(Letters);
    });
    let too_long = Label("b".repeat(MAX_COMPONENT_BYTES + 1));
    let book = cluster.world(server).spawn((Replicated, too_long)).id();
    cluster.run(30);
    let name = name(&mut cluster, server, book);
    assert_eq!(find(&mut cluster, client, name), None);
    set(&mut cluster, server, book, Label("b".into()));
    wait_for(&mut cluster, client, name);
}

#[test]
fn what_changed_while_a_new_value_could_not_be_told_is_told_with_it() {
    let (mut cluster, apps) = pair(1, Weather::near(), |app| {
        app.replicate::<Place>();
        app.replicate_as::<Label>(Letters);
    });
    let [server, client] = apps;
    let [book, there] = spawn_on(&mut cluster, apps, Place::default());
    let too_long = Label("b".repeat(MAX_COMPONENT_BYTES + 1));
    set(&mut cluster, server, book, too_long);
    move_to(&mut cluster, server, book, 5.0);
    cluster.run(30);
    let mut label = cluster.world(server).get_mut::<Label>(book);
    label.as_mut().expect("it has one").0.truncate(3);
    cluster.run(30);
    assert_eq!(get(&mut cluster, client, there), Some(Label("bbb".into())));
    assert_eq!(at(&mut cluster, client, there), Some(5.0));
}

#[test]
fn who_joins_late_at_thirty_percent_loss_gets_it_all() {
    let (mut cluster, [server, first]) = pair(1, Weather::lossy(0.3), register);
    let mut rng = Rng::new(1);
    for n in 0..400u32 {
        let place = Place(n as f32, rng.below(100) as f32, 0.0);
        let mut entity = cluster.world(server).spawn((Replicated, place));
        if n % 3 == 0 {
            entity.insert(Label(format!("number {n}")));
        }
        if n % 100 == 0 {
            entity.insert(long("j"));
        }
    }
    cluster.run(30);
    let late = cluster.client(server);
    for _ in 0..60 {
        let world = cluster.world(server);
        let mut places = world.query::<&mut Place>();
        places.iter_mut(world).for_each(|mut place| place.2 += 1.0);
        cluster.step();
    }
    settle(&mut cluster, server, &[first, late]);
}

#[test]
fn a_large_row_that_was_refused_is_sent_again() {
    let (mut cluster, [server, client]) = pair(1, Weather::near(), register);
    let limit = |cluster: &mut Cluster, entities| {
        let mut config = cluster.world(server).resource_mut::<ReplicationConfig>();
        config.client_entities = entities;
    };
    limit(&mut cluster, 0);
    let book = cluster.world(client).spawn((Replicated, long("a"))).id();
    cluster.run(60);
    let name = name(&mut cluster, client, book);
    assert_eq!(find(&mut cluster, server, name), None);
    limit(&mut cluster, 1);
    cluster.run_until("it is taken", 1000, |cluster| {
        find(cluster, server, name).is_some()
    });
    let there = find(&mut cluster, server, name).expect("just now");
    assert_eq!(get(&mut cluster, server, there), Some(long("a")));
}

#[test]
fn values_that_change_their_length_arrive_beside_others_whatever_their_coding() {
    for (seed, weather) in weathers() {
        let (mut cluster, apps) = pair(seed, weather, |app| {
            app.replicate::<Place>();
            app.replicate::<Health>();
            // A coding of its own that offers nothing but what it must.
            app.replicate_as::<Label>(Letters);
        });
        let [server, client] = apps;
        let bundle = (Place::default(), Health(1), Label("a".into()));
        let [book, there] = spawn_on(&mut cluster, apps, bundle);
        for tick in 0..60u32 {
            let world = cluster.world(server);
            let mut book = world.entity_mut(book);
            book.insert((
                Place(tick as f32 * 0.3, 1.0, 7.0),
                Health(if tick % 5 == 0 { 1 << 20 } else { tick }),
                Label("b".repeat(tick as usize * 3 % 7)),
            ));
            cluster.step();
            // Only whole states that the server had.
            let place = at(&mut cluster, client, there).expect("it is there");
            let label: Label = get(&mut cluster, client, there).expect("it is there");
            if place > 0.0 {
                let then = (place / 0.3).round() as usize;
                assert_eq!(label.0.len(), then * 3 % 7, "seed {seed}, tick {tick}");
            }
        }
        settle(&mut cluster, server, &[client]);
        assert_eq!(counted(&mut cluster, client).refused.malformed, 0);
    }
}

#[test]
fn that_a_large_row_was_kept_before_it_left_says_nothing_of_it_when_it_is_back() {
    let (mut cluster, [server, client], wire) = on_a_wire(register);
    let book = (Replicated, Place::default(), long("a"));
    let book = cluster.world(server).spawn(book).id();
    cluster.step();
    let its_name = name(&mut cluster, server, book);
    wire.all(Way::ToServer, Fate::Hold);
    cluster.run_until("it is there", 60, |cluster| {
        find(cluster, client, its_name).is_some()
    });
    cluster.run(2);
    for shown in [false, true] {
        show(&mut cluster, server, book, shown);
        wire.decide(|parcel| match (parcel.way, parcel.channel) {
            (Way::ToClient, None) => Fate::Pass,
            _ => Fate::Hold,
        });
        cluster.run(2);
    }
    assert_eq!(find(&mut cluster, client, its_name), None);
    let (said, told): (Vec<_>, Vec<_>) = wire
        .kept()
        .into_iter()
        .partition(|parcel| parcel.way == Way::ToServer);
    wire.decide(|parcel| match (parcel.way, parcel.channel) {
        (Way::ToClient, Some(_)) => Fate::Hold,
        _ => Fate::Pass,
    });
    said.into_iter().for_each(|parcel| wire.put(parcel));
    for x in 0..60 {
        move_to(&mut cluster, server, book, x as f32);
        cluster.run(2);
    }
    let seen = counted(&mut cluster, client);
    assert_eq!((seen.audit.differing, seen.refused.late), (0, 0));
    wire.pass();
    told.into_iter().for_each(|parcel| wire.put(parcel));
    settle(&mut cluster, server, &[client]);
    let seen = counted(&mut cluster, client);
    assert_eq!((seen.audit.differing, seen.refused.late), (0, 0));
}
