//! The clock that connect tokens expire by.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// What time it is for an endpoint's connect tokens, as time since the UNIX epoch.
///
/// A server endpoint reads the system's clock once, when it is bound. From then on its clock
/// advances by the deltas of `Time<Real>` only: it is monotonic, follows virtual time in tests,
/// and is published here after every frame. A [`TokenMint`](crate::TokenMint) of that endpoint
/// reads what was published, so the two never disagree by more than a frame, whatever thread the
/// mint is used from. A mint in another process uses [`TokenClock::system`] and agrees as well as
/// the two machines' clocks do.
#[derive(Debug, Clone)]
pub struct TokenClock(Source);

#[derive(Debug, Clone)]
enum Source {
    /// Milliseconds.
    Published(Arc<AtomicU64>),
    System,
}

impl TokenClock {
    /// The system's wall clock.
    #[must_use]
    pub const fn system() -> Self {
        Self(Source::System)
    }

    /// Begins a published clock at the system's time.
    pub(crate) fn start() -> Self {
        let clock = Self(Source::Published(Arc::default()));
        clock.publish(system_time());
        clock
    }

    pub(crate) fn publish(&self, now: Duration) {
        if let Source::Published(millis) = &self.0 {
            let now = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
            // Nothing else is ordered by it.
            millis.store(now, Ordering::Relaxed);
        }
    }

    /// Time since the UNIX epoch.
    #[must_use]
    pub fn now(&self) -> Duration {
        match &self.0 {
            Source::Published(millis) => Duration::from_millis(millis.load(Ordering::Relaxed)),
            Source::System => system_time(),
        }
    }
}

/// Zero if the system's clock is before the epoch: tokens are then simply short-lived.
pub(crate) fn system_time() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}
