//! Observers of a game that despawn what has just come or changes its host, or take it off the
//! network: nobody panics, and nothing is left half done.

mod common;

use bevy::prelude::*;
use common::{
    Label, Place,
    authority::{grab, heard, holder, lending, own_on_a_wire, view, weathers},
    command, find, name, on_a_wire,
    own::own,
    ready, spawn_on, wait_for,
};
use seamless_authority::{
    AuthorityCommandsExt, AuthorityPolicy, AuthorityView, Delegated, OwnerLeft, Published,
};
use seamless_replication::{
    Authority, ControlReceived, Hosted, NetSlot, Registry, Remote, Replicated, ReplicationConfig,
    Slots,
    snapshot::{stage, take_snapshot},
    wire::{
        GlobalEntity, Holder,
        control::{Control, DenyReason},
    },
};
use seamless_testkit::{AppId, Cluster, Fate, Way, Weather};

const A_WHILE: usize = 200;

/// Despawns whatever gets, loses or changes this.
fn despawn_at<E: EntityEvent, C: Component>(event: On<E, C>, mut commands: Commands) {
    commands.entity(event.event_target()).despawn();
}

/// What an app was told that it may not write.
#[derive(Resource, Default)]
struct Refused(Vec<GlobalEntity>);

fn note_refusals(mut items: MessageReader<ControlReceived>, mut refused: ResMut<Refused>) {
    for item in items.read() {
        if let Control::WriteRefused { entity, .. } = item.control {
            refused.0.push(entity);
        }
    }
}

/// How many entities there are that others host, and that this app hosts.
fn census(cluster: &mut Cluster, app: AppId) -> (usize, usize) {
    cluster.world(app).resource::<Slots>().census()
}

#[test]
fn what_a_server_turns_away_as_it_comes_is_not_there_and_its_client_is_told_once() {
    let (mut cluster, [server, client], _) = on_a_wire(|app| {
        lending(app);
        app.init_resource::<Refused>()
            .add_systems(Update, note_refusals);
    });
    let world = cluster.world(server);
    world.add_observer(despawn_at::<Add, Remote>);
    let bundle = (Replicated, Place(1.0, 0.0, 0.0), Label("mine".into()));
    let own = cluster.world(client).spawn(bundle).id();
    let turned_away = name(&mut cluster, client, own);
    for n in 0..A_WHILE {
        // Told again and again, it is turned away again and again.
        let mut place = cluster.world(client).get_mut::<Place>(own).expect("here");
        place.1 = n as f32;
        cluster.step();
        assert_eq!(census(&mut cluster, server), (0, 0));
    }
    assert!(cluster.is_ready(client));
    let mut left = cluster.world(server).query::<&Place>();
    assert_eq!(left.iter(cluster.world(server)).count(), 0);
    let refused = &cluster.world(client).resource::<Refused>().0;
    assert_eq!(*refused, [turned_away]);
    // What is spawned next is itself, and not what was turned away.
    let place = Place(5.0, 0.0, 0.0);
    let next = cluster.world(server).spawn((Replicated, place)).id();
    let next = name(&mut cluster, server, next);
    let there = wait_for(&mut cluster, client, next);
    assert!(cluster.world(client).get::<Remote>(there).is_some());
}

#[test]
fn what_a_client_turns_away_as_it_comes_is_not_there() {
    let (mut cluster, [server, client], _) = on_a_wire(lending);
    let world = cluster.world(client);
    world.add_observer(despawn_at::<Add, Remote>);
    let bundle = (Replicated, Delegated, Place(1.0, 0.0, 0.0));
    let entity = cluster.world(server).spawn(bundle).id();
    for n in 0..A_WHILE {
        let mut place = cluster
            .world(server)
            .get_mut::<Place>(entity)
            .expect("here");
        place.1 = n as f32;
        cluster.step();
        assert_eq!(census(&mut cluster, client), (0, 0));
    }
    assert!(cluster.is_ready(client));
}

