//! Bounds of what clients may ask for and write, and what becomes of who passes them.

mod common;

use bevy::prelude::*;
use common::{
    Health, Label, Place,
    authority::{Event, at, heard, holder, lending, move_to, view},
    command, get,
    hostile::{Scene, encoded, scene},
    me, name, pair, spawn_on,
};
use seamless_authority::{
    AuthorityCommandsExt, AuthorityPolicy, AuthorityStats, AuthorityView, Delegated, Loan,
};
use seamless_replication::{
    Authority, ControlReceived, Peers, Registry,
    interest::{InterestAppExt, View},
    wire::{
        Allocator, Holder, RequestId,
        control::{Control, DenyReason},
    },
};
use seamless_testkit::Weather;

fn in_space(app: &mut App) {
    lending(app);
    app.interest_position::<Place>(|place| Vec3::new(place.0, place.1, place.2));
}

#[test]
fn what_is_too_far_from_where_a_client_looks_is_not_lent() {
    let (mut cluster, apps) = pair(1, Weather::lossy(0.05), in_space);
    let [server, client] = apps;
    let id = me(&mut cluster, client);
    let mut peers = cluster.world(server).resource_mut::<Peers>();
    let peer = peers.by_id_mut(id).expect("linked");
    peer.interest_mut().set_view(View::At(Vec3::ZERO, 200.0));
    let mut policy = cluster.world(server).resource_mut::<AuthorityPolicy>();
    policy.max_distance = Some(10.0);
    let near = spawn_on(&mut cluster, apps, (Delegated, Place(9.0, 0.0, 0.0)));
    let far = spawn_on(&mut cluster, apps, (Delegated, Place(11.0, 0.0, 0.0)));
    let nowhere = spawn_on(&mut cluster, apps, (Delegated, Label("idea".into())));
    for [_, there] in [near, far, nowhere] {
        command(&mut cluster, client, there, |e| {
            e.request_authority();
        });
    }
    cluster.run(60);
    let mut told = heard(&mut cluster, client);
    told.sort_by_key(|event| match event {
        Event::Granted(entity) | Event::Denied(entity, _) | Event::Lost(entity, _) => *entity,
    });
    let mut want = [
        Event::Granted(near[1]),
        Event::Denied(far[1], DenyReason::TooFar),
        Event::Granted(nowhere[1]),
    ];
    want.sort_by_key(|event| match event {
        Event::Granted(entity) | Event::Denied(entity, _) | Event::Lost(entity, _) => *entity,
    });
    assert_eq!(told, want);
    // It comes closer, and is lent.
    move_to(&mut cluster, server, far[0], 5.0);
    cluster.run(20);
    common::authority::grab(&mut cluster, client, far[1]);
}

#[test]
fn a_client_that_looks_from_nowhere_is_near_to_everything() {
    let (mut cluster, apps) = pair(1, Weather::near(), in_space);
    let mut policy = cluster.world(apps[0]).resource_mut::<AuthorityPolicy>();
    policy.max_distance = Some(10.0);
    let [_, far] = spawn_on(&mut cluster, apps, (Delegated, Place(500.0, 0.0, 0.0)));
    common::authority::grab(&mut cluster, apps[1], far);
}

/// How often the hostile client is told in these frames that it may not write.
fn refusals(scene: &mut Scene, frames: usize) -> usize {
    let mut told = 0;
    for _ in 0..frames {
        scene.cluster.step();
        let world = scene.cluster.world(scene.hostile);
        let messages = world.resource::<Messages<ControlReceived>>();
        let items = messages.iter_current_update_messages();
        let refused =
            |item: &&ControlReceived| matches!(item.control, Control::WriteRefused { .. });
        told += items.filter(refused).count();
    }
    told
}

