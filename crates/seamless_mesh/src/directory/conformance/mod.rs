//! What every directory backend must pass.
//!
//! [`directory_conformance!`](crate::directory_conformance) makes one test of each function here.
//! A backend gives a function that makes a fresh, empty directory and returns how to open further
//! handles of it; handles are used from several threads at once.

mod groups;
mod handover;
mod nodes;
mod rows;

pub use groups::*;
pub use handover::*;
pub use nodes::*;
pub use rows::*;

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
            a_block_tells_the_names_that_have_rows,
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
