//! The server makes what a client hosts its own, without being asked.

mod common;

use common::{
    Health, Label, Place,
    authority::{Event, at, heard, holder, move_to, view, wait_at, weathers},
    command, get, me, name, on_a_wire,
    own::{Own, own, owning},
    wait_for,
};
use seamless_authority::{AuthorityCommandsExt, AuthorityPolicy, AuthorityStats, AuthorityView};
use seamless_replication::{Hosted, NetSlot, Peers, Replicated, wire::Holder};
use seamless_testkit::{Fate, Way};

const A_WHILE: usize = 60;

fn take_over(t: &mut Own) {
    t.by_server(|e| {
        e.delegate();
    });
}

#[test]
fn what_the_server_takes_over_is_lent_to_who_hosted_it() {
    for weather in weathers() {
        let mut t = own(weather);
        // Whatever the policy says to clients.
        let policy = AuthorityPolicy::default().delegation(|_, _, _| false);
        t.cluster.world(t.server).insert_resource(policy);
        take_over(&mut t);
        let me = me(&mut t.cluster, t.owner);
        let lent = Some(Holder::Peer(me));
        assert_eq!(holder(&mut t.cluster, t.server, t.there), lent);
        let (owner, own) = (t.owner, t.own);
        t.cluster.run_until("the client knows", 300, |cluster| {
            view(cluster, owner, own) == Some(AuthorityView::Granted)
        });
        assert_eq!(heard(&mut t.cluster, t.owner), [Event::Granted(own)]);
        assert!(!t.is_owners());
        let seen = t.shown();
        move_to(&mut t.cluster, t.owner, t.own, 6.0);
        wait_at(&mut t.cluster, t.other, seen, 6.0);
        t.by_owner(|e| {
            e.release_authority();
        });
        let other = t.other;
        t.cluster.run_until("it is free", 300, |cluster| {
            view(cluster, other, seen) == Some(AuthorityView::Available)
        });
    }
}

#[test]
fn what_the_client_writes_before_it_knows_is_applied_in_order_and_to_the_last() {
    for (seed, weather) in weathers() {
        let mut t = own((seed, weather));
        let mut last = 0.0;
        for x in 2..80u8 {
            if x == 10 {
                take_over(&mut t);
            }
            move_to(&mut t.cluster, t.owner, t.own, f32::from(x));
            t.cluster.step();
            let now = at(&mut t.cluster, t.server, t.there).expect("it has a place");
            assert!(now >= last, "{now} after {last}, seed {seed}");
            last = now;
            assert_eq!(at(&mut t.cluster, t.owner, t.own), Some(f32::from(x)));
        }
        wait_at(&mut t.cluster, t.server, t.there, 79.0);
        assert!(!t.is_owners());
    }
}

#[test]
fn what_the_client_does_as_host_before_it_knows_counts() {
    let (mut cluster, [server, client], wire) = on_a_wire(owning);
    let bundle = (Replicated, Place(1.0, 0.0, 0.0), Label("mine".into()));
    let own = cluster.world(client).spawn(bundle).id();
    let name = name(&mut cluster, client, own);
    let there = wait_for(&mut cluster, server, name);
    cluster.run(20);
    wire.all(Way::ToClient, Fate::Lose);
    command(&mut cluster, server, there, |e| {
        e.delegate();
    });
    cluster.run(3);
    assert!(cluster.world(server).get::<Hosted>(there).is_some());
    assert!(cluster.world(client).get::<Hosted>(own).is_some());
    cluster
        .world(client)
        .entity_mut(own)
        .insert((Health(3), Place(9.0, 0.0, 0.0)))
        .remove::<Label>();
    // It asks for the same, and for what is void by then.
    command(&mut cluster, client, own, |e| {
        e.publish().delegate();
    });
    cluster.run(3);
    assert_eq!(at(&mut cluster, server, there), Some(9.0));
    assert_eq!(get(&mut cluster, server, there), Some(Health(3)));
    assert_eq!(get::<Label>(&mut cluster, server, there), None);
    wire.pass();
    cluster.run(A_WHILE);
    assert!(cluster.world(client).get::<Hosted>(own).is_none());
    assert_eq!(heard(&mut cluster, client), [Event::Granted(own)]);
    assert_eq!(at(&mut cluster, client, own), Some(9.0));
}

#[test]
fn what_both_want_at_once_migrates_once() {
    for weather in weathers() {
        let mut t = own(weather);
        for _ in 0..6 {
            if t.cluster.world(t.owner).get::<Hosted>(t.own).is_some() {
                t.by_owner(|e| {
                    e.delegate();
                });
            }
            take_over(&mut t);
            t.cluster.step();
        }
        t.cluster.run(120);
        assert!(!t.is_owners());
        assert_eq!(heard(&mut t.cluster, t.owner), [Event::Granted(t.own)]);
        let stats = t.cluster.world(t.server).resource::<AuthorityStats>();
        assert_eq!(stats.migrated, 1);
        assert!(stats.refused.is_empty(), "{:?}", stats.refused);
    }
}

#[test]
fn what_who_hosted_it_is_not_to_see_is_held_by_nobody() {
    for weather in weathers() {
        let mut t = own(weather);
        let owner = me(&mut t.cluster, t.owner);
        let world = t.cluster.world(t.server);
        let slot = *world.get::<NetSlot>(t.there).expect("on the network");
        let mut peers = world.resource_mut::<Peers>();
        let peer = peers.by_id_mut(owner).expect("linked");
        peer.interest_mut().except(&slot, Some(false));
        take_over(&mut t);
        t.until_seen(true);
        let (owner, name) = (t.owner, t.name);
        t.cluster.run_until("it leaves its owner", 300, |cluster| {
            common::find(cluster, owner, name).is_none()
        });
        t.cluster.run(A_WHILE);
        let holder = holder(&mut t.cluster, t.server, t.there);
        assert_eq!(holder, Some(Holder::Nobody));
    }
}

#[test]
fn who_saw_what_was_public_knows_that_it_can_be_lent_though_nothing_else_changes() {
    for (seed, weather) in weathers() {
        let mut t = own((seed, weather));
        let seen = t.publish();
        t.cluster.run(A_WHILE);
        take_over(&mut t);
        let other = t.other;
        t.cluster.run_until("the other knows", 120, |cluster| {
            view(cluster, other, seen) == Some(AuthorityView::Denied)
        });
    }
}

#[test]
fn what_is_taken_over_and_at_once_given_to_another_is_the_others() {
    for weather in weathers() {
        let mut t = own(weather);
        t.by_server(|e| {
            e.publish();
        });
        let seen = t.shown();
        let other = me(&mut t.cluster, t.other);
        t.by_server(|e| {
            e.delegate().give_authority(other);
        });
        let (app, entity) = (t.other, seen);
        t.cluster
            .run_until("it is lent to the other", 300, |cluster| {
                view(cluster, app, entity) == Some(AuthorityView::Granted)
            });
        move_to(&mut t.cluster, t.other, seen, 6.0);
        move_to(&mut t.cluster, t.owner, t.own, 5.0);
        wait_at(&mut t.cluster, t.owner, t.own, 6.0);
        t.cluster.run(A_WHILE);
        assert_eq!(at(&mut t.cluster, t.server, t.there), Some(6.0));
        let denied = view(&mut t.cluster, t.owner, t.own);
        assert_eq!(denied, Some(AuthorityView::Denied));
    }
}
