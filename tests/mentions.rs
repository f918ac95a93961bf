//! Messages and the state of what they speak of.

mod common;

use std::collections::HashMap;

use bevy::{ecs::entity::MapEntities, prelude::*};
use common::{Health, Place, find, name, pair, ready, settle, show, state_sent};
use seamless_replication::{
    Audience, NetClock, ReplicateAppExt, Replicated, ReplicationConfig,
    messages::{Delivery, Direction, FromPeer, MessageAppExt, Target, ToPeers},
    wire::Tick,
};
use seamless_testkit::{AppId, Cluster, Fate, Rng, Way, Weather};
use serde::{Deserialize, Serialize};

/// What has happened to something, with its health then.
#[derive(TypePath, Serialize, Deserialize, MapEntities, Clone, Debug)]
struct Hit(#[entities] Entity, u32);

/// The same, without a promise to arrive.
#[derive(TypePath, Serialize, Deserialize, MapEntities, Clone, Debug)]
struct Spark(#[entities] Entity, u32);

/// Speaks of nothing.
#[derive(TypePath, Serialize, Deserialize, MapEntities, Clone, Debug)]
struct Word(u32);

/// A message as it was heard.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Heard {
    number: u32,
    unresolved: bool,
    tick: Tick,
    /// Health of what it spoke of when it was heard.
    health: Option<u32>,
    /// Our own tick when it was heard.
    at: Tick,
}

#[derive(Resource, Default)]
struct Log {
    hits: Vec<Heard>,
    sparks: Vec<Heard>,
    words: Vec<Heard>,
}

fn setup(app: &mut App) {
    common::register(app);
    app.net_message::<Hit>(Direction::Both, Delivery::Reliable)
        .net_message::<Spark>(Direction::Both, Delivery::Unreliable)
        .net_message::<Word>(Direction::Both, Delivery::Reliable)
        .init_resource::<Log>()
        .add_systems(Update, listen);
}

fn listen(
    mut log: ResMut<Log>,
    clock: Res<NetClock>,
    healths: Query<&Health>,
    mut hits: MessageReader<FromPeer<Hit>>,
    mut sparks: MessageReader<FromPeer<Spark>>,
    mut words: MessageReader<FromPeer<Word>>,
) {
    let at = clock.tick();
    let heard = |entity: Entity, number, unresolved, tick| Heard {
        number,
        unresolved,
        tick,
        health: healths.get(entity).ok().map(|health| health.0),
        at,
    };
    log.hits.extend(
        hits.read()
            .map(|m| heard(m.message.0, m.message.1, m.unresolved, m.tick)),
    );
    log.sparks.extend(
        sparks
            .read()
            .map(|m| heard(m.message.0, m.message.1, m.unresolved, m.tick)),
    );
    log.words.extend(
        words
            .read()
            .map(|m| heard(Entity::PLACEHOLDER, m.message.0, m.unresolved, m.tick)),
    );
}

fn all<M: Clone + Send + Sync + 'static>(cluster: &mut Cluster, app: AppId, message: M) {
    let to = Target::All;
    cluster.world(app).write_message(ToPeers { to, message });
}

fn spawn(cluster: &mut Cluster, server: AppId, n: u32) -> Entity {
    let place = Place(n as f32, 0.0, 0.0);
    let bundle = (Replicated, place, Health(0));
    cluster.world(server).spawn(bundle).id()
}

fn log(cluster: &mut Cluster, app: AppId) -> Mut<'_, Log> {
    cluster.world(app).resource_mut::<Log>()
}

/// Nobody is told.
#[derive(Component, TypePath, Serialize, Deserialize, Clone, PartialEq, Debug)]
struct Secret(u32);

#[test]
fn no_message_is_heard_before_the_state_that_it_speaks_of() {
    heard_after_their_states(|_| {});
}

#[test]
fn nor_before_that_of_what_is_told_in_part() {
    heard_after_their_states(|target| {
        target.insert(Secret(7));
    });
}

