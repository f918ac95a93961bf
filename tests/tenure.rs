//! A holder's writes count from the first to the last of its tenure, and not one longer.

mod common;

use bevy::prelude::*;
use common::{
    Label, Place,
    authority::{Event, at, grab, heard, holder, lending, move_to, view, wait_at, weathers},
    command, counted, find, get, me, name, on_a_wire, pair, ready, register, spawn_on, wait_for,
};
use seamless_authority::{AuthorityCommandsExt, AuthorityView, Delegated};
use seamless_replication::{
    Admission, Admitted, Authority, NetSlot, Peers, Replicated, ReplicationConfig, Slots,
    wire::{Holder, PeerId, Tenure, Term},
};
use seamless_testkit::{AppId, Cluster, Fate, Way, Weather};

fn release(cluster: &mut Cluster, client: AppId, entity: Entity) {
    command(cluster, client, entity, |e| {
        e.release_authority();
    });
}

fn show(cluster: &mut Cluster, server: AppId, entity: Entity, shown: bool) {
    let world = cluster.world(server);
    let slot = *world.get::<NetSlot>(entity).expect("on the network");
    for peer in world.resource_mut::<Peers>().iter_mut() {
        peer.interest_mut().except(&slot, Some(shown));
    }
}

fn wait_free(cluster: &mut Cluster, server: AppId, entity: Entity) {
    cluster.run_until("it is free", 300, |cluster| {
        holder(cluster, server, entity) == Some(Holder::Nobody)
    });
}

#[test]
fn the_last_write_before_a_release_is_never_lost() {
    for (seed, weather) in weathers().chain(weathers().map(|(seed, w)| (seed + 50, w))) {
        let (mut cluster, apps) = pair(seed, weather, lending);
        let [server, client] = apps;
        let [crate_, there] = spawn_on(&mut cluster, apps, (Delegated, Place::default()));
        for round in 1..4u8 {
            grab(&mut cluster, client, there);
            for x in 0..10u8 {
                move_to(&mut cluster, client, there, f32::from(round * 20 + x));
                if x < 9 {
                    cluster.step();
                }
            }
            release(&mut cluster, client, there);
            wait_free(&mut cluster, server, crate_);
            let last = f32::from(round * 20 + 9);
            assert_eq!(at(&mut cluster, server, crate_), Some(last), "seed {seed}");
            assert_eq!(at(&mut cluster, client, there), Some(last));
        }
    }
}

#[test]
fn a_write_after_a_revocation_is_never_applied() {
    for (seed, weather) in weathers() {
        let (mut cluster, apps) = pair(seed, weather, lending);
        let [server, client] = apps;
        let [crate_, there] = spawn_on(&mut cluster, apps, (Delegated, Place::default()));
        grab(&mut cluster, client, there);
        for frame in 0..60u8 {
            if frame == 10 {
                command(&mut cluster, server, crate_, |e| {
                    e.take_authority();
                });
                move_to(&mut cluster, server, crate_, -1.0);
            }
            if view(&mut cluster, client, there) == Some(AuthorityView::Granted) {
                move_to(&mut cluster, client, there, f32::from(frame));
            }
            cluster.step();
            if frame >= 10 {
                assert_eq!(at(&mut cluster, server, crate_), Some(-1.0), "seed {seed}");
            }
        }
        assert_eq!(at(&mut cluster, client, there), Some(-1.0));
    }
}

#[test]
fn a_write_that_was_on_its_way_when_it_was_revoked_is_fenced() {
    let (mut cluster, apps, wire) = on_a_wire(lending);
    let [server, client] = apps;
    let [crate_, there] = spawn_on(&mut cluster, apps, (Delegated, Place::default()));
    grab(&mut cluster, client, there);
    cluster.run(30);
    wire.all(Way::ToServer, Fate::Hold);
    move_to(&mut cluster, client, there, 5.0);
    cluster.run(2);
    command(&mut cluster, server, crate_, |e| {
        e.reset_authority();
    });
    let before = counted(&mut cluster, server).refused.fenced;
    wire.pass();
    wire.kept().into_iter().for_each(|parcel| wire.put(parcel));
    cluster.run(30);
    assert_eq!(at(&mut cluster, server, crate_), Some(0.0));
    assert!(counted(&mut cluster, server).refused.fenced > before);
}

