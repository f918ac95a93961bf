//! Change ticks against the time of the last run, many at once.

use std::cell::UnsafeCell;

use bevy::ecs::change_detection::{MAX_CHANGE_AGE, Tick as ChangeTick};

/// Change ticks of a column.
pub(super) type Ticks<'t> = &'t [UnsafeCell<ChangeTick>];

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

    /// How long ago each of these was.
    ///
    /// # Safety
    /// Nobody writes the ticks meanwhile.
    #[inline(always)]
    #[expect(
        unsafe_code,
        reason = "change ticks of a column are behind UnsafeCells"
    )]
    unsafe fn ages(self, ticks: Ticks<'_>) -> impl Iterator<Item = u32> {
        ticks.iter().map(move |tick| {
            // SAFETY: the caller promises it.
            let tick = unsafe { *tick.get() };
            self.now.wrapping_sub(tick.get())
        })
    }

    /// Whether any of these is newer. A third of an instruction for each with AVX2.
    ///
    /// # Safety
    /// Nobody writes the ticks meanwhile.
    #[inline]
    #[expect(unsafe_code, reason = "as above")]
    pub(super) unsafe fn has_any(self, ticks: Ticks<'_>) -> bool {
        // SAFETY: the caller promises it.
        let ages = unsafe { self.ages(ticks) };
        in_wide_registers(|| ages.fold(u32::MAX, u32::min)) < self.len
    }

    /// Sets `bit` for those that are newer. There are masks for all of them.
    ///
    /// # Safety
    /// Nobody writes the ticks meanwhile.
    #[inline]
    #[expect(unsafe_code, reason = "as above")]
    pub(super) unsafe fn mark(self, ticks: Ticks<'_>, bit: u64, masks: &mut [u64]) {
        // SAFETY: the caller promises it.
        let ages = unsafe { self.ages(ticks) };
        in_wide_registers(|| {
            for (mask, age) in masks.iter_mut().zip(ages) {
                *mask |= if age < self.len { bit } else { 0 };
            }
        });
    }
}

/// Does this work as it is compiled for the widest registers that the processor has: a plain loop
/// then takes many values at once.
#[inline(always)]
fn in_wide_registers<R>(work: impl FnOnce() -> R) -> R {
    #[cfg(target_arch = "x86_64")]
    {
        #[target_feature(enable = "avx2")]
        fn with_avx2<R>(work: impl FnOnce() -> R) -> R {
            work()
        }
        if std::arch::is_x86_feature_detected!("avx2") {
            #[expect(unsafe_code, reason = "not every processor may do it")]
            // SAFETY: this one has what it takes.
            return unsafe { with_avx2(work) };
        }
    }
    work()
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
