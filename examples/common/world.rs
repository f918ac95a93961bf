//! Worlds and walks from files.

use std::path::{Path, PathBuf};

use bevy::math::{Vec2, Vec3};
use bevy_seamless::prelude::{CellGrid, CellId, GlobalEntity};
use serde::Deserialize;

/// Most crates of one cell; a crate's name is made of its cell and its place in the list.
const MAX_CRATES: usize = 1000;

/// A world: a grid of equal cells with crates in them.
#[derive(Deserialize, Clone, Debug)]
#[serde(deny_unknown_fields)]
pub struct GameWorld {
    /// Its name.
    pub name: String,
    /// Side of a cell, in metres.
    pub cell: f32,
    /// How far a client sees, in metres.
    pub interest: f32,
    /// Crates of each cell, in metres from its lowest corner.
    pub crates: Vec<[f32; 2]>,
}

impl GameWorld {
    /// Reads a world.
    ///
    /// # Errors
    /// One line that names the file and what is wrong in it.
    pub fn load(path: &Path) -> Result<Self, String> {
        let world: Self = load_toml(path)?;
        let within = |what: &str, value: f32, low: f32, high: f32| {
            if (low..=high).contains(&value) {
                Ok(())
            } else {
                let path = path.display();
                Err(format!(
                    "{path}: {what} is {value}, allowed is {low} to {high}"
                ))
            }
        };
        within("cell", world.cell, 20.0, 10_000.0)?;
        within("interest", world.interest, 5.0, 1_000.0)?;
        within(
            "number of crates",
            world.crates.len() as f32,
            0.0,
            MAX_CRATES as f32,
        )?;
        for at in world.crates.iter().flatten() {
            within("place of a crate", *at, 0.0, world.cell)?;
        }
        Ok(world)
    }

    /// The grid of `columns` times `rows` cells of this world.
    #[must_use]
    pub fn grid(&self, columns: u32, rows: u32) -> CellGrid {
        CellGrid {
            origin: Vec2::ZERO,
            cell: Vec2::splat(self.cell),
            columns,
            rows,
        }
    }

    /// Names and places of a cell's crates.
    pub fn crates_of(
        &self,
        grid: &CellGrid,
        cell: CellId,
    ) -> impl Iterator<Item = (GlobalEntity, Vec3)> {
        let corner = grid.bounds(cell).min;
        self.crates
            .iter()
            .enumerate()
            .filter_map(move |(at, [x, z])| {
                let counter = u64::from(cell.0) * MAX_CRATES as u64 + at as u64 + 1;
                let name = GlobalEntity::new(GlobalEntity::WORLD_BLOCK, counter)?;
                Some((name, Vec3::new(corner.x + x, 0.0, corner.y + z)))
            })
    }
}

/// What a bot does at a place of its walk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Deed {
    /// Walk on.
    Nothing,
    /// Pick up the nearest crate.
    Grab,
    /// Put down what it carries.
    Drop,
    /// Plant a banner and give it to the server.
    Plant,
}

/// A recorded walk: places relative to an anchor, in metres, and what is done there. It is walked
/// in a circle.
#[derive(Clone, Debug)]
pub struct WalkFile {
    /// The places.
    pub stops: Vec<(Vec2, Deed)>,
}

impl WalkFile {
    /// Reads a walk: a line per stop, `x z [grab|drop|plant]`; `#` begins a comment.
    ///
    /// # Errors
    /// One line that names the file, the line and what is wrong in it.
    pub fn load(path: &Path) -> Result<Self, String> {
        let text = read(path)?;
        let mut stops = Vec::new();
        for (at, line) in text.lines().enumerate() {
            let line = line.split('#').next().unwrap_or_default().trim();
            if line.is_empty() {
                continue;
            }
            let stop = Self::stop(line);
            let wrong = || {
                let path = path.display();
                format!(
                    "{path}:{}: `{line}`, allowed is `x z [grab|drop|plant]`",
                    at + 1
                )
            };
            stops.push(stop.ok_or_else(wrong)?);
        }
        if stops.is_empty() {
            return Err(format!("{}: no stops", path.display()));
        }
        Ok(Self { stops })
    }

    fn stop(line: &str) -> Option<(Vec2, Deed)> {
        let mut words = line.split_whitespace();
        let mut number = || words.next()?.parse().ok().filter(|n: &f32| n.is_finite());
        let place = Vec2::new(number()?, number()?);
        let deed = match words.next() {
            None => Deed::Nothing,
            Some("grab") => Deed::Grab,
            Some("drop") => Deed::Drop,
            Some("plant") => Deed::Plant,
            Some(_) => return None,
        };
        words.next().is_none().then_some((place, deed))
    }

    /// All walks of a folder, by name.
    ///
    /// # Errors
    /// One line about the first thing that is wrong.
    pub fn load_all(folder: &Path) -> Result<Vec<Self>, String> {
        let unreadable = |error: std::io::Error| format!("{}: {error}", folder.display());
        let mut paths: Vec<PathBuf> = std::fs::read_dir(folder)
            .map_err(unreadable)?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| {
                path.extension()
                    .is_some_and(|extension| extension == "walk")
            })
            .collect();
        paths.sort();
        if paths.is_empty() {
            return Err(format!("{}: no .walk files", folder.display()));
        }
        paths.iter().map(|path| Self::load(path)).collect()
    }

    /// The stop at `at` on the way round, for a walk around `anchor` turned by quarter turns.
    #[must_use]
    pub fn stop_at(&self, at: usize, anchor: Vec3, quarters: usize) -> (Vec3, Deed) {
        let (place, deed) = self.stops[at % self.stops.len()];
        let turned = match quarters % 4 {
            0 => place,
            1 => Vec2::new(-place.y, place.x),
            2 => -place,
            _ => Vec2::new(place.y, -place.x),
        };
        (anchor + Vec3::new(turned.x, 0.0, turned.y), deed)
    }
}

/// Where walk number `n` has its anchor: on the borders between cells, one after the other, and how
/// it is turned so that it crosses there.
#[must_use]
pub fn anchor(grid: &CellGrid, n: usize) -> (Vec3, usize) {
    let mut borders = Vec::new();
    for row in 0..grid.rows {
        for column in 0..grid.columns {
            let corner = grid.origin + Vec2::new(column as f32, row as f32) * grid.cell;
            let middle = corner + grid.cell / 2.0;
            if column + 1 < grid.columns {
                borders.push((Vec3::new(corner.x + grid.cell.x, 0.0, middle.y), 0));
            }
            if row + 1 < grid.rows {
                borders.push((Vec3::new(middle.x, 0.0, corner.y + grid.cell.y), 1));
            }
        }
    }
    if borders.is_empty() {
        let middle = grid.origin + grid.cell / 2.0;
        borders.push((Vec3::new(middle.x, 0.0, middle.y), 0));
    }
    let (place, quarters) = borders[n % borders.len()];
    // Every other walker begins on the far side.
    (place, quarters + 2 * (n / borders.len() % 2))
}

/// Reads a TOML file.
///
/// # Errors
/// One line that names the file, the line and what is wrong in it.
pub fn load_toml<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T, String> {
    let text = read(path)?;
    toml::from_str(&text).map_err(|error| {
        let line = error
            .span()
            .map_or(1, |span| text[..span.start].lines().count().max(1));
        let said: Vec<&str> = error.message().lines().map(str::trim).collect();
        format!("{}:{line}: {}", path.display(), said.join("; "))
    })
}

fn read(path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}
