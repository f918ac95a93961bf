//! Work that is shared out among threads.

/// Does each share on a thread of its own: the first on the caller's, which is awake, the others on
/// rayon's. One allocation for each of those.
pub(crate) fn together<T: Send>(mut shares: impl Iterator<Item = T>, work: impl Fn(T) + Sync) {
    let Some(own) = shares.next() else { return };
    let work = &work;
    rayon::in_place_scope(|scope| {
        for share in shares {
            scope.spawn(move |_| work(share));
        }
        work(own);
    });
}

/// How many shares `work` is worth, if it is worth any thread from `least` on.
pub(crate) fn shares(work: usize, least: usize) -> usize {
    match work >= least {
        true => rayon::current_num_threads().max(1),
        false => 1,
    }
}
