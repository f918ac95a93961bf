//! Hierarchies while parents and children come into sight and leave it.

mod common;

use bevy::{ecs::entity_disabling::Disabled, prelude::*};
use common::{Place, find, get, name, pair, register, wait_for};
use seamless_replication::{
    Hosted, NetSlot, Peers, Remote, ReplicateAppExt, Replicated, ReplicationConfig,
};
use seamless_testkit::{AppId, Cluster, Weather};
use serde::{Deserialize, Serialize};

const A_WHILE: usize = 60;

fn setup(app: &mut App) {
    register(app);
    app.replicate_with_entities::<ChildOf>();
}

fn show(cluster: &mut Cluster, server: AppId, entity: Entity, shown: bool) {
    let world = cluster.world(server);
    let slot = *world.get::<NetSlot>(entity).expect("on the network");
    for peer in world.resource_mut::<Peers>().iter_mut() {
        peer.interest_mut().except(&slot, Some(shown));
    }
}

fn spawn(cluster: &mut Cluster, server: AppId) -> Entity {
    let bundle = (Replicated, Place::default());
    cluster.world(server).spawn(bundle).id()
}

/// A server, a client, and a parent with a child on the server.
fn family(seed: u64) -> (Cluster, [AppId; 2], [Entity; 2]) {
    family_in(seed, Weather::near())
}

fn family_in(seed: u64, weather: Weather) -> (Cluster, [AppId; 2], [Entity; 2]) {
    let (mut cluster, [server, client]) = pair(seed, weather, setup);
    let parent = spawn(&mut cluster, server);
    let child = spawn(&mut cluster, server);
    cluster
        .world(server)
        .entity_mut(child)
        .insert(ChildOf(parent));
    let child_name = name(&mut cluster, server, child);
    wait_for(&mut cluster, client, child_name);
    cluster.run(A_WHILE);
    (cluster, [server, client], [parent, child])
}

/// The child on the client is the child of the parent on the client.
fn is_together(
    cluster: &mut Cluster,
    [server, client]: [AppId; 2],
    [parent, child]: [Entity; 2],
) -> bool {
    let names = [parent, child].map(|entity| name(cluster, server, entity));
    let [parent, child] = names.map(|name| find(cluster, client, name));
    let above = get::<ChildOf>(cluster, client, child.expect("it is in sight"));
    above.map(|above| above.parent()) == Some(parent.expect("it is in sight"))
}

#[test]
fn a_child_is_under_its_parent_again_when_the_parent_was_out_of_sight() {
    let (mut cluster, apps, family) = family(1);
    assert!(is_together(&mut cluster, apps, family));
    show(&mut cluster, apps[0], family[0], false);
    cluster.run(A_WHILE);
    show(&mut cluster, apps[0], family[0], true);
    cluster.run(A_WHILE);
    assert!(is_together(&mut cluster, apps, family));
}

#[test]
fn a_child_is_under_its_parent_again_when_it_was_out_of_sight_itself() {
    let (mut cluster, apps, family) = family(2);
    show(&mut cluster, apps[0], family[1], false);
    cluster.run(A_WHILE);
    show(&mut cluster, apps[0], family[1], true);
    cluster.run(A_WHILE);
    assert!(is_together(&mut cluster, apps, family));
}

#[test]
fn a_parent_that_is_seen_after_its_child_has_it() {
    let (mut cluster, [server, client]) = pair(3, Weather::near(), setup);
    let parent = spawn(&mut cluster, server);
    show(&mut cluster, server, parent, false);
    let child = spawn(&mut cluster, server);
    cluster
        .world(server)
        .entity_mut(child)
        .insert(ChildOf(parent));
    let child_name = name(&mut cluster, server, child);
    wait_for(&mut cluster, client, child_name);
    cluster.run(A_WHILE);
    show(&mut cluster, server, parent, true);
    cluster.run(A_WHILE);
    assert!(is_together(&mut cluster, [server, client], [parent, child]));
}

