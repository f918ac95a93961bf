//! What bevy_seamless puts on the wire, and nothing else.
//!
//! Pure: no clock, no socket, no randomness, no Bevy (an optional feature adds derives). Every
//! function here maps values to bytes or bytes to values, and no input makes one of them panic.
//!
//! # Layout
//!
//! * [`ids`]: names of entities, nodes, peers and cells.
//! * [`tick`] and [`seq`]: counters that wrap on the wire and are widened at the packet header.
//! * [`epoch`]: the fence. Who may write, since when.
//! * [`bits`]: bit writer and reader, Exp-Golomb numbers.
//! * [`delta`]: bytes against a baseline's bytes.
//! * [`codec`]: the one place that knows which serde format we use.
//! * [`hash`]: stable ids for registered types.
//! * [`packet`]: header, acks and sections of a state datagram.
//! * [`record`]: entity records inside a section.
//! * [`audit`]: what a peer should have, by hashes of rows.
//! * [`control`]: small ordered items that ride in state datagrams.
//! * [`frame`]: what travels over the reliable channels: handshake, messages, big rows.
//! * [`schema`]: what two peers must agree on before the first row.
//! * [`snapshot`]: rows outside a connection: handover state, checkpoints, files.
//! * [`recording`]: what links did, in a file.
//! * [`mesh`]: what nodes say to each other.
//! * [`ticket`]: the sealed part of a connect token.
//!
//! The bytes are described in `docs/wire-format.md` and pinned by the golden tests of this crate.
//! Changing one changes that page and [`WIRE_VERSION`].

pub mod audit;
pub mod bits;
pub mod codec;
pub mod control;
pub mod delta;
pub mod epoch;
pub mod frame;
pub mod hash;
pub mod ids;
pub mod ints;
pub mod mesh;
pub mod packet;
pub mod record;
pub mod recording;
pub mod schema;
pub mod seq;
pub mod snapshot;
pub mod tick;
pub mod ticket;

pub use bits::{BitReader, BitWriter};
pub use epoch::{Epoch, Holder, Tenure, TenureEnd, Term, WriteMask};
pub use ids::{
    Allocator, CellId, GlobalEntity, HandoverId, HostEntity, Incarnation, InputSeq, NodeId,
    NodeRef, PeerId, RemoteEntity, RequestId, WireId,
};
pub use seq::PacketSeq;
pub use tick::Tick;

/// Version of everything in this crate. Peers with different versions refuse each other.
pub const WIRE_VERSION: u16 = 6;

/// Largest datagram we hand to a link, in bytes, before encryption and UDP/IP headers.
///
/// renet emits an empty extra packet for messages of 1199 and 1200 bytes; netcode carries 1300.
/// 1190 stays clear of both and under every common path MTU.
pub const MAX_DATAGRAM: usize = 1190;

/// Why bytes could not be understood. Never a panic, never a partial value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// The bytes end inside a value.
    #[error("truncated: {wanted} more bits wanted, {left} left")]
    Truncated {
        /// Bits the value needed.
        wanted: u32,
        /// Bits that were there.
        left: u32,
    },
    /// A value is outside what the format allows.
    #[error("{what} is {value}, allowed is at most {max}")]
    OutOfBounds {
        /// Name of the field.
        what: &'static str,
        /// What was read.
        value: u64,
        /// The largest legal value.
        max: u64,
    },
    /// A field holds a value that has no meaning.
    #[error("{what} has no meaning here: {value}")]
    Invalid {
        /// Name of the field.
        what: &'static str,
        /// What was read.
        value: u64,
    },
    /// A serde payload could not be decoded.
    #[error("undecodable payload: {0}")]
    Payload(String),
    /// Bytes follow where the value should end.
    #[error("{0} bytes after the end")]
    Trailing(usize),
}
