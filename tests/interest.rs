//! Who sees what: regions, scopes, subscriptions and exceptions, left and entered in any order on
//! any network.

mod common;

use bevy::prelude::*;
use common::{Label, Place, find, me, name, pair, ready, register, wait_for};
use seamless_replication::{
    NetSlot, Peers, Replicated,
    interest::{
        InterestAppExt, InterestGrid, PeerInterest, ScopePolicy, Subscriptions, ToolScopeId,
        ToolScopes, View,
    },
    wire::GlobalEntity,
};
use seamless_testkit::{AppId, Cluster, Rng, Weather};

fn setup(app: &mut App) {
    register(app);
    app.interest_position::<Place>(|place| Vec3::new(place.0, place.1, place.2))
        .insert_resource(InterestGrid {
            region: 10.0,
            hysteresis: 1.0,
        });
}

fn look(cluster: &mut Cluster, [server, client]: [AppId; 2], f: impl FnOnce(&mut PeerInterest)) {
    let id = me(cluster, client);
    let mut peers = cluster.world(server).resource_mut::<Peers>();
    f(peers.by_id_mut(id).expect("it is linked").interest_mut());
}

fn spawn_at(cluster: &mut Cluster, server: AppId, x: f32) -> (Entity, GlobalEntity) {
    let bundle = (Replicated, Place(x, 0.0, 5.0));
    let entity = cluster.world(server).spawn(bundle).id();
    (entity, name(cluster, server, entity))
}

fn sees(cluster: &mut Cluster, client: AppId, name: GlobalEntity) -> bool {
    find(cluster, client, name).is_some()
}

fn wait_until(cluster: &mut Cluster, client: AppId, name: GlobalEntity, seen: bool) {
    cluster.run_until(&format!("seen: {seen}"), 300, |cluster| {
        sees(cluster, client, name) == seen
    });
}

#[test]
fn what_is_far_away_is_not_told() {
    let (mut cluster, apps) = pair(1, Weather::near(), setup);
    let [server, client] = apps;
    look(&mut cluster, apps, |interest| {
        interest.set_view(View::At(Vec3::new(5.0, 0.0, 5.0), 15.0));
    });
    let near = spawn_at(&mut cluster, server, 12.0).1;
    let far = spawn_at(&mut cluster, server, 300.0).1;
    let placeless = cluster
        .world(server)
        .spawn((Replicated, Label("sky".into())))
        .id();
    let placeless = name(&mut cluster, server, placeless);
    cluster.run(30);
    assert!(sees(&mut cluster, client, near));
    assert!(sees(&mut cluster, client, placeless), "it has no place");
    assert!(!sees(&mut cluster, client, far));
}

/// Where something is, which nobody is told.
#[derive(Component)]
#[component(storage = "SparseSet")]
struct At(Vec3);

#[test]
fn a_place_outside_of_tables_is_followed_too() {
    let (mut cluster, apps) = pair(1, Weather::lossy(0.1), |app| {
        register(app);
        app.interest_position::<At>(|at| at.0);
    });
    let [server, client] = apps;
    look(&mut cluster, apps, |interest| {
        interest.set_view(View::At(Vec3::ZERO, 15.0));
    });
    let bundle = (Replicated, Place::default(), At(Vec3::ZERO));
    let entity = cluster.world(server).spawn(bundle).id();
    let name = name(&mut cluster, server, entity);
    wait_until(&mut cluster, client, name, true);
    for (x, seen) in [(300.0, false), (1.0, true)] {
        let mut at = cluster.world(server).get_mut::<At>(entity);
        at.as_mut().expect("it is there").0.x = x;
        wait_until(&mut cluster, client, name, seen);
    }
}

/// Where something is, which nobody is told.
#[derive(Component)]
struct Lies(Vec3);

