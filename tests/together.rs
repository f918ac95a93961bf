//! Features together: what each does right alone.

mod common;

use bevy::prelude::*;
use common::{
    Label, Place, Target,
    authority::{Event, at, grab, heard, holder, lending, move_to, view, wait_at, weathers},
    command, find, get, me, name, pair, ready, register, settle, show, spawn_on, wait_for,
};
use seamless_authority::{
    AuthorityCommandsExt, AuthorityGranted, AuthorityPolicy, AuthorityView, Delegated, Loan,
};
use seamless_replication::{
    Authority, NetSlot, PrespawnPlugin, Prespawned, Registry, ReplicateAppExt, Replicated,
    ReplicationConfig,
    snapshot::{stage, take_snapshot},
    wire::{Holder, Tenure, control::DenyReason},
};
use seamless_testkit::{AppId, Cluster, Weather};

/// Saves entities and loads them again, each under the fence that `fence` gives.
fn load_over(
    cluster: &mut Cluster,
    server: AppId,
    saved: &[Entity],
    between: impl FnOnce(&mut Cluster),
    fence: impl Fn(Tenure) -> Tenure,
) -> Vec<Entity> {
    let world = cluster.world(server);
    let snapshot = take_snapshot(world, saved).expect("it encodes");
    between(cluster);
    let world = cluster.world(server);
    let staged = stage(world.resource::<Registry>(), &snapshot).expect("it decodes");
    staged.spawn(world, |_, tenure| fence(tenure))
}

const fn unheld(tenure: Tenure) -> Tenure {
    Tenure {
        holder: Holder::Nobody,
        ..tenure
    }
}

#[test]
fn what_is_despawned_and_loaded_again_under_other_numbers_stays_at_clients() {
    let clear = (9, Weather::clear());
    for ((seed, weather), count) in weathers()
        .chain([clear])
        .zip([2, 3, 4, 5].into_iter().cycle())
    {
        let (mut cluster, [server, client]) = pair(seed, weather, register);
        cluster
            .world(server)
            .resource_mut::<ReplicationConfig>()
            .audit_per_second = 0;
        let all: Vec<Entity> = (0..count)
            .map(|n| {
                let bundle = (Replicated, Place(n as f32, 0.0, 0.0));
                cluster.world(server).spawn(bundle).id()
            })
            .collect();
        settle(&mut cluster, server, &[client]);
        let despawn = |cluster: &mut Cluster| {
            for &entity in all.iter().rev() {
                cluster.world(server).despawn(entity);
            }
        };
        load_over(&mut cluster, server, &all, despawn, |tenure| tenure);
        // At first a client has what is loaded, and does not know that it went and came.
        cluster.run(120);
        settle(&mut cluster, server, &[client]);
    }
}

#[test]
fn what_was_written_of_the_dead_is_not_put_on_the_next_in_its_slot() {
    let (mut cluster, [server, client]) = pair(1, Weather::near(), lending);
    let apps = [server, client];
    let id = me(&mut cluster, client);
    let [first, there] = spawn_on(&mut cluster, apps, (Delegated, Place::default()));
    command(&mut cluster, server, first, |e| {
        e.give_authority(id);
    });
    cluster.run_until("it is ours", 300, |cluster| {
        view(cluster, client, there) == Some(AuthorityView::Granted)
    });
    let write = |cluster: &mut Cluster, n: usize| {
        if cluster.world(client).get_entity(there).is_ok() {
            move_to(cluster, client, there, 100.0 + n as f32);
        }
        cluster.step();
    };
    (0..20).for_each(|n| write(&mut cluster, n));
    cluster.world(server).despawn(first);
    let bundle = (
        Replicated,
        Delegated,
        Place(5.0, 0.0, 0.0),
        Label("new".into()),
    );
    let second = cluster.world(server).spawn(bundle).id();
    command(&mut cluster, server, second, |e| {
        e.give_authority(id);
    });
    for n in 20..30 {
        write(&mut cluster, n);
        assert_eq!(at(&mut cluster, server, second), Some(5.0), "{n}");
        let label = get::<Label>(&mut cluster, server, second);
        assert_eq!(label, Some(Label("new".into())));
    }
}

