//! An app that is recorded.

use std::{fs::File, io, path::PathBuf, sync::Arc, time::Duration};

use bevy::{app::AppExit, ecs::message::MessageCursor, prelude::*};
use seamless_transport::{
    CloseReason, LinkClosed, LinkId, LinkOpened, LinkSide, Links, PeerAddress, TapConfig, TapWay,
    Tapped, TransportSystems,
};
use seamless_wire::{
    WIRE_VERSION,
    recording::{
        MAX_RECORD, Record, RecordBuilder, RecordedEvent, RecordedLink, RecordedPeer, RecordingHead,
    },
    snapshot::Compressor,
};

use super::writer::{BlockWriter, Sink};
use crate::{
    ReplicationSystems,
    clock::{NetClock, tick_is_fresh},
    registry::Registry,
    snapshot::default_compressor,
};

/// How often what was recorded is handed to the thread that writes it.
const FLUSH_EVERY: Duration = Duration::from_secs(1);

/// So many bytes of it are handed over at once, whatever the time.
const FLUSH_BYTES: usize = 256 << 10;

/// What of the links is recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RecordWhat {
    /// What the app took from them: what can be played back.
    #[default]
    Received,
    /// What the app gave to them.
    Sent,
    /// Both.
    Both,
}

/// Records an app's links from its first frame on. Add it after the
/// [`ReplicationPlugin`](crate::ReplicationPlugin).
///
/// # Overview
///
/// Taps note what the layers above take from links and give to them. At the end of each frame that
/// goes into a batch, with the frame's time and tick. Once a second, or when there are 256 KiB of it,
/// the batch goes to a thread that squeezes and writes it. The game never waits for the disk: if eight
/// batches wait already, a batch is dropped, [`RecordingStats::lost_frames`] counts what was in it,
/// and the recording has a gap there. So at most nine batches are held, of 256 KiB and a frame each.
///
/// A process that is killed loses the last second. One that ends drops the [`Recording`], which
/// writes all of it.
///
/// It costs a copy of what passes the links.
#[derive(Clone)]
pub struct RecordPlugin {
    /// The file. What stood there before is replaced.
    pub path: PathBuf,
    /// What is recorded. Received by default.
    pub what: RecordWhat,
    /// Greatest length of the file. The recording ends there, readable. 256 MiB by default, many
    /// hours of a client.
    pub max_bytes: u64,
    /// What squeezes it. As for save files, Zstandard by default.
    pub compressor: Arc<dyn Compressor>,
}

impl RecordPlugin {
    /// Records into this file what the app receives.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            what: RecordWhat::default(),
            max_bytes: 256 << 20,
            compressor: default_compressor(),
        }
    }

    fn start(&self, world: &World) -> io::Result<Recording> {
        let registry = world.resource::<Registry>();
        let head = RecordingHead {
            wire_version: WIRE_VERSION,
            tick_rate: world.resource::<NetClock>().rate(),
            received: self.what != RecordWhat::Sent,
            sent: self.what != RecordWhat::Received,
            schema: registry.schema().clone(),
            compressor: self.compressor.id(),
            dictionary: self.compressor.dictionary(),
        };
        let head = head.to_bytes().map_err(io::Error::other)?;
        let file = Box::new(File::create(&self.path)?);
        Recording::to(file, &head, self.max_bytes, self.compressor.clone())
    }
}

impl Plugin for RecordPlugin {
    fn build(&self, app: &mut App) {
        let plugin = self.clone();
        let start = move |world: &mut World| match plugin.start(world) {
            Ok(recording) => {
                world.insert_resource(recording);
                world.resource_mut::<Links>().set_tap(TapConfig {
                    received: plugin.what != RecordWhat::Sent,
                    sent: plugin.what != RecordWhat::Received,
                });
            }
            Err(error) => {
                let path = plugin.path.display();
                tracing::error!(%path, %error, "nothing is recorded");
            }
        };
        // What opened before the first frame is seen there too.
        app.add_systems(PreStartup, start)
            .add_systems(
                PreUpdate,
                record_links
                    .after(TransportSystems::Receive)
                    .before(ReplicationSystems::Receive)
                    .run_if(resource_exists::<Recording>),
            )
            .add_systems(
                FixedPostUpdate,
                record_flush
                    .after(TransportSystems::Send)
                    .run_if(tick_is_fresh)
                    .run_if(resource_exists::<Recording>),
            )
            .add_systems(Last, record_frame.run_if(resource_exists::<Recording>));
    }
}

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
    torn: bool,
    batch: Vec<u8>,
    batch_frames: u32,
    batch_time: Duration,
    /// Frames that are missing before the batch.
    gap: u32,
    frames: u64,
    lost_frames: u64,
    finished: bool,
    opened: MessageCursor<LinkOpened>,
    closed: MessageCursor<LinkClosed>,
}

