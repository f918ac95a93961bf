//! What people expect who come from other crates.

mod common;

use bevy::{ecs::entity::MapEntities, prelude::*};
use common::{
    Place,
    authority::{at, grab, lending, move_to},
    counted, find, get, me, name, pair, ready, register, spawn_on, wait_for,
};
use seamless_authority::Delegated;
use seamless_replication::{
    Hosted, NetClock, PeerCaughtUp, PeerJoined, Peers, PrespawnPlugin, Prespawned, Remote,
    ReplicateAppExt, Replicated, ReplicationConfig, Slots,
    interest::{InterestAppExt, View},
    messages::{Delivery, Direction, FromPeer, MessageAppExt, Target, ToPeers},
    transport::{CloseReason, Links},
    wire::{PeerId, Tick},
};
use seamless_testkit::{AppId, Cluster, Weather};
use serde::{Deserialize, Serialize};

#[derive(TypePath, Serialize, Deserialize, MapEntities, Clone, PartialEq, Debug)]
struct Said(String);

/// What was heard, and how many entities with a place were there.
#[derive(Resource, Default)]
struct Heard(Vec<(String, usize)>);

fn talking(app: &mut App) {
    register(app);
    app.net_message::<Said>(Direction::ToClients, Delivery::Reliable)
        .init_resource::<Heard>()
        .add_systems(
            Update,
            |mut came: MessageReader<FromPeer<Said>>,
             all: Query<(), With<Place>>,
             mut heard: ResMut<Heard>| {
                let said = came.read().map(|came| came.message.0.clone());
                heard.0.extend(said.map(|said| (said, all.iter().count())));
            },
        );
}

#[test]
fn a_message_to_who_has_caught_up_is_heard_in_a_whole_world() {
    const MANY: usize = 3000;
    for (seed, loss, is_let_in) in [(1, 0.0, false), (2, 0.1, false), (3, 0.1, true)] {
        let mut cluster = Cluster::new(seed, move |app| {
            talking(app);
            if is_let_in {
                // It sees nothing until the game says what.
                let place = |place: &Place| Vec3::new(place.0, place.1, place.2);
                app.interest_position::<Place>(place);
                app.world_mut()
                    .get_resource_or_init::<ReplicationConfig>()
                    .first_view = View::Nothing;
                app.add_systems(Update, show_all);
            }
            app.add_systems(
                Update,
                |mut caught_up: MessageReader<PeerCaughtUp>,
                 mut say: MessageWriter<ToPeers<Said>>| {
                    for PeerCaughtUp { peer, .. } in caught_up.read() {
                        say.write(ToPeers {
                            to: Target::Peer(*peer),
                            message: Said("ready".into()),
                        });
                    }
                },
            );
        });
        cluster.set_weather(Weather::lossy(loss));
        let server = cluster.server();
        for n in 0..MANY {
            let bundle = (Replicated, Place(n as f32, 0.0, 0.0));
            cluster.world(server).spawn(bundle);
        }
        let client = cluster.client(server);
        // It goes on in the meantime.
        cluster.run_until("the level is ready", 600, |cluster| {
            let bundle = (Replicated, Place::default());
            cluster.world(server).spawn(bundle);
            !cluster.world(client).resource::<Heard>().0.is_empty()
        });
        let [(_, there)] = &cluster.world(client).resource::<Heard>().0[..] else {
            panic!("it is said once")
        };
        assert!(*there >= MANY, "{there} of {MANY}");
        // An empty world is whole.
        let early = cluster.server();
        let late = cluster.client(early);
        cluster.run_until("the other level is ready", 60, |cluster| {
            !cluster.world(late).resource::<Heard>().0.is_empty()
        });
    }
}

fn show_all(mut joined: MessageReader<PeerJoined>, mut peers: ResMut<Peers>) {
    for PeerJoined { peer, .. } in joined.read() {
        // A client hears of its server, too, which is under no name.
        if let Some(peer) = peers.by_id_mut(*peer) {
            peer.interest_mut().set_view(View::Everything);
        }
    }
}

/// Sends a client away, and waits until it is.
fn dismiss(cluster: &mut Cluster, server: AppId, id: PeerId) {
    let mut peers = cluster.world(server).resource_mut::<Peers>();
    peers.by_id_mut(id).expect("it is linked").dismiss();
    cluster.run_until("it is gone", 300, |cluster| {
        let peers = cluster.world(server).resource::<Peers>();
        peers.by_id(id).is_none()
    });
    cluster.run(150);
}

#[test]
fn who_is_dismissed_hears_why_after_all_that_was_said_before() {
    for loss in [0.0, 0.02, 0.1] {
        let (mut cluster, [server, client]) = pair(13, Weather::lossy(loss), talking);
        let id = me(&mut cluster, client);
        let long = (0..12).map(|n| n.to_string().repeat(50_000 / (1 + n / 10)));
        for text in long.chain(["you cheat".into()]) {
            cluster.world(server).write_message(ToPeers {
                to: Target::Peer(id),
                message: Said(text),
            });
        }
        dismiss(&mut cluster, server, id);
        let heard = &cluster.world(client).resource::<Heard>().0;
        assert_eq!(heard.len(), 13, "loss {loss}");
        assert_eq!(heard[12].0, "you cheat");
    }
}