#[test]
fn what_has_no_place_any_more_is_everybodys() {
    for loss in [0.0, 0.3] {
        let (mut cluster, apps) = pair(8, Weather::lossy(loss), |app| {
            register(app);
            app.interest_position::<Lies>(|lies| lies.0);
        });
        let [server, client] = apps;
        look(&mut cluster, apps, |interest| {
            interest.set_view(View::At(Vec3::ZERO, 15.0));
        });
        let far = Vec3::new(300.0, 0.0, 0.0);
        let bundle = (Replicated, Place::default(), Lies(far));
        let entity = cluster.world(server).spawn(bundle).id();
        let name = name(&mut cluster, server, entity);
        cluster.run(60);
        assert!(!sees(&mut cluster, client, name));
        // It is picked up, and put down again.
        cluster.world(server).entity_mut(entity).remove::<Lies>();
        wait_until(&mut cluster, client, name, true);
        cluster.world(server).entity_mut(entity).insert(Lies(far));
        wait_until(&mut cluster, client, name, false);
        cluster
            .world(server)
            .entity_mut(entity)
            .insert(Lies(Vec3::ZERO));
        wait_until(&mut cluster, client, name, true);
    }
}

#[test]
fn who_looks_farther_than_the_grid_is_looked_at_sees_everything() {
    let (mut cluster, apps) = pair(9, Weather::lossy(0.1), setup);
    let [server, client] = apps;
    let far = spawn_at(&mut cluster, server, 900.0).1;
    for (distance, seen) in [
        (600.0, false),
        (700.0, true),
        (600.0, false),
        (f32::MAX, true),
    ] {
        look(&mut cluster, apps, |interest| {
            interest.set_view(View::At(Vec3::ZERO, distance));
        });
        cluster.run(30);
        wait_until(&mut cluster, client, far, seen);
    }
}

#[test]
fn what_is_taken_off_the_network_goes_and_comes_back_as_another() {
    for loss in [0.0, 0.3] {
        let (mut cluster, [server, client]) = pair(10, Weather::lossy(loss), setup);
        let (entity, first) = spawn_at(&mut cluster, server, 0.0);
        wait_until(&mut cluster, client, first, true);
        cluster
            .world(server)
            .entity_mut(entity)
            .remove::<Replicated>();
        wait_until(&mut cluster, client, first, false);
        let world = cluster.world(client);
        let left = world.query::<&Place>().iter(world).count();
        assert_eq!(left, 0, "the client has nothing of it");
        assert!(cluster.world(server).get::<Place>(entity).is_some());
        common::authority::move_to(&mut cluster, server, entity, 7.0);
        cluster.run(10);
        cluster.world(server).entity_mut(entity).insert(Replicated);
        let second = name(&mut cluster, server, entity);
        let seen = wait_for(&mut cluster, client, second);
        let place = common::get::<Place>(&mut cluster, client, seen);
        assert_eq!(place, Some(Place(7.0, 0.0, 5.0)));
        common::settle(&mut cluster, server, &[client]);
    }
}

#[test]
fn what_walks_into_sight_comes_and_what_walks_out_goes() {
    for loss in [0.0, 0.3] {
        let (mut cluster, apps) = pair(2, Weather::lossy(loss), setup);
        let [server, client] = apps;
        look(&mut cluster, apps, |interest| {
            interest.set_view(View::At(Vec3::new(5.0, 0.0, 5.0), 15.0));
        });
        let (walker, walker_name) = spawn_at(&mut cluster, server, 100.0);
        cluster.run(30);
        for x in [12.0, 200.0, 0.0, -200.0] {
            common::authority::move_to(&mut cluster, server, walker, x);
            wait_until(&mut cluster, client, walker_name, x.abs() < 50.0);
        }
    }
}

#[test]
fn a_view_around_an_entity_goes_with_it() {
    let (mut cluster, apps) = pair(3, Weather::lossy(0.05), setup);
    let [server, client] = apps;
    let (player, player_name) = spawn_at(&mut cluster, server, 5.0);
    let tree = spawn_at(&mut cluster, server, 205.0).1;
    look(&mut cluster, apps, |interest| {
        interest.set_view(View::Around(player, 20.0));
    });
    wait_until(&mut cluster, client, player_name, true);
    cluster.run(20);
    assert!(!sees(&mut cluster, client, tree));
    common::authority::move_to(&mut cluster, server, player, 200.0);
    wait_until(&mut cluster, client, tree, true);
    assert!(sees(&mut cluster, client, player_name), "all the way");
}

