//! How far a client's word reaches: not to what others will name, not to what it does not see, not
//! beyond its bounds, and not into circles.

mod common;

use std::time::Duration;

use bevy::prelude::*;
use common::{
    Place,
    authority::{lending, move_to, view, wait_at},
    command, find, get,
    hostile::{encoded, scene},
    me, name, pair, ready, wait_for,
};
use seamless_authority::{
    AuthorityCommandsExt, AuthorityPolicy, AuthorityView, Delegated, OwnerLeft,
};
use seamless_replication::{
    ControlReceived, Hosted, NetClock, NetSlot, Peers, ReplicateAppExt, Replicated,
    ReplicationConfig,
    wire::control::{AuthorityAnswer, Control, DenyReason},
    wire::{Allocator, GlobalEntity, RequestId, Tenure},
};
use seamless_testkit::{AppId, Cluster, Rng, Weather};
use serde::{Deserialize, Deserializer, Serialize, de::Error};

#[test]
fn names_that_were_lent_to_who_may_come_back_are_nobody_elses_to_give() {
    let mut scene = scene(7);
    let server = scene.server;
    let mut config = scene
        .cluster
        .world(server)
        .resource_mut::<ReplicationConfig>();
    config.resume_grace = Duration::from_secs(60);
    let honest = scene.cluster.client(server);
    ready(&mut scene.cluster, honest);
    let place = scene.component("common::Place");
    let first = scene.cluster.world(honest).spawn(Replicated).id();
    let its_name = name(&mut scene.cluster, honest, first);
    let id = me(&mut scene.cluster, honest);
    scene.cluster.kill(honest);
    scene.cluster.run_until("it may come back", 900, |cluster| {
        let mut peers = cluster.world(server).resource_mut::<Peers>();
        peers.suspended_mut(id).is_some()
    });
    let mut forger = scene.possess();
    let value = encoded(&Place(666.0, 0.0, 0.0));
    let next = GlobalEntity::from_bits(its_name.to_bits() + 1).expect("legal");
    let tenure = Tenure::default();
    let bytes = forger.record(Allocator::Local, (1000, 0), next, tenure, (place, &value));
    scene.send(bytes);
    assert_eq!(find(&mut scene.cluster, server, next), None);
    assert_eq!(scene.counted().refused.fenced, 1);
}

#[test]
fn names_that_another_client_was_lent_are_its_own_to_give() {
    let mut scene = scene(1);
    let (server, honest) = (scene.server, scene.honest);
    let place = scene.component("common::Place");
    let first = scene
        .cluster
        .world(honest)
        .spawn((Replicated, Place::default()));
    let first = first.id();
    let its_name = name(&mut scene.cluster, honest, first);
    scene.cluster.run(20);
    let mut forger = scene.possess();
    let value = encoded(&Place(666.0, 0.0, 0.0));
    for n in 1..10 {
        let next = GlobalEntity::from_bits(its_name.to_bits() + n).expect("legal");
        let id = (1000 + n as u32, 0);
        let bytes = forger.record(
            Allocator::Local,
            id,
            next,
            Tenure::default(),
            (place, &value),
        );
        scene.send(bytes);
        assert_eq!(find(&mut scene.cluster, server, next), None);
    }
    for n in 1..10 {
        let bundle = (Replicated, Place(n as f32, 0.0, 0.0));
        let own = scene.cluster.world(honest).spawn(bundle).id();
        let its_name = name(&mut scene.cluster, honest, own);
        let there = wait_for(&mut scene.cluster, server, its_name);
        wait_at(&mut scene.cluster, server, there, n as f32);
    }
}

/// Decodes if it is even.
#[derive(Component, TypePath, Serialize, Clone, Copy)]
struct Part<const N: usize>(u8);

impl<'de, const N: usize> Deserialize<'de> for Part<N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match u8::deserialize(deserializer)? {
            even if even % 2 == 0 => Ok(Self(even)),
            _ => Err(D::Error::custom("not an even number")),
        }
    }
}

