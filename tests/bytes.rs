//! What changes cost on the wire: of bodies that walk and bodies that tumble, every one in every
//! tick. `docs/peers.md` has the figures beside others'.

mod common;

use bevy::prelude::*;
use common::{counted, ready, settle, state_sent};
use seamless_replication::{ReplicateAppExt, Replicated, TransformPrecision};
use seamless_testkit::{AppId, Cluster, Rng, Weather};
use serde::{Deserialize, Serialize};

const COUNT: usize = 400;

const STEP: f32 = 1.0 / 30.0;

#[derive(Component, TypePath, Serialize, Deserialize, Clone, Copy, PartialEq, Debug)]
struct Position(Vec3);

#[derive(Component, TypePath, Serialize, Deserialize, Clone, Copy, PartialEq, Debug)]
struct Turned(Quat);

/// What a body does next.
enum Gait {
    Walks {
        heading: f32,
        turn: f32,
    },
    Tumbles {
        speed: Vec3,
        axis: Vec3,
        angle: f32,
        spin: f32,
    },
}

struct Body {
    at: Vec3,
    turned: Quat,
    gait: Gait,
}

fn between(rng: &mut Rng, from: f32, to: f32) -> f32 {
    from + (to - from) * rng.below(1 << 24) as f32 / (1 << 24) as f32
}

fn body(n: usize, rng: &mut Rng) -> Body {
    let gait = if n.is_multiple_of(2) {
        let (heading, turn) = (between(rng, -3.0, 3.0), 0.0);
        Gait::Walks { heading, turn }
    } else {
        let axis = Vec3::new(between(rng, -1.0, 1.0), 1.0, between(rng, -1.0, 1.0));
        Gait::Tumbles {
            speed: Vec3::new(between(rng, -3.0, 3.0), 0.0, between(rng, -3.0, 3.0)),
            axis: axis.normalize(),
            angle: 0.0,
            spin: between(rng, -3.0, 3.0),
        }
    };
    Body {
        at: Vec3::new(between(rng, 0.0, 1000.0), 5.0, between(rng, 0.0, 1000.0)),
        turned: Quat::IDENTITY,
        gait,
    }
}

impl Body {
    fn step(&mut self, rng: &mut Rng) {
        match &mut self.gait {
            Gait::Walks { heading, turn } => {
                if rng.chance(0.05) {
                    *turn = between(rng, -1.0, 1.0);
                }
                *heading += *turn * STEP;
                self.at += Vec3::new(heading.sin(), 0.0, heading.cos()) * 5.0 * STEP;
                self.turned = Quat::from_rotation_y(*heading);
            }
            Gait::Tumbles {
                speed,
                axis,
                angle,
                spin,
            } => {
                speed.y -= 9.8 * STEP;
                self.at += *speed * STEP;
                if self.at.y < 0.0 {
                    (self.at.y, speed.y) = (0.0, between(rng, 4.0, 8.0));
                }
                *angle += *spin * STEP;
                self.turned = Quat::from_axis_angle(*axis, *angle);
            }
        }
    }
}

/// Bytes for each change, and for each entity that a client meets for the first time.
fn cost(
    setup: impl Fn(&mut App) + 'static,
    show: impl Fn(&mut EntityWorldMut<'_>, &Body),
    loss: f32,
) -> (f64, f64) {
    let mut cluster = Cluster::new(1, setup);
    cluster.set_weather(Weather::lossy(loss));
    let server = cluster.server();
    let client = cluster.client(server);
    ready(&mut cluster, client);
    let mut rng = Rng::new(1);
    let mut bodies: Vec<Body> = (0..COUNT).map(|n| body(n, &mut rng)).collect();
    let sent = |cluster: &mut Cluster, server: AppId| state_sent(cluster, server).bytes as f64;
    let before = sent(&mut cluster, server);
    let entities: Vec<Entity> = bodies
        .iter()
        .map(|body| {
            let mut entity = cluster.world(server).spawn(Replicated);
            show(&mut entity, body);
            entity.id()
        })
        .collect();
    cluster.run(30);
    let joined = sent(&mut cluster, server) - before;
    let told = counted(&mut cluster, server).record_bytes;
    assert!(told.0 as f64 > joined * 0.9, "{told:?} of {joined}");
    let mut begun = 0.0;
    const WARM: usize = 30;
    const TICKS: usize = 90;
    for tick in 0..WARM + TICKS {
        if tick == WARM {
            begun = sent(&mut cluster, server);
        }
        for (&entity, body) in entities.iter().zip(&mut bodies) {
            body.step(&mut rng);
            show(&mut cluster.world(server).entity_mut(entity), body);
        }
        cluster.step();
    }
    let moved = sent(&mut cluster, server) - begun;
    // What the counters say is what went.
    let now = counted(&mut cluster, server).record_bytes;
    let all = (now.0 + now.1) as f64;
    let went = sent(&mut cluster, server) - before;
    assert!(all > went * 0.9 && all < went, "{now:?} of {went}");
    assert!(now.1 as f64 > moved * 0.9, "{now:?} of {moved}");
    if loss == 0.0 {
        assert_eq!(now.0, told.0, "nothing is told whole again");
    }
    cluster.run(60);
    let seen = cluster.world(client);
    let mut all = seen.query_filtered::<Entity, With<seamless_replication::NetSlot>>();
    assert_eq!(all.iter(seen).count(), COUNT);
    settle(&mut cluster, server, &[client]);
    (moved / (TICKS * COUNT) as f64, joined / COUNT as f64)
}

#[test]
fn a_change_without_loss_of_precision_costs_no_more_than_twenty_bytes() {
    let setup = |app: &mut App| {
        common::register(app);
        app.replicate::<Position>();
        app.replicate::<Turned>();
    };
    let show = |entity: &mut EntityWorldMut<'_>, body: &Body| {
        entity.insert((Position(body.at), Turned(body.turned)));
    };
    let (change, _) = cost(setup, show, 0.0);
    assert!(change > 1.0 && change <= 20.0, "{change} bytes a change");
    let (change, _) = cost(setup, show, 0.3);
    assert!(change <= 24.0, "{change} bytes a change at 30 % loss");
}

#[test]
fn a_quantised_change_costs_no_more_than_six_bytes_and_an_entity_twenty() {
    let setup = |app: &mut App| {
        common::register(app);
        app.replicate_quantized::<Transform>(TransformPrecision::default());
    };
    let show = |entity: &mut EntityWorldMut<'_>, body: &Body| {
        entity.insert(Transform::from_translation(body.at).with_rotation(body.turned));
    };
    let (change, joined) = cost(setup, show, 0.0);
    assert!(change > 0.5 && change <= 6.0, "{change} bytes a change");
    // 200 kB for ten thousand.
    assert!(joined <= 20.0, "{joined} bytes an entity");
    let (change, _) = cost(setup, show, 0.3);
    assert!(change <= 8.0, "{change} bytes a change at 30 % loss");
}
