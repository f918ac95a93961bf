//! A server and a client in one process, over UDP: the server counts, the client watches.
//! Look at: the same `register` on both sides, `Replicated` on the server's entity, and the plain
//! query on the client. Run: `cargo run --example hello_replication`
#![allow(clippy::print_stdout, reason = "an example speaks to its user")]

use std::{net::SocketAddr, time::Duration};

use bevy::{app::ScheduleRunnerPlugin, prelude::*};
use bevy_seamless::{
    prelude::*,
    transport::{Authentication, Links, TransportConfig},
};
use serde::{Deserialize, Serialize};

const PROTOCOL: u64 = 1;

#[derive(Component, TypePath, Serialize, Deserialize, Clone, Copy, PartialEq, Debug)]
struct Counter(u32);

fn register(app: &mut App) {
    app.replicate::<Counter>();
}

fn main() {
    let config = ServerConfig::new(
        SocketAddr::from(([127, 0, 0, 1], 0)),
        PROTOCOL,
        Authentication::Unsecure,
    );
    let endpoint = ServerEndpoint::bind(&config).expect("a free port on loopback");
    let address = endpoint.local_address();
    std::thread::spawn(move || server(endpoint));
    client(address);
}

fn runner() -> bevy::app::PluginGroupBuilder {
    MinimalPlugins.set(ScheduleRunnerPlugin::run_loop(Duration::from_millis(5)))
}

fn server(endpoint: ServerEndpoint) {
    let mut app = App::new();
    app.add_plugins((runner(), SeamlessPlugins::server()))
        .insert_resource(endpoint);
    register(&mut app);
    app.add_systems(Startup, |mut commands: Commands| {
        commands.spawn((Replicated, Counter(0)));
    });
    app.add_systems(FixedUpdate, |mut counters: Query<&mut Counter>| {
        for mut counter in &mut counters {
            counter.0 += 1;
        }
    });
    app.run();
}

fn client(address: SocketAddr) {
    let mut app = App::new();
    app.add_plugins((runner(), SeamlessPlugins::client()));
    register(&mut app);
    app.add_systems(
        Startup,
        move |mut endpoints: ResMut<ClientEndpoints>,
              mut links: ResMut<Links>,
              limits: Res<TransportConfig>| {
            let config = ClientConfig::unsecure(address, PROTOCOL);
            endpoints
                .connect(&mut links, &limits, config)
                .expect("a socket");
        },
    );
    app.add_systems(
        Update,
        |counters: Query<&Counter, Changed<Counter>>, mut exit: MessageWriter<AppExit>| {
            for counter in &counters {
                println!("the server has counted to {}", counter.0);
                if counter.0 >= 90 {
                    exit.write(AppExit::Success);
                }
            }
        },
    );
    app.run();
}
