//! Checks that stand between the wire and the libraries that would not survive it.
//!
//! Pure functions and small tables: bytes in, a verdict out, nothing here panics and nothing grows
//! with what a peer sends. Two gates, one after the other:
//!
//! * [`check_datagram`] before netcode sees a datagram, from whomever it comes. renetcode 2.0.0
//!   panics on short packets and on sequence lengths above eight, and its replay window overflows.
//! * [`parse_reliable`] with a [`ReceiveWindow`] and an [`AckRangeGuard`] before renet sees an
//!   authentic packet. renet 2.0.1 panics on a slice index out of range, ends the connection for
//!   anything malformed, and has tables that a peer can grow.
//!
//! What is refused is counted by kind, see [`Refused`](crate::Refused).

mod datagram;
mod packet;
mod ranges;
mod window;

pub use datagram::{DatagramHead, DatagramType, REQUEST_BYTES, Request, check_datagram};
pub use packet::{Acks, Messages, ReliablePacket, SliceHead, parse_reliable};
pub use ranges::{AckRangeGuard, MAX_ACK_RANGES};
pub use window::{MAX_IN_FLIGHT, ReceiveWindow, WINDOW};

pub(crate) use datagram::{MAC_BYTES, MAX_DATAGRAM_BYTES, PROTOCOL_VERSION};
