//! The two reliable channels and their bounds.
//!
//! Both are ordered. They are apart so that a megabyte of bulk does not stand in front of a
//! ticket. Small things that go stale ride in state datagrams instead.

use std::time::Duration;

use renet::{ChannelConfig, ConnectionConfig, SendType};

use crate::{LinkSide, TransportConfig};

/// A reliable, ordered channel of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Channel {
    /// Handshake, tickets, messages. At most 64 KiB a message.
    Control = 0,
    /// Rows too big for a datagram, snapshots. At most 2 MiB a message.
    Bulk = 1,
}

/// Bytes of a renet slice. Longer messages are cut into pieces of this size.
pub(crate) const SLICE_BYTES: usize = 1200;

/// What a queued message costs on top of its bytes: so that tiny ones are bounded too.
pub(crate) const MESSAGE_OVERHEAD: usize = 64;

/// renet's receive bound never acts: reaching it would end the connection. The gate's windows
/// bound the same memory and only make the sender wait.
const RENET_RECEIVE_BYTES: usize = usize::MAX / 2;

impl Channel {
    /// Both, in the order in which they are served.
    pub const ALL: [Self; 2] = [Self::Control, Self::Bulk];

    /// Longest message, in bytes.
    #[must_use]
    pub const fn max_message(self) -> usize {
        match self {
            Self::Control => 64 * 1024,
            Self::Bulk => 2 * 1024 * 1024,
        }
    }

    /// Most bytes that wait in front of renet, each message counted with 64 bytes more.
    #[must_use]
    pub const fn max_backlog(self) -> usize {
        match self {
            Self::Control => 512 * 1024,
            Self::Bulk => 8 * 1024 * 1024,
        }
    }

    /// Most unacknowledged bytes inside renet: one longest message fits.
    pub(crate) const fn send_bytes(self) -> usize {
        match self {
            Self::Control => 128 * 1024,
            Self::Bulk => 2 * 1024 * 1024,
        }
    }

    /// Received bytes kept for the application before the link stops taking more.
    pub(crate) const fn unread_bytes(self) -> usize {
        match self {
            Self::Control => 256 * 1024,
            Self::Bulk => 4 * 1024 * 1024,
        }
    }

    /// Bytes reserved for sliced messages that are not complete or not yet read. Twice what a
    /// correct sender has in flight. The oldest missing message may exceed it.
    pub(crate) const fn slice_bytes(self) -> usize {
        2 * self.send_bytes()
    }

    /// Most slices of a message.
    pub(crate) const fn max_slices(self) -> u32 {
        self.max_message().div_ceil(SLICE_BYTES) as u32
    }

    pub(crate) const fn from_id(id: u8) -> Option<Self> {
        match id {
            0 => Some(Self::Control),
            1 => Some(Self::Bulk),
            _ => None,
        }
    }

    const fn config(self, sends: bool, resend_time: Duration) -> ChannelConfig {
        ChannelConfig {
            channel_id: self as u8,
            max_memory_usage_bytes: if sends {
                self.send_bytes()
            } else {
                RENET_RECEIVE_BYTES
            },
            send_type: SendType::ReliableOrdered { resend_time },
        }
    }
}

/// What renet is told on this side of a link.
pub(crate) fn connection_config(side: LinkSide, config: &TransportConfig) -> ConnectionConfig {
    let channels = |sends| {
        Channel::ALL
            .map(|channel| channel.config(sends, config.resend_time))
            .to_vec()
    };
    ConnectionConfig {
        // Less would never let a slice out.
        available_bytes_per_tick: config.reliable_bytes_per_tick.max(SLICE_BYTES as u64),
        server_channels_config: channels(side == LinkSide::ToClient),
        client_channels_config: channels(side == LinkSide::ToServer),
    }
}
