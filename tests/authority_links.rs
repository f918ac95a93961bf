//! Authority while links are lost and replaced: each request is answered once, nothing stays locked.

mod common;

use std::time::Duration;

use bevy::{prelude::*, time::TimeUpdateStrategy};
use common::{
    Label, Place,
    authority::{Event, grab, heard, holder, lending, view},
    command, get, on_a_wire, ready, spawn_on,
};
use seamless_authority::{AuthorityCommandsExt, AuthorityView, Delegated};
use seamless_replication::{
    Admission, Admitted, Authority, NetSlot, PeerJoined, Peers, ReplicationSystems,
    interest::{InterestAppExt, View},
    transport::{CloseReason, LinkId, Links},
    wire::{Holder, PeerId, control::DenyReason},
};
use seamless_testkit::{AppId, Cluster, Fate, Way, Wire};

/// Every server calls its client so.
const ME: PeerId = PeerId(77);

fn one_name(app: &mut App) {
    lending(app);
    app.interest_position::<Place>(|place| Vec3::new(place.0, place.1, place.2));
    let peer = Admitted {
        peer: ME,
        spectator: false,
    };
    app.insert_resource(Admission::new(move |_, _, _| Ok(peer)));
}

/// A client on a wire, and a crate that can be lent.
fn scene() -> (Cluster, [AppId; 2], Wire, [Entity; 2]) {
    let (mut cluster, apps, wire) = on_a_wire(one_name);
    let both = spawn_on(&mut cluster, apps, (Delegated, Place::default()));
    cluster.run(20);
    (cluster, apps, wire, both)
}

/// The client's only link.
fn only_link(cluster: &mut Cluster, client: AppId) -> LinkId {
    let links = cluster.world(client).resource::<Links>();
    links.iter().next().expect("a link").id()
}

fn close(cluster: &mut Cluster, client: AppId, link: LinkId) {
    if let Some(link) = cluster.world(client).resource_mut::<Links>().get_mut(link) {
        link.close(CloseReason::ByPeer);
    }
}

/// The client comes in again, past the wire, while its former link stands; then that one closes.
fn replace_link(cluster: &mut Cluster, [server, client]: [AppId; 2]) {
    let old = only_link(cluster, client);
    cluster.connect(client, server);
    cluster.run(60);
    close(cluster, client, old);
    cluster.run(60);
    ready(cluster, client);
}

fn request(cluster: &mut Cluster, client: AppId, entity: Entity) {
    command(cluster, client, entity, |e| {
        e.request_authority();
    });
}

#[test]
fn a_request_that_is_lost_with_its_link_is_denied_though_another_link_tells_of_the_entity() {
    let (mut cluster, apps, wire, [_, there]) = scene();
    let [_, client] = apps;
    wire.all(Way::ToServer, Fate::Lose);
    request(&mut cluster, client, there);
    cluster.run(3);
    replace_link(&mut cluster, apps);
    let denied = Event::Denied(there, DenyReason::HostedElsewhere);
    assert_eq!(heard(&mut cluster, client), [denied]);
    let free = Some(AuthorityView::Available);
    assert_eq!(view(&mut cluster, client, there), free);
    grab(&mut cluster, client, there);
}

#[test]
fn a_release_that_is_lost_with_its_link_is_said_again_over_the_next() {
    let (mut cluster, apps, wire, [crate_, there]) = scene();
    let [server, client] = apps;
    grab(&mut cluster, client, there);
    cluster.run(10);
    wire.all(Way::ToServer, Fate::Lose);
    command(&mut cluster, client, there, |e| {
        e.release_authority();
    });
    cluster.run(3);
    assert_eq!(holder(&mut cluster, server, crate_), Some(Holder::Peer(ME)));
    replace_link(&mut cluster, apps);
    assert_eq!(holder(&mut cluster, server, crate_), Some(Holder::Nobody));
    let free = Some(AuthorityView::Available);
    assert_eq!(view(&mut cluster, client, there), free);
    let ended = [Event::Granted(there), Event::Lost(there, None)];
    assert_eq!(heard(&mut cluster, client), ended);
}

/// Who joins from now on sees no region.
fn show_nothing(mut joined: MessageReader<PeerJoined>, mut peers: ResMut<Peers>) {
    for joined in joined.read() {
        if let Some(peer) = peers.get_mut(joined.link) {
            peer.interest_mut().set_view(View::Nothing);
        }
    }
}