#[test]
fn what_does_not_decode_gives_entities_no_end_of_sets_of_components() {
    let (mut cluster, [server, client]) = pair(2, Weather::near(), |app| {
        lending(app);
        app.replicate::<Part<0>>();
        app.replicate::<Part<1>>();
        app.replicate::<Part<2>>();
        app.replicate::<Part<3>>();
        app.replicate::<Part<4>>();
        app.replicate::<Part<5>>();
        app.replicate::<Part<6>>();
        app.replicate::<Part<7>>();
        app.replicate::<Part<8>>();
        app.replicate::<Part<9>>();
    });
    let archetypes = |cluster: &mut Cluster| cluster.world(server).archetypes().len();
    let before = archetypes(&mut cluster);
    let bit = |subset: u32, n: u32| (subset >> n & 1) as u8;
    for subset in 0..1024 {
        let world = cluster.world(client);
        let mut entity = world.spawn((Replicated, Place::default()));
        entity.insert((
            Part::<0>(bit(subset, 0)),
            Part::<1>(bit(subset, 1)),
            Part::<2>(bit(subset, 2)),
            Part::<3>(bit(subset, 3)),
            Part::<4>(bit(subset, 4)),
            Part::<5>(bit(subset, 5)),
            Part::<6>(bit(subset, 6)),
            Part::<7>(bit(subset, 7)),
            Part::<8>(bit(subset, 8)),
            Part::<9>(bit(subset, 9)),
        ));
        let own = entity.id();
        cluster.run(3);
        cluster.world(client).despawn(own);
    }
    cluster.run(30);
    let more = archetypes(&mut cluster) - before;
    assert!((400..550).contains(&more), "{more} more archetypes");
    assert!(cluster.is_ready(client));
    // Whoever comes next has room of its own.
    let other = cluster.client(server);
    ready(&mut cluster, other);
    let bundle = (Replicated, Place(3.0, 0.0, 0.0), Part::<3>(2));
    let own = cluster.world(other).spawn(bundle).id();
    let its_name = name(&mut cluster, other, own);
    let there = wait_for(&mut cluster, server, its_name);
    wait_at(&mut cluster, server, there, 3.0);
}

/// What was answered, and how many ticks later.
#[derive(Resource, Default)]
struct Answers(Vec<(Control, u32)>);

fn listen(
    mut controls: MessageReader<ControlReceived>,
    clock: Res<NetClock>,
    mut answers: ResMut<Answers>,
) {
    let now = clock.tick().0;
    answers
        .0
        .extend(controls.read().map(|it| (it.control.clone(), now)));
}

/// What a client is answered to all that it may wish of a name.
fn answers_about(
    cluster: &mut Cluster,
    client: AppId,
    entity: GlobalEntity,
) -> Vec<(&'static str, Option<DenyReason>, bool)> {
    let wishes = [
        Control::AuthorityRequest {
            request: RequestId(9000),
            entity,
        },
        Control::Delegate { entity },
        Control::Publish {
            entity,
            public: true,
        },
    ];
    let mut all = Vec::new();
    for wish in wishes {
        cluster.world(client).resource_mut::<Answers>().0.clear();
        let asked = cluster.world(client).resource::<NetClock>().tick().0;
        let mut peers = cluster.world(client).resource_mut::<Peers>();
        let peer = peers.iter_mut().next().expect("a link");
        peer.send_control(&wish).expect("there is room");
        cluster.run(120);
        let answers = std::mem::take(&mut cluster.world(client).resource_mut::<Answers>().0);
        all.extend(answers.into_iter().filter_map(|(answer, at)| {
            let late = at - asked > 30;
            match answer {
                Control::AuthorityAnswer { answer, .. } => match answer {
                    AuthorityAnswer::Denied(reason) => Some(("request", Some(reason), late)),
                    AuthorityAnswer::Granted(_) => Some(("request", None, late)),
                },
                Control::DelegateRefused { reason, .. } => Some(("delegate", Some(reason), late)),
                Control::Published { refused, .. } => Some(("publish", refused, late)),
                _ => None,
            }
        }));
    }
    all
}

#[test]
fn what_a_client_does_not_see_is_answered_as_if_it_were_not() {
    let (mut cluster, [server, client]) = pair(3, Weather::near(), |app| {
        lending(app);
        app.init_resource::<Answers>().add_systems(Update, listen);
    });
    let other = cluster.client(server);
    ready(&mut cluster, other);
    let bundle = || (Replicated, Place::default());
    let lendable = (bundle(), Delegated);
    let lendable = cluster.world(server).spawn(lendable).id();
    let plain = cluster.world(server).spawn(bundle()).id();
    let private = cluster.world(other).spawn(bundle()).id();
    let names = [
        name(&mut cluster, server, lendable),
        name(&mut cluster, server, plain),
        name(&mut cluster, other, private),
    ];
    cluster.run(30);
    let id = me(&mut cluster, client);
    for entity in [lendable, plain] {
        let world = cluster.world(server);
        let slot = *world.get::<NetSlot>(entity).expect("on the network");
        let mut peers = world.resource_mut::<Peers>();
        let peer = peers.by_id_mut(id).expect("it is linked");
        peer.interest_mut().except(&slot, Some(false));
    }
    cluster.run(60);
    let unknown = GlobalEntity::new(40, 40).expect("legal");
    let expected = answers_about(&mut cluster, client, unknown);
    assert_eq!(expected.len(), 3, "{expected:?}");
    for name in names {
        assert!(find(&mut cluster, server, name).is_some(), "it is there");
        assert_eq!(find(&mut cluster, client, name), None, "and not seen");
        assert_eq!(answers_about(&mut cluster, client, name), expected);
    }
}

