//! What replication costs, as a plain resource for overlays, logs and operators.

use std::{collections::BTreeMap, time::Duration};

use bevy::{
    diagnostic::{Diagnostic, DiagnosticPath, Diagnostics, RegisterDiagnostic},
    prelude::*,
};
use seamless_transport::{LinkId, LinkSide, Links};
use seamless_wire::{GlobalEntity, PeerId, WireError};

use crate::{
    clock::NetClock,
    peer::{PeerState, Peers},
    receive::ReceiveCounters,
    registry::Registry,
    send::Office,
    slots::Slots,
};

/// Rolling averages are over this many seconds.
const WINDOW: f64 = 1.0;

/// What goes over one link. Rates are averages over a second.
#[derive(Debug, Clone, Default)]
pub struct LinkStats {
    /// The client's name, once known.
    pub peer: Option<PeerId>,
    /// Whether we are the client on it.
    pub to_server: bool,
    /// Whether it only watches.
    pub spectator: bool,
    /// Bytes per second on the wire, without UDP and IP headers: received, sent.
    pub bytes_per_second: (f64, f64),
    /// Packets per second: received, sent.
    pub packets_per_second: (f64, f64),
    /// Total bytes: received, sent.
    pub bytes: (u64, u64),
    /// Total packets: received, sent.
    pub packets: (u64, u64),
    /// Round-trip time, including the tick an answer waits for.
    pub rtt: Duration,
    /// Share of our datagrams that were lost, 0 to 1.
    pub loss: f32,
    /// Entities the peer sees.
    pub visible: usize,
    /// Entities that are not settled for the peer.
    pub unsettled: usize,
    /// Records sent: all, those against nothing, those sent again after a loss.
    pub records: (u64, u64, u64),
    /// Records and leaves that were sent again unasked, because the network loses some: nothing newer
    /// followed them.
    pub insured: u64,
    /// Bytes of records in datagrams, sent: of those against nothing, of those against a baseline.
    pub record_bytes: (u64, u64),
    /// Rows that no datagram held: sent, and of those not kept by the peer within half a minute,
    /// after which the newest is sent again.
    pub big_rows: (u64, u64),
    /// Entity-ticks that did not fit the budget.
    pub deferred: u64,
    /// Bytes of datagrams that the link may take in a tick now: less than its number
    /// ([`Peer::set_bytes_per_tick`](crate::Peer::set_bytes_per_tick), or that of all) while its network is
    /// full.
    pub budget: usize,
    /// Reliable frames that were too large to be sent.
    pub unsendable: u64,
    /// Records and datagrams from the peer that came to nothing.
    pub refused: RefusedStats,
    /// What both ends found when they compared what the peer should have.
    pub audit: AuditStats,
    /// What lending and migration cost.
    pub authority: AuthorityCosts,
}

/// What was compared, see [`audit_per_second`](crate::ReplicationConfig::audit_per_second).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AuditStats {
    /// Entities of ours that the peer was asked to compare.
    pub named: u64,
    /// Entities of ours that were told whole because the peer did not have them as it should.
    pub resent: u64,
    /// How often all of ours was told anew because the peer lacked much.
    pub restarts: u64,
    /// Entities of the peer that were compared here.
    pub compared: u64,
    /// Those of them that were not kept as they should be, and were asked for.
    pub differing: u64,
    /// Entities that were kept as they should be and shown otherwise, and were put right.
    pub healed: u64,
}

/// What lending and migration cost on one link, sent to the peer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AuthorityCosts {
    /// Records that told of a change of holder or host of what the peer knew already.
    pub fences: u64,
    /// Bits of their heads: all of the record but values that changed as well.
    pub fence_bits: u64,
    /// Bits of values told to a holder that had written them itself. Should be 0.
    pub echo_bits: u64,
    /// Bits of values told whole of what had migrated between the two, and so was there. Should
    /// be 0.
    pub resent_bits: u64,
}

/// What was received and not used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RefusedStats {
    /// Datagrams that came twice.
    pub duplicates: u64,
    /// Datagrams that could not be read.
    pub malformed: u64,
    /// Datagrams so late that their baselines were gone.
    pub late: u64,
    /// Records after a newer one.
    pub stale: u64,
    /// Records of a writer who may not write.
    pub fenced: u64,
    /// Of those, records with a component that is not lent.
    pub masked: u64,
    /// Components that did not decode as their type; [`ReplicationStats::undecodable`] names the last.
    pub undecodable: u64,
    /// Records past a bound.
    pub over_bounds: u64,
    /// Scopes that a client asked for and may not enter.
    pub scopes: u64,
    /// Control items that the other end of a link may not say. They change nothing.
    pub misdirected: u64,
}

impl From<&ReceiveCounters> for RefusedStats {
    fn from(c: &ReceiveCounters) -> Self {
        Self {
            duplicates: c.duplicates,
            malformed: c.malformed,
            late: c.late,
            stale: c.stale,
            fenced: c.fenced,
            masked: c.masked,
            undecodable: c.undecodable,
            over_bounds: c.refused,
            scopes: c.refused_scopes,
            misdirected: c.misdirected,
        }
    }
}