#[test]
fn a_parent_that_goes_takes_its_children_with_it() {
    let (mut cluster, apps, [parent, child]) = family(4);
    let names = [parent, child].map(|entity| name(&mut cluster, apps[0], entity));
    cluster.world(apps[0]).despawn(parent);
    cluster.run(A_WHILE);
    assert_eq!(
        names.map(|name| find(&mut cluster, apps[1], name)),
        [None; 2]
    );
}

#[test]
fn a_child_that_is_disabled_stays_when_its_parent_is_out_of_sight() {
    let (mut cluster, [server, client], [parent, child]) = family(5);
    let child = name(&mut cluster, server, child);
    let there = find(&mut cluster, client, child).expect("it is in sight");
    cluster.world(client).entity_mut(there).insert(Disabled);
    show(&mut cluster, server, parent, false);
    // What nothing refers to goes within a second.
    cluster.run(2 * A_WHILE);
    assert_eq!(find(&mut cluster, client, child), Some(there));
    show(&mut cluster, server, parent, true);
    cluster.run(A_WHILE);
    let above = get::<ChildOf>(&mut cluster, client, there).map(|above| above.parent());
    let parent = name(&mut cluster, server, parent);
    assert_eq!(above, find(&mut cluster, client, parent));
}

#[test]
fn what_is_published_in_the_place_of_a_parent_to_come_stays_the_clients_own() {
    for seed in 0..4 {
        let (mut cluster, [server, client]) = pair(seed, Weather::lossy(0.3), setup);
        let parent = spawn(&mut cluster, server);
        show(&mut cluster, server, parent, false);
        let child = spawn(&mut cluster, server);
        cluster.world(server).entity_mut(parent).add_child(child);
        let child = name(&mut cluster, server, child);
        let child = wait_for(&mut cluster, client, child);
        // The client has an empty entity in the parent's place.
        let world = cluster.world(client);
        let reserved = world.get::<ChildOf>(child).expect("a parent").parent();
        world.entity_mut(reserved).insert(Replicated);
        show(&mut cluster, server, parent, true);
        let global = name(&mut cluster, server, parent);
        let there = wait_for(&mut cluster, client, global);
        assert_ne!(there, reserved, "seed {seed}");
        let world = cluster.world(client);
        assert!(world.get::<Hosted>(reserved).is_some(), "seed {seed}");
        assert!(world.get::<Remote>(reserved).is_none(), "seed {seed}");
    }
}

#[test]
fn who_sees_what_hung_on_a_parent_go_may_despawn_any_of_them() {
    for despawned in 0..3 {
        let (mut cluster, apps, [parent, child]) = family_in(9, Weather::lossy(0.3));
        let [server, client] = apps;
        let bundle = (Replicated, Place::default(), ChildOf(parent));
        let sibling = cluster.world(server).spawn(bundle).id();
        cluster.run(A_WHILE);
        let names = [parent, child, sibling].map(|entity| name(&mut cluster, server, entity));
        let here = names.map(|name| find(&mut cluster, client, name).expect("in sight"));
        cluster.world(client).spawn((Plate, ChildOf(here[0])));
        let app = cluster.app(client);
        app.add_observer(move |_: On<Remove, Plate>, mut commands: Commands| {
            commands.entity(here[despawned]).try_despawn();
        });
        show(&mut cluster, server, parent, false);
        cluster.run_until("it is out of sight", 300, |cluster| {
            find(cluster, client, names[0]).is_none()
        });
        // With the parent go its children, as Bevy has it.
        for at in 1..3 {
            let is_here = find(&mut cluster, client, names[at]) == Some(here[at]);
            assert_eq!(is_here, despawned != 0 && despawned != at, "{despawned}");
        }
        // What is still in sight comes back, and so does the parent.
        show(&mut cluster, server, parent, true);
        for at in [child, sibling] {
            let at_name = name(&mut cluster, server, at);
            wait_for(&mut cluster, client, names[0]);
            wait_for(&mut cluster, client, at_name);
            cluster.run_until("it is with its parent", 300, |cluster| {
                is_together(cluster, apps, [parent, at])
            });
        }
    }
}