#[test]
fn who_is_dismissed_hears_why() {
    for (seed, loss) in [(3, 0.0), (4, 0.2)] {
        let (mut cluster, [server, client]) = pair(seed, Weather::lossy(loss), talking);
        let id = me(&mut cluster, client);
        let why = ToPeers {
            to: Target::Peer(id),
            message: Said("you cheat".into()),
        };
        cluster.world(server).write_message(why);
        dismiss(&mut cluster, server, id);
        let heard = &cluster.world(client).resource::<Heard>().0;
        assert_eq!(heard.len(), 1, "seed {seed}");
        assert_eq!(cluster.world(client).resource::<Peers>().iter().count(), 0);
    }
}

#[test]
fn who_gets_a_view_when_it_joins_is_told_nothing_before() {
    #[derive(Resource, Default)]
    struct Arrived(usize);
    let mut cluster = Cluster::new(5, |app| {
        register(app);
        app.interest_position::<Place>(|place| Vec3::new(place.0, place.1, place.2))
            .init_resource::<Arrived>()
            .add_observer(|_: On<Add, Remote>, mut arrived: ResMut<Arrived>| arrived.0 += 1);
        let mut config = app.world_mut().resource_mut::<ReplicationConfig>();
        config.first_view = View::Nothing;
    });
    let server = cluster.server();
    for n in 0..50 {
        let far = Place(9000.0 + n as f32, 0.0, 0.0);
        cluster.world(server).spawn((Replicated, far));
    }
    let near = cluster.world(server).spawn((Replicated, Place::default()));
    let near = near.id();
    let its_name = name(&mut cluster, server, near);
    let client = cluster.client(server);
    ready(&mut cluster, client);
    cluster.run(30);
    assert_eq!(cluster.world(client).resource::<Arrived>().0, 0);
    let id = me(&mut cluster, client);
    let mut peers = cluster.world(server).resource_mut::<Peers>();
    let peer = peers.by_id_mut(id).expect("it is linked");
    peer.interest_mut().set_view(View::At(Vec3::ZERO, 60.0));
    wait_for(&mut cluster, client, its_name);
    assert_eq!(cluster.world(client).resource::<Arrived>().0, 1);
}

#[test]
fn it_can_be_asked_as_of_when_an_entity_is_known() {
    let (mut cluster, [server, client]) = pair(6, Weather::near(), register);
    let [crate_, there] = spawn_on(&mut cluster, [server, client], Place::default());
    let told_at = |cluster: &mut Cluster, app, entity| -> Option<Tick> {
        let world = cluster.world(app);
        let slot = world.get(entity)?;
        let slots = world.resource::<Slots>();
        world.resource::<Peers>().told_at(slots, slot)
    };
    assert_eq!(told_at(&mut cluster, server, crate_), None, "its own");
    for n in 1..20 {
        let tick = cluster.world(server).resource::<NetClock>().tick();
        let x = n as f32;
        cluster
            .world(server)
            .get_mut::<Place>(crate_)
            .expect("there")
            .0 = x;
        cluster.run_until("it is told", 60, |cluster| {
            get::<Place>(cluster, client, there) == Some(Place(x, 0.0, 0.0))
        });
        let told = told_at(&mut cluster, client, there);
        assert_eq!(told, Some(tick.plus(1)));
        cluster.run(n % 5);
    }
}

/// A component that wants its entity published, as is common elsewhere.
#[derive(Component, TypePath, Serialize, Deserialize, Clone, PartialEq, Debug)]
#[require(Replicated)]
struct Ship(u32);

#[test]
fn what_requires_to_be_replicated_is_hosted_by_its_host_alone() {
    let (mut cluster, [server, client]) = pair(7, Weather::near(), |app| {
        register(app);
        app.replicate::<Ship>();
    });
    let ship = cluster.world(server).spawn(Ship(1)).id();
    let its_name = name(&mut cluster, server, ship);
    let there = wait_for(&mut cluster, client, its_name);
    let own = cluster.world(client).spawn(Ship(2)).id();
    let own_name = name(&mut cluster, client, own);
    let own_there = wait_for(&mut cluster, server, own_name);
    // One that has the component later.
    let [late, late_there] = spawn_on(&mut cluster, [server, client], Place::default());
    cluster.world(server).entity_mut(late).insert(Ship(3));
    cluster.run(30);
    for (app, entity, hosted) in [
        (server, ship, true),
        (client, there, false),
        (client, own, true),
        (server, own_there, false),
        (server, late, true),
        (client, late_there, false),
    ] {
        let is = |present: bool| if present { "there" } else { "not there" };
        let world = cluster.world(app);
        assert!(world.get::<Ship>(entity).is_some());
        for (what, present, expected) in [
            ("hosted", world.get::<Hosted>(entity).is_some(), hosted),
            (
                "replicated",
                world.get::<Replicated>(entity).is_some(),
                hosted,
            ),
            ("remote", world.get::<Remote>(entity).is_some(), !hosted),
        ] {
            assert_eq!(present, expected, "{what} is {}", is(present));
        }
    }
    cluster
        .world(server)
        .get_mut::<Ship>(ship)
        .expect("there")
        .0 = 9;
    cluster.world(server).despawn(late);
    cluster.run(30);
    assert_eq!(get(&mut cluster, client, there), Some(Ship(9)));
    assert!(cluster.world(client).get_entity(late_there).is_err());
}

