//! When acknowledgements are worth a packet.

use std::time::Duration;

/// Least time between two acknowledgements while data keep coming: three ticks of 30 Hz, less some
/// jitter. Far below renet's resend time, so that nothing is sent twice for want of one.
const ACK_INTERVAL: Duration = Duration::from_millis(90);

/// Least time between acknowledgements of nothing but acknowledgements.
const TRIM_INTERVAL: Duration = Duration::from_millis(490);

/// With more ranges than this the peer's list wants trimming.
const MANY_RANGES: u32 = 8;

/// Ends renet's endless exchange of acknowledgements for acknowledgements.
///
/// renet acknowledges every packet, acknowledgements too, and repeats itself with every packet it
/// makes until that is acknowledged: on an idle link both sides then send for ever. Here one is
/// sent when data arrived since the last, at most every 90 ms. One that is lost is not repeated:
/// the peer sends its data again, which asks for a new one.
///
/// Those that renet makes and the link does not send leave gaps in its packet numbers, and each gap
/// is a range of two bytes more in what the peer acknowledges. So when the peer's list grew long
/// its acknowledgements are acknowledged too, twice a second at most, and it drops what is old.
#[derive(Debug, Default)]
pub(crate) struct AckPacer {
    data_arrived: bool,
    peer_ranges_many: bool,
    sent_at: Option<Duration>,
}

impl AckPacer {
    /// Notes messages or a slice.
    pub(crate) const fn on_data(&mut self) {
        self.data_arrived = true;
    }

    /// Notes an acknowledgement with so many ranges.
    pub(crate) const fn on_acks(&mut self, ranges: u32) {
        if ranges > MANY_RANGES {
            self.peer_ranges_many = true;
        }
    }

    /// Whether an acknowledgement should leave now.
    pub(crate) fn is_due(&self, now: Duration) -> bool {
        let quiet = self
            .sent_at
            .map_or(Duration::MAX, |at| now.saturating_sub(at));
        self.data_arrived && quiet >= ACK_INTERVAL
            || self.peer_ranges_many && quiet >= TRIM_INTERVAL
    }

    /// Notes that one left.
    pub(crate) const fn on_sent(&mut self, now: Duration) {
        *self = Self {
            data_arrived: false,
            peer_ranges_many: false,
            sent_at: Some(now),
        };
    }
}
