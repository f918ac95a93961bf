//! What storms found (`examples/authority_storm`), in the few steps that it takes.

mod common;

use bevy::prelude::*;
use common::{
    Label, Place,
    authority::{
        Event, at, grab, heard, holder, lending, move_to, own_on_a_wire, view, wait_at, weathers,
    },
    command, find, get, me, name, on_a_wire, pair, ready, settle, spawn_on,
};
use seamless_authority::{AuthorityCommandsExt, AuthorityView, Delegated};
use seamless_replication::{
    Hosted, NetSlot, Remote, Replicated, Slots,
    transport::{CloseReason, Links},
    wire::{Holder, control::DenyReason},
};
use seamless_testkit::{AppId, Cluster, Fate, Way, Wire};

/// A client with an entity of its own that the server has taken over, which the client does not know.
fn half_migrated() -> (Cluster, [AppId; 2], Wire, [Entity; 2]) {
    let (mut cluster, apps, wire, [own, there]) = own_on_a_wire();
    let [server, client] = apps;
    wire.all(Way::ToClient, Fate::Lose);
    command(&mut cluster, client, own, |e| {
        e.delegate();
    });
    cluster.run(3);
    assert!(cluster.world(server).get::<Hosted>(there).is_some());
    assert!(cluster.world(client).get::<Hosted>(own).is_some());
    (cluster, apps, wire, [there, own])
}

/// The client loses its link and connects again.
fn come_again(cluster: &mut Cluster, [server, client]: [AppId; 2], wire: &Wire) {
    for link in cluster.world(client).resource_mut::<Links>().iter_mut() {
        link.close(CloseReason::ByPeer);
    }
    cluster.run(10);
    wire.pass();
    // Past the server's patience with the wire's own link.
    cluster.connect(client, server);
    cluster.run(10);
    ready(cluster, client);
}

#[test]
fn what_the_server_wrote_right_before_a_grant_is_what_the_holder_begins_with() {
    for (seed, weather) in weathers() {
        let (mut cluster, [server, client]) = pair(seed, weather, lending);
        let apps = [server, client];
        let [crate_, there] = spawn_on(&mut cluster, apps, (Delegated, Place::default()));
        command(&mut cluster, client, there, |e| {
            e.request_authority();
        });
        let mut last = 0.0;
        cluster.run_until("it is lent", 300, |cluster| {
            let free = holder(cluster, server, crate_) == Some(Holder::Nobody);
            if free {
                last += 1.0;
                move_to(cluster, server, crate_, last);
            }
            !free
        });
        cluster.run_until("it is ours", 300, |cluster| {
            view(cluster, client, there) == Some(AuthorityView::Granted)
        });
        cluster.run(60);
        assert_eq!(at(&mut cluster, server, crate_), Some(last), "seed {seed}");
        assert_eq!(at(&mut cluster, client, there), Some(last), "seed {seed}");
    }
}

#[test]
fn a_request_that_the_end_of_a_delegation_overtakes_is_denied_once() {
    let (mut cluster, apps, wire) = on_a_wire(lending);
    let [server, client] = apps;
    let [crate_, there] = spawn_on(&mut cluster, apps, (Delegated, Place::default()));
    cluster.run(20);
    wire.all(Way::ToServer, Fate::Hold);
    command(&mut cluster, client, there, |e| {
        e.request_authority();
    });
    cluster.run(2);
    command(&mut cluster, server, crate_, |e| {
        e.undelegate();
    });
    cluster.run(5);
    wire.pass();
    wire.kept().into_iter().for_each(|parcel| wire.put(parcel));
    cluster.run(30);
    let denied = Event::Denied(there, DenyReason::NotDelegated);
    assert_eq!(heard(&mut cluster, client), [denied]);
    assert_eq!(view(&mut cluster, client, there), None);
}