#[test]
fn what_a_client_had_in_private_is_not_shown_because_another_claimed_it() {
    let mut scene = scene(4);
    let (server, honest, hostile) = (scene.server, scene.honest, scene.hostile);
    let mut policy = scene
        .cluster
        .world(server)
        .resource_mut::<AuthorityPolicy>();
    policy.owner_left = OwnerLeft::Adopt;
    let bundle = (Replicated, Place(7.0, 0.0, 0.0));
    let own = scene.cluster.world(honest).spawn(bundle).id();
    let its_name = name(&mut scene.cluster, honest, own);
    wait_for(&mut scene.cluster, server, its_name);
    let place = scene.component("common::Place");
    let mut forger = scene.possess();
    let value = encoded(&Place(666.0, 0.0, 0.0));
    for n in 0..3 {
        let id = (1000 + n, 0);
        let tenure = Tenure::default();
        let bytes = forger.record(Allocator::Local, id, its_name, tenure, (place, &value));
        scene.send(bytes);
    }
    scene.cluster.kill(honest);
    // Its own app speaks again, so that its link stays.
    scene.wire.pass();
    for _ in 0..400 {
        scene.cluster.step();
        assert_eq!(find(&mut scene.cluster, hostile, its_name), None);
        if let Some(there) = find(&mut scene.cluster, server, its_name) {
            assert!(get::<Hosted>(&mut scene.cluster, server, there).is_none());
        }
    }
    assert_eq!(find(&mut scene.cluster, server, its_name), None);
}

#[test]
fn what_hangs_on_itself_or_on_a_very_long_chain_hangs_on_nothing() {
    const LONG: usize = 300;
    let (mut cluster, [server, client]) = pair(5, Weather::near(), |app| {
        lending(app);
        let _ = app.replicate_with_entities::<ChildOf>();
        app.insert_resource(Time::<Virtual>::default());
    });
    let mut config = cluster.world(server).resource_mut::<ReplicationConfig>();
    config.client_entities = 1000;
    let spawn = |cluster: &mut Cluster| {
        let bundle = (Replicated, Place::default());
        cluster.world(client).spawn(bundle).id()
    };
    let ring: Vec<Entity> = (0..3).map(|_| spawn(&mut cluster)).collect();
    for (at, &child) in ring.iter().enumerate() {
        let parent = ring[(at + 1) % ring.len()];
        cluster
            .world(client)
            .entity_mut(child)
            .insert(ChildOf(parent));
    }
    let chain: Vec<Entity> = (0..LONG).map(|_| spawn(&mut cluster)).collect();
    for pair in chain.windows(2) {
        cluster
            .world(client)
            .entity_mut(pair[1])
            .insert(ChildOf(pair[0]));
    }
    cluster.run(90);
    let names: Vec<GlobalEntity> = ring
        .iter()
        .chain(&chain)
        .map(|&entity| name(&mut cluster, client, entity))
        .collect();
    let there: Vec<Entity> = names
        .iter()
        .map(|&name| wait_for(&mut cluster, server, name))
        .collect();
    cluster.run(30);
    let world = cluster.world(server);
    let mut related = 0;
    for &entity in &there {
        let (mut above, mut steps) = (entity, 0);
        while let Some(parent) = world.get::<ChildOf>(above) {
            above = parent.parent();
            steps += 1;
            assert!(steps <= LONG, "it ends");
        }
        related += usize::from(steps > 0);
    }
    assert!(related > LONG / 2, "{related} hang on something");
    let circle = there[..ring.len()]
        .iter()
        .filter(|it| world.get::<ChildOf>(**it).is_some());
    assert_eq!(circle.count(), ring.len() - 1);
}

