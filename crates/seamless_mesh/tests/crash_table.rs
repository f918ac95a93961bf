//! The crash table: what must come out of every fault at every point of a handover.
//!
//! Node 1 is the source, node 2 the target, node 3 a bystander; node i owns cell i. Each test is
//! one row, on virtual time with the real intervals.

mod common;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use common::{Game, Mode, ms};
use seamless_mesh::{
    directory::{DirectoryOp, Load},
    link::MeshLink,
    protocol::{AbortReason, MeshCommand, Outcome, PeerMessage, PeerReply, Phase, Role},
    sim::{DirectoryFate, Envelope, Fate, Payload, SimConfig},
    ticket::TicketRefusal,
};
use seamless_wire::{
    CellId, GlobalEntity, InputSeq, NodeId, PeerId, Tick,
    mesh::{CommitReply, RejectReason, SessionReply},
    ticket::{TICKET_BYTES, Ticket},
};

const S: u32 = 1;
const T: u32 = 2;

/// Longest time without an owner after a kill, with locks.
const FAILOVER: Duration = ms(300);
/// The same when only silence tells.
const FAILOVER_BY_SILENCE: Duration = ms(5000);

/// Three nodes and a player on the first, stored once.
fn scene(seed: u64) -> (Game, GlobalEntity) {
    let mut game = Game::nodes(seed, 3);
    let root = game.login(S, 7);
    game.run(ms(100));
    game.checkpoint(S);
    game.run(ms(100));
    (game, root)
}

fn is_commit(envelope: &Envelope<'_>) -> bool {
    matches!(envelope.payload, Payload::Request(PeerMessage::Commit(_)))
}

fn is_prepare(envelope: &Envelope<'_>) -> bool {
    matches!(
        envelope.payload,
        Payload::Request(PeerMessage::Prepare(_)) | Payload::Reply(PeerReply::Prepare(_))
    )
}

/// Does this to messages of that kind, and nothing to others.
fn to_messages(game: &Game, kind: fn(&Envelope<'_>) -> bool, fate: Fate) {
    game.mesh
        .on_message(move |envelope| if kind(&envelope) { fate } else { Fate::Normal });
}

/// Does this to a node's operations of that kind, so many times.
fn to_operations(
    game: &Game,
    node: u32,
    kind: fn(&DirectoryOp) -> bool,
    fate: DirectoryFate,
    times: u32,
) {
    let left = AtomicU32::new(times);
    game.mesh.on_directory(move |id, op| {
        let hit = id == NodeId(node) && kind(op);
        if hit
            && left
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                    left.checked_sub(1)
                })
                .is_ok()
        {
            fate
        } else {
            DirectoryFate::Normal
        }
    });
}

const fn is_claim(op: &DirectoryOp) -> bool {
    matches!(op, DirectoryOp::Claim { .. })
}

const fn is_abort(op: &DirectoryOp) -> bool {
    matches!(op, DirectoryOp::Abort { .. })
}

/// Somebody alive has the root again, soon enough, and only one.
#[track_caller]
fn taken_over(game: &mut Game, root: GlobalEntity, within: Duration) -> u32 {
    game.until(within, |game| !game.hosts(root).is_empty());
    game.settle(ms(2000));
    let hosts = game.hosts(root);
    assert_eq!(hosts.len(), 1);
    hosts[0]
}

#[track_caller]
fn source_outcome(game: &Game) -> Outcome {
    let status = game.side(S).node.status();
    let traces = status.traces.iter().rev();
    let mut source = traces.filter(|trace| trace.role == Role::Source);
    source
        .next()
        .expect("a finished handover")
        .outcome
        .expect("finished")
        .0
}

#[test]
fn row_01_source_dies_before_the_freeze_and_the_last_checkpoint_is_taken_over() {
    let (mut game, root) = scene(1);
    let stored = game.row(root).tick;
    game.reserve(S, root, T);
    game.run(ms(100));
    game.crash(S);
    let heir = taken_over(&mut game, root, FAILOVER);
    assert!(heir == 2 || heir == 3);
    assert_eq!(game.oracle.reclaimed, 1);
    assert!(game.row(root).tick >= stored);
    // The client comes in by any door.
    game.side(heir).node.knock(PeerId(7));
    game.run(ms(50));
    assert!(
        matches!(game.answers(heir)[..], [(_, SessionReply::Welcome { root: r, .. })] if r == root)
    );
}

#[test]
fn row_01_without_a_lock_silence_tells() {
    let (mut game, root) = scene(2);
    game.mesh.locks(false);
    for id in [2, 3] {
        game.crash(id);
        game.restart(id);
    }
    game.run(ms(6000));
    game.crash(S);
    taken_over(&mut game, root, FAILOVER_BY_SILENCE);
}

