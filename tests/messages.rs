//! Typed messages both ways, and inputs, over bad networks.

mod common;

use std::time::Duration;

use bevy::{
    ecs::{entity::MapEntities, system::RunSystemOnce},
    prelude::*,
};
use common::{Label, Place, find, me, name, pair, ready, spawn_on, wait_for};
use seamless_replication::{
    NetSlot, Peers, Replicated, ReplicationConfig, ReplicationStats,
    inputs::{InputAppExt, InputOutbox, LocalInputs, PlayerInputs},
    messages::{
        Delivery, Direction, FromPeer, MAX_RELIABLE, MAX_UNRELIABLE, MessageAppExt, MessageNotSent,
        Target, ToPeers,
    },
    transport::{Channel, Condition, Links},
    wire::{PeerId, WireError},
};
use seamless_testkit::{AppId, Cluster, Fate, Way, Weather};
use serde::{Deserialize, Serialize};

/// In order and once.
#[derive(TypePath, Serialize, Deserialize, MapEntities, Clone, PartialEq, Debug)]
struct Order(u32);

/// Perhaps.
#[derive(TypePath, Serialize, Deserialize, MapEntities, Clone, PartialEq, Debug)]
struct Hint(u32);

/// Speaks of an entity.
#[derive(TypePath, Serialize, Deserialize, MapEntities, Clone, PartialEq, Debug)]
struct Look(#[entities] Entity);

/// The same, without a promise to arrive.
#[derive(TypePath, Serialize, Deserialize, MapEntities, Clone, PartialEq, Debug)]
struct Glance(#[entities] Entity);

/// As long as it needs to be.
#[derive(TypePath, Serialize, Deserialize, MapEntities, Clone, PartialEq, Debug)]
struct Letter(Vec<u8>);

/// The same, without a promise to arrive.
#[derive(TypePath, Serialize, Deserialize, MapEntities, Clone, PartialEq, Debug)]
struct Card(Vec<u8>);

/// Only servers say it.
#[derive(TypePath, Serialize, Deserialize, MapEntities, Clone, PartialEq, Debug)]
struct Decree(u32);

#[derive(TypePath, Serialize, Deserialize, Clone, Copy, PartialEq, Debug)]
struct Press(u32);

/// Everything that came, in the order in which it came.
#[derive(Resource, Default)]
struct Got {
    orders: Vec<(PeerId, u32)>,
    hints: Vec<u32>,
    looks: Vec<(Entity, bool)>,
    decrees: usize,
    letters: Vec<usize>,
    cards: Vec<usize>,
    not_sent: Vec<WireError>,
    inputs: Vec<(PeerId, u32, u32)>,
}

fn setup(app: &mut App) {
    common::register(app);
    app.net_message::<Order>(Direction::Both, Delivery::Reliable)
        .net_message::<Hint>(Direction::Both, Delivery::Unreliable)
        .net_message::<Look>(Direction::Both, Delivery::Reliable)
        .net_message::<Glance>(Direction::Both, Delivery::Unreliable)
        .net_message::<Letter>(Direction::Both, Delivery::Reliable)
        .net_message::<Card>(Direction::Both, Delivery::Unreliable)
        .net_message::<Decree>(Direction::ToClients, Delivery::Reliable)
        .player_input::<Press>()
        .init_resource::<Got>()
        .add_systems(Update, (listen, listen_to_letters))
        .add_systems(FixedUpdate, apply);
}

fn listen(
    mut got: ResMut<Got>,
    mut orders: MessageReader<FromPeer<Order>>,
    mut hints: MessageReader<FromPeer<Hint>>,
    mut looks: MessageReader<FromPeer<Look>>,
    mut glances: MessageReader<FromPeer<Glance>>,
    mut decrees: MessageReader<FromPeer<Decree>>,
) {
    got.orders
        .extend(orders.read().map(|m| (m.peer, m.message.0)));
    got.hints.extend(hints.read().map(|m| m.message.0));
    got.looks
        .extend(looks.read().map(|m| (m.message.0, m.unresolved)));
    got.looks
        .extend(glances.read().map(|m| (m.message.0, m.unresolved)));
    got.decrees += decrees.read().count();
}

fn listen_to_letters(
    mut got: ResMut<Got>,
    mut letters: MessageReader<FromPeer<Letter>>,
    mut cards: MessageReader<FromPeer<Card>>,
    mut not_sent: MessageReader<MessageNotSent>,
) {
    got.letters
        .extend(letters.read().map(|m| m.message.0.len()));
    got.cards.extend(cards.read().map(|m| m.message.0.len()));
    got.not_sent
        .extend(not_sent.read().map(|m| m.error.clone()));
}

/// A server applies the inputs of all its clients.
fn apply(peers: Res<Peers>, mut inputs: PlayerInputs<Press>, mut got: ResMut<Got>) {
    if peers.me().is_some() {
        return;
    }
    for peer in peers.iter().filter_map(|peer| peer.id()) {
        for (seq, Press(what)) in inputs.due(peer) {
            got.inputs.push((peer, seq.0, what));
        }
    }
}

fn say<M: Clone + Send + Sync + 'static>(
    cluster: &mut Cluster,
    app: AppId,
    to: Target,
    message: M,
) {
    cluster.world(app).write_message(ToPeers { to, message });
}

fn got(cluster: &mut Cluster, app: AppId) -> Mut<'_, Got> {
    cluster.world(app).resource_mut::<Got>()
}