/// What was there of each entity when it became a remote one.
#[derive(Resource, Default)]
struct Arrived(Vec<(bool, bool, bool)>);

#[test]
fn what_a_server_tells_of_comes_with_all_it_has() {
    let (mut cluster, [server, client], _) = on_a_wire(lending);
    let world = cluster.world(client);
    world.init_resource::<Arrived>();
    world.add_observer(
        |event: On<Add, Remote>,
         entities: Query<(Has<Place>, Has<Label>, Has<Authority>)>,
         mut arrived: ResMut<Arrived>| {
            let there = entities.get(event.entity);
            arrived.0.push(there.unwrap_or_default());
        },
    );
    let place = || Place(1.0, 0.0, 0.0);
    let world = cluster.world(server);
    world.spawn((Replicated, place(), Label("free".into())));
    world.spawn((Replicated, Delegated, place(), Label("to be lent".into())));
    world.spawn((Replicated, place()));
    cluster.run(A_WHILE);
    let mut arrived = cluster.world(client).resource::<Arrived>().0.clone();
    arrived.sort_unstable();
    let (lone, free, lent) = (
        (true, false, false),
        (true, true, false),
        (true, true, true),
    );
    assert_eq!(arrived, [lone, free, lent]);
}

/// Names of entities that come together, and what becomes of the others as soon as the first has come.
#[derive(Resource)]
struct Together {
    names: Vec<GlobalEntity>,
    fate: fn(&mut EntityCommands),
    met: Vec<Entity>,
}

fn meet_the_others(
    event: On<Add, Remote>,
    mut together: ResMut<Together>,
    slots: Res<Slots>,
    mut commands: Commands,
) {
    let all = std::mem::take(&mut together.names);
    let others = all.into_iter().filter_map(|name| slots.entity(name));
    for other in others.filter(|other| *other != event.entity) {
        (together.fate)(&mut commands.entity(other));
        together.met.push(other);
    }
}

/// Tells a client of entities that come together, whose observer meets all but the first before they
/// have their components.
fn meet(
    count: usize,
    fate: fn(&mut EntityCommands),
) -> (Cluster, [AppId; 2], Vec<(Entity, GlobalEntity)>) {
    let (mut cluster, [server, client], _) = on_a_wire(lending);
    let all: Vec<(Entity, GlobalEntity)> = (0..count)
        .map(|n| {
            let bundle = (Replicated, Place(n as f32, 0.0, 0.0));
            let entity = cluster.world(server).spawn(bundle).id();
            (entity, name(&mut cluster, server, entity))
        })
        .collect();
    let world = cluster.world(client);
    world.insert_resource(Together {
        names: all.iter().map(|(_, name)| *name).collect(),
        fate,
        met: Vec::new(),
    });
    world.add_observer(meet_the_others);
    cluster.run_until("they have come", A_WHILE, |cluster| {
        !cluster.world(client).resource::<Together>().met.is_empty()
    });
    let met = cluster.world(client).resource::<Together>().met.len();
    assert_eq!(met, count - 1);
    (cluster, [server, client], all)
}

#[test]
fn what_is_despawned_before_it_has_its_components_is_not_there_until_it_is_told_of_again() {
    const COUNT: usize = 10;
    let (mut cluster, [server, client], all) = meet(COUNT, |entity| entity.despawn());
    assert_eq!(census(&mut cluster, client), (0, 1));
    for (entity, _) in &all {
        let mut place = cluster.world(server).get_mut::<Place>(*entity);
        place.as_mut().expect("here").1 = 1.0;
    }
    cluster.run(A_WHILE);
    assert_eq!(census(&mut cluster, client), (0, COUNT));
    for (n, (_, name)) in all.into_iter().enumerate() {
        let there = find(&mut cluster, client, name).expect("it is told of");
        let place = cluster.world(client).get::<Place>(there);
        assert_eq!(place, Some(&Place(n as f32, 1.0, 0.0)));
    }
}

