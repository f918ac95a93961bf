//! The plugin: configuration and the order of things.

use std::time::Duration;

use bevy::{prelude::*, time::common_conditions::on_real_timer};
use seamless_transport::{LinkSide, TransportSystems};

use crate::{
    Authority, Frozen, Remote,
    clock::{ClockPlugin, tick_is_fresh},
    collect::{self, Collector},
    inputs::{self, Inboxes, InputOutbox},
    interest::{self, InterestGrid, Positions, ScopePolicy, Subscriptions, View, Watched},
    messages::{MessageNotSent, WaitingMessages},
    migrate,
    names::Names,
    peer::{Admission, ControlReceived, HandoverOffered, PeerJoined, PeerLeft, PeerRefused, Peers},
    receive,
    references::{self, References},
    registry::RegistryBuilder,
    rows::Rows,
    send::{self, Office, PeerCaughtUp},
    slots::{NetSlot, Slots},
    snapshot::{self, SnapshotFailed, SnapshotReceived, SnapshotTransfer},
    stats,
};

/// Limits and rates. Change them before or while the app runs.
#[derive(Resource, Clone, Debug)]
pub struct ReplicationConfig {
    /// Bytes that one link may take in a tick. Control items, leaves, inputs and unreliable messages go
    /// first; rows get the rest, and a quarter in any case. Those that do not fit wait their turn, the most
    /// urgent first. Large rows and snapshots get what is left then, in the mean, and a quarter in any case, or
    /// 300 bytes, which the next tick's datagrams go without. Reliable messages go at once, and what is large
    /// with them. 20,000 by default, which is 600 kB/s at 30 ticks.
    /// [`Peer::set_bytes_per_tick`](crate::Peer::set_bytes_per_tick) gives one link another number.
    pub bytes_per_tick: usize,
    /// Ticks without a datagram after which an empty one is sent, so that silence means trouble.
    pub keep_alive_ticks: u32,
    /// How long a client keeps entities whose server has gone or handed them on. Zero: not at
    /// all, which is right without a mesh.
    pub orphan_grace: Duration,
    /// Entities of which a link is told, in each second, what the peer should have of them, so
    /// that what went wrong there is found: of `n` settled entities each is looked at once in `n /
    /// audit_per_second` seconds. 64 by default; 0 for none. They go where a datagram that goes
    /// anyway has room, about 5 bytes each.
    pub audit_per_second: u32,
    /// Whether what the world here shows is compared, too, with what a peer told, and put right
    /// where it has differed for a second, unchanged. True by default.
    /// [`unaudited`](crate::Rule::unaudited) for single components.
    pub audit_world: bool,
    /// How long both ends of a link that dropped keep what the client was told, so that a client
    /// that comes back goes on from there. A server keeps 8 to 14 bytes for each of its slots, what
    /// [`PeerInterest`](crate::interest::PeerInterest) holds, and up to 2 MiB that was under way; the client
    /// keeps its entities as they are. Reliable messages of which is not known that they came are said again, and
    /// those that are written meanwhile are said then, 4 MiB of them; snapshots that were under way are gone.
    /// Zero, the default: a link that drops is over, and its entities go.
    /// Each end needs one above zero. Not for the links of a mesh, whose clients come back by its doors.
    pub resume_grace: Duration,
    /// For how many clients at most a server does so. The one that left first goes first. 64 by default.
    pub resumable: usize,
    /// What a client sees until the game says so
    /// ([`set_view`](crate::interest::PeerInterest::set_view)): everything by default. A game that gives
    /// each client a view when it has joined wants [`View::Nothing`] here, so that nothing with a
    /// [place](crate::interest::InterestAppExt::interest_position) is told before. What has none is shown by any
    /// view; to hide that, see [`ToolScopes`](crate::interest::ToolScopes).
    pub first_view: View,
    /// Most entities a client may spawn on its server. 0 forbids it.
    pub client_entities: u32,
    /// Most memory for baselines of one client's entities, in bytes. A row takes about 100 and what its
    /// values have above 50. What a client tells beyond that is not kept, and it tells it again later.
    pub client_baseline_bytes: usize,
    /// Most memory for baselines of a server's entities, in bytes.
    pub server_baseline_bytes: usize,
    /// Rows that change in a tick, times the links that may be told, from which on they are encoded
    /// and packed on all threads of rayon's pool. What is sent is the same, byte for byte.
    /// 2,000 by default; `usize::MAX` for never.
    pub parallel_rows: usize,
}

impl Default for ReplicationConfig {
    fn default() -> Self {
        Self {
            bytes_per_tick: 20_000,
            keep_alive_ticks: 10,
            orphan_grace: Duration::ZERO,
            resume_grace: Duration::ZERO,
            resumable: 64,
            audit_per_second: 64,
            audit_world: true,
            first_view: View::Everything,
            client_entities: 256,
            client_baseline_bytes: 4 << 20,
            server_baseline_bytes: 1 << 30,
            parallel_rows: 2000,
        }
    }
}

/// Bounds of what a peer can make us keep.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Short names.
    pub(crate) entities: usize,
    /// Bytes of baselines.
    pub(crate) baseline_bytes: usize,
}

impl ReplicationConfig {
    pub(crate) const fn limits(&self, side: LinkSide) -> Limits {
        match side {
            // Slots are used again, so a client needs few more names than entities; what it holds
            // counts too.
            LinkSide::ToClient => Limits {
                entities: self.client_entities as usize * 4 + 4096,
                baseline_bytes: self.client_baseline_bytes,
            },
            LinkSide::ToServer => Limits {
                entities: 1 << 20,
                baseline_bytes: self.server_baseline_bytes,
            },
        }
    }
}