#[test]
fn what_comes_and_goes_makes_no_end_of_lists_of_what_goes() {
    let (mut cluster, [server, client]) = pair(8, Weather::clear(), |app| {
        lending(app);
        app.replicate::<Part<0>>();
        app.replicate::<Part<1>>();
        app.replicate::<Part<2>>();
        app.replicate::<Part<3>>();
        app.replicate::<Part<4>>();
        app.replicate::<Part<5>>();
        app.replicate::<Part<6>>();
        app.replicate::<Part<7>>();
        app.replicate::<Part<8>>();
        app.replicate::<Part<9>>();
    });
    let bundles = |cluster: &mut Cluster| cluster.world(server).bundles().len();
    let own = cluster.world(client).spawn((Replicated, Place::default()));
    let own = own.id();
    cluster.run(30);
    let before = bundles(&mut cluster);
    // From each of some sets to each other: few sets, and as many lists of what goes and comes as there
    // are pairs.
    let mut rng = Rng::new(8);
    let sets: Vec<u64> = (0..100).map(|_| rng.next() % 1024).collect();
    for _ in 0..4000 {
        let set = *rng.pick(&sets).expect("some");
        let world = cluster.world(client);
        let mut own = world.entity_mut(own);
        own.remove::<(Part<0>, Part<1>, Part<2>, Part<3>, Part<4>)>()
            .remove::<(Part<5>, Part<6>, Part<7>, Part<8>, Part<9>)>();
        for n in (0..10).filter(|n| set >> n & 1 == 1) {
            match n {
                0 => own.insert(Part::<0>(0)),
                1 => own.insert(Part::<1>(0)),
                2 => own.insert(Part::<2>(0)),
                3 => own.insert(Part::<3>(0)),
                4 => own.insert(Part::<4>(0)),
                5 => own.insert(Part::<5>(0)),
                6 => own.insert(Part::<6>(0)),
                7 => own.insert(Part::<7>(0)),
                8 => own.insert(Part::<8>(0)),
                _ => own.insert(Part::<9>(0)),
            };
        }
        cluster.run(2);
    }
    let more = bundles(&mut cluster) - before;
    assert!((200..550).contains(&more), "{more} more bundles");
}

#[test]
fn what_is_despawned_as_soon_as_it_is_taken_over_counts_for_nothing() {
    let (mut cluster, [server, client]) = pair(9, Weather::near(), lending);
    let mut policy = cluster.world(server).resource_mut::<AuthorityPolicy>();
    policy.adopted_per_client = 3;
    let doomed = |event: On<Add, Hosted>, places: Query<&Place>, mut commands: Commands| {
        let place = places.get(event.entity);
        if place.is_ok_and(|place| place.0 == 13.0) {
            commands.entity(event.entity).despawn();
        }
    };
    cluster.world(server).add_observer(doomed);
    for _ in 0..5 {
        let bundle = (Replicated, Place(13.0, 0.0, 0.0));
        let own = cluster.world(client).spawn(bundle).id();
        cluster.run(20);
        command(&mut cluster, client, own, |e| {
            e.delegate();
        });
        cluster.run_until("it is gone", 300, |cluster| {
            cluster.world(client).get_entity(own).is_err()
        });
    }
    let bundle = (Replicated, Place(1.0, 0.0, 0.0));
    let own = cluster.world(client).spawn(bundle).id();
    cluster.run(20);
    command(&mut cluster, client, own, |e| {
        e.delegate();
    });
    cluster.run_until("it is lent", 300, |cluster| {
        view(cluster, client, own) == Some(AuthorityView::Granted)
    });
}

#[test]
fn a_client_has_no_more_taken_over_than_it_may_and_can_again_when_they_are_gone() {
    let (mut cluster, [server, client]) = pair(6, Weather::near(), lending);
    let mut policy = cluster.world(server).resource_mut::<AuthorityPolicy>();
    policy.adopted_per_client = 5;
    let give = |cluster: &mut Cluster, count| -> Vec<Entity> {
        let own: Vec<Entity> = (0..count)
            .map(|_| {
                let bundle = (Replicated, Place::default());
                cluster.world(client).spawn(bundle).id()
            })
            .collect();
        cluster.run(30);
        for &own in &own {
            command(cluster, client, own, |e| {
                e.delegate();
            });
        }
        cluster.run(60);
        let lent = |own: &Entity| view(cluster, client, *own) == Some(AuthorityView::Granted);
        own.into_iter().filter(lent).collect()
    };
    let taken = give(&mut cluster, 8);
    assert_eq!(taken.len(), 5);
    let names: Vec<_> = taken
        .iter()
        .map(|&own| name(&mut cluster, client, own))
        .collect();
    for name in &names[..2] {
        let there = find(&mut cluster, server, *name).expect("it is there");
        assert!(get::<Hosted>(&mut cluster, server, there).is_some());
        cluster.world(server).despawn(there);
    }
    cluster.run(30);
    assert_eq!(give(&mut cluster, 4).len(), 2);
    let there = find(&mut cluster, server, names[3]).expect("it is there");
    move_to(&mut cluster, client, taken[3], 9.0);
    wait_at(&mut cluster, server, there, 9.0);
}