fn heard_after_their_states(add: fn(&mut EntityWorldMut)) {
    let (mut sparks, mut flagged) = (0, 0);
    for seed in 0..4 {
        let (mut cluster, [server, client]) = pair(seed, Weather::lossy(0.3), |app| {
            setup(app);
            let _ = app.replicate::<Secret>().visible_to(Audience::nobody());
        });
        let mut rng = Rng::new(seed);
        let targets: Vec<Entity> = (0..20).map(|n| spawn(&mut cluster, server, n)).collect();
        for &target in &targets {
            add(&mut cluster.world(server).entity_mut(target));
        }
        cluster.run(120);
        let mut sent = HashMap::new();
        for number in 1..=200 {
            let target = targets[rng.below(targets.len())];
            let world = cluster.world(server);
            *world.get_mut::<Health>(target).expect("there") = Health(number);
            all(&mut cluster, server, Hit(target, number));
            all(&mut cluster, server, Spark(target, number));
            cluster.step();
            sent.insert(number, cluster.world(server).resource::<NetClock>().tick());
        }
        cluster.run(240);
        let log = log(&mut cluster, client);
        let numbers: Vec<u32> = log.hits.iter().map(|heard| heard.number).collect();
        assert_eq!(numbers, (1..=200).collect::<Vec<_>>(), "seed {seed}");
        for heard in log.hits.iter().chain(&log.sparks) {
            assert_eq!(Some(&heard.tick), sent.get(&heard.number), "{heard:?}");
            let is_here = heard.health.is_some_and(|health| health >= heard.number);
            assert!(is_here || heard.unresolved, "seed {seed}: {heard:?}");
            flagged += u32::from(heard.unresolved);
        }
        sparks += log.sparks.len();
    }
    assert!(sparks > 400, "{sparks} of 800 sparks");
    assert!(flagged < 40, "{flagged} waited for a second in vain");
}

#[test]
fn none_overtakes_another_of_its_type_and_other_types_do_not_wait() {
    for seed in 0..4 {
        let (mut cluster, [server, client]) = pair(seed, Weather::lossy(0.3), setup);
        let [hidden, shown] = [0, 1].map(|n| spawn(&mut cluster, server, n));
        show(&mut cluster, server, hidden, false);
        cluster.run(60);
        for number in 0..30 {
            // Every tenth speaks of what the client never sees, and waits for a second.
            let about = if number % 10 == 0 { hidden } else { shown };
            all(&mut cluster, server, Hit(about, number));
            all(&mut cluster, server, Word(number));
            cluster.step();
        }
        cluster.run(240);
        let log = log(&mut cluster, client);
        let order = |all: &[Heard]| all.iter().map(|heard| heard.number).collect::<Vec<_>>();
        assert_eq!(order(&log.hits), (0..30).collect::<Vec<_>>(), "seed {seed}");
        assert_eq!(order(&log.words), (0..30).collect::<Vec<_>>());
        for (hit, word) in log.hits.iter().zip(&log.words) {
            assert_eq!(hit.unresolved, hit.number % 10 == 0, "{hit:?}");
            assert!(hit.at >= word.at, "{hit:?} {word:?}");
        }
        // The word that was sent with the first hit did not wait for it.
        let (hit, word) = (log.hits[0], log.words[0]);
        assert!(hit.at.since(word.at) >= 20, "{hit:?} {word:?}");
    }
}

#[test]
fn when_too_many_wait_they_come_flagged_and_in_their_order() {
    let (mut cluster, [server, client]) = pair(1, Weather::lossy(0.05), setup);
    let hidden = spawn(&mut cluster, server, 0);
    show(&mut cluster, server, hidden, false);
    cluster.run(30);
    const COUNT: u32 = 3000;
    for number in 0..COUNT {
        all(&mut cluster, server, Hit(hidden, number));
    }
    cluster.run(200);
    let log = log(&mut cluster, client);
    let order: Vec<u32> = log.hits.iter().map(|heard| heard.number).collect();
    assert_eq!(order, (0..COUNT).collect::<Vec<_>>());
    assert!(log.hits.iter().all(|heard| heard.unresolved));
}