#[test]
fn who_lost_it_returns_to_the_hosts_value_though_nothing_changes_after() {
    for (seed, weather) in weathers() {
        let (mut cluster, apps) = pair(seed, weather, lending);
        let [server, client] = apps;
        let [crate_, there] = spawn_on(&mut cluster, apps, (Delegated, Place::default()));
        grab(&mut cluster, client, there);
        move_to(&mut cluster, client, there, 5.0);
        wait_at(&mut cluster, server, crate_, 5.0);
        // The server's last word; afterwards nobody writes.
        command(&mut cluster, server, crate_, |e| {
            e.take_authority();
        });
        move_to(&mut cluster, client, there, 8.0);
        cluster.run_until("it is lost", 120, |cluster| {
            view(cluster, client, there) == Some(AuthorityView::Denied)
        });
        assert_eq!(at(&mut cluster, client, there), Some(5.0), "seed {seed}");
    }
}

#[test]
fn what_was_written_in_hope_of_a_grant_goes_when_it_is_denied() {
    for (seed, weather) in weathers() {
        let (mut cluster, apps) = pair(seed, weather, lending);
        let [server, client] = apps;
        let [crate_, there] = spawn_on(&mut cluster, apps, (Delegated, Place(1.0, 0.0, 0.0)));
        command(&mut cluster, server, crate_, |e| {
            e.take_authority();
        });
        cluster.run(60);
        command(&mut cluster, client, there, |e| {
            e.request_authority();
        });
        move_to(&mut cluster, client, there, 8.0);
        cluster.run_until("it is denied", 120, |cluster| {
            view(cluster, client, there) == Some(AuthorityView::Denied)
        });
        assert_eq!(at(&mut cluster, client, there), Some(1.0), "seed {seed}");
    }
}

#[test]
fn a_holder_that_lost_sight_and_came_back_writes_from_the_first_tick_on() {
    let (mut cluster, apps) = pair(1, Weather::lossy(0.05), lending);
    let [server, client] = apps;
    let [crate_, there] = spawn_on(&mut cluster, apps, (Delegated, Place::default()));
    let name = name(&mut cluster, server, crate_);
    grab(&mut cluster, client, there);
    for x in 0..100u8 {
        move_to(&mut cluster, client, there, f32::from(x));
        cluster.step();
    }
    show(&mut cluster, server, crate_, false);
    wait_free(&mut cluster, server, crate_);
    cluster.run(30);
    // So that it gets another slot on the client when it comes back.
    cluster.world(client).spawn((Replicated, Place::default()));
    show(&mut cluster, server, crate_, true);
    let there = wait_for(&mut cluster, client, name);
    grab(&mut cluster, client, there);
    move_to(&mut cluster, client, there, 500.0);
    release(&mut cluster, client, there);
    wait_free(&mut cluster, server, crate_);
    assert_eq!(at(&mut cluster, server, crate_), Some(500.0));
}

#[test]
fn an_entity_that_is_given_as_soon_as_it_is_seen_comes_with_all_its_values() {
    for seed in 0..12 {
        let (mut cluster, [server, client]) = pair(seed, Weather::lossy(0.3), lending);
        let crate_ = cluster
            .world(server)
            .spawn((
                Replicated,
                Delegated,
                Place(3.0, 0.0, 0.0),
                Label("new".into()),
            ))
            .id();
        cluster.step();
        let peer = me(&mut cluster, client);
        command(&mut cluster, server, crate_, |e| {
            e.give_authority(peer);
        });
        let name = name(&mut cluster, server, crate_);
        let there = wait_for(&mut cluster, client, name);
        assert_eq!(at(&mut cluster, client, there), Some(3.0), "seed {seed}");
        cluster.run_until("it is held", 120, |cluster| {
            view(cluster, client, there) == Some(AuthorityView::Granted)
        });
        move_to(&mut cluster, client, there, 4.0);
        wait_at(&mut cluster, server, crate_, 4.0);
        let label = get::<Label>(&mut cluster, server, crate_);
        assert_eq!(label, Some(Label("new".into())));
    }
}

