//! Memory that is soon needed.

/// How many entities ahead of the one that is worked on memory is asked for.
pub(crate) const AHEAD: usize = 4;

/// As [`AHEAD`], where little is done for each.
pub(crate) const FAR_AHEAD: usize = 16;

/// Has the processor fetch what lies here while it goes on with other things. Only a hint: where it
/// cannot be given, nothing is done.
///
/// A step for each 64 bytes.
#[inline(always)]
pub(crate) fn prefetch<T>(values: &[T]) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        let start = values.as_ptr().cast::<i8>();
        let fetch = |at: usize| {
            #[expect(unsafe_code, reason = "an intrinsic that takes a pointer")]
            // SAFETY: it reads nothing, and the pointer stays within `values`.
            unsafe {
                _mm_prefetch::<_MM_HINT_T0>(start.add(at));
            }
        };
        let size = size_of_val(values);
        let mut line = 0;
        while line < size {
            fetch(line);
            line += 64;
        }
        // They need not begin where a line does.
        if size > 1 && align_of::<T>() < 64 {
            fetch(size - 1);
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = values;
}

/// As [`prefetch`], for one of several.
#[inline(always)]
pub(crate) fn prefetch_at<T>(values: &[T], at: u32) {
    if let Some(value) = values.get(at as usize) {
        prefetch(std::slice::from_ref(value));
    }
}
