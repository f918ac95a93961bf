//! Reliable frames that wait for room on a channel of a link.

use std::collections::VecDeque;

use bytes::Bytes;
use seamless_transport::Channel;
use seamless_wire::{WireError, codec, frame::Frame};

use super::Peer;

/// Most memory that they take: 32 MiB.
const MAX_BYTES: usize = 32 << 20;

/// Bytes that one takes besides its own, about.
const EACH: usize = 64;

/// Bytes of them with which no more rows are queued: 4 MiB. Those stay where they are, and go in
/// their newest state when there is room.
const MANY_BYTES: usize = 4 << 20;

/// Frames in the order in which they go.
#[derive(Default)]
pub(crate) struct Frames {
    queue: VecDeque<Bytes>,
    bytes: usize,
}

impl Frames {
    pub(super) fn push(&mut self, frame: Bytes) {
        self.bytes += frame.len();
        self.queue.push_back(frame);
    }

    pub(super) fn front(&self) -> Option<&Bytes> {
        self.queue.front()
    }

    pub(super) fn pop(&mut self) {
        let gone = self.queue.pop_front();
        self.bytes -= gone.map_or(0, |frame| frame.len());
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Bytes of all that wait.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes of rows that may still be queued.
    pub(crate) const fn room_for_rows(&self) -> usize {
        MANY_BYTES.saturating_sub(self.bytes)
    }

    /// Whether so much waits that the other end must have stopped to take anything.
    pub(super) fn is_too_much(&self) -> bool {
        self.bytes + self.queue.len() * EACH > MAX_BYTES
    }
}

impl Peer {
    /// Queues a reliable frame. One that is too large for its channel would never arrive: it is
    /// dropped, logged and counted in [`LinkStats::unsendable`](crate::stats::LinkStats).
    pub fn send_frame(&mut self, frame: Frame) {
        let channel = match frame {
            Frame::Row(_) | Frame::Chunk { .. } => Channel::Bulk,
            _ => Channel::Control,
        };
        if let Some(bytes) = self.frame(&frame, channel) {
            self.frames[channel as usize].push(bytes);
        }
    }

    /// A frame as it goes. One that is too large is not.
    pub(super) fn frame(&mut self, frame: &Frame, channel: Channel) -> Option<Bytes> {
        let max = channel.max_message();
        let bytes = codec::to_vec(frame).and_then(|bytes| {
            if bytes.len() <= max {
                // Some wait for long.
                return Ok(Bytes::from(bytes.into_boxed_slice()));
            }
            Err(WireError::OutOfBounds {
                what: "frame",
                value: bytes.len() as u64,
                max: max as u64,
            })
        });
        if let Err(error) = &bytes {
            self.sender.counters.unsendable += 1;
            tracing::error!(link = %self.link, %error, "a frame cannot be sent");
        }
        bytes.ok()
    }
}
