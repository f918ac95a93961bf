//! Games clone entities with Bevy's own means. The copy is another entity, on the network or off it.

mod common;

use bevy::prelude::*;
use common::{
    Label, Place,
    authority::{grab, holder, lending, move_to, wait_at},
    find, get, name, pair, settle, wait_for,
};
use seamless_authority::Delegated;
use seamless_replication::{Authority, Hosted, NetSlot, Remote, Replicated, wire::Holder};
use seamless_testkit::{AppId, Cluster, Weather};

fn clone(cluster: &mut Cluster, app: AppId, entity: Entity) -> Entity {
    let mut entity = cluster.world(app).entity_mut(entity);
    entity.clone_and_spawn()
}

#[test]
fn a_server_s_copy_is_an_entity_of_its_own() {
    for (seed, loss) in [(1, 0.0), (2, 0.3)] {
        let (mut cluster, [server, client]) = pair(seed, Weather::lossy(loss), lending);
        let bundle = (Replicated, Delegated, Place(1.0, 0.0, 0.0));
        let bundle = (bundle, Label("crate".into()));
        let first = cluster.world(server).spawn(bundle).id();
        let first_name = name(&mut cluster, server, first);
        let seen = wait_for(&mut cluster, client, first_name);
        grab(&mut cluster, client, seen);

        let copy = clone(&mut cluster, server, first);
        assert!(get::<Hosted>(&mut cluster, server, copy).is_some());
        let copy_name = name(&mut cluster, server, copy);
        assert_ne!(copy_name, first_name);
        assert_eq!(find(&mut cluster, server, first_name), Some(first));
        let copy_seen = wait_for(&mut cluster, client, copy_name);
        assert_ne!(copy_seen, seen);
        let label = get::<Label>(&mut cluster, client, copy_seen);
        assert_eq!(label, Some(Label("crate".into())));

        // Who holds the one holds no other, and each goes its own way.
        let held = holder(&mut cluster, server, first);
        assert!(matches!(held, Some(Holder::Peer(_))));
        let free = holder(&mut cluster, server, copy);
        assert_eq!(free, Some(Holder::Nobody));
        move_to(&mut cluster, client, seen, 5.0);
        move_to(&mut cluster, server, copy, 9.0);
        wait_at(&mut cluster, server, first, 5.0);
        wait_at(&mut cluster, client, copy_seen, 9.0);
        settle(&mut cluster, server, &[client]);
        grab(&mut cluster, client, copy_seen);

        cluster.world(server).despawn(first);
        cluster.run_until("the first is gone", 300, |cluster| {
            find(cluster, client, first_name).is_none()
        });
        assert_eq!(find(&mut cluster, client, copy_name), Some(copy_seen));
        settle(&mut cluster, server, &[client]);
    }
}

#[test]
fn a_client_s_copy_of_what_it_is_told_is_its_own_business() {
    let (mut cluster, [server, client]) = pair(3, Weather::lossy(0.1), lending);
    let bundle = (Replicated, Delegated, Place(1.0, 0.0, 0.0));
    let entity = cluster.world(server).spawn(bundle).id();
    let its_name = name(&mut cluster, server, entity);
    let seen = wait_for(&mut cluster, client, its_name);
    grab(&mut cluster, client, seen);
    let copy = clone(&mut cluster, client, seen);
    let world = cluster.world(client);
    let on_network =
        world.entity(copy).contains::<NetSlot>() || world.entity(copy).contains::<Remote>();
    assert!(!on_network);
    assert!(!world.entity(copy).contains::<Authority>());
    move_to(&mut cluster, server, entity, 1.0);
    move_to(&mut cluster, client, seen, 3.0);
    move_to(&mut cluster, client, copy, 70.0);
    wait_at(&mut cluster, server, entity, 3.0);
    cluster.world(client).despawn(copy);
    cluster.run(60);
    assert_eq!(find(&mut cluster, client, its_name), Some(seen));
    let entities = cluster
        .world(server)
        .query::<&NetSlot>()
        .iter(cluster.world(server))
        .count();
    assert_eq!(entities, 1);
    settle(&mut cluster, server, &[client]);
}