#[test]
fn a_message_about_what_died_in_the_same_tick_says_whom_it_means() {
    for (seed, loss) in [(33, 0.0), (34, 0.3), (35, 0.3)] {
        let (mut cluster, [server, client]) = pair(seed, Weather::lossy(loss), setup);
        for n in 0..10u8 {
            let bundle = (Replicated, Place(f32::from(n), 0.0, 0.0));
            let entity = cluster.world(server).spawn(bundle).id();
            let its_name = name(&mut cluster, server, entity);
            let seen = wait_for(&mut cluster, client, its_name);
            let kill = move |world: &mut World| {
                let (to, message) = (Target::All, Look(entity));
                world.write_message(ToPeers { to, message });
                world.despawn(entity);
            };
            kill(cluster.world(server));
            cluster.run_until("it is heard of", 300, |cluster| {
                got(cluster, client).looks.len() == 1
            });
            let (whom, unresolved) = got(&mut cluster, client).looks.remove(0);
            if loss == 0.0 {
                assert_eq!((whom, unresolved), (seen, false));
            }
            // It may be gone already, and that is said.
            assert_eq!(whom == seen, !unresolved, "{whom} {seen}");
            cluster.run_until("it is gone", 300, |cluster| {
                find(cluster, client, its_name).is_none()
            });
        }
    }
}

#[test]
fn a_burst_of_small_messages_arrives_and_nobody_is_sent_away() {
    const COUNT: u32 = 20_000;
    let (mut cluster, [server, client]) = pair(31, Weather::lossy(0.05), setup);
    for n in 0..COUNT {
        say(&mut cluster, server, Target::All, Order(n));
    }
    cluster.run_until("all came", 3000, |cluster| {
        got(cluster, client).orders.len() == COUNT as usize
    });
    let orders = &got(&mut cluster, client).orders;
    assert!(orders.iter().map(|(_, n)| *n).eq(0..COUNT), "in order");
}

#[test]
fn who_takes_nothing_of_too_much_is_sent_away_and_the_others_stay() {
    let (mut cluster, [server, client]) = pair(32, Weather::near(), setup);
    let (deaf, wire) = cluster.client_over_wire(server);
    ready(&mut cluster, deaf);
    let deaf_id = me(&mut cluster, deaf);
    cluster.run(20);
    let waiting = |cluster: &mut Cluster| {
        let peers = cluster.world(server).resource::<Peers>();
        peers.by_id(deaf_id).map(|peer| peer.waiting_bytes())
    };
    // Everything that it says is lost, so nothing of what it is told is acknowledged.
    wire.all(Way::ToServer, Fate::Lose);
    let mut most = 0;
    for n in 0..60 {
        for _ in 0..16 {
            let letter = Letter(vec![n; MAX_RELIABLE - 8]);
            say(&mut cluster, server, Target::Peer(deaf_id), letter);
        }
        cluster.step();
        let Some(bytes) = waiting(&mut cluster) else {
            break;
        };
        most = most.max(bytes);
    }
    assert_eq!(waiting(&mut cluster), None, "it is gone after {most} bytes");
    assert!((16 << 20..34 << 20).contains(&most), "{most}");
    say(&mut cluster, server, Target::All, Order(1));
    cluster.run_until("the other one is told", 300, |cluster| {
        got(cluster, client).orders.len() == 1
    });
}

