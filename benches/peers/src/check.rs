//! Whether clients have what the server has, and how old what they have is.

use std::collections::VecDeque;

use crate::{
    body::Body,
    interest::{followed, surely_seen, surely_unseen},
    scenario::{Kind, Scenario},
    subject::{Precision, Subject},
};

/// Compares every client with the server, all entities and all three components. `Some`: what
/// differs first.
pub(crate) fn difference(subject: &mut dyn Subject, scenario: &Scenario) -> Option<String> {
    let server = subject.server_bodies();
    let all: Vec<u32> = (0..server.len() as u32).collect();
    let precision = subject.precision();
    for client in 0..scenario.clients {
        let count = subject.count(client);
        let seen = subject.client_bodies(client, &all);
        let viewer = server[followed(client, scenario.clients, server.len())].position;
        let mut there = 0;
        for (index, (want, got)) in server.iter().zip(&seen).enumerate() {
            let distance = (want.position - viewer).with_y(0.0).length();
            let (must, may) = match scenario.kind {
                Kind::Interest => (surely_seen(distance), !surely_unseen(distance)),
                _ => (true, true),
            };
            there += usize::from(got.is_some());
            let wrong = match got {
                None if must => "is missing".into(),
                Some(_) if !may => format!("is there at a distance of {distance:.0} m"),
                Some(got) if !is_equal(want, got, precision) => format!("is {got:?}, not {want:?}"),
                _ => continue,
            };
            return Some(format!("entity {index} on client {client} {wrong}"));
        }
        if count != there {
            return Some(format!(
                "client {client} has {count} entities, {there} of them the server's"
            ));
        }
    }
    None
}

fn is_equal(want: &Body, got: &Body, precision: Option<Precision>) -> bool {
    let Some(precision) = precision else {
        return want == got;
    };
    let near =
        |a: bevy::math::Vec3, b: bevy::math::Vec3, most: f32| (a - b).abs().max_element() <= most;
    near(want.position, got.position, precision.position)
        && near(want.velocity, got.velocity, precision.velocity)
        && want.rotation.angle_between(got.rotation) <= precision.rotation
}

/// Ticks that are remembered; older values count as this old.
const REMEMBERED: usize = 150;

/// Entities that are looked at.
const SAMPLES: usize = 100;

/// How many ticks old the values are that clients show.
pub(crate) struct Staleness {
    sample: Vec<u32>,
    /// Positions of the sample, the newest tick first.
    history: VecDeque<Vec<bevy::math::Vec3>>,
    /// How often a value of this age was seen.
    ages: Vec<u64>,
}

impl Staleness {
    /// Looks at some entities, evenly spread.
    pub(crate) fn new(entities: usize) -> Self {
        let samples = SAMPLES.min(entities);
        Self {
            sample: (0..samples)
                .map(|i| (i * entities / samples) as u32)
                .collect(),
            history: VecDeque::new(),
            ages: vec![0; REMEMBERED + 1],
        }
    }

    /// Remembers what the server's world is in this tick.
    pub(crate) fn remember(&mut self, bodies: &[Body]) {
        let now = self
            .sample
            .iter()
            .map(|&index| bodies[index as usize].position);
        self.history.push_front(now.collect());
        self.history.truncate(REMEMBERED);
    }

    /// Looks at what a client shows now.
    pub(crate) fn look(&mut self, subject: &dyn Subject, client: usize) {
        let shown = subject.client_bodies(client, &self.sample);
        for (at, body) in shown.iter().enumerate() {
            let age = body.and_then(|body| {
                let distance = |past: &Vec<bevy::math::Vec3>| past[at].distance(body.position);
                // The nearest, not the same: quantised values are near one. Of equals the newest.
                let nearest = self
                    .history
                    .iter()
                    .enumerate()
                    .min_by(|(_, a), (_, b)| distance(a).total_cmp(&distance(b)));
                Some(nearest?.0)
            });
            self.ages[age.unwrap_or(REMEMBERED)] += 1;
        }
    }

