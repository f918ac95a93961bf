//! Links that drop, and clients that come back.

use std::time::Duration;

use bevy::prelude::*;
use seamless_replication::{PeerJoined, Peers, ReplicationConfig};
use seamless_testkit::{AppId, Cluster, Weather};

use super::authority::lending;

/// How often a client joined, and how often it went on.
#[derive(Resource, Default)]
pub struct Joined(u32, u32);

fn count(mut joined: MessageReader<PeerJoined>, mut count: ResMut<Joined>) {
    for joined in joined.read() {
        count.0 += u32::from(!joined.resumed);
        count.1 += u32::from(joined.resumed);
    }
}

/// A game whose sessions are kept for so many seconds after a drop.
pub fn keeping(seconds: u64) -> impl Fn(&mut App) + 'static {
    move |app| {
        lending(app);
        app.init_resource::<Joined>().add_systems(Update, count);
        app.world_mut()
            .resource_mut::<ReplicationConfig>()
            .resume_grace = Duration::from_secs(seconds);
    }
}

/// How many links an app has.
pub fn peers(cluster: &mut Cluster, app: AppId) -> usize {
    cluster.world(app).resource::<Peers>().iter().count()
}

/// The network is gone until both ends have noticed.
pub fn drop_link(cluster: &mut Cluster, apps: [AppId; 2]) {
    cluster.change_weather(Weather::lossy(1.0));
    cluster.run_until("both ends notice", 300, |cluster| {
        apps.iter().all(|app| peers(cluster, *app) == 0)
    });
    cluster.set_weather(Weather::lossy(0.05));
}

pub fn come_back(cluster: &mut Cluster, [server, client]: [AppId; 2]) {
    cluster.connect(client, server);
    cluster.run_until("it is back", 300, |cluster| {
        peers(cluster, client) > 0 && cluster.is_ready(client)
    });
}

/// How often it joined, and how often it went on.
pub fn joined(cluster: &mut Cluster, app: AppId) -> (u32, u32) {
    let joined = cluster.world(app).resource::<Joined>();
    (joined.0, joined.1)
}