#[test]
fn a_grid_may_be_changed_while_all_stands_still() {
    let (mut cluster, apps) = pair(5, Weather::near(), setup);
    let [server, client] = apps;
    let avatar = cluster.world(server).spawn((Replicated, Place::default()));
    let avatar = avatar.id();
    look(&mut cluster, apps, |interest| {
        interest.set_view(View::Around(avatar, 15.0));
    });
    let all: Vec<GlobalEntity> = (0..40)
        .map(|n| spawn_at(&mut cluster, server, n as f32 * 5.0).1)
        .collect();
    cluster.run(30);
    // Also after what it looked around is gone.
    for (region, hides) in [(3.0, false), (40.0, false), (10.0, true), (2.0, true)] {
        cluster.world(server).insert_resource(InterestGrid {
            region,
            hysteresis: 1.0,
        });
        if hides {
            cluster.world(server).entity_mut(avatar).remove::<Place>();
        }
        cluster.run(60);
        for (n, &entity) in all.iter().enumerate() {
            let away = n as f32 * 5.0;
            if away <= 15.0 {
                assert!(sees(&mut cluster, client, entity), "{region}: {away}");
            } else if away > 15.0 + 2.0 * region {
                assert!(!sees(&mut cluster, client, entity), "{region}: {away}");
            }
        }
    }
}

#[test]
fn what_stands_on_an_edge_does_not_come_and_go() {
    let (mut cluster, apps) = pair(4, Weather::clear(), setup);
    let [server, client] = apps;
    look(&mut cluster, apps, |interest| {
        interest.set_view(View::At(Vec3::new(5.0, 0.0, 5.0), 9.0));
    });
    let (walker, walker_name) = spawn_at(&mut cluster, server, 19.0);
    wait_until(&mut cluster, client, walker_name, true);
    for x in [20.5, 19.5, 20.8, 19.0, 20.9] {
        common::authority::move_to(&mut cluster, server, walker, x);
        cluster.run(5);
        assert!(sees(&mut cluster, client, walker_name), "at {x}");
    }
    common::authority::move_to(&mut cluster, server, walker, 21.5);
    wait_until(&mut cluster, client, walker_name, false);
}

#[test]
fn a_scope_is_told_to_those_who_are_in_it() {
    let mut cluster = Cluster::new(5, setup);
    cluster.set_weather(Weather::lossy(0.3));
    let server = cluster.server();
    let clients = [cluster.client(server), cluster.client(server)];
    for client in clients {
        ready(&mut cluster, client);
    }
    let red = ToolScopeId(7);
    let bundle = (Replicated, Label("red".into()), ToolScopes(vec![red]));
    let flag = cluster.world(server).spawn(bundle).id();
    let flag_name = name(&mut cluster, server, flag);
    look(&mut cluster, [server, clients[0]], |i| i.subscribe(red));
    wait_until(&mut cluster, clients[0], flag_name, true);
    cluster.run(30);
    assert!(!sees(&mut cluster, clients[1], flag_name));
    // Everybody's, then another scope's.
    cluster
        .world(server)
        .entity_mut(flag)
        .remove::<ToolScopes>();
    wait_until(&mut cluster, clients[1], flag_name, true);
    let blue = ToolScopes(vec![ToolScopeId(8)]);
    cluster.world(server).entity_mut(flag).insert(blue);
    for client in clients {
        wait_until(&mut cluster, client, flag_name, false);
    }
}

/// Asks for a scope on a client, or not any more.
fn ask(cluster: &mut Cluster, client: AppId, scope: ToolScopeId, enter: bool) {
    let mut subscriptions = cluster.world(client).resource_mut::<Subscriptions>();
    let changed = if enter {
        subscriptions.enter(scope)
    } else {
        subscriptions.leave(scope)
    };
    assert!(changed);
}

fn spawn_in(cluster: &mut Cluster, server: AppId, scope: ToolScopeId) -> GlobalEntity {
    let scopes = ToolScopes(vec![scope]);
    let bundle = (Replicated, Label("map".into()), scopes);
    let map = cluster.world(server).spawn(bundle).id();
    name(cluster, server, map)
}

const MAP: ToolScopeId = ToolScopeId(3);
const TEAM: ToolScopeId = ToolScopeId(4);

