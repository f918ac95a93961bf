//! Snapshots over a link: in chunks, within a budget, and nothing that a hostile end sends instead.

mod common;

use std::time::Duration;

use bevy::prelude::*;
use common::{
    Health, Label, Place, counted, differences, find, me, name, on_a_wire, pair, register, seen,
    settle,
};
use seamless_replication::{
    Peers, Registry, Replicated, ReplicationConfig,
    snapshot::{
        SendSnapshotError, SnapshotFailed, SnapshotReceived, SnapshotTransfer, TransferError,
        stage, take_snapshot, unheld,
    },
    transport::{Channel, Links},
    wire::{
        codec,
        frame::Frame,
        snapshot::{Compressor, Plain, SnapshotChunk, SnapshotError, WorldSnapshot, Zstd},
    },
};
use seamless_testkit::{AppId, Cluster, Parcel, Way, Weather};

/// What arrived and what failed.
#[derive(Resource, Default)]
struct Log(Vec<SnapshotReceived>, Vec<SnapshotFailed>);

fn setup(app: &mut App) {
    register(app);
    app.init_resource::<Log>().add_systems(
        Update,
        |mut received: MessageReader<SnapshotReceived>,
         mut failed: MessageReader<SnapshotFailed>,
         mut log: ResMut<Log>| {
            log.0.extend(received.read().cloned());
            log.1.extend(failed.read().cloned());
        },
    );
}

/// A world of this many entities that nobody sees, and its snapshot.
fn snapshot(cluster: &mut Cluster, server: AppId, entities: u32) -> WorldSnapshot {
    let world = cluster.world(server);
    let all: Vec<Entity> = (0..entities)
        .map(|n| {
            let bundle = (
                Replicated,
                Place(n as f32, (n * 7919) as f32, 0.1),
                Health(n),
                Label(format!("a crate with the number {n}")),
            );
            world.spawn(bundle).id()
        })
        .collect();
    let snapshot = take_snapshot(world, &all).expect("it encodes");
    for entity in all {
        world.despawn(entity);
    }
    snapshot
}

fn send(
    cluster: &mut Cluster,
    [from, to]: [AppId; 2],
    tag: u32,
    snapshot: &WorldSnapshot,
) -> Result<(), SendSnapshotError> {
    let client = if is_server(cluster, from) { to } else { from };
    let id = me(cluster, client);
    let world = cluster.world(from);
    let transfer = world.resource::<SnapshotTransfer>().clone();
    let mut peers = world.resource_mut::<Peers>();
    let peer = peers.iter_mut().find(|peer| peer.id() == Some(id));
    peer.expect("it is there")
        .send_snapshot(tag, snapshot, &transfer)
}

fn is_server(cluster: &mut Cluster, app: AppId) -> bool {
    cluster.world(app).resource::<Peers>().me().is_none()
}

fn log(cluster: &mut Cluster, app: AppId) -> Mut<'_, Log> {
    cluster.world(app).resource_mut::<Log>()
}

#[test]
fn a_snapshot_arrives_whole_and_becomes_a_world() {
    for loss in [0.0, 0.3] {
        let (mut cluster, apps) = pair(1, Weather::lossy(loss), setup);
        let [server, client] = apps;
        let sent = snapshot(&mut cluster, server, 2000);
        cluster.run(60);
        send(&mut cluster, apps, 7, &sent).expect("it is sent");
        cluster.run_until("it is there", 900, |c| log(c, client).0.len() == 1);
        let received = log(&mut cluster, client).0.remove(0);
        assert_eq!((received.tag, &*received.snapshot), (7, &sent));
        assert_eq!(received.peer, me(&mut cluster, client));
        // Into a world of its own.
        let mut other = Cluster::new(9, setup);
        let place = other.server();
        let registry = other.world(place).resource::<Registry>().clone();
        let staged = stage(&registry, &received.snapshot).expect("the same build");
        let loaded = staged.spawn(other.world(place), |_, tenure| unheld(tenure));
        assert_eq!(loaded.len(), 2000);
        assert_eq!(
            other.world(place).get::<Health>(loaded[1999]),
            Some(&Health(1999))
        );
    }
}

#[test]
fn a_snapshot_that_the_end_of_its_link_cuts_short_is_named() {
    for grace in [0, 60] {
        let (mut cluster, apps) = pair(3, Weather::near(), setup);
        let [server, client] = apps;
        for app in apps {
            let mut config = cluster.world(app).resource_mut::<ReplicationConfig>();
            config.resume_grace = Duration::from_secs(grace);
        }
        let large = snapshot(&mut cluster, server, 20_000);
        send(&mut cluster, apps, 7, &large).expect("it is sent");
        cluster.run(30);
        let mut links = cluster.world(client).resource_mut::<Links>();
        links.iter_mut().next().expect("it stands").abandon();
        cluster.run(10);
        let log = log(&mut cluster, client);
        assert!(log.0.is_empty());
        let [failed] = &log.1[..] else {
            panic!("{:?}", log.1)
        };
        assert_eq!((failed.tag, &failed.error), (7, &TransferError::LinkEnded));
    }
}