#[test]
fn row_02_source_dies_after_the_freeze_before_the_commit_arrives() {
    let (mut game, root) = scene(3);
    game.reserve(S, root, T);
    to_messages(&game, is_commit, Fate::Lost);
    game.freeze(S, root);
    game.run(ms(5));
    game.crash(S);
    game.mesh.no_filters();
    taken_over(&mut game, root, FAILOVER);
    assert_eq!(game.oracle.activated, 0);
    assert_eq!(game.oracle.reclaimed, 1);
}

#[test]
fn row_03_source_dies_with_the_commit_at_the_target_and_nothing_is_lost() {
    let (mut game, root) = scene(4);
    game.reserve(S, root, T);
    let frozen = game.side(S).hosted[&root].tick;
    // The claim is slow enough for the death to be noticed first.
    to_operations(&game, T, is_claim, DirectoryFate::Late(ms(60)), 1);
    game.freeze(S, root);
    game.run(ms(3));
    game.crash(S);
    assert_eq!(taken_over(&mut game, root, FAILOVER), T);
    assert_eq!((game.oracle.activated, game.oracle.reclaimed), (1, 0));
    assert!(
        game.side(T).hosted[&root].tick >= frozen,
        "the frozen state, not the checkpoint"
    );
}

#[test]
fn row_03_the_reclaimer_waits_for_the_claims_of_the_others() {
    // As above, but the one that reclaims is the bystander: the target is the busier node.
    let (mut game, root) = scene(5);
    let load = Load {
        players: 50,
        tick_us: 0,
    };
    game.send(T, MeshCommand::Load(load));
    game.run(ms(1500));
    game.reserve(S, root, T);
    to_operations(&game, T, is_claim, DirectoryFate::Late(ms(120)), 1);
    game.freeze(S, root);
    game.run(ms(3));
    game.crash(S);
    assert_eq!(taken_over(&mut game, root, ms(500)), T);
    game.run(ms(500));
    assert_eq!((game.oracle.activated, game.oracle.reclaimed), (1, 0));
    assert_eq!(game.side(3).node.status().counters.reclaims, 1, "its cell");
}

#[test]
fn row_04_source_dies_after_the_claim_and_the_target_has_it() {
    let (mut game, root) = scene(6);
    game.reserve(S, root, T);
    game.freeze(S, root);
    game.until(ms(50), |game| game.hosts(root) == [T]);
    game.crash(S);
    game.run(ms(1000));
    game.settle(ms(1000));
    assert_eq!(game.hosts(root), [T]);
    assert_eq!(game.oracle.reclaimed, 0);
}

#[test]
fn row_05_target_dies_before_the_commit_and_nothing_happened() {
    let (mut game, root) = scene(7);
    let handover = game.reserve(S, root, T);
    game.crash(T);
    game.until(FAILOVER, |game| {
        game.side(S)
            .rejected
            .contains(&(root, RejectReason::Unreachable))
    });
    assert_eq!(game.hosts(root), [S]);
    assert_eq!(game.row(root).term, handover.term);
    // A commit that the game sends all the same never leaves.
    game.side_mut(S).reserved.insert(root, handover);
    game.freeze(S, root);
    assert_eq!(game.hosts(root), [S]);
    assert_eq!(game.oracle.resumed, 1);
    assert_eq!(
        game.row(root).term,
        handover.term,
        "not even a term was spent"
    );
}

#[test]
fn row_06_target_dies_after_commit_before_claim_and_the_source_resumes() {
    let (mut game, root) = scene(8);
    let before = game.reserve(S, root, T).term;
    to_operations(&game, T, is_claim, DirectoryFate::DiesBefore, 1);
    let frozen = game.side(S).hosted[&root].tick;
    game.freeze(S, root);
    let took = game.until(ms(100), |game| game.hosts(root) == [S]);
    assert!(took < ms(60), "frozen for {took:?}");
    assert!(game.side(S).hosted[&root].tick >= frozen);
    assert!(game.row(root).term > before);
    game.crash(T);
    game.settle(ms(2000));
    assert!(matches!(source_outcome(&game), Outcome::Aborted(_)));
}

#[test]
fn row_07_target_dies_after_the_claim_and_the_source_reclaims_the_frozen_state() {
    let (mut game, root) = scene(9);
    game.reserve(S, root, T);
    to_operations(&game, T, is_claim, DirectoryFate::DiesAfter, 1);
    game.freeze(S, root);
    let frozen = game.side(S).hosted[&root].tick;
    assert_eq!(
        taken_over(&mut game, root, FAILOVER),
        S,
        "the source comes first"
    );
    assert_eq!((game.oracle.activated, game.oracle.reclaimed), (0, 1));
    assert!(game.side(S).hosted[&root].tick >= frozen);
    assert_eq!(
        game.oracle.handed_over, 1,
        "what was frozen is history before it comes back"
    );
}

