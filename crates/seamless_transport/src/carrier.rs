//! What carries a link: how payloads become datagrams and where those go.

use std::time::Duration;

use crate::{Conditioner, LinkSide, Refused};

/// Which endpoint a link belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CarrierKind {
    UdpServer,
    MemoryServer,
    Client,
    /// A recording plays it.
    Playback(LinkSide),
}

impl CarrierKind {
    pub(crate) const fn side(self) -> LinkSide {
        match self {
            Self::UdpServer | Self::MemoryServer => LinkSide::ToClient,
            Self::Client => LinkSide::ToServer,
            Self::Playback(side) => side,
        }
    }
}

/// Seals payloads of one link and puts them on the wire.
pub(crate) trait Carrier {
    /// Sends a payload; how many bytes it was on the wire.
    fn send(&mut self, payload: &[u8], path: &mut Path<'_>) -> Result<usize, Refused>;

    /// Whether payloads of one length cost less.
    fn sends_together(&self) -> bool {
        false
    }
}

/// The way of sealed datagrams to the wire: through the weather or straight.
pub(crate) struct Path<'a> {
    weather: Option<&'a mut Conditioner>,
    now: Duration,
}

impl<'a> Path<'a> {
    pub(crate) fn new(weather: Option<&'a mut Conditioner>, now: Duration) -> Self {
        Self {
            // A clear sky is none.
            weather: weather.filter(|conditioner| !conditioner.is_clear()),
            now,
        }
    }

    /// Puts a datagram on its way; `wire` is the wire.
    pub(crate) fn put(&mut self, datagram: &[u8], wire: impl FnOnce(&[u8])) {
        match &mut self.weather {
            Some(weather) => weather.offer(self.now, datagram),
            None => wire(datagram),
        }
    }

    /// Lets out what is due.
    pub(crate) fn release(&mut self, mut wire: impl FnMut(&[u8])) {
        let Some(weather) = &mut self.weather else {
            return;
        };
        while let Some(datagram) = weather.take(self.now) {
            wire(&datagram);
            weather.recycle(datagram);
        }
    }
}
