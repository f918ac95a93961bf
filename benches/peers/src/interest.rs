//! Who sees what in the interest scenarios: the same grid, viewers and distance for every subject.
//!
//! bevy_seamless has this grid itself. The others get it as a game would write it: a [`Sight`] in
//! a system of the server, with work only where somebody crosses from one region to the next. Its
//! cost is part of their server tick, as ours is part of ours.

use bevy::{
    math::Vec3,
    platform::collections::{HashMap, HashSet},
};
use seamless_replication::interest::{InterestGrid, InterestRegionId};

/// Side of a region and how far past its edge it goes on, in metres.
pub(crate) const GRID: InterestGrid = InterestGrid {
    region: 16.0,
    hysteresis: 2.0,
};

/// How far a client sees, in metres: 61 regions, some 150 of 10,000 entities.
pub(crate) const DISTANCE: f32 = 50.0;

/// The entity that a client follows: a walker, another for each.
pub(crate) const fn followed(client: usize, clients: usize, entities: usize) -> usize {
    (client * entities / clients) & !1
}

/// Within this distance of its viewer an entity is seen, wherever both stand in their regions.
pub(crate) fn surely_seen(distance: f32) -> bool {
    distance < DISTANCE - 2.0 * std::f32::consts::SQRT_2 * GRID.hysteresis
}

/// Beyond this distance it is not.
pub(crate) fn surely_unseen(distance: f32) -> bool {
    let reach = DISTANCE + 2.0 * std::f32::consts::SQRT_2 * (GRID.region + GRID.hysteresis);
    distance > reach
}

/// A change of what a client sees.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Turn {
    pub(crate) client: usize,
    pub(crate) entity: u32,
    pub(crate) sees: bool,
}

#[derive(Default)]
struct Viewer {
    follows: u32,
    regions: HashSet<InterestRegionId>,
}

/// A grid with viewers in it.
#[derive(Default)]
pub(crate) struct Sight {
    region: Vec<Option<InterestRegionId>>,
    members: HashMap<InterestRegionId, Vec<u32>>,
    viewers: Vec<Viewer>,
    /// Who sees a region.
    watchers: HashMap<InterestRegionId, Vec<usize>>,
    /// Who follows an entity.
    followers: HashMap<u32, Vec<usize>>,
}

impl Sight {
    /// Lets the next client look from where an entity is. It sees nothing before.
    pub(crate) fn add_viewer(&mut self, client: usize, follows: u32, turns: &mut Vec<Turn>) {
        if self.viewers.len() <= client {
            self.viewers.resize_with(client + 1, Viewer::default);
        }
        self.viewers[client].follows = follows;
        self.followers.entry(follows).or_default().push(client);
        if let Some(region) = self.region.get(follows as usize).copied().flatten() {
            self.look_from(client, region, turns);
        }
    }

    /// An entity is here now.
    pub(crate) fn moved(&mut self, entity: u32, at: Vec3, turns: &mut Vec<Turn>) {
        let index = entity as usize;
        if self.region.len() <= index {
            self.region.resize(index + 1, None);
        }
        let old = self.region[index];
        let new = GRID.region_of(at, old);
        if old == Some(new) {
            return;
        }
        self.region[index] = Some(new);
        if let Some(members) = old.and_then(|old| self.members.get_mut(&old)) {
            members.retain(|&member| member != entity);
        }
        self.members.entry(new).or_default().push(entity);
        let none = Vec::new();
        let before = old.and_then(|old| self.watchers.get(&old)).unwrap_or(&none);
        let after = self.watchers.get(&new).unwrap_or(&none);
        for (these, others, sees) in [(before, after, false), (after, before, true)] {
            for &client in these.iter().filter(|client| !others.contains(client)) {
                turns.push(Turn {
                    client,
                    entity,
                    sees,
                });
            }
        }
        for client in self.followers.get(&entity).cloned().unwrap_or_default() {
            self.look_from(client, new, turns);
        }
    }

    fn look_from(&mut self, client: usize, center: InterestRegionId, turns: &mut Vec<Turn>) {
        let regions: HashSet<_> = GRID.around(center, DISTANCE).collect();
        let viewer = &mut self.viewers[client];
        for region in regions.symmetric_difference(&viewer.regions) {
            let sees = regions.contains(region);
            let watchers = self.watchers.entry(*region).or_default();
            match sees {
                true => watchers.push(client),
                false => watchers.retain(|&other| other != client),
            }
            let members = self.members.get(region).into_iter().flatten();
            turns.extend(members.map(|&entity| Turn {
                client,
                entity,
                sees,
            }));
        }
        viewer.regions = regions;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::motion::Motion;

    #[test]
    fn what_is_near_is_seen_and_what_is_far_is_not() {
        let (mut motion, mut sight) = (Motion::new(2_000, 1), Sight::default());
        let mut turns = Vec::new();
        for (index, body) in motion.bodies().iter().enumerate() {
            sight.moved(index as u32, body.position, &mut turns);
        }
        let mut seen: Vec<HashSet<u32>> = vec![HashSet::default(); 10];
        for client in 0..10 {
            sight.add_viewer(client, followed(client, 10, 2_000) as u32, &mut turns);
        }
        for _ in 0..300 {
            motion.advance(2_000);
            for (index, body) in motion.bodies().iter().enumerate() {
                sight.moved(index as u32, body.position, &mut turns);
            }
            for turn in turns.drain(..) {
                let changed = match turn.sees {
                    true => seen[turn.client].insert(turn.entity),
                    false => seen[turn.client].remove(&turn.entity),
                };
                assert!(changed, "told twice: {turn:?}");
            }
        }
        let bodies = motion.bodies();
        for (client, seen) in seen.iter().enumerate() {
            let at = bodies[followed(client, 10, 2_000)].position;
            for (index, body) in bodies.iter().enumerate() {
                let distance = (body.position - at).with_y(0.0).length();
                let sees = seen.contains(&(index as u32));
                assert!(!surely_seen(distance) || sees, "{distance}");
                assert!(!surely_unseen(distance) || !sees, "{distance}");
            }
        }
    }
}
