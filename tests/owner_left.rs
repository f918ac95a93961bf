//! What becomes of a client's own entities when it is gone, in each mode, and when it comes again.

mod common;

use bevy::prelude::*;
use common::{
    Label,
    authority::{at, holder, move_to, view, wait_at, weathers},
    find, get, me,
    own::{Own, own},
    ready, wait_for,
};
use seamless_authority::{
    AuthorityCommandsExt, AuthorityPolicy, AuthorityView, OwnerLeft, Published,
};
use seamless_replication::{
    Admission, Admitted, Hosted, Remote, Slots, transport::Links, wire::Holder,
};
use seamless_testkit::Weather;

const A_WHILE: usize = 90;

/// Public, and seen by the other client at a place.
fn public(weather: (u64, Weather), owner_left: OwnerLeft) -> Own {
    let mut t = own(weather);
    let mut policy = t.cluster.world(t.server).resource_mut::<AuthorityPolicy>();
    policy.owner_left = owner_left;
    let seen = t.publish();
    t.until_published(true);
    move_to(&mut t.cluster, t.owner, t.own, 7.0);
    wait_at(&mut t.cluster, t.other, seen, 7.0);
    t
}

/// What the server has of it.
fn on_server(t: &mut Own) -> Option<Entity> {
    find(&mut t.cluster, t.server, t.name)
}

/// Runs until the server goes on with it, while the other client sees the same one all the time.
fn adopted(t: &mut Own, seen: Entity) {
    for n in 0.. {
        assert!(n < 400, "the server adopts it");
        t.cluster.step();
        assert_eq!(t.seen(), Some(seen), "it stays where it was");
        assert_eq!(on_server(t), Some(t.there));
        if get::<Hosted>(&mut t.cluster, t.server, t.there).is_some() {
            break;
        }
    }
}

#[test]
fn what_was_private_goes_with_its_owner() {
    for weather in weathers() {
        let mut t = own(weather);
        t.cluster.kill(t.owner);
        let (server, name) = (t.server, t.name);
        t.cluster.run_until("it is gone", 400, |cluster| {
            find(cluster, server, name).is_none()
        });
        assert_eq!(t.seen(), None);
    }
}

#[test]
fn what_was_public_goes_with_its_owner_unless_the_policy_says_otherwise() {
    for weather in weathers() {
        let mut t = public(weather, OwnerLeft::default());
        t.cluster.kill(t.owner);
        t.until_seen(false);
        assert_eq!(on_server(&mut t), None);
    }
}

#[test]
fn what_was_public_is_the_servers_if_the_policy_says_so() {
    for weather in weathers() {
        let mut t = public(weather, OwnerLeft::Adopt);
        let seen = t.seen().expect("it is shown");
        t.cluster.kill(t.owner);
        adopted(&mut t, seen);
        let world = t.cluster.world(t.server);
        assert!(world.get::<Remote>(t.there).is_none());
        assert!(world.get::<Published>(t.there).is_none());
        assert_eq!(world.resource::<Slots>().census(), (1, 0));
        let holder = holder(&mut t.cluster, t.server, t.there);
        assert_eq!(holder, Some(Holder::Nobody));
        let label = get::<Label>(&mut t.cluster, t.other, seen);
        assert_eq!(label, Some(Label("mine".into())));
        move_to(&mut t.cluster, t.server, t.there, 9.0);
        wait_at(&mut t.cluster, t.other, seen, 9.0);
        // It cannot be lent before the server says so.
        assert_eq!(view(&mut t.cluster, t.other, seen), None);
        t.by_server(|e| {
            e.delegate();
        });
        common::authority::grab(&mut t.cluster, t.other, seen);
        move_to(&mut t.cluster, t.other, seen, 10.0);
        wait_at(&mut t.cluster, t.server, t.there, 10.0);
    }
}

