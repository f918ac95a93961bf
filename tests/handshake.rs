//! Who may talk to whom: peers that do not speak the same are refused, and told what differs.

mod common;

use std::sync::atomic::{AtomicUsize, Ordering};

use bevy::{ecs::entity::MapEntities, prelude::*, time::TimeUpdateStrategy};
use common::{
    Health, Label, Place,
    authority::{at, grab, move_to, view, wait_at},
    get,
    hello::{held_hello, with_hello},
    name, ready, register, spawn_on, wait_for,
};
use seamless_authority::{AuthorityView, Delegated};
use seamless_replication::{
    Admission, Admitted, PeerJoined, PeerLeft, PeerRefused, Peers, ReplicateAppExt, Replicated,
    ReplicationPlugin, Replicator,
    messages::{Delivery, Direction, MessageAppExt},
    transport::{
        Authentication, ClientConfig, ClientEndpoints, CloseReason, LinkClosed, LinkId, Links,
        Refused, ServerConfig, ServerEndpoint, TransportConfig, TransportPlugin,
    },
    wire::{
        PeerId, WIRE_VERSION, WireError, codec,
        frame::{Frame, Hello, Refusal},
    },
};
use seamless_testkit::{AppId, Cluster, Fate, Parcel, Way, Weather};
use serde::{Deserialize, Serialize};

/// Why this app refused or was refused.
#[derive(Resource, Default)]
struct Refusals(Vec<Refusal>);

fn take_notes(app: &mut App) {
    app.init_resource::<Refusals>().add_systems(
        Update,
        |mut refused: MessageReader<PeerRefused>, mut notes: ResMut<Refusals>| {
            notes.0.extend(refused.read().map(|r| r.reason.clone()));
        },
    );
}

/// A server and a client that are set up differently, and what each says about the other.
fn meet(
    server: impl Fn(&mut App) + 'static,
    client: impl Fn(&mut App) + 'static,
) -> [Option<Refusal>; 2] {
    let number = AtomicUsize::new(0);
    let mut cluster = Cluster::new(1, move |app| {
        take_notes(app);
        match number.fetch_add(1, Ordering::Relaxed) {
            0 => server(app),
            _ => client(app),
        }
    });
    let server = cluster.server();
    cluster.world(server).spawn((Replicated, Health(1)));
    let client = cluster.client(server);
    cluster.run(90);
    let mut seen = cluster.world(client).query::<&Health>();
    let told = seen.iter(cluster.world(client)).count();
    let refusals = [server, client].map(|app| {
        let mut notes = cluster.world(app).resource_mut::<Refusals>();
        assert!(notes.0.len() <= 1, "{:?}", notes.0);
        notes.0.pop()
    });
    assert_eq!(
        told == 0,
        refusals[1].is_some(),
        "refused, and told nothing"
    );
    let links = cluster.world(client).resource::<Links>().iter().count();
    assert_eq!(links == 0, refusals[1].is_some(), "and the link is gone");
    refusals
}

/// Whether both sides name a type as what differs.
fn both_name(refusals: &[Option<Refusal>; 2], part: &str) -> bool {
    refusals.iter().all(|refusal| {
        let words = refusal
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default();
        words.contains("schema mismatch") && words.contains(part)
    })
}

fn health(app: &mut App) {
    let _ = app.replicate::<Health>();
}

#[test]
fn peers_with_the_same_components_meet_in_whatever_order_they_registered_them() {
    let refusals = meet(register, |app| {
        let _ = app.replicate::<Health>().host_only();
        app.replicate_with_entities::<common::Target>();
        app.replicate::<common::Stunned>();
        app.replicate::<Label>();
        app.replicate::<Place>();
    });
    assert_eq!(refusals, [None, None]);
}

#[test]
fn a_component_that_only_the_client_has_is_named_in_the_refusal() {
    let refusals = meet(health, |app| {
        health(app);
        app.replicate::<Label>();
    });
    assert!(both_name(&refusals, "common::Label"), "{refusals:?}");
    assert!(!both_name(&refusals, "Health"));
}

#[test]
fn a_component_that_only_the_server_has_is_named_in_the_refusal() {
    let both = |app: &mut App| {
        health(app);
        app.replicate::<Label>();
    };
    let refusals = meet(both, health);
    assert!(both_name(&refusals, "common::Label"), "{refusals:?}");
}

/// A place to the nearest multiple of a step.
struct Steps(f32);

