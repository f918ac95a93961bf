//! Room for a group, and for its client to look in first.

use seamless_wire::{
    GlobalEntity, HandoverId,
    mesh::{HandoverStatus, Prepare, PrepareReply, RejectReason, Release},
    ticket::Purpose,
};

use super::{AGAIN_MS, Incoming, SOON_MS, State};
use crate::protocol::{
    HandoverTrace, MeshEvent, NodeCore, Outcome, PeerReply, Phase, ResponseToken, Role,
};

impl NodeCore {
    pub(in crate::protocol) fn on_prepare(&mut self, token: ResponseToken, prepare: Prepare) {
        match self.reserve(&prepare) {
            Ok(()) => self.respond_reserved(token, &prepare),
            Err((reason, retry_after_ms)) => {
                let reply = PrepareReply::Rejected {
                    reason,
                    retry_after_ms,
                };
                self.base.respond(token, PeerReply::Prepare(reply));
            }
        }
    }

    fn reserve(&mut self, prepare: &Prepare) -> Result<(), (RejectReason, u32)> {
        let (root, now) = (prepare.handover.root, self.base.now);
        if self.base.me != Some(prepare.to) {
            return Err((RejectReason::Incarnation, AGAIN_MS));
        }
        if self.base.fenced {
            return Err((RejectReason::Directory, AGAIN_MS));
        }
        if prepare.schema != self.base.config.schema {
            return Err((RejectReason::Schema, 10 * AGAIN_MS));
        }
        if self.base.leaving {
            return Err((RejectReason::Draining, AGAIN_MS));
        }
        let owner = self
            .base
            .view
            .cells
            .get(&prepare.cell)
            .map(|cell| cell.owner);
        if owner != self.base.me {
            return Err((RejectReason::NotOwner, SOON_MS));
        }
        // Our own attempt with this root is not over: it is not decided whose the root is.
        if self.sources.holds(root) || self.targets.ended.contains_key(&prepare.handover) {
            return Err((RejectReason::Superseded, SOON_MS));
        }
        let until = now + self.base.config.timing.reservation;
        if let Some(incoming) = self.targets.incoming.get_mut(&root) {
            let (old, new) = (incoming.handover, prepare.handover);
            if incoming.committed() || (new.term, new.attempt) < (old.term, old.attempt) {
                return Err((RejectReason::Superseded, SOON_MS));
            }
            if old == new {
                incoming.state = State::Reserved { until };
                if prepare.manifest.version > incoming.manifest.version {
                    incoming.manifest = prepare.manifest.clone();
                    self.expect(prepare);
                }
                return Ok(());
            }
            self.unexpect(root, Outcome::Cancelled);
        }
        if prepare.manifest.player.is_some() && self.is_full(0) {
            return Err((RejectReason::Full, AGAIN_MS));
        }
        let mut trace = HandoverTrace::new(prepare.handover, Role::Target, prepare.from);
        trace.mark(Phase::Prepared, now);
        trace.mark(Phase::Reserved, now);
        self.targets.incoming.insert(
            root,
            Incoming {
                handover: prepare.handover,
                from: prepare.from,
                manifest: prepare.manifest.clone(),
                attached: false,
                state: State::Reserved { until },
                waiting: Vec::new(),
                trace,
            },
        );
        self.expect(prepare);
        Ok(())
    }

    /// Whether there is no room for one more player, with those that the game counts, those that
    /// have a reservation, and `coming`.
    pub(in crate::protocol) fn is_full(&self, coming: u32) -> bool {
        let players = |incoming: &&Incoming| incoming.manifest.player.is_some();
        let reserved = self.targets.incoming.values().filter(players).count() as u32;
        let here = self.base.load.players.saturating_add(reserved);
        here.saturating_add(coming) >= self.base.config.capacity
    }

    fn expect(&mut self, prepare: &Prepare) {
        self.base.event(MeshEvent::Expect {
            handover: prepare.handover,
            manifest: prepare.manifest.clone(),
            viewpoint: prepare.viewpoint,
            from: prepare.from,
        });
    }

    fn respond_reserved(&mut self, token: ResponseToken, prepare: &Prepare) {
        let incoming = self.targets.incoming.get(&prepare.handover.root);
        let attached = incoming.is_some_and(|incoming| incoming.attached);
        let reply = PeerReply::Prepare(PrepareReply::Reserved {
            address: self.base.config.addresses.udp,
            token: Vec::new(),
            attached,
        });
        let player = prepare
            .manifest
            .player
            .filter(|_| prepare.token && !attached);
        let Some(player) = player else {
            self.base.respond(token, reply);
            return;
        };
        let handover = prepare.handover;
        match self.base.ticket(player, Purpose::Spectate { handover }) {
            Some(ticket) => self.base.respond_with(token, reply, ticket),
            None => {
                let reply = PrepareReply::Rejected {
                    reason: RejectReason::Full,
                    retry_after_ms: AGAIN_MS,
                };
                self.base.respond(token, PeerReply::Prepare(reply));
            }
        }
    }

    pub(in crate::protocol) fn target_attached(&mut self, handover: HandoverId) {
        let now = self.base.now;
        if let Some(incoming) = self.targets.incoming.get_mut(&handover.root)
            && incoming.handover == handover
        {
            incoming.attached = true;
            incoming.trace.mark(Phase::Attached, now);
        }
    }

    pub(in crate::protocol) fn target_detached(&mut self, handover: HandoverId) {
        if let Some(incoming) = self.targets.incoming.get_mut(&handover.root)
            && incoming.handover == handover
            && !incoming.committed()
        {
            incoming.attached = false;
        }
    }

    pub(in crate::protocol) fn on_release(&mut self, release: Release) {
        let handover = release.handover;
        let incoming = self.targets.incoming.get(&handover.root);
        let incoming = incoming.filter(|incoming| incoming.handover == handover);
        let (here, committed) = (
            incoming.is_some(),
            incoming.is_some_and(Incoming::committed),
        );
        // A COMMIT that is here is decided by the directory.
        if committed || self.targets.ended.contains_key(&handover) {
            return;
        }
        // A PREPARE that comes late finds it ended.
        self.targets
            .remember(handover, HandoverStatus::Void, release.from);
        if here {
            self.unexpect(handover.root, Outcome::Cancelled);
        }
    }

    /// Ends a reservation.
    pub(super) fn unexpect(&mut self, root: GlobalEntity, outcome: Outcome) {
        if let Some(incoming) = self.targets.incoming.remove(&root) {
            self.base.desk.void_handover(incoming.handover);
            self.base.event(MeshEvent::Unexpect {
                handover: incoming.handover,
            });
            self.base.finish(incoming.trace, outcome);
        }
    }
}