#[test]
fn row_08_target_dies_active_and_its_last_checkpoint_is_taken_over() {
    let (mut game, root) = scene(10);
    game.hand_over(root, S, T);
    let claimed = game.row(root).tick;
    game.run(ms(200));
    game.checkpoint(T);
    game.run(ms(50));
    let stored = game.row(root);
    assert!(stored.tick > claimed);
    game.run(ms(100));
    game.crash(T);
    taken_over(&mut game, root, FAILOVER);
    assert_eq!(game.oracle.reclaimed, 1);
    let row = game.row(root);
    assert_eq!((row.tick, row.last_input), (stored.tick, stored.last_input));
}

#[test]
fn row_09_lost_prepares_and_reservations_are_repeated_under_the_same_name() {
    let (mut game, root) = scene(11);
    let seen: Arc<AtomicU32> = Arc::default();
    let count = Arc::clone(&seen);
    game.mesh.on_message(move |envelope| {
        if is_prepare(&envelope) && count.fetch_add(1, Ordering::Relaxed) < 4 {
            Fate::Lost
        } else {
            Fate::Normal
        }
    });
    game.reserve(S, root, T);
    assert!(seen.load(Ordering::Relaxed) > 4);
    assert_eq!(game.side(T).expected.len(), 1, "one reservation");
    game.freeze(S, root);
    game.until(ms(100), |game| game.hosts(root) == [T]);
    assert_eq!(game.side(T).node.status().counters.claimed, 1);
}

#[test]
fn row_10_a_client_that_does_not_arrive_gets_new_tickets_and_the_group_stays() {
    let (mut game, root) = scene(12);
    game.side_mut(T).attach = false;
    let first = game.reserve(S, root, T);
    game.run(ms(30_000));
    assert_eq!(game.hosts(root), [S], "nothing was frozen");
    let again = game.side(S).reserved[&root];
    assert_eq!(first, again, "the reservation still stands");
    let reserved = |said: &&String| said.contains("Reserved {");
    let tokens = game.side(S).said.iter().filter(reserved).count();
    assert!((4..=6).contains(&tokens), "{tokens} tokens in 30 s");
    game.send(S, MeshCommand::Cancel { root });
    game.run(ms(100));
    assert!(
        game.side(T).expected.is_empty(),
        "called off {:#?}",
        game.side(T).said
    );
    // And one that arrives late is heard of.
    game.side_mut(T).attach = true;
    game.reserve(S, root, T);
    game.until(ms(500), |game| !game.side(S).attached.is_empty());
}

#[test]
fn row_11_a_lost_commit_is_sent_again_within_the_budget() {
    let (mut game, root) = scene(13);
    game.reserve(S, root, T);
    let left = AtomicU32::new(3);
    game.mesh.on_message(move |envelope| {
        let lose = is_commit(&envelope)
            && left
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                    left.checked_sub(1)
                })
                .is_ok();
        if lose { Fate::Lost } else { Fate::Normal }
    });
    game.freeze(S, root);
    let took = game.until(ms(100), |game| game.hosts(root) == [T]);
    assert!((ms(30)..ms(40)).contains(&took), "frozen for {took:?}");
    game.settle(ms(500));
    assert_eq!(game.oracle.resumed, 0);
}

#[test]
fn row_11_when_all_commits_are_lost_the_source_aborts() {
    let (mut game, root) = scene(14);
    game.reserve(S, root, T);
    to_messages(&game, is_commit, Fate::Lost);
    game.freeze(S, root);
    let took = game.until(ms(100), |game| game.hosts(root) == [S]);
    assert!((ms(50)..ms(56)).contains(&took), "frozen for {took:?}");
    assert_eq!(
        source_outcome(&game),
        Outcome::Aborted(AbortReason::Timeout)
    );
    game.mesh.no_filters();
    game.hand_over(root, S, T);
}

#[test]
fn row_12_without_a_confirmation_the_source_learns_from_the_directory() {
    let (mut game, root) = scene(15);
    game.reserve(S, root, T);
    to_messages(
        &game,
        |envelope| matches!(envelope.payload, Payload::Reply(PeerReply::Commit(_))),
        Fate::Lost,
    );
    game.freeze(S, root);
    let took = game.until(ms(200), |game| game.oracle.handed_over == 1);
    assert!(took < ms(20), "by the watch, after {took:?}");
    assert_eq!(game.hosts(root), [T]);
    assert!(matches!(source_outcome(&game), Outcome::HandedOver(_)));
}

