//! Which rows are under one root, and what is stored of them.

use super::*;

/// Joining and leaving a group.
pub fn a_regroup_moves_makes_and_lets_go(open: &Opener) {
    let mut scene = scene(open);
    let mut regroup = |root, members: &[u64], op| {
        let regroup = Regroup {
            root: name(root),
            members: members.iter().map(|n| name(*n)).collect(),
            player: None,
            cell: HOME,
        };
        scene.d.regroup(scene.s, OpId(op), &regroup).expect("owned")
    };
    // The thing is let go, another is made.
    let second = regroup(ROOT, &[3], 3);
    assert!(second.manifest > scene.manifest);
    assert_eq!((second.term, second.player), (scene.term, Some(PeerId(7))));
    // A vehicle that nobody knew takes the player on, without the thing that it carries.
    let vehicle = regroup(4, &[ROOT], 4);
    assert!(vehicle.term > scene.term);
    let mut root_of = |n| {
        let row = scene.d.head(name(n)).expect("reachable").expect("there");
        (row.root, row.term)
    };
    assert_eq!(root_of(ROOT), (name(4), scene.term));
    assert_eq!(root_of(THING), (name(THING), scene.term));
    assert_eq!(root_of(3).0, name(3));
    let found = scene
        .d
        .find_player(PeerId(7))
        .expect("reachable")
        .expect("there");
    assert_eq!(found.root, name(4));
    // And lets it off again: both manifests rise.
    let regroup = Regroup {
        root: name(ROOT),
        members: vec![name(THING)],
        player: None,
        cell: HOME,
    };
    let off = scene.d.regroup(scene.s, OpId(5), &regroup).expect("owned");
    assert!(off.manifest > second.manifest);
    let row = scene.d.head(name(4)).expect("reachable").expect("there");
    assert!(row.manifest > vehicle.manifest);
    assert_eq!(scene.d.read(name(4)).expect("reachable").len(), 1);
}

/// So a PREPARE may be repeated.
pub fn a_regroup_that_changes_nothing_keeps_the_manifest(open: &Opener) {
    let mut scene = scene(open);
    let regroup = Regroup {
        root: name(ROOT),
        members: vec![name(THING)],
        player: Some(PeerId(7)),
        cell: AWAY,
    };
    let same = scene.d.regroup(scene.s, OpId(3), &regroup).expect("owned");
    assert_eq!((same.manifest, same.term), (scene.manifest, scene.term));
}

/// Not even a member.
pub fn a_regroup_takes_nothing_from_another_node(open: &Opener) {
    let mut scene = scene(open);
    let create = Create {
        root: name(5),
        members: vec![],
        player: None,
        cell: AWAY,
    };
    scene.d.create(scene.t, OpId(2), &create).expect("new");
    for (root, member) in [(ROOT, 5), (5, ROOT), (6, 5)] {
        let regroup = Regroup {
            root: name(root),
            members: vec![name(member)],
            player: None,
            cell: HOME,
        };
        let Refusal::NotOwner(row) = refusal(scene.d.regroup(scene.s, OpId(3), &regroup)) else {
            panic!("another refusal");
        };
        assert_eq!(row.owner, scene.t);
    }
    let twice = Regroup {
        root: name(8),
        members: vec![],
        player: Some(PeerId(7)),
        cell: HOME,
    };
    let refused = refusal(scene.d.regroup(scene.s, OpId(3), &twice));
    assert!(matches!(refused, Refusal::PlayerExists(_)));
}