impl Replicator<Place> for Steps {
    fn describe(&self) -> String {
        format!("steps of {}", self.0)
    }

    fn write(&self, place: &Place, out: &mut Vec<u8>) -> Result<(), WireError> {
        out.extend(((place.0 / self.0).round() as i32).to_le_bytes());
        Ok(())
    }

    fn read(&self, value: &[u8]) -> Result<Place, WireError> {
        let bytes = value
            .try_into()
            .map_err(|_| WireError::Payload("place".into()))?;
        Ok(Place(i32::from_le_bytes(bytes) as f32 * self.0, 0.0, 0.0))
    }
}

#[test]
fn another_precision_is_refused_and_both_are_named() {
    let with = |step| {
        move |app: &mut App| {
            health(app);
            app.replicate_as::<Place>(Steps(step));
        }
    };
    assert_eq!(meet(with(0.5), with(0.5)), [None, None]);
    let refusals = meet(with(0.5), with(0.25));
    assert!(both_name(&refusals, "steps of 0.5"), "{refusals:?}");
    assert!(both_name(&refusals, "steps of 0.25"), "{refusals:?}");
}

#[test]
fn who_writes_a_component_is_part_of_what_must_agree() {
    let refusals = meet(health, |app| {
        let _ = app.replicate::<Health>().host_only();
    });
    assert!(both_name(&refusals, "host only"), "{refusals:?}");
}

#[derive(TypePath, Serialize, Deserialize, MapEntities, Clone)]
struct Shout(u32);

#[test]
fn a_message_that_goes_another_way_is_refused() {
    let with = |delivery| {
        move |app: &mut App| {
            health(app);
            app.net_message::<Shout>(Direction::Both, delivery);
        }
    };
    let refusals = meet(with(Delivery::Reliable), with(Delivery::Unreliable));
    assert!(both_name(&refusals, "Shout"), "{refusals:?}");
}

#[test]
fn the_reason_of_an_admission_reaches_the_client() {
    let reason = Refusal::Ticket("come back tomorrow".into());
    let said = reason.clone();
    let refusals = meet(
        move |app| {
            health(app);
            let said = said.clone();
            app.insert_resource(Admission::new(move |_, _, _| Err(said.clone())));
        },
        health,
    );
    assert_eq!(refusals, [Some(reason.clone()), Some(reason)]);
}

/// A client whose introduction is held on the wire.
fn held_introduction() -> (Cluster, [AppId; 2], seamless_testkit::Wire, Vec<Parcel>) {
    let mut cluster = Cluster::new(1, |app| {
        health(app);
        take_notes(app);
    });
    cluster.set_weather(Weather::clear());
    let server = cluster.server();
    cluster.world(server).spawn((Replicated, Health(1)));
    let (client, wire) = cluster.client_over_wire(server);
    wire.decide(|parcel| match parcel.channel {
        Some(_) if parcel.way == Way::ToServer => Fate::Hold,
        _ => Fate::Copy,
    });
    cluster.run(20);
    let parcels = wire.kept();
    (cluster, [server, client], wire, parcels)
}

#[test]
fn another_wire_version_is_refused_and_both_are_named() {
    let (mut cluster, [_, client], wire, parcels) = held_introduction();
    let newer = |hello: &mut Hello| hello.wire_version = WIRE_VERSION + 1;
    wire.put(with_hello(parcels[0].clone(), newer));
    cluster.run(30);
    let notes = &cluster.world(client).resource::<Refusals>().0;
    let (ours, theirs) = (WIRE_VERSION, WIRE_VERSION + 1);
    assert_eq!(notes[..], [Refusal::WireVersion { ours, theirs }]);
}

#[test]
fn a_later_version_is_refused_whatever_its_hello_looks_like() {
    let (mut cluster, [server, client], wire, parcels) = held_introduction();
    let later = u8::try_from(WIRE_VERSION).expect("small") + 1;
    let mut parcel = parcels[0].clone();
    parcel.bytes = vec![0, later];
    parcel.bytes.extend([0xff; 400]);
    assert!(codec::decode::<Frame>(&parcel.bytes).is_err());
    wire.put(parcel);
    cluster.run(30);
    let (ours, theirs) = (WIRE_VERSION, later.into());
    for app in [server, client] {
        let notes = &cluster.world(app).resource::<Refusals>().0;
        assert_eq!(notes[..], [Refusal::WireVersion { ours, theirs }]);
    }
}

