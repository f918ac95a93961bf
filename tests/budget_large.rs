//! Large rows, snapshots and reliable messages over links that carry little: they share one budget with
//! all else, and nobody waits for what is large.

mod common;

use bevy::{ecs::entity::MapEntities, prelude::*};
use common::{Health, Label, Place, counted, me, ready, register, settle};
use seamless_replication::{
    Peer, Peers, Replicated,
    messages::{Delivery, Direction, FromPeer, MessageAppExt, Target, ToPeers},
    snapshot::{SnapshotTransfer, take_snapshot},
    transport::Links,
    wire::PeerId,
};
use seamless_testkit::{AppId, Cluster, Rng, Weather};
use serde::{Deserialize, Serialize};

#[derive(TypePath, Serialize, Deserialize, MapEntities, Clone, PartialEq, Debug)]
struct Talk(Vec<u8>);

/// How many messages came, in order.
#[derive(Resource, Default)]
struct Heard(u8);

fn hear(mut talk: MessageReader<FromPeer<Talk>>, mut heard: ResMut<Heard>) {
    for talk in talk.read() {
        assert_eq!(talk.message.0[0], heard.0);
        heard.0 += 1;
    }
}

/// A server with so many entities, and a client that has them and may be sent so many bytes in a tick.
fn narrow(seed: u64, entities: u16, bytes: usize) -> (Cluster, [AppId; 2], PeerId) {
    let mut cluster = Cluster::new(seed, |app| {
        register(app);
        app.net_message::<Talk>(Direction::ToClients, Delivery::Reliable)
            .init_resource::<Heard>()
            .add_systems(Update, hear);
    });
    cluster.set_weather(Weather::lossy(0.02));
    let server = cluster.server();
    let client = cluster.client(server);
    ready(&mut cluster, client);
    for n in 0..entities {
        let bundle = (Replicated, Place(n.into(), 0.0, 0.0));
        cluster.world(server).spawn(bundle);
    }
    settle(&mut cluster, server, &[client]);
    let id = me(&mut cluster, client);
    of(&mut cluster, server, id, |peer| {
        peer.set_bytes_per_tick(Some(bytes));
    });
    (cluster, [server, client], id)
}

/// Does something with a client's link.
fn of(cluster: &mut Cluster, server: AppId, id: PeerId, f: impl FnOnce(&mut Peer)) {
    let mut peers = cluster.world(server).resource_mut::<Peers>();
    f(peers.by_id_mut(id).expect("it is linked"));
}

fn spawn_large(cluster: &mut Cluster, server: AppId, bytes: usize) -> Entity {
    let bundle = (Replicated, Health(0), Label("l".repeat(bytes)));
    cluster.world(server).spawn(bundle).id()
}

fn say(cluster: &mut Cluster, server: AppId, number: u8, bytes: usize) {
    let (to, message) = (Target::All, Talk(vec![number; bytes]));
    cluster.world(server).write_message(ToPeers { to, message });
}

