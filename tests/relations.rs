//! What clients say of hierarchies: a circle that is only between two rows, one that stays, and relations
//! that may go round.

mod common;

use bevy::prelude::*;
use common::{
    Label, Place,
    authority::{holder, lending, move_to, view, wait_at, weathers},
    command, get, me, name, on_a_wire, pair, spawn_on, wait_for,
};
use seamless_authority::{AuthorityCommandsExt, AuthorityView, Delegated};
use seamless_replication::{
    Authority, Peers, ReplicateAppExt, Replicated, ReplicationConfig, ReplicationStats,
    transport::Channel,
    wire::{GlobalEntity, Holder},
};
use seamless_testkit::{AppId, Cluster, Fate, Weather};
use serde::{Deserialize, Serialize};

/// A relation that takes nobody along.
#[derive(Component, TypePath, Serialize, Deserialize, Clone, Copy, PartialEq, Debug)]
#[relationship(relationship_target = Followers)]
struct Follows(#[entities] Entity);

#[derive(Component, Default)]
#[relationship_target(relationship = Follows)]
struct Followers(Vec<Entity>);

fn setup(app: &mut App) {
    lending(app);
    app.replicate_with_entities::<ChildOf>();
    app.replicate_with_entities::<Follows>();
    let mut config = app.world_mut().resource_mut::<ReplicationConfig>();
    config.audit_per_second = 200;
}

/// Entities of a client, there and on the server.
fn own(
    cluster: &mut Cluster,
    [server, client]: [AppId; 2],
    count: usize,
) -> (Vec<Entity>, Vec<Entity>) {
    let own: Vec<Entity> = (0..count)
        .map(|n| {
            let bundle = (Replicated, Place(n as f32, 0.0, 0.0));
            cluster.world(client).spawn(bundle).id()
        })
        .collect();
    let names: Vec<GlobalEntity> = own.iter().map(|&own| name(cluster, client, own)).collect();
    let there = names.iter().map(|&name| wait_for(cluster, server, name));
    let there = there.collect();
    (own, there)
}

/// Entities of the server that are lent to a client, here in the same order.
fn lent(
    cluster: &mut Cluster,
    [server, client]: [AppId; 2],
    count: usize,
) -> (Vec<Entity>, Vec<Entity>) {
    let id = me(cluster, client);
    let both = (0..count).map(|n| {
        let bundle = (Delegated, Place(n as f32, 0.0, 0.0));
        let [there, here] = spawn_on(cluster, [server, client], bundle);
        command(cluster, server, there, |e| {
            e.give_authority(id);
        });
        (here, there)
    });
    let both = both.collect();
    cluster.run(40);
    both
}

fn hang(cluster: &mut Cluster, app: AppId, child: Entity, parent: Entity) {
    let mut child = cluster.world(app).entity_mut(child);
    child.insert(ChildOf(parent));
}

fn parents(cluster: &mut Cluster, app: AppId, all: &[Entity]) -> Vec<Option<Entity>> {
    let world = cluster.world(app);
    let parent = |it: &Entity| world.get::<ChildOf>(*it).map(ChildOf::parent);
    all.iter().map(parent).collect()
}

/// What the server found amiss of what its clients told, and put right.
fn healed(cluster: &mut Cluster, server: AppId) -> u64 {
    let stats = cluster.world(server).resource::<ReplicationStats>();
    stats.links.values().map(|link| link.audit.healed).sum()
}

#[test]
fn a_family_that_changes_places_in_one_tick_is_as_it_was_told() {
    for (seed, weather) in weathers() {
        for make in [own, lent] {
            let (mut cluster, apps) = pair(seed, weather, setup);
            let [server, client] = apps;
            // The lower ones are told first.
            let (here, there) = make(&mut cluster, apps, 4);
            let [a, b, c, root] = here[..] else {
                panic!("four of them")
            };
            for (child, parent) in [(b, root), (c, b), (a, c)] {
                cluster.run(20);
                hang(&mut cluster, client, child, parent);
            }
            for round in 0..6 {
                cluster.run(90);
                let line = match round % 2 {
                    0 => [(b, a), (c, b), (a, root)],
                    _ => [(b, root), (c, b), (a, c)],
                };
                for (child, parent) in line {
                    hang(&mut cluster, client, child, parent);
                }
                cluster.run(90);
                let at = |entity| here.iter().position(|&it| it == entity);
                let told = parents(&mut cluster, client, &here);
                let told: Vec<_> = told
                    .into_iter()
                    .map(|parent| parent.and_then(at).map(|at| there[at]))
                    .collect();
                let shown = parents(&mut cluster, server, &there);
                assert_eq!(shown, told, "seed {seed}, round {round}");
            }
            assert_eq!(healed(&mut cluster, server), 0);
        }
    }
}

#[test]
fn a_circle_is_open_for_as_long_as_it_would_be_one() {
    let (mut cluster, apps) = pair(2, Weather::near(), setup);
    let [server, client] = apps;
    let (here, there) = own(&mut cluster, apps, 3);
    for (at, &child) in here.iter().enumerate() {
        hang(&mut cluster, client, child, here[(at + 1) % 3]);
    }
    // Long enough to be found amiss and put right, if it were.
    cluster.run(300);
    let hanging = parents(&mut cluster, server, &there);
    assert_eq!(hanging.iter().flatten().count(), 2);
    assert_eq!(healed(&mut cluster, server), 0);
    // The one that closes it waits for another to let go.
    let open = hanging.iter().position(Option::is_none).expect("one");
    let other = (open + 1) % 3;
    cluster
        .world(client)
        .entity_mut(here[other])
        .remove::<ChildOf>();
    cluster.run(60);
    let hanging = parents(&mut cluster, server, &there);
    let expected: Vec<Option<Entity>> = (0..3)
        .map(|at| (at != other).then_some(there[(at + 1) % 3]))
        .collect();
    assert_eq!(hanging, expected);
    // What it says instead counts, and not what waited.
    hang(&mut cluster, client, here[other], here[(other + 1) % 3]);
    cluster.run(60);
    assert_eq!(parents(&mut cluster, server, &there)[other], None);
    cluster
        .world(client)
        .entity_mut(here[other])
        .remove::<ChildOf>();
    cluster.run(60);
    cluster
        .world(client)
        .entity_mut(here[open])
        .remove::<ChildOf>();
    cluster.run(60);
    assert_eq!(parents(&mut cluster, server, &there)[other], None);
    assert!(cluster.is_ready(client));
}

#[test]
fn a_long_train_that_turns_round_in_one_tick_hangs_together() {
    const LONG: usize = 150;
    for make in [own, lent] {
        let (mut cluster, apps) = pair(5, Weather::near(), setup);
        let [server, client] = apps;
        let (here, there) = make(&mut cluster, apps, LONG);
        for pair in here.windows(2) {
            hang(&mut cluster, client, pair[0], pair[1]);
        }
        cluster.run(60);
        cluster
            .world(client)
            .entity_mut(here[0])
            .remove::<ChildOf>();
        for pair in here.windows(2) {
            hang(&mut cluster, client, pair[1], pair[0]);
        }
        cluster.run(90);
        let expected = there.iter().copied().map(Some);
        let expected: Vec<_> = std::iter::once(None).chain(expected).take(LONG).collect();
        assert_eq!(parents(&mut cluster, server, &there), expected);
        assert_eq!(healed(&mut cluster, server), 0);
    }
}

#[test]
fn what_was_given_back_while_its_relation_waited_is_as_it_was_given_back() {
    let (mut cluster, apps, wire) = on_a_wire(setup);
    let [server, client] = apps;
    let (here, there) = lent(&mut cluster, apps, 2);
    hang(&mut cluster, client, here[1], here[0]);
    cluster.run(40);
    // What is large goes another way, and comes later.
    wire.decide(|parcel| match parcel.channel {
        Some(Channel::Bulk) => Fate::Hold,
        _ => Fate::Pass,
    });
    let mut other = cluster.world(client).entity_mut(here[1]);
    other.remove::<ChildOf>().insert(Label("m".repeat(6000)));
    hang(&mut cluster, client, here[0], here[1]);
    command(&mut cluster, client, here[0], |e| {
        e.release_authority();
    });
    cluster.run_until("it is back", 300, |cluster| {
        holder(cluster, server, there[0]) == Some(Holder::Nobody)
    });
    cluster.run(5);
    let before = [None, Some(there[0])];
    assert_eq!(parents(&mut cluster, server, &there), before);
    let kept = wire.kept();
    wire.pass();
    kept.into_iter().for_each(|parcel| wire.put(parcel));
    cluster.run(30);
    let after = [Some(there[1]), None];
    assert_eq!(parents(&mut cluster, server, &there), after);
}

#[test]
fn a_relation_that_waits_is_not_told_any_more_when_its_entity_is_lent_anew() {
    let (mut cluster, apps) = pair(6, Weather::near(), setup);
    let [server, client] = apps;
    let (here, there) = lent(&mut cluster, apps, 2);
    hang(&mut cluster, client, here[1], here[0]);
    cluster.run(40);
    hang(&mut cluster, client, here[0], here[1]);
    cluster.run(40);
    assert_eq!(
        parents(&mut cluster, server, &there),
        [None, Some(there[0])]
    );
    command(&mut cluster, client, here[0], |e| {
        e.release_authority();
    });
    cluster.run(1);
    command(&mut cluster, client, here[0], |e| {
        e.request_authority();
    });
    cluster.run_until("it is ours again", 300, |cluster| {
        view(cluster, client, here[0]) == Some(AuthorityView::Granted)
    });
    let authority = get::<Authority>(&mut cluster, server, there[0]);
    assert_eq!(authority.expect("it is lent").epoch.seq, 3);
    cluster.run(20);
    assert_eq!(parents(&mut cluster, client, &here)[0], None);
    move_to(&mut cluster, client, here[0], 3.0);
    wait_at(&mut cluster, server, there[0], 3.0);
    cluster
        .world(client)
        .entity_mut(here[1])
        .remove::<ChildOf>();
    cluster.run(40);
    assert_eq!(parents(&mut cluster, server, &there), [None, None]);
    assert_eq!(parents(&mut cluster, client, &here), [None, None]);
}

#[test]
fn a_relation_that_waits_goes_no_longer_with_what_was_taken_from_its_writer() {
    let (mut cluster, apps) = pair(8, Weather::near(), setup);
    let [server, client] = apps;
    let (here, there) = lent(&mut cluster, apps, 3);
    hang(&mut cluster, client, here[1], here[0]);
    cluster.run(40);
    hang(&mut cluster, client, here[0], here[1]);
    cluster.run(40);
    let open = [None, Some(there[0]), None];
    assert_eq!(parents(&mut cluster, server, &there), open);
    for entity in [there[0], there[1]] {
        command(&mut cluster, server, entity, |e| {
            e.take_authority();
        });
    }
    for x in 0..90 {
        // The client says something in each tick.
        move_to(&mut cluster, client, here[2], x as f32);
        cluster.step();
    }
    let mut other = cluster.world(server).entity_mut(there[1]);
    other.remove::<ChildOf>();
    for x in 0..30 {
        move_to(&mut cluster, client, here[2], x as f32);
        cluster.step();
    }
    assert_eq!(parents(&mut cluster, server, &there), [None; 3]);
    cluster.run(30);
    assert_eq!(parents(&mut cluster, client, &here), [None; 3]);
}

#[test]
fn who_follows_whom_may_go_round() {
    for make in [own, lent] {
        let (mut cluster, apps) = pair(3, Weather::near(), setup);
        let [server, client] = apps;
        let (here, there) = make(&mut cluster, apps, 3);
        for (at, &follower) in here.iter().enumerate() {
            let mut follower = cluster.world(client).entity_mut(follower);
            follower.insert(Follows(here[(at + 1) % 3]));
        }
        cluster.run(60);
        for (at, &follower) in there.iter().enumerate() {
            let follows = get::<Follows>(&mut cluster, server, follower);
            assert_eq!(follows, Some(Follows(there[(at + 1) % 3])));
        }
    }
}

#[test]
fn what_waits_is_no_more_than_a_client_may_have_and_goes_with_it() {
    let (mut cluster, apps) = pair(4, Weather::near(), setup);
    let [server, client] = apps;
    let (here, there) = own(&mut cluster, apps, 200);
    // A hundred circles.
    for two in here.chunks(2) {
        hang(&mut cluster, client, two[0], two[1]);
        hang(&mut cluster, client, two[1], two[0]);
    }
    cluster.run(120);
    let hanging = parents(&mut cluster, server, &there);
    assert_eq!(hanging.iter().flatten().count(), 100);
    let id = me(&mut cluster, client);
    cluster.kill(client);
    cluster.run_until("it is gone", 900, |cluster| {
        let peers = cluster.world(server).resource::<Peers>();
        peers.by_id(id).is_none()
    });
    cluster.run(300);
    for &there in &there {
        assert!(cluster.world(server).get_entity(there).is_err());
    }
}
