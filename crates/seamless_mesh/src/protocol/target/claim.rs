//! The frozen group is here: decode it, claim it, or let it be void.

use std::{collections::BTreeSet, sync::Arc};

use seamless_wire::{
    GlobalEntity, HandoverId, Term,
    mesh::{Commit, CommitRefusal, CommitReply, HandoverStatus},
    snapshot::WorldSnapshot,
};

use super::{State, WAITING};
use crate::{
    directory::{self, Claim, DirectoryAnswer, DirectoryError, DirectoryOp},
    protocol::{
        MeshEvent, NodeCore, Outcome, PeerReply, Phase, ResponseToken, Staged,
        base::{OpFor, Retry, StageFor},
    },
};

/// The rows of a COMMIT as the directory stores them, one snapshot each.
fn rows_of(commit: &Commit) -> Option<Vec<(GlobalEntity, Vec<u8>)>> {
    let snapshot = WorldSnapshot::from_bytes(&commit.state).ok()?;
    let named: BTreeSet<GlobalEntity> = commit.manifest.members.iter().copied().collect();
    let found: BTreeSet<GlobalEntity> = snapshot.rows.iter().map(|row| row.entity).collect();
    let exact = named == found
        && named.len() == commit.manifest.members.len()
        && found.len() == snapshot.rows.len()
        && snapshot.tick == commit.tick;
    exact.then(|| split(snapshot)).flatten()
}

/// A snapshot as one snapshot a row. `None` if a row is too large to be written.
pub(in crate::protocol) fn split(snapshot: WorldSnapshot) -> Option<Vec<(GlobalEntity, Vec<u8>)>> {
    let (tick, schema) = (snapshot.tick, snapshot.schema);
    let one = |row: seamless_wire::snapshot::SnapshotRow| {
        let entity = row.entity;
        let rows = vec![row];
        let bytes = WorldSnapshot { tick, schema, rows }.to_bytes().ok()?;
        Some((entity, bytes))
    };
    snapshot.rows.into_iter().map(one).collect()
}

impl NodeCore {
    pub(in crate::protocol) fn on_commit(&mut self, token: ResponseToken, commit: Arc<Commit>) {
        let (root, now) = (commit.handover.root, self.base.now);
        let refuse = |refusal| PeerReply::Commit(CommitReply::Refused(refusal));
        if self.base.me != Some(commit.to) {
            self.base.respond(token, refuse(CommitRefusal::Incarnation));
            return;
        }
        match self.targets.ended.get(&commit.handover) {
            Some((HandoverStatus::Claimed(term), _)) => {
                let reply = CommitReply::Confirmed(*term);
                self.base.respond(token, PeerReply::Commit(reply));
                return;
            }
            Some(_) => {
                self.base
                    .respond(token, PeerReply::Commit(CommitReply::Void));
                return;
            }
            None => {}
        }
        let incoming = self.targets.incoming.get_mut(&root);
        let Some(incoming) = incoming.filter(|incoming| incoming.handover == commit.handover)
        else {
            self.base.respond(token, refuse(CommitRefusal::NotReserved));
            return;
        };
        if incoming.committed() {
            if incoming.waiting.len() < WAITING {
                incoming.waiting.push(token);
            } else {
                self.base
                    .respond(token, PeerReply::Commit(CommitReply::InDoubt));
            }
            return;
        }
        incoming.trace.mark(Phase::Committed, now);
        incoming.waiting.push(token);
        if *blake3::hash(&commit.state).as_bytes() != commit.digest {
            self.void(root, CommitReply::Refused(CommitRefusal::Digest));
            return;
        }
        let Some(rows) = rows_of(&commit) else {
            self.void(root, CommitReply::Refused(CommitRefusal::Undecodable));
            return;
        };
        let state = commit.state.clone();
        let handover = commit.handover;
        if let Some(incoming) = self.targets.incoming.get_mut(&root) {
            incoming.manifest = commit.manifest.clone();
            incoming.state = State::Staging { commit, rows };
        }
        self.base.stage(StageFor::Incoming(handover), state);
    }

