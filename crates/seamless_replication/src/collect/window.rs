//! Change ticks against the time of the last run, several at once.

use std::cell::UnsafeCell;

use bevy::ecs::change_detection::{MAX_CHANGE_AGE, Tick as ChangeTick};
use wide::{CmpGt, i32x4};

/// Change ticks of a column.
pub(super) type Ticks<'t> = &'t [UnsafeCell<ChangeTick>];

/// Change ticks that are looked at at once.
const LANES: usize = 4;

/// Turns unsigned numbers into signed ones of the same order, which processors compare.
const SIGN: u32 = 1 << 31;

/// The ticks since a run, up to this one. What changed in them is newer than that run, as
/// [`ChangeTick::is_newer_than`] says.
#[derive(Clone, Copy)]
pub(super) struct Window {
    now: u32,
    len: u32,
}

impl Window {
    pub(super) const fn between(last_run: ChangeTick, this_run: ChangeTick) -> Self {
        let now = this_run.get();
        let len = now.wrapping_sub(last_run.get());
        Self {
            now,
            len: if len < MAX_CHANGE_AGE {
                len
            } else {
                MAX_CHANGE_AGE
            },
        }
    }

    const fn has(self, tick: ChangeTick) -> bool {
        self.now.wrapping_sub(tick.get()) < self.len
    }

    /// Gives for each [`LANES`] ticks all bits of those that are older, and how many ticks are left.
    ///
    /// # Safety
    /// Nobody writes the ticks meanwhile.
    #[inline]
    #[expect(
        unsafe_code,
        reason = "change ticks of a column are behind UnsafeCells"
    )]
    unsafe fn older(self, ticks: Ticks<'_>) -> (impl Iterator<Item = i32x4>, Ticks<'_>) {
        // A tick is in the window if `now - tick < len`. Counted from the window's beginning, so that
        // there is nothing to copy: older if `tick - begin > len - 1`. An empty one has no beginning.
        let last = self.len.saturating_sub(1);
        let begin = self.now.wrapping_sub(last);
        let offset = i32x4::splat(SIGN.wrapping_sub(begin) as i32);
        let last = i32x4::splat((last ^ SIGN) as i32);
        let none = i32x4::splat(-i32::from(self.len == 0));
        let (all, rest) = ticks.as_chunks::<LANES>();
        let older = all.iter().map(move |ticks| {
            // SAFETY: the caller promises it.
            let tick = |at: usize| unsafe { *ticks[at].get() }.get() as i32;
            let ticks = i32x4::new([tick(0), tick(1), tick(2), tick(3)]);
            (ticks + offset).cmp_gt(last) | none
        });
        (older, rest)
    }

    /// Whether any of these is newer. Some five instructions for each [`LANES`] of them.
    ///
    /// # Safety
    /// Nobody writes the ticks meanwhile.
    #[inline]
    #[expect(
        unsafe_code,
        reason = "change ticks of a column are behind UnsafeCells"
    )]
    pub(super) unsafe fn has_any(self, ticks: Ticks<'_>) -> bool {
        // SAFETY: the caller promises it.
        let (older, rest) = unsafe { self.older(ticks) };
        // SAFETY: as above.
        let mut rest = rest.iter().map(|tick| unsafe { *tick.get() });
        let all_older = older.fold(i32x4::splat(-1), |all, older| all & older);
        !all_older.all() || rest.any(|tick| self.has(tick))
    }

    /// Sets `bit` for those that are newer. There are masks for all of them.
    ///
    /// # Safety
    /// Nobody writes the ticks meanwhile.
    #[inline]
    #[expect(
        unsafe_code,
        reason = "change ticks of a column are behind UnsafeCells"
    )]
    pub(super) unsafe fn mark(self, ticks: Ticks<'_>, bit: u64, masks: &mut [u64]) {
        // SAFETY: the caller promises it.
        let (older, rest) = unsafe { self.older(ticks) };
        let (masks, last) = masks[..ticks.len()].as_chunks_mut::<LANES>();
        for (older, masks) in older.zip(masks) {
            for (mask, older) in masks.iter_mut().zip(older.to_array()) {
                *mask |= bit & !(older as u64);
            }
        }
        for (tick, mask) in rest.iter().zip(last) {
            // SAFETY: as above.
            if self.has(unsafe { *tick.get() }) {
                *mask |= bit;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Ticks near one another, and near where they wrap.
    fn tick(now: u32) -> impl Strategy<Value = u32> {
        let near = -3i64..3;
        let edge = prop_oneof![
            Just(0u32),
            Just(1 << 31),
            Just(MAX_CHANGE_AGE),
            Just(u32::MAX)
        ];
        prop_oneof![
            any::<u32>(),
            (edge, near.clone()).prop_map(|(edge, near)| edge.wrapping_add(near as u32)),
            near.prop_map(move |near| now.wrapping_add(near as u32)),
        ]
    }

    proptest! {
        #[test]
        fn newer_is_what_bevy_calls_newer(
            (now, last_run, ticks) in any::<u32>().prop_flat_map(|now| {
                (Just(now), tick(now), proptest::collection::vec(tick(now), 0..11))
            }),
        ) {
            let (this_run, last_run) = (ChangeTick::new(now), ChangeTick::new(last_run));
            let window = Window::between(last_run, this_run);
            let newer: Vec<bool> = ticks
                .iter()
                .map(|tick| ChangeTick::new(*tick).is_newer_than(last_run, this_run))
                .collect();
            let cells: Vec<_> =
                ticks.iter().map(|tick| UnsafeCell::new(ChangeTick::new(*tick))).collect();
            let mut masks = vec![1u64; ticks.len() + 2];
            #[expect(unsafe_code, reason = "they are nobody else's")]
            // SAFETY: they are nobody else's.
            let any = unsafe {
                window.mark(&cells, 4, &mut masks);
                window.has_any(&cells)
            };
            prop_assert_eq!(any, newer.contains(&true));
            let marked: Vec<bool> = masks.iter().map(|mask| mask & 4 != 0).collect();
            prop_assert_eq!(&marked[..ticks.len()], newer);
            prop_assert!(masks.iter().all(|mask| mask & !4 == 1));
        }
    }
}
