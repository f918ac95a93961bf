//! The sealed part of a connect token: who may enter which node, once, as what.
//!
//! The target mints the token with a key that never leaves its memory, so the 256 bytes here are
//! sealed (XChaCha20-Poly1305) on the way to the client and back. The node still checks every
//! field in the frame of the connect, before anything is sent.

use crate::{
    epoch::Term,
    ids::{GlobalEntity, HandoverId, Incarnation, NodeId, NodeRef, PeerId},
};

/// Bytes of user data in a netcode token.
pub const TICKET_BYTES: usize = 256;

const MAGIC: [u8; 4] = *b"SML1";

/// The right to enter one node once, as one player, for one purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ticket {
    /// The node that minted it, in the life in which it did.
    pub node: NodeRef,
    /// The player.
    pub player: PeerId,
    /// What for.
    pub purpose: Purpose,
    /// Makes it single use.
    pub nonce: [u8; 16],
}

/// What a ticket lets its bearer do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// Play as this root, which the node owns under this term.
    Enter {
        /// The player's root.
        root: GlobalEntity,
        /// Its term when the ticket was minted.
        term: Term,
    },
    /// Watch until this handover is decided.
    Spectate {
        /// Which.
        handover: HandoverId,
    },
}

impl Ticket {
    /// The bytes to seal.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; TICKET_BYTES] {
        let (kind, root, term, attempt) = match self.purpose {
            Purpose::Enter { root, term } => (1u8, root, term, 0),
            Purpose::Spectate { handover } => (2, handover.root, handover.term, handover.attempt),
        };
        let mut out = [0; TICKET_BYTES];
        let mut at = 0;
        let mut put = |bytes: &[u8]| {
            out[at..at + bytes.len()].copy_from_slice(bytes);
            at += bytes.len();
        };
        put(&MAGIC);
        put(&[kind]);
        put(&self.node.id.0.to_le_bytes());
        put(&self.node.incarnation.0.to_le_bytes());
        put(&self.player.0.to_le_bytes());
        put(&root.to_bits().to_le_bytes());
        put(&term.0.to_le_bytes());
        put(&attempt.to_le_bytes());
        put(&self.nonce);
        out
    }

    /// Reads them back. `None` for anything else, including set bytes in the reserve.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; TICKET_BYTES]) -> Option<Self> {
        let mut rest = &bytes[..];
        if take::<4>(&mut rest)? != MAGIC {
            return None;
        }
        let kind = take::<1>(&mut rest)?[0];
        let id = NodeId(u32::from_le_bytes(take(&mut rest)?));
        let incarnation = Incarnation(u64::from_le_bytes(take(&mut rest)?));
        let player = PeerId(u64::from_le_bytes(take(&mut rest)?));
        let root = GlobalEntity::from_bits(u64::from_le_bytes(take(&mut rest)?))?;
        let term = Term(u64::from_le_bytes(take(&mut rest)?));
        let attempt = u32::from_le_bytes(take(&mut rest)?);
        let nonce = take(&mut rest)?;
        let purpose = match (kind, attempt) {
            (1, 0) => Purpose::Enter { root, term },
            (2, _) => Purpose::Spectate {
                handover: HandoverId {
                    root,
                    term,
                    attempt,
                },
            },
            _ => return None,
        };
        let node = NodeRef { id, incarnation };
        rest.iter().all(|&b| b == 0).then_some(Self {
            node,
            player,
            purpose,
            nonce,
        })
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (head, tail) = rest.split_first_chunk::<N>()?;
    *rest = tail;
    Some(*head)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticket() -> Ticket {
        Ticket {
            node: NodeRef {
                id: NodeId(3),
                incarnation: Incarnation(9),
            },
            player: PeerId(77),
            purpose: Purpose::Spectate {
                handover: HandoverId {
                    root: GlobalEntity::new(4, 5).expect("legal"),
                    term: Term(12),
                    attempt: 2,
                },
            },
            nonce: [7; 16],
        }
    }

    #[test]
    fn a_ticket_survives() {
        assert_eq!(Ticket::from_bytes(&ticket().to_bytes()), Some(ticket()));
    }

    #[test]
    fn other_bytes_are_no_ticket() {
        assert_eq!(Ticket::from_bytes(&[0; TICKET_BYTES]), None);
        let mut bytes = ticket().to_bytes();
        bytes[200] = 1;
        assert_eq!(Ticket::from_bytes(&bytes), None);
        let mut bytes = ticket().to_bytes();
        bytes[4] = 9;
        assert_eq!(Ticket::from_bytes(&bytes), None);
    }
}
