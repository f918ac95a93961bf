//! Who takes what of a link's budget: what is said goes before rows and leaves them their part, and a
//! link may have a budget of its own.

mod common;

use bevy::ecs::entity::MapEntities;
use bevy::prelude::*;
use common::{Place, me, ready, register, settle};
use seamless_replication::{
    NetSlot, Peers, Replicated, ReplicationConfig,
    messages::{Delivery, Direction, MessageAppExt, Target, ToPeers},
    transport::Links,
};
use seamless_testkit::{AppId, Cluster, Rng, Weather};
use serde::{Deserialize, Serialize};

const BUDGET: usize = 3_000;

/// Heads of datagrams, and the last record, whose length is only guessed, are beside the budget.
const SLACK: usize = 200;

/// What is said in a tick, in bytes.
const TALK: usize = 900;

const COUNT: usize = 1_200;

#[derive(TypePath, Serialize, Deserialize, MapEntities, Clone, PartialEq, Debug)]
struct Talk(Vec<u8>);

fn setup(app: &mut App) {
    register(app);
    app.net_message::<Talk>(Direction::ToClients, Delivery::Unreliable);
    app.world_mut()
        .resource_mut::<ReplicationConfig>()
        .bytes_per_tick = BUDGET;
}

/// A server with entities that all its clients have, and those.
fn crowd<const CLIENTS: usize>(seed: u64) -> (Cluster, AppId, [AppId; CLIENTS]) {
    let mut cluster = Cluster::new(seed, setup);
    cluster.set_weather(Weather::lossy(0.05));
    let server = cluster.server();
    let clients = [(); CLIENTS].map(|()| cluster.client(server));
    for client in clients {
        ready(&mut cluster, client);
    }
    for n in 0..COUNT {
        let place = Place(n as f32, 0.0, 0.0);
        cluster.world(server).spawn((Replicated, place));
    }
    settle(&mut cluster, server, &clients);
    (cluster, server, clients)
}

/// Everything goes somewhere else, so that each change costs all its bytes; its third number is the
/// time.
fn scatter(cluster: &mut Cluster, server: AppId, frame: usize, rng: &mut Rng) {
    let world = cluster.world(server);
    let mut places = world.query::<&mut Place>();
    for mut place in places.iter_mut(world) {
        let mut any = || rng.below(1 << 24) as f32 / 997.0;
        *place = Place(any(), any(), frame as f32);
    }
}

/// Bytes of datagrams to a client so far.
fn sent(cluster: &mut Cluster, server: AppId, client: AppId) -> u64 {
    let id = me(cluster, client);
    let world = cluster.world(server);
    let peers = world.resource::<Peers>();
    let link = peers.by_id(id).expect("it is linked").link();
    let links = world.resource::<Links>();
    links.get(link).expect("it stands").stats().sent.state.bytes
}

/// Most and mean bytes of a tick, and the mean age of what the client shows, in ticks.
fn busy_ticks(
    cluster: &mut Cluster,
    (server, client): (AppId, AppId),
    talk: Option<usize>,
) -> (usize, f32, f32) {
    const TICKS: usize = 200;
    let mut rng = Rng::new(9);
    let (mut most, mut all, mut ages) = (0, 0, Vec::new());
    for frame in 0..TICKS {
        scatter(cluster, server, frame, &mut rng);
        if let Some(bytes) = talk {
            let (to, message) = (Target::All, Talk(vec![7; bytes]));
            cluster.world(server).write_message(ToPeers { to, message });
        }
        let before = sent(cluster, server, client);
        cluster.step();
        let bytes = (sent(cluster, server, client) - before) as usize;
        if frame >= TICKS / 2 {
            (most, all) = (most.max(bytes), all + bytes);
            let world = cluster.world(client);
            let mut places = world.query_filtered::<&Place, With<NetSlot>>();
            ages.extend(places.iter(world).map(|place| frame as f32 - place.2));
        }
    }
    let age = ages.iter().sum::<f32>() / ages.len() as f32;
    (most, all as f32 / (TICKS / 2) as f32, age)
}

#[test]
fn messages_and_rows_share_one_budget() {
    let (mut cluster, server, [client]) = crowd(1);
    let (most, mean, quick) = busy_ticks(&mut cluster, (server, client), None);
    assert!(most <= BUDGET + SLACK, "{most} bytes of {BUDGET}");
    assert!(mean > 0.9 * BUDGET as f32, "{mean} bytes: nothing is short");
    let (most, mean, slow) = busy_ticks(&mut cluster, (server, client), Some(TALK));
    assert!(most <= BUDGET + SLACK, "{most} bytes of {BUDGET}, talking");
    assert!(mean > 0.9 * BUDGET as f32, "{mean} bytes, talking");
    // A third of it is talk.
    let ratio = slow / quick;
    assert!((1.2..1.8).contains(&ratio), "{quick} and {slow} ticks");
}

#[test]
fn rows_have_their_part_whatever_is_said() {
    let (mut cluster, server, [client]) = crowd(2);
    let mut config = cluster.world(server).resource_mut::<ReplicationConfig>();
    config.bytes_per_tick = TALK;
    // All of the budget is said.
    let (most, mean, age) = busy_ticks(&mut cluster, (server, client), Some(TALK));
    assert!(most <= TALK + TALK / 4 + SLACK, "{most} bytes");
    assert!(mean > 1.2 * TALK as f32, "{mean} bytes");
    assert!(age < 120.0, "{age} ticks");
    settle(&mut cluster, server, &[client]);
}

#[test]
fn a_link_may_have_a_budget_of_its_own() {
    let (mut cluster, server, [narrow, wide, plain]) = crowd(3);
    let own = [(narrow, Some(600)), (wide, Some(1 << 20)), (plain, None)];
    for (client, bytes) in own {
        let id = me(&mut cluster, client);
        let mut peers = cluster.world(server).resource_mut::<Peers>();
        let peer = peers.by_id_mut(id).expect("it is linked");
        peer.set_bytes_per_tick(bytes);
    }
    let (narrow, wide, plain) = (
        busy_ticks(&mut cluster, (server, narrow), None),
        busy_ticks(&mut cluster, (server, wide), None),
        busy_ticks(&mut cluster, (server, plain), None),
    );
    assert!(narrow.0 <= 600 + SLACK, "{narrow:?}");
    assert!(plain.0 <= BUDGET + SLACK, "{plain:?}");
    assert!(plain.1 > 0.9 * BUDGET as f32, "{plain:?}");
    assert!(wide.1 > 1.5 * BUDGET as f32, "all of it goes: {wide:?}");
    assert!(narrow.2 > 3.0 * plain.2 && plain.2 > 1.2 * wide.2);
}