/// Two losses and a few seeds each.
fn bad_weather() -> impl Iterator<Item = (u64, Weather)> {
    (0..6).map(|n| (n, Weather::lossy(if n % 2 == 0 { 0.05 } else { 0.3 })))
}

#[test]
fn reliable_messages_come_once_and_in_order_both_ways() {
    for (seed, weather) in bad_weather() {
        let (mut cluster, [server, client]) = pair(seed, weather, setup);
        let me = me(&mut cluster, client);
        for n in 0..60 {
            say(&mut cluster, client, Target::Server, Order(n));
            say(&mut cluster, server, Target::Peer(me), Order(1000 + n));
            cluster.step();
        }
        cluster.run(240);
        let want = |first: u32| (first..first + 60).map(|n| (me, n)).collect::<Vec<_>>();
        assert_eq!(got(&mut cluster, server).orders, want(0), "seed {seed}");
        assert_eq!(got(&mut cluster, client).orders, want(1000), "seed {seed}");
    }
}

#[test]
fn the_longest_message_arrives_and_a_longer_one_is_an_error_where_it_was_said() {
    let (mut cluster, [server, client]) = pair(1, Weather::near(), setup);
    // The length before the bytes takes three.
    let longest = MAX_RELIABLE - 3;
    for len in [longest, longest + 1, 200_000] {
        say(&mut cluster, client, Target::Server, Letter(vec![7; len]));
    }
    say(&mut cluster, client, Target::Server, Order(5));
    cluster.run(60);
    let me = me(&mut cluster, client);
    assert_eq!(got(&mut cluster, server).letters, [longest]);
    assert_eq!(got(&mut cluster, server).orders, [(me, 5)], "it goes on");
    let too_large = |value| WireError::OutOfBounds {
        what: "message",
        value,
        max: MAX_RELIABLE as u64,
    };
    let errors = &got(&mut cluster, client).not_sent;
    let want = [MAX_RELIABLE as u64 + 1, 200_005].map(too_large);
    assert_eq!(errors[..], want);
    let stats = cluster.world(client).resource::<ReplicationStats>();
    assert_eq!(stats.messages_not_sent, 2);
}

#[test]
fn a_message_does_not_wait_behind_large_rows_that_the_link_has_no_room_for() {
    let (mut cluster, [server, client]) = pair(1, Weather::near(), setup);
    // More than the bulk channel takes at a time, and much more than it sends in two seconds.
    for n in 10..65 {
        let label = Label(format!("{n}").repeat(120_000));
        cluster.world(server).spawn((Replicated, label));
    }
    cluster.run(60);
    let backlog = Channel::Bulk.max_backlog();
    let links = cluster.world(server).resource::<Links>();
    let waiting = links.iter().next().expect("a link").backlog().reliable_out;
    assert!(waiting > backlog - 300_000, "{waiting}: it is not full");
    say(&mut cluster, server, Target::All, Order(1));
    cluster.run(10);
    assert_eq!(got(&mut cluster, client).orders.len(), 1);
}

#[test]
fn unreliable_messages_come_at_most_once_and_mostly() {
    for (seed, weather) in bad_weather() {
        let (mut cluster, [server, client]) = pair(seed, weather, setup);
        for n in 0..100 {
            say(&mut cluster, client, Target::Server, Hint(n));
            say(&mut cluster, server, Target::All, Hint(n));
            cluster.step();
        }
        cluster.run(60);
        for app in [server, client] {
            let mut hints = std::mem::take(&mut got(&mut cluster, app).hints);
            let came = hints.len();
            hints.sort_unstable();
            hints.dedup();
            assert_eq!(hints.len(), came, "none came twice, seed {seed}");
            assert!(came >= 50, "{came} of 100, seed {seed}");
        }
    }
}

#[test]
fn a_message_finds_its_addressees_and_nobody_else() {
    let mut cluster = Cluster::new(1, setup);
    let server = cluster.server();
    let clients = [(); 3].map(|()| cluster.client(server));
    for client in clients {
        ready(&mut cluster, client);
    }
    let first = me(&mut cluster, clients[0]);
    say(&mut cluster, server, Target::All, Order(1));
    say(&mut cluster, server, Target::Peer(first), Order(2));
    say(&mut cluster, server, Target::AllExcept(first), Order(3));
    say(&mut cluster, clients[1], Target::All, Order(4));
    cluster.run(20);
    let heard = clients.map(|client| {
        let orders = &got(&mut cluster, client).orders;
        orders.iter().map(|(_, n)| *n).collect::<Vec<_>>()
    });
    assert_eq!(heard, [vec![1, 2], vec![1, 3], vec![1, 3]]);
    assert_eq!(
        got(&mut cluster, server).orders,
        [],
        "a client has one server"
    );
}