/// What one component costs, over all links, since the start.
#[derive(Debug, Clone, Default)]
pub struct ComponentStats {
    /// Type path.
    pub path: String,
    /// Bits of values coded against nothing. A value that many clients share counts once.
    pub absolute_bits: u64,
    /// Bits of values coded against a baseline.
    pub delta_bits: u64,
}

/// An entity that is too large to be told of as it is. Peers keep its former state; it is tried
/// again when it changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooLargeRow {
    /// Which.
    pub entity: GlobalEntity,
    /// What it takes, in bytes.
    pub bytes: usize,
    /// What it may take.
    pub max: usize,
}

/// A component that a peer told and that does not decode as its type here. The entity keeps the one
/// it had, or goes without, until the peer tells another value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UndecodableComponent {
    /// Whose.
    pub entity: GlobalEntity,
    /// Type path.
    pub path: String,
    /// What its decoder said.
    pub error: WireError,
}

/// Everything, brought up to date once a tick.
#[derive(Resource, Debug, Clone, Default)]
pub struct ReplicationStats {
    /// By link.
    pub links: BTreeMap<LinkId, LinkStats>,
    /// In the order of the schema.
    pub components: Vec<ComponentStats>,
    /// Entities we host, entities we are told of.
    pub entities: (usize, usize),
    /// Values that refused to be encoded.
    pub unencodable: u64,
    /// States of entities that were too large to be told of.
    pub rows_too_large: u64,
    /// The last one of them.
    pub too_large: Option<TooLargeRow>,
    /// The last component that did not decode; [`RefusedStats::undecodable`] counts them.
    pub undecodable: Option<UndecodableComponent>,
    /// Messages of the game that were not sent; see
    /// [`MessageNotSent`](crate::messages::MessageNotSent).
    pub messages_not_sent: u64,
    /// Time that encoding and packing for all links took in the last tick.
    pub send_time: Duration,
    /// Threads on which that was done: 1 below
    /// [`parallel_rows`](crate::ReplicationConfig::parallel_rows).
    pub send_threads: usize,
    /// Time that receive and apply took in the last frame with datagrams.
    pub receive_time: Duration,
    /// How late the last tick began.
    pub tick_lateness: Duration,
    /// History of total bytes per second, received and sent, one entry a second, the oldest first,
    /// at most [`Self::HISTORY`].
    pub history: Vec<(f64, f64)>,
    sampled: Option<Sample>,
}

/// Received and sent.
type Both = (u64, u64);

#[derive(Debug, Clone)]
struct Sample {
    at: Duration,
    /// Bytes and packets.
    totals: BTreeMap<LinkId, (Both, Both)>,
}

impl ReplicationStats {
    /// Seconds of [`history`](Self::history).
    pub const HISTORY: usize = 120;

    /// Bytes per second over all links: received, sent.
    #[must_use]
    pub fn bytes_per_second(&self) -> (f64, f64) {
        self.links.values().fold((0.0, 0.0), |(down, up), link| {
            (down + link.bytes_per_second.0, up + link.bytes_per_second.1)
        })
    }
}

/// Paths under which the same numbers stand in Bevy's diagnostics: rates once a second, numbers of
/// entities when they change as well, times in every tick.
pub mod paths {
    use super::DiagnosticPath;

    /// Bytes received per second, all links.
    pub const BYTES_IN: DiagnosticPath = DiagnosticPath::const_new("seamless/bytes_in");
    /// Bytes sent per second, all links.
    pub const BYTES_OUT: DiagnosticPath = DiagnosticPath::const_new("seamless/bytes_out");
    /// Entities we host.
    pub const HOSTED: DiagnosticPath = DiagnosticPath::const_new("seamless/hosted");
    /// Entities we are told of.
    pub const REMOTE: DiagnosticPath = DiagnosticPath::const_new("seamless/remote");
    /// Encoding and packing for all links, in milliseconds.
    pub const SEND_MS: DiagnosticPath = DiagnosticPath::const_new("seamless/send_ms");
}

pub(crate) fn register(app: &mut App) {
    app.init_resource::<ReplicationStats>()
        .register_diagnostic(Diagnostic::new(paths::BYTES_IN).with_suffix(" B/s"))
        .register_diagnostic(Diagnostic::new(paths::BYTES_OUT).with_suffix(" B/s"))
        .register_diagnostic(Diagnostic::new(paths::HOSTED))
        .register_diagnostic(Diagnostic::new(paths::REMOTE))
        .register_diagnostic(Diagnostic::new(paths::SEND_MS).with_suffix(" ms"));
}

