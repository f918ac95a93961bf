//! What every endpoint gets when it is driven.

use std::time::Duration;

use crate::{Links, TransportConfig, notice::Notices};

/// One frame, as an endpoint sees it.
pub(crate) struct Frame<'a, 'w> {
    pub(crate) links: &'a mut Links,
    pub(crate) config: &'a TransportConfig,
    pub(crate) notices: &'a mut Notices<'w>,
    /// Elapsed time of `Time<Real>`.
    pub(crate) now: Duration,
    /// Time since the last frame.
    pub(crate) delta: Duration,
}
