//! Players' inputs, beyond one process's life.

mod common;

use bevy::{ecs::system::RunSystemOnce, prelude::*};
use common::{me, pair, ready, register};
use seamless_replication::{
    Admission, Admitted, Peers,
    inputs::{Inboxes, InputAppExt, LocalInputs, PlayerInputs},
    transport::Links,
    wire::PeerId,
};
use seamless_testkit::{AppId, Cluster, Weather};
use serde::{Deserialize, Serialize};

#[derive(TypePath, Serialize, Deserialize, Clone, Copy, PartialEq, Debug)]
struct Press(u32);

/// What a server applied, in this order.
#[derive(Resource, Default)]
struct Applied(Vec<u32>);

fn setup(app: &mut App) {
    register(app);
    app.player_input::<Press>()
        .init_resource::<Applied>()
        .add_systems(FixedUpdate, apply);
}

fn apply(peers: Res<Peers>, mut inputs: PlayerInputs<Press>, mut applied: ResMut<Applied>) {
    if peers.me().is_some() {
        return;
    }
    for peer in peers.iter().filter_map(|peer| peer.id()) {
        let due = inputs.due(peer);
        applied.0.extend(due.map(|(_, Press(what))| what));
    }
}

/// Frames until what was pressed is applied: of a link as it began, and of one that knows its way.
const LATER: usize = 90;
const SOON: usize = 12;

/// A client presses each of these, one a tick, and what the server applied so many frames later.
fn press(
    cluster: &mut Cluster,
    [server, client]: [AppId; 2],
    whats: std::ops::Range<u32>,
    frames: usize,
) -> Vec<u32> {
    for what in whats {
        let push = move |mut inputs: LocalInputs<Press>| inputs.push(&Press(what)).is_some();
        let pushed = cluster.world(client).run_system_once(push);
        assert_eq!(pushed.ok(), Some(true));
        cluster.step();
    }
    cluster.run(frames);
    std::mem::take(&mut cluster.world(server).resource_mut::<Applied>().0)
}

#[test]
fn a_player_whose_process_began_anew_goes_on_at_once() {
    let mut cluster = Cluster::new(1, setup);
    cluster.set_weather(Weather::lossy(0.05));
    let server = cluster.server();
    let admission = Admission::new(|_, _, _| {
        Ok(Admitted {
            peer: PeerId(9),
            spectator: false,
        })
    });
    cluster.world(server).insert_resource(admission);
    let first = cluster.client(server);
    ready(&mut cluster, first);
    let all = |range: std::ops::Range<u32>| range.collect::<Vec<_>>();
    let applied = press(&mut cluster, [server, first], 0..200, LATER);
    assert_eq!(applied, all(0..200));
    cluster.kill(first);
    let second = cluster.client(server);
    ready(&mut cluster, second);
    let applied = press(&mut cluster, [server, second], 1000..1060, LATER);
    assert_eq!(applied, all(1000..1060));
}

/// A client gives up its link, and its server is not told.
fn leave(cluster: &mut Cluster, client: AppId) {
    let mut links = cluster.world(client).resource_mut::<Links>();
    let link = links.iter().next().expect("one").id();
    links.get_mut(link).expect("it stands").abandon();
    cluster.run(2);
}

#[test]
fn a_player_that_comes_to_another_server_begins_at_once() {
    for (seed, loss) in [(3, 0.0), (4, 0.1)] {
        let (mut cluster, [first, client]) = pair(seed, Weather::lossy(loss), setup);
        let applied = press(&mut cluster, [first, client], 0..200, LATER);
        assert!(applied.into_iter().eq(0..200));
        let second = cluster.server();
        leave(&mut cluster, client);
        cluster.connect(client, second);
        cluster.run_until("it is in", 600, |cluster| {
            let peers = cluster.world(second).resource::<Peers>();
            peers.iter().any(|peer| peer.id().is_some())
        });
        // Longer than it takes to press, and the server's game asks for its inputs in each tick.
        cluster.run(40);
        let applied = press(&mut cluster, [second, client], 1000..1040, SOON);
        assert!(applied.iter().copied().eq(1000..1040), "{applied:?}");
    }
}

#[test]
fn a_player_that_hosted_in_between_begins_at_once() {
    let mut cluster = Cluster::new(6, setup);
    cluster.set_weather(Weather::near());
    let [first, player] = [cluster.server(), cluster.server()];
    cluster.connect(player, first);
    ready(&mut cluster, player);
    let applied = press(&mut cluster, [first, player], 0..200, LATER);
    assert!(applied.into_iter().eq(0..200));
    leave(&mut cluster, player);
    cluster.run(300);
    let guest = cluster.client(player);
    ready(&mut cluster, guest);
    assert_eq!(cluster.world(player).resource::<Peers>().me(), None);
    cluster.kill(guest);
    let second = cluster.server();
    cluster.connect(player, second);
    cluster.run_until("it is in", 600, |cluster| {
        let peers = cluster.world(second).resource::<Peers>();
        peers.iter().any(|peer| peer.id().is_some())
    });
    cluster.run(40);
    let applied = press(&mut cluster, [second, player], 1000..1040, SOON);
    assert!(applied.iter().copied().eq(1000..1040), "{applied:?}");
}

#[test]
fn a_player_that_comes_again_goes_on_and_nothing_is_applied_twice() {
    let (mut cluster, [server, client]) = pair(5, Weather::lossy(0.1), setup);
    let admission = Admission::new(|_, _, _| {
        Ok(Admitted {
            peer: PeerId(9),
            spectator: false,
        })
    });
    cluster.world(server).insert_resource(admission);
    let mut applied = Vec::new();
    for round in 0..4 {
        leave(&mut cluster, client);
        cluster.connect(client, server);
        ready(&mut cluster, client);
        cluster.run(20);
        let from = round * 100;
        let now = press(&mut cluster, [server, client], from..from + 50, SOON);
        assert!(now.iter().copied().eq(from..from + 50), "{round}: {now:?}");
        applied.extend(now);
    }
    assert_eq!(applied.len(), 200);
}

#[test]
fn players_who_are_gone_are_forgotten() {
    let (mut cluster, [server, client]) = pair(2, Weather::lossy(0.05), setup);
    let player = me(&mut cluster, client);
    assert_eq!(
        press(&mut cluster, [server, client], 0..3, LATER),
        [0, 1, 2]
    );
    let known = |cluster: &mut Cluster| {
        let inboxes = cluster.world(server).resource::<Inboxes>();
        inboxes.get(player).is_some()
    };
    cluster.run(3 * 30);
    assert!(known(&mut cluster));
    cluster.kill(client);
    cluster.run_until("it is forgotten", 120 * 30, |cluster| !known(cluster));
}
