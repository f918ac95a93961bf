//! A component that does not decode is named and skipped; its entity, the others and the link go on.

mod common;

use bevy::prelude::*;
use common::{Health, Label, Place, counted, get, name, pair, register, spawn_on, wait_for};
use seamless_replication::{
    ReplicateAppExt, Replicated, ReplicationStats, Replicator,
    wire::{WireError, codec},
};
use seamless_testkit::{AppId, Cluster, Weather};

/// Odd numbers mean nothing.
#[derive(Component, TypePath, Clone, Copy, PartialEq, Debug)]
struct Even(u32);

struct OnlyEven;

impl Replicator<Even> for OnlyEven {
    fn describe(&self) -> String {
        "an even number".into()
    }

    fn write(&self, component: &Even, out: &mut Vec<u8>) -> Result<(), WireError> {
        codec::encode(&component.0, out)
    }

    fn read(&self, value: &[u8]) -> Result<Even, WireError> {
        let number: u32 = codec::decode(value)?;
        if number.is_multiple_of(2) {
            return Ok(Even(number));
        }
        Err(WireError::Invalid {
            what: "even number",
            value: number.into(),
        })
    }
}

fn setup(app: &mut App) {
    register(app);
    app.replicate_as(OnlyEven);
}

fn set(cluster: &mut Cluster, app: AppId, entity: Entity, even: u32, health: u32) {
    cluster
        .world(app)
        .entity_mut(entity)
        .insert((Even(even), Health(health)));
}

fn shows(cluster: &mut Cluster, app: AppId, entity: Entity) -> (Option<Even>, Option<Health>) {
    (get(cluster, app, entity), get(cluster, app, entity))
}

#[test]
fn the_other_components_change_and_this_one_stays_until_it_decodes() {
    for loss in [0.0, 0.3] {
        let (mut cluster, apps) = pair(2, Weather::lossy(loss), setup);
        let [server, client] = apps;
        let [one, there] = spawn_on(&mut cluster, apps, (Even(2), Health(0)));
        cluster.run(30);
        for (even, health, shown) in [(3, 1, 2), (5, 2, 2), (6, 3, 6), (7, 4, 6), (6, 5, 6)] {
            set(&mut cluster, server, one, even, health);
            cluster.run_until("the others come", 100, |cluster| {
                get(cluster, client, there) == Some(Health(health))
            });
            let want = (Some(Even(shown)), Some(Health(health)));
            assert_eq!(shows(&mut cluster, client, there), want);
        }
        let stats = cluster.world(client).resource::<ReplicationStats>();
        let named = stats.undecodable.clone().expect("it was named");
        assert!(named.path.ends_with("Even"), "{named:?}");
        assert_eq!(named.entity, name(&mut cluster, server, one));
        assert!(named.error.to_string().contains("even number"), "{named:?}");
        let refused = counted(&mut cluster, client).refused;
        assert_eq!((refused.undecodable, refused.malformed), (3, 0));
    }
}

#[test]
fn a_value_that_does_not_decode_is_not_told_again_and_again() {
    let (mut cluster, apps) = pair(3, Weather::near(), setup);
    let [server, client] = apps;
    let bundle = (Replicated, Even(1), Label("new".into()));
    let fresh = cluster.world(server).spawn(bundle).id();
    let fresh = name(&mut cluster, server, fresh);
    let [changed, _] = spawn_on(&mut cluster, apps, (Even(4), Place::default()));
    set(&mut cluster, server, changed, 9, 1);
    cluster.run(60);
    let before = counted(&mut cluster, server).records;
    cluster.run(120);
    assert_eq!(counted(&mut cluster, server).records, before);
    assert_eq!(counted(&mut cluster, server).unsettled, 0);
    let fresh = wait_for(&mut cluster, client, fresh);
    assert_eq!(get(&mut cluster, client, fresh), Some(Label("new".into())));
    assert_eq!(get::<Even>(&mut cluster, client, fresh), None);
}

#[test]
fn a_clients_values_that_do_not_decode_change_nothing_else() {
    let (mut cluster, apps) = pair(4, Weather::lossy(0.1), setup);
    let [server, client] = apps;
    let bundle = (Replicated, Even(1), Place(1.0, 2.0, 3.0));
    let own = cluster.world(client).spawn(bundle).id();
    cluster.run(30);
    let own = name(&mut cluster, client, own);
    let there = wait_for(&mut cluster, server, own);
    assert_eq!(get(&mut cluster, server, there), Some(Place(1.0, 2.0, 3.0)));
    assert_eq!(get::<Even>(&mut cluster, server, there), None);
    assert!(counted(&mut cluster, server).refused.undecodable > 0);
    cluster.world(server).spawn((Replicated, Place::default()));
    cluster.run(60);
    assert!(cluster.is_ready(client) && cluster.is_ready(server));
}
