//! What belongs together moves together: trees and references, while they change their host.

mod common;

use bevy::prelude::*;
use common::{
    Label, Place, Target,
    authority::{Event, heard, lending, move_to, view, wait_at, weathers},
    command, find, get, name, on_a_wire, pair, ready, wait_for,
};
use seamless_authority::{AuthorityCommandsExt, AuthorityView};
use seamless_replication::{
    Hosted, Remote, ReplicateAppExt, Replicated, transport::Channel, wire::GlobalEntity,
};
use seamless_testkit::{AppId, Cluster, Fate, Weather};

fn setup(app: &mut App) {
    lending(app);
    app.replicate_with_entities::<ChildOf>();
}

/// A root, two children and a grandchild of a client, by name.
struct Tree {
    cluster: Cluster,
    server: AppId,
    owner: AppId,
    other: AppId,
    own: [Entity; 4],
    names: [GlobalEntity; 4],
}

/// Which of them each hangs on.
const ABOVE: [Option<usize>; 4] = [None, Some(0), Some(0), Some(1)];

fn tree((seed, weather): (u64, Weather)) -> Tree {
    let mut cluster = Cluster::new(seed, setup);
    cluster.set_weather(weather);
    let server = cluster.server();
    let owner = cluster.client(server);
    let other = cluster.client(server);
    ready(&mut cluster, owner);
    ready(&mut cluster, other);
    let own = [0.0, 1.0, 2.0, 3.0].map(|x| {
        let bundle = (Replicated, Place(x, 0.0, 0.0));
        cluster.world(owner).spawn(bundle).id()
    });
    for (n, above) in ABOVE.iter().enumerate() {
        if let Some(above) = above {
            let mut entity = cluster.world(owner).entity_mut(own[n]);
            entity.insert(ChildOf(own[*above]));
        }
    }
    let names = own.map(|entity| name(&mut cluster, owner, entity));
    Tree {
        cluster,
        server,
        owner,
        other,
        own,
        names,
    }
}

impl Tree {
    /// Runs until the owner was lent all of it and the others see it; in all worlds each is under
    /// the one that it hangs on.
    fn moves_whole(&mut self) {
        let (owner, own) = (self.owner, self.own);
        self.cluster
            .run_until("all of it migrated", 300, |cluster| {
                is_lent(cluster, owner, &own)
            });
        for name in self.names {
            wait_for(&mut self.cluster, self.other, name);
        }
        self.cluster.run(60);
        for app in [self.server, self.owner, self.other] {
            assert!(is_whole(&mut self.cluster, app, &self.names));
        }
    }
}

/// Whether an app shows all of it, each under the one that it hangs on.
fn is_whole(cluster: &mut Cluster, app: AppId, names: &[GlobalEntity; 4]) -> bool {
    let here = names.map(|name| find(cluster, app, name));
    ABOVE.iter().enumerate().all(|(n, above)| {
        let Some(entity) = here[n] else { return false };
        let parent = get::<ChildOf>(cluster, app, entity).map(|above| above.parent());
        parent == above.and_then(|above| here[above])
    })
}

fn is_lent(cluster: &mut Cluster, owner: AppId, own: &[Entity]) -> bool {
    own.iter()
        .all(|&entity| view(cluster, owner, entity) == Some(AuthorityView::Granted))
}

#[test]
fn a_tree_whose_root_is_delegated_moves_whole() {
    for weather in weathers() {
        let mut t = tree(weather);
        command(&mut t.cluster, t.owner, t.own[0], |e| {
            e.delegate();
        });
        t.moves_whole();
        let told = heard(&mut t.cluster, t.owner);
        assert_eq!(told.len(), 4, "{told:?}");
        // It is written and changed as before.
        move_to(&mut t.cluster, t.owner, t.own[3], 9.0);
        let mut leaf = t.cluster.world(t.owner).entity_mut(t.own[3]);
        leaf.insert(ChildOf(t.own[2]));
        let there = find(&mut t.cluster, t.other, t.names[3]).expect("seen");
        let above = find(&mut t.cluster, t.other, t.names[2]).expect("seen");
        wait_at(&mut t.cluster, t.other, there, 9.0);
        let parent = get::<ChildOf>(&mut t.cluster, t.other, there);
        assert_eq!(parent.map(|parent| parent.parent()), Some(above));
    }
}