#[test]
fn a_schema_that_is_not_in_order_is_refused() {
    let mut cluster = Cluster::new(1, |app| {
        register(app);
        take_notes(app);
    });
    cluster.set_weather(Weather::clear());
    let server = cluster.server();
    let (client, wire, parcel) = held_hello(&mut cluster, server);
    wire.put(with_hello(parcel, |hello| {
        hello.schema.components.swap(1, 2);
    }));
    cluster.run(30);
    let notes = &cluster.world(client).resource::<Refusals>().0;
    assert!(notes[0].to_string().contains("do not ascend"), "{notes:?}");
}

/// One of many components, so that schemas are large.
#[derive(Component, TypePath, Serialize, Deserialize)]
struct Mark<const A: usize, const B: usize>;

/// Nothing, described at length.
struct Words(char, usize);

impl<C: Component + Default> Replicator<C> for Words {
    fn describe(&self) -> String {
        String::from(self.0).repeat(self.1)
    }

    fn write(&self, _: &C, _: &mut Vec<u8>) -> Result<(), WireError> {
        Ok(())
    }

    fn read(&self, _: &[u8]) -> Result<C, WireError> {
        Ok(C::default())
    }
}

impl<const A: usize, const B: usize> Default for Mark<A, B> {
    fn default() -> Self {
        Self
    }
}

/// Registers 130 components, each described with so many letters.
fn many(app: &mut App, letter: char, words: usize) {
    macro_rules! marks {
        ($($a:literal)*) => {$(
            app.replicate_as::<Mark<$a, 0>>(Words(letter, words));
            app.replicate_as::<Mark<$a, 1>>(Words(letter, words));
            app.replicate_as::<Mark<$a, 2>>(Words(letter, words));
            app.replicate_as::<Mark<$a, 3>>(Words(letter, words));
            app.replicate_as::<Mark<$a, 4>>(Words(letter, words));
        )*};
    }
    marks!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25);
}

#[test]
fn a_refusal_that_would_be_longer_than_a_frame_names_the_first_and_counts_the_rest() {
    // Some 90 kB, if all were named.
    let with = |letter| {
        move |app: &mut App| {
            health(app);
            many(app, letter, 300);
        }
    };
    let refusals = meet(with('a'), with('b'));
    assert!(both_name(&refusals, "handshake::Mark<"), "{refusals:?}");
    assert!(both_name(&refusals, "and 98 more"), "{refusals:?}");
}

#[test]
#[should_panic(expected = "a hello has room for 65496")]
fn a_schema_that_no_hello_holds_is_an_error_at_the_start() {
    Cluster::new(1, |app| many(app, 'a', 512)).server();
}

#[test]
fn who_does_not_introduce_itself_is_told_nothing_and_let_go() {
    let (mut cluster, [server, _], wire, parcels) = held_introduction();
    assert!(
        parcels.iter().all(|parcel| parcel.way == Way::ToServer),
        "nothing was said"
    );
    cluster.run(100);
    assert!(wire.kept().iter().all(|parcel| parcel.way == Way::ToServer));
    cluster.run(100);
    assert_eq!(cluster.world(server).resource::<Peers>().iter().count(), 0);
    assert_eq!(cluster.world(server).resource::<Links>().iter().count(), 0);
}

#[test]
fn another_tick_rate_is_refused() {
    let (mut cluster, [server, client], wire, parcels) = held_introduction();
    wire.decide(|parcel| match parcel.channel {
        Some(_) if parcel.way == Way::ToClient => Fate::Hold,
        _ => Fate::Pass,
    });
    wire.put(parcels[0].clone());
    cluster.run(10);
    let mut parcel = wire.kept().remove(0);
    let Ok(Frame::Welcome(mut welcome)) = codec::decode(&parcel.bytes) else {
        panic!("the first thing a server says is welcome");
    };
    welcome.tick_rate = 60;
    parcel.bytes = codec::to_vec(&Frame::Welcome(welcome)).expect("it encodes");
    wire.pass();
    wire.put(parcel);
    cluster.run(60);
    let notes = &cluster.world(client).resource::<Refusals>().0;
    assert!(notes[0].to_string().contains("60 ticks"), "{notes:?}");
    assert_eq!(cluster.world(server).resource::<Peers>().iter().count(), 0);
}

