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