#[test]
fn a_message_cannot_go_against_its_direction() {
    let (mut cluster, [server, client]) = pair(1, Weather::near(), setup);
    say(&mut cluster, client, Target::Server, Decree(1));
    say(&mut cluster, server, Target::All, Decree(2));
    cluster.run(20);
    assert_eq!(got(&mut cluster, server).decrees, 0);
    assert_eq!(got(&mut cluster, client).decrees, 1);
}

#[test]
fn a_reference_means_the_same_entity_on_the_other_side() {
    for (seed, weather) in bad_weather() {
        let (mut cluster, apps) = pair(seed, weather, setup);
        let [server, client] = apps;
        // So that ids differ on the two sides.
        cluster.world(client).spawn_empty();
        let [crate_, there] = spawn_on(&mut cluster, apps, Place::default());
        say(&mut cluster, client, Target::Server, Look(there));
        say(&mut cluster, server, Target::All, Look(crate_));
        cluster.run(120);
        assert_eq!(got(&mut cluster, server).looks, [(crate_, false)]);
        assert_eq!(got(&mut cluster, client).looks, [(there, false)]);
    }
}

#[test]
fn a_message_waits_for_the_entity_that_it_speaks_of() {
    for seed in 0..4 {
        let (mut cluster, [server, client]) = pair(seed, Weather::lossy(0.05), setup);
        // Many, so that rows take a few ticks and messages overtake them.
        let crates: Vec<Entity> = (0..3000)
            .map(|n| {
                let place = Place(n as f32, 0.5, 0.25);
                cluster.world(server).spawn((Replicated, place)).id()
            })
            .collect();
        let last = crates[2999];
        let name = name(&mut cluster, server, last);
        say(&mut cluster, server, Target::All, Look(last));
        cluster.run_until("it is heard", 300, |cluster| {
            !got(cluster, client).looks.is_empty()
        });
        let there = find(&mut cluster, client, name).expect("heard when it is there");
        assert_eq!(
            got(&mut cluster, client).looks,
            [(there, false)],
            "seed {seed}"
        );
    }
}

#[test]
fn a_message_about_what_never_comes_is_delivered_flagged_after_a_second() {
    let (mut cluster, [server, client]) = pair(1, Weather::near(), setup);
    let hidden = cluster
        .world(server)
        .spawn((Replicated, Place::default()))
        .id();
    let world = cluster.world(server);
    let slot = *world.get::<NetSlot>(hidden).expect("on the network");
    for peer in world.resource_mut::<Peers>().iter_mut() {
        peer.interest_mut().except(&slot, Some(false));
    }
    say(&mut cluster, server, Target::All, Look(hidden));
    say(&mut cluster, server, Target::All, Glance(hidden));
    cluster.run(25);
    assert_eq!(got(&mut cluster, client).looks, []);
    cluster.run(15);
    let flagged = (Entity::PLACEHOLDER, true);
    assert_eq!(got(&mut cluster, client).looks, [flagged, flagged]);
}

#[test]
fn one_client_cannot_use_up_the_room_in_which_the_messages_of_another_wait() {
    let mut cluster = Cluster::new(1, setup);
    cluster.set_weather(Weather::clear());
    let server = cluster.server();
    let mut config = cluster.world(server).resource_mut::<ReplicationConfig>();
    config.client_entities = 1;
    let greedy = cluster.client(server);
    let (honest, wire) = cluster.client_over_wire(server);
    for client in [greedy, honest] {
        ready(&mut cluster, client);
    }
    // Its second entity is refused, so what it says of it waits.
    let bundle = (Replicated, Place::default());
    cluster.world(greedy).spawn(bundle.clone());
    cluster.run(5);
    let refused = cluster.world(greedy).spawn(bundle.clone()).id();
    for _ in 0..1100 {
        say(&mut cluster, greedy, Target::Server, Look(refused));
    }
    cluster.run(12);
    wire.all(Way::ToServer, Fate::Lose);
    let own = cluster.world(honest).spawn(bundle).id();
    let own_name = name(&mut cluster, honest, own);
    say(&mut cluster, honest, Target::Server, Look(own));
    cluster.run(5);
    wire.pass();
    let there = wait_for(&mut cluster, server, own_name);
    cluster.run(60);
    let looks = std::mem::take(&mut got(&mut cluster, server).looks);
    assert_eq!(looks.len(), 1101);
    let found: Vec<_> = looks.into_iter().filter(|look| !look.1).collect();
    assert_eq!(found, [(there, false)]);
}