#[test]
fn what_a_message_speaks_of_goes_before_others() {
    const COUNT: u32 = 400;
    let mut cluster = Cluster::new(5, |app| {
        setup(app);
        app.world_mut()
            .resource_mut::<ReplicationConfig>()
            .bytes_per_tick = 500;
    });
    cluster.set_weather(Weather::lossy(0.05));
    let server = cluster.server();
    let client = cluster.client(server);
    ready(&mut cluster, client);
    let crowd: Vec<Entity> = (0..COUNT).map(|n| spawn(&mut cluster, server, n)).collect();
    let last = name(&mut cluster, server, crowd[COUNT as usize - 1]);
    cluster.run_until("all are there", 900, |cluster| {
        find(cluster, client, last).is_some()
    });
    let mut rng = Rng::new(5);
    let mut sent = HashMap::new();
    for number in 1..=300 {
        // All want to be told, and few are.
        let world = cluster.world(server);
        for (n, &entity) in crowd.iter().enumerate() {
            let x = number as f32 * 7.3 + n as f32;
            *world.get_mut::<Place>(entity).expect("there") = Place(x.sin(), x.cos(), x);
        }
        if number % 10 == 0 {
            let entity = crowd[rng.below(crowd.len())];
            *world.get_mut::<Health>(entity).expect("there") = Health(number);
            all(&mut cluster, server, Hit(entity, number));
        }
        cluster.step();
        sent.insert(number, cluster.world(server).resource::<NetClock>().tick());
    }
    cluster.run(60);
    let log = log(&mut cluster, client);
    assert_eq!(log.hits.len(), 30);
    let mut waits: Vec<u32> = log
        .hits
        .iter()
        .map(|heard| heard.at.since(sent[&heard.number]))
        .collect();
    waits.sort_unstable();
    // In their turn they would go some ten ticks later. One or two messages are themselves lost.
    assert!(waits[15] <= 3 && waits[26] <= 6, "{waits:?}");
    assert!(
        log.hits.iter().all(|heard| !heard.unresolved),
        "{:?}",
        log.hits
    );
}

#[test]
fn what_comes_early_because_too_many_wait_says_that_its_state_is_not_here() {
    let mut cluster = Cluster::new(2, setup);
    cluster.set_weather(Weather::clear());
    let server = cluster.server();
    let (client, wire) = cluster.client_over_wire(server);
    ready(&mut cluster, client);
    let target = spawn(&mut cluster, server, 0);
    cluster.run(20);
    // Rows are lost, messages are not.
    wire.decide(|parcel| match (parcel.way, parcel.channel) {
        (Way::ToClient, None) => Fate::Lose,
        _ => Fate::Pass,
    });
    let world = cluster.world(server);
    *world.get_mut::<Health>(target).expect("there") = Health(1);
    const COUNT: u32 = 1100;
    for _ in 0..COUNT {
        all(&mut cluster, server, Hit(target, 1));
    }
    cluster.run(15);
    let early = log(&mut cluster, client).hits.clone();
    assert!(early.len() > 1000, "{} came early", early.len());
    assert!(early.iter().all(|heard| heard.health == Some(0)));
    assert!(early.iter().all(|heard| heard.unresolved));
    wire.pass();
    cluster.run(60);
    let hits = &log(&mut cluster, client).hits;
    assert_eq!(hits.len(), COUNT as usize);
}

#[test]
fn what_the_peer_is_known_to_have_need_not_be_said() {
    const SPARKS: u64 = 40;
    let (mut cluster, [server, client]) = pair(3, Weather::lossy(0.05), setup);
    let mut config = cluster.world(server).resource_mut::<ReplicationConfig>();
    config.audit_per_second = 0;
    let target = spawn(&mut cluster, server, 0);
    settle(&mut cluster, server, &[client]);
    cluster.run(60);
    // Bytes of datagrams with a message each, about what rests and about what changes.
    let mut bytes = [0, 1].map(|changes| {
        let before = state_sent(&mut cluster, server);
        for n in 0..SPARKS as u32 {
            let mut health = cluster.world(server).get_mut::<Health>(target);
            health.as_mut().expect("it is there").0 += changes;
            all(&mut cluster, server, Spark(target, n));
            cluster.step();
        }
        let after = state_sent(&mut cluster, server);
        assert!(after.packets - before.packets >= SPARKS);
        (after.bytes - before.bytes) / SPARKS
    });
    let [rests, changes] = &mut bytes;
    // A record takes some bytes, what is said of an entity takes 12.
    assert!(*changes >= *rests + 12, "{rests} and {changes} bytes");
    let healths = log(&mut cluster, client);
    let early = healths.sparks.iter().filter(|spark| spark.unresolved);
    assert_eq!(early.count(), 0);
}
