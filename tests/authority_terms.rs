//! On which terms authority is lent: for how long, and what of it; and what becomes of writes without
//! it.

mod common;

use bevy::prelude::*;
use common::{
    Health, Label, Place,
    authority::{Event, at, grab, heard, holder, lending, move_to, three, view, wait_at, weathers},
    command, get, me, pair, spawn_on,
};
use seamless_authority::{
    AuthorityCommandsExt, AuthorityPolicy, AuthorityStats, AuthorityView, Delegated, Loan,
    LossReason, WriteGuard,
};
use seamless_replication::{
    Peers, Registry, wire::Holder, wire::WriteMask, wire::control::DenyReason,
};
use seamless_testkit::{AppId, Cluster, Weather};

/// A server that lends on these terms, and a client with a crate in sight.
fn lent_on(loan: Loan, weather: Weather) -> (Cluster, [AppId; 2], [Entity; 2]) {
    let (mut cluster, apps) = pair(1, weather, lending);
    let mut policy = cluster.world(apps[0]).resource_mut::<AuthorityPolicy>();
    policy.loan = loan;
    let bundle = (Delegated, Place::default(), Label("steel".into()));
    let crates = spawn_on(&mut cluster, apps, bundle);
    (cluster, apps, crates)
}

fn for_ticks(lease: u32) -> Loan {
    Loan {
        lease,
        ..Loan::default()
    }
}

#[test]
fn a_lease_ends_by_itself_and_its_holder_hears_why() {
    // Over a worse network it may end before the holder knows that it began.
    for (_, weather) in weathers().take(2) {
        let (mut cluster, [server, client], [crate_, there]) = lent_on(for_ticks(20), weather);
        grab(&mut cluster, client, there);
        let ticks = cluster.run_until("it is free", 80, |cluster| {
            holder(cluster, server, crate_) == Some(Holder::Nobody)
        });
        // The row with which a tenure begins counts as a write.
        assert!((15..=41).contains(&ticks), "{ticks}");
        cluster.run_until("the holder hears", 60, |cluster| {
            view(cluster, client, there) == Some(AuthorityView::Available)
        });
        let told = heard(&mut cluster, client);
        let lost = Event::Lost(there, Some(LossReason::LeaseEnded));
        assert_eq!(told, [Event::Granted(there), lost]);
    }
}

#[test]
fn a_lease_goes_on_for_as_long_as_its_holder_writes() {
    let (mut cluster, [server, client], [crate_, there]) = lent_on(for_ticks(15), Weather::near());
    grab(&mut cluster, client, there);
    for x in 0..60u8 {
        move_to(&mut cluster, client, there, f32::from(x));
        cluster.step();
    }
    let me = me(&mut cluster, client);
    assert_eq!(holder(&mut cluster, server, crate_), Some(Holder::Peer(me)));
    cluster.run(32);
    assert_eq!(holder(&mut cluster, server, crate_), Some(Holder::Nobody));
    assert_eq!(at(&mut cluster, server, crate_), Some(59.0));
}

#[test]
fn a_lease_that_writes_do_not_renew_is_renewed_by_asking() {
    let (mut cluster, [server, client], [crate_, there]) = lent_on(for_ticks(15), Weather::near());
    let mut policy = cluster.world(server).resource_mut::<AuthorityPolicy>();
    policy.renewed_by_writes = false;
    grab(&mut cluster, client, there);
    for _ in 0..6 {
        command(&mut cluster, client, there, |e| {
            e.renew_authority();
        });
        cluster.run(10);
    }
    let me = me(&mut cluster, client);
    assert_eq!(holder(&mut cluster, server, crate_), Some(Holder::Peer(me)));
    for x in 0..40u8 {
        move_to(&mut cluster, client, there, f32::from(x));
        cluster.step();
    }
    assert_eq!(holder(&mut cluster, server, crate_), Some(Holder::Nobody));
}

#[test]
fn what_is_withheld_from_a_holder_is_the_hosts_to_write() {
    for (_, weather) in weathers().take(6) {
        let (mut cluster, [server, client], [crate_, there]) = lent_on(Loan::default(), weather);
        let registry = cluster.world(server).resource::<Registry>().clone();
        let writes = registry
            .writes_all_but::<Label>()
            .expect("it is replicated");
        let mut policy = cluster.world(server).resource_mut::<AuthorityPolicy>();
        policy.loan.writes = writes;
        grab(&mut cluster, client, there);
        move_to(&mut cluster, client, there, 7.0);
        cluster
            .world(client)
            .entity_mut(there)
            .insert(Label("gold".into()));
        wait_at(&mut cluster, server, crate_, 7.0);
        cluster.run(20);
        let steel = Some(Label("steel".into()));
        assert_eq!(get(&mut cluster, server, crate_), steel);
        assert_eq!(get(&mut cluster, client, there), steel, "it is undone");
        cluster
            .world(server)
            .entity_mut(crate_)
            .insert(Label("rust".into()));
        let rust = Some(Label("rust".into()));
        cluster.run_until("the holder is told", 200, |cluster| {
            get(cluster, client, there) == rust
        });
        assert_eq!(at(&mut cluster, client, there), Some(7.0));
    }
}