#[test]
fn another_protocol_number_is_not_even_heard() {
    let new_app = || {
        let mut app = App::new();
        app.add_plugins((MinimalPlugins, TransportPlugin::default()))
            .add_plugins(ReplicationPlugin::default())
            .insert_resource(TimeUpdateStrategy::FixedTimesteps(1));
        health(&mut app);
        app.finish();
        app.cleanup();
        app
    };
    let (mut server, mut client) = (new_app(), new_app());
    let config = ServerConfig::new(([127, 0, 0, 1], 0).into(), 1, Authentication::Unsecure);
    let endpoint = ServerEndpoint::bind(&config).expect("a free port");
    let address = endpoint.local_address();
    server.insert_resource(endpoint);
    let world = client.world_mut();
    world.resource_scope(|world, mut endpoints: Mut<ClientEndpoints>| {
        let limits = world.resource::<TransportConfig>().clone();
        let mut links = world.resource_mut::<Links>();
        let other_game = ClientConfig::unsecure(address, 2);
        endpoints
            .connect(&mut links, &limits, other_game)
            .expect("room for a link");
    });
    let mut closed = None;
    for _ in 0..1200 {
        client.update();
        server.update();
        let messages = client.world().resource::<Messages<LinkClosed>>();
        closed = closed.or_else(|| {
            messages
                .iter_current_update_messages()
                .next()
                .map(|m| m.reason)
        });
        if closed.is_some() {
            break;
        }
    }
    assert_eq!(closed, Some(CloseReason::Unreachable));
    let endpoint = server.world().resource::<ServerEndpoint>();
    assert!(endpoint.stats().refused[Refused::BadRequest] > 0);
    assert_eq!(server.world().resource::<Peers>().iter().count(), 0);
}

/// Who joined and left, over which link, and in which frame.
#[derive(Resource, Default)]
struct Told(Vec<(&'static str, LinkId, u32)>);

fn tell(
    mut told: ResMut<Told>,
    mut frame: Local<u32>,
    mut left: MessageReader<PeerLeft>,
    mut joined: MessageReader<PeerJoined>,
) {
    *frame += 1;
    told.0
        .extend(left.read().map(|it| ("left", it.link, *frame)));
    told.0
        .extend(joined.read().map(|it| ("joined", it.link, *frame)));
}

#[test]
fn who_comes_again_replaces_its_former_link_and_has_what_it_held() {
    const ME: PeerId = PeerId(77);
    for seed in 0..4 {
        let mut cluster = Cluster::new(seed, |app| {
            register(app);
            let peer = Admitted {
                peer: ME,
                spectator: false,
            };
            app.insert_resource(Admission::new(move |_, _, _| Ok(peer)))
                .init_resource::<Told>()
                .add_systems(Update, tell);
        });
        cluster.set_weather(Weather::lossy(0.1));
        let server = cluster.server();
        let former = cluster.client(server);
        ready(&mut cluster, former);
        let bundle = (Delegated, Place::default(), Label("held".into()));
        let [crate_, there] = spawn_on(&mut cluster, [server, former], bundle);
        grab(&mut cluster, former, there);
        move_to(&mut cluster, former, there, 3.0);
        wait_at(&mut cluster, server, crate_, 3.0);
        cluster.kill(former);
        let again = cluster.client(server);
        ready(&mut cluster, again);
        let told = &cluster.world(server).resource::<Told>().0;
        let (link, came) = (told[0].1, told.last().expect("it joined"));
        assert_eq!(told[1], ("left", link, told[1].2), "seed {seed}");
        assert_eq!((told.len(), came.0), (3, "joined"), "seed {seed}");
        assert!(told[1].2 <= came.2, "it left later than it joined");
        let name = name(&mut cluster, server, crate_);
        let here = wait_for(&mut cluster, again, name);
        cluster.run_until("it is held", 60, |cluster| {
            view(cluster, again, here) == Some(AuthorityView::Granted)
        });
        assert_eq!(at(&mut cluster, again, here), Some(3.0), "seed {seed}");
        let label = get::<Label>(&mut cluster, again, here);
        assert_eq!(label, Some(Label("held".into())));
        move_to(&mut cluster, again, here, 4.0);
        wait_at(&mut cluster, server, crate_, 4.0);
        cluster.run(200);
        let peers = cluster.world(server).resource::<Peers>();
        assert_eq!(peers.iter().count(), 1);
        let told = &cluster.world(server).resource::<Told>().0;
        assert_eq!(told.len(), 3, "it left once");
    }
}
