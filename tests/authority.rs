//! Authority is asked for and lent, over good and bad networks.

mod common;

use common::{
    Health, Place,
    authority::{Event, grab, heard, holder, lending, move_to, three, view, wait_at, weathers},
    command, get, name, on_a_wire, pair, spawn_on, wait_for,
};
use seamless_authority::{AuthorityCommandsExt, AuthorityPolicy, AuthorityView, Delegated};
use seamless_replication::{NetSlot, Peers, wire::Holder, wire::control::DenyReason};
use seamless_testkit::{Fate, Way, Weather};

#[test]
fn a_holders_writes_reach_the_host_and_everybody_else() {
    for weather in weathers() {
        let mut t = three(weather);
        t.request(0);
        let told = t.until(0, AuthorityView::Granted);
        assert_eq!(told, [Event::Granted(t.seen[0])], "once");
        move_to(&mut t.cluster, t.clients[0], t.seen[0], 7.0);
        wait_at(&mut t.cluster, t.server, t.crate_, 7.0);
        wait_at(&mut t.cluster, t.clients[1], t.seen[1], 7.0);
    }
}

#[test]
fn a_request_for_what_another_holds_is_denied() {
    for weather in weathers() {
        let mut t = three(weather);
        t.request(0);
        t.until(0, AuthorityView::Granted);
        t.until(1, AuthorityView::Denied);
        t.request(1);
        let told = t.until(1, AuthorityView::Denied);
        assert_eq!(told, [Event::Denied(t.seen[1], DenyReason::Held)]);
    }
}

#[test]
fn of_two_requests_at_once_one_is_granted_and_one_denied() {
    for weather in weathers() {
        let mut t = three(weather);
        t.request(0);
        t.request(1);
        t.cluster.run_until("both are answered", 300, |cluster| {
            (0..2).all(|n| {
                let view = view(cluster, t.clients[n], t.seen[n]);
                matches!(view, Some(AuthorityView::Granted | AuthorityView::Denied))
            })
        });
        let granted: usize = (0..2)
            .map(|n| {
                let told = heard(&mut t.cluster, t.clients[n]);
                assert_eq!(told.len(), 1, "{told:?}");
                usize::from(told[0] == Event::Granted(t.seen[n]))
            })
            .sum();
        assert_eq!(granted, 1);
    }
}

#[test]
fn a_policys_refusal_comes_with_its_reason() {
    let mut t = three((1, Weather::lossy(0.3)));
    let world = t.cluster.world(t.server);
    world.insert_resource(AuthorityPolicy::new(|_, _, _| Err(DenyReason::Policy)));
    t.request(0);
    let told = t.until(0, AuthorityView::Available);
    assert!(told.is_empty() || told == [Event::Denied(t.seen[0], DenyReason::Policy)]);
    t.cluster.run(30);
    assert_eq!(t.holder(), Some(Holder::Nobody));
}

#[test]
fn what_is_not_delegated_is_not_lent() {
    let (mut cluster, apps) = pair(1, Weather::lossy(0.05), lending);
    let [_, there] = spawn_on(&mut cluster, apps, Place::default());
    command(&mut cluster, apps[1], there, |e| {
        e.request_authority();
    });
    cluster.run(60);
    let denied = Event::Denied(there, DenyReason::NotDelegated);
    assert_eq!(heard(&mut cluster, apps[1]), [denied]);
    assert_eq!(view(&mut cluster, apps[1], there), None);
}

#[test]
fn a_client_cannot_hold_more_than_its_share() {
    let (mut cluster, apps) = pair(1, Weather::near(), lending);
    let mut policy = cluster.world(apps[0]).resource_mut::<AuthorityPolicy>();
    policy.entities_per_client = 1;
    let [_, first] = spawn_on(&mut cluster, apps, (Delegated, Place::default()));
    let [_, second] = spawn_on(&mut cluster, apps, (Delegated, Place::default()));
    grab(&mut cluster, apps[1], first);
    command(&mut cluster, apps[1], second, |e| {
        e.request_authority();
    });
    cluster.run(30);
    let denied = Event::Denied(second, DenyReason::Limited);
    assert_eq!(
        heard(&mut cluster, apps[1]),
        [Event::Granted(first), denied]
    );
}

#[test]
fn a_request_for_what_has_just_left_sight_is_denied() {
    let (mut cluster, apps, wire) = on_a_wire(lending);
    let [crate_, there] = spawn_on(&mut cluster, apps, (Delegated, Place::default()));
    cluster.run(30);
    wire.all(Way::ToClient, Fate::Hold);
    let world = cluster.world(apps[0]);
    let slot = *world.get::<NetSlot>(crate_).expect("on the network");
    for peer in world.resource_mut::<Peers>().iter_mut() {
        peer.interest_mut().except(&slot, Some(false));
    }
    cluster.run(2);
    command(&mut cluster, apps[1], there, |e| {
        e.request_authority();
    });
    cluster.run(3);
    assert_eq!(holder(&mut cluster, apps[0], crate_), Some(Holder::Nobody));
    // The entity is gone where it was asked for, so there is nobody to tell.
    wire.pass();
    cluster.run(60);
    assert_eq!(heard(&mut cluster, apps[1]), []);
}

#[test]
fn who_joins_late_knows_at_once_who_holds_it() {
    let mut t = three((4, Weather::lossy(0.3)));
    t.request(0);
    t.until(0, AuthorityView::Granted);
    let late = t.cluster.client(t.server);
    let name = name(&mut t.cluster, t.server, t.crate_);
    let there = wait_for(&mut t.cluster, late, name);
    assert_eq!(
        view(&mut t.cluster, late, there),
        Some(AuthorityView::Denied)
    );
}

#[test]
fn what_only_the_host_writes_stays_its_own_while_the_entity_is_lent() {
    for weather in weathers() {
        let mut t = three(weather);
        t.request(0);
        t.until(0, AuthorityView::Granted);
        let mut world = t.cluster.world(t.clients[0]).entity_mut(t.seen[0]);
        world.insert(Health(1000));
        t.cluster.run(30);
        assert_eq!(get(&mut t.cluster, t.server, t.crate_), Some(Health(9)));
        t.cluster
            .world(t.server)
            .entity_mut(t.crate_)
            .insert(Health(4));
        let (client, entity) = (t.clients[0], t.seen[0]);
        t.cluster.run_until("the holder is told", 120, |cluster| {
            get(cluster, client, entity) == Some(Health(4))
        });
    }
}
