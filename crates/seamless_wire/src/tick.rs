//! Simulation time, counted.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One step of the simulation, which is also one step of the network. 30 a second by default.
///
/// The wire carries the low 16 bits; [`Tick::widen`] restores the rest from a tick that is known
/// to be near. At 30 Hz a `u32` lasts four and a half years, so a tick itself does not wrap and
/// may be ordered.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "bevy", derive(bevy::prelude::Reflect))]
#[serde(transparent)]
pub struct Tick(pub u32);

impl Tick {
    /// The low 16 bits, as the wire carries them.
    #[must_use]
    pub const fn low(self) -> u16 {
        self.0 as u16
    }

    /// The tick with these low bits that is nearest to `near` (at most 32,768 away).
    #[must_use]
    pub const fn widen(near: Self, low: u16) -> Self {
        let ahead = low.wrapping_sub(near.0 as u16) as i16;
        Self(near.0.saturating_add_signed(ahead as i32))
    }

    /// Ticks from `earlier` to `self`; 0 if `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> u32 {
        self.0.saturating_sub(earlier.0)
    }

    /// The tick `n` later.
    #[must_use]
    pub const fn plus(self, n: u32) -> Self {
        Self(self.0.saturating_add(n))
    }
}

impl fmt::Debug for Tick {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Tick {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "t{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn widening_finds_the_nearest_tick_over_the_wrap() {
        for near in [0u32, 5, 65_530, 65_536, 200_000, u32::MAX - 3] {
            for offset in [-30_000i64, -3, 0, 3, 30_000] {
                let Ok(real) = u32::try_from(i64::from(near) + offset) else {
                    continue;
                };
                assert_eq!(Tick::widen(Tick(near), Tick(real).low()), Tick(real));
            }
        }
    }
}