#[test]
fn row_12_without_confirmation_and_watch_the_abort_tells() {
    let (mut game, root) = scene(16);
    let mut network = seamless_mesh::sim::Network::default();
    network.watch_every = ms(10_000);
    game.mesh.network(network);
    game.reserve(S, root, T);
    to_messages(
        &game,
        |envelope| matches!(envelope.payload, Payload::Reply(PeerReply::Commit(_))),
        Fate::Lost,
    );
    game.freeze(S, root);
    game.until(ms(200), |game| game.oracle.handed_over == 1);
    assert_eq!((game.hosts(root), game.oracle.resumed), (vec![T], 0));
}

#[test]
fn row_14_a_late_commit_of_an_aborted_attempt_is_void_for_ever() {
    let (mut game, root) = scene(17);
    game.reserve(S, root, T);
    to_messages(&game, is_commit, Fate::Late(ms(300)));
    game.freeze(S, root);
    game.until(ms(100), |game| game.hosts(root) == [S]);
    let term = game.row(root).term;
    game.run(ms(600));
    assert_eq!(game.hosts(root), [S]);
    assert_eq!(game.row(root).term, term);
    assert_eq!(game.oracle.activated, 0);
    game.settle(ms(500));
}

#[test]
fn row_14_a_commit_that_arrives_at_the_moment_of_the_abort_is_decided_by_the_directory() {
    // Sweeps the arrival over the end of the budget: whatever comes out, one node has it.
    let mut outcomes = [0, 0];
    for late in 0..60 {
        let (mut game, root) = scene(100 + late);
        game.reserve(S, root, T);
        game.mesh.on_message(move |envelope| {
            if is_commit(&envelope) {
                Fate::Late(Duration::from_micros(47_000 + late * 75))
            } else {
                Fate::Normal
            }
        });
        game.freeze(S, root);
        game.run(ms(300));
        game.settle(ms(500));
        outcomes[(game.hosts(root) == [T]) as usize] += 1;
        assert_eq!(game.oracle.resumed + game.oracle.handed_over, 1);
    }
    assert!(
        outcomes[0] > 5 && outcomes[1] > 5,
        "both happen: {outcomes:?}"
    );
}

#[test]
fn row_14_doubled_messages_change_nothing() {
    let (mut game, root) = scene(18);
    game.mesh.on_message(|_| Fate::Twice(ms(7)));
    for round in 0..6 {
        let (from, to) = if round % 2 == 0 { (S, T) } else { (T, S) };
        game.hand_over(root, from, to);
        game.run(ms(50));
    }
    game.settle(ms(500));
    assert_eq!((game.oracle.activated, game.oracle.resumed), (6, 0));
}

#[test]
fn row_15_when_the_reply_to_the_claim_is_lost_both_ask_the_directory() {
    let (mut game, root) = scene(19);
    game.reserve(S, root, T);
    to_operations(&game, T, is_claim, DirectoryFate::AnswerLost, 1);
    game.freeze(S, root);
    game.until(ms(300), |game| game.hosts(root) == [T]);
    assert_eq!((game.oracle.activated, game.oracle.resumed), (1, 0));
    game.settle(ms(500));
    let trace = game.side(T).node.status().traces.pop().unwrap();
    assert!(trace.at(Phase::InDoubt).is_some());
}

#[test]
fn row_15_when_the_call_of_the_claim_is_lost_whoever_asks_first_wins() {
    let (mut game, root) = scene(20);
    game.reserve(S, root, T);
    to_operations(&game, T, is_claim, DirectoryFate::CallLost, 1);
    game.freeze(S, root);
    game.run(ms(400));
    game.settle(ms(500));
    assert_eq!(game.oracle.activated + game.oracle.resumed, 1);
}

#[test]
fn row_15_when_the_reply_to_the_abort_is_lost_the_source_asks_again() {
    let (mut game, root) = scene(21);
    let before = game.reserve(S, root, T).term;
    to_messages(&game, is_commit, Fate::Lost);
    to_operations(&game, S, is_abort, DirectoryFate::AnswerLost, 2);
    game.freeze(S, root);
    game.until(ms(400), |game| game.hosts(root) == [S]);
    let row = game.row(root);
    assert!(row.term > before);
    assert_eq!(
        row.term,
        game.side(S).hosted[&root].term,
        "one abort, however often it was asked"
    );
}

#[test]
fn row_16_without_a_directory_play_goes_on_and_nothing_crosses() {
    let (mut game, root) = scene(22);
    for id in 1..=3 {
        game.mesh.cut_directory(NodeId(id), true);
    }
    let before = game.side(S).hosted[&root].tick;
    game.run(ms(1500));
    assert_eq!(game.hosts(root), [S]);
    assert!(game.side(S).hosted[&root].tick > before);
    assert!(!game.side(S).healthy, "the gate is closed");
    game.prepare(S, root, T);
    game.run(ms(50));
    assert_eq!(game.side(S).rejected, [(root, RejectReason::Directory)]);
    for id in 1..=3 {
        game.mesh.cut_directory(NodeId(id), false);
    }
    game.run(ms(3500));
    assert!(game.side(S).healthy);
    game.hand_over(root, S, T);
    assert_eq!(game.oracle.expelled, 0);
}

