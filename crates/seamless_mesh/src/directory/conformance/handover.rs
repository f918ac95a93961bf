//! Rows change hands.

use super::*;

/// The commit of a handover.
pub fn a_claim_moves_all_rows_with_their_states(open: &Opener) {
    let mut scene = scene(open);
    let claim = scene.claim();
    let term = scene.d.claim(scene.t, OpId(2), &claim).expect("all holds");
    assert!(term > scene.term);
    let rows = scene.d.read(name(ROOT)).expect("reachable");
    assert_eq!(rows.len(), 2);
    for (row, (entity, state)) in rows.iter().zip(&claim.rows) {
        let record = row.record;
        assert_eq!((record.entity, &row.state), (*entity, state));
        assert_eq!(
            (record.owner, record.term, record.cell),
            (scene.t, term, AWAY)
        );
        assert_eq!((record.written, record.tick), (term, Tick(100)));
        assert_eq!((record.last_input, record.op), (InputSeq(5), OpId(2)));
    }
    assert_eq!(scene.d.owned_roots(scene.t), Ok(1));
    assert_eq!(scene.d.owned_roots(scene.s), Ok(0));
}

/// Each condition alone is enough to fail it.
pub fn a_claim_names_owner_term_manifest_rows_and_cell(open: &Opener) {
    let mut scene = scene(open);
    let good = scene.claim();
    let t = scene.t;
    let mut wrong = |edit: &dyn Fn(&mut Claim)| {
        let mut claim = good.clone();
        edit(&mut claim);
        refusal(scene.d.claim(t, OpId(2), &claim))
    };
    let manifest = |refusal| matches!(refusal, Refusal::Manifest { .. });
    let stale = |refusal| matches!(refusal, Refusal::Stale { .. });
    assert!(stale(wrong(&|c| c.term.0 += 1)));
    assert!(stale(wrong(&|c| c.from.incarnation.0 += 1)));
    assert!(stale(wrong(&|c| c.root = name(9))));
    assert!(manifest(wrong(&|c| c.manifest += 1)));
    assert!(manifest(wrong(&|c| drop(c.rows.pop()))));
    assert!(manifest(wrong(&|c| c.rows.push((name(9), vec![])))));
    assert!(manifest(wrong(&|c| c.rows[1].0 = name(9))));
    assert!(manifest(wrong(&|c| c.rows[1].0 = name(ROOT))));
    assert_eq!(wrong(&|c| c.cell = HOME), Refusal::NotCellOwner(HOME));
    assert_eq!(
        wrong(&|c| c.cell = CellId(99)),
        Refusal::NotCellOwner(CellId(99))
    );
    scene.d.claim(t, OpId(2), &good).expect("all holds");
}

/// A late COMMIT is void for ever.
pub fn an_abort_voids_the_claim(open: &Opener) {
    let mut scene = scene(open);
    let term = scene
        .d
        .abort(scene.s, OpId(3), name(ROOT), scene.term)
        .expect("owned");
    assert!(term > scene.term);
    let Refusal::Stale {
        found: Some(row), ..
    } = refusal(scene.d.claim(scene.t, OpId(2), &scene.claim()))
    else {
        panic!("another refusal");
    };
    assert_eq!((row.owner, row.term), (scene.s, term));
    let rows = scene.d.read(name(ROOT)).expect("reachable");
    assert!(rows.iter().all(|row| row.record.term == term));
}

/// The source learns whom the root is with.
pub fn a_claim_voids_the_abort(open: &Opener) {
    let mut scene = scene(open);
    let term = scene
        .d
        .claim(scene.t, OpId(2), &scene.claim())
        .expect("all holds");
    let abort = scene.d.abort(scene.s, OpId(3), name(ROOT), scene.term);
    let Refusal::Stale {
        found: Some(row), ..
    } = refusal(abort)
    else {
        panic!("another refusal");
    };
    assert_eq!((row.owner, row.term), (scene.t, term));
}

