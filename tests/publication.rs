//! What a client hosts is private, public or delegated; who sees it in each case, and who decides.

mod common;

use bevy::prelude::*;
use common::{
    Health, Label, Place,
    authority::{at, holder, lending, move_to, view, wait_at, weathers},
    command, find, get, me, name,
    own::{Own, own, owning},
    ready, settle, wait_for,
};
use seamless_authority::{
    AuthorityCommandsExt, AuthorityPolicy, AuthorityStats, AuthorityView, Published,
};
use seamless_replication::{
    Hosted, Peers, Replicated,
    wire::{
        GlobalEntity, Holder,
        control::{Control, DenyReason},
    },
};
use seamless_testkit::{Cluster, Weather};

const A_WHILE: usize = 60;

#[test]
fn a_private_entity_is_seen_by_its_owner_and_the_server_alone() {
    for weather in weathers() {
        let mut t = own(weather);
        t.cluster.run(A_WHILE);
        assert_eq!(t.seen(), None);
        assert!(t.is_owners());
        let published = get::<Published>(&mut t.cluster, t.server, t.there);
        assert!(published.is_none());
    }
}

#[test]
fn a_public_entity_is_seen_by_others_and_hosted_by_its_owner() {
    for weather in weathers() {
        let mut t = own(weather);
        let seen = t.publish();
        t.until_published(true);
        for x in 2..20u8 {
            move_to(&mut t.cluster, t.owner, t.own, f32::from(x));
            t.cluster.step();
        }
        wait_at(&mut t.cluster, t.other, seen, 19.0);
        let health = get::<Health>(&mut t.cluster, t.other, seen);
        assert_eq!(health, Some(Health(5)), "its host writes it");
        let label = get::<Label>(&mut t.cluster, t.other, seen);
        assert_eq!(label, Some(Label("mine".into())));
        assert!(t.is_owners());
        assert!(get::<Published>(&mut t.cluster, t.other, seen).is_none());
        assert_eq!(view(&mut t.cluster, t.other, seen), None, "not to be lent");
    }
}

#[test]
fn what_is_hidden_again_leaves_others_and_comes_back_as_it_is_by_then() {
    for weather in weathers() {
        let mut t = own(weather);
        for round in 1..4u8 {
            let seen = t.publish();
            t.until_published(true);
            let x = f32::from(round) * 10.0;
            wait_at(
                &mut t.cluster,
                t.other,
                seen,
                if round == 1 { 1.0 } else { x - 5.0 },
            );
            t.unpublish();
            t.until_published(false);
            move_to(&mut t.cluster, t.owner, t.own, x + 5.0);
            t.cluster.run(20);
            assert_eq!(t.seen(), None);
        }
    }
}

#[test]
fn spawning_and_publishing_in_one_tick_works() {
    for (seed, weather) in weathers() {
        let mut t = own((seed, weather));
        // Longer than a datagram, so that the wish comes first.
        let label = Label("m".repeat(3000));
        let bundle = (Replicated, Place(4.0, 0.0, 0.0), label.clone());
        let own = t.cluster.world(t.owner).spawn(bundle).id();
        command(&mut t.cluster, t.owner, own, |e| {
            e.publish();
        });
        let name = name(&mut t.cluster, t.owner, own);
        let seen = wait_for(&mut t.cluster, t.other, name);
        assert_eq!(get(&mut t.cluster, t.other, seen), Some(label), "{seed}");
    }
}

#[test]
fn the_last_of_many_wishes_in_one_tick_counts() {
    for weather in weathers() {
        let mut t = own(weather);
        t.by_owner(|e| {
            e.publish().unpublish().publish();
        });
        t.until_seen(true);
        t.until_published(true);
        t.by_owner(|e| {
            e.unpublish().publish().unpublish();
        });
        t.until_seen(false);
        t.until_published(false);
    }
}