#[test]
fn what_is_written_as_soon_as_it_is_ours_stays_though_it_moved_meanwhile() {
    for (seed, weather) in weathers() {
        let (mut cluster, [server, client]) = pair(seed, weather, |app| {
            lending(app);
            app.add_observer(
                |event: On<AuthorityGranted>, mut places: Query<&mut Place>| {
                    if let Ok(mut place) = places.get_mut(event.entity) {
                        place.0 = 1000.0;
                    }
                },
            );
        });
        let apps = [server, client];
        let [crate_, there] = spawn_on(&mut cluster, apps, (Delegated, Place::default()));
        command(&mut cluster, client, there, |e| {
            e.request_authority();
        });
        let mut frames = 0;
        while view(&mut cluster, client, there) != Some(AuthorityView::Granted) {
            if holder(&mut cluster, server, crate_) == Some(Holder::Nobody) {
                let world = cluster.world(server);
                world.get_mut::<Place>(crate_).expect("there").0 += 1.0;
            }
            cluster.step();
            frames += 1;
            assert!(frames < 300, "it is granted");
        }
        assert_eq!(at(&mut cluster, client, there), Some(1000.0), "seed {seed}");
        wait_at(&mut cluster, server, crate_, 1000.0);
    }
}

#[test]
fn what_is_loaded_over_what_was_lent_since_is_shown_and_can_be_lent() {
    for (seed, weather) in weathers() {
        let (mut cluster, [server, client]) = pair(seed, weather, lending);
        let apps = [server, client];
        let [crate_, there] = spawn_on(&mut cluster, apps, (Delegated, Place::default()));
        let lend = |cluster: &mut Cluster| {
            for n in 0..3 {
                grab(cluster, client, there);
                move_to(cluster, client, there, 50.0 + n as f32);
                wait_at(cluster, server, crate_, 50.0 + n as f32);
                command(cluster, client, there, |e| {
                    e.release_authority();
                });
                cluster.run_until("it is back", 300, |cluster| {
                    holder(cluster, server, crate_) == Some(Holder::Nobody)
                });
            }
        };
        let loaded = load_over(&mut cluster, server, &[crate_], lend, unheld);
        assert_eq!(loaded, [crate_]);
        wait_at(&mut cluster, client, there, 0.0);
        move_to(&mut cluster, server, crate_, 7.0);
        wait_at(&mut cluster, client, there, 7.0);
        grab(&mut cluster, client, there);
        move_to(&mut cluster, client, there, 8.0);
        wait_at(&mut cluster, server, crate_, 8.0);
    }
}

#[test]
fn what_is_given_back_and_asked_for_at_once_is_ours_when_it_is_granted_anew() {
    for (seed, weather) in weathers() {
        let (mut cluster, [server, client]) = pair(seed, weather, lending);
        let apps = [server, client];
        let [crate_, there] = spawn_on(&mut cluster, apps, (Delegated, Place::default()));
        grab(&mut cluster, client, there);
        for n in 1..8 {
            move_to(&mut cluster, client, there, n as f32);
            wait_at(&mut cluster, server, crate_, n as f32);
            command(&mut cluster, client, there, |e| {
                e.release_authority();
            });
            // Before it is known to be back, or after.
            cluster.run(n);
            grab(&mut cluster, client, there);
        }
    }
}

#[test]
fn what_is_loaded_can_be_undelegated_and_what_was_not_can_be_delegated() {
    let (mut cluster, [server, client]) = pair(3, Weather::near(), lending);
    let apps = [server, client];
    let [crate_, there] = spawn_on(&mut cluster, apps, (Delegated, Place::default()));
    let its_name = name(&mut cluster, server, crate_);
    let despawn = |cluster: &mut Cluster| {
        cluster.world(server).despawn(crate_);
        cluster.run_until("it is gone", 300, |cluster| {
            find(cluster, client, its_name).is_none()
        });
    };
    let loaded = load_over(&mut cluster, server, &[crate_], despawn, unheld);
    let there = {
        let _ = there;
        wait_for(&mut cluster, client, its_name)
    };
    cluster.run(5);
    command(&mut cluster, server, loaded[0], |e| {
        e.undelegate();
    });
    cluster.run(20);
    let authority = get::<Authority>(&mut cluster, server, loaded[0]);
    assert!(!authority.expect("it is shown").delegated);
    command(&mut cluster, client, there, |e| {
        e.request_authority();
    });
    cluster.run(20);
    let denied = Event::Denied(there, DenyReason::NotDelegated);
    assert_eq!(heard(&mut cluster, client), [denied]);
    // Back to what was saved, while it is there.
    let between = |cluster: &mut Cluster| {
        command(cluster, server, loaded[0], |e| {
            e.delegate();
        });
        cluster.run(10);
    };
    let again = load_over(&mut cluster, server, &loaded, between, unheld);
    cluster.run(10);
    assert!(get::<Delegated>(&mut cluster, server, again[0]).is_none());
    command(&mut cluster, server, again[0], |e| {
        e.delegate();
    });
    grab(&mut cluster, client, there);
}

