//! Players at the door.
//!
//! A player has one row or none. None: the owner of the cell where players begin makes it, under
//! the directory's promise that no two rows have one player. One: its owner lets the player in;
//! whoever was asked passes the question on, once. An owner that is dead, or a row that is just
//! moving: come again later. No row is ever made for a player who has one.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use seamless_wire::{
    CellId, GlobalEntity, NodeRef, PeerId, RequestId, Term,
    mesh::{SessionReply, SessionRequest},
    ticket::Purpose,
};

use super::{
    MeshEvent, NodeCore, PeerError, PeerMessage, PeerReply, ResponseToken,
    base::{OpFor, SendFor},
};
use crate::directory::{
    self, Create, DirectoryAnswer, DirectoryError, DirectoryOp, EntityRecord, OpId, Refusal,
};

/// Players who wait at the door at one time.
const MAX_WAITING: usize = 1024;

/// When to come again after something that takes milliseconds.
const SOON_MS: u32 = 100;
/// When to come again after something that takes until a death is noticed.
const LATER_MS: u32 = 500;

/// When to come again to a node that is full.
const FULL_MS: u32 = 2000;

#[derive(Debug)]
enum State {
    /// The directory looks for the row.
    Finding,
    /// The directory makes it.
    Making { root: GlobalEntity, cell: CellId },
    /// The game puts the player into the world.
    Entering,
    /// Another node was asked.
    PassedOn,
}

#[derive(Debug)]
struct Session {
    token: ResponseToken,
    player: PeerId,
    /// A node passed it on to us: we decide or say no.
    passed: bool,
    until: Duration,
    state: State,
}

/// A row that was made and is not in the world yet.
#[derive(Debug)]
struct Entering {
    request: RequestId,
    term: Term,
    waiting: Vec<u64>,
}

#[derive(Debug, Default)]
pub(super) struct Sessions {
    sessions: BTreeMap<u64, Session>,
    entering: BTreeMap<GlobalEntity, Entering>,
    /// Rows that were asked for and that the game does not have in the world (yet).
    limbo: BTreeSet<GlobalEntity>,
    requests: u32,
}

impl Sessions {
    /// There is no such row, for certain.
    pub(super) fn retired(&mut self, root: GlobalEntity) {
        self.limbo.remove(&root);
    }

    /// Players whose row is being made.
    fn making(&self) -> usize {
        let making = |session: &&Session| matches!(session.state, State::Making { .. });
        self.sessions.values().filter(making).count()
    }

    pub(super) fn next(&self) -> Option<Duration> {
        self.sessions.values().map(|session| session.until).min()
    }
}

impl NodeCore {
    pub(super) fn on_session(&mut self, token: ResponseToken, player: PeerId, passed: bool) {
        let ready = self.base.active().is_some() && !self.base.leaving;
        if !ready || self.sessions.sessions.len() >= MAX_WAITING {
            self.come_again(token, LATER_MS);
            return;
        }
        let serial = self.base.serial();
        let until = self.base.now + self.base.config.timing.session_within;
        let session = Session {
            token,
            player,
            passed,
            until,
            state: State::Finding,
        };
        self.sessions.sessions.insert(serial, session);
        self.base.ask(
            OpFor::FindPlayer(serial),
            DirectoryOp::FindPlayer { player },
        );
    }

    fn come_again(&mut self, token: ResponseToken, after_ms: u32) {
        self.base.counters.session_retries += 1;
        let reply = PeerReply::Session(SessionReply::Retry { after_ms });
        self.base.respond(token, reply);
    }

    fn retry(&mut self, serial: u64, after_ms: u32) {
        if let Some(session) = self.sessions.sessions.remove(&serial) {
            self.come_again(session.token, after_ms);
        }
    }

    pub(super) fn on_player_found(
        &mut self,
        serial: u64,
        result: directory::Result<DirectoryAnswer>,
    ) {
        match result {
            Ok(DirectoryAnswer::Row(Some(row))) => self.with_row(serial, &row),
            Ok(DirectoryAnswer::Row(None)) => self.without_row(serial),
            _ => self.retry(serial, LATER_MS),
        }
    }

    fn with_row(&mut self, serial: u64, row: &EntityRecord) {
        if Some(row.owner) != self.base.me {
            self.pass_on(serial, row.owner);
            return;
        }
        if let Some(entering) = self.sessions.entering.get_mut(&row.entity) {
            entering.waiting.push(serial);
            if let Some(session) = self.sessions.sessions.get_mut(&serial) {
                session.state = State::Entering;
            }
        } else if self.sources.frozen(row.root) || self.sessions.limbo.contains(&row.entity) {
            self.retry(serial, SOON_MS);
        } else {
            self.welcome(serial, row.entity, row.term);
        }
    }

    fn without_row(&mut self, serial: u64) {
        let Some(session) = self.sessions.sessions.get(&serial) else {
            return;
        };
        let cell = (self.base.config.spawn)(session.player);
        let owner = self.base.view.owner(cell).map(|record| record.node);
        match owner {
            Some(owner) if Some(owner) == self.base.me => {
                let coming = self.sessions.entering.len() + self.sessions.making();
                if self.is_full(coming as u32) {
                    self.retry(serial, FULL_MS);
                    return;
                }
                let Some(session) = self.sessions.sessions.get_mut(&serial) else {
                    return;
                };
                let player = Some(session.player);
                let Some(root) = self.base.mint() else {
                    self.retry(serial, LATER_MS);
                    return;
                };
                session.state = State::Making { root, cell };
                self.sessions.limbo.insert(root);
                let create = Box::new(Create {
                    root,
                    members: Vec::new(),
                    player,
                    cell,
                });
                let op = OpId(self.base.serial());
                self.base.ask(
                    OpFor::CreatePlayer(serial),
                    DirectoryOp::Create {
                        node: owner,
                        op,
                        create,
                    },
                );
            }
            Some(owner) => self.pass_on(serial, owner),
            None => self.retry(serial, LATER_MS),
        }
    }

