//! Cells, and how far from their borders things happen.

use std::time::Duration;

use bevy::prelude::*;
use seamless_replication::wire::CellId;

/// The world's ground as a grid of cells. Column and row count from the corner with the lowest x
/// and z; cells are numbered row by row.
#[derive(Resource, Clone, Copy, Debug, PartialEq)]
pub struct CellGrid {
    /// The corner with the lowest x and z, in metres.
    pub origin: Vec2,
    /// Sides of a cell along x and z, in metres. Greater than zero.
    pub cell: Vec2,
    /// Cells along x. At least 1.
    pub columns: u32,
    /// Cells along z. At least 1.
    pub rows: u32,
}

impl CellGrid {
    /// All cells.
    pub fn cells(&self) -> impl Iterator<Item = CellId> + use<> {
        (0..self.columns * self.rows).map(CellId)
    }

    /// The cell at a place; the nearest one for places outside the world.
    #[must_use]
    pub fn cell_at(&self, at: Vec3) -> CellId {
        let along = |value: f32, side: f32, count: u32| {
            let index = (value / side).floor();
            // No number becomes 0.
            index.clamp(0.0, count.saturating_sub(1) as f32) as u32
        };
        let column = along(at.x - self.origin.x, self.cell.x, self.columns);
        let row = along(at.z - self.origin.y, self.cell.y, self.rows);
        CellId(row * self.columns + column)
    }

    /// The lowest and the highest corner of a cell, on x and z.
    #[must_use]
    pub fn bounds(&self, cell: CellId) -> Rect {
        let columns = self.columns.max(1);
        let corner = Vec2::new((cell.0 % columns) as f32, (cell.0 / columns) as f32) * self.cell
            + self.origin;
        Rect {
            min: corner,
            max: corner + self.cell,
        }
    }

    /// How far a place is from a cell, in metres; 0 inside.
    #[must_use]
    pub fn distance(&self, at: Vec3, cell: CellId) -> f32 {
        let bounds = self.bounds(cell);
        let ground = Vec2::new(at.x, at.z);
        ground.distance(ground.clamp(bounds.min, bounds.max))
    }

    /// The cell other than `own` that a place is in or nearest to, with its distance.
    #[must_use]
    pub fn nearest_other(&self, at: Vec3, own: impl Fn(CellId) -> bool) -> Option<(CellId, f32)> {
        self.cells()
            .filter(|cell| !own(*cell))
            .map(|cell| (cell, self.distance(at, cell)))
            .min_by(|a, b| a.1.total_cmp(&b.1))
    }

    /// The nearest place that is not more than `beyond` metres outside the cells that `own`
    /// accepts: the soft wall. The place itself if it is inside.
    #[must_use]
    pub fn hold_back(&self, at: Vec3, beyond: f32, own: impl Fn(CellId) -> bool) -> Vec3 {
        let Some((nearest, distance)) = self
            .cells()
            .filter(|cell| own(*cell))
            .map(|cell| (cell, self.distance(at, cell)))
            .min_by(|a, b| a.1.total_cmp(&b.1))
        else {
            return at;
        };
        if distance <= beyond {
            return at;
        }
        let bounds = self.bounds(nearest);
        let ground = Vec2::new(at.x, at.z);
        let edge = ground.clamp(bounds.min, bounds.max);
        let held = edge + (ground - edge).normalize_or_zero() * beyond;
        Vec3::new(held.x, at.y, held.y)
    }
}

/// Distances and times of a crossing.
#[derive(Resource, Clone, Copy, Debug)]
pub struct BorderRules {
    /// How far a client sees, in metres.
    pub interest: f32,
    /// How far ahead a crossing is prepared: the client's second link must stand before.
    pub lead: Duration,
    /// A root this near to the border prepares even if it stands still, in metres.
    pub near: f32,
    /// A crossing is for good once it is this far past the border, in metres...
    pub past: f32,
    /// ...or as far as it comes in this time, whichever is more.
    pub past_time: Duration,
    /// ...and has been past the border for this long.
    pub dwell: Duration,
    /// Time between two crossings of one root.
    pub residency: Duration,
    /// How far past the border a root may be while it cannot cross, in metres.
    pub overrun: f32,
    /// How long a crossing may wait for the client's second link before the root is handed over
    /// without it (it then enters by itself).
    pub attach_patience: Duration,
}

impl Default for BorderRules {
    fn default() -> Self {
        Self {
            interest: 40.0,
            lead: Duration::from_millis(1500),
            near: 6.0,
            past: 2.0,
            past_time: Duration::from_millis(250),
            dwell: Duration::from_millis(250),
            residency: Duration::from_secs(2),
            overrun: 15.0,
            attach_patience: Duration::from_secs(4),
        }
    }
}

impl BorderRules {
    /// How far past the border a root at this speed (metres per second) must be.
    #[must_use]
    pub fn margin(&self, speed: f32) -> f32 {
        self.past.max(self.past_time.as_secs_f32() * speed)
    }

    /// From how far before the border a crossing is prepared at this speed towards it.
    #[must_use]
    pub fn reach(&self, speed: f32) -> f32 {
        self.near.max(self.lead.as_secs_f32() * speed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRID: CellGrid = CellGrid {
        origin: Vec2::new(-50.0, -50.0),
        cell: Vec2::splat(50.0),
        columns: 2,
        rows: 2,
    };

    #[test]
    fn every_place_is_in_one_cell() {
        assert_eq!(GRID.cell_at(Vec3::new(-1.0, 0.0, -1.0)), CellId(0));
        assert_eq!(GRID.cell_at(Vec3::new(0.0, 0.0, -1.0)), CellId(1));
        assert_eq!(GRID.cell_at(Vec3::new(-1.0, 0.0, 0.0)), CellId(2));
        assert_eq!(GRID.cell_at(Vec3::new(900.0, 0.0, 900.0)), CellId(3));
        assert_eq!(GRID.cell_at(Vec3::splat(f32::NAN)), CellId(0));
    }

    #[test]
    fn the_soft_wall_stops_what_went_too_far() {
        let own = |cell| cell == CellId(0);
        let at = Vec3::new(20.0, 3.0, -10.0);
        assert_eq!(GRID.hold_back(at, 15.0, own), Vec3::new(15.0, 3.0, -10.0));
        assert_eq!(GRID.hold_back(at, 25.0, own), at);
        assert_eq!(GRID.nearest_other(at, own), Some((CellId(1), 0.0)));
    }
}
