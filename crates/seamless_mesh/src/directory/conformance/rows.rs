//! Rows come and go; every operation happens once and whole.

use super::*;

/// One counter for everything.
pub fn terms_rise_and_never_come_twice(open: &Opener) {
    let mut scene = scene(open);
    let mut last = scene.term;
    for round in 0..20 {
        let create = Create {
            root: name(100 + round),
            members: vec![],
            player: None,
            cell: HOME,
        };
        let created = scene
            .d
            .create(scene.s, OpId(100 + 2 * round), &create)
            .expect("new");
        let aborted = scene
            .d
            .abort(scene.s, OpId(101 + 2 * round), name(100 + round), created)
            .expect("owned");
        assert!(last < created && created < aborted);
        last = aborted;
    }
}

/// Logins ask for the row first, but two may do so at once.
pub fn a_player_has_one_row(open: &Opener) {
    let mut scene = scene(open);
    let create = Create {
        root: name(5),
        members: vec![],
        player: Some(PeerId(7)),
        cell: HOME,
    };
    let Refusal::PlayerExists(row) = refusal(scene.d.create(scene.t, OpId(9), &create)) else {
        panic!("another refusal");
    };
    assert_eq!((row.entity, row.owner), (name(ROOT), scene.s));
    assert_eq!(scene.d.head(name(5)), Ok(None));
    let found = scene
        .d
        .find_player(PeerId(7))
        .expect("reachable")
        .expect("there");
    assert_eq!(found, *row);
    assert_eq!(scene.d.retire(scene.s, name(ROOT)), Ok(2));
    assert_eq!(scene.d.find_player(PeerId(7)), Ok(None));
    assert_eq!(scene.d.head(name(THING)), Ok(None));
    assert_eq!(scene.d.retire(scene.s, name(ROOT)), Ok(0));
    scene
        .d
        .create(scene.t, OpId(10), &create)
        .expect("free again");
}

/// Whoever owns them; neighbouring blocks are others, also where a name's highest bit changes.
pub fn a_block_tells_the_names_that_have_rows(open: &Opener) {
    let mut scene = scene(open);
    let blocks = [39, 41, GlobalEntity::MAX_BLOCK / 2, GlobalEntity::MAX_BLOCK];
    let last = (1 << GlobalEntity::COUNTER_BITS) - 1;
    for (n, block) in blocks.into_iter().enumerate() {
        let ends = [1, last].map(|counter| GlobalEntity::new(block, counter).expect("a name"));
        let create = Create {
            root: ends[1],
            members: vec![ends[0]],
            player: None,
            cell: HOME,
        };
        let (owner, op) = (
            if n % 2 == 0 { scene.s } else { scene.t },
            OpId(20 + n as u64),
        );
        scene.d.create(owner, op, &create).expect("new");
        assert_eq!(scene.d.names(block), Ok(ends.to_vec()));
    }
    assert_eq!(scene.d.names(40), Ok(vec![name(ROOT), name(THING)]));
    assert_eq!(scene.d.names(GlobalEntity::WORLD_BLOCK), Ok(vec![]));
    scene.d.retire(scene.s, name(ROOT)).expect("owned");
    assert_eq!(scene.d.names(40), Ok(vec![]));
}

/// From many connections.
pub fn two_logins_at_once_make_one_row(open: &Opener) {
    let mut d = open();
    let nodes: Vec<_> = (1..=4).map(|id| enter(&mut *d, id).node).collect();
    for round in 0..10u64 {
        let barrier = Arc::new(Barrier::new(nodes.len()));
        let results: Vec<_> = nodes
            .iter()
            .map(|&node| {
                let (open, barrier) = (Arc::clone(open), Arc::clone(&barrier));
                thread::spawn(move || {
                    let mut d = open();
                    let create = Create {
                        root: name(1 + round * 16 + u64::from(node.id.0)),
                        members: vec![],
                        player: Some(PeerId(round)),
                        cell: HOME,
                    };
                    barrier.wait();
                    d.create(node, OpId(1 + round), &create).is_ok()
                })
            })
            .collect();
        let won = results
            .into_iter()
            .map(|thread| thread.join().expect("no panic"));
        assert_eq!(won.filter(|won| *won).count(), 1, "round {round}");
    }
}

