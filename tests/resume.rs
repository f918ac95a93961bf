//! A client whose link dropped comes back: it goes on from what it had, or joins anew, and either
//! way ends with what the server has.

mod common;

use std::time::Duration;

use bevy::prelude::*;
use common::{
    Health, Label, Place,
    authority::move_to,
    find, get,
    hello::{held_hello, with_hello},
    me, name, register,
    resuming::{come_back, drop_link, joined, keeping, peers},
    seen, settle, spawn_on, state_sent, wait_for,
};
use seamless_authority::AuthorityCommandsExt;
use seamless_replication::{
    Admission, Admitted, Hosted, NetSlot, Peer, Peers, Remote, Replicated, ReplicationConfig, Role,
    Slots,
    interest::{InterestAppExt, InterestGrid, Subscriptions, ToolScopeId, ToolScopes, View},
    migrate::is_migrating,
    transport::{CloseReason, LinkId, Links},
    wire::{GlobalEntity, PeerId},
};
use seamless_testkit::{AppId, Cluster, Rng, Weather};

const ENTITIES: u32 = 500;

/// A server with a world, and a client that has it.
fn scene(seconds: u64) -> (Cluster, [AppId; 2], Vec<Entity>) {
    let mut cluster = Cluster::new(4, keeping(seconds));
    cluster.set_weather(Weather::lossy(0.05));
    let server = cluster.server();
    let client = cluster.client(server);
    common::ready(&mut cluster, client);
    let all = (0..ENTITIES)
        .map(|n| {
            let bundle = (
                Replicated,
                Place(n as f32, 0.5, 0.25),
                Health(n),
                Label(format!("crate number {n}")),
            );
            cluster.world(server).spawn(bundle).id()
        })
        .collect();
    settle(&mut cluster, server, &[client]);
    cluster.run(30);
    (cluster, [server, client], all)
}

/// It comes back, and has what the server has.
fn catch_up(cluster: &mut Cluster, apps: [AppId; 2]) {
    come_back(cluster, apps);
    settle(cluster, apps[0], &[apps[1]]);
}

/// Entities by name, with the Bevy entity they are.
fn bodies(cluster: &mut Cluster, app: AppId) -> Vec<(GlobalEntity, Entity)> {
    let world = cluster.world(app);
    let mut all: Vec<_> = world
        .query::<(Entity, &NetSlot)>()
        .iter(world)
        .filter_map(|(entity, slot)| Some((slot.global()?, entity)))
        .collect();
    all.sort_unstable();
    all
}

/// How many entities with a place an app has, on the network or not.
fn places(cluster: &mut Cluster, app: AppId) -> usize {
    let world = cluster.world(app);
    world.query::<&Place>().iter(world).count()
}

/// A client's own entity that the server has, and its name.
fn own_entity(cluster: &mut Cluster, [server, client]: [AppId; 2]) -> (Entity, GlobalEntity) {
    let bundle = (Replicated, Place(7.0, 7.0, 7.0));
    let own = cluster.world(client).spawn(bundle).id();
    cluster.run(20);
    let name = name(cluster, client, own);
    wait_for(cluster, server, name);
    (own, name)
}

#[test]
fn who_comes_back_in_time_is_told_only_what_changed() {
    let (mut cluster, apps, all) = scene(60);
    let [server, client] = apps;
    let before = bodies(&mut cluster, client);
    let id = me(&mut cluster, client);
    let joining = state_sent(&mut cluster, server).bytes;
    drop_link(&mut cluster, apps);
    assert_eq!(bodies(&mut cluster, client), before, "they stay");
    let world = cluster.world(server);
    for &entity in &all[..10] {
        world.get_mut::<Place>(entity).expect("it has one").2 = 9.0;
    }
    world.despawn(all[20]);
    world.entity_mut(all[30]).remove::<Label>();
    world.spawn((Replicated, Place(1e6, 0.0, 0.0)));
    catch_up(&mut cluster, apps);
    assert_eq!(joined(&mut cluster, server), (1, 1));
    assert_eq!(joined(&mut cluster, client), (1, 1));
    assert_eq!(me(&mut cluster, client), id, "under its name");
    let after = bodies(&mut cluster, client);
    let same = after.iter().filter(|body| before.contains(body)).count();
    assert_eq!((same, after.len()), (499, 500), "the same Bevy entities");
    let resuming = state_sent(&mut cluster, server).bytes;
    assert!(
        resuming * 20 < joining,
        "{resuming} bytes, {joining} to join"
    );
    // And on it goes.
    for n in 0..60 {
        for &entity in &all[40..60] {
            let world = cluster.world(server);
            world.get_mut::<Place>(entity).expect("it has one").1 = n as f32;
        }
        cluster.step();
    }
    settle(&mut cluster, server, &[client]);
    cluster.run(300);
    let stats = common::counted(&mut cluster, client);
    assert_eq!((stats.audit.differing, stats.audit.healed), (0, 0));
    assert_eq!(stats.refused.malformed, 0);
}