#[test]
#[should_panic(expected = "replicate_with_entities")]
fn a_relation_that_is_registered_like_a_value_is_refused() {
    let mut app = App::new();
    app.replicate::<ChildOf>();
}

/// Refers to another, and is registered as if it did not.
#[derive(Component, TypePath, Serialize, Deserialize, Clone, PartialEq, Debug)]
struct Owner(#[entities] Entity, u32);

#[test]
fn a_reference_that_nobody_translates_means_nobody() {
    let (mut cluster, [server, client]) = pair(8, Weather::near(), |app| {
        lending(app);
        app.replicate::<Owner>();
    });
    let [boss, _] = spawn_on(&mut cluster, [server, client], Place::default());
    let owned = (Delegated, Place::default(), Owner(boss, 1));
    let owned = cluster.world(server).spawn((Replicated, owned)).id();
    let its_name = name(&mut cluster, server, owned);
    let there = wait_for(&mut cluster, client, its_name);
    let nobody = |n| Some(Owner(Entity::PLACEHOLDER, n));
    assert_eq!(get(&mut cluster, client, there), nobody(1));
    cluster
        .world(server)
        .get_mut::<Owner>(owned)
        .expect("there")
        .1 = 2;
    // The audit finds nothing amiss with it, either.
    cluster.run(200);
    assert_eq!(get(&mut cluster, client, there), nobody(2));
    assert_eq!(counted(&mut cluster, client).audit.healed, 0);
    // A holder writes the rest of it, and what it never knew stays what it was.
    grab(&mut cluster, client, there);
    move_to(&mut cluster, client, there, 5.0);
    cluster.run(20);
    assert_eq!(at(&mut cluster, server, owned), Some(5.0));
    let here = get(&mut cluster, server, owned);
    assert_eq!(here, Some(Owner(boss, 2)));
    cluster
        .world(client)
        .get_mut::<Owner>(there)
        .expect("there")
        .1 = 3;
    cluster.run(20);
    let here = get(&mut cluster, server, owned);
    assert_eq!(here, Some(Owner(boss, 3)));
}

#[test]
fn a_level_that_both_load_waits_for_a_server_that_tells_of_it() {
    let mut cluster = Cluster::new(9, |app| {
        app.add_plugins(PrespawnPlugin::default());
        register(app);
    });
    // In the menu there is no server.
    let [lobby, server] = [cluster.server(), cluster.server()];
    let menu = cluster.client(lobby);
    ready(&mut cluster, menu);
    for link in cluster.world(menu).resource_mut::<Links>().iter_mut() {
        link.close(CloseReason::ByPeer);
    }
    cluster.run(60);
    let chair = cluster.world(menu).spawn(Prespawned(5)).id();
    let nothing = cluster.world(menu).spawn(Prespawned(6)).id();
    let bundle = (Replicated, Prespawned(5), Place(1.0, 0.0, 0.0));
    let told = cluster.world(server).spawn(bundle).id();
    cluster.run(200);
    assert!(cluster.world(menu).get_entity(chair).is_ok());
    cluster.connect(menu, server);
    ready(&mut cluster, menu);
    let its_name = name(&mut cluster, server, told);
    assert_eq!(wait_for(&mut cluster, menu, its_name), chair);
    cluster.run(60);
    assert!(cluster.world(menu).get_entity(nothing).is_err());
    assert_eq!(find(&mut cluster, menu, its_name), Some(chair));
}

#[test]
fn the_fixed_schedules_run_once_a_tick_whatever_was_set() {
    #[derive(Resource, Default)]
    struct Steps(usize);
    let (mut cluster, [server, _]) = pair(10, Weather::near(), |app| {
        register(app);
        app.insert_resource(Time::<Fixed>::from_hz(64.0))
            .init_resource::<Steps>()
            .add_systems(FixedUpdate, |mut steps: ResMut<Steps>| steps.0 += 1);
    });
    let before = cluster.world(server).resource::<Steps>().0;
    cluster.run(100);
    assert_eq!(cluster.world(server).resource::<Steps>().0, before + 100);
}