impl Recording {
    fn to(
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

    fn state(&self) -> RecordingState {
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

    fn note(&mut self, event: &RecordedEvent<'_>) {
        if self.frame.len() > MAX_RECORD / 2 || self.frame.event(event).is_err() {
            self.torn = true;
        }
    }

    fn end_frame(&mut self, delta: Duration, tick: seamless_wire::Tick) {
        let nanos = u64::try_from(delta.as_nanos()).unwrap_or(u64::MAX);
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

    fn note_closed(&mut self, closed: &Messages<LinkClosed>) {
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

/// What opened and closed with the frame's receiving.
fn record_links(
    mut recording: ResMut<Recording>,
    links: Res<Links>,
    opened: Res<Messages<LinkOpened>>,
    closed: Res<Messages<LinkClosed>>,
) {
    let mut cursor = std::mem::take(&mut recording.opened);
    for LinkOpened { link } in cursor.read(&opened) {
        let Some(link) = links.get(*link) else {
            continue;
        };
        let (address, memory) = match link.peer_address() {
            PeerAddress::Udp(address) => (Some(address), 0),
            PeerAddress::Memory(number) => (None, number),
        };
        let peer = RecordedPeer {
            to_server: link.side() == LinkSide::ToServer,
            address,
            memory,
            netcode_id: link.netcode_id(),
            user_data: link.user_data().map(|data| data.to_vec()),
        };
        recording.note(&RecordedEvent::Opened(name(link.id()), peer));
    }
    recording.opened = cursor;
    recording.note_closed(&closed);
}

/// A tick's flush, and what closed with it.
fn record_flush(mut recording: ResMut<Recording>, closed: Res<Messages<LinkClosed>>) {
    recording.note(&RecordedEvent::Flushed);
    recording.note_closed(&closed);
}

/// What passed the links in this frame.
fn record_frame(
    mut recording: ResMut<Recording>,
    mut links: ResMut<Links>,
    clock: Res<NetClock>,
    time: Res<Time<Real>>,
    mut exits: MessageReader<AppExit>,
) {
    let recording = &mut *recording;
    if recording.state() != RecordingState::Running {
        if links.tap() != TapConfig::default() {
            links.set_tap(TapConfig::default());
        }
        return;
    }
    for link in links.iter_mut() {
        let link_name = name(link.id());
        let lost = link.take_tapped(|tapped| recording.note(&event(link_name, &tapped)));
        recording.torn |= lost > 0;
    }
    recording.end_frame(time.delta(), clock.tick());
    if exits.read().count() > 0 {
        let _ = recording.finish();
    }
}

const fn event<'a>(link: RecordedLink, tapped: &Tapped<'a>) -> RecordedEvent<'a> {
    match (tapped.way, tapped.channel) {
        (TapWay::Received, None) => RecordedEvent::Received(link, tapped.bytes),
        (TapWay::Received, Some(channel)) => {
            RecordedEvent::ReceivedReliable(link, channel as u8, tapped.bytes)
        }
        (TapWay::Sent, None) => RecordedEvent::Sent(link, tapped.bytes),
        (TapWay::Sent, Some(channel)) => {
            RecordedEvent::SentReliable(link, channel as u8, tapped.bytes)
        }
    }
}

const fn name(link: LinkId) -> RecordedLink {
    RecordedLink {
        index: link.index,
        generation: link.generation,
    }
}

fn number(reason: CloseReason) -> u8 {
    let at = CloseReason::ALL.iter().position(|other| *other == reason);
    at.expect("the list has all reasons") as u8
}
