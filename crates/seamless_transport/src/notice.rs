//! What the transport tells the app.

use bevy::{ecs::system::SystemParam, prelude::*};

use crate::{CloseReason, Link, LinkId};

/// A link stands: data can flow.
#[derive(Message, Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkOpened {
    /// Which.
    pub link: LinkId,
}

/// A link is over, or never came to stand. It can be read in [`Links`](crate::Links) until the end
/// of the tick after the one in which this was written, and into the next frame at least.
#[derive(Message, Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkClosed {
    /// Which.
    pub link: LinkId,
    /// Why, as this side knows it.
    pub reason: CloseReason,
}

#[derive(SystemParam)]
pub(crate) struct Notices<'w> {
    opened: MessageWriter<'w, LinkOpened>,
    closed: MessageWriter<'w, LinkClosed>,
}

impl Notices<'_> {
    pub(crate) fn opened(&mut self, link: &Link) {
        tracing::debug!(link = %link.id(), peer = %link.peer_address(), "link opened");
        self.opened.write(LinkOpened { link: link.id() });
    }

    /// Ends the link and tells so.
    pub(crate) fn closed(&mut self, link: &mut Link, reason: CloseReason) {
        tracing::debug!(link = %link.id(), peer = %link.peer_address(), %reason, "link closed");
        link.finish(reason);
        self.closed.write(LinkClosed {
            link: link.id(),
            reason,
        });
    }
}