/// Brings the numbers up to date; once a tick. Cost: one visit per link.
#[expect(
    clippy::too_many_arguments,
    reason = "a system: each argument is a resource it reads"
)]
pub(crate) fn update(
    mut stats: ResMut<ReplicationStats>,
    peers: Res<Peers>,
    links: Res<Links>,
    slots: Res<Slots>,
    clock: Res<NetClock>,
    config: Res<crate::ReplicationConfig>,
    registry: Res<Registry>,
    office: Res<Office>,
    mut diagnostics: Diagnostics,
) {
    let stats = &mut *stats;
    stats.tick_lateness = clock.lateness();
    // Both ascend by the link's name, and mostly they are the same as in the last tick.
    if !stats.links.keys().eq(peers.map.keys()) {
        stats.links.retain(|link, _| peers.get(*link).is_some());
        for peer in peers.iter() {
            stats.links.entry(peer.link()).or_default();
        }
    }
    for (peer, entry) in peers.iter().zip(stats.links.values_mut()) {
        let Some(link) = links.get(peer.link()) else {
            continue;
        };
        let wire = link.stats();
        entry.peer = peer.id();
        entry.to_server = peer.side() == LinkSide::ToServer;
        entry.spectator = peer.is_spectator();
        let (received, sent) = (wire.received.total(), wire.sent.total());
        entry.bytes = (received.bytes, sent.bytes);
        entry.packets = (received.packets, sent.packets);
        entry.rtt = peer.rtt();
        entry.loss = peer.loss();
        entry.visible = peer.visible();
        entry.unsettled = if peer.state() == PeerState::Ready {
            peer.sender.unsettled()
        } else {
            0
        };
        let counters = &peer.sender.counters;
        entry.records = (
            counters.records,
            counters.absolute_records,
            counters.resent_records,
        );
        entry.insured = counters.insured_records;
        let (absolute, delta) = counters.record_bits;
        entry.record_bytes = (absolute / 8, delta / 8);
        entry.big_rows = (counters.big_rows, counters.refused_big_rows);
        entry.deferred = counters.deferred;
        entry.budget = peer.budget(&config);
        entry.unsendable = counters.unsendable;
        entry.refused = RefusedStats::from(&peer.receiver.counters);
        let seen = &peer.receiver.audit.counters;
        entry.audit = AuditStats {
            named: counters.audit.named,
            resent: counters.audit.resent,
            restarts: counters.audit.restarts,
            compared: seen.compared,
            differing: seen.differing,
            healed: seen.healed,
        };
        entry.authority = AuthorityCosts {
            fences: counters.fences,
            fence_bits: counters.fence_bits,
            echo_bits: counters.echo_bits,
            resent_bits: counters.resent_bits,
        };
    }
    let entities = std::mem::replace(&mut stats.entities, slots.census());
    stats
        .components
        .resize(registry.components().len(), ComponentStats::default());
    for (index, (entry, component)) in stats
        .components
        .iter_mut()
        .zip(registry.components())
        .enumerate()
    {
        if entry.path.is_empty() {
            entry.path.clone_from(&component.descriptor.path);
        }
        let (absolute, delta) = office
            .component_bits
            .get(index)
            .copied()
            .unwrap_or_default();
        entry.absolute_bits = absolute;
        entry.delta_bits = delta;
    }
    let sampled = sample(stats, clock.now());
    if sampled {
        let (bytes_in, bytes_out) = stats.bytes_per_second();
        diagnostics.add_measurement(&paths::BYTES_IN, || bytes_in);
        diagnostics.add_measurement(&paths::BYTES_OUT, || bytes_out);
    }
    if sampled || entities != stats.entities {
        diagnostics.add_measurement(&paths::HOSTED, || stats.entities.0 as f64);
        diagnostics.add_measurement(&paths::REMOTE, || stats.entities.1 as f64);
    }
    diagnostics.add_measurement(&paths::SEND_MS, || stats.send_time.as_secs_f64() * 1e3);
}

/// Once a second: what went since the last time. Whether it was time.
fn sample(stats: &mut ReplicationStats, now: Duration) -> bool {
    let totals = || {
        stats
            .links
            .iter()
            .map(|(id, link)| (*id, (link.bytes, link.packets)))
            .collect()
    };
    let Some(last) = &stats.sampled else {
        stats.sampled = Some(Sample {
            at: now,
            totals: totals(),
        });
        return true;
    };
    let seconds = now.saturating_sub(last.at).as_secs_f64();
    if seconds < WINDOW {
        return false;
    }
    let next = Sample {
        at: now,
        totals: totals(),
    };
    for (id, link) in &mut stats.links {
        let (bytes, packets) = last.totals.get(id).copied().unwrap_or_default();
        let rate = |new: u64, old: u64| new.saturating_sub(old) as f64 / seconds;
        link.bytes_per_second = (rate(link.bytes.0, bytes.0), rate(link.bytes.1, bytes.1));
        link.packets_per_second = (
            rate(link.packets.0, packets.0),
            rate(link.packets.1, packets.1),
        );
    }
    stats.sampled = Some(next);
    let total = stats.bytes_per_second();
    stats.history.push(total);
    if stats.history.len() > ReplicationStats::HISTORY {
        stats.history.remove(0);
    }
    true
}