#[test]
fn what_is_wished_before_the_handshake_is_done_is_said_after_it() {
    let mut cluster = Cluster::new(1, owning);
    cluster.set_weather(Weather::lossy(0.1));
    let server = cluster.server();
    let other = cluster.client(server);
    ready(&mut cluster, other);
    let owner = cluster.client(server);
    let mut spawn = |f: fn(&mut EntityCommands)| {
        let own = cluster
            .world(owner)
            .spawn((Replicated, Place(3.0, 0.0, 0.0)))
            .id();
        command(&mut cluster, owner, own, f);
        own
    };
    let public = spawn(|e| {
        e.publish();
    });
    let lent = spawn(|e| {
        e.delegate();
    });
    let private = spawn(|_| ());
    ready(&mut cluster, owner);
    cluster.run_until("all have names", 100, |cluster| {
        let slot = cluster
            .world(owner)
            .get::<seamless_replication::NetSlot>(private);
        slot.is_some_and(|slot| slot.global().is_some())
    });
    let names = [public, lent, private].map(|entity| name(&mut cluster, owner, entity));
    for name in &names[..2] {
        let seen = wait_for(&mut cluster, other, *name);
        assert_eq!(at(&mut cluster, other, seen), Some(3.0));
    }
    cluster.run(A_WHILE);
    assert_eq!(find(&mut cluster, other, names[2]), None);
    let granted = view(&mut cluster, owner, lent);
    assert_eq!(granted, Some(AuthorityView::Granted));
}

#[test]
fn what_the_policy_does_not_let_be_seen_stays_private() {
    for weather in weathers() {
        let mut t = own(weather);
        let policy = AuthorityPolicy::default().publication(|_, _, _| false);
        t.cluster.world(t.server).insert_resource(policy);
        t.by_owner(|e| {
            e.publish();
        });
        t.cluster.run(A_WHILE);
        assert_eq!(t.refusals(), [DenyReason::Policy], "once");
        assert_eq!(t.seen(), None);
        t.until_published(false);
        // The server itself does not ask.
        t.by_server(|e| {
            e.publish();
        });
        t.until_seen(true);
        t.until_published(true);
    }
}

#[test]
fn the_server_shows_and_hides_what_a_client_hosts() {
    for weather in weathers() {
        let mut t = own(weather);
        for _ in 0..2 {
            t.by_server(|e| {
                e.publish().publish();
            });
            t.until_seen(true);
            t.until_published(true);
            assert!(t.is_owners());
            t.by_server(|e| {
                e.unpublish();
            });
            t.until_seen(false);
            t.until_published(false);
        }
        assert!(t.refusals().is_empty());
    }
}

#[test]
fn what_was_public_and_is_delegated_is_the_same_entity_for_all() {
    for weather in weathers() {
        let mut t = own(weather);
        let seen = t.publish();
        t.by_owner(|e| {
            e.delegate();
        });
        let (owner, own) = (t.owner, t.own);
        for n in 0.. {
            assert!(n < 300, "it migrates");
            t.cluster.step();
            assert_eq!(t.seen(), Some(seen), "it is not spawned anew");
            if view(&mut t.cluster, owner, own) == Some(AuthorityView::Granted) {
                break;
            }
        }
        assert!(!t.is_owners());
        for (app, entity) in [(t.owner, t.own), (t.server, t.there)] {
            assert!(get::<Published>(&mut t.cluster, app, entity).is_none());
        }
        move_to(&mut t.cluster, t.owner, t.own, 6.0);
        wait_at(&mut t.cluster, t.other, seen, 6.0);
        assert_eq!(
            view(&mut t.cluster, t.other, seen),
            Some(AuthorityView::Denied)
        );
    }
}

/// In which mode an entity is when something is said of it.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Mode {
    Private,
    Public,
    Delegated,
}

/// An entity in a mode, at rest.
fn in_mode(mode: Mode) -> Own {
    let mut t = own((3, Weather::near()));
    match mode {
        Mode::Private => {}
        Mode::Public => t.by_owner(|e| {
            e.publish();
        }),
        Mode::Delegated => t.by_owner(|e| {
            e.delegate();
        }),
    }
    t.cluster.run(A_WHILE);
    t
}

