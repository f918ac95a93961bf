//! Messages between nodes on their way there and back.

use std::time::Duration;

use seamless_wire::{
    NodeId,
    mesh::{PrepareReply, SessionReply},
    ticket::Ticket,
};

use super::{Asker, Event, Life, World};
use crate::{
    protocol::{PeerError, PeerMessage, PeerReply, ResponseToken, SendToken},
    sim::{Envelope, Fate, Payload},
};

impl World {
    pub(super) fn request(
        &mut self,
        node: NodeId,
        life: Life,
        to: NodeId,
        message: PeerMessage,
        token: SendToken,
        within: Duration,
    ) {
        let Some(alive) = self.alive_mut(node, life) else {
            return;
        };
        alive.open.insert(token);
        // Without a name of our own nobody listens to us.
        let from = alive.core.me();
        let late = self.now + within;
        let timeout = Err(PeerError::Timeout);
        self.at(
            late,
            Event::Reply {
                to: node,
                life,
                token,
                result: timeout,
            },
        );
        let Some(from) = from else {
            return;
        };
        let payload = Payload::Request(&message);
        let (arrivals, dies) = self.travel(node, to, payload);
        for when in arrivals {
            let event = Event::Request {
                to,
                from,
                asker: (node, life),
                token,
                message: message.clone(),
            };
            self.at(when, event);
        }
        if let Some(dies) = dies {
            self.crash(dies);
        }
    }

    pub(super) fn respond(
        &mut self,
        node: NodeId,
        life: Life,
        token: ResponseToken,
        mut reply: PeerReply,
        ticket: Option<Ticket>,
    ) {
        if let Some(ticket) = ticket {
            let minted = self
                .processes
                .get(&node)
                .map(|process| (process.config.mint)(&ticket));
            match (&mut reply, minted) {
                (PeerReply::Prepare(PrepareReply::Reserved { token, .. }), Some(Ok(sealed)))
                | (PeerReply::Session(SessionReply::Welcome { token, .. }), Some(Ok(sealed))) => {
                    *token = sealed;
                }
                _ => {}
            }
        }
        let asker = self
            .alive_mut(node, life)
            .and_then(|alive| alive.asked.remove(&token));
        match asker {
            Some(Asker::Client(player)) => {
                if let (Some(process), PeerReply::Session(reply)) =
                    (self.processes.get_mut(&node), reply)
                {
                    process.answers.push((player, reply));
                }
            }
            Some(Asker::Node(to, their, token)) => {
                let (arrivals, dies) = self.travel(node, to, Payload::Reply(&reply));
                for when in arrivals {
                    let result = Ok(reply.clone());
                    self.at(
                        when,
                        Event::Reply {
                            to,
                            life: their,
                            token,
                            result,
                        },
                    );
                }
                if let Some(dies) = dies {
                    self.crash(dies);
                }
            }
            None => {}
        }
    }

    /// When a message arrives, as often as it does, and who dies of it.
    fn travel(
        &mut self,
        from: NodeId,
        to: NodeId,
        payload: Payload<'_>,
    ) -> (Vec<Duration>, Option<NodeId>) {
        let fate = match &mut self.message_filter {
            Some(filter) => filter(Envelope { from, to, payload }),
            None => Fate::Normal,
        };
        let latency = self.network.latency.clone();
        let there = self.now + self.rng.time(&latency);
        if self.cuts.contains(&(from, to)) {
            return (Vec::new(), None);
        }
        match fate {
            Fate::Lost => (Vec::new(), None),
            Fate::Late(late) => (vec![there + late], None),
            Fate::Twice(later) => (vec![there, there + later], None),
            Fate::SenderDies => (vec![there], Some(from)),
            Fate::ReceiverDies => (Vec::new(), Some(to)),
            Fate::Normal if self.rng.per_mille(self.network.loss) => (Vec::new(), None),
            Fate::Normal if self.rng.per_mille(self.network.duplicate) => {
                let again = there + self.rng.time(&(latency.start..latency.end * 10));
                (vec![there, again], None)
            }
            Fate::Normal => (vec![there], None),
        }
    }
}