/// Stands on a ship, and needs it not.
#[derive(Component, TypePath, Serialize, Deserialize, Clone, PartialEq, Debug)]
#[relationship(relationship_target = Crew)]
struct OnShip(#[entities] Entity);

#[derive(Component, Default, Debug)]
#[relationship_target(relationship = OnShip)]
struct Crew(Vec<Entity>);

/// What a client hangs over what it sees.
#[derive(Component)]
struct Plate;

fn with_ships(app: &mut App) {
    setup(app);
    app.replicate_with_entities::<OnShip>();
    // What is looked at here must be right at once, and not when it is found to be wrong.
    let mut config = app.world_mut().resource_mut::<ReplicationConfig>();
    config.audit_per_second = 0;
    config.audit_world = false;
}

#[test]
fn who_refers_to_what_is_out_of_sight_refers_to_it_still() {
    for (seed, loss) in [(11, 0.0), (12, 0.3)] {
        let (mut cluster, [server, client]) = pair(seed, Weather::lossy(loss), with_ships);
        let ship = spawn(&mut cluster, server);
        let sailor = spawn(&mut cluster, server);
        let world = cluster.world(server);
        world.entity_mut(sailor).insert(OnShip(ship));
        let [ship_name, sailor_name] = [ship, sailor].map(|it| name(&mut cluster, server, it));
        let sailor_seen = wait_for(&mut cluster, client, sailor_name);
        wait_for(&mut cluster, client, ship_name);
        for _ in 0..3 {
            show(&mut cluster, server, ship, false);
            cluster.run_until("the ship is gone", 300, |cluster| {
                find(cluster, client, ship_name).is_none()
            });
            cluster.run(10);
            let on = get::<OnShip>(&mut cluster, client, sailor_seen);
            assert!(on.is_some(), "its row says so");
            show(&mut cluster, server, ship, true);
            let ship_seen = wait_for(&mut cluster, client, ship_name);
            let on = get::<OnShip>(&mut cluster, client, sailor_seen);
            assert_eq!(on, Some(OnShip(ship_seen)));
            let crew = cluster.world(client).get::<Crew>(ship_seen);
            assert_eq!(crew.expect("it has one").0, [sailor_seen]);
        }
    }
}

#[test]
fn what_a_client_hangs_on_an_entity_goes_with_it() {
    for (seed, loss) in [(13, 0.0), (14, 0.3)] {
        let (mut cluster, [server, client]) = pair(seed, Weather::lossy(loss), |app| {
            with_ships(app);
            app.add_observer(|seen: On<Add, Remote>, mut commands: Commands| {
                commands.spawn((Plate, ChildOf(seen.entity)));
            });
        });
        let ship = spawn(&mut cluster, server);
        let sailor = spawn(&mut cluster, server);
        let boat = spawn(&mut cluster, server);
        let world = cluster.world(server);
        world.entity_mut(sailor).insert(OnShip(ship));
        world.entity_mut(boat).insert(ChildOf(ship));
        let names = [ship, sailor, boat].map(|it| name(&mut cluster, server, it));
        for name in names {
            wait_for(&mut cluster, client, name);
        }
        let plates = |cluster: &mut Cluster| {
            let world = cluster.world(client);
            world
                .query_filtered::<(), With<Plate>>()
                .iter(world)
                .count()
        };
        cluster.run(3);
        assert_eq!(plates(&mut cluster), 3);
        for _ in 0..3 {
            show(&mut cluster, server, ship, false);
            cluster.run_until("the ship is gone", 300, |cluster| {
                find(cluster, client, names[0]).is_none()
            });
            assert_eq!(plates(&mut cluster), 2);
            show(&mut cluster, server, ship, true);
            let seen = wait_for(&mut cluster, client, names[0]);
            cluster.run(3);
            assert_eq!(plates(&mut cluster), 3);
            let boat = find(&mut cluster, client, names[2]).expect("it is in sight");
            let above = get::<ChildOf>(&mut cluster, client, boat);
            assert_eq!(above.map(|above| above.parent()), Some(seen));
        }
    }
}