    fn pass_on(&mut self, serial: u64, to: NodeRef) {
        let (Some(from), Some(session)) = (self.base.me, self.sessions.sessions.get_mut(&serial))
        else {
            return;
        };
        let player = session.player;
        session.state = State::PassedOn;
        let sent = if session.passed {
            None
        } else {
            let message = PeerMessage::Session(SessionRequest { player, from });
            self.base.send(SendFor::Session(serial), to, message)
        };
        if sent.is_none() {
            self.retry(serial, LATER_MS);
        }
    }

    pub(super) fn on_session_reply(&mut self, serial: u64, result: Result<PeerReply, PeerError>) {
        match result {
            Ok(reply @ PeerReply::Session(_)) => {
                if let Some(session) = self.sessions.sessions.remove(&serial) {
                    self.base.respond(session.token, reply);
                }
            }
            _ => self.retry(serial, LATER_MS),
        }
    }

    pub(super) fn on_player_made(
        &mut self,
        serial: u64,
        result: directory::Result<DirectoryAnswer>,
    ) {
        let making = self.sessions.sessions.get_mut(&serial);
        let Some((session, root, cell)) = making.and_then(|session| match session.state {
            State::Making { root, cell } => Some((session, root, cell)),
            _ => None,
        }) else {
            // The client is gone; the game still has to know about a row that was made, but the
            // session is kept until then, so this does not happen.
            return;
        };
        match result {
            Ok(DirectoryAnswer::Term(term)) => {
                session.state = State::Entering;
                let player = session.player;
                self.sessions.requests = self.sessions.requests.wrapping_add(1);
                let request = RequestId(self.sessions.requests);
                let entering = Entering {
                    request,
                    term,
                    waiting: vec![serial],
                };
                self.sessions.entering.insert(root, entering);
                self.base.event(MeshEvent::Login {
                    request,
                    player,
                    root,
                    term,
                    cell,
                });
            }
            Err(DirectoryError::Refused(Refusal::PlayerExists(row))) => {
                self.sessions.limbo.remove(&root);
                self.with_row(serial, &row);
            }
            Err(DirectoryError::Refused(_)) => {
                self.sessions.limbo.remove(&root);
                self.retry(serial, LATER_MS);
            }
            Ok(_) | Err(_) => {
                // Whether there is a row now is not known; make sure that there is none. Until
                // then it is in limbo, and who finds it comes again.
                self.retry(serial, LATER_MS);
                self.retire(vec![root]);
            }
        }
    }

    pub(super) fn on_session_answer(&mut self, request: RequestId, accepted: bool) {
        let found = self
            .sessions
            .entering
            .iter()
            .find(|(_, entering)| entering.request == request)
            .map(|(root, _)| *root);
        let Some(root) = found else {
            return;
        };
        let Some(entering) = self.sessions.entering.remove(&root) else {
            return;
        };
        if accepted {
            self.sessions.limbo.remove(&root);
        }
        for serial in entering.waiting {
            if accepted {
                self.welcome(serial, root, entering.term);
            } else {
                self.retry(serial, LATER_MS);
            }
        }
        if !accepted {
            self.retire(vec![root]);
        }
    }

    fn welcome(&mut self, serial: u64, root: GlobalEntity, term: Term) {
        let (Some(node), Some(session)) = (self.base.me, self.sessions.sessions.remove(&serial))
        else {
            return;
        };
        let purpose = Purpose::Enter { root, term };
        let Some(ticket) = self.base.ticket(session.player, purpose) else {
            self.come_again(session.token, LATER_MS);
            return;
        };
        self.base.counters.sessions += 1;
        let reply = PeerReply::Session(SessionReply::Welcome {
            node,
            address: self.base.config.addresses.udp,
            root,
            token: Vec::new(),
        });
        self.base.respond_with(session.token, reply, ticket);
    }

    pub(super) fn tick_sessions(&mut self) {
        let now = self.base.now;
        let over: Vec<u64> = self
            .sessions
            .sessions
            .iter()
            // A row that is being made is waited for: somebody has to tell the game.
            .filter(|(_, session)| {
                session.until <= now && !matches!(session.state, State::Making { .. })
            })
            .map(|(serial, _)| *serial)
            .collect();
        for serial in over {
            self.retry(serial, SOON_MS);
        }
        for session in self.sessions.sessions.values_mut() {
            if session.until <= now {
                session.until = now + self.base.config.timing.session_within;
            }
        }
    }

    pub(super) fn abandon_sessions(&mut self) {
        for session in std::mem::take(&mut self.sessions.sessions).into_values() {
            let after_ms = LATER_MS;
            let reply = PeerReply::Session(SessionReply::Retry { after_ms });
            self.base.respond(session.token, reply);
        }
        self.sessions.entering.clear();
        self.sessions.limbo.clear();
    }
}