#[test]
fn a_client_enters_no_scope_that_the_server_did_not_open() {
    let (mut cluster, [server, client]) = pair(6, Weather::lossy(0.3), setup);
    let map = spawn_in(&mut cluster, server, MAP);
    ask(&mut cluster, client, MAP, true);
    cluster.run(90);
    assert!(!sees(&mut cluster, client, map));
    assert_eq!(common::counted(&mut cluster, server).refused.scopes, 1);
}

#[test]
fn a_client_enters_and_leaves_the_scopes_that_are_open() {
    let (mut cluster, [server, client]) = pair(6, Weather::lossy(0.3), setup);
    let policy = ScopePolicy::open([MAP]);
    cluster.world(server).insert_resource(policy);
    let map = spawn_in(&mut cluster, server, MAP);
    let flag = spawn_in(&mut cluster, server, TEAM);
    for scope in [MAP, TEAM] {
        ask(&mut cluster, client, scope, true);
    }
    wait_until(&mut cluster, client, map, true);
    ask(&mut cluster, client, MAP, false);
    wait_until(&mut cluster, client, map, false);
    ask(&mut cluster, client, MAP, true);
    wait_until(&mut cluster, client, map, true);
    assert!(!sees(&mut cluster, client, flag), "that one is not open");
    assert_eq!(common::counted(&mut cluster, server).refused.scopes, 1);
}

#[test]
fn the_policy_may_open_a_scope_to_one_client_and_not_to_another() {
    let mut cluster = Cluster::new(6, setup);
    let server = cluster.server();
    let clients = [cluster.client(server), cluster.client(server)];
    for client in clients {
        ready(&mut cluster, client);
    }
    let friend = me(&mut cluster, clients[0]);
    let policy = ScopePolicy::new(move |_, client, scope| client == friend && scope == TEAM);
    cluster.world(server).insert_resource(policy);
    let flag = spawn_in(&mut cluster, server, TEAM);
    for client in clients {
        ask(&mut cluster, client, TEAM, true);
    }
    cluster.run(60);
    assert_eq!(clients.map(|c| sees(&mut cluster, c, flag)), [true, false]);
}

#[test]
fn a_client_cannot_leave_a_scope_that_the_server_put_it_in() {
    let (mut cluster, apps) = pair(6, Weather::near(), setup);
    let [server, client] = apps;
    let policy = ScopePolicy::open([TEAM]);
    cluster.world(server).insert_resource(policy);
    let flag = spawn_in(&mut cluster, server, TEAM);
    ask(&mut cluster, client, TEAM, true);
    wait_until(&mut cluster, client, flag, true);
    look(&mut cluster, apps, |interest| interest.subscribe(TEAM));
    ask(&mut cluster, client, TEAM, false);
    cluster.run(60);
    assert!(sees(&mut cluster, client, flag));
    look(&mut cluster, apps, |interest| interest.unsubscribe(TEAM));
    wait_until(&mut cluster, client, flag, false);
}

#[test]
fn what_a_client_asked_for_is_asked_of_every_server_that_it_comes_to() {
    let mut cluster = Cluster::new(6, |app| {
        setup(app);
        app.insert_resource(ScopePolicy::open((0..200).map(ToolScopeId)));
    });
    cluster.set_weather(Weather::lossy(0.05));
    let first = cluster.server();
    let client = cluster.client(first);
    // Before the handshake, and more than one item holds.
    for scope in (0..200).map(ToolScopeId) {
        ask(&mut cluster, client, scope, true);
    }
    let last = ToolScopeId(199);
    let map = spawn_in(&mut cluster, first, last);
    wait_until(&mut cluster, client, map, true);
    cluster.kill(first);
    let second = cluster.server();
    let there = spawn_in(&mut cluster, second, last);
    cluster.run_until("the first link is gone", 1200, |cluster| {
        cluster.world(client).resource::<Peers>().iter().count() == 0
    });
    cluster.connect(client, second);
    wait_until(&mut cluster, client, there, true);
}