#[test]
fn row_16_after_a_long_outage_nobody_is_buried() {
    let (mut game, root) = scene(23);
    for id in 1..=3 {
        game.mesh.cut_directory(NodeId(id), true);
    }
    game.run(ms(8000));
    assert_eq!(game.hosts(root), [], "past the bound nobody can know");
    for id in 1..=3 {
        game.mesh.cut_directory(NodeId(id), false);
    }
    game.run(ms(6000));
    assert_eq!(game.hosts(root), [S]);
    assert_eq!((game.oracle.expelled, game.oracle.reclaimed), (0, 0));
}

#[test]
fn row_17_without_a_directory_after_the_freeze_the_group_waits_for_it() {
    let (mut game, root) = scene(24);
    game.reserve(S, root, T);
    let handover = game.freeze(S, root);
    for id in 1..=3 {
        game.mesh.cut_directory(NodeId(id), true);
    }
    game.run(ms(2000));
    assert_eq!(game.hosts(root), [], "neither acts on a timer");
    assert_eq!(game.side(S).hosted[&root].mode, Mode::Frozen(handover));
    assert!(!game.side(S).healthy, "alarm");
    for id in 1..=3 {
        game.mesh.cut_directory(NodeId(id), false);
    }
    game.until(ms(1000), |game| game.hosts(root).len() == 1);
    game.settle(ms(1000));
}

#[test]
fn row_18_source_and_target_cut_before_the_commit_and_nothing_crosses() {
    let (mut game, root) = scene(25);
    game.mesh.cut(NodeId(S), NodeId(T), true);
    game.prepare(S, root, T);
    game.until(ms(4000), |game| {
        game.side(S).rejected == [(root, RejectReason::Unreachable)]
    });
    assert_eq!(game.hosts(root), [S]);
    game.mesh.cut(NodeId(S), NodeId(T), false);
    game.reserve(S, root, T);
    game.mesh.cut(NodeId(S), NodeId(T), true);
    game.freeze(S, root);
    game.until(ms(100), |game| game.hosts(root) == [S]);
    game.run(ms(13_000));
    assert!(game.side(T).expected.is_empty(), "the reservation ran out");
}

#[test]
fn row_19_source_and_target_cut_after_the_commit_and_the_source_reads_the_directory() {
    let (mut game, root) = scene(26);
    game.reserve(S, root, T);
    to_operations(&game, T, is_claim, DirectoryFate::Late(ms(5)), 1);
    game.freeze(S, root);
    game.run(ms(2));
    game.mesh.cut(NodeId(S), NodeId(T), true);
    game.until(ms(100), |game| game.oracle.handed_over == 1);
    assert_eq!(game.hosts(root), [T]);
    assert_eq!(game.oracle.resumed, 0);
}

#[test]
fn row_20_a_source_without_directory_stops_before_others_take_over() {
    let (mut game, root) = scene(27);
    game.mesh.locks(false);
    game.mesh.cut_directory(NodeId(S), true);
    let stopped = game.until(ms(4000), |game| game.hosts(root).is_empty());
    assert!(stopped <= ms(3000), "{stopped:?}");
    // `frame` asserts on the way that no two nodes ever simulate it.
    let heir = taken_over(&mut game, root, FAILOVER_BY_SILENCE);
    assert_ne!(heir, S);
    game.mesh.cut_directory(NodeId(S), false);
    game.run(ms(3000));
    assert_eq!(game.oracle.expelled, 1);
    assert_eq!(game.hosts(root), [heir]);
    assert!(game.side(S).me.is_some(), "it came back as somebody new");
}

#[test]
fn row_21_a_target_without_directory_cannot_claim() {
    let (mut game, root) = scene(28);
    game.reserve(S, root, T);
    game.mesh.cut_directory(NodeId(T), true);
    game.freeze(S, root);
    game.until(ms(100), |game| game.hosts(root) == [S]);
    assert_eq!(
        source_outcome(&game),
        Outcome::Aborted(AbortReason::Timeout)
    );
    game.run(ms(500));
    game.mesh.cut_directory(NodeId(T), false);
    game.run(ms(500));
    game.settle(ms(500));
    assert_eq!(game.oracle.activated, 0);
    assert_eq!(game.side(T).node.status().counters.void, 1);
}

#[test]
fn row_22_a_source_that_was_paused_past_its_liveness_steps_down() {
    let (mut game, root) = scene(29);
    game.mesh.pause(NodeId(S));
    let heir = taken_over(&mut game, root, FAILOVER_BY_SILENCE);
    assert_ne!(heir, S);
    game.run(ms(1000));
    game.mesh.resume(NodeId(S));
    assert!(
        !game.side(S).node.may_simulate(),
        "known before any event is read"
    );
    game.run(ms(2000));
    assert_eq!(game.oracle.expelled, 1);
    assert_eq!(game.hosts(root), [heir]);
    game.settle(ms(500));
}