#[test]
fn both_ends_keep_the_budget_that_they_gave_the_link() {
    let (mut cluster, apps, _) = scene(60);
    for (app, bytes) in apps.into_iter().zip([700, 1_900]) {
        let mut peers = cluster.world(app).resource_mut::<Peers>();
        for peer in peers.iter_mut() {
            peer.set_bytes_per_tick(Some(bytes));
        }
    }
    drop_link(&mut cluster, apps);
    catch_up(&mut cluster, apps);
    for (app, bytes) in apps.into_iter().zip([700, 1_900]) {
        let world = cluster.world(app);
        let config = world.resource::<ReplicationConfig>();
        let budgets = world.resource::<Peers>().iter().map(|p| p.budget(config));
        let budgets: Vec<usize> = budgets.collect();
        // Less while the network is full.
        assert!(
            matches!(budgets[..], [budget] if budget <= bytes),
            "{budgets:?}"
        );
    }
}

#[test]
fn a_link_may_drop_again_and_again_while_the_world_changes() {
    for seed in 0..6 {
        let (mut cluster, apps, mut all) = scene(60);
        let [server, client] = apps;
        let mut rng = Rng::new(seed);
        for round in 0..4u32 {
            let frames = rng.below(30);
            for phase in 0..3 {
                match phase {
                    0 => {}
                    1 => drop_link(&mut cluster, apps),
                    _ => come_back(&mut cluster, apps),
                }
                for _ in 0..frames {
                    let world = cluster.world(server);
                    let at = rng.below(all.len());
                    match rng.below(6) {
                        0 => world.despawn(all.swap_remove(at)),
                        1 => {
                            let place = Place(rng.next() as f32, 0.0, 0.0);
                            all.push(world.spawn((Replicated, place)).id());
                            true
                        }
                        2 => {
                            world.entity_mut(all[at]).remove::<Label>();
                            true
                        }
                        3 => {
                            world.entity_mut(all[at]).insert(Label("new".into()));
                            true
                        }
                        _ => {
                            world.entity_mut(all[at]).insert(Health(rng.next() as u32));
                            true
                        }
                    };
                    cluster.step();
                }
            }
            settle(&mut cluster, server, &[client]);
            assert_eq!(joined(&mut cluster, client), (1, round + 1), "seed {seed}");
        }
        cluster.run(120);
        let stats = common::counted(&mut cluster, client);
        assert_eq!(stats.audit.differing, 0, "seed {seed}");
    }
}

#[test]
fn who_comes_back_before_the_server_noticed_goes_on_as_well() {
    let (mut cluster, apps, all) = scene(60);
    let [server, client] = apps;
    let before = bodies(&mut cluster, client);
    // The client's side alone: what it sends is lost, and it hears nothing.
    let link = cluster
        .world(client)
        .resource::<Links>()
        .iter()
        .next()
        .expect("one")
        .id();
    cluster
        .world(client)
        .resource_mut::<Links>()
        .get_mut(link)
        .expect("it stands")
        .abandon();
    cluster.run(2);
    assert_eq!(
        (peers(&mut cluster, server), peers(&mut cluster, client)),
        (1, 0)
    );
    move_to(&mut cluster, server, all[3], -5.0);
    catch_up(&mut cluster, apps);
    assert_eq!(joined(&mut cluster, client), (1, 1));
    assert_eq!(bodies(&mut cluster, client), before);
    cluster.run(200);
    assert_eq!(peers(&mut cluster, server), 1, "the old link has ended");
    settle(&mut cluster, server, &[client]);
}

#[test]
fn who_is_sent_away_while_it_is_not_there_joins_anew() {
    for by in [Peer::dismiss, Peer::end] {
        let (mut cluster, apps, _) = scene(30);
        let [server, client] = apps;
        let id = me(&mut cluster, client);
        drop_link(&mut cluster, apps);
        by(cluster
            .world(server)
            .resource_mut::<Peers>()
            .suspended_mut(id)
            .expect("it may come back"));
        cluster.step();
        let mut peers = cluster.world(server).resource_mut::<Peers>();
        assert!(peers.suspended_mut(id).is_none());
        catch_up(&mut cluster, apps);
        assert_eq!(joined(&mut cluster, client), (2, 0));
    }
}

