//! A host and two clients for 120 frames in which everything goes wrong: datagrams are lost, come
//! twice and out of order, one client is started anew, and one loses its link.

mod common;
mod worlds;

use seamless_replication::{
    Peers,
    transport::{CloseReason, Links},
};
use seamless_testkit::Weather;
use worlds::{Plan, run::Run};

const FRAMES: u32 = 120;

/// The second client dies without a goodbye, and a new one takes its place.
fn start_anew(run: &mut Run) {
    let client = run.clients[1];
    run.cluster.kill(client);
    run.clients[1] = run.cluster.client(run.server);
    run.forget_exceptions(1);
}

/// The first client's link is closed, and it asks for another one at once.
fn link_anew(run: &mut Run) {
    let client = run.clients[0];
    let mut links = run.cluster.world(client).resource_mut::<Links>();
    for link in links.iter_mut() {
        link.close(CloseReason::ByPeer);
    }
    run.cluster.connect(client, run.server);
    run.forget_exceptions(0);
}

fn goes_through_everything(seed: u64, loss: f32) {
    let mut plan = Plan::new(seed, loss);
    plan.ops.retain(|(tick, _)| *tick < FRAMES);
    let mut run = Run::new(seed, Weather::lossy(loss));
    run.join();
    run.join();
    let mut ops = plan.ops.iter().peekable();
    for frame in 0..FRAMES {
        match frame {
            50 => start_anew(&mut run),
            80 => link_anew(&mut run),
            _ => {}
        }
        while let Some((_, op)) = ops.next_if(|(at, _)| *at <= frame) {
            run.happen(op);
        }
        if let Err(error) = run.step() {
            panic!("frame {frame}, seed {seed}, loss {loss}: {error}");
        }
    }
    let settled = run.settle(600);
    assert_eq!(settled, Ok(()), "seed {seed}, loss {loss}");
    for client in run.clients {
        let peers = run.cluster.world(client).resource::<Peers>();
        assert_eq!(peers.iter().count(), 1, "one link each");
    }
}

#[test]
fn restarts_of_a_client_and_of_a_link_lose_nothing_without_loss() {
    for seed in 0..8 {
        goes_through_everything(seed, 0.0);
    }
}

#[test]
fn restarts_of_a_client_and_of_a_link_lose_nothing_while_datagrams_are_lost() {
    for seed in 100..108 {
        goes_through_everything(seed, [0.05, 0.3][seed as usize % 2]);
    }
}
