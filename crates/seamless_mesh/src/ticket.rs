//! Who may enter this node, once.
//!
//! Tickets are minted here and come back here, so the desk keeps the ones it issued: what is not
//! on the list was not issued in this life, and what was used is struck off. The list is bounded
//! and nothing unexpired is ever pushed off it; when it is full, no more are issued.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use seamless_wire::{
    GlobalEntity, HandoverId, NodeRef, PeerId,
    ticket::{Purpose, Ticket},
};

/// Most tickets on the list.
pub const MAX_TICKETS: usize = 8192;

/// Why a ticket does not let its bearer in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum TicketRefusal {
    /// It is another node's, or of another life of this one.
    #[error("ticket of another node or life")]
    Node,
    /// It was not issued here, or long ago.
    #[error("unknown ticket")]
    Unknown,
    /// It was used before.
    #[error("ticket was used before")]
    Used,
    /// Its time is over.
    #[error("ticket has expired")]
    Expired,
    /// Its handover came to nothing, or its root is not here any more.
    #[error("ticket is void")]
    Void,
    /// The bearer is not the one it was issued to, or it was altered.
    #[error("ticket does not match")]
    Mismatch,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Fresh,
    Used,
    Void,
}

#[derive(Debug)]
struct Issued {
    ticket: Ticket,
    expires: Duration,
    state: State,
}

#[derive(Debug, Default)]
struct Desk {
    node: Option<NodeRef>,
    issued: BTreeMap<u64, Issued>,
    next: u64,
    redeemed: u64,
    refused: u64,
}

/// Issues tickets and takes them back. Clones are handles of one desk.
#[derive(Debug, Clone, Default)]
pub struct TicketDesk(Arc<Mutex<Desk>>);

impl TicketDesk {
    /// Redeems a ticket that a client showed. `now` is the node's clock.
    ///
    /// Called in the frame of the connect, before anything is sent to the client. Waits at most
    /// for another such call.
    ///
    /// # Errors
    /// [`TicketRefusal`]; the client is to be disconnected then.
    pub fn redeem(&self, ticket: &Ticket, now: Duration) -> Result<Purpose, TicketRefusal> {
        let mut desk = self.lock();
        let result = desk.redeem(ticket, now);
        match result {
            Ok(_) => desk.redeemed += 1,
            Err(_) => desk.refused += 1,
        }
        result
    }

    /// How many tickets were redeemed and how many refused.
    #[must_use]
    pub fn counts(&self) -> (u64, u64) {
        let desk = self.lock();
        (desk.redeemed, desk.refused)
    }

    /// Begins a life: tickets of former ones are void.
    pub(crate) fn open(&self, node: NodeRef) {
        let mut desk = self.lock();
        desk.node = Some(node);
        desk.issued.clear();
    }

    /// Ends a life.
    pub(crate) fn close(&self) {
        let mut desk = self.lock();
        desk.node = None;
        desk.issued.clear();
    }

    /// A fresh ticket; `None` while the list is full or the node is not in the mesh.
    pub(crate) fn issue(
        &self,
        player: PeerId,
        purpose: Purpose,
        expires: Duration,
        now: Duration,
    ) -> Option<Ticket> {
        let mut desk = self.lock();
        let node = desk.node?;
        if desk.issued.len() >= MAX_TICKETS {
            desk.issued.retain(|_, issued| issued.expires > now);
        }
        if desk.issued.len() >= MAX_TICKETS {
            return None;
        }
        desk.next += 1;
        let number = desk.next;
        // Sealed on its way, so it need not be a secret; it must be unique.
        let mut nonce = [0; 16];
        nonce[..8].copy_from_slice(&number.to_le_bytes());
        nonce[8..].copy_from_slice(&node.incarnation.0.to_le_bytes());
        let ticket = Ticket {
            node,
            player,
            purpose,
            nonce,
        };
        desk.issued.insert(
            number,
            Issued {
                ticket,
                expires,
                state: State::Fresh,
            },
        );
        Some(ticket)
    }

    /// A handover came to nothing.
    pub(crate) fn void_handover(&self, handover: HandoverId) {
        self.void(|purpose| matches!(purpose, Purpose::Spectate { handover: h } if *h == handover));
    }

    /// A root is not here any more.
    pub(crate) fn void_root(&self, root: GlobalEntity) {
        self.void(|purpose| match purpose {
            Purpose::Enter { root: r, .. } => *r == root,
            Purpose::Spectate { handover } => handover.root == root,
        });
    }