#[test]
fn a_client_may_speak_of_its_own_new_entity() {
    for (seed, weather) in bad_weather() {
        let (mut cluster, [server, client]) = pair(seed, weather, setup);
        let own = cluster
            .world(client)
            .spawn((Replicated, Place::default()))
            .id();
        let name = name(&mut cluster, client, own);
        say(&mut cluster, client, Target::Server, Look(own));
        let there = wait_for(&mut cluster, server, name);
        cluster.run(120);
        assert_eq!(
            got(&mut cluster, server).looks,
            [(there, false)],
            "seed {seed}"
        );
    }
}

#[test]
fn inputs_are_applied_once_and_in_order() {
    for (seed, weather) in bad_weather() {
        let mut cluster = Cluster::new(seed, |app| {
            setup(app);
            let press = |mut inputs: LocalInputs<Press>, peers: Res<Peers>| {
                let next = inputs.newest().0 + 1;
                if peers.me().is_some() && next <= 200 {
                    inputs.push(&Press(next * 10));
                }
            };
            app.add_systems(FixedPreUpdate, press);
        });
        cluster.set_weather(weather);
        let server = cluster.server();
        let clients = [cluster.client(server), cluster.client(server)];
        cluster.run_until("all are acknowledged", 600, |cluster| {
            clients.iter().all(|client| {
                let outbox = cluster.world(*client).resource::<InputOutbox>();
                outbox.newest().0 == 200 && outbox.unacked() == 0
            })
        });
        for client in clients {
            let me = me(&mut cluster, client);
            let applied: Vec<_> = got(&mut cluster, server)
                .inputs
                .iter()
                .filter(|(peer, ..)| *peer == me)
                .map(|(_, seq, what)| (*seq, *what))
                .collect();
            let want: Vec<_> = (1..=200).map(|n| (n, n * 10)).collect();
            assert_eq!(applied, want, "seed {seed}");
        }
    }
}

/// Bytes of the longest that is told without a promise, but for those that say how many they are.
const CARD: usize = MAX_UNRELIABLE - 3;

#[test]
fn the_longest_unreliable_message_arrives_and_holds_up_no_other() {
    for (seed, loss) in [(1, 0.0), (2, 0.3)] {
        let (mut cluster, [server, client]) = pair(seed, Weather::lossy(loss), setup);
        for n in 0..40 {
            let card = Card(vec![7; CARD - n % 30]);
            say(&mut cluster, server, Target::All, card);
            say(&mut cluster, server, Target::All, Hint(n as u32));
            cluster.run(2);
        }
        cluster.run(60);
        let got = got(&mut cluster, client);
        assert!(got.cards.len() >= 15, "{:?}", got.cards);
        assert!(got.hints.len() >= 15, "{:?}", got.hints);
        assert!(loss > 0.0 || got.cards.len() + got.hints.len() == 80);
    }
}

#[test]
fn inputs_do_not_hold_up_messages() {
    let (mut cluster, [server, client]) = pair(3, Weather::near(), setup);
    // Many inputs are under way.
    cluster.set_weather(Weather(Condition {
        delay: Duration::from_millis(400),
        ..Condition::default()
    }));
    for n in 0..60 {
        let push = move |mut inputs: LocalInputs<Press>| inputs.push(&Press(n)).is_some();
        let pushed = cluster.world(client).run_system_once(push);
        assert_eq!(pushed.ok(), Some(true));
        if n % 10 == 0 {
            let card = Card(vec![7; CARD]);
            say(&mut cluster, client, Target::Server, card);
        }
        cluster.step();
    }
    cluster.run(60);
    assert_eq!(got(&mut cluster, server).cards, [CARD; 6]);
    assert_eq!(got(&mut cluster, server).inputs.len(), 60);
}