#[test]
fn other_terms_for_the_same_holder_take_nothing_back_that_is_under_way() {
    for (seed, weather) in weathers() {
        let (mut cluster, [server, client], [crate_, there]) = lent_on(Loan::default(), weather);
        grab(&mut cluster, client, there);
        heard(&mut cluster, client);
        let registry = cluster.world(server).resource::<Registry>().clone();
        let writes = registry.writes_only::<Place>().expect("it is replicated");
        let peer = me(&mut cluster, client);
        for x in 1..40u8 {
            move_to(&mut cluster, client, there, f32::from(x));
            if x == 20 {
                command(&mut cluster, server, crate_, |e| {
                    e.lend_authority(peer, Loan { writes, lease: 0 });
                });
            }
            cluster.step();
        }
        wait_at(&mut cluster, server, crate_, 39.0);
        assert_eq!(heard(&mut cluster, client), [], "seed {seed}");
        let held = get::<seamless_replication::Authority>(&mut cluster, server, crate_);
        assert!(held.is_some_and(|held| held.writes != WriteMask::ALL && held.epoch > held.since));
    }
}

#[test]
fn a_write_without_authority_is_undone_where_it_is_made_and_counted() {
    let mut t = three((1, Weather::near()));
    t.request(0);
    t.until(0, AuthorityView::Granted);
    t.until(1, AuthorityView::Denied);
    let (client, entity) = (t.clients[1], t.seen[1]);
    move_to(&mut t.cluster, client, entity, 66.0);
    t.cluster.step();
    assert_eq!(at(&mut t.cluster, client, entity), Some(0.0));
    t.cluster.run(30);
    assert_eq!(at(&mut t.cluster, t.server, t.crate_), Some(0.0));
    let stats = t.cluster.world(client).resource::<AuthorityStats>();
    assert_eq!(stats.refused_writes, 1);
}

#[test]
fn a_component_that_was_added_without_authority_is_taken_off() {
    let mut t = three((1, Weather::lossy(0.1)));
    let (client, entity) = (t.clients[1], t.seen[1]);
    let mut added = t.cluster.world(client).entity_mut(entity);
    added.insert(Label("mine".into()));
    t.cluster.step();
    assert_eq!(get::<Label>(&mut t.cluster, client, entity), None);
    let stats = t.cluster.world(client).resource::<AuthorityStats>();
    assert_eq!(stats.refused_writes, 1);
    // So is what was added in the hope of a grant, once that is denied.
    t.request(0);
    t.until(0, AuthorityView::Granted);
    t.request(1);
    t.until(1, AuthorityView::Denied);
    assert_eq!(get::<Label>(&mut t.cluster, client, entity), None);
    assert!(get::<Health>(&mut t.cluster, client, entity).is_some());
}

#[test]
fn a_game_that_smooths_what_it_shows_switches_the_guard_off() {
    let mut t = three((1, Weather::near()));
    let (client, entity) = (t.clients[1], t.seen[1]);
    t.cluster.world(client).insert_resource(WriteGuard::Off);
    move_to(&mut t.cluster, client, entity, 66.0);
    t.cluster.run(30);
    assert_eq!(at(&mut t.cluster, client, entity), Some(66.0));
    assert_eq!(at(&mut t.cluster, t.server, t.crate_), Some(0.0));
}

#[test]
fn a_flood_of_requests_is_answered_and_does_nothing() {
    let (mut cluster, [server, client]) = pair(1, Weather::near(), lending);
    let mut policy = cluster.world(server).resource_mut::<AuthorityPolicy>();
    policy.requests_per_second = 10;
    let [crate_, there] = spawn_on(
        &mut cluster,
        [server, client],
        (Delegated, Place::default()),
    );
    command(&mut cluster, server, crate_, |e| {
        e.take_authority();
    });
    cluster.run(30);
    heard(&mut cluster, client);
    let mut asked = 0;
    for _ in 0..20 {
        command(&mut cluster, client, there, |e| {
            e.request_authority();
        });
        asked += 1;
        cluster.run(4);
    }
    cluster.run(30);
    let told = heard(&mut cluster, client);
    assert_eq!(told.len(), asked, "each has one answer");
    let stats = cluster.world(server).resource::<AuthorityStats>().clone();
    assert!(
        stats
            .denied
            .get(&DenyReason::Held)
            .is_some_and(|held| *held <= 40)
    );
    assert_eq!(stats.denied.values().sum::<u64>(), asked as u64);
}

#[test]
fn a_grant_takes_a_round_trip_and_at_most_a_tick_more() {
    for loss in [0.0, 0.05] {
        let mut ticks = Vec::new();
        for seed in 0..20 {
            let mut weather = Weather::lossy(loss);
            weather.0.jitter = std::time::Duration::ZERO;
            let (mut cluster, [server, client]) = pair(seed, weather, lending);
            let apps = [server, client];
            let [_, there] = spawn_on(&mut cluster, apps, (Delegated, Place::default()));
            cluster.run(60);
            let peers = cluster.world(server).resource::<Peers>();
            let rtt = peers.iter().next().expect("linked").rtt().as_secs_f64() * 30.0;
            command(&mut cluster, client, there, |e| {
                e.request_authority();
            });
            let took = cluster.run_until("granted", 300, |cluster| {
                view(cluster, client, there) == Some(AuthorityView::Granted)
            });
            // The first step is the one in which it is asked.
            ticks.push((took as f64 - 1.0) - rtt);
        }
        ticks.sort_unstable_by(f64::total_cmp);
        let median = ticks[ticks.len() / 2];
        assert!(
            median <= 1.0,
            "{median} ticks above a round trip at loss {loss}"
        );
    }
}
