//! Work that is shared out among threads.

use std::sync::{Mutex, PoisonError};

use smallvec::SmallVec;

/// Pieces for each thread. One that is slower than the others, or wakes late, is helped with them.
const PIECES: usize = 4;

/// Does all pieces, each once, on as many threads as there are hands: on the caller's, which is awake,
/// and on rayon's. Each begins with its own run of neighbours, which it had in the last tick too, and
/// then helps the others, from the end of theirs.
///
/// Per piece and thread: a lock that nobody holds. One allocation for each thread but the caller's, and
/// one for more than 64 pieces.
pub(crate) fn together<H: Send, P: Send>(
    hands: impl ExactSizeIterator<Item = H>,
    pieces: impl Iterator<Item = P>,
    work: impl Fn(&mut H, P) + Sync,
) {
    let threads = hands.len().max(1);
    let pieces: SmallVec<[Mutex<Option<P>>; 64]> = pieces.map(|it| Mutex::new(Some(it))).collect();
    let each = pieces.len().div_ceil(threads).max(1);
    let take = |piece: &Mutex<Option<P>>| {
        let mut piece = piece.lock().unwrap_or_else(PoisonError::into_inner);
        piece.take()
    };
    let run = |own: usize, mut hand: H| {
        let (before, rest) = pieces.split_at((own * each).min(pieces.len()));
        let (own, after) = rest.split_at(each.min(rest.len()));
        let others = after.iter().rev().chain(before.iter().rev());
        for piece in own.iter().chain(others).filter_map(take) {
            work(&mut hand, piece);
        }
    };
    let run = &run;
    let mut hands = hands.enumerate();
    let Some((own, hand)) = hands.next() else {
        return;
    };
    rayon::in_place_scope(|scope| {
        for (at, hand) in hands {
            scope.spawn(move |_| run(at, hand));
        }
        run(own, hand);
    });
}

/// How many threads `work` is worth, if it is worth any but the caller's from `least` on.
pub(crate) fn worth(work: usize, least: usize) -> usize {
    match work >= least {
        true => rayon::current_num_threads().max(1),
        false => 1,
    }
}

/// In how many pieces work is cut for so many threads.
pub(crate) const fn pieces(threads: usize) -> usize {
    match threads {
        0 | 1 => 1,
        threads => threads * PIECES,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_piece_is_done_once_whoever_is_slow() {
        for (threads, count) in [(1, 5), (2, 0), (2, 1), (3, 7), (4, 100)] {
            let mut done = vec![Vec::new(); threads];
            let mut seen = vec![0; count];
            together(
                done.iter_mut().enumerate(),
                seen.iter_mut().enumerate(),
                |(hand, done), (at, times)| {
                    if *hand == 1 {
                        std::thread::sleep(std::time::Duration::from_millis(1));
                    }
                    done.push(at);
                    *times += 1;
                },
            );
            assert_eq!(seen, vec![1; count], "{threads} threads");
            assert_eq!(done.iter().map(Vec::len).sum::<usize>(), count);
        }
    }
}
