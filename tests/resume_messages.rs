//! Reliable messages while links drop and come back: each is heard once, in order, by whom it was for.

mod common;

use bevy::{ecs::entity::MapEntities, prelude::*};
use common::{
    me, ready,
    resuming::{come_back, drop_link, joined, keeping, peers},
};
use seamless_replication::{
    Peers,
    messages::{Delivery, Direction, FromPeer, MessageAppExt, Target, ToPeers},
    transport::{CloseReason, Link, Links},
};
use seamless_testkit::{AppId, Cluster, Rng, Weather};
use serde::{Deserialize, Serialize};

/// Numbered, both ways.
#[derive(TypePath, Serialize, Deserialize, MapEntities, Clone, PartialEq, Debug)]
struct Said(u32, String);

/// What came, in order.
#[derive(Resource, Default)]
struct Heard(Vec<u32>);

fn talking(app: &mut App) {
    app.net_message::<Said>(Direction::Both, Delivery::Reliable)
        .init_resource::<Heard>()
        .add_systems(
            Update,
            |mut said: MessageReader<FromPeer<Said>>, mut heard: ResMut<Heard>| {
                heard.0.extend(said.read().map(|said| said.message.0));
            },
        );
}

/// Apps that talk, in bad weather.
fn talkers(seed: u64) -> Cluster {
    let mut cluster = Cluster::new(seed, |app| {
        keeping(60)(app);
        talking(app);
    });
    cluster.set_weather(Weather::lossy(0.1));
    cluster
}

/// A server and a client that does.
fn pair(seed: u64) -> (Cluster, [AppId; 2]) {
    let mut cluster = talkers(seed);
    let server = cluster.server();
    let client = cluster.client(server);
    ready(&mut cluster, client);
    (cluster, [server, client])
}

fn heard(cluster: &mut Cluster, app: AppId) -> Vec<u32> {
    cluster.world(app).resource::<Heard>().0.clone()
}

#[test]
fn what_is_said_reliably_is_heard_once_and_in_order_whatever_the_link_does() {
    for seed in 0..6 {
        let (mut cluster, [server, client]) = pair(seed);
        let id = me(&mut cluster, client);
        let mut rng = Rng::new(seed);
        let mut said = 0;
        let mut say = |cluster: &mut Cluster, rng: &mut Rng| {
            for _ in 0..rng.below(3) {
                // Some are in several packets.
                let long = "x".repeat([0, 10, 3_000][rng.below(3)]);
                for (app, to) in [(server, Target::Peer(id)), (client, Target::Server)] {
                    let message = Said(said, long.clone());
                    cluster.world(app).write_message(ToPeers { to, message });
                }
                said += 1;
            }
        };
        for round in 0..4 {
            for _ in 0..60 {
                say(&mut cluster, &mut rng);
                cluster.step();
            }
            // The link ends at both ends, or at the client's first.
            if round % 2 == 0 {
                cluster.change_weather(Weather::lossy(1.0));
            } else {
                let mut links = cluster.world(client).resource_mut::<Links>();
                links.iter_mut().next().expect("it stands").abandon();
            }
            for _ in 0..300 {
                if rng.chance(0.3) {
                    say(&mut cluster, &mut rng);
                }
                cluster.step();
                if peers(&mut cluster, client) == 0 {
                    break;
                }
            }
            cluster.set_weather(Weather::lossy(0.1));
            for _ in 0..rng.below(40) {
                say(&mut cluster, &mut rng);
                cluster.step();
            }
            cluster.connect(client, server);
            for _ in 0..100 {
                say(&mut cluster, &mut rng);
                cluster.step();
            }
        }
        cluster.run(200);
        let expected: Vec<u32> = (0..said).collect();
        for app in [server, client] {
            assert_eq!(heard(&mut cluster, app), expected, "seed {seed}");
        }
        assert_eq!(joined(&mut cluster, client), (1, 4), "seed {seed}");
    }
}

#[test]
fn what_a_client_says_elsewhere_meanwhile_is_not_said_again_here() {
    let mut cluster = talkers(7);
    let [first, other] = [(); 2].map(|()| cluster.server());
    let client = cluster.client(first);
    ready(&mut cluster, client);
    drop_link(&mut cluster, [first, client]);
    let say = |cluster: &mut Cluster, n| {
        let (to, message) = (Target::Server, Said(n, String::new()));
        cluster.world(client).write_message(ToPeers { to, message });
        cluster.run(30);
    };
    say(&mut cluster, 1);
    cluster.connect(client, other);
    cluster.run_until("it plays there", 100, |cluster| {
        peers(cluster, client) > 0 && cluster.is_ready(client)
    });
    say(&mut cluster, 2);
    let mut links = cluster.world(client).resource_mut::<Links>();
    let link = links.iter_mut().next().expect("it stands");
    link.close(CloseReason::ByPeer);
    cluster.run(60);
    come_back(&mut cluster, [first, client]);
    say(&mut cluster, 3);
    let came = [first, other].map(|app| heard(&mut cluster, app));
    assert_eq!(came, [vec![1, 3], vec![2]]);
}

#[test]
fn a_drop_before_the_welcome_is_heard_loses_nothing() {
    let (mut cluster, [server, client]) = pair(8);
    let id = me(&mut cluster, client);
    drop_link(&mut cluster, [server, client]);
    cluster.set_weather(Weather::near());
    for n in 0..10 {
        for (app, to) in [(server, Target::Peer(id)), (client, Target::Server)] {
            let message = Said(n, String::new());
            cluster.world(app).write_message(ToPeers { to, message });
        }
    }
    for _ in 0..3 {
        cluster.connect(client, server);
        cluster.run_until("the server lets it in", 100, |cluster| {
            let peers = cluster.world(server).resource::<Peers>();
            peers.by_id(id).is_some()
        });
        let is_in = cluster.world(client).resource::<Peers>().by_id(id);
        assert!(is_in.is_none(), "its welcome is on the way");
        let mut links = cluster.world(client).resource_mut::<Links>();
        links.iter_mut().for_each(Link::abandon);
        cluster.run(3);
    }
    come_back(&mut cluster, [server, client]);
    cluster.run(100);
    for app in [server, client] {
        assert_eq!(heard(&mut cluster, app), (0..10).collect::<Vec<_>>());
    }
    assert_eq!(joined(&mut cluster, client), (1, 1));
}

#[test]
fn of_what_is_too_much_to_keep_the_last_is_heard_and_nothing_twice() {
    let (mut cluster, [server, client]) = pair(9);
    let id = me(&mut cluster, client);
    drop_link(&mut cluster, [server, client]);
    // Six megabytes, of which four are kept.
    for n in 0..100 {
        let (to, message) = (Target::Peer(id), Said(n, "x".repeat(60_000)));
        cluster.world(server).write_message(ToPeers { to, message });
        cluster.step();
    }
    come_back(&mut cluster, [server, client]);
    cluster.run_until("the last is heard", 1_500, |cluster| {
        heard(cluster, client).last() == Some(&99)
    });
    let first = heard(&mut cluster, client)[0];
    assert!((20..50).contains(&first), "from {first} on");
    cluster.run(60);
    for _ in 0..2 {
        drop_link(&mut cluster, [server, client]);
        come_back(&mut cluster, [server, client]);
        cluster.run(200);
        let came: Vec<u32> = (first..100).collect();
        assert_eq!(heard(&mut cluster, client), came);
    }
    assert_eq!(joined(&mut cluster, client), (1, 3));
}