#[test]
fn row_22_a_source_paused_in_the_middle_of_a_commit_finds_out_what_holds() {
    for pause in 0..8 {
        let (mut game, root) = scene(200 + pause);
        game.reserve(S, root, T);
        game.freeze(S, root);
        game.run(Duration::from_micros(300 * pause));
        game.mesh.pause(NodeId(S));
        game.run(ms(6000));
        game.mesh.resume(NodeId(S));
        game.run(ms(2000));
        game.settle(ms(1000));
    }
}

#[test]
fn row_23_a_restarted_node_owns_nothing_and_its_old_tickets_are_void() {
    let (mut game, root) = scene(30);
    let old = game.me(S);
    game.side(S).node.knock(PeerId(7));
    game.run(ms(20));
    let answers = game.answers(S);
    let (_, SessionReply::Welcome { token, .. }) = answers.last().unwrap() else {
        panic!("not let in");
    };
    let ticket = Ticket::from_bytes(&<[u8; TICKET_BYTES]>::try_from(&token[..]).unwrap()).unwrap();
    game.restart(S);
    let heir = taken_over(&mut game, root, ms(1500));
    game.run(ms(500));
    let new = game.me(S);
    assert_eq!(new.id, old.id);
    assert!(new.incarnation > old.incarnation);
    assert_eq!(game.side(S).node.redeem(&ticket), Err(TicketRefusal::Node));
    assert_eq!(game.hosts(root), [heir]);
    assert_eq!(game.oracle.reclaimed, 1);
}

#[test]
fn row_23_a_second_process_under_a_living_number_does_not_get_in() {
    let (mut game, root) = scene(31);
    let me = game.me(S);
    // A rival with another life but the same number joins through the same directory.
    let mut rival = game.mesh.directory();
    let join = seamless_mesh::directory::Join {
        id: NodeId(S),
        life: 999,
        addresses: seamless_mesh::directory::Addresses {
            udp: ([127, 0, 0, 1], 1).into(),
            http: ([127, 0, 0, 1], 1).into(),
            session: ([127, 0, 0, 1], 1).into(),
        },
        boot: 1,
        clock: ms(0),
        secret: [1; 32],
    };
    let refused = seamless_mesh::directory::Directory::join(&mut rival, &join);
    assert!(refused.unwrap_err().to_string().contains("already"));
    game.run(ms(5000));
    assert_eq!((game.me(S), game.hosts(root)), (me, vec![S]));
}

#[test]
fn row_24_the_handover_goes_on_without_the_client_and_its_login_finds_the_owner() {
    let (mut game, root) = scene(32);
    game.side_mut(T).attach = false;
    game.reserve(S, root, T);
    game.freeze(S, root);
    game.until(ms(100), |game| game.hosts(root) == [T]);
    game.run(ms(50));
    assert_eq!(game.answers(S).len(), 1, "that was the first login");
    for door in 1..=3 {
        game.side(door).node.knock(PeerId(7));
        game.run(ms(20));
        let answers = game.answers(door);
        let [(PeerId(7), SessionReply::Welcome { node, root: r, .. })] = &answers[..] else {
            panic!("door {door}: {answers:?}");
        };
        assert_eq!((node.id, *r), (NodeId(T), root));
    }
    let rows = game.mesh.directory().rows();
    assert_eq!(rows.iter().filter(|row| row.player.is_some()).count(), 1);
}

#[test]
fn row_25_an_attached_client_is_enough() {
    let (mut game, root) = scene(33);
    let handover = game.reserve(S, root, T);
    // Said by the source's game side, which heard it from the client before the link broke.
    game.send(S, MeshCommand::ClientAttached { handover });
    game.freeze(S, root);
    game.until(ms(100), |game| game.hosts(root) == [T]);
}

