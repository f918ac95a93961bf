//! Links that a recording plays, and taps on links.

use bevy::{prelude::*, time::TimeUpdateStrategy};
use bytes::Bytes;
use seamless_transport::{
    Channel, ClientConfig, ClientEndpoints, CloseReason, LinkClosed, LinkId, LinkOpened, LinkSide,
    LinkState, Links, LinksPlayback, PeerAddress, PlayedEvent, PlayedPeer, TapConfig, TapWay,
    TransportConfig, TransportPlugin,
};

fn app() -> App {
    let mut app = App::new();
    app.add_plugins((MinimalPlugins, TransportPlugin::default()))
        .insert_resource(TimeUpdateStrategy::FixedTimesteps(1))
        .init_resource::<LinksPlayback>();
    app.world_mut()
        .resource_mut::<ClientEndpoints>()
        .play_back(true);
    app.update();
    app
}

fn connect(app: &mut App) -> LinkId {
    let world = app.world_mut();
    world.resource_scope(|world, mut endpoints: Mut<ClientEndpoints>| {
        let limits = world.resource::<TransportConfig>().clone();
        let nowhere = ClientConfig::unsecure(([127, 0, 0, 1], 9).into(), 1);
        let mut links = world.resource_mut::<Links>();
        let link = endpoints
            .connect(&mut links, &limits, nowhere)
            .expect("a slot");
        assert_eq!(endpoints.local_address(link), None, "no socket");
        assert_eq!(endpoints.primary(), Some(link));
        link
    })
}

const fn peer(side: LinkSide) -> PlayedPeer {
    PlayedPeer {
        side,
        address: PeerAddress::Memory(5),
        netcode_id: 77,
        user_data: None,
    }
}

/// A name that no link here has.
const RECORDED: LinkId = LinkId {
    index: 40,
    generation: 2,
};

fn play(app: &mut App, event: PlayedEvent) {
    let mut playback = app.world_mut().resource_mut::<LinksPlayback>();
    playback.arrives(RECORDED, event);
}

#[test]
fn a_link_that_the_app_asked_for_gets_what_was_recorded() {
    let mut app = app();
    let link = connect(&mut app);
    for _ in 0..10 {
        app.update();
    }
    let state = |app: &App| app.world().resource::<Links>().get(link).map(|l| l.state());
    assert_eq!(state(&app), Some(LinkState::Connecting));
    play(&mut app, PlayedEvent::Opened(peer(LinkSide::ToServer)));
    play(
        &mut app,
        PlayedEvent::Datagram(Bytes::from_static(&[0x80, 1])),
    );
    play(
        &mut app,
        PlayedEvent::Reliable(Channel::Bulk, Bytes::from_static(b"row")),
    );
    app.update();
    let mut opened = app.world_mut().resource_mut::<Messages<LinkOpened>>();
    assert_eq!(opened.drain().collect::<Vec<_>>(), [LinkOpened { link }]);
    let mut links = app.world_mut().resource_mut::<Links>();
    let played = links.get_mut(link).expect("it stands");
    assert_eq!(played.recv_datagram().as_deref(), Some(&[0x80, 1][..]));
    assert_eq!(
        played.recv_reliable(Channel::Bulk).as_deref(),
        Some(&b"row"[..])
    );
    assert_eq!(played.recv_reliable(Channel::Control), None);

    // What it sends goes nowhere, and does not pile up.
    for _ in 0..2000 {
        let mut links = app.world_mut().resource_mut::<Links>();
        let played = links.get_mut(link).expect("it stands");
        played.send_datagram(&[0x80; 1000]).expect("an empty queue");
        let message = Bytes::from_static(&[1; 1000]);
        played
            .send_reliable(Channel::Control, message)
            .expect("an empty queue");
        app.update();
    }
    let playback = app.world().resource::<LinksPlayback>();
    assert_eq!(playback.link(RECORDED), Some(link));
    play(&mut app, PlayedEvent::Closed(CloseReason::ByPeer));
    app.update();
    assert_eq!(state(&app), Some(LinkState::Closed(CloseReason::ByPeer)));
}

#[test]
fn a_link_that_nobody_asked_for_is_made_and_ends_with_its_flush() {
    let mut app = app();
    play(&mut app, PlayedEvent::Opened(peer(LinkSide::ToClient)));
    app.update();
    let playback = app.world().resource::<LinksPlayback>();
    let link = playback.link(RECORDED).expect("it was made");
    let links = app.world().resource::<Links>();
    let made = links.get(link).expect("it stands");
    assert_eq!((made.side(), made.netcode_id()), (LinkSide::ToClient, 77));
    let mut playback = app.world_mut().resource_mut::<LinksPlayback>();
    playback.ends(RECORDED, 0, CloseReason::TimedOut);
    app.update();
    let mut closed = app.world_mut().resource_mut::<Messages<LinkClosed>>();
    let reason = CloseReason::TimedOut;
    assert_eq!(
        closed.drain().collect::<Vec<_>>(),
        [LinkClosed { link, reason }]
    );
}

#[test]
fn links_end_when_what_plays_them_is_gone() {
    let mut app = app();
    play(&mut app, PlayedEvent::Opened(peer(LinkSide::ToClient)));
    app.update();
    app.world_mut().remove_resource::<LinksPlayback>();
    app.update();
    let mut closed = app.world_mut().resource_mut::<Messages<LinkClosed>>();
    let reasons: Vec<_> = closed.drain().map(|closed| closed.reason).collect();
    assert_eq!(reasons, [CloseReason::Abandoned]);
}

#[test]
fn a_tap_notes_what_is_taken_and_given_and_only_what_was_asked_for() {
    for (received, sent) in [(true, true), (true, false), (false, true), (false, false)] {
        let mut app = app();
        let mut links = app.world_mut().resource_mut::<Links>();
        links.set_tap(TapConfig { received, sent });
        play(&mut app, PlayedEvent::Opened(peer(LinkSide::ToClient)));
        play(
            &mut app,
            PlayedEvent::Datagram(Bytes::from_static(&[0x80, 1])),
        );
        play(
            &mut app,
            PlayedEvent::Datagram(Bytes::from_static(&[0x80, 2])),
        );
        app.update();
        let mut links = app.world_mut().resource_mut::<Links>();
        let link = links.iter_mut().next().expect("it was made");
        assert_eq!(link.recv_datagram().as_deref(), Some(&[0x80, 1][..]));
        link.send_datagram(&[0x81]).expect("an empty queue");
        link.send_reliable(Channel::Control, Bytes::from_static(b"hi"))
            .expect("room");
        assert!(
            link.send_datagram(&[1]).is_err(),
            "what is refused is not noted"
        );
        let mut noted = Vec::new();
        let lost = link.take_tapped(|t| noted.push((t.way, t.channel, t.bytes.to_vec())));
        let mut wanted = vec![
            (TapWay::Received, None, vec![0x80, 1]),
            (TapWay::Sent, None, vec![0x81]),
            (TapWay::Sent, Some(Channel::Control), b"hi".to_vec()),
        ];
        wanted.retain(|(way, ..)| match way {
            TapWay::Received => received,
            TapWay::Sent => sent,
        });
        assert_eq!((noted, lost), (wanted, 0));
    }
}
