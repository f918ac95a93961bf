//! Entities that are kept free for names that are not here: as long as something refers to them, and
//! no longer.

mod common;

use bevy::prelude::*;
use common::{Place, Target, name, pair, register, show, wait_for};
use seamless_replication::{NetSlot, Replicated};
use seamless_testkit::{AppId, Cluster, Weather};

/// Until whatever is to go has gone: it is looked after once a second.
const A_WHILE: usize = 90;

fn entities(cluster: &mut Cluster, app: AppId) -> usize {
    let world = cluster.world(app);
    world.query::<Entity>().iter(world).count()
}

fn hidden(cluster: &mut Cluster, server: AppId) -> Entity {
    let entity = cluster.world(server).spawn((Replicated, Place::default()));
    let entity = entity.id();
    show(cluster, server, entity, false);
    entity
}

#[test]
fn a_name_is_kept_free_while_something_refers_to_it_and_no_longer() {
    for seed in 0..4 {
        let (mut cluster, [server, client]) = pair(seed, Weather::lossy(0.3), register);
        let before = entities(&mut cluster, client);
        let unseen: Vec<Entity> = (0..6).map(|_| hidden(&mut cluster, server)).collect();
        let referrers: Vec<Entity> = (0..4)
            .map(|n| {
                let target = Target(unseen[n % 2]);
                let bundle = (Replicated, Place::default(), target);
                cluster.world(server).spawn(bundle).id()
            })
            .collect();
        let names: Vec<_> = referrers
            .iter()
            .map(|&entity| name(&mut cluster, server, entity))
            .collect();
        let there: Vec<Entity> = names
            .iter()
            .map(|&name| wait_for(&mut cluster, client, name))
            .collect();
        cluster.run(A_WHILE);
        // Two names, one entity for each, however many refer to it.
        assert_eq!(entities(&mut cluster, client), before + 6, "seed {seed}");
        let target = |cluster: &mut Cluster, n: usize| {
            let target = cluster.world(client).get::<Target>(there[n]);
            target.expect("it has one").0
        };
        let kept = target(&mut cluster, 0);
        assert_eq!(kept, target(&mut cluster, 2));
        assert!(cluster.world(client).get::<NetSlot>(kept).is_none());

        // They come to refer to others, one by one.
        for (&referrer, &other) in referrers.iter().zip(&unseen[2..]) {
            cluster
                .world(server)
                .entity_mut(referrer)
                .insert(Target(other));
            cluster.run(20);
        }
        cluster.run(A_WHILE);
        assert_eq!(entities(&mut cluster, client), before + 8, "seed {seed}");
        assert!(cluster.world(client).get_entity(kept).is_err(), "unclaimed");

        // What comes into sight takes the place that was kept for it.
        let kept = target(&mut cluster, 0);
        show(&mut cluster, server, unseen[2], true);
        let seen = name(&mut cluster, server, unseen[2]);
        assert_eq!(wait_for(&mut cluster, client, seen), kept);
        assert_eq!(entities(&mut cluster, client), before + 8);

        // One loses its component, the others go.
        cluster
            .world(server)
            .entity_mut(referrers[1])
            .remove::<Target>();
        for &referrer in &referrers[2..] {
            cluster.world(server).despawn(referrer);
        }
        cluster.run(120 + A_WHILE);
        // Two referrers, and what the first refers to.
        assert_eq!(entities(&mut cluster, client), before + 3, "seed {seed}");
        cluster.world(server).despawn(referrers[0]);
        cluster.world(server).despawn(referrers[1]);
        show(&mut cluster, server, unseen[2], false);
        cluster.run(120 + A_WHILE);
        assert_eq!(entities(&mut cluster, client), before, "seed {seed}");
    }
}