/// Order of the replication within the schedules.
///
/// `PreUpdate`: [`Receive`](Self::Receive), after the transport. `FixedPostUpdate`, once a tick:
/// [`Collect`](Self::Collect), [`Visibility`](Self::Visibility), [`Messages`](Self::Messages),
/// [`Send`](Self::Send), then the transport flushes.
#[derive(SystemSet, Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ReplicationSystems {
    /// In `RunFixedMainLoop`, before the loop: how many ticks are due. Whoever may forbid ticks
    /// pauses `Time<Virtual>` before this.
    Align,
    /// In `FixedFirst`: the tick is raised.
    Tick,
    /// Datagrams and frames take effect.
    Receive,
    /// Reactions to what was received: authority, handover.
    React,
    /// Rows are brought up to date with the world.
    Collect,
    /// Who sees what.
    Visibility,
    /// Outgoing messages are encoded: they name the rows that were just made.
    Messages,
    /// Datagrams are made.
    Send,
    /// Statistics.
    Report,
}

/// Replication, the same on servers and clients. Add a transport beside it.
///
/// When plugins finish it panics if the schema does not fit a handshake
/// ([`Schema::check`](seamless_wire::schema::Schema::check)): some 1,500 types with paths of usual
/// length.
pub struct ReplicationPlugin {
    /// Ticks per second, 1 to 1000; the same on all peers. 30 by default.
    pub tick_rate: u16,
    /// Block of entity names; see [`Names`]. `None`: a client, which is lent names, or a mesh node,
    /// which gets its block from the directory.
    pub block: Option<u32>,
}

impl Default for ReplicationPlugin {
    fn default() -> Self {
        Self {
            tick_rate: 30,
            block: None,
        }
    }
}

impl Plugin for ReplicationPlugin {
    fn build(&self, app: &mut App) {
        // Before any query is made: a disabling marker only works for queries made after it.
        app.world_mut().register_disabling_component::<Frozen>();
        app.add_plugins(ClockPlugin {
            rate: self.tick_rate,
        })
        .init_resource::<RegistryBuilder>()
        .init_resource::<ReplicationConfig>()
        .init_resource::<Slots>()
        .init_resource::<Rows>()
        .init_resource::<Peers>()
        .init_resource::<Admission>()
        .init_resource::<Collector>()
        .init_resource::<Positions>()
        .init_resource::<interest::Audiences>()
        .init_resource::<InterestGrid>()
        .init_resource::<ScopePolicy>()
        .init_resource::<Subscriptions>()
        .init_resource::<References>()
        .init_resource::<receive::driver::Arrivals>()
        .init_resource::<WaitingMessages>()
        .init_resource::<InputOutbox>()
        .init_resource::<Inboxes>()
        .init_resource::<Office>()
        .init_resource::<SnapshotTransfer>()
        .add_message::<PeerJoined>()
        .add_message::<PeerCaughtUp>()
        .add_message::<PeerLeft>()
        .add_message::<PeerRefused>()
        .add_message::<ControlReceived>()
        .add_message::<HandoverOffered>()
        .add_message::<Watched>()
        .add_message::<SnapshotReceived>()
        .add_message::<SnapshotFailed>()
        .add_message::<MessageNotSent>()
        .add_observer(collect::clamp_ticks);
        stats::register(app);
        if let Some(names) = self.block.and_then(Names::in_block) {
            app.world_mut().resource_mut::<Slots>().set_names(names);
        }

        app.configure_sets(
            PreUpdate,
            (
                TransportSystems::Receive,
                ReplicationSystems::Receive,
                ReplicationSystems::React,
            )
                .chain(),
        )
        .configure_sets(
            FixedPostUpdate,
            (
                (ReplicationSystems::Collect, ReplicationSystems::Visibility)
                    .chain()
                    .run_if(tick_is_fresh),
                // Bevy lets go of messages after each step, also of one that is no tick.
                ReplicationSystems::Messages,
                (
                    ReplicationSystems::Send,
                    TransportSystems::Send,
                    ReplicationSystems::Report,
                )
                    .chain()
                    .run_if(tick_is_fresh),
            )
                .chain(),
        )
        .add_systems(
            PreUpdate,
            receive::driver::receive.in_set(ReplicationSystems::Receive),
        )
        .add_systems(
            FixedPostUpdate,
            (
                (
                    send::driver::depart,
                    receive::leave::give_up_orphans,
                    migrate::expire_redirects,
                    collect::collect,
                )
                    .chain()
                    .in_set(ReplicationSystems::Collect),
                (
                    interest::note_for_audiences,
                    interest::read_scopes,
                    interest::update_visibility,
                    interest::update_audiences,
                    interest::tell_servers,
                )
                    .chain()
                    .in_set(ReplicationSystems::Visibility),
                (
                    send::driver::send,
                    send::note_caught_up,
                    snapshot::transfer::send_chunks,
                    receive::driver::keep_house,
                )
                    .chain()
                    .in_set(ReplicationSystems::Send),
                stats::update.in_set(ReplicationSystems::Report),
                (references::sweep, inputs::forget_absent)
                    .run_if(on_real_timer(Duration::from_secs(1)))
                    .in_set(ReplicationSystems::Report),
            ),
        );
    }

    fn finish(&self, app: &mut App) {
        let world = app.world_mut();
        let remote = [
            world.register_component::<Authority>(),
            world.register_component::<NetSlot>(),
            world.register_component::<Remote>(),
        ];
        let registry = world.resource_mut::<RegistryBuilder>().seal(remote);
        if let Err(error) = registry.schema().check() {
            panic!("what is registered cannot be told to a peer: {error}");
        }
        app.insert_resource(registry);
    }
}
