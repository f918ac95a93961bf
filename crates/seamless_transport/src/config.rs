//! Limits of the transport.

use std::time::Duration;

use bevy::prelude::*;

/// Limits and timings of all links of an app. Links take them over when they are made.
#[derive(Resource, Debug, Clone, PartialEq, Eq)]
pub struct TransportConfig {
    /// Most state datagrams a link takes between two ticks. Default 256, 300 kB a tick.
    pub datagrams_per_tick: usize,
    /// Most received state datagrams a link keeps unread; then the oldest go, because newer state
    /// replaces older. Default 1024.
    pub datagrams_unread: usize,
    /// Most bytes of reliable messages that leave a link in one tick, resends included; fewer of the bulk
    /// channel if the link has a [budget](crate::Link::set_budget). At least 1200 are taken. Default
    /// 16 KiB, at 30 Hz 480 KiB/s.
    pub reliable_bytes_per_tick: u64,
    /// After how long renet sends an unacknowledged message or slice again. Acknowledgements may
    /// be held back for 90 ms and wait for a tick on both sides. Default 300 ms.
    pub resend_time: Duration,
    /// What an established link may receive. Default 8,000 packets and 8 MiB a second, and as
    /// much at once: far above what one player or one neighbour node sends, and little enough to
    /// decrypt (about 2 µs a packet). Counted before decryption, so someone who forges the peer's
    /// address at such a rate can crowd out the peer, though not speak for it.
    pub link_rate: Rate,
    /// How many faults of an authenticated peer are borne, see
    /// [`Refused::is_fault`](crate::Refused::is_fault).
    pub faults: FaultLimit,
    /// Most packets one endpoint reads in one frame. More wait in the socket, whose buffer bounds
    /// them. Default 8192.
    pub packets_per_frame: usize,
    /// How long at most a closing link waits until its last messages are acknowledged. Default
    /// 1.5 s: four resends.
    pub close_time: Duration,
}

impl Default for TransportConfig {
    fn default() -> Self {
        Self {
            datagrams_per_tick: 256,
            datagrams_unread: 1024,
            reliable_bytes_per_tick: 16 * 1024,
            resend_time: Duration::from_millis(300),
            link_rate: Rate {
                packets_per_second: 8_000,
                bytes_per_second: 8 * 1024 * 1024,
            },
            faults: FaultLimit::default(),
            packets_per_frame: 8192,
            close_time: Duration::from_millis(1500),
        }
    }
}

/// A rate; one second of it may come at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Packets a second.
    pub packets_per_second: u32,
    /// Bytes a second.
    pub bytes_per_second: u32,
}

/// What addresses without a link may send. A packet costs about 10 µs of decryption.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StrangerLimits {
    /// Packets a second of one IP address (or IPv6 /64), and twice that at once. A connecting
    /// client sends four a second. Default 256, for players behind one address translator.
    pub packets_per_address: u32,
    /// Packets a second of all together, and as many at once. Default 2048.
    pub packets_in_total: u32,
    /// Addresses that are counted apart; beyond, only the total counts. Default 4096.
    pub addresses: usize,
}

impl Default for StrangerLimits {
    fn default() -> Self {
        Self {
            packets_per_address: 256,
            packets_in_total: 2048,
            addresses: 4096,
        }
    }
}

/// When a misbehaving peer is cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FaultLimit {
    /// So many faults are borne. Default 16.
    pub count: u32,
    /// In this time. Default 10 s.
    pub window: Duration,
}

impl Default for FaultLimit {
    fn default() -> Self {
        Self {
            count: 16,
            window: Duration::from_secs(10),
        }
    }
}