    /// The age that so large a share of all values does not exceed.
    pub(crate) fn percentile(&self, share: f64) -> f64 {
        let all: u64 = self.ages.iter().sum();
        let mut sum = 0;
        for (age, count) in self.ages.iter().enumerate() {
            sum += count;
            if sum as f64 >= all as f64 * share {
                return age as f64;
            }
        }
        REMEMBERED as f64
    }
}

#[cfg(test)]
mod tests {
    use bevy::math::{Quat, Vec3};

    use super::*;
    use crate::{network::Traffic, scenario::Custom};

    /// A server and what its clients have, which is what a test puts there.
    struct Frozen {
        server: Vec<Body>,
        clients: Vec<Vec<Option<Body>>>,
        /// Entities that clients have besides.
        more: usize,
        precision: Option<Precision>,
    }

    impl Subject for Frozen {
        fn write(&mut self, _: &[u32], _: &[Body]) {}
        fn connect(&mut self, _: usize) {}
        fn server_tick(&mut self) {}
        fn client_tick(&mut self, _: usize) {}
        fn turn(&mut self) {}
        fn drop_clients(&mut self) {}
        fn set_loss(&mut self, _: f32, _: u64) {}

        fn sent(&self) -> Traffic {
            Traffic::default()
        }

        fn count(&mut self, client: usize) -> usize {
            self.clients[client].iter().flatten().count() + self.more
        }

        fn server_bodies(&self) -> Vec<Body> {
            self.server.clone()
        }

        fn client_bodies(&self, client: usize, entities: &[u32]) -> Vec<Option<Body>> {
            let has = |entity: &u32| self.clients[client][*entity as usize];
            entities.iter().map(has).collect()
        }

        fn precision(&self) -> Option<Precision> {
            self.precision
        }
    }

    fn scenario() -> Scenario {
        let custom = Custom {
            entities: Some(40),
            clients: Some(2),
            changed: None,
        };
        Scenario::find("custom", &custom, None).expect("it is there")
    }

    fn equal() -> Frozen {
        let body = |n: u32| Body {
            position: Vec3::splat(n as f32),
            rotation: Quat::from_rotation_y(n as f32),
            velocity: Vec3::X,
        };
        let server: Vec<Body> = (0..40).map(body).collect();
        let all: Vec<Option<Body>> = server.iter().copied().map(Some).collect();
        Frozen {
            server,
            clients: vec![all.clone(), all],
            more: 0,
            precision: None,
        }
    }

    fn found(change: impl FnOnce(&mut Frozen)) -> Option<String> {
        let mut subject = equal();
        change(&mut subject);
        difference(&mut subject, &scenario())
    }

    #[test]
    fn any_difference_is_found() {
        assert_eq!(found(|_| {}), None);
        let body = |it: &mut Frozen| it.clients[1][39].expect("it is there");
        let changes: [fn(&mut Body); 3] = [
            |body| body.position.z = body.position.z.next_up(),
            |body| body.rotation = -body.rotation,
            |body| body.velocity.y = -0.1,
        ];
        for change in changes {
            let found = found(|it| {
                let mut other = body(it);
                change(&mut other);
                it.clients[1][39] = Some(other);
            });
            let found = found.expect("a difference");
            assert!(
                found.starts_with("entity 39 on client 1 is Body"),
                "{found}"
            );
        }
        let missing = found(|it| it.clients[0][7] = None);
        assert_eq!(missing.as_deref(), Some("entity 7 on client 0 is missing"));
        assert!(found(|it| it.more = 1).is_some(), "one too many");
    }

    #[test]
    fn what_is_rounded_may_differ_by_as_much_and_no_more() {
        let off = |by: f32, precision: Option<Precision>| {
            found(|it| {
                it.precision = precision;
                let body = it.clients[0][3].as_mut().expect("it is there");
                body.position.x += by;
            })
        };
        let precision = Some(Precision {
            position: 0.01,
            rotation: 0.01,
            velocity: 0.01,
        });
        assert_eq!(off(0.009, precision), None);
        assert!(off(0.009, None).is_some());
        assert!(off(0.011, precision).is_some());
    }
}