#[test]
fn what_a_client_publishes_before_it_has_its_components_is_its_own_and_nothing_is_left_of_it() {
    const COUNT: usize = 10;
    let (mut cluster, [server, client], _) = meet(COUNT, |entity| {
        entity.insert(Replicated);
    });
    assert_eq!(census(&mut cluster, client), (COUNT - 1, 1));
    cluster.run(A_WHILE);
    assert_eq!(census(&mut cluster, server), (COUNT, COUNT - 1));
    // What the server told of is there beside them.
    assert_eq!(census(&mut cluster, client), (COUNT - 1, COUNT));
    let met = std::mem::take(&mut cluster.world(client).resource_mut::<Together>().met);
    for own in met {
        cluster.world(client).despawn(own);
    }
    cluster.run(A_WHILE);
    assert_eq!(census(&mut cluster, client), (0, COUNT));
    assert_eq!(census(&mut cluster, server), (COUNT, 0));
}

/// A client that keeps what arrives as an entity of its own, once.
fn keep(event: On<Add, Remote>, mut commands: Commands, mut kept: Local<bool>) {
    if !std::mem::replace(&mut kept, true) {
        let mut entity = commands.entity(event.entity);
        entity.remove::<(NetSlot, Remote)>().insert(Replicated);
    }
}

#[test]
fn what_a_client_makes_its_own_as_it_comes_is_not_written_by_the_server() {
    let (mut cluster, [server, client], _) = on_a_wire(lending);
    // It has names of its own by then.
    cluster.run(A_WHILE);
    cluster.world(client).add_observer(keep);
    let theirs = cluster
        .world(server)
        .spawn((Replicated, Place(1.0, 0.0, 0.0)));
    let theirs = theirs.id();
    cluster.run(10);
    let world = cluster.world(client);
    let mut ours = world.query_filtered::<Entity, With<Hosted>>();
    let ours = ours.single(world).expect("one");
    for n in 0..A_WHILE {
        let mut place = cluster
            .world(server)
            .get_mut::<Place>(theirs)
            .expect("here");
        place.1 = n as f32;
        cluster.step();
    }
    let place = cluster.world(client).get::<Place>(ours).cloned();
    assert_eq!(place, Some(Place(1.0, 0.0, 0.0)));
}

#[test]
fn what_is_despawned_as_the_server_takes_it_over_is_gone_everywhere() {
    let (mut cluster, [server, client], _, [own, _]) = own_on_a_wire();
    let world = cluster.world(server);
    world.add_observer(despawn_at::<Remove, Remote>);
    command(&mut cluster, client, own, |e| {
        e.delegate();
    });
    cluster.run(A_WHILE);
    assert_eq!(census(&mut cluster, server), (0, 0));
    assert_eq!(census(&mut cluster, client), (0, 0));
    assert!(cluster.world(client).get_entity(own).is_err());
}

#[test]
fn what_is_taken_off_the_network_as_the_server_takes_it_over_is_gone_at_its_client() {
    for weather in weathers() {
        let mut t = own(weather);
        t.cluster
            .world(t.server)
            .add_observer(|event: On<Add, Hosted>, mut commands: Commands| {
                commands.entity(event.entity).remove::<Replicated>();
            });
        t.by_owner(|e| {
            e.delegate();
        });
        t.cluster.run(A_WHILE);
        assert_eq!(census(&mut t.cluster, t.server), (0, 0));
        assert!(t.cluster.world(t.server).get_entity(t.there).is_ok());
        assert!(t.cluster.world(t.owner).get_entity(t.own).is_err());
    }
}

#[test]
fn what_gets_the_slot_of_what_was_taken_off_the_network_is_told_to_its_client() {
    let (mut cluster, [server, client], _, [own, there]) = own_on_a_wire();
    cluster
        .world(server)
        .add_observer(move |event: On<Add, Hosted>, mut commands: Commands| {
            if event.entity == there {
                commands.entity(event.entity).remove::<Replicated>();
                commands.spawn((Replicated, Place(8.0, 0.0, 0.0)));
            }
        });
    command(&mut cluster, client, own, |e| {
        e.delegate();
    });
    cluster.run(A_WHILE);
    assert!(cluster.world(client).get_entity(own).is_err());
    let mut seen = cluster
        .world(client)
        .query_filtered::<&Place, With<Remote>>();
    let seen = seen.single(cluster.world(client)).expect("one");
    assert_eq!(*seen, Place(8.0, 0.0, 0.0));
}