/// Whole or not at all.
pub fn a_refusal_changes_nothing(open: &Opener) {
    let mut scene = scene(open);
    let other = Create {
        root: name(5),
        members: vec![],
        player: None,
        cell: AWAY,
    };
    scene.d.create(scene.t, OpId(2), &other).expect("new");
    let before = scene.everything();
    let mut claim = scene.claim();
    claim.manifest += 1;
    refusal(scene.d.claim(scene.t, OpId(3), &claim));
    refusal(scene.d.abort(scene.t, OpId(3), name(ROOT), scene.term));
    refusal(scene.d.retire(scene.t, name(ROOT)));
    refusal(scene.d.move_cell(scene.t, OpId(3), HOME, scene.t));
    refusal(scene.d.reclaim(scene.t, OpId(3), scene.s));
    let taken = Regroup {
        root: name(ROOT),
        members: vec![name(5), name(6)],
        player: None,
        cell: HOME,
    };
    refusal(scene.d.regroup(scene.s, OpId(3), &taken));
    let exists = Create {
        root: name(6),
        members: vec![name(5)],
        player: None,
        cell: HOME,
    };
    refusal(scene.d.create(scene.s, OpId(3), &exists));
    let mut checkpoint = scene.checkpoint(scene.term, 9);
    checkpoint.rows.push((name(5), vec![]));
    let outcome = scene
        .d
        .checkpoint(scene.s, OpId(3), &[checkpoint])
        .expect("present");
    assert!(matches!(outcome[..], [CheckpointOutcome::Foreign { .. }]));
    assert_eq!(scene.everything(), before);
}

/// A lost reply is resolved by asking again.
pub fn a_repeated_operation_happens_once(open: &Opener) {
    let mut scene = scene(open);
    let create = Create {
        root: name(5),
        members: vec![],
        player: None,
        cell: HOME,
    };
    let created = scene.d.create(scene.s, OpId(3), &create).expect("new");
    assert_eq!(scene.d.create(scene.s, OpId(3), &create), Ok(created));
    let aborted = scene
        .d
        .abort(scene.s, OpId(4), name(5), created)
        .expect("owned");
    assert_eq!(
        scene.d.abort(scene.s, OpId(4), name(5), created),
        Ok(aborted)
    );
    let claim = scene.claim();
    let claimed = scene.d.claim(scene.t, OpId(2), &claim).expect("all holds");
    assert_eq!(scene.d.claim(scene.t, OpId(2), &claim), Ok(claimed));
    scene.d.bury(scene.t, Evidence::Dead).expect("present");
    let reclaimed = scene.d.reclaim(scene.s, OpId(5), scene.t).expect("buried");
    assert_eq!(reclaimed.rows.len(), 2);
    assert_eq!(scene.d.reclaim(scene.s, OpId(5), scene.t), Ok(reclaimed));
    let empty = scene.d.reclaim(scene.s, OpId(6), scene.t).expect("buried");
    assert!(empty.rows.is_empty() && empty.cells.is_empty());
}

/// Every draw of a term counts.
pub fn many_writers_lose_nothing(open: &Opener) {
    const EACH: u64 = 50;
    let mut d = open();
    let nodes: Vec<_> = (1..=4).map(|id| enter(&mut *d, id).node).collect();
    let threads: Vec<_> = nodes
        .into_iter()
        .map(|node| {
            let open = Arc::clone(open);
            thread::spawn(move || {
                let mut d = open();
                (0..EACH)
                    .map(|n| {
                        let create = Create {
                            root: name(1 + u64::from(node.id.0) * 1000 + n),
                            members: vec![],
                            player: None,
                            cell: HOME,
                        };
                        d.create(node, OpId(1 + n), &create).expect("new")
                    })
                    .collect::<Vec<_>>()
            })
        })
        .collect();
    let mut terms: Vec<_> = threads
        .into_iter()
        .flat_map(|thread| thread.join().expect("no panic"))
        .collect();
    terms.sort_unstable();
    terms.dedup();
    assert_eq!(terms.len() as u64, 4 * EACH);
}