#[test]
fn an_exception_stands_above_place_and_scope_and_can_be_taken_back() {
    let (mut cluster, apps) = pair(7, Weather::lossy(0.05), setup);
    let [server, client] = apps;
    look(&mut cluster, apps, |interest| {
        interest.set_view(View::Nothing);
    });
    let (boss, boss_name) = spawn_at(&mut cluster, server, 500.0);
    cluster.run(10);
    let slot = *cluster.world(server).get::<NetSlot>(boss).expect("named");
    for (exception, seen) in [(Some(true), true), (None, false), (Some(true), true)] {
        look(&mut cluster, apps, |i| i.except(&slot, exception));
        wait_until(&mut cluster, client, boss_name, seen);
    }
    look(&mut cluster, apps, |interest| {
        interest.set_view(View::Everything);
        interest.except(&slot, Some(false));
    });
    wait_until(&mut cluster, client, boss_name, false);
}

#[test]
fn an_exception_does_not_pass_to_the_next_entity_in_the_slot() {
    let (mut cluster, apps) = pair(8, Weather::near(), setup);
    let [server, client] = apps;
    let first = spawn_at(&mut cluster, server, 0.0).0;
    let slot = *cluster.world(server).get::<NetSlot>(first).expect("named");
    look(&mut cluster, apps, |i| i.except(&slot, Some(false)));
    cluster.run(5);
    cluster.world(server).despawn(first);
    cluster.run(2);
    let second = spawn_at(&mut cluster, server, 0.0).1;
    wait_for(&mut cluster, client, second);
}

#[test]
fn leaving_and_entering_in_any_order_ends_with_what_is_in_sight() {
    for seed in 0..16 {
        let loss = [0.05, 0.3][seed as usize % 2];
        let (mut cluster, apps) = pair(seed, Weather::lossy(loss), setup);
        let [server, client] = apps;
        let mut rng = Rng::new(seed);
        let mut all: Vec<(Entity, GlobalEntity)> = (0..12)
            .map(|x| spawn_at(&mut cluster, server, x as f32 * 10.0))
            .collect();
        for _ in 0..120 {
            let at = rng.below(all.len());
            let x = rng.below(120) as f32;
            match rng.below(6) {
                0 | 1 => look(&mut cluster, apps, |interest| {
                    interest.set_view(View::At(Vec3::new(x, 0.0, 5.0), 15.0));
                }),
                2 => look(&mut cluster, apps, |i| i.set_view(View::Nothing)),
                3 => {
                    cluster.world(server).despawn(all[at].0);
                    all[at] = spawn_at(&mut cluster, server, x);
                }
                4 => {
                    let scopes = ToolScopes(vec![ToolScopeId(rng.below(2) as u32)]);
                    let mut entity = cluster.world(server).entity_mut(all[at].0);
                    entity.insert(scopes);
                    let scope = ToolScopeId(rng.below(2) as u32);
                    let enter = rng.chance(0.6);
                    look(&mut cluster, apps, |interest| {
                        if enter {
                            interest.subscribe(scope);
                        } else {
                            interest.unsubscribe(scope);
                        }
                    });
                }
                _ => common::authority::move_to(&mut cluster, server, all[at].0, x),
            }
            cluster.step();
        }
        // At rest: what is near and in scope, and nothing else. An empty list is everybody's.
        look(&mut cluster, apps, |interest| {
            interest.set_view(View::At(Vec3::new(45.0, 0.0, 5.0), 15.0));
            interest.subscribe(ToolScopeId(0));
            interest.unsubscribe(ToolScopeId(1));
        });
        // Well inside a region each, so that no edge is near.
        for (n, (entity, _)) in all.iter().enumerate() {
            common::authority::move_to(&mut cluster, server, *entity, n as f32 * 10.0 + 5.0);
        }
        cluster.run(240);
        for (n, (entity, name)) in all.into_iter().enumerate() {
            let scopes = cluster.world(server).get::<ToolScopes>(entity);
            let in_scope = scopes.is_none_or(|s| s.0.contains(&ToolScopeId(0)));
            let near = (2..=6).contains(&n);
            let want = near && in_scope;
            assert_eq!(sees(&mut cluster, client, name), want, "{n}, seed {seed}");
            if want {
                let there = find(&mut cluster, client, name).expect("seen");
                let place = common::get::<Place>(&mut cluster, client, there);
                assert_eq!(place.map(|p| p.0), Some(n as f32 * 10.0 + 5.0));
            }
        }
    }
}