#[test]
fn nothing_that_is_as_it_was_is_marked_changed_when_a_request_is_denied() {
    #[derive(Resource, Default)]
    struct Changes(usize);
    let (mut cluster, [server, client]) = pair(4, Weather::near(), |app| {
        lending(app);
        let _ = app.replicate_with_entities::<ChildOf>();
        app.init_resource::<Changes>();
        let count = |places: Query<(), Changed<Place>>, mut changes: ResMut<Changes>| {
            changes.0 += places.iter().count();
        };
        app.add_systems(Last, count);
    });
    let other = cluster.client(server);
    ready(&mut cluster, other);
    let apps = [server, client];
    let [parent, seen] = spawn_on(&mut cluster, apps, Place::default());
    let all: Vec<[Entity; 2]> = (1..4)
        .map(|n| {
            let bundle = (Delegated, Place(n as f32, 0.0, 0.0), ChildOf(parent));
            spawn_on(&mut cluster, apps, bundle)
        })
        .collect();
    let [first, there] = all[0];
    let id = me(&mut cluster, other);
    command(&mut cluster, server, first, |e| {
        e.give_authority(id);
    });
    cluster.run(30);
    let children = |cluster: &mut Cluster| -> Vec<Entity> {
        let children = cluster.world(client).get::<Children>(seen);
        children.expect("they hang on it").to_vec()
    };
    let order = children(&mut cluster);
    let changes = cluster.world(client).resource::<Changes>().0;
    command(&mut cluster, client, there, |e| {
        e.request_authority();
    });
    cluster.run(30);
    let denied = Event::Denied(there, DenyReason::Held);
    assert!(heard(&mut cluster, client).contains(&denied));
    assert_eq!(cluster.world(client).resource::<Changes>().0, changes);
    assert_eq!(children(&mut cluster), order);
}

#[test]
fn a_copy_of_what_was_prespawned_is_not_taken_for_it() {
    let (mut cluster, [server, client]) = pair(5, Weather::near(), |app| {
        app.add_plugins(PrespawnPlugin::default());
        register(app);
    });
    let own = cluster.world(client).spawn(Prespawned(9)).id();
    let bundle = (Replicated, Prespawned(9), Place::default());
    let told = cluster.world(server).spawn(bundle).id();
    let its_name = name(&mut cluster, server, told);
    assert_eq!(wait_for(&mut cluster, client, its_name), own);
    let copy = cluster.world(client).entity_mut(own).clone_and_spawn();
    cluster.run(120);
    assert!(cluster.world(client).get_entity(copy).is_ok());
    assert!(cluster.world(client).get::<NetSlot>(copy).is_none());
}

#[test]
fn what_was_prespawned_with_a_reference_refers_to_what_went_out_of_sight_and_came_back() {
    let (mut cluster, [server, client]) = pair(7, Weather::near(), |app| {
        app.add_plugins(PrespawnPlugin::default());
        register(app);
        // What is looked at here must be right at once, and not when it is found to be wrong.
        let mut config = app.world_mut().resource_mut::<ReplicationConfig>();
        config.audit_per_second = 0;
    });
    let [aim, seen] = spawn_on(&mut cluster, [server, client], Place::default());
    let bundle = (Prespawned(9), Target(seen));
    let own = cluster.world(client).spawn(bundle).id();
    let bundle = (Replicated, Prespawned(9), Target(aim));
    let archer = cluster.world(server).spawn(bundle).id();
    let names = [aim, archer].map(|entity| name(&mut cluster, server, entity));
    assert_eq!(wait_for(&mut cluster, client, names[1]), own);
    show(&mut cluster, server, aim, false);
    cluster.run_until("it is out of sight", 300, |cluster| {
        find(cluster, client, names[0]).is_none()
    });
    cluster.run(60);
    show(&mut cluster, server, aim, true);
    let again = wait_for(&mut cluster, client, names[0]);
    let target = get::<Target>(&mut cluster, client, own);
    assert_eq!(target, Some(Target(again)));
}

#[test]
fn what_migrates_is_lent_on_the_policys_terms() {
    let (mut cluster, [server, client]) = pair(6, Weather::near(), lending);
    let writes = cluster.world(server).resource::<Registry>();
    let writes = writes.writes_all_but::<Label>().expect("it is replicated");
    let loan = Loan { writes, lease: 900 };
    cluster.world(server).resource_mut::<AuthorityPolicy>().loan = loan;
    let bundle = (Replicated, Place::default(), Label("mine".into()));
    let own = cluster.world(client).spawn(bundle).id();
    let its_name = name(&mut cluster, client, own);
    let there = wait_for(&mut cluster, server, its_name);
    command(&mut cluster, client, own, |e| {
        e.delegate();
    });
    cluster.run_until("it is lent to us", 300, |cluster| {
        view(cluster, client, own) == Some(AuthorityView::Granted)
    });
    let authority = get::<Authority>(&mut cluster, server, there).expect("it can be lent");
    assert_eq!((authority.writes, authority.lease), (writes, 900));
}
