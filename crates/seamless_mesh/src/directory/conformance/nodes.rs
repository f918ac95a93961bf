//! Who is in the mesh, and who owns which cell.

use super::*;

/// Incarnations and blocks are never given twice; blocks 0 and 1 never.
pub fn a_joined_node_has_a_fresh_life_and_a_fresh_block(open: &Opener) {
    let mut d = open();
    let first = enter(&mut *d, 1);
    let second = enter(&mut *d, 2);
    assert!(first.block >= 2 && second.block > first.block);
    assert_ne!(first.node.incarnation, second.node.incarnation);
    assert_eq!(first.secret, second.secret);
    assert_eq!(
        first.origin.mesh_time(Duration::from_secs(500)),
        Duration::ZERO
    );
    d.leave(first.node).expect("present");
    let again = d.join(&join_request(1, 5)).expect("free");
    assert!(again.node.incarnation > first.node.incarnation && again.block > second.block);
}

/// The reply to a join may be lost.
pub fn a_repeated_join_of_one_life_gives_the_same_node(open: &Opener) {
    let mut d = open();
    let first = enter(&mut *d, 1);
    assert_eq!(enter(&mut *d, 1), first);
}

/// Two processes cannot be one node.
pub fn a_number_is_taken_while_its_record_stands(open: &Opener) {
    let mut d = open();
    let first = enter(&mut *d, 1);
    let Refusal::NodeTaken(record) = refusal(d.join(&join_request(1, 5))) else {
        panic!("another refusal");
    };
    assert_eq!(record.node, first.node);
    d.bury(first.node, Evidence::Dead).expect("present");
    d.join(&join_request(1, 5)).expect("free now");
}

/// That is how a node learns that it was declared dead.
pub fn a_beat_of_a_buried_node_is_refused(open: &Opener) {
    let mut d = open();
    let node = enter(&mut *d, 1).node;
    d.beat(node, Load::default(), Duration::ZERO)
        .expect("present");
    d.bury(node, Evidence::Dead).expect("present");
    let beat = d.beat(node, Load::default(), Duration::ZERO);
    assert_eq!(refusal(beat), Refusal::NodeGone(node));
    let later = d.join(&join_request(1, 5)).expect("free").node;
    let beat = d.beat(node, Load::default(), Duration::ZERO);
    assert_eq!(
        refusal(beat),
        Refusal::NodeGone(node),
        "also under a later life"
    );
    d.beat(later, Load::default(), Duration::ZERO)
        .expect("present");
}

/// A beat in the last moment saves it.
pub fn a_node_is_buried_only_on_the_evidence_named(open: &Opener) {
    let mut d = open();
    let node = enter(&mut *d, 1).node;
    let beat = d.survey(None).expect("reachable").nodes[0].beat;
    d.beat(
        node,
        Load {
            players: 3,
            tick_us: 9,
        },
        Duration::ZERO,
    )
    .expect("present");
    let record = d.survey(None).expect("reachable").nodes[0].clone();
    assert_eq!(record.load.players, 3);
    assert!(record.beat > beat);
    let silent = Evidence::Silent { beat };
    assert_eq!(refusal(d.bury(node, silent)), Refusal::NotSilent(node));
    d.bury(node, Evidence::Silent { beat: record.beat })
        .expect("silent");
    assert_eq!(
        refusal(d.bury(node, Evidence::Dead)),
        Refusal::NotSilent(node)
    );
}

/// Whatever a paused process does when it wakes.
pub fn everything_that_a_buried_node_asks_is_refused(open: &Opener) {
    let mut scene = scene(open);
    let claim = scene.claim();
    let checkpoint = scene.checkpoint(scene.term, 9);
    let (s, t, term) = (scene.s, scene.t, scene.term);
    let d = &mut scene.d;
    d.bury(s, Evidence::Dead).expect("present");
    d.bury(t, Evidence::Dead).expect("present");
    let create = Create {
        root: name(5),
        members: vec![],
        player: None,
        cell: HOME,
    };
    let regroup = Regroup {
        root: name(ROOT),
        members: vec![],
        player: None,
        cell: HOME,
    };
    let gone = Refusal::NodeGone(s);
    assert_eq!(refusal(d.leave(s)), gone);
    assert_eq!(refusal(d.set_draining(s, true)), gone);
    assert_eq!(refusal(d.claim_cells(s, OpId(9), &[CellId(9)])), gone);
    assert_eq!(refusal(d.move_cell(s, OpId(9), HOME, t)), gone);
    assert_eq!(refusal(d.create(s, OpId(9), &create)), gone);
    assert_eq!(refusal(d.retire(s, name(ROOT))), gone);
    assert_eq!(refusal(d.regroup(s, OpId(9), &regroup)), gone);
    assert_eq!(refusal(d.abort(s, OpId(9), name(ROOT), term)), gone);
    assert_eq!(refusal(d.reclaim(s, OpId(9), t)), gone);
    assert_eq!(refusal(d.checkpoint(s, OpId(9), &[checkpoint])), gone);
    assert_eq!(refusal(d.claim(t, OpId(9), &claim)), Refusal::NodeGone(t));
}

