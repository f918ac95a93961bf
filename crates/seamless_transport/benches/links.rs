//! What links cost: `cargo bench -p seamless_transport`.
//!
//! Prints one line a figure: time for each datagram on each part of its way, time of a tick for
//! links with nothing to say, bytes of idle links. Not a gate: the numbers are for people.

#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a program that prints what it measures"
)]

use std::{
    hint::black_box,
    net::SocketAddr,
    time::{Duration, Instant},
};

use bevy::{prelude::*, time::TimeUpdateStrategy};
use renetcode::{
    ClientAuthentication, ConnectToken, NetcodeClient, NetcodeServer, ServerAuthentication,
    ServerResult,
};
use seamless_transport::{gate::*, *};

const TICK: Duration = Duration::from_nanos(33_333_333);
const KEY: [u8; 32] = [42; 32];

fn app() -> App {
    let mut app = App::new();
    app.add_plugins(MinimalPlugins)
        .insert_resource(Time::<Fixed>::from_duration(TICK))
        .insert_resource(TimeUpdateStrategy::FixedTimesteps(1))
        .add_plugins(TransportPlugin::default());
    app
}

fn connect(app: &mut App, config: ClientConfig) -> LinkId {
    app.world_mut()
        .resource_scope(|world, mut links: Mut<Links>| {
            let mut clients = world.resource_mut::<ClientEndpoints>();
            clients
                .connect(&mut links, &TransportConfig::default(), config)
                .unwrap()
        })
}

fn report(what: &str, total: Duration, count: usize) {
    let each = total.as_nanos() as f64 / count as f64;
    println!("{what:<60} {each:>9.0} ns");
}

/// netcode by itself: what encryption costs.
fn sealing(size: usize) {
    let (zero, server): (_, SocketAddr) = (Duration::ZERO, ([10, 0, 0, 9], 5000).into());
    let address: SocketAddr = ([10, 0, 0, 1], 4000).into();
    let mut netcode = NetcodeServer::new(renetcode::ServerConfig {
        current_time: zero,
        max_clients: 64,
        protocol_id: 1,
        public_addresses: vec![server],
        authentication: ServerAuthentication::Secure { private_key: KEY },
    });
    let to = vec![server];
    let connect_token = ConnectToken::generate(zero, 1, 30, 5, 5, to, None, &KEY).unwrap();
    let secure = ClientAuthentication::Secure { connect_token };
    let mut client = NetcodeClient::new(zero, secure).unwrap();
    while !client.is_connected() {
        let (packet, _) = client.update(Duration::from_millis(300)).unwrap();
        if let ServerResult::PacketToSend { payload, .. }
        | ServerResult::ClientConnected { payload, .. } = netcode.process_packet(address, packet)
        {
            client.process_packet(payload);
        }
    }
    let (payload, count) = (vec![0x80; size], 100_000);
    let (mut sealed, mut opened) = (Duration::ZERO, Duration::ZERO);
    for _ in 0..count {
        let start = Instant::now();
        let (_, datagram) = client.generate_payload_packet(&payload).unwrap();
        sealed += start.elapsed();
        let start = Instant::now();
        black_box(netcode.process_packet(address, datagram));
        opened += start.elapsed();
    }
    report(&format!("netcode seals {size} bytes"), sealed, count);
    report(&format!("netcode opens {size} bytes"), opened, count);
}

/// The checks before netcode and before renet.
fn gates() {
    let mut datagram = vec![0; 1100];
    datagram[0] = 0x25;
    let mut packet = vec![2, 7, 1, 3, 0, 2, 0x44, 0xb0];
    packet.resize(8 + 1200, 1);
    let count = 1_000_000;
    let start = Instant::now();
    for _ in 0..count {
        let _ = black_box(check_datagram(black_box(&datagram)));
    }
    report("the gate before netcode", start.elapsed(), count);
    let start = Instant::now();
    for _ in 0..count {
        let _ = black_box(parse_reliable(black_box(&packet)));
    }
    report("the gate before renet, a slice", start.elapsed(), count);
}

/// A whole way: queue, seal, socket, socket, gate, open, queue. Half of it is the system's.
fn whole_way(size: usize) {
    let bind = ([127, 0, 0, 1], 0).into();
    let config = ServerConfig::new(bind, 1, Authentication::Secure { private_key: KEY });
    let endpoint = ServerEndpoint::bind(&config).unwrap();
    let token = endpoint.mint().unwrap().mint(TokenRequest {
        expire_seconds: 30,
        timeout_seconds: 5,
        user_data: &[0; 256],
    });
    let (mut server, mut client) = (app(), app());
    server.insert_resource(endpoint);
    let up = connect(&mut client, ClientConfig::secure(token.unwrap()));
    for _ in 0..10 {
        server.update();
        client.update();
    }
    let (per_tick, ticks) = (64, 2000);
    let (mut sent, mut received, mut arrived) = (Duration::ZERO, Duration::ZERO, 0);
    for _ in 0..ticks {
        let start = Instant::now();
        let mut links = server.world_mut().resource_mut::<Links>();
        let down = links.iter_mut().next().unwrap();
        for _ in 0..per_tick {
            down.send_datagram(&vec![0x80; size][..]).unwrap();
        }
        server.update();
        sent += start.elapsed();
        let start = Instant::now();
        client.update();
        let mut links = client.world_mut().resource_mut::<Links>();
        let up = links.get_mut(up).unwrap();
        arrived += up.drain_datagrams().count();
        received += start.elapsed();
    }
    assert_eq!(arrived, per_tick * ticks);
    report(
        &format!("from queue to socket, {size} bytes"),
        sent,
        arrived,
    );
    report(
        &format!("from socket to queue, {size} bytes"),
        received,
        arrived,
    );
}

/// Links with nothing to say.
fn idle(count: u64) {
    let hub = MemoryHub::new();
    let mut server = app();
    let config = MemoryConfig {
        timeout: Duration::from_secs(3600),
        ..Default::default()
    };
    let listens = MemoryServer::listen(&hub, 1, config).unwrap();
    server.insert_resource(listens);
    let mut clients = app();
    for _ in 0..count {
        connect(&mut clients, ClientConfig::memory(&hub, 1));
    }
    for _ in 0..10 {
        clients.update();
        server.update();
    }
    let ticks = 300;
    let sent = |app: &App| {
        let links = app.world().resource::<Links>();
        let total = links.iter().map(|link| link.stats().sent.total());
        total.fold((0, 0), |sum, t| (sum.0 + t.packets, sum.1 + t.bytes))
    };
    let (before, mut spent) = (sent(&server), Duration::ZERO);
    for _ in 0..ticks {
        clients.update();
        let start = Instant::now();
        server.update();
        spent += start.elapsed();
    }
    let after = sent(&server);
    let links = count as usize * ticks;
    report(
        &format!("a tick of one of {count} idle links, server"),
        spent,
        links,
    );
    let seconds = TICK.as_secs_f64() * ticks as f64 * count as f64;
    let (packets, bytes) = (after.0 - before.0, after.1 - before.1);
    println!(
        "an idle link sends {:.1} packets, {:.0} bytes a second",
        packets as f64 / seconds,
        bytes as f64 / seconds
    );
}

fn main() {
    for size in [20, 200, 1190] {
        sealing(size);
    }
    gates();
    for size in [20, 200, 1190] {
        whole_way(size);
    }
    for count in [1, 64, 1000] {
        idle(count);
    }
}
