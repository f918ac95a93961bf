//! An app that is recorded.

use std::{fs::File, io, path::PathBuf, sync::Arc};

use bevy::{app::AppExit, prelude::*};
use seamless_transport::{
    LinkClosed, LinkOpened, LinkSide, Links, PeerAddress, TapConfig, TapWay, Tapped,
    TransportSystems,
};
use seamless_wire::{
    WIRE_VERSION,
    recording::{RecordedEvent, RecordedLink, RecordedPeer, RecordingHead},
    snapshot::Compressor,
};

use super::recorder::{Recording, RecordingState, name};
use crate::{
    ReplicationSystems,
    clock::{NetClock, tick_is_fresh},
    registry::Registry,
    slots::Slots,
    snapshot::default_compressor,
};

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
/// batches wait already, a batch is dropped, [`lost_frames`](super::RecordingStats::lost_frames) counts what was
/// in it, and the recording has a gap there. So at most nine batches are held, of 256 KiB and a frame
/// each.
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
            names: world.resource::<Slots>().names.block(),
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
