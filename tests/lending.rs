//! Authority is given, taken and lost, over good and bad networks.

mod common;

use bevy::prelude::*;
use common::{
    Health, Label, Place,
    authority::{Event, at, grab, heard, holder, lending, move_to, three, view, wait_at, weathers},
    command, find, get, me, name, pair, spawn_on,
};
use seamless_authority::{
    AuthorityCommandsExt, AuthorityGranted, AuthorityView, Delegated, LossReason,
};
use seamless_replication::{NetSlot, Peers, wire::Holder, wire::control::DenyReason};
use seamless_testkit::Weather;

#[test]
fn giving_moves_it_from_one_client_to_another_and_twice_is_nothing() {
    for weather in weathers() {
        let mut t = three(weather);
        let [first, second] = t.clients.map(|client| me(&mut t.cluster, client));
        t.on_server(|e| {
            e.give_authority(first);
        });
        assert_eq!(
            t.until(0, AuthorityView::Granted),
            [Event::Granted(t.seen[0])]
        );
        t.until(1, AuthorityView::Denied);
        t.on_server(|e| {
            e.give_authority(second).give_authority(second);
        });
        let lost = Event::Lost(t.seen[0], Some(LossReason::Given));
        assert_eq!(t.until(0, AuthorityView::Denied), [lost]);
        assert_eq!(
            t.until(1, AuthorityView::Granted),
            [Event::Granted(t.seen[1])]
        );
        t.cluster.run(30);
        assert_eq!(heard(&mut t.cluster, t.clients[1]), []);
    }
}

#[test]
fn what_the_server_takes_is_denied_until_it_is_reset() {
    for weather in weathers() {
        let mut t = three(weather);
        t.request(0);
        t.until(0, AuthorityView::Granted);
        t.on_server(|e| {
            e.take_authority();
        });
        let lost = Event::Lost(t.seen[0], Some(LossReason::Taken));
        assert_eq!(t.until(0, AuthorityView::Denied), [lost]);
        t.request(0);
        let told = t.until(0, AuthorityView::Denied);
        assert_eq!(told, [Event::Denied(t.seen[0], DenyReason::Held)]);
        t.on_server(|e| {
            e.reset_authority();
        });
        assert_eq!(t.until(0, AuthorityView::Available), []);
        t.request(0);
        assert_eq!(
            t.until(0, AuthorityView::Granted),
            [Event::Granted(t.seen[0])]
        );
    }
}

#[test]
fn what_a_holder_had_is_free_when_it_disconnects() {
    let mut t = three((3, Weather::lossy(0.05)));
    t.request(0);
    t.until(0, AuthorityView::Granted);
    t.until(1, AuthorityView::Denied);
    move_to(&mut t.cluster, t.clients[0], t.seen[0], 7.0);
    wait_at(&mut t.cluster, t.server, t.crate_, 7.0);
    t.cluster.kill(t.clients[0]);
    t.until(1, AuthorityView::Available);
    assert_eq!(t.holder(), Some(Holder::Nobody));
    assert_eq!(at(&mut t.cluster, t.clients[1], t.seen[1]), Some(7.0));
    t.request(1);
    t.until(1, AuthorityView::Granted);
}

#[test]
fn what_a_holder_loses_sight_of_is_free() {
    for weather in weathers() {
        let mut t = three(weather);
        t.request(0);
        t.until(0, AuthorityView::Granted);
        t.until(1, AuthorityView::Denied);
        let first = me(&mut t.cluster, t.clients[0]);
        let world = t.cluster.world(t.server);
        let slot = *world.get::<NetSlot>(t.crate_).expect("on the network");
        let mut peers = world.resource_mut::<Peers>();
        let peer = peers.by_id_mut(first).expect("it is linked");
        peer.interest_mut().except(&slot, Some(false));
        t.until(1, AuthorityView::Available);
        assert_eq!(t.holder(), Some(Holder::Nobody));
        t.cluster.run(60);
        let told = heard(&mut t.cluster, t.clients[0]);
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(matches!(told[0], Event::Lost(entity, _) if entity == t.seen[0]));
    }
}

#[test]
fn a_holder_hears_that_what_it_held_was_despawned() {
    for weather in weathers() {
        let mut t = three(weather);
        t.request(0);
        t.until(0, AuthorityView::Granted);
        let name = name(&mut t.cluster, t.server, t.crate_);
        t.cluster.world(t.server).despawn(t.crate_);
        let client = t.clients[0];
        t.cluster.run_until("it is gone", 120, |cluster| {
            find(cluster, client, name).is_none()
        });
        let lost = Event::Lost(t.seen[0], Some(LossReason::Gone));
        assert_eq!(heard(&mut t.cluster, client), [lost]);
    }
}