    fn void(&self, concerned: impl Fn(&Purpose) -> bool) {
        for issued in self.lock().issued.values_mut() {
            if issued.state == State::Fresh && concerned(&issued.ticket.purpose) {
                issued.state = State::Void;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Desk> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Desk {
    fn redeem(&mut self, ticket: &Ticket, now: Duration) -> Result<Purpose, TicketRefusal> {
        if self.node != Some(ticket.node) {
            return Err(TicketRefusal::Node);
        }
        let (number, life) = ticket.nonce.split_at(8);
        if life != ticket.node.incarnation.0.to_le_bytes() {
            return Err(TicketRefusal::Unknown);
        }
        let number = number.try_into().map_or(0, u64::from_le_bytes);
        let issued = self.issued.get_mut(&number).ok_or(TicketRefusal::Unknown)?;
        if issued.ticket != *ticket {
            return Err(TicketRefusal::Mismatch);
        }
        match issued.state {
            State::Used => Err(TicketRefusal::Used),
            State::Void => Err(TicketRefusal::Void),
            State::Fresh if now >= issued.expires => Err(TicketRefusal::Expired),
            State::Fresh => {
                issued.state = State::Used;
                Ok(ticket.purpose)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use seamless_wire::{Incarnation, NodeId, Term};

    use super::*;

    const NODE: NodeRef = NodeRef {
        id: NodeId(1),
        incarnation: Incarnation(8),
    };
    const PLAYER: PeerId = PeerId(7);

    const fn s(s: u64) -> Duration {
        Duration::from_secs(s)
    }

    fn root() -> GlobalEntity {
        GlobalEntity::new(4, 5).unwrap()
    }

    fn purpose(attempt: u32) -> Purpose {
        let handover = HandoverId {
            root: root(),
            term: Term(3),
            attempt,
        };
        Purpose::Spectate { handover }
    }

    fn desk() -> TicketDesk {
        let desk = TicketDesk::default();
        desk.open(NODE);
        desk
    }

    #[test]
    fn row_27_a_ticket_lets_in_once() {
        let desk = desk();
        let ticket = desk.issue(PLAYER, purpose(1), s(10), s(0)).unwrap();
        assert_eq!(desk.redeem(&ticket, s(9)), Ok(purpose(1)));
        assert_eq!(desk.redeem(&ticket, s(9)), Err(TicketRefusal::Used));
        assert_eq!(desk.counts(), (1, 1));
    }

    #[test]
    fn row_27_an_altered_ticket_is_refused_and_leaves_the_real_one_good() {
        let desk = desk();
        let ticket = desk.issue(PLAYER, purpose(1), s(10), s(0)).unwrap();
        let stolen = Ticket {
            player: PeerId(8),
            ..ticket
        };
        assert_eq!(desk.redeem(&stolen, s(1)), Err(TicketRefusal::Mismatch));
        let promoted = Ticket {
            purpose: Purpose::Enter {
                root: root(),
                term: Term(3),
            },
            ..ticket
        };
        assert_eq!(desk.redeem(&promoted, s(1)), Err(TicketRefusal::Mismatch));
        let invented = Ticket {
            nonce: [9; 16],
            ..ticket
        };
        assert_eq!(desk.redeem(&invented, s(1)), Err(TicketRefusal::Unknown));
        assert_eq!(desk.redeem(&ticket, s(1)), Ok(purpose(1)));
    }

    #[test]
    fn row_28_only_this_nodes_own_clock_makes_a_ticket_expire() {
        let desk = desk();
        let ticket = desk.issue(PLAYER, purpose(1), s(3610), s(3600)).unwrap();
        assert_eq!(desk.redeem(&ticket, s(3610)), Err(TicketRefusal::Expired));
        assert_eq!(desk.redeem(&ticket, s(3609)), Ok(purpose(1)));
    }

    #[test]
    fn row_23_a_ticket_of_a_former_life_is_refused() {
        let desk = desk();
        let ticket = desk.issue(PLAYER, purpose(1), s(10), s(0)).unwrap();
        desk.open(NodeRef {
            incarnation: Incarnation(9),
            ..NODE
        });
        assert_eq!(desk.redeem(&ticket, s(1)), Err(TicketRefusal::Node));
        desk.close();
        assert_eq!(desk.redeem(&ticket, s(1)), Err(TicketRefusal::Node));
    }

    #[test]
    fn a_ticket_for_a_handover_that_came_to_nothing_is_void() {
        let desk = desk();
        let first = desk.issue(PLAYER, purpose(1), s(10), s(0)).unwrap();
        let second = desk.issue(PLAYER, purpose(2), s(10), s(0)).unwrap();
        let Purpose::Spectate { handover } = purpose(1) else {
            unreachable!()
        };
        desk.void_handover(handover);
        assert_eq!(desk.redeem(&first, s(1)), Err(TicketRefusal::Void));
        assert_eq!(desk.redeem(&second, s(1)), Ok(purpose(2)));
    }

    #[test]
    fn a_full_desk_issues_no_more_until_some_expire() {
        let desk = desk();
        let first = desk.issue(PLAYER, purpose(0), s(10), s(0)).unwrap();
        for attempt in 1..MAX_TICKETS as u32 {
            desk.issue(PLAYER, purpose(attempt), s(10), s(0)).unwrap();
        }
        assert!(desk.issue(PLAYER, purpose(9999), s(20), s(5)).is_none());
        assert_eq!(desk.redeem(&first, s(5)), Ok(purpose(0)));
        assert!(desk.issue(PLAYER, purpose(9999), s(20), s(10)).is_some());
    }
}