/// In which mode it is now, by what all worlds show.
fn mode(t: &mut Own) -> Mode {
    let public = get::<Published>(&mut t.cluster, t.server, t.there).is_some();
    let known = get::<Published>(&mut t.cluster, t.owner, t.own).is_some();
    assert_eq!(public, known);
    let mode = match (t.is_owners(), public) {
        (true, false) => Mode::Private,
        (true, true) => Mode::Public,
        (false, false) => Mode::Delegated,
        (false, true) => panic!("what a server hosts is not published"),
    };
    assert_eq!(t.seen().is_some(), mode != Mode::Private);
    mode
}

#[test]
fn every_pair_of_a_mode_and_a_command_comes_to_what_the_table_says() {
    use Mode::{Delegated, Private, Public};
    type Say = fn(&mut EntityCommands);
    let publish: Say = |e| {
        e.publish();
    };
    let unpublish: Say = |e| {
        e.unpublish();
    };
    let delegate: Say = |e| {
        e.delegate();
    };
    let undelegate: Say = |e| {
        e.undelegate();
    };
    // Before, what is said, after if the owner says it, after if the server does.
    let table = [
        (Private, publish, Public, Public),
        (Private, unpublish, Private, Private),
        (Private, delegate, Delegated, Delegated),
        (Private, undelegate, Private, Private),
        (Public, publish, Public, Public),
        (Public, unpublish, Private, Private),
        (Public, delegate, Delegated, Delegated),
        (Public, undelegate, Public, Public),
        (Delegated, publish, Delegated, Delegated),
        (Delegated, unpublish, Delegated, Delegated),
        (Delegated, delegate, Delegated, Delegated),
        (Delegated, undelegate, Delegated, Delegated),
    ];
    for (n, (before, say, by_owner, by_server)) in table.into_iter().enumerate() {
        let mut t = in_mode(before);
        t.by_owner(say);
        t.cluster.run(A_WHILE);
        assert_eq!(mode(&mut t), by_owner, "owner, row {n}");
        let mut t = in_mode(before);
        t.by_server(say);
        t.cluster.run(A_WHILE);
        assert_eq!(mode(&mut t), by_server, "server, row {n}");
    }
}

/// Says an item as a client's app would not.
fn say(t: &mut Own, item: &Control) {
    let app = t.owner;
    let mut peers = t.cluster.world(app).resource_mut::<Peers>();
    let peer = peers.iter_mut().next().expect("a link");
    peer.send_control(item).expect("room");
}

#[test]
fn nobody_publishes_what_is_anothers() {
    let mut t = own((1, Weather::lossy(0.1)));
    let theirs = t
        .cluster
        .world(t.other)
        .spawn((Replicated, Place(9.0, 0.0, 0.0)))
        .id();
    let theirs = name(&mut t.cluster, t.other, theirs);
    let on_server = wait_for(&mut t.cluster, t.server, theirs);
    let servers = t
        .cluster
        .world(t.server)
        .spawn((Replicated, Place(8.0, 0.0, 0.0)))
        .id();
    let servers_name = name(&mut t.cluster, t.server, servers);
    wait_for(&mut t.cluster, t.owner, servers_name);
    let unknown = GlobalEntity::new(40, 40).expect("legal");
    for entity in [theirs, servers_name, unknown] {
        for public in [true, false, true] {
            say(&mut t, &Control::Publish { entity, public });
        }
    }
    t.cluster.run(150);
    assert_eq!(find(&mut t.cluster, t.owner, theirs), None);
    assert!(get::<Published>(&mut t.cluster, t.server, on_server).is_none());
    let stats = t.cluster.world(t.server).resource::<AuthorityStats>();
    // Of the unknown one the last wish alone waited, and of the private one, which is as unknown.
    let count = |reason| stats.refused.get(&reason).copied();
    assert_eq!(count(DenyReason::NotDelegated), None);
    assert_eq!(count(DenyReason::HostedElsewhere), Some(3));
    assert_eq!(count(DenyReason::Unknown), Some(2));
    assert_eq!((stats.published, stats.unpublished), (0, 0));
    // What the server hosts is seen by all as before.
    assert!(find(&mut t.cluster, t.owner, servers_name).is_some());
    assert!(t.is_owners());
}