#[test]
fn what_its_client_despawns_as_it_hears_that_the_server_has_it_is_told_anew() {
    let (mut cluster, [server, client], _, [own, there]) = own_on_a_wire();
    let own_name = name(&mut cluster, client, own);
    let world = cluster.world(client);
    world.add_observer(despawn_at::<Remove, Hosted>);
    command(&mut cluster, client, own, |e| {
        e.delegate();
    });
    cluster.run(A_WHILE);
    assert!(cluster.world(client).get_entity(own).is_err());
    assert_eq!(holder(&mut cluster, server, there), Some(Holder::Nobody));
    let anew = wait_for(&mut cluster, client, own_name);
    assert!(cluster.world(client).get::<Remote>(anew).is_some());
    assert_eq!(
        view(&mut cluster, client, anew),
        Some(AuthorityView::Available)
    );
}

#[test]
fn what_goes_with_its_parent_as_the_server_is_lost_is_not_hidden_again() {
    let mut t = own((1, Weather::clear()));
    t.by_owner(|e| {
        e.publish();
    });
    t.until_published(true);
    let (owner, parent) = (t.owner, t.own);
    let child = t
        .cluster
        .world(owner)
        .spawn((Replicated, Place::default(), ChildOf(parent)))
        .id();
    t.cluster.run(20);
    command(&mut t.cluster, owner, child, |e| {
        e.publish();
    });
    t.cluster.run_until("both are public", 300, |cluster| {
        cluster.world(owner).get::<Published>(child).is_some()
    });
    t.cluster
        .world(owner)
        .add_observer(move |_: On<Remove, Published>, mut commands: Commands| {
            commands.entity(parent).try_despawn();
        });
    t.owner_leaves();
    t.cluster.run(A_WHILE);
    let world = t.cluster.world(owner);
    assert!(world.get_entity(parent).is_err());
    assert!(world.get_entity(child).is_err());
    assert_eq!(census(&mut t.cluster, owner), (0, 0));
}

#[test]
fn what_is_despawned_as_the_server_inherits_it_is_gone() {
    let mut t = own((1, Weather::clear()));
    let mut policy = t.cluster.world(t.server).resource_mut::<AuthorityPolicy>();
    policy.owner_left = OwnerLeft::Adopt;
    t.publish();
    t.until_published(true);
    let world = t.cluster.world(t.server);
    world.add_observer(despawn_at::<Add, Hosted>);
    t.owner_leaves();
    t.until_seen(false);
    assert_eq!(find(&mut t.cluster, t.server, t.name), None);
    assert_eq!(census(&mut t.cluster, t.server), (0, 0));
}

#[test]
fn what_is_despawned_as_its_holder_gives_it_back_is_gone_there() {
    let (mut cluster, [server, client], _) = on_a_wire(lending);
    let bundle = (Delegated, Place::default());
    let [_, there] = spawn_on(&mut cluster, [server, client], bundle);
    grab(&mut cluster, client, there);
    let world = cluster.world(client);
    world.add_observer(despawn_at::<Insert, AuthorityView>);
    command(&mut cluster, client, there, |e| {
        e.release_authority();
    });
    cluster.run(A_WHILE);
    assert!(cluster.world(client).get_entity(there).is_err());
}