#[test]
fn the_world_goes_on_while_a_large_snapshot_is_under_way() {
    let (mut cluster, apps) = pair(2, Weather::near(), setup);
    let [server, client] = apps;
    let mover = cluster
        .world(server)
        .spawn((Replicated, Place::default()))
        .id();
    let mover_name = name(&mut cluster, server, mover);
    let large = snapshot(&mut cluster, server, 20_000);
    let options = SnapshotTransfer {
        compressor: std::sync::Arc::new(Plain),
        ..SnapshotTransfer::default()
    };
    cluster.world(server).insert_resource(options);
    cluster.run(60);
    send(&mut cluster, apps, 1, &large).expect("it is sent");
    let budget = ReplicationConfig::default().bytes_per_tick as u64;
    let mut last = counted(&mut cluster, server).bytes.1;
    let mut ticks = 0;
    while log(&mut cluster, client).0.is_empty() {
        ticks += 1;
        assert!(ticks < 2000);
        cluster
            .world(server)
            .get_mut::<Place>(mover)
            .expect("it has one")
            .0 = ticks as f32;
        cluster.step();
        let now = counted(&mut cluster, server).bytes.1;
        // A packet over, and heads.
        assert!(now - last < budget + 3_000, "{}", now - last);
        last = now;
        let there = find(&mut cluster, client, mover_name).expect("it is there");
        let seen = cluster
            .world(client)
            .get::<Place>(there)
            .expect("it has one")
            .0;
        assert!(ticks < 10 || ticks as f32 - seen < 8.0, "{seen} at {ticks}");
    }
    assert!(ticks > 40, "paced: {ticks}");
    assert_eq!(*log(&mut cluster, client).0[0].snapshot, large);
}

#[test]
fn several_snapshots_come_one_after_the_other() {
    let (mut cluster, apps) = pair(3, Weather::lossy(0.1), setup);
    let [server, client] = apps;
    let sent: Vec<_> = [10, 300, 1, 50]
        .map(|n| snapshot(&mut cluster, server, n))
        .into();
    cluster.run(30);
    for (tag, snapshot) in sent.iter().enumerate() {
        send(&mut cluster, apps, tag as u32, snapshot).expect("it is sent");
    }
    let more = send(&mut cluster, apps, 9, &sent[0]);
    assert_eq!(more, Err(SendSnapshotError::Busy));
    cluster.run_until("all are there", 900, |c| log(c, client).0.len() == 4);
    let received = std::mem::take(&mut log(&mut cluster, client).0);
    for (at, received) in received.iter().enumerate() {
        assert_eq!((received.tag, &*received.snapshot), (at as u32, &sent[at]));
    }
    assert!(log(&mut cluster, client).1.is_empty());
}

#[test]
fn a_server_takes_snapshots_from_clients_only_if_it_wants_them() {
    let (mut cluster, [server, client]) = pair(4, Weather::near(), setup);
    let sent = snapshot(&mut cluster, server, 20);
    cluster.run(30);
    send(&mut cluster, [client, server], 1, &sent).expect("it is sent");
    cluster.run(60);
    assert_eq!(log(&mut cluster, server).0.len(), 0);
    let failed = log(&mut cluster, server).1.remove(0);
    assert_eq!((failed.tag, failed.error), (1, TransferError::NotTaken));
    let id = me(&mut cluster, client);
    cluster
        .world(server)
        .resource_mut::<SnapshotTransfer>()
        .max_from_client = 1 << 20;
    send(&mut cluster, [client, server], 2, &sent).expect("it is sent");
    cluster.run_until("it is there", 100, |c| log(c, server).0.len() == 1);
    let received = log(&mut cluster, server).0.remove(0);
    assert_eq!(
        (received.tag, received.peer, &*received.snapshot),
        (2, id, &sent)
    );
}

/// Chunks that are put on the bulk channel towards a server that takes 64 KiB from clients.
struct Attack {
    cluster: Cluster,
    server: AppId,
    client: AppId,
    wire: seamless_testkit::Wire,
}

fn attack() -> Attack {
    let (mut cluster, [server, client], wire) = on_a_wire(setup);
    cluster
        .world(server)
        .resource_mut::<SnapshotTransfer>()
        .max_from_client = 64 << 10;
    cluster
        .world(server)
        .spawn((Replicated, Place(1.0, 2.0, 3.0)));
    settle(&mut cluster, server, &[client]);
    Attack {
        cluster,
        server,
        client,
        wire,
    }
}

impl Attack {
    fn put(&mut self, tag: u32, chunk: SnapshotChunk) {
        let chunk = Box::new(chunk);
        let bytes = codec::to_vec(&Frame::Chunk { tag, chunk }).expect("it encodes");
        self.wire.put(Parcel {
            way: Way::ToServer,
            channel: Some(Channel::Bulk),
            bytes,
        });
    }

