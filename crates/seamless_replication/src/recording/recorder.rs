//! A recording that is being made.

use std::{io, sync::Arc, time::Duration};

use bevy::{ecs::message::MessageCursor, prelude::*};
use seamless_transport::{CloseReason, LinkClosed, LinkId, LinkOpened};
use seamless_wire::{
    Tick,
    recording::{MAX_DELTA, MAX_RECORD, Record, RecordBuilder, RecordedEvent, RecordedLink},
    snapshot::Compressor,
};

use super::writer::{BlockWriter, Sink};

/// How often what was recorded is handed to the thread that writes it.
const FLUSH_EVERY: Duration = Duration::from_secs(1);

/// So many bytes of it are handed over at once, whatever the time.
const FLUSH_BYTES: usize = 256 << 10;

/// How a recording stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordingState {
    /// It goes on.
    Running,
    /// The file has reached its greatest length.
    Full,
    /// It cannot be written any more; the log says why.
    Failed,
    /// [`Recording::finish`] was called.
    Finished,
}

/// What was recorded so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordingStats {
    /// How it stands.
    pub state: RecordingState,
    /// Frames that were recorded. The newest may not be written yet.
    pub frames: u64,
    /// Frames that were dropped because the disk was too slow, or too much happened in them.
    pub lost_frames: u64,
    /// Length of the file so far, in bytes.
    pub bytes: u64,
}

/// A recording that is being made. Dropping it writes what is left.
#[derive(Resource)]
pub struct Recording {
    writer: BlockWriter,
    frame: RecordBuilder,
    /// Whether something of this frame could not be noted.
    pub(super) torn: bool,
    batch: Vec<u8>,
    batch_frames: u32,
    batch_time: Duration,
    /// Frames that are missing before the batch.
    gap: u32,
    frames: u64,
    lost_frames: u64,
    finished: bool,
    pub(super) opened: MessageCursor<LinkOpened>,
    closed: MessageCursor<LinkClosed>,
}

impl Recording {
    pub(super) fn to(
        sink: Box<dyn Sink>,
        head: &[u8],
        max_bytes: u64,
        compressor: Arc<dyn Compressor>,
    ) -> io::Result<Self> {
        Ok(Self {
            writer: BlockWriter::start(sink, head, max_bytes, compressor)?,
            frame: RecordBuilder::default(),
            torn: false,
            batch: Vec::new(),
            batch_frames: 0,
            batch_time: Duration::ZERO,
            gap: 0,
            frames: 0,
            lost_frames: 0,
            finished: false,
            opened: MessageCursor::default(),
            closed: MessageCursor::default(),
        })
    }

    /// What was recorded so far.
    #[must_use]
    pub fn stats(&self) -> RecordingStats {
        RecordingStats {
            state: self.state(),
            frames: self.frames,
            lost_frames: self.lost_frames,
            bytes: self.writer.bytes(),
        }
    }

    pub(super) fn state(&self) -> RecordingState {
        if self.writer.is_failed() {
            RecordingState::Failed
        } else if self.writer.is_full() {
            RecordingState::Full
        } else if self.finished {
            RecordingState::Finished
        } else {
            RecordingState::Running
        }
    }

    /// Ends it, and waits until all of it is on the disk.
    ///
    /// # Errors
    /// [`io::Error`] if something could not be written.
    pub fn finish(&mut self) -> io::Result<RecordingStats> {
        if !self.finished {
            self.finished = true;
            let batch = self.take_batch();
            self.writer.give_last(batch);
        }
        self.writer.finish()?;
        Ok(self.stats())
    }

    pub(super) fn note(&mut self, event: &RecordedEvent<'_>) {
        if self.state() != RecordingState::Running {
            return;
        }
        if self.frame.len() > MAX_RECORD / 2 || self.frame.event(event).is_err() {
            self.torn = true;
        }
    }

    pub(super) fn end_frame(&mut self, delta: Duration, tick: Tick) {
        let nanos = u64::try_from(delta.as_nanos()).map_or(MAX_DELTA, |n| n.min(MAX_DELTA));
        let torn = std::mem::take(&mut self.torn);
        if torn {
            self.hand_over();
            self.gap += 1;
            self.lost_frames += 1;
            self.frame = RecordBuilder::default();
        } else {
            self.frame.finish(nanos, tick, &mut self.batch);
            self.batch_frames += 1;
            self.frames += 1;
        }
        self.batch_time += delta;
        if self.batch_time >= FLUSH_EVERY || self.batch.len() >= FLUSH_BYTES {
            self.hand_over();
        }
    }

    fn hand_over(&mut self) {
        self.batch_time = Duration::ZERO;
        if self.batch.is_empty() || self.finished {
            return;
        }
        let batch = self.take_batch();
        let frames = std::mem::take(&mut self.batch_frames);
        if self.writer.give(batch) {
            self.gap = 0;
        } else {
            self.gap = self.gap.saturating_add(frames);
            self.frames -= u64::from(frames);
            self.lost_frames += u64::from(frames);
        }
    }