#[test]
fn asking_again_right_after_giving_it_back_ends_in_holding_it() {
    for (seed, weather) in weathers() {
        let (mut cluster, apps) = pair(seed, weather, lending);
        let [server, client] = apps;
        let [crate_, there] = spawn_on(&mut cluster, apps, (Delegated, Place::default()));
        grab(&mut cluster, client, there);
        move_to(&mut cluster, client, there, 6.0);
        release(&mut cluster, client, there);
        cluster.step();
        heard(&mut cluster, client);
        command(&mut cluster, client, there, |e| {
            e.request_authority();
        });
        cluster.run(120);
        let held = view(&mut cluster, client, there);
        assert_eq!(held, Some(AuthorityView::Granted), "seed {seed}");
        let me = Holder::Peer(me(&mut cluster, client));
        assert_eq!(holder(&mut cluster, server, crate_), Some(me));
        assert_eq!(heard(&mut cluster, client), [Event::Granted(there)]);
        assert_eq!(at(&mut cluster, server, crate_), Some(6.0));
    }
}

#[test]
fn what_a_client_held_once_is_not_counted_against_it_for_ever() {
    let (mut cluster, apps) = pair(1, Weather::near(), lending);
    let [server, client] = apps;
    let mut config = cluster.world(server).resource_mut::<ReplicationConfig>();
    config.client_baseline_bytes = 10_000;
    for round in 0..12u8 {
        let bundle = (Delegated, Place::default(), Label("x".repeat(400)));
        let [crate_, there] = spawn_on(&mut cluster, apps, bundle);
        grab(&mut cluster, client, there);
        for x in 0..20u8 {
            move_to(&mut cluster, client, there, f32::from(x));
            cluster.step();
        }
        release(&mut cluster, client, there);
        wait_free(&mut cluster, server, crate_);
        assert_eq!(
            at(&mut cluster, server, crate_),
            Some(19.0),
            "round {round}"
        );
        cluster.run(70);
    }
}

/// Two hosts of one entity, one after the other, and a client with a link to each.
#[test]
fn a_release_reaches_the_host_that_took_the_entity_over_meanwhile() {
    const ME: PeerId = PeerId(77);
    let mut cluster = Cluster::new(1, |app| {
        register(app);
        let peer = Admitted {
            peer: ME,
            spectator: false,
        };
        app.insert_resource(Admission::new(move |_, _, _| Ok(peer)));
    });
    let servers = [cluster.server(), cluster.server()];
    let client = cluster.client(servers[0]);
    ready(&mut cluster, client);
    let [crate_, there] = spawn_on(
        &mut cluster,
        [servers[0], client],
        (Delegated, Place::default()),
    );
    grab(&mut cluster, client, there);
    cluster.connect(client, servers[1]);
    ready(&mut cluster, client);
    cluster.run(10);
    // The first host dies with the release on its way to it.
    cluster.kill(servers[0]);
    move_to(&mut cluster, client, there, 8.0);
    release(&mut cluster, client, there);
    cluster.run(3);
    let held = get::<Authority>(&mut cluster, client, there).expect("lent");
    let mut tenure: Tenure = held.tenure();
    tenure.rehost(Term(9));
    let name = name(&mut cluster, client, there);
    let world = cluster.world(servers[1]);
    let heir = world
        .spawn((Replicated, NetSlot::named(name), Place::default()))
        .id();
    let slot = *world.get::<NetSlot>(heir).expect("on the network");
    world.resource_mut::<Slots>().set_tenure(&slot, tenure);
    world.entity_mut(heir).insert(Authority::of(true, &tenure));
    wait_free(&mut cluster, servers[1], heir);
    assert_eq!(
        at(&mut cluster, servers[1], heir),
        Some(8.0),
        "the last write too"
    );
    cluster.run_until("the client hears it", 60, |cluster| {
        view(cluster, client, there) == Some(AuthorityView::Available)
    });
    assert_eq!(find(&mut cluster, client, name), Some(there));
    let _ = crate_;
}