#[test]
fn an_entity_cannot_be_shown_and_hidden_without_end() {
    let mut t = own((1, Weather::near()));
    for _ in 0..30 {
        for _ in 0..50 {
            t.by_owner(|e| {
                e.publish().unpublish();
            });
        }
        t.cluster.step();
    }
    t.cluster.run(90);
    let stats = t.cluster.world(t.server).resource::<AuthorityStats>();
    let (shown, hidden) = (stats.published, stats.unpublished);
    // 64 in each second that it may have touched.
    assert!(hidden <= 3 * 64, "{hidden}");
    assert!(shown <= hidden + 1, "{shown} {hidden}");
    assert!(t.refusals().contains(&DenyReason::Limited));
    // All agree on how it is, and it can be changed later.
    t.unpublish();
    t.until_published(false);
}

#[test]
fn what_others_write_of_a_public_entity_is_not_taken() {
    for (seed, weather) in weathers() {
        let mut t = own((seed, weather));
        let seen = t.publish();
        move_to(&mut t.cluster, t.other, seen, 666.0);
        command(&mut t.cluster, t.other, seen, |e| {
            e.request_authority();
        });
        for _ in 0..A_WHILE {
            t.cluster.step();
            assert_eq!(at(&mut t.cluster, t.server, t.there), Some(1.0));
            assert_eq!(at(&mut t.cluster, t.owner, t.own), Some(1.0));
        }
        let owner = me(&mut t.cluster, t.owner);
        let holder = holder(&mut t.cluster, t.server, t.there);
        assert_eq!(holder, Some(Holder::Peer(owner)));
        wait_at(&mut t.cluster, t.other, seen, 1.0);
    }
}

#[test]
fn who_joins_late_sees_what_is_public_and_not_what_is_private() {
    let mut t = own((2, Weather::lossy(0.1)));
    let private = t
        .cluster
        .world(t.owner)
        .spawn((Replicated, Place(2.0, 0.0, 0.0)))
        .id();
    let private = name(&mut t.cluster, t.owner, private);
    t.publish();
    let late = t.cluster.client(t.server);
    ready(&mut t.cluster, late);
    let seen = wait_for(&mut t.cluster, late, t.name);
    assert_eq!(at(&mut t.cluster, late, seen), Some(1.0));
    t.cluster.run(A_WHILE);
    assert_eq!(find(&mut t.cluster, late, private), None);
}

#[test]
fn what_the_server_despawns_of_a_clients_comes_back_private_when_it_is_written() {
    for weather in weathers() {
        let mut t = own(weather);
        t.publish();
        t.until_published(true);
        t.cluster.world(t.server).despawn(t.there);
        t.until_seen(false);
        t.until_published(false);
        move_to(&mut t.cluster, t.owner, t.own, 8.0);
        let again = wait_for(&mut t.cluster, t.server, t.name);
        wait_at(&mut t.cluster, t.server, again, 8.0);
        t.cluster.run(A_WHILE);
        assert_eq!(t.seen(), None);
        t.publish();
    }
}

#[test]
fn taking_the_marker_off_on_the_server_hides_the_entity() {
    let mut t = own((1, Weather::lossy(0.05)));
    t.publish();
    t.until_published(true);
    t.by_server(|e| {
        e.remove::<Published>();
    });
    t.until_seen(false);
    t.until_published(false);
}

#[test]
fn a_server_hosts_nothing_that_could_be_published() {
    let (mut cluster, apps) = common::pair(1, Weather::near(), lending);
    let [entity, there] = common::spawn_on(&mut cluster, apps, Place::default());
    for (app, entity) in [(apps[0], entity), (apps[1], there)] {
        command(&mut cluster, app, entity, |e| {
            e.publish().unpublish();
        });
    }
    cluster.run(A_WHILE);
    settle(&mut cluster, apps[0], &[apps[1]]);
    assert!(get::<Hosted>(&mut cluster, apps[0], entity).is_some());
    assert!(get::<Published>(&mut cluster, apps[0], entity).is_none());
}
