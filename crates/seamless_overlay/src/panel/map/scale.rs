//! From metres on the ground to points on the screen.

use egui::{Pos2, Rect, Vec2, vec2};
use seamless_wire::CellId;

use crate::model::GridModel;

/// From metres on the ground to points on the screen.
pub(super) struct Scale {
    grid: GridModel,
    place: Rect,
    /// The size of the map.
    pub(super) size: Vec2,
    /// A cell in points.
    pub(super) pitch: Vec2,
}

impl Scale {
    pub(super) fn fit(grid: &GridModel, side: f32) -> Option<Self> {
        let metres = vec2(
            grid.cell[0] * grid.columns as f32,
            grid.cell[1] * grid.rows as f32,
        );
        let sound = metres.is_finite() && metres.min_elem() > 0.0;
        let placed = grid.origin.iter().all(|metre| metre.is_finite());
        if !sound || !placed || !side.is_finite() {
            return None;
        }
        // A world much longer than wide is squeezed rather than drawn as a line.
        let aspect = (metres.x / metres.y).clamp(0.25, 4.0);
        let size = if aspect >= 1.0 {
            vec2(side, side / aspect)
        } else {
            vec2(side * aspect, side)
        };
        let pitch = vec2(size.x / grid.columns as f32, size.y / grid.rows as f32);
        Some(Self {
            grid: *grid,
            place: Rect::from_min_size(Pos2::ZERO, size),
            size,
            pitch,
        })
    }

    /// The same, for a map at this place.
    pub(super) const fn on(&self, place: Rect) -> Self {
        Self { place, ..*self }
    }

    /// Where a place in metres is; clamped to a little outside of the map.
    pub(super) fn at(&self, metres: [f32; 2]) -> Option<Pos2> {
        let cells = vec2(
            (metres[0] - self.grid.origin[0]) / self.grid.cell[0],
            (metres[1] - self.grid.origin[1]) / self.grid.cell[1],
        );
        let at = self.place.min + cells * self.pitch;
        (!at.any_nan()).then(|| self.place.shrink(3.0).clamp(at))
    }

    pub(super) fn cell(&self, cell: CellId) -> Rect {
        let columns = self.grid.columns.max(1);
        let (column, row) = (cell.0 % columns, cell.0 / columns);
        let corner = self.place.min + vec2(column as f32, row as f32) * self.pitch;
        Rect::from_min_size(corner, self.pitch)
    }

    pub(super) fn cell_under(&self, at: Pos2) -> Option<CellId> {
        let cells = (at - self.place.min) / self.pitch;
        let (column, row) = (cells.x.floor(), cells.y.floor());
        let inside = column >= 0.0
            && row >= 0.0
            && column < self.grid.columns as f32
            && row < self.grid.rows as f32;
        let index = (row as u32)
            .checked_mul(self.grid.columns)?
            .checked_add(column as u32)?;
        inside.then_some(CellId(index))
    }
}