#[test]
fn row_27_a_spectators_ticket_works_once_and_ends_with_its_handover() {
    let (mut game, root) = scene(34);
    game.side_mut(T).attach = false;
    let seen: Arc<std::sync::Mutex<Vec<Vec<u8>>>> = Arc::default();
    let tokens = Arc::clone(&seen);
    game.mesh.on_message(move |envelope| {
        if let Payload::Reply(PeerReply::Prepare(seamless_wire::mesh::PrepareReply::Reserved {
            token,
            ..
        })) = envelope.payload
            && !token.is_empty()
        {
            tokens.lock().unwrap().push(token.clone());
        }
        Fate::Normal
    });
    let ticket = |game: &mut Game| {
        game.reserve(S, root, T);
        let token = seen.lock().unwrap().pop().unwrap();
        Ticket::from_bytes(&token.try_into().unwrap()).unwrap()
    };
    let first = ticket(&mut game);
    assert_eq!(first.player, PeerId(7));
    assert!(game.side(T).node.redeem(&first).is_ok());
    assert_eq!(game.side(T).node.redeem(&first), Err(TicketRefusal::Used));
    assert_eq!(game.side(3).node.redeem(&first), Err(TicketRefusal::Node));
    game.send(S, MeshCommand::Cancel { root });
    game.side_mut(S).reserved.clear();
    game.run(ms(50));
    let second = ticket(&mut game);
    game.send(S, MeshCommand::Cancel { root });
    game.run(ms(50));
    assert_eq!(game.side(T).node.redeem(&second), Err(TicketRefusal::Void));
}

#[test]
fn row_28_clocks_that_differ_by_hours_change_nothing() {
    let mut game = Game::new(35);
    for (id, hours) in [(1, 0), (2, 1), (3, 30)] {
        let mut config = SimConfig::new(id);
        config.clock = Duration::from_secs(3600 * hours);
        config.drift_ppm = 5000;
        game.add(config);
    }
    game.run(ms(300));
    let root = game.login(S, 7);
    game.hand_over(root, S, T);
    game.hand_over(root, T, 3);
    game.checkpoint(3);
    game.run(ms(5000));
    game.crash(3);
    taken_over(&mut game, root, FAILOVER);
}

#[test]
fn row_29_from_a_to_b_to_c_within_a_second() {
    let (mut game, root) = scene(36);
    let start = game.now();
    game.hand_over(root, 1, 2);
    game.hand_over(root, 2, 3);
    game.hand_over(root, 3, 1);
    game.hand_over(root, 1, 3);
    assert!(game.now() - start < ms(1000));
    game.settle(ms(500));
    assert_eq!(game.oracle.activated, 4);
}

#[test]
fn row_29_back_before_the_source_knows_is_put_off() {
    let (mut game, root) = scene(37);
    game.reserve(S, root, T);
    // The source hears nothing for a while: neither of the confirmation nor of its abort.
    game.mesh.on_message(|envelope| {
        let reply = matches!(envelope.payload, Payload::Reply(PeerReply::Commit(_)));
        if reply { Fate::Lost } else { Fate::Normal }
    });
    game.mesh.on_directory(|node, _| {
        if node == NodeId(S) {
            DirectoryFate::Late(ms(40))
        } else {
            DirectoryFate::Normal
        }
    });
    game.freeze(S, root);
    game.until(ms(50), |game| game.hosts(root) == [T]);
    game.prepare(T, root, S);
    game.until(ms(200), |game| {
        game.side(T)
            .rejected
            .contains(&(root, RejectReason::Superseded))
    });
    game.mesh.no_filters();
    game.until(ms(500), |game| game.oracle.handed_over == 1);
    game.run(ms(300));
    game.hand_over(root, T, S);
}

#[test]
fn row_30_where_four_cells_meet_there_is_one_attempt_at_a_time() {
    let mut game = Game::nodes(38, 4);
    let root = game.login(S, 7);
    for cell in [2, 3, 4, 2, 4, 3] {
        game.side_mut(S).reserved.clear();
        game.reserve(S, root, cell);
        assert_eq!(game.side(S).node.status().busy.sources, 1);
    }
    game.run(ms(50));
    let expected = |id| game.side(id).expected.len();
    assert_eq!(
        [2, 3, 4].map(expected),
        [0, 1, 0],
        "the others were called off"
    );
    game.freeze(S, root);
    game.until(ms(100), |game| game.hosts(root) == [3]);
}

#[test]
fn row_31_a_member_that_joins_after_prepare_renews_the_reservation() {
    let (mut game, root) = scene(39);
    let first = game.reserve(S, root, T);
    game.toggle(S, root);
    game.side_mut(S).reserved.clear();
    let second = game.reserve(S, root, T);
    assert_eq!(first, second, "the same attempt under another manifest");
    game.freeze(S, root);
    game.until(ms(100), |game| game.hosts(root) == [T]);
    assert_eq!(game.side(T).hosted[&root].members.len(), 1);
    assert_eq!(game.oracle.resumed, 0);
}

#[test]
fn row_31_a_checkpoint_with_another_member_renews_it_too() {
    let (mut game, root) = scene(40);
    game.reserve(S, root, T);
    game.toggle(S, root);
    game.checkpoint(S);
    game.run(ms(100));
    game.freeze(S, root);
    game.until(ms(100), |game| game.hosts(root) == [T]);
    assert_eq!(game.side(T).hosted[&root].members.len(), 1);
}