/// A cell whose owner is gone is free.
pub fn free_cells_are_claimed_and_others_are_not(open: &Opener) {
    let mut scene = scene(open);
    let cells = scene
        .d
        .claim_cells(scene.t, OpId(3), &[HOME, CellId(9)])
        .expect("present");
    assert_eq!((cells[0].owner, cells[1].owner), (scene.s, scene.t));
    scene.d.bury(scene.s, Evidence::Dead).expect("present");
    let cells = scene
        .d
        .claim_cells(scene.t, OpId(4), &[HOME])
        .expect("present");
    assert_eq!(cells[0].owner, scene.t);
    assert!(cells[0].term > scene.term);
}

/// By its owner, to a node that is there.
pub fn a_moved_cell_belongs_to_the_other(open: &Opener) {
    let mut scene = scene(open);
    let refused = refusal(scene.d.move_cell(scene.t, OpId(3), HOME, scene.t));
    assert_eq!(refused, Refusal::NotCellOwner(HOME));
    let moved = scene
        .d
        .move_cell(scene.s, OpId(3), HOME, scene.t)
        .expect("owned");
    assert_eq!((moved.cell, moved.owner), (HOME, scene.t));
    let refused = refusal(scene.d.move_cell(scene.s, OpId(4), HOME, scene.s));
    assert_eq!(refused, Refusal::NotCellOwner(HOME));
    scene.d.bury(scene.s, Evidence::Dead).expect("present");
    let refused = refusal(scene.d.move_cell(scene.t, OpId(5), HOME, scene.s));
    assert_eq!(refused, Refusal::NodeGone(scene.s));
}

/// And says nothing about what did not.
pub fn a_survey_tells_what_changed(open: &Opener) {
    let mut scene = scene(open);
    let first = scene.d.survey(None).expect("reachable");
    assert_eq!(first.nodes.len(), 2);
    assert_eq!(first.rest.expect("unknown layout").cells.len(), 2);
    scene
        .d
        .beat(scene.s, Load::default(), Duration::ZERO)
        .expect("present");
    let same = scene.d.survey(Some(first.layout)).expect("reachable");
    assert_eq!((same.layout, same.rest), (first.layout, None));
    scene.d.set_draining(scene.s, true).expect("present");
    let drained = scene.d.survey(Some(first.layout)).expect("reachable");
    assert!(drained.layout > first.layout && drained.rest.is_some());
    assert!(drained.nodes[0].draining && !drained.nodes[1].draining);
    scene.d.leave(scene.s).expect("present");
    let left = scene.d.survey(Some(drained.layout)).expect("reachable");
    assert_eq!(left.nodes.len(), 1);
    assert_eq!(
        left.rest.expect("changed").dead,
        [scene.s],
        "it left its rows behind"
    );
}

/// The last commits before a power failure may be lost.
pub fn after_a_reboot_terms_jump_and_time_goes_on(open: &Opener) {
    let mut scene = scene(open);
    scene
        .d
        .beat(scene.s, Load::default(), Duration::from_secs(90))
        .expect("present");
    let mut join = join_request(3, 5);
    join.boot = 78;
    join.clock = Duration::from_secs(2);
    let joined = scene.d.join(&join).expect("free");
    assert!(joined.node.incarnation.0 >= scene.term.0 + TERM_JUMP);
    assert!(joined.origin.mesh_time(join.clock) > Duration::from_secs(90));
    let survey = scene.d.survey(None).expect("reachable");
    assert_eq!(
        survey.nodes.len(),
        1,
        "every process of the former boot is dead"
    );
    assert_eq!(
        survey.rest.expect("unknown layout").dead,
        [scene.s, scene.t]
    );
}

/// Cheaply.
pub fn a_watch_sees_the_changes_of_others(open: &Opener) {
    let mut scene = scene(open);
    let mut watcher = open();
    let _ = watcher.changed();
    assert_eq!(watcher.changed(), Ok(false));
    scene
        .d
        .beat(scene.s, Load::default(), Duration::ZERO)
        .expect("present");
    assert_eq!(watcher.changed(), Ok(true));
    assert_eq!(watcher.changed(), Ok(false));
}