/// All members at one tick.
pub fn a_checkpoint_stores_a_group_whole(open: &Opener) {
    let mut scene = scene(open);
    let mut checkpoint = scene.checkpoint(scene.term, 30);
    checkpoint.rows[1].0 = name(3);
    let outcome = scene
        .d
        .checkpoint(scene.s, OpId(3), &[checkpoint])
        .expect("present");
    let [CheckpointOutcome::Stored { manifest }] = outcome[..] else {
        panic!("not stored: {outcome:?}");
    };
    assert!(
        manifest > scene.manifest,
        "another thing hangs on the root now"
    );
    let rows = scene.d.read(name(ROOT)).expect("reachable");
    let states: Vec<_> = rows
        .iter()
        .map(|row| (row.record.entity, row.state.clone()))
        .collect();
    assert_eq!(states, [(name(ROOT), vec![30]), (name(3), vec![30, 0])]);
    assert!(
        rows.iter()
            .all(|row| row.record.tick == Tick(30) && row.record.written == scene.term)
    );
    assert_eq!(rows[0].record.manifest, manifest);
    let thing = scene
        .d
        .head(name(THING))
        .expect("reachable")
        .expect("there");
    assert_eq!(
        thing.root,
        name(THING),
        "what was let go is a root of its own"
    );
}

/// Neither an older tick nor an older term.
pub fn an_older_state_never_replaces_a_newer(open: &Opener) {
    let mut scene = scene(open);
    let term = scene.term;
    let mut store = |tick| {
        let checkpoint = scene.checkpoint(term, tick);
        scene
            .d
            .checkpoint(scene.s, OpId(3), &[checkpoint])
            .expect("present")[0]
    };
    assert!(matches!(store(30), CheckpointOutcome::Stored { .. }));
    assert_eq!(store(29), CheckpointOutcome::Older);
    assert!(matches!(store(31), CheckpointOutcome::Stored { .. }));
    let rows = scene.d.read(name(ROOT)).expect("reachable");
    assert!(rows.iter().all(|row| row.record.tick == Tick(31)));
}

/// That is how a node learns that it was too late.
pub fn a_checkpoint_under_a_former_term_is_refused_and_named(open: &Opener) {
    let mut scene = scene(open);
    let create = Create {
        root: name(5),
        members: vec![],
        player: None,
        cell: HOME,
    };
    let other = scene.d.create(scene.s, OpId(3), &create).expect("new");
    let claimed = scene
        .d
        .claim(scene.t, OpId(2), &scene.claim())
        .expect("all holds");
    let good = Checkpoint {
        root: name(5),
        term: other,
        rows: vec![(name(5), vec![1])],
        ..scene.checkpoint(other, 200)
    };
    let bad = scene.checkpoint(scene.term, 200);
    let outcomes = scene
        .d
        .checkpoint(scene.s, OpId(4), &[bad, good])
        .expect("present");
    let foreign = CheckpointOutcome::Foreign {
        entity: name(ROOT),
        row: Some((scene.t, claimed)),
    };
    assert_eq!(outcomes[0], foreign);
    assert!(matches!(outcomes[1], CheckpointOutcome::Stored { .. }));
    let aborted = scene
        .d
        .abort(scene.s, OpId(5), name(5), other)
        .expect("owned");
    assert!(aborted > other);
    let old = Checkpoint {
        root: name(5),
        rows: vec![(name(5), vec![2])],
        ..scene.checkpoint(other, 300)
    };
    let outcomes = scene
        .d
        .checkpoint(scene.s, OpId(6), &[old])
        .expect("present");
    assert!(
        matches!(outcomes[..], [CheckpointOutcome::Foreign { row: Some(row), .. }] if row == (scene.s, aborted))
    );
}

/// The target may have claimed it and let it go.
pub fn a_checkpoint_never_brings_a_retired_root_back(open: &Opener) {
    let mut scene = scene(open);
    scene
        .d
        .claim(scene.t, OpId(2), &scene.claim())
        .expect("all holds");
    assert_eq!(scene.d.retire(scene.t, name(ROOT)), Ok(2));
    let checkpoint = scene.checkpoint(scene.term, 200);
    let outcomes = scene
        .d
        .checkpoint(scene.s, OpId(3), &[checkpoint])
        .expect("present");
    assert_eq!(
        outcomes,
        [CheckpointOutcome::Foreign {
            entity: name(ROOT),
            row: None
        }]
    );
    assert_eq!(scene.d.head(name(ROOT)), Ok(None));
}
