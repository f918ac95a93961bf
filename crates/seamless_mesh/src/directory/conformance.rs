//! What every directory backend must pass.
//!
//! [`directory_conformance!`](crate::directory_conformance) makes one test of each function here.
//! A backend gives a function that makes a fresh, empty directory and returns how to open further
//! handles of it; handles are used from several threads at once.

use std::{
    sync::{Arc, Barrier},
    thread,
    time::Duration,
};

use seamless_wire::{CellId, GlobalEntity, InputSeq, NodeId, NodeRef, PeerId, Term, Tick};

use super::{
    Addresses, Checkpoint, CheckpointOutcome, Claim, Create, Directory, DirectoryError, Evidence,
    Join, Joined, Load, OpId, Refusal, Regroup, transactions::TERM_JUMP,
};

/// Opens one more handle of a directory.
pub type Opener = Arc<dyn Fn() -> Box<dyn Directory> + Send + Sync>;

/// Makes one `#[test]` of each case of the suite. The argument is an expression of type
/// `fn() -> Opener` that makes a fresh directory at every call.
#[macro_export]
macro_rules! directory_conformance {
    ($fresh:expr) => {
        $crate::directory_conformance!(@cases $fresh;
            a_joined_node_has_a_fresh_life_and_a_fresh_block,
            a_repeated_join_of_one_life_gives_the_same_node,
            a_number_is_taken_while_its_record_stands,
            a_beat_of_a_buried_node_is_refused,
            a_node_is_buried_only_on_the_evidence_named,
            everything_that_a_buried_node_asks_is_refused,
            terms_rise_and_never_come_twice,
            a_player_has_one_row,
            two_logins_at_once_make_one_row,
            a_claim_moves_all_rows_with_their_states,
            a_claim_names_owner_term_manifest_rows_and_cell,
            a_refusal_changes_nothing,
            an_abort_voids_the_claim,
            a_claim_voids_the_abort,
            of_a_claim_and_an_abort_at_once_one_wins,
            a_repeated_operation_happens_once,
            a_regroup_moves_makes_and_lets_go,
            a_regroup_that_changes_nothing_keeps_the_manifest,
            a_regroup_takes_nothing_from_another_node,
            a_checkpoint_stores_a_group_whole,
            an_older_state_never_replaces_a_newer,
            a_checkpoint_under_a_former_term_is_refused_and_named,
            a_checkpoint_never_brings_a_retired_root_back,
            a_reclaim_waits_for_the_burial,
            a_reclaim_takes_cells_and_rows_under_one_term,
            of_many_reclaimers_one_gets_everything,
            free_cells_are_claimed_and_others_are_not,
            a_moved_cell_belongs_to_the_other,
            a_survey_tells_what_changed,
            after_a_reboot_terms_jump_and_time_goes_on,
            a_watch_sees_the_changes_of_others,
            many_writers_lose_nothing,
        );
    };
    (@cases $fresh:expr; $($case:ident,)*) => {
        $(
            #[test]
            fn $case() {
                let fresh: fn() -> $crate::directory::conformance::Opener = $fresh;
                $crate::directory::conformance::$case(&fresh());
            }
        )*
    };
}

fn join_request(id: u32, life: u64) -> Join {
    let address = |port| ([127, 0, 0, 1], port).into();
    Join {
        id: NodeId(id),
        life,
        addresses: Addresses {
            udp: address(1000 + id as u16),
            http: address(2000 + id as u16),
            session: address(3000 + id as u16),
        },
        boot: 77,
        clock: Duration::from_secs(500),
        secret: [9; 32],
    }
}

fn enter(d: &mut dyn Directory, id: u32) -> Joined {
    d.join(&join_request(id, 1000 + u64::from(id)))
        .expect("a free number")
}

fn name(counter: u64) -> GlobalEntity {
    GlobalEntity::new(40, counter).expect("a legal name")
}

fn refusal<T: std::fmt::Debug>(result: super::Result<T>) -> Refusal {
    match result {
        Err(DirectoryError::Refused(refusal)) => refusal,
        other => panic!("not refused: {other:?}"),
    }
}

/// Two nodes, a cell each, and player 7 with one thing on it at the first.
struct Scene {
    d: Box<dyn Directory>,
    s: NodeRef,
    t: NodeRef,
    term: Term,
    manifest: u32,
}

const ROOT: u64 = 1;
const THING: u64 = 2;
const HOME: CellId = CellId(1);
const AWAY: CellId = CellId(2);

fn scene(open: &Opener) -> Scene {
    let mut d = open();
    let s = enter(&mut *d, 1).node;
    let t = enter(&mut *d, 2).node;
    d.claim_cells(s, OpId(1), &[HOME]).expect("free");
    d.claim_cells(t, OpId(1), &[AWAY]).expect("free");
    let create = Create {
        root: name(ROOT),
        members: vec![name(THING)],
        player: Some(PeerId(7)),
        cell: HOME,
    };
    let term = d.create(s, OpId(2), &create).expect("new");
    let manifest = d
        .head(name(ROOT))
        .expect("reachable")
        .expect("there")
        .manifest;
    Scene {
        d,
        s,
        t,
        term,
        manifest,
    }
}

impl Scene {
    fn claim(&self) -> Claim {
        Claim {
            root: name(ROOT),
            from: self.s,
            term: self.term,
            manifest: self.manifest,
            cell: AWAY,
            tick: Tick(100),
            last_input: InputSeq(5),
            rows: vec![(name(ROOT), vec![1, 1]), (name(THING), vec![2, 2])],
        }
    }

    fn checkpoint(&self, term: Term, tick: u32) -> Checkpoint {
        Checkpoint {
            root: name(ROOT),
            term,
            tick: Tick(tick),
            last_input: InputSeq(tick),
            cell: HOME,
            rows: vec![
                (name(ROOT), vec![tick as u8]),
                (name(THING), vec![tick as u8, 0]),
            ],
        }
    }

    fn everything(&mut self) -> String {
        let survey = self.d.survey(None).expect("reachable");
        let rows: Vec<_> = (1..=9)
            .map(|n| self.d.read(name(n)).expect("reachable"))
            .collect();
        format!("{survey:?} {rows:?}")
    }
}

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