#[test]
fn what_is_despawned_as_it_is_put_right_after_a_denial_is_gone_and_nothing_is_told_of_it() {
    for still_lendable in [false, true] {
        let (mut cluster, [server, client], _) = on_a_wire(lending);
        let bundle = (Delegated, Place::default(), Label("as it is".into()));
        let [entity, there] = spawn_on(&mut cluster, [server, client], bundle);
        let policy = AuthorityPolicy::new(|_, _, _| Err(DenyReason::Policy));
        cluster.world(server).insert_resource(policy);
        let world = cluster.world(client);
        world.add_observer(despawn_at::<Add, Label>);
        command(&mut cluster, client, there, |e| {
            // In hope of a grant.
            e.request_authority().remove::<Label>();
        });
        if !still_lendable {
            command(&mut cluster, server, entity, |e| {
                e.undelegate();
            });
        }
        cluster.run(20);
        assert!(cluster.world(client).get_entity(there).is_err());
        let heard = heard(&mut cluster, client);
        assert!(heard.is_empty(), "{heard:?}");
    }
}

#[test]
fn what_is_despawned_as_a_snapshot_brings_it_is_not_there_and_the_others_are() {
    let mut old = Cluster::new(1, lending);
    let server = old.server();
    let world = old.world(server);
    let all = [1.0, 2.0, 3.0].map(|x| {
        let bundle = (Replicated, Delegated, Place(x, 0.0, 0.0));
        world.spawn(bundle).id()
    });
    old.run(3);
    let snapshot = take_snapshot(old.world(server), &all).expect("it encodes");
    let unwanted = snapshot.rows[1].entity;

    let mut new = Cluster::new(2, lending);
    let server = new.server();
    let client = new.client(server);
    ready(&mut new, client);
    let world = new.world(server);
    world.add_observer(
        move |event: On<Add, Replicated>, slots: Query<&NetSlot>, mut commands: Commands| {
            let slot = slots.get(event.entity).expect("it comes with it");
            if slot.global() == Some(unwanted) {
                commands.entity(event.entity).despawn();
            }
        },
    );
    let staged = stage(world.resource::<Registry>(), &snapshot).expect("it decodes");
    let loaded = staged.spawn(world, |_, tenure| tenure);
    let there = [0, 1, 2].map(|n| world.get_entity(loaded[n]).is_ok());
    assert_eq!(there, [true, false, true]);
    assert_eq!(world.get(loaded[2]), Some(&Place(3.0, 0.0, 0.0)));
    assert_eq!(census(&mut new, server), (2, 0));
    wait_for(&mut new, client, snapshot.rows[2].entity);
    assert_eq!(find(&mut new, client, unwanted), None);
}

/// The world audit would find what is wrong and heal it.
fn without_audit(app: &mut App) {
    common::register(app);
    let mut config = app.world_mut().resource_mut::<ReplicationConfig>();
    (config.audit_world, config.audit_per_second) = (false, 0);
}

#[test]
fn what_comes_again_in_the_frame_in_which_it_was_despawned_shows_what_was_told_last() {
    let (mut cluster, [server, client], wire) = on_a_wire(without_audit);
    let [entity, there] = spawn_on(&mut cluster, [server, client], Place(1.0, 0.0, 0.0));
    cluster.run(10);
    let name = name(&mut cluster, server, entity);
    // The client's game takes it away as another one comes.
    cluster
        .world(client)
        .add_observer(move |_: On<Add, Label>, mut commands: Commands| {
            if let Ok(mut entity) = commands.get_entity(there) {
                entity.despawn();
            }
        });
    // All of this reaches the client in one frame.
    wire.all(Way::ToClient, Fate::Hold);
    for tick in 1..=5u8 {
        let world = cluster.world(server);
        if let Some(mut place) = world.get_mut::<Place>(entity) {
            place.1 = tick.into();
        }
        if tick == 2 {
            world.spawn((Replicated, Label("other".into())));
        }
        cluster.step();
    }
    wire.pass();
    wire.kept().into_iter().for_each(|parcel| wire.put(parcel));
    cluster.run(20);
    let again = find(&mut cluster, client, name).expect("it is told of");
    assert_ne!(again, there, "it was not despawned meanwhile");
    let shown = cluster.world(client).get(again);
    assert_eq!(shown, Some(&Place(1.0, 5.0, 0.0)));
}
