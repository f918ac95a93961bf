//! A world over UDP sockets, in many datagrams a tick: those that leave together have zeros behind what
//! they say.

mod common;

use std::time::Duration;

use bevy::{prelude::*, time::TimeUpdateStrategy};
use common::{Place, register};
use seamless_replication::{
    NetSlot, Replicated, ReplicationPlugin,
    transport::{
        Authentication, ClientConfig, ClientEndpoints, Condition, ConditionerConfig, Links,
        ServerConfig, ServerEndpoint, TapConfig, TapWay, TransportConfig, TransportPlugin,
    },
    wire::{GlobalEntity, MAX_DATAGRAM},
};
use seamless_testkit::Rng;

const TICK_RATE: u16 = 30;
const COUNT: usize = 3_000;

fn app(block: Option<u32>) -> App {
    let mut app = App::new();
    let replication = ReplicationPlugin {
        tick_rate: TICK_RATE,
        block,
    };
    app.add_plugins((MinimalPlugins, TransportPlugin::default(), replication));
    register(&mut app);
    let tick = Duration::from_nanos(1_000_000_000 / u64::from(TICK_RATE));
    app.insert_resource(TimeUpdateStrategy::ManualDuration(tick));
    app.finish();
    app.cleanup();
    app
}

/// A server at a free port, and a client that has a bad way from it.
fn over_sockets() -> [App; 2] {
    let (mut server, mut client) = (app(Some(16)), app(None));
    let config = ServerConfig::new(([127, 0, 0, 1], 0).into(), 1, Authentication::Unsecure);
    let endpoint = ServerEndpoint::bind(&config).expect("a free port");
    let mut weather = ConditionerConfig::default().with_seed(7);
    weather.receive = Condition {
        loss: 0.05,
        reorder: 0.03,
        reorder_by: Duration::from_millis(70),
        ..Condition::default()
    };
    let config = ClientConfig::unsecure(endpoint.local_address(), 1).with_conditioner(weather);
    server.insert_resource(endpoint);
    let world = client.world_mut();
    world.resource_scope(|world, mut endpoints: Mut<ClientEndpoints>| {
        let limits = world.resource::<TransportConfig>().clone();
        let mut links = world.resource_mut::<Links>();
        let link = endpoints.connect(&mut links, &limits, config);
        link.expect("room for a link");
    });
    [server, client]
}

/// Where everything is, by name.
fn places(app: &mut App) -> Vec<(GlobalEntity, Place)> {
    let world = app.world_mut();
    let mut all = world.query::<(&NetSlot, &Place)>();
    let named = all.iter(world).filter_map(|(slot, place)| {
        let global = slot.global()?;
        Some((global, place.clone()))
    });
    let mut places: Vec<_> = named.collect();
    places.sort_by_key(|(name, _)| *name);
    places
}

#[test]
fn a_world_in_datagrams_of_one_length_arrives_whole() {
    let [mut server, mut client] = over_sockets();
    for n in 0..COUNT {
        let place = Place(n as f32, 0.0, 0.0);
        server.world_mut().spawn((Replicated, place));
    }
    let mut links = client.world_mut().resource_mut::<Links>();
    links.set_tap(TapConfig {
        received: true,
        sent: false,
    });
    let mut rng = Rng::new(3);
    let (mut full, mut all) = (0, 0);
    for frame in 0..120 {
        if frame < 60 {
            let world = server.world_mut();
            let mut all = world.query::<&mut Place>();
            for mut place in all.iter_mut(world) {
                place.0 += rng.below(1 << 24) as f32 / 997.0;
                place.1 -= rng.below(1 << 24) as f32 / 997.0;
            }
        }
        server.update();
        client.update();
        let mut links = client.world_mut().resource_mut::<Links>();
        for link in links.iter_mut() {
            link.take_tapped(|tapped| {
                if tapped.way == TapWay::Received && tapped.channel.is_none() && frame < 60 {
                    all += 1;
                    full += usize::from(tapped.bytes.len() == MAX_DATAGRAM);
                }
            });
        }
    }
    let told = places(&mut server);
    assert_eq!(told.len(), COUNT);
    assert!(
        places(&mut client) == told,
        "the client has what the server has"
    );
    let links = client.world().resource::<Links>();
    for link in links.iter() {
        assert_eq!(link.stats().refused.total(), 0);
        assert!(link.stats().sent.state.packets > 0, "it acknowledges");
    }
    if cfg!(target_os = "linux") {
        assert!(all > 300, "{all} datagrams");
        assert!(full * 10 > all * 7, "{full} of {all} are full");
    }
}
