//! The sealed part of a connect token.

use seamless_wire::{
    PeerId, Term,
    ticket::{Purpose, TICKET_BYTES, Ticket},
};

use crate::support::{assert_bytes, handover, hex, root, source};

/// Pins a ticket; the reserve behind `pinned` is zero.
#[track_caller]
fn assert_ticket(purpose: Purpose, pinned: &str) {
    let ticket = Ticket {
        node: source(),
        player: PeerId(77),
        purpose,
        nonce: std::array::from_fn(|i| i as u8),
    };
    let used = hex(pinned).len();
    let bytes = ticket.to_bytes();
    assert_bytes(&bytes[..used], pinned);
    assert!(bytes[used..].iter().all(|&byte| byte == 0));

    let mut pinned_bytes = [0; TICKET_BYTES];
    pinned_bytes[..used].copy_from_slice(&hex(pinned));
    assert_eq!(Ticket::from_bytes(&pinned_bytes), Some(ticket));
    pinned_bytes[TICKET_BYTES - 1] = 1;
    assert_eq!(Ticket::from_bytes(&pinned_bytes), None);
}

#[test]
fn a_ticket_to_enter_names_node_player_root_and_term() {
    let (root, term) = (root(), Term(12));
    assert_ticket(
        Purpose::Enter { root, term },
        "534d4c31 01 03000000 0900000000000000 4d00000000000000
         0500000000bc0a00 0c00000000000000 00000000
         000102030405060708090a0b0c0d0e0f",
    );
}

#[test]
fn a_ticket_to_watch_names_the_handover() {
    let handover = handover();
    assert_ticket(
        Purpose::Spectate { handover },
        "534d4c31 02 03000000 0900000000000000 4d00000000000000
         0500000000bc0a00 0c00000000000000 02000000
         000102030405060708090a0b0c0d0e0f",
    );
}