#[test]
fn who_comes_again_and_does_not_see_what_it_held_holds_it_no_more() {
    let (mut cluster, apps, _, [crate_, there]) = scene();
    let [server, client] = apps;
    grab(&mut cluster, client, there);
    cluster.run(10);
    let blind = show_nothing.after(ReplicationSystems::Receive);
    cluster.app(server).add_systems(PreUpdate, blind);
    replace_link(&mut cluster, apps);
    assert_eq!(holder(&mut cluster, server, crate_), Some(Holder::Nobody));
}

#[test]
fn who_comes_again_and_sees_what_it_held_holds_it_still() {
    let (mut cluster, apps, _, [crate_, there]) = scene();
    let [server, client] = apps;
    grab(&mut cluster, client, there);
    cluster.run(10);
    replace_link(&mut cluster, apps);
    assert_eq!(holder(&mut cluster, server, crate_), Some(Holder::Peer(ME)));
    let granted = Some(AuthorityView::Granted);
    assert_eq!(view(&mut cluster, client, there), granted);
    assert_eq!(heard(&mut cluster, client), [Event::Granted(there)]);
}

/// What is hidden from all clients in the next tick, and shown in the one after it.
#[derive(Resource)]
struct Blink(NetSlot, u32);

fn blink(blink: Option<ResMut<Blink>>, mut peers: ResMut<Peers>) {
    let Some(mut blink) = blink.filter(|blink| blink.1 < 2) else {
        return;
    };
    for peer in peers.iter_mut() {
        peer.interest_mut().except(&blink.0, Some(blink.1 == 1));
    }
    blink.1 += 1;
}

#[test]
fn what_was_out_of_sight_for_a_tick_before_it_was_lent_stays_lent() {
    let (mut cluster, [server, client], wire, [crate_, there]) = scene();
    cluster.app(server).add_systems(FixedUpdate, blink);
    wire.all(Way::ToServer, Fate::Hold);
    request(&mut cluster, client, there);
    cluster.run(2);
    wire.pass();
    wire.kept().into_iter().for_each(|parcel| wire.put(parcel));
    // Two ticks in one frame of the server, and the request in the next.
    let tick = Duration::from_nanos(1_000_000_000 / 30);
    let slot = get::<NetSlot>(&mut cluster, server, crate_).expect("on the network");
    let world = cluster.world(server);
    world.insert_resource(Blink(slot, 0));
    world.insert_resource(TimeUpdateStrategy::ManualDuration(tick * 2));
    cluster.step();
    let world = cluster.world(server);
    assert_eq!(world.resource::<Blink>().1, 2, "both ticks ran");
    world.insert_resource(TimeUpdateStrategy::ManualDuration(tick));
    assert_eq!(holder(&mut cluster, server, crate_), Some(Holder::Nobody));
    cluster.step();
    assert_eq!(holder(&mut cluster, server, crate_), Some(Holder::Peer(ME)));
    cluster.run(30);
    assert_eq!(holder(&mut cluster, server, crate_), Some(Holder::Peer(ME)));
}

#[test]
fn a_grant_that_overtakes_the_first_fence_is_waited_for() {
    let (mut cluster, apps, wire) = on_a_wire(one_name);
    let [server, client] = apps;
    let long = |text: &str| Label(text.repeat(4000));
    let [crate_, there] = spawn_on(&mut cluster, apps, long("a"));
    cluster.run(20);
    // Its rows are too long for a datagram, and wait.
    wire.decide(|parcel| match (parcel.way, parcel.channel) {
        (Way::ToClient, Some(_)) => Fate::Hold,
        _ => Fate::Pass,
    });
    let mut lendable = cluster.world(server).entity_mut(crate_);
    lendable.insert((Delegated, long("b")));
    cluster.run(2);
    request(&mut cluster, client, there);
    cluster.run(5);
    assert_eq!(holder(&mut cluster, server, crate_), Some(Holder::Peer(ME)));
    command(&mut cluster, server, crate_, |e| {
        e.take_authority();
    });
    cluster.run(20);
    assert_eq!(get::<Authority>(&mut cluster, client, there), None);
    wire.pass();
    wire.kept().into_iter().for_each(|parcel| wire.put(parcel));
    cluster.run(60);
    assert_eq!(holder(&mut cluster, client, there), Some(Holder::Host));
    let denied = Some(AuthorityView::Denied);
    assert_eq!(view(&mut cluster, client, there), denied);
    let denied = Event::Denied(there, DenyReason::Held);
    assert_eq!(heard(&mut cluster, client), [denied]);
}
