//! A client of the mesh: one world, whichever servers it is on.

mod links;
mod session;
mod state;

use bevy::prelude::*;
use seamless_replication::{ReplicationConfig, ReplicationSystems};

pub use links::{Dialer, MeshClientConfig, Sessions};
#[cfg(feature = "http")]
pub use session::HttpSession;
pub use session::{SessionOutcome, SessionPort};
pub use state::{ClientCounters, HostChanged, LinkUse, MeshClient};

/// How long entities are kept whose server has gone or handed them on, until another tells of
/// them. Longer than a failover takes.
const ORPHAN_GRACE: std::time::Duration = std::time::Duration::from_secs(3);

/// Plays in a world of many nodes. Needs [`MeshClient`] and [`Sessions`].
///
/// After receive: offers to link to the other side of a border are followed, the host that
/// announces itself under the highest term is the one we play over, inputs that its state lacks go
/// out again. A host that falls silent is looked for, from node to node.
pub struct MeshClientPlugin;

impl Plugin for MeshClientPlugin {
    fn build(&self, app: &mut App) {
        app.init_resource::<MeshClientConfig>()
            .init_resource::<Dialer>()
            .add_message::<HostChanged>();
        crate::share(app);
        app.add_systems(
            PreUpdate,
            (links::follow, links::keep_linked)
                .chain()
                .in_set(ReplicationSystems::React),
        );
    }

    fn finish(&self, app: &mut App) {
        keep_orphans(app);
    }
}

/// Shows what a client of the mesh is told and follows nothing: for an app that plays recordings of one
/// ([`PlaybackPlugin`](seamless_replication::recording::PlaybackPlugin)). It registers what
/// [`MeshClientPlugin`] does.
pub struct MeshWatchPlugin;

impl Plugin for MeshWatchPlugin {
    fn build(&self, app: &mut App) {
        crate::share(app);
    }

    fn finish(&self, app: &mut App) {
        keep_orphans(app);
    }
}

fn keep_orphans(app: &mut App) {
    let mut config = app.world_mut().resource_mut::<ReplicationConfig>();
    config.orphan_grace = config.orphan_grace.max(ORPHAN_GRACE);
    config.resume_grace = std::time::Duration::ZERO;
}