#[test]
fn who_is_sent_away_as_it_comes_back_does_not_go_on() {
    for frames in 0..12 {
        let (mut cluster, apps, _) = scene(30);
        let [server, client] = apps;
        let id = me(&mut cluster, client);
        cluster.change_weather(Weather::near());
        let mut links = cluster.world(client).resource_mut::<Links>();
        let mut links = links.iter_mut();
        links.next().expect("it stands").abandon();
        drop(links);
        cluster.run(2);
        cluster.connect(client, server);
        cluster.run(frames);
        let mut there = cluster.world(server).resource_mut::<Peers>();
        there.by_id_mut(id).expect("it plays").dismiss();
        cluster.run(300);
        // It came back before that, or after it.
        let now = (peers(&mut cluster, server), joined(&mut cluster, client));
        assert!(
            [(0, (1, 1)), (1, (2, 0))].contains(&now),
            "{frames}: {now:?}"
        );
    }
}

#[test]
fn who_comes_back_to_another_grid_looks_as_far_as_it_did() {
    for (before, after) in [(64.0, 8.0), (8.0, 64.0)] {
        let mut cluster = Cluster::new(6, move |app| {
            keeping(30)(app);
            app.interest_position::<Place>(|place| Vec3::new(place.0, place.1, place.2));
        });
        cluster.set_weather(Weather::lossy(0.05));
        let server = cluster.server();
        let divide = |cluster: &mut Cluster, region| {
            let hysteresis = 0.0;
            cluster
                .world(server)
                .insert_resource(InterestGrid { region, hysteresis });
        };
        divide(&mut cluster, before);
        let client = cluster.client(server);
        common::ready(&mut cluster, client);
        let id = me(&mut cluster, client);
        let mut peers = cluster.world(server).resource_mut::<Peers>();
        let interest = peers.by_id_mut(id).expect("it plays").interest_mut();
        interest.set_view(View::At(Vec3::new(5.0, 0.0, 5.0), 40.0));
        let there = [30.0, 170.0].map(|x| {
            let bundle = (Replicated, Place(x, 0.0, 5.0));
            cluster.world(server).spawn(bundle).id()
        });
        cluster.run(60);
        drop_link(&mut cluster, [server, client]);
        divide(&mut cluster, after);
        come_back(&mut cluster, [server, client]);
        assert_eq!(joined(&mut cluster, client), (1, 1));
        cluster.run(60);
        let sees = there.map(|entity| {
            let its_name = name(&mut cluster, server, entity);
            find(&mut cluster, client, its_name).is_some()
        });
        assert_eq!(sees, [true, false], "{before} to {after}");
    }
}

#[test]
fn who_comes_back_too_late_joins_anew() {
    let (mut cluster, apps, _) = scene(2);
    let [_, client] = apps;
    drop_link(&mut cluster, apps);
    cluster.run(70);
    assert!(bodies(&mut cluster, client).is_empty(), "given up");
    catch_up(&mut cluster, apps);
    assert_eq!(joined(&mut cluster, client), (2, 0));
    assert_eq!(bodies(&mut cluster, client).len(), ENTITIES as usize);
}

#[test]
fn who_comes_back_to_a_server_that_forgot_joins_anew_without_doubles() {
    let (mut cluster, apps, _) = scene(60);
    let [server, client] = apps;
    // The client keeps what it has for longer.
    let mut config = cluster.world(server).resource_mut::<ReplicationConfig>();
    config.resume_grace = Duration::from_secs(1);
    drop_link(&mut cluster, apps);
    cluster.run(40);
    assert_eq!(bodies(&mut cluster, client).len(), ENTITIES as usize);
    catch_up(&mut cluster, apps);
    assert_eq!(joined(&mut cluster, client), (2, 0));
    assert_eq!(places(&mut cluster, client), ENTITIES as usize, "each once");
}

#[test]
fn a_server_keeps_sixty_four_sessions_and_no_more() {
    let mut cluster = Cluster::new(4, keeping(60));
    cluster.set_weather(Weather::clear());
    let server = cluster.server();
    cluster.world(server).spawn((Replicated, Place::default()));
    let clients: Vec<AppId> = (0..70).map(|_| cluster.client(server)).collect();
    cluster.run(20);
    cluster.change_weather(Weather::lossy(1.0));
    cluster.run_until("all have dropped", 300, |cluster| {
        peers(cluster, server) == 0
    });
    cluster.set_weather(Weather::clear());
    for &client in &clients {
        cluster.connect(client, server);
    }
    cluster.run(30);
    assert_eq!(joined(&mut cluster, server), (76, 64));
    settle(&mut cluster, server, &clients);
}