#[test]
fn a_grant_that_is_taken_back_before_it_is_known_is_a_denial() {
    let (mut cluster, apps, wire) = on_a_wire(lending);
    let [server, client] = apps;
    let [crate_, there] = spawn_on(&mut cluster, apps, (Delegated, Place::default()));
    cluster.run(20);
    wire.all(Way::ToClient, Fate::Lose);
    command(&mut cluster, client, there, |e| {
        e.request_authority();
    });
    cluster.run(3);
    assert_ne!(holder(&mut cluster, server, crate_), Some(Holder::Nobody));
    command(&mut cluster, server, crate_, |e| {
        e.reset_authority();
    });
    cluster.run(2);
    wire.pass();
    cluster.run(60);
    let denied = Event::Denied(there, DenyReason::Revoked);
    assert_eq!(heard(&mut cluster, client), [denied]);
    let free = Some(AuthorityView::Available);
    assert_eq!(view(&mut cluster, client, there), free);
}

#[test]
fn what_is_despawned_while_it_migrates_is_gone_on_both_sides() {
    let (mut cluster, [server, client], wire, [there, own]) = half_migrated();
    let name = name(&mut cluster, client, own);
    cluster.world(server).despawn(there);
    cluster.run(3);
    wire.pass();
    cluster.run(60);
    assert_eq!(find(&mut cluster, client, name), None);
    settle(&mut cluster, server, &[client]);
}

#[test]
fn who_despawned_what_migrates_does_not_hold_it_and_is_told_of_it_whole() {
    let (mut cluster, [server, client], wire, [there, own]) = half_migrated();
    let name = name(&mut cluster, client, own);
    cluster.world(client).despawn(own);
    cluster.run(3);
    wire.pass();
    cluster.run(60);
    assert_eq!(holder(&mut cluster, server, there), Some(Holder::Nobody));
    let again = find(&mut cluster, client, name).expect("the server has it still");
    let label = get::<Label>(&mut cluster, client, again);
    assert_eq!(label, Some(Label("mine".into())));
    assert_eq!(at(&mut cluster, client, again), Some(1.0));
    grab(&mut cluster, client, again);
}

#[test]
fn a_migration_whose_link_was_lost_is_cleared_up_over_the_next_one() {
    let (mut cluster, [server, client], wire, [there, own]) = half_migrated();
    come_again(&mut cluster, [server, client], &wire);
    move_to(&mut cluster, client, own, 4.0);
    cluster.run(200);
    assert!(cluster.world(server).get::<Hosted>(there).is_some());
    assert!(
        cluster.world(client).get::<Remote>(own).is_some(),
        "it is not ours"
    );
    let here = at(&mut cluster, client, own);
    assert_eq!(here, at(&mut cluster, server, there));
    grab(&mut cluster, client, own);
    move_to(&mut cluster, client, own, 8.0);
    wait_at(&mut cluster, server, there, 8.0);
}

#[test]
fn delegating_twice_is_delegating_once() {
    for (seed, weather) in weathers() {
        let (mut cluster, [server, client]) = pair(seed, weather, lending);
        let own = cluster
            .world(client)
            .spawn((Replicated, Place::default()))
            .id();
        for _ in 0..8 {
            command(&mut cluster, client, own, |e| {
                e.delegate();
            });
            if cluster.world(client).get::<Hosted>(own).is_none() {
                break;
            }
            cluster.step();
        }
        cluster.run_until("it is lent to us", 300, |cluster| {
            view(cluster, client, own) == Some(AuthorityView::Granted)
        });
        let granted = Event::Granted(own);
        let told = heard(&mut cluster, client);
        assert!(
            told.iter().filter(|told| **told == granted).count() == 1,
            "{told:?}"
        );
        let me = me(&mut cluster, client);
        let name = name(&mut cluster, client, own);
        let there = find(&mut cluster, server, name).expect("it migrated");
        assert_eq!(
            holder(&mut cluster, server, there),
            Some(Holder::Peer(me)),
            "seed {seed}"
        );
    }
}

#[test]
fn what_migrated_and_is_hidden_from_who_spawned_it_leaves_it() {
    let (mut cluster, [server, client], wire, [there, own]) = half_migrated();
    let name = name(&mut cluster, client, own);
    let world = cluster.world(server);
    let slot = *world.get::<NetSlot>(there).expect("it is there");
    for peer in world
        .resource_mut::<seamless_replication::Peers>()
        .iter_mut()
    {
        peer.interest_mut().except(&slot, Some(false));
    }
    cluster.run(2);
    wire.pass();
    cluster.run(60);
    assert_eq!(find(&mut cluster, client, name), None);
    assert_eq!(holder(&mut cluster, server, there), Some(Holder::Nobody));
}

