//! The grid of regions.

use bevy::prelude::*;

/// One square of the grid, by its column and row.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Reflect)]
pub struct InterestRegionId {
    /// Along x.
    pub x: i32,
    /// Along z.
    pub z: i32,
}

/// Regions that a view reaches over at most, in each direction. One that is to reach farther shows
/// everything: so many regions would be more work than what they leave out.
const MAX_REACH: f32 = 64.0;

/// How space is divided for interest. The ground plane is x and z. It may be changed at any time; that is a
/// look at each entity for each client.
#[derive(Resource, Clone, Copy, Debug, Reflect)]
#[reflect(Resource)]
pub struct InterestGrid {
    /// Side of a region, in metres. Greater than zero. A view farther than 64 regions, by default 1,024
    /// metres, shows everything.
    pub region: f32,
    /// How far past a region's edge an entity or a viewer must be to count as in the next one, in
    /// metres. Keeps what stands on an edge from coming and going. By twice as much, along each axis, an
    /// entity may be nearer than a view reaches and not be seen yet.
    pub hysteresis: f32,
}

impl Default for InterestGrid {
    fn default() -> Self {
        Self {
            region: 16.0,
            hysteresis: 2.0,
        }
    }
}

impl InterestGrid {
    /// The region of a point, given the one it was in before.
    #[must_use]
    pub fn region_of(&self, at: Vec3, before: Option<InterestRegionId>) -> InterestRegionId {
        let side = self.region.max(0.1);
        if let Some(before) = before {
            let inside = |value: f32, index: i32| {
                let start = index as f32 * side;
                value >= start - self.hysteresis && value < start + side + self.hysteresis
            };
            if inside(at.x, before.x) && inside(at.z, before.z) {
                return before;
            }
        }
        // A float that is no number becomes 0, one that is too large saturates.
        InterestRegionId {
            x: (at.x / side).floor() as i32,
            z: (at.z / side).floor() as i32,
        }
    }

    /// How much an entity at `distance` metres from where a client looks matters when not
    /// everything fits: 1 here, a half four regions away, a sixteenth at least, so that nothing is
    /// forgotten.
    #[must_use]
    pub fn relevance(&self, distance: f32) -> f32 {
        let half = self.region.max(0.1) * 4.0;
        (half / (half + distance.max(0.0))).max(1.0 / 16.0)
    }

    /// Whether a view of `distance` metres goes over more regions than are looked at one by one.
    #[must_use]
    pub fn is_too_far(&self, distance: f32) -> bool {
        distance / self.region.max(0.1) > MAX_REACH
    }

    /// The regions that a viewer in `center` sees at `distance` metres: all that come closer than
    /// that to any point of its own region. At most 64 regions far, see
    /// [`is_too_far`](Self::is_too_far).
    pub fn around(
        &self,
        center: InterestRegionId,
        distance: f32,
    ) -> impl Iterator<Item = InterestRegionId> + use<> {
        let side = self.region.max(0.1);
        let reach = (distance.max(0.0) / side).ceil().min(MAX_REACH) as i32;
        (-reach..=reach).flat_map(move |x| {
            (-reach..=reach).filter_map(move |z| {
                // Distance between the nearest edges of the two regions.
                let gap = |steps: i32| (steps.abs() - 1).max(0) as f32 * side;
                (gap(x).hypot(gap(z)) <= distance).then(|| InterestRegionId {
                    x: center.x.saturating_add(x),
                    z: center.z.saturating_add(z),
                })
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRID: InterestGrid = InterestGrid {
        region: 10.0,
        hysteresis: 1.0,
    };

    #[test]
    fn what_stands_on_an_edge_does_not_come_and_go() {
        let mut region = GRID.region_of(Vec3::new(9.9, 0.0, 5.0), None);
        assert_eq!(region, InterestRegionId { x: 0, z: 0 });
        for x in [10.4, 9.8, 10.9, 9.2] {
            region = GRID.region_of(Vec3::new(x, 0.0, 5.0), Some(region));
            assert_eq!(region.x, 0);
        }
        assert_eq!(GRID.region_of(Vec3::new(11.1, 0.0, 5.0), Some(region)).x, 1);
        assert_eq!(
            GRID.region_of(Vec3::new(-3.0, 0.0, -30.5), Some(region)),
            InterestRegionId { x: -1, z: -4 }
        );
    }

    #[test]
    fn everything_within_the_distance_is_seen_from_anywhere_in_the_region() {
        let center = InterestRegionId { x: 2, z: -1 };
        let seen: Vec<_> = GRID.around(center, 15.0).collect();
        for x in -60..60 {
            for z in -60..60 {
                let point = Vec3::new(x as f32, 0.0, z as f32);
                let near = (0..=10)
                    .flat_map(|a| (0..=10).map(move |b| (a, b)))
                    .any(|(a, b)| {
                        point.distance(Vec3::new(20.0 + a as f32, 0.0, -10.0 + b as f32)) < 15.0
                    });
                assert!(
                    !near || seen.contains(&GRID.region_of(point, None)),
                    "{point}"
                );
            }
        }
        assert!(seen.len() <= 25, "and not much more: {}", seen.len());
    }

    #[test]
    fn absurd_numbers_do_no_harm() {
        for (at, index) in [
            (f32::NAN, 0),
            (f32::INFINITY, i32::MAX),
            (f32::NEG_INFINITY, i32::MIN),
            (f32::MAX, i32::MAX),
        ] {
            let region = InterestRegionId { x: index, z: index };
            assert_eq!(GRID.region_of(Vec3::splat(at), None), region, "{at}");
            // Whatever region it was in before.
            let before = InterestRegionId { x: 3, z: -3 };
            assert_eq!(
                GRID.region_of(Vec3::splat(at), Some(before)),
                region,
                "{at}"
            );
        }
        assert!(
            GRID.around(InterestRegionId { x: i32::MAX, z: 0 }, f32::MAX)
                .count()
                < 20_000
        );
    }
}
