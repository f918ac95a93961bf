//! What games do with entities that can be lent: ask for them as they come, and despawn what they hold.

mod common;

use bevy::prelude::*;
use common::{
    Health, Label, Place,
    authority::{Three, at, grab, holder, lending, move_to, three, view, wait_at, weathers},
    find, get, name, pair, settle, wait_for,
};
use seamless_authority::{AuthorityCommandsExt, AuthorityView, Delegated, Published};
use seamless_replication::{Remote, Replicated, wire::Holder};
use seamless_testkit::Weather;

#[test]
fn an_entity_can_be_asked_for_as_it_comes() {
    for (seed, loss) in [(1, 0.0), (2, 0.3)] {
        let (mut cluster, [server, client]) = pair(seed, Weather::lossy(loss), lending);
        let app = cluster.app(client);
        app.add_observer(|came: On<Add, Remote>, mut commands: Commands| {
            commands.entity(came.entity).request_authority();
        });
        let crates: Vec<Entity> = (0..30)
            .map(|n| {
                let bundle = (Replicated, Delegated, Place(n as f32, 0.0, 0.0));
                cluster.world(server).spawn(bundle).id()
            })
            .collect();
        for (n, &entity) in crates.iter().enumerate() {
            let its_name = name(&mut cluster, server, entity);
            let there = wait_for(&mut cluster, client, its_name);
            cluster.run_until("it is granted", 300, |cluster| {
                view(cluster, client, there) == Some(AuthorityView::Granted)
            });
            move_to(&mut cluster, client, there, 100.0 + n as f32);
            wait_at(&mut cluster, server, entity, 100.0 + n as f32);
        }
    }
}

#[test]
fn what_a_client_spawned_can_be_published_as_it_comes() {
    for (seed, weather) in weathers().take(3) {
        let mut game = three((seed, weather));
        let [client, other] = game.clients;
        let app = game.cluster.app(game.server);
        app.add_observer(|came: On<Add, Remote>, mut commands: Commands| {
            commands.entity(came.entity).publish();
        });
        let bundle = (Replicated, Place(7.0, 0.0, 0.0));
        let own = game.cluster.world(client).spawn(bundle).id();
        let its_name = name(&mut game.cluster, client, own);
        let there = wait_for(&mut game.cluster, other, its_name);
        wait_at(&mut game.cluster, other, there, 7.0);
        game.cluster.run_until("its owner knows", 300, |cluster| {
            cluster.world(client).get::<Published>(own).is_some()
        });
    }
}

#[test]
fn what_a_holder_despawns_is_its_hosts_again_and_comes_back_whole() {
    for (seed, weather) in weathers().take(6) {
        let Three {
            mut cluster,
            server,
            clients: [client, other],
            crate_,
            seen: [seen, others],
        } = three((seed, weather));
        let its_name = name(&mut cluster, server, crate_);
        let world = cluster.world(server);
        let bundle = (Label("crate".into()), Health(3));
        world.entity_mut(crate_).insert(bundle);
        grab(&mut cluster, client, seen);
        move_to(&mut cluster, client, seen, 5.0);
        wait_at(&mut cluster, server, crate_, 5.0);
        // It changes the level, and may say first that it gives it back.
        if seed % 2 == 0 {
            let mut commands = cluster.world(client).commands();
            commands.entity(seen).release_authority().despawn();
            cluster.world(client).flush();
        } else {
            cluster.world(client).despawn(seen);
        }
        cluster.run_until("nobody holds it", 300, |cluster| {
            holder(cluster, server, crate_) == Some(Holder::Nobody)
        });
        // A change of what only hosts write is not all that it is told.
        cluster.world(server).entity_mut(crate_).insert(Health(4));
        grab(&mut cluster, other, others);
        move_to(&mut cluster, other, others, 9.0);
        wait_at(&mut cluster, server, crate_, 9.0);
        cluster.run_until("it is back", 600, |cluster| {
            let back = find(cluster, client, its_name);
            back.is_some_and(|back| at(cluster, client, back) == Some(9.0))
        });
        let back = find(&mut cluster, client, its_name).expect("it is back");
        let label = get::<Label>(&mut cluster, client, back);
        assert_eq!(label, Some(Label("crate".into())), "seed {seed}");
        assert_eq!(get::<Health>(&mut cluster, client, back), Some(Health(4)));
        for app in [server, other] {
            let here = find(&mut cluster, app, its_name).expect("it is here");
            let label = get::<Label>(&mut cluster, app, here);
            assert_eq!(label, Some(Label("crate".into())), "seed {seed}");
        }
        settle(&mut cluster, server, &[client, other]);
    }
}
