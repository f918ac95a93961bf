//! A server with a player of its own: the game is written once, for that one and for the others.

mod common;

use bevy::{ecs::entity::MapEntities, prelude::*};
use common::{Place, differences, find, me, name, ready, register, seen};
use seamless_authority::{AuthorityCommandsExt, AuthorityView};
use seamless_replication::{
    Admission, Admitted, NetSlot, PeerCaughtUp, PeerJoined, PeerRefused, Peers, Replicated,
    inputs::{InputAppExt, InputOutbox, LocalInputs, PlayerInputs},
    listen::{LOCAL_CLIENT, LOCAL_SERVER, ListenPlugin},
    messages::{
        Delivery, Direction, FromPeer, MessageAppExt, MessageNotSent, NetEventCommandsExt, Target,
        ToPeers,
    },
    transport::MemoryServer,
    wire::PeerId,
};
use seamless_testkit::{AppId, Cluster, Weather};
use serde::{Deserialize, Serialize};

/// Long enough for anything to arrive.
const A_WHILE: usize = 90;

/// From clients.
#[derive(TypePath, Serialize, Deserialize, MapEntities, Clone, PartialEq, Debug)]
struct Ring(#[entities] Entity, u32);

/// From the server.
#[derive(TypePath, Serialize, Deserialize, MapEntities, Clone, PartialEq, Debug)]
struct Boom(u32);

/// Both ways.
#[derive(TypePath, Serialize, Deserialize, MapEntities, Clone, PartialEq, Debug)]
struct Talk(String);

/// From the server, of what is dead perhaps.
#[derive(TypePath, Serialize, Deserialize, MapEntities, Clone, PartialEq, Debug)]
struct Fell(#[entities] Entity, u32);

/// One step to the right, or none.
#[derive(TypePath, Serialize, Deserialize, Clone, Copy, PartialEq, Debug)]
struct Step(bool);

/// Whose it is.
#[derive(Component)]
struct Avatar(PeerId);

#[derive(Resource, Default)]
struct Heard {
    rings: Vec<(PeerId, Entity, u32)>,
    booms: Vec<(PeerId, u32)>,
    /// Who, and whether it came to the client half.
    talk: Vec<(PeerId, bool, String)>,
    /// Of whom, what, and whether that is here.
    falls: Vec<(Entity, u32, bool)>,
    joined: Vec<PeerId>,
    caught_up: Vec<PeerId>,
    unsent: usize,
    refused: usize,
}

fn setup(app: &mut App) {
    register(app);
    app.net_event::<Ring>(Direction::ToServer, Delivery::Reliable)
        .net_event::<Boom>(Direction::ToClients, Delivery::Unreliable)
        .net_message::<Talk>(Direction::Both, Delivery::Reliable)
        .net_message::<Fell>(Direction::ToClients, Delivery::Reliable)
        .player_input::<Step>()
        .init_resource::<Heard>()
        .add_observer(|event: On<FromPeer<Ring>>, mut heard: ResMut<Heard>| {
            let Ring(entity, n) = event.message;
            heard.rings.push((event.peer, entity, n));
        })
        .add_observer(|event: On<FromPeer<Boom>>, mut heard: ResMut<Heard>| {
            heard.booms.push((event.peer, event.message.0));
        })
        .add_systems(Update, listen)
        .add_systems(FixedPreUpdate, push)
        .add_systems(FixedUpdate, walk);
    if app.world().contains_resource::<MemoryServer>() {
        app.add_plugins(ListenPlugin::default());
        app.add_systems(PreUpdate, spawn_avatars);
    }
}

fn listen(
    mut talk: MessageReader<FromPeer<Talk>>,
    mut falls: MessageReader<FromPeer<Fell>>,
    mut unsent: MessageReader<MessageNotSent>,
    mut joined: MessageReader<PeerJoined>,
    mut refused: MessageReader<PeerRefused>,
    mut caught_up: MessageReader<PeerCaughtUp>,
    mut heard: ResMut<Heard>,
) {
    for talk in talk.read() {
        let to_client = talk.link == LOCAL_SERVER;
        assert!(to_client || talk.link == LOCAL_CLIENT || talk.link.index < 100);
        heard
            .talk
            .push((talk.peer, to_client, talk.message.0.clone()));
    }
    let falls = falls.read();
    let falls = falls.map(|fell| (fell.message.0, fell.message.1, !fell.unresolved));
    heard.falls.extend(falls);
    heard.unsent += unsent.read().count();
    heard.refused += refused.read().count();
    heard.joined.extend(joined.read().map(|joined| joined.peer));
    let caught_up = caught_up.read().map(|caught_up| caught_up.peer);
    heard.caught_up.extend(caught_up);
}

fn spawn_avatars(mut joined: MessageReader<PeerJoined>, mut commands: Commands) {
    for joined in joined.read() {
        commands.spawn((Replicated, Place::default(), Avatar(joined.peer)));
    }
}

/// The client half, of every app that has a player.
fn push(peers: Res<Peers>, mut inputs: LocalInputs<Step>) {
    if peers.me().is_some() {
        let odd = inputs.newest().0 % 2 == 1;
        inputs.push(&Step(odd));
    }
}

/// The server half.
fn walk(mut avatars: Query<(&Avatar, &mut Place)>, mut inputs: PlayerInputs<Step>) {
    for (avatar, mut place) in &mut avatars {
        for (seq, step) in inputs.due(avatar.0) {
            assert_eq!(step.0, seq.0 % 2 == 0, "in order");
            place.0 += f32::from(step.0);
            place.1 = seq.0 as f32;
        }
    }
}

fn scene() -> (Cluster, [AppId; 2]) {
    common::pair(1, Weather::lossy(0.1), setup)
}

fn heard(cluster: &mut Cluster, app: AppId) -> Mut<'_, Heard> {
    cluster.world(app).resource_mut::<Heard>()
}

fn send(cluster: &mut Cluster, app: AppId, send: impl FnOnce(&mut Commands)) {
    let world = cluster.world(app);
    send(&mut world.commands());
    world.flush();
}

#[test]
fn what_a_client_says_to_its_server_is_heard_from_the_local_player_as_well() {
    let (mut cluster, [server, client]) = scene();
    cluster.run(30);
    let own = cluster
        .world(server)
        .spawn((Replicated, Place::default()))
        .id();
    let own_name = name(&mut cluster, server, own);
    let there = common::wait_for(&mut cluster, client, own_name);
    for n in 0..3 {
        for (app, entity) in [(server, own), (client, there)] {
            send(&mut cluster, app, |commands| {
                commands.client_trigger(Ring(entity, n));
            });
        }
        cluster.step();
    }
    cluster.run(A_WHILE);
    let ids = [me(&mut cluster, server), me(&mut cluster, client)];
    assert_eq!(ids[0], ListenPlugin::default().player);
    for id in ids {
        let mut rings = heard(&mut cluster, server).rings.clone();
        rings.retain(|(peer, ..)| *peer == id);
        assert_eq!(rings, [0, 1, 2].map(|n| (id, own, n)));
    }
    assert!(heard(&mut cluster, client).rings.is_empty());
}

#[test]
fn what_the_server_says_reaches_the_local_player_when_it_is_meant() {
    let (mut cluster, [server, client]) = scene();
    let [local, remote] = [server, client].map(|app| me(&mut cluster, app));
    let to = [
        Target::All,
        Target::Peer(local),
        Target::Peer(remote),
        Target::AllExcept(local),
        Target::AllExcept(remote),
    ];
    for (n, to) in to.into_iter().enumerate() {
        // Several times, for they may be lost.
        for _ in 0..8 {
            send(&mut cluster, server, |commands| {
                commands.server_trigger(ToPeers {
                    to,
                    message: Boom(n as u32),
                });
            });
            cluster.step();
        }
    }
    cluster.run(A_WHILE);
    for (app, id, want) in [(server, local, [0, 1, 4]), (client, remote, [0, 2, 3])] {
        let mut booms = heard(&mut cluster, app).booms.clone();
        booms.dedup();
        booms.sort_unstable();
        booms.dedup();
        assert_eq!(booms, want.map(|n| (id, n)));
    }
}

#[test]
fn a_message_that_goes_both_ways_says_to_which_half_it_came() {
    let (mut cluster, [server, _]) = scene();
    let local = me(&mut cluster, server);
    for to in [Target::Server, Target::All] {
        let message = Talk(format!("{to:?}"));
        cluster.world(server).write_message(ToPeers { to, message });
    }
    cluster.run(5);
    let talk = &heard(&mut cluster, server).talk;
    let want = [(local, false, "Server".into()), (local, true, "All".into())];
    assert_eq!(talk[..], want);
}

#[test]
fn a_message_that_no_link_takes_is_not_delivered_here_either() {
    let (mut cluster, [server, _]) = scene();
    let message = Talk("x".repeat(70_000));
    let to = Target::Server;
    cluster.world(server).write_message(ToPeers { to, message });
    cluster.run(5);
    let heard = heard(&mut cluster, server);
    assert_eq!((heard.unsent, heard.talk.len()), (1, 0));
}

#[test]
fn what_is_not_on_the_network_cannot_be_spoken_of_here_either() {
    let (mut cluster, [server, _]) = scene();
    let private = cluster.world(server).spawn_empty().id();
    send(&mut cluster, server, |commands| {
        commands.client_trigger(Ring(private, 7));
    });
    cluster.run(5);
    let local = me(&mut cluster, server);
    let rings = heard(&mut cluster, server).rings.clone();
    assert_eq!(rings, [(local, Entity::PLACEHOLDER, 7)]);
}

#[test]
fn inputs_of_the_local_player_are_applied_once_and_in_order_like_all_others() {
    let (mut cluster, [server, client]) = scene();
    cluster.run(300);
    for app in [server, client] {
        let id = me(&mut cluster, app);
        let pushed = cluster.world(app).resource::<InputOutbox>().newest().0;
        let world = cluster.world(server);
        let places: Vec<Place> = world
            .query::<(&Avatar, &Place)>()
            .iter(world)
            .filter(|(avatar, _)| avatar.0 == id)
            .map(|(_, place)| place.clone())
            .collect();
        assert_eq!(places.len(), 1, "one avatar each");
        let late = pushed - places[0].1 as u32;
        let most = if app == server { 1 } else { 30 };
        assert!(pushed >= 250 && late <= most, "{late} of {pushed} to come");
        assert_eq!(places[0].0, (places[0].1 / 2.0).floor(), "each once");
    }
    // What was applied is known to the client half.
    let unacked = cluster.world(server).resource::<InputOutbox>().unacked();
    assert!(unacked <= 2, "{unacked}");
}

#[test]
fn the_host_has_caught_up_as_it_joins() {
    let (mut cluster, [server, client]) = scene();
    cluster.run(A_WHILE);
    let id = me(&mut cluster, client);
    let heard = heard(&mut cluster, server);
    assert_eq!(heard.joined, [PeerId(1), id]);
    assert_eq!(heard.caught_up, heard.joined);
}

#[test]
fn the_host_joins_its_own_game_and_others_see_what_it_has() {
    let (mut cluster, [server, client]) = scene();
    cluster.run(60);
    let local = me(&mut cluster, server);
    let remote = me(&mut cluster, client);
    assert_eq!(heard(&mut cluster, server).joined, [local, remote]);
    assert!(cluster.world(server).resource::<Peers>().is_local(local));
    assert!(!cluster.world(server).resource::<Peers>().is_local(remote));
    let world = cluster.world(server);
    let avatars: Vec<NetSlot> = world
        .query_filtered::<&NetSlot, With<Avatar>>()
        .iter(world)
        .copied()
        .collect();
    assert_eq!(avatars.len(), 2);
    for slot in avatars {
        assert!(find(&mut cluster, client, slot.global().expect("named")).is_some());
    }
}

#[test]
fn the_host_lends_what_it_has_like_any_server() {
    let (mut cluster, [server, client]) = scene();
    cluster.run(30);
    let bundle = (Replicated, Place::default());
    let own = cluster.world(server).spawn(bundle).id();
    common::command(&mut cluster, server, own, |e| {
        e.delegate();
    });
    let own_name = name(&mut cluster, server, own);
    let there = common::wait_for(&mut cluster, client, own_name);
    cluster.run_until("it can be lent", 60, |cluster| {
        cluster.world(client).get::<AuthorityView>(there) == Some(&AuthorityView::Available)
    });
    common::command(&mut cluster, client, there, |e| {
        e.request_authority();
    });
    cluster.run_until("it is lent", 100, |cluster| {
        cluster.world(client).get::<AuthorityView>(there) == Some(&AuthorityView::Granted)
    });
    let place = Place(3.0, 4.0, 5.0);
    cluster
        .world(client)
        .entity_mut(there)
        .insert(place.clone());
    cluster.run_until("the host has it", 100, |cluster| {
        common::get(cluster, server, own).as_ref() == Some(&place)
    });
}

#[test]
fn nobody_is_let_in_under_the_name_of_the_host() {
    let mut cluster = Cluster::new(1, setup);
    cluster.set_weather(Weather::clear());
    let server = cluster.server();
    let thief = Admission::new(|_, _, _| {
        Ok(Admitted {
            peer: ListenPlugin::default().player,
            spectator: false,
        })
    });
    cluster.world(server).insert_resource(thief);
    let client = cluster.client(server);
    cluster.run(30);
    assert_eq!(heard(&mut cluster, server).refused, 1);
    assert_eq!(heard(&mut cluster, client).refused, 1);
    assert!(differences(&seen(&mut cluster, client), &[]).is_none());
    // The game goes on.
    cluster.world(server).insert_resource(Admission::default());
    let other = cluster.client(server);
    ready(&mut cluster, other);
}

#[test]
fn the_local_player_hears_of_what_dies_at_once_and_of_what_comes_after_it_too() {
    let (mut cluster, [server, _]) = scene();
    let spawn = |cluster: &mut Cluster| {
        let bundle = (Replicated, Place::default());
        cluster.world(server).spawn(bundle).id()
    };
    let [dead, other] = [spawn(&mut cluster), spawn(&mut cluster)];
    cluster.run(10);
    let tell = |cluster: &mut Cluster, of, what| {
        let message = ToPeers {
            to: Target::All,
            message: Fell(of, what),
        };
        cluster.world(server).write_message(message);
    };
    tell(&mut cluster, dead, 1);
    cluster.world(server).despawn(dead);
    cluster.step();
    tell(&mut cluster, other, 2);
    cluster.run(3);
    let falls = [(dead, 1, false), (other, 2, true)];
    assert_eq!(heard(&mut cluster, server).falls, falls);
}
