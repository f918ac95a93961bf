//! The player who sits at the server asks for authority like all others.

mod common;

use bevy::prelude::*;
use common::{
    Place,
    authority::{Event, at, grab, heard, holder, lending, move_to, view, wait_at},
    command, me, pair, ready, settle, spawn_on,
};
use seamless_authority::{
    AuthorityCommandsExt, AuthorityPolicy, AuthorityView, Delegated, Granted, Loan, LossReason,
};
use seamless_replication::{
    listen::ListenPlugin,
    transport::MemoryServer,
    wire::{Holder, control::DenyReason},
};
use seamless_testkit::{AppId, Cluster, Weather};

const A_WHILE: usize = 60;

fn setup(app: &mut App) {
    lending(app);
    if app.world().contains_resource::<MemoryServer>() {
        app.add_plugins(ListenPlugin::default());
    }
}

/// A server with a player of its own, a client, and a crate that can be lent.
fn scene(loss: f32) -> (Cluster, [AppId; 2], [Entity; 2]) {
    let (mut cluster, apps) = pair(1, Weather::lossy(loss), setup);
    let crates = spawn_on(&mut cluster, apps, (Delegated, Place::default()));
    (cluster, apps, crates)
}

fn request(cluster: &mut Cluster, app: AppId, entity: Entity) {
    command(cluster, app, entity, |e| {
        e.request_authority();
    });
}

#[test]
fn what_the_local_player_holds_others_are_denied_until_it_gives_it_back() {
    for loss in [0.0, 0.3] {
        let (mut cluster, [server, client], [here, there]) = scene(loss);
        let available = Some(AuthorityView::Available);
        assert_eq!(view(&mut cluster, server, here), available);
        request(&mut cluster, server, here);
        assert_eq!(heard(&mut cluster, server), [Event::Granted(here)]);
        assert!(cluster.world(server).get::<Granted>(here).is_some());
        let local = me(&mut cluster, server);
        assert_eq!(
            holder(&mut cluster, server, here),
            Some(Holder::Peer(local))
        );
        cluster.run_until("the client knows", 300, |cluster| {
            view(cluster, client, there) == Some(AuthorityView::Denied)
        });
        request(&mut cluster, client, there);
        cluster.run(A_WHILE);
        let told = heard(&mut cluster, client);
        assert_eq!(told.last(), Some(&Event::Denied(there, DenyReason::Held)));
        move_to(&mut cluster, server, here, 4.0);
        wait_at(&mut cluster, client, there, 4.0);
        command(&mut cluster, server, here, |e| {
            e.release_authority();
        });
        assert_eq!(heard(&mut cluster, server), [Event::Lost(here, None)]);
        assert_eq!(view(&mut cluster, server, here), available);
        grab(&mut cluster, client, there);
        assert_eq!(
            view(&mut cluster, server, here),
            Some(AuthorityView::Denied)
        );
        let denied = Event::Denied(here, DenyReason::Held);
        assert_eq!(heard(&mut cluster, server), [denied]);
        request(&mut cluster, server, here);
        assert_eq!(
            heard(&mut cluster, server),
            [denied],
            "again, with a reason"
        );
        move_to(&mut cluster, client, there, 7.0);
        wait_at(&mut cluster, server, here, 7.0);
    }
}

#[test]
fn the_policy_and_its_bounds_count_for_the_local_player_too() {
    let (mut cluster, apps, [here, _]) = scene(0.0);
    let [server, _] = apps;
    let [second, _] = spawn_on(&mut cluster, apps, (Delegated, Place::default()));
    let mut policy = cluster.world(server).resource_mut::<AuthorityPolicy>();
    policy.entities_per_client = 1;
    request(&mut cluster, server, here);
    request(&mut cluster, server, second);
    let limited = Event::Denied(second, DenyReason::Limited);
    assert_eq!(heard(&mut cluster, server), [Event::Granted(here), limited]);
    let local = me(&mut cluster, server);
    let refuses = AuthorityPolicy::new(move |_, peer, _| match peer == local {
        true => Err(DenyReason::Policy),
        false => Ok(()),
    });
    cluster.world(server).insert_resource(refuses);
    request(&mut cluster, server, second);
    let denied = Event::Denied(second, DenyReason::Policy);
    assert_eq!(heard(&mut cluster, server), [denied]);
    let plain = cluster
        .world(server)
        .spawn((seamless_replication::Replicated, Place::default()))
        .id();
    request(&mut cluster, server, plain);
    let denied = Event::Denied(plain, DenyReason::NotDelegated);
    assert_eq!(heard(&mut cluster, server), [denied]);
}

#[test]
fn the_local_player_loses_what_is_taken_given_away_or_not_to_be_lent() {
    let (mut cluster, [server, client], [here, _]) = scene(0.0);
    let other = me(&mut cluster, client);
    let local = me(&mut cluster, server);
    type Do = Box<dyn FnOnce(&mut EntityCommands)>;
    let ways: [(Do, LossReason); 4] = [
        (
            Box::new(|e| {
                e.take_authority();
            }),
            LossReason::Taken,
        ),
        (
            Box::new(|e| {
                e.reset_authority();
            }),
            LossReason::Reset,
        ),
        (
            Box::new(move |e| {
                e.give_authority(other);
            }),
            LossReason::Given,
        ),
        (
            Box::new(|e| {
                e.undelegate();
            }),
            LossReason::Disabled,
        ),
    ];
    for (way, reason) in ways {
        command(&mut cluster, server, here, |e| {
            e.give_authority(local);
        });
        assert_eq!(heard(&mut cluster, server), [Event::Granted(here)]);
        command(&mut cluster, server, here, way);
        let lost = Event::Lost(here, Some(reason));
        assert_eq!(heard(&mut cluster, server), [lost]);
    }
    assert_eq!(view(&mut cluster, server, here), None);
}

#[test]
fn a_lease_of_the_local_player_ends_unless_it_asks_again() {
    let (mut cluster, [server, _], [here, _]) = scene(0.0);
    let mut policy = cluster.world(server).resource_mut::<AuthorityPolicy>();
    policy.loan = Loan {
        lease: 20,
        ..Loan::default()
    };
    request(&mut cluster, server, here);
    for _ in 0..6 {
        cluster.run(15);
        command(&mut cluster, server, here, |e| {
            e.renew_authority();
        });
    }
    assert_eq!(heard(&mut cluster, server), [Event::Granted(here)]);
    cluster.run(45);
    let lost = Event::Lost(here, Some(LossReason::LeaseEnded));
    assert_eq!(heard(&mut cluster, server), [lost]);
}

#[test]
fn who_joins_while_the_local_player_holds_it_knows_at_once() {
    let (mut cluster, [server, client], [here, _]) = scene(0.05);
    request(&mut cluster, server, here);
    let late = cluster.client(server);
    ready(&mut cluster, late);
    settle(&mut cluster, server, &[client, late]);
    let name = common::name(&mut cluster, server, here);
    let there = common::wait_for(&mut cluster, late, name);
    let denied = Some(AuthorityView::Denied);
    assert_eq!(view(&mut cluster, late, there), denied);
    cluster.world(server).despawn(here);
    let lost = Event::Lost(here, Some(LossReason::Gone));
    assert_eq!(heard(&mut cluster, server), [Event::Granted(here), lost]);
    cluster.run(A_WHILE);
    assert_eq!(at(&mut cluster, late, there), None);
}
