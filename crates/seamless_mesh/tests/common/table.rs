//! The scene of the crash table: node 1 is the source, node 2 the target, node 3 a bystander;
//! node i owns cell i. Virtual time with the real intervals.

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use seamless_mesh::{
    directory::DirectoryOp,
    link::MeshLink,
    protocol::{Outcome, PeerMessage, PeerReply, Role},
    sim::{DirectoryFate, Envelope, Fate, Payload},
};
use seamless_wire::{GlobalEntity, NodeId};

use super::{Game, ms};

pub const S: u32 = 1;
pub const T: u32 = 2;

/// Longest time without an owner after a kill, with locks.
pub const FAILOVER: Duration = ms(300);
/// The same when only silence tells.
pub const FAILOVER_BY_SILENCE: Duration = ms(5000);

/// Three nodes and a player on the first, stored once.
pub fn scene(seed: u64) -> (Game, GlobalEntity) {
    let mut game = Game::nodes(seed, 3);
    let root = game.login(S, 7);
    game.run(ms(100));
    game.checkpoint(S);
    game.run(ms(100));
    (game, root)
}

pub fn is_commit(envelope: &Envelope<'_>) -> bool {
    matches!(envelope.payload, Payload::Request(PeerMessage::Commit(_)))
}

pub fn is_prepare(envelope: &Envelope<'_>) -> bool {
    matches!(
        envelope.payload,
        Payload::Request(PeerMessage::Prepare(_)) | Payload::Reply(PeerReply::Prepare(_))
    )
}

/// Does this to messages of that kind, and nothing to others.
pub fn to_messages(game: &Game, kind: fn(&Envelope<'_>) -> bool, fate: Fate) {
    game.mesh
        .on_message(move |envelope| if kind(&envelope) { fate } else { Fate::Normal });
}

/// Does this to a node's operations of that kind, so many times.
pub fn to_operations(
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

pub const fn is_claim(op: &DirectoryOp) -> bool {
    matches!(op, DirectoryOp::Claim { .. })
}

pub const fn is_abort(op: &DirectoryOp) -> bool {
    matches!(op, DirectoryOp::Abort { .. })
}

/// Somebody alive has the root again, soon enough, and only one.
#[track_caller]
pub fn taken_over(game: &mut Game, root: GlobalEntity, within: Duration) -> u32 {
    game.until(within, |game| !game.hosts(root).is_empty());
    game.settle(ms(2000));
    let hosts = game.hosts(root);
    assert_eq!(hosts.len(), 1);
    hosts[0]
}

#[track_caller]
pub fn source_outcome(game: &Game) -> Outcome {
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