    pub(in crate::protocol) fn on_incoming_staged(
        &mut self,
        handover: HandoverId,
        result: Result<Staged, String>,
    ) {
        let (root, now) = (handover.root, self.base.now);
        let op = self.base.op_id();
        let Some(incoming) = self.targets.incoming.get_mut(&root) else {
            return;
        };
        let State::Staging { commit, rows } = &mut incoming.state else {
            return;
        };
        let Ok(staged) = result else {
            self.void(root, CommitReply::Refused(CommitRefusal::Undecodable));
            return;
        };
        incoming.trace.mark(Phase::Staged, now);
        let claim = Claim {
            root,
            from: commit.from,
            term: handover.term,
            manifest: commit.manifest.version,
            cell: commit.cell,
            tick: commit.tick,
            last_input: commit.last_input,
            rows: std::mem::take(rows),
        };
        incoming.state = State::Claiming {
            commit: Arc::clone(commit),
            claim: Box::new(claim),
            staged,
            op,
            retry: Retry::default(),
        };
        self.send_claim(root);
    }

    pub(super) fn send_claim(&mut self, root: GlobalEntity) {
        let (Some(node), Some(incoming)) = (self.base.me, self.targets.incoming.get_mut(&root))
        else {
            return;
        };
        let handover = incoming.handover;
        if let State::Claiming {
            claim, op, retry, ..
        } = &mut incoming.state
        {
            retry.due = None;
            let (op, claim) = (*op, claim.clone());
            self.base.ask(
                OpFor::Claim(handover),
                DirectoryOp::Claim { node, op, claim },
            );
        }
    }

    pub(in crate::protocol) fn on_claimed(
        &mut self,
        handover: HandoverId,
        result: directory::Result<DirectoryAnswer>,
    ) {
        let (root, now) = (handover.root, self.base.now);
        let Some(incoming) = self.targets.incoming.get_mut(&root) else {
            return;
        };
        if incoming.handover != handover {
            return;
        }
        let State::Claiming { retry, .. } = &mut incoming.state else {
            return;
        };
        match result {
            Ok(DirectoryAnswer::Term(term)) => self.activate(root, term),
            Err(DirectoryError::Refused(_)) => self.void(root, CommitReply::Void),
            _ => {
                self.base.later(retry);
                incoming.trace.mark(Phase::InDoubt, now);
                // The source reads the directory itself; it need not wait for us.
                let waiting = std::mem::take(&mut incoming.waiting);
                for token in waiting {
                    self.base
                        .respond(token, PeerReply::Commit(CommitReply::InDoubt));
                }
            }
        }
    }

    fn activate(&mut self, root: GlobalEntity, term: Term) {
        let now = self.base.now;
        let Some(mut incoming) = self.targets.incoming.remove(&root) else {
            return;
        };
        let State::Claiming { commit, staged, .. } = incoming.state else {
            return;
        };
        self.base.counters.claimed += 1;
        let status = HandoverStatus::Claimed(term);
        self.targets
            .remember(incoming.handover, status, incoming.from);
        let commit = Arc::try_unwrap(commit).unwrap_or_else(|commit| (*commit).clone());
        self.base.event(MeshEvent::Activate {
            handover: incoming.handover,
            term,
            manifest: commit.manifest,
            cell: commit.cell,
            tick: commit.tick,
            last_input: commit.last_input,
            staged,
            queue: commit.queue,
            claimed_at: now,
        });
        for token in incoming.waiting {
            let reply = CommitReply::Confirmed(term);
            self.base.respond(token, PeerReply::Commit(reply));
        }
        incoming.trace.mark(Phase::Claimed, now);
        self.base.finish(incoming.trace, Outcome::HandedOver(term));
        self.answer_dead_queries();
    }

    /// The COMMIT is void for ever: it did not fit, or the directory's rows had moved on.
    pub(super) fn void(&mut self, root: GlobalEntity, reply: CommitReply) {
        let Some(incoming) = self.targets.incoming.get_mut(&root) else {
            return;
        };
        let (handover, from) = (incoming.handover, incoming.from);
        for token in std::mem::take(&mut incoming.waiting) {
            self.base.respond(token, PeerReply::Commit(reply.clone()));
        }
        self.base.counters.void += 1;
        self.targets.remember(handover, HandoverStatus::Void, from);
        let outcome = match reply {
            CommitReply::Refused(_) => Outcome::NotSent,
            _ => Outcome::Gone,
        };
        self.unexpect(root, outcome);
        self.answer_dead_queries();
    }
}