#[test]
fn what_was_written_before_a_loan_was_taken_and_given_again_in_one_tick_is_void() {
    for (seed, weather) in weathers() {
        let (mut cluster, [server, client]) = pair(seed, weather, lending);
        let apps = [server, client];
        let [crate_, there] = spawn_on(&mut cluster, apps, (Delegated, Place::default()));
        grab(&mut cluster, client, there);
        move_to(&mut cluster, client, there, 1.0);
        cluster.run_until("what it wrote is there", 300, |cluster| {
            at(cluster, server, crate_) == Some(1.0)
        });
        let me = me(&mut cluster, client);
        let first = tenure(&mut cluster, client, there).since;
        command(&mut cluster, server, crate_, |e| {
            e.take_authority().give_authority(me);
        });
        // All this it writes as the holder that it was.
        let mut x = 1.0;
        for _ in 0..300 {
            if tenure(&mut cluster, client, there).since != first {
                break;
            }
            x += 1.0;
            move_to(&mut cluster, client, there, x);
            cluster.step();
        }
        assert!(x > 1.0, "it does not know at once");
        assert_ne!(
            tenure(&mut cluster, client, there).since,
            first,
            "seed {seed}"
        );
        cluster.run(60);
        assert_eq!(at(&mut cluster, server, crate_), Some(1.0), "seed {seed}");
        assert_eq!(at(&mut cluster, client, there), Some(1.0), "seed {seed}");
        // It is lent still, and what it writes now counts.
        move_to(&mut cluster, client, there, 500.0);
        cluster.run_until("its writes count", 300, |cluster| {
            at(cluster, server, crate_) == Some(500.0)
        });
    }
}

fn tenure(cluster: &mut Cluster, app: AppId, entity: Entity) -> seamless_replication::wire::Tenure {
    let authority = get::<seamless_replication::Authority>(cluster, app, entity);
    authority.expect("it can be lent").tenure()
}

#[test]
fn what_who_came_again_writes_right_before_a_release_is_not_lost() {
    const MOST: usize = 24;
    let (mut cluster, [server, client], wire) = on_a_wire(lending);
    let own: Vec<Entity> = (0..MOST)
        .map(|_| {
            let bundle = (Replicated, Place::default());
            cluster.world(client).spawn(bundle).id()
        })
        .collect();
    cluster.run(20);
    let before = me(&mut cluster, client);
    come_again(&mut cluster, [server, client], &wire);
    assert_ne!(me(&mut cluster, client), before, "it has another name now");
    let (&last, lent) = own.split_last().expect("there are some");
    for &own in lent {
        command(&mut cluster, client, own, |e| {
            e.delegate();
        });
    }
    cluster.run_until("all are lent to us", 300, |cluster| {
        let mut lent = lent.iter();
        lent.all(|&own| view(cluster, client, own) == Some(AuthorityView::Granted))
    });
    cluster.run(20);
    // Each slot has changed another number of times, and the last is the first to be written.
    for (times, &own) in own.iter().enumerate() {
        let world = cluster.world(client);
        let slot = *world.get::<NetSlot>(own).expect("it has one");
        for _ in 0..times.min(MOST / 2) {
            world.resource_mut::<Slots>().set_public(&slot, false);
        }
    }
    move_to(&mut cluster, client, last, 1.0);
    cluster.run(3);
    for &own in lent {
        move_to(&mut cluster, client, own, 7.0);
        command(&mut cluster, client, own, |e| {
            e.release_authority();
        });
    }
    cluster.run(60);
    for &own in lent {
        let name = name(&mut cluster, client, own);
        let there = find(&mut cluster, server, name).expect("it migrated");
        assert_eq!(holder(&mut cluster, server, there), Some(Holder::Nobody));
        assert_eq!(at(&mut cluster, server, there), Some(7.0), "{own}");
    }
}
