mod common;
use bevy::prelude::*;
use common::{Health, Place, ready, register};
use seamless_replication::{Replicated, ReplicationConfig, ReplicationStats};
use seamless_testkit::{Cluster, Weather};
#[test]
fn idle() {
    for rate in [0, 64, 0, 64, 512] {
        let mut cluster = Cluster::new(1, move |app| {
            register(app);
            app.world_mut()
                .resource_mut::<ReplicationConfig>()
                .audit_per_second = rate;
        });
        cluster.set_weather(Weather::clear());
        let server = cluster.server();
        for n in 0..10_000u32 {
            cluster
                .world(server)
                .spawn((Replicated, Place(n as f32, 0.0, 0.0), Health(n)));
        }
        let clients: Vec<_> = (0..16).map(|_| cluster.client(server)).collect();
        for client in &clients {
            ready(&mut cluster, *client);
        }
        cluster.run(600);
        let mut times = Vec::new();
        let mut recv = Vec::new();
        for _ in 0..600 {
            cluster.step();
            times.push(
                cluster
                    .world(server)
                    .resource::<ReplicationStats>()
                    .send_time
                    .as_nanos(),
            );
            recv.push(
                cluster
                    .world(clients[3])
                    .resource::<ReplicationStats>()
                    .receive_time
                    .as_nanos(),
            );
        }
        let mean = times.iter().sum::<u128>() / times.len() as u128;
        let rmean = recv.iter().sum::<u128>() / recv.len() as u128;
        times.sort_unstable();
        let stats = cluster.world(server).resource::<ReplicationStats>();
        let named: u64 = stats.links.values().map(|l| l.audit.named).sum();
        eprintln!(
            "rate {rate}: send mean {mean} ns, median {} p99 {} ns, client receive mean {rmean}, named {named}",
            times[300], times[594]
        );
    }
}