#[test]
fn what_cannot_be_lent_any_more_goes_on_being_replicated() {
    for weather in weathers() {
        let mut t = three(weather);
        t.request(0);
        t.until(0, AuthorityView::Granted);
        t.on_server(|e| {
            e.remove::<Delegated>();
        });
        move_to(&mut t.cluster, t.server, t.crate_, 3.0);
        wait_at(&mut t.cluster, t.clients[0], t.seen[0], 3.0);
        let lost = Event::Lost(t.seen[0], Some(LossReason::Disabled));
        assert_eq!(heard(&mut t.cluster, t.clients[0]), [lost]);
        assert_eq!(view(&mut t.cluster, t.clients[0], t.seen[0]), None);
    }
}

#[test]
fn what_a_holder_takes_off_at_once_is_gone() {
    for (seed, weather) in weathers() {
        let (mut cluster, apps) = pair(seed, weather, lending);
        let [server, client] = apps;
        let bundle = (Delegated, Place::default(), Label("lent".into()));
        let [crate_, there] = spawn_on(&mut cluster, apps, bundle);
        let world = cluster.world(client);
        world.add_observer(|granted: On<AuthorityGranted>, mut commands: Commands| {
            commands.entity(granted.entity).remove::<Label>();
        });
        grab(&mut cluster, client, there);
        cluster.run_until("it is gone", 300, |cluster| {
            get::<Label>(cluster, server, crate_).is_none()
        });
        // What the host adds meanwhile stays, though its holder is not told of it.
        let mut entity = cluster.world(server).entity_mut(crate_);
        entity.insert(Health(4));
        cluster.run(30);
        move_to(&mut cluster, client, there, 5.0);
        cluster.run(30);
        assert_eq!(get(&mut cluster, server, crate_), Some(Health(4)));
        command(&mut cluster, client, there, |e| {
            e.release_authority();
        });
        cluster.run(120);
        assert_eq!(get::<Label>(&mut cluster, client, there), None);
        assert_eq!(get(&mut cluster, client, there), Some(Health(4)));
    }
}

#[test]
fn what_the_host_adds_before_a_holder_writes_stays() {
    let (mut cluster, apps) = pair(7, Weather::lossy(0.1), lending);
    let [server, client] = apps;
    let [crate_, there] = spawn_on(&mut cluster, apps, (Delegated, Place::default()));
    grab(&mut cluster, client, there);
    cluster.run(30);
    let mut entity = cluster.world(server).entity_mut(crate_);
    entity.insert(Health(4));
    cluster.run(30);
    move_to(&mut cluster, client, there, 5.0);
    wait_at(&mut cluster, server, crate_, 5.0);
    cluster.run(30);
    assert_eq!(get(&mut cluster, server, crate_), Some(Health(4)));
}

/// The denial of a request may come before the row that says how the tenure ended before it.
#[test]
fn who_is_denied_before_hearing_how_its_tenure_ended_waits_for_that() {
    let mut early = 0;
    for seed in 0..40 {
        let mut t = three((seed, Weather::lossy(0.3)));
        let (client, seen) = (t.clients[0], t.seen[0]);
        let player = Holder::Peer(me(&mut t.cluster, client));
        t.request(0);
        t.until(0, AuthorityView::Granted);
        move_to(&mut t.cluster, client, seen, 7.0);
        command(&mut t.cluster, client, seen, |e| {
            e.release_authority();
        });
        t.cluster.step();
        t.on_server(|e| {
            e.take_authority();
        });
        t.request(0);
        heard(&mut t.cluster, client);
        let mut denied = 0;
        for _ in 0..120 {
            t.cluster.step();
            let events = heard(&mut t.cluster, client);
            let denial = |event: &&Event| matches!(event, Event::Denied(..));
            denied += events.iter().filter(denial).count();
            let ours = holder(&mut t.cluster, client, seen) == Some(player);
            let view = view(&mut t.cluster, client, seen);
            assert!(
                !(ours && view == Some(AuthorityView::Denied)),
                "seed {seed}: nobody else has it as far as it knows"
            );
            early += usize::from(ours && denied > 0);
        }
        assert_eq!(denied, 1, "seed {seed}");
        assert_eq!(
            view(&mut t.cluster, client, seen),
            Some(AuthorityView::Denied)
        );
        let (server, entity) = (t.server, t.crate_);
        let shown = at(&mut t.cluster, client, seen);
        assert_eq!(shown, at(&mut t.cluster, server, entity), "seed {seed}");
    }
    assert!(early > 0, "the denial was never first");
}
