//! What is disabled is hidden from a game's queries, not from the network.

mod common;

use bevy::{ecs::entity_disabling::Disabled, prelude::*};
use common::{
    Label, Place,
    authority::{Event, Three, grab, three},
    find, get, me, name, pair, register, wait_for,
};
use seamless_authority::{AuthorityCommandsExt, AuthorityView};
use seamless_replication::{
    Authority, Peers, Replicated,
    interest::{InterestAppExt, ToolScopeId, ToolScopes, View},
    wire::Holder,
};
use seamless_testkit::{Cluster, Weather};

const A_WHILE: usize = 60;

/// A disabling component of the game's own.
#[derive(Component, Default)]
struct Asleep;

#[test]
fn its_scopes_hold() {
    let (mut cluster, [server, client]) = pair(1, Weather::lossy(0.1), |app| {
        register(app);
        app.world_mut().register_disabling_component::<Asleep>();
    });
    let scopes = || ToolScopes(vec![ToolScopeId(3)]);
    let world = cluster.world(server);
    let hidden = [0, 1].map(|_| {
        let bundle = (Replicated, Place::default(), scopes());
        world.spawn(bundle).id()
    });
    world.entity_mut(hidden[0]).insert(Disabled);
    world.entity_mut(hidden[1]).insert(Asleep);
    let seen = world.spawn((Replicated, Place::default(), Disabled)).id();
    let seen = name(&mut cluster, server, seen);
    wait_for(&mut cluster, client, seen);
    cluster.run(A_WHILE);
    for entity in hidden {
        let name = name(&mut cluster, server, entity);
        assert_eq!(find(&mut cluster, client, name), None);
    }
}

#[test]
fn who_looks_from_it_looks_from_where_it_is() {
    let (mut cluster, [server, client]) = pair(5, Weather::lossy(0.1), |app| {
        register(app);
        app.world_mut().register_disabling_component::<Asleep>();
        app.interest_position::<Place>(|place| Vec3::new(place.0, place.1, place.2));
    });
    let spawn = |world: &mut World, at: f32| world.spawn((Replicated, Place(at, 0.0, 0.0))).id();
    let world = cluster.world(server);
    let [eye, near, far] = [0.0, 10.0, 1000.0].map(|at| spawn(world, at));
    let view = View::Around(eye, 50.0);
    for peer in world.resource_mut::<Peers>().iter_mut() {
        peer.interest_mut().set_view(view);
    }
    cluster.run(A_WHILE);
    let [near, far] = [near, far].map(|entity| name(&mut cluster, server, entity));
    let seen =
        |cluster: &mut Cluster| [near, far].map(|name| find(cluster, client, name).is_some());
    assert_eq!(seen(&mut cluster), [true, false]);
    for hidden in [false, true] {
        let mut eye = cluster.world(server).entity_mut(eye);
        match hidden {
            false => eye.insert(Disabled),
            true => eye.remove::<Disabled>().insert(Asleep),
        };
        let (from, wanted) = if hidden {
            (0.0, [true, false])
        } else {
            (1000.0, [false, true])
        };
        if let Some(mut place) = eye.get_mut::<Place>() {
            place.0 = from;
        }
        cluster.run(A_WHILE);
        assert_eq!(seen(&mut cluster), wanted);
    }
}

#[test]
fn what_it_loses_is_told() {
    let (mut cluster, [server, client]) = pair(2, Weather::lossy(0.1), register);
    let bundle = (Replicated, Place::default(), Label("told".into()));
    let entity = cluster.world(server).spawn(bundle).id();
    let name = name(&mut cluster, server, entity);
    let there = wait_for(&mut cluster, client, name);
    cluster.run(A_WHILE);
    assert!(get::<Label>(&mut cluster, client, there).is_some());
    let mut entity = cluster.world(server).entity_mut(entity);
    entity.insert(Disabled).remove::<Label>();
    cluster.run(A_WHILE);
    assert_eq!(get::<Label>(&mut cluster, client, there), None);
}

/// A crate that a client holds, and that its server hides from queries.
fn hidden_crate(hiding: impl Bundle) -> Three {
    let mut t = three((3, Weather::lossy(0.1)));
    let world = t.cluster.world(t.server);
    world.register_disabling_component::<Asleep>();
    world.entity_mut(t.crate_).insert(hiding);
    grab(&mut t.cluster, t.clients[0], t.seen[0]);
    let holder = me(&mut t.cluster, t.clients[0]);
    assert_eq!(t.holder(), Some(Holder::Peer(holder)));
    t
}

#[test]
fn it_is_nobodys_when_its_holder_is_gone() {
    for mut t in [hidden_crate(Disabled), hidden_crate(Asleep)] {
        t.cluster.kill(t.clients[0]);
        t.cluster.run_until("nobody has it", 900, |cluster| {
            let authority = cluster.world(t.server).get::<Authority>(t.crate_);
            authority.expect("it has one").holder == Holder::Nobody
        });
        t.until(1, AuthorityView::Available);
    }
}

#[test]
fn a_client_hears_of_what_it_has_disabled_itself() {
    let mut t = three((4, Weather::lossy(0.1)));
    grab(&mut t.cluster, t.clients[0], t.seen[0]);
    t.until(0, AuthorityView::Granted);
    let world = t.cluster.world(t.clients[0]);
    world.entity_mut(t.seen[0]).insert(Disabled);
    t.on_server(|e| {
        e.take_authority();
    });
    let heard = t.until(0, AuthorityView::Denied);
    assert!(
        matches!(heard[..], [Event::Lost(entity, _)] if entity == t.seen[0]),
        "{heard:?}"
    );
}