#[test]
fn who_comes_again_before_it_was_missed_has_left_all_the_same() {
    for weather in weathers() {
        let mut t = public(weather, OwnerLeft::Adopt);
        let seen = t.seen().expect("it is shown");
        let again = Admitted {
            peer: me(&mut t.cluster, t.owner),
            spectator: false,
        };
        let admission = Admission::new(move |_, _, _| Ok(again));
        t.cluster.world(t.server).insert_resource(admission);
        t.cluster.kill(t.owner);
        let client = t.cluster.client(t.server);
        ready(&mut t.cluster, client);
        adopted(&mut t, seen);
        t.cluster.run(A_WHILE);
        assert_eq!(on_server(&mut t), Some(t.there));
        wait_for(&mut t.cluster, client, t.name);
    }
}

#[test]
fn who_comes_again_before_it_was_missed_hosts_what_it_hosted() {
    for weather in weathers() {
        let mut t = own(weather);
        let mut policy = t.cluster.world(t.server).resource_mut::<AuthorityPolicy>();
        policy.owner_left = OwnerLeft::Adopt;
        let again = Admitted {
            peer: me(&mut t.cluster, t.owner),
            spectator: false,
        };
        let admission = Admission::new(move |_, _, _| Ok(again));
        t.cluster.world(t.server).insert_resource(admission);
        let mut links = t.cluster.world(t.owner).resource_mut::<Links>();
        let link = links.iter().next().expect("one").id();
        links.get_mut(link).expect("it stands").abandon();
        t.cluster.run(2);
        t.cluster.connect(t.owner, t.server);
        ready(&mut t.cluster, t.owner);
        for x in [3.0, 4.0] {
            t.cluster.run(150);
            move_to(&mut t.cluster, t.owner, t.own, x);
            let (server, name) = (t.server, t.name);
            t.cluster.run_until("it is the client's", 300, |cluster| {
                let there = find(cluster, server, name);
                there.is_some_and(|there| at(cluster, server, there) == Some(x))
            });
        }
        let there = on_server(&mut t).expect("it is there");
        assert!(get::<Hosted>(&mut t.cluster, t.server, there).is_none());
        assert!(get::<Hosted>(&mut t.cluster, t.owner, t.own).is_some());
        assert_eq!(t.seen(), None, "it is private still");
    }
}

#[test]
fn what_was_delegated_stays_and_is_free_when_its_owner_is_gone() {
    for weather in weathers() {
        let mut t = own(weather);
        t.by_owner(|e| {
            e.delegate();
        });
        let seen = t.shown();
        t.cluster.kill(t.owner);
        let other = t.other;
        t.cluster.run_until("it is free", 400, |cluster| {
            view(cluster, other, seen) == Some(AuthorityView::Available)
        });
        assert_eq!(on_server(&mut t), Some(t.there));
        assert_eq!(at(&mut t.cluster, t.other, seen), Some(1.0));
    }
}

#[test]
fn an_owner_that_comes_again_has_what_it_published_shown_again() {
    for weather in weathers() {
        let mut t = public(weather, OwnerLeft::Despawn);
        t.owner_leaves();
        t.until_seen(false);
        t.owner_comes_again();
        let seen = t.shown();
        t.until_published(true);
        wait_at(&mut t.cluster, t.other, seen, 7.0);
        t.unpublish();
        t.owner_leaves();
        t.cluster.run(A_WHILE);
        t.owner_comes_again();
        t.cluster.run(A_WHILE);
        assert_eq!(t.seen(), None, "it was private when it left");
    }
}

#[test]
fn an_owner_that_comes_again_does_not_host_what_the_server_adopted() {
    for weather in weathers() {
        let mut t = public(weather, OwnerLeft::Adopt);
        let seen = t.seen();
        t.owner_leaves();
        t.cluster.run(30);
        t.owner_comes_again();
        move_to(&mut t.cluster, t.owner, t.own, 50.0);
        t.cluster.run(A_WHILE * 2);
        assert!(!t.is_owners());
        assert_eq!(t.seen(), seen);
        assert_eq!(at(&mut t.cluster, t.server, t.there), Some(7.0));
        assert_eq!(at(&mut t.cluster, t.owner, t.own), Some(7.0));
        assert!(t.cluster.world(t.owner).get::<Published>(t.own).is_none());
    }
}