/// From two connections, many times, each starting at the same moment.
pub fn of_a_claim_and_an_abort_at_once_one_wins(open: &Opener) {
    let mut scene = scene(open);
    let (mut claims, mut aborts) = (0, 0);
    for round in 0..40u64 {
        let barrier = Arc::new(Barrier::new(2));
        let claim = scene.claim();
        let (s, t, term) = (scene.s, scene.t, scene.term);
        let claimer = thread::spawn({
            let (open, barrier) = (Arc::clone(open), Arc::clone(&barrier));
            move || {
                let mut d = open();
                barrier.wait();
                d.claim(t, OpId(1000 + round), &claim)
            }
        });
        barrier.wait();
        let aborted = scene.d.abort(s, OpId(1000 + round), name(ROOT), term);
        let claimed = claimer.join().expect("no panic");
        assert_ne!(claimed.is_ok(), aborted.is_ok(), "round {round}");
        match claimed {
            Ok(term) => {
                claims += 1;
                scene.term = term;
                let back = Claim {
                    from: t,
                    term,
                    cell: HOME,
                    ..scene.claim()
                };
                scene.term = scene
                    .d
                    .claim(s, OpId(5000 + round), &back)
                    .expect("all holds");
            }
            Err(_) => {
                aborts += 1;
                scene.term = aborted.expect("one of them");
            }
        }
    }
    assert_eq!(claims + aborts, 40);
}

/// Silence is not enough; the record must be gone.
pub fn a_reclaim_waits_for_the_burial(open: &Opener) {
    let mut scene = scene(open);
    let reclaim = scene.d.reclaim(scene.t, OpId(2), scene.s);
    assert_eq!(refusal(reclaim), Refusal::NotBuried(scene.s));
}

/// With what was stored last.
pub fn a_reclaim_takes_cells_and_rows_under_one_term(open: &Opener) {
    let mut scene = scene(open);
    let checkpoint = scene.checkpoint(scene.term, 30);
    scene
        .d
        .checkpoint(scene.s, OpId(3), &[checkpoint])
        .expect("present");
    scene.d.bury(scene.s, Evidence::Dead).expect("present");
    let rest = scene
        .d
        .survey(None)
        .expect("reachable")
        .rest
        .expect("unknown layout");
    assert_eq!(rest.dead, [scene.s]);
    let reclaimed = scene.d.reclaim(scene.t, OpId(2), scene.s).expect("buried");
    assert!(reclaimed.term > scene.term);
    assert_eq!(reclaimed.cells.len(), 1);
    assert_eq!(
        (reclaimed.cells[0].cell, reclaimed.cells[0].owner),
        (HOME, scene.t)
    );
    let states: Vec<_> = reclaimed.rows.iter().map(|row| row.state.clone()).collect();
    assert_eq!(states, [vec![30], vec![30, 0]]);
    assert!(reclaimed.rows.iter().all(|row| {
        row.record.owner == scene.t
            && row.record.term == reclaimed.term
            && row.record.tick == Tick(30)
    }));
    assert_eq!(
        reclaimed.rows[0].record.entity,
        name(ROOT),
        "the root comes first"
    );
    let rest = scene
        .d
        .survey(None)
        .expect("reachable")
        .rest
        .expect("unknown layout");
    assert_eq!(rest.dead, []);
}

/// From many connections.
pub fn of_many_reclaimers_one_gets_everything(open: &Opener) {
    let mut scene = scene(open);
    let mut nodes = vec![scene.t];
    nodes.extend((3..=5).map(|id| enter(&mut *scene.d, id).node));
    scene.d.bury(scene.s, Evidence::Dead).expect("present");
    let barrier = Arc::new(Barrier::new(nodes.len()));
    let threads: Vec<_> = nodes
        .into_iter()
        .map(|node| {
            let (open, barrier, dead) = (Arc::clone(open), Arc::clone(&barrier), scene.s);
            thread::spawn(move || {
                let mut d = open();
                barrier.wait();
                let reclaimed = d.reclaim(node, OpId(50), dead).expect("buried");
                (reclaimed.rows.len(), reclaimed.cells.len())
            })
        })
        .collect();
    let mut got: Vec<_> = threads
        .into_iter()
        .map(|t| t.join().expect("no panic"))
        .collect();
    got.sort_unstable();
    assert_eq!(got, [(0, 0), (0, 0), (0, 0), (2, 1)]);
}
