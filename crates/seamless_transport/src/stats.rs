//! Counters of a link: true bytes on the wire, and everything that was refused.

use std::ops::Index;

/// Bytes of UDP and IPv4 headers that every packet costs beyond the counted bytes.
pub const UDP_IPV4_HEADER_BYTES: u64 = 28;

/// Bytes of UDP and IPv6 headers that every packet costs beyond the counted bytes.
pub const UDP_IPV6_HEADER_BYTES: u64 = 48;

/// Packets and bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Number of packets.
    pub packets: u64,
    /// Number of bytes.
    pub bytes: u64,
}

impl Tally {
    pub(crate) const fn add(&mut self, packets: u64, bytes: usize) {
        self.packets = self.packets.saturating_add(packets);
        self.bytes = self.bytes.saturating_add(bytes as u64);
    }
}

/// What a packet was for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    State,
    Reliable,
}

/// True traffic in one direction: the bytes of UDP payloads, nothing left out.
///
/// `state` and `reliable` count the payloads inside netcode's packets; netcode's own bytes
/// (prefix, sequence and MAC of every packet, handshake, keep-alives) are `overhead`. UDP and IP
/// headers are not counted, see [`Traffic::header_bytes`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Traffic {
    /// State datagrams.
    pub state: Tally,
    /// renet's packets, acknowledgements included.
    pub reliable: Tally,
    /// netcode's bytes. Its packets are those that carried neither of the two.
    pub overhead: Tally,
}

impl Traffic {
    /// All UDP payloads.
    #[must_use]
    pub const fn total(&self) -> Tally {
        Tally {
            packets: self
                .state
                .packets
                .saturating_add(self.reliable.packets)
                .saturating_add(self.overhead.packets),
            bytes: self
                .state
                .bytes
                .saturating_add(self.reliable.bytes)
                .saturating_add(self.overhead.bytes),
        }
    }

    /// What UDP and IP headers cost on top, for example with [`UDP_IPV4_HEADER_BYTES`].
    #[must_use]
    pub const fn header_bytes(&self, per_packet: u64) -> u64 {
        self.total().packets.saturating_mul(per_packet)
    }

    pub(crate) fn carried(&mut self, class: Class, payload: usize, wire: usize) {
        match class {
            Class::State => self.state.add(1, payload),
            Class::Reliable => self.reliable.add(1, payload),
        }
        self.overhead.add(0, wire.saturating_sub(payload));
    }

    pub(crate) fn overhead(&mut self, wire: usize) {
        self.overhead.add(1, wire);
    }
}

macro_rules! refused {
    ($($(#[$doc:meta])* $name:ident $(= $fault:literal)?,)*) => {
        /// Why a packet or a message went no further. Each kind has its counter.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum Refused { $($(#[$doc])* $name,)* }

        impl Refused {
            /// All kinds, in the order of their counters.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// Whether no correct peer ever causes it. Such packets of an authenticated peer
            /// count against [`TransportConfig::faults`](crate::TransportConfig::faults).
            #[must_use]
            pub const fn is_fault(self) -> bool {
                match self {
                    $($(Self::$name => $fault,)?)*
                    #[allow(unreachable_patterns, reason = "the macro marks some kinds only")]
                    _ => false,
                }
            }
        }
    };
}

refused! {
    /// Too short for any netcode packet.
    Short,
    /// Longer than any netcode packet.
    Long,
    /// Not a netcode packet type.
    UnknownType,
    /// A sequence of more than eight bytes, or one that would overflow the replay window.
    BadSequence,
    /// Not the length that its type has.
    BadLength,
    /// A connection request for another game or version, or with an expiry out of range.
    BadRequest,
    /// A type that this side does not take from that address now.
    Unexpected,
    /// Not a connection request, from an address that no one knows.
    Stranger,
    /// Over the packet or byte rate of the link, or of strangers.
    RateLimited,
    /// netcode did not take it: forged, replayed, or a token it does not accept.
    Unopened,
    /// A connect token that was not minted here, or was used before.
    TokenReused,
    /// More handshakes in progress than the endpoint keeps.
    HandshakesFull,
    /// A sealed packet with no payload.
    EmptyPayload = true,
    /// A payload that is neither a state datagram nor a renet packet.
    UnknownPayload = true,
    /// A state datagram above [`MAX_DATAGRAM`](seamless_wire::MAX_DATAGRAM).
    StateTooLong = true,
    /// A renet packet that ends inside a field.
    Truncated = true,
    /// A renet packet with bytes after its end.
    Trailing = true,
    /// A renet packet of an unreliable channel; there is none.
    UnreliablePacket = true,
    /// A renet packet for a channel that does not exist.
    UnknownChannel = true,
    /// A renet packet without messages, or a message without bytes.
    EmptyMessage = true,
    /// Messages of one packet not in rising order, or above the length of a small message.
    BadMessage = true,
    /// A slice with an index, a count or a length that renet's sender never makes.
    BadSlice = true,
    /// A slice that disagrees with earlier packets about its message.
    ChangedMessage = true,
    /// Acknowledgements that do not describe ranges, or too many of them.
    BadAck = true,
    /// An acknowledgement of a packet that was never sent.
    AckOfUnsent = true,
    /// A packet number far beyond the newest.
    SequenceJump = true,
    /// A message number further ahead than a correct sender goes.
    TooFarAhead = true,
    /// The application has not read what came before; the sender tries again.
    ReceiveFull,
    /// A late packet while renet keeps as many acknowledgement ranges as it may; sent again.
    Reordered,
    /// A received state datagram that was dropped for newer ones, unread.
    Unread,
    /// The operating system did not take a packet. It counts as sent nevertheless: it was lost on its
    /// first step.
    SendFailed,
}

/// One counter for each [`Refused`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RefusedCounts([u64; Refused::ALL.len()]);

impl Default for RefusedCounts {
    fn default() -> Self {
        Self([0; Refused::ALL.len()])
    }
}

impl RefusedCounts {
    /// Every kind with its count.
    pub fn iter(&self) -> impl Iterator<Item = (Refused, u64)> + '_ {
        Refused::ALL.iter().map(|&kind| (kind, self[kind]))
    }

    /// All kinds together.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().fold(0, |sum, n| sum.saturating_add(*n))
    }

    pub(crate) fn count(&mut self, kind: Refused) {
        let counter = &mut self.0[kind as usize];
        *counter = counter.saturating_add(1);
    }
}

impl Index<Refused> for RefusedCounts {
    type Output = u64;

    fn index(&self, kind: Refused) -> &u64 {
        &self.0[kind as usize]
    }
}

/// Counters of one link since it was made. They never fall and never wrap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LinkStats {
    /// What was sent.
    pub sent: Traffic,
    /// What arrived and was authentic.
    pub received: Traffic,
    /// What went no further.
    pub refused: RefusedCounts,
}

/// What waits on a link now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Backlog {
    /// State datagrams to send this tick.
    pub datagrams_out: usize,
    /// State datagrams received and not read.
    pub datagrams_in: usize,
    /// Bytes of reliable messages queued in front of renet, both channels.
    pub reliable_out: usize,
    /// Reliable messages that renet sent and the peer did not acknowledge, both channels.
    pub reliable_unacked: usize,
    /// Bytes of reliable messages received and not read, both channels.
    pub reliable_in: usize,
}