#[test]
fn a_goodbye_is_no_drop() {
    let (mut cluster, apps, _) = scene(60);
    let [server, client] = apps;
    for link in cluster.world(client).resource_mut::<Links>().iter_mut() {
        link.close(CloseReason::Requested);
    }
    cluster.run(20);
    assert!(bodies(&mut cluster, client).is_empty());
    catch_up(&mut cluster, apps);
    assert_eq!(joined(&mut cluster, server), (2, 0));
}

#[test]
fn a_session_is_for_whom_it_was() {
    // Names come from outside, so a key alone is not enough.
    let (mut cluster, apps, _) = scene(60);
    let [server, client] = apps;
    let admission = Admission::new(|_, netcode, _| {
        Ok(Admitted {
            peer: PeerId(netcode),
            spectator: false,
        })
    });
    cluster.world(server).insert_resource(admission);
    drop_link(&mut cluster, apps);
    catch_up(&mut cluster, apps);
    assert_eq!(joined(&mut cluster, client), (2, 0));
    assert_eq!(places(&mut cluster, client), ENTITIES as usize);
}

#[test]
fn a_key_that_was_made_up_is_of_no_use() {
    let (mut cluster, apps, _) = scene(60);
    let [server, client] = apps;
    let victim = me(&mut cluster, client);
    drop_link(&mut cluster, apps);
    cluster.set_weather(Weather::clear());
    let (forger, wire, parcel) = held_hello(&mut cluster, server);
    wire.put(with_hello(parcel, |hello| {
        assert_eq!(hello.resume, None);
        hello.resume = Some(([0xa5; 16], 0));
    }));
    wire.pass();
    common::ready(&mut cluster, forger);
    assert_ne!(me(&mut cluster, forger), victim);
    settle(&mut cluster, server, &[forger]);
    catch_up(&mut cluster, apps);
    assert_eq!(joined(&mut cluster, server), (2, 1));
    assert_eq!(me(&mut cluster, client), victim);
}

#[test]
fn a_session_is_taken_up_once() {
    let (mut cluster, apps, _) = scene(60);
    let [server, client] = apps;
    drop_link(&mut cluster, apps);
    // Two links at once with the same key.
    cluster.connect(client, server);
    cluster.connect(client, server);
    cluster.run(200);
    settle(&mut cluster, server, &[client]);
    let (_, resumed) = joined(&mut cluster, server);
    assert!(resumed <= 1, "{resumed}");
    assert_eq!(places(&mut cluster, client), ENTITIES as usize);
}

#[test]
fn a_clients_own_entities_and_its_scopes_come_back_with_it() {
    let (mut cluster, apps, _) = scene(60);
    let [server, client] = apps;
    let scope = ToolScopeId(6);
    let policy = seamless_replication::interest::ScopePolicy::open([scope]);
    cluster.world(server).insert_resource(policy);
    cluster
        .world(client)
        .resource_mut::<Subscriptions>()
        .enter(scope);
    let scoped = (Replicated, Label("map".into()), ToolScopes(vec![scope]));
    let map = cluster.world(server).spawn(scoped).id();
    let map = name(&mut cluster, server, map);
    wait_for(&mut cluster, client, map);
    let (own, own_name) = own_entity(&mut cluster, apps);
    drop_link(&mut cluster, apps);
    assert_eq!(
        find(&mut cluster, server, own_name),
        None,
        "its host is gone"
    );
    cluster
        .world(client)
        .resource_mut::<Subscriptions>()
        .leave(scope);
    come_back(&mut cluster, apps);
    cluster.run_until("the scope is left", 200, |cluster| {
        find(cluster, client, map).is_none()
    });
    let there = wait_for(&mut cluster, server, own_name);
    assert_eq!(get(&mut cluster, server, there), Some(Place(7.0, 7.0, 7.0)));
    let world = cluster.world(server);
    let slot = *world.get::<NetSlot>(there).expect("on the network");
    let role = world.resource::<Slots>().role(&slot);
    assert!(matches!(role, Some(Role::Remote { source: Some(_) })));
    assert_eq!(joined(&mut cluster, client), (1, 1));
    move_to(&mut cluster, client, own, 8.0);
    cluster.run_until("it goes on", 100, |cluster| {
        get::<Place>(cluster, server, there).is_some_and(|place| place.0 == 8.0)
    });
}