#[test]
fn row_31_a_claim_with_another_manifest_fails_and_the_group_resumes() {
    let (mut game, root) = scene(41);
    game.reserve(S, root, T);
    game.toggle(S, root);
    // The game freezes without having prepared again: the state has a member too many.
    game.freeze(S, root);
    game.until(ms(100), |game| game.hosts(root) == [S]);
    assert_eq!(
        source_outcome(&game),
        Outcome::Aborted(AbortReason::Refused)
    );
    assert_eq!(game.side(S).hosted[&root].members.len(), 1);
    game.side_mut(S).reserved.clear();
    game.hand_over(root, S, T);
}

#[test]
fn row_32_another_schema_is_refused_before_any_freeze() {
    let mut game = Game::new(42);
    game.add(SimConfig::new(1));
    let mut other = SimConfig::new(2);
    other.schema = 99;
    game.add(other);
    game.run(ms(300));
    let root = game.login(S, 7);
    game.prepare(S, root, T);
    game.until(ms(200), |game| {
        game.side(S).rejected == [(root, RejectReason::Schema)]
    });
    assert_eq!(game.hosts(root), [S]);
}

#[test]
fn row_33_a_full_target_refuses_and_takes_again_when_there_is_room() {
    let mut game = Game::new(43);
    game.add(SimConfig::new(1));
    let mut small = SimConfig::new(2);
    small.capacity = 3;
    game.add(small);
    game.run(ms(300));
    let (one, two) = (game.login(S, 7), game.login(S, 8));
    let load = |players| {
        MeshCommand::Load(Load {
            players,
            tick_us: 0,
        })
    };
    game.send(T, load(2));
    game.reserve(S, one, T);
    game.prepare(S, two, T);
    game.until(ms(200), |game| {
        game.side(S).rejected == [(two, RejectReason::Full)]
    });
    game.send(T, load(1));
    game.reserve(S, two, T);
}

#[test]
fn row_35_a_failed_transaction_changes_nothing_and_is_repeated() {
    let (mut game, root) = scene(44);
    to_operations(
        &game,
        S,
        |op| matches!(op, DirectoryOp::Checkpoint { .. }),
        DirectoryFate::Unavailable,
        3,
    );
    let before = game.row(root).tick;
    game.run(ms(100));
    game.checkpoint(S);
    game.run(ms(30));
    assert_eq!(game.row(root).tick, before);
    game.run(ms(400));
    assert!(
        game.row(root).tick > before,
        "the latest state was kept and stored"
    );
    to_operations(&game, T, is_claim, DirectoryFate::Unavailable, 1000);
    game.run(ms(1200));
    game.side_mut(S).reserved.clear();
    game.reserve(S, root, T);
    game.freeze(S, root);
    game.until(ms(100), |game| game.hosts(root) == [S]);
    game.settle(ms(500));
}

#[test]
fn an_undecodable_state_is_refused_before_the_claim() {
    let (mut game, root) = scene(45);
    let handover = game.reserve(S, root, T);
    let hosted = game.side_mut(S).hosted.get_mut(&root).unwrap();
    hosted.mode = Mode::Frozen(handover);
    let commit = MeshCommand::Commit {
        handover,
        tick: Tick(5),
        last_input: InputSeq(1),
        state: vec![1, 2, 3],
        queue: Vec::new(),
    };
    game.send(S, commit);
    game.until(ms(100), |game| game.hosts(root) == [S]);
    assert_eq!(
        source_outcome(&game),
        Outcome::Aborted(AbortReason::Refused)
    );
    assert_eq!(game.side(T).node.status().counters.claimed, 0);
}

#[test]
fn a_void_answer_does_not_wait_for_the_budget() {
    let (mut game, root) = scene(46);
    game.reserve(S, root, T);
    let cell = MeshCommand::MoveCell {
        cell: CellId(T),
        to: game.me(3),
    };
    // The target gives its cell away in the last moment: its claim fails.
    game.send(T, cell);
    game.freeze(S, root);
    let took = game.until(ms(100), |game| game.hosts(root) == [S]);
    assert!(took < ms(10), "frozen for {took:?}");
    assert_eq!(source_outcome(&game), Outcome::Aborted(AbortReason::Void));
}

#[test]
fn a_confirmation_alone_moves_nothing() {
    // A target that lies (or speaks of another life) cannot make the source let go.
    let (mut game, root) = scene(47);
    game.reserve(S, root, T);
    to_operations(&game, T, is_claim, DirectoryFate::CallLost, 1000);
    game.freeze(S, root);
    game.mesh.on_message(|envelope| {
        if let Payload::Reply(PeerReply::Commit(reply)) = envelope.payload {
            assert!(!matches!(reply, CommitReply::Confirmed(_)));
        }
        Fate::Normal
    });
    game.until(ms(400), |game| game.hosts(root) == [S]);
}
