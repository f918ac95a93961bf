//! Replication for Bevy: snapshots and deltas of registered components between apps.
//!
//! One engine, symmetric per link: a server tells clients of what it hosts, a client tells its
//! server of what it hosts or holds, with the same rows, the same deltas and the same rules.
//!
//! # The way of a change
//!
//! 1. A system writes a component of an entity that is [`Replicated`].
//! 2. *Collect*, once a tick, finds it by its change tick and makes a new version of the entity's
//!    row, unless the value came out the same.
//! 3. *Visibility* knows which links see the entity; each of those has a bit set.
//! 4. *Send* encodes the row against the version that the peer acknowledged, once for all peers
//!    with the same baseline, and packs records into datagrams within the link's budget.
//! 5. The peer reads the datagram as a whole, keeps every row as a baseline, applies the newest
//!    of each entity, and acknowledges the datagram only if all of it was kept.
//! 6. A datagram that three later ones overtook, or that is overdue, is lost: what it carried is
//!    sent again at its newest value.
//!
//! Joining, coming back into view and starting over are this same way with nothing acknowledged.
//!
//! # Layout
//!
//! * [`ReplicateAppExt`], [`Replicator`]: what is replicated, and how it is coded.
//! * [`Replicated`], [`NetSlot`], [`Slots`]: entities on the network.
//! * [`Prespawned`]: entities that a client spawns ahead of its server.
//! * [`Authority`], [`Hosted`], [`Remote`], [`Frozen`]: who may write, as queries see it.
//! * [`guard`]: writes to what another may write.
//! * [`Peers`]: the other ends of links; [`Admission`]: who is let in.
//! * [`interest`]: who sees what.
//! * [`messages`], [`inputs`]: typed messages and events, and players' inputs.
//! * [`listen`]: host and client in one app.
//! * [`snapshot`]: rows outside a connection, in memory and in files.
//! * [`recording`]: what links did, in a file, and played back.
//! * [`ReplicationStats`]: what it costs.
//! * [`NetClock`]: which tick it is.

mod authority;
mod clock;
mod collect;
mod findings;
pub mod guard;
pub mod inputs;
pub mod interest;
pub mod listen;
pub mod messages;
pub mod migrate;
mod names;
mod peer;
mod plugin;
mod prefetch;
mod prespawn;
mod receive;
pub mod recording;
mod references;
mod registry;
mod role;
mod rows;
mod send;
mod slots;
pub mod snapshot;
pub mod stats;
mod threads;

pub use authority::{Authority, EvenHidden, FenceFollower, Frozen, Hosted, Remote};
pub use clock::{NetClock, tick_is_fresh};
pub use names::Names;
pub use peer::{
    Admission, Admitted, ControlReceived, HandoverOffered, Peer, PeerJoined, PeerLeft, PeerRefused,
    PeerState, Peers, SessionState,
};
pub use plugin::{ReplicationConfig, ReplicationPlugin, ReplicationSystems};
pub use prespawn::{PrespawnPlugin, PrespawnUnclaimed, Prespawned};
pub use registry::{
    Audience, Ints, IntsReader, Lossless, MAX_COMPONENT_BYTES, Quantize, Registry, ReplicateAppExt,
    ReplicatedBundle, Replicator, Rule, TransformPrecision, Viewer,
};
pub use seamless_transport as transport;
pub use seamless_wire as wire;
pub use send::PeerCaughtUp;
pub use slots::{NetSlot, Replicated, Role, Slots};
pub use stats::ReplicationStats;