#[test]
fn a_forged_write_of_what_is_withheld_is_not_applied_and_its_writer_is_told_once() {
    let mut scene = scene(1);
    let (server, lent) = (scene.server, scene.lent);
    scene
        .cluster
        .world(server)
        .entity_mut(lent)
        .insert(Label("steel".into()));
    let id = me(&mut scene.cluster, scene.hostile);
    let registry = scene.cluster.world(server).resource::<Registry>().clone();
    let loan = Loan {
        writes: registry
            .writes_all_but::<Label>()
            .expect("it is replicated"),
        ..Loan::default()
    };
    command(&mut scene.cluster, server, lent, |e| {
        e.lend_authority(id, loan);
    });
    scene.cluster.run(20);
    let name = name(&mut scene.cluster, server, lent);
    let held: Option<Authority> = get(&mut scene.cluster, server, lent);
    let tenure = held.expect("lent").tenure();
    let components =
        ["common::Label", "common::Health", "common::Place"].map(|path| scene.component(path));
    let values = [
        encoded(&Label("gold".into())),
        encoded(&Health(0)),
        encoded(&Place(5.0, 0.0, 0.0)),
    ];
    let before = scene.counted().refused;
    let mut forger = scene.possess();
    let mut told = 0;
    for _ in 0..5 {
        for n in 0..2 {
            let value = (components[n], &values[n][..]);
            let bytes = forger.record(Allocator::Peer, (20, 0), name, tenure, value);
            scene.wire.put(seamless_testkit::Parcel::datagram(
                seamless_testkit::Way::ToServer,
                bytes,
            ));
            told += refusals(&mut scene, 3);
        }
    }
    let now = scene.counted().refused;
    assert_eq!(now.masked - before.masked, 10, "each is counted");
    assert_eq!(told, 1, "it is told once for each entity");
    let steel = Some(Label("steel".into()));
    assert_eq!(get(&mut scene.cluster, server, lent), steel);
    let health = get(&mut scene.cluster, server, lent);
    assert_eq!(health, Some(Health(77)));
    // The same way of writing reaches what it may write.
    let value = (components[2], &values[2][..]);
    let bytes = forger.record(Allocator::Peer, (20, 0), name, tenure, value);
    scene.send(bytes);
    assert_eq!(at(&mut scene.cluster, server, lent), Some(5.0));
    scene.check(1);
}

#[test]
fn a_writer_without_authority_is_told_once_for_each_entity() {
    let mut scene = scene(2);
    let server = scene.server;
    let place = scene.component("common::Place");
    let value = encoded(&Place(666.0, 0.0, 0.0));
    let lendable = [0, 1, 2].map(|n| {
        let authority: Option<Authority> = get(&mut scene.cluster, server, scene.entities[n]);
        (
            n as u32,
            scene.names[n],
            authority.expect("it can be lent").tenure(),
        )
    });
    let mut forger = scene.possess();
    let mut told = 0;
    for _ in 0..6 {
        for (index, name, tenure) in lendable {
            let id = (index, 0);
            let bytes = forger.record(Allocator::Peer, id, name, tenure, (place, &value));
            scene.wire.put(seamless_testkit::Parcel::datagram(
                seamless_testkit::Way::ToServer,
                bytes,
            ));
            told += refusals(&mut scene, 2);
        }
    }
    assert_eq!(told, 3);
    assert!(scene.counted().refused.fenced >= 18);
    scene.check(2);
}

#[test]
fn a_flood_of_requests_is_denied_past_what_one_client_may_ask_for() {
    let mut t = common::authority::three((1, Weather::near()));
    let (server, client) = (t.server, t.clients[0]);
    let name = name(&mut t.cluster, server, t.crate_);
    t.on_server(|e| {
        e.take_authority();
    });
    t.cluster.run(10);
    let mut sent = 0;
    let start = t.cluster.frames();
    for n in 0..60u32 {
        let mut peers = t.cluster.world(client).resource_mut::<Peers>();
        let peer = peers.iter_mut().next().expect("a link");
        for m in 0..40 {
            let request = RequestId(1_000_000 + n * 40 + m);
            let entity = name;
            let item = Control::AuthorityRequest { request, entity };
            sent += u64::from(peer.send_control(&item).is_ok());
        }
        t.cluster.step();
    }
    t.cluster.run(60);
    let seconds = (t.cluster.frames() - start) / 30 + 1;
    let stats = t.cluster.world(server).resource::<AuthorityStats>();
    let count = |reason| stats.denied.get(&reason).copied().unwrap_or(0);
    let (held, limited) = (count(DenyReason::Held), count(DenyReason::Limited));
    assert_eq!(held + limited, sent, "each is answered");
    assert!(held <= 64 * seconds, "{held} in {seconds} s");
    assert_eq!(t.holder(), Some(Holder::Host));
    // The other one is not the worse for it.
    t.on_server(|e| {
        e.reset_authority();
    });
    t.request(1);
    t.until(1, AuthorityView::Granted);
    let entity = t.seen[0];
    let denied = view(&mut t.cluster, client, entity);
    t.cluster.run(30);
    assert_ne!(denied, Some(AuthorityView::Granted));
    assert_ne!(
        holder(&mut t.cluster, server, t.crate_),
        Some(Holder::Nobody)
    );
}
