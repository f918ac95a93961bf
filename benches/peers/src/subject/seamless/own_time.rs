//! How long our own systems run.

use std::time::{Duration, Instant};

use bevy::prelude::*;
use seamless_replication::ReplicationSystems;
use seamless_transport::TransportSystems;

/// Time in our systems, between two stamps in each schedule that has any.
#[derive(Resource, Default)]
pub(super) struct OwnTime {
    since: Option<Instant>,
    sum: Duration,
}

impl OwnTime {
    /// What has added up since the last call.
    pub(super) const fn take(&mut self) -> Duration {
        std::mem::replace(&mut self.sum, Duration::ZERO)
    }
}

fn begin(mut own: ResMut<OwnTime>) {
    own.since = Some(Instant::now());
}

fn end(mut own: ResMut<OwnTime>) {
    if let Some(since) = own.since.take() {
        own.sum += since.elapsed();
    }
}

/// Puts stamps around all that we run in an app.
pub(super) fn measure_own_time(app: &mut App) {
    app.init_resource::<OwnTime>()
        .add_systems(
            PreUpdate,
            (
                begin.before(TransportSystems::Receive),
                end.after(ReplicationSystems::React),
            ),
        )
        .add_systems(
            FixedFirst,
            (
                begin.before(ReplicationSystems::Tick),
                end.after(ReplicationSystems::Tick),
            ),
        )
        .add_systems(
            FixedPostUpdate,
            (
                begin.before(ReplicationSystems::Collect),
                end.after(ReplicationSystems::Report),
            ),
        );
}