#[test]
fn a_tree_whose_root_the_server_takes_over_moves_whole() {
    for weather in weathers() {
        let mut t = tree(weather);
        for name in t.names {
            wait_for(&mut t.cluster, t.server, name);
        }
        t.cluster.run(60);
        let root = find(&mut t.cluster, t.server, t.names[0]).expect("it came");
        command(&mut t.cluster, t.server, root, |e| {
            e.delegate();
        });
        t.moves_whole();
    }
}

#[test]
fn what_another_hosts_stays_with_its_host_when_its_parent_moves() {
    let mut t = tree((1, Weather::near()));
    let bundle = (Replicated, Place(8.0, 0.0, 0.0));
    let servers = t.cluster.world(t.server).spawn(bundle).id();
    let servers = name(&mut t.cluster, t.server, servers);
    let seen = wait_for(&mut t.cluster, t.owner, servers);
    t.cluster
        .world(t.owner)
        .entity_mut(seen)
        .insert(ChildOf(t.own[0]));
    command(&mut t.cluster, t.owner, t.own[0], |e| {
        e.delegate();
    });
    t.cluster.run(60);
    assert!(is_lent(&mut t.cluster, t.owner, &t.own));
    let told = heard(&mut t.cluster, t.owner);
    let own = |event: &Event| matches!(event, Event::Granted(entity) if t.own.contains(entity));
    assert!(told.iter().all(own), "{told:?}");
    assert!(get::<Remote>(&mut t.cluster, t.owner, seen).is_some());
}

#[test]
fn two_that_hang_on_each_other_are_delegated_once_each() {
    let (mut cluster, [server, client]) = pair(6, Weather::lossy(0.1), setup);
    let own = [0.0, 1.0].map(|x| {
        let bundle = (Replicated, Place(x, 0.0, 0.0));
        cluster.world(client).spawn(bundle).id()
    });
    for (child, parent) in [(own[0], own[1]), (own[1], own[0])] {
        let mut child = cluster.world(client).entity_mut(child);
        child.insert(ChildOf(parent));
    }
    let names = own.map(|entity| name(&mut cluster, client, entity));
    let there = names.map(|name| wait_for(&mut cluster, server, name));
    cluster.run(60);
    // Nobody goes round in a circle because a client says so.
    let hanging = there.map(|entity| get::<ChildOf>(&mut cluster, server, entity).is_some());
    assert_eq!(hanging.iter().filter(|hangs| **hangs).count(), 1);
    command(&mut cluster, client, own[0], |e| {
        e.delegate();
    });
    cluster.run_until("both migrated", 300, |cluster| {
        is_lent(cluster, client, &own)
    });
}

#[test]
fn a_reference_to_what_is_not_there_yet_resolves_when_it_comes() {
    let (mut cluster, [server, client], wire) = on_a_wire(setup);
    let other = cluster.client(server);
    ready(&mut cluster, other);
    // What is large goes another way, and waits on it.
    wire.decide(|parcel| match parcel.channel {
        Some(Channel::Bulk) => Fate::Hold,
        _ => Fate::Pass,
    });
    let large = Label("m".repeat(6000));
    let aim = cluster.world(client).spawn((Replicated, large)).id();
    let bundle = (Replicated, Place(1.0, 0.0, 0.0), Target(aim));
    let archer = cluster.world(client).spawn(bundle).id();
    let names = [archer, aim].map(|entity| name(&mut cluster, client, entity));
    let there = wait_for(&mut cluster, server, names[0]);
    command(&mut cluster, client, archer, |e| {
        e.delegate();
    });
    cluster.run(30);
    assert!(cluster.world(server).get::<Hosted>(there).is_some());
    assert_eq!(find(&mut cluster, server, names[1]), None);
    let reserved = get::<Target>(&mut cluster, server, there).expect("it aims");
    let late = wire.kept();
    assert_eq!(late.len(), 1);
    wire.pass();
    late.into_iter().for_each(|parcel| wire.put(parcel));
    let came = wait_for(&mut cluster, server, names[1]);
    assert_eq!(reserved, Target(came), "the same entity");
    // The third sees the archer now, and what it aims at when that is delegated.
    let seen = wait_for(&mut cluster, other, names[0]);
    command(&mut cluster, client, aim, |e| {
        e.delegate();
    });
    let seen_aim = wait_for(&mut cluster, other, names[1]);
    cluster.run(30);
    assert_eq!(
        get::<Target>(&mut cluster, other, seen),
        Some(Target(seen_aim))
    );
    assert_eq!(
        get::<Target>(&mut cluster, client, archer),
        Some(Target(aim))
    );
}
