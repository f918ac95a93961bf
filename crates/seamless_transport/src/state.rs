//! What a link is, where it leads, and why it ended or refused something.

use std::{fmt, net::SocketAddr};

use crate::Channel;

/// Which end of the link this app is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LinkSide {
    /// This app is the client: it asked for the link.
    ToServer,
    /// This app is the server: it accepted the link.
    ToClient,
}

/// Where a link stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkState {
    /// Only on the client's side: asked for, not yet accepted. Nothing can be sent.
    Connecting,
    /// Open. Stays so while [`Link::close`](crate::Link::close) waits for the last words.
    Connected,
    /// Over. The link can still be read until the end of the tick after its
    /// [`LinkClosed`](crate::LinkClosed).
    Closed(CloseReason),
}

/// Why a link ended. Only this side knows the reason: netcode's goodbye carries none, so what the
/// peer must know goes over [`Channel::Control`] before the link is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CloseReason {
    /// This app asked for it.
    Requested,
    /// This app turned the peer away, for example for a schema mismatch.
    Refused,
    /// This app ends.
    Shutdown,
    /// The peer said goodbye.
    ByPeer,
    /// Nothing was heard from the peer for the link's timeout.
    TimedOut,
    /// The server never answered.
    Unreachable,
    /// The server answered that it is full.
    Denied,
    /// The connect token expired before the link stood.
    TokenExpired,
    /// The peer sent too much that no correct peer sends.
    Misbehaved,
    /// The endpoint that carried the link was dropped, without a goodbye.
    Abandoned,
    /// renet's connection is gone: the app ended it through renet's resource. renet does not end
    /// one by itself, the gate sees to that.
    Engine,
}

impl CloseReason {
    /// All of them. The place in this list is a reason's number in a recording.
    pub const ALL: [Self; 11] = [
        Self::Requested,
        Self::Refused,
        Self::Shutdown,
        Self::ByPeer,
        Self::TimedOut,
        Self::Unreachable,
        Self::Denied,
        Self::TokenExpired,
        Self::Misbehaved,
        Self::Abandoned,
        Self::Engine,
    ];
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Requested => "closed by this app",
            Self::Refused => "refused by this app",
            Self::Shutdown => "this app ends",
            Self::ByPeer => "closed by the peer",
            Self::TimedOut => "timed out",
            Self::Unreachable => "the server never answered",
            Self::Denied => "the server is full",
            Self::TokenExpired => "the connect token expired",
            Self::Misbehaved => "the peer misbehaved",
            Self::Abandoned => "the endpoint was dropped",
            Self::Engine => "ended through renet",
        })
    }
}

/// Where the peer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PeerAddress {
    /// Over a UDP socket.
    Udp(SocketAddr),
    /// In this process, at this address of a [`MemoryHub`](crate::MemoryHub).
    Memory(u64),
}

impl fmt::Display for PeerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Udp(address) => address.fmt(f),
            Self::Memory(address) => write!(f, "memory:{address}"),
        }
    }
}

/// Why a link did not take something to send. Nothing was queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// The link does not stand yet, or no more.
    #[error("the link is not connected")]
    NotConnected,
    /// [`Link::close`](crate::Link::close) was called.
    #[error("the link is closing")]
    Closing,
    /// There was nothing to send. The peer's gate refuses empty messages and datagrams.
    #[error("nothing to send")]
    Empty,
    /// Longer than the limit.
    #[error("{len} bytes, allowed are {max}")]
    TooLong {
        /// Length of what was given, in bytes.
        len: usize,
        /// The limit, in bytes.
        max: usize,
    },
    /// A state datagram must begin with a byte of at least
    /// [`STATE_MARK`](seamless_wire::packet::STATE_MARK).
    #[error("a state datagram begins with {0:#04x}, at least 0x80 is needed")]
    NotAState(u8),
    /// This tick's datagram queue is full; see
    /// [`TransportConfig::datagrams_per_tick`](crate::TransportConfig::datagrams_per_tick).
    #[error("the datagram queue of this tick is full")]
    QueueFull,
    /// Too much waits on this channel. Try again in a later tick.
    #[error("{0:?} has too much waiting")]
    Backpressure(Channel),
}