#[test]
fn a_takeover_that_the_drop_cut_short_is_finished_after_it() {
    for frames in [0, 1, 2, 3, 4, 6] {
        let (mut cluster, apps, _) = scene(60);
        let [server, client] = apps;
        let (own, own_name) = own_entity(&mut cluster, apps);
        common::command(&mut cluster, client, own, |e| {
            e.delegate();
        });
        cluster.run(frames);
        drop_link(&mut cluster, apps);
        come_back(&mut cluster, apps);
        cluster.run_until("the server hosts it", 300, |cluster| {
            let there = find(cluster, server, own_name);
            let hosted = there.and_then(|there| get::<Hosted>(cluster, server, there));
            let here = find(cluster, client, own_name);
            let told = here.and_then(|here| get::<Remote>(cluster, client, here));
            hosted.is_some() && told.is_some()
        });
        settle(&mut cluster, server, &[client]);
        cluster.run(90);
        assert_eq!(
            places(&mut cluster, client),
            ENTITIES as usize + 1,
            "{frames} frames"
        );
        // Who delegates stays the holder, unless the drop came in between.
        let there = find(&mut cluster, server, own_name).expect("it is there");
        common::command(&mut cluster, server, there, |e| {
            e.take_authority();
        });
        move_to(&mut cluster, server, there, 9.0);
        settle(&mut cluster, server, &[client]);
    }
}

/// A client's own entity that the server takes over while nothing that it says arrives; its name, where
/// it is on both, and the client's link on the server.
fn takeover_unheard(
    cluster: &mut Cluster,
    apps: [AppId; 2],
) -> (GlobalEntity, [Entity; 2], LinkId) {
    let [server, client] = apps;
    let (own, own_name) = own_entity(cluster, apps);
    let there = find(cluster, server, own_name).expect("it is there");
    let id = me(cluster, client);
    let peers = cluster.world(server).resource::<Peers>();
    let link = peers.by_id(id).expect("linked").link();
    cluster.change_weather(Weather::lossy(1.0));
    common::command(cluster, server, there, |e| {
        e.delegate();
    });
    (own_name, [there, own], link)
}

/// What is looked at is [`is_migrating`], which says what the slot says. While it does, the entity is
/// told to everybody by the slow path, and 33 of its rows are kept.
#[test]
fn what_migrates_from_a_link_that_ends_for_good_migrates_no_more() {
    for grace in [0, 3] {
        let (mut cluster, apps) = common::pair(1, Weather::near(), keeping(grace));
        let [server, _] = apps;
        let (name, _, link) = takeover_unheard(&mut cluster, apps);
        let migrates = |cluster: &mut Cluster| is_migrating(cluster.world(server), link, name);
        assert!(migrates(&mut cluster));
        drop_link(&mut cluster, apps);
        assert_eq!(migrates(&mut cluster), grace > 0, "it may come back");
        cluster.run(grace as usize * 30 + 3);
        assert!(!migrates(&mut cluster));
    }
}

#[test]
fn what_migrates_from_a_client_that_comes_back_without_its_key_migrates_no_more() {
    let (mut cluster, apps) = common::pair(1, Weather::near(), keeping(60));
    let [server, client] = apps;
    let (name, _, link) = takeover_unheard(&mut cluster, apps);
    let id = me(&mut cluster, client);
    let admission = Admission::new(move |_, _, _| {
        Ok(Admitted {
            peer: id,
            spectator: false,
        })
    });
    cluster.world(server).insert_resource(admission);
    // It keeps nothing, and shows no key.
    let mut config = cluster.world(client).resource_mut::<ReplicationConfig>();
    config.resume_grace = Duration::ZERO;
    drop_link(&mut cluster, apps);
    assert!(is_migrating(cluster.world(server), link, name));
    come_back(&mut cluster, apps);
    assert_eq!(joined(&mut cluster, server), (2, 0));
    assert!(!is_migrating(cluster.world(server), link, name));
}

#[test]
fn what_was_taken_over_and_despawned_during_the_drop_is_gone_after_it() {
    let (mut cluster, apps) = common::pair(1, Weather::near(), keeping(60));
    let [server, client] = apps;
    let (name, [there, own], _) = takeover_unheard(&mut cluster, apps);
    drop_link(&mut cluster, apps);
    cluster.world(server).despawn(there);
    cluster.run(3);
    come_back(&mut cluster, apps);
    assert_eq!(joined(&mut cluster, server), (1, 1));
    cluster.run(200);
    assert_eq!(find(&mut cluster, server, name), None);
    assert!(cluster.world(client).get_entity(own).is_err());
}

#[test]
fn without_a_grace_nothing_is_kept() {
    let (mut cluster, apps) = common::pair(1, Weather::near(), register);
    let [_, client] = apps;
    spawn_on(&mut cluster, apps, Place::default());
    drop_link(&mut cluster, apps);
    assert!(seen(&mut cluster, client).is_empty());
}