    /// The batch, with what is missing before it.
    fn take_batch(&mut self) -> Vec<u8> {
        if self.gap == 0 {
            return std::mem::take(&mut self.batch);
        }
        let mut batch = Vec::new();
        Record::Gap { frames: self.gap }.write(&mut batch);
        batch.append(&mut self.batch);
        batch
    }

    pub(super) fn note_closed(&mut self, closed: &Messages<LinkClosed>) {
        let mut cursor = std::mem::take(&mut self.closed);
        for LinkClosed { link, reason } in cursor.read(closed) {
            self.note(&RecordedEvent::Closed(name(*link), number(*reason)));
        }
        self.closed = cursor;
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        // Whoever wants to know calls it; the thread has logged it.
        let _ = self.finish();
    }
}

pub(super) const fn name(link: LinkId) -> RecordedLink {
    RecordedLink {
        index: link.index,
        generation: link.generation,
    }
}

fn number(reason: CloseReason) -> u8 {
    let at = CloseReason::ALL.iter().position(|other| *other == reason);
    at.expect("the list has all reasons") as u8
}

#[cfg(test)]
mod tests {
    use std::{
        io::Write,
        sync::{Mutex, MutexGuard, PoisonError},
        time::Instant,
    };

    use seamless_wire::{recording::RecordingReader, snapshot::Plain};

    use super::*;

    /// A disk that can be made to stand still, or to fail.
    #[derive(Clone, Default)]
    struct Disk {
        written: Arc<Mutex<Vec<u8>>>,
        gate: Arc<Mutex<()>>,
        fails: bool,
    }

    impl Disk {
        fn hold(&self) -> MutexGuard<'_, ()> {
            self.gate.lock().unwrap_or_else(PoisonError::into_inner)
        }
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _open = self.hold();
            if self.fails && !bytes.is_empty() {
                return Err(io::Error::other("no room"));
            }
            self.written.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Sink for Disk {}

    const LINK: RecordedLink = RecordedLink {
        index: 1,
        generation: 0,
    };

    fn recording(disk: &Disk) -> Recording {
        let disk = Box::new(disk.clone());
        Recording::to(disk, &[], 1 << 30, Arc::new(Plain)).expect("no head to write")
    }

    fn frame(recording: &mut Recording, tick: u32) {
        recording.note(&RecordedEvent::Received(LINK, &[0x80; 1000]));
        recording.end_frame(Duration::from_millis(33), Tick(tick));
    }

    fn records(disk: &Disk) -> Vec<Record> {
        let mut reader = RecordingReader::default();
        reader.push(&disk.written.lock().unwrap());
        std::iter::from_fn(|| reader.next(&Plain).expect("whole")).collect()
    }

    #[test]
    fn a_disk_that_stands_still_makes_nobody_wait_and_nothing_grow() {
        const FRAMES: u32 = 2000;
        let disk = Disk::default();
        let mut recording = recording(&disk);
        let held = disk.hold();
        let started = Instant::now();
        for tick in 0..FRAMES {
            frame(&mut recording, tick);
            assert!(recording.batch.len() < FLUSH_BYTES + 2000);
        }
        assert!(started.elapsed() < Duration::from_secs(5));
        let stats = recording.stats();
        assert_eq!(stats.frames + stats.lost_frames, u64::from(FRAMES));
        // Thirty frames to a batch: one is being written, eight wait, one is made.
        assert!(stats.frames <= 11 * 31, "{stats:?}");
        drop(held);
        let stats = recording.finish().expect("it goes on");
        assert_eq!(stats.state, RecordingState::Finished);
        let records = records(&disk);
        let gaps = records.iter().filter_map(|record| match record {
            Record::Gap { frames } => Some(u64::from(*frames)),
            _ => None,
        });
        assert_eq!(gaps.sum::<u64>(), stats.lost_frames);
        let frames = records.iter().filter(|r| matches!(r, Record::Frame(_)));
        assert_eq!(frames.count() as u64, stats.frames);
        assert_eq!(records.last(), Some(&Record::End { full: false }));
    }

    #[test]
    fn a_disk_that_fails_ends_the_recording() {
        let disk = Disk {
            fails: true,
            ..Disk::default()
        };
        let mut recording = recording(&disk);
        for tick in 0..100 {
            frame(&mut recording, tick);
        }
        let error = recording.finish().expect_err("no room");
        assert_eq!(error.to_string(), "no room");
        assert_eq!(recording.stats().state, RecordingState::Failed);
        assert!(recording.finish().is_ok(), "it was told");
    }

    #[test]
    fn a_frame_that_is_torn_is_a_gap() {
        let disk = Disk::default();
        let mut recording = recording(&disk);
        for tick in 0..10 {
            recording.torn = tick == 4;
            frame(&mut recording, tick);
        }
        drop(recording);
        let kinds: String = records(&disk)
            .iter()
            .map(|record| match record {
                Record::Frame(_) => 'f',
                Record::Gap { frames: 1 } => 'g',
                Record::Gap { .. } => 'G',
                Record::End { .. } => 'e',
            })
            .collect();
        assert_eq!(kinds, "ffffgfffffe");
    }
}