fn heard(cluster: &mut Cluster, client: AppId) -> u8 {
    cluster.world(client).resource::<Heard>().0
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

/// Bytes of all packets to a client so far, acknowledgements and all.
fn sent_in_all(cluster: &mut Cluster, server: AppId, client: AppId) -> u64 {
    let id = me(cluster, client);
    let world = cluster.world(server);
    let peers = world.resource::<Peers>();
    let link = peers.by_id(id).expect("it is linked").link();
    let links = world.resource::<Links>();
    let sent = links.get(link).expect("it stands").stats().sent;
    sent.state.bytes + sent.reliable.bytes
}

#[test]
fn whatever_a_client_is_sent_shares_one_budget() {
    const TICKS: u64 = 400;
    for budget in [600, 3_000] {
        let (mut cluster, [server, client], id) = narrow(budget, 200, budget as usize);
        let world = cluster.world(server);
        let mut all = world.query_filtered::<Entity, With<Replicated>>();
        let all: Vec<Entity> = all.iter(world).collect();
        let snapshot = take_snapshot(world, &all).expect("it encodes");
        let options = SnapshotTransfer::default();
        of(&mut cluster, server, id, |peer| {
            for tag in 0..4 {
                let sent = peer.send_snapshot(tag, &snapshot, &options);
                sent.expect("it is queued");
            }
        });
        // With all of which it has more to say than it may.
        spawn_large(&mut cluster, server, 60_000);
        (0..40).for_each(|n| say(&mut cluster, server, n, 1_000));
        let mut rng = Rng::new(9);
        let before = sent_in_all(&mut cluster, server, client);
        let mut most = 0;
        for frame in 0..TICKS {
            scatter(&mut cluster, server, frame as usize, &mut rng);
            let last = sent_in_all(&mut cluster, server, client);
            cluster.step();
            most = most.max(sent_in_all(&mut cluster, server, client) - last);
        }
        let bytes = sent_in_all(&mut cluster, server, client) - before;
        let mean = bytes / TICKS;
        println!("{budget}: {mean} bytes a tick, {most} at most");
        assert!(mean < budget + budget / 8 + 300, "{mean} bytes of {budget}");
        // renet gives a large row's slices in one go, and then they are paid for.
        assert!(most < budget + (17 << 10), "{most} bytes of {budget}");
        settle(&mut cluster, server, &[client]);
        assert_eq!(heard(&mut cluster, client), 40);
    }
}

#[test]
fn large_rows_over_a_slow_link_are_sent_about_once() {
    const LARGE: u64 = 3;
    let (mut cluster, [server, _], _) = narrow(12, 200, 600);
    for _ in 0..LARGE {
        spawn_large(&mut cluster, server, 200_000);
    }
    let mut rng = Rng::new(9);
    let mut run = |cluster: &mut Cluster, ticks: usize| {
        for frame in 0..ticks {
            scatter(cluster, server, frame, &mut rng);
            cluster.step();
        }
        counted(cluster, server).big_rows.0
    };
    let rows = run(&mut cluster, 4_000);
    // Half a minute is not enough for all of them.
    assert!((LARGE + 1..3 * LARGE).contains(&rows), "{rows} for {LARGE}");
    assert_eq!(run(&mut cluster, 1_000), rows);
}

#[test]
fn a_large_row_over_a_slow_link_is_a_baseline_though_it_changes() {
    let (mut cluster, [server, _], _) = narrow(15, 200, 600);
    let large = [(); 3].map(|()| spawn_large(&mut cluster, server, 200_000));
    let mut rng = Rng::new(9);
    let mut rows = 0;
    for frame in 0..7_200_u32 {
        scatter(&mut cluster, server, frame as usize, &mut rng);
        if frame % 600 == 599 {
            for &entity in &large {
                let mut entity = cluster.world(server).entity_mut(entity);
                entity.insert(Health(frame));
            }
        }
        cluster.step();
        if frame == 6_000 {
            rows = counted(&mut cluster, server).big_rows.0;
        }
    }
    assert_eq!(counted(&mut cluster, server).big_rows.0, rows);
}

#[test]
fn who_is_dismissed_after_a_large_row_hears_why() {
    let (mut cluster, [server, client], id) = narrow(13, 0, 300);
    spawn_large(&mut cluster, server, 60_000);
    cluster.run(3);
    say(&mut cluster, server, 0, 100);
    of(&mut cluster, server, id, Peer::dismiss);
    cluster.run(90);
    assert_eq!(heard(&mut cluster, client), 1);
    assert_eq!(cluster.world(client).resource::<Peers>().iter().count(), 0);
}

#[test]
fn what_is_said_reliably_does_not_wait_for_large_rows() {
    let (mut cluster, [server, client], _) = narrow(14, 0, 600);
    // Where one that is lost comes late for that alone, nothing could be said.
    cluster.change_weather(Weather::near());
    spawn_large(&mut cluster, server, 200_000);
    cluster.run(10);
    for n in 0..100 {
        say(&mut cluster, server, n, 20);
        cluster.run(4);
        let heard = heard(&mut cluster, client);
        assert!(heard + 2 > n, "{heard} of {n}");
    }
}