    /// Nothing arrived, the link stands and the world is as it was. Gives what failed.
    fn check(&mut self) -> Vec<TransferError> {
        self.cluster.run(5);
        assert_eq!(log(&mut self.cluster, self.server).0.len(), 0);
        assert!(self.cluster.is_ready(self.server));
        let want = seen(&mut self.cluster, self.server);
        let got = seen(&mut self.cluster, self.client);
        assert_eq!(differences(&got, &want), None);
        let failed = std::mem::take(&mut log(&mut self.cluster, self.server).1);
        failed.into_iter().map(|failed| failed.error).collect()
    }
}

fn chunk(index: u32, count: u32, total: u32, payload: Vec<u8>) -> SnapshotChunk {
    SnapshotChunk {
        index,
        count,
        total,
        digest: 7,
        compressor: 0,
        dictionary: 0,
        payload,
    }
}

#[test]
fn a_chunk_that_unpacks_to_too_much_is_given_up() {
    let mut attack = attack();
    let mut bomb = Vec::new();
    Zstd::new(19).compress(&vec![0; 1 << 20], &mut bomb);
    assert!(bomb.len() < 200);
    for (tag, total) in [(1, 60_000), (2, 64 << 10)] {
        let mut chunk = chunk(0, 2, total, bomb.clone());
        chunk.compressor = Zstd::ID;
        attack.put(tag, chunk);
        let failed = attack.check();
        assert!(
            matches!(
                failed[..],
                [TransferError::Chunk(SnapshotError::Bomb { .. })]
            ),
            "{failed:?}"
        );
    }
}

#[test]
fn lengths_that_lie_are_refused_before_anything_is_gathered() {
    let mut attack = attack();
    for (tag, lie) in [
        chunk(0, 2, u32::MAX, vec![1; 10]),
        chunk(0, u32::MAX, 60_000, vec![1; 10]),
        chunk(0, 0, 0, vec![1; 10]),
        chunk(0, 2, 5, vec![1; 10]),
        chunk(0, 1, 60_000, vec![1; 10]),
        chunk(0, 1, 10, Vec::new()),
    ]
    .into_iter()
    .enumerate()
    {
        attack.put(tag as u32, lie);
        let failed = attack.check();
        assert!(
            matches!(failed[..], [TransferError::Chunk(_)]),
            "{failed:?}"
        );
    }
}

#[test]
fn chunks_out_of_order_or_of_another_snapshot_end_it() {
    let mut attack = attack();
    let piece = || vec![1; 100];
    attack.put(1, chunk(0, 3, 300, piece()));
    attack.put(1, chunk(2, 3, 300, piece()));
    // What follows is dropped unread.
    attack.put(1, chunk(1, 3, 300, piece()));
    attack.put(1, chunk(2, 3, 300, piece()));
    let order = |wanted, found| TransferError::Order { wanted, found };
    assert_eq!(attack.check(), [order(1, 2)]);
    attack.put(2, chunk(0, 3, 300, piece()));
    attack.put(3, chunk(1, 3, 300, piece()));
    assert_eq!(attack.check(), [order(1, 1)]);
    attack.put(4, chunk(0, 3, 300, piece()));
    attack.put(4, chunk(0, 3, 300, piece()));
    assert_eq!(attack.check(), [order(1, 0)]);
    attack.put(5, chunk(0, 3, 300, piece()));
    let mut other = chunk(1, 3, 300, piece());
    other.digest = 8;
    attack.put(5, other);
    assert!(matches!(
        attack.check()[..],
        [TransferError::Chunk(SnapshotError::Mixed { .. })]
    ));
}

#[test]
fn a_whole_that_is_not_what_its_chunks_said_is_dropped() {
    let mut attack = attack();
    attack.put(1, chunk(0, 2, 200, vec![1; 100]));
    attack.put(1, chunk(1, 2, 200, vec![2; 100]));
    assert!(matches!(
        attack.check()[..],
        [TransferError::Chunk(SnapshotError::Digest { .. })]
    ));
    // The digest is right, the rows are not.
    let bytes = vec![0xff; 200];
    let mut lie = chunk(0, 1, 200, bytes.clone());
    lie.digest = seamless_replication::wire::snapshot::digest(&bytes);
    attack.put(2, lie);
    assert!(matches!(
        attack.check()[..],
        [TransferError::Chunk(SnapshotError::Wire(_))]
    ));
}

#[test]
fn a_flood_of_beginnings_is_cut_off_and_then_the_link() {
    let mut attack = attack();
    for tag in 0..40 {
        attack.put(tag, chunk(0, 2, 60_000, vec![0; 100]));
    }
    let failed = attack.check();
    let fast = failed
        .iter()
        .filter(|e| **e == TransferError::TooFast)
        .count();
    assert!(fast >= 20, "{failed:?}");
    for tag in 0..400 {
        attack.put(tag, chunk(0, 2, 60_000, vec![0; 10]));
    }
    attack.cluster.run(10);
    let server = attack.server;
    let peers = attack
        .cluster
        .world(server)
        .resource::<Peers>()
        .iter()
        .count();
    assert_eq!(peers, 0, "closed");
}
