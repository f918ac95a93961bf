//! Authority while links are lost and replaced: each request is answered once, nothing stays locked.

mod common;

use std::time::Duration;

use bevy::{prelude::*, time::TimeUpdateStrategy};
use common::{
    Label, Place, Target,
    authority::{Event, at, grab, heard, holder, lending, view},
    command, find, get, me, name, on_a_wire, pair, ready, spawn_on,
};
use seamless_authority::{
    AuthorityCommandsExt, AuthorityPolicy, AuthorityView, Delegated, LossReason, Pending,
    resume_deferred,
};
use seamless_replication::{
    Admission, Admitted, Authority, ControlReceived, Frozen, NetSlot, PeerJoined, Peers,
    Replicated, ReplicationConfig, ReplicationSystems,
    interest::{InterestAppExt, View},
    transport::{Channel, CloseReason, LinkId, Links},
    wire::{
        Holder, PeerId, RequestId,
        control::{Control, DenyReason},
    },
};
use seamless_testkit::{AppId, Cluster, Fate, Way, Weather, Wire};

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
fn what_was_taken_off_an_entity_is_gone_also_when_another_link_tells_so() {
    let (mut cluster, apps, wire, [crate_, there]) = scene();
    let [server, client] = apps;
    let label = Label("of before".into());
    cluster.world(server).entity_mut(crate_).insert(label);
    cluster.run(20);
    assert!(cluster.world(client).get::<Label>(there).is_some());
    // The link that showed it does not hear that it goes, and another link never knew of it.
    wire.all(Way::ToClient, Fate::Lose);
    cluster
        .world(server)
        .entity_mut(crate_)
        .remove::<Label>()
        .insert(Place(9.0, 0.0, 0.0));
    replace_link(&mut cluster, apps);
    assert_eq!(at(&mut cluster, client, there), Some(9.0));
    assert!(cluster.world(client).get::<Label>(there).is_none());
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

/// An entity with a row too long for a datagram, which is kept on the wire; those after it wait for
/// that. Then it can be lent, and is: the answer does not wait.
fn lent_unseen() -> (Cluster, [AppId; 2], Wire, [Entity; 2]) {
    let (mut cluster, apps, wire) = on_a_wire(one_name);
    let [server, client] = apps;
    let long = |text: &str| Label(text.repeat(4000));
    let [crate_, there] = spawn_on(&mut cluster, apps, long("a"));
    cluster.run(20);
    wire.decide(|parcel| match (parcel.way, parcel.channel) {
        (Way::ToClient, Some(_)) => Fate::Hold,
        _ => Fate::Pass,
    });
    cluster.world(server).entity_mut(crate_).insert(long("b"));
    cluster.run(2);
    cluster.world(server).entity_mut(crate_).insert(Delegated);
    request(&mut cluster, client, there);
    cluster.run(5);
    assert_eq!(holder(&mut cluster, server, crate_), Some(Holder::Peer(ME)));
    (cluster, apps, wire, [crate_, there])
}

#[test]
fn a_grant_that_overtakes_the_first_fence_is_waited_for() {
    let (mut cluster, [server, client], wire, [crate_, there]) = lent_unseen();
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

#[test]
fn a_grant_whose_fence_is_gone_before_it_was_seen_is_a_denial() {
    let (mut cluster, [server, client], wire, [crate_, there]) = lent_unseen();
    cluster
        .world(server)
        .entity_mut(crate_)
        .remove::<Delegated>();
    cluster.run(20);
    wire.pass();
    wire.kept().into_iter().for_each(|parcel| wire.put(parcel));
    cluster.run(60);
    assert_eq!(get::<Authority>(&mut cluster, client, there), None);
    let denied = Event::Denied(there, DenyReason::Revoked);
    assert_eq!(heard(&mut cluster, client), [denied]);
    assert_eq!(view(&mut cluster, client, there), None);
}

/// A client whose session is kept for so many seconds after a drop, and a crate that can be lent.
fn kept_for(seconds: u64) -> (Cluster, [AppId; 2], [Entity; 2]) {
    kept_in((1, Weather::near()), lending, seconds)
}

/// The same of another game, in this weather.
fn kept_in(
    (seed, weather): (u64, Weather),
    game: fn(&mut App),
    seconds: u64,
) -> (Cluster, [AppId; 2], [Entity; 2]) {
    let (mut cluster, apps) = pair(seed, weather, move |app| {
        game(app);
        app.world_mut()
            .resource_mut::<ReplicationConfig>()
            .resume_grace = Duration::from_secs(seconds);
    });
    let both = spawn_on(&mut cluster, apps, (Delegated, Place::default()));
    cluster.run(20);
    (cluster, apps, both)
}

/// The network is gone until both ends have noticed.
fn drop_link(cluster: &mut Cluster, apps: [AppId; 2]) {
    cluster.change_weather(Weather::lossy(1.0));
    cluster.run_until("both ends notice", 300, |cluster| {
        let mut peers = apps.map(|app| cluster.world(app).resource::<Peers>().iter().count());
        peers.iter_mut().all(|count| *count == 0)
    });
    cluster.set_weather(Weather::near());
}

fn come_back(cluster: &mut Cluster, [server, client]: [AppId; 2]) {
    cluster.connect(client, server);
    cluster.run(3);
    ready(cluster, client);
    cluster.run(60);
}

#[test]
fn a_request_under_way_when_its_link_drops_is_answered_once_over_the_one_that_goes_on() {
    let (mut cluster, apps, [crate_, there]) = kept_for(60);
    let [server, client] = apps;
    let id = me(&mut cluster, client);
    cluster.change_weather(Weather::lossy(1.0));
    request(&mut cluster, client, there);
    drop_link(&mut cluster, apps);
    assert!(heard(&mut cluster, client).is_empty());
    come_back(&mut cluster, apps);
    assert_eq!(heard(&mut cluster, client), [Event::Granted(there)]);
    assert_eq!(holder(&mut cluster, server, crate_), Some(Holder::Peer(id)));
    // It is forgotten once it is answered.
    drop_link(&mut cluster, apps);
    come_back(&mut cluster, apps);
    assert_eq!(
        heard(&mut cluster, client),
        [Event::Lost(there, Some(LossReason::OutOfScope))]
    );
}

#[test]
fn a_request_whose_session_nobody_goes_on_with_is_denied_once() {
    let (mut cluster, apps, [crate_, there]) = kept_for(3);
    let [server, client] = apps;
    cluster.change_weather(Weather::lossy(1.0));
    request(&mut cluster, client, there);
    drop_link(&mut cluster, apps);
    assert!(heard(&mut cluster, client).is_empty());
    let name = name(&mut cluster, server, crate_);
    // It stays for longer than the session does, so that it is there to be denied.
    let mut config = cluster.world(client).resource_mut::<ReplicationConfig>();
    config.orphan_grace = Duration::from_secs(60);
    cluster.run(120);
    let denied = Event::Denied(there, DenyReason::HostedElsewhere);
    assert_eq!(heard(&mut cluster, client), [denied]);
    come_back(&mut cluster, apps);
    assert_eq!(find(&mut cluster, client, name), Some(there));
    assert!(heard(&mut cluster, client).is_empty());
    let free = Some(AuthorityView::Available);
    assert_eq!(view(&mut cluster, client, there), free);
    assert_eq!(holder(&mut cluster, server, crate_), Some(Holder::Nobody));
}

#[test]
fn a_request_that_waits_at_the_server_during_a_drop_is_answered_once() {
    for thaws_during_the_drop in [true, false] {
        let (mut cluster, apps, [crate_, there]) = kept_for(60);
        let [server, client] = apps;
        cluster.world(server).entity_mut(crate_).insert(Frozen);
        request(&mut cluster, client, there);
        cluster.run(10);
        drop_link(&mut cluster, apps);
        if !thaws_during_the_drop {
            come_back(&mut cluster, apps);
        }
        thaw(&mut cluster, server, crate_);
        if thaws_during_the_drop {
            come_back(&mut cluster, apps);
        }
        cluster.run(30);
        let wanted = match thaws_during_the_drop {
            true => Event::Denied(there, DenyReason::HostedElsewhere),
            false => Event::Granted(there),
        };
        assert_eq!(heard(&mut cluster, client), [wanted]);
    }
}

/// On a bad network, a client that its server calls [`ME`] whatever session it is in.
fn with_one_name(seed: u64, seconds: u64) -> (Cluster, [AppId; 2], [Entity; 2]) {
    kept_in((seed, Weather::lossy(0.3)), one_name, seconds)
}

/// Has a client say something about an entity that is frozen, and the server hear it.
fn say_of_frozen(
    cluster: &mut Cluster,
    [server, client]: [AppId; 2],
    [crate_, there]: [Entity; 2],
    what: fn(&mut EntityCommands<'_>),
) {
    cluster.world(server).entity_mut(crate_).insert(Frozen);
    command(cluster, client, there, what);
    cluster.run_until("the server heard it", 300, |cluster| {
        cluster.world(server).resource::<Pending>().waiting() == 1
    });
}

fn ask(entity: &mut EntityCommands<'_>) {
    entity.request_authority();
}

fn give_back(entity: &mut EntityCommands<'_>) {
    entity.release_authority();
}

#[test]
fn a_request_that_waits_at_the_server_is_not_granted_to_the_session_after_its_own() {
    for seed in 0..4 {
        let (mut cluster, apps, both) = with_one_name(seed, 3);
        let ([server, client], [crate_, there]) = (apps, both);
        let mut config = cluster.world(client).resource_mut::<ReplicationConfig>();
        config.orphan_grace = Duration::from_secs(60);
        say_of_frozen(&mut cluster, apps, both, ask);
        drop_link(&mut cluster, apps);
        cluster.run(120);
        let denied = Event::Denied(there, DenyReason::HostedElsewhere);
        assert_eq!(heard(&mut cluster, client), [denied]);
        come_back(&mut cluster, apps);
        thaw(&mut cluster, server, crate_);
        cluster.run(30);
        assert!(heard(&mut cluster, client).is_empty());
        let free = Some(AuthorityView::Available);
        assert_eq!(view(&mut cluster, client, there), free);
        assert_eq!(holder(&mut cluster, server, crate_), Some(Holder::Nobody));
        assert_eq!(cluster.world(server).resource::<Pending>().waiting(), 0);
    }
}

#[test]
fn a_request_that_waits_at_the_server_is_answered_after_two_drops() {
    for seed in 0..4 {
        let (mut cluster, apps, both) = kept_in((seed, Weather::lossy(0.3)), lending, 60);
        let ([server, client], [crate_, there]) = (apps, both);
        say_of_frozen(&mut cluster, apps, both, ask);
        for _ in 0..2 {
            drop_link(&mut cluster, apps);
            come_back(&mut cluster, apps);
        }
        assert!(heard(&mut cluster, client).is_empty());
        thaw(&mut cluster, server, crate_);
        cluster.run(30);
        assert_eq!(heard(&mut cluster, client), [Event::Granted(there)]);
    }
}

#[test]
fn what_was_given_back_while_it_was_frozen_is_free_whoever_comes_next() {
    for seed in 0..4 {
        let (mut cluster, apps, both) = with_one_name(seed, 0);
        let ([server, client], [crate_, there]) = (apps, both);
        grab(&mut cluster, client, there);
        say_of_frozen(&mut cluster, apps, both, give_back);
        // The player starts the game anew, and the server has not noticed that the old one is gone.
        cluster.change_weather(Weather::lossy(1.0));
        cluster.run(3);
        cluster.set_weather(Weather::lossy(0.3));
        let again = cluster.client(server);
        ready(&mut cluster, again);
        cluster.run(60);
        let held = Some(Holder::Peer(ME));
        assert_eq!(holder(&mut cluster, server, crate_), held);
        thaw(&mut cluster, server, crate_);
        cluster.run(120);
        let free = Some(Holder::Nobody);
        assert_eq!(holder(&mut cluster, server, crate_), free);
    }
}

#[test]
fn a_request_that_waits_at_the_server_is_not_granted_while_the_session_after_its_own_begins() {
    for seed in 0..4 {
        let (mut cluster, apps, both) = with_one_name(seed, 0);
        let ([server, _], [crate_, _]) = (apps, both);
        say_of_frozen(&mut cluster, apps, both, ask);
        let again = cluster.client(server);
        let links = |cluster: &mut Cluster| {
            let peers = cluster.world(server).resource::<Peers>();
            let link = peers.by_id(ME).expect("it is here").link();
            (link, peers.iter().count())
        };
        let (old, _) = links(&mut cluster);
        cluster.run_until("the new link is the client's", 300, |cluster| {
            links(cluster).0 != old
        });
        // The old one is still in the list.
        assert_eq!(links(&mut cluster).1, 2);
        thaw(&mut cluster, server, crate_);
        cluster.run(120);
        let free = Some(Holder::Nobody);
        assert_eq!(holder(&mut cluster, server, crate_), free);
        let name = name(&mut cluster, server, crate_);
        let seen = find(&mut cluster, again, name).expect("in sight");
        let free = Some(AuthorityView::Available);
        assert_eq!(view(&mut cluster, again, seen), free);
    }
}

/// A frozen entity goes on here.
fn thaw(cluster: &mut Cluster, server: AppId, entity: Entity) {
    let name = name(cluster, server, entity);
    let world = cluster.world(server);
    world.entity_mut(entity).remove::<Frozen>();
    let deferred = world.resource_mut::<Pending>().take_deferred(&[name]);
    assert_eq!(deferred.len(), 1);
    resume_deferred(world, deferred);
}

/// What a client was answered.
#[derive(Resource, Default)]
struct Answers(Vec<RequestId>);

fn note_answers(mut controls: MessageReader<ControlReceived>, mut answers: ResMut<Answers>) {
    for received in controls.read() {
        if let Control::AuthorityAnswer { request, .. } = received.control {
            answers.0.push(request);
        }
    }
}

#[test]
fn a_request_behind_a_release_is_answered_over_the_link_that_goes_on() {
    let (mut cluster, apps, [crate_, there]) = kept_for(60);
    let [server, client] = apps;
    grab(&mut cluster, client, there);
    cluster.run(10);
    let entity = name(&mut cluster, server, crate_);
    let peer = me(&mut cluster, client);
    let app = cluster.app(client);
    app.init_resource::<Answers>()
        .add_systems(Update, note_answers);
    let held = get::<Authority>(&mut cluster, server, crate_).expect("lent");
    let world = cluster.world(server);
    let link = world.resource::<Peers>().by_id(peer).expect("here").link();
    // The release names a row that is still to come, a second before the server notices the drop.
    cluster.change_weather(Weather::lossy(1.0));
    cluster.run(120);
    let release = Control::AuthorityRelease {
        entity,
        epoch: held.epoch,
        last: Some(1000),
    };
    let request = RequestId(99);
    let world = cluster.world(server);
    for control in [release, Control::AuthorityRequest { request, entity }] {
        world.write_message(ControlReceived {
            link,
            peer,
            control,
        });
    }
    cluster.step();
    assert_eq!(cluster.world(server).resource::<Pending>().waiting(), 2);
    drop_link(&mut cluster, apps);
    come_back(&mut cluster, apps);
    cluster.run(60);
    assert_eq!(cluster.world(client).resource::<Answers>().0, [request]);
    assert_eq!(cluster.world(server).resource::<Pending>().waiting(), 0);
}

#[test]
fn a_denial_of_what_went_out_of_sight_and_came_back_meanwhile_is_told() {
    let (mut cluster, [server, client], _, [crate_, there]) = scene();
    let mut policy = cluster.world(server).resource_mut::<AuthorityPolicy>();
    policy.entities_per_client = 0;
    // It stays where it is out of sight, because something refers to it.
    let bundle = (Replicated, Target(crate_));
    cluster.world(server).spawn(bundle);
    cluster.run(20);
    let apps = [server, client];
    say_of_frozen(&mut cluster, apps, [crate_, there], ask);
    let slot = get::<NetSlot>(&mut cluster, server, crate_).expect("on the network");
    for shown in [false, true] {
        for peer in cluster.world(server).resource_mut::<Peers>().iter_mut() {
            peer.interest_mut().except(&slot, Some(shown));
        }
        cluster.run(20);
        let available = shown.then_some(AuthorityView::Available);
        assert_eq!(view(&mut cluster, client, there), available);
    }
    assert_eq!(heard(&mut cluster, client), []);
    thaw(&mut cluster, server, crate_);
    cluster.run(30);
    let denied = Event::Denied(there, DenyReason::Limited);
    assert_eq!(heard(&mut cluster, client), [denied]);
    let available = Some(AuthorityView::Available);
    assert_eq!(view(&mut cluster, client, there), available);
}

#[test]
fn a_grant_that_was_taken_back_before_its_entity_came_into_sight_again_is_denied() {
    let (mut cluster, [server, client], _, [crate_, there]) = scene();
    let bundle = (Replicated, Target(crate_));
    cluster.world(server).spawn(bundle);
    cluster.run(20);
    let apps = [server, client];
    say_of_frozen(&mut cluster, apps, [crate_, there], ask);
    let slot = get::<NetSlot>(&mut cluster, server, crate_).expect("on the network");
    for shown in [false, true] {
        for peer in cluster.world(server).resource_mut::<Peers>().iter_mut() {
            peer.interest_mut().except(&slot, Some(shown));
        }
        cluster.run(20);
    }
    thaw(&mut cluster, server, crate_);
    assert_eq!(holder(&mut cluster, server, crate_), Some(Holder::Peer(ME)));
    command(&mut cluster, server, crate_, |e| {
        e.reset_authority();
    });
    cluster.run(30);
    let denied = Event::Denied(there, DenyReason::Revoked);
    assert_eq!(heard(&mut cluster, client), [denied]);
    let available = Some(AuthorityView::Available);
    assert_eq!(view(&mut cluster, client, there), available);
    grab(&mut cluster, client, there);
}

#[test]
fn a_grant_that_comes_before_its_entity_is_in_sight_again_is_one() {
    let (mut cluster, [server, client], wire, [crate_, there]) = scene();
    let bundle = (Replicated, Target(crate_));
    cluster.world(server).spawn(bundle);
    // What is large goes another way.
    let large = Label("m".repeat(6000));
    cluster.world(server).entity_mut(crate_).insert(large);
    cluster.run(30);
    let apps = [server, client];
    say_of_frozen(&mut cluster, apps, [crate_, there], ask);
    let slot = get::<NetSlot>(&mut cluster, server, crate_).expect("on the network");
    let show = |cluster: &mut Cluster, shown: bool| {
        for peer in cluster.world(server).resource_mut::<Peers>().iter_mut() {
            peer.interest_mut().except(&slot, Some(shown));
        }
    };
    show(&mut cluster, false);
    cluster.run(20);
    wire.decide(|parcel| match parcel.channel {
        Some(Channel::Bulk) => Fate::Hold,
        _ => Fate::Pass,
    });
    show(&mut cluster, true);
    cluster.run(5);
    thaw(&mut cluster, server, crate_);
    cluster.run(20);
    assert_eq!(holder(&mut cluster, server, crate_), Some(Holder::Peer(ME)));
    assert_eq!(heard(&mut cluster, client), []);
    let kept = wire.kept();
    wire.pass();
    kept.into_iter().for_each(|parcel| wire.put(parcel));
    cluster.run(60);
    assert_eq!(heard(&mut cluster, client), [Event::Granted(there)]);
    let granted = Some(AuthorityView::Granted);
    assert_eq!(view(&mut cluster, client, there), granted);
}
